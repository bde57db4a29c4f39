"""Every public function takes any array that NumPy would, and gives the bits of the dense call.

The truth is threefold: the same function on a dense copy for the bits, ``np.tanh`` on the very same argument for
everything about the result that is not its value (type, dtype, shape, memory order), and byte snapshots of the memory
under the arguments for what a call must not touch.
"""

import copy
import pickle
import tempfile
import warnings

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, LEVELS, assert_same_bits, call, first, inputs, parameter_sets, thinned

import fastact
from fastact import dispatch

SHAPE = (5, 6, 7)
EVERY_DTYPE = pytest.mark.parametrize("dtype", ALL_DTYPES)


def strided(step):
    """Every step-th place of a larger array, along the last axis."""

    def lay_out(dense):
        buffer = np.empty((*dense.shape[:-1], dense.shape[-1] * abs(step)), dense.dtype)
        view = buffer[..., ::step]
        view[...] = dense
        return view

    return lay_out


def permuted(*axes):
    """Dense in memory, with the axes in another order."""
    return lambda dense: np.ascontiguousarray(dense.transpose(axes)).transpose(np.argsort(axes))


def unaligned(offset):
    """Dense, but starting some bytes after an aligned address."""

    def lay_out(dense):
        buffer = np.zeros(dense.nbytes + 64, np.uint8)
        start = -buffer.ctypes.data % 64 + offset
        view = buffer[start : start + dense.nbytes].view(dense.dtype).reshape(dense.shape)
        view[...] = dense
        return view

    return lay_out


def field(dense):
    records = np.zeros(dense.shape, np.dtype([("tag", "u1"), ("value", dense.dtype), ("rest", "u2")]))
    records["value"] = dense
    return records["value"]


def aligned_field(dense):
    records = np.zeros(dense.shape, np.dtype([("tag", "u1"), ("value", dense.dtype)], align=True))
    records["value"] = dense
    return records["value"]


def read_only(dense):
    view = dense.copy()
    view.flags.writeable = False
    return view


def overlapping_itself(dense):
    """Rows that share elements: fine as an input."""
    return np.lib.stride_tricks.as_strided(dense, dense.shape, (dense.itemsize, 3 * dense.itemsize, 2 * dense.itemsize))


def on_disk(dense):
    with tempfile.TemporaryFile() as file:
        view = np.memmap(file, dense.dtype, "w+", shape=dense.shape)
    view[...] = dense
    return view


LAYOUTS = {
    "dense": np.copy,
    **{f"step {step}": strided(step) for step in (*range(-8, 0), *range(2, 9))},
    "Fortran order": np.asfortranarray,
    "axes 1 0 2": permuted(1, 0, 2),
    "axes 0 2 1": permuted(0, 2, 1),
    "axes 2 0 1": permuted(2, 0, 1),
    "reversed": lambda dense: dense[::-1, ::-1, ::-1],
    "reversed in the middle": lambda dense: dense[:, ::-1],
    "every other plane": lambda dense: np.repeat(dense, 2, axis=0)[::2],
    "one axis broadcast": lambda dense: np.broadcast_to(dense[:, :1], dense.shape),
    "last axis broadcast": lambda dense: np.broadcast_to(dense[..., :1], dense.shape),
    "all broadcast": lambda dense: np.broadcast_to(dense[0, 0, 0], dense.shape),
    "sharing elements": overlapping_itself,
    "read-only": read_only,
    "byte-swapped": lambda dense: dense.astype(dense.dtype.newbyteorder("S")),
    "byte-swapped step 2": lambda dense: strided(2)(dense.astype(dense.dtype.newbyteorder("S"))),
    **{f"offset {offset}": unaligned(offset) for offset in range(1, 8)},
    "offset 1 step 2": lambda dense: unaligned(1)(np.repeat(dense, 2, axis=1))[:, ::2],
    "structured field": field,
    "aligned structured field": aligned_field,
    "memory map": on_disk,
    "matrix": lambda dense: dense.reshape(-1, dense.shape[-1]).copy().view(np.matrix),
}


def layouts_for(backend):
    return dict(thinned(list(LAYOUTS.items()), backend, every=4))


def memory_under(array):
    """All bytes of the array that owns the memory, for snapshots."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.reshape(-1).view(np.uint8, np.ndarray)


def plain(array):
    """The same values, dense, aligned, native, and exactly an ndarray."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", subok=False)


