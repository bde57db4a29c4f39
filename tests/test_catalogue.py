"""Every row of the catalogue is complete, and nothing stands without a row.

A row promises kernels, a reference, a golden table, public functions with docstrings: whoever adds one and forgets a
part is told here which.  And a formula, a reference function or a golden table whose row is gone is found as well.
"""

import ast
import importlib
import inspect
import keyword
import math
import pickle
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from cases import FUNCTIONS, ROWS_AND_DIRECTIONS, SUFFIX
from golden import FOLDER

import fastact
from fastact import _core, dispatch, formulas, lowering, reference
from fastact._kernels import base
from fastact.backends import cython_kernels, numba_kernels, numpy_kernels
from fastact.catalogue import (
    ACTIVATIONS,
    ALIASES,
    BY_NAME,
    DIRECTIONS,
    FINITE,
    NON_NEGATIVE,
    POSITIVE,
)

ACCEPTS = {FINITE: math.isfinite, POSITIVE: lambda value: value > 0, NON_NEGATIVE: lambda value: value >= 0}
#: What a definition or a derivative may use beside its variable and its parameters (tests/golden/make.py).
MATHEMATICS = "abs min max inf exp expm1 log log1p sqrt sin cos tan atan asinh sinh cosh tanh erf erfc mpf pi"
FAMILIES = sorted(
    module.name
    for module in pkgutil.iter_modules(formulas.__path__)
    if module.name not in ("coefficients", "elementary", "primitives")
)
DIRECTED = pytest.mark.parametrize(
    "row, direction", ROWS_AND_DIRECTIONS, ids=[row.function_name(direction) for row, direction in ROWS_AND_DIRECTIONS]
)


def names_in(expression):
    return {node.id for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Name)}


# -- the rows themselves ----------------------------------------------------------------------------------------------


def test_names_and_aliases_are_unique():
    names = [name for row in ACTIVATIONS for name in (row.name, *row.aliases)]
    assert sorted(names) == sorted(set(names))
    assert set(BY_NAME) == {row.name for row in ACTIVATIONS}
    assert {alias: BY_NAME[name] for alias, name in ALIASES.items()} == {
        alias: row for row in ACTIVATIONS for alias in row.aliases
    }
    # a row named like another one's derived functions would take their place
    derived = [row.function_name(direction) for row, direction in ROWS_AND_DIRECTIONS]
    assert sorted(derived) == sorted(set(derived))


def test_names_are_python_names(row):
    for name in (row.name, *row.aliases, *(parameter.name for parameter in row.parameters)):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name) and not keyword.iskeyword(name)
    for name in (row.name, *row.aliases):
        assert not name.endswith(("_gradient", "_backward", "_from_output"))
    taken = {"x", "y", "grad", "out", "axis", "where", "casting", "order", "dtype", "subok", "i"}
    parameters = [parameter.name for parameter in row.parameters]
    assert len(parameters) == len(set(parameters)) and not taken & set(parameters)


def test_texts(row):
    assert row.title[0].isupper() and not row.title.endswith(".")
    assert re.search(r"\d{4}", row.source), "a source has a year, or an arXiv number"
    assert "\n" not in row.title + row.source + row.definition + row.derivative
    assert all(parameter.meaning for parameter in row.parameters)


def test_expressions(row):
    """They are Python expressions in the variable, the parameters, and mathematics, and use every parameter."""
    parameters = {parameter.name for parameter in row.parameters}
    known = parameters.union(MATHEMATICS.split())
    for expression in (row.definition, row.derivative):
        assert names_in(expression) <= known | {"x"}
    assert parameters <= names_in(row.definition)
    if row.derivative_from_output:
        assert names_in(row.derivative_from_output) <= known | {"y"}


def test_limits_are_numbers(row):
    names = {"inf": math.inf} | {p.name: p.tried[0] if p.default is None else p.default for p in row.parameters}
    for text in (*row.limits, *row.gradient_limits, *row.output_range):
        value = eval(text, {"__builtins__": {}}, names)
        assert isinstance(value, (int, float)) and not math.isnan(value), text
    for pair in (row.limits, row.gradient_limits, row.output_range):
        assert len(pair) == 2
    low, high = (eval(text, {"__builtins__": {}}, names) for text in row.output_range)
    assert low < high


def test_accuracy_figures(row):
    """Within the 4 ULP that the package promises; 0 where a result is a choice between numbers that are there."""
    for ulp in (row.ulp, row.ulp_gradient):
        assert len(ulp) == 2
        assert all(0 <= figure <= 4 for figure in ulp)


