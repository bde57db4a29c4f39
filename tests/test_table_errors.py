"""The C interface refuses bad input: the right status, a message that names the argument, and not one byte written.

Whether operands overlap is decided by NumPy (``shares_memory``, exact) and by counting bytes.  What is not refused is
compared with Python's result on copies, so a call that should have been refused shows as a wrong result, too.
"""

import ctypes
import math

import numpy as np
import pytest
import table_calls
from cases import ALL_DTYPES, FUNCTIONS
from extensions import needs_gcc
from table_calls import (
    DTYPE,
    DTYPE_NUMBERS,
    LENGTH,
    NULL,
    OK,
    OPERANDS,
    OVERLAP,
    PARAMETER,
    STRIDE,
    THREADS,
    VERSION,
    address,
    addresses,
    call_of,
    dense_result,
    differing,
    numbers,
)

import fastact

pytestmark = needs_gcc
harness, harness_file = table_calls.harness, table_calls.harness_file

MOST, LEAST = 2**63 - 1, -(2**63)
INT_MOST, INT_LEAST = 2**31 - 1, -(2**31)
SIZE = ctypes.sizeof(table_calls.Call)


class Arena:
    """One stretch of memory with numbers in it, from which a test cuts its operands; it can tell if it was written."""

    def __init__(self, size=4096, seed=0):
        self.bytes = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
        self.before = self.bytes.copy()

    def view(self, dtype, shape, offset, strides):
        return np.ndarray(shape, dtype, self.bytes, offset, strides)

    def dense(self, dtype, shape, offset):
        return np.ndarray(shape, dtype, self.bytes, offset)

    def assert_untouched(self, what=""):
        assert (self.bytes == self.before).all(), f"{what}: written in spite of the error"


def assert_refused(harness, arena, status, expected, *words):
    message = harness.message().decode(errors="replace")
    assert status == expected, (status, message)
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    arena.assert_untouched(message)


# --- one mistake in an otherwise good call ----------------------------------------------------------------------------

ROWS, COLUMNS = 3, 5
CALL_MISTAKES = [
    ({"size": 0}, VERSION, "call->size: got 0"),
    ({"size": SIZE - 8}, VERSION, f"call->size: got {SIZE - 8}"),
    ({"size": SIZE + 8}, VERSION, f"call->size: got {SIZE + 8}"),
    ({"size": 2**64 - 1}, VERSION, f"call->size: got {2**64 - 1}"),
    *(({"rows": n}, LENGTH, f"rows, columns: got {n}, {COLUMNS};") for n in (-1, LEAST, MOST, 2**62, 2**54)),
    *(({"columns": n}, LENGTH, f"rows, columns: got {ROWS}, {n};") for n in (-1, LEAST, MOST, 2**62, 2**55)),
    *(
        ({"rows": rows, "columns": columns}, LENGTH, f"rows, columns: got {rows}, {columns};")
        for rows, columns in (
            (MOST, MOST),
            (2**32, 2**32),
            (2**31, 2**32),
            (2**33 + 1, 2**31),
            (1, MOST),
            (MOST, 1),
            (1, 2**54),
            (0, -1),
            (-1, 0),
            (0, MOST),
        )
    ),
    *(({"dtype": n}, DTYPE, f"dtype: got {n};") for n in (-1, 4, INT_MOST, INT_LEAST)),
    *(({"threads": n}, THREADS, f"threads: got {n};") for n in (-1, 1025, INT_MOST, INT_LEAST)),
    *(({"n_inputs": n}, OPERANDS, f"n_inputs, n_outputs: got {n}, 1;") for n in (-1, 0, 1, 3, INT_MOST, INT_LEAST)),
    *(({"n_outputs": n}, OPERANDS, f"n_inputs, n_outputs: got 2, {n};") for n in (-1, 0, 2, INT_MOST, INT_LEAST)),
    *(({"n_parameters": n}, PARAMETER, f"n_parameters: got {n};") for n in (-1, 2, INT_MOST, INT_LEAST)),
    ({"inputs": None}, NULL, "inputs: got NULL"),
    ({"outputs": None}, NULL, "outputs: got NULL"),
    ({"n_parameters": 1}, NULL, "parameters: got NULL for 1"),
]


