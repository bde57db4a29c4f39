"""The truth in plain NumPy: every activation, its gradient, and its gradient from the output, in float64.

Tests compare every other backend with this file, and the NumPy backend serves it (float32 is widened, evaluated here
and rounded once).  So it must be right over the whole line: subnormal results, and the gradients around their zeros,
are as good as the middle: within 2 ULP, ``tests/test_reference.py`` has the figures.

It must share nothing with ``formulas/``, or it could not find their errors; it imports NumPy only.  Where the two need
the same function they get it differently: here the Gaussian tail is a Chebyshev series and zeros of derivatives are
factored out exactly.  Speed comes last.

Three ideas are used throughout.  Intermediate results are pairs hi + lo of twice the precision (an error of half an
ULP in the argument of exp(-700) alone would be 500 ULP in the result).  Powers of two are kept apart and applied last,
so a subnormal result is rounded once.  And negative inputs have formulas of their own: nothing is 1 - (almost 1).
"""

import functools

import numpy as np

# The series, and the numbers of _LINEAR to _MISH_ZERO_EXP, are printed by `python -m tools.reference_coefficients`.
# exp(a^2 / 2) * Phi(-a) * (a + TAIL_SHIFT) for a in [0, inf), Chebyshev series in (a - MIDDLE) / (a + MIDDLE);
# the first two numbers are the pair of the constant term
_MIDDLE, _TAIL_SHIFT = 4.0, 0.8
# fmt: off
_TAIL = np.array([
    0.4319289593717318, 1.490285384105609e-17, -0.018406097142261504, -0.026729180614852698, 0.01671324327803105,
    -0.005612118049223359, 0.0011727155362831847, -0.00012066745605495267, -8.565385537502251e-06,
    4.263981240238215e-06, -1.6732491189295705e-07, -1.207980054476494e-07, 1.1713135605766927e-08,
    3.914125685985976e-09, -4.909944058065416e-10, -1.550961931829001e-10, 1.7427108997762974e-11,
    7.191881981064683e-12, -4.540515764138688e-13, -3.572499571867393e-13, -2.8008042498499666e-15,
    1.7329765388673666e-14, 1.694394106477116e-15, -7.324631010803061e-16, -1.7009178346931769e-16,
    2.00226784120518e-17, 1.205003423175626e-17,
])
# exp(a^2 / 2) * gelu'(-a) / (GELU_ZERO - a), likewise
_GRADIENT_FACTOR = np.array([
    0.49595474370069426, -8.553561217071564e-18, -0.12545248682662027, 0.03490510198467443, -0.007524010441293161,
    0.0011560284436263372, -9.36772720640145e-05, -5.6597012302996885e-06, 2.3677309066664844e-06,
    -8.107593380313914e-08, -5.1877747208246695e-08, 4.570057475859399e-09, 1.365617100370196e-09,
    -1.602660258606792e-10, -4.555152315040624e-11, 4.92768477171383e-12, 1.828653400261278e-12,
    -1.166767494573978e-13, -8.041463817134733e-14, -1.8590888190635316e-16, 3.5183502280906947e-15,
    3.0491112181259736e-16, -1.367841210303818e-16, -2.8875126980827283e-17, 3.597592344750227e-18,
    1.9138466983747553e-18,
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
    def product(a, b):
        """Return a * b exactly (Dekker)."""
        (a_hi, a_lo), (b_hi, b_lo) = _halves(a), _halves(b)
        p = a * b
        return _Pair(p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo)

    def __add__(self, other):
        other = other if isinstance(other, _Pair) else _Pair(other)
        total = _Pair.sum(self.hi, other.hi)
        return _Pair.sum(total.hi, total.lo + (self.lo + other.lo))

    def __mul__(self, other):
        other = other if isinstance(other, _Pair) else _Pair(other)
        total = _Pair.product(self.hi, other.hi)
        return _Pair.sum(total.hi, total.lo + (self.hi * other.lo + self.lo * other.hi))

    def __truediv__(self, other):
        other = other if isinstance(other, _Pair) else _Pair(other)
        quotient = self.hi / other.hi
        rest = self + other * -quotient
        return _Pair.sum(quotient, (rest.hi + rest.lo) / other.hi)

    def __neg__(self):
        return _Pair(-self.hi, -self.lo)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def times_two_to(self, n):
        """Return self * 2**n."""
        return _Pair(np.ldexp(self.hi, n), np.ldexp(self.lo, n))

    def rounded(self, n=0):
        """Return self * 2**n as float64."""
        return np.ldexp(self.hi + self.lo, n)


# 2 sqrt(2 / pi), and 0.044715 times that
_LINEAR, _CUBIC = _Pair(1.5957691216057308, -9.96930880911092e-17), _Pair(0.07135481627260025, -6.175149918155315e-19)
# Zeros of gelu'(-a), gelu_tanh'(-a), silu'(-a), mish'(x); exp of minus the logistic argument there, exp(x) for mish
_GELU_ZERO = _Pair(0.7517915246935645, -1.4956759177009883e-17)
_GELU_TANH_ZERO, _GELU_TANH_ZERO_EXP = _Pair(0.7524614220710163, -3.635560509207687e-17), 0.29195521191476714
_SILU_ZERO, _SILU_ZERO_EXP = _Pair(1.2784645427610737, 1.0946994183093437e-16), 0.2784645427610738
_MISH_ZERO, _MISH_ZERO_EXP = _Pair(-1.1924312145154952, -4.8484829848031044e-17), 0.3034825352815289

# ln 2, its first part with 20 zero bits at the end, so that n * first part is exact for every exponent n
_LN2_HI, _LN2_LO = float.fromhex("0x1.62e42fefp-1"), float.fromhex("0x1.473de6af278edp-34")
# Beyond these a gate is 0 or x: exp(-800) * 800, and a Gaussian or its tanh form at 40, are far below 2^-1075.  (tanh
# itself is 1 beyond 20.)
_EXP_END, _GAUSSIAN_END = 800.0, 40.0


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


def _exp(z):
    """(m, n) with exp(z) = m * 2**n for a pair or float64 z; m is a pair in about [0.7, 1.42]."""
    z = z if isinstance(z, _Pair) else _Pair(z)
    n = np.rint(z.hi / _LN2_HI)
    r = _Pair.sum(z.hi - n * _LN2_HI, -n * _LN2_LO) + z.lo
    m = _Pair.sum(1.0, np.expm1(r.hi))
    return _Pair(m.hi, m.lo + m.hi * r.lo), np.nan_to_num(n).astype(np.int32)


def _exp_and_bottom(z):
    """m, n and the pair 1 + e, for e = exp(z) = m * 2**n."""
    m, n = _exp(z)
    return m, n, 1 + m.times_two_to(n)


def _chebyshev(a, series):
    # not (a - middle) / (a + middle), which loses the digits of a small a
    t = 2 * (a / (a + _MIDDLE)) - 1
    # the leading term, a pair, dominates: added last, it leaves the rounding errors of the others' sum small
    return _Pair.sum(series[0], np.polynomial.chebyshev.chebval(t, series[1:]))


def _piecewise(x, positive, otherwise):
    """Choose by sign; NaN in, NaN out, also where neither side depends on x."""
    return np.where(x > 0, positive, np.where(x <= 0, otherwise, x))


def _gate(x, end, positive, negative, n):
    """X times a factor: the pair ``positive`` for x > 0, else the pair ``negative`` times 2**n.  Beyond end, x."""
    # the mantissa alone is multiplied, so that pairs stay clear of subnormals
    mantissa, exponent = np.frexp(np.clip(x, -end, end))
    below = (mantissa * negative).rounded(n + exponent)
    value = np.where(x > end, x, np.where(x > 0, (mantissa * positive).rounded(exponent), below))
    # the sums in pairs lose the sign of -0.0
    return np.copysign(value, x)


def _complement(x, value, n):
    """Gradient of a gate with f(x) = x + f(-x), from its value at -abs(x), a pair times 2**n: both add up to 1."""
    return np.where(x > 0, (1 - value.times_two_to(n)).rounded(), value.rounded(n))


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
    # >= keeps the sign of -0.0
    return np.where(x >= 0, x, alpha * np.expm1(x))


@_public
def elu_gradient(x, alpha):
    m, n = _exp(np.clip(x, -_EXP_END, 0))
    mantissa, exponent = np.frexp(alpha)
    return np.where(x > 0, 1.0, (m * mantissa).rounded(n + exponent))


@_public
def elu_gradient_from_output(y, alpha):
    return np.where(y > 0, 1.0, y + alpha)


def _scaled(beta, x):
    """Beta * x as a pair, cut where exp has long been 0."""
    z = _Pair.product(beta, x)
    # an infinite product has no lower part
    lo = np.where(np.abs(z.hi) < _EXP_END, z.lo, 0.0)
    return _Pair(np.clip(z.hi, -_EXP_END, _EXP_END), lo)


def _minus_absolute(z):
    return _Pair(-np.abs(z.hi), np.where(z.hi > 0, -z.lo, z.lo))


@_public
def softplus(x, beta):
    m, n, bottom = _exp_and_bottom(_minus_absolute(_scaled(beta, x)))
    e = m.times_two_to(n)
    # log1p(e) is e itself to 2^-60 below 2^-59, and there it may have to become subnormal
    bend = np.where(n < -60, (m / beta).rounded(n), (np.log1p(e.hi) + e.lo / bottom.hi) / beta)
    return bend + np.where(x < 0, 0.0, x)


@_public
def softplus_gradient(x, beta):
    return _logistic(_scaled(beta, x))


@_public
def softplus_gradient_from_output(y, beta):
    return -np.expm1(-beta * y)


# --- sigmoids ---------------------------------------------------------------------------------------------------------


def _logistic(z):
    """1 / (1 + exp(-z))."""
    m, n, bottom = _exp_and_bottom(_minus_absolute(z))
    return np.where(z.hi > 0, (_Pair(1.0) / bottom).rounded(), (m / bottom).rounded(n))


@_public
def sigmoid(x):
    return _logistic(_Pair(np.clip(x, -_EXP_END, _EXP_END)))


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
    return y * (1 - y)


@_public
def tanh(x):
    # not np.tanh: some C libraries' is 2 ULP off, while expm1 is good to one everywhere
    a = np.abs(x)
    e = np.expm1(2 * np.minimum(a, _GAUSSIAN_END))
    # x - x^3 / 3 is x to 2^-61 below 2^-30, and pairs stay clear of subnormals
    return np.copysign(np.where(a < 2.0**-30, a, (_Pair(e) / _Pair.sum(e, 2.0)).rounded()), x)


@_public
def tanh_gradient(x):
    # 1 / cosh(x)^2 is four times the logistic derivative at 2 x
    value, n = _logistic_gradient(2 * x)
    return value.rounded(n + 2)


@_public
def tanh_gradient_from_output(y):
    return (1 - y) * (1 + y)


def _logistic_gate(x, end, argument):
    """x / (1 + exp(-z)) with an odd z(x); argument is z for x >= 0."""
    m, n, bottom = _exp_and_bottom(-argument(np.minimum(np.abs(x), end)))
    return _gate(x, end, _Pair(1.0) / bottom, m / bottom, n)


def _logistic_gate_gradient(x, end, argument, zero, zero_exp, linear, cubic):
    """Derivative of x / (1 + exp(-z)), z = linear x + cubic x^3, that vanishes at -zero.

    At -a it is e / (1 + e)^2 * N(a), e = exp(-z(a)), N(a) = 1 + e - a z'(a).  Taking N(zero) = 0 from N(a) term by term
    leaves multiples of d = a - zero that all have the same sign.
    """
    a = np.minimum(np.abs(x), end)
    m, n, bottom = _exp_and_bottom(-argument(a))
    d = a - zero
    # (a^3 - zero^3) / d
    squares = _Pair.product(a, a) + a * zero + zero * zero
    first = zero_exp * np.expm1((-d * (linear + squares * cubic)).rounded())
    numerator = first - d * (linear + squares * cubic * 3.0)
    return _complement(x, m * numerator / (bottom * bottom), n)


@_public
def silu(x):
    return _logistic_gate(x, _EXP_END, _Pair)


@_public
def silu_gradient(x):
    return _logistic_gate_gradient(x, _EXP_END, _Pair, _SILU_ZERO, _SILU_ZERO_EXP, 1.0, 0.0)


@_public
def mish(x):
    # tanh(log1p(w)) = (w^2 + 2 w) / (w^2 + 2 w + 2) with w = exp(x); for x > 0 divided through by w^2
    m, n = _exp(np.maximum(-np.abs(x), -_EXP_END))
    e = m.times_two_to(n)
    top = 1 + 2.0 * e
    return _gate(x, _EXP_END, top / (top + 2.0 * e * e), m * (2 + e) / (2 + e * (2 + e)), n)


@_public
def mish_gradient(x):
    """With w = exp(x): w (4 (x + 1) + 4 w^2 + w^3 + w (4 x + 6)) / (2 + 2 w + w^2)^2."""
    cut = np.clip(x, -_EXP_END, _EXP_END)
    m, n = _exp(-np.abs(cut))
    e = m.times_two_to(n)
    # for x > 0, divided through by w^4
    top = 1 + e * (4 + e * (4 * cut + 6 + e * (4 * cut + 4)))
    bottom = 1 + 2.0 * e + 2.0 * e * e
    positive = (top / (bottom * bottom)).rounded()
    # for x <= 0, minus its value at the zero, term by term, in d = x - zero and w - w0 = w0 expm1(d): one sign again
    w0 = _MISH_ZERO_EXP
    d = np.minimum(cut, 0) - _MISH_ZERO
    difference = w0 * np.expm1(d.rounded())
    top = 4.0 * d * (1 + e) + difference * (4 * (e + w0) + (e * e + e * w0 + w0 * w0) + (4 * _MISH_ZERO.hi + 6))
    bottom = 2 + e * (2 + e)
    return np.where(x > 0, positive, (m * top / (bottom * bottom)).rounded(n))


# --- Gaussian ---------------------------------------------------------------------------------------------------------


@_public
def gelu(x):
    a = np.minimum(np.abs(x), _GAUSSIAN_END)
    m, n = _exp(_Pair.product(a, a) * -0.5)
    tail = m * _chebyshev(a, _TAIL) / _Pair.sum(a, _TAIL_SHIFT)
    return _gate(x, _GAUSSIAN_END, 1 - tail.times_two_to(n), tail, n)


@_public
def gelu_gradient(x):
    a = np.minimum(np.abs(x), _GAUSSIAN_END)
    m, n = _exp(_Pair.product(a, a) * -0.5)
    return _complement(x, m * (_GELU_ZERO - a) * _chebyshev(a, _GRADIENT_FACTOR), n)


def _gelu_tanh_argument(a):
    return a * (_LINEAR + _CUBIC * _Pair.product(a, a))


@_public
def gelu_tanh(x):
    return _logistic_gate(x, _GAUSSIAN_END, _gelu_tanh_argument)


@_public
def gelu_tanh_gradient(x):
    zero = _GELU_TANH_ZERO, _GELU_TANH_ZERO_EXP
    return _logistic_gate_gradient(x, _GAUSSIAN_END, _gelu_tanh_argument, *zero, _LINEAR, _CUBIC)
