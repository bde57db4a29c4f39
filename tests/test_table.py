"""The C interface: every function through ``fastact.h`` gives, bit for bit, what the same call from Python gives.

The calls come from a C99 extension that knows the header only (``c/table_harness.c``).  What it must refuse is in
``test_table_errors.py``; threads and OpenMP in ``test_table_threads.py``; that old extensions keep working in
``test_table_stability.py``.
"""

import ctypes
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import table_calls
from cases import ALL_DTYPES, FUNCTIONS, ROWS, assert_same_bits, inputs, parameter_sets, samples
from extensions import needs_gcc
from table_calls import DIRECTION_NUMBERS, DTYPE, DTYPE_NUMBERS, NULL, OK, address, addresses, dense_result

import fastact
from fastact import catalogue

pytestmark = needs_gcc

PATTERN = 0xA5
harness, harness_file = table_calls.harness, table_calls.harness_file


def arrays_for(function, dtype, shape, seed=0):
    """Dense inputs of every kind of number, special ones among them: (grad,) x (, weight)."""
    count = math.prod(shape)
    with np.errstate(all="ignore"):
        arrays = [inputs(function, dtype, count, seed=seed).reshape(shape)]
        if function.direction != "forward":
            arrays.insert(0, samples(dtype, count, seed + 1).reshape(shape))
        arrays += [samples(dtype, count, seed + 2).reshape(shape) for _ in function.operand_names]
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    for k, array in enumerate(arrays):
        part = array.reshape(-1)[3 * k : 3 * k + special.size]
        part[:] = special[: part.size]
    return arrays


def parameters_of(function):
    """None (the defaults), and the values that the row's tests try."""
    return [None, *(parameter_sets(function.row, function.direction) if function.scalar_names else [])]


# --- layouts: each makes memory around a view of a shape; what is not the view must not change ------------------------


def _contiguous(shape, dtype):
    memory = np.empty((shape[0] + 2, shape[1]), dtype)
    return memory, memory[1:-1]


def _strided(shape, dtype):
    memory = np.empty((shape[0], 3 * shape[1] + 2), dtype)
    return memory, memory[:, 1:-1:3]


def _negative(shape, dtype):
    memory = np.empty((shape[0] + 2, shape[1]), dtype)
    return memory, memory[-2:0:-1, ::-1]


def _negative_rows(shape, dtype):
    memory = np.empty((shape[0], shape[1] + 5), dtype)
    return memory, memory[::-1, 2:-3]


def _block(shape, dtype):
    memory = np.empty((shape[0] + 2, shape[1] + 11), dtype)
    return memory, memory[1:-1, 5:-6]


def _transposed(shape, dtype):
    memory = np.empty((shape[1], shape[0] + 1), dtype)
    return memory, memory[:, :-1].T


