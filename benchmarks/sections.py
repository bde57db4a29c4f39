"""What several benchmarks have in common: options, JSON, and a section of a document between two markers.

Each of them is one command that prints its table, and with ``--json PATH`` and ``--into FILE`` keeps it.  The section
says of itself when and where it was measured.  What was kept on another machine is shown by ``--kept PATH``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report

import fastact
from fastact import benchmark
from fastact.contenders import optional_module


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that all of them have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--threads", type=int, default=fastact.get_num_threads(), help="at most; default: %(default)s")
    options.add_argument("--rounds", type=int, default=rounds, help="in which all take turns; default: %(default)s")
    options.add_argument("--json", type=Path, metavar="PATH", help="write everything that was measured there")
    options.add_argument("--into", type=Path, metavar="FILE", help="put the section between its markers there")
    options.add_argument("--marker", metavar="NAME", help="of that section; default: the benchmark's name")
    options.add_argument(
        "--kept", type=Path, metavar="PATH", help="show what --json has kept, perhaps elsewhere, and measure nothing"
    )
    return options


def torch_for(name: str) -> Any:
    """PyTorch, or the end of the program and a word about it."""
    torch = optional_module("torch")
    if torch is None:
        print(f"{name} needs PyTorch: pip install torch", file=sys.stderr)
        raise SystemExit(2)
    return torch


def sizes(text: str) -> list[int]:
    """``64Ki,1Mi`` as numbers."""
    return [benchmark.parse_size(word) for word in text.split(",")]


def settle(most: int, seconds: float) -> None:
    """Long calls on all threads, until the system has found each new thread a core: it puts some on the caller's."""
    x = np.ones(2**22, np.float32)
    end = time.perf_counter() + seconds
    with fastact.num_threads(most):
        while time.perf_counter() < end:
            fastact.gelu(x, out=x)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose first column is text and whose others are figures."""
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def finish(
    options: argparse.Namespace, name: str, measure: Callable[[], list[dict[str, Any]]], section: Callable[[Any], str]
) -> int:
    """Measure, print the section that stands for the rows, and keep what the options say."""
    markers = [f"<!-- {options.marker or name}:{place} -->" for place in ("begin", "end")]
    if options.into:
        try:
            # before minutes are spent
            report.with_markers(options.into, *markers)
        except (OSError, ValueError) as problem:
            print(problem, file=sys.stderr)
            return 2
    if options.kept:
        result = json.loads(options.kept.read_text(encoding="utf-8"))
    else:
        rows = measure()
        result = {"machine": benchmark.machine(), "threads": options.threads, "rounds": options.rounds, "rows": rows}
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    origin = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['date'][:10]}; {versions}."
    text = f"{section(result['rows'])}\n\n{origin}\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.into:
        report.put_into(options.into, f"\n{text}\n", *markers)
    return 0
