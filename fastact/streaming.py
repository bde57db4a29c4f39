"""From how many bytes on a call's outputs are written past the caches, and where that number came from.

``FASTACT_STREAM_FROM``, or what ``fastact tune`` has measured here, or twice the last-level caches of the CPUs that
this process may use, as Linux tells them.  Where none of them says, nothing is streamed.  ``src_cy/streaming.pxi`` has
the how, and which kernels gain by it.
"""

from __future__ import annotations

import os
import sys

from . import _core, tuned

# Bytes that a call moves, inputs and outputs, for each byte of cache.  With as many as the cache holds streaming is as
# fast as ordinary stores or slower (relu of 4 Mi float32 on one thread, 32 MiB); with twice as many it is a sixth
# faster (docs/memory.md), and so is relu together with somebody who reads the output next, because of that output
# little would be left in the cache.
_CACHES = 2
# Bytes of cache for each CPU, at most: no core has as much of its own (AMD with stacked caches: 12 MiB), but a virtual
# machine shows its few CPUs the whole cache of a host whose other cores have most of it.  Two CPUs of a Xeon that see
# 300 MiB: streaming takes 0.5 to 0.7 of the time from there on (64 MiB moved), and with a reader of the output 0.7 on
# one thread and 1.1 on two; from 128 MiB on 0.7 on both.
_MOST_FOR_A_CPU = 16 << 20
# The number that no call moves.
NEVER = sys.maxsize

#: Where the present number came from, for ``fastact info``.
origin = ""


def last_level_caches(root: str = "/sys/devices/system/cpu", cpus: list[int] | None = None) -> int | None:
    """Bytes of the last-level caches of all CPUs that this process may use; None if Linux does not tell.

    The caches of the first CPU stand for the others': a hundred CPUs are not worth a hundred files at import.
    """
    # glibc's sysconf is not asked: it takes all caches of the socket for one (384 MiB for 32 on an AMD EPYC)
    cpus = cpus or sorted(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0})
    for index in (4, 3, 2, 1, 0):
        folder = os.path.join(root, f"cpu{cpus[0]}", "cache", f"index{index}")
        try:
            size, sharing = _bytes_of(_text_of(folder, "size")), _count_of(_text_of(folder, "shared_cpu_list"))
            return min(size * -(-len(cpus) // sharing), len(cpus) * _MOST_FOR_A_CPU)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return None
    return None


def _text_of(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read().strip()


def _bytes_of(text: str) -> int:
    """A size such as 32768K."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text)


def _count_of(text: str) -> int:
    """How many CPUs are in a list such as 0-3,8-11."""
    ranges = [part.split("-") for part in text.split(",")]
    return sum(int(bounds[-1]) - int(bounds[0]) + 1 for bounds in ranges)


def default_stream_from() -> tuple[int, str]:
    """The number to start with, and where it came from."""
    own = os.environ.get("FASTACT_STREAM_FROM")
    if own is not None:
        if own.strip() == "never":
            return NEVER, "FASTACT_STREAM_FROM"
        if not own.strip().isdecimal() or not 1 <= int(own) <= NEVER:
            raise ValueError(f"FASTACT_STREAM_FROM: got {own!r}; accepted: a number of bytes from 1, or 'never'")
        return int(own), "FASTACT_STREAM_FROM"
    if tuned.table is not None and tuned.table.stream_from is not None:
        return tuned.table.stream_from, tuned.table.origin
    return shipped_stream_from()


def shipped_stream_from() -> tuple[int, str]:
    """The number where nobody has said or measured one."""
    caches = last_level_caches()
    return (NEVER, "no cache size known") if caches is None else (_CACHES * caches, f"{_CACHES} x last-level cache")


def stream_from() -> int | None:
    """Bytes of inputs and outputs from which outputs are streamed, None if they never are."""
    bound = _core.get_stream_from()
    return None if bound == NEVER else bound


def start() -> None:
    """Find the number; the package calls it once."""
    global origin
    bound, came_from = default_stream_from()
    _core.set_stream_from(bound)
    origin = came_from if _core.can_stream() else "built without streaming stores"
