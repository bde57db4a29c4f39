"""Makes ``src_cy/piecewise_tables.h``: the polynomials that ``src_cy/piecewise.h`` looks up.

Run ``python tools/piecewise_tables.py`` (needs mpmath and numpy; two minutes).  Each function is cut into 32 intervals.
On an interval it is c0 + r (c1 + r (c2 + ...)) with r = b - t.  The place b is looked for among thousands of float32
numbers near the middle, for one at which the value and the slope are almost float32 numbers themselves: so c0 and c1
are stored with hardly any error, and what is rounded afterwards is a small part of the result (Gal's accurate tables,
ACM TOMS 17, 1991).  The further coefficients are near-minimax in relative error, by least squares on Chebyshev nodes
whose weights move towards the largest error (Lawson), in float64, unlike the few of coefficients.py: these 350 are fits
of what c0 and c1 leave.  Degrees were chosen so that a fit's error, which stands beside
it, stays below a tenth of a unit in the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from coefficients import chebyshev_nodes
from mpmath import erfc, exp, findroot, log1p, mp, mpf, nstr, pi, sqrt, tanh, taylor

mp.prec = 160
TARGET = Path(__file__).resolve().parent.parent / "src_cy" / "piecewise_tables.h"
INTERVALS = 32
#: Numbers tried for b, on either side of the middle, and which part of an interval's half they may take.
CANDIDATES, SHARE = 20000, 0.08
#: Where the index is rounded: an interval's ends are met a little beyond.
BEYOND = mpf(2) ** -18
#: The greatest unit in the last place, relative to a number.
ULP = 2.0**-23

#: Kinds that will do for results of 16 bits.
NARROW_KINDS = {
    "steep_gate": "gate",
    "multiple": "narrow_multiple",
    "through_zero": "narrow_through_zero",
    "gradient": "narrow_gradient",
}

Function = Callable[[Any], Any]


class Table(NamedTuple):
    """A function on 32 intervals: index = round(t (linear + t quadratic)), modulo 32."""

    name: str
    why: str
    function: Function
    #: What it serves, and how, in the words of piecewise.h: loop and kind.
    loops: dict[str, str]
    #: Which numbers are outside of it.
    ends: str
    #: The largest |t|; from -t on if ``signed``.
    last: float
    degree: int
    #: Share of the index that grows with the square, at ``last``: intervals are narrow where the function is steep.
    bent: float = 0.0
    signed: bool = False
    #: The zero, if ``function`` is what is left when it is divided out as (zero - t).
    zero: Any = None
    #: Numbers nearer to 0 are left to the formula: what their products leave out is subnormal, and may be flushed.
    least: float = 0.0
    #: Whether the first interval is about 0 exactly.
    from_zero: bool = True

    @property
    def quadratic(self) -> float:
        return float(np.float32(31.49 * self.bent / self.last**2))

    @property
    def linear(self) -> float:
        steps = 15.49 if self.signed else 31.49
        return float(np.float32((steps - self.quadratic * self.last**2) / self.last))

    def edge(self, index: float) -> Any:
        """The t at which the index, not rounded, is this."""
        q, k = mpf(self.quadratic), mpf(self.linear)
        if not q:
            return mpf(index) / k
        return (-k + sqrt(k * k + 4 * q * mpf(max(index, 0.0)))) / (2 * q)


def normal_tail(t: Any) -> Any:
    return erfc(t / sqrt(mpf(2))) / 2


def logistic(t: Any) -> Any:
    return 1 / (1 + exp(-t))


def gelu_tanh_slope(t: Any) -> Any:
    return sqrt(8 / pi) * (1 + 3 * mpf("0.044715") * t * t)


def gelu_tanh_exponent(t: Any) -> Any:
    return sqrt(8 / pi) * t * (1 + mpf("0.044715") * t * t)


def mish_gate(t: Any) -> Any:
    return tanh(log1p(exp(t)))


def mish_slope(t: Any) -> Any:
    gate = mish_gate(t)
    return gate + t * logistic(t) * (1 - gate * gate)


def gelu_below(a: Any) -> Any:
    """gelu'(-a)."""
    return normal_tail(a) - a * exp(-a * a / 2) / sqrt(2 * pi)


def silu_below(a: Any) -> Any:
    """silu'(-a)."""
    s = logistic(-a)
    return s * (1 - a * (1 - s))


def gelu_tanh_below(a: Any) -> Any:
    """gelu_tanh'(-a)."""
    s = logistic(-gelu_tanh_exponent(a))
    return s * (1 - a * gelu_tanh_slope(a) * (1 - s))


