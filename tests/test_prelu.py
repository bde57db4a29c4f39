"""prelu: a slope per channel along an axis, and a gradient for it: the one row whose parameter is an array.

The truth: channel by channel, the reference with that channel's weight; and for the gradient of a weight, the exact sum
(``math.fsum``) of gradient times input over what that weight served.
"""

import ctypes
import importlib
import math
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from cases import ALL_DTYPES, HALF_DTYPES, LEVELS, assert_same_bits, samples

import fastact
from fastact import calls, reference

EVERY_DTYPE = pytest.mark.parametrize("dtype", ALL_DTYPES)
#: Shape of x, axis as given (None: not given), and the axis that it means.
AXES = [
    ((7,), None, 0),
    ((7,), 0, 0),
    ((7,), 1, 0),
    ((7,), -1, 0),
    ((5, 3), None, 1),
    ((5, 3), 0, 0),
    ((5, 3), 1, 1),
    ((5, 3), -1, 1),
    ((5, 3), -2, 0),
    ((2, 3, 5, 4), None, 1),
    ((2, 3, 5, 4), 0, 0),
    ((2, 3, 5, 4), 2, 2),
    ((2, 3, 5, 4), 3, 3),
    ((2, 3, 5, 4), -1, 3),
    ((2, 3, 5, 4), -4, 0),
    ((300, 40), None, 1),
    ((40, 1000), 0, 0),
    ((1, 1), None, 1),
]
EVERY_AXIS = pytest.mark.parametrize(("shape", "given", "axis"), AXES, ids=lambda value: str(value).replace(" ", ""))
ULP = 2.0


def weights(dtype, count):
    """Slopes of all kinds: small, negative, above one, and 0."""
    return np.resize(np.array([0.25, -0.5, 1.5, 0.01, 0.0, 3.0, -2.0]), count).astype(dtype)


def operands(dtype, shape):
    x = samples(dtype, math.prod(shape), seed=len(shape)).reshape(shape)
    # moderate, so that sums stay finite in float16 too
    x = np.where(np.abs(x) < 20, x, np.sign(x)).astype(dtype)
    grad = np.random.default_rng(9).normal(size=shape).astype(dtype)
    return grad, x


def along(weight, shape, axis):
    """The weight of every element of x."""
    return np.broadcast_to(np.expand_dims(weight, [k for k in range(len(shape)) if k != axis]), shape)


def keywords(given):
    return {} if given is None else {"axis": given}


def exact_sums(grad, x, shape, axis, dtype):
    """Gradient of each weight: the products, rounded to the precision that computes, summed exactly."""
    computed = np.promote_types(dtype, "f4")
    terms = grad.astype(computed) * reference.prelu_weight_gradient(x, 0.0).astype(computed)
    channels = np.moveaxis(terms, axis, 0).reshape(shape[axis], -1)
    return np.array([math.fsum(map(float, channel)) for channel in channels])


def assert_near(got, exact, dtype):
    """Within a rounding to dtype of the exact sum, and what summing in float64 may add."""
    got, exact = np.asarray(got), np.asarray(exact)
    assert got.dtype == dtype
    assert got.shape == exact.shape
    with np.errstate(all="ignore"):
        allowed = np.spacing(np.abs(exact).astype(dtype)).astype("f8") * (0.5 if dtype != "float64" else ULP)
    assert (np.abs(got.astype("f8") - exact) <= allowed + 1e-12 * np.abs(exact).max(initial=0.0)).all()


