"""Threads: how many, where the number comes from, that it changes no result, and that many callers get along.

What counts is read from the operating system: a process's tasks are its Python threads and the workers that fastact
started.  Whatever needs a fresh process, or might not come back, runs in an interpreter of its own.
"""

import asyncio
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, assert_same_bits, bits, call, inputs
from interpreters import run_python

import fastact
from fastact import _core, dispatch, threads

needs_threads = pytest.mark.skipif(not _core.built_with_threads(), reason="built without threads")
needs_tasks = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts tasks as Linux shows them")
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
#: Several times the size from which any function uses threads.
LARGE = 400_003


@pytest.fixture(autouse=True)
def number_restored():
    before, origin = fastact.get_num_threads(), threads.origin
    yield
    fastact.set_num_threads(before)
    threads.origin = origin


# -- the number -----------------------------------------------------------------------------------------------------


@needs_threads
@pytest.mark.parametrize("count", [1, 2, 7, 1024])
def test_set_and_get(count):
    fastact.set_num_threads(count)
    assert fastact.get_num_threads() == count
    assert threads.origin == "set_num_threads"


@needs_threads
def test_context_manager_nests_and_restores():
    fastact.set_num_threads(2)
    with fastact.num_threads(3):
        assert fastact.get_num_threads() == 3
        with fastact.num_threads(1):
            assert fastact.get_num_threads() == 1
        assert fastact.get_num_threads() == 3
    assert fastact.get_num_threads() == 2


@needs_threads
def test_context_manager_restores_after_an_exception():
    fastact.set_num_threads(2)
    origin = threads.origin
    with pytest.raises(KeyError, match="mine"), fastact.num_threads(3):
        raise KeyError("mine")
    assert fastact.get_num_threads() == 2
    assert threads.origin == origin


@pytest.mark.parametrize("count", [0, -1, 1.5, 2.0, True, "2", None, 1025, 10**6, 10**30], ids=repr)
def test_wrong_number(count):
    before = fastact.get_num_threads()
    with pytest.raises(ValueError, match=rf"count: got {count!r}; accepted: an integer from 1 to 1024"):
        fastact.set_num_threads(count)
    with pytest.raises(ValueError, match="accepted: an integer from 1 to 1024"), fastact.num_threads(count):
        pytest.fail("entered the block")
    assert fastact.get_num_threads() == before


# -- where the number comes from --------------------------------------------------------------------------------------


@pytest.fixture
def clean_environment(monkeypatch):
    """Neither variable is set; eight CPUs, and no quota."""
    monkeypatch.delenv("FASTACT_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cpus_allowed", lambda: 8)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: math.inf)
    return monkeypatch


@pytest.mark.parametrize(
    "own, shared, expected",
    [
        ("3", "5", (3, "FASTACT_NUM_THREADS")),
        (" 3 ", None, (3, "FASTACT_NUM_THREADS")),
        ("20", None, (20, "FASTACT_NUM_THREADS")),
        (None, "5", (5, "OMP_NUM_THREADS")),
        (None, "20", (20, "OMP_NUM_THREADS")),
        (None, "5,2", (5, "OMP_NUM_THREADS")),
        # what OpenMP ignores is ignored
        (None, "", (8, "CPU affinity")),
        (None, "0", (8, "CPU affinity")),
        (None, "many", (8, "CPU affinity")),
        (None, None, (8, "CPU affinity")),
    ],
)
def test_environment_before_affinity(clean_environment, own, shared, expected):
    for name, value in (("FASTACT_NUM_THREADS", own), ("OMP_NUM_THREADS", shared)):
        if value is not None:
            clean_environment.setenv(name, value)
    assert threads.default_num_threads() == expected


@pytest.mark.parametrize(
    "quota, expected",
    [
        (0.2, (1, "cgroup quota")),
        (1.0, (1, "cgroup quota")),
        (2.5, (3, "cgroup quota")),
        (7.9, (8, "cgroup quota")),
        (8.0, (8, "CPU affinity")),
        (64.0, (8, "CPU affinity")),
    ],
)
def test_smaller_of_affinity_and_quota(clean_environment, quota, expected):
    clean_environment.setattr(threads, "cgroup_quota", lambda: quota)
    assert threads.default_num_threads() == expected


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", "", "1025", "2,2"], ids=repr)
def test_wrong_number_in_the_environment(clean_environment, value):
    clean_environment.setenv("FASTACT_NUM_THREADS", value)
    with pytest.raises(ValueError, match=r"FASTACT_NUM_THREADS: got .*; accepted: an integer from 1 to 1024"):
        threads.default_num_threads()


