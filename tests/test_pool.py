"""The thread pool by itself, in C: many callers, nested calls and forks, with and without ThreadSanitizer; and what
makes it borrow an OpenMP runtime's threads."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
COMPILER = shutil.which("gcc")

pytestmark = pytest.mark.skipif(COMPILER is None or os.name != "posix", reason="no gcc")


def build(folder, name, *flags):
    """A program, compiled without a warning."""
    program = folder / name
    command = [COMPILER, "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", *flags]
    command += ["-I", str(TESTS.parent / "src_cy"), str(TESTS / "c" / f"{name}.c"), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def thread_sanitizer_works(folder):
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    program = folder / "empty"
    linked = subprocess.run([COMPILER, "-fsanitize=thread", str(source), "-o", str(program)], capture_output=True)
    # on some kernels it links, but cannot place its memory
    return linked.returncode == 0 and subprocess.run([program], capture_output=True).returncode == 0


@pytest.mark.parametrize("seconds", ["0.7", pytest.param("10", marks=pytest.mark.long)])
@pytest.mark.parametrize("sanitized", [False, True], ids=["plain", "sanitized"])
@pytest.mark.parametrize("macro", ["", "FASTACT_NO_FUTEX", "FASTACT_NO_THREADS"])
def test_stress(tmp_path, macro, sanitized, seconds):
    flags = [f"-D{macro}"] if macro else []
    if sanitized:
        if not thread_sanitizer_works(tmp_path):
            pytest.skip("no working ThreadSanitizer")
        flags.append("-fsanitize=thread")
    program = build(tmp_path, "pool_stress", *flags)
    # ThreadSanitizer does not follow a process with threads through a fork
    arguments = [seconds] if sanitized else [seconds, "fork"]
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_when_threads_are_borrowed(tmp_path):
    told = subprocess.run([build(tmp_path, "borrowing_story")], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
