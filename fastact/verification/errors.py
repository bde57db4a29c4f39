"""What counts as an error: the distance of a result from the truth in units in the last place (ULP) of the truth.

The truth t is a float64.  One ULP of it is 2**(e - digits + 1) where 2**e <= abs(t) < 2**(e + 1), and at least the
smallest subnormal.  An infinite result stands for the power of two that follows the largest finite number, and is right
(error 0) where the truth rounds to it; where abs(t) is below the largest finite number, it is infinitely wrong.
A NaN is infinitely wrong.  The sign of zero does not count here: it is looked at separately.

This file must not know what is measured: it is compared with exact fractions in tests/test_verify.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .numbers import Array, Format

_EXPONENT = np.int64(0x7FF0000000000000)


def unit_exponents_as_factors(truth: Array, form: Format) -> Array:
    """1 / ULP of each truth, a power of two: multiplication with it is exact."""
    # the exponent alone is left of the bits: 2**e, and 0 for what is subnormal in float64, inf for inf and NaN
    power = (truth.view(np.int64) & _EXPONENT).view(np.float64)
    unit = power * 2.0 ** (1 - form.digits)
    # a power of two for infinities as well, so that the quotient is a number
    return 1.0 / np.clip(unit, 2.0**form.lowest, 2.0**1020)


class Truth(NamedTuple):
    """The truth about a block, and what all results are compared with."""

    values: Array
    #: 1 / ULP, and the values in ULP.
    factor: Array
    scaled: Array
    #: The values rounded to the format, to nearest even, and the error of that.
    rounded: Array
    rounding: Array

    def error_of(self, results: Array, where: Array, form: Format) -> Array:
        """`ulp_error` of some results, those at ``where``; faster, because numbers need none of its exceptions."""
        error = np.abs(results.astype(np.float64) * self.factor[where] - self.scaled[where])
        # also NaN does not pass this
        return error if error.max() < np.inf else ulp_error(results, self.values[where], form)


def truth_about(values: Array, form: Format) -> Truth:
    """Round the true values, given in float64."""
    factor = unit_exponents_as_factors(values, form)
    scaled = values * factor
    nearest = np.rint(scaled)
    rounding = np.abs(scaled - nearest)
    rounded = (nearest / factor).astype(form.dtype)
    if not (rounding.max() < np.inf and np.isfinite(rounded).all()):
        rounding = ulp_error(rounded, values, form)
    return Truth(values, factor, scaled, rounded, rounding)


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
