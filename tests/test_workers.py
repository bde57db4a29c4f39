"""Worker threads as the operating system sees them: when there are any, what they do, what interrupts them.

A process's tasks are its Python threads and the workers that fastact started.  What needs a fresh process, or might not
come back, runs in an interpreter of its own.
"""

import sys

import pytest
from cases import needs_threads
from extensions import needs_tasks
from interpreters import run_python

pytestmark = pytest.mark.alone

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
