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
    HALF_SCALE,
    HALF_UNSCALE,
    LEAST_CORRECTED,
    LOWEST,
    SHIFTER,
    SHIFTER_DOWN,
    UPPER_CUT,
    distance,
    exponential_minus_one_core,
    exponential_minus_one_from,
    exponential_minus_one_rest_from,
    logistic_derivative_multiple,
    logistic_multiple,
    nearest_exponent,
    one_plus_squared_rest,
    product_sum_rest,
    products_rest,
    quotient,
    quotient_of_sum,
    reduced_difference,
    reduced_difference_rest,
    scaled_exponential_from,
    scaled_exponential_rest_from,
    sum_rest,
    widened_exponential_multiple,
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
    """y - y**2, the square not rounded, or what nearly cancels would leave little else."""
    return multiply_subtract(-y, y, -y)


def widened_sigmoid_gradient_from_output(y):
    return y - y * y


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
    """1 - y**2, the square not rounded, or what nearly cancels would leave little else."""
    return multiply_subtract(-y, y, -1.0)


def widened_tanh_gradient_from_output(y):
    return 1.0 - y * y


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
    curved = exponential_minus_one_from(r, shifted, SILU_PIVOT_EXP, SILU_PIVOT_REST)
    numerator = linear + curved
    e = tail * EXP_UNSCALE
    bottom = 1.0 + e * (2.0 + e)
    r_rest = correction(reduced_difference_rest(SILU_PIVOT_COARSE, SILU_PIVOT_MIDDLE, a, shifted, r))
    tail_rest = correction(scaled_exponential_rest_from(r, r_rest, shifted, SILU_PIVOT_EXP, tail))
    linear_rest = correction(sum_rest(SILU_PIVOT_ROUNDED, -a, linear))
    curved_rest = correction(
        exponential_minus_one_rest_from(r, r_rest, shifted, SILU_PIVOT_EXP, SILU_PIVOT_REST, curved)
    )
    numerator_rest = correction(sum_rest(linear, curved, numerator) + (linear_rest + curved_rest))
    bottom_rest = correction(one_plus_squared_rest(e, tail_rest * EXP_UNSCALE, bottom))
    u = quotient(tail, tail_rest, numerator, numerator_rest, bottom, bottom_rest) * EXP_UNSCALE
    return u if x < 0.0 else 1.0 - u


def widened_silu_gradient(x):
    """u = e / (1 + e) * (1 - a / (1 + e)); exp is taken from the zero, where its error must vanish."""
    a = distance(x)
    e = widened_exponential_multiple(SILU_PIVOT_ROUNDED - a, SILU_PIVOT_EXP)
    inverse = 1.0 / (1.0 + e)
    u = e * inverse * (1.0 - a * inverse)
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
    high = -cut - n * LN2_HIGH
    low = correction(n * LN2_LOW)
    r = high - low
    core = exponential_minus_one_core(r)
    change = scale * core
    whole = EXP_UNSCALE + scale
    lost = 0.5 * EXP_UNSCALE - (whole - scale)
    double = 2.0 * EXP_UNSCALE + 4.0 * (scale + change)
    last = EXP_UNSCALE / double
    rest_of_half = last * EXP_UNSCALE + lost
    small = change + rest_of_half
    bottom = whole + small
    core_rest = correction((r - core) + r * r * EXPM1_TAIL(r) + sum_rest(high, -low, r))
    sum_of_scale = correction(scale + change)
    double_rest = correction(
        sum_rest(2.0 * EXP_UNSCALE, 4.0 * sum_of_scale, double) + 4.0 * ((scale - sum_of_scale) + change)
    )
    last_rest = correction((multiply_subtract(last, double, EXP_UNSCALE) + last * double_rest) * last)
    small_rest = correction(
        sum_rest(last * EXP_UNSCALE, lost, rest_of_half) + sum_rest(change, rest_of_half, small) - last_rest
    )
    # a change of E changes 1 / (2 + 4 E) by 4 / (2 + 4 E)**2 less
    rest = correction(((whole - bottom) + small) + (small_rest + scale * core_rest * (1.0 - 4.0 * last * last)))
    # lifted, so that what is left of a small quotient is no subnormal number
    lift = HALF_SCALE if absolute(cut) < LEAST_CORRECTED else 1.0
    unlift = HALF_UNSCALE if absolute(cut) < LEAST_CORRECTED else 1.0
    value = quotient_of_sum(cut * lift, bottom, rest) * EXP_UNSCALE * unlift
    # the sign as in silu
    return x if x > UPPER_CUT else copysign(value, x)


def mish_numerator(x, e, square):
    """The n of mish = x n / d with e = exp(-|x|): d is n + 2 e**2 for x > 0 and n + 2 for x <= 0."""
    return 1.0 + 2.0 * e if x > 0.0 else square + 2.0 * e


