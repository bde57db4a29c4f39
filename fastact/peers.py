"""What others offer for the same job: the statements that the benchmark times beside ours.  Data, and nothing else.

One entry per activation, at most; an activation without one is benchmarked without peers.  A statement is Python text
that is compiled into the timed loop itself, so that no wrapper stands between the clock and the peer.  It may use
the arrays ``x`` (input), ``y`` (output), ``g`` (gradient of the output), ``o`` (where the result goes; in place it is
``x``, ``y`` or ``g`` itself), the scratch arrays ``t`` and ``u``, the parameters by name, and ``np``, ``special``
(SciPy), ``torch``, ``nn`` (the C functions under ``torch.nn.functional``, which take ``out=``) and ``aten``.

A peer is shown at its best, or the comparison is worth nothing: NumPy has preallocated scratch arrays and writes into
``o``; PyTorch skips its Python wrappers where they cost time.
"""

from __future__ import annotations

from typing import NamedTuple


class Statement(NamedTuple):
    """How a peer does one thing.  ``""``: it cannot; the benchmark then takes the closest form and says so."""

    #: An expression whose value is a new array.
    fresh: str
    #: Statements that leave the result in ``o``, also where ``o`` is the input.
    reused: str = ""
    #: In place, where the peer has a form of its own for it.
    in_place: str = ""
    #: What a reader of the figure must know.
    note: str = ""


class Peers(NamedTuple):
    """The statements of one activation, by direction."""

    numpy: dict[str, Statement]
    torch: dict[str, Statement]


#: The memory traffic alone: the floor that every contender is measured against.
MEMORY = {
    "forward": ("memcpy", Statement("x.copy()", "np.copyto(o, x)", "np.copyto(t, x)")),
    "backward": ("add", Statement("np.add(g, x)", "np.add(g, x, out=o)")),
    "backward_from_output": ("add", Statement("np.add(g, y)", "np.add(g, y, out=o)")),
}

_TWO_CALLS = "two calls: PyTorch's gradient takes the output"


def _gate_by_sign(source: str, slope: str) -> Statement:
    return Statement(
        f"g * np.where({source} > 0, 1, {slope})", f"np.multiply(g, np.where({source} > 0, 1, {slope}), out=o)"
    )


def _torch_rectifier(source: str, from_output: bool) -> Statement:
    arguments = f"g, {source}, negative_slope, {from_output}"
    return Statement(
        f"aten.leaky_relu_backward({arguments})",
        f"aten.leaky_relu_backward.grad_input({arguments}, grad_input=o)",
    )


def _torch_threshold(source: str) -> Statement:
    return Statement(
        f"aten.threshold_backward(g, {source}, 0)",
        f"aten.threshold_backward.grad_input(g, {source}, 0, grad_input=o)",
    )


def _torch_elu(source: str, from_output: bool) -> Statement:
    arguments = f"g, alpha, 1, 1, {from_output}, {source}"
    return Statement(
        f"aten.elu_backward({arguments})",
        f"aten.elu_backward.grad_input({arguments}, grad_input=o)",
    )


