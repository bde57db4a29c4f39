"""A row of the catalogue as mathematics: its definition and the derivative of that, evaluated by mpmath.

This is where truth begins: ``multiprecision.py`` measures float64 with it, and ``tests/golden/make.py`` makes tables of
it.  It must know nothing of formulas, kernels or ``reference.py``.  It needs mpmath, and the catalogue, which it
imports relatively: so that ``make.py`` can load both without a compiled module.

Huge arguments need no special rule: mpmath's exponents are integers without bound, and exp(1e300) costs no more than
the thousand bits of its argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from mpmath import mp, mpf

from ..catalogue import FINITE, NON_NEGATIVE, POSITIVE, Activation

#: What a row can compute, in the order of ``catalogue.DIRECTIONS``.
KINDS = ("forward", "gradient", "gradient_from_output")
#: Names that definitions may use, those of functions first.
_ELEMENTARY = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "atan", "asinh", "sinh", "cosh", "tanh")
FUNCTIONS = (*_ELEMENTARY, "erf", "erfc")
NAMES = (*FUNCTIONS, "mpf", "pi")
#: Binary exponent under which a value counts as 0: far below any subnormal (2^-1074), and fits in int16.
VANISHED = -2000

Function = Callable[[Any], Any]


def text_of(row: Activation, kind: str) -> tuple[str, str]:
    """The row's expression of a kind, and the variable in it."""
    if kind == "gradient_from_output":
        return row.derivative_from_output or "", "y"
    return (row.definition if kind == "forward" else row.derivative), "x"


def expression(text: str, variable: str, row: Activation, params: Sequence[float]) -> Function:
    """Turn an expression of the catalogue into a function of one mpf."""
    scope = {name: getattr(mp, name) for name in NAMES}
    scope.update(abs=abs, min=min, max=max, inf=mp.inf, __builtins__={})
    scope.update({p.name: mpf(value) for p, value in zip(row.parameters, params, strict=True)})
    code = compile(text, f"<{row.name}>", "eval")
    return lambda x: mpf(eval(code, scope | {variable: x}))


def numerical_derivative(f: Function, at_kinks: Function | None) -> Function:
    """Derivative of f by a central difference; if the two one-sided ones disagree, ``at_kinks`` decides."""

    def quotients(x: Any, bits: int) -> tuple[Any, Any]:
        with mp.workprec(bits):
            # leaves an error of 2^-220 (one-sided) or 2^-440 of the scale on which f bends; relative to x where x is
            # large, so that x + step differs from x
            step = mp.ldexp(1, -220 + max(0, mp.mag(x) if x else 0))
            return (f(x) - f(x - step)) / step, (f(x + step) - f(x)) / step

    def derivative(x: Any) -> Any:
        left, right = quotients(x, 900)
        if max(abs(left), abs(right)) < mp.ldexp(1, -200):
            # f may tend to a constant other than 0: then digits are lost as the derivative falls.  2600 bits are right
            # for derivatives down to 2^-2000, and for those below they give something as small
            left, right = quotients(x, 2600)
        if at_kinks and abs(left - right) > mp.ldexp(abs(left) + abs(right), -100):
            return at_kinks(x)
        return (left + right) / 2

    return derivative


def truth(row: Activation, kind: str, params: Sequence[float]) -> Function:
    """The true function of one mpf: gradients are numerical derivatives of the definition.

    The row's ``derivative`` serves at kinks only, where the mathematics leaves a choice.
    """
    definition = expression(row.definition, "x", row, params)
    if kind == "forward":
        return definition
    if kind == "gradient_from_output":
        return expression(*text_of(row, kind), row, params)
    return numerical_derivative(definition, expression(row.derivative, "x", row, params) if row.kink else None)


def output_range(row: Activation, params: Sequence[float]) -> tuple[float, float]:
    """The interval of outputs, for gradients from them."""
    low, high = (float(expression(end, "y", row, params)(mpf(0))) for end in row.output_range)
    return low, high


def parameter_sets(row: Activation, kind: str, dtype: np.dtype[Any]) -> Iterator[tuple[float, ...]]:
    """Yield the default first, then one set per tried value; those a from-output gradient refuses are left out."""
    defaults = [p.tried[0] if p.default is None else p.default for p in row.parameters]
    sets = [tuple(defaults)]
    for place, parameter in enumerate(row.parameters):
        sets += [(*defaults[:place], value, *defaults[place + 1 :]) for value in parameter.tried]
    refused: dict[str, Callable[[float], bool]] = {
        FINITE: lambda value: False,
        POSITIVE: lambda value: value <= 0,
        NON_NEGATIVE: lambda value: value < 0,
    }
    for params in dict.fromkeys(sets):
        bad = any(refused[p.accepts_from_output](v) for p, v in zip(row.parameters, params, strict=True))
        if not (kind == "gradient_from_output" and bad):
            yield tuple(float(dtype.type(value)) for value in params)


def scaled(value: Any) -> tuple[float, float, int]:
    """Write a true value as (hi + lo) * 2**exponent, hi in [0.5, 1) or 0."""
    if not value or mp.mag(value) < VANISHED:
        return 0.0, 0.0, -1074
    mantissa, exponent = mp.frexp(value)
    hi = float(mantissa)
    if abs(hi) == 1:
        hi, mantissa, exponent = hi / 2, mantissa / 2, exponent + 1
    return hi, float(mantissa - mpf(hi)), int(exponent)
