"""Fixtures shared by all tests: rows, functions, the backends and instruction sets of this machine, dtypes, threads.

Ids follow the order of a test's arguments: ``(function, backend, dtype)`` gives ``gelu-cython.avx2-float32``.

A test that takes ``backend`` runs once for each of them; the choice is undone after each test.  Switching is cheap,
because kernels stay: Numba compiles each of its kernels once in a session.
"""

import pytest
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
def two_threads():
    """Let two threads serve arrays of any size that is worth splitting at all, however many CPUs there are."""
    before = {function.name: function.parallel_from for function in fastact.dispatch.FUNCTIONS.values()}
    for function in fastact.dispatch.FUNCTIONS.values():
        function.parallel_from = (1024, 1024)
    with fastact.num_threads(2):
        yield
    for function in fastact.dispatch.FUNCTIONS.values():
        function.parallel_from = before[function.name]
