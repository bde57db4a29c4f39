"""Every public function inside ``@numba.njit``: numbers inlined and vectorised, arrays with the bits of Python's call.

Numbers are compared with the kernels of the backend ``numba``, which are the same formulas in a loop of our own; arrays
with the function called from Python.  A function is compiled once for each precision and form and then serves all
questions, because compiling is what takes the time here.  ``test_numba_processes.py`` has what needs a process.
"""

import re

import numpy as np
import pytest
from cases import DTYPES, FUNCTIONS, PLAIN_FUNCTIONS, assert_same_bits, inputs, parameter_sets
from disassembly import IS_X86

import fastact

numba = pytest.importorskip("numba")

from numba.core.errors import TypingError  # noqa: E402

from fastact import numba_extension  # noqa: E402

# where fastact is installed, and not only built in place, Numba has done this
numba_extension.init()

#: Not a multiple of a vector's length: the compiler's loop for the remainder runs, too.
COUNT = 4099
HAS_GRADIENTS = [function for function in FUNCTIONS if function.operand_names and function.direction == "backward"]


def jitted(function, body, others="out", **options):
    """A jitted function of the public function's arguments and others.

    ELEMENT stands for a call with elements number i of the arrays, ARRAYS for the arguments of a call with arrays.
    """
    arrays = [*function.array_names, *function.operand_names]
    names = [*arrays, *function.scalar_names]
    body = body.replace("ELEMENT", f"f({', '.join(f'{name}[i]' if name in arrays else name for name in names)})")
    body = body.replace("ARRAYS", ", ".join(names))
    source = f"def jitted({', '.join(names)}, {others}):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    namespace = {"f": function, "np": np, "prange": numba.prange, "fastact": fastact}
    exec(source, namespace)
    return numba.njit(**options)(namespace["jitted"])


#: A compiler's time for each: functions take turns with float32 and float64, and with `-m long` each has both.
ONE_DTYPE_EACH = [
    pytest.param(function, dtype, id=f"{function.name}-{dtype}", marks=[pytest.mark.long] * ((number + k) % 2))
    for number, function in enumerate(FUNCTIONS)
    for k, dtype in enumerate(DTYPES)
]


def operands(function, dtype, params, count=COUNT):
    """Arrays for a function; where it takes one value per channel, each element is a channel."""
    x = inputs(function, dtype, count, params)
    arrays = [x] if function.direction == "forward" else [np.cos(np.arange(count)).astype(dtype), x]
    return arrays + [np.linspace(-1, 2, count).astype(dtype)] * len(function.operand_names)


def scalars(function, params):
    return [] if function.operand_names else list(params)


def as_tuple(results):
    return results if isinstance(results, tuple) else (results,)


def machine_code(jitted):
    """The loop itself, without the wrapper that Python calls."""
    (signature,) = jitted.signatures
    name = re.escape(jitted.overloads[signature].fndesc.mangled_name)
    return re.search(
        rf"^{name}:.*?^\s*\.size\s+{name}", jitted.inspect_asm(signature), re.DOTALL | re.MULTILINE
    ).group()


@pytest.mark.parametrize("function, dtype", ONE_DTYPE_EACH)
def test_numbers(function, dtype):
    """In the caller's loop: packed arithmetic, no call, and the bits of the backend's kernel in every element."""
    lines = "out[i] = ELEMENT + zeros[i]"
    if function in HAS_GRADIENTS:
        lines = "first, second = ELEMENT\n    out[i], terms[i] = first + zeros[i], second"
    loop = jitted(function, f"for i in range(out.size):\n    {lines}", "zeros, terms, out")
    # -0.0 changes nothing that it is added to
    zeros = np.full(COUNT, -0.0, dtype)
    for params in parameter_sets(function.row, function.direction):
        arrays = operands(function, dtype, params)
        out, terms = np.empty(COUNT, dtype), np.empty(COUNT, dtype)
        loop(*arrays, *scalars(function, params), zeros, terms, out)
        with fastact.use_backend("numba"), np.errstate(all="ignore"):
            expected = as_tuple(function(*arrays, *scalars(function, params)))
            assert_same_bits(out, expected[0], params)
            if len(expected) > 1:
                # the sum of one term; it begins with 0.0, so a term of -0.0 becomes 0.0
                assert_same_bits(terms + np.array(0, dtype), expected[1], params)
    if IS_X86:
        code = machine_code(loop)
        assert not re.search(r"^\s*call", code, re.MULTILINE)
        letter = {"float32": "s", "float64": "d"}[dtype]
        assert re.search(rf"^\s*v?(?:mul|add|fmadd\d+)p{letter}\s.*%[xyz]mm", code, re.MULTILINE), "nothing is packed"


