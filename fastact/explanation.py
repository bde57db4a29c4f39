"""``fastact.explain``: what would serve a call, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import _core, costs, dispatch, preferences, streaming, threads
from .backends import cython_kernels, numba_kernels
from .dtypes import SUPPORTED, computed_name, is_supported


class Explanation(NamedTuple):
    """What serves a call.  Printing it gives the reasons in words."""

    function: str
    dtype: str
    backend: str
    instruction_set: str
    threads: int
    path: str
    reasons: tuple[str, ...]
    streams: bool

    def __str__(self) -> str:
        head = f"{self.function} on {self.dtype}: {self.backend}"
        if self.backend == "cython":
            head += f" ({self.instruction_set})"
        head += f", {self.threads} thread{'s' if self.threads > 1 else ''}, {self.path} path"
        return "\n".join([head, *(f"  - {reason}" for reason in self.reasons)])


def explain(function: str | Callable[..., Any], x: Any) -> Explanation:
    """Tell which backend, instruction set, number of threads and path would serve ``function(x)``, and why.

    Parameters
    ----------
    function : str or public function
        ``"gelu"``, ``fastact.gelu`` ...
    x : array_like
        The input (or gradient) the function would be called with.

    Returns
    -------
    Explanation
        A named tuple; ``print`` it.

    Raises
    ------
    ValueError
        If there is no such function.
    TypeError
        If the function does not take that dtype.

    Examples
    --------
    >>> import numpy as np, fastact
    >>> fastact.explain("gelu", np.zeros(16, "float32")).path
    'direct'
    >>> fastact.explain("gelu", np.zeros((4, 4), "float32")[:, ::2]).path
    'ufunc'
    """
    called = dispatch.find(function)
    array = np.asanyarray(x)
    if not is_supported(array.dtype):
        raise TypeError(f"x: got dtype {array.dtype}; accepted: {SUPPORTED}")
    computed = computed_name(array.dtype)
    backend = dispatch.serving(called, computed)
    path, why = _path(called, x)
    reasons = [*why, *_backend_reasons(called, computed, backend)]
    count = dispatch.threads_for(called, computed, array.size)
    threshold = called.parallel_from[dispatch.DTYPES.index(computed)]
    known = preferences.threshold(called.name, f"{called.row.name}_{called.direction}", computed)
    # who sets a threshold by hand knows where it comes from
    came_from = f"; threshold: {known[1]}" if known[0] == threshold else ""
    streams, why_streams = _streams(called, array, backend, path, count)
    reasons.append(why_streams)
    if count > 1:
        reasons.append(
            f"threads of pool {threads.pool_at_present()!r} at present ({threads.get_thread_pool()!r} is set)"
        )
    reasons.append(
        f"{array.size} elements, threads pay from {threshold}; "
        f"{threads.get_num_threads()} may be used ({threads.origin}){came_from}"
    )
    # NumPy calls bfloat16 in the other byte order ">V2"
    dtype = "bfloat16" if _core.is_bfloat16(array.dtype) else str(array.dtype)
    level = cython_kernels.instruction_set()
    return Explanation(called.name, dtype, backend, level, count, path, tuple(reasons), streams)


def _streams(
    function: _core.ElementwiseFunction, array: np.ndarray[Any, Any], backend: str, path: str, count: int
) -> tuple[bool, str]:
    """Whether the output goes past the caches (``src_cy/streaming.pxi``), and why."""
    bound = streaming.stream_from()
    if bound is None:
        return False, f"ordinary stores: nothing is streamed ({streaming.origin})"
    # what is summed over channels alternates between computing and memory, so that streaming pays in any case
    sums = function.direction == "backward" and bool(function.operand_names)
    computed = computed_name(array.dtype)
    # what looks up streams by itself, mostly
    itself = backend == "cython" and cython_kernels.streams(f"{function.row.name}_{function.direction}", computed)
    needed = 1 if itself else function.streams_on[dispatch.DTYPES.index(computed)]
    if count < needed and not sums:
        of_threads = f" on fewer than {needed} threads" if needed < costs.NEVER_STREAMED else ""
        return False, f"ordinary stores: the kernel takes longer than memory does{of_threads}"
    if backend == "numpy":
        return False, "ordinary stores: the numpy backend never streams"
    is_computed = array.dtype.name in dispatch.DTYPES and array.dtype.isnative
    if not is_computed or (path == "ufunc" and not function.operand_names):
        return False, f"ordinary stores: streamed are dense arrays of {', '.join(dispatch.DTYPES)}"
    moved = array.nbytes * (len(function.array_names) + 1)
    words = f"{moved} bytes in and out, streaming pays from {bound} ({streaming.origin}), if the output is no input"
    return moved >= bound, words


def _path(function: _core.ElementwiseFunction, x: Any) -> tuple[str, list[str]]:
    if type(x) is not np.ndarray:
        return "ufunc", [f"ufunc path: {type(x).__name__} is not exactly a NumPy array"]
    if x.dtype.kind in "iub" or not x.dtype.isnative:
        return "ufunc", [f"ufunc path: dtype {x.dtype} is converted first"]
    if not (x.flags.c_contiguous or x.flags.f_contiguous) or not x.flags.aligned:
        return "ufunc", ["ufunc path: the array is not dense, or not aligned"]
    if function.operand_names:
        return "ufunc", [f"ufunc path: {', '.join(function.operand_names)} is broadcast"]
    return "direct", []


def _backend_reasons(function: _core.ElementwiseFunction, dtype: str, backend: str) -> list[str]:
    reasons = [f"order: {', '.join(dispatch.order())} (backend {dispatch.get_backend()!r} is set)"]
    for name in dispatch.order():
        reason = dispatch.why_unavailable(name)
        if name == backend or reason is None:
            break
        reasons.append(f"{name} passed over: {reason}")
    reasons += _numba_reasons(function, dtype)
    if backend == "cython":
        reasons += [f"{reason}" for reason in cython_kernels.passed_over()]
    return reasons


def _numba_reasons(function: _core.ElementwiseFunction, dtype: str) -> list[str]:
    """Where a table says that Numba is the faster one: that it serves, or why it does not."""
    cost = dispatch.numba_cost(function, dtype)
    if cost is None or dispatch.get_backend() != "auto":
        return []
    head = f"numba is faster, {cost.numba_ns:.3g} ns per element instead of {cost.compiled_ns:.3g} ({cost.origin})"
    if dispatch.is_warmed(function, dtype):
        return [f"{head}, and warmed up"]
    reason = dispatch.why_unavailable("numba")
    found = numba_kernels.version_imported()
    if reason is None and found not in (None, cost.version):
        reason = f"that was Numba {cost.version}, and this is {found}"
    return [f"{head}, but {reason or 'not warmed up: see fastact.warmup'}"]
