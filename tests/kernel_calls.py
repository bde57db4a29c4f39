"""Calling a kernel by its address, past driver and dispatch."""

import ctypes

import numpy as np

#: What a kernel's parameters are.  Numbers of 16 bits are handed over as their bits.
CTYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double, "uint16": ctypes.c_float}


def call_address(address, dtype, arrays, outputs, params, *, in_place=False):
    """Call a kernel, or a loop that is declared like one; the results, which may take the first arrays' places."""
    number = CTYPES[dtype]
    pointers = ctypes.POINTER(ctypes.c_void_p)
    kernel = ctypes.CFUNCTYPE(None, pointers, pointers, ctypes.c_ssize_t, ctypes.POINTER(number))(address)
    arrays = [np.array(array, dtype, order="C", ndmin=1) for array in arrays]
    results = arrays[:outputs] if in_place else [np.empty_like(arrays[0]) for _ in range(outputs)]
    given = (number * (len(params) + 1))(*params)
    both = [(ctypes.c_void_p * len(group))(*(a.ctypes.data for a in group)) for group in (arrays, results)]
    kernel(*both, arrays[0].size, given)
    return results
