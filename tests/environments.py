"""Wheels, and clean environments to install them in: fastact as somebody else gets it, without this checkout.

A test that imports fastact imports the checkout, whatever is wrong with its wheel.  What a wheel does is seen only by a
command that runs in an environment of its own, in a folder of its own, without the variables by which this Python
would reach into it.

tools/check_wheel.py uses this outside pytest, so it imports the standard library only; conftest.py makes fixtures of
it.  pip and build take packages from wherever this machine's pip takes them, and find nothing without a network.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What tests read beside the package; not what it is built from.
TESTED_FOLDERS = ("tests", "tools", "benchmarks", "examples", "docs", ".ci")
TESTED_FILES = ("*.md", "pyproject.toml", "LICENSE")
#: What must not come with a copy: things made by builds and by runs.
MADE = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.dll", "*.egg-info", ".*_cache")
#: C and C++ compilers and Cython, by the names that programs look for, with a target's prefix or a version's suffix.
COMPILER = re.compile(
    r"(.+-)?(gcc|g\+\+|cc|c\+\+|c[89]9|clang|clang\+\+|clang-cl|cl|tcc|icc|icx|icpx|zig|cython|cythonize)(-?[\d.]+)?(\.exe)?"
)
#: Variables by which this Python, or a setting for this checkout, would reach into another environment.
OURS = re.compile(r"PYTHON.*|VIRTUAL_ENV|(FASTACT|OMP|KMP|NUMBA)_.*")
CHOICE_OF_COMPILER = re.compile(r"CC|CXX|CPP|LD|LDSHARED|CYTHON|(C|CXX|CPP|LD)FLAGS")
#: What pip says when it reaches no package index, and nothing of ours is at fault.
NO_INDEX = re.compile(
    r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|ConnectTimeoutError"
)


class Unavailable(Exception):
    """What was asked for cannot be had on this machine, for a reason that is no fault of fastact's."""


def has_sources():
    """Whether the sources stand beside these tests: they do not where the tests of an installed wheel run."""
    return (ROOT / "setup.py").exists()


def run(words, *, variables, folder=None, succeeds=True, timeout=300):
    """Run a command and return all it printed; fail with that if it ends otherwise than it should."""
    done = subprocess.run(
        [str(word) for word in words],
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if succeeds and done.returncode and NO_INDEX.search(done.stdout):
        raise Unavailable("no package index can be reached")
    if (done.returncode == 0) != succeeds:
        raise AssertionError(f"{' '.join(map(str, words))}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def clean_variables(**changes):
    """The environment's variables, without those that would lead back here."""
    return {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)} | changes


def without_compilers(variables, folder):
    """The same variables, but nothing on PATH is a compiler; ``folder`` takes links to what else is there.

    Compilers stand among programs that have to stay, so a folder with one is replaced by links to the others.  Windows
    wants privileges for a link; there the folder goes as a whole.
    """
    kept = []
    for number, place in enumerate(variables.get("PATH", os.defpath).split(os.pathsep)):
        names = os.listdir(place) if os.path.isdir(place) else []
        if any(COMPILER.fullmatch(name) for name in names):
            if os.name == "nt":
                continue
            links = Path(folder) / str(number)
            links.mkdir(parents=True)
            for name in names:
                if not COMPILER.fullmatch(name):
                    (links / name).symlink_to(os.path.join(place, name))
            place = str(links)
        kept.append(place)
    others = {name: value for name, value in variables.items() if not CHOICE_OF_COMPILER.fullmatch(name)}
    return others | {"PATH": os.pathsep.join(kept)}


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nothing in it but what was installed there, and no pip (see :func:`create`)."""

    folder: Path
    #: The environment's variables before its own are added.
    outer: dict[str, str]

    @property
    def scripts(self):
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self):
        return self.scripts / ("python.exe" if os.name == "nt" else "python")

    def variables(self, **changes):
        """What its commands find in the environment: its own programs come first."""
        path = os.pathsep.join([str(self.scripts), self.outer.get("PATH", os.defpath)])
        return self.outer | {"PATH": path, "VIRTUAL_ENV": str(self.folder)} | changes

    def command(self, *words):
        """The words of a command, the first one found where the environment finds it."""
        program = shutil.which(words[0], path=self.variables()["PATH"])
        if program is None:
            raise AssertionError(f"no program {words[0]} in {self.folder}, nor on PATH")
        return [program, *map(str, words[1:])]

    def run(self, *words, folder=None, succeeds=True, timeout=300, **changes):
        """Run a command and return what it printed; ``python`` is the environment's, and so are its other programs.

        It runs in ``folder``, or in the environment's own, never in the checkout; ``changes`` are variables to set.
        """
        return run(
            self.command(*words),
            variables=self.variables(**changes),
            folder=folder or self.folder,
            succeeds=succeeds,
            timeout=timeout,
        )

    def python_prints(self, script, **options):
        """What a Python script prints, without the last line's end."""
        return self.run("python", "-c", script, **options).strip()

    def pip(self, *words):
        """Run pip on the environment: ``check``, or ``install`` with all that it takes."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        return run([*command, *words], variables=self.variables(), folder=self.folder, timeout=600)

    def install(self, *words):
        """``pip install`` with these words: requirements, wheels, folders, options."""
        # what is not compiled to bytecode now is compiled at its first import: NumPy takes 3 s instead of 6
        return self.pip("install", "--quiet", "--no-compile", *words)


def create(folder, *words, compilers=True):
    """Make an environment in ``folder`` and install these words in it, each as in :meth:`Environment.install`.

    Our pip installs into it from outside: an environment without one is made in 0.1 s instead of 3.  Without
    ``compilers``, no command that runs in it finds one.
    """
    outer = clean_variables()
    run([sys.executable, "-m", "venv", "--without-pip", folder], variables=outer)
    if not compilers:
        outer = without_compilers(outer, Path(folder) / "without-compilers")
    environment = Environment(Path(folder), outer)
    if words:
        environment.install(*words)
    return environment


def copy_for_build(target):
    """Copy what a build needs, as far as it is there: the package, what MANIFEST.in grafts, the files beside them.

    A build in the checkout would leave its own behind there, and might take what an earlier one has left.
    """
    grafted = re.findall(r"^graft (\S+)", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE)
    copy(target, ["fastact", *grafted], ["*"])


def copy_for_tests(target):
    """Copy the tests and what they read, so that the only fastact they can import is an installed one."""
    copy(target, TESTED_FOLDERS, TESTED_FILES)


def copy(target, folders, patterns):
    for folder in folders:
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, target / folder, ignore=MADE)
    for path in {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}:
        shutil.copy2(path, target)


def build(folder):
    """Make a source distribution, and a wheel from that, in ``folder``; return both paths."""
    if not has_sources():
        raise Unavailable("no sources beside these tests")
    source, results = folder / "source", folder / "dist"
    source.mkdir()
    copy_for_build(source)
    # not this Python's Cython and NumPy: build makes an environment with what pyproject.toml asks for
    command = [sys.executable, "-m", "build", "--outdir", results, source]
    run(command, variables=clean_variables(), folder=folder, timeout=600)
    [sdist], [wheel] = results.glob("*.tar.gz"), results.glob("*.whl")
    return sdist, wheel