def arguments_of(function):
    return len(function.array_names), len(function.operand_names), len(function.scalar_names)


#: What is compiled for arrays is the same for as many arguments, but for the kernel that it calls: all of it where
#: arguments are the first of their kind, or with `-m long`; for the others, whether it is theirs that is called.
FIRST_OF_THEIR_KIND = {arguments_of(function): function for function in reversed(FUNCTIONS)}.values()
LONG_IF_ALIKE = [
    pytest.param(function, dtype, id=f"{function.name}-{dtype}", marks=[pytest.mark.long] * is_long)
    for function in FUNCTIONS
    for dtype in DTYPES
    for is_long in [function not in FIRST_OF_THEIR_KIND]
]


@pytest.mark.parametrize("function, dtype", LONG_IF_ALIKE)
def test_arrays(function, dtype):
    """A new array, into ``out``, in place: to the bit what Python's call gives, for sizes with and without a tail."""
    call = jitted(function, "new = f(ARRAYS)\nreturn new, f(ARRAYS, out=out)")
    for params in parameter_sets(function.row, function.direction):
        for count in (0, 1, COUNT):
            expected = as_tuple(function(*operands(function, dtype, params, count), *scalars(function, params)))
            for place in (None, *range(len(function.array_names))):
                arrays = operands(function, dtype, params, count)
                out = np.empty(count, dtype) if place is None else arrays[place]
                for results in call(*arrays, *scalars(function, params), out):
                    for got, value in zip(as_tuple(results), expected, strict=True):
                        assert_same_bits(got, value, (params, count, place))
                assert_same_bits(out, expected[0], (params, count, place))


ALIKE = [function for function in FUNCTIONS if function not in FIRST_OF_THEIR_KIND]


@pytest.mark.parametrize("function", ALIKE, ids=lambda function: function.name)
def test_arrays_are_given_to_the_function_itself(function):
    params = parameter_sets(function.row, function.direction)[0]
    given = [*operands(function, "float32", params), *scalars(function, params)]
    results = jitted(function, "return f(ARRAYS)")(*given, None)
    for got, expected in zip(as_tuple(results), as_tuple(function(*given)), strict=True):
        assert_same_bits(got, expected)


@pytest.mark.parametrize("name", ["gelu_backward", "mish_backward", "softplus_backward"])
def test_bits_do_not_depend_on_the_caller(name, dtype):
    """Not on what else is in the loop, with which parts of a formula may be shared, nor on the caller's options."""
    function = fastact.dispatch.find(name)
    forward = fastact.dispatch.find(function.row.name)
    params = parameter_sets(function.row)[-1]
    grad, x = operands(function, dtype, params)
    line = "    values[i] = fastact.{}(x[i]{})\n    gradients[i] = ELEMENT"
    line = line.format(forward.name, "".join(f", {name}" for name in function.scalar_names))
    with fastact.use_backend("numba"):
        expected = forward(x, *params), function(grad, x, *params)
    for options in ({}, {"fastmath": True}, {"error_model": "numpy", "boundscheck": True}):
        loop = jitted(function, f"for i in range(x.size):\n{line}", "values, gradients", **options)
        values, gradients = np.empty(COUNT, dtype), np.empty(COUNT, dtype)
        loop(grad, x, *params, values, gradients)
        assert_same_bits(values, expected[0], options)
        assert_same_bits(gradients, expected[1], options)


@numba.njit
def gelu(x):
    return fastact.gelu(x)


@numba.njit
def gelu_into(x, out):
    return fastact.gelu(x, out=out)


@numba.njit
def gelu_backward(grad, x):
    return fastact.gelu_backward(x=x, grad=grad)


