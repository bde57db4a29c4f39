"""Finished pieces of an exhaustive sweep on disk, so that an interrupt costs minutes and not hours.

One file in the user's cache folder, a JSON object a line: first what the results depend on (the fingerprint of the
kernels and of what they are compared with), then the finished pieces.  Each line is flushed as it is written, so a
process that is killed leaves at most one torn line behind, which is dropped.  A lock keeps a second run from mixing
its lines in.

It must not know what a piece says: it stores and gives back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from .. import cache
from .tallies import Measurement, measurement_from_json

FILE = "verify-progress.jsonl"


class Busy(RuntimeError):
    """Another run is writing its progress."""


class Progress:
    """The finished pieces by their keys."""

    def __init__(self, path: Path, fingerprint: str, done: dict[str, Any], message: str | None) -> None:
        self.path, self.fingerprint, self._done = path, fingerprint, done
        #: What a person should know about the file that was found, or None.
        self.message = message
        self._file: IO[str] | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def get(self, key: str) -> Measurement:
        """A finished piece."""
        return measurement_from_json(self._done[key])

    def add(self, key: str, measurement: Measurement) -> None:
        """Store a piece that has just been finished."""
        self._done[key] = measurement.as_json()
        if self._file is None:
            self._rewrite()
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(_line({"piece": key, "measurement": self._done[key]}))
        self._file.flush()

    def forget(self, keys: Collection[str]) -> None:
        """Drop pieces that nobody needs any more; an empty file is removed."""
        self.close()
        self._done = {key: piece for key, piece in self._done.items() if key not in keys}
        if self._done:
            self._rewrite()
        else:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewrite(self) -> None:
        # whole and under its name at once: a torn line must not stay in the middle of the file
        beside = self.path.with_suffix(".new")
        lines = [_line({"fingerprint": self.fingerprint})]
        lines += [_line({"piece": key, "measurement": piece}) for key, piece in self._done.items()]
        beside.write_text("".join(lines), encoding="utf-8")
        os.replace(beside, self.path)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n"


def _read(path: Path, fingerprint: str) -> tuple[dict[str, Any], str | None]:
    """The finished pieces in a file, and what a person should know about it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}, None
    except (OSError, UnicodeDecodeError) as error:
        return {}, f"{path} is not readable ({error}) and is ignored: starting anew"
    try:
        head = json.loads(lines[0])["fingerprint"]
    except (IndexError, ValueError, KeyError, TypeError):
        return {}, f"{path} is damaged and is ignored: starting anew"
    if head != fingerprint:
        return {}, f"{path} is about other kernels or another version of fastact and is ignored: starting anew"
    done, torn = {}, 0
    for line in lines[1:]:
        try:
            data = json.loads(line)
            measurement_from_json(data["measurement"])
            done[data["piece"]] = data["measurement"]
        except (ValueError, KeyError, TypeError, AttributeError):
            torn += 1
    return done, f"{path}: {torn} damaged line{'s' * (torn > 1)} ignored" if torn else None


@contextmanager
def opened(fingerprint: str, restart: bool) -> Iterator[Progress]:
    """The progress of this machine's user, for this run alone; Busy if another one has it."""
    folder = Path(cache.folder())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            if restart:
                path.unlink(missing_ok=True)
            progress = Progress(path, fingerprint, *_read(path, fingerprint))
            try:
                yield progress
            finally:
                progress.close()
    except Timeout:
        raise Busy(f"another fastact verify --exhaustive is running (it holds {path.with_suffix('.lock')})") from None
