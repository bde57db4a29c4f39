"""``python -m fastact``: the same as the ``fastact`` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
