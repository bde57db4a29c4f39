"""Lowering: what a formula may not do is refused with its place, every literal is typed, and nothing is lost.

The functions under ``refused`` are not called: each breaks the subset in one way, in the line that says ``# here``.
"""

import ast
import inspect
import re

import numpy as np
import pytest
from cases import ROWS_AND_DIRECTIONS, parameter_sets

import fastact
from fastact import dispatch, lowering, reference
from fastact.formulas.coefficients import EXPM1_TAIL, LN2_LOW, LOG1P_QUOTIENT_REST, LOG2_E
from fastact.formulas.elementary import exponential_minus_one_core, scaled_exponential_from
from fastact.formulas.primitives import absolute, cancellation, correction, multiply_subtract
from fastact.lowering import CDialect, CythonDialect, LoweringError, NumbaDialect

DIRECTED = pytest.mark.parametrize(
    "row, direction", ROWS_AND_DIRECTIONS, ids=[row.function_name(direction) for row, direction in ROWS_AND_DIRECTIONS]
)
A_FLOAT = 0.5

# -- refused ----------------------------------------------------------------------------------------------------------


def for_loop(x):
    for _ in (1, 2):  # here
        y = x
    return y


def while_loop(x):
    while x < 0.0:  # here
        y = x
    return y


def if_statement(x):
    if x < 0.0:  # here
        y = x
    return y


def early_return(x):
    return x  # here
    return -x


def augmented_assignment(x):
    y = x + 1.0
    y += 1.0  # here
    return y


def annotated_assignment(x):
    y: float = x  # here
    return y


def two_assignments_to_a_name(x):
    y = x + 1.0
    y = y + 1.0  # here
    return y


def assignment_to_an_argument(x):
    x = x + 1.0  # here
    return x


def chained_assignment(x):
    y = z = x + 1.0  # noqa: F841  # here
    return y


def tuple_assignment(x):
    y, _ = x, x  # here
    return y


def no_value(x):
    y = x  # noqa: F841
    return  # here


def no_return(x):
    y = x  # noqa: F841  # here


def docstring_only(x):  # here
    """Nothing."""


def unknown_name(x):
    return x + nothing  # noqa: F821  # here


def plain_float_of_the_module(x):
    return x * A_FLOAT  # here


def unknown_function(x):
    return nothing(x)  # noqa: F821  # here


def function_of_numpy(x):
    return np.exp(x)  # here


def builtin_function(x):
    return max(x, 0.0)  # here


def foreign_function(x):
    return helper(x)  # here


def helper(x):
    return x


def keyword_call(x):
    return absolute(x=x)  # here


def starred_call(x):
    return absolute(*x)  # here


def double_comparison(x):
    return 1.0 if 0.0 < x < 1.0 else x  # here


def boolean_operator(x):
    return 1.0 if x > 0.0 and x < 1.0 else x  # here


def number_as_condition(x):
    return 1.0 if x else 0.0  # here


def comparison_as_value(x):
    return x * (x > 0.0)  # here


def identity(x, y):
    return 1.0 if x is y else x  # here


def membership(x, y):
    return 1.0 if x in y else x  # here


def power(x):
    return x**2  # here


def floor_division(x):
    return x // 2.0  # here


def unary_plus(x):
    return +x  # here


def string(x):
    return x + "1"  # here


def truth_value(x):
    return x * True  # here


def complex_number(x):
    return x * 1j  # here


def subscript(x):
    return x[0]  # here


def attribute(x):
    return x.real  # here


def walrus(x):
    return (y := x) + y  # here


def inner_function(x):
    return (lambda y: y)(x)  # here


def polynomial_of_an_expression(x):
    return EXPM1_TAIL(x + 1.0)  # here


def polynomial_of_nothing(x):
    return x + EXPM1_TAIL()  # here


REFUSED = [
    value
    for name, value in list(globals().items())
    if inspect.isfunction(value) and value.__module__ == __name__ and name != "helper"
]


