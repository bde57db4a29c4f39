"""Which backend serves a call, and why.

The order is written down, not measured at import: ``cython``, ``numba``, ``numpy``.  CONTRIBUTING.md has the report
that justifies it: the compiled loops and Numba's are within a fifth of each other either way, but only Numba's must be
compiled at first use; NumPy's expressions are a hundred to a thousand times slower.

Choosing a backend swaps kernel pointers in the compiled table, for the whole process.  A kernel that does not exist
yet (Numba's, before its first use) leaves a gap, which ``resolve_kernel`` fills at the first call.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from . import _core, threads
from .backends import cython_kernels, numba_kernels, numpy_kernels
from .catalogue import ACTIVATIONS, ALIASES

#: The preference order of ``auto``; positions are the backend numbers of the kernel table.
BACKENDS = ("cython", "numba", "numpy")
_MODULES: dict[str, ModuleType] = {"cython": cython_kernels, "numba": numba_kernels, "numpy": numpy_kernels}
#: The dtypes that there are kernels for; positions are their numbers in the kernel table, and in ``fastact.h``.
DTYPES = ("float32", "float64", "float16", "bfloat16")

#: Every public callable by its name.
FUNCTIONS: dict[str, _core.ElementwiseFunction] = {}

_lock = threading.RLock()
_chosen = "auto"
#: Backends that failed when they were asked for a kernel, with the reason; they are passed over from then on.
_failed: dict[str, str] = {}


def why_unavailable(backend: str) -> str | None:
    """Why a backend cannot serve here, or None."""
    reason: str | None = _failed.get(backend) or _MODULES[backend].unavailable()
    return reason


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that can serve here, in the order in which ``auto`` prefers them.

    Returns
    -------
    tuple of str
        Some of ``"cython"``, ``"numba"``, ``"numpy"``; the last is always there.

    Examples
    --------
    >>> import fastact
    >>> "numpy" in fastact.available_backends()
    True
    """
    return tuple(name for name in BACKENDS if why_unavailable(name) is None)


def _check(name: str, argument: str) -> str:
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"{argument}: got {name!r}; accepted: auto, {', '.join(BACKENDS)}")
    return name


def order() -> tuple[str, ...]:
    """The backends in the order in which they are asked now: the chosen one, then ``auto``'s order."""
    first = (_chosen,) if _chosen != "auto" else ()
    return first + tuple(name for name in BACKENDS if name not in first)


def set_backend(name: str) -> None:
    """Choose the backend that serves every function, for the whole process.

    Parameters
    ----------
    name : {"auto", "cython", "numba", "numpy"}
        ``auto`` takes the first available of ``cython``, ``numba``, ``numpy``.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    RuntimeError
        If it cannot serve here; the message says why.

    Examples
    --------
    >>> import fastact
    >>> fastact.set_backend("numpy")
    >>> fastact.get_backend()
    'numpy'
    >>> fastact.set_backend("auto")
    """
    global _chosen
    _check(name, "name")
    reason = why_unavailable(name) if name != "auto" else None
    if reason:
        raise RuntimeError(
            f"name: got {name!r}, which cannot serve here: {reason}; available: {', '.join(available_backends())}"
        )
    with _lock:
        _chosen = name
        _activate_all()


