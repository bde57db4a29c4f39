"""bfloat16 arrays by DLPack, which NumPy's own ``from_dlpack`` does not take, as views of the same memory.

The structures are those of DLPack 1.0.  A capsule that nobody has consumed frees the array when it goes itself, so
keeping it is all there is to owning the memory.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

_CPU = 1
_BFLOAT16 = (4, 16, 1)
_READ_ONLY = 1


class _Tensor(ctypes.Structure):
    """``DLTensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _VersionedTensor(ctypes.Structure):
    """``DLManagedTensorVersioned``."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


class _Memory:
    """What NumPy takes the memory from, and keeps."""

    def __init__(self, capsule: Any, interface: dict[str, Any]) -> None:
        self.capsule, self.__array_interface__ = capsule, interface


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def bfloat16_view(value: Any) -> Any | None:
    """The memory of a bfloat16 array on the CPU as a NumPy array; None for anything else.

    As in NumPy, the view is read-only unless the other side says, as DLPack has only been able to since 1.0, that the
    array may be written to.
    """
    if value.__dlpack_device__()[0] != _CPU:
        return None
    try:
        capsule = value.__dlpack__(max_version=(1, 0))
    except TypeError:  # a library from before there were versions
        capsule = value.__dlpack__()
    is_read_only = True
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _VersionedTensor.from_address(_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:
            return None
        tensor, is_read_only = managed.tensor, bool(managed.flags & _READ_ONLY)
    else:
        tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    if (tensor.code, tensor.bits, tensor.lanes) != _BFLOAT16:
        return None
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        raise ImportError(
            "got a bfloat16 array of another library; accepted where the package ml_dtypes is installed: "
            "pip install 'fastact[bfloat16]'"
        ) from None
    shape = tuple(tensor.shape[: tensor.ndim])
    if math.prod(shape) == 0:
        return np.empty(shape, bfloat16)
    interface = {
        "version": 3,
        "data": (tensor.data + tensor.byte_offset, is_read_only),
        "typestr": np.dtype(np.uint16).str,
        "shape": shape,
        "strides": tuple(2 * step for step in tensor.strides[: tensor.ndim]) if tensor.strides else None,
    }
    return np.asarray(_Memory(capsule, interface)).view(bfloat16)
