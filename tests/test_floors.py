"""The floors of the house: an import may only go down, and each module knows only what its floor may know.

Read from the source with ``ast``, whether an import stands at the top, in a function, or under ``TYPE_CHECKING``.
A new module must be entered in ``FLOORS``: deciding where it belongs is part of writing it.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

import fastact

PACKAGE = Path(fastact.__file__).resolve().parent
ROOT = PACKAGE.parent

#: Floor of each module; a package's entry holds for the modules below it that have none of their own.
FLOORS = {
    "fastact": 4,
    "fastact.__main__": 4,
    "fastact.benchmark": 4,
    "fastact.benchmark_tables": 4,
    "fastact.cli": 4,
    "fastact.cases": 4,
    "fastact.contenders": 4,
    "fastact.demo": 4,
    "fastact.information": 4,
    "fastact.measurement": 4,
    "fastact.numba_arrays": 4,
    "fastact.numba_extension": 4,
    "fastact.numba_table": 4,
    "fastact.peers": 4,
    "fastact.tuning": 4,
    "fastact.verification": 4,
    "fastact._core": 3,
    "fastact._embedding": 3,
    "fastact.cache": 3,
    "fastact.calls": 3,
    "fastact.costs": 3,
    "fastact.dispatch": 3,
    "fastact.dlpack": 3,
    "fastact.documentation": 3,
    "fastact.dtypes": 3,
    "fastact.embedding": 3,
    "fastact.exchange": 3,
    "fastact.explanation": 3,
    "fastact.machine": 3,
    "fastact.preferences": 3,
    "fastact.recycling": 3,
    "fastact.streaming": 3,
    "fastact.threads": 3,
    "fastact.tuned": 3,
    "fastact.ufuncs": 3,
    "fastact.warming": 3,
    "fastact.backends": 2,
    "fastact.declarations": 1,
    "fastact.lowering": 1,
    "fastact._kernels": 1,
    "fastact.catalogue": 0,
    "fastact.formulas": 0,
    "fastact.reference": 0,
}
#: Modules that setup.py reads before anything is built, or that must share nothing with the rest, and what they may
#: import from outside the standard library.
OUTSIDE = {
    "fastact.catalogue": set(),
    "fastact.formulas": set(),
    "fastact.declarations": set(),
    "fastact.lowering": set(),
    "fastact.reference": {"numpy"},
    # llvmlite is the part of Numba that knows the CPU
    "fastact.backends.numba_kernels": {"numpy", "numba", "llvmlite"},
    "fastact.backends": {"numpy"},
    "fastact._kernels": set(),
    "fastact.cache": set(),
    "fastact.calls": {"numpy"},
    "fastact.costs": set(),
    "fastact.dispatch": {"numpy"},
    "fastact.dlpack": {"numpy", "ml_dtypes"},
    "fastact.documentation": set(),
    "fastact.dtypes": {"numpy"},
    "fastact.embedding": {"scipy"},
    "fastact.exchange": {"numpy"},
    "fastact.explanation": {"numpy"},
    "fastact.machine": set(),
    "fastact.preferences": set(),
    "fastact.recycling": set(),
    "fastact.streaming": set(),
    "fastact.threads": set(),
    "fastact.tuned": set(),
    "fastact.ufuncs": {"numpy"},
    "fastact.warming": {"numpy"},
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def entry(table, module):
    """The entry of a module, or of the package nearest to it; the top package stands for itself only."""
    while module not in table:
        module = module.rpartition(".")[0]
        if module in ("", "fastact"):
            return None
    return table[module]


def imports_of(module, path):
    """Full names of all that a module imports: (name, line).  A name imported from a package may be a module or not."""
    is_package = path.name == "__init__.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((name, node.lineno) for name in imported_from(node, module, is_package))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from ((name, node.lineno) for name in [constant_part(node.args[0])] if name)


def imported_from(node, module, is_package):
    base = node.module or ""
    if node.level:
        parents = module.split(".")
        parents = parents[: len(parents) - node.level + is_package]
        base = ".".join([*parents, base]) if base else ".".join(parents)
    names = [f"{base}.{alias.name}" for alias in node.names]
    # `from . import dispatch` imports a module, `from .dispatch import find` a name of one
    return [name if is_module(name) else base for name in names]


def is_module(name):
    return name in SOURCES or name == "fastact._core" or name.startswith("fastact._kernels.")


def constant_part(node):
    """What is known of a module's name in ``importlib.import_module(f"fastact._kernels.{level}")``."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        return node.values[0].value.rstrip(".")
    return None


MODULES = pytest.mark.parametrize("module", SOURCES)


@MODULES
def test_every_module_has_a_floor(module):
    assert entry(FLOORS, module) is not None, (
        f"{module} is on no floor: enter it in FLOORS in tests/test_floors.py (CONTRIBUTING.md says which is which)"
    )


