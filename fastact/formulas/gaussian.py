"""GELU, exact and in its tanh approximation.

Both satisfy f(x) - f(-x) = x.  So f(x) = max(x, 0) - h(|x|) with the tail h(a) = -f(-a) computed directly, never as a
difference from x, and f'(x) = u for x < 0, 1 - u for x >= 0, with u(a) = f'(-a), written around its zero.
"""

from .coefficients import (
    GELU_GRADIENT,
    GELU_GRADIENT_BEND,
    GELU_GRADIENT_BEND_LOW,
    GELU_GRADIENT_LOW,
    GELU_GRADIENT_REST,
    GELU_GRADIENT_SLOPE,
    GELU_GRADIENT_SLOPE_LOW,
    GELU_TANH_CUBIC_HIGH,
    GELU_TANH_CUBIC_LOW,
    GELU_TANH_LINEAR_HIGH,
    GELU_TANH_LINEAR_LOW,
    GELU_TANH_PIVOT_COARSE,
    GELU_TANH_PIVOT_EXP,
    GELU_TANH_PIVOT_LOW,
    GELU_TANH_PIVOT_MIDDLE,
    GELU_TANH_PIVOT_REST,
    GELU_TANH_PIVOT_ROUNDED,
    GELU_TANH_PLACE,
    GELU_TANH_PLACE_SLOPE,
    GELU_TANH_TRIPLE_CUBIC,
    GELU_ZERO_HIGH,
    GELU_ZERO_LOW,
    MINUS_NORMAL_TAIL,
    MINUS_NORMAL_TAIL_BEND,
    MINUS_NORMAL_TAIL_BEND_LOW,
    MINUS_NORMAL_TAIL_LOW,
    MINUS_NORMAL_TAIL_REST,
    MINUS_NORMAL_TAIL_SLOPE,
    MINUS_NORMAL_TAIL_SLOPE_LOW,
    NORMAL_TAIL_CENTRE,
    NORMAL_TAIL_SHIFT,
)
from .elementary import (
    EXP_UNSCALE,
    HALF_SCALE,
    HALF_UNSCALE,
    LEAST_CORRECTED,
    exponential_minus_one_from,
    exponential_minus_one_rest_from,
    logistic_multiple,
    nearest_exponent,
    negative_half_square_exponent,
    negative_half_square_remainder,
    negative_half_square_remainder_rest,
    one_plus_squared_rest,
    product,
    product_sum_rest,
    quotient,
    reduced_difference,
    reduced_difference_rest,
    scaled_exponential_from,
    scaled_exponential_rest_from,
    sum_rest,
    widened_exponential_multiple,
)
from .primitives import Constant, absolute, cancellation, copysign, correction, multiply_subtract, power_of_two

# a (1 - Phi(a)) rounds to 0 above, and the rational functions were fitted up to here
GELU_CUT = Constant(float32="0x1.d33334p+3", float64="0x1.399999999999ap+5", widened="0x1.d33334p+3")  # 14.6, 39.2
# a exp(-z(a)) rounds to 0 above: z(11) = 112, z(22) = 794
GELU_TANH_CUT = Constant(float32="0x1.6p+3", float64="0x1.6p+4", widened="0x1.6p+3")  # 11, 22
# exp(-z(a)) is nothing beside 1 above: z(6) = 25, z(10) = 87
GELU_TANH_LINEAR_FROM = Constant(float32="0x1.8p+2", float64="0x1.4p+3", widened="0x1.8p+2")  # 6, 10


def mapped_rest(a, lift, bottom, mapped, share):
    """What ``mapped`` = a * lift / (a + NORMAL_TAIL_CENTRE) leaves out, ``bottom`` being the rounded sum.

    With ``share`` = a / (a + 4), 1 / (a + 4) is (1 - share) / 4: no second division.
    """
    remainder = multiply_subtract(mapped, bottom, a * lift) + mapped * sum_rest(NORMAL_TAIL_CENTRE, a, bottom)
    return remainder * (0.25 * (share - 1.0))


