"""What follows from the measurements of ``fastact tune``, and whether it is any better than what was there.

Every choice is tried against the default in alternating rounds before it is stored, at sizes where the two differ, and
dropped where it is slower by more than noise.  So a tuned table is never slower than none, as far as can be measured.
The clock is elsewhere (``measuring.py``): here a measurement is a number that was handed in.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import costs
from .measuring import NEVER, Measuring, Setting, Subject

#: Noise: what the minima and the medians of two equal settings differ by on a busy machine with two cores, at most,
#: over so many alternating rounds.
MARGIN = 0.05
ROUNDS = 60
#: With threads, where a round takes 6 ms.
ROUNDS_IN_A_ROW = 16
#: A threshold so near the default's is the default's: the time of a call changes by less than can be measured.
_NEAR = 0.15
#: Work, in ns, at which one thread and two are compared.
_WORK_NS = (1250.0, 1750.0, 2500.0, 3500.0, 5000.0, 7000.0, 10_000.0, 20_000.0, 40_000.0, 80_000.0, 160_000.0)
_TRIES = 5
#: Threads are used sooner than by default only from so many times the work that is found in a row of calls, because
#: isolated calls pay for nothing: as 5 us are to 3 in costs.py.
_ISOLATED_FACTOR = 5 / 3
#: Numba must be so much faster at one of these sizes, and at none of them slower by more than noise.
_NUMBA_GAIN = 0.05
_NUMBA_SIZES = (512, 4096, 32_768)
#: Bytes that a call moves where streaming is tried, from the most on: arrays of 64 MiB, beyond nearly all caches.
_STREAMED_BYTES = tuple(2**k for k in range(27, 20, -1))
_ROUNDS_STREAMED = 6


class Threshold(NamedTuple):
    """Elements from which threads are used, or None for the default, and why."""

    elements: int | None
    reason: str


class StreamFrom(NamedTuple):
    """Bytes of a call from which outputs are streamed, or None for the default, and why."""

    n_bytes: int | None
    reason: str


class BreakEven(NamedTuple):
    """Work of one thread, in ns: from where on two were faster, and the most at which they were not (0: none)."""

    pays_from: float
    not_at: float


def is_as_fast(new: Sequence[float], old: Sequence[float], margin: float = MARGIN) -> bool:
    """Whether new takes no more time than old and the margin, by the minimum and by the median.

    The minimum alone would not see a setting that is fast now and then, the median alone is moved by other processes.
    """
    return all(which(new) <= which(old) * (1 + margin) for which in (min, statistics.median))


def pays(together: Sequence[float], alone: Sequence[float]) -> bool:
    """Whether two threads are worth it: in the best case faster by more than noise, and in most cases not slower.

    Not by the median alone: where another process has the second core, a call is as fast as on one thread, by design
    (src_cy/pool.h), and so is the median; that says nothing about the same machine an hour later.
    """
    gains = min(together) <= min(alone) * (1 - MARGIN)
    return gains and statistics.median(together) <= statistics.median(alone) * (1 + MARGIN)


def break_even(measured: Measuring, probes: Sequence[tuple[Subject, float]]) -> BreakEven | None:
    """From how much work on two threads pay, by probes: functions with their costs.  None if they never did.

    They pay from some work on if they do there and for all larger ones.  The most cautious of the probes counts, for
    using threads sooner as for using them later.
    """
    found = []
    for subject, cost in probes:
        pays_from, not_at = None, 0.0
        for work in reversed(_WORK_NS):
            size = max(2 * costs.FEWEST_PARALLEL, int(work / cost))
            # a job of one threshold wakes no sleeping worker; larger ones are tried as many, as by the default
            settings = Setting("cython"), Setting("cython", min(size, costs.parallel_from(cost)))
            # at the largest again and again, because it takes the system a while to put workers on cores of their own
            for _ in range(_TRIES if pays_from is None else 1):
                alone, together = measured.samples(subject, size, settings, ROUNDS_IN_A_ROW, in_a_row=True)
                if pays(together, alone):
                    break
            else:
                not_at = work
                break
            pays_from = work
        if pays_from is None:
            return None
        found.append(BreakEven(pays_from, not_at))
    return BreakEven(max(e.pays_from for e in found), min(e.not_at for e in found)) if found else None


def threshold(measured: Measuring, subject: Subject, cost: float, even: BreakEven) -> Threshold:
    """The threshold that follows from a cost, if it is another one than the default's and no slower."""
    default, _ = costs.threshold(subject.function.name, subject.loop, subject.dtype)
    lowered = costs.parallel_from(cost, even.pays_from * _ISOLATED_FACTOR)
    raised = costs.parallel_from(cost, max(even.not_at, 1.0))
    if lowered < default * (1 - _NEAR):
        tuned = lowered
    elif raised > default * (1 + _NEAR):
        tuned = raised
    else:
        return Threshold(None, "as the default")
    low, high = sorted((tuned, default))
    settings = Setting("cython", tuned), Setting("cython", default)
    # between them one setting uses threads and the other does not, which is worst at one of the ends; above, chunks
    # differ
    for size in (low, int((low * high) ** 0.5), high - 1, 2 * high):
        new, old = measured.samples(subject, size, settings, ROUNDS_IN_A_ROW, in_a_row=True)
        if not is_as_fast(new, old):
            return Threshold(None, f"{tuned} was slower than {default} at {size} elements")
    return Threshold(tuned, f"instead of {default}")


def stream_from(
    measured: Measuring, probes: Sequence[Subject], default: int, is_time_left: Callable[[], bool]
) -> StreamFrom:
    """From how many bytes on streaming pays, by probes that wait for memory, if that is not the default.

    It pays from some size on if it does there and at all larger ones, on one thread and on all, for a call alone and
    with a reader of its output.  Sizes go by factors of two, so a default between two of them stays.
    """
    pays_from = None
    for n_bytes in _STREAMED_BYTES:
        if not is_time_left():
            return StreamFrom(None, "no time was left")
        for subject, parallel_from, read in itertools.product(probes, (NEVER, costs.FEWEST_PARALLEL), (False, True)):
            settings = [Setting("cython", parallel_from, bound) for bound in (1, NEVER)]
            size = n_bytes // subject.bytes_moved
            streamed, ordinary = measured.samples(subject, size, settings, _ROUNDS_STREAMED, True, read=read)
            if not pays(streamed, ordinary):
                break
        else:
            pays_from = n_bytes
            continue
        break
    if pays_from is None:
        return StreamFrom(None, f"streaming did not pay at {_STREAMED_BYTES[0]} bytes")
    if pays_from // 2 < default < 2 * pays_from:
        return StreamFrom(None, "as the default")
    return StreamFrom(pays_from, f"instead of {default}")


def numba_wins(measured: Measuring, subject: Subject) -> bool:
    """Whether Numba's kernel is faster than the compiled one at some size, and at none slower, on one thread.

    In place as well: there Numba's kernels go through a block buffer (backends/numba_kernels.py), and the compiled
    ones do not.
    """
    faster = False
    for size, in_place in itertools.product(_NUMBA_SIZES, (False, True)):
        settings = Setting("numba"), Setting("cython")
        numba, compiled = measured.samples(subject, size, settings, ROUNDS, in_place=in_place)
        if not is_as_fast(numba, compiled):
            return False
        faster = faster or is_as_fast(numba, compiled, -_NUMBA_GAIN)
    return faster
