"""The Numba extension across processes: found by its entry point, silent where nobody uses fastact, kept by caches.

Each test runs interpreters of its own, in folders of its own, as a user's program runs.
"""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest.importorskip("numba")
ENTRY = [entry for entry in entry_points(group="numba_extensions") if entry.value.startswith("fastact")]
pytestmark = pytest.mark.skipif(not ENTRY, reason="fastact is not installed here, only on the path")

PROGRAM = """
import sys
import numpy as np
import fastact
import numba

@numba.njit(cache=True)
def numbers(x, out):
    for i in range(x.size):
        out[i] = fastact.gelu(x[i])

@numba.njit(cache=True)
def arrays(grad, x):
    return fastact.elu_backward(grad, x, alpha=0.5), fastact.silu(x, out=x)

@numba.vectorize(cache=True)
def elementwise(x):
    return fastact.mish(x)

if __name__ == "__main__":
    x = np.linspace(-6, 6, 1001, dtype=np.float32)
    out = np.empty_like(x)
    numbers(x, out)
    with fastact.use_backend("numba"):
        assert (out == fastact.gelu(x)).all()
        assert (elementwise(x) == fastact.mish(x)).all()
    expected = fastact.elu_backward(x, x, 0.5), fastact.silu(x)
    for got, right in zip(arrays(x, x), expected):
        assert (got == right).all()
    hits = [sum(function.stats.cache_hits.values()) for function in (numbers, arrays)]
    print(*hits)
"""


def run(folder, *words, **variables):
    environment = {"PATH": "/usr/bin:/bin", "NUMBA_CACHE_DIR": str(folder / "cache"), **variables}
    finished = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def test_compiled_code_is_kept(tmp_path):
    """A second process loads what the first has compiled, array calls too, and gets the same bits."""
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(tmp_path, "program.py").split() == ["0", "0"]
    assert run(tmp_path, "program.py").split() == ["1", "1"]


def test_programs_without_fastact_do_not_import_it(tmp_path):
    script = """
import sys, numba
assert numba.njit(lambda x: x + 1)(1) == 2
assert not [name for name in sys.modules if name == "fastact" or name.startswith("fastact.")]
"""
    run(tmp_path, "-c", script)


def test_import_after_the_first_compilation(tmp_path):
    """Numba has looked for extensions by then; the package registers itself."""
    script = """
import numba
assert numba.njit(lambda x: x + 1)(1) == 2
import fastact
assert numba.njit(lambda x: fastact.relu(x))(-1.5) == 0
"""
    run(tmp_path, "-c", script)