@EVERY_DTYPE
@EVERY_AXIS
def test_weight_per_channel(backend, dtype, shape, given, axis):
    grad, x = operands(dtype, shape)
    weight = weights(dtype, shape[axis])
    slopes = along(weight, shape, axis)
    with np.errstate(all="ignore"):
        expected = reference.prelu(x, slopes).astype(dtype)
    assert_same_bits(fastact.prelu(x, weight, **keywords(given)), expected)
    gradient, weight_gradient = fastact.prelu_backward(grad, x, weight, **keywords(given))
    computed = np.promote_types(dtype, "f4")
    chain = grad.astype(computed) * reference.prelu_gradient(x, slopes).astype(computed)
    assert_same_bits(gradient, chain.astype(dtype))
    assert_near(weight_gradient, exact_sums(grad, x, shape, axis, dtype), dtype)


@EVERY_DTYPE
@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 5, 4), (1,), (3, 1000)], ids=str)
def test_one_weight(backend, dtype, shape):
    grad, x = operands(dtype, shape)
    flat = exact_sums(grad.reshape(-1, 1), x.reshape(-1, 1), (math.prod(shape), 1), 1, dtype)
    for slope in (0.25, -0.5, 0.0):
        with np.errstate(all="ignore"):
            expected = reference.prelu(x, slope).astype(dtype)
        # a Python number, a scalar, an array without dimensions, an array of one
        for weight in (slope, np.dtype(dtype).type(slope), np.array(slope, dtype), np.array([slope], dtype)):
            for axis in range(-len(shape), len(shape)):
                assert_same_bits(fastact.prelu(x, weight, axis), expected, repr(weight))
            gradient, weight_gradient = fastact.prelu_backward(grad, x, weight)
            assert gradient.dtype == x.dtype
            assert np.shape(weight_gradient) == np.shape(weight)
            assert_near(weight_gradient, flat.reshape(np.shape(weight)), dtype)


@EVERY_DTYPE
def test_integer_weight(dtype):
    """As precise as x beside it; an array of integers is computed as np.tanh computes it."""
    _, x = operands(dtype, (5, 3))
    with np.errstate(all="ignore"):
        expected = reference.prelu(x, 2.0).astype(dtype)
    assert_same_bits(fastact.prelu(x, 2), expected)
    assert_same_bits(fastact.prelu(x, np.array([2, 2, 2], "i1")), expected)
    assert fastact.prelu(x, np.array([2, 2, 2], "i8")).dtype == np.float64
    assert_same_bits(fastact.prelu(x, [2.0, 2.0, 2.0]), expected.astype("f8")) if dtype == "float64" else None


def test_mixed_precision():
    """The common dtype of x and weight, as NumPy's rules have it."""
    x, weight = np.linspace(-2, 2, 6, dtype="f4").reshape(2, 3), np.array([0.1, 0.2, 0.3])
    result = fastact.prelu(x, weight)
    assert_same_bits(result, reference.prelu(x, weight))
    gradient, weight_gradient = fastact.prelu_backward(np.ones_like(x), x, weight)
    assert gradient.dtype == weight_gradient.dtype == np.float64


def test_kink_and_special_values(backend, dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0], dtype)
    for slope in (0.25, 0.0, -0.5):
        with np.errstate(all="ignore"):
            expected = reference.prelu(x, slope).astype(dtype)
            derivative = reference.prelu_gradient(x, slope).astype(dtype)
        assert_same_bits(fastact.prelu(x, slope), expected)
        ones = np.ones_like(x)
        gradient, weight_gradient = fastact.prelu_backward(ones, x, slope)
        assert_same_bits(gradient, derivative)
        assert np.isnan(weight_gradient)
        finite = np.isfinite(x)
        _, weight_gradient = fastact.prelu_backward(ones[finite], x[finite], slope)
        assert weight_gradient == -1


# --- outputs ----------------------------------------------------------------------------------------------------------


