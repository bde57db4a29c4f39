"""The command line: ``fastact info | demo | bench | tune | verify``.

``info`` is what people paste into a bug report, so it works with NumPy alone.  The other commands bring packages that
the base install does not have; each is imported only when it is asked for, and a missing one is one clear line.
This file parses and reports; it computes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from . import __version__, embedding, information

#: What each command does, and the module that does it: ``add_arguments(parser)`` and ``run(arguments) -> int``.
_COMMANDS = {
    "demo": ("train a small network on handwritten digits, with fastact and with plain NumPy", "fastact.demo"),
    "verify": ("measure the error of every kernel, over all numbers if you like", "fastact.verification"),
    "bench": ("measure the activations of this machine beside their peers", "fastact.benchmark"),
    "tune": ("measure this machine within a minute, and use what is better here than the defaults", "fastact.tuning"),
}
#: Packages of the extras in pyproject.toml; any other missing module is a defect and keeps its traceback.
_OPTIONAL = (
    *("rich", "sklearn", "scipy", "joblib", "threadpoolctl", "pytest", "pytest_benchmark"),
    *("filelock", "matplotlib"),
)


class _Includes(argparse.Action):
    """Prints a line as it is: argparse's own ``version`` would break a long path in two."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        print(f"-I{embedding.get_include()}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 if it cannot be done here, 2 for wrong arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="fastact", description="Activation functions for CPUs.")
    parser.add_argument("--version", action="version", version=f"fastact {__version__}")
    parser.add_argument("--includes", action=_Includes, help="print the C compiler's option for fastact.h and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    info = commands.add_parser("info", help="what serves here, and why", description="What serves here, and why.")
    info.add_argument("--json", action="store_true", help="print JSON")
    asked_for = next((word for word in words if not word.startswith("-")), None)
    try:
        for name, (purpose, module) in _COMMANDS.items():
            command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
            if name == asked_for:
                # only this command's module: `fastact info` must not need the packages of the others
                importlib.import_module(module).add_arguments(command)
        arguments = parser.parse_args(words)
        if arguments.command == "info":
            return _info(arguments)
        status: int = importlib.import_module(_COMMANDS[arguments.command][1]).run(arguments)
        return status
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OPTIONAL:
            raise
        print(f'fastact {asked_for} needs {package}: pip install "fastact[{asked_for}]"', file=sys.stderr)
        return 1


def _info(arguments: argparse.Namespace) -> int:
    facts = information.collect()
    print(json.dumps(facts, indent=2) if arguments.json else information.as_text(facts))
    return 0
