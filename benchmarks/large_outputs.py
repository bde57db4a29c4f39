"""What streaming and recycling are worth for outputs beyond the caches: each on and off, in turns.

    python benchmarks/large_outputs.py --into docs/memory.md

Reused outputs are written past the caches or not (``src_cy/streaming.pxi``), new ones get recycled memory or fresh
pages (``src_cy/recycling.h``).  Beside them is memory's own time: copying as many bytes, or adding two arrays, with
NumPy, on one thread.  Kernels that do not stream by themselves are streamed only where they wait for memory; ``elu`` is
listed to show that others lose by it.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from typing import Any

import numpy as np
import sections

import fastact
from fastact import _core, dispatch, streaming
from fastact.cases import show_size

FUNCTIONS = ("relu", "relu_backward", "elu_backward", "elu", "sigmoid", "gelu")
SIZES = "1Mi,4Mi,16Mi,64Mi"


def once(call: Any) -> float:
    """Nanoseconds of one call, and of freeing what it returned."""
    start = time.perf_counter_ns()
    call()
    return float(time.perf_counter_ns() - start)


def measured(name: str, size: int, count: int, rounds: int) -> dict[str, Any]:
    """One row: minimum ns per element of each way."""
    function = dispatch.FUNCTIONS[name]
    random = np.random.default_rng(20260101)
    inputs = [random.standard_normal(size, np.float32) for _ in function.array_names]
    out = np.zeros(size, np.float32)
    streams_on, bound = function.streams_on, fastact.get_recycling().max_bytes
    stream_from = _core.get_stream_from()

    def as_by_default() -> None:
        function.streams_on = streams_on
        _core.set_stream_from(stream_from)
        fastact.set_recycling(bound)

    def reused(streamed: bool) -> float:
        function.streams_on = (1,) * len(streams_on)
        _core.set_stream_from(stream_from if streamed else streaming.NEVER)
        return once(lambda: function(*inputs, out=out))

    def new(recycled: bool) -> float:
        fastact.set_recycling(bound if recycled else 0)
        if recycled:
            function(*inputs)  # freed at once: what the next one recycles
        return once(lambda: function(*inputs))

    def memory() -> float:
        return once(lambda: np.add(*inputs, out=out) if len(inputs) > 1 else np.copyto(out, inputs[0]))

    ways = {
        "memory": memory,
        "ordinary": lambda: reused(False),
        "streamed": lambda: reused(True),
        "fresh": lambda: new(False),
        "recycled": lambda: new(True),
    }
    best = dict.fromkeys(ways, float("inf"))
    try:
        with fastact.num_threads(count):
            streams = fastact.explain(name, inputs[0]).streams
            for _ in range(rounds):
                for way, run in ways.items():
                    as_by_default()
                    best[way] = min(best[way], run() / size)
    finally:
        as_by_default()
    return {"function": name, "size": size, "threads": count, "streams": streams, **best}


def section(rows: list[dict[str, Any]]) -> str:
    """The table."""
    heads = ["function", "elements", "threads", "memory", "reused", "streamed", "is streamed", "new", "new, recycled"]
    lines = [
        [
            f"`{row['function']}`",
            show_size(row["size"]),
            str(row["threads"]),
            *(f"{row[way]:.3f}" for way in ("memory", "ordinary", "streamed")),
            "yes" if row["streams"] else "no",
            *(f"{row[way]:.3f}" for way in ("fresh", "recycled")),
        ]
        for row in rows
    ]
    title = "ns per float32 element, the minimum of rounds in turns, `python benchmarks/large_outputs.py`:"
    return f"{title}\n\n{sections.table(heads, lines)}"


def rows(options: Any) -> list[dict[str, Any]]:
    """Everything, one row for each function, size and number of threads."""
    cases = itertools.product(options.function, options.size, sorted({1, options.threads}))
    return [measured(name, size, count, options.rounds) for name, size, count in cases]


def main(arguments: list[str] | None = None) -> int:
    parser = sections.parser(__doc__.splitlines()[0], 7)
    parser.add_argument("--function", nargs="+", default=FUNCTIONS, choices=[*dispatch.FUNCTIONS], metavar="NAME")
    parser.add_argument("--size", type=sections.sizes, default=sections.sizes(SIZES), metavar="N[,N...]")
    options = parser.parse_args(arguments)
    return sections.finish(options, "large_outputs", functools.partial(rows, options), section)


if __name__ == "__main__":
    sys.exit(main())
