"""The clock of ``fastact tune``: one function on one array, under two or more settings that take turns.

Nothing is decided here.  Whatever else the machine does meets all settings alike, because they alternate, in the
opposite order in every other round.  Calls are the public ones, into an output that is there already.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from .. import _core, dispatch
from ..cases import Case, arrays_for
from ..catalogue import BY_NAME
from ..contenders import optional_module

#: More elements than any call has: no thread but the caller's.
NEVER = 2**62
#: What a sample takes at least: the clock costs about 0.05 us.
_NS_PER_SAMPLE = 200_000
#: With threads: shorter rows of calls end before the system has put workers on cores of their own.  On two cores that
#: others were using, too, tanh of 400 Ki showed nothing of two threads in rows of 0.2 ms, and half the time in these.
_NS_IN_A_ROW = 2_000_000
#: Elements of the first guess of a cost, then those that would take so long, within these limits.
_GUESSED_WITH = 8192
_COST_NS = 5000.0
_FEWEST, _MOST = 2048, 131_072


class Setting(NamedTuple):
    """What serves a call: a backend, the elements from which threads do, and the bytes from which outputs stream."""

    backend: str
    parallel_from: int = NEVER
    #: None: as it is.
    stream_from: int | None = None


class _Call(NamedTuple):
    """A call, and what its data are given back with before each one, if it works in place."""

    function: Callable[[], Any]
    refill: Callable[[], Any] | None


class Subject(NamedTuple):
    """A function and the dtype that computes."""

    function: _core.ElementwiseFunction
    dtype: str

    @property
    def loop(self) -> str:
        """Name of its kernels."""
        return f"{self.function.row.name}_{self.function.direction}"

    @property
    def bytes_moved(self) -> int:
        """By a call, for each element: all inputs and the output."""
        return (len(self.function.array_names) + 1) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.function.name} {self.dtype}"


class Measuring:
    """Times calls; what the settings change is put back by `restored`."""

    def __init__(self, clock: Callable[[], int] = perf_counter_ns) -> None:
        self._clock = clock

    def samples(
        self,
        subject: Subject,
        size: int,
        settings: Sequence[Setting],
        rounds: int,
        in_a_row: bool = False,
        in_place: bool = False,
        read: bool = False,
    ) -> list[list[float]]:
        """Nanoseconds per call in each round, for each setting; ``in_a_row`` for threads, ``read`` with a reader."""
        call = _call(subject, size, in_place, read)
        found: list[list[float]] = [[] for _ in settings]
        calls, before = 0, 1
        for k in range(rounds):
            turns = list(enumerate(settings))
            for place, setting in turns if k % 2 == 0 else reversed(turns):
                _apply(subject, setting)
                if not calls:
                    # the first touches all pages, the fastest of the others tells how many calls a sample needs
                    fastest = min(self._time(call, 1) for _ in range(5))
                    least = _NS_IN_A_ROW if in_a_row else _NS_PER_SAMPLE
                    calls = max(1, min(100_000, round(least / max(fastest, 1.0))))
                    before = max(1, calls // 2) if in_a_row else 1
                self._time(call, before)
                found[place].append(self._time(call, calls))
        return found

    def cost(self, subject: Subject, backend: str, rounds: int) -> float:
        """Ns per element on one thread, of arrays as large as those for which threads begin to pay."""
        setting = [Setting(backend)]
        guess = min(self.samples(subject, _GUESSED_WITH, setting, 2)[0]) / _GUESSED_WITH
        size = int(min(max(_COST_NS / guess, _FEWEST), _MOST)) // 512 * 512
        return min(self.samples(subject, size, setting, rounds)[0]) / size

    def _time(self, call: _Call, calls: int) -> float:
        function, refill = call
        repeated = itertools.repeat(None, calls)
        if refill is None:
            started = self._clock()
            for _ in repeated:
                function()
            return (self._clock() - started) / calls
        elapsed = 0
        for _ in repeated:
            refill()
            started = self._clock()
            function()
            elapsed += self._clock() - started
        return elapsed / calls


def _call(subject: Subject, size: int, in_place: bool, read: bool = False) -> _Call:
    arrays = _arrays(subject, size)
    letters = {"grad": "g"}
    function = subject.function
    names = [letters.get(name, name) for name in (*function.array_names, *function.operand_names)]
    inputs = [arrays[name] for name in names]
    result = inputs[0] if in_place else arrays["o"]
    if function.ufunc.nout == 1:
        call = functools.partial(function, *inputs, out=result)
    else:
        # the function itself sums the second output up as well, on one thread: that belongs to no kernel
        call = functools.partial(function.ufunc, *inputs, out=(result, arrays["t"]))
    # applied in place again and again, an activation ends in subnormal numbers, which take longer
    refill = functools.partial(np.copyto, result, result.copy()) if in_place else None
    return _Call(functools.partial(_and_read, call, result) if read else call, refill)


def _and_read(call: Callable[[], Any], result: np.ndarray[Any, Any]) -> None:
    """A call, and one in place on what it gave, as the next layer of a network might be: that never streams."""
    call()
    dispatch.FUNCTIONS["relu"](result, out=result)


def _arrays(subject: Subject, size: int) -> dict[str, Any]:
    random = np.random.default_rng(20260101)
    x, gradient = (random.standard_normal(size, np.float32).astype(subject.dtype) for _ in range(2))
    # deviation 2.5, as in `fastact bench`
    x *= x.dtype.type(2.5)
    function = subject.function
    case = Case(function.row.name, function.direction, subject.dtype, size, "reused")
    return arrays_for(case, x, gradient)


def _apply(subject: Subject, setting: Setting) -> None:
    precision = dispatch.DTYPES.index(subject.dtype)
    subject.function.activate(dispatch.BACKENDS.index(setting.backend), precision)
    thresholds = list(subject.function.parallel_from)
    thresholds[precision] = setting.parallel_from
    subject.function.parallel_from = tuple(thresholds)
    if setting.stream_from is not None:
        _core.set_stream_from(setting.stream_from)


@contextmanager
def restored() -> Iterator[None]:
    """Let measurements change which kernels serve and when threads do, and put that back."""
    functions = list(dispatch.FUNCTIONS.values())
    precisions = range(len(dispatch.DTYPES))
    before = [(f, f.parallel_from, [f.serving(precision) for precision in precisions]) for f in functions]
    stream_from = _core.get_stream_from()
    try:
        yield
    finally:
        _core.set_stream_from(stream_from)
        for function, thresholds, backends in before:
            function.parallel_from = thresholds
            for precision, backend in enumerate(backends):
                function.activate(backend, precision)


def _is_known(dtype: str) -> bool:
    """Whether NumPy has arrays of a dtype: of bfloat16 once ml_dtypes has been imported, if it is there."""
    optional_module("ml_dtypes")
    try:
        np.dtype(dtype)
    except TypeError:
        return False
    return True


def in_order(functions: Sequence[_core.ElementwiseFunction]) -> list[Subject]:
    """The most used first, for whom the time may be too short: float32 first, forward before backward."""
    rows = list(BY_NAME)
    dtypes = [dtype for dtype in dispatch.DTYPES if _is_known(dtype)]
    subjects = [Subject(function, dtype) for function in functions for dtype in dtypes]
    directions = ("forward", "backward", "backward_from_output")
    return sorted(
        subjects,
        key=lambda subject: (
            dispatch.DTYPES.index(subject.dtype),
            directions.index(subject.function.direction),
            rows.index(subject.function.row.name),
        ),
    )
