"""The truth in plain NumPy: every activation, its gradient, and its gradient from the output, in float64.

Tests compare every other backend with this file, and the NumPy backend serves it (float32 is widened, evaluated here
and rounded once).  So it must be right over the whole line, subnormal results and the gradients around their zeros
included: within 0.51 ULP of float64, which is the last rounding and a little, and 0.55 for gelu and its gradient.
``tests/test_reference.py`` holds it to that, and ``fastact/verification/multiprecision.py`` measures it.

It must share nothing with ``formulas/``, or it could not find their errors; it imports NumPy only.  Where the two need
the same function they get it differently: here exp takes 2**(j / 32) from a table, the Gaussian tail is a Chebyshev
series, and zeros of derivatives are factored out exactly.  Of the C library's functions only log1p is used, and only
as a first guess, so the truth is the same on every machine.

Three ideas are used throughout.  Intermediate results are pairs hi + lo of twice the precision (an error of half an
ULP in the argument of exp(-700) alone would be 500 ULP in the result), and only the last operation rounds to float64.
Powers of two are kept apart and applied last, so a subnormal result is rounded once.  And negative inputs have formulas
of their own: nothing is 1 - (almost 1).
"""

import functools

import numpy as np

# All numbers with many digits are printed by `python -m tools.reference_coefficients`.
# exp(a^2 / 2) * Phi(-a) for a in [0, inf), times a rational function (_TAIL_WEIGHT) that makes it almost constant:
# Chebyshev series in (a - MIDDLE) / (a + MIDDLE); the first two numbers are the pair of the constant term
_MIDDLE, _TAIL_WEIGHT, _GRADIENT_WEIGHT = 4.0, (2.1875, 1.75), (1.875, 1.125)
# fmt: off
_TAIL = np.array([
    0.4017064327446787, -1.6004746704085954e-17, -0.0017098233114189927, -0.002685879603974624,
    0.0017562211139264667, 0.00018974922799728277, -0.0005046755947176919, 0.00024915335368155475,
    -6.961695423916099e-05, 1.1662047917814205e-05, -9.449272003793741e-07, 1.407480141722483e-08,
    -1.9318929020715226e-08, 8.453744330350498e-09, -8.028429480599422e-10, -1.0782551464002115e-10,
    -3.5214733941385423e-12, 1.0016595660662944e-11, -3.142634589415509e-13, -3.3835141458995464e-13,
    -2.845132186851779e-14, 1.7730597577843646e-14, 2.4485694773067267e-15, -6.019113443341767e-16,
    -2.065298305729849e-16, 1.0933442606592561e-17, 1.259299325939305e-17, 1.0877850474138057e-18,
])
# exp(a^2 / 2) * gelu'(-a) / (GELU_ZERO - a), likewise
_GRADIENT_FACTOR = np.array([
    0.4025688053058369, 1.7838673566748722e-18, -0.003446230135529729, -0.00198600656247498, 0.0028840855739969565,
    -0.0014649875722800392, 0.00048628776508941474, -0.00011937155434027298, 2.293053846835475e-05,
    -3.7669489804952446e-06, 6.40614488247313e-07, -1.290140972607011e-07, 2.6461444872993786e-08,
    -4.748844649951215e-09, 8.097957888234872e-10, -1.5873246138921556e-10, 3.251571221259881e-11,
    -5.730725943194178e-12, 9.743017128608668e-13, -2.0258008508676072e-13, 4.091410167703231e-14,
    -6.518961232048486e-15, 1.1777270443546215e-15, -2.7949830987474966e-16, 4.826063541179642e-17,
    -6.478549121471117e-18, 1.7370252892623704e-18,
])
# 2**(j / 32): the first 26 bits, and what they lack
_POWERS = np.array([
    1.0, 1.0218971371650696, 1.0442737638950348, 1.0671404004096985, 1.0905077159404755, 1.1143867373466492,
    1.1387886106967926, 1.1637248396873474, 1.1892071068286896, 1.2152473330497742, 1.241857796907425,
    1.2690509557724, 1.2968395352363586, 1.3252366185188293, 1.3542555272579193, 1.3839098811149597,
    1.4142135381698608, 1.4451808035373688, 1.4768261313438416, 1.509164422750473, 1.5422108173370361,
    1.5759808421134949, 1.610490322113037, 1.6457554697990417, 1.681792825460434, 1.7186192870140076,
    1.7562521398067474, 1.7947090566158295, 1.8340080678462982, 1.8741676211357117, 1.9152065515518188,
    1.9571441113948822,
])
_POWERS_LO = np.array([
    0.0, 1.1489047098156355e-08, 1.8532379050282905e-08, 2.671251318413961e-10, 1.6724782195339823e-08,
    5.249243366386938e-09, 2.4059899051164766e-08, 1.9090230101704197e-08, 8.174031491522187e-09,
    2.6930694708194645e-08, 1.5166059121835866e-08, 1.419333320210669e-09, 1.941465102335563e-08,
    2.4640911948926412e-08, 1.9678973416774576e-08, 8.488722380757845e-10, 2.420323420895794e-08,
    3.4396778456229436e-09, 1.4595657758652532e-08, 4.842949717305082e-09, 8.070904690799792e-09,
    2.994391613408395e-09, 9.836217198804521e-09, 8.354923096471882e-09, 5.046995126101313e-09,
    1.110847034726997e-08, 2.0566552046588722e-08, 1.8387277718654265e-08, 1.8563044245713647e-08,
    1.2974588231408124e-08, 9.845328446216361e-09, 1.2780518066869885e-08,
])
# fmt: on


