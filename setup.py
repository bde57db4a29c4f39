"""Build: one kernel template rendered and compiled once per instruction set, and the core.

All metadata is in pyproject.toml.  No choice that vectorisation or accuracy depends on may come from the environment's
CFLAGS: ours are appended, so they win, and value-changing flags are taken out, because GCC 12 answers them at link
time with code that changes the floating-point mode of the whole process.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy
from Cython import Tempita
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
RENDERED = Path("build") / "kernels"

# What a formula may rely on: division without a check for zero, choices computed on both sides.  Lowering decides what
# is fused, so the compiler fuses nothing.  Never -ffast-math or a part of it that changes values; -fno-fast-math must
# stand first, because it also puts -ftrapping-math back, with which SSE2 and AVX2 loops are not vectorised.
KERNEL_FLAGS = ["-fno-fast-math", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
# Python compiles with -g.  What that notes of variables, so many of them inlined, takes a third of the compiler's time
# and half of the modules; lines are enough for a backtrace.  Whoever wants more says so in CFLAGS.
LINES_ONLY = [] if any(word.startswith("-g") for word in os.environ.get("CFLAGS", "").split()) else ["-g1"]
# GCC carries the value that a clamp gives (the tail beyond which nothing is left) through the formula as a constant
# and then blends every intermediate result with its own: a dozen blends instead of one.  Without that pass gelu and
# gelu_tanh are 11-31 % faster with AVX, sigmoid and silu 3-8 % slower; SSE2, where it is a toss-up, keeps it.
NO_CONSTANT_BRANCHES = ["-fno-tree-pre"]
# Several vectors at a time (src_cy/kernels.pyx.in) need more registers than there are.  So GCC must order instructions
# before it hands registers out, and mind how many are alive: otherwise mish takes 1.9 times as long in float64, and elu
# 1.2 times in float32.  Algorithm 2 because with the other one mish and gelu take a fifth longer in float32.
SCHEDULING = ["-fschedule-insns", "-fsched-pressure", "--param", "sched-pressure-algorithm=2"]
# GCC unrolls loops of up to sixteen, which a granule of 16-bit elements is, before it looks for vectors, and then finds
# none: gelu in float16 took 9.3 ns with SSE2.  Where a granule is one or two registers it finds them all the same.
NO_EARLY_UNROLLING = ["--param", "max-completely-peel-times=8"]
# Beyond the caches the next elements are not there in time: what the CPU fetches ahead by itself ends with each page of
# memory.  GCC then adds prefetches of the cache lines of inputs and outputs to the finished SIMD loops, of what is
# needed after 1000 "cycles" of its own count, which are 1 to 4 KiB (800 and 1400: up to a sixth slower here or there).
# 16 to 64 Mi elements on one thread then take 0.4 to 0.9 of the time (gelu: float32 0.6, bfloat16 0.5, AVX2 0.4), in
# cache 1.01.  By its own measure GCC would fetch for three arrays at most, and nothing in most gradients.  Loops of
# rectifiers, which a prefetch would make a quarter longer, wait for memory in any case (src_cy/streaming.pxi).  Not for
# writing (-mprfchw): in place that takes a tenth longer, because each line is then asked for twice.
PREFETCHING = [
    *("-fprefetch-loop-arrays", "--param", "prefetch-latency=1000", "--param", "simultaneous-prefetches=512"),
    *("--param", "min-insn-to-prefetch-ratio=5"),
]
INSTRUCTION_SETS = {
    "base": ["-march=x86-64", "-mtune=generic", *NO_EARLY_UNROLLING],
    "avx2": ["-march=x86-64", "-mtune=haswell", "-mavx2", "-mfma", "-mf16c", *NO_CONSTANT_BRANCHES, *PREFETCHING],
    # 512 bits on purpose: GCC prefers 256 for older CPUs, which halves the speed in cache here
    "avx512": [
        "-march=x86-64",
        "-mtune=icelake-server",
        *("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"),
        "-mprefer-vector-width=512",
        *NO_CONSTANT_BRANCHES,
        *PREFETCHING,
    ],
}
REGISTER_BITS = {"base": 128, "avx2": 256, "avx512": 512}
# How many bits wide the beat of each kernel is (src_cy/kernels.pyx.in); 0: it has none.  A kernel that nobody has
# measured takes four vectors at a time, eight halves of them where it is widened.
BEATS = json.loads((ROOT / "src_cy" / "beats.json").read_text(encoding="utf-8"))["bits"]
BEAT_TYPES = {8: "unsigned char", 16: "unsigned short", 32: "unsigned int"}
DEFAULT_BEAT = {"float32": 8, "float64": 16}
# How many granules the loops of a 16-bit kernel take at a time.  With four, mish_backward in float16 takes 0.35 ns, not
# 0.54 (AVX-512), and sigmoid 0.25, not 0.31 (AVX2).  With SSE2 one granule is four registers.
GRANULES = {"base": (1,), "avx2": (4, 1), "avx512": (4, 1)}
# With two, what these have alive at a time fits AVX2's sixteen registers: 0.8 to 0.95 of the time.  Many others lose,
# and relu and elu's gradient are then not SIMD at all.
FEW_GRANULES = {
    "avx2": {
        (loop, dtype): (2, 1)
        for loop, dtypes in {
            "leaky_relu_forward": ("float16",),
            "prelu_forward": ("float16",),
            "prelu_forward_uniform": ("float16",),
            "prelu_backward": ("float16", "bfloat16"),
            "prelu_backward_uniform": ("float16", "bfloat16"),
        }.items()
        for dtype in dtypes
    }
}
# How what a formula computes is looked up: the headers that begin so.
LOOKING_UP = {"avx512": "piecewise", "avx2": "fetched"}
# In which dtypes kernels that look up are there twice, to write past the caches as well.  With AVX2 a line of float64
# takes so long that its halves leave one by one: 32 Mi numbers take up to 1.14 of the time, where float32 takes 0.73 to
# 1.0 (AMD Zen 3).
STREAMING = {"avx512": ("float32", "float64", "float16", "bfloat16"), "avx2": ("float32",), "base": ()}
# From how many operations on (lowering.operations) a kernel of 16 bits stands behind a table of all its results, or of
# all slopes (src_cy/tabulated.h): forward, backward.  With AVX2 (Zen 3, while others use its caches, too) looking up
# takes 0.6 ns in float16 and 0.45 in bfloat16, where gelu takes 0.95 and sigmoid 0.45 to 0.5; by a slope 0.7 and 0.5,
# where gelu takes 1.05 and sigmoid 0.6.  With SSE2 converting float16 takes so long that even relu is faster looked up.
TABULATED_FROM = {
    "base": {"float16": (1, 24), "bfloat16": (24, 24)},
    "avx2": {"float16": (35, 55), "bfloat16": (24, 24)},
    "avx512": {},
}
GRANULE = 16  # of fastact.h, and of the kernels' own text
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
LEVELS = INSTRUCTION_SETS if IS_X86 else {"base": NO_EARLY_UNROLLING}
COMPILER_ADVICE = """
fastact could not be compiled: it needs a C compiler and Python's headers.
    Debian, Ubuntu:  sudo apt-get install gcc python3-dev
    Fedora, RHEL:    sudo dnf install gcc python3-devel
    macOS:           xcode-select --install
