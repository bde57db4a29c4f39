"""Which CPU this is, as far as the operating system tells without a process of its own being started for it."""

from __future__ import annotations

import os
import sys

#: On x86 the hypervisor's name for the CPU may be any CPU's ("AMD EPYC"), so the numbers belong to it; on ARM there
#: are only numbers.
_IDENTIFYING = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU variant", "CPU part")
#: The first CPU's lines.  The kernel writes this file as it is read, and takes milliseconds for a hundred CPUs.
_FIRST_BYTES = 4096


def _lines(text: str) -> list[tuple[str, str]]:
    parted = (line.partition(":") for line in text.splitlines())
    return [(key.strip(), value.strip()) for key, _, value in parted]


def _otherwise() -> str:
    """What is known without /proc/cpuinfo."""
    known = os.environ.get("PROCESSOR_IDENTIFIER")
    if known is None:
        known = os.uname().machine if hasattr(os, "uname") else sys.platform
    return known


def cpu_name(cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo") -> str:
    """The CPU's name for people."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            for key, value in _lines(file.read()):
                if key in ("model name", "Model", "cpu model", "Processor"):
                    return value
    except OSError:
        pass
    return _otherwise()


def cpu_model(cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo") -> str:
    """The CPU's name and numbers: what measurements were made on, to be compared with."""
    try:
        # unbuffered, or Python asks for more than is wanted
        with open(cpuinfo, "rb", buffering=0) as file:
            lines = _lines(file.read(_FIRST_BYTES).decode("utf-8", "replace"))
    except OSError:
        return _otherwise()
    found: dict[str, str] = {}
    for key, value in lines:
        if key in _IDENTIFYING:
            found.setdefault(key, value)
    words = [value if key == "model name" else f"{key.removeprefix('CPU ').removeprefix('cpu ')} {value}"
             for key, value in sorted(found.items(), key=lambda item: _IDENTIFYING.index(item[0]))]  # fmt: skip
    return ", ".join(words) or _otherwise()
