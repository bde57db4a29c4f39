"""The floating-point state: import and calls leave the caller's as it was, and no warning comes of what they compute.

State is what C's ``fenv.h`` calls the environment: the flags that NumPy turns into warnings, the traps, the direction
of rounding, and the two modes that turn subnormal numbers into zero (x86: FTZ and DAZ in the MXCSR register), which
some libraries switch on behind everybody's back and which a new thread inherits from the one that starts it.  What is
computed while they are on is the subject of ``test_flushing.py``.
"""

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, PLAIN_FUNCTIONS, call, parameter_sets, thinned
from extremes import everything, specials
from interpreters import run_python
from mxcsr import (
    ALL_FLAGS,
    DEFAULT,
    DOWNWARD,
    FLUSHING,
    TOWARDS_ZERO,
    UPWARD,
    in_new_thread,
    needs_mxcsr,
    read_mxcsr,
    write_mxcsr,
)

#: None, one, a tail, a tail behind a body, and an array that is split over threads; the last is for compiled kernels.
SIZES = (0, 1, 17, 1000, 200_000)


def sizes(backend):
    return SIZES[:-1] if backend == "numpy" else SIZES


#: What raises flags: overflow, underflow, invalid, division by zero, and conversions to float16 that do.
NASTY = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.03, -88.0, 89.0, -103.9, -745.0, 6e4, -6e4, 1e-7, 6e-8)


def nasty(dtype):
    return np.concatenate([np.array(NASTY, dtype), specials(dtype)])


def operands(function, dtype, count):
    """Arguments of a call with which no trouble is the test's own: gradients of one, a weight of a half."""
    x = np.resize(nasty(dtype), count)
    arrays = [x] if function.direction == "forward" else [np.ones_like(x), x]
    return [*arrays, *(np.array(0.5, dtype) for _ in function.operand_names)]


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_no_flag_reaches_numpy(function, backend, dtype, two_threads):
    """Where NumPy would raise at any flag, nothing is raised: the function and its ufunc, dense and strided, any size.

    All of fastact's arithmetic is silent: it overflows, underflows and meets NaN without a word, whatever the setting.
    """
    values = everything(function, dtype, 1000)
    with np.errstate(all="raise"):
        for params in parameter_sets(function.row, function.direction):
            for count in sizes(backend):
                x = np.resize(values, count)
                # a kernel is called for each run
                mask = np.arange(count) // 16 % 3 > 0
                grad = x[::-1].copy()
                gradients = () if function.direction == "forward" else (grad,)
                call(function, x, params, grad=grad)
                call(function, x.repeat(2)[::2], params, grad=grad)
                call(function, x, params, grad=grad, out=x.copy())
                call(function, x, params, grad=grad, where=mask, out=np.zeros_like(x))
                function.ufunc(*gradients, x, *params)
            for value in thinned(nasty(dtype), backend, every=4):
                call(function, value, params, grad=value)


def test_parameters_are_rounded_silently(dtype):
    """A number that is inexact, subnormal or zero as a float32 raises nothing when it becomes one."""
    x = np.linspace(-3, 3, 17).astype(dtype)
    with np.errstate(all="raise"):
        for function in (function for function in FUNCTIONS if function.scalar_names):
            for value in (0.1, 1e-40, 1e-46, 3e38):
                if value == 1e-46 and "> 0" in function.scalar_accepts[0]:
                    continue
                call(function, x, [value])
                call(function, x[::2], [np.float64(value)])
                call(function, x[0], [value])


STATES = pytest.mark.parametrize(
    "state",
    [DEFAULT, DEFAULT | ALL_FLAGS, FLUSHING, FLUSHING | DOWNWARD, DEFAULT | UPWARD, DEFAULT | TOWARDS_ZERO | ALL_FLAGS],
    ids=["default", "all_flags_set", "flushing", "flushing_downward", "upward", "towards_zero_with_flags"],
)


