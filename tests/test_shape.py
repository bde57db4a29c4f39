"""What a curve looks like, to the bit: it never falls where its row says so, is odd, and ends at its limits.

Numbers are taken in the order of their bit patterns, which is their own order: all of a format with 16 bits; of larger
ones a sweep over the whole line, and windows of consecutive numbers wherever a formula may switch or round another way.
The truths are mathematics and the rows' limits; the reference only tells where to look closely.
"""

import functools

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, bits, call, first, limit, parameter_sets, thinned, truth
from extremes import patterns, smallest_normal

EVERY_DTYPE = pytest.mark.parametrize("dtype", ALL_DTYPES)
MONOTONE = [function for function in FUNCTIONS if function.row.monotone and function.direction == "forward"]
ODD = [function for function in FUNCTIONS if function.row.odd]
#: float32 numbers are swept in steps of this many bit patterns: a prime, so that no exponent is favoured.
STEP = 2039
#: How many numbers on either side of a place are looked at: of one that matters to the row, and of a power of two.
AROUND_A_PLACE, AROUND_A_POWER = 20_000, 100


# --- where to look ----------------------------------------------------------------------------------------------------


def at(dtype, ranks):
    """Numbers by their rank: 0 is 0.0, 1 the smallest subnormal; -1 is -0.0, -2 the negative smallest subnormal."""
    word, _, sign = patterns(dtype)
    ranks = np.asarray(ranks, np.int64)
    magnitudes, signs = np.where(ranks >= 0, ranks, ~ranks), np.where(ranks >= 0, 0, sign)
    return (magnitudes.astype(word) | signs.astype(word)).view(dtype)


def rank(number):
    """The rank of a number, the reverse of ``at``."""
    word, _, sign = patterns(number.dtype)
    pattern = int(number.view(word))
    return pattern if pattern < sign else ~(pattern - sign)


def kind_of_result(function, x):
    """Whether results are zero, subnormal, normal, or rounded to their limit: formulas end and switch in between."""
    with np.errstate(all="ignore"):
        result = truth(function, x).astype(x.dtype)
    ends = [limit(text, function.row, parameter_sets(function.row)[0]) for text in function.row.limits]
    kinds = np.where(result == 0, 0, np.where(np.abs(result) < smallest_normal(x.dtype), 1, 2))
    return np.where(result == ends[0], 3, np.where(result == ends[1], 4, kinds))


def changes_of_kind(function, dtype):
    """Ranks of the numbers behind which results become subnormal, zero, or as good as their limit."""
    infinity = patterns(dtype)[1]
    coarse = np.linspace(~infinity, infinity, 4096).astype(np.int64).clip(~infinity, infinity)
    kinds = kind_of_result(function, at(dtype, coarse))
    for k in np.flatnonzero(kinds[1:] != kinds[:-1]):
        low, high = int(coarse[k]), int(coarse[k + 1])
        while high - low > 1:
            middle = (low + high) // 2
            if kind_of_result(function, at(dtype, [middle]))[0] == kinds[k]:
                low = middle
            else:
                high = middle
        yield low


@functools.cache
def ranks_to_look_at(function, dtype):
    """Ranks from minus to plus infinity in ascending order, some of them twice."""
    infinity = patterns(dtype)[1]
    if np.dtype(dtype).itemsize == 2:
        return np.arange(~infinity, infinity + 1)
    step = STEP if dtype == "float32" else infinity // 500_000
    sweep = np.arange(~infinity, infinity, step)
    powers = np.arange(0, infinity, infinity & -infinity)
    powers = np.concatenate([powers, ~powers])
    places = [rank(np.array(sign * place, dtype)) for place in function.row.interesting for sign in (1, -1)]
    places += [0, *changes_of_kind(function, dtype)]
    around = np.arange(-AROUND_A_PLACE, AROUND_A_PLACE)
    windows = [np.add.outer(places, around), np.add.outer(powers, np.arange(-AROUND_A_POWER, AROUND_A_POWER))]
    everything = np.concatenate([sweep, [infinity], *(window.ravel() for window in windows)])
    return np.sort(everything.clip(~infinity, infinity))


