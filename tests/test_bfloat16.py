"""bfloat16, NumPy's only through ml_dtypes: conversions, promotion, and loops that are made when it first comes.

What it has in common with the other dtypes is tested with them, wherever a test takes ALL_DTYPES.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import half_precision
import numpy as np
import pytest
from cases import FUNCTIONS, LEVELS, assert_same_bits, call, first, inputs, limit, parameter_sets, truth
from environments import has_sources
from interpreters import run_python

import fastact

ml_dtypes = pytest.importorskip("ml_dtypes")
bfloat16 = ml_dtypes.bfloat16
TESTS = Path(__file__).resolve().parent


# --- conversions ------------------------------------------------------------------------------------------------------

EVERY_KIND = pytest.mark.parametrize("dtype", half_precision.FORMATS)
FLUSHING = pytest.mark.parametrize("flushing", [0, 1], ids=["default", "flushing"])
#: To nearest, down, up, toward zero.
ROUNDING = pytest.mark.parametrize("rounding", range(4), ids=["nearest", "down", "up", "zero"])
#: What each instruction set of the kernels is compiled with, as far as it matters here.
INSTRUCTIONS = {"base": [], "avx2": ["-mavx2", "-mf16c"], "avx512": ["-mavx512f", "-mavx512bw", "-mavx2", "-mf16c"]}


@pytest.fixture(scope="module", params=reversed(LEVELS))
def conversions(request, tmp_path_factory):
    """src_cy/halves.h as a library, compiled as the kernels of an instruction set are."""
    compiler = shutil.which("gcc")
    if compiler is None or not has_sources():
        pytest.skip("no gcc, or no sources")
    library = tmp_path_factory.mktemp("conversions") / "conversions.so"
    folders = ["-I", TESTS.parent / "src_cy", "-I", TESTS.parent / "fastact" / "include"]
    flags = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Werror"]
    flags += INSTRUCTIONS[request.param]
    command = [compiler, *flags, *folders, TESTS / "c" / "conversions.c", "-shared", "-fPIC", "-o", library]
    subprocess.run(command, check=True)
    compiled = ctypes.CDLL(str(library))
    compiled.level = request.param
    return compiled


def converted(function, source, target, flushing, rounding):
    """Fill in the target; the count must be a multiple of 16."""
    assert source.size == target.size
    assert source.size % 16 == 0
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in (source, target)]
    function(*addresses, ctypes.c_ssize_t(source.size), flushing, rounding)
    return target


@FLUSHING
@ROUNDING
@EVERY_KIND
def test_widening(conversions, dtype, flushing, rounding):
    """Exact, of every number; a NaN keeps its sign and payload."""
    numbers = half_precision.numbers(dtype)
    with np.errstate(invalid="ignore"):
        expected = numbers.astype(np.float32).view(np.uint32)
    widen = getattr(conversions, f"widen_{dtype}")
    got = converted(widen, numbers.view(np.uint16), np.empty(numbers.size, np.float32), flushing, rounding)
    got = got.view(np.uint32)
    is_nan = np.isin(numbers.view(np.uint16), half_precision.nans(dtype).view(np.uint16))
    assert (got[~is_nan] == expected[~is_nan]).all()
    # NumPy's own conversion makes some of them quiet, and so does F16C's
    assert ((got[is_nan] ^ expected[is_nan]) & ~np.uint32(0x400000) == 0).all()


def boundaries(dtype):
    """float32 numbers at, between and beside all numbers of the dtype and all ties; and NaN of every kind."""
    shift = np.uint32(24 - half_precision.FORMATS[dtype][0])
    with np.errstate(invalid="ignore"):
        numbers = half_precision.numbers(dtype).astype(np.float32).view(np.uint32)
    half = np.uint32(1) << (shift - np.uint32(1))
    offsets = [
        np.uint32(0),
        np.uint32(1),
        half - np.uint32(1),
        half,
        half + np.uint32(1),
        np.uint32(2) * half - np.uint32(1),
    ]
    around = np.concatenate([numbers + offset for offset in offsets])
    # in the subnormal numbers of float16, ties are elsewhere
    tiny = np.arange(-4097, 4098) * 2.0**-26
    tiny = np.concatenate(
        [tiny, np.nextafter(tiny.astype("f4"), np.float32(9)), np.nextafter(tiny.astype("f4"), np.float32(-9))]
    )
    random = np.random.default_rng(3).integers(0, 2**32, 200_000, dtype=np.uint32)
    return np.concatenate([around, tiny.astype(np.float32).view(np.uint32), random]).view(np.float32)


@FLUSHING
@ROUNDING
@EVERY_KIND
def test_narrowing(conversions, dtype, flushing, rounding):
    """To nearest even, subnormals kept; infinity from halfway beyond the largest number on; a NaN becomes quiet."""
    values = boundaries(dtype)
    values = np.concatenate([values, np.zeros(-values.size % 16, np.float32)])
    with np.errstate(all="ignore"):
        exact = values.astype(np.float64)
        expected = half_precision.rounded(exact, dtype)
    nan = np.isnan(exact)
    if rounding and dtype == "float16" and conversions.level == "base":
        pytest.skip("without F16C float16's subnormals are rounded by an addition; drivers' callers round to nearest")
    narrow = getattr(conversions, f"narrow_{dtype}")
    got = converted(narrow, values, np.empty(values.size, np.uint16), flushing, rounding).view(dtype)
    with np.errstate(invalid="ignore"):
        assert (got[~nan].astype(np.float64) == expected[~nan]).all()
        assert (np.signbit(got) == np.signbit(values)).all()
    digits = half_precision.FORMATS[dtype][0]
    payload = values[nan].view(np.uint32) >> np.uint32(24 - digits) & np.uint32(2 ** (digits - 1) - 1)
    quiet = np.uint32(1) << np.uint32(digits - 2)
    assert np.isnan(got[nan]).all()
    assert (got[nan].view(np.uint16) & np.uint16(2 ** (digits - 1) - 1) == payload | quiet).all()


@pytest.mark.long
@pytest.mark.timeout(1200)
@EVERY_KIND
def test_narrowing_of_every_float32(conversions, dtype):
    """All 2**32 of them, against NumPy's and ml_dtypes' own conversion."""
    narrow = getattr(conversions, f"narrow_{dtype}")
    for start in range(0, 2**32, 1 << 24):
        values = np.arange(start, start + (1 << 24), dtype=np.uint64).astype(np.uint32).view(np.float32)
        with np.errstate(all="ignore"):
            expected = values.astype(dtype).view(np.uint16)
            nan = np.isnan(values)
        got = converted(narrow, values, np.empty(values.size, np.uint16), 0, 0)
        assert (got[~nan] == expected[~nan]).all(), hex(start)
        assert np.isnan(got[nan].view(dtype)).all()


@EVERY_KIND
def test_every_number_is_computed_in_float32(function, backend, dtype):
    """With gradients of any size: rounded once, from numbers that have a dozen bits more."""
    x = half_precision.numbers(dtype)
    with np.errstate(invalid="ignore"):
        x = x[np.isfinite(x)]
    grads = np.random.default_rng(4).normal(size=x.size).astype(dtype)
    for params in parameter_sets(function.row, function.direction)[: None if function.scalar_names else 1]:
        if function.direction == "backward_from_output":
            low, high = (limit(text, function.row, params) for text in function.row.output_range)
            kept = (x.astype("f8") >= low) & (x.astype("f8") <= high)
        else:
            kept = np.ones(x.size, bool)
        got = first(call(function, x[kept], params, grad=grads[kept])).astype("f8")
        with np.errstate(all="ignore"):
            exact = truth(function, x[kept], params)
            exact = exact if function.direction == "forward" else exact * grads[kept].astype("f8")
            error = np.abs(got - exact) / half_precision.unit(exact, dtype)
        error[(got == half_precision.rounded(exact, dtype)) & np.isinf(got)] = 0.0
        # a float32 that is subnormal has fewer bits, and so has its product
        assert error.max() <= 0.51, (params, x[kept][error.argmax()], error.max())


# --- promotion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_beside_other_dtypes(backward_function, kind):
    """The dtype of their sum, where ml_dtypes gives one that can be computed in: on either side, and in the ufunc."""
    function = backward_function
    x, other = np.array([0.5, 0.25, 1, 0], bfloat16), np.array([1, 0, 1, 1], kind)
    common = (x + other).dtype
    assert common == {"?": bfloat16, "1": bfloat16, "2": np.float32}.get(kind[-1], np.float32 if kind == "f4" else "f8")
    for grad, values in ((x, other), (other, x)):
        wide = grad.astype(common), values.astype(common)
        expected = first(call(function, wide[1], grad=wide[0]))
        assert first(call(function, values, grad=grad)).dtype == common
        assert_same_bits(first(call(function, values, grad=grad)), expected)
        operands = [np.asarray(p, common) for p in parameter_sets(function.row)[0]]
        assert_same_bits(first(function.ufunc(grad, values, *operands)), expected)


def test_python_numbers_keep_it(backward_function):
    """On both paths, and rounded once: by way of float32 this one would become 1.0."""
    x = inputs(backward_function, "bfloat16", 20)
    expected = first(call(backward_function, x, grad=np.full(20, 1 + 2.0**-7, bfloat16)))
    for grad in (1 + 2.0**-8 + 2.0**-40, np.full(20, 1 + 2.0**-7, bfloat16)):
        assert_same_bits(first(call(backward_function, x, grad=grad)), expected)
    for grad, exact in ((2, 2), (True, 1), (-(10**30), -1e30), (1e39, np.inf), (1e-41, 1e-41)):
        expected = first(call(backward_function, x, grad=np.full(20, exact).astype(bfloat16)))
        assert_same_bits(first(call(backward_function, x, grad=grad)), expected)
    with pytest.raises(ValueError, match="grad: got 1000"):
        call(backward_function, x, grad=10**400)
    operands = [np.asarray(p, bfloat16) for p in parameter_sets(backward_function.row)[0]]
    assert first(backward_function.ufunc(2.0, x, *operands)).dtype == bfloat16


def test_parameters_are_float32():
    """In the public function and in the ufunc, whatever they are given as."""
    x = inputs(fastact.elu, "bfloat16", 200)
    expected = fastact.elu(x.astype(np.float32), 0.3).astype(bfloat16)
    assert (fastact.elu(x, bfloat16(0.3)) != expected).any()
    for alpha in (0.3, np.float32(0.3), np.float64(0.3)):
        assert_same_bits(fastact.elu(x, alpha), expected)
        assert_same_bits(fastact.elu(x[::-1], alpha)[::-1], expected)
        assert_same_bits(fastact.ufuncs.elu(x, alpha), expected)


def test_ufunc_keywords(plain_function):
    x = inputs(plain_function, "bfloat16", 40)
    wide = x.astype(np.float32)
    asked = call(plain_function, x, dtype="f4")
    assert_same_bits(asked, call(plain_function, wide))
    # ml_dtypes counts any float's cast to bfloat16 as one of the same kind
    assert_same_bits(call(plain_function, wide, dtype=bfloat16), call(plain_function, x))
    out = np.zeros(40, np.float32)
    assert call(plain_function, x, out=out) is out
    assert_same_bits(out, call(plain_function, x).astype(np.float32))
    with pytest.raises(TypeError, match="out: got dtype float16; accepted: what bfloat16 can be cast to"):
        call(plain_function, x, out=np.zeros(40, np.float16))
    with pytest.raises(TypeError):
        call(plain_function, x, dtype="i4")
    assert (
        plain_function.ufunc.resolve_dtypes(
            (*[x.dtype] * len(plain_function.array_names), *[float] * len(plain_function.scalar_names), None)
        )[-1]
        == bfloat16
    )


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "int4"])
def test_other_types_of_ml_dtypes_are_refused(function, name):
    x = np.ones(3, getattr(ml_dtypes, name))
    for beside in (x, np.ones(3, bfloat16)):
        with pytest.raises(
            TypeError, match=f"{function.array_names[0]}: got dtype {name}; accepted: bfloat16, float16"
        ):
            function(x, *[beside] * (len(function.array_names) - 1), *parameter_sets(function.row)[0])
    with pytest.raises(TypeError):
        fastact.explain(function, x)


def test_type_of_the_same_name_is_refused():
    """Known by what it is, not by what it is called."""
    other = type("bfloat16", (np.void,), {})
    assert not fastact._core.is_bfloat16(np.dtype((other, 2)))


def test_lists_and_scalars(function):
    values = inputs(function, "bfloat16", 6)
    expected = first(call(function, values))
    assert_same_bits(first(call(function, list(values), grad=np.ones_like(values))), expected)
    scalar = first(call(function, values[2], grad=bfloat16(1)))
    assert type(scalar) is bfloat16
    assert_same_bits(scalar, expected[2])


def test_sums_are_rounded_once():
    """1 + 2**-8 + 2**-30 lies above the tie, which float32 would round it to."""
    x = -np.array([1, 2.0**-8, 2.0**-30], bfloat16)
    for weight in (bfloat16(0.5), np.array([0.5], bfloat16)):
        _, total = fastact.prelu_backward(np.ones_like(x), x, weight)
        assert total.dtype == bfloat16
        assert total == -(1 + 2.0**-7)
    x = np.full((300, 3), -(2.0**127), bfloat16)
    _, total = fastact.prelu_backward(np.ones_like(x), x, np.full(3, 0.5, bfloat16))
    assert (total == -np.inf).all()


def test_masked_arrays_and_dask():
    dask_array = pytest.importorskip("dask.array")
    x = inputs(fastact.elu, "bfloat16", 12)
    expected = fastact.elu(x)
    masked = fastact.elu(np.ma.array(x, mask=np.arange(12) % 3 == 0))
    assert type(masked) is np.ma.MaskedArray
    assert_same_bits(masked.data[~masked.mask], expected[~masked.mask])
    lazy = fastact.elu(dask_array.from_array(x, chunks=5))
    assert lazy.dtype == bfloat16
    assert_same_bits(lazy.compute(scheduler="synchronous"), expected)


def test_explanation():
    x = np.zeros(16, bfloat16)
    assert fastact.explain("gelu", x)[1] == "bfloat16"
    assert fastact.explain("gelu", x).path == "direct"
    swapped = fastact.explain("gelu", x.astype(x.dtype.newbyteorder("S")))
    assert (swapped.dtype, swapped.path) == ("bfloat16", "ufunc")


# --- the first array --------------------------------------------------------------------------------------------------

#: Each in a process of its own, in which nobody has computed with bfloat16 before.
FIRST_CALLS = {
    "function": "fastact.gelu(x)",
    "strided": "fastact.gelu(x[::2])",
    "backward": "fastact.elu_backward(x, x, 0.5)",
    "ufunc": "gelu(x)",
    "ufunc with a parameter": "fastact.ufuncs.elu(x, 0.5)",
    "mixed ufunc": "fastact.ufuncs.gelu_backward(x, np.ones(4, np.float32))",
    "in a ufunc's out": "gelu(np.ones(4, np.float32), out=x)",
    "asked for": "gelu(np.ones(4, np.float32), dtype=ml_dtypes.bfloat16)",
    "method of a ufunc": "fastact.ufuncs.gelu_backward.outer(x, x)",
    "list": "fastact.gelu(list(x))",
    "byte-swapped": "gelu(x.astype(x.dtype.newbyteorder('S')))",
    "NumPy backend": "fastact.set_backend('numpy'); gelu(x)",
}


@pytest.mark.parametrize("statement", FIRST_CALLS.values(), ids=list(FIRST_CALLS))
def test_first_call(statement):
    run_python(f"""
        import sys
        import numpy as np
        import fastact
        from fastact.ufuncs import gelu
        # what has no loop yet is asked about, and answered without ml_dtypes
        gelu(np.int8([1, 2])), gelu([1.0]), fastact.gelu(np.ones(3, "f2"))
        for bad in (1j, "text", None):
            try:
                gelu(bad)
            except TypeError:
                pass
        assert "ml_dtypes" not in sys.modules
        import ml_dtypes
        x = np.linspace(-1, 1, 4).astype(ml_dtypes.bfloat16)
        {statement}
        x = np.linspace(-1, 1, 4).astype(ml_dtypes.bfloat16)
        expected = gelu(x.astype("f4")).astype(x.dtype)
        assert gelu(x).dtype == fastact.gelu(x).dtype == x.dtype
        assert gelu(x).tobytes() == fastact.gelu(x).tobytes() == expected.tobytes()
        """)


def test_first_call_by_eight_threads():
    """Half of them through the functions, half through the ufuncs."""
    run_python("""
        import sys
        from threading import Barrier, Thread
        import ml_dtypes
        import numpy as np
        from cases import PLAIN_FUNCTIONS
        sys.setswitchinterval(1e-6)
        x = np.linspace(0.1, 0.9, 500).astype(ml_dtypes.bfloat16)
        functions = [f for f in PLAIN_FUNCTIONS if not f.scalar_names]
        barrier, results = Barrier(8), [None] * 8

        def work(k):
            barrier.wait()
            called = [f.ufunc if k % 2 else f for f in functions]
            results[k] = [call(*[x] * len(f.array_names)) for call, f in zip(called, functions)]

        threads = [Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            assert [y.tobytes() for y in result] == [y.tobytes() for y in results[0]]
            assert all(y.dtype == x.dtype for y in result)
        """)


def test_every_function_has_the_loop():
    x = np.ones(3, bfloat16)
    for function in FUNCTIONS:
        arrays = [x] * (len(function.array_names) + len(function.operand_names))
        assert first(function.ufunc(*arrays, *[1.0] * len(function.scalar_names))).dtype == bfloat16
