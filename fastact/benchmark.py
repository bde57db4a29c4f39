"""``fastact bench``: the cases its options ask for, measured, as a table for people and as JSON for programs.

What is compared is in ``cases.py``, ``contenders.py`` and ``peers.py``, how in ``measurement.py``.  The JSON holds
everything that the table leaves out (medians, the statements that were timed, the machine); ``benchmarks/report.py``
makes the README's table of it.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import json
import math
import platform
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import dispatch, threads
from .backends import cython_kernels
from .cases import MODES, UNITS, Case
from .catalogue import ALIASES, BY_NAME, DIRECTIONS
from .contenders import optional_module
from .machine import cpu_name
from .measurement import CALL_SIZE, ROUNDS, Figure, Row, call_row, rows_of

#: The dtypes that there are cases for.
DTYPES = ("float32", "float64")
#: Distributions whose versions belong to a result.
_VERSIONED = ("numpy", "scipy", "torch", "numba")

#: Elements, without --calls and with it.
_DEFAULT_SIZE = ((65536,), (CALL_SIZE,))


def parse_size(text: str) -> int:
    """Number of elements: ``1000``, ``64Ki``, ``1Mi``."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|)", text.strip())
    if not match or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"size: got {text!r}; accepted: a positive integer, 64Ki, 1Mi, 1Gi ...")
    return int(match[1]) * UNITS[match[2]]


def _count(name: str, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{name}: got {text!r}; accepted: an integer from 1 to {most}")
        return int(text)

    return parse


def _listed(name: str, accepted: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Parser of a comma-separated list of words, or ``all``."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(accepted) if text == "all" else tuple(word.strip() for word in text.split(","))
        for word in words:
            if word not in accepted:
                raise argparse.ArgumentTypeError(f"{name}: got {word!r}; accepted: {', '.join(accepted)}, all")
        return words

    return parse


def _activation(text: str) -> str:
    if text != "all" and text not in BY_NAME and text not in ALIASES:
        raise argparse.ArgumentTypeError(f"activation: got {text!r}; accepted: all, {', '.join([*BY_NAME, *ALIASES])}")
    return ALIASES.get(text, text)


def _backends(text: str) -> tuple[str, ...]:
    if text == "auto":
        return (next(name for name in dispatch.order() if dispatch.why_unavailable(name) is None),)
    names = dispatch.available_backends() if text == "all" else _listed("backend", (*dispatch.BACKENDS, "auto"))(text)
    for name in names:
        reason = dispatch.why_unavailable(name) if name != "auto" else "auto stands alone"
        if reason:
            accepted = ", ".join(dispatch.available_backends())
            raise argparse.ArgumentTypeError(f"backend: got {name!r}: {reason}; accepted: auto, all, {accepted}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``fastact bench``."""
    lists = "comma-separated, or all"
    parser.add_argument("activations", nargs="*", type=_activation, help="names or aliases; default: all")
    parser.add_argument(
        "--direction", type=_listed("direction", DIRECTIONS), default=DIRECTIONS[:2], help=f"{', '.join(DIRECTIONS)}; "
        f"{lists}; default: forward,backward",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=_backends, default="auto", help=f"{', '.join(dispatch.BACKENDS)}; {lists}; "
        "default: the one that serves",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", type=_listed("dtype", DTYPES), default=("float32",), help=f"{', '.join(DTYPES)}; "
        f"{lists}; default: float32",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=lambda text: tuple(parse_size(word) for word in text.split(",")), default=None,
        metavar="N[,N...]", help=f"elements, as in 1000, 64Ki, 1Mi; default: 64Ki, with --calls {CALL_SIZE}",
    )  # fmt: skip
    parser.add_argument(
        "--mode", type=_listed("mode", MODES), default=("reused",), help=f"where the result goes: {', '.join(MODES)}; "
        f"{lists}; default: reused",
    )  # fmt: skip
    parser.add_argument("--threads", type=_count("threads", 1024), default=1, help="for everybody; default: 1")
    parser.add_argument(
        "--rounds", type=_count("rounds", 1_000_000), default=None, help=f"default: {ROUNDS}, fewer for large arrays"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything that was measured there")
    parser.add_argument("--no-peers", action="store_true", help="leave NumPy, SciPy and PyTorch out")
    parser.add_argument(
        "--calls", action="store_true", help="the cost of a call instead, on one thread, beside an empty call"
    )


def cases_of(arguments: argparse.Namespace) -> list[Case]:
    """The cases that the options ask for, in the order of the catalogue's rows."""
    names = list(BY_NAME)
    sizes = arguments.size or _DEFAULT_SIZE[arguments.calls]
    if arguments.activations and "all" not in arguments.activations:
        names = list(dict.fromkeys(arguments.activations))
    return [
        Case(name, direction, dtype, size, mode, arguments.threads)
        for name, dtype, size, mode, direction in itertools.product(
            names, arguments.dtype, sizes, arguments.mode, arguments.direction
        )
        if direction in BY_NAME[name].directions
    ]


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code that was timed."""
    # here, because the package has its version only once all modules that it starts with are imported
    from . import __version__

    versions = {"fastact": __version__, "python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu_name(),
        "cpus": threads.cpus_allowed(),
        "instruction_set": cython_kernels.instruction_set(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions,
    }


def _figure_as_json(figure: Figure | None) -> dict[str, Any] | None:
    if figure is None:
        return None
    # JSON has no infinity; float("inf") reads the word back
    infinite = figure.max_ulp is not None and not math.isfinite(figure.max_ulp)
    return {**figure._asdict(), **({"max_ulp": "inf"} if infinite else {})}


def row_as_json(row: Row) -> dict[str, Any]:
    """A row as plain data."""
    return {
        "function": row.function,
        **row.case._asdict(),
        "backend": row.backend,
        "instruction_set": row.instruction_set,
        "fastact": _figure_as_json(row.ours),
        "memory": _figure_as_json(row.memory),
        "numpy": _figure_as_json(row.peers.get("numpy")),
        "torch": _figure_as_json(row.peers.get("torch")),
        "best_peer": row.best_peer,
        "ratio": row.ratio,
    }


def run(arguments: argparse.Namespace) -> int:
    """Measure what the options ask for, print the table, write the JSON."""
    if optional_module("rich") is None:
        print("fastact bench needs rich for its table: pip install 'fastact[cli]'", file=sys.stderr)
        return 2
    from rich.console import Console
    from rich.progress import track

    from .benchmark_tables import print_calls, print_rows

    with_peers = not arguments.no_peers
    cases = cases_of(arguments)
    if not cases:
        print("direction: none of these activations has a gradient from its output", file=sys.stderr)
        return 2
    result: dict[str, Any] = {"machine": machine(), "rows": [], "calls": []}
    console = Console(stderr=True)
    if arguments.calls:
        cases = [case._replace(threads=1) for case in cases]
        unique = list(dict.fromkeys(cases))
        result["calls"] = [
            call_row(case, with_peers, arguments.rounds)
            for case in track(unique, "measuring", console=console, transient=True)
        ]
        print_calls(result["calls"])
    else:
        rows: list[Row] = []
        for case in track(cases, "measuring", console=console, transient=True):
            rows += rows_of(case, arguments.backend, with_peers, arguments.rounds)
        print_rows(rows)
        result["rows"] = [row_as_json(row) for row in rows]
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0
