"""The type stubs: up to date, true to the compiled functions, and of use to a type checker."""

import ast
import importlib.util
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cases import FUNCTIONS
from environments import has_sources

import fastact

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[1]
#: Beside the tests, or where a wheel was installed.
PACKAGE = Path(fastact.__file__).parent


def load_tool():
    """``tools/stubs.py`` as a module."""
    spec = importlib.util.spec_from_file_location("stubs", ROOT / "tools" / "stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PACKAGE = PACKAGE
    return module


def run(*words, folder=ROOT):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=240
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["__init__.pyi", "ufuncs.pyi"])
def test_generated_stubs_are_up_to_date(name):
    path = PACKAGE / name
    assert path.read_text() == load_tool().stubs()[path], "stale: run `python tools/stubs.py`"


@pytest.mark.skipif(not has_sources(), reason="checks the sources, which are not beside the tests")
def test_package_passes_mypy_strict():
    status, text = run("mypy", "--strict", "fastact")
    assert status == 0, text


def test_stubs_agree_with_the_running_package():
    words = ("--mypy-config-file", "tests/stubtest.ini", "--allowlist", "tests/stubtest_allowlist.txt")
    status, text = run("mypy.stubtest", "fastact", *words)
    assert status == 0, text


@pytest.fixture(scope="module")
def calls():
    """{class in the stub: signatures of its ``__call__``}, and {function: class}: stubtest does not look that deep."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    signatures = {
        node.name: [call.args for call in node.body if isinstance(call, ast.FunctionDef) and call.name == "__call__"]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    types = {node.target.id: node.annotation.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    return {name: signatures.get(kind) for name, kind in types.items()}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_overloads_have_the_function_s_parameters(function, calls):
    parameters = list(inspect.signature(function).parameters.values())
    expected = [
        (p.name, None if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert len(calls[function.name]) == 6
    for arguments in calls[function.name]:
        names = [argument.arg for argument in arguments.args[1:]]
        given = [ast.literal_eval(default) for default in arguments.defaults]
        assert list(zip(names, [None] * (len(names) - len(given)) + given, strict=True)) == expected
        assert "out" in [argument.arg for argument in arguments.kwonlyargs]
        assert arguments.kwarg.arg == parameters[-1].name


def test_every_public_function_has_a_type(calls):
    functions = {
        name for name in fastact.__all__ if isinstance(getattr(fastact, name), fastact._core.ElementwiseFunction)
    }
    assert functions == {name for name in calls if calls[name]}


def test_user_code(tmp_path):
    """What a type checker concludes about somebody's program, and what it refuses."""
    (tmp_path / "user.py").write_text(
        textwrap.dedent(
            """
            from typing import assert_type

            import numpy as np
            import numpy.typing as npt

            import fastact

            Single = npt.NDArray[np.float32]

            def network(x: Single, weight: Single, grad: Single) -> Single:
                hidden = fastact.gelu(x)
                assert_type(hidden, Single)
                assert_type(fastact.elu(hidden, alpha=0.5, out=hidden), Single)
                assert_type(fastact.swish(x, where=x > 0, casting="safe"), Single)
                dx, dweight = fastact.prelu_backward(grad, x, weight, axis=0, out=grad)
                assert_type(dx, Single)
                dweight.sum()
                return fastact.sigmoid_backward_from_output(dx, hidden, out=dx)

            assert_type(fastact.relu(-1.0), np.float64)
            assert_type(fastact.tanh(np.float32(2)), np.float32)
            fastact.mish([1.0, 2.0]).mean()
            assert_type(fastact.gelu.ufunc, np.ufunc)
            assert_type(fastact.ufuncs.gelu, np.ufunc)
            print(fastact.explain(fastact.gelu, np.ones(3)).backend, fastact.gelu.name)
            with fastact.use_backend("numpy"), fastact.num_threads(1):
                fastact.leaky_relu(np.ones(3), negative_slope=0.2)

            fastact.gelu(np.ones(3), alpha=1.0)  # type: ignore[call-overload]
            fastact.relu(np.ones(3), otu=None)  # type: ignore[call-overload]
            fastact.elu(np.ones(3), "wide")  # type: ignore[call-overload]
            fastact.gelu(np.ones(3), casting="maybe")  # type: ignore[call-overload]
            fastact.gelou(np.ones(3))  # type: ignore[attr-defined]
            """
        )
    )
    # silent, as mypy is about installed packages; --strict complains of an ignore that was not needed
    configuration = f"[mypy]\nmypy_path = {ROOT}\npython_version = 3.11\n[mypy-fastact.*]\nfollow_imports = silent\n"
    (tmp_path / "mypy.ini").write_text(configuration)
    status, text = run("mypy", "--strict", "user.py", folder=tmp_path)
    assert status == 0, text
