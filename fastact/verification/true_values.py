"""The truth about many points, fast: the catalogue's expressions evaluated by MPFR, to 110 bits and checked.

mpmath takes a millisecond for a point, MPFR through gmpy2 some microseconds.  An expression is evaluated with more and
more bits until two results agree, so a cancellation costs time and nothing else.  What MPFR's exponents cannot hold
(exp(1e300)) is left to mpmath, whose exponents are without bound.

It evaluates the same text as ``definitions.py``: for gradients the row's ``derivative``, which ``disagreements``
compares with the numerical derivative of the definition, by mpmath.  A text that contains its own mistake in a way that
neither more bits nor the derivative shows cannot be found here.

Must not know what is measured: nothing of kernels and of ``reference.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, NamedTuple

import gmpy2
import numpy as np
from mpmath import mp, mpf

from ..catalogue import BY_NAME
from . import definitions

Array = np.ndarray[Any, Any]

#: Bits of the evaluations, one after the other.
PRECISIONS = (140, 220, 440, 880, 2600, 4000)
#: Two results agree if their difference is this many bits below them: hi and lo have 106.
AGREEMENT = 110
#: Points that a process works on at once.
CHUNK = 1000


class Subject(NamedTuple):
    """What the truth is asked about, in words that another process understands."""

    row: str
    kind: str
    params: tuple[float, ...]


class Truth(NamedTuple):
    """True values (hi + lo) * 2**exponent, hi in [0.5, 1) or 0: also one below all subnormals is exact."""

    hi: Array
    lo: Array
    exponent: Array

    def rounded(self) -> Array:
        """The nearest float64, but for a second rounding of subnormal ones."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.hi, self.exponent)


def scope_of(params: dict[str, float], bits: int) -> dict[str, Any]:
    """What an expression may use, for a context of this precision."""
    scope: dict[str, Any] = {name: getattr(gmpy2, name) for name in definitions.FUNCTIONS}
    scope.update(mpf=gmpy2.mpfr, pi=gmpy2.const_pi(bits), abs=abs, min=min, max=max, inf=gmpy2.inf(), __builtins__={})
    scope.update({name: gmpy2.mpfr(value) for name, value in params.items()})
    return scope


@functools.lru_cache(maxsize=16)
def evaluations(subject: Subject) -> tuple[Callable[[float], Any], ...]:
    """The subject's expression as one function for each of PRECISIONS."""
    row = BY_NAME[subject.row]
    text, variable = definitions.text_of(row, subject.kind)
    code = compile(text, f"<{row.name}>", "eval")
    params = dict(zip((p.name for p in row.parameters), subject.params, strict=True))

    def evaluation(bits: int) -> Callable[[float], Any]:
        context = gmpy2.context(precision=bits, emax=gmpy2.get_emax_max(), emin=gmpy2.get_emin_min())
        with gmpy2.context(context):
            scope = scope_of(params, bits)

        def evaluate(x: float) -> Any:
            gmpy2.set_context(context)
            scope[variable] = gmpy2.mpfr(x)
            return gmpy2.mpfr(eval(code, scope))

        return evaluate

    return tuple(evaluation(bits) for bits in PRECISIONS)


def _agree(first: Any, second: Any) -> bool:
    difference = first - second
    return bool(difference == 0 or gmpy2.get_exp(difference) < gmpy2.get_exp(second) - AGREEMENT)


def _vanished(value: Any) -> bool:
    return bool(value == 0 or gmpy2.get_exp(value) < definitions.VANISHED)


def _scaled(value: Any) -> tuple[float, float, int]:
    """As ``definitions.scaled``, of an mpfr."""
    exponent, mantissa = gmpy2.frexp(value)
    hi = float(mantissa)
    if abs(hi) == 1:
        hi, mantissa, exponent = hi / 2, mantissa / 2, exponent + 1
    return hi, float(mantissa - hi), int(exponent)


def by_mpmath(subject: Subject, x: float) -> tuple[float, float, int]:
    """The same, where an exponent of MPFR is not enough."""
    row = BY_NAME[subject.row]
    f = definitions.expression(*definitions.text_of(row, subject.kind), row, subject.params)
    previous = None
    for bits in PRECISIONS:
        with mp.workprec(bits):
            value = f(mpf(x))
            # two zeros may be two times that all digits cancelled
            near = previous is not None and abs(value - previous) <= mp.ldexp(abs(value), -AGREEMENT)
            if near and (value or bits == PRECISIONS[-1]):
                return definitions.scaled(value)
            previous = value
    raise ArithmeticError(f"{subject}: {PRECISIONS[-1]} bits are not enough at x = {x!r}")


def true_value(subject: Subject, x: float) -> tuple[float, float, int]:
    """(hi, lo, exponent) of one true value."""
    evaluate = evaluations(subject)
    previous = None
    for evaluation in evaluate:
        value = evaluation(x)
        if not gmpy2.is_finite(value):
            break
        if value == 0:
            # or all digits have cancelled; what so many bits do not show either is below everything that counts
            if evaluate[-1](x) == 0:
                return 0.0, 0.0, -1074
            break
        if previous is not None:
            if _vanished(previous) and _vanished(value):
                return 0.0, 0.0, -1074
            if _agree(previous, value):
                return _scaled(value)
        previous = value
    return by_mpmath(subject, x)


@contextmanager
def _kept_context() -> Iterator[None]:
    """The caller may be using gmpy2 as well."""
    context = gmpy2.get_context()
    try:
        yield
    finally:
        gmpy2.set_context(context)


def true_values(subject: Subject, x: Array) -> Truth:
    """The truth at many points, in this process."""
    with _kept_context():
        values = [true_value(subject, float(point)) for point in x]
    hi, lo, exponent = np.array(values, np.float64).reshape(len(values), 3).T
    return Truth(hi, lo, exponent.astype(np.int32))


def true_values_by(
    executor: Executor, subject: Subject, x: Array, note_finished: Callable[[int], object] | None = None
) -> Truth:
    """The truth at many points, by the processes of an executor; tells how many points each finished piece had."""
    pieces = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
    found = []
    for piece, truth in zip(pieces, executor.map(true_values, [subject] * len(pieces), pieces), strict=True):
        found.append(truth)
        if note_finished:
            note_finished(len(piece))
    return Truth(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def disagreements(subject: Subject, x: Array, truth: Truth) -> Iterator[float]:
    """Where mpmath, by the definition and its numerical derivative, finds something else."""
    f = definitions.truth(BY_NAME[subject.row], subject.kind, subject.params)
    for point, hi, lo, exponent in zip(x, *truth, strict=True):
        # numbers of 53 bits each: their sum is exact with so many digits
        with mp.workdps(60):
            again = definitions.scaled(f(mpf(float(point))))
            difference = mp.ldexp(mpf(hi) + mpf(lo), int(exponent)) - mp.ldexp(mpf(again[0]) + mpf(again[1]), again[2])
            if abs(difference) > mp.ldexp(1, max(int(exponent), definitions.VANISHED) - 100):
                yield float(point)


def check(subject: Subject, x: Array, truth: Truth, random: np.random.Generator, count: int) -> None:
    """ArithmeticError if mpmath disagrees at one of ``count`` points chosen at random."""
    chosen = random.choice(len(x), min(len(x), count), replace=False)
    wrong = list(disagreements(subject, x[chosen], Truth(*(part[chosen] for part in truth))))
    if wrong:
        raise ArithmeticError(f"{subject}: MPFR and mpmath disagree at x = {', '.join(map(repr, wrong))}")
