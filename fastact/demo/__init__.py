"""``fastact demo``: the main job on real data, in half a minute.

Trains a small multilayer perceptron on handwritten digits, its activations in place through fastact, serves it over
the held-out data, and does the same again with the activations written in plain NumPy.

    activations.py  the one thing in which the two networks differ
    network.py      the multilayer perceptron, in NumPy
    training.py     data, training loop, serving
    report.py       the table

This file parses arguments; it must import neither rich nor scikit-learn, so that ``fastact demo --help`` works without.
"""

from __future__ import annotations

import argparse

from ..catalogue import ACTIVATIONS, ALIASES


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: an integer >= 1")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: an integer from 1 to 1024")
    return int(text)


def _seed(text: str) -> int:
    # the range of NumPy's legacy seeds, which scikit-learn takes
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: an integer from 0 to 2**32 - 1")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fastact demo``."""
    # a per-channel weight would have to be trained as well
    names = [row.name for row in ACTIVATIONS if not row.operands] + list(ALIASES)
    parser.add_argument("--activation", choices=names, default="gelu", help="default: %(default)s")
    parser.add_argument("--epochs", type=_positive, default=20, help="default: %(default)s")
    parser.add_argument("--batch", type=_positive, default=64, help="images per batch, default: %(default)s")
    parser.add_argument(
        "--hidden",
        type=_positive,
        nargs="+",
        default=[1024, 1024],
        metavar="UNITS",
        help="units of each hidden layer, default: 1024 1024",
    )
    parser.add_argument(
        "--threads",
        type=_threads,
        default=1,
        help="threads for fastact, and for NumPy's matrix products; default: %(default)s, which is what plain NumPy "
        "activations have",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="same seed, same result; default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, print its tables and return the exit status."""
    from . import report

    return report.run(arguments)
