"""The reference against golden tables and special values, and the catalogue's derivatives against its definitions."""

import ast
import inspect
import itertools
import warnings

import numpy as np
import pytest
from golden import load

from fastact import reference
from fastact.catalogue import ACTIVATIONS

#: Largest error in ULP of float64, half of which is the last rounding: the truth of sweeps must not be blurred by its
#: own errors.  Found on a million points each (fastact/verification/multiprecision.py): 0.546 for gelu, 0.547 for its
#: gradient, and 0.510 or less for all others.
ULP, ULP_OF_GELU = 0.51, 0.55
#: After one rounding to float32 the float64 error, 2^-29 of an ULP each, must not show.
ULP_FLOAT32 = 0.5 + 2**-20
SUFFIX = {"forward": "", "gradient": "_gradient", "gradient_from_output": "_gradient_from_output"}
ROWS = pytest.mark.parametrize("row", ACTIVATIONS, ids=lambda row: row.name)
INF, NAN = np.inf, np.nan


def parameters(row):
    """Return the default parameters, and every variant of one of them."""
    defaults = [p.tried[0] if p.default is None else p.default for p in row.parameters]
    variants = [[*defaults[:i], v, *defaults[i + 1 :]] for i, p in enumerate(row.parameters) for v in p.tried]
    return [defaults, *variants]


def functions(row):
    """Return the reference functions of a row, by kind."""
    kinds = [kind for kind in SUFFIX if kind != "gradient_from_output" or row.derivative_from_output]
    return {kind: getattr(reference, row.name + SUFFIX[kind]) for kind in kinds}


@ROWS
def test_golden_tables(row):
    of_kind = functions(row)
    for (kind, dtype, params), table in load(row.name).items():
        with np.errstate(all="ignore"):
            result = of_kind[kind](table.x, *params).astype(dtype)
        worst, x, got = table.worst(result)
        limit = ULP_FLOAT32 if dtype == "float32" else ULP_OF_GELU if row.name == "gelu" else ULP
        assert worst <= limit, f"{row.name} {kind} {dtype} {params}: {worst:.3f} ULP at x = {x!r} (gave {got!r})"


def limit(text, row, params):
    """Return the number that a limit of the catalogue stands for."""
    names = dict(zip((p.name for p in row.parameters), params, strict=True))
    value = eval(text, {"inf": INF, "__builtins__": {}}, names)
    # -inf times a slope of 0: the function is 0 for all negative inputs
    return 0.0 if np.isnan(value) else value


@ROWS
def test_infinities_and_nan(row):
    of_kind = functions(row)
    for params in parameters(row):
        for f, limits in ((of_kind["forward"], row.limits), (of_kind["gradient"], row.gradient_limits)):
            for x, text in zip((-INF, INF), limits, strict=True):
                expected = limit(text, row, params)
                # the limit is reached at the largest finite number too, except where that still grows
                for point in (x, np.sign(x) * np.finfo(float).max) if np.isfinite(expected) else (x,):
                    got = f(point, *params)
                    assert got == expected, (f.__name__, point, params)
                    if text == "-0.0":
                        assert np.signbit(got), (f.__name__, point)
        for f in of_kind.values():
            assert np.isnan(f(NAN, *params)), f.__name__


@ROWS
def test_zeros_keep_their_sign(row):
    params = parameters(row)[0]
    f = functions(row)["forward"]
    if f(0.0, *params) == 0:
        assert not np.signbit(f(0.0, *params))
        assert np.signbit(f(-0.0, *params))


