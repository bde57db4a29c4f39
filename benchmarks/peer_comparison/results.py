"""The results on disk: a journal of lines while they are measured, one JSON object when they are complete.

Each line is on disk before the next cell begins, so an interrupt costs one cell; ``--resume`` goes on where the journal
ends.  A journal belongs to one set of options, packages and kernels: figures of two programs are not mixed.

It must not know what a figure is; it stores and joins what workers write.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

SCHEMA = 1


class Journal:
    """Lines of JSON beside the file that they become."""

    def __init__(self, path: Path, about: dict) -> None:
        self.target = path
        self.path = path.with_name(path.name + ".journal")
        self.about = about
        self.lines: list[dict] = []
        self._file = None

    def open(self, resume: bool) -> None:
        """Begin a journal, or go on with the one that is there; ValueError if that is about something else."""
        if resume and self.path.exists():
            self.lines = list(_read(self.path))
            head = self.lines.pop(0) if self.lines else {}
            if head.get("about") != self.about:
                raise ValueError(f"--resume: {self.path} was made with other options, packages or kernels")
        # whole and under its name at once: a torn last line must not stay in the middle
        beside = self.path.with_name(self.path.name + ".new")
        beside.write_text("".join(_line(data) for data in [{"about": self.about}, *self.lines]), encoding="utf-8")
        os.replace(beside, self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def add(self, data: dict) -> None:
        """Store one line."""
        self.lines.append(data)
        self._file.write(_line(data))
        self._file.flush()

    def measured(self) -> set[tuple]:
        """The cells that are there."""
        return {tuple(data["cell"]) for data in self.lines if "cell" in data}

    def close(self, complete: bool) -> None:
        """Write the JSON of what is there; the journal stays if there is more to come."""
        self._file.close()
        text = json.dumps(joined(self.about, self.lines, complete), indent=None, separators=(",", ":"))
        # one line for each cell, so that it can be read and compared
        self.target.write_text(text.replace('{"cell":', '\n{"cell":').replace('{"key":', '\n{"key":') + "\n")
        if complete:
            self.path.unlink()


def joined(about: dict, lines: list[dict], complete: bool) -> dict:
    """The object that the report reads."""
    machines = [data["machine"] for data in lines if "machine" in data]
    contenders = {tuple(data["contender"]): data for data in lines if "contender" in data}
    cells = {tuple(data["cell"]): data for data in lines if "cell" in data}
    return {
        "schema": SCHEMA,
        "complete": complete,
        "about": about,
        "machine": machines[-1] if machines else {},
        "contenders": [
            {"key": list(key), **{name: value for name, value in data.items() if name != "contender"}}
            for key, data in contenders.items()
        ],
        "cells": list(cells.values()),
    }


def _line(data: dict) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n"


def _read(path: Path):
    """The lines; a torn one, which a killed process leaves at the end, is dropped."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
