"""Bad input: each gets an error that says what is wrong and what is accepted, and every array is as before.

Each case goes both ways: with dense arrays, which the compiled callable takes itself, and with strided ones, which the
ufunc serves.  The truth is the list of words that the message must hold, and the bytes of the memory under all arrays.
"""

import functools

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, HALF_DTYPES, parameter_sets

from fastact.catalogue import NON_NEGATIVE, POSITIVE

OPERAND_FUNCTIONS = [function for function in FUNCTIONS if function.operand_names]
SCALAR_FUNCTIONS = [function for function in FUNCTIONS if function.scalar_names]

dense = pytest.param(np.ones, id="dense")
strided = pytest.param(lambda shape, dtype: np.ones((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2], id="strided")
EVERY_WAY = pytest.mark.parametrize("make", [dense, strided])


def base_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def refuses(error, function, *words, call, arrays, case=""):
    """The call raises this error with the function's name and these words, and leaves the arrays alone."""
    memory = [base_of(array) for array in arrays]
    before = [m.tobytes() if m.dtype != object else list(m.flat) for m in memory]
    try:
        call()
    except (TypeError, ValueError, OverflowError) as caught:
        assert type(caught) is error, case
        message = str(caught)
    else:
        pytest.fail(f"{case}: accepted")
    for word in (f"{function.name}: ", *words):
        assert word in message, case
    assert [m.tobytes() if m.dtype != object else list(m.flat) for m in memory] == before, case


def arguments(function, x, grad=None):
    """The positional arguments of a call with these arrays and the default parameters."""
    grads = () if function.direction == "forward" else (np.ones_like(x) if grad is None else grad,)
    return [*grads, x, *parameter_sets(function.row)[0]]


def numbers_accepted(function, position):
    """What the catalogue says of a scalar parameter in this direction."""
    parameter = function.row.scalars[position]
    return parameter.accepts_from_output if function.direction == "backward_from_output" else parameter.accepts


# --- dtypes -----------------------------------------------------------------------------------------------------------

UNSUPPORTED = {
    "complex64": np.ones((3, 4), "c8"),
    "complex128": np.ones((3, 4), "c16"),
    "object": np.array([1.0, None, "x"], object),
    "<U3": np.array(["abc", "1.0"]),
    "|S3": np.array([b"abc", b"1.0"]),
    "datetime64[D]": np.array(["2020-01-01"], "M8[D]"),
    "timedelta64[s]": np.array([1], "m8[s]"),
    "longdouble": np.ones(3, np.longdouble),
    "structured": np.zeros(3, [("a", "f4"), ("b", "f4")]),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_dtype(function, kind):
    bad = UNSUPPORTED[kind].copy()
    if bad.dtype == np.float64:
        pytest.skip("long double is double here")
    good = np.ones(bad.shape, "f4")
    position = len(function.array_names) - 1
    words = (str(bad.dtype), "accepted: ", "bfloat16", "float16", "float32", "float64")
    call = arguments(function, good)
    call[position] = bad
    name = function.array_names[-1]
    refuses(TypeError, function, f"{name}: ", *words, call=lambda: function(*call), arrays=[bad])
    out = np.ones(bad.shape, "f4")
    refuses(TypeError, function, f"{name}: ", *words, call=lambda: function(*call, out=out), arrays=[bad, out])
    stepped = np.concatenate([bad, bad], axis=-1)[..., ::2]
    call[position] = stepped
    refuses(TypeError, function, f"{name}: ", *words, call=lambda: function(*call), arrays=[stepped])
    if function.direction != "forward":
        call = arguments(function, good, grad=bad)
        refuses(TypeError, function, "grad: ", *words, call=lambda: function(*call), arrays=[bad, good])


@pytest.mark.parametrize("kind", ["complex64", "object", "<U3"])
@pytest.mark.parametrize("function", OPERAND_FUNCTIONS, ids=lambda function: function.name)
def test_dtype_of_operand(function, kind):
    x = np.ones((2, 2), "f4")
    bad = UNSUPPORTED[kind].reshape(-1)[:2]
    call = [*arguments(function, x)[:-1], bad]
    words = (f"{function.operand_names[0]}: ", str(bad.dtype), "accepted: ")
    refuses(TypeError, function, *words, call=lambda: function(*call), arrays=[x, bad])


@pytest.mark.parametrize("value", [1j, "text", b"bytes", None, object()], ids=lambda value: type(value).__name__)
def test_scalar_of_no_use(function, value):
    call = arguments(function, np.ones(1))
    call[len(function.array_names) - 1] = value
    name = function.array_names[-1]
    refuses(TypeError, function, f"{name}: ", "accepted: ", call=lambda: function(*call), arrays=[])


# --- out --------------------------------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_shape_of_out(function, make, dtype):
    x = make((3, 4), dtype)
    call = arguments(function, x)
    for shape in [(4, 3), (3,), (4,), (3, 5), (1, 4), (1, 3, 4), (12,), (0,), ()]:
        out = np.ones(shape, dtype)
        words = ("out: got ", str(shape), "accepted: (3, 4)")
        refuses(ValueError, function, *words, call=lambda out=out: function(*call, out=out), arrays=[x, out])


def test_out_is_not_broadcast(backward_function):
    """The result's shape is that of grad and x together, not of one of them."""
    grad, x, out = np.ones((3, 1)), np.ones((1, 4)), np.ones((3, 1))
    call = arguments(backward_function, x, grad)
    words = ("out: ", "(3, 1)", "accepted: (3, 4)")
    arrays = [grad, x, out]
    refuses(ValueError, backward_function, *words, call=lambda: backward_function(*call, out=out), arrays=arrays)


@EVERY_WAY
def test_grad_and_x_do_not_fit(backward_function, make):
    for shape in ((3, 5), (2, 4), (4, 3), (3,)):
        grad, x, out = make(shape, "f4"), make((3, 4), "f4"), make((3, 4), "f4")
        call = arguments(backward_function, x, grad)
        for keywords in ({}, {"out": out}):
            with pytest.raises(ValueError) as caught:
                backward_function(*call, **keywords)
            message = str(caught.value).replace(" ", "")
            assert str(shape).replace(" ", "") in message
            assert "(3,4)" in message
        assert (base_of(out) == 1).all()


@EVERY_WAY
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_read_only_out(function, make, dtype):
    x, out = make((3, 4), dtype), make((3, 4), dtype)
    out.flags.writeable = False
    call = arguments(function, x)
    words = ("out: ", "read-only", "accepted: ")
    refuses(ValueError, function, *words, call=lambda: function(*call, out=out), arrays=[x, out])
    # in place on a read-only input
    x.flags.writeable = False
    refuses(ValueError, function, *words, call=lambda: function(*call, out=x), arrays=[x])
    frozen = np.frombuffer(b"\0" * 48, "f4").reshape(3, 4)
    call = arguments(function, frozen)
    refuses(ValueError, function, *words, call=lambda: function(*call, out=frozen), arrays=[frozen])


@EVERY_WAY
def test_dtype_of_out(function, make):
    x = make((3, 4), "f4")
    call = arguments(function, x)
    for kind in ("int32", "int64", "uint8", "bool", "datetime64[D]"):
        out = np.ones((3, 4), "i8").astype(kind)
        words = ("out: ", str(out.dtype), "float32", "accepted: ")
        refuses(TypeError, function, *words, call=lambda out=out: function(*call, out=out), arrays=[x, out])


def test_integers_in_place(function):
    """Out of place they are computed as np.tanh does; in place there is nothing to hold the result."""
    x = np.arange(12, dtype="i4").reshape(3, 4)
    call = arguments(function, x, np.ones((3, 4)))
    words = ("out: ", "int32", "accepted: ")
    refuses(TypeError, function, *words, call=lambda: function(*call, out=x), arrays=[x])


@pytest.mark.parametrize("casting", ["no", "equiv", "safe"])
def test_casting(function, casting):
    x, out = np.ones(5, "f8"), np.ones(5, "f4")
    call = arguments(function, x)
    words = ("out: ", "float32", "float64", casting)
    refuses(TypeError, function, *words, call=lambda: function(*call, out=out, casting=casting), arrays=[x, out])


@EVERY_WAY
def test_type_of_out(function, make):
    x = make((3, 4), "f4")
    call = arguments(function, x)
    for out in (1.0, [1.0], "text", b"bytes", {}, memoryview(bytes(48))):
        words = ("out: ", type(out).__name__, "accepted: ")
        refuses(TypeError, function, *words, call=lambda out=out: function(*call, out=out), arrays=[x])


@EVERY_WAY
def test_number_of_outs(function, make):
    x, outs = make((3, 4), "f4"), tuple(make((3, 4), "f4") for _ in range(4))
    call = arguments(function, x)
    for given in ((), outs):
        words = ("out: ", str(len(given)), "accepted: ")
        refuses(ValueError, function, *words, call=lambda g=given: function(*call, out=g), arrays=[x, *outs])


def overlapping_outs(dtype):
    """Arrays whose elements share memory, all of shape (3, 4)."""
    size = np.dtype(dtype).itemsize
    memory = np.ones(64, dtype)
    for name, start, strides in [
        ("rows", 0, (0, size)),
        ("columns", 0, (4 * size, 0)),
        ("all", 0, (0, 0)),
        ("window", 0, (size, size)),
        ("interleaved", 0, (3 * size, 2 * size)),
        ("reversed", 32, (-size, size)),
        ("halves", 0, (4 * size, size // 2)),
    ]:
        yield name, np.lib.stride_tricks.as_strided(memory[start:], (3, 4), strides)


@EVERY_WAY
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_out_overlapping_itself(function, make, dtype):
    x = make((3, 4), dtype)
    call = arguments(function, x)
    for name, out in overlapping_outs(dtype):
        words = ("out: ", "share memory", "accepted: ")
        refuses(ValueError, function, *words, call=lambda o=out: function(*call, out=o), arrays=[x, out], case=name)
    # interleaved, but each element in a place of its own
    out = np.lib.stride_tricks.as_strided(np.ones(64, dtype), (3, 4), np.array([5, 2]) * x.itemsize)
    result = function(*call, out=out)
    assert (result[0] if isinstance(result, tuple) else result) is out


# --- parameters -------------------------------------------------------------------------------------------------------

NOT_NUMBERS = ["1.0", b"1", None, 1j, [1.0, 2.0], np.ones(3), object()]
NOT_FINITE = [np.nan, np.inf, -np.inf, np.float32("nan"), np.array(np.inf), 10**400]


@EVERY_WAY
@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("function", SCALAR_FUNCTIONS, ids=lambda function: function.name)
def test_parameters(function, make, dtype):
    for position, name in enumerate(function.scalar_names):
        accepts = numbers_accepted(function, position)
        negative = [-1e-300, -0.5, -3] if accepts in (POSITIVE, NON_NEGATIVE) else []
        zero = [0, 0.0, -0.0] if accepts == POSITIVE else []
        x, out = make((3, 4), dtype), make((3, 4), dtype)
        arrays = [*([x] if function.direction != "forward" else []), x]
        for bad in [*NOT_NUMBERS, *NOT_FINITE, *negative, *zero]:
            error = TypeError if any(bad is value for value in NOT_NUMBERS) else ValueError
            words = (f"{name}: got ", repr(bad), f"accepted: {accepts}")
            before = [1.0] * position
            for out_keyword in ({}, {"out": out}, {"out": x}):
                by_position = functools.partial(function, *arrays, *before, bad, **out_keyword)
                refuses(error, function, *words, call=by_position, arrays=[x, out], case=repr(bad))
                by_name = functools.partial(function, *arrays, **{name: bad}, **out_keyword)
                refuses(error, function, *words, call=by_name, arrays=[x, out], case=repr(bad))


@pytest.mark.parametrize("dtype", ["float32", *HALF_DTYPES])
@EVERY_WAY
@pytest.mark.parametrize("function", SCALAR_FUNCTIONS, ids=lambda function: function.name)
def test_parameters_in_the_precision_that_computes(function, make, dtype):
    """A number that float32 rounds to infinity, or to 0 where it must be positive, is not accepted there either."""
    x = make((3, 4), dtype)
    first = [*([x] if function.direction != "forward" else []), x]
    for position, name in enumerate(function.scalar_names):
        accepts = numbers_accepted(function, position)
        for bad in [1e39, *([1e-50] if accepts == POSITIVE else [])]:
            words = (f"{name}: got ", repr(bad), "accepted: ")
            refuses(ValueError, function, *words, call=lambda b=bad, n=name: function(*first, **{n: b}), arrays=[x])


def test_unknown_argument(function):
    x = np.ones((3, 4), "f4")
    call = arguments(function, x)
    for name in ("inplace", "outt", "slope", "approximate", ""):
        words = (repr(name), "accepted: ", "out")
        refuses(TypeError, function, *words, call=lambda n=name: function(*call, **{n: 1}), arrays=[x])


def test_too_many_arguments(function):
    x = np.ones((3, 4), "f4")
    # beside an operand, axis is the last one
    call = [*arguments(function, x), *([1] if function.operand_names else []), 1.0]
    refuses(TypeError, function, str(len(call)), "accepted: ", call=lambda: function(*call), arrays=[x])


def test_missing_arguments(function):
    x = np.ones((3, 4), "f4")
    required = [*function.array_names, *function.operand_names]
    for count in range(len(required)):
        words = (*required[count:], "missing")
        refuses(TypeError, function, *words, call=lambda c=count: function(*[x] * c), arrays=[x])
        refuses(TypeError, function, *words, call=lambda c=count: function(*[x] * c, out=x), arrays=[x])


def test_argument_given_twice(function):
    x = np.ones((3, 4), "f4")
    call = arguments(function, x)
    for name in function.array_names:
        refuses(TypeError, function, f"{name}: ", "two", call=lambda n=name: function(*call, **{n: x}), arrays=[x])


def test_arrays_by_name(function):
    """The names in the messages are names that can be used."""
    x = np.linspace(-2, 2, 5)
    names = [*function.array_names, *(p.name for p in function.row.parameters)]
    by_name = function(**dict(zip(names, arguments(function, x), strict=True)))
    by_position = function(*arguments(function, x))
    np.testing.assert_array_equal(np.asarray(by_name[0]), np.asarray(by_position[0]))


UFUNC_KEYWORDS = [
    {"where": np.ones((3, 5), bool)},
    {"where": np.ones((3, 4))},
    {"casting": "bold"},
    {"order": "Z"},
    {"dtype": "no such"},
    {"dtype": "c16"},
    {"dtype": "i4"},
    {"signature": "ff"},
]


@pytest.mark.parametrize("keywords", UFUNC_KEYWORDS, ids=str)
def test_ufunc_keywords(function, keywords):
    """NumPy's own errors; nothing is written before them."""
    x, out = np.ones((3, 4), "f4"), np.full((3, 4), 7, "f4")
    for target in (out, x):
        with pytest.raises((TypeError, ValueError)):
            function(*arguments(function, x), out=target, **keywords)
    assert (out == 7).all()
    assert (x == 1).all()


# --- weights ----------------------------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("function", OPERAND_FUNCTIONS, ids=lambda function: function.name)
def test_length_of_operand(function, make):
    name = function.operand_names[0]
    x, out = make((3, 4, 5), "f4"), make((3, 4, 5), "f4")
    call = arguments(function, x)[:-1]
    for axis, channels in ((0, 3), (1, 4), (2, 5), (-1, 5), (-3, 3)):
        for shape in ((channels + 1,), (channels - 1,), (2 * channels,), (0,), (1, channels), (channels, 1), (3, 4, 5)):
            weight = np.ones(shape, "f4")
            words = (f"{name}: ", str(shape), "accepted: a scalar", f"({channels},)", "axis")
            for outs in ({}, {"out": out}, {"out": x}):
                refuses(
                    ValueError,
                    function,
                    *words,
                    call=lambda w=weight, a=axis, o=outs: function(*call, w, axis=a, **o),
                    arrays=[x, out, weight],
                )


@EVERY_WAY
@pytest.mark.parametrize("function", OPERAND_FUNCTIONS, ids=lambda function: function.name)
def test_axis(function, make):
    x, weight = make((3, 4), "f4"), np.ones(4, "f4")
    call = [*arguments(function, x)[:-1], weight]
    for axis in (2, -3, 100, -100):
        words = ("axis: ", str(axis), "accepted: ")
        refuses(ValueError, function, *words, call=lambda a=axis: function(*call, axis=a), arrays=[x, weight])
    for axis in (1.0, "1", None, True, (1,)):
        words = ("axis: ", repr(axis), "accepted: ")
        refuses(TypeError, function, *words, call=lambda a=axis: function(*call, axis=a), arrays=[x, weight])
    flat = [*arguments(function, x[0])[:-1], weight]
    for axis in (2, -2):
        words = ("axis: ", str(axis), "accepted: ")
        refuses(ValueError, function, *words, call=lambda a=axis: function(*flat, axis=a), arrays=[x, weight])


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if not f.operand_names], ids=lambda function: function.name)
def test_axis_where_there_is_none(function):
    x = np.ones((3, 4), "f4")
    call = arguments(function, x)
    refuses(TypeError, function, "'axis'", "accepted: ", call=lambda: function(*call, axis=0), arrays=[x])


@pytest.mark.parametrize("function", [f for f in OPERAND_FUNCTIONS if f.direction == "backward"], ids=lambda f: f.name)
def test_outputs_for_operand_gradients(function):
    """Each of the outputs is checked before any of them is written."""
    x, weight = np.ones((3, 4), "f4"), np.ones(4, "f4")
    call = [*arguments(function, x)[:-1], weight]
    good = np.full((3, 4), 7, "f4")
    frozen = np.full(4, 7, "f4")
    frozen.flags.writeable = False
    bad_outputs = [
        (np.full(3, 7, "f4"), ValueError, ("out[1]: ", "(3,)", "accepted: (4,)")),
        (np.full((1, 4), 7, "f4"), ValueError, ("out[1]: ", "(1, 4)", "accepted: (4,)")),
        (np.full(4, 7, "i4"), TypeError, ("out[1]: ", "int32", "accepted: ")),
        (frozen, ValueError, ("out[1]: ", "read-only", "accepted: ")),
        (np.broadcast_to(np.float32(7), 4), ValueError, ("out[1]: ", "read-only", "accepted: ")),
        (np.lib.stride_tricks.as_strided(np.full(4, 7, "f4"), (4,), (0,)), ValueError, ("out[1]: ", "share memory")),
    ]
    for bad, error, words in bad_outputs:
        refuses(
            error, function, *words, call=lambda b=bad: function(*call, out=(good, b)), arrays=[x, weight, good, bad]
        )
    with pytest.raises(TypeError, match="out"):
        function(*call, out=(good, 3.0))
    assert (good == 7).all()
