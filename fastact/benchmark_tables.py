"""The tables of ``fastact bench``: rows of ``measurement.py`` for people.  Needs rich, which nothing else here does."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .cases import show_size
from .measurement import Figure, Row

_PEOPLE = {"numpy": "NumPy/SciPy", "torch": "PyTorch"}
_NARROWEST_TABLE = 180


def show_ulp(error: float | None) -> str:
    """An error in two or three characters more than it is worth."""
    if error is None:
        return ""
    return f"{error:.2f}" if error < 100 else f"{error:.1e}".replace("e+0", "e").replace("e+", "e")


def _time(figure: Figure | None) -> str:
    if figure is None:
        return ""
    time = figure.ns_per_element
    return (f"{time:.3g}" if time < 1000 else f"{time:.0f}") + ("*" if figure.note else "")


def _line(row: Row) -> list[str]:
    best = row.peers[row.best_peer] if row.best_peer else None
    return [
        row.function,
        row.case.dtype,
        show_size(row.case.size),
        row.case.mode,
        f"{row.backend} {row.instruction_set}".strip(),
        _time(row.ours),
        f"{row.ours.gigabytes_per_second:.1f}",
        *(_time(row.peers.get(label)) for label in _PEOPLE),
        _time(row.memory),
        f"{row.ratio:.2f}" if row.ratio else "",
        best.name if best else "",
        show_ulp(row.ours.max_ulp),
        show_ulp(best.max_ulp if best else None),
    ]


def print_rows(rows: Sequence[Row]) -> None:
    """The table, with what is the same in all rows said once, above it."""
    heads = ["function", "dtype", "elements", "output", "backend", "ns/element", "GB/s", *_PEOPLE.values(), "memory"]
    heads += ["peer / ours", "best peer", "max ULP", "peer's"]
    lines = [_line(row) for row in rows]
    same = [k for k in range(1, 5) if len({line[k] for line in lines}) == 1]
    constant = [f"{lines[0][k]} elements" if heads[k] == "elements" else lines[0][k] for k in same]
    if heads.index("output") in same:
        constant[same.index(heads.index("output"))] = f"output {lines[0][3]}"
    count = rows[0].case.threads
    title = ", ".join([*constant, f"{count} thread{'s' if count > 1 else ''}"])
    kept = [k for k in range(len(heads)) if k not in same]
    notes = ["ns per element, the minimum; memory: copying as many bytes (forward), adding two arrays (backward)"]
    notes.append("max ULP: on the input (normal, deviation 2.5) and on tails of both signs, beside the fastest peer's")
    if any(row.case.dtype == "float64" for row in rows):
        notes.append("float64 errors are measured against a float64 truth: +-1 ULP")
    noted = {f"* {row.function}, {peer.name}: {peer.note}" for row in rows for peer in row.peers.values() if peer.note}
    _print_table(title, [heads[k] for k in kept], [[line[k] for k in kept] for line in lines], [*notes, *sorted(noted)])


def print_calls(rows: Sequence[dict[str, float | str]]) -> None:
    """The table of ``--calls``."""
    labels = {"fastact": "fastact", "beyond_empty": "beyond an empty call", "empty": "empty call", "np.tanh": "np.tanh"}
    labels |= _PEOPLE
    kept = [label for label in labels if any(label in row for row in rows)]
    lines = [
        [
            *(str(row[name]) for name in ("function", "dtype")),
            show_size(int(row["size"])),
            str(row["mode"]),
            *(f"{row[label]:.0f}" if label in row else "" for label in kept),
        ]
        for row in rows
    ]
    heads = ["function", "dtype", "elements", "output", *(labels[label] for label in kept)]
    _print_table("ns per call, 1 thread", heads, lines, [])


def _print_table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    console = Console(highlight=False)
    # a file or a pipe has no width; a table cut to 80 columns helps nobody
    if not console.is_terminal:
        console.width = max(console.width, _NARROWEST_TABLE)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for k, head in enumerate(heads):
        left = head in ("function", "dtype", "output", "backend", "best peer")
        table.add_column(head, justify="left" if left else "right", no_wrap=k == 0)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for note in notes:
        console.print(note, style="dim")
