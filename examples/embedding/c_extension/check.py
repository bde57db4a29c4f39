"""Whether fused_dense gives the bits of the same steps taken one by one in Python; ends with 1 if not."""

import sys
import threading
from pathlib import Path

import fused_dense
import numpy as np

import fastact

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measuring import most_ulps_apart, same_bits

# whole tiles and panels; single elements; edges on both sides; a depth of nothing
SHAPES = [(96, 64, 512), (1, 1, 1), (13, 7, 33), (61, 300, 777), (5, 2000, 40), (3, 0, 5)]
ACTIVATIONS = ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "sigmoid", "tanh", "silu", "softplus", "mish"]
#: Of the package, and of the formula where this module's compiler made the loop: units in the last place.
LIMIT_OF_GELU = 4


def arrays(rows, depth, columns, seed=0):
    """x, weight, another weight, bias; their products reach the tails of every activation."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, depth), dtype=np.float32)
    weights = random.standard_normal((2, depth, columns), dtype=np.float32) * np.float32(8 / max(depth, 1) ** 0.5)
    return x, weights[0], weights[1], random.standard_normal(columns, dtype=np.float32)


def check_product():
    """The product itself, against NumPy's in float64: what a sum of so many rounded terms may be off."""
    for shape in SHAPES:
        x, weight, _, _ = arrays(*shape)
        exact = x.astype(float) @ weight.astype(float)
        allowed = np.abs(x.astype(float)) @ np.abs(weight.astype(float)) * (shape[1] + 1) * 2.0**-24
        product = fused_dense.dense(x, weight, np.full((shape[0], shape[2]), np.nan, np.float32))
        if not (np.abs(product - exact) <= allowed).all():
            raise SystemExit(f"product of shape {shape} is wrong by up to {np.abs(product - exact).max()}")


def check_fused():
    """Bias and activation on tiles, against bias and activation on the finished product."""
    for shape in SHAPES:
        x, weight, gate_weight, bias = arrays(*shape)
        out, product, gate = (np.empty((shape[0], shape[2]), np.float32) for _ in range(3))
        for name in ACTIVATIONS:
            activation = getattr(fastact, name)
            expected = fused_dense.dense(x, weight, product)
            np.add(expected, bias, out=expected)
            activation(expected, out=expected)
            fused_dense.dense(x, weight, out, bias, name)
            same_bits(f"{name}(x @ weight + bias), {shape}", out, expected)
        fastact.silu(fused_dense.dense(x, gate_weight, gate), out=gate)
        expected = np.multiply(fused_dense.dense(x, weight, product), gate, out=product)
        fused_dense.gated(x, weight, gate_weight, out)
        same_bits(f"(x @ weight) * silu(x @ gate_weight), {shape}", out, expected)


def check_inline():
    """The formula in this module's own loop: within the limits of both, not bit for bit."""
    x, weight, _, bias = arrays(61, 300, 777)
    expected = fused_dense.dense(x, weight, np.empty((61, 777), np.float32), bias, "gelu")
    result = fused_dense.dense_gelu_inline(x, weight, np.empty_like(expected), bias)
    distance = most_ulps_apart(result, expected)
    if distance > 2 * LIMIT_OF_GELU:
        raise SystemExit(f"inline gelu: {distance} ULP from Python's")
    print(f"inline gelu: at most {distance} ULP from Python's, {np.mean(result == expected):.2%} with its bits")


def check_threads():
    """The GIL is free: two Python threads compute halves at once, and the bits are those of one."""
    x, weight, _, bias = arrays(600, 128, 512)
    expected = fused_dense.dense(x, weight, np.empty((600, 512), np.float32), bias, "gelu")
    out = np.empty_like(expected)
    halves = [
        threading.Thread(target=fused_dense.dense, args=(x[part], weight, out[part], bias, "gelu"))
        for part in (slice(0, 300), slice(300, 600))
    ]
    for half in halves:
        half.start()
    for half in halves:
        half.join()
    same_bits("two threads", out, expected)


def check_errors():
    """What fastact refuses arrives as an exception with its words, and before out is written."""
    x, weight, _, bias = arrays(4, 4, 4)
    out = np.zeros((4, 4), np.float32)
    refused = [
        ((x, weight, out, bias, "no_such"), 'activation: got "no_such"'),
        ((x, weight, out, bias, "prelu"), "prelu: n_inputs"),
        ((x, weight, x, bias, "gelu"), "shares memory"),
        ((x, weight, out[:3], bias, "gelu"), "out: got 3 x 4; accepted: 4 x 4"),
    ]
    for arguments, words in refused:
        try:
            fused_dense.dense(*arguments)
        except ValueError as error:
            if words not in str(error):
                raise SystemExit(f"expected {words!r} in the message, got: {error}") from None
        else:
            raise SystemExit(f"no error, where {words!r} was expected")
    if out.any():
        raise SystemExit("out was written before the error")
    print("errors: as expected")


check_product()
check_fused()
check_inline()
check_threads()
check_errors()