def without_zero(function: Function, zero: Any) -> Function:
    """function(t) / (zero - t), continued to the zero."""

    def quotient(t: Any) -> Any:
        if abs(t - zero) < mpf(2) ** -40:
            # as far from the zero as half of the digits reach: the two sides' mean is right to the square of that
            step = mpf(2) ** -40
            return (quotient(zero - step) + quotient(zero + step)) / 2
        return function(t) / (zero - t)

    return quotient


GELU_ZERO = findroot(gelu_below, mpf("0.75"))
SILU_ZERO = findroot(silu_below, mpf("1.28"))
GELU_TANH_ZERO = findroot(gelu_tanh_below, mpf("0.75"))
MISH_ZERO = findroot(mish_slope, mpf("-1.19"))

TABLES = (
    Table("logistic", "1 / (1 + exp(t))", lambda t: logistic(-t),
          {"sigmoid_forward": "complement", "silu_forward": "gate"}, "BEYOND", 12.0, 5),
    Table("normal", "(1 - erf(t / sqrt(2))) / 2", normal_tail,
          {"gelu_forward": "steep_gate"}, "BELOW", 6.75, 7, bent=0.8),
    Table("gelu_tanh", "1 / (1 + exp(z(t))), z the exponent of gelu_tanh", lambda t: logistic(-gelu_tanh_exponent(t)),
          {"gelu_tanh_forward": "steep_gate"}, "BELOW", 6.0, 7, bent=0.8),
    Table("tanh", "tanh(t), less t in the first interval", tanh,
          {"tanh_forward": "odd"}, "NOWHERE", 9.25, 5, bent=-0.8),
    Table("mish", "tanh(log(1 + exp(t)))", mish_gate,
          {"mish_forward": "multiple"}, "BEYOND", 8.0, 7, signed=True, least=2.0**-90),
    Table("logistic_slope", "exp(t) / (1 + exp(t))**2", lambda t: logistic(t) * logistic(-t),
          {"sigmoid_backward": "even"}, "BEYOND", 11.0, 5),
    Table("tanh_slope", "1 - tanh(t)**2", lambda t: 4 * logistic(2 * t) * logistic(-2 * t),
          {"tanh_backward": "even"}, "BEYOND", 8.0, 6),
    Table("silu_slope", "silu'(-t), its zero divided out", without_zero(silu_below, SILU_ZERO),
          {"silu_backward": "gradient"}, "BEYOND", 11.5, 5, zero=SILU_ZERO, from_zero=False),
    Table("gelu_slope", "gelu'(-t), its zero divided out", without_zero(gelu_below, GELU_ZERO),
          {"gelu_backward": "gradient"}, "BELOW", 6.75, 7, bent=0.8, zero=GELU_ZERO, from_zero=False),
    Table("gelu_tanh_slope", "gelu_tanh'(-t), its zero divided out", without_zero(gelu_tanh_below, GELU_TANH_ZERO),
          {"gelu_tanh_backward": "gradient"}, "BELOW", 5.75, 7, bent=0.9, zero=GELU_TANH_ZERO, from_zero=False),
    Table("mish_slope", "mish'(t), its zero divided out", without_zero(mish_slope, MISH_ZERO),
          {"mish_backward": "through_zero"}, "BEYOND", 8.0, 7, signed=True, zero=MISH_ZERO, from_zero=False),
)  # fmt: skip


def long_double(value: Any) -> Any:
    return np.longdouble(nstr(value, 24))


def place(function: Function, low: Any, high: Any) -> tuple[float, float, float]:
    """b, c0 and c1: of the float32 numbers near the middle, the one whose value and slope are nearest to float32."""
    middle = np.float32(float((low + high) / 2))
    series = [long_double(c) for c in taylor(function, mpf(float(middle)), 12)]
    reach = float(high - low) / 2 * SHARE
    steps = np.arange(-CANDIDATES, CANDIDATES + 1) * max(float(np.spacing(middle)), reach / CANDIDATES)
    candidates = (np.float64(middle) + steps).astype(np.float32)
    candidates = candidates[np.abs(candidates.astype(np.float64) - float(middle)) <= reach]
    d = candidates.astype(np.longdouble) - np.longdouble(middle)
    value = sum((c * d**k for k, c in enumerate(series)), np.longdouble(0))
    slope = -sum((k * c * d ** (k - 1) for k, c in enumerate(series) if k), np.longdouble(0))
    value_error = np.abs(value.astype(np.float32) - value) / np.abs(value)
    # a slope's error reaches the result in proportion to what the slope contributes
    slope_error = np.abs(slope.astype(np.float32) - slope) * float(high - low) / 2 / np.abs(value)
    best = int(np.argmin(value_error + slope_error))
    return tuple(float(x[best].astype(np.float32)) for x in (candidates, value, slope))  # type: ignore[return-value]


