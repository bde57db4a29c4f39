"""Write fastact/costs.json: what an element of each function costs on this machine.  ``python tools/costs.py``

Every function, dtype and instruction set that runs here, and Numba where its kernels are faster than the best of them:
about a minute, on a machine that does nothing else.  dispatch derives from it from how many elements on threads pay
(fastact/costs.py).  Nothing fails where the file is older than the kernels: it is what to expect, not what is.
"""

import argparse
import datetime
import json
import sys
import timeit
from pathlib import Path

import numpy as np

from fastact import costs, dispatch, machine
from fastact.backends import cython_kernels, numba_kernels
from fastact.tuning import choices, measuring

FILE = Path(costs.__file__).with_name("costs.json")
#: A busy second spoils one of these, and the minimum counts.
PASSES, ROUNDS = 3, 60
MEMORY_BYTES = 1 << 28


def levels():
    """The instruction sets that this machine runs."""
    found = []
    for level in cython_kernels.INSTRUCTION_SETS:
        try:
            cython_kernels.kernels_of(level)
        except (ImportError, RuntimeError) as error:
            print(f"{level}: left out: {error}", file=sys.stderr)
            continue
        found.append(level)
    return found


def supply(subject, level):
    """Let the kernel of an instruction set serve as the compiled one."""
    address = cython_kernels.kernels_of(level)[subject.loop, subject.dtype]
    precision = dispatch.DTYPES.index(subject.dtype)
    subject.function.supply(dispatch.BACKENDS.index("cython"), precision, address, cython_kernels.DISTINCT)


def memory_ns_per_byte():
    """What memory takes one thread for a byte that is read or written: a copy, far beyond every cache."""
    source = np.ones(MEMORY_BYTES, np.uint8)
    target = np.ones_like(source)
    return min(timeit.repeat(lambda: np.copyto(target, source), number=1, repeat=9)) * 1e9 / (2 * MEMORY_BYTES)


def nested(costs_of):
    """{dtype: {function: ns}} of {subject: ns}."""
    found = {dtype: {} for dtype in dispatch.DTYPES}
    for subject, cost in costs_of.items():
        found[subject.dtype][subject.function.name] = float(f"{cost:.3g}")
    return found


def compiled(measured, subjects, wanted):
    """Costs of the compiled kernels by instruction set, of all that run here if none is wanted."""
    found = {level: {} for level in wanted or levels()}
    for _ in range(PASSES):
        for level, costs_of in found.items():
            for subject in subjects:
                supply(subject, level)
                cost = measured.cost(subject, "cython", ROUNDS)
                costs_of[subject] = min(cost, costs_of.get(subject, cost))
    for subject in subjects:
        supply(subject, cython_kernels.instruction_set())
    return found


def numba(measured, subjects):
    """Costs of Numba's kernels, where they are the faster ones."""
    found = {}
    for subject in subjects:
        if not dispatch.supply(subject.function, subject.dtype, "numba"):
            sys.exit("Numba does not work; --no-numba leaves it out")
        if choices.numba_wins(measured, subject):
            found[subject] = measured.cost(subject, "numba", PASSES * ROUNDS)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-numba", action="store_true", help="leave Numba out")
    parser.add_argument(
        "--levels",
        nargs="+",
        choices=cython_kernels.INSTRUCTION_SETS,
        help="measure these; what was stored of others stays",
    )
    arguments = parser.parse_args()
    table = json.loads(Path(costs.__file__).with_name("costs.json").read_text(encoding="utf-8"))
    subjects = measuring.in_order(list(dispatch.FUNCTIONS.values()))
    measured = measuring.Measuring()
    with measuring.restored():
        here = {
            "cpu": machine.cpu_model(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "memory_ns_per_byte": float(f"{memory_ns_per_byte():.2g}"),
        }
        for level, found in compiled(measured, subjects, arguments.levels).items():
            table["compiled_ns"][level] = nested(found)
            table["measured_on"][level] = here
        if not arguments.no_numba:
            found = nested(numba(measured, subjects))
            version, level = numba_kernels.version_imported(), cython_kernels.instruction_set()
            table["numba"] = {"version": version, "instruction_set": level, "ns": found}
    FILE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
