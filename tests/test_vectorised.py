"""Every compiled kernel is a SIMD loop: read from the machine code itself, for each kernel and instruction set.

Compilers do not say when they give up on a loop, and the result is right, only ten times slower.  So each kernel is
disassembled, its loops are found by their backward jumps, and its hot loop must do all its floating-point work on
packed registers of the width that the instruction set promises.
"""

import re
import shutil
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
from cases import PLAIN_FUNCTIONS

import fastact
from fastact import lowering
from fastact._kernels import base
from fastact.backends import cython_kernels
from fastact.catalogue import ACTIVATIONS

OBJDUMP = shutil.which("objdump")
needs_objdump = pytest.mark.skipif(OBJDUMP is None, reason="needs objdump (binutils), which comes with GCC")

WIDTH = {"base": "xmm", "avx2": "ymm", "avx512": "zmm"}
#: Arithmetic, comparisons and choices, in their scalar and packed spellings (with and without the v of AVX).
ARITHMETIC = (
    r"v?(?:add|sub|mul|div|min|max|cmp\w*?|fn?m(?:add|sub)(?:132|213|231)|and|andn|or|xor|blend[mv]?|ucomi|comi)"
)
PACKED = re.compile(ARITHMETIC + r"p[sd]$")
SCALAR = re.compile(ARITHMETIC + r"s[sd]$")
LOOPS = [lowering.loop_of(row, direction) for row in ACTIVATIONS for direction in row.directions]


def functions_of(level):
    """{kernel name: [(address, mnemonic, operands), ...]} of one compiled module."""
    path = cython_kernels._load(level).__file__
    text = subprocess.run(
        [OBJDUMP, "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    found, current = {}, None
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:", line)
        if head:
            # GCC may append .isra or .constprop; Cython prepends its own prefix
            name = re.search(r"_([a-z_0-9]+_float(?:32|64))_kernel", head.group(1))
            current = found.setdefault(_plain(name.group(1)), []) if name else None
        elif current is not None:
            part = re.match(r"\s*([0-9a-f]+):\s+(?:\{\w+\} )?(\S+)\s*(.*)", line)
            if part:
                current.append((int(part.group(1), 16), part.group(2), part.group(3)))
    return found


def _plain(mangled):
    """The kernel's own name: Cython puts the module's name in front, with lengths between."""
    names = [f"{loop.name}_{dtype}" for loop in LOOPS for dtype in ("float32", "float64")]
    return max((name for name in names if mangled.endswith(name)), key=len)


def loops_of(instructions):
    """The bodies of the innermost loops: what stands between a backward jump and its target."""
    spans = []
    for address, mnemonic, operands in instructions:
        target = re.match(r"([0-9a-f]+)", operands)
        if mnemonic.startswith("j") and target and instructions[0][0] <= int(target.group(1), 16) <= address:
            spans.append((int(target.group(1), 16), address))
    innermost = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[i for i in instructions if start <= i[0] <= end] for start, end in innermost]


@pytest.fixture(scope="module")
def disassembly():
    return {level: functions_of(level) for level in base.runnable()}


@needs_objdump
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
@pytest.mark.parametrize("level", base.runnable())
def test_hot_loop_is_packed(disassembly, level, loop, dtype):
    instructions = disassembly[level][f"{loop.name}_{dtype}"]
    suffix = "s" if dtype == "float32" else "d"
    bodies = loops_of(instructions)
    assert bodies, "no loop found"
    counts = [Counter(_kind(i) for i in body) for body in bodies]
    packed = [c for c in counts if c["packed"] and not c["scalar"]]
    assert packed, f"no loop works on packed registers only: {counts}"
    # the SIMD loop does at least as much work per pass as any scalar fallback beside it
    assert max(c["packed"] for c in packed) >= max(c["scalar"] for c in counts)
    widest = max(packed, key=lambda c: c["packed"])
    body = bodies[counts.index(widest)]
    registers = Counter(r for _, _, operands in body for r in re.findall(r"%([xyz]mm)\d", operands))
    assert registers[WIDTH[level]], f"registers used: {registers}"
    assert any(m.endswith(suffix) for _, m, _ in body)


def _kind(instruction):
    _, mnemonic, _ = instruction
    return "packed" if PACKED.match(mnemonic) else ("scalar" if SCALAR.match(mnemonic) else "other")


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
