"""Scripts in interpreters of their own: for what depends on the environment, on the first use, or on how processes end.

A script that does not end in time fails the test and is killed with all its descendants: a forked child that hangs
would otherwise hold the pipes open, and the test run with them.
"""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import fastact

PACKAGE_FOLDER = Path(fastact.__file__).resolve().parents[1]


def run_python(script, *, timeout=30, succeeds=True, path=None, environment=None):
    """Run a script, and return what it printed: standard output, or standard error where it must not succeed.

    The environment is this one without the variables that fastact reads, and without the table that somebody may have
    tuned here.  NumPy's own threads are off, so that the
    tasks of the process are the main thread and what fastact started.  ``path`` is a folder to find modules in first.
    The script is a file, because processes that multiprocessing spawns import it again.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("FASTACT_", "OMP_", "KMP_"))}
    folders = [str(folder) for folder in (path, PACKAGE_FOLDER, Path(__file__).parent) if folder]
    variables |= {"OPENBLAS_NUM_THREADS": "1", "FASTACT_TUNING": "off", "PYTHONPATH": os.pathsep.join(folders)} | (
        environment or {}
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.py"
        file.write_text(textwrap.dedent(script))
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", file],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            raise AssertionError(f"still running after {timeout} s; it printed:\n{output}\n{errors}") from None
    printed = f"ended with {process.returncode}; it printed:\n{output}\n{errors}"
    if not succeeds:
        assert process.returncode > 0, printed
        return errors
    assert process.returncode == 0, printed
    return output