class _Pair:
    """A number as hi + lo, lo being what hi lacks: about 100 bits.  For finite numbers far from over- and underflow."""

    # NumPy arrays on the left leave the operation to this class
    __array_ufunc__ = None

    def __init__(self, hi, lo=0.0):
        self.hi, self.lo = hi, lo

    @staticmethod
    def sum(a, b):
        """Return a + b exactly, whichever is larger (Knuth)."""
        total = a + b
        from_b = total - a
        return _Pair(total, (a - (total - from_b)) + (b - from_b))

    @staticmethod
    def ordered_sum(a, b):
        """Return a + b exactly, where a is the larger one or 0 (Dekker)."""
        total = a + b
        return _Pair(total, b - (total - a))

    @staticmethod
    def product(a, b):
        """Return a * b exactly (Dekker)."""
        (a_hi, a_lo), (b_hi, b_lo) = _halves(a), _halves(b)
        p = a * b
        return _Pair(p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo)

    @staticmethod
    def where(condition, a, b):
        """Choose between two pairs."""
        return _Pair(np.where(condition, a.hi, b.hi), np.where(condition, a.lo, b.lo))

    def __add__(self, other):
        if not isinstance(other, _Pair):
            total = _Pair.sum(self.hi, other)
            return _Pair.sum(total.hi, total.lo + self.lo)
        total = _Pair.sum(self.hi, other.hi)
        return _Pair.sum(total.hi, total.lo + (self.lo + other.lo))

    def __mul__(self, other):
        if not isinstance(other, _Pair):
            total = _Pair.product(self.hi, other)
            return _Pair.ordered_sum(total.hi, total.lo + self.lo * other)
        total = _Pair.product(self.hi, other.hi)
        return _Pair.ordered_sum(total.hi, total.lo + (self.hi * other.lo + self.lo * other.hi))

    def __truediv__(self, other):
        other = other if isinstance(other, _Pair) else _Pair(other)
        quotient = self.hi / other.hi
        back = _Pair.product(quotient, other.hi)
        rest = ((self.hi - back.hi) - back.lo) + (self.lo - quotient * other.lo)
        return _Pair.ordered_sum(quotient, rest / other.hi)

    def __neg__(self):
        return _Pair(-self.hi, -self.lo)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def times_power_of_two(self, factor):
        """Return self * factor, where that needs no rounding."""
        return _Pair(self.hi * factor, self.lo * factor)

    def times_two_to(self, n):
        """Return self * 2**n."""
        return _Pair(np.ldexp(self.hi, n), np.ldexp(self.lo, n))

    def rounded(self, n=0):
        """Return self * 2**n as float64, rounded once, if self is near 1."""
        total = self.hi + self.lo
        result = np.ldexp(total, n)
        if np.any(n < _SUBNORMAL_FROM):
            # ldexp has rounded a second time: what both have left out may add up to a step more
            left_out = (total - np.ldexp(result, -n)) + ((self.hi - total) + self.lo)
            result = np.where(np.abs(result) < _EVEN_SPACING_TO, result + np.ldexp(left_out, n), result)
        return result


