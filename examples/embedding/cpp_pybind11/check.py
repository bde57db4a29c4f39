"""Whether the C++ perceptron gives the bits of its layers with fastact in Python between; ends with 1 if not."""

import sys
import threading
from pathlib import Path

import numpy as np
from perceptron import ActivationError, Linear, Perceptron

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import same_bits

# rows, inputs, hidden, outputs: several blocks of rows; one row that is a block and more; single elements; no rows
SHAPES = [(100, 20, 300, 10), (3, 8, 5000, 2), (1, 1, 1, 1), (0, 3, 4, 2)]
ACTIVATIONS = [("gelu", {}), ("mish", {}), ("elu", {"alpha": 0.3}), ("softplus", {"beta": 2.0}), ("softplus", {})]


def layers(inputs, hidden, outputs):
    """Two layers, and their weights and biases as arrays."""
    random = np.random.default_rng(0)
    shapes = [(inputs, hidden), hidden, (hidden, outputs), outputs]
    weights = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
    return Linear(*weights[:2]), Linear(*weights[2:]), weights


def check_bits():
    for rows, *sizes in SHAPES:
        x = np.random.default_rng(1).standard_normal((rows, sizes[0]), dtype=np.float32)
        first, second, weights = layers(*sizes)
        exact = x.astype(float) @ weights[0] + weights[1]
        if not np.allclose(first(x), exact, rtol=1e-5, atol=1e-4):
            raise SystemExit(f"first layer of {sizes} is wrong")
        for name, parameters in ACTIVATIONS:
            expected = second(getattr(fastact, name)(first(x), **parameters))
            result = Perceptron(first, second, name, **parameters)(x)
            same_bits(f"{name} {parameters}, {rows} rows, {sizes}", result, expected)


def check_threads():
    """The GIL is free, and one object serves several Python threads at once."""
    first, second, _ = layers(50, 200, 10)
    model = Perceptron(first, second, "gelu")
    x = np.random.default_rng(1).standard_normal((400, 50), dtype=np.float32)
    results = {}
    threads = [threading.Thread(target=lambda k=k: results.update({k: model(x)})) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        same_bits(f"thread {k} of 4", results[k], second(fastact.gelu(first(x))))


def check_errors():
    """What fastact refuses becomes a C++ exception with its status and words, and a Python exception in the end."""
    first, second, _ = layers(2, 3, 1)
    refused = [
        (("no_such",), {}, 'activation: got "no_such"'),
        (("prelu",), {}, "prelu"),
        (("gelu",), {"alpha": 1.0}, "alpha"),
        (("softplus",), {"beta": -1.0}, "parameters[0]: got -1"),
    ]
    for arguments, parameters, words in refused:
        try:
            Perceptron(first, second, *arguments, **parameters)
        except ActivationError as error:
            if words not in str(error):
                raise SystemExit(f"expected {words!r} in the message, got: {error}") from None
            print(f"{arguments[0]} {parameters}: ActivationError: {str(error)[:60]}")
        else:
            raise SystemExit(f"no error for {arguments} {parameters}")


check_bits()
check_threads()
check_errors()