@EVERY_AXIS
def test_outputs(backend, dtype, shape, given, axis):
    grad, x = operands(dtype, shape)
    weight = weights(dtype, shape[axis])
    options = keywords(given)
    value = fastact.prelu(x, weight, **options)
    gradient, weight_gradient = fastact.prelu_backward(grad, x, weight, **options)
    # the array for x alone
    for out in (np.empty_like(x), x.copy(), grad.copy()):
        first, second = fastact.prelu_backward(grad, x, weight, out=out, **options)
        assert first is out
        assert_same_bits(first, gradient)
        assert_same_bits(second, weight_gradient)
    # both, in place of the arguments
    arguments = grad.copy(), x.copy(), weight.copy()
    first, second = fastact.prelu_backward(*arguments, out=(arguments[0], arguments[2]), **options)
    assert first is arguments[0]
    assert second is arguments[2]
    assert_same_bits(first, gradient)
    assert_same_bits(second, weight_gradient)
    assert_same_bits(arguments[1], x)
    arguments = grad.copy(), x.copy(), weight.copy()
    strided = np.zeros(2 * weight.size, dtype)[::2]
    first, second = fastact.prelu_backward(*arguments, out=(arguments[1], strided), **options)
    assert first is arguments[1]
    assert second is strided
    assert_same_bits(first, gradient)
    assert_same_bits(second, weight_gradient)
    # forward
    in_place = x.copy()
    assert fastact.prelu(in_place, weight, out=in_place, **options) is in_place
    assert_same_bits(in_place, value)


def test_outputs_left_to_the_function(dtype):
    """None stands for an array still to be made, as in a ufunc's ``out``."""
    grad, x = operands(dtype, (5, 3))
    weight = weights(dtype, 3)
    gradient, weight_gradient = fastact.prelu_backward(grad, x, weight)
    only = np.zeros_like(weight)
    first, second = fastact.prelu_backward(grad, x, weight, out=(None, only))
    assert second is only
    assert_same_bits(first, gradient)
    assert_same_bits(second, weight_gradient)
    out = np.zeros_like(x)
    first, second = fastact.prelu_backward(grad, x, weight, out=(out, None))
    assert first is out
    assert_same_bits(first, gradient)
    assert_same_bits(second, weight_gradient)


def test_scalar_outputs(dtype):
    grad, x = operands(dtype, (5, 3))
    gradient, weight_gradient = fastact.prelu_backward(grad, x, 0.25)
    outs = np.zeros_like(x), np.zeros((), dtype)
    results = fastact.prelu_backward(grad, x, 0.25, out=outs)
    assert all(result is out for result, out in zip(results, outs, strict=True))
    assert_same_bits(outs[0], gradient)
    assert_same_bits(outs[1], np.asarray(weight_gradient))


def test_weight_overlapping_x(backend, dtype):
    """A weight that is a row of x, written over while it is read."""
    grad, x = operands(dtype, (5, 40))
    expected = fastact.prelu(x, x[2].copy())
    gradient, weight_gradient = fastact.prelu_backward(grad, x, x[2].copy())
    in_place = x.copy()
    fastact.prelu(in_place, in_place[2], out=in_place)
    assert_same_bits(in_place, expected)
    in_place = x.copy()
    _, second = fastact.prelu_backward(grad, in_place, in_place[2], out=in_place)
    assert_same_bits(in_place, gradient)
    assert_same_bits(second, weight_gradient)


@EVERY_DTYPE
@pytest.mark.parametrize(("shape", "axis"), [((5, 40), 1), ((40, 5), 0), ((4, 6, 7), 1)], ids=str)
def test_overlapping_operands(backend, dtype, shape, axis):
    """The gradient of the weight written into x or grad; a result written over part of the weight."""
    grad, x = operands(dtype, shape)
    weight = weights(dtype, shape[axis])
    value = fastact.prelu(x, weight, axis)
    expected = fastact.prelu_backward(grad, x, weight, axis)
    for target in (0, 1):
        arguments = grad.copy(), x.copy()
        inside = arguments[target].reshape(-1)[3 : 3 + weight.size]
        results = fastact.prelu_backward(*arguments, weight, axis, out=(None, inside))
        assert results[1] is inside
        for got, wanted in zip(results, expected, strict=True):
            assert_same_bits(got, wanted)
    memory = np.zeros(x.size + weight.size, dtype)
    out, tail = memory[: x.size].reshape(shape), memory[-weight.size - 2 : -2]
    tail[...] = weight
    assert_same_bits(fastact.prelu(x, tail, axis, out=out), value)
    tail[...] = weight
    for got, wanted in zip(fastact.prelu_backward(grad, x, tail, axis, out=out), expected, strict=True):
        assert_same_bits(got, wanted)