def gelu(x):
    """max(x, 0) - a exp(-a*a/2) g(a), with a = |x| and g the ratio of the normal tail to exp(-a*a/2)."""
    size = absolute(x)
    a = GELU_CUT if size > GELU_CUT else size
    shifted = negative_half_square_exponent(a)
    bottom = a + NORMAL_TAIL_CENTRE
    # lifted: a quarter of the least normal number is none any more, and a host may flush those
    mapped = a * HALF_SCALE / bottom
    q = mapped * HALF_UNSCALE - NORMAL_TAIL_SHIFT
    # the power of two goes to a factor: one rounding less than with exp as a factor of its own
    power = power_of_two(shifted)
    scaled = power * mapped
    remainder = negative_half_square_remainder(a, shifted)
    tail = scaled + scaled * remainder
    # the minus is in the coefficients, because compilers negate a sum without regard to the sign of a zero
    further = MINUS_NORMAL_TAIL_REST(q)
    bend = MINUS_NORMAL_TAIL_BEND + q * further
    slope = MINUS_NORMAL_TAIL_SLOPE + q * bend
    factor = MINUS_NORMAL_TAIL + q * slope
    lifted = tail * factor
    # what all of these leave out
    of_mapped = correction(mapped_rest(a, HALF_SCALE, bottom, mapped, mapped * HALF_UNSCALE))
    of_q = correction(of_mapped * HALF_UNSCALE + product_sum_rest(mapped, HALF_UNSCALE, -NORMAL_TAIL_SHIFT, q))
    of_remainder = correction(negative_half_square_remainder_rest(a, shifted, remainder))
    of_tail = correction(
        product_sum_rest(scaled, remainder, scaled, tail)
        + (scaled * of_remainder + power * of_mapped * (1.0 + remainder))
    )
    of_bend = correction(product_sum_rest(q, further, MINUS_NORMAL_TAIL_BEND, bend) + MINUS_NORMAL_TAIL_BEND_LOW)
    of_slope = correction(
        product_sum_rest(q, bend, MINUS_NORMAL_TAIL_SLOPE, slope) + (MINUS_NORMAL_TAIL_SLOPE_LOW + q * of_bend)
    )
    of_factor = correction(
        product_sum_rest(q, slope, MINUS_NORMAL_TAIL, factor)
        + (MINUS_NORMAL_TAIL_LOW + q * of_slope + of_q * (slope + q * bend))
    )
    of_product = correction(multiply_subtract(tail, factor, lifted) + (tail * of_factor + of_tail * factor))
    # -0.0 leaves every number as it is: nothing is left out of a zero
    of_lifted = correction(of_product if a > 0.0 else -0.0)
    below = lifted + of_lifted
    # -0.0, not 0.0: gelu(-inf) and gelu(-0.0) are -0.0
    line = x if x >= 0.0 else -0.0
    unscale = EXP_UNSCALE * HALF_UNSCALE
    result = line + below * unscale
    # not for a negative number, which is rounded once, nor for one whose rest would be subnormal, nor for infinity
    of_below = correction((lifted - below) + of_lifted)
    of_result = correction(product_sum_rest(below, unscale, line, result) + of_below * unscale)
    of_positive = correction(of_result if x > LEAST_CORRECTED else -0.0)
    return result + correction(of_positive if size < GELU_CUT else -0.0)


