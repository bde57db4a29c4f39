"""Makes ``src_cy/fetched_tables.h``: the polynomials whose coefficients ``src_cy/fetched.h`` fetches from memory.

Run ``python tools/fetched_tables.py`` (needs mpmath and numpy; two minutes).  What a function is cut into, why b is
looked for until c0 and c1 are almost numbers, and which functions there are: piecewise_tables.py, whose intervals are
32 or 16.  Here are hundreds, so that degree 3 does for float32, and 8 for float64.

In float32 four numbers make a row: c0, c1, c2, c3.  b lies in the first sixteenth of what its interval has above the
middle, index / linear, and says where in the low 16 bits of c3, which are the last that c3 needs: the part of c3 is
2**-14 of the result at most.  c2 is fitted again to what that makes of c3.

In float64 b is a number of its own, and c0, c1, ... stand in pairs.

What has an addition theorem (fetched_additions.h) needs no polynomial: its rows are b and c0.
"""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import piecewise_tables
from mpmath import exp, expm1, findroot, mpf, sqrt, taylor
from piecewise_tables import (
    BEYOND,
    ULP,
    Function,
    c_number,
    gelu_tanh_exponent,
    header,
    logistic,
    long_double,
    rest_of_zero,
)

TARGET = Path(__file__).resolve().parent.parent / "src_cy" / "fetched_tables.h"
#: Numbers tried for b in float64, on either side of an interval's middle, and which part of its half they may take.
CANDIDATES, SHARE = 4096, 0.08
#: How far b is looked for until f(b) is a number but for so many units in the last place: near to its limit f is so
#: flat that it meets one at every tenth interval, or hundredth, and the series are nothing that far from b.
SHARES, NEARLY = (SHARE, 0.3, 1.0, 4.0, 16.0, 64.0, 128.0), 0.02
#: Which fetched.h has written out.
DEGREES = {"float32": 3, "float64": 8}
#: An index and where b is, in the integer that b is made of: index * 2**20 + place.
STEPS = 1 << 20
#: b of the first interval behind that of 0, where a function is least beside the interval's length: as a share of
#: the half, from the middle outwards.  So what is added has the sign of c0 nearly everywhere.
LEAN = -0.5


class Cut(NamedTuple):
    """How a function is cut for one precision: index = round(t (linear + t (quadratic + t cubic)))."""

    precision: str
    #: Which numbers are outside.
    ends: str
    #: The largest |t|.
    last: float
    #: Intervals of the length 1 where |t| is 0.
    linear: float
    quadratic: float = 0.0
    cubic: float = 0.0
    #: The least t, if the intervals are those of t and not of |t|.
    first: float | None = None
    #: Whether c0 (1 - c0) shall be almost the derivative, below 0.
    slopes: bool = False

    @property
    def number(self) -> Any:
        return np.float32 if self.precision == "float32" else np.float64

    @property
    def degree(self) -> int:
        return DEGREES[self.precision]

    @property
    def signed(self) -> bool:
        return self.first is not None

    def index(self, t: float) -> int:
        return round(t * (self.linear + t * (self.quadratic + t * self.cubic)))

    @property
    def indices(self) -> range:
        return range(0 if self.first is None else self.index(self.first), self.index(self.last) + 1)

    def edge(self, index: float) -> Any:
        """The t at which the index, not rounded, is this."""
        q, k = mpf(self.quadratic), mpf(self.linear)
        if self.cubic:
            return findroot(lambda t: t * (k + t * t * mpf(self.cubic)) - index, mpf(index) / k)
        return mpf(index) / k if not q else (-k + sqrt(k * k + 4 * q * mpf(max(index, 0.0)))) / (2 * q)


