"""``fastact_inline.h`` in loops of a caller's own, in C and Cython: exact, vectorised, and equal to the kernels.

One library per instruction set holds a plain loop over every public function.  They are built with the flags of the
kernels, and must give the kernels' bits.  Two more must stay within the rows' limits: one in which the compiler may
fuse what it likes, as GCC does unasked, and one in which the loops alone have AVX2, beside a header that was read for a
CPU without FMA; nothing is fused there.
"""

import ast
import ctypes
import functools
import importlib.util
import itertools
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cases import LEVELS, ROWS_AND_DIRECTIONS, SUFFIX, assert_same_bits, limit, parameter_sets, samples
from disassembly import assert_hot_loop_is_packed, functions_of, needs_objdump
from golden import load
from kernel_calls import call_address

from fastact import declarations, lowering, reference
from fastact.backends import cython_kernels

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = ROOT / "fastact" / "include"
COMPILERS = {"c99": shutil.which("gcc"), "c++11": shutil.which("g++")}
DTYPES = ("float32", "float64")
KINDS = {"forward": "forward", "backward": "gradient", "backward_from_output": "gradient_from_output"}

pytestmark = pytest.mark.skipif(COMPILERS["c99"] is None or os.name != "posix", reason="no gcc")


class Case(NamedTuple):
    """One public function: the formula at this place of the row's loop in this direction."""

    row: object
    direction: str
    loop: lowering.Loop
    place: int

    @property
    def name(self):
        return self.loop.formulas[self.place].__name__

    @property
    def arrays(self):
        """Its array arguments: not ``grad``, which is the caller's."""
        return [name for name in self.loop.arrays if name != "grad"]


CASES = [
    Case(row, direction, loop, place)
    for row, direction in ROWS_AND_DIRECTIONS
    for loop in [lowering.loop_of(row, direction)]
    for place in range(len(loop.formulas))
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
#: Values, and derivatives with regard to x: what golden tables and limits speak of.
OF_X = pytest.mark.parametrize("case", [case for case in CASES if not case.place], ids=lambda case: case.name)
EVERY_LEVEL = pytest.mark.parametrize("level", LEVELS)
#: Instruction set, and how it gets it.
BUILDS = [(level, "kernel") for level in LEVELS]
if "avx2" in LEVELS:
    BUILDS += [("avx2", "contracted"), ("avx2", "attribute")]
EVERY_BUILD = pytest.mark.parametrize("level, manner", BUILDS, ids=["-".join(build) for build in BUILDS])


# --- building ---------------------------------------------------------------------------------------------------------


@functools.cache
def flags_of_the_build():
    """(KERNEL_FLAGS, INSTRUCTION_SETS) of setup.py, which cannot be imported without building."""
    path = ROOT / "setup.py"
    if not path.exists():
        pytest.skip("no setup.py beside this installation")
    tree = ast.parse(path.read_text())
    # the lists of flags, and the dictionaries made of them
    tree.body = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, (ast.List, ast.Dict))]
    values = {}
    exec(compile(tree, str(path), "exec"), values)
    return values["KERNEL_FLAGS"], values["INSTRUCTION_SETS"]


def loop_in_c(case, dtype):
    """A caller's loop.  The arguments are those of a kernel, so that both can be called alike."""
    ctype = declarations.C_TYPES[dtype]
    name = f"{case.name}_{dtype}"
    lines = [f"    const {ctype} *{array} = inputs[{k}];" for k, array in enumerate(case.arrays)]
    lines += [f"    const {ctype} {scalar} = parameters[{k}];" for k, scalar in enumerate(case.loop.scalars)]
    return "\n".join(
        [
            f"ATTRIBUTE void loop_{name}(const {ctype} **inputs, {ctype} **outputs, ptrdiff_t n,",
            f"                           const {ctype} *parameters)",
            "{",
            *lines,
            f"    {ctype} *out = outputs[0];",
            "    ptrdiff_t i;",
            "    (void)parameters;",
            "    for (i = 0; i < n; i++)",
            f"        out[i] = fastact_{name}({case.loop.arguments});",
            "}\n",
        ]
    )


