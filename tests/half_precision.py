"""float16 and bfloat16 whole: every number of 16 bits, and which results are not the correctly rounded ones.

>>> from half_precision import errors
>>> errors(fastact.gelu, "bfloat16").misrounded     # inputs, what they gave, and what would be right
"""

import functools
from typing import NamedTuple

import numpy as np
from cases import call, limit, parameter_sets, truth

#: Bits of the significand, exponent of the smallest subnormal, and of the first power of two that is too large.
FORMATS = {"float16": (11, -24, 16), "bfloat16": (8, -133, 128)}


class Errors(NamedTuple):
    """What a function does on all numbers that it is made for."""

    #: How many there are.
    count: int
    #: Largest distance from the truth, in ULP of the 16-bit type (subnormals included), and where it is.
    worst: float
    place: float
    #: Inputs whose result is not the truth rounded once, with that result and the truth so rounded.
    misrounded: list[tuple[float, float, float]]


def numbers(dtype):
    """All 65,536 bit patterns."""
    return np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(dtype)


def nans(dtype):
    """Every NaN there is, quiet and signalling."""
    x = numbers(dtype)
    with np.errstate(invalid="ignore"):  # ml_dtypes asks in float32, which minds the signalling ones
        return x[np.isnan(x)]


def unit(values, dtype):
    """The unit in the last place of float64 values in a 16-bit type, nowhere less than the smallest subnormal."""
    digits, lowest, _ = FORMATS[dtype]
    return np.ldexp(1.0, np.maximum(np.frexp(values)[1] - digits, lowest))


def rounded(values, dtype):
    """Float64 values rounded once to a 16-bit type, to nearest even; they stay float64."""
    with np.errstate(over="ignore"):
        nearest = np.rint(values / unit(values, dtype)) * unit(values, dtype)
    return np.where(np.abs(nearest) >= np.ldexp(1.0, FORMATS[dtype][2]), np.copysign(np.inf, values), nearest)


class Right(NamedTuple):
    """The numbers that a function is made for, in the 16-bit type and in float64, and what it should give."""

    x: np.ndarray
    wide: np.ndarray
    exact: np.ndarray
    rounded: np.ndarray
    unit: np.ndarray


@functools.lru_cache(maxsize=8)  # backends take turns
def right_results(function, dtype, params):
    x = numbers(dtype)
    with np.errstate(invalid="ignore"):  # which a signalling NaN is
        wide = x.astype(np.float64)
    if function.direction == "backward_from_output":
        low, high = (limit(text, function.row, params) for text in function.row.output_range)
        chosen = (wide >= low) & (wide <= high)
    else:
        chosen = np.isfinite(wide)
    x, wide = x[chosen], wide[chosen]
    with np.errstate(all="ignore"):
        exact = truth(function, x, params)
        return Right(x, wide, exact, rounded(exact, dtype), unit(exact, dtype))


def errors(function, dtype, params=None):
    """The ``Errors`` of a function with its default parameters, or these, and a gradient of 1."""
    params = parameter_sets(function.row, function.direction)[0] if params is None else params
    x, wide, exact, right, units = right_results(function, dtype, tuple(params))
    result = call(function, x, params)
    result = result[0] if isinstance(result, tuple) else result
    assert result.dtype == dtype
    got = result.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.abs(got - exact) / units
    error[(got == right) & np.isinf(right)] = 0.0
    worst = int(np.argmax(error))
    wrong = got != right
    misrounded = list(zip(wide[wrong].tolist(), got[wrong].tolist(), right[wrong].tolist(), strict=True))
    return Errors(x.size, float(error[worst]), float(wide[worst]), misrounded)
