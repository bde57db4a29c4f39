"""One process with one number of threads: it is told cells, measures them, and writes a line of JSON for each.

Threads are why it is a process of its own: JAX, and PyTorch's and fastact's instruction sets, read their settings from
the environment when they are imported.  Lines go to the descriptor that was standard output; what libraries print goes
to standard error.

    {"begin": cell}                          before a cell, so that a crash has an address
    {"contender": key, "name": ...}          what was timed: once for each function, mode, dtype and peer
    {"cell": cell, "figures": ..., "left_out": ...}
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import sys
import warnings

from .cells import Cell, show_size
from .peers import PEERS, maker

#: Where memory decides, and a call costs milliseconds: a peer that took LEFT_OUT times as long as the best one at the
#: next smaller size is not timed.  From cache to memory the distance between two contenders shrinks, because both wait
#: for the same memory; three times is more than it can turn round.
_LEFT_OUT_FROM, _LEFT_OUT = 2**20, 3.0
#: What the report compares with by name.
_NEVER_LEFT_OUT = ("torch",)


def versions(labels):
    """Versions of what takes part."""
    names = ["numpy", "scipy", "numba", *(PEERS[label].packages[0] for label in labels)]
    found = {"python": platform.python_version()}
    for name in dict.fromkeys(names):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Worker:
    """Measures cells."""

    def __init__(self, labels, threads, budget, write):
        # not before: the packages must find the environment that the parent has made
        from fastact import set_num_threads
        from fastact.cases import Case

        from .arena import Arena
        from .memory import Memory

        # makes NumPy know bfloat16 by its name
        if importlib.util.find_spec("ml_dtypes") is not None:
            importlib.import_module("ml_dtypes")
        set_num_threads(threads)
        self._case, self._arena, self._memory = Case, Arena(), Memory(threads)
        self._makers = {label: maker(label, threads) for label in labels}
        self._threads, self._budget, self._write = threads, budget, write
        self._verdicts = {}
        #: The figures of the last cell of a function, dtype and mode: its size, and ns by label.
        self._smaller = {}

    def measure(self, cell):
        """Measure one cell and write its line."""
        from .timing import measure

        case = self._case(*cell)
        series = (cell.activation, cell.direction, cell.dtype, cell.mode)
        arrays, copies = self._arena.arrays(case), self._arena.copies(case)
        row, left_out = [self._ours(arrays, case, copies), self._memory.contender(case, arrays, copies)], {}
        self._judge("fastact", self._ours, case, row[0])
        for label, made in self._makers.items():
            reason = self._reason_to_leave_out(label, made, case, series)
            if reason:
                left_out[label] = reason
                continue
            contender = made.contender(case, arrays, copies)
            self._describe(label, case, contender)
            row.append(contender)
        figures = measure(row, cell.size, self._threads, self._budget)
        self._smaller[series] = (cell.size, {label: figure.minimum for label, figure in figures.items()})
        self._write({"cell": cell, "figures": figures, "left_out": left_out})

    @staticmethod
    def _ours(arrays, case, copies):
        from fastact.contenders import ours

        return ours(case, None, arrays, copies)

    def _judge(self, label, make, case, contender=None):
        """Why a contender may not be timed, or ""."""
        from .checking import verdict

        key = (label, case.activation, case.direction, case.dtype, case.mode)
        if key not in self._verdicts:
            self._verdicts[key] = [verdict(make, case), False]
        if contender is not None:
            self._describe(label, case, contender)
        return self._verdicts[key][0].absent

    def _describe(self, label, case, contender):
        key = (label, case.activation, case.direction, case.dtype, case.mode)
        judged, written = self._verdicts[key]
        if written:
            return
        self._verdicts[key][1] = True
        error = judged.max_ulp
        self._write(
            {
                "contender": [label, case.function, case.dtype, case.mode],
                "name": contender.name,
                "statement": contender.text,
                "form": contender.form,
                "note": contender.note,
                # JSON has no infinity; float("inf") reads the word back
                "max_ulp": error if error is None or math.isfinite(error) else "inf",
            }
        )

    def _reason_to_leave_out(self, label, made, case, series):
        absent = self._judge(label, lambda arrays, case, copies: made.contender(case, arrays, copies), case)
        if absent:
            return absent
        size, smaller = self._smaller.get(series, (0, {}))
        if case.size < _LEFT_OUT_FROM or not size < case.size or label in _NEVER_LEFT_OUT:
            return ""
        best = min((ns for name, ns in smaller.items() if name in PEERS), default=0.0)
        # a peer that was itself left out at the smaller size stays out
        behind = smaller.get(label, math.inf) / best if best else 0.0
        if behind <= _LEFT_OUT:
            return ""
        times = f"{behind:.1f} times as slow as the best peer" if math.isfinite(behind) else "left out"
        return f"{times} on {show_size(size)} elements"


def main():
    """Measure what standard input asks for."""
    # thinc's exponentials overflow, and say so; whether results are right is looked at elsewhere
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # whatever a library prints must not come between the lines
    os.dup2(2, 1)

    def write(data):
        lines.write(json.dumps(data, allow_nan=False) + "\n")
        lines.flush()

    from fastact.benchmark import machine

    facts = machine()
    facts["versions"] |= versions(request["peers"])
    write({"machine": facts})
    worker = Worker(request["peers"], request["threads"], request["budget"], write)
    for cell in (Cell(*fields) for fields in request["cells"]):
        write({"begin": cell})
        worker.measure(cell)


if __name__ == "__main__":
    main()
