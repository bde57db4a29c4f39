"""What it saves to fuse bias and GELU in a Numba loop, against fastact.gelu after the bias in Python."""

import sys
from pathlib import Path

import numba
import numpy as np
from layer import by_numbers, by_rows, in_python

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import alternate, options, report

SHAPES = [(8192, 2048), (256, 1024)]
SHORT_SHAPES = [(64, 1024)]


@numba.njit(parallel=True, nogil=True)
def bias_in_numba(x, bias, out):
    """The first of two steps, by Numba."""
    for row in numba.prange(x.shape[0]):
        for column in range(x.shape[1]):
            out[row, column] = x[row, column] + bias[column]


def contenders(x, bias, out):
    def steps():
        bias_in_numba(x, bias, out)
        fastact.gelu(out, out=out)

    return {
        "steps: bias by Numba, fastact.gelu": steps,
        "fused: fastact.gelu of rows": lambda: by_rows(x, bias, out),
        "fused: fastact.gelu of numbers": lambda: by_numbers(x, bias, out),
        "steps: bias by NumPy, fastact.gelu": lambda: in_python(x, bias, out),
    }


chosen = options(__doc__.splitlines()[0])
random = np.random.default_rng(0)
rows = []
for height, width in SHORT_SHAPES if chosen.short else SHAPES:
    x, out = np.empty((2, height, width), np.float32)
    bias = random.standard_normal(width, dtype=np.float32)

    def refresh(x=x):
        random.standard_normal(out=x, dtype=np.float32)

    for threads in (1, 2)[: numba.config.NUMBA_NUM_THREADS]:
        numba.set_num_threads(threads)
        with fastact.num_threads(threads):
            seconds = alternate(contenders(x, bias, out), refresh, 3 if chosen.short else chosen.rounds)
        rows.append([f"gelu(x + bias), {height} x {width}, threads: {threads}", seconds, next(iter(seconds))])
report(rows, chosen.json)
