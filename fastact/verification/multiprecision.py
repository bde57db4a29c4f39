"""float64 measured against mpmath and MPFR: every function, on every instruction set and Numba, and ``reference.py``.

``python -m fastact.verification.multiprecision [names] [--points 100000] [--processes 2] [--json FILE]`` measures all
functions, prints a line for each, and ends with status 1 if a limit of the catalogue is exceeded.  It needs mpmath and
gmpy2 (``pip install "fastact[verify]"``).

The truth (``true_values.py``) costs a thousand times what a kernel does and is evaluated by worker processes, which
never see a kernel; the kernels run here, through the public functions, one instruction set after the other.  Some
points of each are evaluated once more by mpmath, gradients as numerical derivatives of the definition.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core, dispatch, reference, threads
from ..backends import cython_kernels, numba_kernels
from ..catalogue import ALIASES, BY_NAME, DIRECTIONS, Activation
from . import definitions
from .points import points as choose_points
from .points import random_of
from .true_values import Array, Subject, Truth, check, true_values, true_values_by

#: What can be measured: instruction sets, Numba, and the reference, which is measured like a kernel.
TARGETS = (*reversed(cython_kernels.INSTRUCTION_SETS), "numba", "reference")
#: Points for the default parameters; for each value that is tried besides, a tenth of them.
POINTS = 100_000
#: How many of them mpmath evaluates once more.
CHECKED = 64
#: The reference must be this good, in ULP, half of which is the last rounding: it is the truth of all other sweeps.  On
#: a million points it is within 0.548 (gelu and its gradient) and 0.51 (all others).
REFERENCE_LIMIT = 0.6
#: Significant bits, exponent of the smallest subnormal, and of the power of two that follows the largest number.
_DIGITS, _LOWEST, _TOP = 53, -1074, 1024
_SUFFIX = dict(zip(DIRECTIONS, ("", "_gradient", "_gradient_from_output"), strict=True))

Progress = Callable[[str, int, int], object]


def ulp_error(result: Array, truth: Truth) -> Array:
    """Distance of each float64 from the truth in ULP of the truth, which are at least the smallest subnormal.

    Infinity is right where the truth rounds to it; NaN and every other infinity are infinitely far.  The sign of zero
    does not count.  (tests/golden has the same for its tables and must not import this; a test compares both.)
    """
    hi, lo, exponent = truth
    with np.errstate(all="ignore"):
        difference = (np.ldexp(result, -exponent) - hi) - lo
        error = np.ldexp(np.abs(difference), exponent - np.maximum(exponent - _DIGITS, _LOWEST))
    error = np.where(np.isnan(error), np.inf, error)
    # from half an ULP beyond the largest number on
    beyond = 1 - np.abs(hi) <= 2.0 ** -(_DIGITS + 1) + lo * np.sign(hi)
    overflows = (exponent > _TOP) | ((exponent == _TOP) & beyond)
    return np.where(overflows & (result == np.copysign(np.inf, hi)), 0.0, error)


def available() -> tuple[str, ...]:
    """The targets that this machine runs."""

    def runs(level: str) -> bool:
        try:
            cython_kernels.kernels_of(level)
        except (ImportError, RuntimeError):
            return False
        return True

    levels = [level for level in TARGETS if level in cython_kernels.INSTRUCTION_SETS and runs(level)]
    return (*levels, *(["numba"] if dispatch.why_unavailable("numba") is None else []), "reference")


@contextmanager
def _served_by(function: _core.ElementwiseFunction, target: str) -> Iterator[None]:
    """Let a target's float64 kernel serve a function, on this thread alone; afterwards what served before does."""
    precision, number = dispatch.DTYPES.index("float64"), dispatch.BACKENDS.index("cython")
    before = function.serving(precision)
    if target == "numba":
        number = dispatch.BACKENDS.index("numba")
        address = numba_kernels.kernel(f"{function.row.name}_{function.direction}", "float64")
        function.supply(number, precision, address, numba_kernels.DISTINCT)
    else:
        dispatch.supply_compiled(function, "float64", target)
    function.activate(number, precision)
    try:
        with threads.num_threads(1):
            yield
    finally:
        if target != "numba":
            dispatch.supply_compiled(function, "float64")
        function.activate(before if before >= 0 else number, precision)


