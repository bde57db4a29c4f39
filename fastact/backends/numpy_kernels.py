"""Kernel pointers whose work is done by plain NumPy expressions (``reference.py``): no compiler, no JIT.

A kernel pointer here leads back into Python through ctypes: the driver calls it like any other, block by block, and
the callback takes the GIL.  It evaluates in float64 and rounds once; float16 and bfloat16 by way of float32.  It is the
slow, readable backend that is right.
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


class _Elements:
    """How elements of a dtype are read from memory and written to it, and in which dtype they are computed."""

    def __init__(self, dtype: np.dtype[Any], computed: np.dtype[Any] | None = None) -> None:
        self.dtype, self.computed = dtype, computed or dtype

    def read(self, address: int, count: int) -> np.ndarray[Any, Any]:
        """The elements, in float64."""
        return _array(address, count, self.dtype).astype(np.float64)

    def write(self, values: np.ndarray[Any, Any], address: int, count: int) -> None:
        """Store values that are of the dtype in which elements are computed."""
        _array(address, count, self.dtype)[...] = values


class _Float16(_Elements):
    """Rounded as in ``src_cy/halves.h``: NumPy's own conversion leaves flags in the x87 unit, which nobody restores."""

    def write(self, values: np.ndarray[Any, Any], address: int, count: int) -> None:
        bits = values.view(np.uint32)
        magnitude = bits & 0x7FFFFFFF
        tiny = (magnitude.view(np.float32) + np.float32(0.5)).view(np.uint32) - 0x3F000000
        normal = (magnitude - (112 << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13
        special = np.where(magnitude > 0x7F800000, 0x7E00 | (magnitude >> 13 & 0x3FF), 0x7C00)
        finite = np.where(magnitude < 0x38800000, tiny, normal)
        rounded = np.where(magnitude >= 0x477FF000, special, finite)
        _array(address, count, np.dtype(np.uint16))[...] = rounded | (bits >> 16 & 0x8000)


class _BFloat16(_Elements):
    """The upper halves of float32 numbers: NumPy itself has no such type."""

    def read(self, address: int, count: int) -> np.ndarray[Any, Any]:
        bits = _array(address, count, self.dtype).astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64)

    def write(self, values: np.ndarray[Any, Any], address: int, count: int) -> None:
        bits = values.view(np.uint32)
        # to nearest even; a NaN is made quiet instead, or it might become infinity
        rounded = np.where(np.isnan(values), bits | 0x400000, bits + 0x7FFF + (bits >> 16 & 1))
        _array(address, count, self.dtype)[...] = rounded >> 16


_ELEMENTS = {
    "float16": _Float16(np.dtype(np.float16), np.dtype(np.float32)),
    "bfloat16": _BFloat16(np.dtype(np.uint16), np.dtype(np.float32)),
}


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
        _callbacks[loop, dtype] = _CALLBACK(
            _evaluator(*_ROWS[loop], _ELEMENTS.get(dtype) or _Elements(np.dtype(dtype)))
        )
    return ctypes.cast(_callbacks[loop, dtype], ctypes.c_void_p).value or 0


def _evaluator(row: Activation, direction: str, elements: _Elements) -> Callable[..., None]:
    expressions = _expressions(row, direction)
    chained = direction != "forward"
    n_inputs = chained + 1 + len(row.operands)
    n_scalars = len(row.scalars)
    computed = elements.computed

    def evaluate(inputs: Any, outputs: Any, count: int, params: int) -> None:
        # no warnings, not even from widening a signalling NaN
        with np.errstate(all="ignore"):
            arrays = [elements.read(inputs[k], count) for k in range(n_inputs)]
            numbers = iter(_array(params, n_scalars, computed).astype(np.float64) if n_scalars else ())
            grad = arrays.pop(0) if chained else None
            operands = iter(arrays[1:])
            arguments = [next(operands) if p.per_channel else next(numbers) for p in row.parameters]
            results = [expression(arrays[0], *arguments) for expression in expressions]
            for k, result in enumerate(results):
                # the derivative is rounded before it is multiplied, as in the compiled kernels
                value = result.astype(computed)
                elements.write(value if grad is None else value * grad.astype(computed), outputs[k], count)

    return evaluate


def describe() -> str:
    """One line for people."""
    return f"plain expressions, NumPy {np.__version__}"
