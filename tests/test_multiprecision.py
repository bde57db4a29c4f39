"""The machinery that measures float64: its truth, its points, its figures; and, `-m long`, every function with it."""

import json

import numpy as np
import pytest
from cases import FUNCTIONS, ROWS
from golden import load

pytest.importorskip("gmpy2")
pytest.importorskip("mpmath")

from mpmath import mp, mpf

from fastact import catalogue, dispatch, reference
from fastact.formulas.primitives import Constant
from fastact.verification import definitions, multiprecision, points, true_values
from fastact.verification.true_values import Subject

NAMES = pytest.mark.parametrize("name", [function.name for function in FUNCTIONS])
FLOAT64 = np.dtype(np.float64)


def subjects():
    """Every function with every set of parameters, as the truth is asked about it."""
    for row in ROWS:
        for kind in definitions.KINDS[: len(row.directions)]:
            yield from (Subject(row.name, kind, params) for params in definitions.parameter_sets(row, kind, FLOAT64))


SUBJECTS = pytest.mark.parametrize("subject", list(subjects()), ids=lambda s: f"{s.row}-{s.kind}-{s.params}")


def with_row(monkeypatch, name, **changed):
    """Change a row where the machinery looks it up."""
    rows = {**catalogue.BY_NAME, name: catalogue.BY_NAME[name]._replace(**changed)}
    monkeypatch.setattr(true_values, "BY_NAME", rows)
    true_values.evaluations.cache_clear()
    return rows[name]


@pytest.fixture(autouse=True)
def forget_rows():
    """Expressions of changed rows must not outlive the test."""
    yield
    true_values.evaluations.cache_clear()


# --- the truth -------------------------------------------------------------------------------------------------------


@SUBJECTS
def test_mpfr_agrees_with_the_golden_tables(subject):
    """They come from mpmath, and from numerical derivatives."""
    table = load(subject.row)[subject.kind, "float64", subject.params]
    chosen = np.random.default_rng(1).choice(len(table), 60, replace=False)
    truth = true_values.true_values(subject, table.x[chosen])
    np.testing.assert_array_equal(truth.hi, table.hi[chosen])
    np.testing.assert_array_equal(truth.exponent, table.exponent[chosen])
    # the tables store it as float32; it is below 2^-53
    np.testing.assert_allclose(truth.lo, table.lo[chosen], rtol=0, atol=2**-77)


@pytest.mark.parametrize("x", [-5.0, -50.0, -90.0, -1000.0])
def test_cancellation_is_noticed(monkeypatch, x):
    """log(1 + exp(x)) loses all of 140 bits at -90, and at -1000 gives the same 0 with 140 and with 880."""
    with_row(monkeypatch, "softplus", definition="log(1 + exp(x))")
    hi, lo, exponent = true_values.true_value(Subject("softplus", "forward", (1.0,)), x)
    with mp.workprec(4000):
        error = mp.ldexp(mpf(hi) + mpf(lo), exponent) / mp.log(1 + mp.exp(x)) - 1
    assert abs(error) < mpf(2) ** -105


def test_what_vanishes_is_zero():
    for x in (-1e4, -1e300, -1.7e308):
        assert true_values.true_value(Subject("sigmoid", "forward", ()), x)[0] == 0


def test_exponents_that_mpfr_lacks():
    """inf - inf in the derivative of silu."""
    subject = Subject("silu", "gradient", ())
    assert np.isnan(float(true_values.evaluations(subject)[0](-1e300)))
    assert true_values.true_value(subject, -1e300)[0] == 0


def test_a_wrong_derivative_is_found(monkeypatch):
    row = with_row(monkeypatch, "tanh", derivative="1 / cosh(x)")
    subject = Subject(row.name, "gradient", ())
    x = np.linspace(-3, 3, 20)
    with pytest.raises(ArithmeticError, match="disagree at x = "):
        true_values.check(subject, x, true_values.true_values(subject, x), np.random.default_rng(0), 5)


def test_the_caller_s_precision_stays():
    import gmpy2

    before = gmpy2.get_context().precision
    true_values.true_values(Subject("tanh", "forward", ()), np.ones(3))
    assert gmpy2.get_context().precision == before


# --- the points ------------------------------------------------------------------------------------------------------


@SUBJECTS
def test_points(subject):
    x = points.points(subject, 5000)
    np.testing.assert_array_equal(x, points.points(subject, 5000))
    assert 5000 <= len(x) < 7500
    assert np.isfinite(x).all()
    assert (np.diff(x) > 0).all()
    row = catalogue.BY_NAME[subject.row]
    if subject.kind == "gradient_from_output":
        low, high = definitions.output_range(row, subject.params)
        assert low <= x[0] and x[-1] <= high
        wanted = {0.0, *(end for end in (low, high) if np.isfinite(end))}
    else:
        wanted = {*row.interesting, np.finfo(float).max, -np.finfo(float).max}
        wanted |= {np.nextafter(place, side) for place in row.interesting for side in (-1e9, 1e9)}
        wanted |= {*points.changes(subject), *points.decisions(subject)}
    assert wanted <= set(x)


def test_changes_of_a_known_function():
    """exp(x) for x <= 0: it rounds to 0, to one subnormal, to a subnormal."""
    places = set(points.changes(Subject("elu", "gradient", (1.0,))))
    expected = np.array([-1075.0, -1074 + np.log2(1.5), -1022.0]) * np.log(2)
    np.testing.assert_allclose(sorted(place for place in places if place < -100), expected, rtol=1e-13)