def check_like_numpy(result, arguments, expected, what):
    """The result has the expected bits; in all else it is what NumPy's own ufunc of so many arguments gives."""
    with np.errstate(all="ignore"):
        like = (np.tanh if len(arguments) == 1 else np.arctan2)(*arguments)
    assert type(result) is type(like), what
    assert result.shape == like.shape, what
    assert result.dtype == like.dtype, what
    # an axis of one element has no order
    long = np.array(like.shape) > 1
    assert np.array(result.strides)[long].tolist() == np.array(like.strides)[long].tolist(), what
    assert_same_bits(plain(result), expected.reshape(result.shape), what)


@EVERY_DTYPE
def test_every_layout_gives_the_bits_of_the_dense_call(function, backend, dtype):
    params = parameter_sets(function.row, function.direction)[-1]
    dense = inputs(function, dtype, np.prod(SHAPE), params).reshape(SHAPE)
    for name, lay_out in layouts_for(backend).items():
        view = lay_out(dense)
        before = memory_under(view).tobytes()
        grad = plain(view)[::-1].copy() if function.direction != "forward" else None
        given = None if grad is None else grad.view(type(view)) if isinstance(view, np.matrix) else grad
        result = first(call(function, view, params, grad=given))
        arguments = (view,) if grad is None else (given, view)
        check_like_numpy(result, arguments, first(call(function, plain(view), params, grad=grad)), name)
        assert memory_under(view).tobytes() == before, name


@EVERY_DTYPE
def test_gradient_of_every_layout(backward_function, backend, dtype):
    function = backward_function
    x = inputs(function, dtype, np.prod(SHAPE)).reshape(SHAPE)
    ones = np.random.default_rng(0).normal(size=SHAPE).astype(dtype)
    for name, lay_out in layouts_for(backend).items():
        if name == "matrix":
            continue
        grad = lay_out(ones)
        before = memory_under(grad).tobytes()
        expected = first(call(function, x, grad=plain(grad)))
        assert_same_bits(first(call(function, x, grad=grad)), expected, name)
        both = lay_out(x)
        expected = first(call(function, plain(both), grad=plain(grad)))
        assert_same_bits(plain(first(call(function, both, grad=grad))), expected, f"both {name}")
        assert memory_under(grad).tobytes() == before, name


@EVERY_DTYPE
def test_outputs_of_every_layout(function, backend, dtype):
    x = inputs(function, dtype, np.prod(SHAPE)).reshape(SHAPE)
    expected = first(call(function, x))
    not_writeable = ("broadcast", "sharing", "read-only", "matrix")
    for name in layouts_for(backend):
        if any(word in name for word in not_writeable):
            continue
        out = LAYOUTS[name](np.zeros_like(x))
        memory = memory_under(out)
        before = memory.copy()
        result = first(call(function, x, out=out))
        assert result is out, name
        assert_same_bits(plain(out), expected, name)
        # what lies between the elements of out is as before
        out[...] = 0
        assert memory.tobytes() == before.tobytes(), name


@EVERY_DTYPE
def test_where(function, backend, dtype):
    x = inputs(function, dtype, np.prod(SHAPE)).reshape(SHAPE)
    where = np.random.default_rng(1).random(SHAPE[1:]) < 0.5
    full = first(call(function, x))
    expected = np.where(where, full, np.asarray(7, dtype))
    for lay_out in thinned((np.copy, strided(-2), permuted(1, 0, 2)), backend):
        out = lay_out(np.full(SHAPE, 7, dtype))
        assert first(call(function, x, out=out, where=where)) is out
        assert_same_bits(plain(out), expected)
    in_place = x.copy()
    call(function, in_place, out=in_place, where=where)
    assert_same_bits(in_place, np.where(where, full, x))


@EVERY_DTYPE
def test_empty(function, dtype):
    for shape in [(0,), (0, 3), (6, 0, 0), (3, 0, 1, 0), (0,) * 33]:
        for x in (np.empty(shape, dtype), np.empty(shape, dtype, order="F"), np.empty((*shape, 4), dtype)[..., ::2]):
            result = first(call(function, x))
            assert type(result) is np.ndarray
            assert result.dtype == x.dtype
            assert result.shape == x.shape
            out = np.empty_like(x)
            assert first(call(function, x, out=out)) is out


