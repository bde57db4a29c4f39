"""Activations that are exponential on one side and linear on the other."""

from .elementary import (
    EXP_UNSCALE,
    HALF_UNSCALE,
    LOWEST,
    UPPER_CUT,
    exponential_minus_one_multiple,
    log1p_quotient,
    log1p_quotient_rest,
    logistic_multiple,
    nearest_exponent,
    reduced_sum,
    scaled_exponential_from,
    scaled_exponential_multiple,
    scaled_exponential_rest_from,
    sum_rest,
    widened_exponential_multiple,
)
from .primitives import Constant, absolute, correction, multiply_subtract

# A larger alpha times exp(x) * EXP_SCALE could overflow.
LARGE_FACTOR = Constant(float32="0x1p+32", float64="0x1p+300")
# exp(-700) divided by the least float32 is nothing in float32, and 2**n is still a normal number.
LEAST_BEND = Constant(float32="-0x1.b8p+6", float64="-0x1.5ep+9")


def elu(x, alpha):
    # >= keeps the sign of -0.0
    return x if x >= 0.0 else exponential_minus_one_multiple(x, alpha)


def elu_gradient(x, alpha):
    cut = LOWEST if x < LOWEST else x
    # exp is only asked for what it can do; the value above zero is never used
    negative = 0.0 if cut > 0.0 else cut
    factor = alpha * EXP_UNSCALE if absolute(alpha) > LARGE_FACTOR else alpha
    unscale = 1.0 if absolute(alpha) > LARGE_FACTOR else EXP_UNSCALE
    return 1.0 if x > 0.0 else scaled_exponential_multiple(negative, factor) * unscale


def elu_gradient_from_output(y, alpha):
    return 1.0 if y > 0.0 else y + alpha


def softplus(x, beta):
    """max(x, 0) + log1p(exp(-|beta x|)) / beta, with the rounding error of beta * x carried along.

    The scale of the exponential is undone in two steps, so that a small or large beta cannot overflow between.
    """
    t = beta * x
    a = absolute(t)
    # beyond the cut only max(x, 0) is left, and the error term of an infinite product would be NaN
    error = correction(0.0 if a > -LOWEST else multiply_subtract(beta, x, t))
    argument = LOWEST if a > -LOWEST else -a
    shifted = nearest_exponent(argument)
    r = reduced_sum(argument, -error if t > 0.0 else error, shifted)
    tail = scaled_exponential_from(r, shifted, 1.0)
    e = tail * EXP_UNSCALE
    quotient = log1p_quotient(e)
    logarithm = tail * quotient
    # what the rounding of e took counts 1 / (1 + e) times, which is about 1 - e / 2
    tail_rest = correction(scaled_exponential_rest_from(r, 0.0, shifted, 1.0, tail) * (1.0 - 0.5 * e))
    product_rest = correction(multiply_subtract(tail, quotient, logarithm) + tail * log1p_quotient_rest(e, quotient))
    # a division, not a product with 1 / beta: one rounding, and none for beta = 1
    scaled = logarithm * HALF_UNSCALE / beta
    division_rest = correction(multiply_subtract(scaled, beta, logarithm * HALF_UNSCALE))
    scaled_rest = correction(((product_rest + tail_rest) * HALF_UNSCALE - division_rest) / beta)
    sharpened = scaled + scaled_rest
    bend = sharpened * HALF_UNSCALE
    line = x if t > 0.0 else 0.0
    result = line + bend
    # the bend alone is as good as it can be, and what is left of it may be subnormal
    bend_rest = correction((scaled - sharpened) + scaled_rest)
    rest = correction(sum_rest(line, bend, result) + bend_rest * HALF_UNSCALE if t > 0.0 else 0.0)
    # the bend is nothing beside a large line, and there is no rest of an infinite sum
    return x if t > UPPER_CUT else result + rest


def widened_softplus(x, beta):
    t = beta * x
    a = absolute(t)
    e = widened_exponential_multiple(LEAST_BEND if a > -LEAST_BEND else -a, 1.0)
    line = x if t > 0.0 else 0.0
    return line + e * log1p_quotient(e) * (1.0 / beta)


def softplus_gradient(x, beta):
    """sigmoid(beta x), with the rounding error of beta * x carried along."""
    t = beta * x
    cut = LOWEST if t < LOWEST else (UPPER_CUT if t > UPPER_CUT else t)
    error = correction(0.0 if absolute(t) > -LOWEST else multiply_subtract(beta, x, t))
    return logistic_multiple(1.0, -cut, -error) * EXP_UNSCALE


def softplus_gradient_from_output(y, beta):
    # a difference, not a negation: 0, not -0, at y = 0
    return 0.0 - exponential_minus_one_multiple(-beta * y, 1.0)


#: Computed in float64 for float32 (lowering.py): in float32 their roundings add up to two units in the last place,
#: and softplus falls here and there where it should rise.
WIDENED = (softplus, softplus_gradient_from_output)
WIDENED_FORMS = {softplus: widened_softplus}
#: What is looked up where the parameter is 1, by instruction set and precision: src_cy/piecewise.h, src_cy/fetched.h.
PIECEWISE = {
    ("avx512", "float32"): (softplus, softplus_gradient),
    ("avx512", "narrow"): (softplus, softplus_gradient),
    ("avx512", "float64"): (softplus,),
    ("avx2", "float32"): (elu, elu_gradient, softplus, softplus_gradient, softplus_gradient_from_output),
    ("avx2", "float64"): (elu, elu_gradient, softplus, softplus_gradient, softplus_gradient_from_output),
}
