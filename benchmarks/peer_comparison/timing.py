"""How the contenders of a cell are timed: alternating rounds within a budget, in which the slowest soon stop.

All contenders take turns in one process, in the opposite order in every other round, and the minimum counts: noise only
ever adds.  Who is far behind the best peer cannot become the best peer any more and costs most of the time, so it is
dropped, with the figure that it has.  Ours, the memory traffic and, but for the largest arrays, PyTorch stay.

Workers of PyTorch and ONNX Runtime spin for 7 and 24 ms after their last call (measured: process time after a call on
two threads), in which they take a core from whoever comes next.  So with several threads each turn waits until the
process is idle, and then the contender is called for a while before the clock starts: what is compared is a row of
calls, in which the threads of all of them are awake, not the first ones after a rest.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from pathlib import Path
from typing import NamedTuple

_TASKS = Path("/proc/self/task")

#: Times the best peer's time at which a peer is dropped: after the warm-up, whose figures are rough, and after
#: FEWEST_ROUNDS_OF_ALL rounds.  Both leave room for what a busy machine does to a first figure.
DROPPED_AFTER_WARM_UP, DROPPED_AFTER_ROUNDS = 4.0, 2.0
FEWEST_ROUNDS_OF_ALL = 2
FEWEST_ROUNDS, MOST_ROUNDS = 5, 100
#: From so many elements on a call takes tens of ms, and nothing about it is settled by a call before it: the warm-up is
#: one call and the first of so few rounds, and after it only the best two peers go on, and who is as close as this.
LARGE, ROUNDS_LARGE, CLOSE = 2**25, 3, 1.3
#: How often it is asked whether the process is idle, and at most how long, in seconds.
_ASKED, _LONGEST_WAIT = 0.0005, 0.06
#: An idle process uses less than this share of a core; where threads cannot be asked one by one.
_IDLE = 0.2
#: How long a contender is called before its sample where threads take part, in ns: it takes some calls to wake them.
_LEAD = 400_000
_NO_PEERS = ("fastact", "memory")
#: What the page compares with by name keeps its rounds where they are cheap, however far behind it is.
_KEPT = ("torch",)


class Figure(NamedTuple):
    """Samples of one contender, in ns per call."""

    minimum: float
    median: float
    rounds: int


def wait_until_idle():
    """Return when no other thread of this process works any more."""
    until = time.perf_counter() + _LONGEST_WAIT
    while time.perf_counter() < until and _others_work():
        pass


def _others_work():
    """Whether another thread of this process works; it takes a moment to say."""
    time.sleep(_ASKED)
    if not _TASKS.is_dir():
        used, started = time.process_time(), time.perf_counter()
        time.sleep(_ASKED)
        return time.process_time() - used >= _IDLE * (time.perf_counter() - started)
    # not by the process's time, which does not count what a running thread has used since the last tick
    own = threading.get_native_id()
    return any(_is_running(task) for task in _TASKS.iterdir() if task.name != str(own))


def _is_running(task):
    with contextlib.suppress(OSError):  # it has ended
        # "12 (name, perhaps with brackets) R ..."
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    return False


def _far_behind(figures, factor):
    """Labels of the peers to drop: those that take more than ``factor`` times as long as the best of them."""
    peers = {label: ns for label, ns in figures.items() if label not in _NO_PEERS}
    best = min(peers.values(), default=0.0)
    return {label for label, ns in peers.items() if ns > factor * best and label not in _KEPT}


def _not_close(figures):
    """Labels of the peers that are neither among the best two nor close to the best one."""
    peers = sorted((ns, label) for label, ns in figures.items() if label not in _NO_PEERS)
    return {label for ns, label in peers[2:] if ns > CLOSE * peers[0][0]}


def _sample(contender, settle, call):
    settle()
    with contender.active():
        return call(contender)


def _in_a_row(contender):
    return contender.sample(_LEAD)


def measure(contenders, size, threads, budget):
    """Figures by label; ``budget`` is what the rounds may take, in seconds, once there are enough."""
    settle = wait_until_idle if threads > 1 else lambda: None
    large = size >= LARGE
    sample = _in_a_row if threads > 1 else type(contenders[0]).sample
    first = {c.label: _sample(c, settle, type(c).sample if large else type(c).warm_up) for c in contenders}
    dropped = _not_close(first) if large else _far_behind(first, DROPPED_AFTER_WARM_UP)
    running = [contender for contender in contenders if contender.label not in dropped]
    # what the warm-up gives is no sample, except where there is none better
    samples = {label: [ns] if large or label in dropped else [] for label, ns in first.items()}
    started = time.perf_counter()
    for k in range(ROUNDS_LARGE - 1 if large else MOST_ROUNDS):
        if k >= FEWEST_ROUNDS and time.perf_counter() - started > budget:
            break
        # the last one of a round is the first one of the next
        for contender in running if (k + large) % 2 == 0 else running[::-1]:
            samples[contender.label].append(_sample(contender, settle, sample))
        if not large and k + 1 == FEWEST_ROUNDS_OF_ALL:
            dropped = _far_behind({c.label: min(samples[c.label]) for c in running}, DROPPED_AFTER_ROUNDS)
            running = [contender for contender in running if contender.label not in dropped]
    return {label: Figure(min(taken), statistics.median(taken), len(taken)) for label, taken in samples.items()}