SWITCH = Constant(float32="0x1p1", float64="0x1.8p1")


def switching(x):
    return 0.0 if x > -SWITCH else (x if x < 7.5 else 1.0)


def test_decisions_of_a_formula(monkeypatch):
    loop = points.loop_of(catalogue.BY_NAME["tanh"], "forward")._replace(formulas=(switching,))
    monkeypatch.setattr(points, "loop_of", lambda row, direction: loop)
    assert {abs(place) for place in points.decisions(Subject("tanh", "forward", ()))} == {3.0, 1.5, 7.5, 3.75}


# --- the figures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_ulp_error_is_that_of_the_golden_tables(row):
    """Two independent versions, on results that are wrong in many ways."""
    random = np.random.default_rng(2)
    for (kind, dtype, params), table in load(row.name).items():
        if dtype != "float64":
            continue
        expression = getattr(reference, row.name + ("" if kind == "forward" else f"_{kind}"))
        with np.errstate(over="ignore"):
            got = expression(table.x, *params) * random.choice([1, 1 + 2**-52, 1 - 2**-50, -1, 2], len(table))
        got[random.random(len(table)) < 0.1] = random.choice([np.nan, np.inf, -np.inf, 0.0, 5e-324])
        truth = true_values.Truth(table.hi, table.lo, table.exponent)
        np.testing.assert_array_equal(multiprecision.ulp_error(got, truth), table.ulp_error(got))


@NAMES
def test_few_points(name):
    for record in multiprecision.measure(name, points=300, processes=1):
        assert record["failures"] == []
        assert set(record["targets"]) == set(multiprecision.available())
        assert record["points"] >= 30
        for figures in record["targets"].values():
            assert 0 <= figures["ulp"] <= record["limit"] + 1
            assert float(figures["at"][0]) == float.fromhex(figures["at"][1])


@pytest.mark.parametrize("target", multiprecision.available())
def test_a_wrong_result_is_found(monkeypatch, target):
    right = multiprecision.results

    def wrong(function, target, x, params):
        found = right(function, target, x, params).copy()
        found[77] = np.nextafter(found[77], np.inf) if target == "reference" else found[77] * (1 + 2**-49)
        return found

    monkeypatch.setattr(multiprecision, "results", wrong)
    (record,) = multiprecision.measure("silu_backward", [target], points=300, processes=1)
    x = points.points(Subject("silu", "gradient", ()), 300)
    assert float(record["targets"][target]["at"][0]) == x[77]
    assert record["failures"][0].startswith(f"{target}: ")
    assert f"ULP at {float(x[77])} = " in record["failures"][0]


def test_what_serves_is_kept():
    def serving():
        return [(f.name, p, f.serving(p), f.kernel_address(p)) for f in FUNCTIONS for p in range(len(dispatch.DTYPES))]

    before = serving()
    multiprecision.measure("gelu", points=100, processes=1)
    assert serving() == before


def test_instruction_sets_are_told_apart():
    """Their kernels are called, not what serves: without FMA, gelu differs from gelu with it."""
    available = multiprecision.available()
    if not {"base", "avx2"} <= set(available):
        pytest.skip("one instruction set only")
    x = np.linspace(-8, 8, 3001)
    base, avx2 = (multiprecision.results(dispatch.FUNCTIONS["gelu"], level, x, ()) for level in ("base", "avx2"))
    assert (base != avx2).any()


@pytest.mark.parametrize(("arguments", "accepted"), [(("gelou",), "gelu"), (("gelu", ["sse9"]), "reference")])
def test_names_are_checked(arguments, accepted):
    with pytest.raises(ValueError, match=accepted):
        multiprecision.measure(*arguments)


def test_processes_give_the_same():
    seen = []
    alone, together = (
        multiprecision.measure("tanh", ["reference"], 3000, processes, lambda *step: seen.append(step))
        for processes in (1, 2)
    )
    assert alone == together
    assert seen[0] == seen[-1] == ("tanh", 3000, 3000)
    assert len(seen) > 3


def test_command(tmp_path, capsys, monkeypatch):
    path = tmp_path / "records.json"
    words = ["elu", "--points", "200", "--processes", "1", "--target", "reference", "--json", str(path)]
    assert multiprecision.main(words) == 0
    assert "elu_backward(alpha=0.5)" in capsys.readouterr().out
    assert {record["function"] for record in json.loads(path.read_text())} == {
        f.name for f in FUNCTIONS if f.row.name == "elu"
    }
    monkeypatch.setattr(multiprecision, "REFERENCE_LIMIT", 0.1)
    assert multiprecision.main(words) == 1
    assert "the limit is 0.1" in capsys.readouterr().err


def test_functions_of_the_command(capsys):
    def names(*words):
        return [function.name for function in multiprecision.functions_named(words)]

    assert names() == [function.name for function in FUNCTIONS]
    assert names("swish", "tanh_backward") == ["tanh_backward", "silu", "silu_backward"]
    with pytest.raises(SystemExit):
        multiprecision.main(["gelou"])
    assert "got 'gelou'; accepted: relu" in capsys.readouterr().err


@pytest.mark.long
@NAMES
def test_every_function(name):
    """On 100 000 points for the default parameters, a tenth of it for each value that is tried."""
    assert [failure for record in multiprecision.measure(name) for failure in record["failures"]] == []