class Table(NamedTuple):
    """A function, and how it is cut for each precision."""

    name: str
    why: str
    function: Function
    #: What it serves, and how, in the words of fetched_kinds.h: loop and kind.
    loops: dict[str, str]
    cuts: tuple[Cut, ...]
    #: The zero, if ``function`` is what is left when it is divided out as (zero - t).
    zero: Any = None
    #: Numbers nearer to 0 are left to the formula: what their products leave out is subnormal, and may be flushed.
    least: dict[str, float] = {}  # noqa: RUF012
    #: Whether b is 0 in the interval there.
    from_zero: bool = True
    #: b and c0 there, of what has an addition theorem.
    at_zero: tuple[float, float] | None = None
    #: Of these: c0's error that needs no further search, in units in the last place (SHARES); if it is less than usual,
    #: all numbers beside the best candidate are tried as well.
    nearly: float = NEARLY
    #: Of these: whether the rows of -t are those of t with the other sign.
    is_odd: bool = False
    #: Of these: whether b of the first interval behind that of 0 is nearer to 0 (LEAN).
    leans: bool = False
    #: The table whose rows it has.
    rows: str = ""
    #: Whether it has them at -|t|.
    folds: bool = False

    @property
    def adds(self) -> bool:
        """Whether its rows are b and c0."""
        return self.at_zero is not None or self.rows != ""

    @property
    def turn(self) -> int | None:
        """The first index of those for which the table has T(t) - 1, if it is not T(t) that it has."""
        return 0 if "multiple" in self.loops.values() else None

    def stored(self, index: int) -> Function:
        """What the rows are of, in an interval."""
        if self.turn is None or index < self.turn:
            return self.function
        return lambda t: self.function(t) - 1


def single(*values: Any, **further: Any) -> Cut:
    return Cut("float32", *values, **further)


def double(*values: Any, **further: Any) -> Cut:
    return Cut("float64", *values, **further)


#: What is cut into 32 intervals there is cut into hundreds here.
FUNCTIONS = {table.name: table for table in piecewise_tables.TABLES}


def table(name: str, loops: dict[str, str], *cuts: Cut, why: str = "", **further: Any) -> Table:
    function = FUNCTIONS[name]
    return Table(name, why or function.why, function.function, loops, cuts, zero=function.zero, **further)


TABLES = (
    # float32 is 1 from 17.4 on, float64 from 37.5; the last rows, which serve all greater numbers, are 1 exactly
    Table("logistic", "1 / (1 + exp(-t))", logistic,
          {"sigmoid_forward": "logistic", "silu_forward": "logistic_gate", "softplus_backward": "logistic"},
          (single("BELOW", 20.0, 64, first=-24.0), double("BELOW", 38.0, 64, first=-24.0, slopes=True)),
          # so far below 0 that -0.0 s(-0.0) is a sum of two of -0.0
          at_zero=(-(2.0**-60), 0.5)),
    table("normal", {"gelu_forward": "gate"},
          single("BELOW", 6.75, 128), double("BEYOND", 6.75, 16, 2.0)),
    Table("gelu_tanh_gate", "gelu_tanh(-t) / -t", lambda t: logistic(-gelu_tanh_exponent(t)),
          {"gelu_tanh_forward": "gate"},
          (single("BELOW", 5.5, 128),)),
    # 1 from 7.2 on; intervals are a 64th of the exponent long, but for the first ones
    Table("gelu_tanh_logistic", "gelu_tanh(t) / t", lambda t: logistic(gelu_tanh_exponent(t)),
          {"gelu_tanh_forward": "gelu_tanh_gate"},
          (double("BELOW", 7.25, 104, cubic=4.5625, first=-6.0),), at_zero=(-(2.0**-60), 0.5)),
    table("tanh", {"tanh_forward": "tanh"},
          single("NOWHERE", 9.25, 64, first=-9.25), double("NOWHERE", 19.5, 64, first=-19.5),
          why="tanh(t)", at_zero=(0.0, -0.0), is_odd=True, leans=True),
    # float32 is 1 from 17.4 on, float64 from 37.5
    Table("elu", "1 - exp(-t)", lambda t: -expm1(-t), {"elu_forward": "elu"},
          (single("NOWHERE", 20.0, 64), double("NOWHERE", 38.0, 64)), at_zero=(0.0, 0.0), leans=True,
          # with more it falls once in float32, from one interval to the next
          nearly=0.0001),
    Table("elu_output", "1 - exp(-t)", lambda t: -expm1(-t), {"softplus_backward_from_output": "elu_output"},
          (single("BELOW", 20.0, 64, first=0.0), double("BELOW", 38.0, 64, first=0.0)), rows="elu"),
    Table("elu_slope", "exp(-t)", lambda t: exp(-t), {"elu_backward": "elu_slope"},
          (single("BELOW", 24.0, 64), double("BELOW", 24.0, 64)), at_zero=(0.0, 1.0)),
    table("mish", {"mish_forward": "multiple"},
          single("BEYOND", 8.0, 32, first=-8.0), double("BEYOND", 8.0, 16, first=-8.0),
          least={"float32": 2.0**-90, "float64": 2.0**-900}, from_zero=False,
          why="tanh(log(1 + exp(t))), less 1 from 0 on"),
    table("logistic_slope", {"sigmoid_backward": "even"}, single("BEYOND", 11.0, 32)),
    Table("logistic_even", "exp(t) / (1 + exp(t))**2", logistic, {"sigmoid_backward": "logistic_slope"},
          (double("BEYOND", 20.0, 64, first=-20.0),), rows="logistic", folds=True),
    table("tanh_slope", {"tanh_backward": "even"}, single("BEYOND", 8.0, 64)),
    Table("tanh_even", "1 - tanh(t)**2", logistic, {"tanh_backward": "tanh_slope"},
          (double("BEYOND", 10.0, 128, first=-10.0),), rows="logistic", folds=True),
    table("silu_slope", {"silu_backward": "gradient"},
          single("BEYOND", 11.5, 32), double("BEYOND", 11.5, 16), from_zero=False),
    table("gelu_slope", {"gelu_backward": "gradient"},
          single("BELOW", 6.75, 128), double("BEYOND", 6.75, 16, 2.5), from_zero=False),
    table("gelu_tanh_slope", {"gelu_tanh_backward": "gradient"},
          single("BELOW", 5.75, 128), double("BEYOND", 5.75, 16, 3.0), from_zero=False),
    table("softplus", {"softplus_forward": "rising"},
          single("BEYOND", 8.0, 32, first=-8.0), double("BEYOND", 8.0, 16, first=-8.0)),
    table("mish_slope", {"mish_backward": "through_zero"},
          single("BEYOND", 8.0, 64, first=-8.0), double("BEYOND", 8.0, 16, first=-8.0),
          from_zero=False),
)  # fmt: skip


