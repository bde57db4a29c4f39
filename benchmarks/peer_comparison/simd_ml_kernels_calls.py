"""simd-ml-kernels: three activations, float32, forward.  They work on one thread; its thread count is that of sgemm."""

from __future__ import annotations

import importlib

from fastact import contenders
from fastact.peers import Statement

STATEMENTS = {
    "relu": Statement("kernels.relu(x)"),
    "gelu": Statement("kernels.gelu(x)", in_place="kernels.gelu_inplace(x)"),
    "gelu_tanh": Statement("kernels.gelu(x, 'tanh')", in_place="kernels.gelu_inplace(x, 'tanh')"),
    "silu": Statement("kernels.silu(x)"),
}


class Maker:
    """Contenders of simd-ml-kernels."""

    def __init__(self, label, threads):
        self._label = label
        self._kernels = importlib.import_module("simd_ml_kernels")

    def contender(self, case, arrays, copies):
        """The contender, or None where simd-ml-kernels lacks the function or the dtype."""
        if case.direction != "forward" or case.dtype != "float32" or case.activation not in STATEMENTS:
            return None
        namespace = {"kernels": self._kernels}
        statement = STATEMENTS[case.activation]
        return contenders.Contender(
            self._label, "simd-ml-kernels", statement, case, arrays, namespace, contenders.Access(), copies
        )