def _misaligned(shape, dtype):
    size = np.dtype(dtype).itemsize
    memory = np.empty(size * (math.prod(shape) + 2), np.uint8)
    return memory, memory[size // 2 + 1 :][: size * math.prod(shape)].view(dtype).reshape(shape)


def _odd_steps(shape, dtype):
    size = np.dtype(dtype).itemsize
    memory = np.empty((shape[0], (size + 1) * shape[1] + 3), np.uint8)
    return memory, np.ndarray(shape, dtype, memory, 1, (memory.strides[0], size + 1))


LAYOUTS = (
    _contiguous,
    _strided,
    _negative,
    _negative_rows,
    _block,
    _transposed,
    _misaligned,
    _odd_steps,
)


def place(layout, shape, dtype, values=None):
    """Memory and a view of it; outside the view, and inside without values, a pattern of bytes."""
    memory, view = layout(shape, np.dtype(dtype))
    memory.reshape(-1).view(np.uint8)[:] = PATTERN
    if values is not None:
        view[...] = values
    return memory, view


def bytes_outside(memory, view):
    """The memory's bytes, those of the view being zero."""
    copy = memory.copy()
    offset = address(view) - address(memory)
    np.ndarray(view.shape, view.dtype, copy, offset, view.strides)[...] = 0
    return copy.tobytes()


def check_run(harness, function, placed, outputs, expected, what, parameters=None, threads=0):
    """Run on views; compare the outputs with what is expected, and that nothing else was written."""
    placed_outputs = outputs or [place(_contiguous, view.shape, view.dtype) for view in expected]
    around = [bytes_outside(*pair) for pair in placed_outputs]
    is_output = {address(view) for _, view in placed_outputs}
    kept = [(memory, memory.tobytes()) for memory, view in placed if address(view) not in is_output]
    views = [view for _, view in placed]
    assert harness.run_on(function, views, [v for _, v in placed_outputs], parameters, threads) == OK, what
    for (_, view), result in zip(placed_outputs, expected, strict=True):
        assert_same_bits(view, result, what)
    assert around == [bytes_outside(*pair) for pair in placed_outputs], f"{what}: written outside"
    assert all(memory.tobytes() == before for memory, before in kept), f"{what}: an input was written"


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_every_layout(harness, function, dtype):
    shape = (7, 37)
    arrays = arrays_for(function, dtype, shape)
    for parameters in parameters_of(function):
        expected = dense_result(function, arrays, parameters or ())
        for k, layout in enumerate(LAYOUTS):
            what = f"{function.name} {dtype} {layout.__name__} {parameters}"
            outputs = [place(layout, shape, dtype) for _ in expected]
            placed = [place(layout, shape, dtype, array) for array in arrays]
            check_run(harness, function, placed, outputs, expected, what, parameters)
            # each input and output with a layout of its own
            outputs = [place(LAYOUTS[(k + 3 + n) % len(LAYOUTS)], shape, dtype) for n in range(len(expected))]
            placed = [place(LAYOUTS[(k + n) % len(LAYOUTS)], shape, dtype, array) for n, array in enumerate(arrays)]
            check_run(harness, function, placed, outputs, expected, f"{what}, mixed", parameters)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_in_place(harness, function, dtype):
    """Each input in turn is the output; with two outputs, two different inputs are."""
    shape = (7, 37)
    arrays = arrays_for(function, dtype, shape)
    expected = dense_result(function, arrays)
    for layout in LAYOUTS:
        for first in range(len(arrays)):
            placed = [place(layout, shape, dtype, array) for array in arrays]
            outputs = [placed[(first + n) % len(arrays)] for n in range(len(expected))]
            what = f"{function.name} {dtype} {layout.__name__}, output is input {first}"
            check_run(harness, function, placed, outputs, expected, what)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_broadcast_inputs(harness, function, dtype):
    """Steps of 0: one value for a row, one row for all, one value for all; for all inputs, and for each by itself."""
    shape = (7, 37)
    for small in ((7, 1), (1, 37), (1, 1)):
        full, reduced = arrays_for(function, dtype, shape), arrays_for(function, dtype, small)
        for which in (*range(len(full)), None):
            placed = []
            for k in range(len(full)):
                values = reduced[k] if which in (k, None) else full[k]
                memory, view = place(_block, values.shape, dtype, values)
                placed.append((memory, np.broadcast_to(view, shape)))
            expected = dense_result(function, [view for _, view in placed])
            check_run(harness, function, placed, None, expected, f"{function.name} {dtype} {small} for {which}")


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_apply(harness, function, dtype):
    """Every length around the granule, aligned or not, in place or not; and nothing beyond is touched."""
    for count in (1, 2, 15, 16, 17, 31, 33, 100, 1040):
        arrays = [array.reshape(-1) for array in arrays_for(function, dtype, (1, count + 20), seed=count)]
        for parameters in parameters_of(function):
            expected = dense_result(function, [array[:count] for array in arrays], parameters or ())
            for layout in (_contiguous, _misaligned):
                what = f"{function.name} {dtype} {count} {layout.__name__} {parameters}"
                placed = [place(layout, (1, count + 20), dtype, array) for array in arrays]
                outputs = [place(layout, (1, count), dtype) for _ in expected]
                around = [bytes_outside(*pair) for pair in outputs]
                views = [view for _, view in placed], [view for _, view in outputs]
                assert harness.apply_to(function, *views, parameters) == OK, what
                for (_, view), result in zip(outputs, expected, strict=True):
                    assert_same_bits(view[0], result, what)
                assert around == [bytes_outside(*pair) for pair in outputs], what
            in_place = [array.copy() for array in arrays]
            call = function_arguments(harness, function, dtype)
            targets = addresses(in_place[: len(expected)])
            given = table_calls.numbers(parameters), len(parameters or ())
            assert harness.apply(*call, addresses(in_place), targets, count, *given, 0) == OK
            for got, array, result in zip(in_place, arrays, expected, strict=False):
                assert_same_bits(got, np.concatenate([result, array[count:]]), f"{function.name} in place")


def function_arguments(harness, function, dtype):
    return harness.function(function), DTYPE_NUMBERS[dtype]


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_large_arrays_on_threads(harness, two_threads, dtype, threads):
    """With ``two_threads`` these sizes are shared among threads (test_table_threads.py counts them)."""
    shape = (9, 1201)
    for k, function in enumerate(FUNCTIONS):
        arrays = arrays_for(function, dtype, shape)
        expected = dense_result(function, arrays)
        for layout in (_contiguous, LAYOUTS[1 + k % (len(LAYOUTS) - 1)]):
            what = f"{function.name} {dtype} {layout.__name__} {threads} threads"
            placed = [place(layout, shape, dtype, array) for array in arrays]
            outputs = [place(_block, shape, dtype) for _ in expected]
            check_run(harness, function, placed, outputs, expected, what, threads=threads)
            check_run(harness, function, placed, placed[: len(expected)], expected, f"{what} in place", threads=threads)
        flat = [array.reshape(-1) for array in arrays]
        results = [np.empty_like(flat[0]) for _ in expected]
        assert harness.apply_to(function, flat, results, threads=threads) == OK
        for got, result in zip(results, expected, strict=True):
            assert_same_bits(got, result.reshape(-1), f"{function.name} {dtype} apply")


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_gradient_of_prelu_per_element(harness, dtype):
    """The second output is one term for each element; from plain NumPy, because Python's functions only give sums."""
    shape = (6, 40)
    # a product of 16 bits is rounded once in the end: the factors are exact in float32, and so is their product
    computed = np.float64 if dtype == "float64" else np.float32
    random = np.random.default_rng(5)
    grad, x = (random.normal(0, 3, shape).astype(dtype) for _ in range(2))
    weight = random.normal(0, 1, (1, 40)).astype(dtype)
    wide_grad, wide_x, wide_weight = (array.astype(computed) for array in (grad, x, weight))
    gradient = (wide_grad * np.where(wide_x > 0, computed(1), wide_weight)).astype(dtype)
    terms = (wide_grad * np.minimum(wide_x, computed(0))).astype(dtype)
    outputs = [np.empty(shape, dtype) for _ in range(2)]
    arrays = [grad, x, np.broadcast_to(weight, shape)]
    assert harness.run_on(fastact.prelu_backward, arrays, outputs) == OK
    assert_same_bits(outputs[0], gradient)
    assert (outputs[1] == terms).all()
    _, sums = fastact.prelu_backward(grad, x, weight[0])
    tolerance = {"bfloat16": 2e-2, "float16": 2e-3, "float32": 1e-5, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(outputs[1].astype(float).sum(0), sums.astype(float), rtol=tolerance, atol=tolerance)


def test_one_parameter_given_and_the_rest_by_default(harness):
    x = np.linspace(-3, 3, 33)
    for function in FUNCTIONS:
        for count in range(len(function.scalar_names) + 1):
            given = [p.tried[0] for p in function.row.scalars[:count]]
            arrays = [x] * harness_inputs(function)
            got = [
                np.empty_like(x) for _ in range(1 + bool(function.direction == "backward" and function.operand_names))
            ]
            assert harness.apply_to(function, arrays, got, given) == OK
            for result, expected in zip(got, dense_result(function, arrays, given), strict=True):
                assert_same_bits(result, expected, f"{function.name}{given}")


def harness_inputs(function):
    return len(function.array_names) + len(function.operand_names)


def test_every_backend(harness, backend):
    """Also where the kernel is Python (numpy), or is made by the first call (numba), which has not got the GIL."""
    for dtype in ALL_DTYPES:
        arrays = arrays_for(fastact.relu_backward, dtype, (3, 50))
        expected = dense_result(fastact.relu_backward, arrays)
        placed = [place(_strided, (3, 50), dtype, array) for array in arrays]
        check_run(harness, fastact.relu_backward, placed, placed[:1], expected, f"{backend} {dtype}")


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (5, 0), (0, 0), (0, 1 << 40)])
def test_nothing_to_do(harness, function, rows, columns):
    """No element: fine, whatever the addresses."""
    call = table_calls.Call(size=ctypes.sizeof(table_calls.Call), rows=rows, columns=columns)
    call.n_inputs = harness_inputs(function)
    call.n_outputs = len(dense_result(function, [np.zeros(1)] * call.n_inputs))
    assert harness.run(harness.function(function), ctypes.byref(call)) == OK
    nowhere = addresses([8] * 3)
    for pointers in ((None, None), (nowhere, nowhere)):
        assert harness.apply(*function_arguments(harness, function, "float32"), *pointers, 0, None, 0, 0) == OK


