"""The C interface on threads: any thread may call, nobody needs the GIL, and OpenMP regions are worked in serially.

Workers of fastact are counted by the name that they give themselves, in an interpreter of their own where the process
must be known from its start.
"""

import ctypes
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
import table_calls
from cases import ALL_DTYPES, FUNCTIONS, assert_same_bits
from extensions import C_SOURCES, COMPILERS, compile_c, needs_gcc, needs_tasks
from interpreters import run_python
from table_calls import OK, dense_result

import fastact

pytestmark = [needs_gcc, pytest.mark.alone]
harness, harness_file = table_calls.harness, table_calls.harness_file

SCRIPT = """
import ctypes, os, sys, time
import numpy as np
import fastact
import tasks
from table_calls import Harness, address, addresses

def workers():
    return tasks.names().count("fastact")

def assert_workers(expected):
    # a worker gives itself its name once the system lets it run
    time.sleep(0.03)
    deadline = time.monotonic() + 5
    while workers() != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers() == expected, f"{workers()} workers, not {expected}"

harness = Harness(%r)
x = np.linspace(-8, 8, 1 << 18, dtype=np.float32)
"""


@pytest.fixture(scope="module")
def openmp_harness_file(tmp_path_factory):
    """The harness compiled with -fopenmp: it brings libgomp.so.1 into the process that loads it."""
    folder = tmp_path_factory.mktemp("openmp")
    return table_calls.compile_harness(folder, "-fopenmp")


# --- many callers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_eight_foreign_threads_at_once(harness, two_threads, dtype):
    """Threads of pthread_create, which Python has never seen; every repetition is compared."""
    x = np.linspace(-8, 8, 20011).astype(dtype)
    for function in (fastact.gelu, fastact.relu):
        callers, _ = harness.callers(function, x, 8, repetitions=20)
        assert harness.at_once(callers, 8) == 0
        assert [(c.failed, c.wrong) for c in callers] == [(0, 0)] * 8, harness.message()


