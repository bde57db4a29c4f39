"""The numbers that are swept: every value of a dtype on one line in ascending order, and the stretch of it to visit.

A place is an integer: 0 is the negative NaN with the largest payload, then come the other negative NaNs, -inf, the
negative numbers, -0.0, 0.0, the positive numbers, inf and the NaNs.  Neighbouring places are neighbouring numbers,
which is what makes a fall of a monotone function visible between any two of them.

This file knows numbers only; it must know no function and no result, or the sweep could depend on what it measures.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Format(NamedTuple):
    """A dtype as far as errors and places depend on it."""

    dtype: np.dtype[Any]
    #: Bits of the significand, the implicit one among them.
    digits: int
    #: Exponent of the smallest subnormal.
    lowest: int
    #: The largest finite number, and the power of two that follows it.
    largest: float
    overflow: float

    @property
    def name(self) -> str:
        return str(self.dtype.name)

    @property
    def bits(self) -> int:
        """Bits of the whole number."""
        return 8 * self.dtype.itemsize

    @property
    def pattern(self) -> np.dtype[Any]:
        """The unsigned integers that hold bit patterns."""
        return np.dtype(f"u{self.dtype.itemsize}")

    @property
    def places(self) -> int:
        """How many places the line has."""
        return int(2**self.bits)


#: Digits of the significand, and exponent of the smallest subnormal.
_PRECISIONS = {"float32": (24, -149), "float16": (11, -24), "bfloat16": (8, -133)}
DTYPES = tuple(_PRECISIONS)


def format_of(name: str) -> Format:
    """The format of a dtype's name; bfloat16 needs ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(name)
    digits, lowest = _PRECISIONS[name]
    # the exponents are symmetric about 2: the smallest normal number is 4 / overflow
    overflow = 2.0 ** (3 - lowest - digits)
    return Format(dtype, digits, lowest, overflow * (1 - 2.0**-digits), overflow)


def values_at(places: Array, form: Format) -> Array:
    """The numbers at these places, which ascend."""
    half = form.places // 2
    if places[0] >= half:
        patterns = places - half
    elif places[-1] < half:
        patterns = form.places - 1 - places
    else:
        patterns = np.where(places < half, form.places - 1 - places, places - half)
    return patterns.astype(form.pattern).view(form.dtype)


def place_of(value: Any, form: Format) -> int:
    """The place of one number; the inverse of `values_at`."""
    pattern = int(np.asarray(value, form.dtype).view(form.pattern))
    half = form.places // 2
    return half + pattern if pattern < half else form.places - 1 - pattern


def ordered(results: Array, form: Format) -> Array:
    """Integers (int64) whose differences are distances in steps from number to number; both zeros are 0."""
    signed = results.view(f"i{form.dtype.itemsize}").astype(np.int64)
    # below zero, bit patterns ascend with the magnitude
    return np.where(signed < 0, -(form.places // 2) - signed, signed)


class Sweep(NamedTuple):
    """Every ``stride``-th place from ``first`` to ``last``: point k is the place ``first + k * stride``."""

    form: Format
    stride: int
    first: int
    last: int

    @property
    def points(self) -> int:
        """How many numbers it visits."""
        return (self.last - self.first) // self.stride + 1

    def places(self, start: int, stop: int) -> Array:
        """Places of the points from start to stop, exclusive, in ascending order."""
        return np.arange(start, stop, dtype=np.int64) * self.stride + self.first

    @property
    def is_exhaustive(self) -> bool:
        """Whether it leaves no number out."""
        return self.stride == 1


def sweep_between(form: Format, stride: int, low: float, high: float) -> Sweep:
    """The sweep over the numbers from low to high; over the whole line, NaNs among it, if these are the infinities."""
    if low == -np.inf and high == np.inf:
        return Sweep(form, stride, 0, form.places - 1)
    return Sweep(form, stride, place_of(low, form), place_of(high, form))
