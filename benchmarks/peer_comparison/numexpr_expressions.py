"""numexpr: each function as one expression, compiled once and called without the parsing of ``numexpr.evaluate``.

Constants are arguments of the expression's own dtype: as literals they would be float64, and all of it with them.  It
has neither erf nor 16-bit floats.
"""

from __future__ import annotations

import functools
import importlib
import re

import numpy as np

from fastact import contenders
from fastact.catalogue import BY_NAME
from fastact.peers import Statement

_SIGMOID = "1 / (1 + exp(-x))"
#: tanh(log1p(exp(x))) with t = 1 + exp(x) is (t * t - 1) / (t * t + 1); for x > 40, where exp(2 * x) leaves float32, it
#: is 1.  Nested expressions are computed once: numexpr finds equal parts.
_MISH_GATE = "tanh(log1p(exp(x)))"
_GELU_TANH = "tanh(x * (0.7978845608028654 + 0.035677408136300125 * x * x))"
EXPRESSIONS = {
    ("relu", "forward"): "where(x > 0, x, 0.0)",
    ("relu", "backward"): "where(x > 0, g, 0.0)",
    ("relu", "backward_from_output"): "where(y > 0, g, 0.0)",
    ("leaky_relu", "forward"): "where(x > 0, x, negative_slope * x)",
    ("leaky_relu", "backward"): "where(x > 0, g, negative_slope * g)",
    ("leaky_relu", "backward_from_output"): "where(y > 0, g, negative_slope * g)",
    ("prelu", "forward"): "where(x > 0, x, weight * x)",
    ("elu", "forward"): "where(x > 0, x, alpha * expm1(x))",
    ("elu", "backward"): "where(x > 0, g, g * alpha * exp(x))",
    ("elu", "backward_from_output"): "where(y > 0, g, g * (y + alpha))",
    ("gelu_tanh", "forward"): f"0.5 * x * (1 + {_GELU_TANH})",
    ("gelu_tanh", "backward"): f"0.5 * g * (1 + {_GELU_TANH} + x * (1 - {_GELU_TANH} * {_GELU_TANH})"
    " * (0.7978845608028654 + 0.10703222440890037 * x * x))",
    ("sigmoid", "forward"): _SIGMOID,
    ("sigmoid", "backward"): f"g * ({_SIGMOID}) * (1 - {_SIGMOID})",
    ("sigmoid", "backward_from_output"): "g * y * (1 - y)",
    ("tanh", "forward"): "tanh(x)",
    ("tanh", "backward"): "g * (1 - tanh(x) * tanh(x))",
    ("tanh", "backward_from_output"): "g * (1 - y * y)",
    ("silu", "forward"): "x / (1 + exp(-x))",
    ("silu", "backward"): f"g * ({_SIGMOID}) * (1 + x * (1 - {_SIGMOID}))",
    ("softplus", "forward"): "log1p(exp(beta * x)) / beta",
    ("softplus", "backward"): "g / (1 + exp(-beta * x))",
    ("softplus", "backward_from_output"): "-g * expm1(-beta * y)",
    ("mish", "forward"): f"x * {_MISH_GATE}",
    ("mish", "backward"): f"g * ({_MISH_GATE} + x * (1 - {_MISH_GATE} * {_MISH_GATE}) * ({_SIGMOID}))",
}


class Maker:
    """Contenders of numexpr."""

    def __init__(self, label, threads):
        self._label = label
        self._numexpr = importlib.import_module("numexpr")
        self._numexpr.set_num_threads(threads)
        # the signature's names of types are Python's float for float32
        kinds = importlib.import_module("numexpr.necompiler").type_to_kind
        self._types = {"float32": next(t for t, kind in kinds.items() if kind == "float"), "float64": np.float64}

    # text, dtype: as many as there are functions
    @functools.lru_cache(maxsize=128)  # noqa: B019 - one Maker a process
    def _compiled(self, activation, direction, dtype):
        """The expression, names of its arguments in order, and values of those that are constants."""
        kind = np.dtype(dtype).type
        scalars = {p.name: np.asarray(p.default, kind) for p in BY_NAME[activation].scalars}
        constants = {}

        def constant(match):
            constants[f"c{len(constants)}"] = np.asarray(float(match[0]), kind)
            return f"c{len(constants) - 1}"

        text = re.sub(r"\d+\.\d+", constant, EXPRESSIONS[activation, direction])
        named = {name: value for name, value in (scalars | constants).items() if re.search(rf"\b{name}\b", text)}
        names = [name for name in ("g", "x", "y", "weight") if re.search(rf"\b{name}\b", text)]
        signature = [(name, self._types[dtype]) for name in (*names, *named)]
        return self._numexpr.NumExpr(text, signature=signature), names, named

    def contender(self, case, arrays, copies):
        """The contender, or None where there is no expression."""
        if case.dtype not in self._types or (case.activation, case.direction) not in EXPRESSIONS:
            return None
        expression, names, constants = self._compiled(case.activation, case.direction, case.dtype)
        arguments = ", ".join((*names, *constants))
        settings = "order='K', casting='safe', ex_uses_vml=False"
        statement = Statement(
            f"expression.run({arguments}, {settings})", f"expression.run({arguments}, out=o, {settings})"
        )
        namespace = {"expression": expression, **constants}
        return contenders.Contender(
            self._label, "numexpr", statement, case, arrays, namespace, contenders.Access(), copies
        )
