"""In place gives the bits of out of place, and overlapping memory behaves as if it had been copied.

The truth is the same function on copies that share nothing.  Overlaps are drawn at random, as in NumPy's own
``test_mem_overlap``: views of one buffer, shifted, stepped, reversed, transposed and broadcast against each other.
"""

import itertools

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, assert_same_bits, call, first, inputs, parameter_sets

import fastact

#: None, and more than blocks and shares of threads hold; test_bits.py has every short length.
SIZES = (0, 1000, 4097, 70000)


def gradients(dtype, count):
    return np.random.default_rng(count).normal(size=count).astype(dtype)


def in_place(function, x, grad, params, target):
    """The result of a call that writes over one of its own arguments."""
    arguments = {"x": x.copy(), "grad": grad.copy()}
    result = first(call(function, arguments["x"], params, grad=arguments["grad"], out=arguments[target]))
    assert result is arguments[target]
    other = "grad" if target == "x" else "x"
    assert arguments[other].tobytes() == {"x": x, "grad": grad}[other].tobytes()
    return result


def targets(function):
    """The arguments that a function may write over."""
    return ("x",) if function.direction == "forward" else ("x", "grad")


def test_every_size(function, backend, dtype):
    params = parameter_sets(function.row, function.direction)[-1]
    values, grads = inputs(function, dtype, max(SIZES), params), gradients(dtype, max(SIZES))
    for size in SIZES:
        x, grad = values[:size], grads[:size]
        expected = first(call(function, x, params, grad=grad))
        assert expected.dtype == x.dtype
        for target in targets(function):
            assert_same_bits(in_place(function, x, grad, params, target), expected, (size, target))


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_every_parameter(function, backend, dtype):
    for params in parameter_sets(function.row, function.direction):
        x, grad = inputs(function, dtype, 523, params), gradients(dtype, 523)
        expected = first(call(function, x, params, grad=grad))
        for target in targets(function):
            assert_same_bits(in_place(function, x, grad, params, target), expected, (params, target))


def test_several_threads(function, backend, dtype, two_threads):
    x, grad = inputs(function, dtype, 70001), gradients(dtype, 70001)
    with fastact.num_threads(1):
        expected = first(call(function, x, grad=grad))
    for target in targets(function):
        assert_same_bits(in_place(function, x, grad, None, target), expected, target)


def test_one_array_for_everything(backward_function, backend, dtype):
    """The same array as gradient, input and output."""
    x = inputs(backward_function, dtype, 300)
    expected = first(call(backward_function, x, grad=x.copy()))
    assert first(call(backward_function, x, grad=x, out=x)) is x
    assert_same_bits(x, expected)


def test_views_in_place(function, backend, dtype):
    """Strided, reversed, transposed, unaligned and byte-swapped arrays, each its own output."""
    dense = inputs(function, dtype, 7 * 40).reshape(7, 40)
    unaligned = np.zeros(dense.nbytes + 1, np.uint8)[1:].view(dtype).reshape(7, 40)
    unaligned[...] = dense
    views = [
        dense.copy()[:, ::2],
        dense.copy()[::-1, ::-3],
        dense.copy().T,
        dense.copy(order="F")[1:],
        unaligned,
        unaligned.copy()[:, ::2],
        dense.astype(np.dtype(dtype).newbyteorder("S")),
    ]
    for view in views:
        x = np.array(view, dtype, order="C")
        expected = first(call(function, x))
        assert first(call(function, view, grad=np.ones_like(x), out=view)) is view
        assert_same_bits(view.astype(dtype), expected, view.strides)


# --- overlap ----------------------------------------------------------------------------------------------------------

LENGTH = 600


def random_view(random, shape, writeable):
    """Indices into a buffer of LENGTH elements: an array of them, made as a random view is.

    A view with ``writeable`` has each index once; an input may step by 0 or run over itself.
    """
    dimensions = len(shape)
    order = random.permutation(dimensions)
    strides = np.zeros(dimensions, int)
    extent = 1
    for axis in order:
        strides[axis] = extent * random.integers(1, 4 if dimensions < 3 else 3)
        extent = strides[axis] * shape[axis]
    if not writeable and random.random() < 0.3:
        strides = random.integers(0, 4, dimensions)
    signs = random.choice([1, -1], dimensions, p=[0.75, 0.25])
    span = int((strides * (np.array(shape) - 1)).sum())
    if span >= LENGTH:
        return None
    lowest = random.integers(0, LENGTH - span)
    start = lowest + int((strides * (np.array(shape) - 1))[signs < 0].sum())
    return start, strides * signs


