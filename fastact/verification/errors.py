"""What counts as an error: the distance of a result from the truth in units in the last place (ULP) of the truth.

The truth t is a float64.  One ULP of it is 2**(e - digits + 1) where 2**e <= abs(t) < 2**(e + 1), and at least the
smallest subnormal.  An infinite result stands for the power of two that follows the largest finite number, and is right
(error 0) where the truth rounds to it; where abs(t) is below the largest finite number, it is infinitely wrong.
A NaN is infinitely wrong.  The sign of zero does not count here: it is looked at separately.

This file must not know what is measured: it is compared with exact fractions in tests/test_verify.py.
"""

from __future__ import annotations

import numpy as np

from .numbers import Array, Format

_EXPONENT = np.int64(0x7FF0000000000000)


def unit_exponents_as_factors(truth: Array, form: Format) -> Array:
    """1 / ULP of each truth, a power of two: multiplication with it is exact."""
    # the exponent alone is left of the bits: 2**e, and 0 for what is subnormal in float64, inf for inf and NaN
    power = (truth.view(np.int64) & _EXPONENT).view(np.float64)
    unit = power * 2.0 ** (1 - form.digits)
    # 2**600 for infinities, so that the quotient is a number
    return 1.0 / np.clip(unit, 2.0**form.lowest, 2.0**600)


def rounded_with_error(truth: Array, form: Format) -> tuple[Array, Array]:
    """The truths rounded to the format, to nearest even, and the errors of that; NaN for truths that are not finite."""
    factor = unit_exponents_as_factors(truth, form)
    scaled = truth * factor
    nearest = np.rint(scaled)
    error = np.abs(scaled - nearest)
    exact = nearest / factor
    rounded = exact.astype(form.dtype)
    if np.abs(exact).max(initial=0.0) > form.largest:
        error = np.where(np.abs(exact) > form.largest, 0.0, error)
    return rounded, np.where(np.isfinite(truth), error, np.nan) if not np.isfinite(error).all() else error


def ulp_error(results: Array, truth: Array, form: Format) -> Array:
    """The errors of results, as float64."""
    factor = unit_exponents_as_factors(truth, form)
    got = results.astype(np.float64)
    size = np.abs(truth)
    same_side = np.isinf(got) & (size >= form.largest) & (np.signbit(got) == np.signbit(truth))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - truth) * factor
        # half an ULP beyond the largest number, everything rounds to infinity
        to_infinity = size >= form.largest + (form.overflow - form.largest) / 2
        beside = np.where(to_infinity, 0.0, (form.overflow - size) * factor)
    error = np.where(same_side, beside, error)
    return np.where(np.isnan(error), np.inf, error)