def test_interesting_points(row):
    assert row.interesting
    assert all(isinstance(point, float) and math.isfinite(point) for point in row.interesting)
    assert len(set(row.interesting)) == len(row.interesting)
    assert 0.0 in row.interesting


def test_parameters(row):
    """Defaults and tried values are accepted; a per-channel operand has no default, and comes first."""
    kinds = [parameter.per_channel for parameter in row.parameters]
    assert kinds == sorted(kinds, reverse=True), "the kernels take operands before scalars"
    for parameter in row.parameters:
        assert (parameter.default is None) == parameter.per_channel
        assert parameter.accepts in ACCEPTS and parameter.accepts_from_output in ACCEPTS
        assert parameter.tried, f"{parameter.name}: no value besides the default is tried"
        values = [*parameter.tried, *([] if parameter.default is None else [parameter.default])]
        assert len(values) == len(set(values))
        assert all(ACCEPTS[parameter.accepts](value) for value in values)
        if parameter.default is not None:
            assert ACCEPTS[parameter.accepts_from_output](parameter.default)
        if parameter.accepts != parameter.accepts_from_output and row.derivative_from_output:
            refused = [value for value in values if not ACCEPTS[parameter.accepts_from_output](value)]
            assert refused, f"{parameter.name}: no tried value is one that only the from-output gradient refuses"


def test_directions(row):
    assert row.directions == (DIRECTIONS if row.derivative_from_output else DIRECTIONS[:2])
    assert row.function_name("forward") == row.name
    assert row.function_name("backward") == f"{row.name}_backward"


# -- what a row needs -------------------------------------------------------------------------------------------------


@DIRECTED
def test_formulas_are_there_and_lower(row, direction):
    loop = lowering.loop_of(row, direction)
    assert loop.name == f"{row.name}_{direction}"
    assert len(loop.formulas) == 1 + (len(row.operands) if direction == "backward" else 0)
    for formula in loop.formulas:
        assert len(inspect.signature(formula).parameters) == 1 + len(row.parameters)
        assert list(inspect.signature(formula).parameters)[1:] == [parameter.name for parameter in row.parameters]
    for precision in {loop.precision(dtype, fused) for dtype in dispatch.DTYPES for fused in (True, False)}:
        for dialect in (lowering.CythonDialect(precision), lowering.NumbaDialect(precision)):
            assert all(formula.__name__ in lowering.lower(list(loop.formulas), dialect) for formula in loop.formulas)
    assert lowering.operations(loop) > 0


@DIRECTED
def test_reference_is_there(row, direction):
    names = [row.name + SUFFIX[direction]]
    if direction == "backward":
        names += [f"{row.name}_{parameter.name}_gradient" for parameter in row.operands]
    for name in names:
        function = getattr(reference, name)
        assert len(inspect.signature(function).parameters) == 1 + len(row.parameters), name


def test_golden_table_is_there(row):
    assert (FOLDER / f"{row.name}.npz").is_file(), f"python tests/golden/make.py {row.name}"


@DIRECTED
def test_kernels_are_there(row, direction):
    """On every backend, and for every instruction set that this machine runs."""
    loop = f"{row.name}_{direction}"
    for dtype in dispatch.DTYPES:
        for level in base.runnable():
            assert cython_kernels.kernels_of(level)[loop, dtype]
        assert numpy_kernels.kernel(loop, dtype)
    assert loop in numba_kernels._LOOPS
    for dtype in ("float32", "float16"):
        counted = lowering.operations(lowering.loop_of(row, direction), dtype)
        assert cython_kernels.operations()[loop, dtype] == counted, "build again"


@DIRECTED
def test_public_function_is_there(row, direction):
    name = row.function_name(direction)
    function = getattr(fastact, name)
    assert isinstance(function, _core.ElementwiseFunction)
    assert function.__name__ == function.__qualname__ == function.name == name
    assert function.__module__ == "fastact"
    assert name in fastact.__all__
    assert pickle.loads(pickle.dumps(function)) is function
    for alias in row.aliases:
        assert getattr(fastact, alias + name[len(row.name) :]) is function
        assert alias + name[len(row.name) :] in fastact.__all__


@DIRECTED
def test_ufunc_is_there(row, direction):
    name = row.function_name(direction)
    ufunc = getattr(fastact.ufuncs, name)
    assert isinstance(ufunc, np.ufunc) and ufunc is getattr(fastact, name).ufunc
    assert ufunc.__name__ == name
    assert ufunc.nin == 1 + (direction != "forward") + len(row.parameters)
    assert ufunc.nout == 1 + (len(row.operands) if direction == "backward" else 0)
    assert [types[0] for types in ufunc.types] == ["e", "f", "d"]
    assert pickle.loads(pickle.dumps(ufunc)) is ufunc


