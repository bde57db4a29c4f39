"""What the benchmark compares: the contenders in a case.

A contender is a statement compiled into its own timed loop, over arrays that all contenders of the case share.  No
contender may be timed while its data drift: an activation applied in place again and again ends in subnormal numbers,
which are a hundred times slower.  So in place every call has a freshly filled array, and the filling is not timed.

Ours is built from the public callable, the peers' statements come from ``peers.py``.  An activation needs nothing
here.  PyTorch and SciPy are imported on demand and may be missing.
"""

from __future__ import annotations

import importlib
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from . import dispatch, peers
from .cases import Case, aligned
from .catalogue import BY_NAME

#: What one timed batch takes at least; the clock costs about 0.05 us.
_NS_PER_BATCH = 50_000
#: Calls slower than this need no untimed call before each batch to warm the caches.
_SLOW_CALL_NS = 1_000_000


def optional_module(name: str) -> Any | None:
    """A module that may not be installed, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _itself(value: Any) -> Any:
    return value


class Access(NamedTuple):
    """How a peer gets at NumPy's arrays, and its results back."""

    #: The peer's own mode while it is timed.
    activate: Callable[[], AbstractContextManager[Any]] = nullcontext
    #: The peer's kind of array, sharing memory.
    wrap: Callable[[np.ndarray[Any, Any]], Any] = _itself
    #: What a statement's result, or ``o``, is as a NumPy array.
    unwrap: Callable[[Any], Any] = _itself
    #: In place, what the loop's variable is for each copy, if it is not the wrapped copy: a binding, say.
    bind: Callable[[np.ndarray[Any, Any]], Any] | None = None
    #: Whether a call in place uses its array up, so that each refill has to bind it anew.
    consumes: bool = False


class Contender:
    """One statement of one case, ready to be timed."""

    def __init__(
        self,
        label: str,
        name: str,
        statement: peers.Statement,
        case: Case,
        arrays: dict[str, Any],
        namespace: dict[str, Any],
        access: Access = Access(),  # noqa: B008 - immutable
        copies: Sequence[np.ndarray[Any, Any]] | None = None,
    ) -> None:
        """Compile the statement; in place, ``copies`` are the arrays that it works on, if the case's owner has some."""
        self.label, self.name, self.active = label, name, access.activate
        self.form, self.text = _closest(statement, case.mode)
        self.note = statement.note
        if self.form == "fresh" and case.mode != "fresh":
            self.note = "; ".join(filter(None, (self.note, "returns a new array")))
        self._batch_calls = case.batch_calls
        self._in_place = case.mode == "in_place"
        self._pristine = arrays[case.overwritten]
        self._copies: Sequence[np.ndarray[Any, Any]] = ()
        if self._in_place:
            self._copies = copies or [aligned(case.size, case.dtype) for _ in range(case.batch_calls)]
        self._bind = access.bind or access.wrap
        self._consumes, self._unwrap = access.consumes, access.unwrap
        self._bound = [] if self._consumes else [self._bind(copy) for copy in self._copies]
        text, found = _hoisted(self.text, namespace)
        words = {*re.findall(r"\w+", text), "o"}
        wrapped = {
            key: access.wrap(value) if isinstance(value, np.ndarray) else value
            for key, value in arrays.items()
            if key in words
        }
        self._run, self._once = _compiled(text, self.form, case, {**namespace, **found, **wrapped})
        #: Calls in one sample; ``warm_up`` sets it.
        self.calls = 1
        self._warm = False

    def result(self) -> Any:
        """What one call gives; for the accuracy beside the time."""
        self.refill()
        value = self._once(*self._bound[:1])
        return self._unwrap(value[0] if isinstance(value, (tuple, list)) else value)

    def refill(self) -> None:
        """Give the arrays that are about to be overwritten their data back."""
        for copy in self._copies:
            np.copyto(copy, self._pristine)
        if self._consumes:
            self._bound = [self._bind(copy) for copy in self._copies]

    def batch(self) -> int:
        """Nanoseconds of ``batch_calls`` of the case, the data as they are."""
        return self._run(self._bound if self._in_place else itertools.repeat(None, self._batch_calls))

    def sample(self, lead: int = 0) -> float:
        """Nanoseconds per call, from enough calls for the clock; for ``lead`` ns before, it is called untimed."""
        if self._warm:
            until = perf_counter_ns() + lead
            self._batch_of(1)
            while perf_counter_ns() < until:
                self._batch_of(1)
        return self._batch_of(self.calls)

    def _batch_of(self, calls: int) -> float:
        if not self._in_place:
            return float(self._run(itertools.repeat(None, calls))) / calls
        done = elapsed = 0
        while done < calls:
            self.refill()
            elapsed += self.batch()
            done += len(self._copies)
        return elapsed / done

    def warm_up(self) -> float:
        """Compile what compiles at first use, touch all pages, and settle how many calls a sample needs.

        What one call will take, in ns, is known after that.
        """
        self._batch_of(1)
        expected = max(1.0, self._batch_of(1))
        if expected < _SLOW_CALL_NS:
            expected = max(1.0, min(self._batch_of(3) for _ in range(2)))
        self.calls = max(1, min(1_000_000, round(_NS_PER_BATCH / expected + 0.5)))
        self._warm = expected < _SLOW_CALL_NS
        return expected


