"""The arrays of a worker: made once per dtype and size, and shared by all cells and contenders.

To touch a new array of 64 Mi elements takes longer than to compute it, and random numbers for it take a second.  Only
the output that a gradient is computed from depends on the function, and is made anew when that changes.
"""

from __future__ import annotations

from fastact import cases, dispatch
from fastact.catalogue import BY_NAME

#: Arrays that calls in place work on: so many, and so many bytes, at most, but one at least.  They must stay in the L2
#: cache, and there must be enough for the clock's 50 ns to be nothing beside the calls between two looks at it.
_MOST_COPIES, _BYTES_OF_COPIES = 64, 128 * 1024


class Arena:
    """Arrays for cases, in whatever order they come; fastest if dtypes do not alternate."""

    def __init__(self):
        self._dtype = ""
        self._arrays, self._copies, self._output_of = {}, {}, {}

    def arrays(self, case):
        """The arrays that statements name."""
        self._keep(case.dtype)
        size = case.size
        if size not in self._arrays:
            # a backward case has all inputs
            with_gradient = case._replace(direction="backward", activation="relu")
            self._arrays[size] = cases.arrays_for(with_gradient)
        arrays = self._arrays[size]
        operands = {
            parameter.name: arrays["x"].dtype.type(parameter.tried[0])
            for parameter in BY_NAME[case.activation].operands
        }
        operands = {name: arrays["x"][:1] * 0 + value for name, value in operands.items()}
        if case.direction == "backward_from_output" and self._output_of.get(size) != case.activation:
            arrays.setdefault("y", cases.aligned(size, case.dtype))
            dispatch.FUNCTIONS[case.activation](arrays["x"], *operands.values(), out=arrays["y"])
            self._output_of[size] = case.activation
        return arrays | operands

    def copies(self, case):
        """The arrays that calls in place work on; None for other modes."""
        if case.mode != "in_place":
            return None
        self._keep(case.dtype)
        if case.size not in self._copies:
            first = cases.aligned(case.size, case.dtype)
            count = max(1, min(_MOST_COPIES, _BYTES_OF_COPIES // first.nbytes))
            self._copies[case.size] = [first, *(cases.aligned(case.size, case.dtype) for _ in range(count - 1))]
        return self._copies[case.size]

    def _keep(self, dtype):
        if dtype != self._dtype:
            self._arrays.clear()
            self._copies.clear()
            self._output_of.clear()
            self._dtype = dtype
