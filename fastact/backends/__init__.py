"""Backends: each supplies kernel pointers, and knows nothing of threads, strides, shapes or the other backends.

A backend is a module with

``unavailable() -> str | None``
    why it cannot serve here, or None; cheap, imports nothing heavy;
``kernel(loop, dtype) -> int``
    address of a kernel (the signature is in ``src_cy/kernels.pyx.in``) for a loop such as ``"gelu_backward"`` and one
    of ``dispatch.DTYPES``; may compile;
``DISTINCT``
    whether its kernels need outputs that are not inputs, so that the driver puts a buffer between;
``describe() -> str``
    one line for people.
"""