@pytest.mark.parametrize(("changes", "status", "words"), CALL_MISTAKES, ids=lambda value: str(value))
@pytest.mark.parametrize("rows_alike", [False, True], ids=["block", "dense"])
def test_one_mistake_in_run(harness, changes, status, words, rows_alike):
    function = fastact.leaky_relu_backward
    arena = Arena()
    row_step = COLUMNS * 4 + (0 if rows_alike else 8)
    views = [arena.view(np.float32, (ROWS, COLUMNS), 512 * k, (row_step, 4)) for k in range(1, 4)]
    call = call_of(views[:2], views[2:])
    for name, value in changes.items():
        setattr(call, name, value)
    got = harness.run(harness.function(function), ctypes.byref(call))
    assert_refused(harness, arena, got, status, words, "call->size" if status == VERSION else "leaky_relu_backward: ")


def test_no_function_and_no_call(harness):
    arena = Arena()
    x = arena.dense(np.float32, (1, 16), 512)
    call = call_of([x], [x])
    relu = harness.function(fastact.relu)
    assert_refused(harness, arena, harness.run(None, ctypes.byref(call)), NULL, "function: got NULL")
    assert_refused(harness, arena, harness.run(relu, None), NULL, "call: got NULL")
    status = harness.apply(None, 0, addresses([x]), addresses([x]), 16, None, 0, 0)
    assert_refused(harness, arena, status, NULL, "function: got NULL")
    kernel = ctypes.c_void_p(7)
    assert_refused(harness, arena, harness.kernel(None, 0, ctypes.byref(kernel)), NULL, "function: got NULL")
    assert_refused(harness, arena, harness.kernel(relu, 0, None), NULL, "kernel: got NULL")
    for dtype in (-1, 4, INT_MOST, INT_LEAST):
        status = harness.kernel(relu, dtype, ctypes.byref(kernel))
        assert_refused(harness, arena, status, DTYPE, f"relu: dtype: got {dtype};")
    assert kernel.value == 7


def test_null_for_each_array(harness, function):
    """NULL among the addresses, for each input and each output, in apply and in run."""
    arena = Arena()
    n_inputs, n_outputs = counts(function)
    arrays = [arena.dense(np.float64, (1, 16), 256 * (k + 1)) for k in range(n_inputs + n_outputs)]
    for position in range(n_inputs + n_outputs):
        name = f"inputs[{position}]" if position < n_inputs else f"outputs[{position - n_inputs}]"
        given = [None if k == position else array for k, array in enumerate(arrays)]
        pointers = addresses(given[:n_inputs]), addresses(given[n_inputs:])
        status = harness.apply(harness.function(function), 1, *pointers, 16, None, 0, 0)
        assert_refused(harness, arena, status, NULL, f"{function.name}: {name}: got NULL")
        call = call_of(arrays[:n_inputs], arrays[n_inputs:])
        (call.inputs if position < n_inputs else call.outputs)[position % n_inputs].data = None
        if position >= n_inputs:
            call.inputs[0].data = address(arrays[0])
            call.outputs[position - n_inputs].data = None
        status = harness.run(harness.function(function), ctypes.byref(call))
        assert_refused(harness, arena, status, NULL, f"{function.name}: {name}: got NULL")


def counts(function):
    """Number of inputs and outputs."""
    n_operands = len(function.operand_names)
    return len(function.array_names) + n_operands, 1 + n_operands * (function.direction == "backward")