@EVERY_DTYPE
def test_no_dimensions(function, backend, dtype):
    """An array without dimensions gives such an array, a scalar gives a scalar."""
    values = inputs(function, dtype, 8)
    expected = first(call(function, values))
    for value, wanted in zip(values, expected, strict=True):
        for zero_d in (np.array(value), np.array(value).astype(values.dtype.newbyteorder("S")), unaligned(1)(value)):
            result = first(call(function, zero_d, grad=np.ones((), dtype)))
            assert type(result) is np.ndarray
            assert_same_bits(result, wanted)
        result = first(call(function, value, grad=values.dtype.type(1)))
        assert type(result) is type(np.tanh(value))
        assert_same_bits(result, wanted)
        out = np.zeros((), dtype)
        assert first(call(function, np.array(value), out=out, grad=np.ones((), dtype))) is out
        assert_same_bits(out, wanted)


SCALARS = [1.5, -0.25, 1, 0, -3, True, False, np.float16(1.5), np.float32(-1.5), np.float64(0.3)]
SCALARS += [np.dtype(kind).type(3) for kind in "?bBhHiIlLqQ"]


def test_scalars(function):
    for value in SCALARS:
        like = np.tanh(value)
        # the parameters as numbers of the value's precision: a Python weight beside a Python bool would be a float64
        params = [like.dtype.type(p) for p in parameter_sets(function.row)[0]]
        result = first(call(function, value, params, grad=type(value)(1)))
        assert type(result) is type(like)
        array = np.array([value], like.dtype)
        assert_same_bits(result, first(call(function, array, params))[0], repr(value))


def test_integers_and_bools(function, backend):
    for kind in "?bBhHiIlLqQ":
        info = None if kind == "?" else np.iinfo(kind)
        values = [0, 1] if info is None else [info.min, info.min + 1, *range(0 if info.min == 0 else -9, 10), info.max]
        x = np.array(values * 3, kind)
        like = np.tanh.resolve_dtypes((x.dtype, None))[-1]
        # the largest integers of some kinds lie beyond float16
        with np.errstate(over="ignore"):
            expected = first(call(function, x.astype(like), grad=np.ones(x.size, like)))
        for argument in (x, strided(2)(x), x.astype(x.dtype.newbyteorder("S")), read_only(x)):
            before = argument.tobytes()
            result = first(call(function, argument, grad=np.ones(x.size, like)))
            assert_same_bits(result, expected, kind)
            assert argument.tobytes() == before


def test_lists(function):
    nested = [[-1.5, 0.0, 2.0], [1e-3, -7.0, 100.0]]
    dense = np.array(nested)
    expected = first(call(function, dense))
    for argument in (nested, [np.array(row) for row in nested], tuple(map(tuple, nested)), dense.data):
        result = first(call(function, argument, grad=np.ones_like(dense)))
        assert type(result) is np.ndarray
        assert_same_bits(result, expected)
    if function.direction != "forward":
        assert_same_bits(first(call(function, dense, grad=[[1, 1, 1], [1, 1, 1]])), expected)


@EVERY_DTYPE
def test_python_gradient_does_not_decide_the_dtype(backward_function, dtype):
    """A Python number is as precise as the array beside it, as in ``np.multiply(1.0, x)``."""
    x = inputs(backward_function, dtype, 20)
    expected = first(call(backward_function, x, grad=np.full(20, 2, dtype)))
    for grad in (2.0, 2):
        assert_same_bits(first(call(backward_function, x, grad=grad)), expected, repr(grad))


def test_mixed_dtypes(backward_function):
    """Arrays of two dtypes are computed in their common one."""
    for one, other in (("f2", "f4"), ("f4", "f8"), ("f8", "f2"), ("i4", "f4"), ("i1", "f4"), ("?", "f8")):
        grad = np.array([1, 0, 1, 1], one)
        x = np.array([-1, 2, 3, 0.5], other)
        common = np.result_type(np.tanh(grad), np.tanh(x))
        expected = first(call(backward_function, x.astype(common), grad=grad.astype(common)))
        assert_same_bits(first(call(backward_function, x, grad=grad)), expected, (one, other))
        flipped = first(call(backward_function, grad, grad=x))
        assert_same_bits(
            flipped, first(call(backward_function, grad.astype(common), grad=x.astype(common))), (one, other)
        )


