"""Which dtypes the functions take, in which of them a call computes, and how numbers get there."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from . import _core

SUPPORTED = "bfloat16, float16, float32, float64, and integers and bools (computed as np.tanh does)"
#: NumPy's own dtypes among them that are computed as they are.  A tuple, because a dtype's hash takes 0.3 us.
FLOATS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16))


def is_supported(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype are computed, as they are or as floats."""
    if dtype in FLOATS:
        return True
    # some of ml_dtypes' small floats are of kind "f", but no np.floating
    is_float = issubclass(dtype.type, np.floating) and dtype.itemsize <= 8
    return is_float or dtype.kind in "iub" or _core.is_bfloat16(dtype)


def common_dtype(arrays: list[Any]) -> np.dtype[Any]:
    """The dtype in which these arrays are computed together."""
    first: np.dtype[Any] = arrays[0].dtype
    if first in FLOATS and not [array for array in arrays if array.dtype is not first]:
        return first
    return _core.common_dtype([array.dtype for array in arrays])


def computed_name(dtype: np.dtype[Any]) -> str:
    """Name of the dtype whose kernels compute arrays of this dtype, which is supported."""
    if _core.is_bfloat16(dtype):
        return "bfloat16"
    return str(np.tanh.resolve_dtypes((dtype, None))[-1].name)


def as_floats(array: Any, bfloat16: np.dtype[Any] | None) -> Any:
    """An array whose dtype is supported as one of floats; ``bfloat16`` is that dtype if an array beside it has it."""
    if array.dtype.kind not in "iub":
        return array
    # the ufunc alone would let a Python float parameter decide; the input's dtype shall, or what stands beside it
    dtype = _float_of(array.dtype.type) if bfloat16 is None else _core.common_dtype([bfloat16, array.dtype])
    return array.astype(dtype, subok=True)


@cache
def _float_of(integer: type[np.generic]) -> np.dtype[Any]:
    """The dtype in which NumPy computes functions of an integer type."""
    dtype: np.dtype[Any] = np.tanh.resolve_dtypes((np.dtype(integer), None))[-1]
    return dtype


def rounded(numbers: Any, dtype: np.dtype[Any]) -> Any:
    """Float32 or float64 numbers in another dtype, rounded once, in silence even where the caller traps overflows."""
    return _core.quietly(_rounded, numbers, dtype)


def _rounded(numbers: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(all="ignore"):
        if not _core.is_bfloat16(dtype) or numbers.dtype == np.float32:
            return numbers.astype(dtype)
        # ml_dtypes goes from float64 to bfloat16 by way of float32, which is to round twice
        single = numbers.astype(np.float32)
        cut = np.where(np.abs(single) > np.abs(numbers), np.nextafter(single, np.float32(0)), single)
        # an odd last bit stands for all that was cut off, so no tie arises that was none
        return (cut.view(np.uint32) | (cut != numbers)).view(np.float32).astype(dtype)
