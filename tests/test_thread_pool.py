"""Jobs on the threads of an OpenMP runtime (``set_thread_pool``): the same bits, no workers of our own, the way there
unasked, and the way back where the runtime cannot serve.

Interpreters of their own, because a runtime stays in the process that has loaded it.  GCC's is loaded by its name, as
any package would bring it; where PyTorch is installed, its own is tried, too.
"""

import importlib.util
import os
import subprocess

import pytest
from extensions import COMPILERS, needs_gcc, needs_tasks
from interpreters import run_python

import fastact

pytestmark = pytest.mark.alone
TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
RUNTIME = pytest.mark.parametrize("runtime", [pytest.param("gcc", marks=needs_gcc), pytest.param("torch", marks=TORCH)])
TWO = {"OMP_NUM_THREADS": "2"}

START = """
import ctypes, os, sys, threading
import numpy as np
import fastact
from tasks import names

x = np.linspace(-8, 8, 1 << 20, dtype=np.float32)
fastact.set_num_threads(1)
expected = {name: getattr(fastact, name)(x) for name in ("gelu", "silu", "mish", "relu")}
fastact.set_num_threads(2)

def work(repetitions=3):
    for _ in range(repetitions):
        for name, truth in expected.items():
            assert (getattr(fastact, name)(x).view("int32") == truth.view("int32")).all(), name
"""


def load(runtime):
    """The statement that brings the runtime into the process."""
    if runtime == "torch":
        return "\nimport torch\ntorch.relu(torch.ones(1 << 20))\n"
    path = subprocess.check_output([COMPILERS["c"], "-print-file-name=libgomp.so.1"], text=True).strip()
    return f"\nctypes.CDLL({path!r})\n"


@RUNTIME
@needs_tasks
def test_same_bits_on_the_threads_of_the_runtime(runtime):
    run_python(
        START
        + load(runtime)
        + """
before = len(names())
fastact.set_thread_pool("openmp")
assert fastact.get_thread_pool() == "openmp"
work()
assert "fastact" not in names(), "workers of our own were made"
if "torch" not in sys.modules:
    assert len(names()) == before + 1, "the runtime's team did not work"
fastact.set_thread_pool("own")
assert fastact.get_thread_pool() == "own"
work()
assert "fastact" in names()
""",
        environment=TWO,
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2, reason="no two cores to choose")
@needs_gcc
def test_workers_that_find_no_core_are_replaced(tmp_path):
    """The runtime's thread never sleeps here, so on two cores a worker of ours has half of one at most."""
    source = tmp_path / "region.c"
    source.write_text('void region(void) {\n    _Pragma("omp parallel") { __asm__ volatile(""); }\n}\n')
    library = tmp_path / "region.so"
    flags = ["-O2", "-fPIC", "-shared", "-fopenmp"]
    subprocess.run([COMPILERS["c"], *flags, str(source), "-o", str(library)], check=True)
    run_python(
        f"import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])\n{START}"
        + f"region = ctypes.CDLL({str(library)!r}).region\n"
        + """
import time
from fastact import _core

assert fastact.get_thread_pool() == "auto"
assert not _core.borrows_openmp()
part, out = x[: 1 << 18], np.empty(1 << 18, np.float32)
truth = expected["gelu"][: 1 << 18].view("int32")
end, borrowed = time.monotonic() + 90, False
while not borrowed and time.monotonic() < end:
    for _ in range(50):
        region()
        fastact.gelu(part, out=out)
        assert (out.view("int32") == truth).all()
        borrowed = borrowed or _core.borrows_openmp()
assert borrowed
assert "threads of pool 'openmp' at present" in str(fastact.explain("gelu", x)) or not _core.borrows_openmp()
fastact.set_thread_pool("own")
for _ in range(1000):
    region()
    fastact.gelu(part, out=out)
    assert not _core.borrows_openmp()
""",
        environment={"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active", "OMP_PROC_BIND": "false"},
        timeout=180,
    )


@needs_gcc
@pytest.mark.parametrize("team", [1, 3])
@pytest.mark.parametrize("count", [2, 5])
def test_teams_of_other_sizes(team, count):
    """What the runtime gives need not be what fastact may use: every chunk is done, and once."""
    run_python(
        START
        + load("gcc")
        + f"""
fastact.set_num_threads({count})
fastact.set_thread_pool("openmp")
work()
for name, truth in expected.items():
    y = x.copy()
    getattr(fastact, name)(y, out=y)
    assert (y.view("int32") == truth.view("int32")).all(), name
""",
        environment={"OMP_NUM_THREADS": str(team)},
    )


@RUNTIME
def test_callers_on_many_threads_and_a_pool_that_changes_meanwhile(runtime):
    run_python(
        START
        + load(runtime)
        + """
failures = []

def guarded():
    try:
        work(10)
    except BaseException as error:
        failures.append(error)

fastact.set_thread_pool("openmp")
threads = [threading.Thread(target=guarded) for _ in range(8)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    for pool in ("own", "openmp"):
        fastact.set_thread_pool(pool)
for thread in threads:
    thread.join()
assert not failures, failures
""",
        environment=TWO,
        timeout=60,
    )


@RUNTIME
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_back_with_its_own(runtime):
    """The runtime would wait for threads that the child does not have."""
    run_python(
        START
        + load(runtime)
        + """
fastact.set_thread_pool("openmp")
work()
child = os.fork()
if not child:
    try:
        assert fastact.get_thread_pool() == "own"
        work()
        fastact.set_thread_pool("auto")
        work()
        try:
            fastact.set_thread_pool("openmp")
        except ValueError as error:
            assert "forked child" in str(error)
        else:
            raise AssertionError("a child may not use the runtime")
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert fastact.get_thread_pool() == "openmp"
work()
""",
        environment=TWO,
    )


def test_without_a_runtime():
    run_python(
        START
        + """
try:
    fastact.set_thread_pool("openmp")
except ValueError as error:
    assert str(error).startswith("name: got 'openmp', and this process has no OpenMP runtime"), error
else:
    raise AssertionError("there is none")
assert fastact.get_thread_pool() == "auto"
work()
"""
    )


@pytest.mark.parametrize("name", ["OpenMP", "", None, 1, ["own"]])
def test_other_names(name):
    with pytest.raises(ValueError, match=r"^name: got .*; accepted: 'auto', 'own', 'openmp'$"):
        fastact.set_thread_pool(name)
    assert fastact.get_thread_pool() == "auto"
