"""The rows of src_cy/fetched_tables.h: polynomials on short intervals, or what an addition theorem begins with.

What a function is cut into, why b is looked for until c0 and c1 are almost numbers, and which functions there are:
piecewise_tables.py, whose intervals are 32 or 16.  Here are hundreds, so that degree 3 does for float32, and 6 for
float64.

In float32 four numbers make a row: c0, c1, c2, c3.  b lies in the first sixteenth of what its interval has above the
middle, index / linear, and says where in the low 16 bits of c3, which are the last that c3 needs: the part of c3 is
2**-14 of the result at most.  c2 is fitted again to what that makes of c3.

In float64 b is a number of its own, and with c0, c1, ... fills a line of the cache.

What has an addition theorem (fetched_additions.h) needs no polynomial: its rows are b and c0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any, NamedTuple

import numpy as np
from mpmath import findroot, mpf, taylor
from piecewise_tables import BEYOND, ULP, CutFunction, Function, long_double, solution

#: Numbers tried for b in float64, on either side of an interval's middle, and which part of its half they may take.
CANDIDATES, SHARE = 4096, 0.08
#: How far b is looked for until f(b) is a number but for so many units in the last place: near to its limit f is so
#: flat that it meets one at every tenth interval, or hundredth, and the series are nothing that far from b.
SHARES, NEARLY = (SHARE, 0.3, 1.0, 4.0, 16.0, 64.0, 128.0), 0.02
#: The same where f(b) shall be a number, and the series as much as it can be: b is the nearest one.
NEAREST_SHARES, EXACTLY = tuple(SHARE * 1.25**k for k in range(28)), 0.0001
#: Which fetched.h has written out.
DEGREES = {"float32": 3, "float64": 6}
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

    @property
    def step(self) -> float:
        """What b is a multiple of in float32, as it is computed there."""
        return float(np.float32(1 / (self.linear * STEPS)))

    def index(self, t: float) -> int:
        return round(t * (self.linear + t * (self.quadratic + t * self.cubic)))

    @property
    def indices(self) -> range:
        return range(0 if self.first is None else self.index(self.first), self.index(self.last) + 1)

    def edge(self, index: float) -> Any:
        """The t at which the index, not rounded, is this."""
        if self.cubic:
            k = mpf(self.linear)
            return findroot(lambda t: t * (k + t * t * mpf(self.cubic)) - index, mpf(index) / k)
        return solution(self.quadratic, self.linear, index)


@dataclass(frozen=True)
class Table(CutFunction):
    """One whose rows AVX2 fetches."""

    #: b and c0 at 0, of what has an addition theorem.
    at_zero: tuple[float, float] | None = None
    #: Of these: whether c0 shall have no error at all (EXACTLY).
    is_exact: bool = False
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
    middle, half, series = expansion(table, cut, index)
    # the integer is converted to a float32 exactly: 24 bits
    spacing = max(1, 1 << (20 + max(abs(i) for i in cut.indices).bit_length() - 24))
    places = np.arange(0, 1 << 16, spacing) if index or not table.from_zero else np.array([0])
    first = long_double((index * STEPS * mpf(cut.step) - middle) / half)
    u = first + places.astype(np.longdouble) * long_double(cut.step / half)
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
    for share in NEAREST_SHARES if table.is_exact else SHARES:
        spread = np.arange(-CANDIDATES, CANDIDATES + 1) / CANDIDATES * share + lean
        b, c0, error = nearest_pair(cut, index, middle, half, series, float(middle) + float(half) * spread)
        if table.is_exact:
            around = np.arange(-CANDIDATES, CANDIDATES + 1) * float(np.spacing(cut.number(b)))
            b, c0, error = nearest_pair(cut, index, middle, half, series, b + around)
        if error < ULP[cut.precision] / 2 * (EXACTLY if table.is_exact else NEARLY):
            break
    return [b, c0], error
