"""How many bytes of freed outputs are kept for the next ones, and where that number came from.

``FASTACT_RECYCLE_BYTES``, or 512 MiB, but at most a sixteenth of the machine's memory.  ``src_cy/recycling.h`` says how
they are kept, and why the system can have them back at any time.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from . import _core

# What a forward and a backward pass over 64 Mi float32 leave behind.
_DEFAULT = 512 << 20
_SHARE_OF_MEMORY = 16

#: Where the present bound came from, for ``fastact info``.
origin = ""


class Recycling(NamedTuple):
    """What may be kept of freed outputs, and what is."""

    max_bytes: int
    kept_bytes: int


def _checked(max_bytes: object, name: str) -> int:
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or not 0 <= max_bytes <= sys.maxsize:
        raise ValueError(f"{name}: got {max_bytes!r}; accepted: a number of bytes from 0")
    return max_bytes


def default_bound() -> tuple[int, str]:
    """The bound to start with, and where it came from."""
    own = os.environ.get("FASTACT_RECYCLE_BYTES")
    if own is not None:
        return _checked(int(own) if own.strip().isdecimal() else own, "FASTACT_RECYCLE_BYTES"), "FASTACT_RECYCLE_BYTES"
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0, "size of memory unknown"
    share = memory // _SHARE_OF_MEMORY
    return (_DEFAULT, "default") if share >= _DEFAULT else (share, f"1/{_SHARE_OF_MEMORY} of memory")


def get_recycling() -> Recycling:
    """Tell how many bytes of freed outputs may be kept for the next ones, and how many are kept now.

    Returns
    -------
    Recycling
        A named tuple: ``max_bytes``, the bound, and ``kept_bytes``.

    Examples
    --------
    >>> import fastact
    >>> recycling = fastact.get_recycling()
    >>> recycling.kept_bytes <= recycling.max_bytes
    True
    """
    return Recycling(_core.get_recycling_bound(), _core.get_recycling_kept())


def set_recycling(max_bytes: int) -> None:
    """Set how many bytes of freed outputs may be kept for the next ones, for the whole process.

    When a large array (4 MiB and more) that a function made from plain dense arrays is freed, its memory is kept for
    the next one of that size, which then needs no page faults.  The system may take the pages of kept memory whenever
    others need them, though tools that show a process's memory count them until then.  What is alive is not counted,
    and takes up to 2 MiB more for each array.  What is kept beyond the new bound is given back at once.

    Parameters
    ----------
    max_bytes : int
        From 0, which keeps nothing.

    Raises
    ------
    ValueError
        If ``max_bytes`` is not such an integer.

    Examples
    --------
    >>> import fastact
    >>> before = fastact.get_recycling().max_bytes
    >>> fastact.set_recycling(0)
    >>> fastact.get_recycling()
    Recycling(max_bytes=0, kept_bytes=0)
    >>> fastact.set_recycling(before)
    """
    global origin
    _set(_checked(max_bytes, "max_bytes"))
    origin = "set_recycling" if _core.can_recycle() else "built without recycling"


def release_recycled() -> int:
    """Give the freed outputs that are kept back to the system now.

    Returns
    -------
    int
        How many bytes that were.

    Examples
    --------
    >>> import fastact
    >>> given_back = fastact.release_recycled()
    >>> fastact.get_recycling().kept_bytes
    0
    """
    return _core.release_kept()


def _set(bound: int) -> None:
    # NumPy's own switch for its own large arrays: where somebody has turned huge pages off, they are off
    _core.set_recycling_bound(bound, os.environ.get("NUMPY_MADVISE_HUGEPAGE", "1").strip() != "0")


def start() -> None:
    """Find the bound; the package calls it once."""
    global origin
    _core.start_recycling()
    bound, came_from = default_bound()
    _set(bound)
    origin = came_from if _core.can_recycle() else "built without recycling"
