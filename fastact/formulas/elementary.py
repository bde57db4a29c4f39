"""The ground that every family stands on: exp, expm1 and log1p, branch-free, for both precisions.

All of them reduce to one core: x = n ln 2 + r with |r| <= ln(2)/2, q = exp(r) - 1 from a polynomial, and 2**n put
together from bits.  exp and expm1 of the same x share n, r and q.

Why "scaled": an activation's tail is a subnormal number, and rounding to subnormals twice loses it.  So the tail is
carried as e * EXP_SCALE, which is always a normal number, through all multiplications; the last operation, a division
by something that is scaled as well or a multiplication by EXP_UNSCALE, takes the scale off: one rounding.  The scale
costs nothing on the way in (it is added to n).  Arguments are cut at LOWEST, where every tail has long rounded to
zero; a comparison with NaN is false, so NaN passes the cut.

Why "sum" and "rest": half a unit in the last place for each of a dozen roundings is too much, so the few that count
are kept, as what a sum, product or quotient leaves out, and put into the last addition, where they cost no rounding.
What is a ``correction`` vanishes in widened arithmetic (lowering.py).
"""

from .coefficients import (
    EXP_OF_HALF,
    EXP_OF_HALF_REST,
    EXPM1_TAIL,
    LN2_HIGH,
    LN2_LOW,
    LOG1P_QUOTIENT,
    LOG1P_QUOTIENT_REST,
    LOG2_E,
)
from .primitives import Constant, absolute, copysign, correction, multiply_subtract, power_of_two

# 1.5 * 2**23 and 1.5 * 2**52: adding them rounds to an integer, in round-to-nearest, with no rounding instruction
# (SSE2 has none), and no flag that would let a compiler fold the addition away is ever on.  The exponent's bias (127,
# 1023) is added at the same time, so that power_of_two has only to shift.
NO_SHIFT = "0x1.80000000003ffp+52"
SHIFTER = Constant(float32="0x1.8000fe0000000p+23", float64=NO_SHIFT)
# 2**64 and 2**600: lifts exp(LOWEST) and its products with LOWEST into the normal range, and keeps sums finite.
# 1 in widened arithmetic, where float32's subnormals are normal numbers.
EXP_SCALE = Constant(float32="0x1p+64", float64="0x1p+600", widened="1")
EXP_UNSCALE = Constant(float32="0x1p-64", float64="0x1p-600", widened="1")
# Their square roots.
HALF_SCALE = Constant(float32="0x1p+32", float64="0x1p+300", widened="1")
HALF_UNSCALE = Constant(float32="0x1p-32", float64="0x1p-300", widened="1")
# SHIFTER + 64, SHIFTER + 600; SHIFTER - 64, SHIFTER - 600
SHIFTER_UP = Constant(float32="0x1.80017e0000000p+23", float64="0x1.8000000000657p+52", widened=NO_SHIFT)
SHIFTER_DOWN = Constant(float32="0x1.80007e0000000p+23", float64="0x1.80000000001a7p+52", widened=NO_SHIFT)
# |x| exp(x) rounds to 0 below: 110 * exp(-110) < 2**-150, 760 * exp(-760) < 2**-1075.
LOWEST = Constant(float32="-0x1.b8p+6", float64="-0x1.7cp+9", widened="-0x1.b8p+6")  # -110, -760
# 1 / (1 + exp(-x)) is 1 to the last bit above.
UPPER_CUT = Constant(float32="0x1.ep+4", float64="0x1.ep+5", widened="0x1.ep+4")  # 30, 60
# expm1 is -1 to the last bit below, and 2**n of exp(x) still normal.
EXPM1_LOWEST = Constant(float32="-0x1.4p+6", float64="-0x1.5ep+9", widened="-0x1.4p+6")  # -80, -700
# What the rounding of a smaller product took is a subnormal number, if not less: it would be rounded itself, and lost
# where the host flushes subnormals.  2**-90 and 2**-900: with 48 and 106 bits of product still normal.
LEAST_CORRECTED = Constant(float32="0x1p-90", float64="0x1p-900")


