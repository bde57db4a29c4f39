"""The C interface called from Python, through ``c/table_harness.c``: operands are 2-D NumPy views of any strides.

NumPy describes an operand completely (address, strides, shape), so a test states a call in NumPy's words, and truth is
the same function on dense copies.  ctypes passes on whatever it is given: nothing here checks anything.
"""

import contextlib
import ctypes

import numpy as np
import pytest
from cases import bits
from extensions import C_SOURCES, HEADERS, compile_extension, load_extension

from fastact import catalogue

OK, NULL, LENGTH, NAME, DTYPE, DIRECTION, OPERANDS, PARAMETER, STRIDE, OVERLAP, THREADS, NO_KERNEL, VERSION = range(13)
DTYPE_NUMBERS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 3}
DIRECTION_NUMBERS = {direction: number for number, direction in enumerate(catalogue.DIRECTIONS)}


class Operand(ctypes.Structure):
    """``fastact_input`` and ``fastact_output``."""

    _fields_ = (("data", ctypes.c_void_p), ("row_step", ctypes.c_ssize_t), ("step", ctypes.c_ssize_t))


class Call(ctypes.Structure):
    """``fastact_call``."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("rows", ctypes.c_ssize_t),
        ("columns", ctypes.c_ssize_t),
        ("inputs", ctypes.POINTER(Operand)),
        ("outputs", ctypes.POINTER(Operand)),
        ("parameters", ctypes.POINTER(ctypes.c_double)),
        ("dtype", ctypes.c_int),
        ("n_inputs", ctypes.c_int),
        ("n_outputs", ctypes.c_int),
        ("n_parameters", ctypes.c_int),
        ("threads", ctypes.c_int),
    )


class Description(ctypes.Structure):
    """``fastact_description``."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("inputs", ctypes.POINTER(ctypes.c_char_p)),
        ("parameters", ctypes.POINTER(ctypes.c_char_p)),
        ("defaults", ctypes.POINTER(ctypes.c_double)),
        ("n_inputs", ctypes.c_int),
        ("n_outputs", ctypes.c_int),
        ("n_parameters", ctypes.c_int),
    )


class Caller(ctypes.Structure):
    """``caller`` of the harness: one array in, one out, repeatedly."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("function", "input", "expected", "output")),
        *((name, ctypes.c_ssize_t) for name in ("count", "bytes")),
        *((name, ctypes.c_int) for name in ("dtype", "threads", "repetitions", "through_table", "failed", "wrong")),
    )


class Failure(ctypes.Structure):
    """``failure`` of the harness."""

    _fields_ = (("direction", ctypes.c_int), ("message", ctypes.c_char * 256))


def address(array):
    """Address of an array's first element (which, with negative strides, is not its first byte)."""
    return array.__array_interface__["data"][0]


def operand(view):
    """A 2-D view, or a row, as the interface wants it."""
    view = view if view.ndim == 2 else view[None]
    return Operand(address(view), *view.strides)


def numbers(values):
    """Parameters as C doubles; None stays NULL."""
    return None if values is None else (ctypes.c_double * len(values))(*values)


def addresses(values):
    """An array of addresses, of arrays or as they are."""
    values = [address(value) if isinstance(value, np.ndarray) else value for value in values]
    return (ctypes.c_void_p * len(values))(*values)


def call_of(inputs, outputs, parameters=None, threads=0):
    """A ``Call`` for views of one shape and dtype."""
    shape = np.broadcast_shapes((1, 1), outputs[0].shape)
    return Call(
        size=ctypes.sizeof(Call),
        rows=shape[0],
        columns=shape[1],
        inputs=(Operand * len(inputs))(*map(operand, inputs)),
        outputs=(Operand * len(outputs))(*map(operand, outputs)),
        parameters=numbers(parameters),
        dtype=DTYPE_NUMBERS[outputs[0].dtype.name],
        n_inputs=len(inputs),
        n_outputs=len(outputs),
        n_parameters=0 if parameters is None else len(parameters),
        threads=threads,
    )


