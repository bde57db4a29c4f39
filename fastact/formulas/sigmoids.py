"""Logistic functions and what is built on them: sigmoid, tanh, silu, mish.  Each takes one exp and one division.

Everything is written in e = exp(-|x|), which is in (0, 1], so no term overflows and none cancels.

Gradients with a true zero (silu, mish) are written around it.  With a = |x|, and a0 a pivot beside the zero for which
e0 = exp(-a0) is exactly a number of the precision, the numerator that vanishes becomes a sum of terms of one sign in
D = a0 - a and exp(D) - 1, both of which keep their relative accuracy as a approaches a0; D comes from a0 in three
parts (coefficients.py), so that it is exact there and its rounding does not reach the exponential in the tail.  The
REST is what the numerator is short of at the pivot, and what the parts of a0 that a term leaves out contribute.
"""

from .coefficients import (
    MISH_PIVOT_COARSE,
    MISH_PIVOT_CONSTANT,
    MISH_PIVOT_EXP,
    MISH_PIVOT_MIDDLE,
    MISH_PIVOT_REST,
    MISH_PIVOT_ROUNDED,
    MISH_PIVOT_SLOPE,
    SILU_PIVOT_COARSE,
    SILU_PIVOT_EXP,
    SILU_PIVOT_MIDDLE,
    SILU_PIVOT_REST,
    SILU_PIVOT_ROUNDED,
)
from .elementary import (
    EXP_SCALE,
    EXP_UNSCALE,
    LOWEST,
    UPPER_CUT,
    distance,
    downscaled_exponential_sum,
    exponential_minus_one,
    exponential_minus_one_from,
    nearest_exponent,
    quotient,
    reduced_sum,
    scaled_exponential,
    scaled_exponential_from,
    scaled_one_plus_squared,
)
from .primitives import absolute, copysign, multiply_subtract


def sigmoid(x):
    """1 / (1 + exp(-x)), numerator and denominator times EXP_UNSCALE: one rounding even where it is subnormal."""
    cut = LOWEST if x < LOWEST else (UPPER_CUT if x > UPPER_CUT else x)
    return EXP_UNSCALE / (EXP_UNSCALE + downscaled_exponential_sum(-cut, 0.0))


def sigmoid_gradient(x):
    """e / (1 + e)**2."""
    tail = scaled_exponential(-distance(x))
    return tail / scaled_one_plus_squared(tail)


def sigmoid_gradient_from_output(y):
    return y * (1.0 - y)


def tanh(x):
    """-expm1(-2|x|) / (2 + expm1(-2|x|)) with the sign of x: odd to the bit."""
    m = exponential_minus_one(-2.0 * absolute(x))
    return copysign(m / (2.0 + m), x)


def tanh_gradient(x):
    """4 e / (1 + e)**2 with e = exp(-2|x|): 1 - tanh(x)**2 would lose everything where tanh is nearly 1."""
    double = 2.0 * absolute(x)
    tail = scaled_exponential(LOWEST if double > -LOWEST else -double)
    return 4.0 * tail / scaled_one_plus_squared(tail)


def tanh_gradient_from_output(y):
    # one rounding better than 1 - y * y, which cancels near |y| = 1
    return (1.0 - y) * (1.0 + y)


def silu(x):
    """max(x, 0) - |x| e / (1 + e): the tail is a term of its own, not a difference."""
    a = distance(x)
    tail = scaled_exponential(-a)
    # -0.0, not 0.0: silu(-inf) and silu(-0.0) are -0.0
    return (x if x >= 0.0 else -0.0) - a * tail / (EXP_SCALE + tail)


def silu_gradient(x):
    """u = e (1 + e - a) / (1 + e)**2 for x < 0 and 1 - u for x >= 0, where 1 + e - a = D + e0 expm1(D)."""
    a = distance(x)
    from_coarse = SILU_PIVOT_COARSE - a
    shifted = nearest_exponent(from_coarse)
    r = reduced_sum(from_coarse, SILU_PIVOT_MIDDLE, shifted)
    tail = scaled_exponential_from(r, shifted, SILU_PIVOT_EXP)
    numerator = (SILU_PIVOT_ROUNDED - a) + SILU_PIVOT_EXP * exponential_minus_one_from(r, shifted, SILU_PIVOT_REST)
    u = tail * numerator / scaled_one_plus_squared(tail)
    return u if x < 0.0 else 1.0 - u


def mish(x):
    """x n / d: with n = 1 + 2e, d = n + 2e**2 for x >= 0, and n = e (e + 2), d = n + 2 for x < 0.

    From tanh(log(1 + exp x)) = (exp(2x) + 2 exp(x)) / (exp(2x) + 2 exp(x) + 2).
    """
    a = distance(x)
    tail = scaled_exponential(-a)
    e = tail * EXP_UNSCALE
    above = 1.0 + 2.0 * e
    below = tail * (e + 2.0)
    top = x * above if x >= 0.0 else -a * below
    bottom = above + 2.0 * e * e if x >= 0.0 else below + 2.0 * EXP_SCALE
    return top / bottom


def mish_gradient(x):
    """(n d + 4 x e k (1 + e)) / d**2, with k = e for x >= 0 and 1 for x < 0.

    For x < 0 the numerator is e (e**3 + 4 e**2 + 6 e + 4 - 4 a (1 + e)); with t = e - e0 = e0 expm1(D) the bracket is
    4 (1 + e) D + t (e**2 + e (4 + e0) + 6 + 4 e0 + e0**2 - 4 a0).
    """
    a = distance(x)
    from_coarse = MISH_PIVOT_COARSE - a
    shifted = nearest_exponent(from_coarse)
    r = reduced_sum(from_coarse, MISH_PIVOT_MIDDLE, shifted)
    tail = scaled_exponential_from(r, shifted, MISH_PIVOT_EXP)
    e = tail * EXP_UNSCALE
    t = MISH_PIVOT_EXP * exponential_minus_one_from(r, shifted, MISH_PIVOT_REST)
    bracket = (4.0 + 4.0 * e) * (MISH_PIVOT_ROUNDED - a) + t * (MISH_PIVOT_CONSTANT + e * (e + MISH_PIVOT_SLOPE))
    above = 1.0 + 2.0 * e
    above_bottom = above + 2.0 * e * e
    gradient_above = (above * above_bottom + 4.0 * a * (e * e) * (1.0 + e)) / (above_bottom * above_bottom)
    # below: (e**2 + 2 e + 2)**2, expanded, because its roundings count less so
    inner = 8.0 + e * (8.0 + e * (4.0 + e))
    bottom = 4.0 + e * inner
    gradient_below = quotient(tail, bracket, bottom, multiply_subtract(e, inner, bottom - 4.0)) * EXP_UNSCALE
    return gradient_below if x < 0.0 else gradient_above
