"""What the four projects have in common: comparing bits, and timing contenders in alternating rounds.

Only their check.py and benchmark.py use it; the projects themselves stand alone.
"""

import argparse
import datetime
import json
import platform
import time

import numpy as np

import fastact


def same_bits(what, result, expected):
    """End with a message unless two arrays have the same dtype, shape and bits."""
    integers = {4: np.uint32, 8: np.uint64}[expected.itemsize]
    if result.dtype != expected.dtype or result.shape != expected.shape:
        raise SystemExit(
            f"{what}: got {result.dtype} {result.shape}, but Python gives {expected.dtype} {expected.shape}"
        )
    different = np.flatnonzero(
        np.ascontiguousarray(result).view(integers) != np.ascontiguousarray(expected).view(integers)
    )
    if different.size:
        first = different[0]
        raise SystemExit(
            f"{what}: {different.size} of {expected.size} elements have other bits than from Python; the first, number "
            f"{first}: {result.ravel()[first]!r} instead of {expected.ravel()[first]!r}"
        )
    print(f"{what}: the same {expected.size} elements, bit for bit")


def most_ulps_apart(result, expected):
    """The largest distance between two float32 arrays, in representable numbers."""
    ordered = [np.ascontiguousarray(array).view(np.int32).astype(np.int64) for array in (result, expected)]
    # negative numbers count downwards from -0.0, which is one place with 0.0
    ordered = [np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) for bits in ordered]
    return int(np.abs(ordered[0] - ordered[1]).max())


def options(description):
    """Of every benchmark: how many rounds, small shapes for a test, and where to write JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=15, help="rounds; the minimum counts")
    parser.add_argument("--short", action="store_true", help="small shapes and few rounds: shows only that it works")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args()


#: Seconds that one measurement takes at least; the clock costs about 0.1 us.
SHORTEST = 0.0005


def timed(contender, repetitions):
    """Seconds of one call, from so many."""
    start = time.perf_counter()
    for _ in range(repetitions):
        contender()
    return (time.perf_counter() - start) / repetitions


def alternate(contenders, refresh, rounds):
    """{name: best seconds}; all take turns in every round, in the opposite order in the next, on fresh data.

    Noise only ever adds to a time, so the minimum counts; and whatever else the machine does meets all of them.
    """
    refresh()
    for contender in contenders.values():
        # pages of the output, caches, Numba's compiler
        contender()
    repetitions = {name: 1 + int(SHORTEST / timed(contender, 1)) for name, contender in contenders.items()}
    best = dict.fromkeys(contenders, float("inf"))
    for k in range(rounds):
        for name in list(contenders) if k % 2 else reversed(contenders):
            refresh()
            best[name] = min(best[name], timed(contenders[name], repetitions[name]))
    return best


def report(rows, path):
    """Print rows of [case, {name: seconds}, baseline], and write them as JSON."""
    for case, seconds, baseline in rows:
        print(f"\n{case}")
        for name, taken in seconds.items():
            ratio = "" if name == baseline else f"  {seconds[baseline] / taken:5.2f} x"
            print(f"    {name:42s} {taken * 1e3:10.4f} ms{ratio}")
    print("\nx: how many times as fast as the first line of the case")
    if path:
        figures = {
            "machine": platform.processor() or platform.machine(),
            "date": datetime.date.today().isoformat(),
            "fastact": fastact.__version__,
            "numpy": np.__version__,
            "cases": [
                {"case": case, "milliseconds": {name: 1e3 * taken for name, taken in seconds.items()},
                 "ratio": {name: seconds[baseline] / taken for name, taken in seconds.items()}}
                for case, seconds, baseline in rows
            ],
        }  # fmt: skip
        with open(path, "w") as file:
            json.dump(figures, file, indent=1)
