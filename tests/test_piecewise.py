"""Functions that are looked up (src_cy/piecewise.h, src_cy/fetched.h): their intervals, their ends, what is outside.

The truth is ``reference.py`` for float32 and MPFR for float64; over all numbers, which takes minutes, it is the float64
kernel of the formula.  That results do not depend on an element's place is in
``test_bits.py`` as well; here places are mixed so that some numbers of a chunk are outside and others not.
"""

import importlib
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cases import HALF_DTYPES, assert_same_bits
from disassembly import LOOPS
from kernel_calls import call_address

import fastact
from fastact import reference
from fastact._kernels import base
from fastact.backends import cython_kernels
from fastact.catalogue import DIRECTIONS
from fastact.lowering import HALVES
from fastact.verification.definitions import KINDS
from fastact.verification.multiprecision import ulp_error
from fastact.verification.true_values import Subject, true_values

ROOT = Path(__file__).resolve().parent.parent
#: The beginning of the headers' names, by instruction set.
WAYS = {"avx512": "piecewise", "avx2": "fetched"}
LEVELS = [level for level in WAYS if level in base.runnable()]
EVERY_LOOP = pytest.mark.parametrize(
    ("level", "loop"),
    [(level, loop) for level in LEVELS for loop in LOOPS if "float32" in loop.looked_up(level)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
KERNELS = [
    (level, loop, dtype)
    for level in LEVELS
    for loop in LOOPS
    for dtype in ("float32", "float64")
    if dtype in loop.looked_up(level)
]
EVERY_KERNEL = pytest.mark.parametrize(
    ("level", "loop", "dtype"), KERNELS, ids=lambda value: value if isinstance(value, str) else value.name
)
EVERY_VALUE = pytest.mark.parametrize(
    ("level", "loop", "dtype"),
    [kernel for kernel in KERNELS if not kernel[1].chained],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
EVERY_HALF = pytest.mark.parametrize(
    ("loop", "dtype"),
    [(loop, dtype) for loop in LOOPS for dtype in HALF_DTYPES if dtype in loop.looked_up(LEVELS[0] if LEVELS else "")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
pytestmark = pytest.mark.skipif(not (ROOT / "src_cy").exists(), reason="needs the sources")
#: Numbers of a chunk (FASTACT_PIECEWISE_CHUNK), several times what is set aside before it is put into place.
CHUNK = 8192


def header(level):
    return (ROOT / "src_cy" / f"{WAYS[level]}_tables.h").read_text(encoding="utf-8")


def results(level, loop, x, dtype="float32", grad=None, in_place=False, kernels=cython_kernels.kernels_of):
    """What a kernel gives, with a gradient of ones."""
    address = kernels(level)[loop.name, dtype]
    grads = [np.ones_like(x) if grad is None else grad] if loop.chained else []
    return call_address(address, dtype, [*grads, x], 1, [1.0] * len(loop.scalars), in_place=in_place)[0]


def made_for(loop, x):
    """Numbers that a loop is made for: the outputs of what is looked up so are not negative."""
    return np.abs(x) if loop.name.endswith("_from_output") else x


def errors(loop, x, got):
    """Distances from the truth in units in the last place."""
    name, direction = re.fullmatch(r"(\w+?)_((?:forward|backward)\w*)", loop.name).groups()
    kind, params = dict(zip(DIRECTIONS, KINDS, strict=True))[direction], (1.0,) * len(loop.scalars)
    if x.dtype == np.float64:
        return ulp_error(got, true_values(Subject(name, kind, params), x))
    with np.errstate(all="ignore"):
        function = getattr(reference, name if kind == "forward" else f"{name}_{kind}")
        return distances(got, function(x.astype(np.float64), *params))


def distances(got, expected):
    """Of float32 numbers from float64 ones."""
    unit = np.ldexp(1.0, np.maximum(np.frexp(expected)[1] - 24, -149))
    return np.abs(got.astype(np.float64) - expected) / unit


def formula_results(level, loop, x, dtype):
    return results(level, loop, x, dtype, kernels=cython_kernels.formulas_of)


def table_of(level, loop, dtype):
    """The scalars of a loop's table, read from the header."""
    text = header(level)
    name = re.search(rf"FASTACT_{WAYS[level].upper()}_\w+_{dtype.upper()}\({loop.name}, (\w+),", text).group(1)
    body = text[re.search(rf"fastact_{name}_(pieces|fetched)_{dtype} = ", text).start() :]
    body = body[: body.index("};")]
    return {key: float(value) for key, value in re.findall(r"\.(\w+) = ([-\d.e+]+)f?,", body)}


def interval_ends(level, loop, dtype):
    """Numbers on both sides of every end of an interval, of the table's ends, and of what else is cut there."""
    table = table_of(level, loop, dtype)
    linear, quadratic = table["linear"], table.get("quadratic", 0.0)
    reached = max(table["last"], -table.get("first", 0.0))
    index = np.arange(0.5, reached * (linear + reached * quadratic))
    ends = index / linear if quadratic == 0 else (np.sqrt(linear**2 + 4 * quadratic * index) - linear) / 2 / quadratic
    places = [*ends, table["last"], reached, table.get("least", 1.0), abs(table.get("zero", 1.0))]
    # MPFR takes its time
    reach, integer = (200, np.int32) if dtype == "float32" else (20 if len(index) < 20 else 2, np.int64)
    around = np.array(places, dtype)[:, None].view(integer) + np.arange(-reach, reach)
    around = around.astype(integer).ravel().view(dtype)
    return np.concatenate([around, -around])


def padded(x):
    return np.concatenate([x, np.ones(-x.size % 16, x.dtype)])


@EVERY_KERNEL
def test_beside_every_end_of_an_interval(level, loop, dtype):
    x = padded(made_for(loop, interval_ends(level, loop, dtype)))
    assert errors(loop, x, results(level, loop, x, dtype)).max() <= 1


@EVERY_VALUE
def test_greater_than_all_intervals(level, loop, dtype):
    """Where a function is its limit, x or 1, it is that exactly: the last row serves them all."""
    x = padded(np.array(table_of(level, loop, dtype)["last"] * 1.25 ** np.arange(96), dtype))
    assert errors(loop, x, results(level, loop, x, dtype)).max() <= 0.51


@EVERY_KERNEL
@pytest.mark.parametrize("seed", range(3))
def test_anywhere(level, loop, dtype, seed):
    random = np.random.default_rng(seed)
    count = 1 << 18 if dtype == "float32" else 1 << 12
    x = made_for(loop, (random.normal(0, 1, count) * 2.0 ** random.integers(-20, 7, count)).astype(dtype))
    got = results(level, loop, x, dtype)
    assert errors(loop, x, got).max() <= 1
    # and beside the kernel of the formula
    np.testing.assert_array_max_ulp(got, formula_results(level, loop, x, dtype), 1)


@EVERY_KERNEL
@pytest.mark.parametrize("count", [16, 32, 48, CHUNK, CHUNK + 16, 3 * CHUNK + 32])
def test_numbers_outside_keep_their_places(level, loop, dtype, count):
    """Whatever stands beside it, in place or not: a number gives what it gives alone."""
    random = np.random.default_rng(count)
    ends = np.array([-40, -20, 13, 50, -np.inf, np.inf, 1e-30, np.nan], dtype)
    # sixty each of those that may be outside and of those that are not
    numbers = np.concatenate([random.normal(0, 2, 60), random.choice(ends, 60)]).astype(dtype)
    grads = random.normal(0, 1, 120).astype(dtype)
    alone = np.concatenate(
        [results(level, loop, np.full(16, x), dtype, np.full(16, g))[:1] for x, g in zip(numbers, grads, strict=True)]
    )
    for share, in_place in itertools.product((0.0, 0.01, 0.5, 1.0), (False, True)):
        which = random.integers(60, size=count) + 60 * (random.random(count) < share)
        got = results(level, loop, numbers[which], dtype, grads[which], in_place)
        assert_same_bits(got, alone[which], (share, in_place))


@EVERY_HALF
@pytest.mark.parametrize("count", [16, 48, CHUNK, 2 * CHUNK + 48])
def test_numbers_of_16_bits_outside_keep_their_places(loop, dtype, count):
    """All numbers of 16 bits are in ``test_accuracy.py``; here some of a chunk are outside, in place or not."""
    name, direction = loop.name.split("_forward")[0], loop.name.rsplit("_", 1)[1]
    function = getattr(fastact, name if direction == "forward" else loop.name)
    random = np.random.default_rng(count)
    numbers = random.normal(0, 6, 200).astype(dtype)
    numbers[random.random(200) < 0.1] = np.nan
    given = [random.normal(0, 1, 200).astype(dtype), numbers] if loop.chained else [numbers]
    which = random.integers(200, size=count)
    with fastact.use_backend("cython"):
        alone = np.array([function(*(array[k : k + 1] for array in given))[0] for k in range(200)], dtype)[which]
        arrays = [array[which] for array in given]
        assert_same_bits(function(*arrays), alone)
        assert_same_bits(function(*arrays, out=arrays[-1]), alone)


@pytest.mark.parametrize("level", base.runnable())
def test_what_is_looked_up_is_known(level):
    module = importlib.import_module(f"fastact._kernels.{level}")
    assert module.looked_up() == {(loop.name, dtype) for loop in LOOPS for dtype in loop.looked_up(level)}
    assert set(module.formulas()) == module.looked_up()


@pytest.mark.parametrize("level", WAYS)
def test_every_loop_has_a_table(level):
    found = re.findall(rf"FASTACT_{WAYS[level].upper()}_[A-Z]+_([A-Z0-9]+)\((\w+),", header(level))
    for end, dtypes in (("FLOAT32", {"float32"}), ("FLOAT64", {"float64"}), ("NARROW", set(HALVES))):
        expected = [loop.name for loop in LOOPS if dtypes <= set(loop.looked_up(level))]
        assert sorted(name for precision, name in found if precision == end) == sorted(expected)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS.values())
def test_tables_are_up_to_date(monkeypatch, way):
    if way == "piecewise" and "avx512" not in base.runnable():
        pytest.skip("LAPACK fits small coefficients by other instructions here: 139 lines differ")
    monkeypatch.syspath_prepend(ROOT / "tools")  # they import their neighbours
    tool = importlib.import_module(f"{way}_tables")
    assert tool.TARGET.read_text(encoding="utf-8") == tool.text()


@pytest.mark.long
@EVERY_LOOP
def test_all_numbers(level, loop):
    """Within 1 ULP everywhere; a minute for each function."""

    def worst(start):
        x = made_for(loop, np.arange(start, start + (1 << 24), dtype=np.uint32).view(np.float32))
        missing = np.isnan(x)
        with np.errstate(invalid="ignore"):  # which a signalling NaN is
            wide = x.astype(np.float64)
        got, expected = results(level, loop, x), formula_results(level, loop, wide, "float64")
        assert np.array_equal(np.isnan(got), missing)
        infinite = np.isinf(expected) | missing
        assert np.array_equal(got[infinite & ~missing], expected[infinite & ~missing])
        return distances(got[~infinite], expected[~infinite]).max(initial=0)

    with ThreadPoolExecutor(2) as pool:
        assert max(pool.map(worst, range(0, 1 << 32, 1 << 24))) <= 1