def expansion(table: Table, cut: Cut, index: int) -> tuple[Any, Any, list[Any]]:
    """An interval's middle, half of its length, and the Taylor series in (t - middle) / half of what is stored."""
    low, high = cut.edge(index - 0.5), cut.edge(index + 0.5)
    if index == 0 and not cut.signed:
        low = mpf(0)
    middle, half = (low + high) / 2, (high - low) / 2 + BEYOND * max(abs(low), abs(high))
    terms = 10 if cut.precision == "float32" else 18
    return middle, half, [c * half**k for k, c in enumerate(taylor(table.stored(index), middle, terms))]


def shortened(series: list[Any], degree: int) -> list[Any]:
    """The polynomial of this degree that is nearest to one in [-1, 1], but for little: highest terms give way to
    multiples of Chebyshev polynomials, which are the smallest (Lanczos, Applied Analysis, 1956, VII)."""
    series = list(series)
    while len(series) > degree + 1:
        n = len(series) - 1
        # T(n), whose leading coefficient is 2**(n - 1), from its three-term recurrence
        before, chebyshev = [1], [0, 1]
        for _ in range(n - 1):
            following = [0, *(2 * c for c in chebyshev)]
            for k, c in enumerate(before):
                following[k] -= c
            before, chebyshev = chebyshev, following
        share = series[-1] / chebyshev[-1]
        series = [s - share * c for s, c in zip(series[:-1], chebyshev[:-1], strict=True)]
    return series


def moved(series: list[Any], place: Any, half: Any) -> list[Any]:
    """The coefficients of r = b - t, b being at ``place``, of a polynomial in (t - middle) / half."""
    return [
        sum(comb(k, order) * c * place ** (k - order) for k, c in enumerate(series) if k >= order) / (-half) ** order
        for order in range(len(series))
    ]


def at_places(series: list[Any], order: int, u: Any) -> Any:
    """The series' coefficient of (t - place)**order / half**order, for the place of each u; in long double."""
    sum_of = np.zeros_like(u)
    for k in range(len(series) - 1, order - 1, -1):
        sum_of = sum_of * u + comb(k, order) * long_double(series[k])
    return sum_of


def with_low_bits(numbers: Any, bits: Any) -> Any:
    """The float32 nearest to each number whose low half is as it is told."""
    highs = (numbers.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).astype(np.int64)
    found = [(highs + shift | bits).astype(np.uint32).view(np.float32) for shift in (-65536, 0, 65536)]
    # one below zero is none
    distances = [np.where(np.isfinite(f), np.abs(f - numbers), np.inf) for f in found]
    return np.choose(np.argmin(distances, axis=0), found)