def gelu_gradient(x):
    """u = exp(-a*a/2) (g(a) - a / sqrt(2 pi)), the bracket as (zero - a) times a function without zeros."""
    size = absolute(x)
    a = GELU_CUT if size > GELU_CUT else size
    shifted = negative_half_square_exponent(a)
    power = power_of_two(shifted)
    remainder = negative_half_square_remainder(a, shifted)
    tail = power * (1.0 + remainder)
    from_high = GELU_ZERO_HIGH - a
    from_zero = from_high + cancellation(GELU_ZERO_LOW)
    bottom = a + NORMAL_TAIL_CENTRE
    mapped = a / bottom
    q = mapped - 0.375
    further = GELU_GRADIENT_REST(q)
    bend = GELU_GRADIENT_BEND + q * further
    slope = GELU_GRADIENT_SLOPE + q * bend
    factor = GELU_GRADIENT + q * slope
    # what all of these leave out
    of_remainder = correction(negative_half_square_remainder_rest(a, shifted, remainder))
    of_tail = correction((power - tail) + power * remainder + power * of_remainder)
    of_zero = correction(sum_rest(GELU_ZERO_HIGH, -a, from_high) + sum_rest(from_high, GELU_ZERO_LOW, from_zero))
    of_q = correction(mapped_rest(a, 1.0, bottom, mapped, mapped) + sum_rest(mapped, -0.375, q))
    of_bend = correction(product_sum_rest(q, further, GELU_GRADIENT_BEND, bend) + GELU_GRADIENT_BEND_LOW)
    of_slope = correction(
        product_sum_rest(q, bend, GELU_GRADIENT_SLOPE, slope) + (GELU_GRADIENT_SLOPE_LOW + q * of_bend)
    )
    of_factor = correction(
        product_sum_rest(q, slope, GELU_GRADIENT, factor)
        + (GELU_GRADIENT_LOW + q * of_slope + of_q * (slope + q * bend))
    )
    u = product(tail, of_tail, from_zero, of_zero, factor, of_factor) * EXP_UNSCALE
    return u if x < 0.0 else 1.0 - u


def gelu_tanh_factor(square):
    """2 sqrt(2/pi) (1 + 0.044715 square): the argument of the logistic function, divided by a."""
    return GELU_TANH_LINEAR_HIGH + GELU_TANH_CUBIC_HIGH * square


def gelu_tanh_argument_error(a, square, factor, argument):
    """What ``argument`` = a * factor leaves out of a times the true factor; at a = 10 it decides 30 units of exp."""
    factor_error = multiply_subtract(GELU_TANH_CUBIC_HIGH, square, factor - GELU_TANH_LINEAR_HIGH) + (
        GELU_TANH_CUBIC_HIGH * multiply_subtract(a, a, square) + (GELU_TANH_CUBIC_LOW * square + GELU_TANH_LINEAR_LOW)
    )
    return multiply_subtract(a, factor, argument) + a * factor_error


def gelu_tanh(x):
    """0.5 x (1 + tanh(u)) is x / (1 + exp(-2u))."""
    # the upper cut is for what is not chosen there, and must not overflow
    cut = -GELU_TANH_CUT if x < -GELU_TANH_CUT else (GELU_TANH_LINEAR_FROM if x > GELU_TANH_LINEAR_FROM else x)
    square = cut * cut
    factor = gelu_tanh_factor(square)
    argument = cut * factor
    error = correction(gelu_tanh_argument_error(cut, square, factor, argument))
    value = logistic_multiple(cut, -argument, -error) * EXP_UNSCALE
    # compilers are free with the sign of a sum that is zero: -0.0 is put back
    return x if x > GELU_TANH_LINEAR_FROM else copysign(value, x)