APPLY_MISTAKES = [
    *(({"count": n}, LENGTH, f"count: got {n};") for n in (-1, LEAST, MOST, MOST // 8, 2**61, 2**54)),
    *(({"dtype": n}, DTYPE, f"dtype: got {n};") for n in (-1, 4, INT_MOST, INT_LEAST)),
    *(({"threads": n}, THREADS, f"threads: got {n};") for n in (-1, 1025, INT_MOST, INT_LEAST)),
    *(({"n_parameters": n}, PARAMETER, f"n_parameters: got {n};") for n in (-1, 2, INT_MOST, INT_LEAST)),
    ({"inputs": None}, NULL, "inputs: got NULL"),
    ({"outputs": None}, NULL, "outputs: got NULL"),
    ({"n_parameters": 1}, NULL, "parameters: got NULL for 1"),
]


@pytest.mark.parametrize(("changes", "status", "words"), APPLY_MISTAKES, ids=lambda value: str(value))
def test_one_mistake_in_apply(harness, changes, status, words):
    arena = Arena()
    x, y = (arena.dense(np.float32, (16,), offset) for offset in (512, 1024))
    given = {"dtype": 0, "inputs": addresses([x]), "outputs": addresses([y]), "count": 16, "parameters": None}
    given |= {"n_parameters": 0, "threads": 0} | changes
    got = harness.apply(harness.function(fastact.elu), *given.values())
    assert_refused(harness, arena, got, status, f"elu: {words}")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        *(({"dtype": n}, DTYPE, f"dtype: got {n};") for n in (-1, 2, 3, INT_MOST, INT_LEAST)),
        *(({"count": n}, LENGTH, f"got {n}, 4, 6;") for n in (-24, 1, 23, 25, MOST, LEAST)),
        *(({"channels": n}, LENGTH, f"got 24, {n}, 6;") for n in (0, -4, 5, 8, MOST, LEAST)),
        *(({"inner": n}, LENGTH, f"got 24, 4, {n};") for n in (0, -6, 5, 12, MOST, LEAST)),
        ({"channels": 2**32, "inner": 2**32}, LENGTH, "got 24, 4294967296, 4294967296;"),
        ({"terms": None}, NULL, "terms: got NULL"),
        ({"sums": None}, NULL, "sums: got NULL"),
    ],
    ids=lambda value: str(value),
)
def test_one_mistake_in_sum_channels(harness, changes, status, words):
    arena = Arena()
    terms, sums = arena.dense(np.float64, 24, 512), arena.dense(np.float64, 4, 2048)
    given = {
        "dtype": 1,
        "terms": address(terms),
        "count": 24,
        "channels": 4,
        "inner": 6,
        "sums": address(sums),
    } | changes
    assert_refused(harness, arena, harness.sum_channels(*given.values()), status, "sum_channels: ", words)


def test_mistakes_in_describe(harness):
    arena = Arena()
    relu = harness.function(fastact.relu)
    size = ctypes.sizeof(table_calls.Description)
    for wrong in (0, size - 8, size + 8, 2**64 - 1):
        description = table_calls.Description(size=wrong)
        status = harness.describe(relu, ctypes.byref(description))
        assert_refused(harness, arena, status, VERSION, f"relu: description->size: got {wrong}; accepted: {size}")
        assert description.name is None and description.n_inputs == 0
    assert_refused(harness, arena, harness.describe(relu, None), NULL, "description: got NULL")
    assert_refused(harness, arena, harness.describe(None, ctypes.byref(description)), NULL, "function: got NULL")


def refused_parameters(accepts, dtype):
    yield from (math.nan, math.inf, -math.inf)
    if dtype != "float64":
        yield from (1e39, -1e39, 1.7e308)  # finite, but not in float32, which computes
    if "> 0" in accepts:
        yield from (0.0, -0.0, -1.0, -5e-324)
        if dtype != "float64":
            yield 1e-46
    if ">= 0" in accepts:
        yield from (-1.0, -5e-324) if dtype == "float64" else (-1.0, -1e-45)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.scalar_names], ids=lambda f: f.name)
