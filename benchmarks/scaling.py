"""How much faster a call is on more threads: every function and size, on one thread, on two, ... on all.

    python benchmarks/scaling.py                                  prints the table
    python benchmarks/scaling.py --into docs/threads.md           and puts it there
    python benchmarks/scaling.py --plot scaling.png               and draws it, for machines with many cores

All numbers of threads take turns in one process, and the figure of each is its minimum: whatever else the machine does
only ever adds time.  A thread without a core of its own cannot be fast, so nothing else should run meanwhile.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import sections

import fastact
from fastact.cases import aligned, show_size

FUNCTIONS = ("relu", "gelu", "mish", "silu", "sigmoid", "tanh")
#: What one sample takes at least: many times the clock and, for small arrays, the waking of a thread.
NS_PER_SAMPLE = 1_500_000


def counts(most: int) -> list[int]:
    """Numbers of threads to try: all up to 8, then powers of two, and the most."""
    return sorted({*range(1, min(most, 8) + 1), *(2**k for k in range(3, 11) if 2**k <= most), most})


def sample(function: Any, x: Any, out: Any, calls: int) -> float:
    """Nanoseconds per call."""
    start = time.perf_counter_ns()
    for _ in itertools.repeat(None, calls):
        function(x, out=out)
    return (time.perf_counter_ns() - start) / calls


def measured(name: str, dtype: str, size: int, threads: list[int], rounds: int) -> dict[str, Any]:
    """One row: the time on each number of threads, and how many times as fast as on one that is."""
    function = getattr(fastact, name)
    x, out = aligned(size, dtype), aligned(size, dtype)
    x[...] = np.random.default_rng(20260101).standard_normal(size) * 2.5
    out[...] = 0
    with fastact.num_threads(1):
        calls = max(1, int(NS_PER_SAMPLE / min(sample(function, x, out, 1) for _ in range(3))))
    best = dict.fromkeys(threads, float("inf"))
    for _, count in itertools.product(range(rounds), threads):
        with fastact.num_threads(count):
            sample(function, x, out, 1)
            best[count] = min(best[count], sample(function, x, out, calls))
    return {
        "function": name,
        "dtype": dtype,
        "size": size,
        "ns": {str(count): best[count] for count in threads},
        "speedup": {str(count): best[threads[0]] / best[count] for count in threads},
    }


def section(rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    threads = list(rows[0]["ns"])
    heads = ["function", "dtype", "elements", "us on 1 thread", *(f"{count} threads" for count in threads[1:])]
    lines = [
        [
            f"`{row['function']}`",
            row["dtype"],
            show_size(row["size"]),
            f"{row['ns'][threads[0]] / 1000:.1f}",
            *(f"{row['speedup'][count]:.2f}" for count in threads[1:]),
        ]
        for row in rows
    ]
    return "How many times as fast as on one thread, `python benchmarks/scaling.py`:\n\n" + sections.table(heads, lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Speed-up over threads, one panel for each dtype and size, one line for each function."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = sorted({(row["dtype"], row["size"]) for row in rows})
    figure, panels = pyplot.subplots(1, len(cases), figsize=(3.2 * len(cases), 3.2), sharey=True, squeeze=False)
    for panel, case in zip(panels[0], cases, strict=True):
        for row in (row for row in rows if (row["dtype"], row["size"]) == case):
            threads = [int(count) for count in row["speedup"]]
            panel.plot(threads, list(row["speedup"].values()), marker=".", label=row["function"])
        panel.plot(threads, threads, color="0.8", zorder=0)
        panel.set(title=f"{case[0]}, {show_size(case[1])}", xlabel="threads")
    panels[0][0].set_ylabel("times as fast as on one")
    panels[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=120, bbox_inches="tight")


def rows(options: Any) -> list[dict[str, Any]]:
    """Everything, one row for each dtype, size and function."""
    threads = counts(options.threads)
    sections.settle(options.threads, 0.02 * options.rounds)
    return [
        measured(name, dtype, size, threads, options.rounds)
        for dtype, size, name in itertools.product(options.dtype, options.size, options.function)
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = sections.parser(__doc__.splitlines()[0], 40)
    parser.add_argument("--function", nargs="+", default=FUNCTIONS, choices=FUNCTIONS, help="default: all of these")
    parser.add_argument("--dtype", nargs="+", default=("float32", "float64"), choices=("float32", "float64"))
    parser.add_argument("--size", type=sections.sizes, default=sections.sizes("64Ki,256Ki,1Mi,4Mi"), metavar="N[,N...]")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw it, too (needs matplotlib)")
    options = parser.parse_args(arguments)

    def shown(found: list[dict[str, Any]]) -> str:
        if options.plot:
            plot(found, options.plot)
        return section(found)

    return sections.finish(options, "scaling", functools.partial(rows, options), shown)


if __name__ == "__main__":
    sys.exit(main())