_ONE = _Pair(1.0)
# 2 sqrt(2 / pi), and 0.044715 times that
_LINEAR = _Pair(1.5957691216057308, -9.96930880911092e-17)
_CUBIC = _Pair(0.07135481627260025, -6.175149918155315e-19)
# Zeros of gelu'(-a), gelu_tanh'(-a), silu'(-a), mish'(x), and at them exp of the logistic argument, exp(x) for mish
_GELU_ZERO = _Pair(0.7517915246935645, -1.4956759177009883e-17)
_GELU_TANH_ZERO = _Pair(0.7524614220710163, -3.635560509207687e-17)
_GELU_TANH_ZERO_SQUARED = _Pair(0.5661981917051361, -4.279036294789613e-18)
_GELU_TANH_ZERO_EXP = _Pair(0.29195521191476714, -8.582607951729513e-18)
_SILU_ZERO = _Pair(1.2784645427610737, 1.0946994183093437e-16)
_SILU_ZERO_REST = 3.907766676128665e-33
_SILU_ZERO_EXP = _Pair(0.2784645427610738, -1.5523606315812798e-18)
_MISH_ZERO = _Pair(-1.1924312145154952, -4.8484829848031044e-17)
_MISH_ZERO_EXP = _Pair(0.3034825352815289, 1.981117434764409e-17)
# w^2 + 4 x + 6 there
_MISH_SLOPE = _Pair(1.3223767911589237, -1.0088842457003686e-16)

# ln 2 / 32, its first part of 36 bits, so that its product with a number of steps is exact down to exp(-2800)
_STEP_HI, _STEP_LO = 0.021660849392446835, 5.145609244655338e-14
# Beyond these a gate is 0 or x: exp(-800) * 800, and a Gaussian or its tanh form at 40, are far below 2^-1075.  (tanh
# itself is 1 beyond 20.)
_EXP_END, _GAUSSIAN_END = 800.0, 40.0
# Under this exponent a number near 1 may have become subnormal; below this number there is one spacing.
_SUBNORMAL_FROM, _EVEN_SPACING_TO = -1000, 2.0**-1021
# Under this size, expm1(x), tanh(x), log1p(x) and x / (1 + x) are x to the last bit and far beyond; and pairs, whose lo
# must not become subnormal, stay clear of it.
_TINY = 2.0**-60


def _public(function):
    """Convert the arguments to float64 arrays, return one, and keep floating-point warnings from the caller."""

    @functools.wraps(function)
    def wrapper(*arguments):
        with np.errstate(all="ignore"):
            return np.asarray(function(*(np.asarray(a, np.float64) for a in arguments)), np.float64)

    return wrapper


def _halves(a):
    """(hi, lo) with a = hi + lo and 26 significant bits in hi: products of halves are exact.  Cannot overflow."""
    hi = (np.asarray(a, np.float64).view(np.int64) & ~0x7FFFFFF).view(np.float64)
    return hi, a - hi


def _exp_in_steps(z):
    """(m, n, steps, expm1 of what the steps leave), exp(z) = m * 2**n, for a pair or float64 z up to 700.

    m is a pair near [1, 2), and good to 2**-65.
    """
    z = z if isinstance(z, _Pair) else _Pair(z)
    steps = np.rint(z.hi / _STEP_HI)
    # 2^-7 and less: of its powers, the first alone needs more than float64
    r, r_lo = z.hi - steps * _STEP_HI, z.lo - steps * _STEP_LO
    total = r + r_lo
    bend = 1 / 2 + total * (1 / 6 + total * (1 / 24 + total * (1 / 120 + total * (1 / 720 + total * (1 / 5040)))))
    rest = r_lo + total * total * bend
    # powers have 26 bits, as halves have, so the larger product is exact
    half, other_half = _halves(r)
    count = steps.astype(np.int32)
    power, power_lo = _POWERS.take(count & 31), _POWERS_LO.take(count & 31)
    m = _Pair.ordered_sum(power, power * half)
    m = _Pair.ordered_sum(m.hi, m.lo + (power * (other_half + rest) + power_lo * (1 + r + rest)))
    return m, count >> 5, count, _Pair.ordered_sum(r, rest)


