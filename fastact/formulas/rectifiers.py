"""Piecewise linear activations.  Comparisons are arranged so that NaN falls through to the branch that returns it."""


def relu(x):
    # not maximum(x, 0): that loses NaN on x86 in one operand order, and -0.0 in both
    return 0.0 if x < 0.0 else x


def relu_gradient(x):
    return leaky_relu_gradient(x, 0.0)


def relu_gradient_from_output(y):
    return leaky_relu_gradient(y, 0.0)


def leaky_relu(x, negative_slope):
    # a slope of 0 is relu: 0 * -inf would be NaN
    negative = relu(x) if negative_slope == 0.0 else negative_slope * x
    return x if x > 0.0 else negative


def leaky_relu_gradient(x, negative_slope):
    return 1.0 if x > 0.0 else (negative_slope if x <= 0.0 else x)


def leaky_relu_gradient_from_output(y, negative_slope):
    # the sign of y is the sign of x for a slope >= 0
    return leaky_relu_gradient(y, negative_slope)


def prelu(x, weight):
    return leaky_relu(x, weight)


def prelu_gradient(x, weight):
    return leaky_relu_gradient(x, weight)


def prelu_weight_gradient(x, weight):
    """Derivative with regard to the weight."""
    return 0.0 if x > 0.0 else x