def test_eight_python_threads_without_the_gil(harness, two_threads):
    """ctypes releases the GIL: all functions at once, each thread with arrays of its own, in a different order."""
    x = np.linspace(-8, 8, 5003)
    expected = {f.name: dense_result(f, inputs_of(f, x)) for f in FUNCTIONS}
    wrong = []

    def work(seed):
        for k in np.random.default_rng(seed).permutation(len(FUNCTIONS)):
            function = FUNCTIONS[k]
            results = [np.empty_like(x) for _ in expected[function.name]]
            status = harness.apply_to(function, inputs_of(function, x), results)
            if status != OK or any((got != e).any() for got, e in zip(results, expected[function.name], strict=True)):
                wrong.append(function.name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def inputs_of(function, x):
    return [x] * (len(function.array_names) + len(function.operand_names))


@needs_tasks
def test_threads_are_used_as_asked(harness_file):
    """Large arrays start workers, small ones and ``threads=1`` do not, with rows and without."""
    run_python(
        SCRIPT % str(harness_file)
        + """
fastact.set_num_threads(2)
y = np.empty_like(x)
small, block, target = x[:64].copy(), np.zeros((512, 600), np.float32), np.zeros((512, 600), np.float32)
assert harness.apply_to(fastact.gelu, [x], [y], threads=1) == 0
assert harness.run_on(fastact.gelu, [block[:, 50:]], [target[:, 50:]], threads=1) == 0
assert harness.apply_to(fastact.gelu, [small], [small.copy()], threads=0) == 0
assert_workers(0)
assert harness.run_on(fastact.gelu, [block[:, 50:]], [target[:, 50:]], threads=0) == 0
assert_workers(1)
assert harness.apply_to(fastact.gelu, [x], [y], threads=0) == 0
assert_workers(1)
"""
    )


# --- inside OpenMP ----------------------------------------------------------------------------------------------------


@needs_tasks
@pytest.mark.parametrize("through_table", [0, 1], ids=["header", "table"])
def test_serial_inside_a_region(openmp_harness_file, through_table):
    """By the header's own look (its caller is compiled with OpenMP), and by the package's (past the header)."""
    run_python(
        SCRIPT % str(openmp_harness_file)
        + f"""
fastact.set_num_threads(2)
# on one thread, so that no worker exists before
with fastact.num_threads(1):
    expected = fastact.gelu(x)
callers, outputs = harness.callers(
    fastact.gelu, x, 4, expected, repetitions=5, through_table={through_table}
)
assert harness.in_region(callers, 2) == 2, "no parallel region"
assert [(c.failed, c.wrong) for c in callers[:2]] == [(0, 0)] * 2, harness.message()
assert_workers(0)
# the same calls outside, to see that they are large enough
assert harness.at_once(callers, 1) == 0
assert (callers[0].failed, callers[0].wrong) == (0, 0)
assert_workers(1)
"""
    )


def test_header_asks_for_one_thread_inside_a_region(openmp_harness_file):
    run_python(
        SCRIPT % str(openmp_harness_file)
        + """
for threads in (0, 1, 2, 64):
    assert harness.threads_in_region(threads) == 1
    assert harness.threads(threads) == threads
"""
    )


def test_eight_callers_in_a_region(openmp_harness_file):
    """What a caller with OpenMP does: its own threads take arrays each, all of them large."""
    run_python(
        SCRIPT % str(openmp_harness_file)
        + """
for function in (fastact.silu, fastact.softplus, fastact.tanh):
    callers, outputs = harness.callers(function, x, 8, repetitions=2, through_table=0)
    assert harness.in_region(callers, 8) >= 2
    assert [(c.failed, c.wrong) for c in callers] == [(0, 0)] * 8
"""
    )


@needs_tasks
@pytest.mark.parametrize("name", ["libgomp.so.1", "libgomp-0123abcd.so.1.0.0", "libiomp5.so"])
def test_serial_inside_a_region_of_any_runtime(harness_file, openmp_harness_file, tmp_path, name):
    """Wheels bring runtimes along under names of their own; and one may come after the first call."""
    runtime = subprocess.check_output([COMPILERS["c"], "-print-file-name=libgomp.so.1"], text=True).strip()
    copy = shutil.copy(runtime, tmp_path / name)
    run_python(
        SCRIPT % str(harness_file)
        + f"""
def libraries():
    with open("/proc/self/maps") as file:
        return [os.path.basename(line.split()[-1]) for line in file]

fastact.set_num_threads(2)
assert harness.apply_to(fastact.gelu, [x], [np.empty_like(x)]) == 0
assert_workers(1)
assert not any("omp" in library for library in libraries() if library.startswith("lib"))
# loaded first, it is what the harness is linked with: the runtime's own name for itself is the same
ctypes.CDLL({str(copy)!r})
harness = Harness({str(openmp_harness_file)!r})
assert {{library for library in libraries() if library.startswith(("libgomp", "libiomp"))}} == {{{name!r}}}
"""
        + """
callers, outputs = harness.callers(fastact.gelu, x, 4, fastact.gelu(x), repetitions=3, through_table=1)
# none of the workers that there are is used
fastact.set_num_threads(8)
assert harness.in_region(callers, 2) == 2
assert [(c.failed, c.wrong) for c in callers[:2]] == [(0, 0)] * 2
assert_workers(1)
assert harness.at_once(callers, 1) == 0
assert_workers(7)
"""
    )


@pytest.mark.parametrize("runtimes", [False, True], ids=["no runtime", "libgomp"])
def test_looking_for_openmp_costs_little(tmp_path, runtimes):
    """Every large call looks.  30 ns; the limit leaves room for a busy machine, not for a search in the file system."""
    header = C_SOURCES.parents[1] / "src_cy" / "openmp.h"
    if not header.exists():
        pytest.skip("no sources")
    source = tmp_path / "look.c"
    source.write_text(
        "#define _GNU_SOURCE\n"
        f'#include "{header}"\n'
        "int look(int times);\n"
        "int look(int times)\n"
        "{\n"
        "    int found = 0;\n"
        "    while (times-- > 0)\n"
        "        found += fastact_inside_openmp();\n"
        "    return found;\n"
        "}\n"
    )
    # the header is the package's own and may use what GNU C has
    flags = ["-std=gnu11", "-fPIC", "-shared", "-O2", *(["-fopenmp", "-Wl,--no-as-needed"] if runtimes else [])]
    look = ctypes.CDLL(str(compile_c([source], tmp_path / "look.so", *flags))).look
    assert look(1) == 0
    times = []
    for _ in range(20):
        start = time.perf_counter_ns()
        look(1000)
        times.append((time.perf_counter_ns() - start) / 1000)
    assert min(times) < 3000, f"{min(times)} ns"


# --- kernels that Python must make ------------------------------------------------------------------------------------


def test_foreign_threads_wait_for_numba_to_make_a_kernel(harness_file):
    """The first call of all comes from threads that have never had the GIL, which making the kernel needs."""
    pytest.importorskip("numba")
    run_python(
        SCRIPT % str(harness_file)
        + """
assert fastact.relu.serving(0) == -1, "the kernel exists already"
callers, outputs = harness.callers(fastact.relu, x, 4, x)
assert harness.at_once(callers, 4) == 0
assert [c.failed for c in callers] == [0] * 4, harness.message()
assert fastact.relu.serving(0) == 1
expected = fastact.relu(x)
assert all((y == expected).all() for y in outputs)
kernel = ctypes.c_void_p()
assert harness.kernel(harness.function(fastact.tanh), 0, ctypes.byref(kernel)) == 0
y = np.empty_like(x)
harness.call_kernel(kernel, addresses([x]), addresses([y]), x.size, None)
assert (y == fastact.tanh(x)).all()
""",
        environment={"FASTACT_BACKEND": "numba"},
        timeout=120,
    )


def test_foreign_threads_on_kernels_of_python(harness, two_threads):
    """NumPy's kernels take the GIL for each call."""
    x = np.linspace(-8, 8, 3001)
    with fastact.use_backend("numpy"):
        callers, outputs = harness.callers(fastact.softplus, x, 8, repetitions=3)
        assert harness.at_once(callers, 8) == 0
        assert [(c.failed, c.wrong) for c in callers] == [(0, 0)] * 8
        assert_same_bits(outputs[0], fastact.softplus(x))


def test_no_kernel_at_all(harness_file):
    """A status, the reason on stderr, and nothing written."""
    run_python(
        SCRIPT % str(harness_file)
        + """
from fastact import dispatch

def fails(loop, dtype):
    raise RuntimeError("no kernel today")

for backend, module in enumerate(dispatch._MODULES.values()):
    module.kernel = fails
    fastact.mish.supply(backend, 0, 0, False)
fastact.mish.activate(0, 0)
# what Python prints is not of interest in the test's own output
sys.unraisablehook = lambda unraisable: reasons.append(str(unraisable.exc_value))
reasons = []
y = np.full_like(x, 7)
assert harness.apply_to(fastact.mish, [x], [y]) == 11
assert harness.message() == b"mish: the chosen backend could not make a kernel"
kernel = ctypes.c_void_p(5)
assert harness.kernel(harness.function(fastact.mish), 0, ctypes.byref(kernel)) == 11
assert kernel.value == 5 and (y == 7).all()
callers, outputs = harness.callers(fastact.mish, x, 1, x)
assert harness.at_once(callers, 1) == 0
assert callers[0].failed == 1
assert len(reasons) == 3 and all("no kernel today" in reason for reason in reasons), reasons
"""
    )