class Harness:
    """The compiled harness, with the types of its functions."""

    def __init__(self, file):
        self.module = load_extension(file)
        self.library = library = ctypes.CDLL(str(file))
        for name in ("version", "message", "instruction_set"):
            self._declare(name, ctypes.c_char_p)
        self._declare("table_size", ctypes.c_size_t)
        for name in ("abi_version", "api_version"):
            self._declare(name, ctypes.c_uint)
        self._declare("find", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
        pointer, size, integer = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
        self._declare("apply", integer, pointer, integer, pointer, pointer, size, pointer, integer, integer)
        self._declare("run", integer, pointer, pointer)
        self._declare("flags", integer, pointer, pointer)
        self._declare("kernel", integer, pointer, integer, pointer)
        self._declare("call_kernel", None, pointer, pointer, pointer, size, pointer)
        self._declare("time", ctypes.c_double, pointer, pointer, pointer, pointer, size, integer)
        for name in ("at_once", "failures"):
            self._declare(name, integer, pointer, integer)
        # a harness without OpenMP has no region, one with an older header not all functions
        with contextlib.suppress(AttributeError):
            self._declare("in_region", integer, pointer, integer)
        with contextlib.suppress(AttributeError):
            self._declare("activation", ctypes.c_char_p, integer)
            self._declare("describe", integer, pointer, pointer)
            self._declare("sum_channels", integer, integer, pointer, size, size, size, pointer)
        for name in ("get_threads", "set_threads", "threads", "threads_in_region"):
            setattr(self, name, getattr(library, f"harness_{name}", None))

    def _declare(self, name, result, *arguments):
        declared = getattr(self.library, f"harness_{name}")
        declared.restype, declared.argtypes = result, arguments
        setattr(self, name, declared)

    def function(self, function):
        """What ``find`` gives for a public function."""
        return self.find(function.row.name.encode(), DIRECTION_NUMBERS[function.direction])

    def run_on(self, function, inputs, outputs, parameters=None, threads=0):
        """Status of ``run`` for views."""
        call = call_of(inputs, outputs, parameters, threads)
        return self.run(self.function(function), ctypes.byref(call))

    def apply_to(self, function, inputs, outputs, parameters=None, threads=0):
        """Status of ``apply`` for contiguous arrays."""
        dtype = DTYPE_NUMBERS[outputs[0].dtype.name]
        n_parameters = 0 if parameters is None else len(parameters)
        arrays = addresses(inputs), addresses(outputs), outputs[0].size
        return self.apply(self.function(function), dtype, *arrays, numbers(parameters), n_parameters, threads)

    def callers(self, function, x, count, expected=None, **fields):
        """``count`` callers of a function of one array, and their outputs.

        ``expected``, the function's result unless it is given, and x must outlive the callers.
        """
        expected = function(x) if expected is None else expected
        outputs = [np.empty_like(x) for _ in range(count)]
        common = {"dtype": DTYPE_NUMBERS[x.dtype.name], "count": x.size, "bytes": x.nbytes, "repetitions": 1} | fields
        common |= {"function": self.function(function), "input": address(x), "expected": address(expected)}
        callers = (Caller * count)(*(Caller(output=address(y), **common) for y in outputs))
        callers.referred_to = (x, expected)
        return callers, outputs


def compile_harness(folder, *flags, headers=HEADERS):
    """Compile the harness, with the package's header or with a folder that holds another; returns its file."""
    return compile_extension([C_SOURCES / "table_harness.c"], folder, "table_harness", "-lm", *flags, headers=headers)


@pytest.fixture(scope="module")
def harness_file(tmp_path_factory):
    """The compiled harness, without OpenMP; a test module that uses a fixture takes its name over."""
    return compile_harness(tmp_path_factory.mktemp("harness"))


@pytest.fixture(scope="module")
def harness(harness_file):
    """The harness, loaded into this process."""
    return Harness(harness_file)


def dense_result(function, inputs, parameters=()):
    """What the function gives for dense copies, called from Python, as a list of outputs, one value per element."""
    inputs = [np.array(view, order="C") for view in inputs]
    # the function itself takes an operand such as prelu's weight per channel, and sums its gradient
    called = function.ufunc if function.operand_names else function
    with np.errstate(all="ignore"):
        results = called(*inputs, *parameters)
    return list(results) if isinstance(results, tuple) else [results]


def differing(got, expected):
    """Whether two arrays differ in any bit, every NaN being the same."""
    return got.shape != expected.shape or bool((bits(got) != bits(expected)).any())
