"""NaN, infinities, zeros, subnormals and the largest numbers.

The truths are the limits in the catalogue and the reference's values.  That the place in an array does not matter is
what ``test_bits.py`` is about.
"""

import warnings

import numpy as np
import pytest
from cases import ALL_DTYPES, BACKENDS, assert_same_bits, call, finfo, first, limit, parameter_sets, thinned, truth
from extremes import everything, nans, specials
from numpy.testing import assert_allclose

import fastact

EVERY_DTYPE = pytest.mark.parametrize("dtype", ALL_DTYPES)


@EVERY_DTYPE
def test_nan_gives_nan(function, backend, dtype):
    for params in parameter_sets(function.row, function.direction):
        for x in (nans(dtype), np.tile(nans(dtype), 60), np.tile(nans(dtype), 60)[::3]):
            result = first(call(function, x, params))
            # a rectifier hands a signalling NaN on as it is, and ml_dtypes, not NumPy, says so when it looks at one
            with np.errstate(invalid="ignore"):
                assert np.isnan(result).all()


@EVERY_DTYPE
def test_nan_in_the_gradient(backward_function, backend, dtype):
    x = np.array([-2, -0.25, 0, 0.25, 2, np.nan], dtype)
    result = first(call(backward_function, x, grad=np.full(x.size, np.nan, dtype)))
    assert np.isnan(result).all()


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
            for x in thinned(arrays, backend):
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


def test_softplus_of_a_tiny_beta(backend):
    """The tail is divided by beta: cut off too early, it was 1.7e-18 for -inf."""
    x = np.array([-np.inf, -2e32, -1.2e32, -1e31], np.float32)
    beta = float(np.float32(1e-30))
    expected = (np.log1p(np.exp(x.astype(np.float64) * beta)) / beta).astype(np.float32)
    result = fastact.softplus(x, beta=beta)
    assert_allclose(result[2:], expected[2:], rtol=2**-23)
    assert (result[:2] == 0).all()