def test_broadcasting_of_grad_and_x(backward_function, dtype):
    x = inputs(backward_function, dtype, 12).reshape(3, 4)
    for grad in (np.full(4, 2, dtype), np.full((3, 1), 2, dtype), np.full((2, 1, 1), 2, dtype), np.array(2, dtype)):
        expected = first(call(backward_function, x, grad=np.full((3, 4), 2, dtype)))
        shape = np.broadcast_shapes(grad.shape, x.shape)
        assert_same_bits(first(call(backward_function, x, grad=grad)), np.broadcast_to(expected, shape))


def test_many_dimensions(function, dtype):
    values = inputs(function, dtype, 24)
    expected = first(call(function, values))
    ones = ([1] * (dimensions - 2) for dimensions in (2, 5, 32, 33, 64))
    for shape in (shape for more in ones for shape in ((*more, 4, 6), (4, *more, 6), (4, 6, *more))):
        for x in (values.reshape(shape), strided(2)(values.reshape(shape)), np.asfortranarray(values.reshape(shape))):
            arguments = (x,) if function.direction == "forward" else (np.ones_like(x), x)
            check_like_numpy(first(call(function, x)), arguments, expected, (shape, x.strides))


class Tagged(np.ndarray):
    """A subclass that keeps an attribute through views and results, as NumPy's own guide writes it."""

    def __array_finalize__(self, other):
        self.tag = getattr(other, "tag", None)


class Recorder:
    """Not an array at all: takes part by NumPy's protocol."""

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return ufunc, method, inputs, keywords


class Refuser:
    """Says by NumPy's protocol that ufuncs are not for it."""

    __array_ufunc__ = None


class Convertible:
    """Knows only how to become an array."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_subclasses(function, dtype):
    x = inputs(function, dtype, 12).reshape(3, 4)
    expected = first(call(function, x))
    tagged = x.view(Tagged)
    tagged.tag = "kept"
    result = first(call(function, tagged, grad=np.ones_like(x)))
    assert type(result) is Tagged
    assert result.tag == "kept"
    assert_same_bits(plain(result), expected)
    assert type(first(call(function, tagged, grad=np.ones_like(x), subok=False))) is np.ndarray
    result = first(call(function, x.view(np.matrix), grad=np.ones_like(x)))
    assert type(result) is np.matrix
    assert_same_bits(plain(result), expected)
    out = np.zeros_like(x).view(Tagged)
    assert first(call(function, x, out=out)) is out
    assert_same_bits(plain(out), expected)


def test_masked_arrays(plain_function, dtype):
    x = inputs(plain_function, dtype, 12).reshape(3, 4)
    masked = np.ma.array(x, mask=np.arange(12).reshape(3, 4) % 5 == 0)
    result = call(plain_function, masked, grad=np.ones_like(x))
    assert type(result) is np.ma.MaskedArray
    np.testing.assert_array_equal(result.mask, masked.mask)
    kept = ~masked.mask
    assert_same_bits(result.data[kept], call(plain_function, x)[kept])
    assert_same_bits(masked.data, x)


def test_array_protocols(function):
    foreign = Recorder()
    grad = (np.ones(3),) if function.direction != "forward" else ()
    params = parameter_sets(function.row)[0]
    ufunc, method, given, keywords = function(*grad, foreign, *params)
    assert ufunc is function.ufunc
    assert method == "__call__"
    assert given[len(grad)] is foreign
    assert given[len(grad) + 1 :] == params
    assert not keywords
    out = Recorder()
    *_, keywords = function(*grad, np.ones(3), *params, out=out)
    assert keywords["out"][0] is out
    if grad:
        assert function(Recorder(), np.ones(3), *params)[0] is function.ufunc
    with pytest.raises(TypeError):
        function(*grad, Refuser(), *params)
    values = [-1.0, 0.5, 2.0]
    result = first(function(*grad, Convertible(values), *params))
    assert_same_bits(result, first(function(*grad, np.array(values), *params)))


def test_other_peoples_arrays(plain_function):
    """pandas, xarray and dask call the ufunc on what they hold, and keep their own type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pandas = pytest.importorskip("pandas")
        xarray = pytest.importorskip("xarray")
        dask_array = pytest.importorskip("dask.array")
    x = inputs(plain_function, "float32", 12)
    expected = call(plain_function, x)
    series = call(plain_function, pandas.Series(x, name="kept"), grad=np.ones_like(x))
    assert series.name == "kept"
    assert_same_bits(series.to_numpy(), expected)
    labelled = call(plain_function, xarray.DataArray(x, dims=["place"]), grad=np.ones_like(x))
    assert labelled.dims == ("place",)
    assert_same_bits(labelled.to_numpy(), expected)
    lazy = call(plain_function, dask_array.from_array(x, chunks=5), grad=np.ones_like(x))
    assert isinstance(lazy, dask_array.Array)
    assert lazy.dtype == x.dtype
    assert_same_bits(lazy.compute(scheduler="synchronous"), expected)


