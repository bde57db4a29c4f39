"""``cimport fastact``: a module that calls every function of the ``.pxd`` files is built, and gives Python's bits.

The module is written here, from the catalogue, as a user would write it; it is built as users build theirs.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from cases import FUNCTIONS, assert_same_bits, inputs, parameter_sets

import fastact
from fastact import declarations

pytest.importorskip("Cython")
COMPILER = shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no gcc")
PACKAGE = Path(fastact.__file__).resolve().parent
TYPES = declarations.C_TYPES

HEAD = """
# cython: language_level=3, wraparound=False
cimport fastact
from fastact cimport table
from cython.parallel cimport prange

table.fastact_import()


def through_table(float[:, :] x):
    cdef const table.fastact_function *silu = table.fastact_api.find(b"swish", table.FASTACT_FORWARD)
    cdef table.fastact_input source
    cdef table.fastact_output target
    cdef table.fastact_call call
    cdef int status
    source.data, source.row_step, source.step = &x[0, 0], x.strides[0], x.strides[1]
    target.data, target.row_step, target.step = &x[0, 0], x.strides[0], x.strides[1]
    call.size = sizeof(call)
    call.rows, call.columns, call.dtype = x.shape[0], x.shape[1], table.FASTACT_FLOAT32
    call.inputs, call.n_inputs, call.outputs, call.n_outputs = &source, 1, &target, 1
    call.parameters, call.n_parameters, call.threads = NULL, 0, 0
    with nogil:
        status = table.fastact_run(silu, &call)
    return status, table.fastact_api.message().decode()


def rows_in_threads(float[:, ::1] x):
    cdef Py_ssize_t i
    for i in prange(x.shape[0], nogil=True, num_threads=2):
        fastact.gelu(&x[i, 0], &x[i, 0], x.shape[1])
"""


def views(function, dtype):
    """Python functions over the three forms of one C function."""
    declared = declarations.c_function(function.row, function.direction)
    number, name = TYPES[dtype], declared.name
    arrays = (*declared.inputs, *declared.outputs)
    typed = ", ".join(
        [f"const {number}[::1] {a}" for a in declared.inputs] + [f"{number}[::1] {a}" for a in declared.outputs]
    )
    parameters = "".join(f", double {p}" for p in declared.parameters)
    values = "".join(f", {p}" for p in declared.parameters)
    pointers = ", ".join(f"&{a}[0]" for a in arrays)
    elements = ", ".join(f"{a}[0]" for a in declared.inputs)
    return f"""
def {name}_{dtype}_view({typed}{parameters}):
    return fastact.{name}_view({", ".join(arrays)}{values})

def {name}_{dtype}_pointers({typed}{parameters}):
    cdef int status
    with nogil:
        status = fastact.{name}({pointers}, {arrays[0]}.shape[0]{values})
    return status or fastact.{name}_{dtype}({pointers}, {arrays[0]}.shape[0]{values})

def {name}_{dtype}_scalar({typed}{parameters}):
    return fastact.{name}_scalar_{dtype}({elements}{values})
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cimport")
    source = folder / "cimporting.pyx"
    source.write_text(HEAD + "".join(views(function, dtype) for function in FUNCTIONS for dtype in TYPES))
    path = str(PACKAGE.parent)
    subprocess.run([sys.executable, "-m", "cython", "-3", "-I", path, str(source)], check=True, capture_output=True)
    built = folder / f"cimporting{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [COMPILER, "-O0", "-fopenmp", "-shared", "-fPIC", "-I", sysconfig.get_paths()["include"]]
    command += ["-I", fastact.get_include(), str(source.with_suffix(".c")), "-o", str(built)]
    subprocess.run(command, check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location("cimporting", built)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_function(module, function, dtype):
    params = parameter_sets(function.row, function.direction)[-1]
    x = inputs(function, dtype, 100, params)
    arrays = [x] if function.direction == "forward" else [np.linspace(-2, 2, 100, dtype=dtype), x]
    arrays += [np.linspace(-1, 1, 100, dtype=dtype) for _ in function.operand_names]
    scalars = [value for value, p in zip(params, function.row.parameters, strict=True) if not p.per_channel]
    expected = function.ufunc(*arrays, *(np.dtype(dtype).type(s) for s in scalars))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for form in ("view", "pointers"):
        outputs = [np.empty(100, dtype) for _ in expected]
        assert getattr(module, f"{function.name}_{dtype}_{form}")(*arrays, *outputs, *scalars) == 0
        for got, right in zip(outputs, expected, strict=True):
            assert_same_bits(got, right, form)
    got = getattr(module, f"{function.name}_{dtype}_scalar")(*arrays, *outputs, *scalars)
    assert_same_bits(np.array(got, dtype), expected[0][0])


def test_lengths_that_differ(module):
    out = np.full(3, 7.0)
    assert module.gelu_float64_view(np.ones(4), out) == 2  # FASTACT_ERROR_LENGTH
    assert module.gelu_float64_view(np.ones(0), np.ones(0)) == 0
    assert (out == 7).all()


def test_table(module):
    x = np.linspace(-4, 4, 600, dtype=np.float32).reshape(20, 30)
    expected = x.copy()
    expected[:, ::3] = fastact.silu(expected[:, ::3])
    assert module.through_table(x[:, ::3])[0] == 0
    assert_same_bits(x, expected)
    broadcast = np.broadcast_to(np.zeros(1, np.float32), (3, 4))
    broadcast.flags.writeable = True
    status, message = module.through_table(broadcast)
    assert status == 8 and "outputs[0]" in message  # FASTACT_ERROR_STRIDE


def test_prange(module):
    x = np.linspace(-4, 4, 4 * 50_000, dtype=np.float32).reshape(4, -1)
    expected = fastact.gelu(x)
    module.rows_in_threads(x)
    assert_same_bits(x, expected)
