"""The threads of this process as Linux shows them: for scripts in interpreters of their own."""

from pathlib import Path


def names():
    """What each thread is called; fastact's workers are called "fastact"."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
