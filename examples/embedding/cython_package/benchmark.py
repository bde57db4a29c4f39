"""What it saves to apply SiLU to tiles in the cache, against fastact.silu over the finished convolution."""

import os
import sys
from pathlib import Path

import numpy as np
from causal_convolution import convolve, convolve_silu, convolve_silu_inline

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import alternate, options, report

# channels, length; four taps as in Mamba
SHAPES = [(2048, 8192), (256, 2048)]
SHORT_SHAPES = [(64, 2048)]
TAPS = 4


def contenders(x, weight, bias, out, threads):
    def steps():
        convolve(x, weight, bias, out, threads)
        fastact.silu(out, out=out)

    return {
        "steps: convolution, fastact.silu": steps,
        "fused: fastact.silu on tiles": lambda: convolve_silu(x, weight, bias, out, threads),
        "fused: formula inline on tiles": lambda: convolve_silu_inline(x, weight, bias, out, threads),
        "the convolution alone": lambda: convolve(x, weight, bias, out, threads),
    }


chosen = options(__doc__.splitlines()[0])
random = np.random.default_rng(0)
rows = []
for channels, length in SHORT_SHAPES if chosen.short else SHAPES:
    x, out = np.empty((2, channels, length), np.float32)
    weight = random.standard_normal((channels, TAPS), dtype=np.float32)
    bias = random.standard_normal(channels, dtype=np.float32)

    def refresh(x=x):
        random.standard_normal(out=x, dtype=np.float32)

    for threads in (1, 2)[: os.cpu_count()]:
        with fastact.num_threads(threads):
            seconds = alternate(
                contenders(x, weight, bias, out, threads), refresh, 3 if chosen.short else chosen.rounds
            )
        rows.append([f"{channels} channels of {length}, {TAPS} taps, threads: {threads}", seconds, next(iter(seconds))])
report(rows, chosen.json)
