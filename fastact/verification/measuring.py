"""Measures all contenders on a piece of a sweep: the one loop that all the time goes into.

The truth costs a hundred times what a kernel does.  So it is evaluated once for each block, in blocks that stay in the
L2 cache with its many intermediate arrays, and every contender is compared with it while it is there.  What the
contenders have in common is computed once: the rounded truth and its error, and whatever concerns two of them that
gave the same bits, which instruction sets with FMA always do.

It must not know how work is split or stored, and nothing of limits: it looks, and others judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from . import digests, peers, targets
from .errors import Truth, truth_about
from .numbers import Array, Format, Sweep, format_of, ordered, values_at
from .subjects import Subject
from .tallies import Measurement, Tally

#: Elements for which the truth is evaluated at once.  ns per element with peers, both cores of an AMD EPYC (1 MiB of L2
#: each) at work: gelu 161, 117, 106, 108 and mish_backward 268, 210, 205, 259 for 4096, 8192, 16384, 32768.
BLOCK = 16384
#: Parts of the line for which the largest error is kept by itself, for plots.
PARTS = 512


class Piece(NamedTuple):
    """A piece of work, in words that can be sent to another process and stored."""

    subject: Subject
    dtype: str
    stride: int
    start: int
    stop: int
    targets: tuple[str, ...]
    peers: tuple[str, ...]

    @property
    def key(self) -> str:
        """What tells it from every other piece."""
        parameters = ",".join(parameter.hex() for parameter in self.subject.parameters)
        who = ",".join([*self.targets, *self.peers])
        return f"{self.subject.function}({parameters}) {self.dtype} /{self.stride} {self.start}:{self.stop} {who}"


def measure(piece: Piece) -> Measurement:
    """Measure a piece; its digests end in one node each."""
    form = format_of(piece.dtype)
    sweep = piece.subject.sweep(form, piece.stride)
    with targets.kept():
        ours = {name: targets.contender(piece.subject, name, form) for name in piece.targets}
        theirs = {name: peers.contender(piece.subject, name) for name in piece.peers}
        measurement = measure_contenders(piece.subject, sweep, piece.start, piece.stop, ours, theirs)
    measurement.fold()
    return measurement


def measure_contenders(
    subject: Subject,
    sweep: Sweep,
    start: int,
    stop: int,
    ours: Mapping[str, targets.Contender],
    theirs: Mapping[str, targets.Contender],
) -> Measurement:
    """Measure these contenders on the points from start, a multiple of a leaf, to stop."""
    whole = Measurement()
    # NumPy's own warnings: kernels and peers compute infinities and NaNs on purpose here
    with np.errstate(all="ignore"):
        for first in range(start, stop, digests.LEAF):
            places = sweep.places(first, min(first + digests.LEAF, stop))
            leaf = _Leaf(subject, sweep.form, places, ours, theirs)
            whole.append(leaf.measured(), int(places[0]), subject.must_not_fall)
    return whole


def results_digest(subject: Subject, target: str, dtype: str, stride: int) -> str:
    """The digest of a target's results alone, without looking for errors: a hundred times faster."""
    form = format_of(dtype)
    sweep = subject.sweep(form, stride)
    nodes = []
    with targets.kept(), np.errstate(all="ignore"):
        call = targets.contender(subject, target, form)
        for first in range(0, sweep.points, digests.LEAF):
            places = sweep.places(first, min(first + digests.LEAF, sweep.points))
            nodes.append(digests.leaf_digest(call(values_at(places, form)), form))
    return digests.root(nodes).hex()


