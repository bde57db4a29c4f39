"""Whether a contender computes the function at all, and how large its errors are: both before it is timed.

A time means nothing if it is another function's, so each contender's result is compared with ``fastact.reference`` in
each mode and dtype.  Peers may be inexact, in the tails above all; the tolerance only has to tell functions apart:
``gelu`` from ``gelu_tanh`` in float32, and in float64 what was computed in float32.  One that raises, returns another
dtype, or is wrong is absent, with the reason; so a peer's missing kernel needs no table.

The largest error, in ULP, is on the benchmark's own input and on tails of both signs.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from fastact import measurement

#: Relative, and absolute.  gelu and gelu_tanh differ by 5e-4.  In 16 bits, NumPy rounds every intermediate result, of
#: which there are up to 10, by 2**-11 or 2**-8.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9, "float16": 2e-2, "bfloat16": 1e-1}
#: Elements of the benchmark's input on which it is looked at.
SIZE = 4096


class Verdict(NamedTuple):
    """What is known of a contender before it is timed."""

    #: "" if it may be timed, else why it is absent.
    absent: str
    max_ulp: float | None


def _result(make, case, arrays):
    copies = [np.empty_like(arrays["x"])]
    contender = make({name: array.copy() for name, array in arrays.items()}, case, copies)
    if contender is None:
        return None
    with contender.active(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # twice, and both must be right: data that drift are seen at the second call
        contender.result()
        return np.array(np.asarray(contender.result()))


def verdict(make, case):
    """Judge what ``make(arrays, case, copies)`` makes for a case's function, dtype and mode."""
    arrays, truth = measurement.checked_arrays(case.activation, case.direction, case.dtype, SIZE)
    checked = case._replace(size=truth.size)
    try:
        result = _result(make, checked, arrays)
    except Exception as error:
        # whatever a library raises for what it does not have: there is no common class
        return Verdict(f"{type(error).__name__}: {error}".splitlines()[0][:200], None)
    if result is None:
        return Verdict("has no such function or dtype", None)
    if result.dtype != arrays["x"].dtype:
        return Verdict(f"returns {result.dtype}", None)
    tolerance = TOLERANCE[case.dtype]
    middle = slice(0, SIZE)
    wrong = ~np.isclose(result[middle].astype(np.float64), truth[middle], tolerance, tolerance)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        got, right, at = (float(values[k]) for values in (result, truth, arrays[case.source]))
        return Verdict(f"{got:.12g} instead of {right:.12g} at {at:.12g}", None)
    error = float(np.max(measurement.ulp_error(result, truth, case.dtype)))
    return Verdict("", error)
