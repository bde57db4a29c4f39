"""ONNX Runtime: one-node models in sessions of their own, called through its compiled binding.

Outputs that are given are bound once (``io_binding``), outside the timed loop; in place, input and output are bound to
the same memory, as its own memory planner does it inside larger models.  It has no gradients here: its training build
does.  A function without a kernel for a dtype is absent; so is bfloat16 as a whole.
"""

from __future__ import annotations

import functools
import importlib

from fastact import contenders
from fastact.catalogue import BY_NAME
from fastact.peers import Statement

#: Operator, domain, attributes.  QuickGelu with alpha 1 is silu: its graph optimizer makes it of Sigmoid and Mul in
#: float32, and in float16 the two nodes take 1.5 times as long.
_OPERATORS = {
    "relu": ("Relu", "", {}),
    "leaky_relu": ("LeakyRelu", "", {"alpha": 0.01}),
    "prelu": ("PRelu", "", {}),
    "elu": ("Elu", "", {}),
    "gelu": ("Gelu", "", {"approximate": "none"}),
    "gelu_tanh": ("Gelu", "", {"approximate": "tanh"}),
    "sigmoid": ("Sigmoid", "", {}),
    "tanh": ("Tanh", "", {}),
    "silu": ("QuickGelu", "com.microsoft", {"alpha": 1.0}),
    "softplus": ("Softplus", "", {}),
    "mish": ("Mish", "", {}),
}
#: What it expands into several nodes, of which a later one reads the input again: in place they would read the output.
_SEVERAL_NODES = ("gelu_tanh",)
#: The first opset with Gelu, and the version of the format that came with it.
_OPSET, _FORMAT = 20, 9


class Maker:
    """Contenders of ONNX Runtime."""

    def __init__(self, label, threads):
        self._label, self._threads = label, threads
        self._onnx = importlib.import_module("onnx")
        self._runtime = importlib.import_module("onnxruntime")

    # each session has a pool of threads; the sizes and modes of one function follow each other
    @functools.lru_cache(maxsize=2)  # noqa: B019 - one Maker a process
    def _session(self, activation, dtype):
        helper = self._onnx.helper
        kind = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16"}[dtype]
        kind = getattr(self._onnx.TensorProto, kind)
        operator, domain, attributes = _OPERATORS[activation]
        operands = BY_NAME[activation].operands
        weights = [helper.make_tensor(operand.name, kind, [1], [operand.tried[0]]) for operand in operands]
        node = helper.make_node(operator, ["x", *(o.name for o in operands)], ["y"], domain=domain, **attributes)
        ends = [[helper.make_tensor_value_info(name, kind, ["n"])] for name in ("x", "y")]
        imports = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        graph = helper.make_graph([node], operator, *ends, initializer=weights)
        model = helper.make_model(graph, opset_imports=imports, ir_version=_FORMAT)
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        # only what is fatal: a kernel that it lacks is no error here
        options.log_severity_level = 4
        try:
            return self._runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except self._runtime.capi.onnxruntime_pybind11_state.NotImplemented:
            return None

    def contender(self, case, arrays, copies):
        """The contender, or None where ONNX Runtime lacks a kernel."""
        if case.direction != "forward" or case.dtype == "bfloat16" or case.activation not in _OPERATORS:
            return None
        session = self._session(case.activation, case.dtype)
        if session is None:
            return None

        def bound(given, result):
            binding = session.io_binding()
            for name, array, bind in (("x", given, binding.bind_input), ("y", result, binding.bind_output)):
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            # the compiled object does not keep the Python one, but is kept by nothing else
            return binding._iobinding

        compiled = session._sess
        names = {"outputs": ["y"], "run_session": compiled.run, "run_bound": compiled.run_with_iobinding}
        statement = Statement("run_session(outputs, {'x': x}, None)[0]", "run_bound(bound, None)", "run_bound(x, None)")
        if case.mode == "reused":
            names["bound"] = bound(arrays["x"], arrays["o"])
        in_place, apart = case.mode == "in_place", case.activation in _SEVERAL_NODES
        if in_place and apart:
            statement = statement._replace(note="into another array")
        result = arrays["o"] if apart else copies[0] if in_place else None
        access = contenders.Access(
            bind=lambda copy: bound(copy, arrays["o"] if apart else copy),
            unwrap=(lambda _: result) if in_place else lambda value: value,
        )
        return contenders.Contender(self._label, "ONNX Runtime", statement, case, arrays, names, access, copies)