@pytest.mark.parametrize("dialect", [CythonDialect, CDialect, NumbaDialect])
@pytest.mark.parametrize("formula", REFUSED, ids=lambda formula: formula.__name__)
def test_refused_with_its_place(formula, dialect):
    lines, first = inspect.getsourcelines(formula)
    offset = next(k for k, line in enumerate(lines) if line.rstrip().endswith("# here"))
    with pytest.raises(LoweringError) as error:
        lowering.lower([formula], dialect("float32"))
    message = str(error.value)
    assert message.startswith(f"{inspect.getsourcefile(formula)}:{first + offset}: {formula.__name__}: "), message
    assert len(message.rpartition(": ")[2]) > 10, "no reason given"


# -- accepted ---------------------------------------------------------------------------------------------------------


def everything(x, slope):
    """The whole subset in one formula."""
    size = absolute(x)
    tail = EXPM1_TAIL(size)
    choice = -1.0 if x <= 0 else 2.0
    other = choice if x != slope else -size
    # a product on the left is fused before one on the right, and a difference negates what is not that product
    first = slope * tail + x * other
    sum = first - slope * LOG2_E
    return x * 2.0 - (sum - other) / 3


CYTHON = """\
cdef inline float everything_float32(float x, float slope) noexcept nogil:
    cdef float size = absolute_float32(x)
    cdef float tail = HORNER
    cdef float choice = select_float32(x <= (<float>0.0), (<float>-1.0), (<float>2.0))
    cdef float other = select_float32(x != slope, choice, (-size))
    cdef float first = multiply_add_float32(slope, tail, (x * other))
    cdef float sum = multiply_add_float32((-slope), (<float>LOG2_E), first)
    return multiply_add_float32(x, (<float>2.0), (-((sum - other) / (<float>3.0))))
"""
C = """\
FASTACT_INLINE float fastact_everything_float32(float x, float slope)
{
    const float size_ = fastact_absolute_float32(x);
    const float tail_ = HORNER;
    const float choice_ = fastact_select_float32(x <= (0.0f), (-1.0f), (2.0f));
    const float other_ = fastact_select_float32(x != slope, choice_, (-size_));
    const float first_ = fastact_multiply_add_float32(slope, tail_, (x * other_));
    const float sum_ = fastact_multiply_add_float32((-slope), (LOG2_Ef), first_);
    return fastact_multiply_add_float32(x, (2.0f), (-((sum_ - other_) / (3.0f))));
}
"""
NUMBA = """\
@jit
def everything(x, slope):
    size = absolute(x)
    tail = HORNER
    choice = select(x <= T(0.0), T(-1.0), T(2.0))
    other = select(x != slope, choice, (-size))
    first = multiply_add(slope, tail, (x * other))
    sum = multiply_add((-slope), T(LOG2_E), first)
    return multiply_add(x, T(2.0), (-((sum - other) / T(3.0))))
"""