# --- kernels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [16, 48, 1024, 1030])
def test_kernel(harness, function, dtype, count):
    """Out of place and in place; of 1030 elements it takes 1024 and leaves the others alone."""
    kernel = ctypes.c_void_p()
    assert harness.kernel(*function_arguments(harness, function, dtype), ctypes.byref(kernel)) == OK
    arrays = [array.reshape(-1) for array in arrays_for(function, dtype, (1, count))]
    whole = count - count % 16
    parameters = parameter_sets(function.row, function.direction)[0] if function.scalar_names else ()
    given = np.array(parameters, dtype)
    expected = dense_result(function, [array[:whole] for array in arrays], parameters)
    for in_place in (False, True):
        outputs = [arrays[k].copy() if in_place else np.full(count, 7, dtype) for k in range(len(expected))]
        sources = [*outputs, *arrays[len(outputs) :]] if in_place else arrays
        rest = [output[whole:].copy() for output in outputs]
        harness.call_kernel(kernel, addresses(sources), addresses(outputs), count, address(given))
        for k, output in enumerate(outputs):
            assert_same_bits(output, np.concatenate([expected[k], rest[k]]), f"{function.name} {dtype} {in_place}")


def test_kernels_of_half_precision_are_refused(harness, function):
    for dtype in ("float16", "bfloat16"):
        kernel = ctypes.c_void_p(1)
        assert harness.kernel(*function_arguments(harness, function, dtype), ctypes.byref(kernel)) == DTYPE
        assert f"({dtype})".encode() in harness.message()
        assert kernel.value == 1


