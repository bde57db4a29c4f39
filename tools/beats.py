"""Measures how many vectors at a time each kernel should take, on this machine, and writes src_cy/beats.json.

    .venv/bin/python tools/beats.py [KERNEL ...]

Builds the kernels once with each width of the beat (src_cy/kernels.pyx.in) beside the installed ones, times all of them
in turns on arrays that stay in the L1 cache, and stores what won, for each instruction set that this CPU runs.  The
plain loop wins unless another is 3 % faster: it is the smaller one.  Two minutes, on an idle machine.  Results'
bits do not depend on it.  Names restrict it to kernels that begin with them.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fastact._kernels import base
from fastact.catalogue import ACTIVATIONS
from fastact.lowering import Loop, loops_of
from fastact.machine import cpu_name

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "src_cy" / "beats.json"
WIDTHS = (0, 8, 16, 32)
ELEMENTS = 4096
CALLS, ROUNDS = 8, 100
WORTH_IT = 0.97
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p)
LOOPS = [loop for row in ACTIVATIONS for loop in loops_of(row)]
#: Values of the parameters by loop; a per-channel operand has no default.
VALUES = {
    loop.name: [p.tried[0] if p.default is None else p.default for p in row.parameters if p.name in loop.scalars]
    for row in ACTIVATIONS
    for loop in loops_of(row)
}


def write(bits: dict[str, dict[str, int]], origin: str) -> None:
    TABLE.write_text(json.dumps({"origin": origin, "bits": bits}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def built(width: int, folder: Path) -> dict[str, ModuleType]:
    """The kernels of all instruction sets, every one of them with this beat."""
    write({level: {f"{loop.name}_{dtype}": width for loop in LOOPS for dtype in ("float32", "float64")}
           for level in base.runnable()}, "a trial")  # fmt: skip
    target = folder / str(width)
    places = ["--build-lib", str(target), "--build-temp", str(target / "temporary")]
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", *places], cwd=ROOT, check=True)
    modules = {}
    for level in base.runnable():
        path = next((target / "fastact" / "_kernels").glob(f"{level}.*"))
        spec = importlib.util.spec_from_file_location(f"fastact._kernels.{level}", path)
        assert spec is not None and spec.loader is not None
        modules[level] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[level])
    return modules


class Timed:
    """One kernel on arrays of its own."""

    def __init__(self, module: ModuleType, loop: Loop, dtype: str) -> None:
        self.kernel = KERNEL(module.addresses()[loop.name, dtype])
        random = np.random.default_rng(0)
        arrays = [random.normal(0, 2.5, ELEMENTS).astype(dtype) for _ in (*loop.arrays, *loop.formulas)]
        parameters = np.array(VALUES[loop.name] or [0.0], dtype)
        addresses = [array.ctypes.data for array in arrays]
        count = len(loop.arrays)
        inputs = (ctypes.c_void_p * count)(*addresses[:count])
        outputs = (ctypes.c_void_p * len(loop.formulas))(*addresses[count:])
        self.arguments: tuple[Any, ...] = (inputs, outputs, parameters.ctypes.data)
        self.alive = (arrays, parameters)

    def seconds(self, elements: int) -> float:
        start = time.perf_counter()
        inputs, outputs, parameters = self.arguments
        for _ in range(CALLS):
            self.kernel(inputs, outputs, elements, parameters)
        return time.perf_counter() - start


def winner(trials: dict[int, dict[str, ModuleType]], level: str, loop: Loop, dtype: str) -> int:
    timed = {width: Timed(modules[level], loop, dtype) for width, modules in trials.items()}
    best, empty = (dict.fromkeys(timed, float("inf")) for _ in range(2))
    for _ in range(ROUNDS):
        for width, kernel in timed.items():
            # a call through ctypes is as long as the work of a cheap kernel
            empty[width] = min(empty[width], kernel.seconds(0))
            best[width] = min(best[width], kernel.seconds(ELEMENTS))
    best = {width: taken - min(empty.values()) for width, taken in best.items()}
    fastest = min(best, key=lambda width: best[width])
    chosen = fastest if best[fastest] < WORTH_IT * best[0] else 0
    nanoseconds = ", ".join(f"{width}: {taken / CALLS / ELEMENTS * 1e9:.3f}" for width, taken in best.items())
    print(f"{level:7} {loop.name}_{dtype}: {chosen}  ({nanoseconds})")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description="How many vectors at a time each kernel should take.")
    parser.add_argument("kernels", nargs="*", help="names, or beginnings of them; default: all")
    wanted = tuple(parser.parse_args().kernels) or ("",)
    before = TABLE.read_text(encoding="utf-8")
    try:
        with tempfile.TemporaryDirectory() as folder:
            trials = {width: built(width, Path(folder)) for width in WIDTHS}
            bits = json.loads(before)["bits"]
            for level in base.runnable():
                for loop in LOOPS:
                    for dtype in ("float32", "float64"):
                        # what is looked up is not timed by its formula's beat
                        looked_up = (loop.name, dtype) in trials[0][level].looked_up()
                        if f"{loop.name}_{dtype}".startswith(wanted) and not looked_up:
                            bits.setdefault(level, {})[f"{loop.name}_{dtype}"] = winner(trials, level, loop, dtype)
    except BaseException:
        TABLE.write_text(before, encoding="utf-8")
        raise
    write(bits, f"tools/beats.py on {cpu_name()}, {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
