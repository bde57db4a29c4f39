"""`fastact bench` and the report: they run on every row, with and without peers.  No figure is asserted: a loaded
machine must not fail a test."""

import argparse
import importlib.util
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from fastact import benchmark, cases, contenders, get_num_threads, measurement, peers, reference
from fastact.catalogue import ACTIVATIONS, ALIASES, BY_NAME, DIRECTIONS

REPORT = Path(__file__).resolve().parent.parent / "benchmarks" / "report.py"
QUICK = ["--size", "16", "--rounds", "1"]


def options(*words):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args([*QUICK, *words])


def measured(tmp_path, *words):
    path = tmp_path / "results.json"
    assert benchmark.run(options(*words, "--json", str(path))) == 0

    def no_constants(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=no_constants)


@pytest.fixture
def report():
    specification = importlib.util.spec_from_file_location("benchmark_report", REPORT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize("mode", cases.MODES)
@pytest.mark.parametrize("row", ACTIVATIONS, ids=lambda row: row.name)
def test_every_contender_computes_the_activation(row, mode):
    """In every form, a peer's statement is what it says: else its time means nothing."""
    for direction, dtype in itertools.product(row.directions, ("float32", "float64")):
        case = cases.Case(row.name, direction, dtype, 37, mode)
        arrays = cases.arrays_for(case)
        parameters = [p.tried[0] if p.default is None else p.default for p in row.parameters]
        kind = measurement.REFERENCE_SUFFIX[direction]
        truth = getattr(reference, row.name + kind)(arrays[case.source], *map(np.dtype(dtype).type, parameters))
        truth = truth * arrays.get("g", 1)
        for contender in contenders.contenders(case, ("cython", "numpy"), True, arrays):
            if contender.label == "memory":
                continue
            with contender.active():
                result = np.asarray(contender.result()).copy()
                again = np.asarray(contender.result()).copy()
            close = 1e-4 if dtype == "float32" else 1e-9
            np.testing.assert_allclose(result, truth, close, close, err_msg=f"{case} {contender.label}")
            np.testing.assert_array_equal(result, again, err_msg=f"{case} {contender.label}: the data drift")


def test_all_rows_all_directions(tmp_path, capsys):
    result = measured(tmp_path, "--direction", "all")
    expected = [row.function_name(direction) for row in ACTIVATIONS for direction in row.directions]
    assert [row["function"] for row in result["rows"]] == expected
    for row in result["rows"]:
        assert row["fastact"]["ns_per_element"] > 0
        assert row["memory"]["ns_per_element"] > 0
        assert row["memory"]["name"] == ("memcpy" if row["direction"] == "forward" else "add")
        assert row["numpy"]["statement"]
        assert math.isfinite(float(row["fastact"]["max_ulp"]))
        assert math.isclose(row["ratio"], row[row["best_peer"]]["ns_per_call"] / row["fastact"]["ns_per_call"])
    assert {"cpu", "cpus", "date", "instruction_set", "versions"} <= set(result["machine"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in expected)
    assert "16 elements, output reused" in printed


@pytest.mark.parametrize("words", [["--mode", "all"], ["--dtype", "float64"], ["--backend", "all", "--threads", "2"]])
def test_options(tmp_path, words):
    threads = get_num_threads()
    result = measured(tmp_path, "gelu", "prelu", *words)
    assert get_num_threads() == threads
    found = {(row["mode"], row["dtype"], row["backend"]) for row in result["rows"]}
    assert len(result["rows"]) == 2 * 2 * len(found)


def test_without_torch(tmp_path, no_torch):
    rows = measured(tmp_path, "gelu", "mish")["rows"]
    assert [row["torch"] for row in rows] == [None] * 4
    assert {row["best_peer"] for row in rows} == {"numpy"}


def test_without_scipy(tmp_path, no_torch, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    gelu, tanh = measured(tmp_path, "gelu", "tanh", "--direction", "forward")["rows"]
    assert gelu["numpy"] is gelu["ratio"] is gelu["best_peer"] is None
    assert tanh["best_peer"] == "numpy"


def test_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert benchmark.run(options("relu")) == 2
    assert "fastact[cli]" in capsys.readouterr().err


def test_activation_that_peers_do_not_have(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "PEERS", {})
    for row in measured(tmp_path, "gelu", "prelu")["rows"]:
        assert row["numpy"] is row["torch"] is row["ratio"] is None
        assert row["fastact"]["ns_per_call"] > 0


def test_no_peers(tmp_path):
    assert measured(tmp_path, "gelu", "--no-peers")["rows"][0]["numpy"] is None


def test_calls(tmp_path, capsys):
    rows = measured(tmp_path, "gelu", "prelu", "--calls")["calls"]
    assert [row["function"] for row in rows] == ["gelu", "gelu_backward", "prelu", "prelu_backward"]
    for row in rows:
        assert row["beyond_empty"] == row["fastact"] - row["empty"]
        assert row["np.tanh"] > 0
    assert "beyond an empty call" in capsys.readouterr().out


def test_calls_of_every_form(tmp_path, report, capsys):
    words = ("relu", "prelu", "--calls", "--mode", "reused,fresh", "--dtype", "all", "--size", "16,48")
    rows = measured(tmp_path, *words)["calls"]
    forms = {(row["function"], row["dtype"], row["size"], row["mode"]) for row in rows}
    assert len(rows) == len(forms) == 4 * 2 * 2 * 2
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.CALLS_BEGIN}\nold\n{report.CALLS_END}\nafter\n")
    assert report.main([str(tmp_path / "results.json"), "--into", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(lines) == 4 * 2
    assert {line.count("|") for line in lines} == {3 + 4 * 3}


def test_peers_name_rows_of_the_catalogue():
    assert set(peers.PEERS) <= set(BY_NAME)
    for name, entry in peers.PEERS.items():
        for statements in (entry.numpy, entry.torch):
            assert set(statements) <= set(BY_NAME[name].directions)
    assert set(peers.MEMORY) == set(DIRECTIONS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "'nothing'; accepted: all, relu"),
        (["--size", "12K"], "'12K'; accepted: a positive integer"),
        (["--size", "0"], "'0'; accepted: a positive integer"),
        (["--mode", "twice"], "'twice'; accepted: fresh, reused, in_place"),
        (["--backend", "jax"], "'jax'; accepted: cython, numba, numpy"),
        (["--threads", "none"], "'none'; accepted: an integer from 1 to 1024"),
        (["--rounds", "0"], "'0'; accepted: an integer from 1"),
        (["--dtype", "int8"], "'int8'; accepted: float32, float64"),
    ],
)
def test_what_options_refuse(words, message, capsys):
    with pytest.raises(SystemExit):
        options(*words)
    assert message in capsys.readouterr().err


def test_nothing_to_measure(capsys):
    assert benchmark.run(options("gelu", "--direction", "backward_from_output")) == 2
    assert "output" in capsys.readouterr().err


def test_aliases_and_sizes():
    alias, name = next(iter(ALIASES.items()))
    assert benchmark.cases_of(options(alias))[0].activation == name
    assert [benchmark.parse_size(text) for text in ("7", "64Ki", "2Mi")] == [7, 65536, 2**21]
    assert [cases.show_size(size) for size in (7, 65536, 2**21)] == ["7", "64Ki", "2Mi"]


def test_in_place_never_runs_on_its_own_results():
    case = cases.Case("gelu", "forward", "float32", 16, "in_place")
    ours = next(contenders.contenders(case, ("cython",), False, cases.arrays_for(case)))
    ours.warm_up()
    ours.sample()
    pristine, worked_on = ours._pristine.copy(), [copy.copy() for copy in ours._copies]
    expected = reference.gelu(pristine)
    for copy in worked_on:
        np.testing.assert_allclose(copy, expected, 1e-6)


@pytest.mark.parametrize(
    ("result", "truth", "error"),
    [
        (np.float32(1), 1.0, 0.0),
        (np.nextafter(np.float32(1), np.float32(2)), 1.0, 1.0),
        (np.float32(0), 2.0**-149, 1.0),
        (np.float32(np.nan), 1.0, math.inf),
        (np.float32(np.inf), 1e30, math.inf),
        (np.float32(np.inf), 1e39, 0.5),
    ],
)
def test_ulp_error(result, truth, error):
    assert measurement.ulp_error(result, np.array([truth]), "float32")[0] == pytest.approx(error)


def test_report(tmp_path, report, capsys):
    measured(tmp_path, "gelu", "mish", "--mode", "reused,fresh")
    capsys.readouterr()
    assert report.main([str(tmp_path / "results.json")]) == 0
    text = capsys.readouterr().out
    assert text.count("| `gelu` | **") == text.count("| `mish_backward` | **") == 2
    assert "float32, 16 elements, new output, 1 thread" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        assert report.main([str(tmp_path / "results.json"), "--into", str(page)]) == 0
        assert page.read_text() == f"before\n{report.BEGIN}\n{text}{report.END}\nafter\n"


def test_report_refuses_a_page_without_markers(tmp_path, report, capsys):
    measured(tmp_path, "relu")
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "results.json"), "--into", str(page)])
    assert "--into: got" in capsys.readouterr().err
    assert page.read_text() == "nothing here\n"
