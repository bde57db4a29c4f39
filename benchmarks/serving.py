"""Several Python threads that serve requests at once, each with arrays of its own: throughput and latency.

    python benchmarks/serving.py                                  prints the table
    python benchmarks/serving.py --into docs/threads.md           and puts it there

Each request is one activation of a float32 array; a thread sends its next one when the last is done.  fastact and
PyTorch take turns, round by round; throughput and percentiles of a round are of all its requests, and the figures are
medians over the rounds.  ``inner`` is how many threads each call may use: PyTorch gives every Python thread a team of
its own, fastact splits one call at a time and lets the others work alone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
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

FUNCTIONS = ("gelu", "silu", "mish")
#: Requests of a thread before its clock starts: PyTorch makes a team for each thread that calls it.
UNTIMED = 10


def served(requests: list[Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Let every thread serve its request again and again: requests per second, and percentiles in ns."""
    ready = threading.Barrier(len(requests) + 1)
    latencies: list[list[int]] = [[] for _ in requests]
    elapsed = [0.0] * len(requests)
    failures: list[BaseException] = []

    def serve(k: int) -> None:
        try:
            request, clock, times = requests[k], time.perf_counter_ns, latencies[k]
            for _ in range(UNTIMED):
                request()
            ready.wait()
            begun = now = clock()
            end = begun + int(seconds * 1e9)
            while now < end:
                start = clock()
                request()
                now = clock()
                times.append(now - start)
            elapsed[k] = (now - begun) / 1e9
        except BaseException as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=serve, args=(k,)) for k in range(len(requests))]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        ready.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    everything = sorted(itertools.chain.from_iterable(latencies))
    return {
        "per_second": sum(len(times) / taken for times, taken in zip(latencies, elapsed, strict=True)),
        "p50_ns": everything[len(everything) // 2],
        "p99_ns": everything[min(len(everything) - 1, len(everything) * 99 // 100)],
    }


def requests_of(torch: Any, name: str, size: int, clients: int) -> dict[str, list[Callable[[], Any]]]:
    """The same work for both: an array and a place for the result for each Python thread."""
    found: dict[str, list[Callable[[], Any]]] = {"fastact": [], "torch": []}
    for k in range(clients):
        x, out = aligned(size, "float32"), aligned(size, "float32")
        x[...] = np.random.default_rng(k).standard_normal(size) * 2.5
        found["fastact"].append(functools.partial(getattr(fastact, name), x, out=out))
        theirs = getattr(torch._C._nn, name)
        found["torch"].append(functools.partial(theirs, torch.from_numpy(x), out=torch.from_numpy(out)))
    return found


def measured(torch: Any, name: str, size: int, inner: int, options: Any) -> dict[str, Any]:
    """One row: both libraries, round by round."""
    requests = requests_of(torch, name, size, options.clients)
    rounds: dict[str, list[dict[str, float]]] = {library: [] for library in requests}
    torch.set_num_threads(inner)
    with fastact.num_threads(inner):
        for k in range(options.rounds):
            for library in ("fastact", "torch") if k % 2 == 0 else ("torch", "fastact"):
                rounds[library].append(served(requests[library], options.seconds))
    return {
        "function": name,
        "size": size,
        "clients": options.clients,
        "inner": inner,
        **{
            library: {key: statistics.median(found[key] for found in of_library) for key in of_library[0]}
            for library, of_library in rounds.items()
        },
    }


def section(rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    heads = ["function", "elements", "inner", "fastact, requests/s", "PyTorch", "ratio"]
    heads += ["fastact p50, us", "PyTorch", "fastact p99, us", "PyTorch"]
    lines = [
        [
            f"`{row['function']}`",
            show_size(row["size"]),
            str(row["inner"]),
            f"{row['fastact']['per_second']:.0f}",
            f"{row['torch']['per_second']:.0f}",
            f"{row['fastact']['per_second'] / row['torch']['per_second']:.2f}",
            *(
                f"{row[library][key] / 1000:.0f}"
                for key, library in itertools.product(("p50_ns", "p99_ns"), ("fastact", "torch"))
            ),
        ]
        for row in rows
    ]
    title = f"{rows[0]['clients']} Python threads serving requests at once, `python benchmarks/serving.py`:"
    return f"{title}\n\n{sections.table(heads, lines)}"


def rows(options: Any) -> list[dict[str, Any]]:
    """Everything, one row for each function, size and number of inner threads."""
    torch = sections.torch_for("serving")
    sections.settle(options.threads, 0.1 * options.rounds)
    return [
        measured(torch, name, size, inner, options)
        for name, size, inner in itertools.product(options.function, options.size, sorted({1, options.threads}))
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = sections.parser(__doc__.splitlines()[0], 7)
    parser.add_argument("--function", nargs="+", default=FUNCTIONS, choices=FUNCTIONS, help="default: all of these")
    parser.add_argument("--size", type=sections.sizes, default=sections.sizes("64Ki,256Ki"), metavar="N[,N...]")
    parser.add_argument("--clients", type=int, default=8, help="Python threads; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one round; default: %(default)s")
    options = parser.parse_args(arguments)
    return sections.finish(options, "serving", functools.partial(rows, options), section)


if __name__ == "__main__":
    sys.exit(main())