def test_kernel_stays_valid_when_another_backend_is_chosen(harness):
    kernel, other = ctypes.c_void_p(), ctypes.c_void_p()
    asked = function_arguments(harness, fastact.silu, "float32")
    assert harness.kernel(*asked, ctypes.byref(kernel)) == OK
    x = np.linspace(-4, 4, 32, dtype=np.float32)
    expected, y = fastact.silu(x), np.empty_like(x)
    with fastact.use_backend("numpy"):
        assert harness.kernel(*asked, ctypes.byref(other)) == OK
        assert other.value != kernel.value
        harness.call_kernel(kernel, addresses([x]), addresses([y]), 32, None)
    assert_same_bits(y, expected)


# --- names and facts --------------------------------------------------------------------------------------------------


def test_find(harness, row):
    """A row's name and its aliases give one and the same function for each direction that it has."""
    found = set()
    for direction, number in DIRECTION_NUMBERS.items():
        function = harness.find(row.name.encode(), number)
        assert bool(function) == (direction in row.directions)
        if function is None:
            assert row.derivative_from_output is None
            assert b"direction: got 2, which %s does not" % row.name.encode() in harness.message()
        assert all(harness.find(alias.encode(), number) == function for alias in row.aliases)
        found.add(function)
    assert len(found - {None}) == len(row.directions)


def test_functions_differ():
    """So that a test of all functions is one: the catalogue has rows with and without each direction, and an alias."""
    assert {len(row.directions) for row in ROWS} == {2, 3}
    assert catalogue.ALIASES


def test_activations_by_number(harness):
    """Every row once, under its name, in the catalogue's order; then NULL."""
    assert [harness.activation(k).decode() for k in range(len(ROWS))] == [row.name for row in ROWS]
    assert [harness.activation(k) for k in (len(ROWS), -1, 2**31 - 1, -(2**31))] == [None] * 4


