"""JAX: ``jax.nn`` compiled by ``jax.jit``; gradients are its own, by ``jax.vjp``, compiled together with the product.

It has no output arguments: with a reused output it is timed in its fresh form.  In place it gets the input's memory
by donation, which takes a new array for each call.  Dispatch is synchronous, which costs 4 instead of 50 us a call.

How many threads XLA has is settled when it is imported (``ENVIRONMENT``), so each thread count needs a process.
"""

from __future__ import annotations

import functools
import importlib

from fastact import contenders
from fastact.catalogue import BY_NAME
from fastact.peers import Statement


def environment(threads):
    """Variables that must be set before JAX is imported."""
    settings = {
        # the size of the pool that XLA makes for the CPU
        "NPROC": str(threads),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "JAX_CPU_ENABLE_ASYNC_DISPATCH": "0",
    }
    if threads == 1:
        settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return settings


def _values(jax):
    nn, numpy = jax.nn, jax.numpy
    return {
        "relu": nn.relu,
        "leaky_relu": nn.leaky_relu,
        "prelu": lambda x, weight: numpy.where(x > 0, x, weight * x),
        "elu": nn.elu,
        "gelu": functools.partial(nn.gelu, approximate=False),
        "gelu_tanh": functools.partial(nn.gelu, approximate=True),
        "sigmoid": nn.sigmoid,
        "tanh": nn.tanh,
        "silu": nn.silu,
        "softplus": nn.softplus,
        "mish": nn.mish,
    }


def _gradients_from_output(jax):
    numpy = jax.numpy
    return {
        "relu": lambda g, y: numpy.where(y > 0, g, 0),
        "leaky_relu": lambda g, y: numpy.where(y > 0, g, 0.01 * g),
        "elu": lambda g, y: numpy.where(y > 0, g, g * (y + 1)),
        "sigmoid": lambda g, y: g * y * (1 - y),
        "tanh": lambda g, y: g * (1 - y * y),
        "softplus": lambda g, y: -g * numpy.expm1(-y),
    }


class Maker:
    """Contenders of JAX."""

    def __init__(self, label, threads):
        self._label = label
        self._jax = importlib.import_module("jax")
        self._values = _values(self._jax)
        self._from_output = _gradients_from_output(self._jax)

    def _function(self, activation, direction):
        if direction == "backward_from_output":
            return self._from_output.get(activation)
        value = self._values.get(activation)
        if value is None or direction == "forward":
            return value

        def gradient(g, *given):
            found = self._jax.vjp(value, *given)[1](g)
            return found[0] if len(found) == 1 else found

        return gradient

    @functools.lru_cache(maxsize=128)  # noqa: B019 - one Maker a process
    def _compiled(self, activation, direction, in_place):
        function = self._function(activation, direction)
        return function and self._jax.jit(function, donate_argnums=(0,) if in_place else ())

    def contender(self, case, arrays, copies):
        """The contender, or None where JAX lacks the function."""
        call = self._compiled(case.activation, case.direction, case.mode == "in_place")
        if call is None:
            return None
        jax = self._jax
        operands = [operand.name for operand in BY_NAME[case.activation].operands]
        given = [*(["g"] if case.direction != "forward" else []), case.source, *operands]

        def shared(array):
            return jax.device_put(array, may_alias=True)

        # compile it for this size, or the first call says nothing about the next
        call(*(jax.numpy.array(arrays[name], copy=True) for name in given))
        ready = "jax.block_until_ready" if case.direction == "backward" and operands else ""
        text = f"{ready}(call({', '.join(given)}))" if ready else f"call({', '.join(given)}).block_until_ready()"
        access = contenders.Access(wrap=shared)
        statement = Statement(text)
        if case.mode == "in_place":
            statement = Statement(text, in_place=f"o = {text}")
            access = access._replace(bind=lambda copy: jax.numpy.array(copy, copy=True), consumes=True)
        namespace = {"call": call, "jax": jax}
        return contenders.Contender(self._label, "JAX", statement, case, arrays, namespace, access, copies)
