"""The table of ``fastact tune`` for people.  Needs rich, which nothing else here does."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from .. import costs, dispatch, tuned

_NARROWEST_TABLE = 120


def _console() -> Console:
    console = Console(highlight=False)
    # a file or a pipe has no width; a table cut to 80 columns helps nobody
    if not console.is_terminal:
        console.width = max(console.width, _NARROWEST_TABLE)
    return console


def print_table(stored: tuned.Table, path: str) -> None:
    """Every function, and what is chosen for it."""
    console = _console()
    title = f"{stored.origin}, {dispatch.instruction_set()}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for head in ("function", "dtype"):
        table.add_column(head, no_wrap=True)
    for head in ("compiled", "Numba", "threads from", "default"):
        table.add_column(head, justify="right")
    table.add_column("serves")
    for name, by_dtype in stored.choices.items():
        function = dispatch.FUNCTIONS[name]
        for dtype, choice in by_dtype.items():
            default, _ = costs.threshold(name, f"{function.row.name}_{function.direction}", dtype)
            table.add_row(
                name,
                dtype,
                f"{choice.compiled_ns:.3g}",
                "" if choice.numba_ns is None else f"{choice.numba_ns:.3g}",
                str(default if choice.parallel_from is None else choice.parallel_from),
                str(default),
                "numba, once warmed up" if choice.numba else "cython",
            )
    console.print(table)
    console.print("compiled, Numba: ns per element on one thread; threads from: elements", style="dim")
    if stored.stream_from is not None:
        console.print(f"outputs are streamed from {stored.stream_from} bytes on", style="dim")
    console.print(path, style="dim", soft_wrap=True)


def print_notes(reasons: dict[str, str]) -> None:
    """Why thresholds are the default: choices that were tried and dropped, and for the others how many."""
    console = _console()
    for reason, count in Counter(reasons.values()).most_common():
        if " was slower " in reason:
            subject = next(subject for subject, other in reasons.items() if other == reason)
            console.print(f"{subject}: {reason}: the default stays", style="dim")
        elif not reason.startswith("instead of"):
            console.print(f"{count} thresholds: {reason}", style="dim")