@numba.njit
def prelu(x, weight, axis):
    return fastact.prelu(x, weight, axis)


@numba.njit
def prelu_backward(grad, x, weight, axis):
    return fastact.prelu_backward(grad, x, weight, axis=axis)


@numba.njit
def softplus(x, beta):
    return fastact.softplus(x, beta=beta)


def noise(*shape, dtype="float32"):
    return np.asarray(np.random.default_rng(0).normal(0, 2, shape)).astype(dtype)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (2, 0, 3), (2, 1, 2, 3, 2)], ids=str)
def test_ranks(shape):
    x = noise(*shape)
    assert_same_bits(gelu(x), fastact.gelu(x))
    out = np.empty_like(x)
    gelu_into(x, out)
    assert_same_bits(out, fastact.gelu(x))


STRIDED = {
    "every_second": lambda x: x[::2],
    "backwards": lambda x: x[:, ::-1],
    "transposed": lambda x: x.T,
    "fortran": np.asfortranarray,
    "column": lambda x: x[:, 3],
    "row": lambda x: x[2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("view", STRIDED.values(), ids=STRIDED)
def test_strides(view):
    """Of the input and of ``out``, neither of which is disturbed where it is not ours."""
    x = view(noise(6, 8))
    before = x.copy()
    assert_same_bits(gelu(x), fastact.gelu(np.ascontiguousarray(x)))
    assert_same_bits(gelu_backward(x, x), fastact.gelu_backward(before, before))
    room = np.full((*x.shape[:-1], 2 * x.shape[-1]), 7, x.dtype)
    gelu_into(x, room[..., ::2])
    assert_same_bits(room[..., ::2], fastact.gelu(before))
    assert (room[..., 1::2] == 7).all()
    assert_same_bits(x, before)


@pytest.mark.parametrize("shape", [(), (3, 4), (2, 3, 4)], ids=str)
def test_out_of_another_kind(shape):
    """In Fortran order, and with a wider dtype, which is given what was computed in the input's."""
    x = noise(*shape)
    for out in (np.zeros(shape, "float32", order="F"), np.zeros(shape, "float64", order="F")):
        gelu_into(x, out)
        assert_same_bits(out, fastact.gelu(x).astype(out.dtype))


@pytest.mark.parametrize("distance", [0, 1, -1, 700, -700])
def test_overlap(distance):
    """As if the input had been copied before."""
    memory = noise(3000)
    start = max(-distance, 0)
    x, out = memory[start : start + 2000], memory[start + distance : start + distance + 2000]
    expected = fastact.gelu(x)
    gelu_into(x, out)
    assert_same_bits(out, expected)


def test_overlap_with_the_weight():
    x = noise(3, 4)
    expected = fastact.prelu(x, x[1])
    into = numba.njit(lambda x, weight, out: fastact.prelu(x, weight, out=out))
    assert_same_bits(into(x, x[1], x), expected)


def test_read_only_input():
    x = noise(20)
    x.flags.writeable = False
    assert_same_bits(gelu(x), fastact.gelu(x))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "uint64", "bool"])
def test_integers(dtype):
    """Arrays and numbers alike are computed as float64."""
    x = np.array([0, 1, 1, 5]).astype(dtype)
    assert_same_bits(gelu(x), fastact.gelu(x.astype("float64")))
    assert gelu(x[3]) == pytest.approx(fastact.gelu(float(x[3])), rel=1e-15)


NUMBERS = ["int16", "int64", "float32", "float64"]


@pytest.mark.parametrize(
    "first, second",
    [("int16", "float32"), ("float32", "float64"), ("int64", "int16")]
    + [pytest.param(first, second, marks=pytest.mark.long) for first in NUMBERS for second in NUMBERS],
)
def test_mixed_dtypes(first, second):
    """The wider of the two, as in NumPy."""
    grad, x = np.ones(3, first), np.ones(3, second)
    wider = "float32" if np.result_type(grad, x) == np.float32 else "float64"
    assert_same_bits(gelu_backward(grad, x), fastact.gelu_backward(grad.astype(wider), x.astype(wider)))
    signature = numba.from_dtype(grad.dtype), numba.from_dtype(x.dtype)
    gelu_backward.compile(signature)
    assert gelu_backward.overloads[signature].signature.return_type.name == wider


