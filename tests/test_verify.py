"""`fastact verify`: what is wrong is found, with its place; how the work was split, or interrupted, changes nothing.

Most of it runs on contenders made up here, whose errors are known.
"""

import importlib.util
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cases import FUNCTIONS, ROWS, parameter_sets, truth
from environments import has_sources
from interpreters import run_python

import fastact
from fastact import cli, documentation, verification
from fastact.backends import cython_kernels
from fastact.verification import certificate, command, digests, measuring, numbers, peers, subjects, targets, work
from fastact.verification.errors import truth_about, ulp_error
from fastact.verification.numbers import DTYPES, format_of, place_of, values_at
from fastact.verification.subjects import Subject
from fastact.verification.tallies import Measurement, Tally, measurement_from_json

ROOT = Path(__file__).parents[1]
FLOAT32 = format_of("float32")
TARGETS = targets.available()[:1]
FORMATS = [format_of(name) for name in DTYPES if name != "bfloat16" or importlib.util.find_spec("ml_dtypes")]
SIGMOID = Subject("sigmoid", ())
#: Coarse enough for milliseconds, fine enough for several leaves.
STRIDE = 20011
LEAF = digests.LEAF


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("FASTACT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- numbers and errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_line_of_all_numbers(form):
    step = 1 if form.bits == 16 else 65537
    places = np.arange(0, form.places, step)
    values = values_at(places, form)
    assert [place_of(value, form) for value in values[:: max(1, len(values) // 500)]] == list(
        places[:: max(1, len(values) // 500)]
    )
    # among them are signalling NaNs
    with np.errstate(invalid="ignore"):
        ascending = values[~np.isnan(values)].astype(np.float64)
    ascending = ascending[np.isfinite(ascending)]
    assert (np.diff(ascending) >= 0).all()
    assert float(values_at(np.array([place_of(np.inf, form) - 1]), form)[0]) == form.largest
    zero = place_of(0.0, form)
    around = values_at(np.arange(zero - 2, zero + 2), form)
    assert list(np.signbit(around)) == [True, True, False, False]
    assert list(numbers.ordered(around, form)) == [-1, 0, 0, 1]
    assert float(around[-1]) == 2.0**form.lowest


def test_sweep_of_a_range():
    """Outputs only; -0.0 where it is one."""
    for name, low, high in [("relu", -0.0, math.inf), ("softplus", 0.0, math.inf), ("tanh", -1.0, 1.0)]:
        sweep = subjects.subjects_of([f"{name}_backward_from_output"], False)[0].sweep(FLOAT32, 1)
        assert (sweep.first, sweep.last) == (place_of(low, FLOAT32), place_of(high, FLOAT32))
    sweep = SIGMOID.sweep(FLOAT32, 1)
    assert (sweep.points, sweep.first) == (2**32, 0)


def exact_error(result, true, form):
    """The definition, in fractions."""
    if math.isnan(result):
        return math.inf
    largest, overflow = Fraction(form.largest), Fraction(form.overflow)
    size = abs(Fraction(true)) if math.isfinite(true) else None
    if math.isinf(result):
        if math.copysign(1, result) != math.copysign(1, true) or (size is not None and size < largest):
            return math.inf
        if size is None or size >= (largest + overflow) / 2:
            return 0
        got = overflow
        true = size
    else:
        if size is None:
            return math.inf
        got, true = Fraction(result), Fraction(true)
    exponent = -(10**6)
    if size:
        exponent = math.frexp(float(size))[1] - 1
    unit = Fraction(2) ** max(exponent - form.digits + 1, form.lowest)
    return abs(got - true) / unit


def hand_picked(form):
    ulp = 2.0 ** (1 - form.digits)
    tiny, smallest = 2.0 ** (form.lowest + form.digits - 1), 2.0**form.lowest
    truths = [0.0, -0.0, 1.0, 1 + ulp / 2, 1 - ulp / 8, -1.5, math.pi, 2 - ulp / 3, 1e-320, -1e-200, smallest / 2]
    truths += [smallest * 0.75, smallest * 2.5, tiny, tiny * (1 - ulp / 8), -tiny * 1.3, form.largest]
    truths += [form.largest * (1 + ulp / 8), -form.largest * (1 + ulp / 3), form.overflow, 1e300, math.inf, -math.inf]
    results = [0.0, -0.0, 1.0, 1 + ulp, 1 - ulp / 2, -1.5, 3.140625, smallest, -smallest, 3 * smallest, tiny, -tiny]
    results += [form.largest, -form.largest, math.inf, -math.inf, math.nan]
    return truths, results


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_error_is_what_the_definition_says(form):
    truths, results = hand_picked(form)
    for true in truths:
        got = np.array(results).astype(form.dtype)
        errors = ulp_error(got, np.full(len(got), true), form)
        expected = [float(exact_error(float(result), true, form)) for result in got]
        assert list(errors) == expected, true


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_rounded_truth_and_its_error(form):
    random = np.random.default_rng(1)
    spread = random.uniform(1, 2, 4000) * 2.0 ** random.integers(
        form.lowest - 4, int(math.log2(form.overflow)) + 2, 4000
    )
    true = np.concatenate([spread, -spread, hand_picked(form)[0]])
    with np.errstate(all="ignore"):
        about = truth_about(true, form)
        if form.name != "bfloat16":  # whose conversion may round twice
            np.testing.assert_array_equal(about.rounded, true.astype(form.dtype))
    np.testing.assert_array_equal(np.signbit(about.rounded), np.signbit(true))
    np.testing.assert_array_equal(about.rounding, ulp_error(about.rounded, true, form))
    assert about.rounding.max() <= 0.5
    where = np.arange(0, len(true), 3)
    with np.errstate(all="ignore"):
        spoiled = (about.rounded[where].astype(np.float64) * 1.25).astype(form.dtype)
        np.testing.assert_array_equal(about.error_of(spoiled, where, form), ulp_error(spoiled, true[where], form))


# --- what a wrong kernel is found with --------------------------------------------------------------------------------


def rounded_reference(subject, form=FLOAT32):
    """A contender that is the reference, rounded."""
    expression = subject.truth(form)

    def call(x):
        with np.errstate(all="ignore"):
            return truth_about(expression(x), form).rounded.copy()

    return call


def spoiled(subject, changes, form=FLOAT32):
    """The same, but with other results at these places of the line."""
    call = rounded_reference(subject, form)
    table = {values_at(np.array([place]), form).view(form.pattern)[0]: value for place, value in changes.items()}

    def wrong(x):
        results = call(x)
        for pattern, value in table.items():
            results[x.view(form.pattern) == pattern] = value
        return results

    return wrong


def swept(subject, contenders, stride=STRIDE, form=FLOAT32):
    sweep = subject.sweep(form, stride)
    return measuring.measure_contenders(subject, sweep, 0, sweep.points, contenders, {})


def visited_place(value, subject=SIGMOID, stride=STRIDE):
    """A place that the sweep visits, near a number."""
    first = subject.sweep(FLOAT32, stride).first
    return first + (place_of(value, FLOAT32) - first) // stride * stride


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_reference_itself_is_without_fault(form):
    for name in ("sigmoid", "tanh", "gelu_backward", "sigmoid_backward_from_output"):
        subject = Subject(name, ())
        stride = STRIDE if form.bits == 32 else 1
        tally = swept(subject, {"right": rounded_reference(subject, form)}, stride, form).tallies["right"]
        assert tally.ulp <= 0.5
        assert (tally.not_rounded, tally.steps, tally.faults) == (0, 0, {})


def test_one_wrong_result_is_found():
    place = visited_place(0.3)
    x = values_at(np.array([place]), FLOAT32)
    right = rounded_reference(SIGMOID)(x)[0]
    wrong = right + 3 * np.spacing(right)
    measurement = swept(SIGMOID, {"right": rounded_reference(SIGMOID), "wrong": spoiled(SIGMOID, {place: wrong})})
    tally = measurement.tallies["wrong"]
    assert (tally.place, tally.result, tally.not_rounded, tally.steps) == (place, float(wrong), 1, 3)
    assert tally.ulp == pytest.approx(float(exact_error(float(wrong), float(truth(SIGMOID.callable, x)[0]), FLOAT32)))
    assert measurement.differences == {"right wrong": 3}
    part = place * measuring.PARTS // FLOAT32.places
    assert tally.parts[part] == tally.ulp
    assert tally.digest != measurement.tallies["right"].digest


@pytest.mark.parametrize(
    ("fault", "value", "result"),
    [("missing", 0.7, np.nan), ("missing", np.nan, 1.0), ("outside", 3.0, 1.5), ("outside", -3.0, -0.25)],
)
def test_faults_are_found_with_their_place(fault, value, result):
    place = visited_place(np.float32(value))
    tally = swept(SIGMOID, {"wrong": spoiled(SIGMOID, {place: result})}).tallies["wrong"]
    assert tally.faults[fault] == (1, place)
    if fault == "missing" and not np.isnan(value):
        assert tally.ulp == math.inf


def test_zero_of_the_wrong_sign_is_found():
    place = visited_place(-1e30)
    tally = swept(SIGMOID, {"wrong": spoiled(SIGMOID, {place: -0.0})}).tallies["wrong"]
    assert tally.faults == {"zero_sign": (1, place)}
    assert tally.not_rounded == 0
    assert tally.ulp <= 0.5


@pytest.mark.parametrize("at_seam", [False, True], ids=["inside", "seam"])
def test_a_fall_is_found_inside_a_leaf_and_at_its_seam(at_seam):
    point = LEAF if at_seam else LEAF + 1000
    place = point * STRIDE
    before = rounded_reference(SIGMOID)(values_at(np.array([place]), FLOAT32))[0]
    contender = spoiled(SIGMOID, {place: before - 2 * np.spacing(before)})
    measurement = swept(SIGMOID, {"wrong": contender})
    assert measurement.tallies["wrong"].faults == {"fall": (1, place)}


def test_what_is_not_odd_is_found():
    subject = Subject("tanh", ())
    place = visited_place(2.0, subject)
    value = rounded_reference(subject)(values_at(np.array([place]), FLOAT32))[0]
    mirrored = place_of(-values_at(np.array([place]), FLOAT32)[0], FLOAT32)
    contender = spoiled(subject, {mirrored: -np.nextafter(value, np.float32(0))})
    assert swept(subject, {"wrong": contender}).tallies["wrong"].faults["not_odd"] == (1, place)


def test_wrong_kernel_behind_the_public_function(monkeypatch, capsys, tmp_path):
    """relu's kernel in the place of gelu's: found through the driver, and the command ends with 1."""
    kernels_of = cython_kernels.kernels_of
    kernels = dict(kernels_of(TARGETS[0]))
    before = fastact.gelu(np.float32(-1.0))
    kernels["gelu_forward", "float32"] = kernels["relu_forward", "float32"]
    # what is put back afterwards is asked for without a level
    monkeypatch.setattr(cython_kernels, "kernels_of", lambda level=None: kernels if level else kernels_of())
    words = ["verify", "gelu", "--target", TARGETS[0], "--dtype", "float32", "--processes", "1", "--no-peers"]
    assert cli.main([*words, "--json", str(tmp_path / "c.json")]) == 1
    printed = capsys.readouterr().out
    assert f"{TARGETS[0]}: " in printed
    assert f"the limit is {fastact.gelu.row.ulp.float32:g}" in printed
    record = json.loads((tmp_path / "c.json").read_text())["records"][0]
    assert float(record["targets"][TARGETS[0]]["ulp"]) > 1e6
    assert record["failures"]
    assert fastact.gelu(np.float32(-1.0)) == before


# --- work, digests, progress ------------------------------------------------------------------------------------------


def task_of(name="sigmoid", stride=STRIDE):
    return work.task_of(subjects.subjects_of([name], False)[0], "float32", stride, TARGETS, False)


def measured(tasks, processes=1, store=None, length=LEAF):
    return {task: m.as_json() for task, m in work.measured(tasks, processes, store, length=length)}


def test_the_way_of_splitting_changes_nothing():
    tasks = [task_of("sigmoid"), task_of("sigmoid_backward_from_output", 5003)]
    whole = measured(tasks, length=2**24)
    assert [len(task.pieces(LEAF)) for task in tasks] == [4, 4]
    for length in (LEAF, 2 * LEAF):
        assert measured(tasks, length=length) == whole
    assert measured(tasks, processes=2, length=2 * LEAF) == whole
    alone = measuring.results_digest(SIGMOID, TARGETS[0], "float32", STRIDE)
    assert whole[tasks[0]]["tallies"][TARGETS[0]]["nodes"] == [alone]


def test_digest_knows_one_nan_and_every_bit():
    x = np.array([1, 0.0, np.nan], np.float32)
    other = x.copy()
    other.view(np.uint32)[2] = 0xFFC00001
    assert np.isnan(other[2])
    leaf = digests.leaf_digest(x, FLOAT32)
    assert leaf == digests.leaf_digest(other, FLOAT32)
    other[1] = -0.0
    assert leaf != digests.leaf_digest(other, FLOAT32)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_digest_of_parts_is_that_of_the_whole(count):
    nodes = [bytes([k]) * 16 for k in range(count)]
    for length in (1, 2, 4, 8):
        parts = [digests.root(nodes[k : k + length]) for k in range(0, count, length)]
        assert digests.root(parts) == digests.root(nodes)


@pytest.mark.parametrize("length", [0, 1000, LEAF // 2, 3 * LEAF])
def test_length_of_pieces_must_be_a_power_of_two_of_leaves(length):
    with pytest.raises(ValueError, match=f"length: got {length}; accepted: a power of two from {LEAF}"):
        task_of().pieces(length)


def opened(fingerprint="f", restart=False):
    progress = pytest.importorskip("fastact.verification.progress")
    return progress.opened(fingerprint, restart)


class Interrupting:
    """A store that is interrupted after so many pieces."""

    def __init__(self, store, pieces):
        self.store, self.left = store, pieces

    def __contains__(self, key):
        return key in self.store

    def get(self, key):
        return self.store.get(key)

    def add(self, key, measurement):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.store.add(key, measurement)


@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_run_goes_on_where_it_was(cache, torn, monkeypatch):
    task = task_of()
    expected = measured([task])[task]
    with opened() as store, pytest.raises(KeyboardInterrupt):
        measured([task], store=Interrupting(store, 2))
    path = cache / "verify-progress.jsonl"
    if torn:
        with path.open("a") as file:
            file.write('{"piece": "sigmo')
    calls = []
    original = measuring.measure
    monkeypatch.setattr(work, "measure", lambda piece: calls.append(piece) or original(piece))
    with opened() as store:
        assert (store.message is not None) == torn
        assert measured([task], store=store)[task] == expected
    assert [piece.start // LEAF for piece in calls] == [2, 3]
    with opened() as store:
        assert all(piece.key in store for piece in task.pieces(LEAF))
        store.forget({piece.key for piece in task.pieces(LEAF)})
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"\x00\xff nonsense", "is not readable"),
        (b"[1, 2]\n", "is damaged"),
        (b'{"fingerprint": "another"}\n', "other kernels or another version"),
        (b'{"fingerprint": "f"}\n{"piece": "a", "measurement": {}}\n{"piece": 3\n', "2 damaged lines ignored"),
    ],
)
def test_a_progress_file_that_is_not_ours_is_ignored_with_a_message(cache, content, message):
    cache.mkdir()
    (cache / "verify-progress.jsonl").write_bytes(content)
    task = task_of()
    with opened() as store:
        assert message in store.message
        assert measured([task], store=store) == measured([task])
    with opened() as store:
        assert store.message is None
        assert all(piece.key in store for piece in task.pieces(LEAF))


def test_restart_forgets(cache):
    task = task_of()
    with opened() as store:
        measured([task], store=store)
    with opened(restart=True) as store:
        assert not any(piece.key in store for piece in task.pieces(LEAF))


def test_two_runs_do_not_mix(cache, capsys):
    with opened():
        assert cli.main(["verify", "relu", "--exhaustive", "--no-peers"]) == 2
    assert "another fastact verify --exhaustive is running" in capsys.readouterr().err


def test_measurements_come_back_from_json():
    tally = Tally(math.inf, 5, math.nan, 3, 2, {"fall": (1, 7)}, (-0.0, math.inf), ["ab"], {3: math.inf, 4: 0.25})
    measurement = Measurement(9, {"base": tally}, {"base avx2": 4})
    text = json.dumps(measurement.as_json(), allow_nan=False)
    assert measurement_from_json(json.loads(text)).as_json() == measurement.as_json()


# --- what is verified, and beside whom --------------------------------------------------------------------------------


def test_parameters_are_those_of_the_other_tests():
    for row in ROWS:
        for direction in row.directions:
            assert subjects.parameter_sets(row, direction) == parameter_sets(row, direction)


def test_names_stand_for_activations_and_functions():
    assert subjects.functions_named([]) == [function.name for function in FUNCTIONS]
    assert subjects.functions_named(["swish", "relu_backward"]) == ["relu_backward", "silu", "silu_backward"]
    with pytest.raises(ValueError, match="name: got 'glue'; accepted: relu, relu_backward"):
        subjects.functions_named(["glue"])


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_computes_what_it_is_compared_with(name):
    if name not in peers.installed():
        pytest.skip(f"{name} is not installed")
    # some of these packages warn while they are imported, which is none of our affair: a fresh interpreter
    run_python(
        f"""
        import numpy as np
        from fastact.verification import peers, subjects
        from fastact.verification.numbers import format_of
        form = format_of("float32")
        x = np.linspace(0.01, 0.9, 50, dtype=np.float32)
        compared = 0
        for subject in subjects.subjects_of(subjects.functions_named([]), True):
            if {name!r} not in peers.of(subject, form):
                continue
            given = x if subject.callable.direction == "backward_from_output" else np.concatenate([x, -4 * x])
            got = peers.contender(subject, {name!r})(given)
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, subject.truth(form)(given), 1e-4, 1e-6, err_msg=str(subject))
            compared += 1
        assert compared > 5
        """,
        timeout=120,
    )


def test_missing_peers_are_columns_absent(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(peers, "installed", lambda: ())
    path = tmp_path / "c.json"
    assert cli.main(["verify", "relu", "--target", TARGETS[0], "--processes", "1", "--json", str(path)]) == 0
    printed = capsys.readouterr()
    assert "PyTorch" not in printed.out
    assert "PyTorch is left out: it needs torch" in printed.err
    assert {record["dtype"] for record in json.loads(path.read_text())["records"]} >= {"float32", "float16"}


def test_kernel_table_is_put_back():
    before = {function.name: function.kernel_address(0) for function in FUNCTIONS}
    with targets.kept():
        for name in targets.available():
            targets.contender(Subject("relu", ()), name, FLOAT32)(np.zeros(5, np.float32))
    assert {function.name: function.kernel_address(0) for function in FUNCTIONS} == before


# --- the certificate and the command ----------------------------------------------------------------------------------

QUICK = ["verify", "tanh", "--dtype", "float32", "--target", TARGETS[0], "--no-peers", "--processes", "1"]


def test_interrupted_command_saves_what_is_finished_and_goes_on(tmp_path, cache, monkeypatch, capsys):
    pytest.importorskip("filelock")
    # as if exhaustive, but over few numbers: a piece for each function
    monkeypatch.setattr(Subject, "sweep", lambda self, form, stride: numbers.Sweep(form, STRIDE, 0, form.places - 1))
    words = [*QUICK, "--exhaustive"]
    assert cli.main([*words, "--json", str(tmp_path / "whole.json")]) == 0
    assert not (cache / "verify-progress.jsonl").exists()
    calls = []

    def interrupted(piece):
        calls.append(piece.subject.function)
        if calls == ["tanh", "tanh_backward", "tanh_backward_from_output"]:
            raise KeyboardInterrupt
        return measuring.measure(piece)

    monkeypatch.setattr(work, "measure", interrupted)
    path = tmp_path / "parts.json"
    assert cli.main([*words, "--json", str(path)]) == 130
    assert "interrupted; the same command goes on from here" in capsys.readouterr().err
    assert len(certificate.load(path)["records"]) == 2
    assert cli.main([*words, "--json", str(path)]) == 0
    assert calls[3:] == ["tanh_backward_from_output"]
    assert path.read_text() == (tmp_path / "whole.json").read_text()
    assert not (cache / "verify-progress.jsonl").exists()


def test_saving_replaces_what_was_measured_and_keeps_the_rest(tmp_path, capsys):
    path = tmp_path / "certificate.json"
    assert cli.main([*QUICK, "--json", str(path)]) == 0
    first = certificate.load(path)
    assert first["fastact"] == fastact.__version__
    assert {"date", "cpu", "platform", "compiler", "kernels", "versions"} <= set(first)
    assert [record["function"] for record in first["records"]] == [name for name in subjects.functions_named(["tanh"])]
    first["records"][0]["targets"][TARGETS[0]]["ulp"] = 99
    first["records"][1]["date"] = "2001-01-01"
    path.write_text(json.dumps(first))
    words = [word if word != "tanh" else "relu" for word in QUICK]
    assert cli.main([*words, "--json", str(path)]) == 0
    merged = certificate.load(path)["records"]
    assert [record["function"] for record in merged] == subjects.functions_named(["relu", "tanh"])
    assert merged[3]["targets"][TARGETS[0]]["ulp"] == 99
    assert cli.main([*QUICK, "--json", str(path)]) == 0
    again = certificate.load(path)["records"]
    assert len(again) == 6
    assert again[3]["targets"][TARGETS[0]]["ulp"] < 3
    assert again[4]["date"] != "2001-01-01"
    path.write_text(json.dumps({**certificate.load(path), "fastact": "0.0.1"}))
    assert cli.main([*QUICK, "--json", str(path)]) == 0
    assert len(certificate.load(path)["records"]) == 3


def test_saving_a_sweep_of_some_targets_leaves_what_was_measured_of_others_on_as_many_numbers(tmp_path):
    path = tmp_path / "certificate.json"
    head = {"function": "tanh", "parameters": {}, "dtype": "float32", "limit": 1.0, "peers": {}}
    figures = {"ulp": 0.5, "at": ["1.0", "0x1p+0"], "result": "0x1p+0", "not_rounded": 7, "steps": 1, "digest": "d"}
    dense = {
        **{**head, "stride": 1, "points": 1 << 32, "date": "2001-01-01", "kernels": "old", "monotone": True},
        "targets": {name: figures for name in ("base", "avx2", "avx512")},
        "differences": {"base avx2": 0, "base avx512": 1, "avx2 avx512": 1},
        "failures": ["avx512: is wrong", "base: is wrong, too"],
    }
    quick = {
        **{**head, "stride": 8209, "points": 523204, "date": "2002-02-02", "kernels": "new", "monotone": False},
        "targets": {"avx512": {**figures, "ulp": 0.75}},
        **{"differences": {}, "failures": ["avx512: falls"]},
    }
    certificate.save(path, [dense])
    (record,) = certificate.save(path, [quick])["records"]
    assert record["stride"] == 1
    assert record["targets"]["base"] == figures
    own = {"stride": 8209, "points": 523204, "date": "2002-02-02", "kernels": "new"}
    assert record["targets"]["avx512"] == {**figures, "ulp": 0.75, **own}
    assert record["differences"] == {"base avx2": 0}
    assert record["failures"] == ["base: is wrong, too", "avx512: falls"]
    assert record["monotone"] is False
    certificate.save(path, [dense])
    (record,) = certificate.save(path, [{**quick, "stride": 1, "points": 1 << 32}])["records"]
    assert record["targets"]["base"] == figures
    assert record["targets"]["avx512"] == {**figures, "ulp": 0.75, "date": "2002-02-02", "kernels": "new"}
    both = {**quick, "targets": {name: figures for name in ("base", "avx512")}, "differences": {"base avx512": 3}}
    (record,) = certificate.save(path, [both])["records"]
    assert record["differences"] == {}
    (record,) = certificate.save(path, [{**both, "stride": 1, "points": 1 << 32}])["records"]
    assert record["differences"] == {"base avx512": 3}
    # all targets anew, or more numbers: nothing of the former stays
    for former, newer in ((dense, {**quick, "targets": dense["targets"]}), ({**dense, "stride": 9000}, quick)):
        certificate.save(path, [former])
        assert certificate.save(path, [newer])["records"] == [newer]


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"schema": 99}'])
def test_a_file_that_is_no_certificate_is_not_overwritten(tmp_path, text, capsys):
    path = tmp_path / "mine.json"
    path.write_text(text)
    assert cli.main([*QUICK, "--json", str(path)]) == 2
    assert "certificate: got" in capsys.readouterr().err
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["glue"], "name: got 'glue'; accepted: relu"),
        (["--target", "sse9"], "target: got 'sse9'; accepted: base, avx2, avx512, numba"),
        (["--dtype", "int8"], "dtype: got 'int8'; accepted: float32"),
        (["--processes", "0"], "processes: got '0'; accepted: an integer from 1"),
        (["--plot", "x.pdf"], "plot: got 'x.pdf'; accepted: a path that ends in .png or .svg"),
        (["--resume", "--restart"], "not allowed with"),
    ],
)
def test_what_options_refuse(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_target_that_does_not_run_here(monkeypatch, capsys):
    monkeypatch.setattr(targets, "available", lambda: ("base",))
    assert cli.main(["verify", "relu", "--target", "numba"]) == 2
    assert "target: got 'numba'; this machine runs: base" in capsys.readouterr().err


def test_every_dtype_has_a_measure():
    assert tuple(command.MEASURES) == verification.DTYPES


@pytest.mark.parametrize(
    ("package", "words"), [("rich", []), ("filelock", ["--exhaustive"]), ("matplotlib", ["--plot", "x.png"])]
)
def test_missing_package_is_one_line(package, words):
    run_python(
        f"""
        import sys
        sys.modules[{package!r}] = None
        from fastact import cli
        import contextlib, io
        stream = io.StringIO()
        with contextlib.redirect_stderr(stream):
            assert cli.main(["verify", "relu", "--no-peers", *{words!r}]) == 1
        line = 'fastact verify needs {package}: pip install "fastact[verify]"\\n'
        assert stream.getvalue() == line, stream.getvalue()
        """
    )


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    from fastact.verification import plots

    tasks = [task_of("tanh"), task_of("sigmoid_backward_from_output")]
    path = tmp_path / f"plot.{suffix}"
    plots.draw(list(work.measured(tasks, 1)), path)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_published_certificate_is_of_this_version():
    published = certificate.load(certificate.PUBLISHED)
    assert published["fastact"] == fastact.__version__
    about = {(record["function"], record["dtype"]) for record in published["records"]}
    assert {(function.name, "float32") for function in FUNCTIONS} <= about


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_docstrings_show_the_figures(function):
    record = next(
        record
        for record in certificate.load(certificate.PUBLISHED)["records"]
        if record["function"] == function.name and record["dtype"] == "float32"
    )
    text = documentation.docstring(function)
    assert record["date"] in text
    for target, figures in record["targets"].items():
        assert f"{float(figures['ulp']):.2f} ({target}" in text
    assert tuple(record["parameters"].values()) == subjects.default_parameters(function.row)


def test_docstrings_without_a_certificate(monkeypatch, tmp_path):
    monkeypatch.setattr(documentation, "CERTIFICATE", tmp_path / "absent.json")
    text = documentation.docstring(fastact.gelu)
    assert f"Largest error: {fastact.gelu.row.ulp.float32:g} ULP in float32" in text
    assert "Measured on" not in text
    assert "Certified on" not in text


def test_exhaustive_record_reads_as_certified(monkeypatch, tmp_path):
    record = {"function": "gelu", "dtype": "float32", "parameters": {}, "date": "2026-11-25", "stride": 1}
    record |= {"points": 2**32, "targets": {"avx512": {"ulp": 0.931}, "base": {"ulp": "inf"}}}
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"records": [record]}))
    monkeypatch.setattr(documentation, "CERTIFICATE", path)
    expected = "Certified on 2026-11-25 over all 2**32 float32 numbers: 0.93 (avx512), inf (base) ULP."
    assert expected in documentation.docstring(fastact.gelu)


