"""Forked, forkserver and spawned processes: each computes rightly, with threads, and ends with status 0.

Threads do not survive a fork, and what a process remembers of them makes most packages hang in the child (all that use
GCC's OpenMP, for one: GCC bug 60035).  Every way to make a process is tried here, from a parent that has and has not
used threads before, in a fresh interpreter that is killed if it does not end.
"""

import pytest
from cases import needs_threads
from interpreters import run_python

from fastact import dispatch

pytestmark = needs_threads

#: ``work`` computes an array with two threads, checks it and the threads; ``finished`` waits for a child's status.
PRELUDE = """
import os
import sys
import threading

import numpy as np

{before}
import fastact
from fastact import reference

{after}
fastact.set_num_threads(2)
fastact.set_backend({backend!r})
x = np.linspace(-9, 9, 300_007, dtype="float32")
pieces = np.array_split(x, 60)
assert fastact.dispatch.threads_for(fastact.silu, "float32", x.size) == 2
assert fastact.dispatch.threads_for(fastact.silu, "float32", pieces[0].size) == 1
truth = reference.silu(x.astype("float64")).astype("float32")


def tasks():
    return len(os.listdir("/proc/self/task"))


def work():
    y = fastact.silu(x)
    serial = np.concatenate([fastact.silu(piece) for piece in pieces])
    assert (y.view("int32") == serial.view("int32")).all()
    np.testing.assert_allclose(y, truth, rtol=1e-6)


def work_in_child():
    assert tasks() == 1, f"{{tasks()}} tasks at the start of the child"
    work()
    # the NumPy backend's kernels run Python, and serially
    expected = 1 if fastact.get_backend() == "numpy" else 2
    assert tasks() == expected, f"{{tasks()}} tasks in the child that worked with two threads"


def work_and_exit():
    # from a thread that is not main, the child cannot end as an interpreter does
    try:
        work_in_child()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def finished(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_thread(target):
    failures = []

    def run():
        try:
            target()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures, failures
"""

#: Last, the parent goes on with threads, and ends as interpreters end.
EPILOGUE = """
    work()
    assert tasks() >= (1 if fastact.get_backend() == "numpy" else 2), "no threads in the parent after the fork"
"""

FORK = """
    child = os.fork()
    if child == 0:
        work_in_child()
        sys.exit(0)
    finished(child)
"""

FORK_OF_FORK = """
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            work_in_child()
            sys.exit(0)
        finished(grandchild)
        work_in_child()
        grandchild = os.fork()  # and now that the child has used threads
        if grandchild == 0:
            work_in_child()
            sys.exit(0)
        finished(grandchild)
        work()
        sys.exit(0)
    finished(child)
"""

FORK_IN_THREAD = """
    def fork():
        child = os.fork()
        if child == 0:
            work_and_exit()
        finished(child)

    in_thread(fork)
"""

FORK_IN_THREAD_THAT_USED_THREADS = """
    def fork():
        work()
        child = os.fork()
        if child == 0:
            work_and_exit()
        finished(child)
        work()

    in_thread(fork)
"""

FORK_BESIDE_RUNNING_THREAD = """
    ready, stop = threading.Event(), threading.Event()
    rounds = [0]

    def compute():
        while not stop.is_set():
            work()
            rounds[0] += 1
            ready.set()

    thread = threading.Thread(target=compute)
    thread.start()
    assert ready.wait(20)
    for _ in range(10):
        child = os.fork()
        if child == 0:
            work_and_exit()
        finished(child)
    before = rounds[0]
    while rounds[0] < before + 2 and thread.is_alive():
        stop.wait(0.01)
    stop.set()
    thread.join()
    assert rounds[0] >= before + 2, "the running thread did not survive the forks"
"""

PROCESS = """
    import multiprocessing

    context = multiprocessing.get_context({method!r})
    for target, arguments in ((work_in_child, ()), (work_in_child_of_child, ({method!r},))):
        process = context.Process(target=target, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0, process.exitcode
    with context.Pool(2) as pool:
        assert pool.map(work_in_pool, range(8)) == list(range(8))
        pool.close()
        pool.join()
"""

PROCESS_FUNCTIONS = """
def work_in_pool(k):
    work()
    assert tasks() >= 2, "no threads"
    return k


def work_in_child_of_child(method):
    import multiprocessing

    work()
    process = multiprocessing.get_context(method).Process(target=work_in_pool, args=(0,))
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
    work()
"""

