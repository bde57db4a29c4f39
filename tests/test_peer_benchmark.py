"""benchmarks/compare.py and publish.py: tiny runs and their page, bad options, interrupts; and that every peer computes
the function that it is timed for.  No figure is asserted: a loaded machine must not fail a test."""

import contextlib
import copy
import importlib.util
import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from interpreters import run_python
from scipy import special

from fastact import cases as benchmark_cases
from fastact import contenders, measurement, reference
from fastact.catalogue import ACTIVATIONS, BY_NAME
from fastact.peers import Statement

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="benchmarks/ is not beside the tests")
sys.path.insert(0, str(BENCHMARKS))
if BENCHMARKS.exists():
    import compare
    import publish
    from peer_comparison import cells, checking, figures, page, peers, results, timing, worker

TINY = ["--sizes", "16", "--threads", "1", "--budget", "0.001"]
#: Functions, of 28, that each peer must have, by dtype; a peer that is silently absent would make us look better.
#: PyTorch has no gradient of softplus from the output.  thinc computes gelu and its gradients of float64 in float32,
#: and returns float32 for bfloat16 in half of the functions unless they work in place.
COUNTS = {
    "torch": {"float32": 27, "float64": 27, "float16": 27, "bfloat16": 27},
    "numpy": {"float32": 28, "float64": 28, "float16": 28, "bfloat16": 28},
    "jax": {"float32": 28, "float64": 28, "float16": 28, "bfloat16": 28},
    "onnxruntime": {"float32": 11, "float64": 4, "float16": 11},
    "openvino": {"float32": 11, "float16": 11, "bfloat16": 11},
    "thinc": {"float32": 15, "float64": 12, "float16": 14, "bfloat16": 13},
    "numexpr": {"float32": 25, "float64": 25},
    "simd_ml_kernels": {"float32": 4},
}
#: How far a peer's result may be from the truth, relative to it and absolute, on normal input: its own accuracy.
#: simd-ml-kernels promises 2e-6, XLA's and ONNX Runtime's rational functions are as exact; in 16 bits NumPy rounds
#: every intermediate result.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11, "float16": 2e-2, "bfloat16": 1e-1}

#: Prints, for everything that a peer says it has, function, dtype, mode, and its largest distance from the reference.
EVERY_FORM = """
    import json, sys, warnings
    sys.path.insert(0, {folder!r})
    from peer_comparison import cells, jax_functions, peers
    import ml_dtypes, numpy as np
    from fastact import cases as benchmark_cases, reference
    from fastact.catalogue import ACTIVATIONS
    SUFFIX = {{"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}}
    made = peers.maker({label!r}, 1)
    warnings.simplefilter("ignore")
    for row in ACTIVATIONS:
        for direction in row.directions:
            for dtype in cells.DTYPES:
                for mode in cells.MODES:
                    case = benchmark_cases.Case(row.name, direction, dtype, 1000, mode)
                    arrays = benchmark_cases.arrays_for(case)
                    given = [arrays[case.source].astype(float)]
                    kind = np.float64 if dtype == "float64" else np.float32
                    given += [float(kind(p.tried[0] if p.default is None else p.default)) for p in row.parameters]
                    truth = getattr(reference, row.name + SUFFIX[direction])(*given)
                    truth = truth * arrays.get("g", np.ones(1)).astype(float)
                    kept = {{name: array.copy() for name, array in arrays.items() if name not in ("o", "t", "u")}}
                    copies = [np.empty_like(arrays["x"]) for _ in range(2)]
                    try:
                        contender = made.contender(case, arrays, copies)
                        if contender is None:
                            continue
                        with contender.active():
                            values = [np.array(np.asarray(contender.result())) for _ in range(2)]
                    except Exception:
                        continue
                    if values[0].dtype != arrays["x"].dtype:
                        continue
                    away = [np.max(np.abs(v.astype(float) - truth) / (1 + np.abs(truth))) for v in values]
                    same = all(np.array_equal(arrays[name], array) for name, array in kept.items())
                    print(json.dumps([row.function_name(direction), dtype, mode, float(max(away)), same]))
"""


