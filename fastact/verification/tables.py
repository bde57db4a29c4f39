"""The tables of ``fastact verify`` for people, made of the certificate's records.  Needs rich.

Targets that gave the same bits everywhere share a line, which instruction sets with FMA usually do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_NARROWEST = 180


def label(record: dict[str, Any]) -> str:
    """The function, with its parameters where it has any."""
    parameters = ", ".join(f"{name}={value:g}" for name, value in record["parameters"].items())
    return f"{record['function']}({parameters})" if parameters else record["function"]


def show_ulp(ulp: float | str) -> str:
    """An error in as many digits as it is worth."""
    value = float(ulp)
    return f"{value:.2f}" if value < 1000 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def show_share(record: dict[str, Any], figures: dict[str, Any]) -> str:
    """Share of results that are the truth rounded; 100 % only if all are."""
    wrong = figures["not_rounded"] / figures.get("points", record["points"])
    return "100 %" if wrong == 0 else f"{min(100 * (1 - wrong), 99.99):.2f} %"


def same_targets(record: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """The targets by what they gave: (names, figures)."""
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for name, figures in record["targets"].items():
        groups.setdefault(figures.get("digest") or name, ([], figures))[0].append(name)
    return list(groups.values())


def show_sweep(record: dict[str, Any]) -> str:
    """What was visited, in words."""
    stride = record.get("stride")
    if stride is None:
        return f"{record['points']} numbers"
    return "every number" if stride == 1 else f"every {stride}th number"


def print_records(records: Sequence[dict[str, Any]], console: Console) -> None:
    """One table for each dtype, and one beside the peers."""
    for dtype in dict.fromkeys(record["dtype"] for record in records):
        of_dtype = [record for record in records if record["dtype"] == dtype]
        _print_targets(f"{dtype}, {show_sweep(of_dtype[0])}", of_dtype, console)
        if any(record["peers"] for record in of_dtype):
            _print_peers(f"{dtype}: max ULP beside the peers, and where", of_dtype, console)


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for head in left:
        table.add_column(head, no_wrap=True)
    for head in right:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _print_targets(title: str, records: Sequence[dict[str, Any]], console: Console) -> None:
    heads = ["max ULP", "limit", "at", "exactly", "correctly rounded", "monotone", "targets differ by"]
    table = _table(title, ("function", "target"), heads)
    for record in records:
        differ = max(record["differences"].values(), default=0)
        for k, (names, figures) in enumerate(same_targets(record)):
            monotone = "" if record["monotone"] is None else "no" if "fall" in figures.get("faults", {}) else "yes"
            ulp = show_ulp(figures["ulp"])
            # infinite errors and faults of another kind are listed below
            table.add_row(
                label(record) if k == 0 else "",
                " ".join(names),
                ulp if float(figures["ulp"]) <= record["limit"] else f"[red]{ulp}[/red]",
                f"{record['limit']:g}",
                *figures["at"],
                show_share(record, figures),
                "[red]no[/red]" if monotone == "no" else monotone,
                f"{differ} ULP" if k == 0 else "",
            )
    console.print(table)


def _print_peers(title: str, records: Sequence[dict[str, Any]], console: Console) -> None:
    names = list(dict.fromkeys(name for record in records for name in record["peers"]))
    table = _table(title, ("function",), ("fastact", *(head for name in names for head in (name, "at"))))
    for record in records:
        if not record["peers"]:
            continue
        worst = max(record["targets"].values(), key=lambda figures: float(figures["ulp"]))
        cells = []
        for name in names:
            figures = record["peers"].get(name)
            cells += [show_ulp(figures["ulp"]), figures["at"][0]] if figures else ["", ""]
        table.add_row(label(record), show_ulp(worst["ulp"]), *cells)
    console.print(table)


def print_verdict(records: Sequence[dict[str, Any]], console: Console) -> int:
    """What fails, and how many do; the exit status."""
    failing = [record for record in records if record["failures"]]
    for record in failing:
        for failure in record["failures"]:
            console.print(f"[red]{record['dtype']} {label(record)}[/red] {failure}", soft_wrap=True)
    if failing:
        console.print(f"{len(failing)} of {len(records)} exceed a limit or lack a property.")
        return 1
    console.print(f"All {len(records)} are within their limits.")
    return 0


def make_console() -> Console:
    """For the tables: as wide as they need where the output is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _NARROWEST)
    return console
