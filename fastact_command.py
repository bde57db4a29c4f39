"""The ``fastact`` command: checks that the package can be imported, then hands over to ``fastact.cli``.

It stands outside the package because importing anything inside it imports ``fastact``, which refuses unknown values
of its environment variables with a ValueError.  A person at a terminal should read that as one line, not as a
traceback.  Nothing else belongs here.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; return its exit status, 2 for an environment that fastact refuses."""
    try:
        from fastact.cli import main as run
    except ValueError as error:
        # every other ValueError at import is a broken installation and deserves its traceback
        if not str(error).startswith("FASTACT_"):
            raise
        print(f"fastact: {error}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
