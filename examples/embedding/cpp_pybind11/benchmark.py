"""What it saves to activate the hidden layer block by block, against fastact.gelu between the layers in Python."""

import sys
from pathlib import Path

import numpy as np
from perceptron import Linear, Perceptron

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import alternate, options, report

# rows, inputs, hidden, outputs: one row at a time, as a server is asked; a wide hidden layer; a batch of ordinary size
SHAPES = [(1, 16, 64, 16), (4096, 8, 2048, 16), (1024, 128, 512, 16)]
SHORT_SHAPES = [(1, 16, 64, 16), (256, 8, 512, 16)]


def main():
    chosen = options(__doc__.splitlines()[0])
    random = np.random.default_rng(0)
    rows = []
    for count, inputs, hidden, outputs in SHORT_SHAPES if chosen.short else SHAPES:
        x = np.empty((count, inputs), np.float32)
        # scaled, because gelu of large negative numbers is subnormal, and subnormal numbers are a hundred times slower
        weights = [random.standard_normal(shape) / shape[0] ** 0.5 for shape in [(inputs, hidden), (hidden, outputs)]]
        first = Linear(weights[0], random.standard_normal(hidden))
        second = Linear(weights[1], random.standard_normal(outputs))
        model = Perceptron(first, second, "gelu")

        def steps(x=x, first=first, second=second):
            between = first(x)
            second(fastact.gelu(between, out=between))

        contenders = {
            "steps: layer, fastact.gelu, layer": steps,
            "fused: blocks of rows in C++": lambda x=x, model=model: model(x),
            "the layers alone": lambda x=x, first=first, second=second: second(first(x)),
        }

        def refresh(x=x):
            random.standard_normal(out=x, dtype=np.float32)

        seconds = alternate(contenders, refresh, 3 if chosen.short else chosen.rounds)
        case = f"gelu between {inputs} -> {hidden} -> {outputs}, {count} row{'s' if count > 1 else ''}"
        rows.append([case, seconds, next(iter(contenders))])
    report(rows, chosen.json)


with fastact.num_threads(1):
    main()
