"""Does a wheel pass the tests where nothing could be compiled?  ``python tools/check_wheel.py dist/fastact-*.whl``

The wheel goes into a clean virtual environment with what its ``test`` extra asks for, but Cython; compilers are hidden;
and a copy of the tests runs from a folder in which there is no source of fastact to import instead.  cibuildwheel runs
this on every wheel it makes (pyproject.toml).  It takes nothing but Python with pip, and leaves nothing behind.

By default it runs what depends on how the wheel was compiled and on where it runs, half of the suite by time; ``--all``
is the whole of it.  Words after ``--`` go to pytest.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import environments  # noqa: E402  (from tests/, which is no package)

CHOSEN = [
    "tests/test_accuracy.py",
    "tests/test_bfloat16.py",
    "tests/test_cli.py",
    "tests/test_embedding.py",
    "tests/test_errors.py",
    "tests/test_floating_point_state.py",
    "tests/test_fork.py",
    "tests/test_import.py",
    "tests/test_special_values.py",
    "tests/test_threads.py",
    "tests/test_vectorised.py",
    "tests/test_wheel.py",
]
SCRIPT = """
import os, shutil, fastact
print("fastact", fastact.__version__, "from", os.path.dirname(fastact.__file__))
print("backends:", *fastact.available_backends())
found = [name for name in ("cc", "gcc", "clang", "cl", "cython") if shutil.which(name)]
print("compilers on PATH:", *found or ["none"])
"""


def options(words):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path, help="the wheel, for this Python and this platform")
    parser.add_argument("--all", action="store_true", help="the whole suite")
    parser.add_argument("pytest", nargs="*", metavar="-- WORDS", help="options for pytest, after --")
    return parser.parse_args(words)


def main(words=None):
    """Check one wheel; return pytest's exit status."""
    chosen = options(words)
    wheel = chosen.wheel.resolve()
    if not wheel.is_file():
        sys.exit(f"no such wheel: {wheel}")
    with tempfile.TemporaryDirectory(prefix="fastact-wheel-", ignore_cleanup_errors=True) as folder:
        try:
            environment = environments.create(Path(folder, "environment"), f"{wheel}[test]", compilers=False)
            environment.pip("check")
            # the tests of builds ask for it; here they are to find that there is none
            environment.pip("uninstall", "--yes", "--quiet", "cython")
            print(environment.python_prints(SCRIPT), flush=True)
        except (AssertionError, environments.Unavailable) as reason:
            sys.exit(str(reason))
        copy = Path(folder, "copy")
        copy.mkdir()
        environments.copy_for_tests(copy)
        tests = [] if chosen.all else CHOSEN
        command = environment.command("python", "-m", "pytest", "-q", f"--wheel={wheel}", *tests, *chosen.pytest)
        return subprocess.run(command, cwd=copy, env=environment.variables(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
