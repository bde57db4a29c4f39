"""``fastact.explain``: what would serve a call, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import _core, dispatch, threads
from .backends import cython_kernels
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
    reasons = [*why, *_backend_reasons(backend)]
    count = dispatch.threads_for(called, computed, array.size)
    threshold = called.parallel_from[dispatch.DTYPES.index(computed)]
    reasons.append(
        f"{array.size} elements, threads pay from {threshold}; "
        f"{threads.get_num_threads()} may be used ({threads.origin})"
    )
    # NumPy calls bfloat16 in the other byte order ">V2"
    dtype = "bfloat16" if _core.is_bfloat16(array.dtype) else str(array.dtype)
    return Explanation(called.name, dtype, backend, cython_kernels.instruction_set(), count, path, tuple(reasons))


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


def _backend_reasons(backend: str) -> list[str]:
    reasons = [f"order: {', '.join(dispatch.order())} (backend {dispatch.get_backend()!r} is set)"]
    for name in dispatch.order():
        if name == backend:
            break
        reasons.append(f"{name} passed over: {dispatch.why_unavailable(name)}")
    if backend == "cython":
        reasons += [f"{reason}" for reason in cython_kernels.passed_over()]
    return reasons
