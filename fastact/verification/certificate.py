"""The certificate: what was measured, judged by the limits of the rows, with all that it depends on, as one JSON file.

A record is about one function with parameters and one dtype: for each target the largest error and where it occurs,
what else it did wrong, and the digest of all its results; beside it what the peers gave.  Saving into a file replaces
the records of what was measured again and keeps the others, so a long certificate can be made function by function.

Numbers of inputs are strings, decimal and hexadecimal: the one for reading, the other exact.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, lowering, machine, reference
from .. import formulas as formula_package
from . import peers
from .numbers import Format, values_at
from .subjects import Subject, functions_named, subjects_of
from .tallies import FAULTS, Measurement, Tally, number_as_json
from .work import Task

SCHEMA = 1
PACKAGE = Path(__file__).resolve().parents[1]
#: The modules of this package that a measured piece depends on.
_MEASURING = ("digests", "errors", "measuring", "numbers", "peers", "subjects", "tallies", "targets")
#: Their order in a certificate.
_DTYPES = ("float32", "float64", "float16", "bfloat16")
#: The certificate that comes with the package, and that docstrings quote.
PUBLISHED = PACKAGE / "certificate.json"


def _digest_of(paths: list[Path], words: list[str]) -> str:
    state = hashlib.blake2b(digest_size=8)
    for part in [*(path.read_bytes() for path in paths), *(word.encode() for word in words)]:
        # with its length, so that bytes cannot move from one part to the next
        state.update(len(part).to_bytes(8, "little") + part)
    return state.hexdigest()


@functools.cache
def kernels_fingerprint() -> str:
    """Of the compiled modules, of the formulas that Numba compiles, and of Numba's version."""
    modules = sorted([*(PACKAGE / "_kernels").glob("*.so"), *PACKAGE.glob("_core*.so")])
    sources = sorted(Path(formula_package.__file__ or "").parent.glob("*.py"))
    sources += [Path(lowering.__file__), PACKAGE / "backends" / "numba_kernels.py"]
    return _digest_of([*modules, *sources], [_version("numba")])


def progress_fingerprint() -> str:
    """Of everything that a stored piece depends on."""
    # not the tables and plots: to change them must not cost hours
    ours = [Path(__file__).with_name(f"{name}.py") for name in _MEASURING]
    versions = [f"{name} {version}" for name, version in peers.versions().items()]
    sources = [Path(reference.__file__), PACKAGE / "catalogue.py", PACKAGE / "peers.py", *ours]
    return _digest_of(sources, [__version__, np.__version__, kernels_fingerprint(), *versions])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def compiler() -> str:
    """What the compiled modules say about who compiled them; empty where they do not."""
    for path in sorted((PACKAGE / "_kernels").glob("*.so")):
        # a C compiler leaves its name in the section .comment
        found = re.search(rb"(GCC: \([^)\0]*\) [\d.]+|clang version [\d.]+)", path.read_bytes())
        if found:
            return found[1].decode("ascii", "replace")
    return ""


def environment() -> dict[str, Any]:
    """What the results depend on besides the sources."""
    return {
        "cpu": machine.cpu_name(),
        "platform": platform.platform(),
        "compiler": compiler(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": _version("numba"),
            **peers.versions(),
        },
    }


def record_of(task: Task, measurement: Measurement) -> dict[str, Any]:
    """The record of a measured task, with what it fails."""
    subject, form = task.subject, task.sweep.form
    limit = subject.limit(form)
    ours = {name: measurement.tallies[name] for name in task.targets}
    theirs = {name: measurement.tallies[name] for name in task.peers}
    record = {
        "function": subject.function,
        "parameters": subject.named_parameters,
        "dtype": task.dtype,
        "stride": task.stride,
        "points": measurement.points,
        "limit": limit,
        "targets": {name: _figures(tally, form, True) for name, tally in ours.items()},
        "differences": measurement.differences,
        "peers": {name: _figures(tally, form, False) for name, tally in theirs.items()},
        "monotone": not any("fall" in tally.faults for tally in ours.values()) if subject.must_not_fall else None,
        "failures": _failures(subject, ours, form),
    }
    if theirs:
        record["peers_stride"] = task.stride
    return stamped(record)


