"""What the tables ask for: the user's own (``tuned.py``) where it has measured something, else the shipped one.

Nothing here decides that anything must be compiled: that Numba is the faster one counts once it is warmed up.
"""

from __future__ import annotations

from . import costs, tuned


def threshold(name: str, loop: str, dtype: str) -> tuple[int, str]:
    """Elements from which threads are used, and how that is known."""
    choice = tuned.table.choice(name, dtype) if tuned.table else None
    if tuned.table and choice and choice.parallel_from is not None:
        return choice.parallel_from, tuned.table.origin
    return costs.threshold(name, loop, dtype)


def numba_cost(name: str, dtype: str) -> costs.NumbaCost | None:
    """The costs, where Numba's kernel is to serve once it is there; else None."""
    choice = tuned.table.choice(name, dtype) if tuned.table else None
    if tuned.table and choice and choice.numba_ns is not None:
        if not choice.numba:
            return None
        version = tuned.table.numba_version or ""
        return costs.NumbaCost(choice.numba_ns, choice.compiled_ns, version, tuned.table.origin)
    return costs.numba_cost(name, dtype)