def run(tmp_path, *words):
    path = tmp_path / "results.json"
    assert compare.main([*TINY, "--json", str(path), *words]) == 0
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A run with NumPy as the only peer: every dtype and mode of three functions."""
    functions = ["--functions", "gelu,prelu_backward,tanh_backward_from_output"]
    return run(tmp_path_factory.mktemp("tiny"), *functions, "--peers", "numpy", "--dtypes", "all")


def test_results(tiny):
    assert tiny["schema"] == results.SCHEMA and tiny["complete"] is True
    assert {"cpu", "cpus", "date", "instruction_set", "versions"} <= set(tiny["machine"])
    there = [cells.Cell(*data["cell"]) for data in tiny["cells"]]
    assert len(there) == len(set(there)) == 3 * 4 * 3
    assert {(cell.dtype, cell.mode) for cell in there} == {(d, m) for d in cells.DTYPES for m in cells.MODES}
    for data in tiny["cells"]:
        assert {"fastact", "memory"} <= set(data["figures"])
        assert all(0 < least <= median and rounds > 0 for least, median, rounds in data["figures"].values())
    described = {tuple(contender["key"]): contender for contender in tiny["contenders"]}
    # ours and NumPy's; in 16 bits, its fresh forms are of another dtype for some
    assert described["fastact", "gelu", "float32", "reused"]["statement"] == "function(x, out=o)"
    assert "special.ndtr" in described["numpy", "gelu", "float32", "reused"]["statement"]
    assert described["numpy", "gelu", "float32", "in_place"]["max_ulp"] > 0


def test_every_figure_has_a_description(tiny):
    described = {tuple(contender["key"]) for contender in tiny["contenders"]}
    for data in tiny["cells"]:
        cell = cells.Cell(*data["cell"])
        for label in set(data["figures"]) - {"memory"}:
            assert (label, cell.function, cell.dtype, cell.mode) in described


def test_the_page(tiny, tmp_path):
    path, into = tmp_path / "results.json", tmp_path / "page.md"
    path.write_text(json.dumps(tiny))
    assert publish.main([str(path), "--into", str(into)]) == 0
    text = into.read_text()
    assert text.index("## Where fastact loses") < text.index("## Targets") < text.index("## Summary")
    assert text.count("<details>") == text.count("</details>")
    # ratios of the page are those of the cells
    for each in figures.measured(tiny):
        if each.ratio:
            assert page._ratio(each.ratio) + " N" in text
    assert "not measured" in text
    pictures = {name for name in ("page-roofline.png", *(f"page-{dtype}.png" for dtype in cells.DTYPES))}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") and f"({name})" in text for name in pictures)


def test_memory_traffic(tiny, tmp_path, capsys):
    """The smallest arrays are called the largest: only their figures count."""
    path, into = tmp_path / "results.json", tmp_path / "page.md"
    into.write_text("before\n<!-- traffic:begin -->\nold\n<!-- traffic:end -->\nafter\n")
    path.write_text(json.dumps(tiny))
    with pytest.raises(SystemExit):
        publish.main([str(path), "--traffic", str(into)])
    assert "got none of 64 Mi float32 elements" in capsys.readouterr().err
    tiny = copy.deepcopy(tiny)
    for data in tiny["cells"]:
        data["cell"][3] = figures.LARGEST
    path.write_text(json.dumps(tiny))
    assert publish.main([str(path), "--traffic", str(into)]) == 0
    text = into.read_text()
    assert text.startswith("before\n") and text.endswith("-->\nafter\n") and "old" not in text
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert set(rows) == {"gelu", "prelu_backward", "tanh_backward_from_output"}
    for each in figures.measured(tiny):
        if each.cell.dtype == "float32" and each.cell.mode != "fresh":
            assert f" {page._ratio(each.ours / each.ns['memory'])} |" in rows[each.cell.function]
    into.write_text("no markers\n")
    with pytest.raises(SystemExit):
        publish.main([str(path), "--traffic", str(into)])
    assert into.read_text() == "no markers\n"


def test_without_matplotlib(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "peer_comparison.plots", raising=False)
    monkeypatch.delattr(sys.modules["peer_comparison"], "plots", raising=False)
    path, into = tmp_path / "results.json", tmp_path / "page.md"
    path.write_text(json.dumps(tiny))
    assert publish.main([str(path), "--into", str(into)]) == 0
    assert "matplotlib" in capsys.readouterr().err
    assert ".png" not in into.read_text()


def test_without_peers(tmp_path):
    result = run(tmp_path, "--peers", "none", "--functions", "relu", "--dtypes", "float32", "--modes", "fresh")
    assert [set(data["figures"]) for data in result["cells"]] == [{"fastact", "memory"}]
    assert "no peer" in page.page(result, [])


def test_missing_peers_are_left_out(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there(name) if name == "numpy" else None)
    assert peers.installed() == ("numpy",)
    options = compare.settled(compare.parser().parse_args(["--json", "x.json"]), pytest.fail)
    assert options.peers == ("numpy",)


def test_without_ml_dtypes(monkeypatch, capsys):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there(name) if name != "ml_dtypes" else None)
    options = compare.settled(compare.parser().parse_args(["--json", "x.json"]), pytest.fail)
    assert options.dtypes == ("float32", "float64", "float16")
    with pytest.raises(SystemExit):
        compare.main(["--json", "x.json", "--dtypes", "bfloat16"])
    assert "got bfloat16, which needs ml_dtypes; accepted: float32, float64, float16" in capsys.readouterr().err


def test_missing_peer_that_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(peers, "is_installed", lambda label: label == "numpy")
    with pytest.raises(SystemExit):
        compare.main(["--json", "x.json", "--peers", "thinc"])
    assert "got thinc, which is not installed; accepted: numpy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--functions", "gelu,nothing"], "--functions: got 'nothing'; accepted: relu, "),
        (["--dtypes", "float8"], "--dtypes: got 'float8'; accepted: float32, float64, float16, bfloat16"),
        (["--sizes", "17"], "--sizes: got '17'; accepted: 16, 1Ki"),
        (["--modes", ""], "--modes: got ''; accepted: fresh, reused, in_place"),
        (["--threads", "0"], "--threads: got '0'; accepted: 1, all"),
        (["--peers", "mxnet"], "--peers: got 'mxnet'; accepted: torch, "),
        (["--budget", "nan"], "--budget: got 'nan'; accepted: seconds, more than 0"),
        (["--budget", "-1"], "--budget: got '-1'; accepted: seconds, more than 0"),
        (["--instruction-set", "avx2", "--peers", "numpy"], "accepted with --instruction-set: torch"),
        (["--json", "no/such/folder/x.json"], "accepted: a path in a folder that exists"),
    ],
)
def test_bad_options(words, message, capsys, tmp_path):
    with pytest.raises(SystemExit):
        compare.main(["--json", str(tmp_path / "results.json"), *words])
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"schema": 1, "cells": []}', '{"schema": 99, "cells": [1]}'])
def test_bad_results(text, tmp_path, capsys):
    path, into = tmp_path / "results.json", tmp_path / "page.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit):
        publish.main([str(path), "--into", str(into)])
    assert "results: got" in capsys.readouterr().err
    assert not into.exists()


def test_instruction_set_reaches_the_worker(tmp_path, monkeypatch):
    options = compare.parser().parse_args(["--json", "x.json", "--instruction-set", "base", "--peers", "torch"])
    variables = compare.environment(options, 1)
    assert (variables["FASTACT_MAX_ISA"], variables["ATEN_CPU_CAPABILITY"]) == ("base", "default")
    monkeypatch.setattr(peers, "is_installed", lambda label: True)
    monkeypatch.setattr(compare, "settled", lambda options, complain: settled_without_torch(options))
    words = ["--functions", "relu", "--dtypes", "float32", "--modes", "reused", "--instruction-set", "base"]
    assert run(tmp_path, *words)["machine"]["instruction_set"] == "base"


def settled_without_torch(options):
    options.peers = ()
    return options


def test_interrupt_and_resume(tmp_path, monkeypatch):
    words = [
        *TINY,
        "--json",
        str(tmp_path / "results.json"),
        "--peers",
        "numpy",
        "--functions",
        "relu",
        "--dtypes",
        "all",
    ]
    measure, seen = compare.measure, []

    def interrupted(options, threads, todo, journal, advance):
        def stop(cell):
            advance(cell)
            if len(journal.measured()) == 2:
                raise KeyboardInterrupt

        measure(options, threads, todo, journal, stop)

    monkeypatch.setattr(compare, "measure", interrupted)
    assert compare.main(words) == 130
    partial = json.loads((tmp_path / "results.json").read_text())
    assert partial["complete"] is False and len(partial["cells"]) == 2
    journal = tmp_path / "results.json.journal"
    # what a killed process leaves
    journal.write_text(journal.read_text() + '{"cell": [')
    monkeypatch.setattr(compare, "measure", lambda *arguments: (seen.append(len(arguments[2])), measure(*arguments)))
    assert compare.main([*words, "--resume"]) == 0
    whole = json.loads((tmp_path / "results.json").read_text())
    assert seen == [4 * 3 - 2] and whole["complete"] is True and len(whole["cells"]) == 4 * 3
    assert whole["cells"][:2] == partial["cells"]
    assert not journal.exists()


def test_resume_refuses_other_options(tmp_path, capsys):
    about = {"options": {"sizes": ["16"]}}
    journal = results.Journal(tmp_path / "results.json", about)
    journal.open(False)
    journal.close(False)
    with pytest.raises(SystemExit):
        compare.main([*TINY, "--json", str(tmp_path / "results.json"), "--peers", "none", "--resume"])
    assert "other options, packages or kernels" in capsys.readouterr().err


def test_a_worker_that_dies_loses_nothing(tmp_path, monkeypatch):
    """A peer may crash the process; what was measured before is on disk."""
    cell = {"cell": ["relu", "forward", "float32", 16, "fresh", 1], "figures": {}, "left_out": {}}
    program = f"import os\nprint({json.dumps(json.dumps(cell))}, flush=True)\nos._exit(7)\n"
    (tmp_path / "peer_comparison.py").write_text(program)
    monkeypatch.setattr(compare, "environment", lambda options, threads: {"PYTHONPATH": str(tmp_path)})
    words = [*TINY, "--json", str(tmp_path / "results.json"), "--peers", "none", "--functions", "relu"]
    assert compare.main(words) == 1
    partial = json.loads((tmp_path / "results.json").read_text())
    assert partial["complete"] is False and len(partial["cells"]) == 1


@pytest.mark.parametrize("label", COUNTS)
def test_every_form_of_a_peer_computes_the_function(label):
    """Whatever is timed is the right function, in every form, twice; and inputs are left as they are."""
    for package in peers.PEERS[label].packages:
        pytest.importorskip(package)
    script = EVERY_FORM.format(folder=str(BENCHMARKS), label=label)
    environment = {**compare.jax_functions.environment(1), "PYTHONWARNINGS": "ignore"}
    printed = run_python(script, timeout=280, environment=environment)
    found = {}
    for function, dtype, mode, away, same in map(json.loads, printed.splitlines()):
        assert same, f"{function} {dtype} {mode}: an input was changed"
        if away <= TOLERANCE[dtype]:
            found.setdefault(dtype, set()).add(function)
        else:
            # what the comparison refuses too
            case = benchmark_cases.Case(*function_of(function), dtype, 16, mode)
            made = peers.maker(label, 1)
            assert checking.verdict(lambda *given, made=made: made.contender(given[1], given[0], given[2]), case).absent
    assert {dtype: len(functions) for dtype, functions in found.items()} == COUNTS[label]


def function_of(name):
    return next((row.name, d) for row in ACTIVATIONS for d in row.directions if row.function_name(d) == name)


def made_of(statement, dtype="float32", activation="gelu_tanh", mode="reused"):
    """The verdict on a statement that is said to be an activation."""

    def make(arrays, case, copies):
        names = {"np": np, "special": special}
        return contenders.Contender("peer", "peer", statement, case, arrays, names, copies=copies)

    return checking.verdict(make, benchmark_cases.Case(activation, "forward", dtype, 16, mode))


GELU_TANH = "0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))"


def test_a_right_statement_passes():
    judged = made_of(Statement(GELU_TANH))
    assert judged.absent == "" and judged.max_ulp > 0.5


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (Statement("x / (1 + np.exp(-1.702 * x))"), " instead of "),
        (Statement("x * special.ndtr(x)"), " instead of "),
        (Statement("np.float64(1) * x.astype(np.float64)"), "returns float64"),
        (Statement("np.no_such_function(x)"), "AttributeError"),
        # right the first time, and never again
        (Statement("x", "o[...] = " + GELU_TANH + "; x[...] = o"), " instead of "),
    ],
)
def test_a_wrong_statement_is_absent(statement, reason):
    assert reason in made_of(statement).absent


def test_float32_is_not_float64():
    judged = made_of(Statement("np.tanh(x.astype(np.float32)).astype(np.float64)"), "float64", "tanh")
    assert " instead of " in judged.absent


class Clockwork:
    """A contender that takes as long as it says."""

    def __init__(self, label, ns):
        self.label, self.taken, self._ns = label, 0, ns

    def active(self):
        return contextlib.nullcontext()

    def warm_up(self):
        return float(self._ns)

    def sample(self):
        self.taken += 1
        return float(self._ns)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # one after the warm-up, one after two rounds, but nobody who is no peer, nor PyTorch
        (16, {"fastact": 100, "memory": 100, "a": 100, "b": 100, "c": 2, "d": 0, "torch": 100}),
        # at 64 Mi, the best two and who is close go on; every call counts
        (2**26, {"fastact": 3, "memory": 3, "a": 3, "b": 3, "c": 1, "d": 1, "torch": 1}),
    ],
)
def test_who_is_dropped(size, expected):
    times = {"fastact": 900, "memory": 1, "a": 10, "b": 11, "c": 30, "d": 50, "torch": 70}
    row = [Clockwork(label, ns) for label, ns in times.items()]
    measured = timing.measure(row, size, 1, 60)
    assert {contender.label: contender.taken for contender in row} == expected
    assert {label: figure.minimum for label, figure in measured.items()} == {c.label: c._ns for c in row}
    assert all(figure.rounds >= 1 for figure in measured.values())


def test_the_budget_ends_rounds_but_not_before_the_fewest():
    row = [Clockwork("fastact", 1)]
    timing.measure(row, 16, 1, 1e-9)
    assert row[0].taken == timing.FEWEST_ROUNDS


def measured_cell(figures_by_label, **fields):
    cell = cells.Cell("gelu", "forward", "float32", 16, "reused", 1)._replace(**fields)
    return figures.Measured(cell, {"memory": 1.0, **figures_by_label}, {})


def test_ratios_and_targets():
    there = [
        measured_cell({"fastact": 10.0, "torch": 40.0, "numpy": 20.0}),
        measured_cell({"fastact": 10.0, "torch": 9.0}, size=2**14, activation="mish"),
        measured_cell({"fastact": 1.1, "torch": 3.0}, size=2**26),
        measured_cell({"fastact": 11.5}, size=2**14, activation="mish", dtype="float16"),
    ]
    assert [each.best_peer for each in there] == ["numpy", "torch", "torch", None]
    assert [each.ratio for each in there] == [2.0, 0.9, 3.0 / 1.1, None]
    assert figures.geometric_mean([2.0, 8.0, None]) == pytest.approx(4.0)
    by_text = {target.text: target for target in figures.targets(there)}
    every = by_text["every cell, best peer / ours"]
    assert (every.worst, every.where, every.within, every.cells) == (0.9, there[1].cell, 2, 3)
    assert every.reached is False
    calls = by_text["calls, 16 and 1 Ki: best of PyTorch and NumPy / ours"]
    assert (calls.worst, calls.reached) == (2.0, False)
    assert by_text["new output, 64 Mi: PyTorch / ours"].reached is None
    memory = by_text["64 Mi float32, all threads, forward: ours / copy or scale"]
    assert (memory.worst, memory.reached) == (1.1, True)
    half = by_text["float16 and bfloat16 in cache: ours / ours in float32"]
    assert (half.worst, half.reached) == (1.15, True)


def test_lost_cells_stand_first():
    lost = measured_cell({"fastact": 20.0, "torch": 10.0})
    assert "`gelu` float32, 16, output reused, 1 thread | 0.50 | PyTorch" in page._lost([lost])
    assert "In none of 1 cells" in page._lost([measured_cell({"fastact": 10.0, "torch": 10.0})])


def test_far_behind_at_a_smaller_size_is_left_out():
    """From 1 Mi elements on; but never PyTorch, which the page compares with by name."""
    watched = object.__new__(worker.Worker)
    watched._verdicts = {}
    watched._judge = lambda *arguments: ""
    series = ("gelu", "forward", "float32", "reused")
    watched._smaller = {series: (2**18, {"fastact": 1.0, "torch": 100.0, "numpy": 10.0, "jax": 50.0})}
    case = benchmark_cases.Case(*series[:3], 2**22, "reused")
    reasons = {name: watched._reason_to_leave_out(name, None, case, series) for name in ("torch", "numpy", "jax")}
    assert reasons == {"torch": "", "numpy": "", "jax": "5.0 times as slow as the best peer on 256 Ki elements"}
    small = case._replace(size=2**14)
    watched._smaller = {series: (2**10, watched._smaller[series][1])}
    assert watched._reason_to_leave_out("jax", None, small, series) == ""


def test_bfloat16_errors_are_in_its_own_units():
    one = np.array([1.0], ml_dtypes.bfloat16)
    assert measurement.ulp_error(one, np.array([1.0 + 2**-7]), "bfloat16")[0] == 1.0
    assert measurement.ulp_error(one.astype(np.float16), np.array([1.0 + 2**-10]), "float16")[0] == 1.0


def test_cells_are_all_combinations():
    functions = list(compare.FUNCTIONS.values())
    everything = cells.cells(functions, cells.DTYPES, list(cells.SIZES.values()), cells.MODES, 1)
    assert len(everything) == len(set(everything)) == len(compare.FUNCTIONS) * 4 * 6 * 3
    assert all(hasattr(reference, cell.activation) and cell.activation in BY_NAME for cell in everything)
    assert {cell.function for cell in everything} == set(compare.FUNCTIONS)
