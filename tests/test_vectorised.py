"""Every compiled kernel is a SIMD loop: read from the machine code itself, for each kernel and instruction set."""

import importlib
import time

import numpy as np
import pytest
from cases import PLAIN_FUNCTIONS
from disassembly import (
    DTYPES,
    LOOPS,
    assert_hot_loop_is_packed,
    elements_per_pass,
    kernels_of,
    needs_objdump,
    simd_loop,
)

import fastact
from fastact import lowering
from fastact._kernels import base


@needs_objdump
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
@pytest.mark.parametrize("level", base.runnable())
def test_hot_loop_is_packed(level, loop, dtype):
    # whether a slope is zero is asked once for sixteen elements of 16 bits
    branches = 1 if loop.scalars and dtype in lowering.HALVES else 0
    assert_hot_loop_is_packed(kernels_of(level)[f"{loop.name}_{dtype}"], level, dtype, branches=branches)


@needs_objdump
@pytest.mark.parametrize("level", base.runnable())
def test_paced_loops_take_several_vectors(level):
    """A beat that the compiler drops would go unnoticed: the kernel would only be slow."""
    promised = importlib.import_module(f"fastact._kernels.{level}").strides()
    wrong = []
    for (loop, dtype), stride in promised.items():
        taken = elements_per_pass(simd_loop(kernels_of(level)[f"{loop}_{dtype}"]), dtype)
        if taken != stride:
            wrong.append((loop, dtype, stride, taken))
    assert wrong == []


@pytest.mark.alone
@pytest.mark.parametrize("backend_name", ["cython", "numba"])
@pytest.mark.parametrize("function", PLAIN_FUNCTIONS, ids=lambda function: function.name)
def test_in_place_is_no_scalar_loop(function, backend_name):
    """A compiler's check for overlap can send equal pointers to a scalar fallback: eight times slower, and silent.

    Not a benchmark: the bound lies between the noise (1.3) and that, and the best of several tries counts.
    """
    if backend_name not in fastact.available_backends():
        pytest.skip(f"no {backend_name} here")
    x = np.random.default_rng(0).normal(0, 2, 1 << 14).astype(np.float32)
    own, out = x.copy(), np.empty_like(x)
    grads = [] if function.direction == "forward" else [np.ones_like(x)]

    def best(target, source):
        times = []
        for _ in range(15):
            own[:] = x
            start = time.perf_counter()
            function(*grads, source, out=target)
            times.append(time.perf_counter() - start)
        return min(times)

    with fastact.num_threads(1), fastact.use_backend(backend_name):
        function(*grads, x, out=out)
        ratios = []
        for _ in range(5):
            ratios.append(best(own, own) / best(out, x))
            if ratios[-1] < 3:
                return
    pytest.fail(f"in place takes {min(ratios):.1f} times as long as out of place")