@MODULES
def test_imports_only_go_down(module):
    """Or stay on the floor, where no circle is closed: see below."""
    floor = entry(FLOORS, module)
    for name, line in imports_of(module, SOURCES[module]):
        if name.partition(".")[0] == "fastact":
            below = entry(FLOORS, name)
            assert below is not None, f"{module}:{line}: imports {name}, which is on no floor"
            assert below <= floor, f"{module}:{line}: floor {floor} imports {name}, which is on floor {below}"


def test_no_circles():
    """Modules of one floor may use each other, in one direction."""
    needed = {m: {name for name, _ in imports_of(m, path) if name in SOURCES} for m, path in SOURCES.items()}
    order = []

    def visit(module, way):
        assert module not in way, f"a circle of imports: {' -> '.join([*way[way.index(module) :], module])}"
        if module not in order:
            for name in sorted(needed[module] - {module}):
                visit(name, [*way, module])
            order.append(module)

    for module in SOURCES:
        visit(module, [])


@MODULES
def test_foreign_packages(module):
    """Floors 0 to 3 import the standard library and NumPy; the lowest not even that; only one knows Numba."""
    accepted = entry(OUTSIDE, module)
    if accepted is None:
        assert entry(FLOORS, module) == 4
        return
    for name, line in imports_of(module, SOURCES[module]):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top != "fastact":
            assert top in accepted, f"{module}:{line}: imports {name}; it may import: {sorted(accepted) or 'nothing'}"


def test_public_module_imports_nothing_foreign():
    foreign = {name.partition(".")[0] for name, _ in imports_of("fastact", SOURCES["fastact"])} - {"fastact"}
    assert foreign <= sys.stdlib_module_names


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("fastact.backends.")])
def test_backends_know_nothing_of_each_other(module):
    others = [name for name, _ in imports_of(module, SOURCES[module]) if name.startswith("fastact.backends")]
    assert not others


def test_reference_shares_nothing():
    """It is what the formulas are tested with: no part of fastact, and no formula's name."""
    ours = [name for name, _ in imports_of("fastact.reference", SOURCES["fastact.reference"]) if "fastact" in name]
    assert not ours
    packages = [SOURCES[name] for name in SOURCES if name.startswith("fastact.formulas")]
    for path in packages:
        assert not [name for name, _ in imports_of(module_name(path), path) if name.startswith("fastact.reference")]


def test_compiled_sources_import_nothing_of_the_package():
    """The package hands the compiled core what it needs from Python (``_core.install``)."""
    paths = [path for path in (ROOT / "src_cy").glob("*") if path.suffix in (".pyx", ".pxi", ".in")]
    if not paths:
        pytest.skip("no Cython sources beside this installation")
    for path in paths:
        found = re.findall(r"^\s*(?:from|c?import)\s+(?:fastact|\.)\S*.*$", path.read_text(), re.MULTILINE)
        assert not found, f"{path.name}: {found}"


def test_every_entry_is_a_module():
    known = {*SOURCES, "fastact._core", "fastact._embedding"}
    assert set(FLOORS) <= known
    assert set(OUTSIDE) <= known


@pytest.mark.parametrize(
    "source, names",
    [
        ("import numpy.linalg", ["numpy.linalg"]),
        ("from . import lowering, catalogue", ["fastact.lowering", "fastact.catalogue"]),
        ("from . import __version__", ["fastact"]),
        ("from .backends import numpy_kernels", ["fastact.backends.numpy_kernels"]),
        ("from .dispatch import find", ["fastact.dispatch"]),
        ("def f():\n    from .formulas.primitives import Constant", ["fastact.formulas.primitives"]),
        ("if TYPE_CHECKING:\n    from ._core import thing", ["fastact._core"]),
        ("import importlib\nimportlib.import_module(f'fastact._kernels.{level}')", ["importlib", "fastact._kernels"]),
    ],
)
def test_imports_are_found(tmp_path, source, names):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [name for name, _ in imports_of("fastact.module", path)] == names


def test_imports_of_a_subpackage_are_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("from .. import lowering\nfrom ..catalogue import ACTIVATIONS\nfrom .numpy_kernels import kernel")
    names = [name for name, _ in imports_of("fastact.backends.module", path)]
    assert names == ["fastact.lowering", "fastact.catalogue", "fastact.backends.numpy_kernels"]
    package = tmp_path / "__init__.py"
    package.write_text("from . import numpy_kernels\nfrom ..catalogue import BY_NAME")
    names = [name for name, _ in imports_of("fastact.backends", package)]
    assert names == ["fastact.backends.numpy_kernels", "fastact.catalogue"]
