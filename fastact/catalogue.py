"""THE table: one row per activation, and nothing else.

Everything that exists once per activation is derived from these rows: kernels for every instruction set, Numba
kernels, ufuncs, public callables, docstrings, type stubs, tests, golden tables and benchmarks.  A row says what an
activation *is* (the textbook definition, evaluated by mpmath for the golden tables), never how it is computed (that
is ``formulas/``).

This file imports the standard library only, because ``setup.py`` reads it before anything is built.
"""

from __future__ import annotations

from typing import NamedTuple

#: What a scalar parameter may be; the compiled callables check it (src_cy/core.pyx, ``check_parameter``).
FINITE = "a finite number"
POSITIVE = "a finite number > 0"
NON_NEGATIVE = "a finite number >= 0"

#: The three things a row can compute, in the order of the kernel table.
DIRECTIONS = ("forward", "backward", "backward_from_output")


class Parameter(NamedTuple):
    """One parameter of an activation."""

    name: str
    default: float | None
    meaning: str
    accepts: str = FINITE
    #: What it must be for the gradient to be a function of the output.
    accepts_from_output: str = FINITE
    #: True: not a scalar but an array operand, one value per channel (``prelu``'s weight); it gets a gradient.
    per_channel: bool = False
    #: Further values that tests and golden tables try besides the default.
    tried: tuple[float, ...] = ()


class Ulp(NamedTuple):
    """Largest error allowed, in units in the last place, over the whole line."""

    float32: float
    float64: float


class Activation(NamedTuple):
    """One row.  Expressions are in ``x`` (or the output ``y``), the parameters, and mpmath's function names."""

    name: str
    title: str
    #: Module of ``formulas/`` that holds ``<name>``, ``<name>_gradient`` and ``<name>_gradient_from_output``.
    family: str
    #: The textbook definition: mpmath evaluates it, and its numerical derivative, for the golden tables.
    definition: str
    #: The derivative as shown in the docstring; a test compares it with the derivative of ``definition``.
    derivative: str
    #: Value of the derivative where the mathematics leaves a choice, in words; "" for smooth functions.
    kink: str
    #: Values of f at -inf and +inf, of f' at -inf and +inf.
    limits: tuple[str, str]
    gradient_limits: tuple[str, str]
    ulp: Ulp
    ulp_gradient: Ulp
    #: Paper or book, for the docstring.
    source: str
    parameters: tuple[Parameter, ...] = ()
    #: The derivative in terms of the output, where it is a function of the output; else None.
    derivative_from_output: str | None = None
    #: Interval of outputs, for sweeps of the from-output gradient.
    output_range: tuple[str, str] = ("-inf", "inf")
    #: Where sweeps must be dense: kinks, zeros of f and f'.
    interesting: tuple[float, ...] = (0.0,)
    #: Whether f never falls, with the default parameters; its values then lie between its limits.
    monotone: bool = False
    #: Whether f(-x) = -f(x), which then holds to the bit.
    odd: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def scalars(self) -> tuple[Parameter, ...]:
        """The parameters that are plain numbers."""
        return tuple(p for p in self.parameters if not p.per_channel)

    @property
    def operands(self) -> tuple[Parameter, ...]:
        """The parameters that are arrays, one value per channel."""
        return tuple(p for p in self.parameters if p.per_channel)

    @property
    def directions(self) -> tuple[str, ...]:
        """Which of DIRECTIONS this row has."""
        return DIRECTIONS if self.derivative_from_output else DIRECTIONS[:2]

    def function_name(self, direction: str) -> str:
        """Public name of this row in the given direction: ``gelu``, ``gelu_backward`` ..."""
        return self.name if direction == "forward" else f"{self.name}_{direction}"


def _slope(name: str, default: float, meaning: str) -> Parameter:
    # A negative slope makes the output's sign say nothing about the input's: then no gradient from the output.
    return Parameter(name, default, meaning, FINITE, NON_NEGATIVE, tried=(0.0, 0.25, -0.5))


