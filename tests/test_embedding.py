"""Headers, addresses, callbacks for other people's compiled code; the bits are those of the Python functions."""

import ctypes
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import BACKWARD_FUNCTIONS, FUNCTIONS, assert_same_bits, inputs, parameter_sets, truth

import fastact
from fastact import declarations

COUNTS = (0, 1, 15, 16, 17, 1000)
C_TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}


def scalar_parameters(function, params):
    return [value for value, p in zip(params, function.row.parameters, strict=True) if not p.per_channel]


def array_function(function, dtype):
    """The C function through ctypes, taking NumPy arrays and numbers."""
    declared = declarations.c_function(function.row, function.direction)
    n_arrays = len(declared.inputs) + len(declared.outputs)
    types = [ctypes.c_void_p] * n_arrays + [ctypes.c_ssize_t] + [ctypes.c_double] * len(declared.parameters)
    compiled = ctypes.CFUNCTYPE(ctypes.c_int, *types)(function.address(dtype))

    def run(arrays, *parameters):
        return compiled(*(a.ctypes.data for a in arrays), arrays[0].size, *parameters)

    return run


def operands_for(function, dtype, count, params):
    """Inputs of the C function: grad, x and per-channel operands, all of one length."""
    x = inputs(function, dtype, count, params)
    arrays = [x] if function.direction == "forward" else [np.linspace(-2, 2, count, dtype=dtype), x]
    return arrays + [np.linspace(-1, 1, count, dtype=dtype) for _ in function.operand_names]


@pytest.mark.parametrize("count", COUNTS)
def test_array_functions(function, dtype, count):
    for params in parameter_sets(function.row, function.direction):
        arrays = operands_for(function, dtype, count, params)
        scalars = scalar_parameters(function, params)
        expected = function.ufunc(*arrays, *(np.dtype(dtype).type(s) for s in scalars))
        expected = expected if isinstance(expected, tuple) else (expected,)
        outputs = [np.full(count, 7, dtype) for _ in expected]
        assert array_function(function, dtype)([*arrays, *outputs], *scalars) == 0
        for got, right in zip(outputs, expected, strict=True):
            assert_same_bits(got, right, f"{params}")
        # in place
        assert array_function(function, dtype)([*arrays, arrays[0], *outputs[1:]], *scalars) == 0
        assert_same_bits(arrays[0], expected[0], f"in place, {params}")


def test_scalar_functions(function, dtype):
    params = parameter_sets(function.row, function.direction)[-1]
    declared = declarations.c_function(function.row, function.direction)
    number = C_TYPES[dtype]
    types = [number] * len(declared.inputs) + [ctypes.c_double] * len(declared.parameters)
    compiled = ctypes.CFUNCTYPE(number, *types)(function.address(dtype, form="scalar"))
    arrays = operands_for(function, dtype, 40, params)
    scalars = scalar_parameters(function, params)
    expected = function.ufunc(*arrays, *(np.dtype(dtype).type(s) for s in scalars))
    expected = expected[0] if isinstance(expected, tuple) else expected
    got = np.array([compiled(*row, *scalars) for row in zip(*arrays, strict=True)], dtype)
    assert_same_bits(got, expected)


def test_kernels(function, dtype):
    params = parameter_sets(function.row, function.direction)[0]
    arrays = operands_for(function, dtype, 64, params)
    scalars = np.array(scalar_parameters(function, params), dtype)
    expected = function.ufunc(*arrays, *scalars)
    expected = expected if isinstance(expected, tuple) else (expected,)
    outputs = [np.zeros(64, dtype) for _ in expected]
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p)(
        function.address(dtype, form="kernel")
    )
    pointers = [(ctypes.c_void_p * len(part))(*(a.ctypes.data for a in part)) for part in (arrays, outputs)]
    kernel(*pointers, 64, scalars.ctypes.data)
    for got, right in zip(outputs, expected, strict=True):
        assert_same_bits(got, right)


