"""At which float64 numbers a function is measured: everywhere a little, and densely where something happens.

There are 2**64 of them, so they must be chosen.  What happens at a place is over after some ULP or goes on for many
binades, so places are approached logarithmically, from both sides.  The places are

- zero, the row's ``interesting`` ones (kinks, zeros of f and f'), the ends of an output's range;
- where the true value becomes subnormal, underflows, or reaches its limit or its line (1, x ...);
- where a formula decides: the constants that it compares with, read from its source, and the numbers at which an
  argument reduced by multiples of ln 2 jumps;
- powers of two, from the smallest subnormal to the largest number.

The rest is random, by the logarithm and linearly.  The choice is the same every time: its seed is the subject's name.
The source of a formula is read for its constants only; this file must not run one.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..catalogue import BY_NAME, DIRECTIONS
from ..lowering import loop_of
from . import definitions
from .true_values import Array, Subject, true_value

#: Numbers in steps of one ULP at a place, either way; and numbers at random distances, logarithmically.
STEPS, APPROACHES = 24, 200
#: All activations have their limits beyond it, to the last bit, or a line; a parameter of 0.1 is allowed for.
FAR = 2.0**14
_INFO = np.finfo(np.float64)


def random_of(subject: Subject) -> np.random.Generator:
    """The same numbers whenever this subject is asked about."""
    return np.random.default_rng(zlib.crc32(repr(subject).encode()))


def _ordered(x: Array) -> Array:
    """Integers in the order of the numbers, neighbours beside neighbours."""
    pattern = np.asarray(x, np.float64).view(np.int64)
    return np.where(pattern < 0, np.int64(-(2**63)) - pattern, pattern)


def _number(place: Array) -> Array:
    place = np.asarray(place, np.int64)
    return np.where(place < 0, np.int64(-(2**63)) - place, place).view(np.float64)


def _change(holds: Callable[[float], bool], near: float, far: float) -> float | None:
    """The last number on the way from far to near at which something holds that does not hold near."""
    low, high = int(_ordered(np.array(near))), int(_ordered(np.array(far)))
    if holds(near) or not holds(far):
        return None
    while abs(high - low) > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(float(_number(np.array(middle)))) else (middle, high)
    return float(_number(np.array(high)))


def changes(subject: Subject) -> Iterator[float]:
    """Where the true value becomes subnormal, vanishes, or rounds to what it is far out."""

    def value(x: float) -> float:
        hi, _, exponent = true_value(subject, x)
        return float(np.ldexp(hi, exponent)) if exponent <= 1024 else float(np.copysign(np.inf, hi))

    def within(target: float | None, tolerance: float) -> Callable[[float], bool]:
        """Whether the value is as near to a number, or to x, in units of it."""

        def holds(x: float) -> bool:
            expected = x if target is None else target
            return abs(value(x) - expected) <= tolerance * abs(expected)

        return holds

    def below(level: float) -> Callable[[float], bool]:
        return lambda x: abs(value(x)) < level

    levels = (float(_INFO.tiny), 2 * float(_INFO.smallest_subnormal), float(_INFO.smallest_subnormal))
    for sign in (-1.0, 1.0):
        limit = value(sign * FAR)
        targets = [None] if value(sign * FAR / 2) != limit else [None, limit]
        events = [below(level) for level in levels]
        events += [within(target, tolerance) for target in targets for tolerance in (0.0, 2.0**-52, 2.0**-30)]
        for holds in events:
            for far in (FAR, 2.0**-80):
                place = _change(holds, sign * 0.5, sign * far)
                if place is not None:
                    yield place


def decisions(subject: Subject) -> Iterator[float]:
    """The constants that the formulas of a subject compare with, and the halves of them; for any sign and parameter."""
    row = BY_NAME[subject.row]
    direction = DIRECTIONS[definitions.KINDS.index(subject.kind)]
    seen: set[Any] = set()
    waiting: list[Any] = list(loop_of(row, direction).formulas)
    scales = [1.0, 2.0, *(abs(p) for p in subject.params if p)]
    while waiting:
        formula = waiting.pop()
        seen.add(formula)
        tree = ast.parse(textwrap.dedent(inspect.getsource(formula)))
        for node in ast.walk(tree):
            found = formula.__globals__.get(node.id) if isinstance(node, ast.Name) else None
            if inspect.isfunction(found) and found not in seen and "formulas" in found.__module__:
                waiting.append(found)
        for comparison in (node for node in ast.walk(tree) if isinstance(node, ast.Compare)):
            for side in (comparison.left, *comparison.comparators):
                constant = _constant(side, formula.__globals__)
                for scale in scales if constant else ():
                    yield from (constant / scale, -constant / scale)


def _constant(node: ast.expr, scope: dict[str, Any]) -> float:
    """Value of a literal or a named constant, perhaps with a sign; 0 for anything else."""
    if isinstance(node, ast.UnaryOp):
        return -_constant(node.operand, scope)
    value = node.value if isinstance(node, ast.Constant) else scope.get(node.id) if isinstance(node, ast.Name) else 0
    return float(value) if isinstance(value, float) else 0.0


def jumps(subject: Subject) -> Array:
    """Where exp(x), exp(2 x), exp(-x**2 / 2) and, with a parameter, exp(p x) change their multiple of ln 2."""
    halfway = (np.arange(1080) + 0.5) * np.log(2)
    scales = [1.0, 2.0, *(abs(p) for p in subject.params if p and abs(p) != 1)]
    places = np.concatenate([*(halfway / scale for scale in scales), np.sqrt(2 * halfway)])
    return np.concatenate([places, -places])


def _steps(places: Array, count: int) -> Array:
    """The places and their neighbours in steps of one ULP."""
    return _number(np.add.outer(_ordered(places), np.arange(-count, count + 1)).ravel())


def _approaches(places: Array, count: int, random: np.random.Generator) -> Array:
    """Numbers at random distances of 2**5 to 2**53 ULP, either way."""
    distances = 2.0 ** random.uniform(5, 53, (len(places), count)) * random.choice([-1.0, 1.0], (len(places), count))
    return _number(_ordered(places)[:, None] + distances.astype(np.int64)).ravel()


def _random(count: int, low: float, high: float, random: np.random.Generator) -> Array:
    """By the logarithm: over all magnitudes, and over those at which something happens; and linearly."""
    third = count // 3 + 1
    all_magnitudes = 2.0 ** random.uniform(np.log2(_INFO.smallest_subnormal), np.log2(_INFO.max), third)
    middling = 2.0 ** random.uniform(-30, 10, third)
    linear = random.uniform(max(low, -40.0), min(high, 40.0), third)
    signs = random.choice([-1.0, 1.0], (2, third))
    return np.concatenate([all_magnitudes * signs[0], middling * signs[1], linear])


def points(subject: Subject, count: int) -> Array:
    """At least ``count`` numbers, sorted, each once; fewer of the dense ones if ``count`` is small."""
    row, random = BY_NAME[subject.row], random_of(subject)
    low, high = -np.inf, np.inf
    places = [0.0, *row.interesting, *changes(subject), *decisions(subject)]
    if subject.kind == "gradient_from_output":
        low, high = definitions.output_range(row, subject.params)
        places = [0.0, *(end for end in (low, high) if np.isfinite(end)), *decisions(subject)]
    dense = np.unique([place for place in places if np.isfinite(place)])
    powers = 2.0 ** np.arange(-1074, 1024)
    # a small choice keeps the proportions: no more than a third at places, a third at powers and jumps
    share = min(1.0, count / 100_000)
    parts = [
        _steps(dense, max(1, int(share * STEPS))),
        _approaches(dense, max(1, int(share * APPROACHES)), random),
        random.permutation(_steps(np.concatenate([powers, -powers, jumps(subject)]), 1))[: count // 3],
        np.array([-_INFO.max, _INFO.max, -_INFO.tiny, _INFO.tiny]),
    ]

    def inside(numbers: Array) -> Array:
        return np.unique(numbers[np.isfinite(numbers) & (numbers >= low) & (numbers <= high)])

    chosen = inside(np.concatenate(parts))
    while len(chosen) < count:
        with np.errstate(over="ignore"):
            chosen = inside(np.concatenate([chosen, _random(count - len(chosen), low, high, random)]))
    return chosen