def test_parameters_out_of_range(harness, function, dtype):
    arena = Arena()
    n_inputs, n_outputs = counts(function)
    arrays = [arena.dense(dtype, (1, 16), 256 * (k + 1)) for k in range(n_inputs + n_outputs)]
    good = [p.tried[0] if p.default is None else p.default for p in function.row.scalars]
    for k, accepts in enumerate(function.scalar_accepts):
        for value in refused_parameters(accepts, dtype):
            given = [*good[:k], value, *good[k + 1 :]]
            for call in (harness.apply_to, harness.run_on):
                status = call(function, arrays[:n_inputs], arrays[n_inputs:], given)
                words = (f"{function.name}: parameters[{k}]: got", accepts.removeprefix("a "))
                assert_refused(harness, arena, status, PARAMETER, *words)


# --- strides and overlap, one by one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [MOST, LEAST, LEAST + 1, 2**62, -(2**62), 2**58, -(2**58)])
@pytest.mark.parametrize("place", ["row_step", "step"])
@pytest.mark.parametrize("which", ["inputs[0]", "inputs[1]", "outputs[0]"])
def test_steps_beyond_memory(harness, which, place, step):
    arena = Arena()
    views = [arena.dense(np.float32, (2, 2), 512 * k) for k in range(1, 4)]
    call = call_of(views[:2], views[2:])
    operand = {"inputs[0]": call.inputs[0], "inputs[1]": call.inputs[1], "outputs[0]": call.outputs[0]}[which]
    setattr(operand, place, step)
    got = harness.run(harness.function(fastact.gelu_backward), ctypes.byref(call))
    assert_refused(harness, arena, got, STRIDE, f"gelu_backward: {which}: got steps", str(step))


def test_steps_that_are_never_taken(harness):
    """Along a single row or column a step says nothing: any is fine."""
    for shape in ((1, 40), (40, 1), (1, 1)):
        for step in (MOST, LEAST, 0, -3):
            x = np.linspace(-3, 3, math.prod(shape)).reshape(shape)
            y = np.empty_like(x)
            call = call_of([x], [y])
            for k in range(2):
                if shape[k] == 1:
                    setattr(call.inputs[0], ("row_step", "step")[k], step)
                    setattr(call.outputs[0], ("row_step", "step")[k], step)
            assert harness.run(harness.function(fastact.mish), ctypes.byref(call)) == OK
            assert not differing(y, fastact.mish(x))


@pytest.mark.parametrize(("start", "step"), [(64, -8), (2**64 - 64, 8), (2**64 - 8, 8)])
def test_steps_around_the_ends_of_the_address_space(harness, start, step):
    arena = Arena()
    views = [arena.dense(np.float64, (1, 16), 512 * k) for k in range(1, 3)]
    call = call_of(views[:1], views[1:])
    call.inputs[0].data, call.inputs[0].step = start, step
    got = harness.run(harness.function(fastact.relu), ctypes.byref(call))
    assert_refused(harness, arena, got, STRIDE, "relu: inputs[0]: got steps")


SELF_OVERLAPS = [
    # shape, row_step, step, in float32
    ((1, 4), 0, 0),
    ((1, 4), 0, 3),
    ((1, 4), 0, -3),
    ((4, 1), 0, 0),
    ((4, 1), 3, 0),
    ((4, 4), 0, 4),
    ((4, 4), 16, 0),
    ((4, 4), 12, 4),
    ((4, 4), -12, 4),
    ((4, 4), 4, 4),
    ((4, 4), 15, 4),
    ((4, 4), 4, -12),
    ((2, 3), 8, 8),
    ((3, 5), -18, 8),
]


