"""Where this user's files are kept.

The folder is what platformdirs would say (tests/test_tuning.py compares), in a few lines, because it is asked for at
import: platformdirs takes 8 ms there, a third of all that ``import fastact`` does, and is not always installed.
Nothing is created here.
"""

from __future__ import annotations

import os
import sys


# os.path, not pathlib: see threads.py
def folder() -> str:
    """FASTACT_CACHE_DIR, or what is usual on the platform."""
    given = os.environ.get("FASTACT_CACHE_DIR")
    if given:
        return given
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.join(os.path.expanduser("~"), "AppData", "Local")
        return os.path.join(local, "fastact", "Cache")
    if sys.platform == "darwin":
        return os.path.join(os.path.expanduser("~/Library/Caches"), "fastact")
    base = os.environ.get("XDG_CACHE_HOME", "").strip() or os.path.expanduser("~/.cache")
    return os.path.join(base, "fastact")