def exponential_minus_one_core(r):
    """exp(r) - 1 for |r| <= ln(2)/2."""
    return r + r * r * EXPM1_TAIL(r)


def exponential_minus_one_sum(high, low):
    """exp(high + low) - 1 likewise, for a low far below high: only the last of its roundings counts."""
    r = high + low
    return high + (low + r * r * EXPM1_TAIL(r))


def nearest_exponent(x):
    """SHIFTER_UP + n, n the integer nearest to x / ln 2."""
    return x * LOG2_E + SHIFTER_UP


def reduced_sum(x, low, shifted):
    """x + low - n ln 2."""
    n = shifted - SHIFTER_UP
    return (x - n * LN2_HIGH) + (low - correction(n * LN2_LOW))


def reduced_difference(coarse, more, x, shifted):
    """coarse + more - x - n ln 2, in the order that keeps all digits where x nearly cancels both (n is 0 there).

    n ln 2 goes first, because coarse - x is not exact for a small x.
    """
    n = shifted - SHIFTER_UP
    return ((coarse - n * LN2_HIGH) - x) + (more - correction(n * LN2_LOW))


def reduced_difference_rest(coarse, more, x, shifted, r):
    """What ``r``, the result of reduced_difference, leaves out."""
    n = shifted - SHIFTER_UP
    whole = coarse - n * LN2_HIGH
    from_whole = whole - x
    small = more - n * LN2_LOW
    return sum_rest(whole, -x, from_whole) + sum_rest(from_whole, small, r)


def sum_rest(a, b, rounded):
    """What ``rounded`` = a + b leaves out, whichever of both is larger."""
    b_seen = rounded - a
    return (a - (rounded - b_seen)) + (b - b_seen)


def product_sum_rest(a, b, c, rounded):
    """What ``rounded``, a * b + c fused or not, leaves out."""
    product_of = a * b
    both = product_of + c
    return multiply_subtract(a, b, product_of) + (sum_rest(product_of, c, both) + (both - rounded))


def products_rest(a, b, c, d, rounded):
    """What ``rounded``, a * b + c * d fused or not, leaves out."""
    second = c * d
    return product_sum_rest(a, b, second, rounded) + multiply_subtract(c, d, second)


def distance(x):
    """|x|, cut where every tail has rounded to zero."""
    a = absolute(x)
    return -LOWEST if a > -LOWEST else a


# --- exp --------------------------------------------------------------------------------------------------------------


def scaled_exponential_multiple(x, factor):
    """factor * exp(x) * EXP_SCALE, rounded once: the product of factor and 2**n is exact."""
    shifted = nearest_exponent(x)
    n = shifted - SHIFTER_UP
    scale = power_of_two(shifted) * factor
    return scale + scale * exponential_minus_one_sum(x - n * LN2_HIGH, correction(-(n * LN2_LOW)))


def scaled_exponential_from(r, shifted, factor):
    """factor * exp(r + n ln 2) * EXP_SCALE; the factor goes to the power of two, where it costs no rounding."""
    scale = power_of_two(shifted) * factor
    return scale + scale * exponential_minus_one_core(r)


def scaled_exponential_rest_from(r, r_rest, shifted, factor, rounded):
    """What ``rounded``, the result of scaled_exponential_from, leaves out, and r as well."""
    scale = power_of_two(shifted) * factor
    return ((scale - rounded) + scale * r) + (scale * (r * r * EXPM1_TAIL(r)) + rounded * r_rest)


def widened_exponential_multiple(x, factor):
    """factor * exp(x), in widened arithmetic alone: its error is in proportion to x near zero."""
    shifted = nearest_exponent(x)
    n = shifted - SHIFTER_UP
    return scaled_exponential_from(x - n * LN2_HIGH, shifted, factor)


# --- expm1 ------------------------------------------------------------------------------------------------------------


def exponential_minus_one_from(r, shifted, factor, rest):
    """factor * (exp(r + n ln 2) - 1 + rest), for a rest that only matters where n is 0: it costs no rounding there."""
    scale = power_of_two(shifted) * factor * EXP_UNSCALE
    return scale * exponential_minus_one_core(r) + ((scale - factor) + factor * rest)


