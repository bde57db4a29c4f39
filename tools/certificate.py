"""Writes the certified accuracy into the documents: ``python tools/certificate.py [CERTIFICATE]``.

README.md gets a table between its markers, docs/accuracy.md is written anew.  Without an argument the certificate is
the one that comes with the package, which ``fastact verify --save`` makes.  Figures in documents come from here only:
written by hand, they would outlive the code that they describe.

It needs nothing but the standard library, so it also runs where fastact was not built.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- certificate:begin -->", "<!-- certificate:end -->"
#: Drawn by `fastact verify --plot docs/accuracy.png`; shown on the page if it is there.
PICTURE = "accuracy.png"
#: Order of the dtypes on the page.
DTYPES = ("float32", "float64", "float16", "bfloat16")


def ulp(value):
    """An error in as many digits as it is worth."""
    number = float(value)
    return f"{number:.2f}" if number < 1000 else f"{number:.0e}".replace("e+0", "e").replace("e+", "e")


def name_of(record):
    """The function, with its parameters where it has any."""
    parameters = ", ".join(f"{name}={value:g}" for name, value in record["parameters"].items())
    return f"`{record['function']}({parameters})`" if parameters else f"`{record['function']}`"


def worst(record):
    """Figures of the target with the largest error."""
    return max(record["targets"].values(), key=lambda figures: float(figures["ulp"]))


def wrong_part(record, figures):
    """Part of the results that are not the truth rounded."""
    return figures["not_rounded"] / figures.get("points", record["points"])


def share(record, figures):
    """Share of results that are the truth rounded; 100 % only if all are."""
    wrong = wrong_part(record, figures)
    return "100 %" if wrong == 0 else f"{min(100 * (1 - wrong), 99.99):.2f} %"


def monotone(record):
    """Whether it never falls, where the row says that it must not."""
    return {None: "", True: "yes", False: "**no**"}[record["monotone"]]


def visited(records):
    """What was swept, in words; more than one sweep if the certificate was made in parts."""
    words = []
    for stride in sorted({record["stride"] for record in records if record.get("stride")}):
        count = sum(record.get("stride") == stride for record in records)
        words.append((f"every {stride}th number" if stride > 1 else "every number") + f" ({count} records)")
    points = sorted({record["points"] for record in records if not record.get("stride")})
    words += [f"{count} numbers each" for count in points]
    return ", ".join(words)


def first_of_each(records):
    """The records about default parameters, which come first."""
    found = {}
    for record in records:
        found.setdefault(record["function"], record)
    return list(found.values())


def table(heads, rows, left=1):
    marks = "|---" * left + "|---:" * (len(heads) - left) + "|"
    return "\n".join([f"| {' | '.join(heads)} |", marks, *(f"| {' | '.join(row)} |" for row in rows)])


def peers_of(records):
    return list(dict.fromkeys(name for record in records for name in record["peers"]))


def swept_by(records):
    """The sweep in words: where most of them saw all numbers, the others are named."""
    others = [record for record in records if record["stride"] != 1]
    if len(others) == len(records):
        return f"every {max(record['stride'] for record in records)}th number"
    exceptions = []
    if others:
        exceptions.append(f"every {others[0]['stride']}th for {', '.join(name_of(record) for record in others)}")
    alone = {
        (target, figures["stride"]): None
        for record in records
        for target, figures in record["targets"].items()
        if "stride" in figures
    }
    exceptions += [
        f"every {stride}th with {target} for "
        + ", ".join(name_of(record) for record in records if record["targets"].get(target, {}).get("stride") == stride)
        for target, stride in alone
    ]
    return f"all numbers ({'; '.join(exceptions)})" if exceptions else "all numbers"


def peers_sweep(records):
    """What the peers were measured on, in words."""
    strides = {record["peers_stride"] for record in records if record["peers"]}
    return "every" if strides == {1} else f"every {max(strides, default=1)}th"


def peer_cells(record, names, with_place):
    cells = []
    for name in names:
        figures = record["peers"].get(name)
        cells.append(ulp(figures["ulp"]) if figures else "")
        if with_place:
            cells.append(figures["at"][0] if figures else "")
    return cells


def origin(certificate):
    versions = ", ".join(f"{name} {version}" for name, version in certificate["versions"].items())
    compiler = f"{certificate['compiler']}; " if certificate["compiler"] else ""
    kernels = {record["kernels"] for record in certificate["records"]}
    builds = f"kernels {certificate['kernels']}" if kernels == {certificate["kernels"]} else f"{len(kernels)} builds"
    words = f"fastact {certificate['fastact']}, {builds}, {compiler}{versions}"
    return f"{cpus(certificate['records'])}, {certificate['date']}; {words}."


def cpus(records):
    """Where it was measured: more than one name if the certificate was made in parts."""
    return ", ".join(sorted({of.get("cpu", record["cpu"]) for record in records for of in record["targets"].values()}))


def summary(certificate):
    """The table for README.md: float32, default parameters, the worst of all targets."""
    records = first_of_each(record for record in certificate["records"] if record["dtype"] == "float32")
    names = peers_of(records)
    heads = ["function", "max ULP", "limit", "correctly rounded", "monotone", *names]
    rows = [
        [
            name_of(record),
            f"**{ulp(worst(record)['ulp'])}**",
            f"{record['limit']:g}",
            share(record, max(record["targets"].values(), key=lambda figures: wrong_part(record, figures))),
            monotone(record),
            *peer_cells(record, names, False),
        ]
        for record in records
    ]
    targets = list(dict.fromkeys(name for record in records for name in record["targets"]))
    sweep = swept_by(records)
    dates = sorted({of.get("date", record["date"]) for record in records for of in record["targets"].values()})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    parts = [
        f"Errors in ULP over {sweep} of float32, {when}, {cpus(records)}, the worst of {', '.join(targets)}; "
        f"the peers' over {peers_sweep(records)} number:",
        table(heads, rows),
        "[docs/accuracy.md](docs/accuracy.md) has each instruction set, the 16-bit types, and where the errors are. "
        "`fastact verify` measures it again.",
    ]
    return "\n\n".join(parts) + "\n"


def page(certificate, with_picture):
    """docs/accuracy.md."""
    parts = [
        "# Accuracy, measured",
        "Generated by `tools/certificate.py` from `fastact/certificate.json`, which `fastact verify --save` writes. "
        "To make it again, hours with `--exhaustive`, a minute without:",
        "```bash\nfastact verify --exhaustive --save --plot docs/accuracy.png\npython tools/certificate.py\n```",
        origin(certificate),
        "An error is the distance of a result from the truth in units in the last place (ULP) of the truth, at least "
        "the smallest subnormal. The truth is `fastact/reference.py` in float64, whose formulas are not those of the "
        "kernels. Gradients are measured with `grad` = 1, gradients from the output over the outputs. Targets are the "
        "instruction sets of the compiled kernels, and Numba; those on one line gave the same bits for every number. "
        "Two builds whose digests agree give the same bits everywhere the sweep has been.",
    ]
    if with_picture:
        parts.append(f"![Largest error in each part of the line]({PICTURE})")
    dtypes = [dtype for dtype in DTYPES if any(record["dtype"] == dtype for record in certificate["records"])]
    for dtype in dtypes:
        records = [record for record in certificate["records"] if record["dtype"] == dtype]
        parts += [f"## {dtype}", f"Swept: {visited(records)}.", targets_table(records)]
        if any(record["peers"] for record in records):
            parts += [
                f"### {dtype} beside the peers",
                f"The peers over {peers_sweep(records)} number.",
                peers_table(records),
            ]
        failures = [f"- {name_of(record)} {failure}" for record in records for failure in record["failures"]]
        if failures:
            parts += [f"### {dtype}: beyond a limit, or without a property", "\n".join(failures)]
        parts += [f"### {dtype}: digests", digests_table(records)]
    return "\n\n".join(parts) + "\n"


def groups(record):
    """The targets by what they gave: (names, figures)."""
    found = {}
    for name, figures in record["targets"].items():
        found.setdefault(figures.get("digest") or name, ([], figures))[0].append(name)
    return list(found.values())


def targets_table(records):
    heads = ["function", "targets", "max ULP", "limit", "at", "exactly", "correctly rounded", "monotone", "differ by"]
    rows = []
    for record in records:
        differ = max(record["differences"].values(), default=0)
        for k, (names, figures) in enumerate(groups(record)):
            rows.append(
                [
                    name_of(record) if k == 0 else "",
                    ", ".join(names) + (f" (every {figures['stride']}th)" if "stride" in figures else ""),
                    ulp(figures["ulp"]),
                    f"{record['limit']:g}",
                    figures["at"][0],
                    f"`{figures['at'][1]}`",
                    share(record, figures),
                    monotone(record) if k == 0 else "",
                    f"{differ} ULP" if k == 0 else "",
                ]
            )
    return table(heads, rows, left=2)


def peers_table(records):
    names = peers_of(records)
    rows = [
        [name_of(record), ulp(worst(record)["ulp"]), worst(record)["at"][0], *peer_cells(record, names, True)]
        for record in records
        if record["peers"]
    ]
    return table(["function", "fastact", "at", *(head for name in names for head in (name, "at"))], rows)


def digests_table(records):
    rows = [
        [
            name_of(record) if k == 0 else "",
            ", ".join(names),
            f"`{figures['digest']}`",
            figures.get("date", record["date"]),
        ]
        for record in records
        for k, (names, figures) in enumerate(groups(record))
        if figures.get("digest")
    ]
    return table(["function", "targets", "blake2b of all results", "measured"], rows, left=4)


def between_markers(text, path, summary_text):
    """The text with what stands between the markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path}: accepted: a file with one line {BEGIN} and, after it, one line {END}")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{summary_text}{END}{rest.partition(END)[2]}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="The certificate as markdown.")
    parser.add_argument("certificate", type=Path, nargs="?", default=ROOT / "fastact" / "certificate.json")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="with the two markers")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "accuracy.md", help="written anew")
    options = parser.parse_args(arguments)
    certificate = json.loads(options.certificate.read_text(encoding="utf-8"))
    try:
        readme = between_markers(options.readme.read_text(encoding="utf-8"), options.readme, summary(certificate))
    except ValueError as problem:
        parser.error(str(problem))
    options.readme.write_text(readme, encoding="utf-8")
    options.page.write_text(page(certificate, (options.page.parent / PICTURE).exists()), encoding="utf-8")
    for path in (options.readme, options.page):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
