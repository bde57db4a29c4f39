"""The command line: what people paste into bug reports, and what they read when something is missing or misspelt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastact
from fastact import cli, information, machine
from fastact.backends import cython_kernels, numba_kernels

ROOT = Path(__file__).parents[1]


def run_command(*arguments, code="import sys, fastact_command; sys.exit(fastact_command.main())", **variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTACT_")}
    path = os.pathsep.join(filter(None, [str(ROOT), clean.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_info_says_what_serves(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for expected in (fastact.__version__, np.__version__, cython_kernels.instruction_set(), "threads", "subnormals"):
        assert expected in text
    for backend in ("cython:", "numba:", "numpy:"):
        assert backend in text


def test_info_as_json(capsys):
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["fastact"] == fastact.__version__
    assert facts["threads"] == fastact.get_num_threads()
    assert facts["threads_from"]
    assert set(facts["order"]) == {"cython", "numba", "numpy"} == set(facts["backends"])
    assert facts["backends"]["numpy"]["available"]
    assert facts["subnormals"] == "kept"


def test_info_names_why_something_better_does_not_serve():
    done = run_command("info", "--json", FASTACT_MAX_ISA="base", FASTACT_BACKEND="numpy", FASTACT_NUM_THREADS="1")
    facts = json.loads(done.stdout)
    assert facts["instruction_set"] in ("base", "none")
    assert "avx2: above FASTACT_MAX_ISA=base" in facts["instruction_sets_passed_over"]
    assert (facts["backend"], facts["serves"]) == ("numpy", "numpy")
    assert (facts["threads"], facts["threads_from"]) == (1, "FASTACT_NUM_THREADS") or not facts["built_with_threads"]
    assert facts["environment"]["FASTACT_BACKEND"] == "numpy"


def test_info_says_why_numba_cannot_serve(monkeypatch, capsys):
    monkeypatch.setattr(numba_kernels, "unavailable", lambda: None)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert cli.main(["info"]) == 0
    assert "numba: not available: numba does not import: ModuleNotFoundError" in capsys.readouterr().out


def test_info_needs_none_of_the_optional_packages():
    # Numba brings SciPy where it is installed
    heavy = "('rich', 'sklearn')"
    code = f"import sys, fastact.cli; fastact.cli.main(['info']); print([m for m in {heavy} if m in sys.modules])"
    done = run_command(code=code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("FASTACT_BACKEND", "nubma", "accepted: auto, cython, numba, numpy"),
        ("FASTACT_MAX_ISA", "avx1024", "accepted: base, avx2, avx512"),
        ("FASTACT_NUM_THREADS", "many", "accepted: an integer from 1 to 1024"),
        ("FASTACT_RECYCLE_BYTES", "1e9", "accepted: a number of bytes from 0"),
        ("FASTACT_STREAM_FROM", "64Mi", "accepted: a number of bytes from 1, or 'never'"),
    ],
)
def test_unknown_environment_is_one_line(variable, value, accepted):
    done = run_command("info", **{variable: value})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in (variable, repr(value), accepted))


@pytest.mark.parametrize(
    "words", [[], ["no-such-command"], ["demo", "--epochs", "0"], ["demo", "--activation", "glue"]]
)
def test_wrong_arguments_end_with_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert "usage: fastact" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["rich", "sklearn"])
def test_demo_names_the_missing_package(package):
    code = f"import sys; sys.modules[{package!r}] = None\nimport fastact.cli; sys.exit(fastact.cli.main(['demo']))"
    done = run_command(code=code)
    assert done.returncode == 1
    assert done.stderr == f'fastact demo needs {package}: pip install "fastact[demo]"\n'


def test_a_missing_module_of_our_own_is_not_blamed_on_the_extras(monkeypatch):
    monkeypatch.setitem(cli._COMMANDS, "demo", ("nothing", "fastact.no_such_module"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        cli.main(["demo"])


def test_python_dash_m():
    done = run_command(code="import runpy; runpy.run_module('fastact', run_name='__main__')")
    assert done.returncode == 2
    assert "usage: fastact" in done.stderr


def test_openmp_runtimes_are_read_from_the_map(tmp_path):
    maps = tmp_path / "maps"
    row = "7f00-7f01 r-xp 00000000 fd:00 12 {}\n"
    names = ("/a b/libgomp-a1.so.1.0.0", "/lib/libiomp5.so", "/lib/libc.so.6", "[stack]")
    maps.write_text("".join(row.format(name) for name in names) + "7f02-7f03 rw-p 00000000 00:00 0\n")
    assert information.openmp_runtimes(maps) == ["/a b/libgomp-a1.so.1.0.0", "/lib/libiomp5.so"]
    assert information.openmp_runtimes(tmp_path / "absent") is None


def test_cpu_name_without_proc(tmp_path):
    assert machine.cpu_name(tmp_path / "absent")
    described = tmp_path / "cpuinfo"
    described.write_text("processor\t: 0\nmodel name\t: Some CPU\n")
    assert machine.cpu_name(described) == "Some CPU"
