"""Turns between the processes of pytest-xdist: a test that is marked ``alone`` runs while none of the others runs any.

The clock and the list of a process's threads mean little while another test has the same core.  pytest-xdist can keep
tests together in one process, but not the other processes still.  So every test holds a lock that they share, and one
that wants to be alone holds it for itself.  There are two: who wants to be alone takes the first and keeps it, so that
nobody else begins while it waits for the second.

Without pytest-xdist, or without file locks (Windows), none of this does anything.
"""

import contextlib
import os
import pickle
import shutil
import threading
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None

#: The name of this process among those of pytest-xdist; "" if there are none.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "") if fcntl else ""
#: Files that are there in any case, so that a lock leaves nothing behind.
_FILES = {name: Path(__file__).with_name(f"{name}.py") for name in ("turns", "conftest", "environments")}


@contextlib.contextmanager
def _locked(name, how):
    with open(_FILES[name], "rb") as file:
        fcntl.flock(file, how)
        yield


@contextlib.contextmanager
def taken(alone):
    """Run a test beside those of other processes, or alone."""
    if not WORKER:
        yield
        return
    with contextlib.ExitStack() as held:
        with contextlib.ExitStack() as entrance:
            entrance.enter_context(_locked("turns", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
            held.enter_context(_locked("conftest", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
            if alone:
                # kept until the test is over
                held.enter_context(entrance.pop_all())
        yield


_making = threading.Lock()


def first_come(folder, make):
    """What ``make`` gives, called with a new folder by the first thread of the first process that asks, and once."""
    with _making, _locked("environments", fcntl.LOCK_EX) if WORKER else contextlib.nullcontext():
        stored = folder / "result.pickle"
        if not stored.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            (folder / "made").mkdir(parents=True)
            stored.write_bytes(pickle.dumps(make(folder / "made")))
        return pickle.loads(stored.read_bytes())
