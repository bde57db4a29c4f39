"""Print the numbers of ``fastact/reference.py``: powers of two, series of the Gaussian tail, zeros of derivatives.

``python -m tools.reference_coefficients`` needs mpmath, nothing else, and takes seconds.  It must stay apart from
``tools/coefficients.py``: the reference is only a check on the kernels while the two are derived in different ways.
Every constant is printed as the nearest float64, or as a pair (nearest, nearest of the rest) where 53 bits are too few.
"""

from mpmath import mp, mpf

mp.dps = 60

# Chebyshev nodes: the series below fall under SMALLEST well before this many terms, so aliasing does not show.
NODES = 96
MIDDLE, TAIL_WEIGHT, GRADIENT_WEIGHT = 4.0, (2.1875, 1.75), (1.875, 1.125)
# exp reduces its argument by multiples of ln 2 / POWERS.
POWERS = 32
# A term of this size is 1/64 ULP of the series' values (all in [0.39, 0.67]); smaller ones are left out.
SMALLEST = mpf(2) ** -60


def tail(a):
    """Mills-like ratio g(a) = exp(a^2/2) * Phi(-a), so that the fast decay is left to exp."""
    return mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / 2


def gradient_factor(a, zero):
    """k(a) of exp(a^2/2) * gelu'(-a) = g(a) - a / sqrt(2 pi) = (zero - a) * k(a)."""
    return (tail(a) - a / mp.sqrt(2 * mp.pi)) / (zero - a)


def chebyshev(f, middle):
    """Coefficients of f over [0, inf) in t = (a - middle) / (a + middle)."""
    angles = [mp.pi * (2 * k + 1) / (2 * NODES) for k in range(NODES)]
    values = [f(middle * (1 + mp.cos(angle)) / (1 - mp.cos(angle))) for angle in angles]
    terms = [2 * mp.fdot(values, [mp.cos(j * angle) for angle in angles]) / NODES for j in range(NODES)]
    terms[0] /= 2
    last = max(j for j, term in enumerate(terms) if abs(term) > SMALLEST)
    return terms[: last + 1]


def pair(value):
    """Value as (float64, float64 of what is left)."""
    high = float(value)
    return high, float(value - mpf(high))


def main():
    """Print everything, ready to paste."""
    root = mp.sqrt(2 / mp.pi)
    linear, cubic = 2 * root, 2 * root * mpf("0.044715")
    gelu_zero = mp.findroot(lambda a: tail(a) - a / mp.sqrt(2 * mp.pi), mpf("0.75"))

    def gelu_tanh_numerator(a):
        return 1 + mp.exp(-a * (linear + cubic * a * a)) - a * (linear + 3 * cubic * a * a)

    def mish_numerator(x):
        w = mp.exp(x)
        return 4 * (x + 1) + 4 * w**2 + w**3 + w * (4 * x + 6)

    gelu_tanh_zero = mp.findroot(gelu_tanh_numerator, mpf("0.75"))
    silu_zero = mp.findroot(lambda a: 1 + mp.exp(-a) - a, mpf("1.28"))
    mish_zero = mp.findroot(mish_numerator, mpf("-1.19"))

    # The leading term comes as a pair.  `middle` is the choice (scanned from 2.5 to 6) that needs few terms for both.
    # The weights flatten the functions to 2 %: the leading term dominates, and the rounding errors of the others' sum
    # are small beside it.  They have the right values and slopes at infinity and the right value at 0, but for the
    # rounding to few bits.
    weighted = {
        "TAIL": lambda a: tail(a) * ((a + TAIL_WEIGHT[0]) * a + TAIL_WEIGHT[1]) / (a + TAIL_WEIGHT[0]),
        "GRADIENT_FACTOR": lambda a: (
            gradient_factor(a, gelu_zero) * (a + GRADIENT_WEIGHT[1]) / (a + GRADIENT_WEIGHT[0])
        ),
    }
    print(f"_MIDDLE, _TAIL_WEIGHT, _GRADIENT_WEIGHT = {MIDDLE}, {TAIL_WEIGHT}, {GRADIENT_WEIGHT}")
    for name, f in weighted.items():
        print(f"_{name} = np.array([")
        terms = chebyshev(f, mpf(MIDDLE))
        for number in (*pair(terms[0]), *map(float, terms[1:])):
            print(f"    {number!r},")
        print("])")
    # the first part of 26 bits: times another number of 26 bits it is exact
    powers = [mpf(2) ** (mpf(j) / POWERS) for j in range(POWERS)]
    powers = [(mp.floor(mp.ldexp(power, 25)) / 2**25, power) for power in powers]
    powers = [(float(high), float(power - high)) for high, power in powers]
    for name, numbers in zip(("POWERS", "POWERS_LO"), zip(*powers, strict=True), strict=True):
        print(f"_{name} = np.array([")
        for number in numbers:
            print(f"    {number!r},")
        print("])")
    step = mp.ln(2) / POWERS
    # of 36 bits: times a number of 17 bits it is exact
    step_hi = mp.ldexp(mp.floor(mp.ldexp(step, 41)), -41)
    print(f"_STEP_HI, _STEP_LO = {float(step_hi)!r}, {float(step - step_hi)!r}")
    gelu_tanh_argument = gelu_tanh_zero * (linear + cubic * gelu_tanh_zero**2)
    for name, value in (
        ("LINEAR", linear),
        ("CUBIC", cubic),
        ("GELU_ZERO", gelu_zero),
        ("GELU_TANH_ZERO", gelu_tanh_zero),
        ("GELU_TANH_ZERO_SQUARED", gelu_tanh_zero**2),
        ("GELU_TANH_ZERO_EXP", mp.exp(-gelu_tanh_argument)),
        ("SILU_ZERO", silu_zero),
        ("SILU_ZERO_EXP", mp.exp(-silu_zero)),
        ("MISH_ZERO", mish_zero),
        ("MISH_ZERO_EXP", mp.exp(mish_zero)),
        ("MISH_SLOPE", mp.exp(2 * mish_zero) + 4 * mish_zero + 6),
    ):
        print(f"_{name} = _Pair{pair(value)!r}")
    print(f"_SILU_ZERO_REST = {float(silu_zero - sum(map(mpf, pair(silu_zero))))!r}")


if __name__ == "__main__":
    main()