@contextmanager
def compiled_alone():
    """Nothing in here may go through calls.py, which takes what the compiled ways do not."""
    met = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename == calls.__file__:
            met.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
    assert not met


@EVERY_DTYPE
@pytest.mark.parametrize("count", [1, 7], ids=["uniform", "per channel"])
@pytest.mark.parametrize("weight_first", [True, False], ids=["weight, out", "out, weight"])
def test_weight_beside_the_result(weight_first, count, dtype):
    """The weight ends where the result begins, or the other way round: no overlap, so no copy and no slower way."""
    grad, x = operands(dtype, (40, 7))
    expected = fastact.prelu_backward(grad, x, weights(dtype, count))
    memory = np.zeros(count + x.size, dtype)
    weight, out = (memory[:count], memory[count:]) if weight_first else (memory[-count:], memory[:-count])
    weight[...], out = weights(dtype, count), out.reshape(x.shape)
    with compiled_alone():
        value = fastact.prelu(x, weight, out=out).copy()
        results = fastact.prelu_backward(grad, x, weight, out=out)
    assert_same_bits(value, fastact.prelu(x, weights(dtype, count)))
    for got, wanted in zip(results, expected, strict=True):
        assert_same_bits(got, wanted)
    assert_same_bits(weight, weights(dtype, count))


@EVERY_DTYPE
@pytest.mark.parametrize("size", [1, 16, 100, 2048, 5000])
def test_one_weight_is_as_many_equal_ones(backend, dtype, size):
    """One weight, of all or of a row, has a kernel of its own: its bits are those of the kernel for arrays of weights.

    What those are worth, other tests say.
    """
    grad, x = operands(dtype, (size,))
    for weight in (*weights(dtype, 7), *np.array([np.nan, np.inf, -np.inf, -0.0], dtype)):
        many = np.full(size, weight)
        value = fastact.prelu(x, many)
        assert_same_bits(fastact.prelu(x, weight), value)
        assert_same_bits(fastact.prelu(x.reshape(1, size), weights(dtype, 1) * 0 + weight)[0], value)
        given = np.broadcast_to(weight, (size,))
        assert_same_bits(fastact.prelu.ufunc(x, given), value)
        gradient, _ = fastact.prelu_backward(grad, x, many)
        assert_same_bits(fastact.prelu_backward(grad, x, weight)[0], gradient)
        assert_same_bits(fastact.prelu_backward.ufunc(grad, x, given)[0], gradient)


@EVERY_DTYPE
def test_layouts(backend, dtype):
    """Strided and transposed gradient, input and weight."""
    grad, x = operands(dtype, (6, 4, 10))
    weight = weights(dtype, 4)
    value = fastact.prelu(x, weight)
    gradient, weight_gradient = fastact.prelu_backward(grad, x, weight)
    layouts = {
        "Fortran": np.asfortranarray,
        "step 2": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
        "reversed": lambda array: array[..., ::-1].copy()[..., ::-1],
        "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder("S")),
    }
    for name, lay_out in layouts.items():
        assert_same_bits(fastact.prelu(lay_out(x), lay_out(weight)), value, name)
        for arguments in (
            (lay_out(grad), x, weight),
            (grad, lay_out(x), weight),
            (lay_out(grad), lay_out(x), lay_out(weight)),
        ):
            first, second = fastact.prelu_backward(*arguments)
            assert_same_bits(first, gradient, name)
            # the order of a sum follows memory
            assert_near(second, weight_gradient.astype("f8"), dtype)