def results(function: _core.ElementwiseFunction, target: str, x: Array, params: Sequence[float]) -> Array:
    """What a target gives at these points; gradients are those of a gradient of ones."""
    if target == "reference":
        expression = getattr(reference, function.row.name + _SUFFIX[function.direction])
        return np.asarray(expression(x, *params))
    with _served_by(function, target):
        arrays = (x,) if function.direction == "forward" else (np.ones_like(x), x)
        found = function(*arrays, *params)
    # prelu's gradient comes with that of its weight
    return np.asarray(found[0] if isinstance(found, tuple) else found)


def limit_of(row: Activation, direction: str) -> float:
    """The largest error that the catalogue allows; a gradient from the output is the looser of both kinds."""
    limits = [row.ulp] if direction == "forward" else [row.ulp_gradient]
    if direction == "backward_from_output":
        limits.append(row.ulp)
    return max(float(limit.float64) for limit in limits)


def steps_between(a: Array, b: Array) -> int:
    """The most float64 numbers that lie between two results, plus one; 0 if all are the same, zeros of either sign."""
    # as Python integers: the whole line is longer than an int64 counts
    one, other = (np.where((v := r.view(np.int64)) < 0, np.int64(-(2**63)) - v, v) for r in (a, b))
    differs = np.flatnonzero((one != other) & ~(np.isnan(a) & np.isnan(b)))
    return max((abs(int(one[k]) - int(other[k])) for k in differs), default=0)


def _figures(got: Array, x: Array, truth: Truth) -> dict[str, Any]:
    error = ulp_error(got, truth)
    place = int(np.argmax(error))
    one_nan = np.where(np.isnan(got), np.nan, got)
    return {
        "digest": hashlib.blake2b(one_nan.astype("<f8").tobytes(), digest_size=16).hexdigest(),
        "ulp": float(error[place]),
        "at": [str(float(x[place])), float(x[place]).hex()],
        "result": float(got[place]).hex(),
        # a tie may be rounded either way
        "not_rounded": int((error > 0.5).sum()),
    }


