"""The peers: what PyTorch, ONNX Runtime and JAX give for the same inputs, for the comparison side by side.

PyTorch's statements are those that the benchmark times (``fastact/peers.py``).  JAX's gradients are its own, by
``jax.vjp`` of the activation; ONNX Runtime runs models of one node, forward only.  An activation that is in none of
these tables is verified without peers, and so is everything where a package is not installed.

Each package is imported when a contender of it is made, never before, and works on one thread.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import peers as statements
from .numbers import Array, Format
from .subjects import Subject

#: Column heads, and the packages that they stand for.
PEERS = {"PyTorch": ("torch",), "ONNX Runtime": ("onnxruntime", "onnx"), "JAX": ("jax",)}
#: Names of functions in jax.nn, with fixed keywords.
_JAX: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("relu", {}),
    "leaky_relu": ("leaky_relu", {}),
    "elu": ("elu", {}),
    "gelu": ("gelu", {"approximate": False}),
    "gelu_tanh": ("gelu", {"approximate": True}),
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "silu": ("silu", {}),
    "softplus": ("softplus", {}),
    "mish": ("mish", {}),
}
#: Operators of ONNX, their domain, and attributes; parameters of the row that the operator has are named like this.
_ONNX: dict[str, tuple[str, str, dict[str, Any], dict[str, str]]] = {
    "relu": ("Relu", "", {}, {}),
    "leaky_relu": ("LeakyRelu", "", {}, {"negative_slope": "alpha"}),
    "elu": ("Elu", "", {}, {"alpha": "alpha"}),
    "gelu": ("Gelu", "", {"approximate": "none"}, {}),
    "gelu_tanh": ("Gelu", "", {"approximate": "tanh"}, {}),
    "sigmoid": ("Sigmoid", "", {}, {}),
    "tanh": ("Tanh", "", {}, {}),
    # its own operator for x * sigmoid(alpha * x)
    "silu": ("QuickGelu", "com.microsoft", {"alpha": 1.0}, {}),
    "softplus": ("Softplus", "", {}, {}),
    "mish": ("Mish", "", {}, {}),
}
_OPSET = 20


def installed() -> tuple[str, ...]:
    """The peers that are there, without importing any."""
    return tuple(
        name for name, packages in PEERS.items() if all(importlib.util.find_spec(package) for package in packages)
    )


def missing() -> dict[str, str]:
    """The peers that are not, each with the packages it needs."""
    there = installed()
    return {name: " and ".join(packages) for name, packages in PEERS.items() if name not in there}


def versions() -> dict[str, str]:
    """Versions of the peers' packages that are installed."""
    return {
        packages[0]: importlib.metadata.version(packages[0]) for packages in map(PEERS.get, installed()) if packages
    }


def of(subject: Subject, form: Format) -> tuple[str, ...]:
    """The installed peers that have this function; float32 is what is compared with them."""
    if form.name != "float32":
        return ()
    return tuple(name for name in installed() if _MAKERS[name][0](subject))


# pieces of one function follow each other, and JAX takes a tenth of a second to compile it
@functools.lru_cache(maxsize=8)
def contender(subject: Subject, name: str) -> Callable[[Array], Array]:
    """A call of the peer's function."""
    return _MAKERS[name][1](subject)


def _torch_has(subject: Subject) -> bool:
    entry = statements.PEERS.get(subject.row.name)
    return entry is not None and subject.callable.direction in entry.torch


def _torch(subject: Subject) -> Callable[[Array], Array]:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    statement = statements.PEERS[subject.row.name].torch[subject.callable.direction].fresh
    code = compile(statement, f"<PyTorch's {subject.function}>", "eval")
    numbers: dict[str, Any] = dict(subject.named_parameters)
    numbers |= {p.name: torch.full((1,), numbers[p.name]) for p in subject.row.operands}
    names = {"torch": torch, "nn": torch._C._nn, "aten": torch.ops.aten, **numbers}
    source = "y" if subject.callable.direction == "backward_from_output" else "x"

    def call(x: Array) -> Array:
        given = torch.from_numpy(x)
        result = eval(code, names | {source: given, "g": torch.ones_like(given)})
        return np.asarray((result[0] if isinstance(result, tuple) else result).numpy())

    return call


def _jax_has(subject: Subject) -> bool:
    # its softplus has no beta
    takes = subject.row.name != "softplus" or subject.is_default
    return subject.row.name in _JAX and takes and subject.callable.direction != "backward_from_output"


def _jax(subject: Subject) -> Callable[[Array], Array]:
    jax = importlib.import_module("jax")
    name, keywords = _JAX[subject.row.name]
    keywords = keywords | ({} if name == "softplus" else subject.named_parameters)

    def value(x: Any) -> Any:
        return getattr(jax.nn, name)(x, **keywords)

    def gradient(x: Any) -> Any:
        result, pull_back = jax.vjp(value, x)
        return pull_back(jax.numpy.ones_like(result))[0]

    compiled = jax.jit(value if subject.is_value else gradient)
    cpu = jax.devices("cpu")[0]

    def call(x: Array) -> Array:
        with jax.default_device(cpu):
            return np.asarray(compiled(x))

    return call


def _onnx_has(subject: Subject) -> bool:
    if subject.row.name not in _ONNX or not subject.is_value:
        return False
    return subject.is_default or set(_ONNX[subject.row.name][3]) == set(subject.named_parameters)


def _onnx(subject: Subject) -> Callable[[Array], Array]:
    onnx = importlib.import_module("onnx")
    runtime = importlib.import_module("onnxruntime")
    operator, domain, fixed, named = _ONNX[subject.row.name]
    given = {named[name]: number for name, number in subject.named_parameters.items() if name in named}
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(operator, ["x"], ["y"], domain=domain, **fixed, **given)
    ends = [[helper.make_tensor_value_info(name, kind, ["n"])] for name in ("x", "y")]
    imports = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    # the version that this opset came with: a runtime need not know the newest
    model = helper.make_model(helper.make_graph([node], operator, *ends), opset_imports=imports, ir_version=9)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # only errors: it warns about CPUs that it does not know
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def call(x: Array) -> Array:
        return np.asarray(session.run(None, {"x": x})[0])

    return call


_MAKERS: dict[str, tuple[Callable[[Subject], bool], Callable[[Subject], Callable[[Array], Array]]]] = {
    "PyTorch": (_torch_has, _torch),
    "ONNX Runtime": (_onnx_has, _onnx),
    "JAX": (_jax_has, _jax),
}
