"""Other people's arrays as NumPy arrays, without a copy: the buffer protocol, ``__array__`` and DLPack.

Only memory that the CPU can address; nothing of the other library is imported.  Arrays with a ufunc protocol of their
own (dask, pandas ...) do not come here: they are called back (``calls.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def as_array(value: Any) -> Any:
    """An input as an array: a view of its memory where it has any, or what NumPy makes of it."""
    if isinstance(value, np.ndarray):
        return value
    has_dlpack = hasattr(value, "__dlpack__")
    try:
        return np.from_dlpack(value) if has_dlpack and not hasattr(value, "__array__") else np.asarray(value)
    except (TypeError, RuntimeError):
        # a PyTorch tensor, say, of bfloat16
        view = _bfloat16_view(value) if has_dlpack else None
        if view is None:
            raise
        return view


def as_output(value: Any) -> Any:
    """A view of the memory of an output, or None if nothing written to it could be seen in ``value``."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__"):
            try:
                return np.from_dlpack(value)
            except RuntimeError:
                return _bfloat16_view(value)
        buffer = memoryview(value)
        return None if buffer.readonly else np.asarray(buffer)
    except (TypeError, BufferError):
        return None


def _bfloat16_view(value: Any) -> Any | None:
    # not at the top, because hardly any process needs it
    from .dlpack import bfloat16_view

    try:
        return bfloat16_view(value)
    except (TypeError, ValueError, RuntimeError, BufferError):
        # not for DLPack (another device, a tensor that needs a gradient): what NumPy said of it is the better message
        return None
