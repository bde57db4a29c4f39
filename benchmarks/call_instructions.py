"""What a call costs, in instructions that are executed: counted by valgrind, which runs a Python of its own for it.

Times of 200 ns cannot be compared across machines and days; instructions can: run again, they are the same to the last
one or nearly so.  valgrind simulates a CPU with AVX2 and without AVX-512, whatever the machine has, so it is AVX2
kernels that are counted, here and everywhere.

This file is run twice.  As a module it starts valgrind and reads its files; as a program, under valgrind, it makes the
calls.  Callgrind writes what it has counted, and begins anew, whenever libc's ``getppid`` is called: that is how the
program separates its calls without a line of C.  A case is run n times and 2 n times, and the difference divided by n
is a call, without what starting and stopping cost.
"""

import functools
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import fastact

VALGRIND = shutil.which("valgrind")
#: The calls: each statement, made of the names below.  Every way through the core is there once.
CASES = (
    "gelu(float32_16, out=out_float32_16)",
    "gelu(float32_1024, out=out_float32_1024)",
    "gelu(float32_16)",
    "gelu_backward(grad_float32_16, float32_16, out=out_float32_16)",
    "relu(float32_16, out=out_float32_16)",
    "elu(float32_16, alpha=0.5, out=out_float32_16)",
    "prelu(rows, weight, out=out_rows)",
    "gelu(float64_16, out=out_float64_16)",
    "gelu(float16_1024, out=out_float16_1024)",
    "gelu(bfloat16_1024, out=out_bfloat16_1024)",
    "ufuncs.gelu(float32_16, out=out_float32_16)",
    "gelu(strided, out=out_float32_16)",
    "gelu(0.5)",
)
#: What is told apart: the kernels, the compiled core, and everything, with Python and NumPy.
MEASURES = ("kernel", "core", "all")
#: Python 3.11 and later rewrite bytecode in the first calls; half of that was enough in 3.11.
WARM_UP = 64
CALLS = 32


class Unavailable(Exception):
    """Calls cannot be counted here, for a reason that is no fault of fastact's."""


@functools.cache
def measured():
    """({case: {measure: instructions per call}}, the instruction set whose kernels served).  It takes 5 to 10 s."""
    if VALGRIND is None:
        raise Unavailable("no valgrind")
    package = Path(fastact.__file__).resolve().parent
    with tempfile.TemporaryDirectory(prefix="fastact-calls-") as folder:
        counts = Path(folder, "counts")
        command = [VALGRIND, "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={counts}"]
        # nothing of this environment: its size moves addresses, and its FASTACT_ variables choose kernels
        variables = {"PYTHONPATH": str(package.parent), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        variables |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        done = subprocess.run(
            [*command, sys.executable, __file__],
            env=variables,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if re.search(r"unrecognised instruction|unhandled instruction", done.stderr, re.IGNORECASE):
            raise Unavailable("valgrind does not know an instruction of this Python or NumPy")
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout}{done.stderr[-4000:]}")
        said = json.loads(done.stdout)
        if Path(said["package"]) != package:
            raise RuntimeError(f"valgrind's Python imported {said['package']}; accepted: {package}")
        # before the first call, after n calls, after 2 n: three parts of each case
        parts = [instructions_of((counts.parent / f"counts.{k}").read_text()) for k in range(1, 3 * len(CASES) + 1)]
        if (counts.parent / f"counts.{len(parts) + 1}").exists():
            raise RuntimeError("something else calls getppid too, so that parts cannot be told apart")
    pairs = zip(parts[1::3], parts[2::3], strict=True)
    return {case: per_call(*pair) for case, pair in zip(CASES, pairs, strict=True)}, said["instruction_set"]


def version():
    """What valgrind calls itself."""
    return subprocess.run([VALGRIND, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def per_call(once, twice):
    return {measure: round((twice[measure] - once[measure]) / CALLS, 1) for measure in MEASURES}


def instructions_of(text):
    """{measure: instructions} of one of callgrind's files: by the object whose code they were."""
    names, counts = {}, Counter()
    measure, inclusive = None, False
    for line in text.splitlines():
        if line.startswith(("ob=", "cob=")):
            # a name stands in brackets behind its number where it comes first
            number, _, name = line.partition("=")[2].partition(" ")
            name = names.setdefault(number, name)
            if line.startswith("ob="):
                measure = "kernel" if "/fastact/_kernels/" in name else "core" if "/fastact/_" in name else None
        elif line.startswith("calls="):
            inclusive = True
        elif re.match(r"[+*\d-]", line):
            # the line after calls= has what the called function took, which is counted there
            if not inclusive:
                counts["all"] += int(line.split()[1])
                if measure:
                    counts[measure] += int(line.split()[1])
            inclusive = False
    return counts


# --- under valgrind ------------------------------------------------------------------------------------------------


def operands():
    """The names that the statements use."""
    import ml_dtypes

    names = {"strided": np.zeros(32, np.float32)[::2]}
    sizes = {np.float32: (16, 1024), np.float64: (16,), np.float16: (1024,), ml_dtypes.bfloat16: (1024,)}
    for dtype, size in ((dtype, size) for dtype, several in sizes.items() for size in several):
        name = f"{np.dtype(dtype).name}_{size}"
        names[name] = np.linspace(-4, 4, size).astype(dtype)
        names[f"grad_{name}"], names[f"out_{name}"] = np.ones(size, dtype), np.empty(size, dtype)
    # kilobytes apart, since what might overlap goes another way
    memory = np.linspace(-4, 4, 3 * 1024, dtype=np.float32).reshape(-1, 16)
    names["rows"], names["out_rows"], names["weight"] = memory[:2], memory[64:66], memory[128]
    return names


def run():
    """Make the calls of every case, separated by ``getppid``; tell what served."""
    gc.disable()
    fastact.set_num_threads(1)
    values = vars(fastact) | operands()
    for case in CASES:
        scope = dict(values)
        exec(f"def repeat(calls):\n    for _ in range(calls):\n        {case}", scope)
        repeat = scope["repeat"]
        repeat(WARM_UP)
        os.getppid()
        repeat(CALLS)
        os.getppid()
        repeat(2 * CALLS)
        os.getppid()
    package = Path(fastact.__file__).resolve().parent
    print(json.dumps({"package": str(package), "instruction_set": fastact.dispatch.instruction_set()}))


if __name__ == "__main__":
    run()
