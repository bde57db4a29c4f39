"""The cases of the benchmark: function, dtype, size, mode and threads, and the arrays that all contenders share.

It must not know who takes part.  Inputs are the same in every run, so that two runs compare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import dispatch
from .catalogue import BY_NAME

#: Suffixes of sizes.
UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
MODES = ("fresh", "reused", "in_place")
#: Of each array in place, so many bytes of copies at most (but one copy at least): they must stay in the L2 cache.
_BYTES_OF_COPIES = 128 * 1024
_BYTES_OF_BATCH = 4 * 1024 * 1024
_LONGEST_BATCH = 512


class Case(NamedTuple):
    """One comparison.  Backends are contenders in it, not cases of their own: they are timed in the same rounds."""

    activation: str
    direction: str
    dtype: str
    size: int
    mode: str
    threads: int = 1

    @property
    def function(self) -> str:
        """Name of the public callable."""
        return BY_NAME[self.activation].function_name(self.direction)

    @property
    def group(self) -> str:
        """What contenders must share to be compared."""
        words = (self.activation, self.direction, self.dtype, show_size(self.size), self.mode, str(self.threads))
        return "|".join(words)

    @property
    def batch_calls(self) -> int:
        """Calls in one batch that is the same for all contenders; in place, each has an array of its own."""
        most = _BYTES_OF_COPIES if self.mode == "in_place" else _BYTES_OF_BATCH
        return max(1, min(_LONGEST_BATCH, most // (self.size * np.dtype(self.dtype).itemsize)))

    @property
    def source(self) -> str:
        """Name of the array that the function is evaluated on."""
        return "y" if self.direction == "backward_from_output" else "x"

    @property
    def overwritten(self) -> str:
        """Name of the array that receives the result in place."""
        return "x" if self.direction == "forward" else "g"

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written by one call, at least."""
        return (2 if self.direction == "forward" else 3) * self.size * np.dtype(self.dtype).itemsize


def show_size(size: int) -> str:
    """The shortest way to write a number of elements: ``64Ki``."""
    unit = next(name for name, factor in reversed(UNITS.items()) if size % factor == 0)
    return f"{size // UNITS[unit]}{unit}"


def aligned(size: int, dtype: str) -> np.ndarray[Any, Any]:
    """An array that begins at a cache line, so that no contender has better luck than another."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(size * itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * itemsize].view(dtype)


def arrays_for(
    case: Case, x: np.ndarray[Any, Any] | None = None, gradient: np.ndarray[Any, Any] | None = None
) -> dict[str, Any]:
    """The arrays that statements name.  Inputs: x normal with deviation 2.5, the gradient g with 1, always the same."""
    random = np.random.default_rng(20260101)
    kind: Any = np.dtype(case.dtype).type
    # there are no random numbers of 16 bits
    drawn: Any = np.float64 if case.dtype == "float64" else np.float32
    arrays = {name: aligned(case.size, case.dtype) for name in ("x", "o", "t", "u")}
    arrays["x"][...] = random.standard_normal(case.size, drawn) * drawn(2.5) if x is None else x
    if case.direction != "forward":
        arrays["g"] = aligned(case.size, case.dtype)
        arrays["g"][...] = random.standard_normal(case.size, drawn) if gradient is None else gradient
    row = BY_NAME[case.activation]
    for parameter in row.operands:
        arrays[parameter.name] = np.array([parameter.tried[0]], kind)
    if case.direction == "backward_from_output":
        arrays["y"] = aligned(case.size, case.dtype)
        operands = [arrays[parameter.name] for parameter in row.operands]
        dispatch.FUNCTIONS[row.name](arrays["x"], *operands, out=arrays["y"])
    return arrays
