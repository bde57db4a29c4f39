"""Activations that are exponential on one side and linear on the other."""

from .elementary import (
    EXP_UNSCALE,
    LOWEST,
    UPPER_CUT,
    downscaled_one_plus_exponential_sum,
    exponential_minus_one,
    nearest_exponent,
    reduced_sum,
    scaled_exponential,
    scaled_exponential_error_from,
    scaled_exponential_from,
    scaled_log1p,
)
from .primitives import Constant, absolute, multiply_subtract

# sqrt(EXP_UNSCALE): softplus undoes the scale in two steps, so that a small or large beta cannot overflow between
HALF_UNSCALE = Constant(float32="0x1p-32", float64="0x1p-300")


def elu(x, alpha):
    # >= keeps the sign of -0.0
    return x if x >= 0.0 else alpha * exponential_minus_one(x)


def elu_gradient(x, alpha):
    cut = LOWEST if x < LOWEST else x
    # exp is only asked for what it can do; the value above zero is never used
    tail = scaled_exponential(0.0 if cut > 0.0 else cut)
    return 1.0 if x > 0.0 else alpha * tail * EXP_UNSCALE


def elu_gradient_from_output(y, alpha):
    return 1.0 if y > 0.0 else y + alpha


def softplus(x, beta):
    """max(x, 0) + log1p(exp(-|beta x|)) / beta, with the rounding error of beta * x carried along."""
    t = beta * x
    a = absolute(t)
    # beyond the cut only max(x, 0) is left, and the error term of an infinite product would be NaN
    error = 0.0 if a > -LOWEST else multiply_subtract(beta, x, t)
    argument = LOWEST if a > -LOWEST else -a
    shifted = nearest_exponent(argument)
    r = reduced_sum(argument, -error if t > 0.0 else error, shifted)
    tail = scaled_exponential_from(r, shifted, 1.0)
    logarithm = scaled_log1p(tail, scaled_exponential_error_from(r, shifted, 1.0, tail))
    # a division, not a product with 1 / beta: one rounding, and none for beta = 1
    return (x if t > 0.0 else 0.0) + logarithm * HALF_UNSCALE / beta * HALF_UNSCALE


def softplus_gradient(x, beta):
    """sigmoid(beta x), with the rounding error of beta * x carried along."""
    t = beta * x
    cut = LOWEST if t < LOWEST else (UPPER_CUT if t > UPPER_CUT else t)
    error = 0.0 if absolute(t) > -LOWEST else multiply_subtract(beta, x, t)
    return EXP_UNSCALE / downscaled_one_plus_exponential_sum(-cut, -error)


def softplus_gradient_from_output(y, beta):
    # a difference, not a negation: 0, not -0, at y = 0
    return 0.0 - exponential_minus_one(-beta * y)
