"""Measures the contenders of a case: time in alternating rounds, and the largest error beside it.

All contenders run in one process, one after the other in every round and in the opposite order in the next, so that
whatever else the machine does meets all of them.  The figure is the minimum over the rounds: noise only ever adds.  A
speed is worth nothing without the accuracy it was bought with, so each result is also compared with the truth.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from . import dispatch, reference, threads
from .backends import cython_kernels
from .cases import Case, arrays_for
from .catalogue import BY_NAME
from .contenders import Contender, contenders, optional_module
from .peers import Statement

#: Rounds when nobody says how many; large arrays stop at so many seconds per case, but not before so many rounds.
ROUNDS, SECONDS, FEWEST_ROUNDS = 100, 1.5, 5
#: Errors are looked for on so many elements of the benchmark's input at most, and on the tails.
_CHECKED_ELEMENTS = 65536
#: Bits of the significand, and exponent of the smallest subnormal.
_PRECISION = {"float32": (24, -149), "float64": (53, -1074), "float16": (11, -24), "bfloat16": (8, -133)}
#: The powers of ten up to which tails are looked at; below what is finite.
_TOP = {"float32": 38, "float64": 300, "float16": 4.8, "bfloat16": 38}
#: What the reference's functions are called, after the row's name.
REFERENCE_SUFFIX = {"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}
PEERS = ("numpy", "torch")
#: Elements on which the cost of a call is measured if nobody says how many.
CALL_SIZE = 16


class Figure(NamedTuple):
    """What was measured for one contender."""

    name: str
    statement: str
    #: "fresh", "reused" or "in_place": the form that the statement really has.
    form: str
    note: str
    ns_per_call: float
    ns_per_call_median: float
    ns_per_element: float
    gigabytes_per_second: float
    max_ulp: float | None


class Row(NamedTuple):
    """One line of the table: one of our backends against everybody else in the case."""

    function: str
    case: Case
    #: The backend that really served, and the instruction set if it is a compiled one.
    backend: str
    instruction_set: str
    ours: Figure
    memory: Figure
    #: By label: numpy, torch; those that took part.
    peers: dict[str, Figure]

    @property
    def best_peer(self) -> str | None:
        """Label of the fastest peer."""
        return min(self.peers, key=lambda label: self.peers[label].ns_per_call, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as long the fastest peer takes."""
        return self.peers[self.best_peer].ns_per_call / self.ours.ns_per_call if self.best_peer else None


@contextmanager
def same_threads(count: int, with_torch: bool) -> Iterator[None]:
    """Give everybody the same number of threads, and what they had before afterwards."""
    torch = optional_module("torch") if with_torch else None
    before = torch.get_num_threads() if torch is not None else 0
    try:
        if torch is not None:
            torch.set_num_threads(count)
        with threads.num_threads(count):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def measure(row: Sequence[Contender], rounds: int | None) -> dict[str, list[float]]:
    """Samples in ns per call of each contender, by label, taken in alternating rounds."""
    for contender in row:
        with contender.active():
            contender.warm_up()
    samples: dict[str, list[float]] = {contender.label: [] for contender in row}
    started = time.perf_counter()
    for k in range(ROUNDS if rounds is None else rounds):
        if rounds is None and k >= FEWEST_ROUNDS and time.perf_counter() - started > SECONDS:
            break
        for contender in row if k % 2 == 0 else row[::-1]:
            with contender.active():
                samples[contender.label].append(contender.sample())
    return samples


def _tails(dtype: str) -> np.ndarray[Any, Any]:
    """Points of both signs over the whole exponent range, densest where activations end."""
    top = _TOP[dtype]
    points = np.concatenate([np.logspace(1 - top, top, 600), np.logspace(-1, 3, 2400)])
    return np.concatenate([points, -points])


@functools.lru_cache(maxsize=8)
def checked_arrays(
    activation: str, direction: str, dtype: str, size: int
) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Arrays to look for errors on, and the truth there."""
    size = min(size, _CHECKED_ELEMENTS)
    middle = arrays_for(Case(activation, "forward", dtype, size, "reused"))
    x = np.concatenate([middle["x"], _tails(dtype).astype(dtype)])
    case = Case(activation, direction, dtype, x.size, "reused")
    # a gradient of 1 shows the error of the derivative, not that of the product
    arrays = arrays_for(case, x, np.ones_like(x))
    row = BY_NAME[activation]
    # scalar parameters count as rounded to the precision that computes
    kind = np.float64 if dtype == "float64" else np.float32
    parameters = [float(kind(p.tried[0] if p.default is None else p.default)) for p in row.parameters]
    return arrays, getattr(reference, activation + REFERENCE_SUFFIX[direction])(arrays[case.source], *parameters)


def ulp_error(result: Any, truth: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Distance from the truth in units in the last place of the truth; infinite for a NaN that should be a number."""
    digits, lowest = _PRECISION[dtype]
    got = np.asarray(result)
    with np.errstate(all="ignore"):
        unit = np.maximum(np.frexp(truth)[1] - digits, lowest)
        error = np.ldexp(np.abs(got.astype(np.float64) - truth), -unit)
        right = got == truth.astype(dtype)
    return np.where(
        right, 0.0 if dtype == "float64" else np.minimum(error, 0.5), np.where(np.isnan(error), np.inf, error)
    )