@pytest.mark.parametrize("grad_shape", [(3,), (5, 1), (1, 1), ()], ids=str)
def test_broadcast_gradient(dtype, grad_shape):
    _, x = operands(dtype, (5, 3))
    weight = weights(dtype, 3)
    grad = np.full(grad_shape, 0.5, dtype)
    full = np.full((5, 3), 0.5, dtype)
    for got, expected in zip(
        fastact.prelu_backward(grad, x, weight), fastact.prelu_backward(full, x, weight), strict=True
    ):
        assert_same_bits(got, expected)


@EVERY_DTYPE
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 3, 0), (0, 0)], ids=str)
def test_empty(dtype, shape):
    """A sum over nothing is 0."""
    x = np.empty(shape, dtype)
    for weight in (0.25, np.array(0.25, dtype), np.full(shape[0 if len(shape) == 1 else 1], 0.25, dtype)):
        result = fastact.prelu(x, weight)
        assert result.shape == shape
        assert result.dtype == x.dtype
        gradient, weight_gradient = fastact.prelu_backward(x, x, weight)
        assert gradient.shape == shape
        assert_same_bits(weight_gradient, np.zeros(np.shape(weight), dtype))


def test_scalars():
    """Scalars in, scalars out; the gradients have the shapes of x and of weight."""
    assert isinstance(fastact.prelu(-2.0, 0.25), np.float64)
    assert fastact.prelu(-2.0, 0.25) == -0.5
    gradient, weight_gradient = fastact.prelu_backward(3.0, -2.0, 0.25)
    assert isinstance(gradient, np.float64)
    assert isinstance(weight_gradient, np.float64)
    assert (gradient, weight_gradient) == (0.75, -6.0)
    array = fastact.prelu(np.array(-2.0), 0.25)
    assert type(array) is np.ndarray
    assert array.shape == ()


def test_where(dtype):
    """The gradient of a weight is the sum over the chosen elements."""
    grad, x = operands(dtype, (50, 3))
    weight = weights(dtype, 3)
    chosen = np.random.default_rng(2).random((50, 3)) < 0.5
    gradient, _ = fastact.prelu_backward(grad, x, weight)
    out = np.full_like(x, 7)
    first, second = fastact.prelu_backward(grad, x, weight, out=out, where=chosen)
    assert first is out
    assert_same_bits(out, np.where(chosen, gradient, np.asarray(7, dtype)))
    assert_near(second, exact_sums(np.where(chosen, grad, 0), np.where(chosen, x, 0), (50, 3), 1, dtype), dtype)


# --- sums and threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"), [((400, 100), 1), ((100, 400), 0), ((8, 16, 30, 30), 1), ((100001,), 0)], ids=str
)
def test_threads(backend, dtype, shape, axis, two_threads):
    """Neither the gradient nor the sums depend on how many threads worked."""
    grad, x = operands(dtype, shape)
    for weight in (weights(dtype, shape[axis]), np.array(0.25, dtype)):
        with fastact.num_threads(1):
            value = fastact.prelu(x, weight, axis)
            expected = fastact.prelu_backward(grad, x, weight, axis)
        for count in (2, 3):
            with fastact.num_threads(count):
                assert_same_bits(fastact.prelu(x, weight, axis), value)
                for got, wanted in zip(fastact.prelu_backward(grad, x, weight, axis), expected, strict=True):
                    assert_same_bits(got, wanted)


