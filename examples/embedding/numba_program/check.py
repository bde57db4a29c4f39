"""Whether fastact inside Numba's functions gives the bits that it gives in Python; ends with 1 if not.

Arrays are computed by whatever backend serves.  Numbers are computed by the formula as Numba compiles it into the loop,
so they have the bits of the backend "numba".
"""

import sys
from pathlib import Path

import numba
import numpy as np
from layer import by_numbers, by_rows, in_python

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import same_bits

SHAPES = [(64, 256), (5, 1000), (7, 13), (1, 1), (0, 4)]


@numba.njit
def allocating(grad, x, alpha):
    """Without out: a new array from each call."""
    return fastact.elu_backward(grad, x, alpha=alpha) + fastact.tanh(x)


for shape in SHAPES:
    for dtype in ("float32", "float64"):
        random = np.random.default_rng(0)
        x, bias = (4 * random.standard_normal(shape)).astype(dtype), random.standard_normal(shape[1]).astype(dtype)
        out, expected = np.empty_like(x), np.empty_like(x)
        in_python(x, bias, expected)
        by_rows(x, bias, out)
        same_bits(f"rows, {shape}, {dtype}", out, expected)
        with fastact.use_backend("numba"):
            in_python(x, bias, expected)
        by_numbers(x, bias, out)
        same_bits(f"numbers, {shape}, {dtype}", out, expected)
        expected = fastact.elu_backward(x, x, alpha=0.5) + fastact.tanh(x)
        same_bits(f"new arrays, {shape}, {dtype}", allocating(x, x, 0.5), expected)