def get_backend() -> str:
    """Return the name given to `set_backend`, or ``FASTACT_BACKEND``, or ``"auto"``.

    Returns
    -------
    str
        The choice, not what serves: `explain` and ``fastact info`` tell that.

    Examples
    --------
    >>> import fastact
    >>> fastact.get_backend()
    'auto'
    """
    return _chosen


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use a backend inside a ``with`` block, and the former one after it.

    The choice is the process's, not the thread's: other threads see it too.

    Parameters
    ----------
    name : {"auto", "cython", "numba", "numpy"}
        As for `set_backend`.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    RuntimeError
        If it cannot serve here; the message says why.

    Examples
    --------
    >>> import fastact
    >>> with fastact.use_backend("numpy"):
    ...     fastact.relu(-1.0)
    np.float64(0.0)
    """
    global _chosen
    before = _chosen
    set_backend(name)
    try:
        yield
    finally:
        with _lock:
            _chosen = before
            _activate_all()


def _activate_all() -> None:
    first = next(name for name in order() if why_unavailable(name) is None)
    for function in FUNCTIONS.values():
        for kind in range(len(DTYPES)):
            function.activate(BACKENDS.index(first), kind)


def resolve_kernel(function: _core.ElementwiseFunction, dtype: str) -> None:
    """Fill a gap in the kernel table: the first backend in order that can supply this kernel does."""
    kind = DTYPES.index(dtype)
    loop = f"{function.row.name}_{function.direction}"
    with _lock:
        for name in order():
            if why_unavailable(name) is not None:
                continue
            try:
                address = _MODULES[name].kernel(loop, dtype)
            except Exception as error:
                # whatever a JIT compiler may raise: the next backend serves, and info says why
                _failed[name] = f"{loop} {dtype}: {type(error).__name__}: {error}"
                warnings.warn(f"fastact: backend {name} cannot serve {_failed[name]}", RuntimeWarning, stacklevel=3)
                continue
            function.supply(BACKENDS.index(name), kind, address, _MODULES[name].DISTINCT)
            function.activate(BACKENDS.index(name), kind)
            return
        raise RuntimeError(f"no backend can serve {loop} {dtype}: {_failed}")


def _supply_compiled() -> None:
    """Enter all compiled kernels at once; they exist already."""
    if cython_kernels.unavailable() is None:
        for function in FUNCTIONS.values():
            for kind, dtype in enumerate(DTYPES):
                address = cython_kernels.kernel(f"{function.row.name}_{function.direction}", dtype)
                function.supply(0, kind, address, cython_kernels.DISTINCT)


# What an element costs, in ns for one unit of lowering.operations, float32: ns per element of `fastact bench`, all
# activations, divided by their operations (0.004 to 0.007 with AVX-512 on an AMD EPYC, 2026-11-22); float64 takes 2.6
# times that.  No kernel is faster than 0.03 ns, where the L2 cache is the limit.  In a row of calls two
# threads pay from 3 us of work on one; 5, because an isolated call pays 1 to 2 us for nothing (src_cy/pool.h).
_NS_PER_OPERATION = {"avx512": 0.005, "avx2": 0.010, "base": 0.035, "none": 0.1}
_FLOAT64_FACTOR = 2.6
_FASTEST_NS = 0.03
_PARALLEL_FROM_NS = 5000.0


def _set_thresholds() -> None:
    per_operation = _NS_PER_OPERATION[cython_kernels.instruction_set()]
    counts = cython_kernels.operations()
    for function in FUNCTIONS.values():
        loop = f"{function.row.name}_{function.direction}"
        single, narrowed = (
            int(_PARALLEL_FROM_NS / max(counts.get((loop, dtype), 10) * per_operation, _FASTEST_NS))
            for dtype in ("float32", "float16")
        )
        function.parallel_from = (single, int(single / _FLOAT64_FACTOR), narrowed, narrowed)


def instruction_set() -> str:
    """The one that the compiled kernels were built for, ``"none"`` without them."""
    return cython_kernels.instruction_set()


def _enter_names() -> None:
    """Let C code find the functions of each activation, under its name and its aliases."""
    for row in ACTIVATIONS:
        functions = [FUNCTIONS[row.function_name(direction)] for direction in row.directions]
        for name in (row.name, *row.aliases):
            _core.enter_name(name, functions, name != row.name)


def start() -> None:
    """Build the public callables and fill the kernel table; the package calls it once."""
    global _chosen
    for row in ACTIVATIONS:
        for direction in row.directions:
            function = _core.ElementwiseFunction(row, direction)
            FUNCTIONS[function.name] = function
    _chosen = _check(os.environ.get("FASTACT_BACKEND", "auto"), "FASTACT_BACKEND")
    _supply_compiled()
    _set_thresholds()
    _activate_all()
    _enter_names()


def _forget_locks() -> None:
    # a thread of the parent may have held one while it compiled; in the child nobody would ever give it back
    global _lock
    _lock = threading.RLock()
    numba_kernels.forget_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def find(function: str | Callable[..., Any]) -> _core.ElementwiseFunction:
    """The public callable of a name, an alias, or itself."""
    if isinstance(function, _core.ElementwiseFunction):
        return function
    for alias, name in ALIASES.items():
        if function == alias or (isinstance(function, str) and function.startswith(alias + "_")):
            function = name + function[len(alias) :]
    if function not in FUNCTIONS:
        raise ValueError(f"function: got {function!r}; accepted: {', '.join(FUNCTIONS)}")
    return FUNCTIONS[function]


def serving(function: _core.ElementwiseFunction, dtype: str) -> str:
    """Name of the backend that serves a function now, resolving it if need be."""
    kind = DTYPES.index(dtype)
    if function.serving(kind) < 0:
        resolve_kernel(function, dtype)
    return BACKENDS[function.serving(kind)]


def threads_for(function: _core.ElementwiseFunction, dtype: str, size: int) -> int:
    """Most threads that a dense call of this size uses."""
    threshold = function.parallel_from[DTYPES.index(dtype)]
    return min(threads.get_num_threads(), 2 * size // threshold) if size >= threshold else 1
