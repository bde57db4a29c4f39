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
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def as_output(value: Any) -> Any:
    """A view of the memory of an output, or None if nothing written to it could be seen in ``value``."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        buffer = memoryview(value)
        return None if buffer.readonly else np.asarray(buffer)
    except (TypeError, BufferError):
        return None
