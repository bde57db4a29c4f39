"""Whether the convolutions that end in SiLU give the bits of fastact.silu on the convolution; ends with 1 if not."""

import sys
from pathlib import Path

import numpy as np
from causal_convolution import convolve, convolve_silu, convolve_silu_inline

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import most_ulps_apart, same_bits

# channels, length, taps: within a tile, over several, shorter than the filter, one element, nothing
SHAPES = [(7, 1000, 4), (3, 5000, 4), (4, 3, 5), (1, 1, 1), (2, 0, 3)]
#: Of silu's two versions together: each is within 4 units in the last place of the truth.
LIMIT = 8


def arrays(channels, length, taps, dtype):
    """x, weight, bias, with sums that reach SiLU's tails."""
    random = np.random.default_rng(0)
    x, weight, bias = (
        random.standard_normal((channels, length)),
        random.standard_normal((channels, taps)),
        np.ones(channels),
    )
    return x.astype(dtype), 5 * weight.astype(dtype), bias.astype(dtype)


for shape in SHAPES:
    for dtype in ("float32", "float64"):
        x, weight, bias = arrays(*shape, dtype)
        expected = np.empty_like(x)
        convolve(x, weight, bias, expected)
        rows = zip(x.astype(float), weight, bias, strict=True)
        exact = np.array([np.convolve(row, w)[: row.size] + b for row, w, b in rows if row.size]).reshape(x.shape)
        if not np.allclose(expected, exact, rtol=0, atol=1e-4 if dtype == "float32" else 1e-12):
            raise SystemExit(f"convolution of {shape} is wrong by up to {np.abs(expected - exact).max()}")
        fastact.silu(expected, out=expected)
        for threads in (1, 2):
            out = np.empty_like(x)
            convolve_silu(x, weight, bias, out, threads)
            same_bits(f"silu of the convolution, {shape}, {dtype}, {threads} threads", out, expected)
        if dtype == "float32" and x.size:
            convolve_silu_inline(x, weight, bias, out)
            distance = most_ulps_apart(out, expected)
            if distance > LIMIT:
                raise SystemExit(f"inline silu, {shape}: {distance} ULP from Python's")
            equal = np.mean(out == expected)
            print(f"inline silu, {shape}: at most {distance} ULP from Python's, {equal:.2%} with its bits")

try:
    convolve_silu(x, weight, bias, out[:, :0].T.copy())
except ValueError as error:
    print(f"wrong shape: ValueError: {error}")
else:
    raise SystemExit("no error for an output of the wrong shape")
