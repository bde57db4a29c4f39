"""The memory traffic alone, which no contender can beat once arrays leave the caches: copy, scale, and add.

Forward it is a copy, in place a scaling; backward, which reads two arrays and writes one, an addition (STREAM's "add":
the traffic of its triad).  With several threads each does its part of the array, because NumPy's loops use one.  16-bit
floats are moved as integers: NumPy's arithmetic on them is far from the speed of memory.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastact import contenders
from fastact.peers import Statement

#: Below this many elements a second thread costs more than it saves: handing work over takes some 20 us.
_FEWEST_TO_SPLIT = 2**19
_NAMES = {
    ("forward", False): "copy",
    ("forward", True): "scale",
    ("backward", False): "add",
    ("backward", True): "add",
}


def _scale(o, x):
    # one in bits that are those of no special number: on integers an addition
    np.add(x, 1, out=o) if o.dtype.kind == "u" else np.multiply(x, 0.999, out=o)


def _add(o, g, x):
    np.add(g, x, out=o)


class Memory:
    """Makes the floor of each case."""

    def __init__(self, threads):
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def contender(self, case, arrays, copies):
        """The contender "memory"."""
        forward, in_place = case.direction == "forward", case.mode == "in_place"
        work = _add if not forward else _scale if in_place else np.copyto
        call = work
        if self._pool is not None and case.size >= _FEWEST_TO_SPLIT:
            call = self._split(work)
        given = "x" if forward else f"g, {case.source}"
        # the array is empty, so its pages are touched first by the copy itself, as with a contender's new output
        fresh = f"move(empty_like(x), {given})"
        statement = Statement(fresh, f"move(o, {given})")
        names = {"move": call, "empty_like": np.empty_like}
        access = contenders.Access()
        if np.dtype(case.dtype).itemsize == 2:
            access = contenders.Access(wrap=lambda array: array.view(np.uint16))
        name = _NAMES["forward" if forward else "backward", in_place]
        return contenders.Contender("memory", name, statement, case, arrays, names, access, copies)

    def _split(self, work):
        def move(*operands):
            bounds = np.linspace(0, operands[0].size, self._threads + 1).astype(int)
            parts = [
                self._pool.submit(work, *(operand[start:stop] for operand in operands))
                for start, stop in itertools.pairwise(bounds)
            ]
            for part in parts:
                part.result()

        return move
