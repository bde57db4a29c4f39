"""The targets: the kernels of every instruction set that runs here, and Numba's, each called through its driver.

Which of them serves the process is of no account: a kernel is entered into the kernel table for the call that measures
it, and what stood there is put back afterwards.  So results are what a caller gets, padding and half precision among
it, on every instruction set.  Nothing else may call fastact's functions meanwhile: they would be served likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from .. import dispatch, threads
from ..backends import cython_kernels, numba_kernels
from .numbers import Array, Format
from .subjects import Subject

#: All there may be, in the order of the tables.
TARGETS = (*reversed(cython_kernels.INSTRUCTION_SETS), "numba")
#: Computes the results of an array of inputs; the array may be overwritten by the next call.
Contender = Callable[[Array], Array]


def available() -> tuple[str, ...]:
    """The targets that this machine runs."""
    found = []
    for level in TARGETS[:-1]:
        try:
            cython_kernels.kernels_of(level)
        except (ImportError, RuntimeError):
            continue
        found.append(level)
    if dispatch.why_unavailable("numba") is None:
        found.append("numba")
    return tuple(found)


def contender(subject: Subject, target: str, form: Format) -> Contender:
    """A call of the function that this target serves; only inside `kept`."""
    function = subject.callable
    backend = dispatch.BACKENDS.index("numba" if target == "numba" else "cython")
    kind = dispatch.DTYPES.index(form.name)
    if target == "numba":
        address = numba_kernels.kernel(f"{subject.row.name}_{function.direction}", form.name)
    ones = np.ones(0, form.dtype)
    out = np.empty(0, form.dtype)

    def call(x: Array) -> Array:
        nonlocal ones, out
        if ones.size != x.size:
            ones, out = np.ones(x.size, form.dtype), np.empty(x.size, form.dtype)
        if target == "numba":
            function.supply(backend, kind, address, numba_kernels.DISTINCT)
        else:
            dispatch.supply_compiled(function, form.name, target)
        function.activate(backend, kind)
        arrays = (x,) if subject.is_value else (ones, x)
        # not what it returns: prelu's gradient comes with that of its weight
        function(*arrays, *subject.parameters, out=out)
        return out

    return call


@contextmanager
def kept() -> Iterator[None]:
    """Put the kernel table back as it was, and work on this thread alone."""
    try:
        with threads.num_threads(1):
            yield
    finally:
        if cython_kernels.unavailable() is None:
            for function in dispatch.FUNCTIONS.values():
                for dtype in dispatch.DTYPES:
                    dispatch.supply_compiled(function, dtype)
        with dispatch.use_backend(dispatch.get_backend()):
            pass