def _measure_subject(
    function: _core.ElementwiseFunction,
    subject: Subject,
    targets: Sequence[str],
    count: int,
    executor: Executor | None,
    note: Callable[[int], object],
) -> dict[str, Any]:
    row, x = function.row, choose_points(subject, count)
    if executor:
        truth = true_values_by(executor, subject, x, note)
    else:
        truth = true_values(subject, x)
        note(len(x))
    check(subject, x, truth, random_of(subject), min(CHECKED, 1 + len(x) // 20))
    limit = limit_of(row, function.direction)
    given = {target: results(function, target, x, subject.params) for target in targets}
    figures = {target: _figures(got, x, truth) for target, got in given.items()}
    kernels = [target for target in targets if target != "reference"]
    return {
        "function": function.name,
        "parameters": dict(zip((p.name for p in row.parameters), subject.params, strict=True)),
        "dtype": "float64",
        "points": len(x),
        "limit": limit,
        "targets": figures,
        "differences": {f"{a} {b}": steps_between(given[a], given[b]) for a, b in itertools.combinations(kernels, 2)},
        "failures": [
            f"{target}: {one['ulp']:.2f} ULP at {' = '.join(one['at'])}; the limit is {allowed:g}"
            for target, one in figures.items()
            for allowed in [REFERENCE_LIMIT if target == "reference" else limit]
            if not one["ulp"] <= allowed
        ],
    }


@contextmanager
def workers(processes: int | None) -> Iterator[Executor | None]:
    """Processes for the truth: spawned, as a fork would copy the locks of threads; none for one process."""
    count = len(os.sched_getaffinity(0)) if processes is None and hasattr(os, "sched_getaffinity") else processes or 1
    if count == 1:
        yield None
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def measure(
    function_name: str,
    targets: Sequence[str] | None = None,
    points: int = POINTS,
    processes: int | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Measure a function in float64: one record for the default parameters, one for each value that is tried.

    Parameters
    ----------
    function_name : str
        A public function: ``"gelu"``, ``"elu_backward"`` ...
    targets : sequence of str, optional
        Some of TARGETS; all that run here by default.
    points : int
        Inputs for the default parameters, at least; a tenth of it for each tried value.
    processes : int, optional
        Worker processes for the truth; one for each CPU by default, and 1 is this process.
    progress : callable, optional
        Called with the function's name, the points that are finished and all points.
    executor : Executor, optional
        Workers that are there already, instead of ``processes``.

    Returns
    -------
    list of dict
        ``function``, ``parameters``, ``dtype``, ``points``, ``limit``, ``failures`` (sentences), ``differences``
        between kernels, and under ``targets`` for each its largest error ``ulp``, the input ``at`` (decimal and
        hexadecimal), the ``result`` there, how many results are ``not_rounded`` to nearest, and a ``digest`` of all.

    Raises
    ------
    ValueError
        If a name is none of ours, or a target does not run here.
    ArithmeticError
        If mpmath disagrees with the truth.
    """
    function = dispatch.find(function_name)
    chosen = available() if targets is None else tuple(targets)
    for target in chosen:
        if target not in available():
            raise ValueError(f"targets: got {target!r}; this machine runs: {', '.join(available())}")
    kind = definitions.KINDS[DIRECTIONS.index(function.direction)]
    sets = list(definitions.parameter_sets(function.row, kind, np.dtype(np.float64)))
    counts = [points, *[max(1, points // 10)] * (len(sets) - 1)]
    finished = 0

    def note(count: int) -> None:
        nonlocal finished
        finished += count
        if progress:
            progress(function.name, min(finished, sum(counts)), sum(counts))

    with workers(1 if executor else processes) as own:
        return [
            _measure_subject(function, Subject(function.row.name, kind, params), chosen, count, executor or own, note)
            for params, count in zip(sets, counts, strict=True)
        ]


def functions_named(names: Sequence[str]) -> list[_core.ElementwiseFunction]:
    """Functions by name, activations standing for all of theirs; every function without a name."""
    rows = {ALIASES.get(name, name) for name in names} & set(BY_NAME)
    chosen = {dispatch.find(name).name for name in names if ALIASES.get(name, name) not in rows}
    functions = dispatch.FUNCTIONS.values()
    return [f for f in functions if not names or f.row.name in rows or f.name in chosen]


def line(record: dict[str, Any]) -> str:
    """One record for people."""
    parameters = ", ".join(f"{name}={value:g}" for name, value in record["parameters"].items())
    figures = "  ".join(f"{name} {one['ulp']:.3f}" for name, one in record["targets"].items())
    return f"{record['function'] + (f'({parameters})' if parameters else ''):46} {record['points']:7}  {figures}"


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="functions, or activations for all of theirs; everything by default")
    parser.add_argument("--points", type=int, default=POINTS, help=f"for the default parameters; {POINTS} by default")
    parser.add_argument("--processes", type=int, help="for the truth; one for each CPU by default")
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be repeated; all by default")
    parser.add_argument("--json", type=Path, help="a file for the records")
    arguments = parser.parse_args(words)
    try:
        functions = functions_named(arguments.names)
    except ValueError as error:
        parser.error(str(error))
    records: list[dict[str, Any]] = []
    with workers(arguments.processes) as executor:
        for function in functions:
            found = measure(function.name, arguments.target, arguments.points, 1, None, executor)
            print(*map(line, found), sep="\n", flush=True)
            records += found
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    failures = [f"{record['function']} {record['parameters']} {f}" for record in records for f in record["failures"]]
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