def test_a_number_beside_an_array():
    """It takes the array's precision, as a Python float does in NumPy 2."""
    x = noise(3, 4)
    assert_same_bits(gelu_backward(0.1, x), fastact.gelu_backward(0.1, x))
    assert_same_bits(gelu_backward(x, 0.1), fastact.gelu_backward(x, 0.1))


def test_a_float64_parameter_does_not_widen():
    signature = numba.float32, numba.float64
    for function in (lambda x, slope: fastact.prelu(x, slope), lambda x, slope: fastact.leaky_relu(x, slope)):
        compiled = numba.njit(signature)(function)
        assert compiled.overloads[signature].signature.return_type == numba.float32


# each number of dimensions is compiled for itself, some seconds each
LONG = [
    pytest.param(shape, marks=pytest.mark.long) for shape in [(5,), (2, 3, 4), (3, 2, 4, 5), (2, 3, 1), (0, 3), (3, 0)]
]


@pytest.mark.parametrize("shape", [(4, 3), *LONG], ids=str)
def test_prelu(shape, dtype):
    """Every axis, every kind of weight, both gradients."""
    x, grad = noise(*shape, dtype=dtype), np.cos(noise(*shape, dtype=dtype))
    for axis in range(-len(shape), len(shape)):
        channels = shape[axis]
        weights = [noise(channels, dtype=dtype), noise(2 * channels, dtype=dtype)[::2], noise(1, dtype=dtype)]
        for weight in (*weights, noise(dtype=dtype), noise(channels, dtype="float64")):
            assert_same_bits(prelu(x, weight, axis), fastact.prelu(x, weight, axis=axis), axis)
            results = prelu_backward(grad, x, weight, axis)
            for got, expected in zip(results, fastact.prelu_backward(grad, x, weight, axis=axis), strict=True):
                assert_same_bits(got, expected, axis)
    for got, expected in zip(prelu_backward(grad, x, 0.3, 0), fastact.prelu_backward(grad, x, 0.3), strict=True):
        assert_same_bits(np.asarray(got, dtype), expected)


def test_prelu_of_a_matrix_that_threads_share(two_threads):
    x, weight = noise(3, 4, 70_001), noise(4)
    for axis, used in ((1, weight), (0, weight[:3])):
        for got, expected in zip(
            prelu_backward(x, x, used, axis), fastact.prelu_backward(x, x, used, axis=axis), strict=True
        ):
            assert_same_bits(got, expected)