@pytest.mark.parametrize(("shape", "row_step", "step"), SELF_OVERLAPS)
def test_output_that_overlaps_itself(harness, shape, row_step, step):
    arena = Arena()
    x = arena.dense(np.float32, shape, 512)
    y = arena.view(np.float32, shape, 2048, (row_step, step))
    assert overlaps_itself(y)
    assert_refused(harness, arena, harness.run_on(fastact.gelu, [x], [y]), STRIDE, "gelu: outputs[0]: got steps")
    outputs = [arena.dense(np.float32, shape, 3072), y]
    status = harness.run_on(fastact.prelu_backward, [x, x, x], outputs)
    assert_refused(harness, arena, status, STRIDE, "prelu_backward: outputs[1]: got steps")


ARRANGEMENTS = [
    # what it is; shape; offset, row_step, step of the input and of the output, in bytes; the status
    ("one element later", (1, 20), (512, 0, 4), (516, 0, 4), OVERLAP),
    ("one byte later", (1, 20), (512, 0, 4), (513, 0, 4), OVERLAP),
    ("one element earlier", (1, 20), (516, 0, 4), (512, 0, 4), OVERLAP),
    ("last element on the first", (1, 20), (512, 0, 4), (512 + 19 * 4, 0, 4), OVERLAP),
    ("last byte on the first", (1, 20), (512, 0, 4), (512 + 20 * 4 - 1, 0, 4), OVERLAP),
    ("side by side", (1, 20), (512, 0, 4), (512 + 20 * 4, 0, 4), OK),
    ("reversed in place", (1, 20), (512, 0, 4), (512 + 19 * 4, 0, -4), OVERLAP),
    ("the same, backwards", (1, 20), (512 + 19 * 4, 0, -4), (512 + 19 * 4, 0, -4), OK),
    ("other step, same start", (1, 20), (512, 0, 4), (512, 0, 8), OVERLAP),
    ("one value is the first of the output", (1, 20), (512, 0, 0), (512, 0, 4), OVERLAP),
    ("one value is the last of the output", (1, 20), (512 + 19 * 4, 0, 0), (512, 0, 4), OVERLAP),
    ("one value before the output", (1, 20), (508, 0, 0), (512, 0, 4), OK),
    ("alternating elements", (1, 20), (512, 0, 8), (516, 0, 8), OK),
    ("alternating elements, output first", (1, 20), (516, 0, 8), (512, 0, 8), OK),
    ("alternating elements, backwards", (1, 20), (512, 0, 8), (516 + 19 * 8, 0, -8), OK),
    ("alternating, two bytes off", (1, 20), (512, 0, 8), (514, 0, 8), OVERLAP),
    ("one element later of every second", (1, 20), (512, 0, 8), (520, 0, 8), OVERLAP),
    ("columns of one matrix", (10, 1), (512, 40, 4), (532, 40, 4), OK),
    ("halves of rows", (6, 5), (512, 40, 4), (532, 40, 4), OK),
    ("halves of rows, the other way around", (6, 5), (532, 40, 4), (512, 40, 4), OK),
    ("halves of rows that share a column", (6, 6), (512, 40, 4), (532, 40, 4), OVERLAP),
    ("halves of rows, the second one backwards", (6, 5), (512, 40, 4), (532 + 4 * 4, 40, -4), OK),
    ("halves of rows, a row further down", (6, 5), (512, 40, 4), (512 + 40 + 20, 40, 4), OK),
    ("alternating rows", (5, 10), (512, 80, 4), (552, 80, 4), OK),
    ("alternating rows, upwards", (5, 10), (512 + 4 * 80, -80, 4), (552 + 4 * 80, -80, 4), OK),
    ("next row", (5, 10), (512, 40, 4), (552, 40, 4), OVERLAP),
    ("transposed in place", (5, 5), (512, 20, 4), (512, 4, 20), OVERLAP),
    ("one row for all, a row of the output", (5, 10), (512, 0, 4), (512, 40, 4), OVERLAP),
    ("real and imaginary parts", (5, 6), (512, 48, 8), (516, 48, 8), OK),
    ("imaginary and real parts of a block", (5, 6), (516, 64, 8), (512, 64, 8), OK),
    ("real and imaginary parts, transposed", (5, 6), (512, 8, 48), (516, 8, 48), OK),
    ("real parts, and imaginary parts of other rows", (5, 6), (512, 48, 8), (516 + 96, 48, 8), OK),
    ("real parts, and real parts of other rows", (5, 6), (512, 48, 8), (512 + 96, 48, 8), OVERLAP),
    ("rows and columns of a table of pairs", (5, 6), (512, 48, 8), (516, 8, 40), OVERLAP),
]


