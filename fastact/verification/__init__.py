"""``fastact verify``: the accuracy of every kernel, measured over all numbers, as a certificate that anyone can re-run.

    numbers.py      the line of all numbers, and the stretch of it that a sweep visits
    subjects.py     functions with parameters, the truth about them, their limits
    targets.py      the kernels of each instruction set and Numba's, through the driver
    peers.py        PyTorch, ONNX Runtime and JAX
    errors.py       what counts as an error
    digests.py      one digest for all results
    measuring.py    the loop: everything compared with the truth, block by block
    tallies.py      what is known after a piece of the line
    work.py         pieces, processes
    progress.py     finished pieces on disk
    certificate.py  the JSON
    tables.py       for people
    plots.py        error over the line
    command.py      what is done in which order

and for float64, where not all numbers can be tried:

    definitions.py     a row as mathematics, by mpmath
    true_values.py     the truth about many points, by MPFR
    points.py          at which numbers a function is measured
    multiprecision.py  the measurement

This file parses arguments, without the packages that the command needs, so that ``--help`` works without them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import threads
from .subjects import functions_named
from .targets import TARGETS
from .work import STRIDE

#: What --dtype takes: the keys of command.MEASURES, which cannot be imported without rich.
DTYPES = ("float32", "float64", "float16", "bfloat16")


def _names(text: str) -> str:
    try:
        functions_named([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _listed(name: str, accepted: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        for word in words:
            if word not in accepted:
                raise argparse.ArgumentTypeError(f"{name}: got {word!r}; accepted: {', '.join(accepted)}")
        return words

    return parse


def _processes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"processes: got {text!r}; accepted: an integer from 1 to 256")
    return int(text)


def _plot(text: str) -> Path:
    if Path(text).suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"plot: got {text!r}; accepted: a path that ends in .png or .svg")
    return Path(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fastact verify``."""
    parser.add_argument(
        "names",
        nargs="*",
        type=_names,
        metavar="NAME",
        help="activations, with their gradients, or functions such as gelu_backward; default: all",
    )
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help=f"all 2**32 float32 numbers, which takes minutes for each function; default: every {STRIDE}th",
    )
    parser.add_argument(
        "--target",
        type=_listed("target", TARGETS),
        help=f"comma-separated: {', '.join(TARGETS)}; default: all that run here",
    )
    parser.add_argument(
        "--dtype",
        type=_listed("dtype", DTYPES),
        help=f"comma-separated: {', '.join(DTYPES)}; default: all that are there. 16-bit types: all their "
        "values; float64: chosen numbers, against mpmath",
    )
    parser.add_argument("--processes", type=_processes, default=threads.cpus_allowed(), help="default: %(default)s")
    save = parser.add_mutually_exclusive_group()
    save.add_argument("--json", type=Path, metavar="PATH", help="write the certificate there, or add to the one there")
    save.add_argument("--save", action="store_true", help="the same, into the certificate that the package quotes")
    parser.add_argument("--plot", type=_plot, metavar="PATH", help="error over the line, as PNG or SVG")
    parser.add_argument("--no-peers", action="store_true", help="leave PyTorch, ONNX Runtime and JAX out")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on after an interrupt, which is the default")
    again.add_argument("--restart", action="store_true", help="forget the pieces of an interrupted --exhaustive")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, save; 0 if all is within its limits, 1 if not, 2 if it cannot be done, 130 if interrupted."""
    from . import command

    return command.run(arguments)
