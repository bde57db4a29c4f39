"""NaN, infinities, zeros, subnormals and the largest numbers, at every place of an array; and no place matters.

The truths are the limits in the catalogue and the reference's values; for the bits of an element, the same element
elsewhere: an element's bits depend on its value alone, never on its position, the array's length, alignment or stride,
the path of the call or the number of threads.
"""

import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from cases import ALL_DTYPES, BACKENDS, assert_same_bits, bits, call, finfo, inputs, limit, parameter_sets, truth

import fastact

EVERY_DTYPE = pytest.mark.parametrize("dtype", ALL_DTYPES)


def first(result):
    """The gradient of x, where a function gives one for each operand."""
    return result[0] if isinstance(result, tuple) else result


def nans(dtype):
    """Quiet and signalling NaNs of both signs."""
    dtype = np.dtype(dtype)
    info = finfo(dtype)
    word = np.dtype(f"u{dtype.itemsize}").type
    infinity = np.array(np.inf, dtype).view(word)
    quiet, signalling = word(1) << word(info.nmant - 1), word(1)
    patterns = [infinity | quiet, infinity | signalling, infinity | quiet | signalling]
    sign = word(1) << word(8 * dtype.itemsize - 1)
    return np.array([*patterns, *(pattern | sign for pattern in patterns)], word).view(dtype)


def specials(dtype):
    """Everything finite that arithmetic may trip over, in both signs."""
    info = finfo(dtype)
    with np.errstate(all="ignore"):
        numbers = [0.0, info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny / 2, info.tiny, info.eps]
        numbers += [info.tiny - info.smallest_subnormal, 0.5, 1.0, 1.0 + info.eps, 1.0 - info.epsneg, np.sqrt(info.max)]
        numbers += [info.max / 2, np.nextafter(info.max, info.dtype.type(0)), info.max]
        # where exponentials and Gaussians leave the normal numbers, and then the subnormal ones
        numbers += [10.4, 13.2, 17.3, 37.6, 39.0, 87.5, 88.8, 103.3, 104.5, 708.5, 709.9, 745.3, 746.0]
        positive = np.array(numbers).astype(dtype)
    return np.concatenate([positive, -positive])


def everything(function, dtype, count, params=None):
    """An array of ``count`` special values and samples, mixed."""
    extra = np.concatenate([nans(dtype), specials(dtype), np.array([np.inf, -np.inf], dtype)])
    values = np.concatenate([extra, inputs(function, dtype, max(0, count - extra.size), params)])
    return np.random.default_rng(5).permutation(values)[:count]


@EVERY_DTYPE
def test_nan_gives_nan(function, backend, dtype):
    for params in parameter_sets(function.row, function.direction):
        for x in (nans(dtype), np.tile(nans(dtype), 60), np.tile(nans(dtype), 60)[::3]):
            assert np.isnan(first(call(function, x, params))).all()


@EVERY_DTYPE
def test_nan_in_the_gradient(backward_function, backend, dtype):
    x = np.array([-2, -0.25, 0, 0.25, 2, np.nan], dtype)
    result = first(call(backward_function, x, grad=np.full(x.size, np.nan, dtype)))
    assert np.isnan(result).all()


@EVERY_DTYPE
def test_limits(function, backend, dtype):
    """The values at both infinities, alone and amid other numbers."""
    if function.direction == "backward_from_output":
        return
    row = function.row
    texts = row.limits if function.direction == "forward" else row.gradient_limits
    for params in parameter_sets(row, function.direction):
        # parameters are taken in the precision that computes, and so are the limits
        rounded = [float(np.array(p, np.promote_types(dtype, "f4"))) for p in params]
        for x, text in zip((-np.inf, np.inf), texts, strict=True):
            expected = np.array(limit(text, row, rounded)).astype(dtype)
            single = first(call(function, np.array([x], dtype), params))
            amid = first(call(function, np.array([1, x, np.nan, x, -1] * 20, dtype), params))[1::5]
            for got in (single, amid):
                assert (got == expected).all(), (params, x)
                if expected != 0 or text == "-0.0":
                    assert (np.signbit(got) == np.signbit(expected)).all(), (params, x)