ACTIVATIONS: tuple[Activation, ...] = (
    Activation(
        "relu",
        "Rectified linear unit",
        family="rectifiers",
        definition="x if x > 0 else 0",
        derivative="1 if x > 0 else 0",
        kink="0 at x = 0",
        limits=("0", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(0, 0),
        ulp_gradient=Ulp(0, 0),
        source="Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010",
        derivative_from_output="1 if y > 0 else 0",
        output_range=("0", "inf"),
        monotone=True,
    ),
    Activation(
        "leaky_relu",
        "Leaky rectified linear unit",
        family="rectifiers",
        definition="x if x > 0 else negative_slope * x",
        derivative="1 if x > 0 else negative_slope",
        kink="negative_slope at x = 0",
        limits=("-inf * negative_slope", "inf"),
        gradient_limits=("negative_slope", "1"),
        ulp=Ulp(0.5, 0.5),
        ulp_gradient=Ulp(0, 0),
        source="Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013",
        parameters=(_slope("negative_slope", 0.01, "slope for negative inputs"),),
        derivative_from_output="1 if y > 0 else negative_slope",
        monotone=True,
    ),
    Activation(
        "prelu",
        "Parametric rectified linear unit",
        family="rectifiers",
        definition="x if x > 0 else weight * x",
        derivative="1 if x > 0 else weight",
        kink="weight at x = 0",
        limits=("-inf * weight", "inf"),
        gradient_limits=("weight", "1"),
        ulp=Ulp(0.5, 0.5),
        ulp_gradient=Ulp(0, 0),
        source="He et al., Delving Deep into Rectifiers, arXiv:1502.01852",
        parameters=(
            Parameter(
                "weight",
                None,
                "slope for negative inputs: a scalar, or one value per channel along ``axis``",
                per_channel=True,
                tried=(0.25, 0.0, -0.5, 1.5),
            ),
        ),
        monotone=True,
    ),
    Activation(
        "elu",
        "Exponential linear unit",
        family="exponentials",
        definition="x if x > 0 else alpha * expm1(x)",
        derivative="1 if x > 0 else alpha * exp(x)",
        kink="alpha at x = 0",
        limits=("-alpha", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1),
        source="Clevert, Unterthiner and Hochreiter, arXiv:1511.07289",
        parameters=(
            Parameter("alpha", 1.0, "scale of the negative side", FINITE, NON_NEGATIVE, tried=(0.5, 1.7, -1.0)),
        ),
        derivative_from_output="1 if y > 0 else y + alpha",
        output_range=("-alpha", "inf"),
        monotone=True,
    ),
    Activation(
        "gelu",
        "Gaussian error linear unit, exact",
        family="gaussian",
        definition="x * erfc(-x / sqrt(2)) / 2",
        derivative="erfc(-x / sqrt(2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * pi)",
        kink="",
        limits=("-0.0", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(1, 1.25),
        ulp_gradient=Ulp(1, 1),
        source="Hendrycks and Gimpel, arXiv:1606.08415",
        interesting=(0.0, -0.7517915241, -13.1, -5.5),
    ),
    Activation(
        "gelu_tanh",
        "Gaussian error linear unit, tanh approximation",
        family="gaussian",
        definition="x / (1 + exp(-2 * sqrt(2 / pi) * (x + mpf('0.044715') * x**3)))",
        derivative=(
            "1 / (1 + exp(-2 * sqrt(2 / pi) * (x + mpf('0.044715') * x**3)))"
            " + x * sqrt(2 / pi) * (1 + 3 * mpf('0.044715') * x**2) / 2"
            " / cosh(sqrt(2 / pi) * (x + mpf('0.044715') * x**3))**2"
        ),
        kink="",
        limits=("-0.0", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1.25),
        source="Hendrycks and Gimpel, arXiv:1606.08415",
        interesting=(0.0, -0.7524614220, -10.0, -5.0),
    ),
    Activation(
        "sigmoid",
        "Logistic sigmoid",
        family="sigmoids",
        definition="1 / (1 + exp(-x))",
        derivative="exp(-abs(x)) / (1 + exp(-abs(x)))**2",
        kink="",
        limits=("0", "1"),
        gradient_limits=("0", "0"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1),
        source="Verhulst 1838; Cybenko, Approximation by Superpositions of a Sigmoidal Function, 1989",
        derivative_from_output="y * (1 - y)",
        output_range=("0", "1"),
        monotone=True,
    ),
    Activation(
        "tanh",
        "Hyperbolic tangent",
        family="sigmoids",
        definition="tanh(x)",
        derivative="1 / cosh(x)**2",
        kink="",
        limits=("-1", "1"),
        gradient_limits=("0", "0"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1),
        source="LeCun et al., Efficient BackProp, 1998",
        derivative_from_output="1 - y * y",
        output_range=("-1", "1"),
        monotone=True,
        odd=True,
    ),
    Activation(
        "silu",
        "Sigmoid linear unit (swish)",
        family="sigmoids",
        definition="x / (1 + exp(-x))",
        derivative="(1 + exp(-x) + x * exp(-x)) / (1 + exp(-x))**2",
        kink="",
        limits=("-0.0", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1),
        source="Elfwing, Uchibe and Doya, arXiv:1702.03118; Ramachandran, Zoph and Le, arXiv:1710.05941",
        interesting=(0.0, -1.2784645427610738, -88.0, -104.0),
        aliases=("swish",),
    ),
    Activation(
        "softplus",
        "Softplus",
        family="exponentials",
        definition="log1p(exp(-abs(beta * x))) / beta + (x if x > 0 else 0)",
        derivative="1 / (1 + exp(-beta * x))",
        kink="",
        limits=("0", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1.5),
        source="Dugas et al., Incorporating Second-Order Functional Knowledge, NIPS 2000",
        parameters=(
            Parameter("beta", 1.0, "sharpness: larger is closer to relu", POSITIVE, POSITIVE, tried=(0.3, 7.0)),
        ),
        derivative_from_output="-expm1(-beta * y)",
        output_range=("0", "inf"),
        monotone=True,
    ),
    Activation(
        "mish",
        "Mish",
        family="sigmoids",
        definition="x * tanh(log1p(exp(x)))",
        derivative="tanh(log1p(exp(x))) + x / cosh(log1p(exp(x)))**2 / (1 + exp(-x))",
        kink="",
        limits=("-0.0", "inf"),
        gradient_limits=("0", "1"),
        ulp=Ulp(1, 1),
        ulp_gradient=Ulp(1, 1),
        source="Misra, arXiv:1908.08681",
        interesting=(0.0, -1.1924312145, -88.0, -104.0),
    ),
)

BY_NAME: dict[str, Activation] = {row.name: row for row in ACTIVATIONS}
ALIASES: dict[str, str] = {alias: row.name for row in ACTIVATIONS for alias in row.aliases}