def widened_mish(x):
    """x n / d: one division."""
    e = widened_exponential_multiple(-distance(x), 1.0)
    square = e * e
    n = mish_numerator(x, e, square)
    d = n + (2.0 * square if x > 0.0 else 2.0)
    # cut below, where infinity times the tail would be NaN
    return (LOWEST if x < LOWEST else x) * n / d


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
    inner = e + MISH_PIVOT_SLOPE
    steep = MISH_PIVOT_CONSTANT + e * inner
    curved = e * linear + t * steep
    bracket = linear + curved
    middle = 8.0 + e * (4.0 + e)
    lower = 8.0 + e * middle
    # below: (e**2 + 2 e + 2)**2, expanded, because its roundings count less so
    bottom = 4.0 + e * lower
    r_rest = correction(reduced_difference_rest(MISH_PIVOT_COARSE, MISH_PIVOT_MIDDLE, a, shifted, r))
    tail_rest = correction(scaled_exponential_rest_from(r, r_rest, shifted, MISH_PIVOT_EXP, tail))
    e_rest = correction(tail_rest * EXP_UNSCALE)
    linear_rest = correction(4.0 * sum_rest(MISH_PIVOT_ROUNDED, -a, 0.25 * linear))
    t_rest = correction(exponential_minus_one_rest_from(r, r_rest, shifted, MISH_PIVOT_EXP, MISH_PIVOT_REST, t))
    steep_rest = correction(
        product_sum_rest(e, inner, MISH_PIVOT_CONSTANT, steep)
        + (e * sum_rest(MISH_PIVOT_SLOPE, e, inner) + e_rest * (inner + e))
    )
    curved_rest = correction(
        products_rest(e, linear, t, steep, curved)
        + ((e * linear_rest + e_rest * linear) + (t * steep_rest + t_rest * steep))
    )
    bracket_rest = correction(sum_rest(linear, curved, bracket) + (linear_rest + curved_rest))
    middle_rest = correction(product_sum_rest(e, 4.0 + e, 8.0, middle) + e * sum_rest(4.0, e, 4.0 + e))
    lower_rest = correction(product_sum_rest(e, middle, 8.0, lower) + e * middle_rest)
    bottom_rest = correction(
        product_sum_rest(e, lower, 4.0, bottom) + (e * lower_rest + e_rest * (8.0 + e * (16.0 + e * (12.0 + 4.0 * e))))
    )
    gradient_below = quotient(tail, tail_rest, bracket, bracket_rest, bottom, bottom_rest) * EXP_UNSCALE
    return gradient_below if x < 0.0 else mish_gradient_above(a, e, e_rest)


def widened_mish_gradient(x):
    """(n d + 4 x e k (1 + e)) / d**2 as it stands; exp is taken from the zero, where its error must vanish."""
    a = distance(x)
    e = widened_exponential_multiple(MISH_PIVOT_ROUNDED - a, MISH_PIVOT_EXP)
    square = e * e
    n = mish_numerator(x, e, square)
    d = n + (2.0 * square if x > 0.0 else 2.0)
    slope = (1.0 + e) * (4.0 * copysign(a, x))
    return (n * d + slope * (square if x > 0.0 else e)) / (d * d)


def mish_gradient_above(a, e, e_rest):
    """The derivative for x = a >= 0, with exp(-a) = e + e_rest: (n d + 4 a e**2 (1 + e)) / d**2."""
    n = 1.0 + 2.0 * e
    d = n + 2.0 * e * e
    square = e * e
    factor = 4.0 * a * square
    one_plus = 1.0 + e
    second = factor * one_plus
    top = n * d + second
    bottom = d * d
    result = top / bottom
    n_rest = correction(((1.0 - n) + 2.0 * e) + 2.0 * e_rest)
    d_rest = correction(product_sum_rest(2.0 * e, e, n, d) + (n_rest + 4.0 * e * e_rest))
    square_rest = correction(multiply_subtract(e, e, square) + 2.0 * e * e_rest)
    factor_rest = correction(multiply_subtract(4.0 * a, square, factor) + 4.0 * a * square_rest)
    second_rest = correction(
        multiply_subtract(factor, one_plus, second)
        + (factor * (((1.0 - one_plus) + e) + e_rest) + factor_rest * one_plus)
    )
    top_rest = correction(products_rest(n, d, factor, one_plus, top) + ((n * d_rest + n_rest * d) + second_rest))
    # products_rest counts the rounding of ``second`` as well
    again = correction(multiply_subtract(factor, one_plus, second))
    bottom_rest = correction(multiply_subtract(d, d, bottom) + 2.0 * d * d_rest)
    remainder = correction(multiply_subtract(result, bottom, top) + result * bottom_rest)
    return result + correction(((top_rest - again) - remainder) / bottom)


#: Computed in float64 for float32 (lowering.py).  In float32 the gradients with a zero are off by 3 to 4 units in the
#: last place, mish by two.
WIDENED = (silu_gradient, mish, mish_gradient)
#: The squares of the gradients from outputs are exact there.
WIDENED_FORMS = {
    sigmoid_gradient_from_output: widened_sigmoid_gradient_from_output,
    tanh_gradient_from_output: widened_tanh_gradient_from_output,
    silu_gradient: widened_silu_gradient,
    mish: widened_mish,
    mish_gradient: widened_mish_gradient,
}
#: What is looked up, by instruction set and precision: src_cy/piecewise.h, src_cy/fetched.h.  In float64 with AVX-512
#: what takes less than two thirds of the formula's time so, elsewhere what takes less than nine tenths.
PIECEWISE = {
    ("avx512", "float32"): (sigmoid, sigmoid_gradient, tanh, tanh_gradient, silu, silu_gradient, mish, mish_gradient),
    ("avx512", "narrow"): (sigmoid, sigmoid_gradient, tanh, tanh_gradient, silu, silu_gradient, mish, mish_gradient),
    ("avx512", "float64"): (silu_gradient, mish, mish_gradient),
    ("avx2", "float32"): (sigmoid, sigmoid_gradient, tanh, tanh_gradient, silu, silu_gradient, mish, mish_gradient),
    ("avx2", "float64"): (sigmoid, sigmoid_gradient, tanh, tanh_gradient, silu, silu_gradient, mish, mish_gradient),
}