@pytest.mark.parametrize(
    ("shape", "source", "target", "expected"), [a[1:] for a in ARRANGEMENTS], ids=[a[0] for a in ARRANGEMENTS]
)
@pytest.mark.parametrize("operand", [0, 1])
def test_arrangement(harness, shape, source, target, expected, operand):
    """Of an input and the output; the other input is elsewhere."""
    arena = Arena()
    x = arena.view(np.float32, shape, source[0], source[1:])
    y = arena.view(np.float32, shape, target[0], target[1:])
    assert expected != OK or not np.shares_memory(x, y) or source == target
    inputs = [arena.dense(np.float32, shape, 2048), arena.dense(np.float32, shape, 2560)]
    inputs[operand] = x
    results = dense_result(fastact.silu_backward, inputs)
    status = harness.run_on(fastact.silu_backward, inputs, [y])
    if expected == OK:
        assert status == OK, harness.message()
        assert not differing(y, results[0])
    else:
        words = f"silu_backward: outputs[0]: got memory that overlaps inputs[{operand}]"
        assert_refused(harness, arena, status, expected, words)


def test_outputs_that_overlap(harness):
    arena = Arena()
    x = [arena.dense(np.float32, (1, 20), 512 + 96 * k) for k in range(3)]
    y = arena.dense(np.float32, (1, 20), 2048)
    for offset in (2048, 2052, 2047, 2048 + 76, 2048 - 76):
        other = arena.dense(np.float32, (1, 20), offset)
        for call in (harness.run_on, harness.apply_to):
            status = call(fastact.prelu_backward, x, [y, other])
            words = "prelu_backward: outputs[1]: got memory that overlaps outputs[0]"
            assert_refused(harness, arena, status, OVERLAP, words)
    # one input cannot become both
    status = harness.run_on(fastact.prelu_backward, x, [x[1], x[1]])
    assert_refused(harness, arena, status, OVERLAP, "outputs[1]")


# --- at random --------------------------------------------------------------------------------------------------------


def overlaps_itself(view):
    """Whether two elements share a byte, by counting bytes."""
    rows, columns, byte = np.ogrid[: view.shape[0], : view.shape[1], : view.itemsize]
    touched = (rows * view.strides[0] + columns * view.strides[1] + byte).reshape(-1)
    return np.unique(touched).size < touched.size


def steps_taken(view):
    return tuple(step if count > 1 else 0 for step, count in zip(view.strides, view.shape, strict=True))


def are_the_same(a, b):
    return address(a) == address(b) and steps_taken(a) == steps_taken(b)


def one_axis_passes_the_other(view):
    """Whether a step of one axis is no shorter than all that the other reaches: only such outputs must be taken."""
    (row_step, step), (rows, columns), size = map(abs, steps_taken(view)), view.shape, view.itemsize
    by_row, by_column = (columns - 1) * step + size, (rows - 1) * row_step + size
    return rows == 1 or columns == 1 or row_step >= by_row or step >= by_column