@DIRECTED
def test_signature(row, direction):
    signature = inspect.signature(getattr(fastact, row.function_name(direction)))
    arrays = ["x"] if direction == "forward" else ["grad", "y" if direction == "backward_from_output" else "x"]
    axis = ["axis"] if row.operands else []
    expected = [*arrays, *(parameter.name for parameter in row.parameters), *axis, "out", "ufunc_keywords"]
    assert list(signature.parameters) == expected
    for parameter in row.scalars:
        assert signature.parameters[parameter.name].default == parameter.default
    assert signature.parameters["out"].default is None


@DIRECTED
def test_docstring(row, direction):
    """Formula, derivative and kink, parameters with defaults, error, limits, errors, source."""
    text = getattr(fastact, row.function_name(direction)).__doc__
    for section in ("Parameters", "Returns", "Raises", "Notes", "Examples"):
        assert f"{section}\n{'-' * len(section)}\n" in text
    formula = {
        "forward": row.definition,
        "backward": row.derivative,
        "backward_from_output": row.derivative_from_output,
    }[direction]
    ulp = row.ulp if direction == "forward" else row.ulp_gradient
    limits = row.limits if direction == "forward" else row.gradient_limits
    needed = [formula, row.source, f"{ulp.float32:g} ULP in float32, {ulp.float64:g} ULP in float64", *limits, "NaN"]
    needed += [f"{parameter.name} : float, default {parameter.default}" for parameter in row.scalars]
    needed += [] if direction == "forward" else [row.kink]
    assert [part for part in needed if part not in text] == []


# -- what needs a row -------------------------------------------------------------------------------------------------


def functions_of(module):
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_families_hold_rows_and_their_helpers_only(family):
    """Every formula is lowered for some row of the family: the others are dead, or their row was forgotten."""
    functions = functions_of(importlib.import_module(f"fastact.formulas.{family}"))
    used = set()

    def visit(formula, precision):
        name = lowering.written_form(formula, precision).__name__
        if (name, precision) not in used:
            used.add((name, precision))
            for called in lowering._Lowering(formula, lowering.CythonDialect(precision)).called:
                visit(called, precision)

    for row, direction in ROWS_AND_DIRECTIONS:
        if row.family == family:
            for formula in lowering.loop_of(row, direction).formulas:
                visit(formula, "float64")
                visit(formula, "widened")
    used = {name for name, precision in used}
    assert set(functions) - used == set(), "no row of this family needs these"


def test_elementary_functions_are_used():
    functions = functions_of(importlib.import_module("fastact.formulas.elementary"))
    text = "\n".join(
        lowering.lower(list(lowering.loop_of(row, direction).formulas), lowering.CythonDialect(precision))
        for row, direction in ROWS_AND_DIRECTIONS
        for precision in ("float64", "widened")
    )
    assert [name for name in functions if not re.search(rf" {name}_(float64|widened)\(", text)] == []


def test_reference_holds_rows_only():
    wanted = {row.name + SUFFIX[direction] for row, direction in ROWS_AND_DIRECTIONS}
    wanted |= {f"{row.name}_{parameter.name}_gradient" for row in ACTIVATIONS for parameter in row.operands}
    assert set(functions_of(reference)) == wanted


def test_golden_tables_belong_to_rows():
    assert {path.stem for path in Path(FOLDER).glob("*.npz")} == set(BY_NAME)


def test_public_functions_belong_to_rows():
    wanted = {row.function_name(direction) for row, direction in ROWS_AND_DIRECTIONS}
    assert set(dispatch.FUNCTIONS) == wanted == {function.name for function in FUNCTIONS}
    aliases = {alias + name[len(row.name) :] for name, row in _by_function().items() for alias in row.aliases}
    public = {name for name, value in vars(fastact).items() if isinstance(value, _core.ElementwiseFunction)}
    # what the module's own loop over the aliases leaves behind has an underscore
    assert {name for name in public if not name.startswith("_")} == wanted | aliases
    kernels = {loop.name for row, _ in ROWS_AND_DIRECTIONS for loop in lowering.loops_of(row)}
    for level in base.runnable():
        assert {loop for loop, _ in cython_kernels.kernels_of(level)} == kernels, "build again"


def _by_function():
    return {row.function_name(direction): row for row, direction in ROWS_AND_DIRECTIONS}