class _Leaf:
    """The contenders' results on one leaf of the digest's tree."""

    def __init__(
        self,
        subject: Subject,
        form: Format,
        places: Array,
        ours: Mapping[str, targets.Contender],
        theirs: Mapping[str, targets.Contender],
    ) -> None:
        self.subject, self.form, self.places = subject, form, places
        self.x = values_at(places, form)
        self.ours, self.theirs = ours, theirs
        self.results = {name: np.asarray(call(self.x)).view(form.dtype) for name, call in {**ours, **theirs}.items()}
        self.tallies = {name: Tally() for name in self.results}
        self.differences: dict[str, int] = {}
        self.numbers = slice(0, len(self.x))
        # NaNs are at the ends of the line
        if np.isnan(self.x[0]) or np.isnan(self.x[-1]):
            numbers = np.flatnonzero(~np.isnan(self.x))
            self.numbers = slice(int(numbers[0]), int(numbers[-1]) + 1) if numbers.size else slice(0, 0)

    def measured(self) -> Measurement:
        """The measurement of this leaf."""
        self._look_at_the_whole()
        self._look_at_missing()
        truth_of = self.subject.truth(self.form)
        for start in range(self.numbers.start, self.numbers.stop, BLOCK):
            block = slice(start, min(start + BLOCK, self.numbers.stop))
            self._compare(block, truth_about(truth_of(self.x[block]), self.form))
        return Measurement(len(self.x), self.tallies, self.differences)

    def _look_at_the_whole(self) -> None:
        """Digest, order, range and symmetry of our own results."""
        known: list[tuple[Array, str]] = []
        for name in self.ours:
            got, tally = self.results[name], self.tallies[name]
            pattern = got.view(self.form.pattern)
            digest = next((node for other, node in known if np.array_equal(other, pattern)), None)
            if digest is None:
                digest = digests.leaf_digest(got, self.form).hex()
                known.append((pattern, digest))
            tally.nodes = [digest]
            inside = got[self.numbers]
            if not inside.size:
                continue
            tally.ends = (float(inside[0]), float(inside[-1]))
            if self.subject.must_not_fall:
                self._note(tally, "fall", inside[1:] < inside[:-1], self.numbers.start + 1)
                low, high = self.subject.range()
                if float(inside.min()) < low or float(inside.max()) > high:
                    self._note(tally, "outside", (inside < low) | (inside > high), self.numbers.start)
            if self.subject.must_be_odd and self.x[self.numbers][-1] > 0:
                # the call overwrites its last results
                results = got.copy()
                mirrored = self.ours[name](-self.x)
                sign = self.form.pattern.type(self.form.places // 2)
                differs = (mirrored.view(self.form.pattern) ^ sign) != results.view(self.form.pattern)
                self._note(tally, "not_odd", differs[self.numbers], self.numbers.start)
                got[...] = results

    def _note(self, tally: Tally, fault: str, where: Array, offset: int) -> None:
        count = int(np.count_nonzero(where))
        if count:
            tally.note_fault(fault, count, int(self.places[offset + int(where.argmax())]))

    def _look_at_missing(self) -> None:
        """NaN for NaN, and for nothing else."""
        for name, got in self.results.items():
            missing = np.isnan(got)
            missing[: self.numbers.start] ^= True
            missing[self.numbers.stop :] ^= True
            self._note(self.tallies[name], "missing", missing, 0)

    def _compare(self, block: slice, truth: Truth) -> None:
        form = self.form
        expected = truth.rounded.view(form.pattern)
        seen: list[tuple[str, Array, _Compared]] = []
        for name, results in self.results.items():
            got = results[block]
            pattern = got.view(form.pattern)
            compared = next((same for _, other, same in seen if (other == pattern).all()), None)
            if compared is None:
                compared = _Compared(got, pattern != expected, truth, form)
                compared.find_worst(self.places[block], form)
            seen.append((name, pattern, compared))
            self._enter(self.tallies[name], compared, block.start)
        ours = [(name, compared) for name, _, compared in seen if name in self.ours]
        for k, (name, compared) in enumerate(ours):
            for other_name, other_compared in ours[k + 1 :]:
                steps = compared.farthest_from(other_compared)
                pair = f"{name} {other_name}"
                self.differences[pair] = max(steps, self.differences.get(pair, 0))

    def _enter(self, tally: Tally, compared: _Compared, start: int) -> None:
        tally.note_error(*compared.worst)
        for part, ulp in compared.parts:
            tally.note_part(part, ulp)
        tally.not_rounded += compared.not_rounded
        tally.steps = max(tally.steps, compared.steps)
        if compared.wrong_zeros is not None:
            self._note(tally, "zero_sign", compared.wrong_zeros, start)


class _Compared:
    """One contender's results, or those of several that gave the same bits, beside the truth of a block."""

    def __init__(self, got: Array, differs: Array, truth: Truth, form: Format) -> None:
        self.got, self.error = got, truth.rounding
        self.worst = (-1.0, 0, 0.0)
        self.parts: list[tuple[int, float]] = []
        #: How many numbers each result is away from the rounded truth; None where none is.
        self.away: Array | None = None
        self.wrong_zeros: Array | None = None
        self.not_rounded = self.steps = 0
        where = np.flatnonzero(differs)
        if not where.size:
            return
        there, expected = got[where], truth.rounded[where]
        self.error = truth.rounding.copy()
        self.error[where] = truth.error_of(there, where, form)
        away = ordered(there, form) - ordered(expected, form)
        # a NaN is no number of steps away
        away[np.isnan(there)] = 0
        self.away = np.zeros(got.size, np.int64)
        self.away[where] = away
        self.steps = int(np.abs(away).max())
        self.not_rounded = where.size
        # the bits differ, but not the numbers: zeros of either sign
        zeros = there == expected
        if zeros.any():
            self.wrong_zeros = np.zeros(got.size, bool)
            self.wrong_zeros[where[zeros]] = True
            self.not_rounded -= int(np.count_nonzero(zeros))

    def find_worst(self, places: Array, form: Format) -> None:
        """Find the largest error, and the largest in each part of the line."""
        worst = int(self.error.argmax())
        self.worst = (float(self.error[worst]), int(places[worst]), float(self.got[worst]))
        first, last = (int(place) * PARTS // form.places for place in (places[0], places[-1]))
        if first == last:
            self.parts = [(first, self.worst[0])]
            return
        parts = places * PARTS // form.places
        begins = np.flatnonzero(np.diff(parts, prepend=-1))
        largest = np.maximum.reduceat(self.error, begins)
        self.parts = [(int(part), float(ulp)) for part, ulp in zip(parts[begins], largest, strict=True)]

    def farthest_from(self, other: _Compared) -> int:
        """The largest distance in numbers between both."""
        if self is other:
            return 0
        if self.away is None or other.away is None:
            return max(self.steps, other.steps)
        return int(np.abs(self.away - other.away).max())
