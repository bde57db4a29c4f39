"""The one thing in which the demo's two networks differ: who computes the activations.

``FastactActivation`` works in place, in buffers made once.  ``PlainActivation`` is what people write in NumPy: clear
expressions, one temporary for each operation.  The plain versions are a yardstick, so they must stay as good as a
careful person would write them: float32 throughout, no branch computed in vain, the output used where it helps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import erf

import fastact

from .. import reference
from ..catalogue import ALIASES, BY_NAME

Array = npt.NDArray[Any]


class Activation(Protocol):
    """What a network asks of its activations.  An object serves one layer and remembers what backward needs."""

    def forward(self, pre: Array) -> Array:
        """Return f(pre) for training; ``pre`` may be overwritten."""

    def backward(self, grad: Array) -> Array:
        """Return the gradient for the last ``pre``; ``grad`` may be overwritten."""

    def serve(self, pre: Array) -> Array:
        """Return f(pre) when no backward will follow; ``pre`` may be overwritten."""


class FastactActivation:
    """In place.  Only where the gradient needs the input does training keep a second buffer."""

    def __init__(self, name: str, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        row = BY_NAME[ALIASES.get(name, name)]
        from_output = "backward_from_output" in row.directions
        #: The public functions that serve: forward, backward.
        self.functions = (row.name, row.function_name("backward_from_output" if from_output else "backward"))
        self._function, self._gradient = (getattr(fastact, function) for function in self.functions)
        self._outputs = None if from_output else np.empty(shape, dtype)
        self._kept: Array = np.empty((0, 0), dtype)

    def forward(self, pre: Array) -> Array:
        self._kept = pre
        # the last batch of an epoch may be short; leading rows are as dense as the whole
        out = pre if self._outputs is None else self._outputs[: len(pre)]
        result: Array = self._function(pre, out=out)
        return result

    def backward(self, grad: Array) -> Array:
        # what is kept is the output where forward has overwritten the input, else the input
        result: Array = self._gradient(grad, self._kept, out=grad)
        return result

    def serve(self, pre: Array) -> Array:
        result: Array = self._function(pre, out=pre)
        return result


class PlainActivation:
    """Plain NumPy, as the formula is written."""

    def __init__(self, name: str, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        self._value, self._gradient = plain(ALIASES.get(name, name))
        self._dtype = np.dtype(dtype)
        self._input = self._output = np.empty((0, 0), dtype)

    def forward(self, pre: Array) -> Array:
        self._input = pre
        self._output = self._value(pre).astype(self._dtype, copy=False)
        return self._output

    def backward(self, grad: Array) -> Array:
        return self._gradient(grad, self._input, self._output).astype(self._dtype, copy=False)

    def serve(self, pre: Array) -> Array:
        return self._value(pre).astype(self._dtype, copy=False)


Value = Callable[[Array], Array]
Gradient = Callable[[Array, Array, Array], Array]

_ROOT_2 = math.sqrt(2)
_ROOT_2_PI = math.sqrt(2 * math.pi)
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


def _gelu_gradient(grad: Array, x: Array, y: Array) -> Array:
    result: Array = grad * (0.5 * (1 + erf(x / _ROOT_2)) + x * np.exp(-0.5 * x * x) / _ROOT_2_PI)
    return result


def _gelu_tanh_gradient(grad: Array, x: Array, y: Array) -> Array:
    t = np.tanh(_ROOT_2_OVER_PI * (x + 0.044715 * x * x * x))
    result: Array = grad * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _ROOT_2_OVER_PI * (1 + 3 * 0.044715 * x * x))
    return result


def _silu_gradient(grad: Array, x: Array, y: Array) -> Array:
    s = 1 / (1 + np.exp(-x))
    result: Array = grad * (s + y * (1 - s))
    return result


def _mish_gradient(grad: Array, x: Array, y: Array) -> Array:
    t = np.tanh(np.log1p(np.exp(x)))
    result: Array = grad * (t + x * (1 - t * t) / (1 + np.exp(-x)))
    return result


PLAIN: dict[str, tuple[Value, Gradient]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda grad, x, y: grad * (x > 0)),
    "leaky_relu": (
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda grad, x, y: np.where(x > 0, grad, 0.01 * grad),
    ),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda grad, x, y: np.where(x > 0, grad, grad * (y + 1)),
    ),
    "gelu": (lambda x: 0.5 * x * (1 + erf(x / _ROOT_2)), _gelu_gradient),
    "gelu_tanh": (
        lambda x: 0.5 * x * (1 + np.tanh(_ROOT_2_OVER_PI * (x + 0.044715 * x * x * x))),
        _gelu_tanh_gradient,
    ),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda grad, x, y: grad * y * (1 - y)),
    "tanh": (np.tanh, lambda grad, x, y: grad * (1 - y * y)),
    "silu": (lambda x: x / (1 + np.exp(-x)), _silu_gradient),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda grad, x, y: grad / (1 + np.exp(-x)),
    ),
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), _mish_gradient),
}


def plain_label(name: str) -> str:
    """What the plain column of the report is called."""
    name = ALIASES.get(name, name)
    if name not in PLAIN:
        return "NumPy reference"
    # NumPy has no erf, and most of the time goes there
    return "NumPy, SciPy's erf" if name == "gelu" else "plain NumPy"


def plain(name: str) -> tuple[Value, Gradient]:
    """An activation's value and chained gradient in plain NumPy.

    An activation that nobody wrote down here is compared with the reference, which every row has: it is slower than
    what people write, and ``plain_label`` says so.
    """
    if name in PLAIN:
        return PLAIN[name]
    value, gradient = getattr(reference, name), getattr(reference, f"{name}_gradient")
    defaults = [parameter.default for parameter in BY_NAME[name].scalars]
    # the reference computes in float64 and leaves it to others to round
    return (
        lambda x: value(x, *defaults).astype(x.dtype),
        lambda grad, x, y: grad * gradient(x, *defaults).astype(x.dtype),
    )
