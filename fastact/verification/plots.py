"""Error over the line: the largest error in each part of it, for each function, ours and the peers'.

The axis is the line of all numbers itself (``numbers.py``), labelled with powers of ten of both signs: each binade has
the same width, so tails and subnormal results are as visible as the middle.  Needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

# draws into files only, so it needs no screen
matplotlib.use("Agg")

import matplotlib.pyplot as plt

from .. import dispatch
from .measuring import PARTS
from .numbers import Format, place_of
from .tallies import Measurement, Tally
from .work import Task

#: Errors beyond this are drawn here: PyTorch's largest are 1e7, and JAX's infinite.
_TOP = 1e9
#: Errors below this are drawn here; correctly rounded results have 0.5 at most.
_BOTTOM = 0.05
_COLUMNS = 2
_POWERS = (-30, -15, 0, 15, 30)
#: The same in every picture; targets that gave the same bits have the colour of the first of them.
_COLORS = {
    "base": "#1f77b4",
    "avx2": "#d62728",
    "avx512": "#8c1c13",
    "numba": "#9467bd",
    "PyTorch": "#ff9d3b",
    "ONNX Runtime": "#7fbf5f",
    "JAX": "#9a9a9a",
}


def draw(results: Sequence[tuple[Task, Measurement]], path: Path) -> None:
    """Write the plot of the float32 results with default parameters; of all results if there are none of these."""
    chosen = [(t, m) for t, m in results if t.dtype == "float32" and t.subject.is_default] or list(results)
    order = list(dispatch.FUNCTIONS)
    chosen.sort(key=lambda pair: order.index(pair[0].subject.function))
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(8 * columns, 3 * rows + 0.5), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    legend: dict[str, Any] = {}
    for axes, (task, measurement) in zip(grid.flat, chosen, strict=False):
        _draw_one(axes, task, measurement)
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, line)
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=4)
    figure.supxlabel("x: every binade of both signs has the same width", fontsize="medium")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_one(axes: Any, task: Task, measurement: Measurement) -> None:
    form = task.sweep.form
    # the peers first, so that ours is on top
    for name in task.peers:
        _draw_line(axes, measurement.tallies[name], name, color=_COLORS.get(name), linewidth=1.1)
    for names, tally in _same_lines(task, measurement):
        _draw_line(axes, tally, f"fastact {', '.join(names)}", color=_COLORS[names[0]], linewidth=1.8)
    axes.axhline(task.subject.limit(form), color="black", linewidth=0.8, linestyle=":", label="limit")
    axes.set(yscale="log", ylim=(_BOTTOM / 1.3, _TOP * 1.5), xlim=(0, PARTS), ylabel="max ULP")
    axes.set_title(task.subject.function, loc="left", fontsize="medium", fontweight="bold")
    axes.set_xticks(*_ticks(form))
    axes.grid(alpha=0.25)


def _same_lines(task: Task, measurement: Measurement) -> list[tuple[list[str], Tally]]:
    """Our targets, those with equal results as one."""
    groups: dict[str | None, tuple[list[str], Tally]] = {}
    for name in task.targets:
        tally = measurement.tallies[name]
        groups.setdefault(tally.digest, ([], tally))[0].append(name)
    return list(groups.values())


def _draw_line(axes: Any, tally: Tally, label: str, **style: Any) -> None:
    parts = sorted(tally.parts)
    heights = [min(max(tally.parts[part], _BOTTOM), _TOP) for part in parts]
    axes.step([part + 0.5 for part in parts], heights, where="mid", label=label, **style)


def _ticks(form: Format) -> tuple[list[float], list[str]]:
    powers = [power for power in _POWERS if 10.0**power < form.largest and 10.0**power > 2.0**form.lowest]
    values = [(-(10.0**power), _power("-", power)) for power in reversed(powers)] + [(0.0, "0")]
    values += [(10.0**power, _power("", power)) for power in powers]
    return [PARTS * place_of(value, form) / form.places for value, _ in values], [text for _, text in values]


def _power(sign: str, power: int) -> str:
    return f"{sign}1" if power == 0 else f"${sign}10^{{{power}}}$"
