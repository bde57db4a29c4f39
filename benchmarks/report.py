"""Turns the JSON of ``fastact bench --json`` into a markdown table.

    python benchmarks/report.py results.json                    prints it
    python benchmarks/report.py results.json --into README.md   replaces the text between the two markers there

The figures of ``fastact bench --calls`` become a table of their own, between markers of their own.

Figures in documentation come from here only: written by hand, they would outlive the code that they describe.  It
needs nothing but the standard library, so it also runs where fastact was not built.
"""

import argparse
import itertools
import json
import operator
import sys
from pathlib import Path

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
CALLS_BEGIN, CALLS_END = "<!-- calls:begin -->", "<!-- calls:end -->"
#: Rows that agree in these share a table.
TABLE = ("dtype", "size", "mode", "threads", "backend", "instruction_set")
UNITS = {"Gi": 2**30, "Mi": 2**20, "Ki": 2**10, "": 1}
HEADS = ("function", "fastact", "NumPy/SciPy", "PyTorch", "memory", "best peer / fastact", "max ULP", "best peer's")
OUTPUTS = {"fresh": "new output", "reused": "output reused", "in_place": "in place"}
PEER_NAMES = {"numpy": "NumPy/SciPy", "torch": "PyTorch"}


def size(count):
    unit = next(name for name, factor in UNITS.items() if count % factor == 0)
    return f"{count // UNITS[unit]} {unit}".strip()


def time(figure):
    if figure is None:
        return ""
    nanoseconds = figure["ns_per_element"]
    return (f"{nanoseconds:.2g}" if nanoseconds < 100 else f"{nanoseconds:.0f}") + ("\\*" if figure["note"] else "")


def error(figure):
    if figure is None or figure["max_ulp"] is None:
        return ""
    value = float(figure["max_ulp"])
    return f"{value:.1f}" if value < 100 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def line(row):
    best = row[row["best_peer"]] if row["best_peer"] else None
    return [
        f"`{row['function']}`",
        f"**{time(row['fastact'])}**",
        time(row["numpy"]),
        time(row["torch"]),
        time(row["memory"]),
        f"{row['ratio']:.1f} ({PEER_NAMES[row['best_peer']]})" if best else "",
        error(row["fastact"]),
        error(best),
    ]


def table(rows):
    return "\n".join(
        [
            f"| {' | '.join(HEADS)} |",
            f"|---|{'---:|' * (len(HEADS) - 1)}",
            *(f"| {' | '.join(line(row))} |" for row in rows),
        ]
    )


def heading(key):
    values = dict(zip(TABLE, key, strict=True))
    threads = f"{values['threads']} thread{'s' if values['threads'] > 1 else ''}"
    served = f"{values['backend']} {values['instruction_set']}".strip()
    return f"{values['dtype']}, {size(values['size'])} elements, {OUTPUTS[values['mode']]}, {threads}, {served}:"


def report(result):
    """The whole text: one table for each kind of case, then what was measured, on what and when."""
    rows = sorted(result["rows"], key=lambda row: [str(row[name]).zfill(12) for name in TABLE])
    parts = []
    for key, of_kind in itertools.groupby(rows, key=lambda row: tuple(row[name] for name in TABLE)):
        parts += [heading(key), table(of_kind)]
    parts.append(
        "ns per element, the minimum over rounds in which all contenders took turns. Memory: copying as many bytes "
        "(forward), adding two arrays into a third (backward). Max ULP on normal input (deviation 2.5) and on tails of "
        "both signs."
    )
    noted = {
        f"\\* `{row['function']}`, {PEER_NAMES[peer]}: {row[peer]['note']}."
        for row, peer in itertools.product(rows, PEER_NAMES)
        if row[peer] and row[peer]["note"]
    }
    parts += ["  \n".join(sorted(noted))] if noted else []
    parts.append(origin(result, "fastact bench --json"))
    return "\n\n".join(parts) + "\n"


def calls_report(result):
    """The table of ``--calls``: a line for each function and dtype, its forms beside one another."""
    found = {(row["size"], row["mode"]) for row in result["calls"]}
    forms = sorted(found, key=lambda form: (form[0], form[1] == "fresh"))
    heads = ["function", "dtype"]
    for count, mode in forms:
        heads += [f"{size(count)}, {OUTPUTS[mode]}", "beyond empty call", "best peer / fastact"]
    lines = []
    key = operator.itemgetter("function", "dtype")
    for (function, dtype), rows in itertools.groupby(sorted(result["calls"], key=key), key=key):
        by_form = {(row["size"], row["mode"]): row for row in rows}
        cells = [f"`{function}`", dtype]
        for form in forms:
            row = by_form[form]
            best = min((row[peer] for peer in PEER_NAMES if peer in row), default=None)
            ratio = f"{best / row['fastact']:.1f}" if best else ""
            cells += [f"{row['fastact']:.0f}", f"{row['beyond_empty']:.0f}", ratio]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join([f"| {' | '.join(heads)} |", f"|---|---|{'---:|' * (len(heads) - 2)}", *lines])
    note = "ns per call on one thread, the minimum over rounds in which all took turns. Best peer: PyTorch or NumPy."
    return f"{text}\n\n{note}\n\n{origin(result, 'fastact bench --calls --json')}\n"


def origin(result, command):
    """Where and when it was measured, and how to do it again."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['date'][:10]}; {versions}. `{command}` measures it again."


def with_markers(path, begin=BEGIN, end=END):
    """The text of a file in which both markers stand, or an error."""
    text = path.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"--into: got {path}; accepted: a file with one line {begin} and, after it, one line {end}")
    return text


def put_into(path, text, begin=BEGIN, end=END):
    """Replace what stands between the markers."""
    before = with_markers(path, begin, end)
    head, _, rest = before.partition(begin)
    path.write_text(f"{head}{begin}\n{text}{end}{rest.partition(end)[2]}", encoding="utf-8")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="The JSON of `fastact bench` as markdown.")
    parser.add_argument("results", type=Path, help="what `fastact bench --json` wrote")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put it between its two markers there")
    options = parser.parse_args(arguments)
    result = json.loads(options.results.read_text(encoding="utf-8"))
    text = report(result) if result["rows"] else calls_report(result)
    markers = (BEGIN, END) if result["rows"] else (CALLS_BEGIN, CALLS_END)
    if options.into is None:
        sys.stdout.write(text)
        return 0
    try:
        put_into(options.into, text, *markers)
    except ValueError as problem:
        parser.error(str(problem))
    return 0


if __name__ == "__main__":
    sys.exit(main())
