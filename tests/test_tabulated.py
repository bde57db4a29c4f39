"""Kernels of 16 bits that stand behind a table (src_cy/tabulated.h): each number has the bits that are computed."""

import ctypes
import importlib
import itertools

import numpy as np
import pytest
from disassembly import functions_of, kernels_file, loops_of, needs_objdump
from half_precision import numbers
from interpreters import run_python
from kernel_calls import call_address
from mxcsr import needs_mxcsr

from fastact import lowering
from fastact._kernels import base
from fastact.backends import cython_kernels
from fastact.catalogue import ACTIVATIONS

ROWS = {loop.name: (row, loop) for row in ACTIVATIONS for loop in lowering.loops_of(row)}
TABULATED = [
    (level, *kernel)
    for level in base.runnable()
    for kernel in sorted(importlib.import_module(f"fastact._kernels.{level}").computing())
]
EVERY_KERNEL = pytest.mark.parametrize(("level", "name", "dtype"), TABULATED)
#: FASTACT_WORTH_A_TABLE and FASTACT_TABULATED_FROM
WORTH_A_TABLE, TABULATED_FROM = 65536, 1024


def both(level, name, dtype, arrays, params=None, *, in_place=False):
    """What a kernel and the one that computes give, as bits."""
    row, _ = ROWS[name]
    params = [parameter.default for parameter in row.scalars] if params is None else params
    words = [np.asarray(array, dtype).view(np.uint16) for array in arrays]
    return [
        call_address(kernels[name, dtype], "uint16", words, 1, params, in_place=in_place)[0]
        for kernels in (cython_kernels.kernels_of(level), cython_kernels.formulas_of(level))
    ]


def given(name, x):
    """The arrays of a kernel at ``x``: of a backward with gradients of all kinds, infinity and NaN among them."""
    if not ROWS[name][1].chained:
        return [x]
    random = np.random.default_rng(len(x))
    grads = random.normal(0, 1, len(x)) * 10.0 ** random.integers(-6, 4, len(x))
    grads[random.integers(len(x), size=32)] = np.tile([np.inf, -np.inf, np.nan, -0.0], 8)
    with np.errstate(over="ignore"):
        return [grads.astype(x.dtype), x]


def assert_same(words, expected, dtype):
    """The same bits; of a NaN, only that it is one, whose sign may differ between any two loops."""
    with np.errstate(invalid="ignore"):
        missing = [np.isnan(array.view(dtype)) for array in (words, expected)]
    assert np.array_equal(*missing)
    assert np.array_equal(words[~missing[0]], expected[~missing[0]])


@EVERY_KERNEL
def test_all_numbers(level, name, dtype):
    """Twice, because somebody may have made the table before; in place, too, and in any order."""
    x = numbers(dtype)
    for order in (x, np.random.default_rng(0).permutation(x)):
        for in_place in (False, True):
            assert_same(*both(level, name, dtype, given(name, order), in_place=in_place), dtype)


@EVERY_KERNEL
def test_other_parameters_are_computed(level, name, dtype):
    row, _ = ROWS[name]
    x = numbers(dtype)
    for params in itertools.product(*([0.5, 1.5, 2.0] for _ in row.scalars)):
        assert_same(*both(level, name, dtype, given(name, x), list(params)), dtype)


@EVERY_KERNEL
@pytest.mark.parametrize("count", [16, TABULATED_FROM - 16, TABULATED_FROM, TABULATED_FROM + 48])
def test_nothing_beyond_the_count_is_written(level, name, dtype, count):
    """And few numbers or many have the same bits."""
    arrays = given(name, np.random.default_rng(count).normal(0, 3, count + 64).astype(dtype))
    pointers, parameters = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_float)
    kernel = ctypes.CFUNCTYPE(None, pointers, pointers, ctypes.c_ssize_t, parameters)(
        cython_kernels.kernels_of(level)[name, dtype]
    )
    out = np.full(count + 64, 0x5A5A, np.uint16)
    inputs = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    params = (ctypes.c_float * 2)(*(parameter.default for parameter in ROWS[name][0].scalars))
    for _ in range(WORTH_A_TABLE // count + 1):
        kernel(inputs, (ctypes.c_void_p * 1)(out.ctypes.data), count, params)
    assert (out[count:] == 0x5A5A).all()
    assert_same(out[:count], both(level, name, dtype, [array[:count] for array in arrays])[1], dtype)


@needs_mxcsr
def test_a_table_is_made_and_used_in_the_usual_mode_alone():
    """Whoever rounds upwards or flushes gets what such a mode computes, and spoils no table."""
    output = run_python("""
        import numpy as np
        from fastact._kernels import base
        from half_precision import numbers
        from mxcsr import DEFAULT, FLUSHING, UPWARD, write_mxcsr
        from test_tabulated import TABULATED, assert_same, both, given

        differs = set()
        for level, name, dtype in TABULATED:
            arrays = given(name, numbers(dtype))
            for mode in (DEFAULT | UPWARD, FLUSHING, DEFAULT, DEFAULT | UPWARD, FLUSHING, DEFAULT):
                write_mxcsr(mode)
                found = [both(level, name, dtype, arrays) for _ in range(2)]
                write_mxcsr(DEFAULT)
                for pair in found:
                    assert_same(*pair, dtype)
                if mode == DEFAULT:
                    usual = found[0][0]
                else:
                    unusual = found[0][0]
            if (usual != unusual).any():
                differs.add(name)
        print(len(differs))
    """)
    # or else this test would say nothing
    assert int(output) > 0 or not TABULATED


def test_a_table_is_made_while_others_compute():
    """Eight threads at once, in a process that has no table yet: each result has its bits."""
    run_python("""
        import threading
        import numpy as np
        from half_precision import numbers
        from test_tabulated import TABULATED, assert_same, both, given

        failures = []
        for level, name, dtype in TABULATED:
            arrays, start = given(name, numbers(dtype)), threading.Barrier(8)

            def calls():
                start.wait()
                try:
                    for _ in range(3):
                        assert_same(*both(level, name, dtype, arrays), dtype)
                except AssertionError as failure:
                    failures.append((level, name, dtype, failure))

            threads = [threading.Thread(target=calls) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not failures, failures
    """)


@needs_objdump
@pytest.mark.parametrize(("function", "most"), [("look_up_results", 4), ("look_up_slopes_bfloat16", 4.5)])
def test_looking_up_takes_few_instructions(function, most):
    """A load of the index, one of the result, a store; the loop is unrolled."""
    path = kernels_file("avx2")
    if path is None:
        pytest.skip("no AVX2 here")
    found = functions_of(path, lambda symbol: symbol if symbol.startswith(f"fastact_{function}") else None)
    (instructions,) = found.values()
    assert min(len(body) for body in loops_of(instructions)) <= most * 16