SHOW = "import fastact; print(fastact.get_num_threads(), fastact.threads.origin)"


@needs_threads
@needs_affinity
@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"FASTACT_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3 FASTACT_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5"}, "5 OMP_NUM_THREADS"),
        ({}, "1 CPU affinity"),
    ],
    ids=["own", "shared", "affinity"],
)
def test_number_in_a_new_process(environment, expected):
    """One CPU is allowed, as under ``taskset``."""
    script = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\n{SHOW}"
    assert run_python(script, environment=environment).strip() == expected


def test_import_refuses_a_wrong_environment():
    errors = run_python(SHOW, environment={"FASTACT_NUM_THREADS": "lots"}, succeeds=False)
    assert "ValueError: FASTACT_NUM_THREADS: got 'lots'; accepted: an integer from 1 to 1024" in errors


# -- control groups ---------------------------------------------------------------------------------------------------


def write_files(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "membership, files, quota",
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, 0.5),
        # the smallest on the way to the root holds, wherever it is
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "max 1\n"}, 2.0),
        ("0::/a\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "100000 100000\n", "c/cpu.max": "1 100\n"}, 4.0),
        # in a container the group's path is the host's, and the container's own group is the root
        ("0::/docker/1234\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/../outside\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/\n", {"cpu.max": "nonsense\n"}, math.inf),
        ("0::/a:b\n", {"a:b/cpu.max": "100000 100000\n"}, 1.0),
    ],
)
def test_cgroup_version_2(tmp_path, membership, files, quota):
    write_files(tmp_path, {"membership": membership})
    write_files(tmp_path / "cgroup", files)
    assert threads.cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == quota


MEMBERSHIP_1 = (
    "12:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n3:cpuset:/docker/1\n1:name=systemd:/docker/1\n0::/system\n"
)


