"""An element's bits depend on its value alone: not on its place, the array around it, the path of the call, or threads.

The truth is each value computed alone, in an array of one element.  A pool of values then goes through arrays of every
length, offset, alignment and stride, through every path, in place and out of place, on one thread and several.  Calls
write into pieces of one array, so that all results of a test are compared at once.
"""

import functools

import numpy as np
import pytest
from cases import ALL_DTYPES, assert_same_bits, bits, call, first, inputs, parameter_sets, thinned
from extremes import everything

import fastact
from fastact import dispatch

EVERY_DTYPE = pytest.mark.parametrize("dtype", ALL_DTYPES)
#: Values in the pool; a prime, so that rows of so many elements begin at every place of a cache line.  NumPy's
#: expressions are slow to call: fewer values.
COUNT, COUNT_OF_NUMPY = 601, 151


class Pool:
    """Values, gradients to go with them, and the bits that a function gives for each of them alone."""

    def __init__(self, function, backend, dtype, params):
        count = COUNT_OF_NUMPY if backend == "numpy" else COUNT
        self.function, self.params = function, params
        self.x = everything(function, dtype, count, params)
        self.grad = np.random.default_rng(6).normal(size=count).astype(dtype)
        if function.direction != "forward":
            # gradients of every kind too
            self.grad[::7] = inputs(function, dtype, self.grad[::7].size, params, seed=9)
        self.expected = self.in_pieces(np.arange(count), np.arange(count + 1))
        for array in (self.x, self.grad, self.expected):
            array.flags.writeable = False

    def call(self, x, grad, **keywords):
        return first(call(self.function, x, self.params, grad=grad, **keywords))

    def in_pieces(self, which, bounds, target=None):
        """Results of these values, by calls on the pieces of their array that lie between bounds.

        ``target``: the argument that is written over, for calls in place.
        """
        arrays = {"x": self.x[which], "grad": self.grad[which]}
        out = np.zeros_like(arrays["x"]) if target is None else arrays[target]
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            piece = slice(start, stop)
            self.call(arrays["x"][piece], arrays["grad"][piece], out=out[piece])
        return out


#: A pool serves several tests: calling a function with each value alone is what takes the time here.
pool_of = functools.cache(Pool)


def targets(function):
    """Where results go: a new array, or an argument that is written over."""
    return (None, "x") if function.direction == "forward" else (None, "x", "grad")


@EVERY_DTYPE
def test_every_offset(function, backend, dtype):
    """Each value at each of 64 consecutive elements, which are all the places in cache lines, vectors and granules."""
    pool = pool_of(function, backend, dtype, parameter_sets(function.row, function.direction)[-1])
    turns = thinned(np.arange(64), backend)
    which = ((turns[:, None] + np.arange(pool.x.size)) % pool.x.size).ravel()
    bounds = np.arange(turns.size + 1) * pool.x.size
    for target in targets(function):
        assert_same_bits(pool.in_pieces(which, bounds, target), pool.expected[which], target)


@EVERY_DTYPE
def test_every_length(function, backend, dtype):
    """Lengths from 1 to 257: body, tail and padding compute alike."""
    pool = pool_of(function, backend, dtype, parameter_sets(function.row, function.direction)[-1])
    lengths = thinned(np.arange(1, 258), backend)
    which = np.concatenate([(length * 37 + np.arange(length)) % pool.x.size for length in lengths])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    for target in targets(function):
        assert_same_bits(pool.in_pieces(which, bounds, target), pool.expected[which], target)


def spaced(array, step):
    """A copy whose elements are so many bytes apart, in either direction."""
    room = np.zeros((array.size + 1) * abs(step) + array.itemsize, np.uint8)
    start = (array.size - 1) * -step if step < 0 else 0
    view = np.ndarray(array.shape, array.dtype, room, start, (step,))
    view[...] = array
    return view