def changes(functions, backend, state, kept, prepare):
    """The calls after which a register bit of ``kept`` is not what it was before."""
    found = []
    for function in functions:
        for dtype in ALL_DTYPES:
            for count in sizes(backend):
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
    """The register is the same after a call, flags and all; on the calling thread alone and with two.

    A rounding that is not to the nearest is the caller's to choose and stays, but what is computed with it is certified
    by nobody.
    """
    assert not in_new_thread(lambda: changes(PLAIN_FUNCTIONS, backend, state, 0xFFFF, lambda array: array))


@needs_mxcsr
@STATES
def test_modes_unchanged_by_ufuncs(backend, state, two_threads):
    """Through NumPy's machinery, which clears flags, traps and modes are the same."""

    def spread(array):
        return array.repeat(2)[::2] if array.ndim else array

    assert not in_new_thread(lambda: changes(FUNCTIONS, backend, state, ~ALL_FLAGS, spread))


@needs_mxcsr
def test_sums_over_channels_leave_no_flag(two_threads):
    """The gradient of a weight is a sum, which overflows where its terms do not."""
    functions = [function for function in FUNCTIONS if function.operand_names and function.direction == "backward"]
    assert functions

    def flags_of(function):
        x = -np.full(300, np.finfo("float64").max)
        write_mxcsr(DEFAULT)
        assert np.isinf(function(np.ones_like(x), x, np.array(0.5))[1])
        return read_mxcsr() & ALL_FLAGS

    for function in functions:
        assert in_new_thread(lambda function=function: flags_of(function)) == 0


@needs_mxcsr
def test_traps_of_the_caller():
    """A program that has itself killed at invalid operations, overflows and divisions by zero survives our calls."""
    run_python("""
        import numpy as np
        from cases import ALL_DTYPES, FUNCTIONS
        from mxcsr import ALL_MASKS, DIVISION_BY_ZERO, INVALID, OVERFLOW, UNDERFLOW, read_mxcsr, write_mxcsr
        from test_floating_point_state import SIZES, operands
        import fastact

        fastact.set_num_threads(2)
        cases = []
        for function in FUNCTIONS:
            function.parallel_from = (1024,) * 4
            for dtype in ALL_DTYPES:
                cases += [(function, operands(function, dtype, count)) for count in SIZES]
        cases.append((fastact.prelu_backward, [np.ones(300), np.full(300, -1.7e308), np.array(0.5)]))
        trapping = read_mxcsr() & ~(INVALID | DIVISION_BY_ZERO | OVERFLOW | UNDERFLOW)
        write_mxcsr(trapping)
        for function, arrays in cases:
            function(*arrays)
            function(*(array[::-1] if array.ndim else array for array in arrays))
        assert read_mxcsr() & ALL_MASKS == trapping & ALL_MASKS
        """)


@needs_mxcsr
@pytest.mark.parametrize("state", [FLUSHING | DOWNWARD, DEFAULT | TOWARDS_ZERO, DEFAULT], ids=hex)
def test_import_changes_no_mode(state):
    """Nor do the backends' first uses, of which Numba's starts a compiler; in no thread, old or new."""
    run_python(f"""
        import threading
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np
        from mxcsr import ALL_FLAGS, read_mxcsr, write_mxcsr

        def check(when):
            assert (read_mxcsr() ^ {state}) & ~ALL_FLAGS == 0, (when, hex(read_mxcsr()))

        def check_after_the_calls():
            called.wait()
            check("in a thread from before the import")

        write_mxcsr({state})
        called = threading.Event()
        with ThreadPoolExecutor(1) as older, ThreadPoolExecutor(1) as newer:
            try:
                waiting = older.submit(check_after_the_calls)
                import fastact
                check("after the import")
                fastact.set_num_threads(2)
                x = np.linspace(-9, 9, 200_000, dtype="float32")
                for name in fastact.available_backends():
                    fastact.set_backend(name)
                    fastact.gelu(x[:5000])
                    fastact.gelu(x[::4])
                    check(f"after calls on {{name}}")
            finally:
                called.set()
            waiting.result()
            newer.submit(check, "in a new thread").result()
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
