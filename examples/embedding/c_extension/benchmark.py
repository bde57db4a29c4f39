"""What fusing saves: bias and activation on tiles in the cache, against the same steps over the finished product.

Everything runs on one thread, product and activation alike, into one array that is used again and again.
"""

import os
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
import fused_dense
import numpy as np

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import alternate, options, report

SHAPES = [(4096, 16, 4096), (4096, 64, 4096), (4096, 256, 4096), (2048, 1024, 4096), (256, 64, 1024)]
SHORT_SHAPES = [(1024, 64, 1024)]


def dense_contenders(x, weight, bias, out):
    """gelu(x @ weight + bias) in all ways."""

    def steps(product):
        def run():
            product(x, weight, out)
            np.add(out, bias, out=out)
            fastact.gelu(out, out=out)

        return run

    return {
        "steps: product, bias, fastact.gelu": steps(fused_dense.dense),
        "fused: fastact on tiles": lambda: fused_dense.dense(x, weight, out, bias, "gelu"),
        "fused: formula inline on tiles": lambda: fused_dense.dense_gelu_inline(x, weight, out, bias),
        "the product alone": lambda: fused_dense.dense(x, weight, out),
        "steps with np.matmul": steps(lambda a, b, c: np.matmul(a, b, out=c)),
        "np.matmul alone": lambda: np.matmul(x, weight, out=out),
    }


def gated_contenders(x, weight, gate_weight, gate, out):
    """(x @ weight) * silu(x @ gate_weight) in both ways."""

    def steps():
        fused_dense.dense(x, gate_weight, gate)
        fastact.silu(gate, out=gate)
        fused_dense.dense(x, weight, out)
        np.multiply(out, gate, out=out)

    return {
        "steps: product, fastact.silu, product, *": steps,
        "fused: both products and the gate on tiles": lambda: fused_dense.gated(x, weight, gate_weight, out),
    }


def main():
    chosen = options(__doc__.splitlines()[0])
    random = np.random.default_rng(0)
    rows = []
    for height, depth, width in SHORT_SHAPES if chosen.short else SHAPES:
        x = np.empty((height, depth), np.float32)
        weight, gate_weight = random.standard_normal((2, depth, width), dtype=np.float32) / np.float32(depth**0.5)
        bias = random.standard_normal(width, dtype=np.float32)
        out, gate = np.empty((2, height, width), np.float32)

        def refresh(x=x):
            random.standard_normal(out=x, dtype=np.float32)

        for words, contenders in [
            ("gelu(x @ weight + bias)", dense_contenders(x, weight, bias, out)),
            ("(x @ weight) * silu(x @ gate_weight)", gated_contenders(x, weight, gate_weight, gate, out)),
        ]:
            seconds = alternate(contenders, refresh, 3 if chosen.short else chosen.rounds)
            rows.append([f"{words}, {height} x {depth} @ {depth} x {width}", seconds, next(iter(contenders))])
    report(rows, chosen.json)


with fastact.num_threads(1):
    main()
