"""The file of ``fastact tune``: written whole, by one process at a time, for ``tuned.py`` to read.

A reader needs no lock, because a new table takes the place of the old one in one step.  The lock is for whoever
measures: two at once would disturb each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from .. import __version__, cache, dispatch, tuned


class Busy(RuntimeError):
    """Another process is tuning."""


def identity() -> dict[str, Any]:
    """What a table of this process is about."""
    return tuned.identity(__version__, np.__version__, dispatch.instruction_set())


def path() -> Path:
    """The file of this machine."""
    return Path(tuned.path_of(identity()))


def read() -> tuned.Table | None:
    """The table that is stored for this machine; tuned.Alien if it is not to be used."""
    return tuned.read(identity(), dispatch.FUNCTIONS, dispatch.DTYPES)


@contextmanager
def alone() -> Iterator[None]:
    """While nobody else tunes; Busy if somebody does, OSError if the folder cannot be written to."""
    folder = Path(cache.folder())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "tuning.lock", timeout=0):
            yield
    except Timeout:
        raise Busy(f"another fastact tune is running (it holds {folder / 'tuning.lock'})") from None


def write(measured: dict[str, Any]) -> Path:
    """Store what was measured as this machine's table, checked as readers will; only inside `alone`."""
    about = identity()
    text = json.dumps({**about, **measured}, indent=1, allow_nan=False) + "\n"
    tuned.parsed(text, about, dispatch.FUNCTIONS, dispatch.DTYPES)
    target = path()
    beside = target.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, target)
    return target


def remove() -> bool:
    """Delete this machine's table; False if there was none."""
    try:
        path().unlink()
    except FileNotFoundError:
        return False
    return True