def test_dtype_and_casting(plain_function):
    single = inputs(plain_function, "float32", 20)
    double = single.astype("f8")
    # the dtype asked for is the one that computes
    assert_same_bits(call(plain_function, single, dtype="f8"), call(plain_function, double))
    assert_same_bits(call(plain_function, double, dtype="f4"), call(plain_function, single))
    # out decides nothing: float32 computes, then the result is cast
    wide = np.zeros(20, "f8")
    assert call(plain_function, single, out=wide) is wide
    assert_same_bits(wide, call(plain_function, single).astype("f8"))
    narrow = np.zeros(20, "f4")
    with np.errstate(over="ignore"):
        call(plain_function, double, out=narrow)
        assert_same_bits(narrow, call(plain_function, double).astype("f4"))
    integers = np.zeros(20, "i8")
    small = np.linspace(-3, 3, 20)
    call(plain_function, small, out=integers, casting="unsafe")
    np.testing.assert_array_equal(integers, call(plain_function, small).astype("i8"))
    for casting in ("no", "equiv", "safe"):
        with pytest.raises(TypeError):
            call(plain_function, double, out=narrow, casting=casting)
        with pytest.raises(TypeError):
            call(plain_function, double, dtype="f4", casting=casting)


@pytest.mark.parametrize("order", ["C", "F", "A", "K"])
def test_order(plain_function, order):
    for x in (np.ones((3, 4)), np.ones((3, 4), order="F"), np.ones((3, 4, 2)).transpose(1, 0, 2)):
        assert call(plain_function, x, order=order).strides == np.tanh(x, order=order).strides


def test_functions_are_found_by_name(function):
    assert pickle.loads(pickle.dumps(function)) is function
    assert pickle.loads(pickle.dumps(function.ufunc)) is function.ufunc
    assert copy.copy(function) is function
    assert copy.deepcopy(function) is function
    assert copy.deepcopy({"activation": function})["activation"] is function
    assert getattr(fastact, function.name) is function
    assert getattr(fastact.ufuncs, function.name) is function.ufunc
    assert isinstance(function.ufunc, np.ufunc)
    assert function.ufunc.__name__ == function.__name__ == function.name


def test_the_ufunc_is_the_function(function, backend, dtype):
    """Same bits through the ufunc itself, with the parameters as operands, also as arrays of parameters."""
    for params in parameter_sets(function.row, function.direction):
        x = inputs(function, dtype, 40, params)
        grad = (np.ones_like(x),) if function.direction != "forward" else ()
        expected = first(
            call(function, x, [np.asarray(p, dtype) for p in params] if function.operand_names else params)
        )
        assert_same_bits(first(function.ufunc(*grad, x, *params)), expected)
        assert_same_bits(first(function.ufunc(*grad, x, *(np.full_like(x, p) for p in params))), expected)
    if len(sets := parameter_sets(function.row, function.direction)) > 1:
        # parameters that change from element to element
        columns = np.array(sets[:2], dtype)[:, 0]
        x = inputs(function, dtype, 40)
        grad = (np.ones_like(x),) if grad else ()
        result = first(function.ufunc(*grad, x, np.tile(columns, 20)))
        for k in range(2):
            one = first(function.ufunc(*grad, x, columns[k]))
            assert_same_bits(result[k::2], one[k::2])


def test_nothing_here_depends_on_the_build():
    """The instruction sets tested are those that this machine runs; at least the baseline."""
    assert LEVELS
    assert {function.name for function in FUNCTIONS} == set(dispatch.FUNCTIONS)
