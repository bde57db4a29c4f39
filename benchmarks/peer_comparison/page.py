"""The page: what the results say, where we lose first, as Markdown.  Standard library only.

A cell of a table is the ratio and the best peer's initial; tables fold, the summary does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby

from .cells import Cell, show_size
from .figures import LARGEST, LOST, Measured, certified, errors, geometric_mean, measured, size_class, targets
from .peers import PEERS

#: Lost cells that are listed one by one; all of them are in the tables.
_LISTED = 40
_OUTPUTS = {"fresh": "new output", "reused": "output reused", "in_place": "in place"}
_OPTIONS = ("functions", "dtypes", "sizes", "modes", "threads", "peers")
_COMMANDS = "python benchmarks/compare.py --json results.json\npython benchmarks/publish.py results.json"


def _ratio(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _ulp(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < 100 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    rule = "|" + "---|" * left + "---:|" * (len(heads) - left)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _where(cell: Cell) -> str:
    return f"`{cell.function}` {cell.dtype}, {show_size(cell.size)}, {_OUTPUTS[cell.mode]}, {_threads(cell.threads)}"


def _targets(cells: Sequence[Measured]) -> str:
    lines = []
    for target in targets(cells):
        reached = {None: "not measured", True: "reached", False: "**missed**"}[target.reached]
        worst = f"{_ratio(target.worst)}: {_where(target.where)}" if target.where else ""
        within = f"{target.within} of {target.cells}" if target.where else ""
        lines.append([target.text, target.limit, reached, _ratio(target.mean), within, worst])
    return _table(["target", "limit", "", "geometric mean", "cells within", "the worst cell"], lines)


def _lost(cells: Sequence[Measured]) -> str:
    lost = sorted((each for each in cells if each.ratio and each.ratio < LOST), key=lambda each: each.ratio)
    counted = sum(each.ratio is not None for each in cells)
    if not lost:
        return f"In none of {counted} cells is the best peer faster than fastact by more than 5 %."
    lines = [
        [
            _where(each.cell),
            _ratio(each.ratio),
            PEERS[each.best_peer].name,
            f"{each.ours / each.cell.size:.3g}",
            f"{each.peers[each.best_peer] / each.cell.size:.3g}",
            f"{each.ns['memory'] / each.cell.size:.3g}",
        ]
        for each in lost[:_LISTED]
    ]
    text = f"In {len(lost)} of {counted} cells the best peer is faster by more than 5 %"
    text += ":" if len(lost) <= _LISTED else f"; the worst {_LISTED}, in ns per element:"
    return f"{text}\n\n{_table(['cell', 'ratio', 'best peer', 'fastact', 'peer', 'memory'], lines)}"


def _groups(cells: Sequence[Measured]) -> str:
    dtypes = list(dict.fromkeys(each.cell.dtype for each in cells))
    classes = list(dict.fromkeys(size_class(size) for size in sorted({each.cell.size for each in cells})))

    def mean(dtype: str | None, kind: str | None) -> str:
        chosen = (
            each.ratio
            for each in cells
            if dtype in (None, each.cell.dtype) and kind in (None, size_class(each.cell.size))
        )
        return _ratio(geometric_mean(chosen))

    lines = [[kind, *(mean(dtype, kind) for dtype in dtypes), mean(None, kind)] for kind in classes]
    lines.append(["all sizes", *(mean(dtype, None) for dtype in dtypes), mean(None, None)])
    return _table(["geometric mean, best peer / ours", *dtypes, "all dtypes"], lines)


def _wins(cells: Sequence[Measured]) -> str:
    best = [each.best_peer for each in cells if each.best_peer]
    lines = [
        [f"{PEERS[label].initial}: {PEERS[label].name}", str(best.count(label)),
         _ratio(geometric_mean(each.against(label) for each in cells))]
        for label in PEERS
        if any(label in each.ns for each in cells)
    ]  # fmt: skip
    return _table(["peer", "cells in which it is the best peer", "its time / ours, geometric mean"], lines)


def _ratios(cells: Sequence[Measured]) -> str:
    """One table for each dtype, number of threads and mode."""

    def key(each: Measured) -> tuple:
        return (each.cell.dtype, each.cell.threads, each.cell.mode)

    order = list(dict.fromkeys(key(each) for each in cells))
    parts = []
    for kind, group in groupby(sorted(cells, key=lambda each: order.index(key(each))), key=key):
        found = {(each.cell.function, each.cell.size): each for each in group}
        sizes = sorted({size for _, size in found})
        lines = []
        for function in dict.fromkeys(function for function, _ in found):
            line = [f"`{function}`"]
            for size in sizes:
                each = found.get((function, size))
                ratio = each.ratio if each else None
                text = f"{_ratio(ratio)} {PEERS[each.best_peer].initial}" if ratio else ""
                line.append(f"**{text}**" if ratio and ratio < LOST else text)
            lines.append(line)
        mean = _ratio(geometric_mean(each.ratio for each in found.values()))
        title = f"{kind[0]}, {_threads(kind[1])}, {_OUTPUTS[kind[2]]}: {mean}"
        parts.append(_folded(title, _table(["function", *map(show_size, sizes)], lines)))
    return "\n\n".join(parts)


def _accuracy(result: dict) -> str:
    own, found = certified(), errors(result)
    parts = []
    for dtype in dict.fromkeys(dtype for _, dtype in found):
        of_dtype = {function: by_label for (function, kind), by_label in found.items() if kind == dtype}
        labels = [label for label in PEERS if any(label in by_label for by_label in of_dtype.values())]
        lines = [
            [f"`{function}`", _ulp(own.get((function, dtype))), *(_ulp(by_label.get(label)) for label in labels)]
            for function, by_label in of_dtype.items()
        ]
        heads = ["function", "fastact, certified", *(PEERS[label].name for label in labels)]
        parts.append(_folded(f"max ULP, {dtype}", _table(heads, lines)))
    return "\n\n".join(parts)


def _absent(result: dict) -> str:
    """Why a peer that was installed has no figure, except that it was too slow at a smaller size."""
    reasons: dict[tuple, list] = {}
    for data in result["cells"]:
        cell = Cell(*data["cell"])
        for label, reason in data["left_out"].items():
            if reason != "has no such function or dtype" and not reason.endswith("elements"):
                reasons.setdefault((label, cell.dtype, cell.function), []).append((_OUTPUTS[cell.mode], reason))
    lines = [
        [PEERS[label].name, dtype, f"`{function}`", ", ".join(dict.fromkeys(mode for mode, _ in found)),
         found[0][1].replace("|", "\\|")]
        for (label, dtype, function), found in reasons.items()
    ]  # fmt: skip
    return (
        _table(["peer", "dtype", "function", "output", "what it gives, or what it raises"], lines, 5) if lines else ""
    )


def _notes(result: dict) -> str:
    noted: dict[tuple, list] = {}
    for contender in result["contenders"]:
        label, function, _, mode = contender["key"]
        if contender["note"] and label in PEERS:
            noted.setdefault((label, _OUTPUTS[mode], contender["note"]), []).append(function)
    lines = [
        [PEERS[label].name, mode, note, ", ".join(f"`{name}`" for name in dict.fromkeys(functions))]
        for (label, mode, note), functions in noted.items()
    ]
    return _table(["peer", "output", "note", "functions"], lines, 4) if lines else ""


def _about(result: dict) -> str:
    machine, options = result["machine"], result["about"]["options"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = (
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cpus']} CPUs, {machine['instruction_set']}; {versions}."
    )
    if options["instruction_set"]:
        text += f" fastact and PyTorch were limited to the instruction set {options['instruction_set']}."
    if options["quick"]:
        text += "\n\n**A quick run: few sizes and rounds. Its figures show that the comparison works, no more.**"
    if not result["complete"]:
        text += "\n\n**The run was interrupted: not all cells are here.**"
    return text


def traffic(result: dict) -> str:
    """How near the largest float32 arrays come to memory traffic alone, on all threads."""
    cells = measured(result)
    most = max(each.cell.threads for each in cells)
    found: dict[str, dict[str, Measured]] = {}
    for each in cells:
        if (each.cell.size, each.cell.dtype, each.cell.threads) == (LARGEST, "float32", most):
            found.setdefault(each.cell.function, {})[each.cell.mode] = each
    if not found:
        raise ValueError(f"results: got none of {show_size(LARGEST)} float32 elements; accepted: a run with some")
    modes = [mode for mode in ("reused", "in_place") if all(mode in by_mode for by_mode in found.values())]
    lines = []
    for function, by_mode in found.items():
        figures = [(by_mode[mode].ours, by_mode[mode].ns["memory"]) for mode in modes]
        texts = [(f"{ours / LARGEST:.3f}", f"{alone / LARGEST:.3f}", _ratio(ours / alone)) for ours, alone in figures]
        lines.append([f"`{function}`", *chain.from_iterable(texts)])
    heads = ["function", *chain.from_iterable((_OUTPUTS[mode], "traffic", "ratio") for mode in modes)]
    reached = [
        f"{target.within} of {target.cells} cells within {target.limit} ({target.text}; geometric mean "
        f"{_ratio(target.mean)})."
        for target in targets(cells)
        if target.where and target.where.size == LARGEST and target.text.startswith("64 Mi float32")
    ]
    title = f"64 Mi float32 on {_threads(most)}, ns for an element:"
    return "\n\n".join([title, _table(heads, lines), "\n".join(reached), _about(result)])


def page(result: dict, pictures: Sequence[tuple[str, str]], into: str = "") -> str:
    """The whole page; ``pictures`` are titles and file names beside it, ``into`` its place if that is no default."""
    cells = measured(result)
    peers = ", ".join(PEERS[label].name for label in result["about"]["options"]["peers"]) or "no peer"
    commands = _COMMANDS + (f" --into {into}" if into else "")
    parts = [
        "# Performance, measured",
        "Generated by `benchmarks/publish.py` from what `benchmarks/compare.py` has measured. To make it again, on a "
        f"quiet machine, with `pip install 'fastact[peers]'`:\n\n```bash\n{commands}\n```",
        _about(result),
        f"fastact beside {peers}. A ratio is the best peer's time over fastact's: 2 is twice as fast, below 1 fastact "
        "loses. All contenders of a cell take turns in one process, on the same arrays, and the minimum of the rounds "
        "counts. Data are refreshed outside the timed call. Before it is timed, each contender's result is compared "
        "with `fastact/reference.py`.",
        "## Where fastact loses",
        _lost(cells),
        "## Targets",
        _targets(cells),
        "## Summary",
        _groups(cells),
        _wins(cells),
        "A peer that is far behind is dropped after the first rounds, or left out at the next larger size, so the last "
        "column is an estimate from below.",
        *(f"![{title}]({name})" for title, name in pictures),
        "## Best peer's time / fastact's, in each cell",
        "The letter is the best peer; bold where fastact loses by more than 5 %.",
        _ratios(cells),
        "## Accuracy beside speed",
        "Largest error in ULP. fastact's is that of the [certificate](accuracy.md), over all numbers; the peers' is on "
        "this comparison's input (normal, deviation 2.5) and on tails of both signs, a few thousand numbers.",
        _accuracy(result),
        "## What the peers lack",
        "A peer without an output argument, or without a form in place, is timed in its closest form:",
        _notes(result),
        "Not timed, because the result is another dtype's or precision's, or because there is none:",
        _folded("all of them", _absent(result)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
