"""What ``fastact info`` tells: everything that decides how a call is served on this machine, and why.

Standard library and NumPy only.  It looks and never changes anything; the one heavy thing it does is to import Numba,
because an installed Numba that does not import (its NumPy is too new, say) cannot serve, and only trying shows it.
"""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import __version__, _core, costs, dispatch, recycling, streaming, threads, tuned
from .backends import cython_kernels, numba_kernels, numpy_kernels
from .machine import cpu_name

_BACKENDS: dict[str, ModuleType] = {"cython": cython_kernels, "numba": numba_kernels, "numpy": numpy_kernels}


def collect() -> dict[str, Any]:
    """Return the facts as plain data, ready for JSON."""
    # before Numba is imported: what a program that uses fastact alone has in its process
    runtimes = openmp_runtimes()
    backends = {name: _backend(name) for name in dispatch.order()}
    kept = recycling.get_recycling()
    return {
        "fastact": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "instruction_set": cython_kernels.instruction_set(),
        "instruction_sets_passed_over": list(cython_kernels.passed_over()),
        "backend": dispatch.get_backend(),
        "serves": next(name for name, facts in backends.items() if facts["available"]),
        "order": list(dispatch.order()),
        "backends": backends,
        "threads": threads.get_num_threads(),
        "threads_from": threads.origin,
        "thread_pool": threads.get_thread_pool(),
        "tuning": tuned.table.origin if tuned.table else costs.origin(),
        "tuning_ignored": tuned.ignored or _other_numba(),
        "built_with_threads": bool(_core.built_with_threads()),
        "stream_from": streaming.stream_from(),
        "stream_from_from": streaming.origin,
        "recycling": {"kept_bytes": kept.kept_bytes, "max_bytes": kept.max_bytes},
        "recycling_from": recycling.origin,
        "openmp_runtimes": runtimes,
        "environment": environment(),
        "subnormals": subnormals(),
    }


def _other_numba() -> str | None:
    """Why a tuned table says nothing about Numba; it has been imported by now, if it can be."""
    measured, found = tuned.table and tuned.table.numba_version, numba_kernels.version_imported()
    if measured and found and measured != found:
        return f"where it says that numba is faster, that was Numba {measured}, and this is {found}"
    return None


def _backend(name: str) -> dict[str, Any]:
    reason = dispatch.why_unavailable(name)
    if reason is None and name == "numba":
        try:
            importlib.import_module("numba")
        except Exception as error:
            # whatever a foreign package raises while it is imported is the reason that people need to read
            reason = f"numba does not import: {type(error).__name__}: {error}"
    return {"available": reason is None, "description": reason or _BACKENDS[name].describe()}


def openmp_runtimes(maps: Path = Path("/proc/self/maps")) -> list[str] | None:
    """The OpenMP libraries in this process, None where the operating system does not tell.

    fastact brings none; but two of them are a risk to their users, and their threads compete with ours for the cores.
    """
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return None
    # the path is the sixth column, and may hold spaces
    paths = {columns[5] for columns in (line.split(maxsplit=5) for line in lines) if len(columns) == 6}
    # libgomp-1a2b3c.so.1 as wheels rename it; libomp and libiomp5 are LLVM's and Intel's
    return sorted(path for path in paths if Path(path).name.startswith(("libgomp", "libomp", "libiomp")))


def environment() -> dict[str, str]:
    """The environment variables that fastact reads, and are set."""
    return {
        name: value for name, value in sorted(os.environ.items()) if name.startswith("FASTACT_") or name in _FOREIGN
    }


_FOREIGN = ("OMP_NUM_THREADS",)


def subnormals() -> str:
    """What this thread's floating-point mode does with subnormal numbers: kept, or which of them become zero."""
    tiny = np.full(1, np.finfo(np.float32).tiny)
    # bit patterns: where subnormal inputs count as zero, a comparison would call them equal to zero as well
    smallest = np.ones(1, np.int32).view(np.float32)
    flushed = int((tiny * np.float32(0.5)).view(np.int32)[0]) == 0
    ignored = int((smallest * np.float32(2.0**60)).view(np.int32)[0]) == 0
    lost = [words for is_lost, words in ((flushed, "results"), (ignored, "inputs")) if is_lost]
    return f"flushed to zero: {' and '.join(lost)} (some library set FTZ or DAZ)" if lost else "kept"


def as_text(facts: dict[str, Any]) -> str:
    """The facts for people: one line each, reasons indented."""
    rows: list[tuple[str, str]] = [
        ("fastact", facts["fastact"]),
        ("Python", facts["python"]),
        ("NumPy", facts["numpy"]),
        ("platform", facts["platform"]),
        ("CPU", facts["cpu"]),
        ("instruction set", facts["instruction_set"]),
        *(("", f"not {reason}") for reason in facts["instruction_sets_passed_over"]),
        ("backend", f"{facts['serves']} serves ({facts['backend']!r} is set; order: {', '.join(facts['order'])})"),
    ]
    for name, backend in facts["backends"].items():
        rows.append(("", f"{name}: {'' if backend['available'] else 'not available: '}{backend['description']}"))
    built = "with" if facts["built_with_threads"] else "without"
    threads_built = f"built {built} threads{'' if built == 'with' else ': every call runs on the calling thread'}"
    rows += [
        ("threads", f"{facts['threads']} (from {facts['threads_from']}), pool: {facts['thread_pool']}"),
        ("", threads_built),
    ]
    runtimes = facts["openmp_runtimes"]
    if runtimes is None:
        rows.append(("", "OpenMP runtimes of other packages: unknown on this platform"))
    else:
        rows.append(("", f"OpenMP runtimes of other packages: {', '.join(runtimes) or 'none'}"))
    rows.append(("costs", facts["tuning"]))
    if facts["tuning_ignored"]:
        rows.append(("", f"fastact tune's table is not used: {facts['tuning_ignored']}"))
    bound = facts["stream_from"]
    streamed = "no outputs" if bound is None else f"outputs of calls that move {bound} bytes or more"
    rows.append(("streaming", f"{streamed} (from {facts['stream_from_from']})"))
    kept, most = facts["recycling"].values()
    rows.append(("recycling", f"{kept} of at most {most} bytes kept (from {facts['recycling_from']})"))
    variables = [f"{name}={value}" for name, value in facts["environment"].items()]
    rows += [("environment", ", ".join(variables) or "no FASTACT_* variable, no OMP_NUM_THREADS")]
    rows += [("subnormals", facts["subnormals"])]
    return "\n".join(f"{label:<16}{text}" for label, text in rows)
