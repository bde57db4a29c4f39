"""Every compiled kernel is a SIMD loop: read from the machine code itself, for each kernel and instruction set."""

import re
import time

import numpy as np
import pytest
from cases import PLAIN_FUNCTIONS
from disassembly import assert_hot_loop_is_packed, functions_of, needs_objdump

import fastact
from fastact import dispatch, lowering
from fastact._kernels import base
from fastact.backends import cython_kernels
from fastact.catalogue import ACTIVATIONS

LOOPS = [lowering.loop_of(row, direction) for row in ACTIVATIONS for direction in row.directions]


def kernels_of(level):
    """{kernel name: its instructions} of one compiled module."""

    def name_of(symbol):
        # GCC may append .isra or .constprop; Cython prepends its own prefix
        kernel = re.search(r"_([a-z_0-9]+_(?:float(?:32|64|16)|bfloat16))_kernel", symbol)
        return _plain(kernel.group(1)) if kernel else None

    kernels = functions_of(cython_kernels._load(level).__file__, name_of)
    places = {instructions[0][0]: name for name, instructions in kernels.items()}
    for name, instructions in kernels.items():
        # of two kernels that are the same to the letter, compilers make one, and the other one jumps to it
        _, mnemonic, operands = instructions[0]
        if mnemonic == "jmp" and int(operands.split()[0], 16) in places:
            kernels[name] = kernels[places[int(operands.split()[0], 16)]]
    return kernels


def _plain(mangled):
    """The kernel's own name: Cython puts the module's name in front, with lengths between."""
    names = [f"{loop.name}_{dtype}" for loop in LOOPS for dtype in dispatch.DTYPES]
    return max((name for name in names if mangled.endswith(name)), key=len)


@pytest.fixture(scope="module")
def disassembly():
    return {level: kernels_of(level) for level in base.runnable()}


@needs_objdump
@pytest.mark.parametrize("dtype", dispatch.DTYPES)
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
@pytest.mark.parametrize("level", base.runnable())
def test_hot_loop_is_packed(disassembly, level, loop, dtype):
    # whether a slope is zero is asked once for sixteen elements of 16 bits
    branches = 1 if loop.scalars and dtype in lowering.HALVES else 0
    assert_hot_loop_is_packed(disassembly[level][f"{loop.name}_{dtype}"], level, dtype, branches=branches)


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