@pytest.mark.parametrize(
    "files, quota",
    [
        ({"cpu/docker/1/cpu.cfs_quota_us": "50000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/docker/1/cpu.cfs_quota_us": "-1\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/docker/cpu.cfs_quota_us": "300000\n", "cpu/docker/cpu.cfs_period_us": "100000\n"}, 3.0),
        # the container's own group, mounted as the root
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3.0),
        # other controllers' folders, and half a pair, say nothing
        ({"cpuset/docker/1/cpu.cfs_quota_us": "1\n", "cpuset/docker/1/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/docker/1/cpu.cfs_quota_us": "50000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_cgroup_version_1(tmp_path, files, quota):
    write_files(tmp_path, {"membership": MEMBERSHIP_1})
    write_files(tmp_path / "cgroup", files)
    assert threads.cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == quota


def test_no_cgroups(tmp_path):
    assert threads.cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == math.inf


# -- results ----------------------------------------------------------------------------------------------------------


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


# -- what the operating system sees -----------------------------------------------------------------------------------

COUNT_TASKS = """
import os, threading
import numpy as np
import fastact

def tasks():
    return len(os.listdir("/proc/self/task"))

x = np.linspace(-9, 9, 1_000_003, dtype="float32")
"""


@needs_threads
@needs_tasks
def test_threads_start_when_they_are_needed():
    run_python(
        COUNT_TASKS
        + """
fastact.set_num_threads(2)
assert tasks() == 1, "the import started a thread"
for small in (x[:0], x[:16], x[:1000], x[0], x[:0].reshape(0, 7)):
    fastact.silu(small)
assert tasks() == 1, "a small array started a thread"
fastact.silu(x)
assert tasks() == 2, f"{tasks()} tasks, not two"
fastact.silu(x[::2])
assert tasks() == 2, f"{tasks()} tasks, not two"
with fastact.num_threads(4):
    fastact.silu(x)
    assert tasks() == 4, f"{tasks()} tasks, not four"
fastact.set_num_threads(1)
threading.Thread(target=fastact.silu, args=(x,)).start()
"""
    )


@needs_threads
@needs_tasks
def test_one_thread_starts_none():
    run_python(COUNT_TASKS + "fastact.silu(x)\nassert tasks() == 1\n", environment={"FASTACT_NUM_THREADS": "1"})


MANY_CALLERS = """
most = 0
lock = threading.Lock()

def watch():
    global most
    while not done.is_set():
        most = max(most, tasks())
        done.wait(0.002)

def many_callers(callers, *counts):
    global done
    barrier, done = threading.Barrier(callers), threading.Event()

    def call():
        for count in counts:
            barrier.wait()
            fastact.set_num_threads(count)
            barrier.wait()
            with lock:  # one after the other, so that nobody is refused because another one works in parallel
                fastact.silu(x)
            barrier.wait()
            for _ in range(10):
                fastact.silu(x)
        barrier.wait()  # all together, while every caller lives

    watcher = threading.Thread(target=watch)
    others = [threading.Thread(target=call) for _ in range(callers)]
    for thread in (watcher, *others):
        thread.start()
    for thread in others:
        thread.join()
    done.set()
    watcher.join()
    # beside the callers: the main thread, and the one that watches
    return most - callers - 2
"""


@needs_threads
@needs_tasks
@pytest.mark.parametrize("counts", [(2,), (4,), (2, 4), (4, 2)], ids=str)
def test_all_callers_share_the_workers(counts):
    """32 threads that all call with large arrays, with a number of threads that changes, make the workers of one."""
    run_python(
        COUNT_TASKS
        + MANY_CALLERS
        + f"""
workers = many_callers(32, *{counts})
assert workers == {max(counts) - 1}, f"{{workers}} workers"
"""
    )


@needs_threads
@needs_tasks
def test_many_callers_one_after_the_other():
    """Threads that come and go leave nothing behind, and the last one is served by two threads as the first one was."""
    run_python(
        COUNT_TASKS
        + """
import time

fastact.set_num_threads(2)
found = []

def call():
    fastact.silu(x)
    found.append(tasks())

for _ in range(40):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    # a thread is a task a moment longer than it can be joined
    deadline = time.monotonic() + 10
    while tasks() > 2 and time.monotonic() < deadline:
        time.sleep(0.001)
# the main thread, the caller, and the worker
assert set(found) == {3}, found
"""
    )


@needs_threads
def test_idle_workers_sleep():
    """They stay awake between calls that come in rows, and no longer."""
    run_python(
        COUNT_TASKS
        + """
import time

fastact.set_num_threads(2)
for _ in range(6):
    for _ in range(10):
        fastact.silu(x)
    time.sleep(0.02)
    before = time.process_time()
    time.sleep(0.1)
    used = time.process_time() - before
    assert used < 0.02, f"{used} s of CPU time in 0.1 s without a call"
"""
    )


@needs_threads
@needs_tasks
def test_no_openmp_in_the_process():
    """Another runtime beside PyTorch's or NumPy's would bring its threads, and its trouble with forks."""
    run_python(
        COUNT_TASKS
        + """
fastact.set_num_threads(2)
fastact.silu(x)
runtimes = [line for line in open("/proc/self/maps") if any(n in line for n in ("libgomp", "libomp", "libiomp"))]
assert not runtimes, runtimes
"""
    )


#: ``serve`` makes a Python function a float32 kernel of silu that may use threads; two share ``large``.
OWN_KERNEL = """
import ctypes

POINTERS = ctypes.POINTER(ctypes.c_void_p)
KERNEL = ctypes.CFUNCTYPE(None, POINTERS, POINTERS, ctypes.c_ssize_t, ctypes.c_void_p)
large = x[:200_000]
# long beside it: an isolated short job does not wake sleeping workers
fastact.silu.parallel_from = (1024,) * 4

def serve(kernel):
    global keep
    keep = KERNEL(lambda inputs, outputs, count, params: kernel())
    fastact.silu.supply(1, 0, ctypes.cast(keep, ctypes.c_void_p).value, False)
    fastact.silu.activate(1, 0)

def here():
    return threading.get_native_id()
"""


@needs_threads
@pytest.mark.parametrize("count", [2, 3])
def test_workers_do_the_work(count):
    """So many threads are inside the kernel at the same time; when the number is lowered, no more than that."""
    run_python(
        COUNT_TASKS
        + OWN_KERNEL
        + f"""
def kernel():
    if here() not in met:
        met.add(here())
        try:
            together.wait(patience)
        except threading.BrokenBarrierError:
            pass  # waited in vain

met, together, patience = set(), threading.Barrier({count}), 20
serve(kernel)
fastact.set_num_threads({count})
fastact.silu(large)
assert len(met) == {count} and here() in met, met
fastact.set_num_threads({count - 1})
for _ in range(5):
    met, together, patience = set(), threading.Barrier({count}), 0.1
    fastact.silu(large)
    assert 1 <= len(met) <= {count - 1}, met
"""
    )


@needs_threads
@needs_tasks
def test_one_job_at_a_time():
    """Who finds another call working in parallel works alone: it neither waits nor adds threads."""
    run_python(
        COUNT_TASKS
        + OWN_KERNEL
        + """
import time

def kernel():
    worked.append(here())
    if first and here() not in inside:
        inside.add(here())
        together.wait(20)
        assert go_on.wait(20)

first, worked, inside, together, go_on = True, [], set(), threading.Barrier(3), threading.Event()
serve(kernel)
fastact.set_num_threads(2)
other = threading.Thread(target=fastact.silu, args=(large,))
other.start()
together.wait(20)  # both threads of the other call are inside the kernel
first = False
before = tasks()
del worked[:]
fastact.silu(large)
assert set(worked) == {here()} and tasks() == before, (worked, before, tasks())
go_on.set()
other.join()

# with nobody else at work, there are two again; a worker is woken at most once in 50 us
time.sleep(0.1)
together = threading.Barrier(2)
first, inside = True, set()
fastact.silu(large)
assert len(inside) == 2, inside
"""
    )


@needs_threads
@needs_tasks
def test_call_inside_a_kernel():
    """A call from inside a call, on the calling thread or on a worker, works alone and comes back."""
    run_python(
        COUNT_TASKS
        + OWN_KERNEL
        + """
def kernel():
    if here() not in results:
        results[here()] = None
        together.wait(20)
        before = tasks()
        results[here()] = fastact.mish(large)
        assert tasks() == before

fastact.set_num_threads(2)
expected = fastact.mish(large)
results, together = {}, threading.Barrier(2)
serve(kernel)
fastact.silu(large)
assert len(results) == 2
assert all((result == expected).all() for result in results.values())
"""
    )


@needs_threads
def test_kernel_that_needs_the_interpreter():
    """A kernel in Python, as NumPy's are, runs in every thread of a call: the caller must not keep the interpreter."""
    run_python("""
        import ctypes, threading, time
        import numpy as np
        import fastact

        def kernel(inputs, outputs, count, parameters):
            # the other threads are still busy when the calling one is done
            if threading.get_ident() != caller:
                time.sleep(0.01)

        caller = threading.get_ident()
        callback = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, ctypes.c_ssize_t, ctypes.c_void_p)(kernel)
        relu = fastact.relu
        relu.supply(2, 1, ctypes.cast(callback, ctypes.c_void_p).value, False)
        relu.activate(2, 1)
        relu.parallel_from = (512,) * 4
        fastact.set_num_threads(2)
        for size in (1024, 2000, 8191, 8192, 100000):
            x = np.zeros(size)
            relu(x)
            relu(x, out=x)
            relu(x[::-1])
            relu(x[::2], out=x[::2])
        """)


# -- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX timers")
def test_storm_of_signals():
    """An alarm every half millisecond: results stay right, and the handler runs."""
    run_python(
        COUNT_TASKS
        + """
import signal

alarms = 0

def count(number, frame):
    global alarms
    alarms += 1

fastact.set_num_threads(2)
expected = fastact.silu(x)
signal.signal(signal.SIGALRM, count)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(200):
    assert (fastact.silu(x) == expected).all()
signal.setitimer(signal.ITIMER_REAL, 0)
assert alarms > 20, alarms
"""
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_while_computing():
    """Ctrl-C ends a loop of calls with KeyboardInterrupt, after a call; the next call works."""
    run_python(
        COUNT_TASKS
        + """
import signal, time

# a shell starts background jobs with SIGINT ignored, and Python leaves that so
signal.signal(signal.SIGINT, signal.default_int_handler)
fastact.set_num_threads(2)
expected = fastact.silu(x)
out = np.empty_like(x)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
deadline = time.monotonic() + 10
try:
    while time.monotonic() < deadline:
        fastact.silu(x, out=out)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("no KeyboardInterrupt")
assert (out == expected).all()
assert (fastact.silu(x) == expected).all()
"""
    )
