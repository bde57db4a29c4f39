"""``fastact.warmup``: what is made at a first call (Numba's kernels, worker threads), made before it.

It asks the kernel table for kernels and decides nothing: which backend should serve is known to ``dispatch.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from . import _core, dispatch, threads

#: A job wakes sleeping workers if it is as many thresholds long: src_cy/driver.pxi.
_LENGTHY_THRESHOLDS = 32


class Warmed(NamedTuple):
    """One kernel that is ready: the backend that serves there now, or was asked for, and the seconds it took."""

    function: str
    dtype: str
    backend: str
    seconds: float


def warmup(
    functions: str | Callable[..., Any] | Iterable[str | Callable[..., Any]] | None = None,
    dtypes: str | Iterable[str] = ("float32", "float64"),
    backend: str | None = None,
    start_threads: bool = True,
) -> tuple[Warmed, ...]:
    """Make kernels and threads now, so that no later call waits for a compiler.

    Without ``backend``, it makes what should serve: Numba's kernels where they are faster by the table of
    ``fastact tune``, or by the one that comes with the package, and where Numba serves anyway (`set_backend`).
    Only then does Numba serve where it is faster; without a warm-up the compiled kernels do, and nobody waits.
    Numba takes about half a second for each kernel.

    Parameters
    ----------
    functions : str, public function, or iterable of these, optional
        ``"gelu"``, ``fastact.gelu_backward`` ...; by default all of them.
    dtypes : str or iterable of str, optional
        ``"float32"``, ``"float64"``, ``"float16"``, ``"bfloat16"``, or several; by default the first two.
    backend : {"cython", "numba", "numpy"}, optional
        Make this backend's kernels, for a later `set_backend` or `use_backend`.
    start_threads : bool, optional
        Whether to start the worker threads as well, if more than one thread is to be used.

    Returns
    -------
    tuple of Warmed
        Named tuples ``(function, dtype, backend, seconds)``, one for each kernel that is ready.

    Raises
    ------
    ValueError
        If there is no such function, dtype or backend; nothing has been made by then.
    RuntimeError
        If the backend that was named cannot serve here; the message says why.

    Examples
    --------
    >>> import fastact
    >>> ready, = fastact.warmup("gelu", "float32", backend="cython")
    >>> ready.function, ready.dtype, ready.backend
    ('gelu', 'float32', 'cython')
    """
    found = _functions(functions)
    names = _dtypes(dtypes)
    if backend is not None:
        if backend not in dispatch.BACKENDS:
            raise ValueError(f"backend: got {backend!r}; accepted: None, {', '.join(dispatch.BACKENDS)}")
        _check_available(backend)
    done = []
    for dtype in names:
        for function in found:
            started = time.perf_counter()
            made = dispatch.warm(function, dtype, backend or dispatch.preferred(function, dtype))
            if backend is not None and not made:
                _check_available(backend)
            serves = backend or dispatch.serving(function, dtype)
            done.append(Warmed(function.name, dtype, serves, time.perf_counter() - started))
    if start_threads and backend in (None, dispatch.order()[0]):
        _start_workers(found, names)
    return tuple(done)


def _check_available(backend: str) -> None:
    reason = dispatch.why_unavailable(backend)
    if reason:
        available = ", ".join(dispatch.available_backends())
        raise RuntimeError(f"backend: got {backend!r}, which cannot serve here: {reason}; available: {available}")


def _functions(functions: object) -> list[_core.ElementwiseFunction]:
    if functions is None:
        return list(dispatch.FUNCTIONS.values())
    if isinstance(functions, str) or callable(functions):
        functions = (functions,)
    if not isinstance(functions, Iterable):
        raise ValueError(f"functions: got {functions!r}; accepted: None, a name, a public function, several of these")
    given = list(functions)
    for function in given:
        if not isinstance(function, str) and not callable(function):
            raise ValueError(f"functions: got {function!r}; accepted: a name such as 'gelu', or a public function")
    return list(dict.fromkeys(dispatch.find(function) for function in given))


def _dtypes(dtypes: object) -> list[str]:
    given = [dtypes] if isinstance(dtypes, str) or not isinstance(dtypes, Iterable) else list(dtypes)
    names = [dtype for dtype in given if isinstance(dtype, str) and dtype in dispatch.DTYPES]
    if len(names) != len(given):
        unknown = next(dtype for dtype in given if dtype not in names)
        raise ValueError(f"dtypes: got {unknown!r}; accepted: {', '.join(dispatch.DTYPES)}")
    return list(dict.fromkeys(names))


def _start_workers(functions: list[_core.ElementwiseFunction], dtypes: list[str]) -> None:
    """One call that is long enough for all of them: the pool makes workers when it needs them."""
    count = threads.get_num_threads()
    plain = [function for function in functions if not function.operand_names]
    if count < 2 or not plain or not dtypes:
        return
    # NumPy may not know bfloat16, and threads are the same ones for every dtype
    dtype = dtypes[0] if dtypes[0] in ("float32", "float64") else "float32"
    precision = dispatch.DTYPES.index(dtype)
    # the dearest function is long enough with the fewest elements: some 0.2 ms of work, a megabyte
    function = min(plain, key=lambda function: function.parallel_from[precision])
    # half a threshold for each thread is the least there is: src_cy/driver.pxi
    size = function.parallel_from[precision] * max(_LENGTHY_THRESHOLDS, count)
    x = np.zeros(size, dtype)
    function(*[x] * len(function.array_names), out=x)
