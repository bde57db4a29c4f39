"""Functions that are looked up where AVX-512 is (src_cy/piecewise.h): their intervals, their ends, what is outside.

The truth is ``reference.py``; over all numbers, which takes minutes, it is the float64 kernel, which computes formulas
and looks up nothing.  That results do not depend on an element's place is in ``test_bits.py`` as well; here places are
mixed so that some numbers of a chunk are outside and others not.
"""

import importlib
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

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "src_cy" / "piecewise_tables.h"
LOOKED_UP = [loop for loop in LOOPS if loop.piecewise]
EVERY_LOOP = pytest.mark.parametrize("loop", LOOKED_UP, ids=lambda loop: loop.name)
pytestmark = [
    pytest.mark.skipif("avx512" not in base.runnable(), reason="this machine does not run AVX-512"),
    pytest.mark.skipif(not HEADER.exists(), reason="needs the sources"),
]
#: Numbers of a chunk (FASTACT_PIECEWISE_CHUNK).
CHUNK = 1024


def results(loop, x, dtype="float32", grad=None, in_place=False):
    """What the AVX-512 kernel gives, with a gradient of ones."""
    address = cython_kernels.kernels_of("avx512")[loop.name, dtype]
    grads = [np.ones_like(x) if grad is None else grad] if loop.chained else []
    return call_address(address, dtype, [*grads, x], 1, [], in_place=in_place)[0]


def truth(loop, x):
    name = loop.name.replace("_forward", "").replace("_backward", "_gradient")
    with np.errstate(all="ignore"):
        return getattr(reference, name)(x.astype(np.float64))


def errors(got, expected):
    """Distances from float64 numbers in units in the last place of float32."""
    unit = np.ldexp(1.0, np.maximum(np.frexp(expected)[1] - 24, -149))
    return np.abs(got.astype(np.float64) - expected) / unit


def table_of(loop):
    """The scalars and the first row of a loop's table, read from the header."""
    text = HEADER.read_text(encoding="utf-8")
    name = re.search(rf"FASTACT_PIECEWISE_\w+\({loop.name}, (\w+),", text).group(1)
    body = text[text.index(f"fastact_{name}_pieces = ") :]
    body = body[: body.index("};")]
    return {key: float(value) for key, value in re.findall(r"\.(\w+) = ([-\d.e+]+)f?,", body)}


def interval_ends(loop):
    """Numbers on both sides of every end of an interval, of the table's ends, and of what else is cut there."""
    table = table_of(loop)
    linear, quadratic = table["linear"], table["quadratic"]
    index = np.arange(0.5, 32)
    ends = index / linear if quadratic == 0 else (np.sqrt(linear**2 + 4 * quadratic * index) - linear) / 2 / quadratic
    places = [*ends, table["last"], table.get("least", 1.0), abs(table.get("zero", 1.0))]
    around = np.array(places, np.float32)[:, None].view(np.int32) + np.arange(-200, 200)
    around = around.astype(np.int32).ravel().view(np.float32)
    return np.concatenate([around, -around])


def padded(x):
    return np.concatenate([x, np.ones(-x.size % 16, np.float32)])


@EVERY_LOOP
def test_beside_every_end_of_an_interval(loop):
    x = padded(interval_ends(loop))
    assert errors(results(loop, x), truth(loop, x)).max() <= 1


@EVERY_LOOP
@pytest.mark.parametrize("seed", range(3))
def test_anywhere(loop, seed):
    random = np.random.default_rng(seed)
    x = (random.normal(0, 1, 1 << 18) * 2.0 ** random.integers(-20, 7, 1 << 18)).astype(np.float32)
    got, expected = results(loop, x), truth(loop, x)
    assert errors(got, expected).max() <= 1
    # and beside a kernel that has nothing but the formula
    formula = call_address(
        cython_kernels.kernels_of("avx2")[loop.name, "float32"],
        "float32",
        [np.ones_like(x), x][not loop.chained :],
        1,
        [],
    )[0]
    np.testing.assert_array_max_ulp(got, formula, 1)


@EVERY_LOOP
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("count", [16, 32, 48, CHUNK, CHUNK + 16, 3 * CHUNK + 32])
def test_numbers_outside_keep_their_places(loop, count, share):
    """Whatever stands beside it, in place or not: a number gives what it gives alone."""
    random = np.random.default_rng(count)
    x = random.normal(0, 2, count).astype(np.float32)
    outside = random.random(count) < share
    x[outside] = random.choice(np.array([-40, -20, 13, 50, -np.inf, np.inf, 1e-30, np.nan], np.float32), outside.sum())
    grad = random.normal(0, 1, count).astype(np.float32)
    alone = np.concatenate([results(loop, np.full(16, x[k]), grad=np.full(16, grad[k]))[:1] for k in range(count)])
    for in_place in (False, True):
        assert_same_bits(results(loop, x, grad=grad, in_place=in_place), alone)


@EVERY_LOOP
@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("count", [16, 48, CHUNK, 2 * CHUNK + 48])
def test_numbers_of_16_bits_outside_keep_their_places(loop, dtype, count):
    """All numbers of 16 bits are in ``test_accuracy.py``; here some of a chunk are outside, in place or not."""
    name, direction = loop.name.split("_forward")[0], loop.name.rsplit("_", 1)[1]
    function = getattr(fastact, name if direction == "forward" else loop.name)
    random = np.random.default_rng(count)
    x = random.normal(0, 6, count).astype(dtype)
    x[random.random(count) < 0.1] = np.nan
    grads = [random.normal(0, 1, count).astype(dtype)] if loop.chained else []
    with fastact.use_backend("cython"):
        alone = np.array([function(*(grad[k : k + 1] for grad in grads), x[k : k + 1])[0] for k in range(count)], dtype)
        assert_same_bits(function(*grads, x), alone)
        assert_same_bits(function(*grads, x, out=x), alone)


def test_what_is_looked_up_is_known():
    expected = {(loop.name, dtype) for loop in LOOKED_UP for dtype in ("float32", "float16", "bfloat16")}
    assert importlib.import_module("fastact._kernels.avx512").looked_up() == expected
    assert base.looked_up() == frozenset()


def test_every_loop_has_a_table():
    loops = re.findall(r"FASTACT_PIECEWISE_\w+\((\w+),", HEADER.read_text(encoding="utf-8"))
    assert sorted(loops) == sorted(loop.name for loop in LOOKED_UP)


@pytest.mark.long
def test_tables_are_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")  # it imports its neighbour
    tool = importlib.import_module("piecewise_tables")
    assert HEADER.read_text(encoding="utf-8") == tool.text()


@pytest.mark.long
@EVERY_LOOP
def test_all_numbers(loop):
    """Within 1 ULP everywhere; a minute for each function."""

    def worst(start):
        x = np.arange(start, start + (1 << 24), dtype=np.uint32).view(np.float32)
        missing = np.isnan(x)
        with np.errstate(invalid="ignore"):  # which a signalling NaN is
            wide = x.astype(np.float64)
        got, expected = results(loop, x), results(loop, wide, "float64")
        assert np.array_equal(np.isnan(got), missing)
        infinite = np.isinf(expected) | missing
        assert np.array_equal(got[infinite & ~missing], expected[infinite & ~missing])
        return errors(got[~infinite], expected[~infinite]).max(initial=0)

    with ThreadPoolExecutor(2) as pool:
        assert max(pool.map(worst, range(0, 1 << 32, 1 << 24))) <= 1
