"""The floating-point state: calls leave the caller's as it was, and every worker computes in the caller's.

State is what C's ``fenv.h`` calls the environment: the flags that NumPy turns into warnings, the traps, and the two
modes that turn subnormal numbers into zero (x86: FTZ and DAZ in the MXCSR register), which some libraries switch on
behind everybody's back and which a new thread inherits from the one that starts it.
"""

import ctypes
import ctypes.util
import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, PLAIN_FUNCTIONS, bits, call, finfo, inputs
from interpreters import run_python

import fastact
from fastact import _core, dispatch

LIBM = ctypes.CDLL(ctypes.util.find_library("m"))
#: Place of MXCSR in glibc's ``fenv_t``, behind 28 bytes of the x87 unit; its bits.
MXCSR = 7
DEFAULT, ALL_FLAGS, FLUSH_RESULTS, FLUSH_INPUTS = 0x1F80, 0x003F, 0x8000, 0x0040
FLUSHING = DEFAULT | FLUSH_RESULTS | FLUSH_INPUTS
needs_mxcsr = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="reads MXCSR the way glibc keeps it"
)
needs_threads = pytest.mark.skipif(not _core.built_with_threads(), reason="built without threads")


def read_mxcsr():
    environment = (ctypes.c_uint32 * 8)()
    assert LIBM.fegetenv(environment) == 0
    return environment[MXCSR]


def write_mxcsr(value):
    environment = (ctypes.c_uint32 * 8)()
    assert LIBM.fegetenv(environment) == 0
    environment[MXCSR] = value
    assert LIBM.fesetenv(environment) == 0


def in_new_thread(target):
    """What ``target`` returns; whatever it does to its floating-point state ends with its thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(target).result()


#: What raises flags: overflow, underflow, invalid, division by zero, and conversions to float16 that do.
NASTY = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.03, -88.0, 89.0, -103.9, -745.0, 6e4, -6e4, 1e-7, 6e-8)


def nasty(dtype, count):
    limits = finfo(dtype)
    extremes = (limits.max, limits.min, limits.tiny, -limits.tiny, limits.smallest_subnormal)
    return np.resize(np.array([*NASTY, *extremes], dtype), count)


def operands(function, dtype, count):
    """Arguments of a call with which no trouble is the test's own: gradients of one, a weight of a half."""
    x = nasty(dtype, count)
    arrays = [x] if function.direction == "forward" else [np.ones_like(x), x]
    return [*arrays, *(np.array(0.5, dtype) for _ in function.operand_names)]


def test_no_flag_reaches_numpy(function, backend):
    """Where NumPy would raise at any flag, nothing is raised: dense, strided, scalar, at any length."""
    with np.errstate(all="raise"):
        for dtype in ALL_DTYPES:
            for count in (1, 21, 700):
                arrays = operands(function, dtype, count)
                function(*arrays)
                function(*(array.repeat(2)[::2] if array.ndim else array for array in arrays))
            for k in range(21):
                function(*(array[k] if array.ndim else array[()] for array in operands(function, dtype, 21)))


STATES = pytest.mark.parametrize(
    "state", [DEFAULT, DEFAULT | ALL_FLAGS, FLUSHING], ids=["default", "all_flags_set", "flushing"]
)


def changes(functions, state, kept, prepare):
    """The calls after which a register bit of ``kept`` is not what it was before."""
    found = []
    for function in functions:
        for dtype in ALL_DTYPES:
            for count in (5, 4099):
                arrays = [prepare(array) for array in operands(function, dtype, count)]
                function(*arrays)  # the first call may make the kernel
                write_mxcsr(state)
                function(*arrays)
                after = read_mxcsr()
                write_mxcsr(DEFAULT)
                if (after ^ state) & kept:
                    found.append((function.name, dtype, count, hex(after)))
    return found


@needs_mxcsr
@STATES
def test_register_unchanged(backend, state, two_threads):
    """The register is the same after a call, flags and all; on the calling thread alone and with two."""
    assert not in_new_thread(lambda: changes(PLAIN_FUNCTIONS, state, 0xFFFF, lambda array: array))


@needs_mxcsr
@STATES
def test_modes_unchanged_by_ufuncs(backend, state, two_threads):
    """Through NumPy's machinery, which clears flags, traps and modes are the same."""

    def spread(array):
        return array.repeat(2)[::2] if array.ndim else array

    assert not in_new_thread(lambda: changes(FUNCTIONS, state, ~ALL_FLAGS, spread))