WAYS = {
    "fork": FORK,
    "fork_of_fork": FORK_OF_FORK,
    "fork_in_thread": FORK_IN_THREAD,
    "fork_in_thread_that_used_threads": FORK_IN_THREAD_THAT_USED_THREADS,
    "fork_beside_running_thread": FORK_BESIDE_RUNNING_THREAD,
}


def script(way, used, *, backend="cython", before="", after=""):
    """A script that goes that way; ``before`` and ``after`` are statements around the import of fastact."""
    prelude = PRELUDE.format(backend=backend, before=before, after=after)
    uses = "    work()\n" if used else ""
    return f'{prelude}{PROCESS_FUNCTIONS}\nif __name__ == "__main__":\n{uses}{way}{EPILOGUE}'


USED = pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])


@USED
@pytest.mark.parametrize("way", WAYS)
def test_fork(way, used):
    run_python(script(WAYS[way], used))


@USED
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(method, used):
    run_python(script(PROCESS.format(method=method), used), timeout=60)


@USED
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_fork_on_other_backends(backend, used):
    if dispatch.why_unavailable(backend):
        pytest.skip(dispatch.why_unavailable(backend))
    run_python(script(WAYS["fork_of_fork"], used, backend=backend), timeout=60)


@pytest.mark.parametrize("torch_first", [True, False], ids=["torch_first", "fastact_first"])
@pytest.mark.parametrize("way", ["fork_of_fork", "fork_in_thread_that_used_threads"])
def test_fork_after_torch_used_threads(way, torch_first):
    """PyTorch's OpenMP threads are lost in the child, where PyTorch itself would hang: fastact does not care."""
    pytest.importorskip("torch")
    use_torch = """
import torch

assert torch.get_num_threads() == 2
torch.sigmoid(torch.linspace(-9, 9, 1_000_000))
"""
    # not by torch.set_num_threads: that starts a pool of another kind too, and PyTorch 2.13 waits for the threads of
    # that one when a forked child exits, with or without fastact
    environment = {"OMP_NUM_THREADS": "2"}
    placed = {"before": use_torch} if torch_first else {"after": use_torch}
    run_python(script(WAYS[way], True, **placed), timeout=60, environment=environment)


def test_fork_beside_thread_that_makes_a_kernel():
    """A kernel made on first use takes seconds under Numba: a child forked meanwhile must not wait for that thread."""
    way = """
    from fastact.backends import numpy_kernels

    started, go_on = threading.Event(), threading.Event()
    make = numpy_kernels.kernel

    def make_slowly(loop, dtype):
        if threading.current_thread() is thread:
            started.set()
            go_on.wait()
        return make(loop, dtype)

    numpy_kernels.kernel = make_slowly
    thread = threading.Thread(target=fastact.tanh, args=(x,))
    thread.start()
    assert started.wait(10)
    child = os.fork()
    if child == 0:
        work()  # its kernel is made in the child
        fastact.set_backend("auto")
        work()
        os._exit(0)
    finished(child)
    go_on.set()
    thread.join()
"""
    run_python(script(way, False, backend="numpy"), timeout=20)


@pytest.mark.parametrize("where", ["caller", "worker"])
def test_fork_inside_a_kernel(where):
    """A kernel that runs Python may fork, on the calling thread or on a worker: the child computes, and ends."""
    way = f"""
    import ctypes

    pointers = ctypes.POINTER(ctypes.c_void_p)
    forked, both, met = [], threading.Barrier(2), set()

    @ctypes.CFUNCTYPE(None, pointers, pointers, ctypes.c_ssize_t, ctypes.c_void_p)
    def kernel(inputs, outputs, count, params):
        here = threading.get_native_id()
        if here not in met:
            met.add(here)
            both.wait(10)
            if (here == os.getpid()) == ({where!r} == "caller"):
                child = os.fork()
                if child == 0:
                    fastact.set_backend("auto")
                    work_and_exit()
                forked.append(child)

    fastact.tanh.supply(1, 0, ctypes.cast(kernel, ctypes.c_void_p).value, False)
    fastact.tanh.activate(1, 0)
    fastact.tanh(x)
    assert len(forked) == 1
    finished(forked[0])
"""
    run_python(script(way, False))