def _exp(z):
    """(m, n) with exp(z) = m * 2**n."""
    return _exp_in_steps(z)[:2]


def _exp_and_expm1(z):
    """(m, n, expm1(z)) with exp(z) = m * 2**n."""
    m, n, steps, expm1 = _exp_in_steps(z)
    return m, n, _Pair.where(steps == 0, expm1, m.times_two_to(n) - 1.0)


def _expm1(z):
    return _exp_and_expm1(z)[2]


def _exp_and_bottom(z):
    """m, n and the pair 1 + e, for e = exp(z) = m * 2**n."""
    m, n = _exp(z)
    return m, n, m.times_two_to(n) + 1.0


def _log1p(e):
    """log(1 + e) for a pair from 0 to 1."""
    # the difference from a first guess is log((1 + e) exp(-guess)), so near 0 that it is expm1 of itself
    guess = np.log1p(e.hi)
    q = _expm1(-guess)
    return e + q + e * q + guess


def _chebyshev(a, series):
    """The series at t = (a - middle) / (a + middle), by Clenshaw's recurrence in 1 + t (Reinsch).

    In t itself the recurrence would lose the digits of a small a, and multiply every rounding error near the end.
    """
    twice = 4 * (a / (a + _MIDDLE))
    b = d = 0.0
    for coefficient in series[:1:-1]:
        d = (coefficient - d) + twice * b
        b = d - b
    # the leading term, a pair, dominates: added last, it leaves the rounding errors of the others' sum small
    return _Pair.ordered_sum(series[0], series[1] + (0.5 * twice * b - d))


def _piecewise(x, positive, otherwise):
    """Choose by sign; NaN in, NaN out, also where neither side depends on x."""
    return np.where(x > 0, positive, np.where(x <= 0, otherwise, x))


def _gate(x, end, factor, n):
    """X times the pair ``factor``, for x <= 0 times 2**n as well.  Beyond end, x."""
    # the mantissa alone is multiplied, so that pairs stay clear of subnormals
    mantissa, exponent = np.frexp(np.clip(x, -end, end))
    value = (factor * mantissa).rounded(exponent + np.where(x > 0, 0, n))
    # the sums in pairs lose the sign of -0.0
    return np.copysign(np.where(x > end, x, value), x)


def _complement(x, value, n):
    """Gradient of a gate with f(x) = x + f(-x), from its value at -abs(x), a pair times 2**n: both add up to 1."""
    return _Pair.where(x > 0, 1.0 - value.times_two_to(n), value).rounded(np.where(x > 0, 0, n))


# --- rectifiers -------------------------------------------------------------------------------------------------------


@_public
def relu(x):
    return np.where(x < 0, 0.0, x)


@_public
def relu_gradient(x):
    return _piecewise(x, 1.0, 0.0)


relu_gradient_from_output = relu_gradient


@_public
def leaky_relu(x, negative_slope):
    # a slope of 0 is relu, also at -inf
    return np.where(x > 0, x, np.where(negative_slope == 0, relu(x), negative_slope * x))


@_public
def leaky_relu_gradient(x, negative_slope):
    return _piecewise(x, 1.0, negative_slope)


leaky_relu_gradient_from_output = leaky_relu_gradient
prelu = leaky_relu
prelu_gradient = leaky_relu_gradient


@_public
def prelu_weight_gradient(x, weight):
    """Derivative of prelu with regard to its weight."""
    return np.broadcast_arrays(np.where(x > 0, 0.0, x), weight)[0]


# --- exponentials -----------------------------------------------------------------------------------------------------


@_public
def elu(x, alpha):
    mantissa, exponent = np.frexp(alpha)
    below = (_expm1(np.clip(x, -_EXP_END, 0)) * mantissa).rounded(exponent)
    # >= keeps the sign of -0.0
    return np.where(x >= 0, x, np.where(np.abs(x) < _TINY, alpha * x, below))


@_public
def elu_gradient(x, alpha):
    m, n = _exp(np.clip(x, -_EXP_END, 0))
    mantissa, exponent = np.frexp(alpha)
    return np.where(x > 0, 1.0, (m * mantissa).rounded(n + exponent))


@_public
def elu_gradient_from_output(y, alpha):
    return np.where(y > 0, 1.0, y + alpha)


