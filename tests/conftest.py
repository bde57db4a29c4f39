"""Fixtures shared by all tests: rows, functions, the backends and instruction sets of this machine, dtypes, threads.

Ids follow the order of a test's arguments: ``(function, backend, dtype)`` gives ``gelu-cython.avx2-float32``.

A test that takes ``backend`` runs once for each of them; the choice is undone after each test.  Switching is cheap,
because kernels stay: Numba compiles each of its kernels once in a session.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environments
import pytest
import turns

# what somebody has tuned on this machine is of no account here; it is read when fastact is imported
os.environ["FASTACT_TUNING"] = "off"
from cases import BACKENDS, BACKWARD_FUNCTIONS, DTYPES, FUNCTIONS, PLAIN_FUNCTIONS, ROWS, supply

import fastact
from fastact.backends import cython_kernels


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Let this backend, and this instruction set of it, serve the test; gives its name: ``cython.avx2``, ``numba``."""
    name, _, level = request.param.partition(".")
    if level:
        supply(level)
    try:
        with fastact.use_backend(name):
            yield request.param
    finally:
        if level:
            supply(cython_kernels.instruction_set())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Tests that measure time or watch threads run while no other process of pytest-xdist runs any."""
    with turns.taken(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Which tests one process of pytest-xdist takes: those of a file, and all of Numba.

    Every process that runs some of the latter compiles Numba's kernels, for up to a minute.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            # the latter measures Numba's float64 kernels beside the others
            of_numba = re.search(r"[\[-]numba[]-]|test_numba_extension|test_multiprecision", nodeid)
            return "numba" if of_numba else super()._split_scope(nodeid)

        def _pending_of(self, workload):
            # Asked six times for each test, whether there are more than two: xdist counts all that a process has ever
            # been given, ten seconds in all.  A process takes the tests of a scope in order, so what waits is last.
            pending = 0
            for scope in workload.values():
                for is_done in reversed(scope.values()):
                    if is_done or pending > 2:
                        break
                    pending += 1
            return pending

    return Scheduling(config, log)


def _name(value):
    return value.name


@pytest.fixture(params=ROWS, ids=_name)
def row(request):
    """Every row of the catalogue."""
    return request.param


@pytest.fixture(params=FUNCTIONS, ids=_name)
def function(request):
    """Every public function."""
    return request.param


@pytest.fixture(params=PLAIN_FUNCTIONS, ids=_name)
def plain_function(request):
    """Every public function without per-channel operands: its arrays all have one shape."""
    return request.param


@pytest.fixture(params=BACKWARD_FUNCTIONS, ids=_name)
def backward_function(request):
    """Every public function that takes a gradient."""
    return request.param


@pytest.fixture(params=DTYPES)
def dtype(request):
    """``float32`` and ``float64``, by name."""
    return request.param


@pytest.fixture
def number_restored():
    """Put the number of threads back, and where it came from."""
    before, origin = fastact.get_num_threads(), fastact.threads.origin
    yield
    fastact.set_num_threads(before)
    fastact.threads.origin = origin


@pytest.fixture
def two_threads():
    """Let two threads serve arrays of any size that is worth splitting at all, however many CPUs there are."""
    before = {function.name: function.parallel_from for function in fastact.dispatch.FUNCTIONS.values()}
    for function in fastact.dispatch.FUNCTIONS.values():
        function.parallel_from = (1024,) * len(fastact.dispatch.DTYPES)
    with fastact.num_threads(2):
        yield
    for function in fastact.dispatch.FUNCTIONS.values():
        function.parallel_from = before[function.name]


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """The folder of this user's files in a test, here and in the processes it starts."""
    monkeypatch.setenv("FASTACT_CACHE_DIR", str(tmp_path))
    return tmp_path


# --- the wheel, and environments to install it in ------------------------------------------------------------------


def pytest_addoption(parser):
    parser.addoption("--wheel", metavar="PATH", help="a wheel to test, instead of one built from these sources")


@pytest.fixture(scope="session", autouse=True)
def building(request, tmp_path_factory):
    """The distributions in the making, from the first test on if a later one wants them: they take half a minute.

    All processes of pytest-xdist have the same tests; the first of them makes the distributions, for all.
    """
    # the parent is that of all processes
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if turns.WORKER else base) / "distributions"
    used = {name for item in request.session.items for name in item.fixturenames}
    wanted = "distributions" in used or ("wheel" in used and not request.config.getoption("--wheel"))
    with ThreadPoolExecutor(1) as pool:
        if wanted and turns.WORKER in ("", "gw0"):
            pool.submit(turns.first_come, folder, environments.build)
        yield folder


@pytest.fixture(scope="session")
def distributions(building):
    """The source distribution and the wheel made of it, as paths; built once."""
    try:
        return turns.first_come(building, environments.build)
    except environments.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def wheel(request):
    """Path of the wheel: the one given by ``--wheel``, or the one built from these sources."""
    given = request.config.getoption("--wheel")
    return Path(given).resolve() if given else request.getfixturevalue("distributions")[1]


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory):
    """A function that makes a clean environment with what it is told to install: see ``environments.create``."""

    def make(*words, **options):
        try:
            return environments.create(tmp_path_factory.mktemp("environment"), *words, **options)
        except environments.Unavailable as reason:
            pytest.skip(str(reason))

    return make


@pytest.fixture(scope="session")
def installed_environment(make_environment, wheel):
    """A clean environment with the wheel and NumPy, without Numba or a compiler.  Shared: install nothing in it."""
    environment = make_environment("numpy>=2", compilers=False)
    environment.install("--no-deps", wheel)
    return environment
