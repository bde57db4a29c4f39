"""Which backend serves a call, and why.

The order is written down, not measured at import: ``cython``, ``numba``, ``numpy``.  CONTRIBUTING.md has the report
that justifies it: the compiled loops and Numba's are within a fifth of each other either way, but only Numba's must be
compiled at first use; NumPy's expressions are a hundred to a thousand times slower.

Choosing a backend swaps kernel pointers in the compiled table, for the whole process.  A kernel that does not exist
yet (Numba's, before its first use) leaves a gap, which ``resolve_kernel`` fills at the first call.  Under ``auto``,
Numba serves where the tables say that it is faster (``preferences.py``), but only what was warmed up: nobody waits for
a JIT unasked.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from . import _core, costs, preferences, threads, tuned
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
#: (function, dtype) of Numba's kernels that were made before they are called, and that are the faster ones.
_warmed: set[tuple[str, str]] = set()


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
        ``auto`` takes the first available of ``cython``, ``numba``, ``numpy``, and Numba where it is the faster one
        and was warmed up (`warmup`).

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
        for kind, dtype in enumerate(DTYPES):
            function.activate(BACKENDS.index("numba" if _numba_serves(function, dtype) else first), kind)


def _numba_serves(function: _core.ElementwiseFunction, dtype: str) -> bool:
    """Whether a table's word for Numba counts: its kernel is there, and nobody has chosen another backend."""
    return _chosen == "auto" and (function.name, dtype) in _warmed


def _loop(function: _core.ElementwiseFunction) -> str:
    return f"{function.row.name}_{function.direction}"


def _address(backend: str, loop: str, dtype: str) -> int | None:
    """Address of a kernel, made now if need be; None, and a warning, if the backend fails."""
    try:
        address: int = _MODULES[backend].kernel(loop, dtype)
    except Exception as error:
        # whatever a JIT compiler may raise: the next backend serves, and info says why
        _failed[backend] = f"{loop} {dtype}: {type(error).__name__}: {error}"
        warnings.warn(f"fastact: backend {backend} cannot serve {_failed[backend]}", RuntimeWarning, stacklevel=4)
        return None
    return address


def supply_compiled(function: _core.ElementwiseFunction, dtype: str, level: str | None = None) -> None:
    """Enter the compiled kernel of an instruction set into the table, by default of the one that serves.

    With it the one for a per-channel operand of one value, if there is one (``lowering.uniform_loop_of``), and the one
    that writes past the caches.
    """
    kernels, loop = cython_kernels.kernels_of(level), _loop(function)
    uniform = kernels.get((f"{loop}_uniform", dtype), 0)
    streaming = cython_kernels.streaming_kernels_of(level).get((loop, dtype), 0)
    place = BACKENDS.index("cython"), DTYPES.index(dtype)
    function.supply(*place, kernels[loop, dtype], cython_kernels.DISTINCT, uniform, streaming)


def _enter(function: _core.ElementwiseFunction, dtype: str, backend: str, address: int) -> None:
    """Put a backend's kernel, which is there, into the table."""
    if backend == "cython":
        supply_compiled(function, dtype)
    else:
        function.supply(BACKENDS.index(backend), DTYPES.index(dtype), address, _MODULES[backend].DISTINCT)


def resolve_kernel(function: _core.ElementwiseFunction, dtype: str) -> None:
    """Fill a gap in the kernel table: the first backend in order that can supply this kernel does."""
    kind = DTYPES.index(dtype)
    with _lock:
        for name in order():
            if why_unavailable(name) is not None:
                continue
            address = _address(name, _loop(function), dtype)
            if address is not None:
                _enter(function, dtype, name, address)
                function.activate(BACKENDS.index(name), kind)
                return
        raise RuntimeError(f"no backend can serve {_loop(function)} {dtype}: {_failed}")


def numba_cost(function: _core.ElementwiseFunction, dtype: str) -> costs.NumbaCost | None:
    """What a table says of Numba, where its kernel may serve: it gives the compiled one's bits, so that none change."""
    if cython_kernels.looks_up(_loop(function), dtype):
        return None
    return preferences.numba_cost(function.name, dtype)


def preferred(function: _core.ElementwiseFunction, dtype: str) -> str:
    """The backend that would serve if every kernel were there already."""
    if _chosen == "auto" and why_unavailable("numba") is None:
        cost = numba_cost(function, dtype)
        if cost is not None and numba_kernels.version_imported() in (None, cost.version):
            return "numba"
    return next(name for name in order() if why_unavailable(name) is None)


def supply(function: _core.ElementwiseFunction, dtype: str, backend: str) -> bool:
    """Make the kernel of a backend and enter it into the table, where it waits; False, and a warning, if it fails."""
    # without the lock: nobody who chooses a backend meanwhile is to wait for a compiler
    address = _address(backend, _loop(function), dtype)
    if address is None:
        return False
    with _lock:
        _enter(function, dtype, backend, address)
    return True


def warm(function: _core.ElementwiseFunction, dtype: str, backend: str) -> bool:
    """Make the kernel of a backend, and let it serve from now on if it is the one that should; False if it fails."""
    if not supply(function, dtype, backend):
        return False
    with _lock:
        if backend == preferred(function, dtype):
            if backend == "numba" and _chosen == "auto":
                _warmed.add((function.name, dtype))
            function.activate(BACKENDS.index(backend), DTYPES.index(dtype))
    return True


def is_warmed(function: _core.ElementwiseFunction, dtype: str) -> bool:
    """Whether Numba's kernel serves under ``auto`` because a table says that it is the faster one."""
    return (function.name, dtype) in _warmed


def _supply_compiled() -> None:
    """Enter all compiled kernels at once; they exist already."""
    if cython_kernels.unavailable() is None:
        for function in FUNCTIONS.values():
            for dtype in DTYPES:
                supply_compiled(function, dtype)
        for dtype, addresses in cython_kernels.conversions().items():
            _core.supply_conversions(DTYPES.index(dtype), *addresses)
        for dtype, addresses in cython_kernels.sums().items():
            _core.supply_sums(DTYPES.index(dtype), *addresses)


def _set_thresholds() -> None:
    for function in FUNCTIONS.values():
        elements = [preferences.threshold(function.name, _loop(function), dtype)[0] for dtype in DTYPES]
        function.parallel_from = tuple(elements)
        arrays = len(function.array_names) + 1
        function.streams_on = tuple(costs.streams_on(function.name, _loop(function), dtype, arrays) for dtype in DTYPES)


def instruction_set() -> str:
    """The one that the compiled kernels were built for, ``"none"`` without them."""
    return cython_kernels.instruction_set()


def _enter_names() -> None:
    """Let C code find the functions of each activation, under its name and its aliases."""
    for row in ACTIVATIONS:
        functions = [FUNCTIONS[row.function_name(direction)] for direction in row.directions]
        for name in (row.name, *row.aliases):
            _core.enter_name(name, functions, name != row.name)


def start(version: str) -> None:
    """Build the public callables and fill the kernel table; the package, of this version, calls it once."""
    global _chosen
    for row in ACTIVATIONS:
        for direction in row.directions:
            function = _core.ElementwiseFunction(row, direction)
            FUNCTIONS[function.name] = function
    _chosen = _check(os.environ.get("FASTACT_BACKEND", "auto"), "FASTACT_BACKEND")
    _supply_compiled()
    tuned.start(version, np.__version__, instruction_set(), FUNCTIONS, DTYPES)
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
