"""What ``fastact tune`` does, in which order, and that it ends in time.

First from how many bytes on streaming pays, then the costs of the compiled kernels, then how much work it takes for
threads to pay, then the thresholds that follow, each tried against the default.  What time is left goes to Numba, the
most used functions first: its compiler takes most of a minute for all of them.  What was not reached keeps the
defaults, and the table says so.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import _core, costs, dispatch, streaming, threads, tuned
from ..backends import cython_kernels, numba_kernels
from . import choices, measuring, storage, tables
from .measuring import Measuring, Subject

#: Rounds for a cost; its minimum counts.
_COST_ROUNDS = 60
#: What a compilation may take more than the longest before it.
_LONGER = 1.5
#: Functions of middling cost show from which work on threads pay: at the thresholds their arrays fit the L1 and L2
#: caches, and the call itself takes less than a twentieth.  The median of what is measured, and its neighbour.
_PROBES = 2
#: Seconds that one size of arrays, the largest, takes to try streaming on.
_STREAMING_SECONDS = 4


_ONE_THREAD = "one thread is used"
_NO_GAIN = "no work was found from which two threads are faster than one, as on a busy machine"


class Result(NamedTuple):
    """What is known of one function and dtype in the end."""

    compiled_ns: float
    threshold: choices.Threshold
    numba_ns: float | None = None
    numba: bool = False

    def as_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "compiled_ns": _rounded(self.compiled_ns),
            "numba_ns": None if self.numba_ns is None else _rounded(self.numba_ns),
            "parallel_from": self.threshold.elements,
            "backend": "numba" if self.numba else "cython",
        }


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")


class Deadline:
    """How much time is left."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._end = self._started + seconds

    def left(self) -> float:
        """Seconds, negative when it is over."""
        return self._end - self._clock()

    def spent(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started


def tune(subjects: list[Subject], with_numba: bool, measured: Any, deadline: Deadline) -> dict[Subject, Result]:
    """Measure and choose; subjects that there was no time for are missing."""
    found: dict[Subject, float] = {}
    # the compiled kernels' thresholds must not take Numba's time: 60 % is more than they need on one slow core
    end = deadline.left() * 0.4 if with_numba else 0.0
    with measuring.restored():
        for subject in subjects:
            if deadline.left() < end:
                break
            found[subject] = measured.cost(subject, "cython", _COST_ROUNDS)
        even, unknown = None, _ONE_THREAD
        if threads.get_num_threads() > 1 and found:
            unknown = _NO_GAIN
            by_cost = sorted(found.items(), key=lambda item: item[1])
            middle = max(0, (len(by_cost) - _PROBES) // 2)
            even = choices.break_even(measured, by_cost[middle : middle + _PROBES])
        results = {}
        for subject, cost in found.items():
            chosen = choices.Threshold(None, unknown if even is None else "no time was left")
            if even is not None and deadline.left() >= end:
                chosen = choices.threshold(measured, subject, cost, even)
            results[subject] = Result(cost, chosen)
        if with_numba:
            _try_numba(results, measured, deadline)
    return results


def tune_streaming(subjects: list[Subject], measured: Any, deadline: Deadline) -> choices.StreamFrom:
    """Measure and choose from how many bytes outputs are streamed, by the cheapest and the dearest of what waits."""
    singles = [s for s in subjects if s.dtype == "float32" and not s.function.operand_names]
    waiting = [s for s in singles if s.function.streams_on[dispatch.DTYPES.index(s.dtype)] == 1]
    waiting.sort(key=lambda subject: costs.per_element(subject.function.name, subject.loop, subject.dtype)[0])
    if not waiting or not _core.can_stream():
        return choices.StreamFrom(None, "no function that waits for memory was measured")
    default, _ = streaming.shipped_stream_from()
    with measuring.restored():
        return choices.stream_from(
            measured, [waiting[0], waiting[-1]], default, lambda: deadline.left() > _STREAMING_SECONDS
        )


def _try_numba(results: dict[Subject, Result], measured: Any, deadline: Deadline) -> None:
    """Compile and compare, as long as what the longest took is left."""
    longest = 0.0
    for subject, result in results.items():
        if cython_kernels.looks_up(subject.loop, subject.dtype):
            # Numba has the formula, with other bits: it may not serve
            continue
        started = deadline.spent()
        if deadline.left() < longest * _LONGER:
            return
        if not dispatch.supply(subject.function, subject.dtype, "numba"):
            return
        cost = measured.cost(subject, "numba", _COST_ROUNDS)
        wins = cost < result.compiled_ns and choices.numba_wins(measured, subject)
        results[subject] = result._replace(numba_ns=cost, numba=wins)
        longest = max(longest, deadline.spent() - started)


def _why_not(with_numba: bool) -> str | None:
    """Why nothing can be measured."""
    reason = dispatch.why_unavailable("cython")
    if reason:
        return f"there are no compiled kernels to tune: {reason}"
    return dispatch.why_unavailable("numba") if with_numba else None


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, store; or show or remove what is stored."""
    try:
        if arguments.show:
            return _show()
        if arguments.remove:
            gone = storage.remove()
            print(f"removed {storage.path()}" if gone else f"there is no {storage.path()}")
            return 0
        with storage.alone():
            return _tune(arguments)
    except (storage.Busy, OSError) as error:
        print(f"fastact tune: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastact tune: interrupted; nothing was stored", file=sys.stderr)
        return 130


def _show() -> int:
    try:
        table = storage.read()
    except tuned.Alien as error:
        print(f"fastact tune: {error}", file=sys.stderr)
        return 2
    if table is None:
        print(f"there is no {storage.path()}")
    else:
        tables.print_table(table, str(storage.path()))
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    reason = _why_not(False)
    if reason:
        print(f"fastact tune: {reason}", file=sys.stderr)
        return 2
    names = arguments.functions or dispatch.FUNCTIONS
    subjects = measuring.in_order([dispatch.FUNCTIONS[name] for name in dict.fromkeys(names)])
    without = "--no-numba" if arguments.no_numba else _why_not(True)
    deadline = Deadline(arguments.seconds)
    print(f"measuring {cython_kernels.instruction_set()} kernels, at most {arguments.seconds} s", file=sys.stderr)
    stream_from = tune_streaming(subjects, Measuring(), deadline)
    results = tune(subjects, without is None, Measuring(), deadline)
    functions: dict[str, dict[str, Any]] = {}
    for subject, result in results.items():
        functions.setdefault(subject.function.name, {})[subject.dtype] = result.as_json()
    stored = storage.write(
        {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "numba": numba_kernels.version_imported(),
            "seconds": round(deadline.spent(), 1),
            "threads": threads.get_num_threads(),
            "stream_from": stream_from.n_bytes,
            "functions": functions,
        }
    )
    table = storage.read()
    if table is not None:
        tables.print_table(table, str(stored))
    print(f"streaming: {stream_from.reason}")
    tables.print_notes({str(subject): result.threshold.reason for subject, result in results.items()})
    compared = sum(result.numba_ns is not None for result in results.values())
    print(f"{len(results)} of {len(subjects)} measured, {compared} with Numba{f' ({without})' if without else ''}; "
          f"{deadline.spent():.0f} s")  # fmt: skip
    return 0