REFUSED = {
    "gelu: x: got complex128": lambda: gelu(1j),
    "gelu: x: got unicode_type": lambda: gelu("1"),
    "gelu: x: got array(complex64, 1d, C)": lambda: gelu(np.ones(3, "complex64")),
    "gelu: x: got array(float16, 1d, C)": lambda: gelu(np.ones(3, "float16")),
    "gelu: x: got none": lambda: gelu(None),
    "gelu_backward: grad: got array(float64, 1d, C)": lambda: gelu_backward(np.ones(3), np.ones((3, 3))),
    "gelu: out: got array(int64, 1d, C)": lambda: gelu_into(np.ones(3), np.ones(3, "int64")),
    "gelu: out: got readonly": lambda: gelu_into(np.ones(3), np.broadcast_to(np.ones(1), 3)),
    "gelu: out: got float64": lambda: gelu_into(np.ones(3), 1.0),
    "gelu: out: got array(float64, 1d, C); accepted: nothing": lambda: gelu_into(1.0, np.ones(3)),
    "gelu: out: got array(float64, 2d, C)": lambda: gelu_into(np.ones(3), np.ones((1, 3))),
    "softplus: beta: got none": lambda: softplus(1.0, None),
    "softplus: beta: got array": lambda: softplus(np.ones(3), np.ones(3)),
    "prelu: weight: got array(float64, 2d, C)": lambda: prelu(np.ones((3, 3)), np.ones((3, 1)), 1),
    "prelu: weight: got array(float64, 1d, C)": lambda: prelu(1.0, np.ones(3), 1),
    "prelu: axis: got float64": lambda: prelu(np.ones(3), np.ones(3), 0.5),
    "too many positional arguments": lambda: numba.njit(lambda x: fastact.gelu(x, x, x))(1.0),
    "unexpected keyword argument 'alpha'": lambda: numba.njit(lambda x: fastact.gelu(x, alpha=x))(1.0),
    "missing a required argument: 'weight'": lambda: numba.njit(lambda x: fastact.prelu(x))(1.0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_wrong_types_are_refused_at_compile_time(message):
    with pytest.raises(TypingError, match=re.escape(message)):
        REFUSED[message]()


WRONG = {
    "gelu: out: accepted: an array of the shape of x": lambda: gelu_into(np.ones(3), np.ones(4)),
    "gelu_backward: grad: accepted: an array of the shape of x": lambda: gelu_backward(np.ones(3), np.ones(4)),
    "prelu: weight: accepted: a number, or one value": lambda: prelu(np.ones((3, 4)), np.ones(3), 1),
    "prelu: axis: accepted: an axis of x": lambda: prelu(np.ones((3, 4)), np.ones(4), 2),
    "prelu_backward: axis: accepted": lambda: prelu_backward(np.ones(3), np.ones(3), np.ones(1), -2),
    "softplus: beta: accepted: a finite number > 0": lambda: softplus(np.ones(3), 0.0),
    "beta: accepted: a finite number > 0, also after rounding": lambda: softplus(np.ones(3, "float32"), 1e-60),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_values_are_errors(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        WRONG[message]()


def test_names_are_complete():
    """What Numba takes by keyword is what Python takes."""
    for function in FUNCTIONS:
        expected = [name for name in function.__signature__.parameters if name != "ufunc_keywords"]
        assert [*numba_extension.argument_names(function), "out"] == expected


def test_aliases():
    x = noise(10)
    assert_same_bits(numba.njit(lambda x: fastact.swish(x))(x), fastact.silu(x))


def test_prange(dtype):
    """Around numbers, and around arrays: rows of a matrix."""
    x = noise(50, 40, dtype=dtype)
    body = "for i in prange(x.shape[0]):\n    out[i] = f(x[i])\nflat = x.ravel()\nresult = np.empty_like(flat)\n"
    body += "for i in prange(flat.size):\n    result[i] = f(flat[i])\nreturn result"
    out = np.empty_like(x)
    loop = jitted(fastact.silu, body, parallel=True, nogil=True)
    with fastact.use_backend("numba"):
        expected = fastact.silu(x)
        result = loop(x, out)
    assert_same_bits(out, expected)
    assert_same_bits(result.reshape(x.shape), expected)


@pytest.mark.parametrize("target", ["cpu", "parallel"])
def test_vectorize(target):
    ufunc = numba.vectorize(["float32(float32)", "float64(float64)"], target=target)(lambda x: fastact.mish(x))
    for dtype in ("float32", "float64"):
        x = noise(5, 1001, dtype=dtype)
        with fastact.use_backend("numba"):
            assert_same_bits(ufunc(x), fastact.mish(x))


def test_guvectorize():
    @numba.guvectorize(["float32[:], float32[:]"], "(n)->(n)")
    def twice(x, out):
        fastact.tanh(x, out=out)
        fastact.tanh(out, out=out)

    x = noise(5, 101)
    assert_same_bits(twice(x), fastact.tanh(fastact.tanh(x)))


def test_cfunc():
    callback = numba.cfunc("float64(float64)")(lambda x: fastact.elu(x, alpha=2))
    assert callback.ctypes(-1.5) == pytest.approx(fastact.elu(-1.5, alpha=2), rel=1e-15)


@pytest.mark.parametrize("backend", ["cython", "numpy"])
def test_arrays_are_served_by_the_backend_that_is_chosen(backend):
    """Numbers are Numba's always.  The reference's bits differ from the kernels' somewhere in so many elements."""
    x = noise(20_000)
    with fastact.use_backend(backend):
        assert_same_bits(gelu(x), fastact.gelu(x))


def test_plain_functions_have_no_axis():
    for function in PLAIN_FUNCTIONS:
        assert "axis" not in numba_extension.argument_names(function)