@pytest.mark.parametrize(
    "own, said",
    [
        ({"date": "2026-11-28", "kernels": "new"}, "0.93 (avx512, on 2026-11-28)"),
        ({"date": "2026-11-28", "stride": 8209}, "0.93 (avx512, every 8209th number on 2026-11-28)"),
    ],
)
def test_a_target_measured_on_another_day_says_so(monkeypatch, tmp_path, own, said):
    record = {"function": "gelu", "dtype": "float32", "parameters": {}, "date": "2026-11-25", "stride": 1}
    record |= {"points": 2**32, "targets": {"avx512": {"ulp": 0.931, **own}, "base": {"ulp": 0.5}}}
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"records": [record]}))
    monkeypatch.setattr(documentation, "CERTIFICATE", path)
    assert f"numbers: {said}, 0.50 (base) ULP." in documentation.docstring(fastact.gelu)


@pytest.mark.skipif(not has_sources(), reason="compares documents, which are not beside the tests")
def test_documents_show_the_published_certificate(tmp_path):
    specification = importlib.util.spec_from_file_location("certificate_tool", ROOT / "tools" / "certificate.py")
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text())
    assert tool.main(["--readme", str(readme), "--page", str(tmp_path / "accuracy.md")]) == 0
    stale = "stale: run `python tools/certificate.py`"
    assert readme.read_text() == (ROOT / "README.md").read_text(), stale
    # the page in docs/ may show the picture beside it
    page = (ROOT / "docs" / "accuracy.md").read_text()
    shown = page.replace(f"![Largest error in each part of the line]({tool.PICTURE})\n\n", "")
    assert (tmp_path / "accuracy.md").read_text() == shown, stale
    readme.write_text("no markers\n")
    with pytest.raises(SystemExit):
        tool.main(["--readme", str(readme), "--page", str(tmp_path / "accuracy.md")])