def test_description(harness, function):
    description = table_calls.Description(size=ctypes.sizeof(table_calls.Description))
    assert harness.describe(harness.function(function), ctypes.byref(description)) == OK
    names = [description.inputs[k].decode() for k in range(description.n_inputs)]
    parameters = {description.parameters[k].decode(): description.defaults[k] for k in range(description.n_parameters)}
    assert description.name.decode() == function.name
    assert names == [*function.array_names, *function.operand_names]
    assert parameters == {p.name: p.default for p in function.row.scalars}
    assert description.n_outputs == len(dense_result(function, [np.zeros(1)] * len(names)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_channels(harness, dtype):
    """Exactly the sums of prelu's backward in Python, and near those of NumPy in higher precision."""
    random = np.random.default_rng(3)
    for shape in ((4, 3, 700), (50, 7, 1), (1, 1, 1), (1, 1, 600), (0, 3, 5), (600, 2, 1)):
        grad, x = (random.normal(0, 2, shape).astype(dtype) for _ in range(2))
        terms = grad * np.minimum(x, 0)
        sums = np.full(shape[1], np.nan)
        given = DTYPE_NUMBERS[dtype], address(terms), terms.size, *shape[1:], address(sums)
        assert harness.sum_channels(*given) == OK
        np.testing.assert_allclose(sums, terms.sum((0, 2), dtype=np.longdouble).astype(float), rtol=1e-12, atol=1e-12)
        weight = np.zeros(shape[1], dtype)
        assert_same_bits(sums.astype(dtype), fastact.prelu_backward(grad, x, weight)[1], f"{shape}")


@pytest.mark.parametrize("name", [b"", b"gel", b"gelu ", b"GELU", b"gelu_backward", b"x" * 5000, b"\xff%s%n"])
def test_unknown_name(harness, name):
    assert harness.find(name, 0) is None
    message = harness.message()
    assert message.startswith(b"activation: got ") and b"gelu" in message and name[:60] in message
    assert all(row.name.encode() in message for row in ROWS)


def test_no_name(harness):
    assert harness.find(None, 0) is None
    assert harness.message().startswith(b"activation: got NULL")


@pytest.mark.parametrize("direction", [-1, 3, 2**31 - 1, -(2**31)])
def test_unknown_direction(harness, direction):
    assert harness.find(b"relu", direction) is None
    assert harness.message().startswith(b"direction: got %d;" % direction)


def test_facts(harness):
    assert harness.version().decode() == fastact.__version__
    info = subprocess.run(
        [sys.executable, "-m", "fastact", "info", "--json"], capture_output=True, text=True, check=True
    )
    assert harness.instruction_set().decode() == json.loads(info.stdout)["instruction_set"]
    assert harness.abi_version() == 1
    assert harness.api_version() >= 1


def test_set_threads(harness):
    """One number, whichever side sets it."""
    before = fastact.get_num_threads()
    try:
        for count in (1, 2, 1024):
            assert harness.set_threads(count) == OK
            assert harness.get_threads() == fastact.get_num_threads() == count
        fastact.set_num_threads(3)
        assert harness.get_threads() == 3
        for count in (0, -1, 1025, 2**31 - 1, -(2**31)):
            assert harness.set_threads(count) == table_calls.THREADS
            assert harness.message().startswith(b"count: got %d;" % count)
        assert harness.get_threads() == 3
    finally:
        fastact.set_num_threads(before)


def test_messages_belong_to_threads(harness):
    failures = (table_calls.Failure * 8)(*(table_calls.Failure(direction=100 + k) for k in range(8)))
    assert harness.find(None, 0) is None
    assert harness.failures(failures, 8) == 0
    for k, failure in enumerate(failures):
        assert failure.message.startswith(b"direction: got %d;" % (100 + k))
    assert harness.message().startswith(b"activation: got NULL")


def test_message_without_a_failure(harness):
    """On a thread that has not failed it is empty; a success does not clear it elsewhere."""
    assert harness.run(None, None) == NULL
    x = np.ones(4)
    assert harness.apply_to(fastact.relu, [x], [x]) == OK
    assert harness.message().startswith(b"function: got NULL")


def test_floating_point_flags(harness):
    """A call that overflows, and divides infinities, inside leaves no exception flag in the caller's state."""
    x = np.array([1e38, -1e38, 1e-45, np.inf, -np.inf, 100.0] * 10, np.float32)
    for function in FUNCTIONS:
        arrays = [x] * harness_inputs(function)
        results = [np.empty_like(x) for _ in dense_result(function, arrays)]
        call = table_calls.call_of(arrays, results)
        assert harness.flags(harness.function(function), ctypes.byref(call)) == 0, function.name
