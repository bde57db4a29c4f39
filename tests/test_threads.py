"""Threads change no result, however many there are and whoever calls."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, assert_same_bits, bits, call, inputs, needs_threads

import fastact
from fastact import dispatch

#: Several times the size from which any function uses threads.
LARGE = 400_003

pytestmark = pytest.mark.usefixtures("number_restored")


def every_way(function, x):
    """Results of one function called dense, strided and in place, in a flat list."""
    in_place = x.copy()
    results = [call(function, x), call(function, x.repeat(2)[::2]), call(function, in_place, out=in_place), in_place]
    return [array for result in results for array in (result if isinstance(result, tuple) else (result,))]


@needs_threads
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_results_do_not_depend_on_the_number_of_threads(function, dtype):
    """One to four threads; an odd size, so that shares are unequal and end in a tail."""
    x = inputs(function, dtype, LARGE)
    with fastact.num_threads(1):
        expected = every_way(function, x)
    for count in (2, 3, 4):
        with fastact.num_threads(count):
            assert dispatch.threads_for(function, "float64" if dtype == "float64" else "float32", LARGE) == count
            for got, value in zip(every_way(function, x), expected, strict=True):
                assert_same_bits(got, value, f"{count} threads")
    dense, strided = expected[0], expected[len(expected) // 3]
    assert_same_bits(strided, dense, "strided instead of dense")


@needs_threads
def test_every_size_around_the_shares(two_threads):
    """Sizes where shares, pages and tails begin and end."""
    x = inputs(fastact.silu, "float32", 9000)
    with fastact.num_threads(1):
        expected = fastact.silu(x)
    for count in (2, 3, 4):
        with fastact.num_threads(count):
            for size in [*range(1020, 1100), *range(2040, 2060), *range(4090, 4100), 4607, 4609, 8191, 8192, 8999]:
                assert (dispatch.threads_for(fastact.silu, "float32", size) > 1) == (size >= 1024)
                assert (bits(fastact.silu(x[:size])) == bits(expected[:size])).all(), (count, size)


# -- many callers -----------------------------------------------------------------------------------------------------


def in_threads(count, target):
    """Call ``target(k)`` in ``count`` threads at the same moment; the first failure is raised."""
    barrier = threading.Barrier(count)

    def run(k):
        barrier.wait()
        target(k)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(run, k) for k in range(count)]:
            future.result()


@pytest.mark.timeout(120)
def test_eight_threads_share_an_input(backend, two_threads):
    x = inputs(fastact.gelu, "float32", 40_003)
    x.flags.writeable = False
    # the middle one is computed by threads while the caller of a dense array might hold the GIL
    sizes = (16, 5000, 40_003)
    expected = {size: bits(fastact.gelu(x[:size])) for size in sizes}

    def calls(k):
        for turn in range(10 if backend == "numpy" else 70):
            size = sizes[(turn + k) % 3]
            out = np.full(size, np.nan, "float32")
            fastact.gelu(x[:size], out=out)
            assert (bits(out) == expected[size]).all(), f"thread {k}, turn {turn}, {size} elements"

    in_threads(8, calls)


@pytest.mark.timeout(120)
def test_eight_threads_write_disjoint_slices_in_place(backend, two_threads):
    """Slices that begin inside the same cache line, so that a stray write would hit a neighbour."""
    size = 10_007
    x = inputs(fastact.tanh, "float32", 8 * size)
    expected = x
    turns = 5 if backend == "numpy" else 40
    for _ in range(turns):
        expected = fastact.tanh(expected)
    work = x.copy()

    def calls(k):
        mine = work[k * size : (k + 1) * size]
        for _ in range(turns):
            fastact.tanh(mine, out=mine)

    in_threads(8, calls)
    assert_same_bits(work, expected)


@pytest.mark.timeout(120)
def test_eight_threads_call_everything(two_threads):
    """All functions at once, small and large, so that parallel regions and refused ones alternate."""
    cases = [(function, inputs(function, "float64", size)) for function in FUNCTIONS for size in (37, 30_001)]
    expected = [gradient_of_input(call(function, x)) for function, x in cases]

    def calls(k):
        for turn in range(3):
            for position in range(len(cases)):
                place = (position + k * 7 + turn) % len(cases)
                function, x = cases[place]
                result = gradient_of_input(call(function, x))
                assert (bits(result) == bits(expected[place])).all(), function.name

    in_threads(8, calls)


def gradient_of_input(result):
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.timeout(120)
def test_calls_from_pools_and_event_loops(two_threads):
    x = inputs(fastact.mish, "float32", 30_001)
    expected = bits(fastact.mish(x))

    with ThreadPoolExecutor(32) as pool:
        for result in pool.map(lambda _: fastact.mish(x), range(200)):
            assert (bits(result) == expected).all()

    async def many():
        return await asyncio.gather(*(asyncio.to_thread(fastact.mish, x) for _ in range(50)))

    for result in asyncio.run(many()):
        assert (bits(result) == expected).all()


@pytest.mark.timeout(120)
def test_number_changes_while_others_compute(two_threads):
    x = inputs(fastact.silu, "float32", 50_003)
    expected = bits(fastact.silu(x))
    done = threading.Event()

    def change():
        count = 0
        while not done.is_set():
            count = count % 4 + 1
            fastact.set_num_threads(count)

    def calls(k):
        for _ in range(100):
            assert (bits(fastact.silu(x)) == expected).all()

    changer = threading.Thread(target=change)
    changer.start()
    try:
        in_threads(4, calls)
    finally:
        done.set()
        changer.join()