def test_direction_is_that_of_another_function():
    for function in BACKWARD_FUNCTIONS:
        forward = fastact.dispatch.FUNCTIONS[function.row.name]
        assert forward.address("float32", function.direction) == function.address("float32")
        assert forward.address("float32") != function.address("float32")


def test_signatures_are_c():
    """cffi parses each, and calls the function by it."""
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    for function in FUNCTIONS:
        for form in ("array", "scalar", "kernel"):
            pointer = function.c_signature("float64", form=form).replace("(", "(*)(", 1)
            assert ffi.typeof(pointer).kind == "function"
    scalar = ffi.cast("double(*)(double, double)", fastact.elu.address("float64", form="scalar"))
    assert scalar(-1.0, 0.5) == fastact.elu(-1.0, 0.5)


def test_bad_parameters_are_a_status_and_nan():
    x, out = np.ones(4), np.full(4, 7.0)
    assert array_function(fastact.softplus, "float64")([x, out], -1.0) > 0
    assert (out == 7).all()
    scalar = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)(
        fastact.softplus.address("float64", form="scalar")
    )
    assert math.isnan(scalar(1.0, -1.0))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("float16",), ("dtype", "'float16'", "float32, float64")),
        ((np.float32,), ("dtype", "float32, float64")),
        (("float32", "sideways"), ("direction", "'sideways'", "forward, backward")),
        (("float32", "backward_from_output"), ("direction", "'backward_from_output'")),
        (("float32", None, "vector"), ("form", "'vector'", "array, scalar, kernel")),
    ],
)
def test_refused(arguments, words):
    for method in (fastact.gelu.address, fastact.gelu.c_signature):
        with pytest.raises(ValueError) as caught:
            method(*arguments)
        for word in ("gelu: ", *words):
            assert word in str(caught.value)


def test_address_follows_the_backend():
    """The functions go through the table, so they compute with whatever backend serves."""
    x = np.linspace(-5, 5, 100)
    out = np.empty_like(x)
    with fastact.use_backend("numpy"):
        assert array_function(fastact.mish, "float64")([x, out]) == 0
    np.testing.assert_array_equal(out, truth(fastact.mish, x))


def test_scipy_integrates_the_callbacks():
    """Against the trapezoidal rule on the reference: 1e-6 is its error, not the integrator's."""
    integrate = pytest.importorskip("scipy.integrate")
    x = np.linspace(-3, 4, 200_001)
    for row in fastact.catalogue.ACTIVATIONS:
        if row.operands:
            continue
        function = fastact.dispatch.FUNCTIONS[row.name]
        for params in parameter_sets(row):
            named = dict(zip(function.scalar_names, params, strict=True))
            got = integrate.quad(function.low_level_callable(**named), -3, 4, points=[0.0])[0]
            expected = np.trapezoid(truth(function, x, params), x)
            assert abs(got - expected) < 1e-6, (row.name, params)


def test_callbacks_refuse():
    pytest.importorskip("scipy")
    with pytest.raises(TypeError, match=r"gelu: got an unknown argument 'alpha'; accepted: no parameters"):
        fastact.gelu.low_level_callable(alpha=1)
    with pytest.raises(ValueError, match=r"softplus: beta: got 0"):
        fastact.softplus.low_level_callable(beta=0)


def test_include_folder():
    folder = Path(fastact.get_include())
    assert folder.is_absolute()
    assert {path.name for path in folder.glob("*.h")} >= {"fastact.h"}
    command = [sys.executable, "-m", "fastact", "--includes"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == f"-I{folder}\n"


def test_c_functions_load_when_asked_for():
    script = """
import sys, fastact
fastact.gelu(1.0)
assert "fastact._embedding" not in sys.modules
assert len(fastact.__pyx_capi__) > 0
assert "fastact._embedding" in sys.modules
try:
    fastact.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True)
