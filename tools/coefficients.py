"""Makes ``fastact/formulas/coefficients.py``: every polynomial and split constant of the formulas.

Run ``python tools/coefficients.py`` (needs mpmath; about a minute).  The fits are near-minimax in relative error:
least squares on Chebyshev nodes, its weights moved towards the largest error in each round (Lawson).  Degrees were
chosen so that the fit's error stays below a tenth of the rounding error of the precision; each fit's error is written
beside it.
"""

from __future__ import annotations

import struct
from pathlib import Path

from mpmath import cos, erfc, exp, expm1, findroot, floor, ldexp, log, lu_solve, matrix, mp, mpf, nstr, pi, sqrt

mp.dps = 70
TARGET = Path(__file__).resolve().parent.parent / "fastact" / "formulas" / "coefficients.py"


def chebyshev_nodes(low, high, count):
    middle, half = (mpf(low) + high) / 2, (mpf(high) - low) / 2
    return [middle - half * cos(pi * (2 * k + 1) / (2 * count)) for k in range(count)]


def fit(function, low, high, degree, rounds=25, weight=None):
    """Coefficients of a polynomial ~ function, from the constant term up, and its largest relative error.

    ``weight``: what the error is multiplied with instead of 1 / function.
    """
    weight = weight or (lambda x: 1 / function(x))
    xs = chebyshev_nodes(low, high, 8 * (degree + 2))
    values = [function(x) for x in xs]
    factors = [weight(x) for x in xs]
    rows = [[x**k * factor for k in range(degree + 1)] for x, factor in zip(xs, factors, strict=True)]
    targets = [value * factor for value, factor in zip(values, factors, strict=True)]
    weights = [mpf(1)] * len(xs)
    best = None
    for _ in range(rounds):
        normal, right = matrix(degree + 1, degree + 1), matrix(degree + 1, 1)
        for row, target, importance in zip(rows, targets, weights, strict=True):
            for i in range(degree + 1):
                right[i] += importance * row[i] * target
                for j in range(degree + 1):
                    normal[i, j] += importance * row[i] * row[j]
        solution = lu_solve(normal, right)
        coefficients = [solution[k] for k in range(degree + 1)]
        errors = [
            abs(sum(c * r for c, r in zip(coefficients, row, strict=True)) - target)
            for row, target in zip(rows, targets, strict=True)
        ]
        worst = max(errors)
        if best is None or worst < best[1]:
            best = (coefficients, worst)
        weights = [w * (e / worst + mpf("1e-3")) for w, e in zip(weights, errors, strict=True)]
        total = sum(weights)
        weights = [w / total for w in weights]
    return best


def to_float32(value):
    return mpf(struct.unpack("f", struct.pack("f", float(value)))[0])


#: How the numbers of each precision of lowering.py are rounded; widened ones are as float64 unless they are given.
ROUND = {"float32": to_float32, "float64": lambda value: mpf(float(value))}


def rounded_as(precision):
    # narrowed arithmetic is float32, for results of 16 bits
    return ROUND["float32" if precision in ("float32", "narrowed") else "float64"]


def constant(name, why, per_dtype):
    """A Constant with a value for each precision."""
    values = [f'{dtype}="{float(rounded_as(dtype)(value)).hex()}"' for dtype, value in per_dtype.items()]
    line = f"{name} = Constant({', '.join(values)})\n"
    if len(line) > 121:
        line = f"{name} = Constant(\n    {', '.join(values)}\n)\n"
    if any(len(part) > 120 for part in line.split("\n")):
        line = f"{name} = Constant(\n" + "".join(f"    {value},\n" for value in values) + ")\n"
    return f"# {why}\n{line}"


def same(value):
    return {dtype: rounded(value) for dtype, rounded in ROUND.items()}


def multiple_of(step, value):
    return floor(value / step + mpf(1) / 2) * step


def split(name, why, value, coarse=None):
    """NAME_HIGH + NAME_LOW = value to twice the precision; ``coarse``: NAME_HIGH is a multiple of that step.

    In widened and narrowed arithmetic NAME_LOW is a correction, and vanishes; so NAME_HIGH has all digits there.
    """
    lines, high, low = [], {}, {}
    for dtype, rounded in ROUND.items():
        high[dtype] = rounded(multiple_of(coarse[dtype], value) if coarse else value)
        low[dtype] = rounded(value - high[dtype])
    if coarse:
        high["widened"] = ROUND["float64"](value)
        high["narrowed"] = ROUND["float32"](value)
        # a correction that narrowed arithmetic keeps (primitives.cancellation) may need it
        low["narrowed"] = ROUND["float32"](value - high["narrowed"])
    lines.append(constant(f"{name}_HIGH", why, high))
    lines.append(constant(f"{name}_LOW", f"what {name}_HIGH leaves out", low))
    return "".join(lines)


