"""The benchmarks of threads and of large outputs run, on tiny input, and write what they promise.

No figure is asserted: a loaded machine must not fail a test.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
QUICK = {
    "scaling": ["--function", "relu", "gelu", "--size", "16,4Ki", "--rounds", "2"],
    "large_outputs": ["--function", "relu", "gelu_backward", "--size", "4Ki", "--rounds", "2"],
    "alternating": [
        *("--function", "relu", "--operator", "relu", "matmul", "--size", "4Ki", "--edge", "8"),
        *("--rounds", "2", "--seconds", "0.01"),
    ],
    "serving": ["--function", "gelu", "--size", "16,32Ki", "--rounds", "2", "--seconds", "0.02", "--clients", "3"],
}
#: How many rows these options make; serving has one for one thread and one for two.
ROWS = {"scaling": 2 * 2 * 2, "large_outputs": 2 * 2, "alternating": 2 * 3, "serving": 2 * 2}
EVERY = pytest.mark.parametrize(
    "name", ["scaling", "large_outputs", *(pytest.param(name, marks=TORCH) for name in list(QUICK)[2:])]
)


def run(name, *words):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *QUICK[name], "--threads", "2", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def no_constants(word):
    raise AssertionError(f"{word} is not JSON")


def numbers(value):
    """All numbers in a row, however deep."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers(part)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@EVERY
def test_writes_rows_and_its_section(name, tmp_path):
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(f"before\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->\nafter\n")
    ended = run(name, "--json", str(results), "--into", str(page))
    assert ended.returncode == 0, ended.stderr
    result = json.loads(results.read_text(), parse_constant=no_constants)
    assert result["threads"] == 2
    assert len(result["rows"]) == ROWS[name]
    for row in result["rows"]:
        assert min(numbers(row)) > 0
    text = page.read_text()
    assert text == f"before\n<!-- {name}:begin -->\n\n{ended.stdout}\n<!-- {name}:end -->\nafter\n"
    # what was kept is shown again, and nothing measured
    page.write_text("<!-- other:begin -->\n<!-- other:end -->\n")
    again = run(name, "--kept", str(results), "--marker", "other", "--into", str(page))
    assert (again.returncode, again.stdout) == (0, ended.stdout), again.stderr
    assert page.read_text() == f"<!-- other:begin -->\n\n{ended.stdout}\n<!-- other:end -->\n"
    assert ended.stdout.count("\n| `") == ROWS[name]
    assert result["machine"]["cpu"] in ended.stdout
    assert result["machine"]["date"][:10] in ended.stdout


@EVERY
def test_refuses_a_page_without_its_markers(name, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    ended = run(name, "--into", str(page))
    assert ended.returncode == 2
    assert f"<!-- {name}:begin -->" in ended.stderr
    assert page.read_text() == "nothing here\n"


@TORCH
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are pinned on Linux only")
def test_alternating_pins():
    ended = run("alternating", "--pin")
    assert ended.returncode == 0, ended.stderr
    assert "alternating.py --pin`" in ended.stdout


def test_scaling_draws(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "scaling.png"
    ended = run("scaling", "--plot", str(picture))
    assert ended.returncode == 0, ended.stderr
    assert picture.read_bytes()[:4] == b"\x89PNG"