def take_turns(a, b):
    """Whether a and b recur with the same period along an axis, and never touch the same part of it."""
    for axis in (0, 1):
        period = abs(steps_taken(a)[axis])
        if not period or period != abs(steps_taken(b)[axis]):
            continue
        parts = []
        for view in (a, b):
            low, _ = np.lib.array_utils.byte_bounds(view)
            reach = abs(steps_taken(view)[1 - axis])
            length = view.itemsize + (reach * (view.shape[1 - axis] - 1) if reach % period else 0)
            parts.append({(low + k) % period for k in range(min(length, period))} if length <= period else None)
        if None not in parts and parts[0].isdisjoint(parts[1]):
            return True
    return False


def statuses(inputs, outputs):
    """The statuses that this arrangement may have."""
    wrong, refusable = set(), set()
    for k, output in enumerate(outputs):
        if overlaps_itself(output):
            wrong.add(STRIDE)
        elif not one_axis_passes_the_other(output):
            refusable.add(STRIDE)
        apart_from = [view for view in inputs if not are_the_same(output, view)] + outputs[:k]
        for other in apart_from:
            if np.shares_memory(output, other):
                wrong.add(OVERLAP)
            elif np.may_share_memory(output, other) and not take_turns(output, other):
                refusable.add(OVERLAP)
    return wrong | refusable if wrong else {OK} | refusable


