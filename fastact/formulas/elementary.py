"""The ground that every family stands on: exp, expm1 and log1p, branch-free, for both precisions.

All of them reduce to one core: x = n ln 2 + r with |r| <= ln(2)/2, q = exp(r) - 1 from a polynomial, and 2**n put
together from bits.  exp and expm1 of the same x share n, r and q.

Why "scaled": an activation's tail is a subnormal number, and rounding to subnormals twice loses it.  So the tail is
carried as e * EXP_SCALE, which is always a normal number, through all multiplications; the last operation, a division
by something that is scaled as well or a multiplication by EXP_UNSCALE, takes the scale off: one rounding.  The scale
costs nothing on the way in (it is added to n).  Arguments are cut at LOWEST, where every tail has long rounded to
zero; a comparison with NaN is false, so NaN passes the cut.
"""

from .coefficients import ATANH_TAIL, EXP_OF_HALF, EXPM1_TAIL, LN2_HIGH, LN2_LOW, LOG2_E
from .primitives import Constant, absolute, multiply_subtract, power_of_two

# 1.5 * 2**23 and 1.5 * 2**52: adding them rounds to an integer, in round-to-nearest, with no rounding instruction
# (SSE2 has none), and no flag that would let a compiler fold the addition away is ever on.  The exponent's bias (127,
# 1023) is added at the same time, so that power_of_two has only to shift.
SHIFTER = Constant(float32="0x1.8000fe0000000p+23", float64="0x1.80000000003ffp+52")
# 2**64 and 2**600: lifts exp(LOWEST) and its products with LOWEST into the normal range, and keeps sums finite.
EXP_SCALE = Constant(float32="0x1p+64", float64="0x1p+600")
EXP_UNSCALE = Constant(float32="0x1p-64", float64="0x1p-600")
SHIFTER_UP = Constant(float32="0x1.80017e0000000p+23", float64="0x1.8000000000657p+52")  # SHIFTER + 64, SHIFTER + 600
SHIFTER_DOWN = Constant(float32="0x1.80007e0000000p+23", float64="0x1.80000000001a7p+52")  # SHIFTER - 64, SHIFTER - 600
# |x| exp(x) rounds to 0 below: 110 * exp(-110) < 2**-150, 760 * exp(-760) < 2**-1075.
LOWEST = Constant(float32="-0x1.b8p+6", float64="-0x1.7cp+9")  # -110, -760
# 1 / (1 + exp(-x)) is 1 to the last bit above.
UPPER_CUT = Constant(float32="0x1.ep+4", float64="0x1.ep+5")  # 30, 60
# expm1 is -1 to the last bit below, and 2**n of exp(x) still normal.
EXPM1_LOWEST = Constant(float32="-0x1.4p+6", float64="-0x1.5ep+9")  # -80, -700


def exponential_minus_one_core(r):
    """exp(r) - 1 for |r| <= ln(2)/2."""
    return r + r * r * EXPM1_TAIL(r)


def scaled_exponential(x):
    """exp(x) * EXP_SCALE for LOWEST <= x <= 0."""
    shifted = x * LOG2_E + SHIFTER_UP
    n = shifted - SHIFTER_UP
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    scale = power_of_two(shifted)
    return scale + scale * exponential_minus_one_core(r)


def reduced_sum(x, low, shifted):
    """x + low - n ln 2."""
    n = shifted - SHIFTER_UP
    return ((x - n * LN2_HIGH) - n * LN2_LOW) + low


def downscaled_one_plus_exponential(x):
    """(1 + exp(x)) * EXP_UNSCALE for -UPPER_CUT <= x <= -LOWEST, rounded once."""
    shifted = x * LOG2_E + SHIFTER_DOWN
    n = shifted - SHIFTER_DOWN
    return downscaled_one_plus_exponential_from((x - n * LN2_HIGH) - n * LN2_LOW, shifted)


def downscaled_one_plus_exponential_sum(x, low):
    """(1 + exp(x + low)) * EXP_UNSCALE, likewise, for a low that is far below the rounding of n."""
    shifted = x * LOG2_E + SHIFTER_DOWN
    n = shifted - SHIFTER_DOWN
    return downscaled_one_plus_exponential_from((x - n * LN2_HIGH) + (low - n * LN2_LOW), shifted)


def downscaled_one_plus_exponential_from(r, shifted):
    """(1 + exp(r) 2**n) * EXP_UNSCALE: 1 + 2**n is exact, and so is 2**n times the rest; one rounding is left.

    Except that 1 + 2**24 (2**53 in float64) is not: without what is lost there, sigmoid is 2.5 ULP off at -16.6.
    """
    scale = power_of_two(shifted)
    whole = EXP_UNSCALE + scale
    lost = EXP_UNSCALE - (whole - scale)
    return whole + (scale * exponential_minus_one_core(r) + lost)


