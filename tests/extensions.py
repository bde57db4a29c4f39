"""C extension modules for tests, as other people build theirs: one compiler command, the installed header, no Cython.

Warnings of the header are errors here; Python's own headers are taken for system headers, whose warnings do not count.
"""

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fastact

C_SOURCES = Path(__file__).resolve().parent / "c"
HEADERS = Path(fastact.__file__).resolve().parent / "include"
PYTHON_HEADERS = Path(sysconfig.get_path("include"))
COMPILERS = {"c": shutil.which("gcc"), "c++": shutil.which("g++")}
STANDARDS = {"c": "-std=c99", "c++": "-std=c++11"}
STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror"]

needs_gcc = pytest.mark.skipif(
    COMPILERS["c"] is None or os.name != "posix" or not (PYTHON_HEADERS / "Python.h").exists(),
    reason="no gcc, or no Python headers",
)
needs_tasks = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts tasks as Linux shows them")


def compile_c(sources, target, *flags, headers=HEADERS, language="c"):
    """Compile and link sources (``language`` C99 or C++11) without a warning; returns the target."""
    command = [COMPILERS[language], STANDARDS[language], *STRICT, "-g", "-O1", "-I", str(headers)]
    command += ["-isystem", str(PYTHON_HEADERS), *map(str, sources), "-o", str(target), *flags]
    # a sanitizer's library is meant for Python here (test_table_sanitized.py), not for the compiler
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stderr}"
    return Path(target)


def compile_extension(sources, folder, name, *flags, headers=HEADERS, language="c"):
    """Compile an extension module into a folder; returns its file."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    # Python's own symbols are found when the module is loaded
    linking = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    target = Path(folder) / f"{name}{suffix}"
    return compile_c(sources, target, "-fPIC", "-pthread", *linking, *flags, headers=headers, language=language)


def load_extension(file):
    """Import an extension module from its file."""
    specification = importlib.util.spec_from_file_location(Path(file).name.split(".")[0], file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