def fitted(
    function: Function, low: Any, high: Any, degree: int, b: float, c0: float, c1: float
) -> tuple[list[float], float]:
    """c2, c3, ... and the largest relative error."""
    low, high = low - BEYOND * abs(low), high + BEYOND * high
    # downwards: the last bits of a solution follow the order, and with them those of the stored coefficients
    nodes = chebyshev_nodes(low, high, 60)[::-1]
    r = np.array([float(mpf(b) - t) for t in nodes])
    size = np.array([float(function(t)) for t in nodes])
    left = np.array([float(function(t) - mpf(c0) - mpf(c1) * (mpf(b) - t)) for t in nodes])
    scale = np.abs(r).max()
    columns = np.stack([(r / scale) ** k / size for k in range(2, degree + 1)], axis=1)
    weights = np.ones(len(nodes))
    best: tuple[list[float], float] = ([], np.inf)
    for _ in range(40):
        solution = np.linalg.lstsq(columns * weights[:, None] ** 0.5, left / size * weights**0.5, rcond=None)[0]
        numbers = [float(np.float32(s / scale ** (k + 2))) for k, s in enumerate(solution)]
        error = np.abs(sum(n * r ** (k + 2) for k, n in enumerate(numbers)) - left) / np.abs(size)
        if error.max() < best[1]:
            best = (numbers, float(error.max()))
        weights = weights * (error / error.max() + 1e-3)
        weights /= weights.sum()
    return best


def rows_of(table: Table) -> tuple[np.ndarray[Any, Any], float]:
    """The rows b, c0, c1, ... and the largest relative error of a fit."""
    rows = np.zeros((table.degree + 2, INTERVALS), np.float32)
    worst = 0.0
    first = -(INTERVALS // 2) + 1 if table.signed else 0
    for index in range(first, first + INTERVALS - table.signed):
        low, high = table.edge(index - 0.5), table.edge(index + 0.5)
        if index == 0 and not table.signed:
            low = mpf(0)
        if index == 0 and table.from_zero and not table.signed:
            value, slope = taylor(table.function, mpf(0), 1)
            b, c0, c1 = 0.0, float(value), -float(np.float32(float(slope)))
        else:
            b, c0, c1 = place(table.function, low, high)
        further, error = fitted(table.function, low, high, table.degree, b, c0, c1)
        # what stands there is 1: t itself is added
        c1 += index == 0 and c0 == 0.0
        rows[:, index % INTERVALS] = [b, c0, c1, *further]
        worst = max(worst, error)
    return rows, worst


def c_number(value: float) -> str:
    text = f"{value:.9g}"
    return (text if "." in text or "e" in text else text + ".0") + "f"


def text_of(table: Table) -> str:
    rows, worst = rows_of(table)
    print(f"{table.name:16} degree {table.degree}, largest error of a fit {worst / ULP * 2:.3f} ulp")
    scalars = {"linear": table.linear, "quadratic": table.quadratic, "last": table.last}
    if table.least:
        scalars["least"] = table.least
    if table.zero is not None:
        high = float(np.float32(float(table.zero)))
        scalars |= {"zero": high, "zero_rest": float(np.float32(float(table.zero - mpf(high))))}
    lines = [f"/* {table.why}; largest error of a fit {worst / ULP * 2:.3f} units in the last place */"]
    lines += [f"static const struct fastact_piecewise fastact_{table.name}_pieces = {{"]
    lines += [f"    .degree = {table.degree},"]
    lines += [f"    .{name} = {c_number(value)}," for name, value in scalars.items()]
    lines += ["    .rows = {"]
    for row in rows:
        numbers = [c_number(float(x)) for x in row]
        lines += ["        {"]
        lines += [f"            {', '.join(numbers[k : k + 6])}," for k in range(0, INTERVALS, 6)]
        lines += ["        },"]
    lines += ["    },", "};"]
    for loop, kind in table.loops.items():
        direction = loop.rsplit("_", 1)[1].upper()
        kinds = f"{kind}, {NARROW_KINDS.get(kind, kind)}"
        lines.append(f"FASTACT_PIECEWISE_{direction}({loop}, {table.name}, {kinds}, FASTACT_{table.ends})")
    return "\n".join([*lines, ""])


def text() -> str:
    """The whole header."""
    head = "/* Generated by tools/piecewise_tables.py; not to be edited.  What the numbers are: piecewise.h. */\n\n"
    return head + "\n".join(text_of(table) for table in TABLES)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