def nearest_exponent(x):
    """SHIFTER_UP + n, n the integer nearest to x / ln 2, for the functions below."""
    return x * LOG2_E + SHIFTER_UP


def reduced_difference(coarse, more, x, shifted):
    """coarse + more - x - n ln 2, in the order that keeps all digits where x nearly cancels both (n is 0 there).

    n ln 2 goes first, because coarse - x is not exact for a small x.
    """
    n = shifted - SHIFTER_UP
    return ((coarse - n * LN2_HIGH) - x) + (more - n * LN2_LOW)


def scaled_exponential_from(r, shifted, factor):
    """factor * exp(r + n ln 2) * EXP_SCALE; the factor goes to the power of two, where it costs no rounding."""
    scale = power_of_two(shifted) * factor
    return scale + scale * exponential_minus_one_core(r)


def scaled_exponential_error_from(r, shifted, factor, rounded):
    """What ``rounded``, the result of scaled_exponential_from, leaves out."""
    scale = power_of_two(shifted) * factor
    return scale * exponential_minus_one_core(r) - (rounded - scale)


def exponential_minus_one_from(r, shifted, factor, rest):
    """factor * (exp(r + n ln 2) - 1 + rest), for a rest that only matters where n is 0: it costs no rounding there."""
    scale = power_of_two(shifted) * factor * EXP_UNSCALE
    return scale * exponential_minus_one_core(r) + ((scale - factor) + factor * rest)


def scaled_one_plus_squared(tail):
    """(1 + e)**2 * EXP_SCALE for tail = e * EXP_SCALE: with one rounding that matters where e is small, not three."""
    return EXP_SCALE + tail * (2.0 + tail * EXP_UNSCALE)


def product(a, b, c):
    """a * b * c rounded once."""
    inner = a * b
    result = inner * c
    return result + (multiply_subtract(inner, c, result) + multiply_subtract(a, b, inner) * c)


def quotient(a, a_error, b, denominator, denominator_error):
    """(a + a_error) * b / (denominator + denominator_error) rounded once.

    Gradients with a zero are products of a dozen roundings; these four, at half a unit or more each, can be had back
    for a few FMAs.
    """
    reciprocal = 1.0 / denominator
    top = a * b
    result = top * reciprocal
    top_error = multiply_subtract(a, b, top) + a_error * b
    short = (top_error - multiply_subtract(result, denominator, top)) - result * denominator_error
    return result + short * reciprocal


def exponential_minus_one(x):
    """exp(x) - 1 for x <= 0: 2**n q + (2**n - 1), exact near zero because n is 0 there."""
    cut = EXPM1_LOWEST if x < EXPM1_LOWEST else x
    shifted = cut * LOG2_E + SHIFTER
    n = shifted - SHIFTER
    r = (cut - n * LN2_HIGH) - n * LN2_LOW
    scale = power_of_two(shifted)
    return scale * exponential_minus_one_core(r) + (scale - 1.0)


def scaled_log1p(tail, tail_error):
    """log(1 + e) * EXP_SCALE for 0 <= e <= 1, with e * EXP_SCALE = tail + tail_error.

    log1p(e) = 2 atanh(s), s = e / (2 + e) <= 1/3, is e - s (e - 2 s**2 / 3 - ...): the series' error counts less than
    half.  What the rounding of e took counts 1 / (1 + e) times, which is about 1 - 1.5 s.
    """
    e = tail * EXP_UNSCALE
    scaled = tail / (2.0 + e)
    s = scaled * EXP_UNSCALE
    t = s * s
    return tail - (scaled * (e - t * ATANH_TAIL(t)) - tail_error * (1.0 - 1.5 * s))


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
    r = ((square + n * (2.0 * LN2_HIGH)) + n * (2.0 * LN2_LOW)) + multiply_subtract(a, a, square)
    return r * EXP_OF_HALF(r)


def negative_half_square_exponential(a):
    """exp(-a * a / 2) * EXP_SCALE for a >= 0 and a * a / 2 <= -LOWEST."""
    shifted = negative_half_square_exponent(a)
    return power_of_two(shifted) * (1.0 + negative_half_square_remainder(a, shifted))


def distance(x):
    """|x|, cut where every tail has rounded to zero."""
    a = absolute(x)
    return -LOWEST if a > -LOWEST else a