The compiler's own message stands above.
"""


def lower_floors():
    """The lowest modules of the package, imported without ``fastact/__init__.py``, which needs what is built here."""
    package = types.ModuleType("fastact")
    package.__path__ = [str(ROOT / "fastact")]
    sys.modules["fastact"] = package
    from fastact import catalogue, declarations, lowering

    return types.SimpleNamespace(catalogue=catalogue, declarations=declarations, lowering=lowering)


def render(level: str) -> None:
    """Write the kernels of one instruction set as Cython; the module name must differ for each."""
    floors = lower_floors()
    lowering = floors.lowering
    loops = [loop for row in floors.catalogue.ACTIVATIONS for loop in lowering.loops_of(row)]
    # x86-64 without AVX2 has no FMA; 64-bit CPUs of other makes do
    fused = not (IS_X86 and level == "base")
    needed: dict[str, list[object]] = {}
    for loop in loops:
        for dtype in ("float32", "float64", *lowering.HALVES):
            needed.setdefault(loop.precision(dtype, fused), []).extend(loop.formulas)
    write_rendered(
        "kernels",
        level,
        loops=loops,
        level=level,
        way=LOOKING_UP.get(level, ""),
        streaming=STREAMING[level],
        fused=fused,
        passes=passes,
        tabulated=tabulated(level),
        granules=lambda loop, dtype: FEW_GRANULES.get(level, {}).get((loop.name, dtype), GRANULES[level]),
        strides={
            (loop.name, dtype): stride
            for loop in loops
            for dtype in DEFAULT_BEAT
            for beat, stride in passes(loop, level, dtype)
            # that of a kernel that looks up is in piecewise_loops.h or fetched_loops.h
            if beat and dtype not in loop.looked_up(level)
        },
        formulas="\n\n".join(
            lowering.lower(formulas, lowering.CythonDialect(precision)) for precision, formulas in needed.items()
        ),
        operations={
            (loop.name, dtype): lowering.operations(loop, dtype) for loop in loops for dtype in ("float32", "float16")
        },
    )


def tabulated(level: str) -> dict[tuple[str, str], tuple[float, ...]]:
    """The parameters of each kernel that stands behind a table: with any others it computes."""
    floors = lower_floors()
    lowering = floors.lowering
    found = {}
    for row in floors.catalogue.ACTIVATIONS if IS_X86 else ():
        for loop in lowering.loops_of(row):
            is_of_x_alone = len(loop.formulas) == 1 and len(loop.arrays) == 1 + loop.chained
            for dtype, least in TABULATED_FROM[level].items():
                is_worth_it = lowering.operations(loop, dtype) >= least[loop.chained]
                # a weight for all has no default
                if is_of_x_alone and is_worth_it and len(loop.scalars) == len(row.scalars):
                    found[loop.name, dtype] = tuple(parameter.default for parameter in row.scalars)
    return found


def passes(loop: Any, level: str, dtype: str) -> list[tuple[str, int]]:
    """The loops of a kernel: the type of each one's beat, "" for none, and the elements that it takes at a time."""
    bits = BEATS.get(level, {}).get(f"{loop.name}_{dtype}", DEFAULT_BEAT[dtype])
    paced = [(BEAT_TYPES[bits], REGISTER_BITS[level] // bits)] if bits else []
    return [*paced, ("", GRANULE)]


def write_rendered(template: str, name: str, **values: object) -> None:
    """The Cython file made from a template; it is left alone if it has not changed, as its date counts."""
    source = ROOT / "src_cy" / f"{template}.pyx.in"
    text = Tempita.Template(source.read_text(), name=source.name).substitute(values)
    target = RENDERED / f"{name}.pyx"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def extensions() -> list[Extension]:
    """What is built, from files some of which are rendered when that begins."""
    kernels = [
        Extension(
            f"fastact._kernels.{level}",
            [str(RENDERED / f"{level}.pyx")],
            include_dirs=["src_cy", "fastact/include"],
            depends=[
                *("setup.py", "src_cy/beats.json", "src_cy/cpu.h", "src_cy/halves.h", "src_cy/sums.h"),
                "src_cy/tabulated.h",
                *("src_cy/outside.h", "src_cy/piecewise_arithmetic.h", "src_cy/fetched_additions.h"),
                *(
                    f"src_cy/{way}{part}.h"
                    for way in LOOKING_UP.values()
                    for part in ("", "_kinds", "_loops", "_tables")
                ),
                "fastact/include/fastact_primitives.h",
            ],
            # a formula that two loops call is left out of both of them, and with it their vectors, if GCC may choose
            define_macros=[("CYTHON_INLINE", "inline __attribute__((always_inline))")],
            extra_compile_args=KERNEL_FLAGS + LINES_ONLY + SCHEDULING + flags,
        )
        for level, flags in LEVELS.items()
    ]
    core = Extension(
        "fastact._core",
        ["src_cy/core.pyx"],
        include_dirs=["src_cy", "fastact/include", numpy.get_include()],
        depends=["setup.py", *(str(path) for path in sorted(Path("src_cy").glob("*.[hp]*")))],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
            # promoters of ufuncs, which came with the oldest NumPy that we run with
            ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
        ],
        extra_compile_args=KERNEL_FLAGS[:-1] + LINES_ONLY,
    )
    embedding = Extension(
        "fastact._embedding",
        [str(RENDERED / "embedding.pyx")],
        include_dirs=["fastact/include"],
        depends=["setup.py", "fastact/include/fastact.h"],
        extra_compile_args=KERNEL_FLAGS[:-1] + LINES_ONLY,
    )
    return [*kernels, core, embedding]


class BuildExtensions(build_ext):
    def build_extensions(self) -> None:
        self.translate()
        self.without_fast_math()
        core = next(e for e in self.extensions if e.name == "fastact._core")
        if os.environ.get("FASTACT_NO_THREADS") == "1":
            print("fastact: FASTACT_NO_THREADS is set; building without threads (fastact info will say so)")
            core.define_macros.append(("FASTACT_NO_THREADS", "1"))
        elif os.name == "posix":
            core.extra_compile_args.append("-pthread")
            core.extra_link_args.append("-pthread")
        try:
            super().build_extensions()
        except Exception:
            print(COMPILER_ADVICE, file=sys.stderr)
            raise

    def translate(self) -> None:
        """Templates to Cython, and Cython to C.

        Here, and not where the extensions are named: pip and build run this file three times for what it says about the
        package before they run it to build, and this takes 15 s.
        """
        for level in LEVELS:
            render(level)
        write_rendered("embedding", "embedding", functions=lower_floors().declarations.c_functions())
        # in processes, where that does not run this file again in each of them
        processes = os.cpu_count() if multiprocessing.get_start_method() == "fork" else None
        translated = cythonize(self.extensions, nthreads=processes, language_level=3, build_dir="build/cython")
        made = {extension.name: extension for extension in translated}
        for extension in self.extensions:
            extension.sources, extension.depends = made[extension.name].sources, made[extension.name].depends

    def without_fast_math(self) -> None:
        """Take value-changing flags of the environment out of the compile and link commands."""
        forbidden = re.compile(r"-Ofast|-ffast-math|-funsafe-math-optimizations")
        for command in ("compiler", "compiler_so", "linker_so", "linker_exe"):
            words = getattr(self.compiler, command, None)
            if words and any(forbidden.fullmatch(word) for word in words):
                print(f"fastact: ignoring value-changing flags in {command}")
                setattr(self.compiler, command, [word for word in words if not forbidden.fullmatch(word)])


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