def pivot(name, why, zero, argument, rest):
    """A point beside the zero of a derivative, at which exp(-argument) is a number of the precision, exactly.

    NAME_COARSE (a multiple of 2**-7, so that its difference from any large argument is exact) + NAME_MIDDLE +
    NAME_LOW is the argument there, NAME_ROUNDED its rounding; NAME_EXP the exponential; NAME_REST, what ``rest`` makes
    of argument, exponential, low and rounding error, is added to expm1.
    """
    parts = {suffix: {} for suffix in ("COARSE", "MIDDLE", "LOW", "ROUNDED", "EXP", "REST")}
    for dtype, rounded in ROUND.items():
        exponential = rounded(exp(-argument(zero)))
        there = -log(exponential)
        coarse = multiple_of(ldexp(1, -7), there)
        middle = rounded(there - coarse)
        low = there - coarse - middle
        missing = rest(there, exponential, low, there - rounded(there))
        values = {"COARSE": coarse, "MIDDLE": middle, "LOW": low, "EXP": exponential, "REST": missing}
        for suffix, value in (values | {"ROUNDED": there}).items():
            parts[suffix][dtype] = rounded(value)
    reasons = {
        "COARSE": why,
        "MIDDLE": f"the next digits after {name}_COARSE",
        "LOW": "the last digits",
        "ROUNDED": "all of it, rounded",
        "EXP": f"exp(-{name}), exact",
        "REST": "what the numerator is short of at the pivot, for expm1 to add",
    }
    return "".join(constant(f"{name}_{suffix}", reasons[suffix], parts[suffix]) for suffix in parts)


def polynomial_text(name, why, per_dtype):
    out = [f"# {why}\n"]
    out += [f"#   {dtype}: relative error 2**{nstr(log(error, 2), 4)}\n" for dtype, (_, error) in per_dtype.items()]
    out.append(f"{name} = Polynomial(\n")
    for dtype, (coefficients, _) in per_dtype.items():
        out.append(f"    {dtype}=(\n")
        out += [f'        "{float(rounded_as(dtype)(c)).hex()}",\n' for c in coefficients]
        out.append("    ),\n")
    out.append(")\n")
    return "".join(out)


def polynomial(name, why, function, ranges, degrees, weight=None, powers=0):
    fits = {}
    for dtype, degree in degrees.items():
        low, high = ranges[dtype] if isinstance(ranges, dict) else ranges
        fits[dtype] = fit(function, low, high, degree, weight=weight)
    return split_polynomial(name, why, fits, powers) if powers else polynomial_text(name, why, fits)


def split_polynomial(name, why, fits, powers):
    """The lowest terms as constants of their own, so that a formula can keep what their sums leave out.

    NAME is the constant term, NAME_SLOPE and NAME_BEND are the coefficients of the next ``powers`` - 1 powers, and
    NAME_REST is the polynomial that is left, divided by the powers that were taken out.  Where there is more than one
    constant, the rounding of each counts, and is NAME_LOW, NAME_SLOPE_LOW, NAME_BEND_LOW.
    """
    lines = []
    for power, suffix in enumerate(("", "_SLOPE", "_BEND")[:powers]):
        terms = {dtype: coefficients[power] for dtype, (coefficients, _) in fits.items()}
        reason = why if power == 0 else f"the coefficient of its power {power}"
        # no formula uses it in float32
        lines.append(constant(f"{name}{suffix}", reason, {"float32": terms["float64"], **terms}))
        if powers > 1:
            low = terms["float64"] - rounded_as("float64")(terms["float64"])
            lines.append(constant(f"{name}{suffix}_LOW", "what that leaves out in float64", same(low)))
    rest = {dtype: (coefficients[powers:], error) for dtype, (coefficients, error) in fits.items()}
    return "".join(lines) + polynomial_text(f"{name}_REST", "the polynomial of its further powers", rest)


