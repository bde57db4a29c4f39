"""Which cells there are: function, dtype, size, mode and threads, in the order in which a worker measures them.

Standard library only: the process that shows the progress and the one that writes the report need no arrays.  A cell is
``fastact.cases.Case`` in another coat, because importing that imports the compiled core.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

#: What the issue that asked for this comparison lists; "all" is as many threads as the process may have.
DTYPES = ("float32", "float64", "float16", "bfloat16")
MODES = ("fresh", "reused", "in_place")
SIZES = {"16": 16, "1Ki": 2**10, "16Ki": 2**14, "256Ki": 2**18, "4Mi": 2**22, "64Mi": 2**26}
THREADS = ("1", "all")
#: Sizes whose arrays, in and out, stay in a core's cache but whose calls cost little beside the work.
IN_CACHE = (2**14, 2**18)
CALLS = (16, 2**10)


class Cell(NamedTuple):
    """One comparison; the fields are those of ``Case``."""

    activation: str
    direction: str
    dtype: str
    size: int
    mode: str
    threads: int

    @property
    def function(self) -> str:
        """Name of the public callable."""
        return self.activation if self.direction == "forward" else f"{self.activation}_{self.direction}"


def cells(
    functions: Iterable[tuple[str, str]],
    dtypes: Sequence[str],
    sizes: Sequence[int],
    modes: Sequence[str],
    threads: int,
) -> list[Cell]:
    """All combinations.

    Arrays are kept while the dtype stays the same, because to touch 64 Mi new elements takes longer than to compute
    them; sizes rise inside a mode, because what was far behind at one size is left out at the next.
    """
    return [
        Cell(activation, direction, dtype, size, mode, threads)
        for dtype, (activation, direction), mode, size in itertools.product(dtypes, functions, modes, sorted(sizes))
    ]


def show_size(size: int) -> str:
    """``64 Ki``."""
    unit = next(name for name, factor in (("Mi", 2**20), ("Ki", 2**10), ("", 1)) if size % factor == 0)
    return f"{size // {'Mi': 2**20, 'Ki': 2**10, '': 1}[unit]} {unit}".strip()