def _decay(beta, x):
    """-beta * abs(x) as a pair, cut where exp has long been 0."""
    z = _Pair.product(-beta, np.abs(x))
    # an infinite product has no lower part
    return _Pair(np.maximum(z.hi, -_EXP_END), np.where(z.hi > -_EXP_END, z.lo, 0.0))


@_public
def softplus(x, beta):
    m, n = _exp(_decay(beta, x))
    mantissa, exponent = np.frexp(beta)
    bend = (_log1p(m.times_two_to(n)) / mantissa).times_two_to(-exponent)
    line = np.maximum(x, 0.0)
    # pairs know no infinity
    near = np.where(np.isinf(bend.hi + line), np.inf, (bend + line).rounded())
    # far out log1p(e) is e itself, and may have to become subnormal
    return np.where((x < 0) & (n < -60), (m / mantissa).rounded(n - exponent), near)


@_public
def softplus_gradient(x, beta):
    return _logistic(x, _decay(beta, x))


@_public
def softplus_gradient_from_output(y, beta):
    z = _decay(beta, y)
    return np.where(z.hi > -_TINY, beta * y, -_expm1(z).rounded())


# --- sigmoids ---------------------------------------------------------------------------------------------------------


def _logistic(x, z):
    """1 / (1 + exp(-z)) for x > 0, 1 / (1 + exp(z)) otherwise; z <= 0."""
    m, n, bottom = _exp_and_bottom(z)
    return (_Pair.where(x > 0, _ONE, m) / bottom).rounded(np.where(x > 0, 0, n))


@_public
def sigmoid(x):
    return _logistic(x, np.maximum(-np.abs(x), -_EXP_END))


def _logistic_gradient(x):
    """Pair and exponent of the logistic function's derivative."""
    m, n, bottom = _exp_and_bottom(np.maximum(-np.abs(x), -_EXP_END))
    return m / (bottom * bottom), n


@_public
def sigmoid_gradient(x):
    value, n = _logistic_gradient(x)
    return value.rounded(n)


@_public
def sigmoid_gradient_from_output(y):
    # near 0, and where no output can be, float64 will do
    return np.where((y > _TINY) & (y <= 1), (_Pair.sum(1.0, -y) * y).rounded(), y * (1 - y))


@_public
def tanh(x):
    a = np.abs(x)
    e = _expm1(2 * np.minimum(a, _GAUSSIAN_END))
    return np.copysign(np.where(a < _TINY, a, (e / (e + 2.0)).rounded()), x)


@_public
def tanh_gradient(x):
    # 1 / cosh(x)^2 is four times the logistic derivative at 2 x
    value, n = _logistic_gradient(2 * x)
    return value.rounded(n + 2)


@_public
def tanh_gradient_from_output(y):
    # where no output can be, products may overflow
    return np.where(np.abs(y) <= 1, (_Pair.sum(1.0, -y) * _Pair.sum(1.0, y)).rounded(), (1 - y) * (1 + y))


def _logistic_gate(x, end, argument):
    """x / (1 + exp(-z)) with an odd z(x); argument is z for x >= 0."""
    m, n, bottom = _exp_and_bottom(-argument(np.minimum(np.abs(x), end)))
    return _gate(x, end, _Pair.where(x > 0, _ONE, m) / bottom, n)


def _logistic_gate_gradient(x, end, zero, zero_exp, rises):
    """Derivative of x / (1 + exp(-z)), z odd in x, that vanishes at -zero.

    At -a it is e / (1 + e)^2 * N(a), e = exp(-z(a)), N(a) = 1 + e - a z'(a).  Taking N(zero) = 0 from N(a) term by term
    leaves multiples of a - zero that all have the same sign.  ``rises`` gives by how much z and a z' are larger at a
    than at zero.
    """
    rise, product_rise = rises(np.minimum(np.abs(x), end))
    m, n, expm1 = _exp_and_expm1(-rise)
    m = m * zero_exp
    bottom = m.times_two_to(n) + 1.0
    numerator = expm1 * zero_exp - product_rise
    return _complement(x, m * numerator / (bottom * bottom), n)


@_public
def silu(x):
    return _logistic_gate(x, _EXP_END, _Pair)


@_public
def silu_gradient(x):
    def rises(a):
        # the float64 next to the zero is so near to it that a pair for the zero leaves only 53 bits of the difference
        d = a - _SILU_ZERO - _SILU_ZERO_REST
        return d, d

    return _logistic_gate_gradient(x, _EXP_END, _SILU_ZERO, _SILU_ZERO_EXP, rises)