def exponential_minus_one_multiple(x, factor):
    """factor * (exp(x) - 1) for x <= 0: factor * (2**n q + (2**n - 1)), exact near zero because n is 0 there.

    The large part of the second factor, 2**n r + (2**n - 1), is taken as a sum of two numbers, and its product with
    the first one as well: one rounding that counts, for any factor.
    """
    cut = EXPM1_LOWEST if x < EXPM1_LOWEST else x
    shifted = cut * LOG2_E + SHIFTER
    n = shifted - SHIFTER
    scale = power_of_two(shifted)
    high = cut - n * LN2_HIGH
    low = correction(-(n * LN2_LOW))
    r = high + low
    whole = scale - 1.0
    large = whole + scale * high
    rest = correction(((whole - large) + scale * high) + (scale - (whole + 1.0)))
    small = scale * (low + r * r * EXPM1_TAIL(r)) + rest
    high_product = factor * large
    product_rest = correction(
        0.0 if absolute(high_product) < LEAST_CORRECTED else multiply_subtract(factor, large, high_product)
    )
    result = high_product + (factor * small + product_rest)
    # the least number times a factor below 1 is a zero with a sign, which a sum loses
    return copysign(result, high_product)


def exponential_minus_one_rest_from(r, r_rest, shifted, factor, rest, rounded):
    """What ``rounded``, the result of exponential_minus_one_from, leaves out, and r as well."""
    scale = power_of_two(shifted) * factor * EXP_UNSCALE
    whole = scale - factor
    large = whole + scale * r
    small = scale * (r * r * EXPM1_TAIL(r)) + factor * rest
    large_rest = sum_rest(scale, -factor, whole) + sum_rest(whole, scale * r, large)
    return ((large - rounded) + small) + (large_rest + (factor + rounded) * r_rest)


# --- log1p ------------------------------------------------------------------------------------------------------------


def log1p_quotient(e):
    """log(1 + e) / e for 0 <= e <= 1."""
    q = e - 0.5
    return LOG1P_QUOTIENT + q * LOG1P_QUOTIENT_REST(q)


def log1p_quotient_rest(e, rounded):
    """What ``rounded``, the result of log1p_quotient, leaves out."""
    q = e - 0.5
    return (LOG1P_QUOTIENT - rounded) + q * LOG1P_QUOTIENT_REST(q)


# --- 1 + exp, and what is divided by it -------------------------------------------------------------------------------


def logistic_multiple(top, x, low):
    """top / (1 + exp(x + low)) * EXP_SCALE, for -UPPER_CUT <= x <= -LOWEST and a low far below the rounding of n."""
    shifted = x * LOG2_E + SHIFTER_DOWN
    n = shifted - SHIFTER_DOWN
    scale = power_of_two(shifted)
    high = x - n * LN2_HIGH
    small_low = low - correction(n * LN2_LOW)
    r = high + small_low
    # 1 + 2**n + 2**n r, of which 1 + 2**n is exact, but for 1 + 2**24 (2**53 in float64) and beyond
    whole = EXP_UNSCALE + scale
    large = whole + scale * high
    large_rest = correction(((whole - large) + scale * high) + (EXP_UNSCALE - (whole - scale)))
    small = scale * (small_low + r * r * EXPM1_TAIL(r)) + large_rest
    bottom = large + small
    return quotient_of_sum(top, bottom, correction((large - bottom) + small))


def quotient_of_sum(top, bottom, rest):
    """top / (bottom + rest), rounded twice: the quotient's remainder and the rest are put back."""
    inverse = 1.0 / bottom
    result = top * inverse
    remainder = correction(multiply_subtract(result, bottom, top) + result * rest)
    return result - remainder * inverse


