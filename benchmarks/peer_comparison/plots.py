"""The pictures of the page: how near to memory's speed, and the ratio of every cell.  Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

# draws into files only, so it needs no screen
matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import TwoSlopeNorm

from .cells import MODES, Cell, show_size
from .figures import Measured, geometric_mean, measured

_ITEMSIZE = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
#: Functions that cost about the same, for the roofline: a line for each of 28 could not be read.
FAMILIES = {
    "relu, leaky_relu, prelu": ("relu", "leaky_relu", "prelu"),
    "sigmoid, tanh, silu": ("sigmoid", "tanh", "silu"),
    "elu, softplus, mish": ("elu", "softplus", "mish"),
    "gelu, gelu_tanh": ("gelu", "gelu_tanh"),
}
_COLORS = ("#1f77b4", "#2ca02c", "#9467bd", "#d62728")
#: A ratio of 8 and more has the same colour, and so has one of 1 / 8 and less.
_SPAN = 3.0


def _bytes(cell: Cell) -> int:
    return (2 if cell.direction == "forward" else 3) * cell.size * _ITEMSIZE[cell.dtype]


def _speeds(cells: Sequence[Measured], label: str) -> tuple[list[int], list[float]]:
    """Sizes, and geometric means over the cells of each size of GB/s; of the best peer for the label "best"."""

    def speed(each: Measured) -> float | None:
        ns = each.ns.get(each.best_peer if label == "best" else label)
        return _bytes(each.cell) / ns if ns else None

    sizes = sorted({each.cell.size for each in cells})
    means = [(size, geometric_mean(speed(each) for each in cells if each.cell.size == size)) for size in sizes]
    means = [(size, mean) for size, mean in means if mean]
    return [size for size, _ in means], [mean for _, mean in means]


def _show_bytes(size: int) -> str:
    """What an array of so many float32 takes."""
    words = show_size(size * _ITEMSIZE["float32"]).split()
    return f"{words[0]} {words[1]}B" if len(words) > 1 else f"{words[0]} B"


def _roofline(cells: Sequence[Measured], path: Path) -> None:
    """GB/s over the array's bytes: memory traffic alone, ours, and the best peer, by family."""
    modes = [mode for mode in MODES if any(each.cell.mode == mode for each in cells)]
    threads = sorted({each.cell.threads for each in cells})
    kinds = [(direction, mode, count) for count in threads for direction in (True, False) for mode in modes]
    columns = len(modes)
    rows = -(-len(kinds) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(5.6 * columns, 3.9 * rows + 0.6), squeeze=False, layout="constrained", sharex=True
    )
    legend = {}
    for axes, (forward, mode, count) in zip(grid.flat, kinds, strict=True):
        chosen = [
            each
            for each in cells
            if (each.cell.direction == "forward", each.cell.mode, each.cell.threads) == (forward, mode, count)
        ]
        axes.plot(*_speeds(chosen, "memory"), color="black", linewidth=2.2, label="memory alone: copy, scale, add")
        for (family, members), color in zip(FAMILIES.items(), _COLORS, strict=True):
            of_family = [each for each in chosen if each.cell.activation in members]
            axes.plot(*_speeds(of_family, "fastact"), color=color, marker="o", markersize=4, label=f"fastact: {family}")
            axes.plot(*_speeds(of_family, "best"), color=color, linestyle=":", label=f"best peer: {family}")
        way = "forward" if forward else "gradients"
        axes.set_title(
            f"{way}, {mode.replace('_', ' ')}, {count} thread{'s' * (count > 1)}", loc="left", fontsize="medium"
        )
        axes.set(xscale="log", yscale="log", ylabel="GB/s")
        sizes = sorted({each.cell.size for each in cells})
        axes.set_xticks(sizes, [_show_bytes(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, line)
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=3, fontsize="small")
    figure.supxlabel("size of one array", fontsize="medium")
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _heat_map(cells: Sequence[Measured], path: Path) -> None:
    """The ratio of every cell: functions over columns of threads, mode and size."""
    functions = list(dict.fromkeys(each.cell.function for each in cells))
    there = {(each.cell.threads, each.cell.mode, each.cell.size) for each in cells}
    columns = sorted(there, key=lambda column: (column[0], MODES.index(column[1]), column[2]))
    ratios = {(each.cell.function, each.cell[5], each.cell.mode, each.cell.size): each.ratio for each in cells}
    figure, axes = plt.subplots(figsize=(3.2 + 0.42 * len(columns), 1.6 + 0.27 * len(functions)), layout="constrained")
    norm = TwoSlopeNorm(0.0, -_SPAN, _SPAN)
    shown = []
    for function in functions:
        line = [ratios.get((function, *column)) for column in columns]
        shown.append([float("nan") if ratio is None else _log2(ratio) for ratio in line])
        for k, ratio in enumerate(line):
            if ratio is not None:
                text = f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
                axes.text(k, len(shown) - 1, text, ha="center", va="center", fontsize=6.5)
    image = axes.imshow(shown, aspect="auto", cmap="RdYlGn", norm=norm)
    axes.set_yticks(range(len(functions)), functions, fontsize=8)
    axes.set_xticks(range(len(columns)), [show_size(size) for _, _, size in columns], rotation=90, fontsize=7)
    previous = None
    for k, (count, mode, _) in enumerate(columns):
        if (count, mode) != previous:
            axes.axvline(k - 0.5, color="white", linewidth=3)
            title = f"{mode.replace('_', ' ')}\n{count} thread{'s' * (count > 1)}"
            axes.text(k - 0.4, -0.7, title, fontsize=8, va="bottom")
        previous = (count, mode)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=range(-int(_SPAN), int(_SPAN) + 1))
    bar.ax.set_yticklabels([f"{2.0**k:g}" for k in range(-int(_SPAN), int(_SPAN) + 1)])
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _log2(ratio: float) -> float:
    return max(-_SPAN, min(_SPAN, math.log2(ratio)))


def draw(result: dict, folder: Path, stem: str) -> list[tuple[str, str]]:
    """Write all pictures into a folder; titles and file names of what was drawn."""
    cells = measured(result)
    pictures = []
    single = [each for each in cells if each.cell.dtype == "float32"]
    if single:
        name = f"{stem}-roofline.png"
        _roofline(single, folder / name)
        pictures.append(("GB/s over the size of the array, float32, beside memory traffic alone", name))
    for dtype in dict.fromkeys(each.cell.dtype for each in cells):
        name = f"{stem}-{dtype}.png"
        _heat_map([each for each in cells if each.cell.dtype == dtype], folder / name)
        pictures.append((f"Best peer's time over fastact's in each cell, {dtype}", name))
    return pictures