def horner(dtype, literal, name="size", multiply_add="multiply_add_float32"):
    coefficients = getattr(EXPM1_TAIL, dtype)
    text = literal(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        text = f"{multiply_add}({text}, {name}, {literal(coefficient)})"
    return text


def test_cython_text():
    expected = CYTHON.replace("HORNER", horner("float32", lambda value: f"(<float>{value!r})"))
    expected = expected.replace("LOG2_E", repr(LOG2_E.float32))
    assert lowering.lower([everything], CythonDialect("float32")) == expected
    double = lowering.lower([everything], CythonDialect("float64"))
    assert double.startswith("cdef inline double everything_float64(double x, double slope) noexcept nogil:\n")
    assert f"(<double>{LOG2_E.float64!r})" in double


def test_c_text():
    expected = C.replace(
        "HORNER", horner("float32", lambda value: f"({value:.9g}f)", "size_", "fastact_multiply_add_float32")
    )
    assert lowering.lower([everything], CDialect("float32")) == expected.replace("LOG2_E", f"{LOG2_E.float32:.9g}")
    double = lowering.lower([everything], CDialect("float64"))
    assert double.startswith("FASTACT_INLINE double fastact_everything_float64(double x, double slope)\n{\n")
    assert f"({LOG2_E.float64!r})" in double


def unused_argument(x, slope):
    return x


def test_c_is_silent_about_an_unused_argument():
    assert "    (void)slope;\n    return x;\n" in lowering.lower([unused_argument], CDialect("float64"))


@pytest.mark.parametrize(
    "value, single, double",
    [
        (0.0, "(0.0f)", "(0.0)"),
        (-0.0, "(-0.0f)", "(-0.0)"),
        (3.0, "(3.0f)", "(3.0)"),
        (2.0**64, "(1.84467441e+19f)", "(1.8446744073709552e+19)"),
        (float.fromhex("0x1.99999ap-4"), "(0.100000001f)", "(0.10000000149011612)"),
        (2.0**-149, "(1.40129846e-45f)", "(1.401298464324817e-45)"),
    ],
)
def test_c_literals(value, single, double):
    assert CDialect("float32").literal(value) == single
    assert CDialect("float64").literal(value) == double
    assert np.float32(single.strip("(f)")) == value
    assert float(double.strip("()")) == value


@pytest.mark.parametrize("value", [0.1, 1 + 2.0**-30, np.inf, np.nan])
def test_c_literal_that_would_be_rounded_is_refused(value):
    with pytest.raises(ValueError, match=r"^value: got .*; accepted: a finite number that is exact in float32$"):
        CDialect("float32").literal(float(value))


def test_numba_text():
    expected = NUMBA.replace("HORNER", horner("float64", lambda value: f"T({value!r})", multiply_add="multiply_add"))
    expected = expected.replace("LOG2_E", repr(LOG2_E.float64))
    assert lowering.lower([everything], NumbaDialect("float64")) == expected


def corrected(x, slope):
    product = x * slope
    error = correction(multiply_subtract(x, slope, product) + LN2_LOW)
    scaled = error * 2.0 - error
    choice = scaled if x < 0.0 else -error
    return (product + choice) * absolute(error)


WIDENED = """\
FASTACT_INLINE double fastact_corrected_widened(double x, double slope)
{
    const double product_ = (x * slope);
    return (product_ * fastact_absolute_widened((-0.0)));
}
"""


def test_corrections_vanish_in_widened_arithmetic():
    """With all that is computed from them alone; where a value must stand, it is the zero that adds nothing."""
    assert lowering.lower([corrected], CDialect("widened")) == WIDENED
    assert "multiply_subtract" in lowering.lower([corrected], CDialect("float32"))


def cancelled(x, slope):
    near = slope - x
    return near + cancellation(LN2_LOW) + correction(x * slope)


def test_cancellations_stay_in_narrowed_arithmetic():
    """There alone of the two precisions without corrections; its numbers are float32."""
    text = lowering.lower([cancelled], CythonDialect("narrowed"))
    assert "cdef float near = (slope - x)" in text
    assert f"return (near + (<float>{LN2_LOW.narrowed!r}))" in text
    assert "return near\n" in lowering.lower([cancelled], CythonDialect("widened"))
    assert "(near + (<float>" in lowering.lower([cancelled], CythonDialect("float32"))


def test_halves_are_narrowed():
    for row, direction in ROWS_AND_DIRECTIONS:
        loop = lowering.loop_of(row, direction)
        assert {loop.precision(dtype, fused) for dtype in lowering.HALVES for fused in (True, False)} == {"narrowed"}
        assert lowering.operations(loop, "float16") <= lowering.operations(loop, "float32")


def uncorrected(x, slope):
    return multiply_subtract(x, slope, x)


def test_rounding_error_outside_a_correction_is_refused():
    with pytest.raises(LoweringError, match="uncorrected: a rounding error stands in a correction"):
        lowering.lower([uncorrected], CDialect("widened"))


def without_coefficients(x):
    return LOG1P_QUOTIENT_REST(x)


def test_polynomial_without_coefficients_is_refused():
    with pytest.raises(LoweringError, match="without_coefficients: the polynomial has no coefficients for float32"):
        lowering.lower([without_coefficients], CythonDialect("float32"))


def test_callees_come_first_and_once():
    formulas = [scaled_exponential_from, exponential_minus_one_core, scaled_exponential_from]
    text = lowering.lower(formulas, NumbaDialect("float32"))
    defined = re.findall(r"^def (\w+)", text, re.MULTILINE)
    assert defined == ["exponential_minus_one_core", "scaled_exponential_from"]


@DIRECTED
@pytest.mark.parametrize("dtype", dispatch.DTYPES)
def test_no_bare_literal(row, direction, dtype):
    """A number without a type is a double, and makes the loop around it compute in double."""
    loop = lowering.loop_of(row, direction)
    formulas = list(loop.formulas)
    precision = loop.precision(dtype)

    cython = lowering.lower(formulas, CythonDialect(precision))
    is_single = precision in ("float32", "narrowed")
    own, other = ("float", "double") if is_single else ("double", "float")
    assert re.findall(rf"<{other}>|\b{other} \w", cython) == []
    rest = re.sub(rf"\(<{own}>-?[0-9.]+(?:e[+-]?[0-9]+)?\)", "", cython)
    assert re.findall(r"(?<![\w.])[0-9.]+\w*", rest) == []

    c = lowering.lower(formulas, CDialect(precision))
    assert re.findall(rf"\b{other} \w", c) == []
    rest = re.sub(rf"\(-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?{'f' if is_single else ''}\)", "", c)
    assert re.findall(r"(?<![\w.])[0-9.]+\w*", rest) == []

    numba = ast.parse(lowering.lower(formulas, NumbaDialect(precision)))
    typed = {
        id(argument)
        for node in ast.walk(numba)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "T"
        for argument in node.args
    }
    numbers = [
        node
        for node in ast.walk(numba)
        # -1.0 is a constant under a minus
        if isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant))
    ]
    signed = {id(node.operand) for node in numbers if isinstance(node, ast.UnaryOp)}
    assert [ast.unparse(node) for node in numbers if id(node) not in typed | signed] == []