def _closest(statement: peers.Statement, mode: str) -> tuple[str, str]:
    """The form that serves a mode, and its text."""
    for form in {"fresh": ("fresh",), "reused": ("reused", "fresh"), "in_place": ("in_place", "reused", "fresh")}[mode]:
        text: str = getattr(statement, form)
        if text:
            return form, text
    raise ValueError(f"statement: got {statement!r}; accepted: one with a fresh form")


def _hoisted(text: str, namespace: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Replace dotted names (``np.tanh``) by what they stand for: looking them up is not what is timed."""
    found: dict[str, Any] = {}
    roots = "|".join(map(re.escape, namespace))
    if not roots:
        return text, found
    for dotted in sorted(set(re.findall(rf"\b(?:{roots})(?:\.[A-Za-z_]\w*)+", text)), key=len)[::-1]:
        root, _, rest = dotted.partition(".")
        name = dotted.replace(".", "__")
        found[name] = operator.attrgetter(rest)(namespace[root])
        text = re.sub(rf"\b{re.escape(dotted)}\b(?!\.)", name, text)
    return text, found


def _compiled(
    text: str, form: str, case: Case, namespace: dict[str, Any]
) -> tuple[Callable[[Iterable[Any]], int], Callable[..., Any]]:
    """The loop that is timed, and one call that returns its result."""
    in_place = case.mode == "in_place"
    variable = case.overwritten if in_place else "_"
    head = f"o = {variable}; " if in_place else ""
    once = f"return {text}" if form == "fresh" else f"{text}; return o"
    source = (
        f"def run(calls):\n    start = clock()\n    for {variable} in calls:\n        {head}{text}\n"
        f"    return clock() - start\n"
        f"def once({variable if in_place else ''}):\n    {head}{once}\n"
    )
    scope = {**namespace, "clock": perf_counter_ns}
    exec(compile(source, f"<{case.function}: {text}>", "exec"), scope)
    return scope["run"], scope["once"]


def ours(
    case: Case, backend: str | None, arrays: dict[str, Any], copies: Sequence[np.ndarray[Any, Any]] | None = None
) -> Contender:
    """The public callable, on a backend or, with None, on the one that serves."""
    function = dispatch.FUNCTIONS[case.function]
    letters = {"grad": "g"}
    given = ", ".join([*(letters.get(name, name) for name in function.array_names), *function.operand_names])
    statement = peers.Statement(f"function({given})", f"function({given}, out=o)")
    label = "fastact" if backend is None else f"fastact.{backend}"
    access = Access() if backend is None else Access(activate=lambda: dispatch.use_backend(backend))
    return Contender(label, f"fastact.{case.function}", statement, case, arrays, {"function": function}, access, copies)


def _numpy_peer(
    case: Case, arrays: dict[str, Any], statement: peers.Statement, copies: Sequence[np.ndarray[Any, Any]] | None
) -> Contender | None:
    namespace: dict[str, Any] = {"np": np}
    if any("special." in text for text in statement[:3]):
        namespace["special"] = optional_module("scipy.special")
        if namespace["special"] is None:
            return None
    kind = np.dtype(case.dtype).type
    scalars = {p.name: kind(p.default) for p in BY_NAME[case.activation].scalars}
    return Contender("numpy", "NumPy/SciPy", statement, case, arrays, {**namespace, **scalars}, copies=copies)


def _torch_peer(
    case: Case, arrays: dict[str, Any], statement: peers.Statement, copies: Sequence[np.ndarray[Any, Any]] | None
) -> Contender | None:
    torch = optional_module("torch")
    if torch is None:
        return None
    namespace = {"torch": torch, "nn": torch._C._nn, "aten": torch.ops.aten}
    scalars = {p.name: p.default for p in BY_NAME[case.activation].scalars}
    access = Access(torch.inference_mode, torch.from_numpy)
    if case.dtype == "bfloat16":
        bfloat16 = np.dtype(case.dtype)
        # neither library takes the other's type; as integers the same memory passes
        access = access._replace(
            wrap=lambda array: torch.from_numpy(array.view(np.int16)).view(torch.bfloat16),
            unwrap=lambda tensor: tensor.view(torch.int16).numpy().view(bfloat16),
        )
    return Contender("torch", "PyTorch", statement, case, arrays, {**namespace, **scalars}, access, copies)


def array_libraries(
    case: Case, arrays: dict[str, Any], copies: Sequence[np.ndarray[Any, Any]] | None = None
) -> Iterator[Contender]:
    """NumPy with SciPy, and PyTorch: those that are installed and have the function."""
    entry = peers.PEERS.get(case.activation)
    if entry is None:
        return
    for statements, build in ((entry.numpy, _numpy_peer), (entry.torch, _torch_peer)):
        if case.direction in statements:
            contender = build(case, arrays, statements[case.direction], copies)
            if contender is not None:
                yield contender


def contenders(case: Case, backends: Iterable[str], with_peers: bool, arrays: dict[str, Any]) -> Iterator[Contender]:
    """Ours on each backend, the memory traffic alone, and the peers there are."""
    for backend in backends:
        yield ours(case, backend, arrays)
    name, statement = peers.MEMORY[case.direction]
    yield Contender("memory", name, statement, case, arrays, {"np": np})
    if with_peers:
        yield from array_libraries(case, arrays)
