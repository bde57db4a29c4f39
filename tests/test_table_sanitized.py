"""The C interface's tests once more, on a core that is compiled with AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m pytest -m long tests/test_table_sanitized.py

It takes some minutes, most of them in the compiler.  The package is built again in a temporary folder, with the kernels
of the base instruction set only: the others are the same source.  A finding ends the inner run; its report is what this
test prints.  Leaks are not looked for: the interpreter keeps memory until it ends.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from extensions import needs_gcc

SOURCES = Path(__file__).resolve().parents[1]
COMPILER = shutil.which("gcc")

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800), needs_gcc]

BUILD = """
import platform, runpy, sys
platform.machine = lambda: "any"  # for setup.py: no instruction sets besides base
sys.argv = ["setup.py", "build_ext", "--inplace"]
runpy.run_path("setup.py", run_name="__main__")
"""
TESTS = ("test_table.py", "test_table_errors.py", "test_table_threads.py", "test_table_stability.py")


def libraries():
    """The sanitizer's library, and that of C++, whose exceptions (in other packages) it must find; None without."""
    names = ("libasan.so", "libstdc++.so")
    printed = [subprocess.check_output([COMPILER, f"-print-file-name={name}"], text=True).strip() for name in names]
    return " ".join(printed) if all(os.path.isabs(path) for path in printed) else None


def run(folder, *command, **environment):
    finished = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-20000:]
    return finished.stdout


def test_sanitized(tmp_path):
    pytest.importorskip("Cython")
    if not (SOURCES / "setup.py").exists() or libraries() is None:
        pytest.skip("no sources, or no AddressSanitizer")
    for file in SOURCES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    for name in ("fastact", "src_cy", "tests"):
        shutil.copytree(SOURCES / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "golden"))
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
    # Python's own -fwrapv, which would define signed overflow, is not among the flags if CFLAGS is set
    run(tmp_path, "-c", BUILD, CC=f"{COMPILER} {flags}", CFLAGS="-g1 -fno-wrapv")
    printed = run(
        tmp_path,
        *("-m", "pytest", "-x", "-q", "-s", "-p", "no:cacheprovider"),
        # Numba's compiler takes minutes under a sanitizer, and its code is not instrumented
        *("-k", "not numba"),
        *(f"tests/{name}" for name in TESTS),
        FASTACT_MAX_ISA="base",
        LD_PRELOAD=libraries(),
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONPATH=str(tmp_path),
    )
    assert " passed" in printed