def test_big_sums(dtype):
    """A million terms that all but cancel: summed in float64, not in x's precision."""
    count = 1_000_000
    random = np.random.default_rng(10)
    grad = np.ones(count, dtype)
    x = -np.abs(random.normal(size=count)).astype(dtype)
    grad[1::2] = -1
    _, weight_gradient = fastact.prelu_backward(grad, x, 0.25)
    exact = math.fsum(map(float, grad * x))
    # roundings that add up like a random walk, 2**-53 of the magnitudes each, and the one of the result
    walk = math.sqrt(count) * 2.0**-53 * float(np.abs(x, dtype="f8").sum())
    allowed = walk + float(np.spacing(np.dtype(dtype).type(abs(exact))))
    assert abs(float(weight_gradient) - exact) <= allowed


@pytest.mark.parametrize("level", LEVELS)
def test_sums_have_one_order_in_all_instructions(level, dtype):
    """Sixteen sums of every sixteenth term, folded in halves; and a sum for each term."""
    addresses = importlib.import_module(f"fastact._kernels.{level}").sums()[dtype]
    of_all = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p, ctypes.c_ssize_t)(addresses[0])
    of_each = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p)(addresses[1])
    random = np.random.default_rng(11)
    for count in (0, 1, 15, 16, 17, 250, 512):
        terms = (random.normal(size=count) * 10.0 ** random.integers(-8, 8, count)).astype(dtype)
        expected = [0.0] * 16
        for k, term in enumerate(terms.tolist()):
            expected[k % 16] += term
        while len(expected) > 1:
            half = len(expected) // 2
            expected = [a + b for a, b in zip(expected[:half], expected[half:], strict=True)]
        assert of_all(terms.ctypes.data, count) == expected[0]
        before = random.normal(size=count)
        sums = before.copy()
        of_each(terms.ctypes.data, count, sums.ctypes.data)
        np.testing.assert_array_equal(sums, before + terms.astype("float64"))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_numbers_are_rounded_once(dtype):
    """A Python number, and a sum, that is just above the middle between two 16-bit numbers, by less than float32 holds.

    Rounded to float32 first it would be that middle, and go down to 1.
    """
    middle = 2.0**-11 if dtype == "float16" else 2.0**-8
    above = 1 + 2 * middle
    x = np.array([-1, -1, -(2.0**-20)], dtype)
    assert fastact.prelu(x, 1 + middle + 2.0**-40)[0] == -above
    grad = np.array([1, middle, 2.0**-20], dtype)
    # the exact sum is -(1 + middle + 2**-40)
    for weight in (0.5, np.array(0.5, dtype), np.array([0.5], dtype)):
        assert np.asarray(fastact.prelu_backward(grad, x, weight)[1]).reshape(()) == -above


@EVERY_DTYPE
def test_both_outputs(dtype):
    """Both gradients go where they are told to, also where that is an input."""
    grad, x = operands(dtype, (5, 3))
    weight = weights(dtype, 3)
    expected = fastact.prelu_backward(grad, x, weight)
    out = (np.ones_like(x), np.ones_like(weight))
    result = fastact.prelu_backward(grad, x, weight, out=out)
    assert result[0] is out[0] and result[1] is out[1]
    assert_same_bits(out[0], expected[0])
    assert_same_bits(out[1], expected[1])
    result = fastact.prelu_backward(grad, x, weight, out=(grad, weight))
    assert result[0] is grad and result[1] is weight
    assert_same_bits(grad, expected[0])
    assert_same_bits(weight, expected[1])


@EVERY_DTYPE
def test_second_output_is_checked(dtype):
    """What cannot take the weight's gradient is refused before anything is written."""
    grad, x = operands(dtype, (5, 3))
    weight = weights(dtype, 3)
    read_only = np.ones_like(weight)
    read_only.flags.writeable = False
    for bad in (np.ones(4, dtype), np.ones((3, 1), dtype), read_only, np.ones(3, "i4")):
        out, before = np.ones_like(x), bad.copy()
        with pytest.raises((TypeError, ValueError), match=r"prelu_backward: out\[1\]: got"):
            fastact.prelu_backward(grad, x, weight, out=(out, bad))
        assert (out == 1).all() and (bad == before).all()