def main():
    ln2 = log(2)
    radius = ln2 / 2 * mpf("1.0001")  # rounding may pick the neighbouring integer
    out = [HEADER]

    out.append("\n# --- exp ---------------------------------------------------------------------------------\n\n")
    out.append(constant("LOG2_E", "1 / ln 2", same(1 / ln2)))
    out.append(constant("LN2", "ln 2", same(ln2)))
    # n * LN2_HIGH must be exact without FMA: n has 8 (float32) or 11 (float64) bits
    out.append(
        split(
            "LN2",
            "ln 2, short enough that n * LN2_HIGH is exact for every n that occurs (8 and 11 bits)",
            ln2,
            {"float32": ldexp(1, -15), "float64": ldexp(1, -41)},
        )
    )
    out.append(
        polynomial(
            "EXPM1_TAIL",
            "(exp(r) - 1 - r) / r**2 on |r| <= ln(2)/2",
            lambda r: (expm1(r) - r) / r**2 if abs(r) > mpf("1e-15") else mpf(1) / 2 + r / 6,
            (-radius, radius),
            {"float32": 5, "float64": 9, "widened": 5, "narrowed": 4},
            # the error that it makes in (exp(r) - 1) / r
            weight=abs,
        )
    )
    out.append(
        polynomial(
            "EXP_OF_HALF",
            "(exp(-r/2) - 1) / r on |r| <= ln 2",
            lambda r: expm1(-r / 2) / r if abs(r) > mpf("1e-15") else -mpf(1) / 2 + r / 8,
            (-2 * radius, 2 * radius),
            {"float64": 10, "widened": 6, "narrowed": 5},
            powers=1,
        )
    )

    out.append("\n# --- log1p -------------------------------------------------------------------------------\n\n")

    # In powers of e - 1/2 the constant term dominates.  A series in e / (2 + e) has half the degree, but the division
    # costs as much.
    middle = mpf(1) / 2

    def log1p_quotient(q):
        e = q + middle
        return log(1 + e) / e if e > mpf("1e-30") else mpf(1)

    out.append(
        polynomial(
            "LOG1P_QUOTIENT",
            "log(1 + e) / e as a function of e - 1/2, e in [0, 1]",
            log1p_quotient,
            (-middle, middle),
            {"float64": 20, "widened": 11, "narrowed": 8},
            powers=1,
        )
    )

    out.append("\n# --- the normal distribution's tail ------------------------------------------------------\n\n")
    slope = 1 / sqrt(2 * pi)

    def tail(a):
        return exp(a * a / 2) * erfc(a / sqrt(2)) / 2

    zero = findroot(lambda a: tail(a) - slope * a, mpf("0.75"))

    def gradient_quotient(a):
        return (tail(a) - slope * a) / (zero - a)

    # A rational function in a would do with as many coefficients, but its rounding errors add up along the degree
    # (6 ULP in float64); in q = a / (a + centre) - shift the constant term dominates.  A centre of 4 needs the lowest
    # degrees.  The derivative's shift is the best of 1/4, 3/10, 3/8 and 1/2.
    centre, shift, gradient_shift = mpf(4), mpf(1) / 2, mpf(3) / 8
    highs = {"float64": mpf("39.2"), "widened": mpf("14.6"), "narrowed": mpf("14.6")}

    def spans(taken_off):
        return {dtype: (-taken_off, high / (high + centre) - taken_off) for dtype, high in highs.items()}

    def at(mapped):
        return centre * mapped / (1 - mapped)

    out.append(constant("NORMAL_TAIL_CENTRE", "what maps a >= 0 to a / (a + centre) in [0, 1)", same(centre)))
    out.append(constant("NORMAL_TAIL_SHIFT", "taken off that", same(shift)))
    out.append(
        polynomial(
            "MINUS_NORMAL_TAIL",
            "-exp(a*a/2) (1 - Phi(a)) (a + 4) as a function of a / (a + 4) - 1/2, a >= 0",
            lambda q: -(at(q + shift) + centre) * tail(at(q + shift)),
            spans(shift),
            {"float64": 24, "widened": 11, "narrowed": 8},
            powers=3,
        )
    )
    out.append(split("GELU_ZERO", "-gelu' is 0 here", zero))
    out.append(
        polynomial(
            "GELU_GRADIENT",
            "exp(a*a/2) * gelu'(-a) / (GELU_ZERO - a) as a function of a / (a + 4) - 3/8, for a >= 0",
            lambda q: gradient_quotient(at(q + gradient_shift)),
            spans(gradient_shift),
            {"float64": 22, "widened": 10, "narrowed": 7},
            powers=3,
        )
    )

    out.append("\n# --- gelu_tanh ---------------------------------------------------------------------------\n\n")
    k, cubic = 2 * sqrt(2 / pi), mpf("0.044715")
    # K_HIGH is a multiple of the last place of K + K*CUBIC*a*a at the largest a that matters (11 and 22)
    steps = {"float32": ldexp(1, -20), "float64": ldexp(1, -47)}
    out.append(split("GELU_TANH_LINEAR", "2 sqrt(2/pi), coarse so that a difference from it is exact", k, steps))
    out.append(split("GELU_TANH_CUBIC", "2 sqrt(2/pi) * 0.044715", k * cubic))
    out.append(constant("GELU_TANH_TRIPLE_CUBIC", "3 * 2 sqrt(2/pi) * 0.044715", same(3 * k * cubic)))

    def argument(a):
        return k * (a + cubic * a**3)

    def linear_part(a):
        return k * (a + 3 * cubic * a**3)

    tanh_zero = findroot(lambda a: 1 + exp(-argument(a)) - linear_part(a), mpf("0.75"))

    def place(there):
        return findroot(lambda a: argument(a) - there, tanh_zero)

    places = {dtype: place(-log(rounded(exp(-argument(tanh_zero))))) for dtype, rounded in ROUND.items()}

    def rest_there(there, e, low, rounding):
        a = place(there)
        dtype = min(places, key=lambda name: abs(places[name] - a))
        slope = k * (1 + 3 * cubic * a**2)
        # the numerator at the pivot, and what the rounding of its place takes from (place - a) * slope
        return (1 + e - linear_part(a) + (a - ROUND[dtype](a)) * (slope + 6 * k * cubic * a**2)) / e

    out.append(
        pivot(
            "GELU_TANH_PIVOT",
            "the argument 2 sqrt(2/pi) (a + 0.044715 a**3) beside the zero of gelu_tanh'(-a)",
            tanh_zero,
            argument,
            rest_there,
        )
    )
    rounded_places = {dtype: ROUND[dtype](a) for dtype, a in places.items()}
    slopes = {dtype: ROUND[dtype](k * (1 + 3 * cubic * a**2)) for dtype, a in rounded_places.items()}
    out.append(constant("GELU_TANH_PLACE", "the a at which the argument is GELU_TANH_PIVOT", rounded_places))
    out.append(constant("GELU_TANH_PLACE_SLOPE", "2 sqrt(2/pi) (1 + 3 * 0.044715 place**2)", slopes))

    out.append("\n# --- silu and mish -----------------------------------------------------------------------\n\n")
    silu_zero = findroot(lambda a: 1 + exp(-a) - a, mpf("1.278"))
    out.append(
        pivot(
            "SILU_PIVOT",
            "beside the zero of silu'(-a)",
            silu_zero,
            lambda a: a,
            # rounding the pivot takes from the linear part, and leaving out its third part from expm1
            lambda there, e, low, rounding: (1 + e - there + rounding) / e + low,
        )
    )

    def mish_numerator(a, e):
        return e**3 + 4 * e**2 + 6 * e + 4 - 4 * a * (1 + e)

    mish_zero = findroot(lambda a: mish_numerator(a, exp(-a)), mpf("1.1924"))
    out.append(
        pivot(
            "MISH_PIVOT",
            "beside the zero of mish'(-a)",
            mish_zero,
            lambda a: a,
            lambda there, e, low, rounding: (
                (mish_numerator(there, e) + rounding * 4 * (1 + e)) / (e * (3 * e**2 + 8 * e + 6 - 4 * there)) + low
            ),
        )
    )
    e0 = {dtype: rounded(exp(-mish_zero)) for dtype, rounded in ROUND.items()}
    slope = {dtype: ROUND[dtype](4 + e) for dtype, e in e0.items()}
    rest = {dtype: ROUND[dtype](6 + 4 * e + e**2 + 4 * log(e)) for dtype, e in e0.items()}
    out.append(constant("MISH_PIVOT_SLOPE", "4 + MISH_PIVOT_EXP", slope))
    out.append(constant("MISH_PIVOT_CONSTANT", "6 + 4 e + e**2 - 4 MISH_PIVOT with e = MISH_PIVOT_EXP", rest))
    TARGET.write_text("".join(out))


HEADER = '''"""Coefficients of the formulas.  Generated by ``tools/coefficients.py``: change that, not this.

Polynomials are listed from the constant term up, each value already rounded to its precision (hexadecimal, so that
no digit is lost).
"""

from .primitives import Constant, Polynomial
'''

if __name__ == "__main__":
    main()