PEERS: dict[str, Peers] = {
    "relu": Peers(
        numpy={
            "forward": Statement("np.maximum(x, 0)", "np.maximum(x, 0, out=o)"),
            "backward": Statement("g * (x > 0)", "np.multiply(g, x > 0, out=o)"),
            "backward_from_output": Statement("g * (y > 0)", "np.multiply(g, y > 0, out=o)"),
        },
        torch={
            "forward": Statement("torch.relu(x)", "torch.clamp_min(x, 0, out=o)", "torch.relu_(x)"),
            "backward": _torch_threshold("x"),
            "backward_from_output": _torch_threshold("y"),
        },
    ),
    "leaky_relu": Peers(
        numpy={
            "forward": Statement(
                "np.maximum(x, x * negative_slope)", "np.multiply(x, negative_slope, out=t); np.maximum(x, t, out=o)"
            ),
            "backward": _gate_by_sign("x", "negative_slope"),
            "backward_from_output": _gate_by_sign("y", "negative_slope"),
        },
        torch={
            "forward": Statement(
                "nn.leaky_relu(x, negative_slope)",
                "nn.leaky_relu(x, negative_slope, out=o)",
                "nn.leaky_relu_(x, negative_slope)",
            ),
            "backward": _torch_rectifier("x", False),
            "backward_from_output": _torch_rectifier("y", True),
        },
    ),
    "prelu": Peers(
        numpy={
            "forward": Statement(
                "np.where(x > 0, x, x * weight)", "np.multiply(x, weight, out=t); np.maximum(x, t, out=o)"
            ),
            "backward": Statement(
                "(g * np.where(x > 0, 1, weight), np.dot(g, np.minimum(x, 0)))",
                "np.minimum(x, 0, out=t); np.dot(g, t); np.multiply(g, np.where(x > 0, 1, weight), out=o)",
            ),
        },
        torch={
            "forward": Statement("torch.prelu(x, weight)"),
            "backward": Statement(
                "aten._prelu_kernel_backward(g, x, weight)", note="weight gradient as terms, not summed"
            ),
        },
    ),
    "elu": Peers(
        numpy={
            "forward": Statement(
                "np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))",
                "np.minimum(x, 0, out=t); np.expm1(t, out=t); np.multiply(t, alpha, out=t);"
                " np.maximum(x, 0, out=o); np.add(o, t, out=o)",
            ),
            "backward": Statement(
                "g * np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))",
                "np.minimum(x, 0, out=t); np.exp(t, out=t); np.multiply(t, alpha, out=t); np.copyto(t, 1, where=x > 0);"
                " np.multiply(g, t, out=o)",
            ),
            "backward_from_output": Statement(
                "g * np.where(y > 0, 1, y + alpha)",
                "np.add(y, alpha, out=t); np.copyto(t, 1, where=y > 0); np.multiply(g, t, out=o)",
            ),
        },
        torch={
            "forward": Statement("nn.elu(x, alpha)", "nn.elu(x, alpha, out=o)", "nn.elu_(x, alpha)"),
            "backward": _torch_elu("x", False),
            "backward_from_output": _torch_elu("y", True),
        },
    ),
    "gelu": Peers(
        numpy={
            "forward": Statement("x * special.ndtr(x)", "special.ndtr(x, out=t); np.multiply(x, t, out=o)"),
            "backward": Statement(
                "g * (special.ndtr(x) + x * np.exp(-0.5 * x * x) * 0.3989422804014327)",
                "np.multiply(x, x, out=t); np.multiply(t, -0.5, out=t); np.exp(t, out=t); np.multiply(t, x, out=t);"
                " np.multiply(t, 0.3989422804014327, out=t); special.ndtr(x, out=u); np.add(t, u, out=t);"
                " np.multiply(g, t, out=o)",
            ),
        },
        torch={
            "forward": Statement("nn.gelu(x)", "nn.gelu(x, out=o)", "nn.gelu_(x)"),
            "backward": Statement("aten.gelu_backward(g, x)", "aten.gelu_backward.grad_input(g, x, grad_input=o)"),
        },
    ),
    "gelu_tanh": Peers(
        numpy={
            "forward": Statement(
                "0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))",
                "np.multiply(x, x, out=t); np.multiply(t, 0.035677408136300125, out=t);"
                " np.add(t, 0.7978845608028654, out=t); np.multiply(t, x, out=t); np.tanh(t, out=t);"
                " np.add(t, 1, out=t); np.multiply(t, x, out=t); np.multiply(t, 0.5, out=o)",
            ),
            "backward": Statement(
                "(lambda v: g * (0.5 * (1 + v) + 0.5 * x * (1 - v * v)"
                " * (0.7978845608028654 + 0.10703222440890037 * x * x)))"
                "(np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))",
                "np.multiply(x, x, out=u); np.multiply(u, 0.035677408136300125, out=t);"
                " np.add(t, 0.7978845608028654, out=t); np.multiply(t, x, out=t); np.tanh(t, out=t);"
                " np.multiply(u, 0.10703222440890037, out=u); np.add(u, 0.7978845608028654, out=u);"
                " np.multiply(u, x, out=u); np.multiply(u, 1 - t * t, out=u); np.add(u, t, out=u); np.add(u, 1, out=u);"
                " np.multiply(u, 0.5, out=u); np.multiply(g, u, out=o)",
            ),
        },
        torch={
            "forward": Statement(
                "nn.gelu(x, approximate='tanh')",
                "nn.gelu(x, approximate='tanh', out=o)",
                "nn.gelu_(x, approximate='tanh')",
            ),
            "backward": Statement(
                "aten.gelu_backward(g, x, approximate='tanh')",
                "aten.gelu_backward.grad_input(g, x, approximate='tanh', grad_input=o)",
            ),
        },
    ),
    "sigmoid": Peers(
        numpy={
            "forward": Statement("special.expit(x)", "special.expit(x, out=o)"),
            "backward": Statement(
                "(lambda s: g * s * (1 - s))(special.expit(x))",
                "special.expit(x, out=t); np.subtract(1, t, out=u); np.multiply(t, u, out=t); np.multiply(g, t, out=o)",
            ),
            "backward_from_output": Statement(
                "g * y * (1 - y)", "np.subtract(1, y, out=t); np.multiply(t, y, out=t); np.multiply(g, t, out=o)"
            ),
        },
        torch={
            "forward": Statement("torch.sigmoid(x)", "torch.sigmoid(x, out=o)", "torch.sigmoid_(x)"),
            "backward": Statement(
                "aten.sigmoid_backward(g, torch.sigmoid(x))",
                "torch.sigmoid(x, out=t); aten.sigmoid_backward.grad_input(g, t, grad_input=o)",
                note=_TWO_CALLS,
            ),
            "backward_from_output": Statement(
                "aten.sigmoid_backward(g, y)", "aten.sigmoid_backward.grad_input(g, y, grad_input=o)"
            ),
        },
    ),
    "tanh": Peers(
        numpy={
            "forward": Statement("np.tanh(x)", "np.tanh(x, out=o)"),
            "backward": Statement(
                "g * (1 - np.tanh(x) ** 2)",
                "np.tanh(x, out=t); np.multiply(t, t, out=t); np.subtract(1, t, out=t); np.multiply(g, t, out=o)",
            ),
            "backward_from_output": Statement(
                "g * (1 - y * y)", "np.multiply(y, y, out=t); np.subtract(1, t, out=t); np.multiply(g, t, out=o)"
            ),
        },
        torch={
            "forward": Statement("torch.tanh(x)", "torch.tanh(x, out=o)", "torch.tanh_(x)"),
            "backward": Statement(
                "aten.tanh_backward(g, torch.tanh(x))",
                "torch.tanh(x, out=t); aten.tanh_backward.grad_input(g, t, grad_input=o)",
                note=_TWO_CALLS,
            ),
            "backward_from_output": Statement(
                "aten.tanh_backward(g, y)", "aten.tanh_backward.grad_input(g, y, grad_input=o)"
            ),
        },
    ),
    "silu": Peers(
        numpy={
            "forward": Statement("x * special.expit(x)", "special.expit(x, out=t); np.multiply(x, t, out=o)"),
            "backward": Statement(
                "(lambda s: g * s * (1 + x * (1 - s)))(special.expit(x))",
                "special.expit(x, out=t); np.subtract(1, t, out=u); np.multiply(u, x, out=u); np.add(u, 1, out=u);"
                " np.multiply(t, u, out=t); np.multiply(g, t, out=o)",
            ),
        },
        torch={
            "forward": Statement("nn.silu(x)", "nn.silu(x, out=o)", "nn.silu_(x)"),
            "backward": Statement("aten.silu_backward(g, x)", "aten.silu_backward.grad_input(g, x, grad_input=o)"),
        },
    ),
    "softplus": Peers(
        numpy={
            "forward": Statement(
                "np.logaddexp(x * beta, 0) / beta",
                "np.multiply(x, beta, out=t); np.logaddexp(t, 0, out=t); np.divide(t, beta, out=o)",
            ),
            "backward": Statement(
                "g * special.expit(x * beta)",
                "np.multiply(x, beta, out=t); special.expit(t, out=t); np.multiply(g, t, out=o)",
            ),
            "backward_from_output": Statement(
                "-g * np.expm1(y * -beta)",
                "np.multiply(y, -beta, out=t); np.expm1(t, out=t); np.multiply(g, t, out=o); np.negative(o, out=o)",
            ),
        },
        torch={
            "forward": Statement("nn.softplus(x, beta, 20)", "nn.softplus(x, beta, 20, out=o)"),
            "backward": Statement(
                "aten.softplus_backward(g, x, beta, 20)",
                "aten.softplus_backward.grad_input(g, x, beta, 20, grad_input=o)",
            ),
        },
    ),
    "mish": Peers(
        numpy={
            "forward": Statement(
                "x * np.tanh(np.logaddexp(x, 0))",
                "np.logaddexp(x, 0, out=t); np.tanh(t, out=t); np.multiply(x, t, out=o)",
            ),
            "backward": Statement(
                "(lambda v: g * (v + x * (1 - v * v) * special.expit(x)))(np.tanh(np.logaddexp(x, 0)))",
                "np.logaddexp(x, 0, out=t); np.tanh(t, out=t); special.expit(x, out=u); np.multiply(u, x, out=u);"
                " np.multiply(u, 1 - t * t, out=u); np.add(u, t, out=u); np.multiply(g, u, out=o)",
            ),
        },
        torch={
            "forward": Statement("nn.mish(x)", "nn.mish(x, out=o)", "nn.mish_(x)"),
            "backward": Statement("aten.mish_backward(g, x)"),
        },
    ),
}
