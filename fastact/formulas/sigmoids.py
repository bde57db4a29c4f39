"""Logistic functions and what is built on them: sigmoid, tanh, silu, mish.  Each takes one exp and one division.

Everything is written in e = exp(-|x|), which is in (0, 1], so no term overflows and none cancels.

Gradients with a true zero (silu, mish) are written around it.  With a = |x|, and a0 a pivot beside the zero for which
e0 = exp(-a0) is exactly a number of the precision, the numerator that vanishes becomes a sum of terms of one sign in
D = a0 - a and exp(D) - 1, both of which keep their relative accuracy as a approaches a0; D comes from a0 in three
parts (coefficients.py), so that it is exact there and its rounding does not reach the exponential in the tail.  The
REST is what the numerator is short of at the pivot, and what the parts of a0 that a term leaves out contribute.
"""

from .coefficients import (
    EXPM1_TAIL,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
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
    EXP_UNSCALE,
    EXPM1_LOWEST,
    LEAST_CORRECTED,
    LOWEST,
    SHIFTER,
    SHIFTER_DOWN,
    UPPER_CUT,
    distance,
    exponential_minus_one_core,
    exponential_minus_one_from,
    logistic_derivative_multiple,
    logistic_multiple,
    nearest_exponent,
    quotient,
    reduced_difference,
    scaled_exponential_error_from,
    scaled_exponential_from,
    sum_rest,
)
from .primitives import absolute, copysign, correction, multiply_subtract, power_of_two


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    cut = LOWEST if x < LOWEST else (UPPER_CUT if x > UPPER_CUT else x)
    return logistic_multiple(1.0, -cut, -0.0) * EXP_UNSCALE


def sigmoid_gradient(x):
    """e / (1 + e)**2."""
    return logistic_derivative_multiple(distance(x), EXP_UNSCALE)


def sigmoid_gradient_from_output(y):
    rest_of_one = 1.0 - y
    left_out = correction((1.0 - rest_of_one) - y)
    result = y * rest_of_one
    return result + correction(multiply_subtract(y, rest_of_one, result) + y * left_out)


def tanh(x):
    """(1 - e) / (1 + e) with e = exp(-2|x|) and the sign of x: odd to the bit.

    The numerator e - 1 is 2**n q + (2**n - 1), of which 2**n r + (2**n - 1) is taken as a sum of two numbers; the
    denominator is 2 more.
    """
    twice = -2.0 * absolute(x)
    argument = EXPM1_LOWEST if twice < EXPM1_LOWEST else twice
    shifted = argument * LOG2_E + SHIFTER
    n = shifted - SHIFTER
    scale = power_of_two(shifted)
    high = argument - n * LN2_HIGH
    low = correction(-(n * LN2_LOW))
    r = high + low
    whole = scale - 1.0
    large = whole + scale * high
    large_rest = correction(((whole - large) + scale * high) + (scale - (whole + 1.0)))
    small = scale * (low + r * r * EXPM1_TAIL(r))
    top = large + small
    top_rest = correction(((large - top) + small) + large_rest)
    bottom = 2.0 + top
    bottom_rest = correction(((2.0 - bottom) + top) + top_rest)
    inverse = 1.0 / bottom
    result = top * inverse
    remainder = correction((multiply_subtract(result, bottom, top) - top_rest) + result * bottom_rest)
    return copysign(result - remainder * inverse, x)


def tanh_gradient(x):
    """4 e / (1 + e)**2 with e = exp(-2|x|): 1 - tanh(x)**2 would lose everything where tanh is nearly 1."""
    return logistic_derivative_multiple(distance(2.0 * x), 4.0 * EXP_UNSCALE)


def tanh_gradient_from_output(y):
    # not 1 - y * y, which cancels near |y| = 1
    below = 1.0 - y
    above = 1.0 + y
    below_rest = correction((1.0 - below) - y)
    above_rest = correction((1.0 - above) + y)
    result = below * above
    return result + correction(multiply_subtract(below, above, result) + (below * above_rest + below_rest * above))


def silu(x):
    """x / (1 + exp(-x))."""
    cut = LOWEST if x < LOWEST else x
    # the other side is chosen there, and must not overflow
    top = UPPER_CUT if x > UPPER_CUT else cut
    # compilers are free with the sign of a sum that is zero: -0.0 is put back
    return x if x > UPPER_CUT else copysign(logistic_multiple(top, -top, -0.0) * EXP_UNSCALE, x)


