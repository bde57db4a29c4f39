"""OpenVINO: models of one operator, compiled for this CPU and one size, called through its compiled binding.

Inputs and outputs that are given are set once, as tensors that share memory; in place both are the same.  It computes
float64 in float32 (its errors are those of float32), so it is absent there: the time of another precision compares
with nothing.  It has no gradients.
"""

from __future__ import annotations

import functools
import importlib

import numpy as np

from fastact import contenders
from fastact.peers import Statement

_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def _operators(op):
    """Activation to what makes its node of a parameter and a function that makes constants."""
    return {
        "relu": lambda x, constant: op.relu(x),
        # its front ends translate LeakyRelu like this
        "leaky_relu": lambda x, constant: op.prelu(x, constant(0.01)),
        "prelu": lambda x, constant: op.prelu(x, constant(0.25)),
        "elu": lambda x, constant: op.elu(x, 1.0),
        "gelu": lambda x, constant: op.gelu(x, "erf"),
        "gelu_tanh": lambda x, constant: op.gelu(x, "tanh"),
        "sigmoid": lambda x, constant: op.sigmoid(x),
        "tanh": lambda x, constant: op.tanh(x),
        "silu": lambda x, constant: op.swish(x, constant(1.0, [])),
        "softplus": lambda x, constant: op.softplus(x),
        "mish": lambda x, constant: op.mish(x),
    }


class Maker:
    """Contenders of OpenVINO."""

    def __init__(self, label, threads):
        self._label = label
        self._openvino = importlib.import_module("openvino")
        self._op = importlib.import_module("openvino.opset14")
        self._operators = _operators(self._op)
        # past the Python method, which looks for inputs to convert
        self._infer = importlib.import_module("openvino._pyopenvino").InferRequest.infer
        self._core = self._openvino.Core()
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }

    # the modes of one function follow each other, each through all sizes
    @functools.lru_cache(maxsize=6)  # noqa: B019 - one Maker a process
    def _model(self, activation, dtype, size):
        kind = getattr(self._openvino.Type, _TYPES[dtype])
        given = self._op.parameter([size], kind)

        def constant(value, shape=(1,)):
            return self._op.constant(np.full(shape, value, np.float32), kind)

        node = self._operators[activation](given, constant)
        return self._core.compile_model(self._openvino.Model([node], [given]), "CPU", self._settings)

    def contender(self, case, arrays, copies):
        """The contender, or None where OpenVINO lacks the function or the dtype."""
        if case.direction != "forward" or case.dtype not in _TYPES or case.activation not in self._operators:
            return None
        model = self._model(case.activation, case.dtype, case.size)
        kind = getattr(self._openvino.Type, _TYPES[case.dtype])

        def tensor(array):
            if case.dtype != "bfloat16":
                return self._openvino.Tensor(array, shared_memory=True)
            return self._openvino.Tensor(array.view(np.uint16), self._openvino.Shape(array.shape), kind)

        def request(given, result):
            made = model.create_infer_request()
            made.set_input_tensor(tensor(given))
            if result is not None:
                made.set_output_tensor(tensor(result))
            return made

        statement = Statement(
            "infer(request, nothing, False, True)",
            "infer(request, nothing, True, True)",
            "infer(x, nothing, True, True)",
        )
        names = {"infer": self._infer, "nothing": {}}
        if case.mode != "in_place":
            names["request"] = request(arrays["x"], arrays["o"] if case.mode == "reused" else None)

        def result_of(value):
            if case.mode == "fresh":
                # bfloat16 comes back under another name, bit for bit
                return next(iter(value.values())).view(arrays["x"].dtype)
            return copies[0] if case.mode == "in_place" else value

        access = contenders.Access(bind=lambda copy: request(copy, copy), unwrap=result_of)
        return contenders.Contender(self._label, "OpenVINO", statement, case, arrays, names, access, copies)