class Fuzz:
    """Random calls over one arena."""

    guard = 1024

    def __init__(self, harness, seed, most_rows, most_columns, size):
        self.harness, self.random, self.arena = harness, np.random.default_rng(seed), Arena(size, seed)
        self.most_rows, self.most_columns = most_rows, most_columns
        self.counts = dict.fromkeys(range(13), 0)

    def below(self, stop):
        return int(self.random.integers(stop))

    def chance(self, part):
        return self.random.random() < part

    def steps(self, rows, columns, size, writes):
        """Steps as callers have them, or any at all."""
        gap, width = self.below(4), 1 + self.below(3)
        row = width * columns * size + gap * size
        styles = [
            (columns * size, size),
            (row, width * size),
            (size, rows * size),
            (width * size, (width * rows + gap) * size),
        ]
        styles.append((self.below(121) - 60, self.below(61) - 30))
        if not writes or self.chance(0.1):
            styles += [(0, size), (size, 0), (0, 0)]
        row_step, step = styles[self.below(len(styles))]
        return row_step * (-1 if self.chance(0.2) else 1), step * (-1 if self.chance(0.2) else 1)

    def view(self, dtype, shape, others, writes):
        """A view within the guards: another operand's own memory, its steps from elsewhere, or one by itself."""
        size = np.dtype(dtype).itemsize
        strides, offset = self.steps(*shape, size, writes), None
        if others and self.chance(0.6):
            other = others[self.below(len(others))]
            if self.chance(0.4):
                return other
            strides = other.strides
            moves = [self.below(9) - 4, (self.below(5) - 2) * size, strides[0] // 2, strides[1] // 2]
            moves += [shape[1] * size, (shape[1] + 1) * size, shape[0] * size, strides[0] * shape[0]]
            offset = address(other) - address(self.arena.bytes) + moves[self.below(len(moves))]
        reach = [step * (count - 1) for step, count in zip(strides, shape, strict=True)]
        low = self.guard - sum(min(0, r) for r in reach)
        high = self.arena.bytes.size - self.guard - size - sum(max(0, r) for r in reach)
        if offset is None or not low <= offset <= high:
            offset = low + self.below(high - low)
            if self.chance(0.7):
                offset -= offset % 8
        return self.arena.view(dtype, shape, min(max(offset, low), high), strides)

    def mistake(self, call, function):
        """Spoil one thing; the status that it should give."""
        huge = (MOST, LEAST, 2**62, -(2**60))[self.below(4)]
        operands = (call.inputs, call.n_inputs) if self.chance(0.5) else (call.outputs, call.n_outputs)
        operand = operands[0][self.below(operands[1])]
        number = (-1, 1025, INT_MOST, INT_LEAST)[self.below(4)]
        mistakes = [
            ("size", SIZE + (8, -8, 64)[self.below(3)], VERSION),
            (("rows", "columns")[self.below(2)], (-1, MOST, LEAST)[self.below(3)], LENGTH),
            ("dtype", number, DTYPE),
            ("threads", number, THREADS),
            ("n_inputs", number, OPERANDS),
            ("n_outputs", number, OPERANDS),
            ("n_parameters", number, PARAMETER),
            (("inputs", "outputs")[self.below(2)], None, NULL),
        ]
        if function.scalar_names:
            mistakes.append(("parameters", numbers([math.nan] * len(function.scalar_names)), PARAMETER))
        choice = self.below(len(mistakes) + 2)
        if choice < len(mistakes):
            name, value, status = mistakes[choice]
            setattr(call, name, value)
            if name == "parameters":
                call.n_parameters = len(function.scalar_names)
            return status
        axis = self.below(2)
        if (call.rows, call.columns)[axis] < 2 or choice == len(mistakes):
            operand.data = None
            return NULL
        setattr(operand, ("row_step", "step")[axis], huge)
        return STRIDE

    def one(self):
        function, dtype = FUNCTIONS[self.below(len(FUNCTIONS))], ALL_DTYPES[self.below(len(ALL_DTYPES))]
        n_inputs, n_outputs = counts(function)
        shape = 1 + self.below(self.most_rows), 1 + self.below(self.most_columns)
        views = []
        for k in range(n_inputs + n_outputs):
            views.append(self.view(dtype, shape, views, k >= n_inputs))
        inputs, outputs = views[:n_inputs], views[n_inputs:]
        expected = statuses(inputs, outputs)
        parameters = [p.tried[0] for p in function.row.scalars] if self.chance(0.5) else None
        call = call_of(inputs, outputs, parameters, self.below(3))
        if self.chance(0.2):
            expected = (expected | {self.mistake(call, function)}) - {OK}
        what = f"{function.name} {dtype} {shape} " + ", ".join(f"{address(v):x} {v.strides}" for v in views)
        results = dense_result(function, inputs, parameters or ())
        is_dense = all(view.flags.c_contiguous for view in views) and OK in expected and self.chance(0.5)
        if is_dense:
            status = self.harness.apply_to(function, inputs, outputs, parameters, call.threads)
        else:
            status = self.harness.run(self.harness.function(function), ctypes.byref(call))
        message = f"{what}: status {status}, not in {expected}; {self.harness.message()}"
        assert status in expected, message
        self.counts[status] += 1
        if status == OK:
            for output, result in zip(outputs, results, strict=True):
                assert not differing(output, result), what
                offset = address(output) - address(self.arena.bytes)
                # what was rightly written is no difference
                np.ndarray(shape, dtype, self.arena.before, offset, output.strides)[...] = output
        self.arena.assert_untouched(what)


@pytest.mark.parametrize("seed", range(4))
def test_at_random(harness, seed):
    fuzz = Fuzz(harness, seed, most_rows=6, most_columns=20, size=16384)
    for _ in range(1500):
        fuzz.one()
    for status in (OK, NULL, LENGTH, DTYPE, OPERANDS, PARAMETER, STRIDE, OVERLAP, THREADS, VERSION):
        assert fuzz.counts[status] > 10, fuzz.counts
    assert fuzz.counts[OK] > 400, fuzz.counts


def test_at_random_on_threads(harness, two_threads):
    """Large enough for threads, among which an overlap that was overlooked would be a race."""
    fuzz = Fuzz(harness, 99, most_rows=60, most_columns=80, size=1 << 18)
    for _ in range(400):
        fuzz.one()
    assert fuzz.counts[OK] > 100, fuzz.counts
    assert fuzz.counts[OVERLAP] > 20, fuzz.counts


def test_dtype_numbers():
    """So that a wrong number in a test here is not taken for a refusal."""
    assert sorted(DTYPE_NUMBERS.values()) == [0, 1, 2, 3]
