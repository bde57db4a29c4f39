"""Turns the JSON of `benchmarks/compare.py` into docs/performance.md and its pictures.

    python benchmarks/publish.py results.json                    writes docs/performance.md and docs/performance-*.png
    python benchmarks/publish.py results.json --into other.md    writes there; pictures beside it
    python benchmarks/publish.py results.json --traffic docs/memory.md
                                                                 instead: the largest arrays beside memory traffic alone

Figures in documentation come from here only: written by hand, they would outlive the code that they describe.  The
pictures need matplotlib; without it the page has none.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import report  # noqa: E402
from peer_comparison import page  # noqa: E402
from peer_comparison.results import SCHEMA  # noqa: E402

PAGE = HERE.parent / "docs" / "performance.md"


def main(arguments=None):
    """Write the page."""
    parser = argparse.ArgumentParser(description="The JSON of benchmarks/compare.py as a page with pictures.")
    parser.add_argument("results", type=Path, help="what `benchmarks/compare.py --json` wrote")
    parser.add_argument("--into", type=Path, default=PAGE, metavar="FILE", help=f"default: {PAGE}")
    parser.add_argument(
        "--traffic", type=Path, metavar="FILE", help="put only the largest arrays beside memory traffic there"
    )
    options = parser.parse_args(arguments)
    try:
        result = json.loads(options.results.read_text(encoding="utf-8"))
        cells = result["cells"] if result["schema"] == SCHEMA else []
    except (OSError, ValueError, KeyError, TypeError) as problem:
        parser.error(f"results: got {options.results} ({problem}); accepted: what benchmarks/compare.py --json wrote")
    if not cells:
        parser.error(f"results: got {options.results}, without cells of schema {SCHEMA}; accepted: a run with some")
    if options.traffic:
        try:
            text = f"\n{page.traffic(result)}\n\n"
            report.put_into(options.traffic, text, "<!-- traffic:begin -->", "<!-- traffic:end -->")
        except (OSError, ValueError) as problem:
            parser.error(str(problem))
        return 0
    try:
        from peer_comparison import plots
    except ImportError:
        print("no pictures: they need matplotlib", file=sys.stderr)
        pictures = []
    else:
        pictures = plots.draw(result, options.into.parent, options.into.stem)
    place = options.into.resolve()
    inside = place.relative_to(HERE.parent) if place.is_relative_to(HERE.parent) else place.name
    into = "" if place == PAGE else str(inside)
    options.into.write_text(page.page(result, pictures, into), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