def moved(array, offset):
    """A copy that begins so many bytes behind a cache line's start."""
    room = np.zeros(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    view = room[start : start + array.nbytes].view(array.dtype)
    view[...] = array
    return view


@EVERY_DTYPE
def test_every_alignment_and_stride(function, backend, dtype):
    """At odd addresses, and with steps between elements that are no multiple of an element's size."""
    pool = pool_of(function, backend, dtype, parameter_sets(function.row, function.direction)[-1])
    size = np.dtype(dtype).itemsize
    layouts = [(moved, offset) for offset in [*range(1, 10), 63]]
    steps = [*range(size, 3 * size + 2), 4 * size, 8 * size, 8 * size + 1, 64, 4096]
    layouts += [(spaced, sign * step) for step in steps for sign in (1, -1)]
    for lay_out, step in thinned(layouts, backend):
        result = pool.call(lay_out(pool.x, step), lay_out(pool.grad, step))
        assert_same_bits(result, pool.expected, (lay_out.__name__, step))
        out = lay_out(np.zeros_like(pool.x), step)
        pool.call(pool.x, pool.grad, out=out)
        assert_same_bits(out, pool.expected, (lay_out.__name__, step, "out"))
        x = lay_out(pool.x, step)
        pool.call(x, pool.grad, out=x)
        assert_same_bits(x, pool.expected, (lay_out.__name__, step, "in place"))


def paths(pool, backend, dtype):
    """What it is called, and a result in the pool's order, for each way to call a function."""
    x, grad, count = pool.x, pool.grad, pool.x.size
    gradients = () if pool.function.direction == "forward" else (grad,)
    ufunc = getattr(fastact.ufuncs, pool.function.name)
    yield "ufunc", first(ufunc(*gradients, x, *pool.params))
    with_out = ufunc(*gradients, x, *pool.params, out=(np.zeros_like(x),) + (None,) * (ufunc.nout - 1))
    yield "ufunc with out", first(with_out)
    if not pool.function.operand_names:
        columns = [np.full(count, p, np.promote_types(dtype, "f4")) for p in pool.params]
        yield "arrays of parameters", first(ufunc(*gradients, x, *columns)).astype(dtype)
    yield "new array", pool.call(x, grad)
    yield "scalars", np.array([pool.call(x[k], grad[k]) for k in range(len(thinned(range(64), backend)))], dtype)
    # a kernel is called for each run of a mask
    mask = np.arange(count) // (16 if backend == "numpy" else 1) % 3 != 0
    halves = np.zeros_like(x)
    for where in (mask, ~mask):
        pool.call(x, grad, out=halves, where=where)
    yield "where", halves
    matrix, rest = x[: count // 4 * 4].reshape(4, -1), count // 4 * 4
    yield "Fortran order", pool.call(np.asfortranarray(matrix), np.asfortranarray(grad[:rest].reshape(4, -1))).ravel()
    yield "rows apart", pool.call(np.tile(matrix, 2)[:, : rest // 4], grad[:rest].reshape(4, -1)).ravel()
    swapped = x.astype(x.dtype.newbyteorder("S"))
    yield "byte-swapped", pool.call(swapped, grad).astype(dtype)
    records = np.zeros(count, np.dtype([("tag", "u1"), ("value", x.dtype), ("rest", "u2")]))
    records["value"] = x
    yield "structured field", pool.call(records["value"], grad)
    readable = x.copy()
    readable.flags.writeable = False
    yield "read-only", pool.call(readable, grad)


@EVERY_DTYPE
def test_every_path(function, backend, dtype):
    """The direct call, the ufunc, a mask, scalars, other orders of axes and bytes."""
    for params in parameter_sets(function.row, function.direction):
        pool = pool_of(function, backend, dtype, params)
        for name, result in paths(pool, backend, dtype):
            assert_same_bits(result, pool.expected[: result.size], (name, params))


@EVERY_DTYPE
def test_every_number_of_threads(function, backend, dtype, two_threads):
    """One thread, two or three; dense, strided and in place, with an odd size and at an odd place.

    Calls come in a row, because a thread that sleeps wakes up too late for one short call.
    """
    pool = pool_of(function, backend, dtype, parameter_sets(function.row, function.direction)[0])
    turns, size = (1, 4099) if backend == "numpy" else (12, 20_011)
    which = np.arange(size) % pool.x.size
    x, grad = pool.x[which], pool.grad[which]
    apart = np.repeat(x, 2)[::2]
    places = np.concatenate([x[:3], np.tile(x, turns)])[3:].reshape(turns, size)
    outs = np.zeros((2, turns, size), dtype)
    for count in (1, 2, 3):
        in_place = places.copy()
        with fastact.num_threads(count):
            for turn in range(turns):
                pool.call(x, grad, out=outs[0, turn])
                pool.call(apart, grad, out=outs[1, turn])
                pool.call(in_place[turn], grad, out=in_place[turn])
        for result in (*outs, in_place):
            assert_same_bits(result, np.broadcast_to(pool.expected[which], result.shape), count)


def test_threads_start_where_the_table_says(function, dtype):
    """With the thresholds as they are: one element fewer, the threshold itself, and more."""
    threshold = function.parallel_from[dispatch.DTYPES.index(dtype)]
    x = inputs(function, dtype, 2 * threshold)
    with fastact.num_threads(1):
        expected = bits(first(call(function, x)))
    with fastact.num_threads(2):
        for count in (threshold - 1, threshold, threshold + 1, 2 * threshold):
            assert (bits(first(call(function, x[:count]))) == expected[:count]).all(), count