def compile_(*words):
    done = subprocess.run([*words, f"-I{INCLUDE}"], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


SOURCE = """\
#include <fastact_inline.h>
#include <stddef.h>
#ifndef ATTRIBUTE
#define ATTRIBUTE
#endif
#ifdef __cplusplus
extern "C" {
#endif
%s
#ifdef __cplusplus
}
#endif
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Loops over everything, in C that is C++ as well."""
    path = tmp_path_factory.mktemp("inline") / "loops.c"
    loops = [loop_in_c(case, dtype) for case in CASES for dtype in DTYPES]
    path.write_text(SOURCE % "\n".join(loops))
    return path


@pytest.fixture(scope="module")
def library(source):
    """A function that builds one of BUILDS, and gives its path."""

    @functools.cache
    def build(level, manner):
        kernel_flags, instruction_sets = flags_of_the_build()
        path = source.with_name(f"{level}_{manner}.so")
        flags = {
            "kernel": [*kernel_flags, *instruction_sets[level]],
            # the last one counts
            "contracted": [*kernel_flags, *instruction_sets[level], "-ffp-contract=fast"],
            "attribute": [*kernel_flags, *instruction_sets["base"], '-DATTRIBUTE=__attribute__((target("avx2,fma")))'],
        }[manner]
        status, errors = compile_(COMPILERS["c99"], "-shared", "-fPIC", *flags, str(source), "-o", str(path))
        assert status == 0, errors
        return path

    return build


def call_inline(path, case, dtype, x, params):
    """The caller's loop over x, with a per-channel operand the same for all elements."""
    address = ctypes.cast(getattr(ctypes.CDLL(str(path)), f"loop_{case.name}_{dtype}"), ctypes.c_void_p).value
    operands, scalars = arguments_of(case, x, params)
    return call_address(address, dtype, [x, *operands], 1, scalars)[0]


def call_kernel(level, case, dtype, x, params):
    """The package's own kernel of the formula, of this instruction set, with a gradient of ones."""
    address = cython_kernels.formulas_of(level)[case.loop.name, dtype]
    operands, scalars = arguments_of(case, x, params)
    grads = [] if case.direction == "forward" else [np.ones_like(x)]
    return call_address(address, dtype, [*grads, x, *operands], len(case.loop.formulas), scalars)[case.place]


def arguments_of(case, x, params):
    pairs = list(zip(case.row.parameters, params, strict=True))
    return [np.full_like(x, v) for p, v in pairs if p.per_channel], [v for p, v in pairs if not p.per_channel]


# --- the text ---------------------------------------------------------------------------------------------------------


def load_tool():
    """``tools/embedding.py`` as a module."""
    spec = importlib.util.spec_from_file_location("embedding", ROOT / "tools" / "embedding.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["include/fastact_inline.h", "inline.pxd", "__init__.pxd"])
def test_generated_files_are_up_to_date(name):
    path = ROOT / "fastact" / name
    assert path.read_text() == load_tool().generated()[path], "stale: run `python tools/embedding.py`"


def test_tool_leaves_the_running_package_alone():
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fastact"}
    load_tool()
    assert before == {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fastact"}


def test_public_part_declares_every_function_first():
    public, _, rest = (INCLUDE / "fastact_inline.h").read_text().partition("/* -- Internal")
    assert rest
    for case, dtype in itertools.product(CASES, DTYPES):
        assert f" fastact_{case.name}_{dtype}(" in public


@pytest.mark.parametrize("optimisation", ["-O0", "-O2"])
@pytest.mark.parametrize("standard", COMPILERS)
def test_compiles_without_a_warning(source, standard, optimisation):
    if COMPILERS[standard] is None:
        pytest.skip("no g++")
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Wundef"]
    if optimisation == "-O0":
        warnings.append("-fsyntax-only")
    language = "c++" if standard == "c++11" else "c"
    flags = [f"-std={standard}", *warnings, optimisation, "-x", language, "-c", str(source), "-o", os.devnull]
    status, errors = compile_(COMPILERS[standard], *flags)
    assert status == 0, errors


@pytest.mark.parametrize(
    "flags, word",
    [
        (["-ffast-math"], "-ffast-math"),
        (["-Ofast"], "-ffast-math"),
        (["-funsafe-math-optimizations"], "-ffast-math"),
        (["-ffinite-math-only"], "-ffast-math"),
        (["-fno-signed-zeros"], "-ffast-math"),
        (["-mfpmath=387"], "FLT_EVAL_METHOD"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_flags_that_change_values_are_refused(source, flags, word):
    if "387" in flags[0] and platform.machine() != "x86_64":
        pytest.skip("only x86 has it")
    status, errors = compile_(COMPILERS["c99"], "-fsyntax-only", *flags, str(source))
    assert status != 0
    assert "#error" in errors and word in errors, errors


# --- the values -------------------------------------------------------------------------------------------------------


@EVERY_BUILD
@pytest.mark.parametrize("dtype", DTYPES)
@OF_X
def test_golden_tables(library, case, level, manner, dtype):
    bounds = case.row.ulp if case.direction == "forward" else case.row.ulp_gradient
    # as in test_accuracy.py: a product form has one rounding more
    looser = max(bounds, case.row.ulp) if case.direction == "backward_from_output" else bounds
    accepted = {tuple(np.dtype(dtype).type(p) for p in params) for params in parameter_sets(case.row, case.direction)}
    tested = 0
    for (kind, table_dtype, params), table in load(case.row.name).items():
        if kind != KINDS[case.direction] or table_dtype != dtype or params not in accepted:
            continue
        got = call_inline(library(level, manner), case, dtype, table.x, params)
        worst, x, value = table.worst(got)
        assert worst <= getattr(looser, dtype), f"{worst:.2f} ULP at {x!r} (gave {value!r}), parameters {params}"
        tested += len(table)
    assert tested > 300


def everything(dtype):
    """Samples, the golden tables' dense places, infinities and NaN; whole granules of a kernel."""
    info = np.finfo(dtype)
    ends = [np.inf, -np.inf, np.nan, -np.nan, info.max, -info.max, info.tiny, -info.tiny, info.smallest_subnormal]
    x = np.concatenate([samples(dtype, 8192), np.array(ends, dtype), np.array([0.0, -0.0] * 8, dtype)])
    return np.concatenate([x, np.zeros(-x.size % 16, dtype)])


@EVERY_LEVEL
@pytest.mark.parametrize("dtype", DTYPES)
@EVERY_CASE
def test_equals_the_kernel_to_the_bit(library, case, level, dtype):
    for params in parameter_sets(case.row, case.direction):
        x = everything(dtype)
        with np.errstate(all="ignore"):
            expected = call_kernel(level, case, dtype, x, params)
            got = call_inline(library(level, "kernel"), case, dtype, x, params)
        assert_same_bits(got, expected, str(params))
        # in the scalar loop for what no vector holds GCC may contract other products: each of the two is within the
        # row's limit of the truth, so they are no further from each other than that and a bit
        got = np.concatenate([call_inline(library(level, "kernel"), case, dtype, part, params) for part in x[:64]])
        numbers = np.isfinite(expected[:64])
        assert_same_bits(got[~numbers], expected[:64][~numbers], str(params))
        limits = case.row.ulp if case.direction == "forward" else case.row.ulp_gradient
        np.testing.assert_array_max_ulp(got[numbers], expected[:64][numbers], 1 + getattr(limits, dtype))


@EVERY_BUILD
@pytest.mark.parametrize("dtype", DTYPES)
@EVERY_CASE
def test_special_values(library, case, level, manner, dtype):
    """NaN gives NaN; infinities give the row's limits; zeros give what the reference gives, with its sign."""
    path = library(level, manner)
    expression = getattr(reference, case.name if case.place else case.row.name + SUFFIX[case.direction])
    texts = case.row.limits if case.direction == "forward" else case.row.gradient_limits
    for params in parameter_sets(case.row, case.direction):
        rounded = [float(np.dtype(dtype).type(p)) for p in params]
        x = np.array([np.nan, -np.inf, np.inf, 0.0, -0.0], dtype)
        nan, low, high, *zeros = call_inline(path, case, dtype, x, params)
        assert np.isnan(nan)
        expected = expression(np.array([0.0, -0.0]), *rounded).astype(dtype)
        assert (np.abs(zeros - expected) <= 4 * np.spacing(np.abs(expected)) * (expected != 0)).all(), params
        if case.direction == "forward":
            assert (np.signbit(zeros) == np.signbit(expected)).all(), params
        if case.place or case.direction == "backward_from_output":
            continue
        for got, text in ((low, texts[0]), (high, texts[1])):
            value = np.dtype(dtype).type(limit(text, case.row, rounded))
            assert got == value, params
            if value != 0 or text == "-0.0":
                assert np.signbit(got) == np.signbit(value), params


# --- the machine code -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine_code(library):
    @functools.cache
    def read(level, manner):
        return functions_of(library(level, manner), lambda symbol: symbol.removeprefix("loop_"))

    return read


@needs_objdump
@EVERY_BUILD
@pytest.mark.parametrize("dtype", DTYPES)
@EVERY_CASE
def test_loop_is_vectorised(machine_code, case, level, manner, dtype):
    assert_hot_loop_is_packed(machine_code(level, manner)[f"{case.name}_{dtype}"], level, dtype, epilogues=True)


# --- Cython -----------------------------------------------------------------------------------------------------------


def loop_in_cython(case, dtype, prefix):
    ctype = declarations.C_TYPES[dtype]
    name = f"loop_{case.name}_{dtype}"
    lines = [f"    cdef const {ctype} *{array} = inputs[{k}]" for k, array in enumerate(case.arrays)]
    lines += [f"    cdef {ctype} {scalar} = parameters[{k}]" for k, scalar in enumerate(case.loop.scalars)]
    return "\n".join(
        [
            f"cdef public void {name}(const {ctype} **inputs, {ctype} **outputs, Py_ssize_t n,",
            f"                        const {ctype} *parameters) noexcept nogil:",
            *lines,
            f"    cdef {ctype} *out = outputs[0]",
            "    cdef Py_ssize_t i",
            "    for i in range(n):",
            f"        out[i] = {prefix}{case.name}({case.loop.arguments})\n",
        ]
    )


@pytest.fixture(scope="module")
def cython_library(tmp_path_factory):
    """(instruction set, path): loops over every function for both precisions, in the two ways to import them."""
    pytest.importorskip("Cython")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        pytest.skip("no headers of Python")
    level = "avx2" if "avx2" in LEVELS else "base"
    source = tmp_path_factory.mktemp("cython") / "user.pyx"
    names = ", ".join(case.name for case in CASES)
    loops = [
        loop_in_cython(case, dtype, prefix)
        for case in CASES
        for dtype, prefix in zip(DTYPES, ("", "inline."), strict=True)
    ]
    source.write_text(f"from fastact cimport inline\nfrom fastact.inline cimport {names}\n\n" + "\n".join(loops))
    command = [sys.executable, "-m", "cython", "-3", "-Werror", "-I", str(ROOT), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    kernel_flags, instruction_sets = flags_of_the_build()
    path = source.with_suffix(".so")
    flags = ["-shared", "-fPIC", *kernel_flags, *instruction_sets[level], f"-I{headers}"]
    status, errors = compile_(COMPILERS["c99"], *flags, str(source.with_suffix(".c")), "-o", str(path))
    assert status == 0, errors
    return level, path


@pytest.mark.parametrize("dtype", DTYPES)
@EVERY_CASE
def test_cython_loop_gives_the_bits_of_the_kernel(cython_library, case, dtype):
    level, path = cython_library
    x = everything(dtype)
    for params in parameter_sets(case.row, case.direction):
        with np.errstate(all="ignore"):
            expected = call_kernel(level, case, dtype, x, params)
            assert_same_bits(call_inline(path, case, dtype, x, params), expected, str(params))


@needs_objdump
@pytest.mark.parametrize("dtype", DTYPES)
@EVERY_CASE
def test_cython_loop_is_vectorised(cython_library, case, dtype):
    level, path = cython_library
    functions = cython_machine_code(path)
    assert_hot_loop_is_packed(functions[f"{case.name}_{dtype}"], level, dtype, epilogues=True)


@functools.cache
def cython_machine_code(path):
    return functions_of(path, lambda symbol: symbol.removeprefix("loop_") if symbol.startswith("loop_") else None)