@_public
def mish(x):
    # tanh(log1p(w)) = (w^2 + 2 w) / (w^2 + 2 w + 2) with w = exp(x); for x > 0 divided through by w^2.  So it is
    # (1 + 2 e) / (1 + 2 e + 2 e^2) or e (2 + e) / (2 + 2 e + e^2)
    m, n = _exp(np.maximum(-np.abs(x), -_EXP_END))
    e = m.times_two_to(n)
    positive = x > 0
    first, second = np.where(positive, 1.0, 2.0), np.where(positive, 2.0, 1.0)
    twice = e.times_power_of_two(2.0)
    top = e.times_power_of_two(second) + first
    bottom = twice + first + (e * e).times_power_of_two(second)
    return _gate(x, _EXP_END, _Pair.where(positive, top, m * top) / bottom, n)


@_public
def mish_gradient(x):
    """With w = exp(x): w (4 (x + 1) + 4 w^2 + w^3 + w (4 x + 6)) / (2 + 2 w + w^2)^2."""
    result = np.empty_like(x)
    positive = x > 0
    result[positive] = _mish_gradient_above(np.minimum(x[positive], _EXP_END))
    result[~positive] = _mish_gradient_below(np.maximum(x[~positive], -_EXP_END))
    return result


def _mish_gradient_above(x):
    # divided through by w^4
    m, n = _exp(-x)
    e = m.times_two_to(n)
    top = e * (e * (e * _Pair.sum(4 * x, 4.0) + _Pair.sum(4 * x, 6.0)) + 4.0) + 1.0
    bottom = e.times_power_of_two(2.0) * (e + 1.0) + 1.0
    return (top / (bottom * bottom)).rounded()


def _mish_gradient_below(x):
    # minus its value at the zero, term by term, in d = x - zero and w - w0 = w0 expm1(d): all have the same sign
    w0 = _MISH_ZERO_EXP
    d = x - _MISH_ZERO
    m, n, expm1 = _exp_and_expm1(d)
    m = m * w0
    e = m.times_two_to(n)
    slope = (e + w0).times_power_of_two(4.0) + e * (e + w0) + _MISH_SLOPE
    top = d.times_power_of_two(4.0) * (e + 1.0) + expm1 * w0 * slope
    bottom = e * (e + 2.0) + 2.0
    return (m * top / (bottom * bottom)).rounded(n)


# --- Gaussian ---------------------------------------------------------------------------------------------------------


@_public
def gelu(x):
    a = np.minimum(np.abs(x), _GAUSSIAN_END)
    m, n = _exp(_Pair.product(a, a) * -0.5)
    shifted = _Pair.sum(a, _TAIL_WEIGHT[0])
    tail = m * _chebyshev(a, _TAIL) * shifted / (shifted * a + _TAIL_WEIGHT[1])
    return _gate(x, _GAUSSIAN_END, _Pair.where(x > 0, 1.0 - tail.times_two_to(n), tail), n)


@_public
def gelu_gradient(x):
    a = np.minimum(np.abs(x), _GAUSSIAN_END)
    m, n = _exp(_Pair.product(a, a) * -0.5)
    weight = _Pair.sum(a, _GRADIENT_WEIGHT[0]) / _Pair.sum(a, _GRADIENT_WEIGHT[1])
    return _complement(x, m * (_GELU_ZERO - a) * _chebyshev(a, _GRADIENT_FACTOR) * weight, n)


@_public
def gelu_tanh(x):
    return _logistic_gate(x, _GAUSSIAN_END, lambda a: (_CUBIC * _Pair.product(a, a) + _LINEAR) * a)


@_public
def gelu_tanh_gradient(x):
    def rises(a):
        d = a - _GELU_TANH_ZERO
        # (a^3 - zero^3) / d
        cubic = ((a + _GELU_TANH_ZERO) * a + _GELU_TANH_ZERO_SQUARED) * _CUBIC
        return d * (cubic + _LINEAR), d * (cubic * 3.0 + _LINEAR)

    return _logistic_gate_gradient(x, _GAUSSIAN_END, _GELU_TANH_ZERO, _GELU_TANH_ZERO_EXP, rises)
