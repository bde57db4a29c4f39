"""The few things a formula may use besides ``+ - * /``, comparisons and conditional expressions.

Here they are ordinary Python on float64, so that every formula runs as it stands.  Their machine versions, one set
for C (``include/fastact_primitives.h``) and one for Numba (``backends/numba_kernels.py``), must do the same in both
precisions.  Nothing else may be called from a formula: a libm call would stop the compilers from vectorising the loop
around it.
"""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = [
    "PRIMITIVES",
    "Constant",
    "Polynomial",
    "absolute",
    "cancellation",
    "copysign",
    "correction",
    "multiply_subtract",
    "power_of_two",
]


class Constant(float):
    """A number with a value of its own for each precision; in plain Python, and widened, it is the float64 one."""

    float32: float
    float64: float
    #: In float64 arithmetic for a float32 result (lowering.py).
    widened: float
    #: In float32 arithmetic for a result of 16 bits.
    narrowed: float

    def __new__(
        cls, *, float32: str, float64: str, widened: str | None = None, narrowed: str | None = None
    ) -> Constant:
        self = super().__new__(cls, float.fromhex(float64))
        self.float32 = float.fromhex(float32)
        self.float64 = float.fromhex(float64)
        self.widened = float.fromhex(widened or float64)
        self.narrowed = float.fromhex(narrowed or float32)
        return self


class Polynomial:
    """Coefficients from the constant term up, for each precision; calling it evaluates by Horner's rule.

    ``widened`` is a shorter polynomial for float64 arithmetic whose result is rounded to float32, ``narrowed`` the
    shortest, for float32 arithmetic whose result is rounded to 16 bits.  Formulas that are always widened need none for
    ``float32``.
    """

    def __init__(
        self,
        *,
        float64: tuple[str, ...],
        widened: tuple[str, ...],
        narrowed: tuple[str, ...],
        float32: tuple[str, ...] = (),
    ) -> None:
        self.float32 = tuple(float.fromhex(c) for c in float32)
        self.float64 = tuple(float.fromhex(c) for c in float64)
        self.widened = tuple(float.fromhex(c) for c in widened)
        self.narrowed = tuple(float.fromhex(c) for c in narrowed)

    def __call__(self, x: float) -> float:
        result = self.float64[-1]
        for coefficient in self.float64[-2::-1]:
            result = result * x + coefficient
        return result


def absolute(x: float) -> float:
    """|x|, by clearing the sign bit."""
    return math.fabs(x)


def copysign(magnitude: float, sign: float) -> float:
    """``magnitude`` with the sign bit of ``sign``."""
    return math.copysign(magnitude, sign)


#: Adding and subtracting it rounds to the nearest integer, and the integer stands in the low bits of the sum; with
#: the bias of the exponent, so that those bits are an exponent field.
SHIFTER = 1.5 * 2.0**52 + 1023


def power_of_two(shifted: float) -> float:
    """2**n for ``shifted`` = SHIFTER + n, by moving the low bits of ``shifted`` into the exponent field.

    n must be a normal exponent (-126..127, -1022..1023); anything at all comes out for a NaN.
    """
    return math.ldexp(1.0, int(shifted - SHIFTER)) if math.isfinite(shifted) else math.nan


def multiply_subtract(a: float, b: float, c: float) -> float:
    """a * b - c with the product not rounded: one FMA where there is one.

    With c = a * b (rounded) it is the rounding error of that product.
    """
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return math.nan
    return float(Fraction(a) * Fraction(b) - Fraction(c))


def correction(x: float) -> float:
    """What earlier roundings took: x itself, and nothing in widened and narrowed arithmetic, where they are too small.

    The terms that only serve to compute it vanish with it (lowering.py).
    """
    return x


def cancellation(x: float) -> float:
    """A correction that narrowed arithmetic keeps, because numbers that nearly cancel would leave little but roundings.

    So beside a zero of a derivative, where its rounding, or that of what is subtracted from it, may be a thousandth of
    the difference.
    """
    return x


PRIMITIVES = (absolute, copysign, power_of_two, multiply_subtract, correction, cancellation)