def gelu_tanh_gradient(x):
    """u = e (1 + e - p) / (1 + e)**2 with z = 2u(a), e = exp(-z), p = a z'(a).

    Around the zero a0, with D = z(a0) - z: 1 + e - p = e0 expm1(D) + p(a0) - p, and p(a0) - p is
    k (a0 - a) (1 + 3 * 0.044715 (a0**2 + a0 a + a**2)) with k = 2 sqrt(2/pi).
    """
    size = absolute(x)
    a = GELU_TANH_CUT if size > GELU_TANH_CUT else size
    square = a * a
    factor = gelu_tanh_factor(square)
    argument = a * factor
    error = cancellation(gelu_tanh_argument_error(a, square, factor, argument))
    shifted = nearest_exponent(GELU_TANH_PIVOT_COARSE - argument)
    reduced = reduced_difference(GELU_TANH_PIVOT_COARSE, GELU_TANH_PIVOT_MIDDLE, argument, shifted)
    low = cancellation(GELU_TANH_PIVOT_LOW - error)
    r = reduced + low
    tail = scaled_exponential_from(r, shifted, GELU_TANH_PIVOT_EXP)
    to_place = GELU_TANH_PLACE - a
    both = GELU_TANH_PLACE + a
    squares = a * both
    steeper = GELU_TANH_TRIPLE_CUBIC * squares
    slope = GELU_TANH_PLACE_SLOPE + steeper
    straight = to_place * slope
    curved = exponential_minus_one_from(r, shifted, GELU_TANH_PIVOT_EXP, GELU_TANH_PIVOT_REST)
    numerator = straight + curved
    e = tail * EXP_UNSCALE
    bottom = 1.0 + e * (2.0 + e)
    r_rest = correction(
        reduced_difference_rest(GELU_TANH_PIVOT_COARSE, GELU_TANH_PIVOT_MIDDLE, argument, shifted, reduced)
        + sum_rest(reduced, low, r)
    )
    tail_rest = correction(scaled_exponential_rest_from(r, r_rest, shifted, GELU_TANH_PIVOT_EXP, tail))
    to_place_rest = correction(sum_rest(GELU_TANH_PLACE, -a, to_place))
    squares_rest = correction(multiply_subtract(a, both, squares) + a * sum_rest(GELU_TANH_PLACE, a, both))
    triple_rest = correction(
        multiply_subtract(3.0, GELU_TANH_CUBIC_HIGH, GELU_TANH_TRIPLE_CUBIC) + 3.0 * GELU_TANH_CUBIC_LOW
    )
    steeper_rest = correction(
        multiply_subtract(GELU_TANH_TRIPLE_CUBIC, squares, steeper)
        + (GELU_TANH_TRIPLE_CUBIC * squares_rest + triple_rest * squares)
    )
    slope_rest = correction(sum_rest(GELU_TANH_PLACE_SLOPE, steeper, slope) + steeper_rest)
    straight_rest = correction(
        multiply_subtract(to_place, slope, straight) + (to_place * slope_rest + to_place_rest * slope)
    )
    curved_rest = correction(
        exponential_minus_one_rest_from(r, r_rest, shifted, GELU_TANH_PIVOT_EXP, GELU_TANH_PIVOT_REST, curved)
    )
    numerator_rest = correction(sum_rest(straight, curved, numerator) + (straight_rest + curved_rest))
    bottom_rest = correction(one_plus_squared_rest(e, tail_rest * EXP_UNSCALE, bottom))
    u = quotient(tail, tail_rest, numerator, numerator_rest, bottom, bottom_rest) * EXP_UNSCALE
    return u if x < 0.0 else 1.0 - u


def widened_gelu_tanh_gradient(x):
    """u = e / (1 + e) * (1 - p / (1 + e)) with p = a z'(a); exp is taken from the zero, where its error must vanish."""
    size = absolute(x)
    a = GELU_TANH_CUT if size > GELU_TANH_CUT else size
    square = a * a
    argument = a * gelu_tanh_factor(square)
    e = widened_exponential_multiple(GELU_TANH_PIVOT_ROUNDED - argument, GELU_TANH_PIVOT_EXP)
    inverse = 1.0 / (1.0 + e)
    p = a * (GELU_TANH_LINEAR_HIGH + GELU_TANH_TRIPLE_CUBIC * square)
    u = e * inverse * (1.0 - p * inverse)
    return u if x < 0.0 else 1.0 - u


#: Computed in float64 for float32 (lowering.py): in float32 these products of a dozen roundings are off by 3 to 4 units
#: in the last place, and what would bring them below one costs as much.
WIDENED = (gelu, gelu_gradient, gelu_tanh_gradient)
WIDENED_FORMS = {gelu_tanh_gradient: widened_gelu_tanh_gradient}
#: What is looked up, by instruction set and precision: src_cy/piecewise.h, src_cy/fetched.h.
PIECEWISE = {
    ("avx512", "float32"): (gelu, gelu_gradient, gelu_tanh, gelu_tanh_gradient),
    ("avx512", "narrow"): (gelu, gelu_gradient, gelu_tanh, gelu_tanh_gradient),
    ("avx512", "float64"): (gelu, gelu_gradient, gelu_tanh_gradient),
    ("avx2", "float32"): (gelu, gelu_gradient, gelu_tanh, gelu_tanh_gradient),
    ("avx2", "float64"): (gelu, gelu_gradient, gelu_tanh, gelu_tanh_gradient),
}
