"""Where arrays begin changes no result, and nothing beside them is written.

A large output is begun at a cache line (driver.pxi), whatever stands before it goes another way.  The truth is NumPy's,
which does to the bit what relu and leaky_relu's gradient are.
"""

import numpy as np
import pytest
from cases import assert_same_bits, needs_threads

import fastact
from fastact import dispatch

LINE = 64
#: Elements: less and more than are worth to be begun at a line, with a tail and without, and enough for threads.
SIZES = (500, 8192, 16400, 16411, 400_003)
GUARD = 137.0


def elements_from(dtype, offset, count):
    """So many elements that begin ``offset`` bytes behind a cache line, and the whole array that they lie in."""
    spare = 2 * LINE // dtype.itemsize
    whole = np.full(count + 2 * spare, GUARD, dtype)
    start = spare + (offset - (whole.ctypes.data + spare * dtype.itemsize)) % LINE // dtype.itemsize
    part = whole[start : start + count]
    assert part.ctypes.data % LINE == offset
    return part, whole, start


def assert_written_only(part, whole, start):
    assert (whole[:start] == GUARD).all() and (whole[start + len(part) :] == GUARD).all()


@pytest.fixture(params=(1, pytest.param(2, marks=needs_threads)))
def threads(request):
    with fastact.num_threads(request.param):
        yield request.param


@pytest.mark.parametrize("name", ("float32", "float64", "float16"))
@pytest.mark.parametrize("size", SIZES)
def test_every_beginning(name, size, threads):
    dtype = np.dtype(name)
    random = np.random.default_rng(size)
    x, grad = (random.normal(size=size).astype(dtype) for _ in range(2))
    rectified, slope = np.maximum(x, dtype.type(0)), np.where(x > 0, grad, grad * dtype.type(0.25))
    if size == max(SIZES) and threads > 1:
        assert dispatch.threads_for(fastact.relu, name, size) == threads
    for offset in range(0, LINE, dtype.itemsize):
        out, whole, start = elements_from(dtype, offset, size)
        fastact.relu(x, out=out)
        assert_same_bits(out, rectified, f"apart, {offset} bytes behind a line")
        assert_written_only(out, whole, start)
        out[:] = grad
        fastact.leaky_relu_backward(out, x, 0.25, out=out)
        assert_same_bits(out, slope, f"in place, {offset} bytes behind a line")
        assert_written_only(out, whole, start)


@pytest.mark.parametrize("offset", (4, 16, 60))
@pytest.mark.parametrize("shift", (1, 3, 16, 21))
def test_an_output_trails_its_input(offset, shift, threads):
    """As if the input had been copied, in either direction."""
    dtype, size = np.dtype("float32"), 100_000
    values = np.random.default_rng(shift).normal(size=size + shift).astype(dtype)
    for x, out in ((slice(shift, None), slice(None, size)), (slice(None, size), slice(shift, None))):
        memory, whole, start = elements_from(dtype, offset, size + shift)
        memory[:] = values
        fastact.relu(memory[x], out=memory[out])
        expected = values.copy()
        expected[out] = np.maximum(values[x], dtype.type(0))
        assert_same_bits(memory, expected, (x, out))
        assert_written_only(memory, whole, start)


def test_elements_between_their_places(threads):
    """A float32 that begins at an odd byte stands before no line that it could be brought to."""
    size = 20_000
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    for offset in (1, 2, 3, 5):
        memory = np.zeros(4 * size + LINE, np.uint8)
        out = memory[offset : offset + 4 * size].view(np.float32)
        fastact.relu(values, out=out)
        assert_same_bits(np.array(out), np.maximum(values, np.float32(0)), offset)