@pytest.mark.parametrize(
    ("name", "x", "params", "expected"),
    [
        ("relu_gradient", 0.0, (), 0.0),
        ("leaky_relu_gradient", 0.0, (0.01,), 0.01),
        ("leaky_relu", -INF, (0.0,), 0.0),
        ("prelu_gradient", -0.0, (1.5,), 1.5),
        ("prelu_weight_gradient", 3.0, (0.25,), 0.0),
        ("prelu_weight_gradient", 0.0, (0.25,), 0.0),
        ("prelu_weight_gradient", -3.0, (0.25,), -3.0),
        ("prelu_weight_gradient", NAN, (0.25,), NAN),
        ("elu_gradient", 0.0, (1.7,), 1.7),
        ("elu_gradient", -700.0, (1.7e308,), 1.7e308 * np.exp(-700.0)),
        ("softplus", -1e308, (7.0,), 0.0),
        ("softplus", 1e308, (7.0,), 1e308),
        ("softplus_gradient", 1e308, (7.0,), 1.0),
        # beyond the smallest subnormal on the negative side, where only the sign is left
        ("gelu", -39.0, (), -0.0),
        ("gelu_tanh", -23.0, (), -0.0),
        ("silu", -760.0, (), -0.0),
        ("mish", -760.0, (), -0.0),
    ],
)
def test_special_values(name, x, params, expected):
    got = getattr(reference, name)(x, *params)
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    if expected == 0:
        assert np.signbit(got) == np.signbit(expected)


@ROWS
def test_shapes_types_and_silence(row):
    x = np.array([[-INF, -1e308, -750.0, -40.0, -1.0], [-5e-324, 0.0, 5e-324, 1e308, INF]])
    params = parameters(row)[0]
    per_column = [np.full(5, p) for p in params]
    for f in functions(row).values():
        with warnings.catch_warnings(), np.errstate(all="raise"):
            warnings.simplefilter("error")
            whole = f(x, *params)
            assert whole.shape == x.shape
            assert whole.dtype == np.float64
            assert f(np.float32([-1, 0, 3e38]), *params).dtype == np.float64
            assert f(np.empty((0, 3)), *params).shape == (0, 3)
            np.testing.assert_array_equal(f(x, *per_column), whole)
            # strided views, and single numbers
            np.testing.assert_array_equal(f(x.T[::-1], *params), whole.T[::-1])
            for place in np.ndindex(x.shape):
                single = f(x[place], *params)
                assert isinstance(single, np.ndarray)
                np.testing.assert_array_equal(single, whole[place])


def test_weight_gradient_broadcasts():
    assert reference.prelu_weight_gradient(np.ones((2, 3)), np.ones(3)).shape == (2, 3)


@ROWS
def test_stated_derivative_is_the_derivative(row):
    """mpmath's own differentiation of the definition, at moderate points; the golden tables use another one."""
    make = pytest.importorskip("golden.make", reason="needs mpmath", exc_type=ImportError)
    mp = make.mp
    for params in parameters(row):
        definition = make.expression(row.definition, "x", row, params)
        stated = make.expression(row.derivative, "x", row, params)
        with mp.workdps(50):
            for x in (mp.mpf(s * m) / 16 for s, m in itertools.product((-1, 1), (1, 5, 13, 20, 33, 77, 150))):
                assert abs(stated(x) - mp.diff(definition, x)) < 1e-30 * max(1, abs(stated(x))), (params, x)
            if row.kink:
                value = eval(row.kink.split(" at ")[0], {"__builtins__": {}}, dict(
                    zip((p.name for p in row.parameters), params, strict=True)))  # fmt: skip
                assert stated(mp.mpf(0)) == value


@pytest.mark.parametrize("row", [r for r in ACTIVATIONS if r.derivative_from_output], ids=lambda row: row.name)
def test_stated_derivative_from_output(row):
    make = pytest.importorskip("golden.make", reason="needs mpmath", exc_type=ImportError)
    mp = make.mp
    for params in make.parameter_sets(row, "gradient_from_output", np.dtype(np.float64)):
        f, stated, from_output = (
            make.expression(text, variable, row, params)
            for text, variable in ((row.definition, "x"), (row.derivative, "x"), (row.derivative_from_output, "y"))
        )
        with mp.workdps(50):
            for x in (mp.mpf(k) / 8 for k in range(-40, 41, 3)):
                assert mp.almosteq(from_output(f(x)), stated(x), rel_eps=1e-40, abs_eps=1e-40), (params, x)


def test_every_row_is_here_and_nothing_is_shared():
    """Independence is the point of this file: no import but NumPy and functools."""
    tree = ast.parse(inspect.getsource(reference))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    assert imported == {"functools", "numpy"}
    public = {name for name, value in vars(reference).items() if callable(value) and not name.startswith("_")}
    wanted = {row.name + SUFFIX[kind] for row in ACTIVATIONS for kind in functions(row)}
    assert public == wanted | {"prelu_weight_gradient"}
