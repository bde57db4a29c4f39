"""What the results say in numbers: ratios, their geometric means, and the targets.  Standard library only.

The ratio of a cell is the best peer's time over ours, both minima of the same rounds: 2 is twice as fast, below 1 we
lose.  Nothing here is asserted: a target that is missed is a row that says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .cells import CALLS, IN_CACHE, Cell, show_size

#: Below this ratio a cell counts as lost: two runs of one program differ by some per cent.
LOST = 0.95
#: Elements of the arrays that are compared with memory traffic.
LARGEST = 2**26
CERTIFICATE = Path(__file__).resolve().parents[2] / "fastact" / "certificate.json"


class Measured(NamedTuple):
    """One cell with its figures, ns per call, by label."""

    cell: Cell
    ns: dict[str, float]
    left_out: dict[str, str]

    @property
    def ours(self) -> float:
        return self.ns["fastact"]

    @property
    def peers(self) -> dict[str, float]:
        """The peers' figures."""
        return {label: ns for label, ns in self.ns.items() if label not in ("fastact", "memory")}

    @property
    def best_peer(self) -> str | None:
        """Label of the fastest peer."""
        peers = self.peers
        return min(peers, key=peers.__getitem__, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as long the best peer takes."""
        return self.peers[self.best_peer] / self.ours if self.best_peer else None

    def against(self, *labels: str) -> float | None:
        """How many times as long the best of these takes."""
        there = [self.ns[label] for label in labels if label in self.ns]
        return min(there) / self.ours if there else None


def measured(result: dict) -> list[Measured]:
    """The cells of a result."""
    return [
        Measured(Cell(*data["cell"]), {label: figure[0] for label, figure in data["figures"].items()}, data["left_out"])
        for data in result["cells"]
    ]


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of those that are there; None without any."""
    logarithms = [math.log(ratio) for ratio in ratios if ratio]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def size_class(size: int) -> str:
    """What decides at a size."""
    if size in CALLS:
        return "calls (16, 1 Ki)"
    return "in cache (16 Ki, 256 Ki)" if size in IN_CACHE else f"memory ({show_size(size)})"


class Target(NamedTuple):
    """One target, and how far it was reached."""

    text: str
    #: What it asks of each cell, and what was reached: the mean, the worst cell, how many are within.
    limit: str
    mean: float | None
    worst: float | None
    where: Cell | None
    within: int
    cells: int

    @property
    def reached(self) -> bool | None:
        """None: nothing that it is about was measured."""
        return self.within == self.cells if self.cells else None


def _at_least(text: str, limit: float, ratios: Sequence[tuple[Cell, float | None]]) -> Target:
    there = [(ratio, cell) for cell, ratio in ratios if ratio is not None]
    worst = min(there, default=(None, None))
    within = sum(ratio >= limit for ratio, _ in there)
    return Target(text, f"≥ {limit:g}", geometric_mean(r for r, _ in there), *worst, within, len(there))


def _at_most(text: str, limit: float, ratios: Sequence[tuple[Cell, float | None]]) -> Target:
    there = [(ratio, cell) for cell, ratio in ratios if ratio is not None]
    worst = max(there, default=(None, None))
    within = sum(ratio <= limit for ratio, _ in there)
    return Target(text, f"≤ {limit:g}", geometric_mean(r for r, _ in there), *worst, within, len(there))


def targets(cells: Sequence[Measured]) -> list[Target]:
    """The targets that the issue set."""

    def chosen(test: Callable[[Cell], bool], ratio: Callable[[Measured], float | None]) -> list:
        return [(each.cell, ratio(each)) for each in cells if test(each.cell)]

    def to_torch(each: Measured) -> float | None:
        return each.against("torch")

    def to_memory(each: Measured) -> float | None:
        return each.ours / each.ns["memory"]

    single = {each.cell: each.ours for each in cells if each.cell.dtype == "float32"}
    most_threads = max((each.cell.threads for each in cells), default=1)

    def to_single(each: Measured) -> float | None:
        other = single.get(each.cell._replace(dtype="float32"))
        return each.ours / other if other else None

    def at_memory(cell: Cell, forward: bool) -> bool:
        return (
            (cell.size, cell.dtype, cell.threads) == (LARGEST, "float32", most_threads)
            and cell.mode != "fresh"
            and (cell.direction == "forward") == forward
        )

    everything = chosen(lambda cell: True, lambda each: each.ratio)
    mean = geometric_mean(ratio for _, ratio in everything)
    counted = sum(ratio is not None for _, ratio in everything)
    half = ("float16", "bfloat16")
    overall = Target(
        "geometric mean over all cells, best peer / ours", "≥ 2", mean, None, None, int(bool(mean and mean >= 2)),
        min(counted, 1),
    )  # fmt: skip
    return [
        overall,
        _at_least("every cell, best peer / ours", LOST, everything),
        _at_least(
            "calls, 16 and 1 Ki: best of PyTorch and NumPy / ours", 3,
            chosen(lambda cell: cell.size in CALLS, lambda each: each.against("torch", "numpy")),
        ),
        _at_least(
            "mish, softplus, gelu_tanh in cache: PyTorch / ours", 3,
            chosen(
                lambda cell: cell.activation in ("mish", "softplus", "gelu_tanh") and cell.direction == "forward"
                and cell.size in IN_CACHE, to_torch,
            ),
        ),
        _at_least(
            "gradients in cache: PyTorch / ours", 1.5,
            chosen(lambda cell: cell.direction != "forward" and cell.size in IN_CACHE, to_torch),
        ),
        _at_least(
            "float64 in cache: PyTorch / ours", 2,
            chosen(lambda cell: cell.dtype == "float64" and cell.size in IN_CACHE, to_torch),
        ),
        _at_least(
            "new output, 64 Mi: PyTorch / ours", 2,
            chosen(lambda cell: cell.mode == "fresh" and cell.size == 2**26, to_torch),
        ),
        _at_most(
            "64 Mi float32, all threads, forward: ours / copy or scale", 1.15,
            chosen(lambda cell: at_memory(cell, True), to_memory),
        ),
        _at_most(
            "64 Mi float32, all threads, gradients: ours / add", 1.2,
            chosen(lambda cell: at_memory(cell, False), to_memory),
        ),
        _at_most(
            "float16 and bfloat16 in cache: ours / ours in float32", 1.2,
            chosen(lambda cell: cell.dtype in half and cell.size in IN_CACHE, to_single),
        ),
    ]  # fmt: skip


def certified() -> dict[tuple[str, str], float]:
    """Our largest error in ULP by function and dtype, with default parameters, over every target of the certificate."""
    found: dict[tuple[str, str], float] = {}
    for record in json.loads(CERTIFICATE.read_text(encoding="utf-8"))["records"]:
        key = (record["function"], record["dtype"])
        # the default comes first
        found.setdefault(key, max(float(figures["ulp"]) for figures in record["targets"].values()))
    return found


def errors(result: dict) -> dict[tuple[str, str], dict[str, float]]:
    """The largest error of each contender over its modes, by function and dtype, then label."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for contender in result["contenders"]:
        label, function, dtype, _ = contender["key"]
        if contender["max_ulp"] is not None:
            by_label = found.setdefault((function, dtype), {})
            by_label[label] = max(by_label.get(label, 0.0), float(contender["max_ulp"]))
    return found
