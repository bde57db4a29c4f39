"""Memory of freed outputs: kept within its bound, handed out once, and arrays with it are as ordinary as any.

Every array here is large enough to be recycled; x is what it is made from.
"""

import contextlib
import ctypes
import gc
import itertools
import os
import pickle
import queue
import random
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from interpreters import run_python

import fastact
from fastact import _core, recycling

pytestmark = pytest.mark.skipif(not _core.can_recycle(), reason="built without recycling")

MIB = 1 << 20
LEAST = 4 * MIB  # RECYCLE_FROM of src_cy/recycling.pxi


@pytest.fixture(autouse=True)
def bound():
    """Start with nothing kept and a bound of 64 MiB; the former bound comes back."""
    before = fastact.get_recycling().max_bytes
    gc.collect()
    fastact.set_recycling(0)
    fastact.set_recycling(64 * MIB)
    yield 64 * MIB
    fastact.set_recycling(0)
    fastact.set_recycling(before)


def output(value, n_bytes=LEAST):
    """A new output that is full of one number."""
    return fastact.relu(np.full(n_bytes // 4, value, "float32"))


def handler(array):
    return np._core.multiarray.get_handler_name(array)


def kept():
    return fastact.get_recycling().kept_bytes


# -- ordinary arrays --------------------------------------------------------------------------------------------------


def test_output_is_an_ordinary_array():
    y = output(2.5)
    assert handler(y) == "fastact"
    assert type(y) is np.ndarray and y.base is None
    assert y.flags.owndata and y.flags.writeable and y.flags.c_contiguous and y.flags.aligned
    assert (pickle.loads(pickle.dumps(y)) == y).all()
    assert handler(y.copy()) != "fastact"
    y[:] = 3
    assert (y == 3).all()


def test_every_function_makes_them():
    x = np.linspace(-3, 3, LEAST // 4, dtype="float32").reshape(4, -1)
    assert handler(fastact.gelu(x)) == handler(fastact.gelu_backward(x, x)) == "fastact"
    assert handler(fastact.prelu(x, 0.25)) == handler(fastact.prelu_backward(x, x, 0.25)[0]) == "fastact"
    assert handler(fastact.silu(x.astype("float64"))) == "fastact"
    fortran = fastact.tanh(np.asfortranarray(x))
    assert fortran.flags.f_contiguous and handler(fortran) == "fastact"
    assert (fortran == fastact.tanh(x)).all()


@pytest.mark.parametrize("count", [0, 1, LEAST // 4 - 1])
def test_small_outputs_are_numpys(count):
    assert handler(fastact.relu(np.zeros(count, "float32"))) == "default_allocator"


@pytest.mark.parametrize("new", [0, 1, 1000, LEAST // 4 - 1, LEAST // 4 + 1, LEAST, 3 * LEAST + 17])
def test_resize(new):
    x = np.arange(LEAST // 4, dtype="float32")
    y = fastact.relu(x)
    y.resize(new, refcheck=False)
    same = min(new, x.size)
    assert y.size == new and (y[:same] == x[:same]).all() and not y[same:].any()
    y[:] = 7
    z = output(1)
    assert (y == 7).all() and (z == 1).all()
    del y, z
    assert kept() <= 64 * MIB


def test_shrinking_gives_back():
    y = output(1, 16 * MIB)
    y.resize(LEAST // 4, refcheck=False)
    del y
    assert kept() == LEAST


def test_tracemalloc_counts_what_is_alive():
    numpys = tracemalloc.DomainFilter(True, 389047)  # numpy.lib.tracemalloc_domain

    def traced():
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([numpys]).traces)

    x = np.zeros(LEAST // 4, "float32")
    tracemalloc.start()
    try:
        before = traced()
        y = fastact.relu(x)
        assert LEAST <= traced() - before < LEAST + MIB
        del y
        assert kept() == LEAST
        assert traced() - before < MIB
        y = fastact.relu(x)  # from what was kept
        assert LEAST <= traced() - before < LEAST + MIB
        del y
    finally:
        tracemalloc.stop()


# -- reuse ------------------------------------------------------------------------------------------------------------


def test_memory_is_reused():
    y = output(1)
    address = y.ctypes.data
    del y
    assert kept() == LEAST
    y = output(2)
    assert y.ctypes.data == address and (y == 2).all()
    assert kept() == 0


def test_only_for_the_same_size():
    """An array never holds more than what is missing to the next 2 MiB."""
    output(1, 8 * MIB)
    assert kept() == 8 * MIB
    y = output(2, 4 * MIB)
    assert kept() == 8 * MIB
    z = output(3, 6 * MIB + 4)  # the same when rounded up
    assert kept() == 0
    assert (y == 2).all() and (z == 3).all()


def test_views_keep_it_alive():
    y = output(1)
    view, memory = y[5:10], memoryview(y)
    address = y.ctypes.data
    del y
    others = [output(2) for _ in range(4)]
    assert address not in [other.ctypes.data for other in others]
    assert (view == 1).all() and memory[0] == 1
    del view
    assert memory[-1] == 1 and kept() == 0
    memory.release()
    assert kept() == LEAST


def test_nothing_is_handed_out_twice(bound):
    """Arrays of several sizes come and go; those alive keep their values, and the bound holds at every step."""
    choices = random.Random(1)
    alive = []
    for step in range(300):
        if alive and choices.random() < 0.5:
            alive.pop(choices.randrange(len(alive)))
        elif len(alive) < 12:
            alive.append((step, output(step, choices.choice([4, 5, 6, 8, 20, 40, 80]) * MIB)))
        assert kept() <= bound
        spans = sorted((y.ctypes.data, y.ctypes.data + y.nbytes) for _, y in alive)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
        assert all(y[0] == y[-1] == value for value, y in alive)
    assert all((y == value).all() for value, y in alive)


def test_calloc_of_a_kept_block_is_zero():
    """NumPy asks for zeros only when it grows an array; here by the handler itself."""
    output(1)
    y = output(2, 8 * MIB)
    y.resize(LEAST // 4, refcheck=False)
    y.resize(4 * LEAST // 4, refcheck=False)
    assert (y[: LEAST // 4] == 2).all() and not y[LEAST // 4 :].any()


# -- the bound --------------------------------------------------------------------------------------------------------


def test_bound_holds():
    fastact.set_recycling(10 * MIB)
    arrays = [output(value) for value in range(5)]
    while arrays:
        arrays.pop()
        assert kept() <= 10 * MIB
    assert kept() == 8 * MIB
    fastact.set_recycling(7 * MIB)
    assert kept() == 4 * MIB
    output(1, 8 * MIB)  # more than the bound
    assert kept() == 4 * MIB


def test_the_oldest_makes_room():
    fastact.set_recycling(12 * MIB)
    first, second = output(1, 4 * MIB), output(2, 8 * MIB)
    newest = second.ctypes.data
    del first
    del second
    output(3, 4 * MIB)
    assert kept() == 12 * MIB
    output(3, 6 * MIB)
    assert kept() <= 12 * MIB
    assert newest not in [output(4, 6 * MIB).ctypes.data]


def test_many_small_ones():
    """There are places for 16; the 17th takes the oldest one's."""
    fastact.set_recycling(1 << 30)
    arrays = [output(value) for value in range(20)]
    last = arrays[-1].ctypes.data
    while arrays:
        arrays.pop(0)
    assert kept() == 16 * LEAST
    assert output(0).ctypes.data == last


def test_zero_keeps_nothing():
    y = output(1)
    fastact.set_recycling(0)
    del y
    assert kept() == 0
    assert handler(output(1)) == "default_allocator"


def test_release():
    output(1)
    output(1, 8 * MIB)
    assert fastact.release_recycled() == 12 * MIB
    assert fastact.get_recycling() == (64 * MIB, 0)
    assert fastact.release_recycled() == 0


MEASURE = """
import os, sys
import numpy as np, fastact
from fastact import _core

def pages(position):
    with open("/proc/self/statm") as file:
        return int(file.read().split()[position]) * os.sysconf("SC_PAGE_SIZE") >> 20

MIB = 1 << 20
fastact.set_num_threads(1)
x = np.ones(64 * MIB // 4, "float32")
fastact.relu(x[:1000])
"""


def test_footprint_is_what_it_says():
    """Mapped memory grows by what is kept and not more, and is gone after the release."""
    run_python(
        MEASURE
        + """
fastact.set_recycling(128 * MIB)
before = pages(0), pages(1)
for _ in range(5):
    y = fastact.relu(x)
    z = fastact.relu(x)
    w = fastact.relu(x)
    del y, z, w
assert fastact.get_recycling().kept_bytes == 128 * MIB
assert 127 <= pages(0) - before[0] <= 130, pages(0) - before[0]
assert pages(1) - before[1] <= 130, pages(1) - before[1]
fastact.release_recycled()
assert pages(0) - before[0] <= 2 and pages(1) - before[1] <= 2
"""
    )


def test_the_system_may_take_what_is_kept():
    """Pages that the kernel is asked to reclaim are gone, without swap; the next output does not miss them."""
    run_python(
        MEASURE
        + """
import ctypes
y = fastact.relu(x)
address = y.ctypes.data
del y
libc = ctypes.CDLL(None, use_errno=True)
resident = pages(1)
MADV_PAGEOUT = 21
if libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(64 * MIB), MADV_PAGEOUT) == 0:
    assert fastact.get_recycling().kept_bytes == 64 * MIB
    assert resident - pages(1) >= 48, (resident, pages(1))
y = fastact.relu(x)
assert y.ctypes.data == address and (y == 1).all()
"""
    )


def test_no_memory_is_a_memory_error():
    """What is kept goes first; then the call fails as NumPy's own do, and the next one works."""
    run_python(
        MEASURE
        + """
import resource
fastact.set_recycling(256 * MIB)
y = fastact.relu(x)
z = fastact.relu(x)
del y, z
assert fastact.get_recycling().kept_bytes == 128 * MIB
limit = (pages(0) + 40) * MIB
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
held = fastact.relu(x[: 33 * MIB // 4])    # new size: only fits if what is kept may go, or not at all
big = fastact.relu(x[: 50 * MIB // 4])
assert fastact.get_recycling().kept_bytes == 0
try:
    y = fastact.relu(x)
    z = fastact.relu(x)
except MemoryError as error:
    assert "Unable to allocate" in str(error), error
else:
    raise AssertionError("no MemoryError")
assert (held == 1).all() and (big == 1).all()
try:
    held.resize(400 * MIB // 4, refcheck=False)
except MemoryError:
    pass
else:
    raise AssertionError("no MemoryError")
assert (held == 1).all()
del held, big
assert (fastact.relu(x[: 33 * MIB // 4]) == 1).all()
"""
    )


# -- other people's handlers ----------------------------------------------------------------------------------------


def test_a_handler_of_the_users_own_is_respected():
    """Set by NumPy's C interface, as programs do that want their arrays elsewhere."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    table = ctypes.cast(pointer(np._core.multiarray._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[304])
    get_handler = ctypes.PYFUNCTYPE(ctypes.py_object)(table[305])
    default = get_handler()
    size = 128 + 5 * 8  # name and version, then five pointers
    own = ctypes.create_string_buffer(ctypes.string_at(pointer(default, b"mem_handler"), size), size)
    own[:6] = b"users\0"
    capsule = new(ctypes.addressof(own), b"mem_handler", None)
    former = set_handler(capsule)
    try:
        y = output(1)
        assert handler(y) == "users"
        del y
    finally:
        set_handler(former)
    assert kept() == 0
    assert handler(output(1)) == "fastact"
    assert handler(np.empty(LEAST)) == "default_allocator"


# -- threads, forks, ends ---------------------------------------------------------------------------------------------


def test_threads(bound):
    """Arrays are made and freed in several threads, also in others than those that made them."""
    mailbox, failures = queue.SimpleQueue(), []

    def check(value, y):
        assert y[0] == y[-1] == value and (y[:: 1 << 12] == value).all()

    def work(number):
        choices = random.Random(number)
        own = []
        try:
            for step in range(60):
                own.append((number * 1000 + step, output(number * 1000 + step, choices.choice([4, 6, 8, 16]) * MIB)))
                if choices.random() < 0.4:
                    mailbox.put(own.pop())
                else:
                    with contextlib.suppress(queue.Empty):
                        check(*mailbox.get_nowait())
                while len(own) > 2:
                    check(*own.pop(0))
                assert kept() <= bound
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not mailbox.empty():
        check(*mailbox.get())
    assert failures == []
    assert kept() <= bound


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork():
    """A child keeps nothing of its parent's, frees what it inherited and recycles by itself; the parent goes on."""
    run_python(
        MEASURE
        + """
y = fastact.relu(x)
z = fastact.relu(x)
address = z.ctypes.data
del z
def child(generations):
    global y
    assert fastact.get_recycling().kept_bytes == 0
    assert (y == 1).all()
    z = fastact.relu(x)
    y[:] = 2
    assert (z == 1).all()
    del y, z
    assert fastact.get_recycling().kept_bytes == 128 * MIB
    y = fastact.relu(x)
    assert (y == 1).all()
    if generations:
        fork(generations - 1)
def fork(generations):
    pid = os.fork()
    if not pid:
        try:
            child(generations)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
fork(1)
assert fastact.get_recycling().kept_bytes == 64 * MIB
z = fastact.relu(x)
assert z.ctypes.data == address and (z == 1).all() and (y == 1).all()
"""
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_other_threads_free():
    """The lock is never left to a child by a thread that the child does not have."""
    run_python(
        MEASURE
        + """
import threading
small = x[: 4 * MIB // 4]
over = False
def churn():
    while not over:
        fastact.relu(small)
threads = [threading.Thread(target=churn) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    for _ in range(40):
        pid = os.fork()
        if not pid:
            ok = (fastact.relu(small) == 1).all() and fastact.release_recycled() == 4 * MIB
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
finally:
    over = True
    for thread in threads:
        thread.join()
""",
        timeout=60,
    )


def test_arrays_that_outlive_the_interpreter():
    """Freed while modules go, after fastact is gone, or never."""
    run_python(
        MEASURE
        + """
import builtins
class Late:
    def __init__(self, array):
        self.array = array
    def __del__(self):
        self.array = None
builtins.late = Late(fastact.relu(x))
cycle = [fastact.relu(x)]
cycle.append(cycle)
forever = fastact.relu(x)
for name in [name for name in sys.modules if name.startswith("fastact")]:
    del sys.modules[name]
del fastact, _core
"""
    )


@pytest.mark.parametrize("sanitizer", ["", "thread", "address,undefined"], ids=["plain", "thread", "address"])
def test_stress_in_c(tmp_path, sanitizer):
    """Many threads, every function of the handler, and forks, which ThreadSanitizer cannot follow."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    tests = Path(__file__).resolve().parent
    program = tmp_path / "recycling_stress"
    command = [compiler, "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-pthread"]
    command += [f"-fsanitize={sanitizer}"] if sanitizer else []
    command += ["-I", tests.parent / "src_cy", tests / "c" / "recycling_stress.c", "-o", program]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and sanitizer and "cannot find" in built.stderr:
        pytest.skip(f"no {sanitizer} sanitizer")
    assert built.returncode == 0, built.stderr
    arguments = ["400"] if sanitizer == "thread" else ["400", "fork"]
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    if "unexpected memory mapping" in ended.stderr:
        pytest.skip("the thread sanitizer does not run on this kernel")
    assert ended.returncode == 0, ended.stdout + ended.stderr


# -- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", None, sys.maxsize + 1])
def test_wrong_bound(value, bound):
    with pytest.raises(ValueError, match=r"max_bytes: got .*; accepted: a number of bytes from 0"):
        fastact.set_recycling(value)
    assert fastact.get_recycling().max_bytes == bound


def test_largest_bound():
    fastact.set_recycling(sys.maxsize)
    output(1)
    assert fastact.get_recycling() == (sys.maxsize, LEAST)


@pytest.mark.parametrize(("value", "expected"), [("0", 0), (" 12345 ", 12345)])
def test_environment(monkeypatch, value, expected):
    monkeypatch.setenv("FASTACT_RECYCLE_BYTES", value)
    assert recycling.default_bound() == (expected, "FASTACT_RECYCLE_BYTES")


@pytest.mark.parametrize("value", ["", "-1", "1e9", "1G", "²", "9" * 30])
def test_unknown_environment_is_an_error(monkeypatch, value):
    monkeypatch.setenv("FASTACT_RECYCLE_BYTES", value)
    with pytest.raises(ValueError, match=r"FASTACT_RECYCLE_BYTES: got .*; accepted: a number of bytes from 0"):
        recycling.default_bound()


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(64 << 30, (512 * MIB, "default")), (8 << 30, (512 * MIB, "default")), (1 << 30, (64 * MIB, "1/16 of memory"))],
)
def test_default_is_a_share_of_memory(monkeypatch, memory, expected):
    monkeypatch.delenv("FASTACT_RECYCLE_BYTES", raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": memory >> 12, "SC_PAGE_SIZE": 1 << 12}.__getitem__)
    assert recycling.default_bound() == expected


def test_environment_at_import():
    script = "import fastact\nfrom fastact import recycling\nprint(fastact.get_recycling().max_bytes, recycling.origin)"
    printed = run_python(script, environment={"FASTACT_RECYCLE_BYTES": "777"})
    assert printed.split() == ["777", "FASTACT_RECYCLE_BYTES"]