def single_row(table: Table, cut: Cut, index: int) -> tuple[list[float], float]:
    """c0, c1, c2 and c3 with the place of b in its low bits, and the largest relative error."""
    step = 1 / (cut.linear * STEPS)
    middle, half, series = expansion(table, cut, index)
    # the integer is converted to a float32 exactly: 24 bits
    spacing = max(1, 1 << (20 + max(abs(i) for i in cut.indices).bit_length() - 24))
    places = np.arange(0, 1 << 16, spacing) if index or not table.from_zero else np.array([0])
    first = long_double((mpf(index) / mpf(cut.linear) - middle) / half)
    u = first + places.astype(np.longdouble) * long_double(step / half)
    width = long_double(half)
    value, slope = at_places(series, 0, u), -at_places(series, 1, u) / width
    cubic = -at_places(shortened(series, cut.degree), 3, u) / width**3
    # c0's own error, and what those of c1 and c3 come to at an interval's end, c2 taking over most of the latter
    errors = np.abs(value.astype(np.float32) - value) + np.abs(slope.astype(np.float32) - slope) * width
    errors += np.abs(with_low_bits(cubic, places) - cubic) * width**3 / 4
    best = int(np.argmin(errors))
    c0, c1, c3 = value[best].astype(np.float32), slope[best].astype(np.float32), with_low_bits(cubic, places)[best]
    nodes = np.cos(np.pi * (2 * np.arange(24) + 1) / 48).astype(np.longdouble)
    r = (u[best] - nodes) * width
    size = np.array([long_double(table.function(middle + half * mpf(float(x)))) for x in nodes])
    left = at_places(series, 0, nodes) - c0 - c1 * r - c3 * r**3
    c2 = np.float32(np.sum(left / size * r**2 / size) / np.sum((r**2 / size) ** 2))
    error = float((np.abs(left - c2 * r**2) / np.abs(size)).max())
    return [float(c0), float(c1), float(c2), float(c3)], error


def double_row(table: Table, cut: Cut, index: int) -> tuple[list[float], float]:
    """b, c0, c1, ... and the largest relative error."""
    middle, half, series = expansion(table, cut, index)
    candidates = np.array([0.0])
    if index or not table.from_zero:
        spread = np.arange(-CANDIDATES, CANDIDATES + 1) / CANDIDATES * SHARE
        candidates = float(middle) + float(half) * spread
    u = (candidates - np.longdouble(long_double(middle))) / long_double(half)
    value, slope = at_places(series, 0, u), at_places(series, 1, u) / long_double(half)
    errors = np.abs(value.astype(np.float64) - value)
    errors += np.abs(slope.astype(np.float64) - slope) * long_double(half)
    b = mpf(float(candidates[int(np.argmin(errors))]))
    polynomial, place = shortened(series, cut.degree), (b - middle) / half
    numbers = [float(c) for c in moved(polynomial, place, half)]
    error = 0.0
    for t in [middle + half * x for x in (-0.999, -0.7, -0.31, 0.05, 0.4, 0.75, 0.999)]:
        missing = sum(n * (b - t) ** k for k, n in enumerate(numbers)) - table.stored(index)(t)
        error = max(error, float(abs(missing / table.function(t))))
    return [float(b), *numbers], error


def nearest_pair(
    cut: Cut, index: int, middle: Any, half: Any, series: list[Any], candidates: Any
) -> tuple[float, float, float]:
    """The candidate for b where f is nearest to a number, that number, and its relative error."""
    candidates = np.unique(candidates.astype(cut.number)).astype(np.float64)
    u = (candidates - np.longdouble(long_double(middle))) / long_double(half)
    value = at_places(series, 0, u)
    rounded = value.astype(cut.number).astype(np.longdouble)
    errors = np.abs(rounded / value - 1)
    if cut.slopes and index < 0:
        computed = (rounded - rounded * rounded).astype(cut.number)
        errors = np.maximum(errors, np.abs(computed / (value - value * value) - 1))
    best = int(np.argmin(errors))
    return float(candidates[best]), float(rounded[best]), float(errors[best])


def pair_row(table: Table, cut: Cut, index: int) -> tuple[list[float], float]:
    """b and c0, and c0's relative error."""
    if index == 0:
        return list(table.at_zero), 0.0  # type: ignore[arg-type]
    if table.is_odd and index < 0:
        numbers, error = pair_row(table, cut, -index)
        return [-n for n in numbers], error
    middle, half, series = expansion(table, cut, index)
    lean = LEAN if table.leans and index == 1 else 0.0
    is_exact = table.nearly < NEARLY
    # the nearest such b, because far from it the series is nothing
    for share in SHARE * 1.25 ** np.arange(28) if is_exact else SHARES:
        spread = np.arange(-CANDIDATES, CANDIDATES + 1) / CANDIDATES * share + lean
        b, c0, error = nearest_pair(cut, index, middle, half, series, float(middle) + float(half) * spread)
        if is_exact:
            around = np.arange(-CANDIDATES, CANDIDATES + 1) * float(np.spacing(cut.number(b)))
            b, c0, error = nearest_pair(cut, index, middle, half, series, b + around)
        if error < ULP[cut.precision] / 2 * table.nearly:
            break
    return [b, c0], error