@DIRECTED
def test_literals_are_representable(row, direction):
    """What is written as float32 is a float32: a compiler rounds it the same way everywhere."""
    loop = lowering.loop_of(row, direction)
    text = lowering.lower(list(loop.formulas), CythonDialect(loop.precision("float32")))
    values = [float(value) for value in re.findall(r"\(<float>(-?[0-9.e+-]+)\)", text)]
    assert [value for value in values if float(np.float32(value)) != value] == []


@DIRECTED
def test_plain_python_agrees_with_the_compiled_kernel(row, direction):
    """A formula as it stands in its file, run by Python, against the float64 kernel that it became."""
    if "cython" not in fastact.available_backends():
        pytest.skip("no compiled kernels")
    formula = lowering.loop_of(row, direction).formulas[0]
    function = getattr(fastact, row.function_name(direction))
    x = np.concatenate([np.linspace(-40, 40, 321), row.interesting, [1e-300, -1e-300, 700.0, -700.0, -745.0]])
    for parameters in parameter_sets(row, direction):
        points = x
        if direction == "backward_from_output":
            points = np.unique(getattr(reference, row.name)(x, *parameters))
        expected = np.array([formula(float(point), *parameters) for point in points])
        with fastact.use_backend("cython"):
            arguments = [points] if direction == "forward" else [np.ones_like(points), points]
            got = function(*arguments, *parameters)
        got = got[0] if isinstance(got, tuple) else got
        error = np.abs(got - expected) / np.spacing(np.abs(expected))
        worst = int(error.argmax())
        assert error[worst] <= 4, f"{parameters}, x = {points[worst]!r}: {got[worst]!r}, Python {expected[worst]!r}"


def test_a_formula_that_python_refuses_somewhere_is_rounded():
    loop = lowering.loop_of(fastact.relu.row, "forward")
    assert not loop._replace(formulas=(lambda x: 1.0 / x,)).is_exact()


@pytest.mark.parametrize(("name", "exact"), [("relu", True), ("leaky_relu", False), ("prelu", False), ("silu", False)])
def test_results_that_need_no_rounding_in_16_bits(name, exact):
    row = getattr(fastact, name).row
    assert {lowering.loop_of(row, direction).is_exact() for direction in row.directions} == {exact}
