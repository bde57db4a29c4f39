"""A layer's epilogue in Numba: gelu(x + bias) on all cores, with fastact inside the compiled functions.

Nothing has to be imported for that beside fastact: installing it tells Numba how to compile its functions.
"""

import numba
import numpy as np

import fastact


# error_model="numpy": a division that may raise would keep LLVM from vectorising the formula
@numba.njit(parallel=True, nogil=True, error_model="numpy")
def by_numbers(x, bias, out):
    """One number at a time: bias and activation become one loop, which LLVM vectorises."""
    for row in numba.prange(x.shape[0]):
        for column in range(x.shape[1]):
            out[row, column] = fastact.gelu(x[row, column] + bias[column])


@numba.njit(parallel=True, nogil=True)
def by_rows(x, bias, out):
    """A row at a time: each is one call of fastact's own kernel, in place, while the row is in the L1 cache."""
    for row in numba.prange(x.shape[0]):
        for column in range(x.shape[1]):
            out[row, column] = x[row, column] + bias[column]
        fastact.gelu(out[row], out=out[row])


def in_python(x, bias, out):
    """The same, step by step."""
    np.add(x, bias, out=out)
    fastact.gelu(out, out=out)