def stamped(record: dict[str, Any]) -> dict[str, Any]:
    """The record with when, where and of which build it is: a file may be made in parts."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    blank: dict[str, Any] = {"stride": None, "peers": {}, "monotone": None}
    return {**blank, **record, "date": date, "cpu": machine.cpu_name(), "kernels": kernels_fingerprint()}


def number_at(place: int, form: Format) -> list[str]:
    """The number at a place, for reading and exactly."""
    value = values_at(np.array([place]), form)[0]
    return [str(value), _exactly(float(value))]


def _exactly(value: float) -> str:
    """The number as a hexadecimal float, without the zeros that a float64 has at its end."""
    return re.sub(r"\.?0*p", "p", value.hex())


def _figures(tally: Tally, form: Format, of_target: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "ulp": number_as_json(round(tally.ulp, 4)),
        "at": number_at(tally.place, form),
        "result": _exactly(tally.result),
        "not_rounded": tally.not_rounded,
        "steps": tally.steps,
    }
    if tally.faults:
        figures["faults"] = {
            fault: {"count": count, "first": number_at(place, form)} for fault, (count, place) in tally.faults.items()
        }
    if of_target:
        figures["digest"] = tally.digest
    return figures


def _failures(subject: Subject, ours: dict[str, Tally], form: Format) -> list[str]:
    """Sentences about limits exceeded and properties missing; targets that fail alike share one."""
    limit = subject.limit(form)
    found: dict[str, list[str]] = {}
    for name, tally in ours.items():
        if not tally.ulp <= limit:
            place = " = ".join(number_at(tally.place, form))
            found.setdefault(f"{tally.ulp:.2f} ULP at {place}; the limit is {limit:g}", []).append(name)
        for fault, (count, first) in tally.faults.items():
            place = " = ".join(number_at(first, form))
            found.setdefault(f"{FAULTS[fault]}: {count} times, first at {place}", []).append(name)
    return [f"{' '.join(names)}: {sentence}" for sentence, names in found.items()]


def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """What two records about the same thing have in common."""
    return record["function"], tuple(record["parameters"].items()), record["dtype"]


def new_certificate(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A certificate of these records, made here and now."""
    head = {"schema": SCHEMA, "fastact": __version__, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    return {**head, **environment(), "kernels": kernels_fingerprint(), "records": records}


def load(path: Path) -> dict[str, Any]:
    """Read a certificate; ValueError if it is none that this version understands."""
    try:
        certificate: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = certificate["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"certificate: got {path}, which is none ({error}); accepted: a JSON certificate") from None
    if schema != SCHEMA:
        raise ValueError(f"certificate: got {path} with schema {schema}; accepted: schema {SCHEMA}")
    return certificate


def save(path: Path, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the records, beside those of the same version that the file has about other things; returns it all.

    What the file says of peers stays where they were not measured again: they take longer than a quick sweep is worth.
    So do targets that were measured on more numbers: beside them those of the quick sweep name their own numbers.
    """
    kept = []
    if path.exists():
        before = load(path)
        measured = {key_of(record) for record in records}
        if before["fastact"] == __version__:
            kept = [record for record in before["records"] if key_of(record) not in measured]
            about_peers = {
                key_of(record): {"peers": record["peers"], "peers_stride": record.get("peers_stride", record["stride"])}
                for record in before["records"]
                if record["peers"]
            }
            records = [
                record if record["peers"] else {**record, **about_peers.get(key_of(record), {})} for record in records
            ]
            denser = {key_of(record): record for record in before["records"]}
            records = [_beside(denser.get(key_of(record)), record) for record in records]
    merged = in_order([*kept, *records])
    certificate = new_certificate(merged)
    beside = path.with_name(path.name + ".new")
    beside.write_text(_text(certificate), encoding="utf-8")
    os.replace(beside, path)
    return certificate


def _beside(before: dict[str, Any] | None, record: dict[str, Any]) -> dict[str, Any]:
    """The record; or the one before, if it is of as many numbers and more targets, with the new figures of these."""
    if before is None or (before["stride"] or 0) > (record["stride"] or 0) or before["points"] < record["points"]:
        return record
    if not set(record["targets"]) < set(before["targets"]):
        return record
    names = ("stride", "points", "date", "cpu", "kernels")
    own = {name: record[name] for name in names if record.get(name) != before.get(name)}
    targets = {name: {**figures, **own} for name, figures in record["targets"].items()}
    failures = [line for line in before["failures"] if not set(line.split(":")[0].split()) & set(targets)]
    differences = {pair: steps for pair, steps in before["differences"].items() if not set(pair.split()) & set(targets)}
    if record["points"] >= before["points"]:  # of fewer numbers they might be too small
        differences.update(record["differences"])
    return {
        **before,
        "targets": {**before["targets"], **targets},
        "differences": differences,
        "monotone": before["monotone"] and record["monotone"],
        "failures": [*failures, *record["failures"]],
    }


def in_order(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records by dtype, then as in the catalogue, default parameters before those that are tried."""
    subjects = subjects_of(functions_named([]), with_tried=True)
    order = {(subject.function, subject.parameters): k for k, subject in enumerate(subjects)}

    def place(record: dict[str, Any]) -> tuple[int, int]:
        subject = record["function"], tuple(record["parameters"].values())
        dtype = record["dtype"]
        return (_DTYPES.index(dtype) if dtype in _DTYPES else len(_DTYPES)), order.get(subject, len(order))

    return sorted(records, key=place)


def _text(certificate: dict[str, Any]) -> str:
    """JSON with one line for each record, so that a change of one is a change of one line."""
    head = json.dumps({name: value for name, value in certificate.items() if name != "records"}, indent=1)
    lines = ",\n".join(json.dumps(record, allow_nan=False) for record in certificate["records"])
    return f'{head[:-2]},\n "records": [\n{lines}\n]}}\n'