@needs_mxcsr
def test_traps_of_the_caller(two_threads):
    """A program that has itself killed at invalid operations, overflows and divisions by zero survives our calls."""
    run_python("""
        import ctypes, ctypes.util, sys
        from cases import ALL_DTYPES, PLAIN_FUNCTIONS
        from test_floating_point_state import LIBM, operands, read_mxcsr
        import fastact

        fastact.set_num_threads(2)
        cases = []
        for function in PLAIN_FUNCTIONS:
            function.parallel_from = (1024, 1024)
            for dtype in ALL_DTYPES:
                for count in (5, 4099):
                    cases.append((function, operands(function, dtype, count)))
        invalid, division_by_zero, overflow, underflow = 1, 4, 8, 16
        assert LIBM.feenableexcept(invalid | division_by_zero | overflow | underflow) != -1
        for function, arrays in cases:
            function(*arrays)
        assert read_mxcsr() & 0x1F80 == 0x1F80 & ~((invalid | division_by_zero | overflow | underflow) << 7)
        """)


def test_subnormals_survive_in_the_process():
    """Neither import nor calls, nor threads started later, turn subnormal numbers into zero (GCC's -ffast-math)."""
    run_python("""
        import threading
        import numpy as np

        def check(when):
            smallest = np.float32(1e-45)
            assert smallest != 0 and smallest * np.float32(1) != 0, f"subnormals are flushed {when}"
            assert np.finfo("float32").tiny * np.float32(0.5) != 0, f"subnormals are flushed {when}"
            assert 5e-324 * 1.0 != 0.0 and 2.2250738585072014e-308 * 0.5 != 0.0, f"subnormals are flushed {when}"

        import fastact
        check("after the import")
        fastact.set_num_threads(2)
        x = np.full(1_000_000, -100, "float32")
        for name in fastact.available_backends():
            fastact.set_backend(name)
            for result in (fastact.sigmoid(x[:100]), fastact.sigmoid(x), fastact.sigmoid(x[::2])):
                assert (result > 0).all() and (result < np.finfo("float32").tiny).all(), name
            check(f"after calls on {name}")
        failures = []

        def check_in_thread():
            try:
                check("in a new thread")
            except AssertionError as failure:
                failures.append(failure)

        thread = threading.Thread(target=check_in_thread)
        thread.start()
        thread.join()
        assert not failures, failures
        """)


def with_subnormal_results(count):
    """Arguments and results of sigmoid, all of them subnormal; the results as one thread computes them in pieces."""
    x = np.linspace(-100, -90, count, dtype="float32")
    expected = np.concatenate([fastact.sigmoid(piece) for piece in np.array_split(x, count // 500)])
    assert (expected > 0).all() and (expected < np.finfo("float32").tiny).all()
    return x, expected


@needs_mxcsr
@needs_threads
def test_workers_take_the_callers_mode_each_time(two_threads):
    """Workers started by a caller that flushes subnormals keep them for a caller that does not, and the reverse."""
    x, expected = with_subnormal_results(100_003)

    def calls():
        results = []
        for turn in range(100):  # a worker need not get a share of every call
            write_mxcsr((FLUSHING, DEFAULT)[turn % 2])
            results.append(fastact.sigmoid(x))
        return results

    results = in_new_thread(calls)
    for flushed, kept in zip(results[::2], results[1::2], strict=True):
        assert not bits(flushed).any(), "some elements were computed in another mode than the caller's"
        assert (bits(kept) == bits(expected)).all()


def normal(array):
    """Whether numbers are normal, and the rounding errors of products of their size are as well."""
    limits = finfo(array.dtype)
    return np.abs(array) >= limits.tiny / limits.eps * 256


def assert_same_where_normal(function, dtype, flush, restore):
    x = inputs(function, dtype, 20_011)
    x = x[normal(x)]
    expected = gradient_of_input(call(function, x))
    flush()
    try:
        got = gradient_of_input(call(function, x))
    finally:
        restore()
    kept = normal(expected)
    assert kept.mean() > 0.2
    np.testing.assert_array_equal(bits(got[kept]), bits(expected[kept]), err_msg=f"{function.name} {dtype}")


def gradient_of_input(result):
    # a weight's gradient is a sum by NumPy
    return result[0] if isinstance(result, tuple) else result


@needs_mxcsr
def test_flushing_changes_no_normal_result(backend, dtype, two_threads):
    """Where the host flushes subnormals, results in the normal range have the same bits; two threads or one."""
    if backend == "numpy":
        pytest.skip("NumPy's own exp and expm1 are not fastact's to mend")

    def compare():
        for function in FUNCTIONS:
            assert_same_where_normal(function, dtype, lambda: write_mxcsr(FLUSHING), lambda: write_mxcsr(DEFAULT))
        return True

    in_new_thread(compare)


def test_under_pytorch_that_flushes(two_threads):
    """The same with PyTorch's own switch, which is a thread's."""
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("PyTorch cannot flush subnormals on this CPU")
    torch.set_flush_denormal(False)
    x, expected = with_subnormal_results(100_003)
    assert dispatch.threads_for(fastact.sigmoid, "float32", x.size) == 2 or not _core.built_with_threads()

    def compare():
        for function in FUNCTIONS:
            assert_same_where_normal(
                function, "float32", lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)
            )
        return fastact.sigmoid(x)

    np.testing.assert_array_equal(bits(in_new_thread(compare)), bits(expected))