def logistic_derivative_multiple(a, factor):
    """e / (1 + e)**2 with e = exp(-a), times factor * EXP_SCALE, for 0 <= a <= -LOWEST and a power of two."""
    shifted = nearest_exponent(-a)
    n = shifted - SHIFTER_UP
    scale = power_of_two(shifted)
    change = scale * exponential_minus_one_sum(-a - n * LN2_HIGH, correction(-(n * LN2_LOW)))
    tail = scale + change
    tail_rest = correction((scale - tail) + change)
    e = tail * EXP_UNSCALE
    one_plus = 1.0 + e
    one_plus_rest = correction(((1.0 - one_plus) + e) + tail_rest * EXP_UNSCALE)
    bottom = one_plus * one_plus
    bottom_rest = correction(multiply_subtract(one_plus, one_plus, bottom) + 2.0 * one_plus * one_plus_rest)
    inverse = 1.0 / bottom
    result = tail * inverse
    remainder = correction((multiply_subtract(result, bottom, tail) - tail_rest) + result * bottom_rest)
    return (result - remainder * inverse) * factor


# --- gradients with a zero --------------------------------------------------------------------------------------------


def one_plus_squared_rest(e, e_rest, rounded):
    """What ``rounded`` = 1 + e (2 + e) leaves out of (1 + e + e_rest)**2, for 0 <= e <= 1."""
    above = 2.0 + e
    above_rest = (2.0 - above) + e
    inner = e * above
    inner_rest = multiply_subtract(e, above, inner) + e * above_rest
    return (((1.0 - rounded) + inner) + inner_rest) + 2.0 * (1.0 + e) * e_rest


def product(a, a_rest, b, b_rest, c, c_rest):
    """(a + a_rest) * (b + b_rest) * (c + c_rest), rounded once."""
    inner = a * b
    result = inner * c
    inner_rest = correction(multiply_subtract(a, b, inner) + (a * b_rest + a_rest * b))
    return result + correction(multiply_subtract(inner, c, result) + (inner * c_rest + inner_rest * c))


def quotient(a, a_error, b, b_error, denominator, denominator_error):
    """(a + a_error) * (b + b_error) / (denominator + denominator_error) rounded once.

    Gradients with a zero are products of a dozen roundings; these five, at half a unit or more each, can be had back
    for a few FMAs.
    """
    reciprocal = 1.0 / denominator
    top = a * b
    result = top * reciprocal
    top_error = correction(multiply_subtract(a, b, top) + a_error * b + a * b_error)
    short = top_error - correction(multiply_subtract(result, denominator, top) + result * denominator_error)
    return result + short * reciprocal


# --- exp(-a * a / 2) --------------------------------------------------------------------------------------------------


def negative_half_square_exponent(a):
    """SHIFTER_UP + n, n the integer nearest to -a * a / (2 ln 2), for a >= 0 and a * a / 2 <= -LOWEST."""
    return (a * a) * (-0.5 * LOG2_E) + SHIFTER_UP


def negative_half_square_remainder(a, shifted):
    """exp(-a * a / 2) / 2**n - 1.

    The square is taken with its rounding error: at a = 13 half a unit of a * a costs 40 units of the result.  The half
    is in the constants: r = a * a + 2 n ln 2 is -2 times the usual one.
    """
    square = a * a
    n = shifted - SHIFTER_UP
    small = correction(n * (2.0 * LN2_LOW) + multiply_subtract(a, a, square))
    r = (square + n * (2.0 * LN2_HIGH)) + small
    return r * (EXP_OF_HALF + r * EXP_OF_HALF_REST(r))


def negative_half_square_remainder_rest(a, shifted, rounded):
    """What ``rounded``, the result of negative_half_square_remainder, leaves out."""
    square = a * a
    n = shifted - SHIFTER_UP
    small = n * (2.0 * LN2_LOW) + multiply_subtract(a, a, square)
    large = square + n * (2.0 * LN2_HIGH)
    r = large + small
    rest = EXP_OF_HALF_REST(r)
    factor = EXP_OF_HALF + r * rest
    factor_rest = product_sum_rest(r, rest, EXP_OF_HALF, factor)
    return multiply_subtract(r, factor, rounded) + (r * factor_rest - 0.5 * (1.0 + rounded) * sum_rest(large, small, r))
