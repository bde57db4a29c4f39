"""What one element of each function costs by the table that the package ships, and what follows from it everywhere.

``costs.json`` was measured by ``tools/costs.py``: ns per element of every function and dtype on each instruction set,
and of Numba's kernels beside the best of them; each set on one machine, which the file names.  A function that is not
in it, such as an activation that was added since, is estimated from its count of operations.  ``fastact tune`` measures
a user's own machine (``tuned.py``); this is what it is compared with.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, NamedTuple

from .backends import cython_kernels

#: In a row of calls two threads pay from 3 us of work on one; 5, because an isolated call pays 1 to 2 us for nothing
#: (src_cy/pool.h).
PARALLEL_FROM_NS = 5000.0
_BYTES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
#: The driver gives no thread less: src_cy/driver.pxi, run_parallel.
FEWEST_PARALLEL = 512
# Without a measurement, in ns for one unit of lowering.operations, float32: ns per element of `fastact bench`, all
# activations, divided by their operations (0.004 to 0.007 with AVX-512 on an AMD EPYC, 2026-11-22); float64 takes 2.6
# times that.  No kernel is faster than 0.03 ns, where the L2 cache is the limit.
_NS_PER_OPERATION = {"avx512": 0.005, "avx2": 0.010, "base": 0.035, "none": 0.1}
_FLOAT64_FACTOR = 2.6
_FASTEST_NS = 0.03
_MEMORY_NS_PER_BYTE = 0.024
# Of what memory takes one thread for a byte that is read or written, on the machine of the table: what costs less in
# cache waits for memory, and streaming makes it faster.  Where that was 0.024 ns (Zen 5, 2026-11-27), of 64 Mi on one
# thread silu float32 (0.0165) takes 0.82 of the time, softplus float32 (0.0173) 1.0, elu_backward float64 (0.019) 1.0,
# elu float32 (0.022) 1.16.
_MEMORY_BOUND = 0.73
# Each of n threads waits for memory below n times such a part of that.  Two wait less where nobody else uses memory:
# with 1.1 times that limit elu_backward in float64 takes 0.9 of the time; with 1.3 sigmoid_backward and
# softplus_backward in float64 1.05 and 1.16, elu in float32 1.0 to 1.17; with 1.55 elu in float64 1.4 (Zen 4).
_SHARED = 0.6
# The same for 16 bits, for any number of threads: with half the bytes, two threads do not wait more than one.  On one,
# sigmoid_backward (0.024 ns) takes 0.8 to 0.95 of the time, elu_backward (0.029) and sigmoid (0.033) 1.1 to 1.2.
_MEMORY_BOUND_16_BITS = 1.04
#: More threads than anybody has.
NEVER_STREAMED = 1 << 20
#: Numba serves by this table where its kernels are faster by so much: between CPUs the two differ by up to a fifth
#: either way (CONTRIBUTING.md), and the table knows one CPU.
_NUMBA_MARGIN = 0.10


class NumbaCost(NamedTuple):
    """Where Numba's kernel is the faster one: both costs in ns per element, and how they are known."""

    numba_ns: float
    compiled_ns: float
    #: The version of Numba that made it.
    version: str
    origin: str


def _read() -> dict[str, Any]:
    with open(os.path.join(os.path.dirname(__file__), "costs.json"), encoding="utf-8") as file:
        table: dict[str, Any] = json.load(file)
    return table


_TABLE = _read()


def origin() -> str:
    """Where the table's figures for this machine come from, for people."""
    measured_on = _TABLE["measured_on"].get(cython_kernels.instruction_set())
    return f"shipped table, {measured_on['cpu'].partition(',')[0]}, {measured_on['date']}" if measured_on else "none"


def estimated(loop: str, dtype: str) -> float:
    """Ns per element by the count of operations."""
    counted = "float16" if _BYTES[dtype] == 2 else "float32"
    cost = cython_kernels.operations().get((loop, counted), 10) * _NS_PER_OPERATION[cython_kernels.instruction_set()]
    return max(cost, _FASTEST_NS) * (_FLOAT64_FACTOR if dtype == "float64" else 1.0)


def measured(name: str, dtype: str) -> float | None:
    """Ns per element by the table, on the instruction set that serves here; None if it is not in it."""
    by_function: dict[str, float] = _TABLE["compiled_ns"].get(cython_kernels.instruction_set(), {}).get(dtype, {})
    return by_function.get(name)


def per_element(name: str, loop: str, dtype: str) -> tuple[float, str]:
    """Ns per element, and how that is known."""
    cost = measured(name, dtype)
    return (cost, origin()) if cost is not None else (estimated(loop, dtype), "estimated from its operations")


def streams_on(name: str, loop: str, dtype: str, arrays: int) -> int:
    """From how many threads on a function of so many arrays, the output included, waits for memory beyond caches."""
    ns_per_byte = per_element(name, loop, dtype)[0] / (_BYTES[dtype] * arrays)
    measured_on = _TABLE["measured_on"].get(cython_kernels.instruction_set())
    part = ns_per_byte / (measured_on["memory_ns_per_byte"] if measured_on else _MEMORY_NS_PER_BYTE)
    if _BYTES[dtype] == 2:
        return 1 if part <= _MEMORY_BOUND_16_BITS else NEVER_STREAMED
    return 1 if part <= _MEMORY_BOUND else math.ceil(part / (_MEMORY_BOUND * _SHARED))


def parallel_from(ns: float, parallel_from_ns: float = PARALLEL_FROM_NS) -> int:
    """Elements from which threads pay, for a function of this cost."""
    return max(FEWEST_PARALLEL, int(parallel_from_ns / ns))


def threshold(name: str, loop: str, dtype: str) -> tuple[int, str]:
    """Elements from which threads pay, and how that is known."""
    cost, origin = per_element(name, loop, dtype)
    return parallel_from(cost), origin


def numba_cost(name: str, dtype: str) -> NumbaCost | None:
    """The costs if Numba's kernel is faster than the compiled one by enough, on this instruction set."""
    numba = _TABLE.get("numba", {})
    compiled = measured(name, dtype)
    found = numba.get("ns", {}).get(dtype, {}).get(name)
    if compiled is None or found is None or numba["instruction_set"] != cython_kernels.instruction_set():
        return None
    if found > compiled * (1 - _NUMBA_MARGIN):
        return None
    return NumbaCost(found, compiled, numba["version"], origin())