@EVERY_DTYPE
def test_special_numbers(function, backend, dtype):
    """Within the row's ULP of the reference, zeros with their sign, and never NaN for a number."""
    row = function.row
    ulp = row.ulp if function.direction == "forward" else row.ulp_gradient
    # the reference itself is good to 2 ULP of float64; 16 bits are computed in float32 and rounded once
    allowed = {"float32": ulp.float32, "float64": ulp.float64 + 2}.get(dtype, 0.5 + 1e-3)
    for params in parameter_sets(row, function.direction):
        x = np.concatenate([specials(dtype), np.array([np.inf, -np.inf], dtype)])
        if function.direction == "backward_from_output":
            low, high = (limit(text, row, params) for text in row.output_range)
            x = x[(x >= low) & (x <= high)]
        with np.errstate(all="ignore"):
            expected = truth(function, x, params)
            rounded = expected.astype(dtype)
        got = first(call(function, x, params))
        assert not np.isnan(got).any(), (params, x[np.isnan(got)])
        with np.errstate(all="ignore"):
            spacing = np.maximum(np.spacing(np.abs(rounded)).astype("f8"), float(finfo(dtype).smallest_subnormal))
            error = np.abs(got.astype("f8") - expected) / spacing
        wrong = np.where(np.isinf(rounded) | np.isinf(got), got != rounded, ~(error <= max(allowed, 0.5)))
        zero = (got == 0) & (rounded == 0)
        if function.direction == "forward":
            wrong |= zero & (np.signbit(got) != np.signbit(rounded))
        assert not wrong.any(), (params, x[wrong], got[wrong], rounded[wrong])


def test_zeros_keep_their_sign(function, backend, dtype):
    if function.direction != "forward":
        return
    zeros = np.array([0.0, -0.0] * 20, dtype)
    got = function(zeros, *parameter_sets(function.row)[0])
    if truth(function, zeros[:1])[0] == 0:
        assert_same_bits(got, zeros)
    else:
        assert (got[::2] == got[1::2]).all()


# --- silence ----------------------------------------------------------------------------------------------------------

#: The patterns of NumPy's own test_unary_spurious_fpexception.
NAN, INF = np.nan, np.inf
PATTERNS = [
    [0.03],
    [-1.0],
    [1.0],
    [0.0],
    [-0.0],
    [NAN],
    [-NAN],
    [INF],
    [-INF],
    [0.03, NAN],
    [-1.0, NAN],
    [1.0, NAN],
    [0.0, -0.0, NAN],
    [INF, NAN],
    [-INF, NAN],
    [INF, -INF, NAN, 0.0, -0.0, 1.0, -1.0],
]


@EVERY_DTYPE
def test_silence(function, backend, dtype):
    """No warning and no error, whatever the values and however strict the caller's error state."""
    info = finfo(dtype)
    arrays = [np.array(pattern * times, dtype) for pattern in PATTERNS for times in (1, 32)]
    arrays += [np.array([value] * 33, dtype) for value in (info.max, -info.max, info.tiny, info.smallest_subnormal)]
    arrays += [nans(dtype), specials(dtype), everything(function, dtype, 129)]
    for params in parameter_sets(function.row, function.direction):
        with warnings.catch_warnings(), np.errstate(all="raise"):
            warnings.simplefilter("error")
            for x in arrays:
                call(function, x, params)
                call(function, x[::-1], params)
                call(function, x, params, out=x.copy())


@pytest.mark.parametrize("backend_name", BACKENDS[-2:])
def test_silence_of_scalars_and_integers(function, backend_name):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for value in (0.0, -1e308, 1e308, np.nan, -np.inf, 10**18, np.float32(3e38), np.int64(-(2**63)), True):
            call(function, value, grad=1.0)


def test_the_callers_error_state_is_kept(function, backend, dtype):
    """A call neither sets nor clears what NumPy will report of the caller's own arithmetic."""
    x = everything(function, dtype, 1000)
    with np.errstate(all="ignore"):
        call(function, x)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        np.multiply(np.array([1e300]), np.array([1e300]))
    with np.errstate(all="raise"):
        call(function, x)
        assert np.multiply(np.array([2.0]), np.array([3.0]))[0] == 6


# --- position ---------------------------------------------------------------------------------------------------------


@EVERY_DTYPE
def test_every_offset_and_length(function, backend, dtype):
    """Lengths 1 to 257 and offsets 0 to 63 in elements: body, tail and padding compute alike."""
    params = parameter_sets(function.row, function.direction)[-1]
    x = everything(function, dtype, 64 + 257, params)
    grad = np.random.default_rng(6).normal(size=x.size).astype(dtype)
    whole = bits(first(call(function, x, params, grad=grad)))
    # NumPy's expressions are slow to call: fewer of the combinations
    lengths = range(1, 258) if backend != "numpy" else range(1, 258, 16)
    places = [(length * 37 % 64, length) for length in lengths]
    places += [(offset, 1 + offset * 89 % 257) for offset in range(0, 64, 1 if backend != "numpy" else 8)]
    # one array of the elements one by one, too
    places += [(k, 1) for k in range(0, x.size, 1 if backend != "numpy" else 16)]
    for offset, length in places:
        window = slice(offset, offset + length)
        got = bits(first(call(function, x[window], params, grad=grad[window])))
        assert (got == whole[window]).all(), (offset, length)


