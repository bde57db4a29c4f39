"""thinc's operations on NumPy arrays (``NumpyOps``), which are compiled where they are worth it.

They take no output array; in place, its ``backprop_*`` write into the gradient of the output, except that of sigmoid,
which writes over the output that was to be kept.  Its sigmoid clips at -20 and 20.
"""

from __future__ import annotations

import importlib

from fastact import contenders
from fastact.peers import Statement

_OUTPUT_FIRST = "two calls: its gradient takes the output"


def _forward(name):
    return Statement(f"ops.{name}(x)", in_place=f"ops.{name}(x, inplace=True)")


def _backward(name, source="x"):
    return Statement(f"ops.{name}(g, {source})", in_place=f"ops.{name}(g, {source}, inplace=True)")


STATEMENTS = {
    "relu": {
        "forward": _forward("relu"),
        "backward": _backward("backprop_relu"),
        "backward_from_output": _backward("backprop_relu", "y"),
    },
    "gelu": {"forward": _forward("gelu"), "backward": _backward("backprop_gelu")},
    "gelu_tanh": {"forward": _forward("gelu_approx"), "backward": _backward("backprop_gelu_approx")},
    "sigmoid": {
        "forward": _forward("sigmoid"),
        "backward": Statement("ops.backprop_sigmoid(g, ops.sigmoid(x))", note=_OUTPUT_FIRST),
        "backward_from_output": Statement("ops.backprop_sigmoid(g, y)"),
    },
    "tanh": {"backward_from_output": Statement("g * ops.dtanh(y)")},
    "silu": {
        "forward": _forward("swish"),
        "backward": Statement(
            "ops.backprop_swish(g, x, ops.swish(x))",
            in_place="ops.backprop_swish(g, x, ops.swish(x), inplace=True)",
            note=_OUTPUT_FIRST,
        ),
    },
    "mish": {"forward": _forward("mish"), "backward": _backward("backprop_mish")},
}


class Maker:
    """Contenders of thinc; it works on one thread, always."""

    def __init__(self, label, threads):
        self._label = label
        self._ops = importlib.import_module("thinc.api").NumpyOps()

    def contender(self, case, arrays, copies):
        """The contender, or None where thinc lacks the function."""
        statement = STATEMENTS.get(case.activation, {}).get(case.direction)
        if statement is None:
            return None
        return contenders.Contender(
            self._label, "thinc", statement, case, arrays, {"ops": self._ops}, contenders.Access(), copies
        )
