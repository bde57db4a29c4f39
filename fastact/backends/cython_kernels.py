"""Kernel pointers from the best compiled instruction set that this CPU and operating system can run.

Only the chosen module is imported: its very initialisation may use the instructions it was built for.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any

DISTINCT = False
#: All instruction sets there may be, best first; the names that FASTACT_MAX_ISA takes.
INSTRUCTION_SETS = ("avx512", "avx2", "base")

_chosen: ModuleType | None = None
_reasons: list[str] = []


@functools.cache
def _load(level: str) -> ModuleType:
    return importlib.import_module(f"fastact._kernels.{level}")


def highest_allowed() -> str:
    """The limit set by FASTACT_MAX_ISA, or the best there is."""
    limit = os.environ.get("FASTACT_MAX_ISA")
    if limit is None:
        return INSTRUCTION_SETS[0]
    if limit not in INSTRUCTION_SETS:
        accepted = ", ".join(reversed(INSTRUCTION_SETS))
        raise ValueError(f"FASTACT_MAX_ISA: got {limit!r}; accepted: {accepted}")
    return limit


def _choose() -> ModuleType | None:
    """The module that serves; why better ones do not is kept for ``fastact info``."""
    global _chosen
    if _chosen is not None:
        return _chosen
    _reasons.clear()
    limit = highest_allowed()
    try:
        runnable = _told(_load("base"), "runnable")
    except ImportError as error:
        _reasons.append(f"base: {error}")
        return None
    for level in INSTRUCTION_SETS:
        if INSTRUCTION_SETS.index(level) < INSTRUCTION_SETS.index(limit):
            _reasons.append(f"{level}: above FASTACT_MAX_ISA={limit}")
        elif level not in runnable:
            _reasons.append(f"{level}: not supported by this CPU or operating system")
        else:
            try:
                _chosen = _load(level)
                return _chosen
            except ImportError as error:
                _reasons.append(f"{level}: not built ({error})")
    return None


def unavailable() -> str | None:
    """Why no compiled kernels can serve, or None."""
    return None if _choose() else "; ".join(_reasons)


def instruction_set() -> str:
    """Name of the instruction set that serves."""
    module = _choose()
    return module.__name__.rpartition(".")[2] if module else "none"


def passed_over() -> tuple[str, ...]:
    """The better instruction sets that do not serve, each with the reason."""
    _choose()
    return tuple(_reasons)


def kernel(loop: str, dtype: str) -> int:
    """Address of a compiled kernel."""
    module = _choose()
    assert module is not None
    address: int = _told(module, "addresses")[loop, dtype]
    return address


@functools.cache
def _told(module: ModuleType, what: str) -> Any:
    # kept: each call makes a table anew, or asks the CPU, which in a virtual machine means its host
    return getattr(module, what)()


def _module_of(level: str | None) -> ModuleType:
    """The one that serves, or, for tests and ``verify``, any that runs here."""
    if level is None:
        module = _choose()
        assert module is not None
        return module
    runnable = _told(_load("base"), "runnable")
    if level not in runnable:
        raise RuntimeError(f"level: got {level!r}; this machine runs: {', '.join(runnable)}")
    return _load(level)


def kernels_of(level: str | None = None) -> dict[tuple[str, str], int]:
    """All addresses of one instruction set, by default of the one that serves."""
    addresses: dict[tuple[str, str], int] = _told(_module_of(level), "addresses")
    return addresses


def streaming_kernels_of(level: str | None = None) -> dict[tuple[str, str], int]:
    """Addresses of the kernels that write past the caches, likewise: they are beside some that look up."""
    addresses: dict[tuple[str, str], int] = _told(_module_of(level), "streaming")
    return addresses


def formulas_of(level: str | None = None) -> dict[tuple[str, str], int]:
    """All addresses, likewise, of kernels that compute formulas: what others are compared with that look up."""
    module = _module_of(level)
    return {**kernels_of(level), **_told(module, "computing"), **_told(module, "formulas")}


def conversions() -> dict[str, tuple[int, int]]:
    """Addresses of what widens and what narrows elements of 16 bits, by dtype."""
    module = _choose()
    return dict(_told(module, "conversions")) if module else {}


def sums() -> dict[str, tuple[int, int]]:
    """Addresses of what sums float32 and float64 terms, all of them and each for itself, by dtype."""
    module = _choose()
    return dict(_told(module, "sums")) if module else {}


def operations() -> dict[tuple[str, str], int]:
    """Arithmetic per element by loop and dtype (float32, float16), counted when the kernels were built."""
    module = _choose()
    return dict(_told(module, "operations")) if module else {}


def looks_up(loop: str, dtype: str) -> bool:
    """Whether the kernel that serves looks up what its formula computes, to within one bit."""
    module = _choose()
    return module is not None and (loop, dtype) in _told(module, "looked_up")


def streams(loop: str, dtype: str) -> bool:
    """Whether the kernel that serves has one beside it that writes past the caches."""
    module = _choose()
    return module is not None and (loop, dtype) in _told(module, "streaming")


def describe() -> str:
    """One line for people."""
    return f"compiled loops, {instruction_set()}"
