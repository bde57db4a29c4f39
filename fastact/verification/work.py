"""Splits sweeps into pieces, has them measured by several processes, and joins what comes back.

Processes and not threads, because most of the time goes into NumPy expressions on short arrays, which hold the GIL.
They are spawned: a forked child of a process with PyTorch or JAX in it may hang.  A piece is short enough (some
seconds) that an interrupt loses little, and the order of pieces is that of the functions, so that they are finished
one after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import NamedTuple, Protocol

from . import digests, peers
from .measuring import Piece, measure
from .numbers import Sweep, format_of
from .subjects import Subject
from .tallies import Measurement, joined

#: A quick sweep visits every so manieth float32 number: a prime, so that no exponent is favoured.
STRIDE = 8209
#: Points of a piece: a power of two of leaves.
PIECE = 2**24


class Store(Protocol):
    """What keeps finished pieces: `progress.Progress`, or nothing at all."""

    def __contains__(self, key: str) -> bool: ...

    def get(self, key: str) -> Measurement:
        """A finished piece."""
        ...

    def add(self, key: str, measurement: Measurement) -> None:
        """Store a piece that has just been finished."""
        ...


class Task(NamedTuple):
    """A function with parameters over a whole sweep."""

    subject: Subject
    dtype: str
    stride: int
    targets: tuple[str, ...]
    peers: tuple[str, ...]

    @property
    def sweep(self) -> Sweep:
        """The numbers it visits."""
        return self.subject.sweep(format_of(self.dtype), self.stride)

    def pieces(self, length: int = PIECE) -> list[Piece]:
        """The pieces that it is made of, in the order of the line."""
        if length < digests.LEAF or length & (length - 1):
            raise ValueError(f"length: got {length}; accepted: a power of two from {digests.LEAF}")
        points = self.sweep.points
        return [
            Piece(self.subject, self.dtype, self.stride, start, min(start + length, points), self.targets, self.peers)
            for start in range(0, points, length)
        ]


def task_of(subject: Subject, dtype: str, stride: int, targets: Sequence[str], with_peers: bool) -> Task:
    """The task of measuring a subject, beside those peers that have it."""
    theirs = peers.of(subject, format_of(dtype)) if with_peers else ()
    return Task(subject, dtype, stride, tuple(targets), theirs)


def measured(
    tasks: Sequence[Task],
    processes: int,
    store: Store | None = None,
    note_finished: Callable[[Piece], None] = lambda piece: None,
    length: int = PIECE,
) -> Iterator[tuple[Task, Measurement]]:
    """Measure the tasks; each comes as soon as its last piece is there."""
    pieces = {task: task.pieces(length) for task in tasks}
    found: dict[Piece, Measurement] = {}
    for piece in (piece for parts in pieces.values() for piece in parts):
        if store is not None and piece.key in store:
            found[piece] = store.get(piece.key)
            note_finished(piece)
    waiting = [piece for parts in pieces.values() for piece in parts if piece not in found]
    left = {task: sum(piece not in found for piece in parts) for task, parts in pieces.items()}
    owners = {piece: task for task, parts in pieces.items() for piece in parts}
    yield from ((task, _join(task, pieces[task], found)) for task in tasks if left[task] == 0)
    for piece, measurement in _finished(waiting, processes):
        if store is not None:
            store.add(piece.key, measurement)
        found[piece] = measurement
        note_finished(piece)
        task = owners[piece]
        left[task] -= 1
        if left[task] == 0:
            yield task, _join(task, pieces[task], found)


def _join(task: Task, pieces: Sequence[Piece], found: dict[Piece, Measurement]) -> Measurement:
    sweep = task.sweep
    placed = [(sweep.first + piece.start * sweep.stride, found.pop(piece)) for piece in pieces]
    whole = joined(placed, task.subject.must_not_fall)
    whole.fold()
    return whole


def _finished(pieces: Sequence[Piece], processes: int) -> Iterator[tuple[Piece, Measurement]]:
    if processes == 1 or len(pieces) < 2:
        yield from ((piece, measure(piece)) for piece in pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(pieces)), context, _prepare) as pool:
        queue = iter(pieces)
        running: dict[Future[Measurement], Piece] = {}
        try:
            while True:
                # a short queue: what has not begun is not waited for when somebody interrupts
                for piece in queue:
                    running[pool.submit(measure, piece)] = piece
                    if len(running) > processes:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare() -> None:
    """In each process: an interrupt is the first process's affair, and one process is one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
