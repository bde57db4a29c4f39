"""What ``fastact verify`` does, in which order: measure each dtype, print the tables, save, plot, judge.

``MEASURES`` says what measures a dtype.  A measure gets the run and gives records (``certificate.py``) one by one,
each with the measurement behind it if it has one that can be plotted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .. import dispatch
from . import certificate, peers, tables, targets
from .measuring import Piece
from .numbers import format_of
from .subjects import functions_named, subjects_of
from .tallies import Measurement
from .work import STRIDE, Store, Task, measured, task_of


class Run(NamedTuple):
    """What the arguments ask for."""

    functions: Sequence[str]
    targets: Sequence[str]
    exhaustive: bool
    with_peers: bool
    processes: int
    #: Finished pieces of an exhaustive sweep.
    store: Store | None
    #: For notes and the progress bar.
    notes: Console


class Result(NamedTuple):
    """A record, and what is behind it."""

    record: dict[str, Any]
    task: Task | None = None
    measurement: Measurement | None = None


Measure = Callable[[Run, str], Iterator[Result]]


def _measure_line(run: Run, dtype: str) -> Iterator[Result]:
    """float32: all numbers or every STRIDE-th; the parameters that are tried only then, as they multiply the time."""
    subjects = subjects_of(run.functions, with_tried=not run.exhaustive)
    stride = 1 if run.exhaustive else STRIDE
    tasks = [task_of(subject, dtype, stride, run.targets, run.with_peers) for subject in subjects]
    yield from _measured(run, dtype, tasks, run.processes)


def _measure_all_values(run: Run, dtype: str) -> Iterator[Result]:
    """The 16-bit types: all of their values, which is so little that it is done in this process."""
    reason = _why_unsupported(dtype)
    if reason:
        run.notes.print(f"{dtype} is left out: {reason}", soft_wrap=True)
        return
    subjects = subjects_of(run.functions, with_tried=True)
    yield from _measured(run, dtype, [task_of(subject, dtype, 1, run.targets, False) for subject in subjects], 1)


def _measure_points(run: Run, dtype: str) -> Iterator[Result]:
    """float64: numbers chosen one by one, against MPFR and mpmath."""
    multiprecision = importlib.import_module("fastact.verification.multiprecision")
    points = multiprecision.POINTS if run.exhaustive else POINTS_IN_BRIEF
    with multiprecision.workers(run.processes) as executor, Progress(console=run.notes, transient=True) as bar:
        line = bar.add_task(dtype, total=len(run.functions))
        for name in run.functions:
            bar.update(line, description=f"{dtype} {name}")
            for record in multiprecision.measure(name, (*run.targets, "reference"), points, 1, executor=executor):
                yield Result(certificate.stamped(record))
            bar.advance(line)


#: float64 numbers for each function where --exhaustive is not asked for: the whole command is to take a minute.
POINTS_IN_BRIEF = 4000

#: How each dtype is measured.
MEASURES: dict[str, Measure] = {
    "float32": _measure_line,
    "float64": _measure_points,
    "float16": _measure_all_values,
    "bfloat16": _measure_all_values,
}


def _why_unsupported(dtype: str) -> str | None:
    if dtype == "bfloat16" and importlib.util.find_spec("ml_dtypes") is None:
        return "it needs ml_dtypes (pip install ml_dtypes)"
    try:
        given = np.zeros(1, format_of(dtype).dtype)
        result = next(iter(dispatch.FUNCTIONS.values()))(given)
    except TypeError as error:
        return f"the functions do not take it ({error})"
    return None if result.dtype == given.dtype else f"the functions compute it as {result.dtype}"


def _measured(run: Run, dtype: str, tasks: Sequence[Task], processes: int) -> Iterator[Result]:
    pieces = sum(len(task.pieces()) for task in tasks)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=run.notes, transient=True, disable=pieces < 2
    ) as bar:
        line = bar.add_task(dtype, total=pieces)

        def note_finished(piece: Piece) -> None:
            bar.update(line, advance=1, description=f"{dtype} {piece.subject.function}")

        for task, measurement in measured(tasks, processes, run.store, note_finished):
            record = certificate.record_of(task, measurement)
            if pieces > len(tasks):
                worst = max(float(figures["ulp"]) for figures in record["targets"].values())
                bar.console.print(f"{tables.label(record)}: {tables.show_ulp(worst)} ULP")
            yield Result(record, task, measurement)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    notes = Console(stderr=True, highlight=False)
    available = targets.available()
    chosen = arguments.target or available
    absent = [name for name in chosen if name not in available]
    path = certificate.PUBLISHED if arguments.save else arguments.json
    try:
        if absent:
            raise ValueError(f"target: got {absent[0]!r}; this machine runs: {', '.join(available)}")
        # before hours of work, not after: whether the file can be replaced, and whether the plot's package is there
        if path is not None and path.exists():
            certificate.load(path)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    plots = importlib.import_module("fastact.verification.plots") if arguments.plot else None
    with ExitStack() as stack:
        store = None
        if arguments.exhaustive:
            progress = importlib.import_module("fastact.verification.progress")
            try:
                store = stack.enter_context(progress.opened(certificate.progress_fingerprint(), arguments.restart))
            except progress.Busy as busy:
                print(busy, file=sys.stderr)
                return 2
            if store.message:
                notes.print(store.message, soft_wrap=True)
        if not arguments.no_peers:
            for name, packages in peers.missing().items():
                notes.print(f"{name} is left out: it needs {packages}")
        asked = Run(
            functions_named(arguments.names),
            chosen,
            arguments.exhaustive,
            not arguments.no_peers,
            arguments.processes,
            store,
            notes,
        )
        results: list[Result] = []
        try:
            for dtype in arguments.dtype or MEASURES:
                # one by one: what is finished when somebody interrupts is not lost
                for result in MEASURES[dtype](asked, dtype):
                    results.append(result)
        except KeyboardInterrupt:
            _save(path, results, notes)
            notes.print("interrupted" + ("; the same command goes on from here" if store is not None else ""))
            return 130
        status = _report(results)
        _save(path, results, notes)
        if plots is not None:
            plots.draw([(r.task, r.measurement) for r in results if r.task and r.measurement], arguments.plot)
            notes.print(f"wrote {arguments.plot}", soft_wrap=True)
        if store is not None:
            store.forget({piece.key for result in results if result.task for piece in result.task.pieces()})
    return status


def _report(results: Sequence[Result]) -> int:
    console = tables.make_console()
    records = certificate.in_order([result.record for result in results])
    tables.print_records(records, console)
    return tables.print_verdict(records, console)


def _save(path: Path | None, results: Sequence[Result], notes: Console) -> None:
    if path is not None and results:
        saved = certificate.save(path, [result.record for result in results])
        notes.print(f"wrote {path}: {len(saved['records'])} records", soft_wrap=True)