@EVERY_DTYPE
def test_every_path(function, backend, dtype):
    """Dense, strided, unaligned, byte-swapped, in Fortran order, through the ufunc, with a mask: the same bits."""
    for params in parameter_sets(function.row, function.direction):
        x = everything(function, dtype, 300, params)
        grad = np.random.default_rng(7).normal(size=x.size).astype(dtype)
        expected = first(call(function, x, params, grad=grad))

        def check(what, result, expected=expected):
            assert_same_bits(np.asarray(first(result)).astype(dtype).reshape(-1), expected, what)

        for step in (-8, -3, -1, 2, 3, 5, 8):
            wide = np.repeat(x[:: np.sign(step)], abs(step))[:: abs(step)]
            check(step, call(function, wide[:: np.sign(step)], params, grad=grad))
        for offset in range(1, 8):
            raw = np.zeros(x.nbytes + 8, np.uint8)[offset : offset + x.nbytes].view(dtype)
            raw.view(np.uint8)[...] = x.view(np.uint8)
            check(offset, call(function, raw, params, grad=grad))
        swapped = x.byteswap().view(x.dtype.newbyteorder("S"))
        check("byte-swapped", call(function, swapped, params, grad=grad))
        table = x.reshape(15, 20).copy(order="F")
        check("Fortran", call(function, table, params, grad=grad.reshape(15, 20)))
        check("where", call(function, x, params, grad=grad, where=np.ones(300, bool), out=np.zeros(300, dtype)))
        check("order", call(function, x, params, grad=grad, order="C"))


def test_threads(function, backend, dtype, two_threads):
    """One thread or two, dense and strided, at an odd place."""
    # NumPy's threads wait for each other's turns in the interpreter: less of it
    for size, count in [(8192, 2)] if backend == "numpy" else [(8192, 2), (8193, 3), (50003, 2), (50003, 3)]:
        x = everything(function, dtype, size + 3)[3:]
        grad = np.random.default_rng(8).normal(size=size).astype(dtype)
        with fastact.num_threads(1):
            expected = first(call(function, x, grad=grad))
        with fastact.num_threads(count):
            assert_same_bits(first(call(function, x, grad=grad)), expected, (size, count))
            wide = np.repeat(x, 2)
            assert_same_bits(first(call(function, wide[::2], grad=grad)), expected, (size, count))
            assert_same_bits(first(call(function, x.copy(), grad=grad, out=wide[:size])), expected, (size, count))


def test_threads_start_where_the_table_says(function, dtype):
    """With the thresholds as they are: one element fewer, the threshold itself, and more."""
    threshold = function.parallel_from[dtype == "float64"]
    x = inputs(function, dtype, 2 * threshold)
    with fastact.num_threads(1):
        expected = first(call(function, x))
    with fastact.num_threads(2):
        for count in (threshold - 1, threshold, threshold + 1, 2 * threshold):
            assert_same_bits(first(call(function, x[:count])), expected[:count], count)


def test_threads_that_need_the_interpreter():
    """A kernel in Python, as NumPy's are, runs in every thread of a call: the caller must not keep the interpreter."""
    program = """
        import ctypes, threading, time
        import numpy as np
        import fastact

        def kernel(inputs, outputs, count, parameters):
            # the other threads are still busy when the calling one is done
            if threading.get_ident() != caller:
                time.sleep(0.01)

        caller = threading.get_ident()
        callback = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, ctypes.c_ssize_t, ctypes.c_void_p)(kernel)
        relu = fastact.relu
        relu.supply(2, 1, ctypes.cast(callback, ctypes.c_void_p).value, False)
        relu.activate(2, 1)
        relu.parallel_from = (512, 512)
        fastact.set_num_threads(2)
        for size in (1024, 2000, 8191, 8192, 100000):
            x = np.zeros(size)
            relu(x)
            relu(x, out=x)
            relu(x[::-1])
            relu(x[::2], out=x[::2])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        pytest.fail("a call did not come back")
    assert done.returncode == 0, done.stderr
