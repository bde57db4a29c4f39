"""What fastact and PyTorch cost each other when they take turns, each on all threads.

    python benchmarks/alternating.py                              prints the table
    python benchmarks/alternating.py --into docs/threads.md       and puts it there

Both keep threads that stay awake for a while after a call, PyTorch's by way of OpenMP, so each may find the cores taken
by the other's.  One round is: PyTorch alone, fastact alone, and both in turn, each for so long that what came before
is forgotten: the first half does not count.  The figure of each is the median over the rounds of the mean of a round,
because a few calls that wait for a time slice of the other's thread are what is looked for.  Nothing else should run
meanwhile.  Both work on the same memory, so alternating does not change what the caches hold.
"""

from __future__ import annotations

import functools
import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sections

import fastact
from fastact.cases import aligned, show_size

FUNCTIONS = ("relu", "gelu", "silu")
OPERATORS = ("relu", "gelu", "matmul")
POOLS = ("auto", "own", "openmp")
#: What each part of a round takes: long against the time that either side's threads stay awake.
SECONDS = 0.25


def operators(torch: Any, x: Any, out: Any, edge: int) -> dict[str, Callable[[], Any]]:
    """PyTorch's side: two of its activations on the same arrays, and a product of square matrices."""
    given, result = torch.from_numpy(x), torch.from_numpy(out)
    matrix, product = torch.ones(edge, edge), torch.empty(edge, edge)
    return {
        "relu": lambda: torch.clamp_min(given, 0, out=result),
        "gelu": lambda: torch._C._nn.gelu(given, out=result),
        "matmul": lambda: torch.matmul(matrix, matrix, out=product),
    }


def means(sides: list[Callable[[], Any]], seconds: float) -> list[float]:
    """Nanoseconds of each side, called in turn for so long: the mean over the second half of the calls."""
    clock = time.perf_counter_ns
    taken: list[list[int]] = [[] for _ in sides]
    end = clock() + int(seconds * 1e9)
    while clock() < end:
        for side, times in zip(sides, taken, strict=True):
            start = clock()
            side()
            times.append(clock() - start)
    return [statistics.fmean(times[len(times) // 2 :]) for times in taken]


def measured(theirs: Callable[[], Any], ours: Callable[[], Any], rounds: int, seconds: float) -> dict[str, float]:
    """Nanoseconds of both sides, alone and alternating."""
    names = ("torch_alone", "fastact_alone", "torch_alternating", "fastact_alternating")
    found = [
        [*means([theirs], seconds), *means([ours], seconds), *means([theirs, ours], 2 * seconds)] for _ in range(rounds)
    ]
    return {name: statistics.median(values) for name, values in zip(names, zip(*found, strict=True), strict=True)}


def pin() -> None:
    """Give this thread the first core, and every other thread of the process the rest (Linux)."""
    first, *others = sorted(os.sched_getaffinity(0))
    for thread in map(int, os.listdir("/proc/self/task")):
        os.sched_setaffinity(thread, {first} if thread == threading.get_native_id() else set(others or [first]))


def section(rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    heads = ["PyTorch's operator", "fastact's function", "elements", "pool"]
    heads += ["PyTorch alone, us", "alternating", "ratio", "fastact alone, us", "alternating", "ratio"]
    lines = [
        [
            f"`{row['operator']}`",
            f"`{row['function']}`",
            show_size(row["size"]),
            row["pool"],
            *itertools.chain.from_iterable(
                (
                    f"{row[f'{side}_alone'] / 1000:.1f}",
                    f"{row[f'{side}_alternating'] / 1000:.1f}",
                    f"{row[f'{side}_ratio']:.2f}",
                )
                for side in ("torch", "fastact")
            ),
        ]
        for row in rows
    ]
    command = f"python benchmarks/alternating.py{' --pin' if rows[0]['pinned'] else ''}"
    return f"Each alone, and both taking turns, `{command}`:\n\n{sections.table(heads, lines)}"


def rows(options: Any) -> list[dict[str, Any]]:
    """Everything, one row for each size, operator, function and pool."""
    torch = sections.torch_for("alternating")
    torch.set_num_threads(options.threads)
    fastact.set_num_threads(options.threads)
    sections.settle(options.threads, 0.1 * options.rounds)
    found = []
    allowed = os.sched_getaffinity(0) if options.pin else set()
    torch.relu(torch.ones(2**20))  # makes its threads
    if options.pin:
        pin()
    with torch.inference_mode():
        for size in options.size:
            x, out = aligned(size, "float32"), aligned(size, "float32")
            x[...] = np.random.default_rng(20260101).standard_normal(size) * 2.5
            theirs = operators(torch, x, out, options.edge)
            for operator, name, pool in itertools.product(options.operator, options.function, options.pool):
                ours = functools.partial(getattr(fastact, name), x, out=out)
                fastact.set_thread_pool(pool)
                row = measured(theirs[operator], ours, options.rounds, options.seconds)
                for side in ("torch", "fastact"):
                    row[f"{side}_ratio"] = row[f"{side}_alternating"] / row[f"{side}_alone"]
                found.append(
                    {"operator": operator, "function": name, "size": size, "pool": pool, "pinned": options.pin, **row}
                )
    fastact.set_thread_pool("auto")
    if options.pin:
        os.sched_setaffinity(0, allowed)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = sections.parser(__doc__.splitlines()[0], 5)
    parser.add_argument("--function", nargs="+", default=FUNCTIONS, choices=FUNCTIONS, help="default: all of these")
    parser.add_argument("--operator", nargs="+", default=OPERATORS, choices=OPERATORS, help="default: all of these")
    parser.add_argument("--size", type=sections.sizes, default=sections.sizes("256Ki,1Mi"), metavar="N[,N...]")
    parser.add_argument("--pool", nargs="+", default=POOLS, choices=POOLS, help="fastact's threads; default: all")
    parser.add_argument("--edge", type=int, default=512, help="of the matrices; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="each side of a round; default: %(default)s")
    parser.add_argument(
        "--pin", action="store_true", help="keep this thread on one core and all others on the rest, for busy machines"
    )
    options = parser.parse_args(arguments)
    return sections.finish(options, "alternating", functools.partial(rows, options), section)


if __name__ == "__main__":
    sys.exit(main())