def take(buffer, shape, place):
    start, strides = place
    return np.lib.stride_tricks.as_strided(buffer[start:], shape, strides * buffer.itemsize)


def random_views(random, count):
    """Shape and places of ``count`` views of one buffer; the last one may be written to.  Half of them start close."""
    while True:
        dimensions = random.integers(1, 4)
        shape = tuple(random.integers(1, (80, 12, 6)[dimensions - 1], dimensions).tolist())
        places = [random_view(random, shape, position == count - 1) for position in range(count)]
        if any(place is None for place in places):
            continue
        if random.random() < 0.5:
            # one after the other by a few elements, same steps: the overlap that is easy to get wrong
            start, strides = places[-1]
            shifts = [int(shift) for shift in random.integers(-3, 4, count - 1)]
            ends = (
                (np.array(strides) * (np.array(shape) - 1)).clip(max=0).sum(),
                (np.array(strides) * (np.array(shape) - 1)).clip(min=0).sum(),
            )
            if not all(0 <= start + shift + end < LENGTH for shift in shifts for end in ends):
                continue
            places[:-1] = [(start + shift, strides) for shift in shifts]
        return shape, places


def check_overlap(function, dtype, random, byte_shift=0):
    n_inputs = 1 if function.direction == "forward" else 2
    shape, places = random_views(random, n_inputs + 1)
    memory = np.zeros(LENGTH * np.dtype(dtype).itemsize + 64, np.uint8)
    buffer = memory[byte_shift : byte_shift + LENGTH * np.dtype(dtype).itemsize].view(dtype)
    buffer[...] = inputs(function, dtype, LENGTH, seed=int(random.integers(16)))
    before = buffer.copy()
    *given, out = (take(buffer, shape, place) for place in places)
    expected = first(call(function, given[-1].copy(), grad=given[0].copy()))
    result = first(call(function, given[-1], grad=given[0], out=out))
    assert result is out
    assert_same_bits(out, expected, (shape, places))
    # only out was written to
    take(before, shape, places[-1])[...] = out
    assert before.tobytes() == buffer.tobytes(), (shape, places)


def test_overlap(function, backend, dtype):
    random = np.random.default_rng(3)
    for _ in range(30):
        check_overlap(function, dtype, random)


@pytest.mark.parametrize("byte_shift", [0, 1])
def test_overlap_at_length(function, byte_shift):
    random = np.random.default_rng([4, FUNCTIONS.index(function)])
    for _ in range(100):
        check_overlap(function, "float32", random, byte_shift)


def test_shifted_by_a_few_elements_on_two_threads(plain_function, dtype, two_threads):
    """Where the threads' shares meet, one thread's output is another's input."""
    count = 30000
    buffer = inputs(plain_function, dtype, 2 * count + 2000)
    for step, shift, target in itertools.product((1, 2, -1), (-1000, -1, 1, 17, 1000), targets(plain_function)):
        memory = buffer.copy()
        reads = memory[1000 : 1000 + 2 * count][:: abs(step)][:count]
        writes = memory[1000 + shift : 1000 + shift + 2 * count][:: abs(step)][:count]
        if step < 0:
            reads, writes = reads[::-1], writes[::-1]
        elsewhere = np.ones(count, dtype)
        given = (reads, elsewhere) if target == "x" else (elsewhere, reads)
        expected = call(plain_function, given[0].copy(), grad=given[1])
        call(plain_function, given[0], grad=given[1], out=writes)
        assert_same_bits(writes, expected, (step, shift, target))


def test_shifted_by_some_bytes(function, backend, dtype):
    """An output that overlaps elements of its input by halves."""
    size = np.dtype(dtype).itemsize
    values = inputs(function, dtype, 500)
    expected = first(call(function, values))
    for shift in (-size + 1, -2, -1, 1, 2, size - 1, 3 * size + 1):
        memory = np.zeros(values.nbytes + 128, np.uint8)
        x = memory[64 : 64 + values.nbytes].view(dtype)
        out = memory[64 + shift : 64 + shift + values.nbytes].view(dtype)
        x[...] = values
        first(call(function, x, grad=np.ones_like(values), out=out))
        assert_same_bits(out, expected, shift)