# --- never falling ----------------------------------------------------------------------------------------------------


def assert_never_falls(function, x):
    """x ascends; neither do the values fall, nor do they leave the range between the limits."""
    y = function(x, *parameter_sets(function.row)[0])
    falls = ~(y[1:] >= y[:-1])
    if falls.any():
        k = int(falls.argmax())
        pytest.fail(f"{falls.sum()} times, first from {y[k]!r} to {y[k + 1]!r}, from x = {x[k]!r} to {x[k + 1]!r}")
    low, high = (limit(text, function.row, parameter_sets(function.row)[0]) for text in function.row.limits)
    assert (y >= low).all() and (y <= high).all()


# not float64: there softplus falls by a unit in the last place here and there, as libraries' exponentials do
@pytest.mark.parametrize("dtype", [dtype for dtype in ALL_DTYPES if dtype != "float64"])
@pytest.mark.parametrize("function", MONOTONE, ids=lambda function: function.name)
def test_never_falls(function, backend, dtype):
    assert_never_falls(function, at(dtype, ranks_to_look_at(function, dtype)))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("function", MONOTONE, ids=lambda function: function.name)
def test_never_falls_on_any_float32(function, backend):
    if backend == "numpy":
        pytest.skip("minutes for each function")
    infinity = patterns("float32")[1]
    for start in range(~infinity, infinity, 1 << 24):
        # one number more, so that pieces overlap
        assert_never_falls(function, at("float32", np.arange(start, min(start + (1 << 24) + 1, infinity + 1))))


# --- symmetry ---------------------------------------------------------------------------------------------------------


@EVERY_DTYPE
@pytest.mark.parametrize("function", ODD, ids=lambda function: function.name)
def test_odd_to_the_bit(function, backend, dtype):
    """f(-x) is -f(x), and then the derivative is even, whichever of both it is computed from."""
    ranks = ranks_to_look_at(function, dtype)
    x = at(dtype, ranks[ranks >= 0])
    if function.direction == "backward_from_output":
        x = x[x <= limit(function.row.output_range[1], function.row, ())]
    mirrored = first(call(function, -x))
    # minus by the sign's bit: 0.0 becomes -0.0
    expected = -first(call(function, x)) if function.direction == "forward" else first(call(function, x))
    differs = bits(mirrored) != bits(expected)
    assert not differs.any(), (x[differs][:3], mirrored[differs][:3], expected[differs][:3])


# --- the ends ---------------------------------------------------------------------------------------------------------


@EVERY_DTYPE
def test_limits(function, backend, dtype):
    """The values at both infinities and NaN, among numbers, at every offset up to 63 and every length up to 257.

    The zeros at which values end have a sign; that of a derivative's zero is left open.
    """
    if function.direction == "backward_from_output":
        return
    texts = function.row.limits if function.direction == "forward" else function.row.gradient_limits
    has_sign = function.direction == "forward" and not any("*" in text for text in texts)
    lengths = thinned(np.arange(1, 258), backend)
    # 7 in turn, so that each stands at every place of every vector
    which = np.arange(64 + 257) % 7
    for params in parameter_sets(function.row, function.direction):
        # parameters are taken in the precision that computes, and so are the limits
        rounded = [float(np.array(p, np.promote_types(dtype, "f4"))) for p in params]
        at_ends = np.array([*(limit(text, function.row, rounded) for text in texts), np.nan]).astype(dtype)
        numbers = np.array([1, -1, 0.5, -0.0], dtype)
        expected = np.concatenate([at_ends, first(call(function, numbers, params))])
        x = np.concatenate([np.array([-np.inf, np.inf, np.nan], dtype), numbers])[which]
        if not has_sign:
            expected = expected + 0
        expected = bits(expected)[which]
        for length in lengths.tolist():
            place = slice(length * 37 % 64, length * 37 % 64 + length)
            got = first(call(function, x[place], params))
            wrong = bits(got if has_sign else got + 0) != expected[place]
            assert not wrong.any(), (params, place, x[place][wrong][:3], got[wrong][:3])
