"""What is known of one contender after a piece of a sweep, and how neighbouring pieces become one.

A tally is small, whatever the piece: counts, extremes with the places where they occur, and a digest.  It goes through
JSON unchanged, so that it can be sent, stored and merged.  This file measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import digests

#: What a result can do wrong besides being far from the truth.
FAULTS = {
    "missing": "NaN for a number, or a number for NaN",
    "zero_sign": "zero of the wrong sign",
    "fall": "below the result for a smaller input",
    "not_odd": "f(-x) is not -f(x)",
    "outside": "outside the limits at the infinities",
}


@dataclass
class Tally:
    """Of one contender on a stretch of the line."""

    #: The largest error in ULP (-1 before anything was seen), its place, and the result there.
    ulp: float = -1.0
    place: int = 0
    result: float = 0.0
    #: Results that are not the truth rounded, and how many numbers away from it the farthest one is.
    not_rounded: int = 0
    steps: int = 0
    #: For each fault that occurred: how often, and its first place.
    faults: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: The first and the last result, for what happens at the seam; None before anything was seen.
    ends: tuple[float, float] | None = None
    #: Nodes of the digest's tree, all of one level but the last.
    nodes: list[str] = field(default_factory=list)
    #: Largest error in each part of the line, by the part's number.
    parts: dict[int, float] = field(default_factory=dict)

    def note_error(self, ulp: float, place: int, result: float) -> None:
        """Keep an error if it is the largest so far."""
        if ulp > self.ulp:
            self.ulp, self.place, self.result = ulp, place, result

    def note_fault(self, fault: str, count: int, place: int) -> None:
        """Count a fault; places come in ascending order."""
        before, first = self.faults.get(fault, (0, place))
        self.faults[fault] = (before + count, first)

    def note_part(self, part: int, ulp: float) -> None:
        """Keep an error if it is the largest in its part of the line."""
        self.parts[part] = max(ulp, self.parts.get(part, -1.0))

    def append(self, following: Tally, place: int, must_not_fall: bool) -> None:
        """Take in the tally of the stretch that follows and begins at a place."""
        self.note_error(following.ulp, following.place, following.result)
        self.not_rounded += following.not_rounded
        self.steps = max(self.steps, following.steps)
        if must_not_fall and self.ends and following.ends and following.ends[0] < self.ends[1]:
            self.note_fault("fall", 1, place)
        for fault, (count, first) in following.faults.items():
            self.note_fault(fault, count, first)
        if following.ends:
            self.ends = (self.ends[0] if self.ends else following.ends[0], following.ends[1])
        self.nodes += following.nodes
        for part, ulp in following.parts.items():
            self.note_part(part, ulp)

    @property
    def digest(self) -> str | None:
        """The digest of all results, None where none was taken."""
        return digests.root([bytes.fromhex(node) for node in self.nodes]).hex() if self.nodes else None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "ulp": number_as_json(self.ulp), "result": self.result.hex(), "ends": self._ends()} | {
            "parts": {str(part): number_as_json(ulp) for part, ulp in self.parts.items()}
        }

    def _ends(self) -> list[str] | None:
        return [end.hex() for end in self.ends] if self.ends else None


def tally_from_json(data: dict[str, Any]) -> Tally:
    """The tally that plain data stand for."""
    ends = [float.fromhex(end) for end in data["ends"]] if data["ends"] else None
    return Tally(
        float(data["ulp"]),
        data["place"],
        float.fromhex(data["result"]),
        data["not_rounded"],
        data["steps"],
        {fault: (count, place) for fault, (count, place) in data["faults"].items()},
        (ends[0], ends[1]) if ends else None,
        list(data["nodes"]),
        {int(part): float(ulp) for part, ulp in data["parts"].items()},
    )


def number_as_json(number: float) -> float | str:
    """JSON has no infinity; float("inf") reads the word back."""
    return number if math.isfinite(number) else str(number)


@dataclass
class Measurement:
    """Of all contenders on a stretch of the line."""

    points: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    #: Distance in numbers between the results of two targets where they differ most, by both names: "base avx2".
    differences: dict[str, int] = field(default_factory=dict)

    def append(self, following: Measurement, place: int, must_not_fall: bool) -> None:
        """Take in the stretch that follows and begins at a place."""
        self.points += following.points
        for name, tally in following.tallies.items():
            self.tallies.setdefault(name, Tally()).append(tally, place, must_not_fall)
        for pair, steps in following.differences.items():
            self.differences[pair] = max(steps, self.differences.get(pair, 0))

    def fold(self) -> None:
        """Put one node in place of the digest's nodes, of which there is a power of two or the end of the line."""
        for tally in self.tallies.values():
            tally.nodes = [tally.digest] if tally.digest else []

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        tallies = {name: tally.as_json() for name, tally in self.tallies.items()}
        return {"points": self.points, "tallies": tallies, "differences": self.differences}


def measurement_from_json(data: dict[str, Any]) -> Measurement:
    """The measurement that plain data stand for."""
    tallies = {name: tally_from_json(tally) for name, tally in data["tallies"].items()}
    return Measurement(data["points"], tallies, dict(data["differences"]))


def joined(pieces: Sequence[tuple[int, Measurement]], must_not_fall: bool) -> Measurement:
    """One measurement of pieces in the order of the line, each with the place where it begins."""
    whole = Measurement()
    for place, piece in pieces:
        whole.append(piece, place, must_not_fall)
    return whole