def text_of(table: Table, cut: Cut) -> str:
    name = f"fastact_{table.name}_fetched_{cut.precision}"
    if table.rows:
        return f"/* {table.why} */\n" + structure(table, cut, len(cut.indices), 2)
    row = pair_row if table.adds else single_row if cut.precision == "float32" else double_row
    made = [row(table, cut, index) for index in cut.indices]
    worst = max(error for _, error in made) / ULP[cut.precision] * 2
    what = "c0" if table.adds else "a fit"
    print(f"{table.name:16} {cut.precision} {len(made)} intervals, largest error of {what} {worst:.3f} ulp", flush=True)
    if cut.precision == "float32":
        kind, rows = "float", [", ".join(c_number(cut, x) for x in numbers) for numbers, _ in made]
        parts = rows
    else:
        kind = "double"
        parts = [
            ", ".join(repr(float(x)) for x in numbers[k : k + 2])
            for k in range(0, len(made[0][0]), 2)
            for numbers, _ in made
        ]
    lines = [
        f"/* {table.why}; largest error of {what} {worst:.3f} units in the last place */",
        f"static const {kind} {name}_rows[] __attribute__((aligned(64))) = {{",
        *(f"    {part}," for part in parts),
        "};",
    ]
    return "\n".join([*lines, structure(table, cut, len(made), len(made[0][0]))])


def structure(table: Table, cut: Cut, count: int, row_numbers: int) -> str:
    """What a kind must know of the rows, and the kernels that it serves."""
    name = f"fastact_{table.name}_fetched_{cut.precision}"
    rows = f"fastact_{table.rows or table.name}_fetched_{cut.precision}_rows"
    scalars = {"linear": cut.linear, "first": -cut.last if cut.first is None else cut.first, "last": cut.last}
    if cut.precision == "float64":
        scalars |= {"quadratic": cut.quadratic, "cubic": cut.cubic}
    elif not table.adds:
        scalars["step"] = 1 / (cut.linear * STEPS)
    if table.least:
        scalars["least"] = table.least[cut.precision]
    if table.zero is not None:
        zero = cut.number(float(table.zero))
        scalars |= {"zero": float(zero), "zero_rest": rest_of_zero(table, cut.number, zero)}  # type: ignore[arg-type]
    lines = [f"static const struct fastact_fetched_{cut.precision} {name} = {{"]
    lines += [f"    .is_signed = {int(cut.signed)},", f"    .is_folded = {int(table.folds)},"]
    lines += [f"    .count = {count},"]
    lines += [f"    .row_numbers = {row_numbers},"] if cut.precision == "float32" else []
    lines += [f"    .turn = {table.turn},"] if table.turn is not None else []
    row_bytes = 4 * row_numbers if cut.precision == "float32" else 16
    least = min(
        index
        for other in TABLES
        if other.name == (table.rows or table.name)
        for at in other.cuts
        if at.precision == cut.precision
        for index in at.indices
    )
    lines += [f"    .rows = (const char *){rows} + {row_bytes * -least},"]
    lines += [f"    .{key} = {c_number(cut, float(value))}," for key, value in scalars.items()]  # type: ignore[arg-type]
    lines += ["};"]
    for loop, kind in table.loops.items():
        direction = "forward" if loop.endswith("_forward") else "backward"
        macro = f"{direction}_{cut.precision}".upper()
        lines.append(f"FASTACT_FETCHED_{macro}({loop}, {table.name}, {kind}, FASTACT_{cut.ends})")
    return "\n".join([*lines, ""])


def text_at(where: tuple[int, int]) -> str:
    """The same by numbers, which go to another process, as functions do not."""
    return text_of(TABLES[where[0]], TABLES[where[0]].cuts[where[1]])


def text() -> str:
    """The whole header."""
    places = [(table, cut) for table in range(len(TABLES)) for cut in range(len(TABLES[table].cuts))]
    return header("fetched", text_at, places)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
