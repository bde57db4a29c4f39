"""``fastact tune``: what this machine does better with than with what the package ships, measured within a minute.

    measuring.py    the clock: settings that take turns
    choices.py      what follows, and whether it is better than the default
    storage.py      the file
    command.py      what is done in which order, and within the time
    tables.py       for people

It changes nothing but its file, which processes read when they import fastact (``../tuned.py``).
This file parses arguments, without the packages that the command needs, so that ``--help`` works without them.
"""

from __future__ import annotations

import argparse

from .. import dispatch

#: Seconds when nobody says how many: with what comes before and after, a minute is not exceeded.
SECONDS = 50


def _function(text: str) -> str:
    try:
        return dispatch.find(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> int:
    if not text.isdecimal() or not 5 <= int(text) <= 3600:
        raise argparse.ArgumentTypeError(f"seconds: got {text!r}; accepted: an integer from 5 to 3600")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fastact tune``."""
    parser.add_argument(
        "--functions",
        nargs="+",
        type=_function,
        metavar="NAME",
        help="functions such as gelu and gelu_backward; the others have the defaults; default: all",
    )
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, help="at most; default: %(default)s")
    parser.add_argument(
        "--no-numba", action="store_true", help="leave Numba out, whose compiler takes most of the time"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--show", action="store_true", help="print the table of this machine, and measure nothing")
    instead.add_argument("--remove", action="store_true", help="delete the table of this machine: the defaults again")


def run(arguments: argparse.Namespace) -> int:
    """Do it; 0, 2 if it cannot be done, 130 if interrupted."""
    from . import command

    return command.run(arguments)
