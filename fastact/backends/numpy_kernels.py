"""Kernel pointers whose work is done by plain NumPy expressions (``reference.py``): no compiler, no JIT.

A kernel pointer here leads back into Python through ctypes: the driver calls it like any other, block by block, and
the callback takes the GIL.  It evaluates in float64 and rounds once.  It is the slow, readable backend that is right.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..catalogue import ACTIVATIONS, Activation

DISTINCT = False

_CALLBACK = ctypes.CFUNCTYPE(
    None,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_ssize_t,
    ctypes.c_void_p,
)
_ROWS: dict[str, tuple[Activation, str]] = {
    f"{row.name}_{direction}": (row, direction) for row in ACTIVATIONS for direction in row.directions
}
#: A callback must live as long as its address is in use: for ever.
_callbacks: dict[tuple[str, str], Any] = {}


def unavailable() -> str | None:
    """NumPy is always there."""
    return None


def _array(address: int, count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    # NumPy's annotations know no ctypes arrays, only what else has a buffer
    buffer: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    array: np.ndarray[Any, Any] = np.frombuffer(buffer, dtype)
    return array


def _expressions(row: Activation, direction: str) -> list[Callable[..., Any]]:
    suffix = {"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}[direction]
    names = [row.name + suffix]
    if direction == "backward":
        names += [f"{row.name}_{parameter.name}_gradient" for parameter in row.operands]
    from .. import reference  # only now: not every process wants this backend

    return [getattr(reference, name) for name in names]


def kernel(loop: str, dtype: str) -> int:
    """Address of a callback that evaluates the reference's expressions."""
    if (loop, dtype) not in _callbacks:
        _callbacks[loop, dtype] = _CALLBACK(_evaluator(*_ROWS[loop], np.dtype(dtype)))
    return ctypes.cast(_callbacks[loop, dtype], ctypes.c_void_p).value or 0


def _evaluator(row: Activation, direction: str, dtype: np.dtype[Any]) -> Callable[..., None]:
    expressions = _expressions(row, direction)
    chained = direction != "forward"
    n_inputs = chained + 1 + len(row.operands)
    n_scalars = len(row.scalars)

    def evaluate(inputs: Any, outputs: Any, count: int, params: int) -> None:
        # no warnings, not even from widening a signalling NaN
        with np.errstate(all="ignore"):
            arrays = [_array(inputs[k], count, dtype).astype(np.float64) for k in range(n_inputs)]
            numbers = iter(_array(params, n_scalars, dtype).astype(np.float64) if n_scalars else ())
            grad = arrays.pop(0) if chained else None
            operands = iter(arrays[1:])
            arguments = [next(operands) if p.per_channel else next(numbers) for p in row.parameters]
            results = [expression(arrays[0], *arguments) for expression in expressions]
            for k, result in enumerate(results):
                # the derivative is rounded before it is multiplied, as in the compiled kernels
                value = result if grad is None else result.astype(dtype) * grad.astype(dtype)
                _array(outputs[k], count, dtype)[...] = value

    return evaluate


def describe() -> str:
    """One line for people."""
    return f"plain expressions, NumPy {np.__version__}"
