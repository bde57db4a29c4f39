"""Which benchmarks there are: the cases of ``fastact bench``, each contender a test of its own.

    pytest benchmarks --benchmark-enable -o addopts="" -k "gelu and 64Ki"

(the plain test run switches benchmarks off).  By default: what serves, float32, 16 to 1 Mi elements, one thread: a few
minutes.  The options widen it; ``--full`` is everything and takes an hour or more.

Contenders of a case share a group, so pytest-benchmark prints them together.  Its times are those of a batch of
``extra_info["calls"]`` calls, the same number for the whole group, since one call on 16 elements is shorter than the
clock can tell; per element and per second, by the clock inside the loop, they are in ``extra_info``
(``--benchmark-json``).
"""

import platform

import pytest

import fastact
from fastact import benchmark, cases, dispatch
from fastact.backends import cython_kernels
from fastact.catalogue import ACTIVATIONS

SIZES = "16,1Ki,64Ki,1Mi"
FULL_SIZES = "16,1Ki,64Ki,1Mi,64Mi"
PEERS = ("memory", "numpy", "torch")


def pytest_addoption(parser):
    group = parser.getgroup("fastact")
    group.addoption("--sizes", help=f"elements, comma-separated; default {SIZES}")
    group.addoption("--backends", help="cython, numba, numpy or all; default: the one that serves")
    group.addoption("--dtypes", help="float32, float64 or all; default float32")
    group.addoption("--modes", default="all", help="fresh, reused, in_place or all")
    group.addoption("--threads", type=int, default=1, help="for everybody; default 1")
    group.addoption("--rounds", type=int, default=20, help="timed batches of each contender; default 20")
    group.addoption("--full", action="store_true", help=f"all backends, all dtypes, sizes {FULL_SIZES}")


def _words(text, accepted, option):
    words = list(accepted) if text == "all" else text.split(",")
    for word in words:
        if word not in accepted:
            raise pytest.UsageError(f"{option}: got {word!r}; accepted: {', '.join(accepted)}, all")
    return words


def _selected(config):
    """(backends, cases) that the options ask for."""
    full = config.getoption("full")
    serving = next(name for name in dispatch.order() if dispatch.why_unavailable(name) is None)
    backends = config.getoption("backends") or ("all" if full else serving)
    dtypes = config.getoption("dtypes") or ("all" if full else "float32")
    sizes = config.getoption("sizes") or (FULL_SIZES if full else SIZES)
    selected = [
        cases.Case(row.name, direction, dtype, benchmark.parse_size(size), mode, config.getoption("threads"))
        for row in ACTIVATIONS
        for direction in row.directions
        for dtype in _words(dtypes, benchmark.DTYPES, "--dtypes")
        for size in sizes.split(",")
        for mode in _words(config.getoption("modes"), cases.MODES, "--modes")
    ]
    return _words(backends, fastact.available_backends(), "--backends"), selected


def pytest_generate_tests(metafunc):
    if {"case", "label"} <= set(metafunc.fixturenames):
        backends, selected = _selected(metafunc.config)
        labels = [*(f"fastact.{backend}" for backend in backends), *PEERS]
        metafunc.parametrize(
            ("case", "label"),
            [
                pytest.param(case, label, id=f"{identifier(case)}-{label}")
                for case in selected
                for label in labels
            ],
        )  # fmt: skip


def identifier(case):
    return f"{case.function}-{case.dtype}-{cases.show_size(case.size)}-{case.mode}"


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["fastact"] = benchmark.machine() | {"python_build": platform.python_build()}


@pytest.fixture
def describe():
    """Return a function that writes what a time means into the benchmark's ``extra_info``."""

    def write(result, case, contender, taken, max_ulp=None):
        ours = contender.label.startswith("fastact.")
        result.extra_info.update(
            contender=contender.label,
            statement=contender.text,
            note=contender.note,
            calls=case.batch_calls,
            threads=case.threads,
            max_ulp=str(max_ulp),
            backend=contender.label.partition(".")[2] if ours else "",
            instruction_set=cython_kernels.instruction_set() if contender.label == "fastact.cython" else "",
        )
        nanoseconds = min(taken) / case.batch_calls
        result.extra_info.update(
            ns_per_call=nanoseconds,
            ns_per_element=nanoseconds / case.size,
            gigabytes_per_second=case.bytes_moved / nanoseconds,
        )

    return write