def max_ulp(case: Case, label: str, backends: Sequence[str]) -> float | None:
    """Largest error of a contender on the benchmark's own input and the tails."""
    if label == "memory":
        return None
    arrays, truth = checked_arrays(case.activation, case.direction, case.dtype, case.size)
    arrays = {name: array.copy() for name, array in arrays.items()}
    checked = case._replace(size=truth.size)
    contender = next(c for c in contenders(checked, backends, True, arrays) if c.label == label)
    with np.errstate(all="ignore"), contender.active():
        return float(np.max(ulp_error(contender.result(), truth, case.dtype)))


def figure_of(case: Case, contender: Contender, samples: Sequence[float], backends: Sequence[str]) -> Figure:
    """The figure that stands for a contender's samples."""
    best = min(samples)
    return Figure(
        contender.name,
        contender.text,
        contender.form,
        contender.note,
        best,
        statistics.median(samples),
        best / case.size,
        case.bytes_moved / best,
        max_ulp(case, contender.label, backends),
    )


def rows_of(case: Case, backends: Sequence[str], with_peers: bool, rounds: int | None) -> list[Row]:
    """Measure one case: one row per backend, all from the same rounds."""
    arrays = arrays_for(case)
    row = list(contenders(case, backends, with_peers, arrays))
    with same_threads(case.threads, with_peers):
        samples = measure(row, rounds)
        figures = {c.label: figure_of(case, c, samples[c.label], backends) for c in row}
        served = [_served(case, backend) for backend in backends]
    others = {label: figures[label] for label in PEERS if label in figures}
    return [
        Row(
            case.function,
            case,
            serving,
            cython_kernels.instruction_set() if serving == "cython" else "",
            figures[f"fastact.{backend}"],
            figures["memory"],
            others,
        )
        for backend, serving in zip(backends, served, strict=True)
    ]


def _served(case: Case, backend: str) -> str:
    """The backend that serves when this one is asked for: another one, if its compiler failed."""
    with dispatch.use_backend(backend):
        return dispatch.serving(dispatch.FUNCTIONS[case.function], case.dtype)


def empty_call(case: Case, arrays: dict[str, Any]) -> Contender:
    """A call of a Python function that does nothing, with the same arguments: what no library can save."""

    def one(x: Any, out: Any = None) -> None:
        pass

    def two(g: Any, x: Any, out: Any = None) -> None:
        pass

    forward = case.direction == "forward"
    given = case.source if forward else f"g, {case.source}"
    statement = Statement(f"empty({given})", f"empty({given}, out=o)")
    return Contender("empty", "empty call", statement, case, arrays, {"empty": one if forward else two})


def tanh_call(case: Case, arrays: dict[str, Any]) -> Contender:
    """A call of a NumPy ufunc, whatever the case: the yardstick that everybody knows."""
    statement = Statement(f"np.tanh({case.source})", f"np.tanh({case.source}, out=o)")
    return Contender("np.tanh", "np.tanh", statement, case, arrays, {"np": np})


def call_row(case: Case, with_peers: bool, rounds: int | None) -> dict[str, float | str]:
    """Cost of one call in ns, for few elements: ours, an empty call, np.tanh, and the peers."""
    arrays = arrays_for(case)
    backend = next(name for name in dispatch.order() if dispatch.why_unavailable(name) is None)
    row = [c for c in contenders(case, (backend,), with_peers, arrays) if c.label != "memory"]
    row += [empty_call(case, arrays), tanh_call(case, arrays)]
    with same_threads(1, with_peers):
        samples = measure(row, rounds)
    ns = {label.partition(".")[0] if label != "np.tanh" else label: min(taken) for label, taken in samples.items()}
    facts: dict[str, float | str] = {
        "function": case.function,
        "dtype": case.dtype,
        "size": case.size,
        "mode": case.mode,
    }
    return {**facts, "beyond_empty": ns["fastact"] - ns["empty"], **ns}
