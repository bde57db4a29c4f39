"""Makes ``src_cy/piecewise_tables.h``: the polynomials that ``src_cy/piecewise.h`` looks up.

Run ``python tools/piecewise_tables.py`` (needs mpmath and numpy; two minutes).  Each function is cut into 32
intervals, into 16 for float64.  On an interval it is c0 + r (c1 + r (c2 + ...)) with r = b - t.  The place b is looked
for among thousands of numbers near the middle, for one at which the value and the slope are almost numbers of the
precision themselves: so c0 and c1 are stored with hardly any error, and what is rounded afterwards is a small part of
the result (Gal's accurate tables, ACM TOMS 17, 1991).  The further coefficients are near-minimax in relative error.

For float32: least squares on Chebyshev nodes whose weights move towards the largest error (Lawson), in float64,
unlike the few of coefficients.py: these 380 are fits of what c0 and c1 leave, and stay what was certified.  LAPACK's
last bits follow the CPU's instructions, so on a CPU without AVX-512 small coefficients become others.  For float64:
least squares on Chebyshev nodes in multiple precision, one coefficient after the other, so that each takes over what
the rounding of those before it has cost.  Degrees were chosen so that a fit's error, which stands beside it, stays
below a seventh of a unit in the last place in float32, and in float64, where a degree less saves two instructions for
8 numbers, below three eighths.  16 bits do with two or three degrees less than float32: below a hundredth of one of
float16's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from coefficients import chebyshev_nodes
from mpmath import erfc, exp, findroot, log1p, lu_solve, matrix, mp, mpf, nstr, pi, sqrt, tanh, taylor

mp.prec = 160
TARGET = Path(__file__).resolve().parent.parent / "src_cy" / "piecewise_tables.h"
#: ``narrow``: for results of 16 bits, computed in float32.
Precision = Literal["float32", "float64", "narrow"]
TYPES = {"float32": np.float32, "float64": np.float64, "narrow": np.float32}
INTERVALS = {"float32": 32, "float64": 16, "narrow": 32}
#: Numbers tried for b, on either side of the middle, and which part of an interval's half they may take.
CANDIDATES, SHARE = 20000, 0.08
#: Where the index is rounded: an interval's ends are met a little beyond.
BEYOND = mpf(2) ** -18
#: The greatest unit in the last place, relative to a number; of narrow ones float16's.
ULP = {"float32": 2.0**-23, "float64": 2.0**-52, "narrow": 2.0**-10}

#: Kinds that will do for results of 16 bits.
NARROW_KINDS = {
    "multiple": "narrow_multiple",
    "through_zero": "narrow_through_zero",
    "gradient": "narrow_gradient",
    "rising": "narrow_rising",
    "short_of_relu": "narrow_short_of_relu",
}

#: Multiples of t that a kind itself adds in the first interval, where the table has what is left.
ADDED_APART = {"odd": 1.0, "short_of_relu": -0.5}

Function = Callable[[Any], Any]


def solution(quadratic: float, linear: float, index: float) -> Any:
    """The t at which t (linear + t quadratic) is the index."""
    q, k = mpf(quadratic), mpf(linear)
    if not q:
        return mpf(index) / k
    return (-k + sqrt(k * k + 4 * q * mpf(max(index, 0.0)))) / (2 * q)


class Cut(NamedTuple):
    """How a function is cut into intervals: index = round(t (linear + t quadratic)), modulo their number."""

    precision: Precision
    #: Which numbers are outside.
    ends: str
    #: The largest |t|; from -t on if ``signed``.
    last: float
    degree: int
    #: Share of the index that grows with the square, at ``last``: intervals are narrow where the function is steep.
    bent: float = 0.0
    signed: bool = False
    #: How many sums before the last are kept in two numbers: a function that changes much within an interval is less
    #: than what is added.
    sharp: int = 0
    #: Where in an interval b is.  The sums' rests are exact if the function is nowhere more than twice what it is at b.
    lean: float = 0.5

    @property
    def number(self) -> Any:
        return TYPES[self.precision]

    @property
    def computed(self) -> str:
        """What it is computed in."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def count(self) -> int:
        return INTERVALS[self.precision]

    @property
    def steps(self) -> float:
        return (self.count // 2 if self.signed else self.count) - 0.51

    @property
    def quadratic(self) -> float:
        return float(self.number(self.steps * self.bent / self.last**2))

    @property
    def linear(self) -> float:
        return float(self.number((self.steps - self.quadratic * self.last**2) / self.last))

    def edge(self, index: float) -> Any:
        """The t at which the index, not rounded, is this."""
        return solution(self.quadratic, self.linear, index)


@dataclass(frozen=True)
class CutFunction:
    """A function, and how it is cut for each precision: what all ways to look up have in common."""

    name: str
    why: str
    function: Function
    #: What it serves, and how, in the words of piecewise.h or fetched_kinds.h: loop and kind.
    loops: dict[str, str]
    cuts: tuple[Any, ...]
    #: The zero, if ``function`` is what is left when it is divided out as (zero - t).
    zero: Any = None
    #: Numbers nearer to 0 are left to the formula: what their products leave out is subnormal, and may be flushed.
    least: dict[str, float] = field(default_factory=dict)
    #: Whether b is 0 in the interval there, so that numbers near 0 are added as they are: nothing falls where it should
    #: rise.
    from_zero: bool = True


@dataclass(frozen=True)
class Table(CutFunction):
    """One of which AVX-512 picks coefficients."""

    #: Degree that 16 bits take.
    narrow_degree: int = 4
    #: Whether r is t - b: of a function that is -0.0 at 0, c1 r is that as well.
    forwards: bool = False

    def kinds(self, cut: Cut) -> list[str]:
        """The kinds of the loops, in their order, in one precision."""
        narrow = NARROW_KINDS if cut.precision == "narrow" else {}
        return [narrow.get(kind, kind) for kind in self.loops.values()]

    @property
    def all_cuts(self) -> list[Cut]:
        """Those of all precisions: 16 bits take the intervals of float32."""
        singles = [cut for cut in self.cuts if cut.precision == "float32"]
        return [*self.cuts, *(cut._replace(precision="narrow", degree=self.narrow_degree) for cut in singles)]


def single(*values: Any, **further: Any) -> Cut:
    return Cut("float32", *values, **further)


def double(*values: Any, **further: Any) -> Cut:
    return Cut("float64", *values, **further)


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
        if abs(t - zero) < mpf(2) ** -41:
            # as far from the zero as half of the digits reach: the two sides' mean is right to the square of that
            step = mpf(2) ** -40
            return (quotient(zero - step) + quotient(zero + step)) / 2
        return function(t) / (zero - t)

    return quotient


# with more digits than anything else: derivatives of what is divided by (zero - t) magnify what is missing, the 18th by
# (half / |zero - t|)**18, where half an interval may be 200 times as long as its middle is far from the zero
with mp.workprec(4 * mp.prec):
    GELU_ZERO = findroot(gelu_below, mpf("0.75"))
    SILU_ZERO = findroot(silu_below, mpf("1.28"))
    GELU_TANH_ZERO = findroot(gelu_tanh_below, mpf("0.75"))
    MISH_ZERO = findroot(mish_slope, mpf("-1.19"))

TABLES = (
    Table("logistic", "1 / (1 + exp(t))", lambda t: logistic(-t),
          {"sigmoid_forward": "complement", "silu_forward": "gate", "softplus_backward": "complement"},
          (single("BEYOND", 12.0, 5),)),
    Table("gelu", "gelu(-t)", lambda t: -t * normal_tail(t),
          {"gelu_forward": "short_of_relu"},
          (single("BELOW", 6.75, 7, bent=0.6, lean=0.55),), narrow_degree=5, forwards=True),
    Table("normal", "(1 - erf(t / sqrt(2))) / 2", normal_tail,
          {"gelu_forward": "steep_gate"},
          (double("BEYOND", 6.75, 15, bent=0.8, sharp=2, lean=0.4),)),
    Table("gelu_tanh", "gelu_tanh(-t)", lambda t: -t * logistic(-gelu_tanh_exponent(t)),
          {"gelu_tanh_forward": "short_of_relu"},
          (single("BELOW", 6.0, 7, bent=0.65, lean=0.65),), narrow_degree=5, forwards=True),
    Table("tanh", "tanh(t), less t in the first interval", tanh,
          {"tanh_forward": "odd"},
          (single("NOWHERE", 9.25, 5, bent=-0.8),)),
    Table("mish", "tanh(log(1 + exp(t)))", mish_gate,
          {"mish_forward": "multiple"},
          (single("BEYOND", 8.0, 7, signed=True), double("BEYOND", 7.5, 16, signed=True, lean=0.4)),
          narrow_degree=5, least={"float32": 2.0**-90, "float64": 2.0**-900}, from_zero=False),
    Table("logistic_slope", "exp(t) / (1 + exp(t))**2", lambda t: logistic(t) * logistic(-t),
          {"sigmoid_backward": "even"},
          (single("BEYOND", 11.0, 5),)),
    Table("tanh_slope", "1 - tanh(t)**2", lambda t: 4 * logistic(2 * t) * logistic(-2 * t),
          {"tanh_backward": "even"},
          (single("BEYOND", 8.0, 6),)),
    Table("silu_slope", "silu'(-t), its zero divided out", without_zero(silu_below, SILU_ZERO),
          {"silu_backward": "gradient"},
          (single("BEYOND", 11.5, 5), double("BEYOND", 10.5, 13, bent=-0.2, lean=0.6)),
          zero=SILU_ZERO, from_zero=False),
    Table("gelu_slope", "gelu'(-t), its zero divided out", without_zero(gelu_below, GELU_ZERO),
          {"gelu_backward": "gradient"},
          (single("BELOW", 6.75, 7, bent=0.8), double("BEYOND", 6.75, 15, bent=0.8, sharp=2, lean=0.4)),
          narrow_degree=5, zero=GELU_ZERO, from_zero=False),
    Table("gelu_tanh_slope", "gelu_tanh'(-t), its zero divided out", without_zero(gelu_tanh_below, GELU_TANH_ZERO),
          {"gelu_tanh_backward": "gradient"},
          (single("BELOW", 5.75, 7, bent=0.9), double("BEYOND", 5.75, 15, bent=0.8, sharp=2, lean=0.4)),
          narrow_degree=5, zero=GELU_TANH_ZERO, from_zero=False),
    Table("softplus", "log(1 + exp(t))", lambda t: log1p(exp(t)),
          {"softplus_forward": "rising"},
          (single("BEYOND", 8.0, 6, signed=True), double("BEYOND", 7.5, 14, signed=True, lean=0.4))),
    Table("mish_slope", "mish'(t), its zero divided out", without_zero(mish_slope, MISH_ZERO),
          {"mish_backward": "through_zero"},
          (single("BEYOND", 8.0, 7, signed=True), double("BEYOND", 7.5, 17, signed=True, lean=0.4)),
          narrow_degree=5, zero=MISH_ZERO, from_zero=False),
)  # fmt: skip


def long_double(value: Any) -> Any:
    return np.longdouble(nstr(value, 24))


def place(function: Function, cut: Cut, low: Any, high: Any) -> tuple[float, float, float]:
    """b, c0 and c1: of the numbers near the middle, the one whose value and slope are nearest to numbers."""
    middle = cut.number(float(low + (high - low) * cut.lean))
    series = [long_double(c) for c in taylor(function, mpf(float(middle)), 12)]
    reach = float(high - low) / 2 * SHARE
    steps = np.arange(-CANDIDATES, CANDIDATES + 1) * max(float(np.spacing(middle)), reach / CANDIDATES)
    candidates = (np.float64(middle) + steps).astype(cut.number)
    candidates = candidates[np.abs(candidates.astype(np.float64) - float(middle)) <= reach]
    d = candidates.astype(np.longdouble) - np.longdouble(middle)
    value = sum((c * d**k for k, c in enumerate(series)), np.longdouble(0))
    slope = -sum((k * c * d ** (k - 1) for k, c in enumerate(series) if k), np.longdouble(0))
    value_error = np.abs(value.astype(cut.number) - value) / np.abs(value)
    # a slope's error reaches the result in proportion to what the slope contributes
    slope_error = np.abs(slope.astype(cut.number) - slope) * float(high - low) / 2 / np.abs(value)
    best = int(np.argmin(value_error + slope_error))
    return tuple(float(x[best].astype(cut.number)) for x in (candidates, value, slope))  # type: ignore[return-value]


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


def fitted_precisely(
    function: Function, low: Any, high: Any, degree: int, b: float, c0: float, c1: float
) -> tuple[list[float], float]:
    """The same for float64."""
    low, high = low - BEYOND * abs(low), high + BEYOND * high
    scale = (high - low) / 2
    rows = []
    for t in chebyshev_nodes(low, high, 3 * degree):
        value, r = function(t), mpf(b) - t
        rows.append([(r / scale) ** k / value for k in range(2, degree + 1)] + [(value - c0 - c1 * r) / value])
    columns = list(zip(*rows, strict=True))
    products = [[sum(x * y for x, y in zip(u, v, strict=True)) for v in columns] for u in columns[:-1]]
    numbers: list[float] = []
    for k in range(degree - 1):
        # each takes over what the rounding of those before it has cost
        kept = [mpf(n) * scale ** (j + 2) for j, n in enumerate(numbers)]
        left = [row[-1] - sum((n * x for n, x in zip(kept, row, strict=False)), mpf(0)) for row in products[k:]]
        solution = lu_solve(matrix([row[k:-1] for row in products[k:]]), matrix(left))
        numbers.append(float(solution[0] / scale ** (k + 2)))
    kept = [mpf(n) * scale ** (j + 2) for j, n in enumerate(numbers)]
    errors = [abs(sum(n * x for n, x in zip(kept, row, strict=False)) - row[-1]) for row in rows]
    return numbers, float(max(errors))


def rows_of(table: Table, cut: Cut) -> tuple[np.ndarray[Any, Any], float]:
    """The rows b, c0, c1, ... and the largest relative error of a fit."""
    rows = np.zeros((cut.degree + 2, cut.count), cut.number)
    worst = 0.0
    first = -(cut.count // 2) + 1 if cut.signed else 0
    for index in range(first, first + cut.count - cut.signed):
        low, high = cut.edge(index - 0.5), cut.edge(index + 0.5)
        if index == 0 and not cut.signed:
            low = mpf(0)
        if index == 0 and table.from_zero:
            value, slope = taylor(table.function, mpf(0), 1)
            b, c0, c1 = 0.0, float(value), -float(cut.number(float(slope)))
        else:
            b, c0, c1 = place(table.function, cut, low, high)
        fit = fitted_precisely if cut.computed == "float64" else fitted
        further, error = fit(table.function, low, high, cut.degree, b, c0, c1)
        if index == 0:
            c1 += sum(ADDED_APART.get(kind, 0.0) for kind in table.kinds(cut))
            if table.forwards:
                # nearly nothing instead of 0: of the sign with which t = 0 becomes -0.0
                c0, c1 = -0.0, c1 or 2.0**-32
        signs = [(-1) ** k for k in range(cut.degree + 1)] if table.forwards else [1] * (cut.degree + 1)
        rows[:, index % cut.count] = [b, *(s * c for s, c in zip(signs, (c0, c1, *further), strict=True))]
        worst = max(worst, error)
    return rows, worst


def rest_of_zero(table: Table, number: Any, high: Any) -> float:
    """What ``high`` leaves out of the zero, to the bit that serves the number beside it best.

    That one is the product of this and of the function, both rounded; to all others the last bits are nothing.
    """
    zero, step = table.zero, mpf(2) ** -20
    rest = zero - mpf(float(high))
    slope = (table.function(zero + step) - table.function(zero - step)) / (2 * step)
    value = table.function(zero) - rest * slope
    rounded = number(float(value))
    near = number(float(rest)) + np.arange(-2, 3, dtype=number) * np.spacing(number(float(rest)))
    return float(min(near, key=lambda candidate: abs(mpf(float(candidate * rounded)) - rest * value)))


def c_number(cut: Cut, value: float) -> str:
    if cut.precision == "float64":
        return repr(value)
    text = f"{value:.9g}"
    return (text if "." in text or "e" in text else text + ".0") + "f"


def text_of(table: Table, cut: Cut) -> str:
    rows, worst = rows_of(table, cut)
    error = f"{worst / ULP[cut.precision] * 2:.3f}"
    print(f"{table.name:16} {cut.precision} degree {cut.degree}, largest error of a fit {error} ulp")
    scalars = {"linear": cut.linear, "quadratic": cut.quadratic, "last": cut.last}
    lines_forwards = ["    .forwards = 1,"] if table.forwards else []
    if table.least:
        scalars["least"] = table.least[cut.computed]
    if table.zero is not None:
        high = cut.number(float(table.zero))
        scalars |= {"zero": float(high), "zero_rest": rest_of_zero(table, cut.number, high)}
    lines = [f"/* {table.why}; largest error of a fit {error} units in the last place */"]
    lines += [f"static const struct fastact_piecewise_{cut.computed} fastact_{table.name}_pieces_{cut.precision} = {{"]
    lines += [f"    .degree = {cut.degree},", f"    .sharp = {cut.sharp},", *lines_forwards]
    lines += [f"    .{name} = {c_number(cut, value)}," for name, value in scalars.items()]
    lines += ["    .rows = {"]
    in_line = 4 if cut.computed == "float64" else 6
    for row in rows:
        numbers = [c_number(cut, float(x)) for x in row]
        lines += ["        {"]
        lines += [f"            {', '.join(numbers[k : k + in_line])}," for k in range(0, cut.count, in_line)]
        lines += ["        },"]
    lines += ["    },", "};"]
    for loop, kind in zip(table.loops, table.kinds(cut), strict=True):
        macro = "_".join([loop.rsplit("_", 1)[1], cut.precision]).upper()
        lines.append(f"FASTACT_PIECEWISE_{macro}({loop}, {table.name}, {kind}, FASTACT_{cut.ends})")
    return "\n".join([*lines, ""])


def text_at(place: tuple[int, int]) -> str:
    """The same by numbers, which go to another process, as functions do not."""
    return text_of(TABLES[place[0]], TABLES[place[0]].all_cuts[place[1]])


def header(way: str, text_at: Callable[[tuple[int, int]], str], places: list[tuple[int, int]]) -> str:
    """A header of tables, each made by a process."""
    head = f"/* Generated by tools/{way}_tables.py; not to be edited.  What the numbers are: {way}.h. */\n\n"
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        return head + "\n".join(pool.map(text_at, places))


def text() -> str:
    """The whole header."""
    places = [(table, cut) for table in range(len(TABLES)) for cut in range(len(TABLES[table].all_cuts))]
    return header("piecewise", text_at, places)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
