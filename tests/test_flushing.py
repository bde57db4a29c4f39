"""Results where the host turns subnormal numbers into zero, and that every worker computes in the caller's mode.

Fast-math libraries, PyTorch's ``set_flush_denormal`` and others switch on FTZ and DAZ (see ``mxcsr.py``).  The promise:
a result in the normal range from an input in the normal range has the bits that it has without.
"""

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, bits, call, first, needs_threads, parameter_sets
from extremes import everything, patterns, smallest_normal
from mxcsr import DEFAULT, FLUSHING, in_new_thread, needs_mxcsr, write_mxcsr

import fastact
from fastact import _core, dispatch


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


def normal_numbers(function, dtype, count):
    """Numbers over the whole line, half of them by bit pattern, those that are not subnormal."""
    word, infinity, sign = patterns(dtype)
    swept = np.linspace(infinity & -infinity, infinity - 1, count // 4).astype(word)
    swept = np.concatenate([swept, swept | word.type(sign)]).view(dtype)
    # where exponentials and Gaussians end
    tails = np.random.default_rng(1).uniform(-750 if dtype == "float64" else -110, 0, count // 4).astype(dtype)
    x = np.concatenate([swept, tails, everything(function, dtype, count // 4)])
    # ml_dtypes' comparisons speak up at a signalling NaN
    with np.errstate(invalid="ignore"):
        return x[np.isfinite(x) & (np.abs(x) >= smallest_normal(dtype))]


def assert_same_where_normal(function, dtype, flush, restore):
    """With gradients of one: the chain's product may leave the normal range on its own, and come back."""
    x = normal_numbers(function, dtype, 40_000)
    for params in parameter_sets(function.row, function.direction):
        expected = first(call(function, x, params))
        flush()
        try:
            # the last ones alone, too: on the calling thread
            got = first(call(function, x, params))
            few = first(call(function, x[-500:], params))
        finally:
            restore()
        with np.errstate(invalid="ignore"):
            kept = np.abs(expected) >= smallest_normal(dtype)
        assert kept.any()
        differs = kept & (bits(got) != bits(expected))
        assert not differs.any(), (params, x[differs][:3], got[differs][:3], expected[differs][:3])
        assert (bits(few) == bits(got[-500:])).all()


@needs_mxcsr
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_flushing_changes_no_normal_result(function, backend, dtype, two_threads):
    """Where the host flushes subnormals, results in the normal range have the same bits; two threads or one."""
    if backend == "numpy":
        pytest.skip("NumPy's own exp and expm1 are not fastact's to mend")
    in_new_thread(
        lambda: assert_same_where_normal(function, dtype, lambda: write_mxcsr(FLUSHING), lambda: write_mxcsr(DEFAULT))
    )


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
