"""The table of ``fastact tune``: where it is, what it must look like, and whether it is about this machine.

It is read once, at import, by whoever may be in a hurry, from a folder that anything may have written to.  So nothing
in it is believed before all of it was checked: a threshold of 0, say, would be a division by zero in the driver.  A
table that is damaged, or about something else, is ignored as a whole, with one warning; it never stops an import.
Each CPU and instruction set has a file of its own, because home folders are shared between machines.

It reads; writing is ``tuning/storage.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import warnings
from binascii import crc32
from collections.abc import Collection
from typing import Any, NamedTuple

from . import cache, machine

SCHEMA = 1
#: A table of all functions has some 10 KB.
_MOST_BYTES = 1 << 20
#: What can be: an element takes longer than a tenth of a cycle and less than a millisecond; the driver splits nothing
#: smaller than 512 elements, and an array of 2**40 fits no memory.
_LEAST_NS, _MOST_NS = 0.01, 1e6
_LEAST_ELEMENTS, _MOST_ELEMENTS = 512, 2**40
_LEAST_BYTES, _MOST_TO_STREAM = 2**16, 2**62
_DATE = r"\d{4}-\d\d-\d\d"
_VARIABLE = "FASTACT_TUNING"


class Choice(NamedTuple):
    """What was measured of one function and dtype, and what was chosen."""

    compiled_ns: float
    #: None: not measured.
    numba_ns: float | None
    #: Elements from which threads are used; None: by the shipped table.
    parallel_from: int | None
    #: Whether Numba's kernel serves, once it is compiled.
    numba: bool


class Table(NamedTuple):
    """What ``fastact tune`` stored."""

    date: str
    #: The version of Numba that was measured, if it was.
    numba_version: str | None
    #: By function, then dtype.
    choices: dict[str, dict[str, Choice]]
    #: Bytes of a call from which outputs are streamed; None: as without a table.
    stream_from: int | None

    def choice(self, name: str, dtype: str) -> Choice | None:
        """What was chosen for a function, or None if it was not measured."""
        return self.choices.get(name, {}).get(dtype)

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return f"tuned table of {self.date}"


#: The table that is used, and if one is there that is not, why.
table: Table | None = None
ignored: str | None = None


class Alien(ValueError):
    """A table that is not to be used; the message says why."""


def identity(fastact: str, numpy: str, instruction_set: str) -> dict[str, Any]:
    """What a table is about.  Numba's version is compared when Numba is to serve: nobody imports it sooner."""
    return {
        "schema": SCHEMA,
        "fastact": fastact,
        "numpy": numpy,
        "cpu": machine.cpu_model(),
        "instruction_set": instruction_set,
    }


def path_of(about: dict[str, Any]) -> str:
    """The file of this CPU and instruction set."""
    name = f"tuning-{about['instruction_set']}-{crc32(about['cpu'].encode()):08x}.json"
    return os.path.join(cache.folder(), name)


def _text_of(path: str) -> str:
    # a pipe of that name would block for ever
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Alien("not a file")
    with open(path, encoding="utf-8") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise Alien("damaged: too long")
    return text


def _number(value: object, least: float, most: float, what: str) -> Any:
    # NaN is in no range, and bool is an int
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Alien(f"damaged: {what} is {value!r:.80}")
    return value


def _whole(value: object, least: int, most: int, what: str) -> int | None:
    if value is None:
        return None
    _number(value, least, most, what)
    if not isinstance(value, int):
        raise Alien(f"damaged: {what} is {value!r}")
    return value


def _choice(data: Any, where: str) -> Choice:
    if not isinstance(data, dict) or data.get("backend") not in ("cython", "numba"):
        raise Alien(f"damaged: {where} is {data!r:.80}")
    numba_ns = data.get("numba_ns")
    elements = _whole(data.get("parallel_from"), _LEAST_ELEMENTS, _MOST_ELEMENTS, f"{where}: parallel_from")
    if numba_ns is not None:
        _number(numba_ns, _LEAST_NS, _MOST_NS, f"{where}: numba_ns")
    elif data["backend"] == "numba":
        raise Alien(f"damaged: {where}: numba_ns is {numba_ns!r}")
    compiled_ns = _number(data.get("compiled_ns"), _LEAST_NS, _MOST_NS, f"{where}: compiled_ns")
    return Choice(compiled_ns, numba_ns, elements, data["backend"] == "numba")


def parsed(text: str, about: dict[str, Any], names: Collection[str], dtypes: Collection[str]) -> Table:
    """The table in a text; Alien if it is damaged or about something else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Alien(f"damaged: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("functions"), dict):
        raise Alien("damaged: not a table of fastact tune")
    for key, expected in about.items():
        if data.get(key) != expected:
            raise Alien(f"made for {key} {data.get(key)!r:.80}, and this is {expected!r}: run fastact tune again")
    date, version = data.get("date"), data.get("numba")
    if not isinstance(date, str) or not re.fullmatch(_DATE, date):
        raise Alien(f"damaged: date is {date!r:.80}")
    if not isinstance(version, str | None):
        raise Alien(f"damaged: numba is {version!r:.80}")
    choices: dict[str, dict[str, Choice]] = {}
    for name, by_dtype in data["functions"].items():
        if name not in names or not isinstance(by_dtype, dict) or not set(by_dtype) <= set(dtypes):
            raise Alien(f"damaged: functions: {name!r:.80} is {by_dtype!r:.80}")
        choices[name] = {dtype: _choice(choice, f"{name} {dtype}") for dtype, choice in by_dtype.items()}
    return Table(date, version, choices, _whole(data.get("stream_from"), _LEAST_BYTES, _MOST_TO_STREAM, "stream_from"))


def read(about: dict[str, Any], names: Collection[str], dtypes: Collection[str]) -> Table | None:
    """The table of this machine; None if there is none, Alien if there is one that is not to be used."""
    path = path_of(about)
    try:
        return parsed(_text_of(path), about, names, dtypes)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Alien(f"{path} is not readable: {error}") from None
    except Alien as error:
        raise Alien(f"{path} is {error}") from None


def is_wanted() -> bool:
    """What FASTACT_TUNING says."""
    value = os.environ.get(_VARIABLE, "on")
    if value not in ("on", "off"):
        raise ValueError(f"{_VARIABLE}: got {value!r}; accepted: on, off")
    return value == "on"


def _is_any() -> bool:
    # most users have none: one look at the folder, and the CPU is not asked for its name
    try:
        return any(name.startswith("tuning-") for name in os.listdir(cache.folder()))
    except OSError:
        return False


def start(fastact: str, numpy: str, instruction_set: str, names: Collection[str], dtypes: Collection[str]) -> None:
    """Read this machine's table, if there is one and it is wanted; the package calls it once."""
    global table, ignored
    table, ignored = None, None
    if not is_wanted():
        ignored = f"{_VARIABLE}=off"
        return
    if not _is_any():
        return
    try:
        table = read(identity(fastact, numpy, instruction_set), names, dtypes)
    except Alien as error:
        ignored = str(error)
        # where warnings are errors, a file in a cache must not stop an import; fastact info still tells
        with contextlib.suppress(RuntimeWarning):
            warnings.warn(f"fastact: the table of fastact tune is ignored: {error}", RuntimeWarning, stacklevel=2)
