"""The projects under examples/embedding, and the code of docs/embedding.md: built against the wheel, as users build.

Each project is built in an environment of its own, from a copy, with the wheel and what its build needs; then its
check.py compares bits with Python, and its benchmark.py runs on small shapes.  No figure is asserted: a test machine is
busy, not least because two projects are built at a time.
"""

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "embedding"
GUIDE = ROOT / "docs" / "embedding.md"
#: What each project needs besides NumPy and fastact.
REQUIREMENTS = {
    "c_extension": ["setuptools>=77"],
    "cython_package": ["setuptools>=77", "cython>=3.1"],
    "cpp_pybind11": ["setuptools>=77", "pybind11>=2.12"],
    "numba_program": ["numba>=0.61"],
}
#: What builds it; a program in Python is run as it is.
COMPILERS = {"c_extension": "gcc", "cython_package": "gcc", "cpp_pybind11": "g++"}
SMALLEST = """
import numpy as np, smallest, fastact
x = np.linspace(-9, 9, 1000, dtype=np.float32)
expected = fastact.gelu(x)
smallest.activate(x)
assert (x.view(np.uint32) == expected.view(np.uint32)).all()
try:
    smallest.activate(np.ones(3))
except ValueError as error:
    assert "status 4" in str(error)
else:
    raise AssertionError("float64 was accepted")
"""

pytestmark = pytest.mark.skipif(not EXAMPLES.exists() or not GUIDE.exists(), reason="examples are not beside the tests")


def needs(program):
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")


def environment_with(make_environment, wheel, *requirements):
    environment = make_environment("numpy>=2", *requirements)
    environment.install("--no-deps", wheel)
    return environment


def check_and_benchmark(environment, folder):
    """Run both scripts, with the installed fastact; what the benchmark writes is complete."""
    where = environment.python_prints("import fastact; print(fastact.__file__)")
    assert Path(where).is_relative_to(environment.folder)
    assert "bit for bit" in environment.run("python", "check.py", folder=folder)
    environment.run("python", "benchmark.py", "--short", "--json", "figures.json", folder=folder)
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["cases"]
    for case in figures["cases"]:
        assert len(case["milliseconds"]) >= 2
        assert all(taken > 0 for taken in case["milliseconds"].values())


def copy_of_all(folder):
    """A copy of all projects, because builds write beside their sources."""
    made = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "*.so")
    return Path(shutil.copytree(EXAMPLES, folder / "embedding", ignore=made))


@pytest.fixture(scope="module")
def outcomes(request, make_environment, wheel, tmp_path_factory):
    """{name: what becomes of it} of the projects that this session tests; most of their time goes to one core each."""

    def build_and_run(name):
        environment = environment_with(make_environment, wheel, *REQUIREMENTS[name])
        folder = copy_of_all(tmp_path_factory.mktemp(name)) / name
        if name in COMPILERS:
            environment.install("--no-deps", "--no-build-isolation", folder)
        check_and_benchmark(environment, folder)

    tested = [item.callspec.params["name"] for item in request.session.items if item.originalname == "test_project"]
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(build_and_run, name)
            for name in tested
            if shutil.which(COMPILERS.get(name, sys.executable))
        }


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_project(name, outcomes):
    needs(COMPILERS.get(name, sys.executable))
    outcomes[name].result()


@pytest.mark.long
def test_check_can_fail(make_environment, wheel, tmp_path):
    """Otherwise the tests above would show nothing: one wrong bit in an epilogue is found."""
    needs("gcc")
    copied = copy_of_all(tmp_path)
    source = copied / "c_extension" / "sources" / "epilogues.c"
    text = source.read_text()
    wrong = text.replace("elements[column] += bias[column];", "elements[column] += bias[column] * 1.0000002f;")
    assert wrong != text
    source.write_text(wrong)
    environment = environment_with(make_environment, wheel, *REQUIREMENTS["c_extension"])
    environment.install("--no-deps", "--no-build-isolation", copied / "c_extension")
    printed = environment.run("python", "check.py", folder=copied / "c_extension", succeeds=False)
    assert "have other bits than from Python" in printed


# --- the guide -----------------------------------------------------------------------------------------------------


def marked_blocks():
    """(mark, what it names, code) of the code blocks in the guide that have a comment above them."""
    pattern = r"^<!-- (\w+): (\S+) -->\n```\w+\n(.*?)^```$"
    return re.findall(pattern, GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_quoted_code_is_that_of_the_examples():
    quoted = [(name, code) for mark, name, code in marked_blocks() if mark == "from"]
    assert len(quoted) >= 5
    assert [name for name, code in quoted if code not in (ROOT / name).read_text()] == []


@pytest.fixture(scope="module")
def smallest_project(tmp_path_factory):
    """The module of the guide, with every build file that the guide shows for it; also compiles the other C code."""
    folder = tmp_path_factory.mktemp("smallest")
    files = {name: code for mark, name, code in marked_blocks() if mark == "build"}
    assert set(files) == {"setup.py", "CMakeLists.txt", "meson.build"}
    [module] = [code for mark, _, code in marked_blocks() if mark == "module"]
    fragments = re.findall(r"(?<!-->\n)^```c\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(fragments) >= 3
    for name, code in files.items():
        (folder / name).write_text(code)
    (folder / "smallest.c").write_text(module)
    (folder / "fragments.c").write_text("#include <Python.h>\n#include <fastact.h>\n" + "\n".join(fragments))
    return folder


@pytest.fixture(scope="module")
def build_environment(make_environment, wheel):
    needs("gcc")
    return environment_with(make_environment, wheel, "setuptools>=77", "meson")


def test_c_code_of_the_guide_compiles(smallest_project, build_environment):
    flags = build_environment.run("python", "-m", "fastact", "--includes").strip()
    python = build_environment.python_prints("import sysconfig; print('-I' + sysconfig.get_path('include'))")
    # Python's own headers are not clean in all versions, so only what is ours is held to it
    strict = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-fsyntax-only"]
    for source in ("smallest.c", "fragments.c"):
        build_environment.run("gcc", *strict, python.replace("-I", "-isystem"), flags, smallest_project / source)


def test_setuptools_snippet(smallest_project, build_environment, tmp_path):
    folder = shutil.copytree(smallest_project, tmp_path / "build")
    build_environment.run("python", "setup.py", "-q", "build_ext", "--inplace", folder=folder)
    build_environment.run("python", "-c", SMALLEST, folder=folder)


@pytest.mark.long
def test_cmake_snippet(smallest_project, build_environment, tmp_path):
    needs("cmake")
    folder = shutil.copytree(smallest_project, tmp_path / "build")
    interpreter = f"-DPython_EXECUTABLE={build_environment.python}"
    build_environment.run("cmake", "-S", ".", "-B", "made", interpreter, folder=folder)
    build_environment.run("cmake", "--build", "made", folder=folder)
    build_environment.run("python", "-c", SMALLEST, folder=folder / "made")


@pytest.mark.long
def test_meson_snippet(smallest_project, build_environment, tmp_path):
    needs("ninja")
    folder = shutil.copytree(smallest_project, tmp_path / "build")
    build_environment.run("meson", "setup", "made", folder=folder)
    build_environment.run("meson", "compile", "-C", "made", folder=folder)
    build_environment.run("python", "-c", SMALLEST, folder=folder / "made")