def silu_gradient(x):
    """u = e (1 + e - a) / (1 + e)**2 for x < 0 and 1 - u for x >= 0, where 1 + e - a = D + e0 expm1(D)."""
    a = distance(x)
    from_coarse = SILU_PIVOT_COARSE - a
    shifted = nearest_exponent(from_coarse)
    r = reduced_difference(SILU_PIVOT_COARSE, SILU_PIVOT_MIDDLE, a, shifted)
    tail = scaled_exponential_from(r, shifted, SILU_PIVOT_EXP)
    linear = SILU_PIVOT_ROUNDED - a
    # what rounding took from that, far from the pivot
    lost = correction((SILU_PIVOT_ROUNDED - SILU_PIVOT_COARSE) - (linear - from_coarse))
    curved = exponential_minus_one_from(r, shifted, SILU_PIVOT_EXP, SILU_PIVOT_REST)
    numerator = linear + curved
    numerator_rest = correction(sum_rest(linear, curved, numerator) + lost)
    tail_error = correction(scaled_exponential_error_from(r, shifted, SILU_PIVOT_EXP, tail))
    e = tail * EXP_UNSCALE
    bottom = 1.0 + e * (2.0 + e)
    bottom_error = correction(multiply_subtract(e, 2.0 + e, bottom - 1.0))
    u = quotient(tail, tail_error, numerator, numerator_rest, bottom, bottom_error) * EXP_UNSCALE
    return u if x < 0.0 else 1.0 - u


def mish(x):
    """x / (E + 1/2 + 1 / (2 + 4 E)) with E = exp(-x), the denominator times EXP_UNSCALE.

    tanh(log(1 + 1 / E)) = (1 + 2 E) / (1 + 2 E + 2 E**2) would do with one division, at twice the error: here the
    second one only decides a small term, and nothing is multiplied before the division.  1 is added and 1/2 taken off,
    because E + 1 is exact for more of its powers of two.
    """
    cut = LOWEST if x < LOWEST else x
    shifted = -cut * LOG2_E + SHIFTER_DOWN
    n = shifted - SHIFTER_DOWN
    scale = power_of_two(shifted)
    change = scale * exponential_minus_one_core((-cut - n * LN2_HIGH) - correction(n * LN2_LOW))
    whole = EXP_UNSCALE + scale
    lost = 0.5 * EXP_UNSCALE - (whole - scale)
    last = EXP_UNSCALE / (2.0 * EXP_UNSCALE + 4.0 * (scale + change)) * EXP_UNSCALE
    small = change + (last + lost)
    bottom = whole + small
    rest = correction((whole - bottom) + small)
    inverse = 1.0 / bottom
    result = cut * inverse
    remainder = correction(
        0.0 if absolute(cut) < LEAST_CORRECTED else multiply_subtract(result, bottom, cut) + result * rest
    )
    # the sign as in silu
    return x if x > UPPER_CUT else copysign((result - remainder * inverse) * EXP_UNSCALE, x)


def mish_gradient(x):
    """(n d + 4 x e k (1 + e)) / d**2, with k = e for x >= 0 and 1 for x < 0.

    For x < 0 the numerator is e (e**3 + 4 e**2 + 6 e + 4 - 4 a (1 + e)); with t = e - e0 = e0 expm1(D) the bracket is
    4 (1 + e) D + t (e**2 + e (4 + e0) + 6 + 4 e0 + e0**2 - 4 a0).
    """
    a = distance(x)
    shifted = nearest_exponent(MISH_PIVOT_COARSE - a)
    r = reduced_difference(MISH_PIVOT_COARSE, MISH_PIVOT_MIDDLE, a, shifted)
    tail = scaled_exponential_from(r, shifted, MISH_PIVOT_EXP)
    e = tail * EXP_UNSCALE
    t = exponential_minus_one_from(r, shifted, MISH_PIVOT_EXP, MISH_PIVOT_REST)
    linear = 4.0 * (MISH_PIVOT_ROUNDED - a)
    curved = e * linear + t * (MISH_PIVOT_CONSTANT + e * (e + MISH_PIVOT_SLOPE))
    bracket = linear + curved
    bracket_rest = correction(sum_rest(linear, curved, bracket))
    above = 1.0 + 2.0 * e
    above_bottom = above + 2.0 * e * e
    gradient_above = (above * above_bottom + 4.0 * a * (e * e) * (1.0 + e)) / (above_bottom * above_bottom)
    # below: (e**2 + 2 e + 2)**2, expanded, because its roundings count less so
    inner = 8.0 + e * (8.0 + e * (4.0 + e))
    bottom = 4.0 + e * inner
    tail_error = correction(scaled_exponential_error_from(r, shifted, MISH_PIVOT_EXP, tail))
    bottom_error = correction(multiply_subtract(e, inner, bottom - 4.0))
    gradient_below = quotient(tail, tail_error, bracket, bracket_rest, bottom, bottom_error) * EXP_UNSCALE
    return gradient_below if x < 0.0 else gradient_above


#: Computed in float64 for float32 (lowering.py).  In float32 the gradients with a zero are off by 3 to 4 units in the
#: last place, mish by two; a gradient from the output is so little work that widening costs nothing beside memory.
WIDENED = (sigmoid_gradient_from_output, tanh_gradient_from_output, silu_gradient, mish, mish_gradient)
