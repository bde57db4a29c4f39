"""What is verified: functions with parameters, the truth about them, and the limits that their rows set.

Everything comes from the catalogue and from ``fastact/reference.py``, whose formulas are not those of the kernels.
This file must compute nothing with a kernel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import _core, dispatch, reference
from ..catalogue import ALIASES, BY_NAME, NON_NEGATIVE, POSITIVE, Activation
from .numbers import Array, Format, Sweep, sweep_between

_SUFFIX = {"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}
#: A 16-bit result is computed in float32 and rounded once: half an ULP, and what an error of some float32 ULP is there.
LIMIT_16_BIT = 0.51


class Subject(NamedTuple):
    """A function with parameters, by name, so that it can be sent to another process."""

    function: str
    parameters: tuple[float, ...]

    @property
    def callable(self) -> _core.ElementwiseFunction:
        """The public function."""
        return dispatch.FUNCTIONS[self.function]

    @property
    def row(self) -> Activation:
        """Its row of the catalogue."""
        return self.callable.row

    @property
    def is_default(self) -> bool:
        """Whether these are the parameters that a call without any has."""
        return self.parameters == default_parameters(self.row)

    @property
    def named_parameters(self) -> dict[str, float]:
        """The parameters by name."""
        return dict(zip((p.name for p in self.row.parameters), self.parameters, strict=True))

    @property
    def is_value(self) -> bool:
        """Whether it is the activation itself, and no gradient."""
        return self.callable.direction == "forward"

    @property
    def must_not_fall(self) -> bool:
        """Whether its results must ascend with the input."""
        return self.row.monotone and self.is_value and self.is_default

    @property
    def must_be_odd(self) -> bool:
        """Whether f(-x) must be -f(x), to the bit."""
        return self.row.odd and self.is_value

    def range(self) -> tuple[float, float]:
        """The limits at the infinities, between which a monotone function's values lie."""
        low, high = (self._number(text) for text in self.row.limits)
        return low, high

    def _number(self, text: str) -> float:
        value = float(eval(text, {"__builtins__": {}, "inf": math.inf}, self.named_parameters))
        # -inf times a slope of 0: the function is 0 for all negative inputs
        return 0.0 if math.isnan(value) else value

    def sweep(self, form: Format, stride: int) -> Sweep:
        """The inputs it is made for: a gradient from the output gets outputs."""
        if self.callable.direction != "backward_from_output":
            return sweep_between(form, stride, -math.inf, math.inf)
        low, high = (self._number(text) for text in self.row.output_range)
        # where f(-0.0) is -0.0, that is the lowest output, and not 0.0
        lowest_zero = float(getattr(reference, self.row.name)(-0.0, *self.parameters))
        return sweep_between(form, stride, lowest_zero if low == lowest_zero == 0 else low, high)

    def truth(self, form: Format) -> Callable[[Array], Array]:
        """The reference, in float64, with the parameters rounded to the precision that computes."""
        expression = getattr(reference, self.row.name + _SUFFIX[self.callable.direction])
        computed = np.float64 if form.name == "float64" else np.float32
        return functools.partial(_evaluate, expression, tuple(np.float64(computed(p)) for p in self.parameters))

    def limit(self, form: Format) -> float:
        """The largest error allowed, in ULP."""
        if form.bits == 16:
            return LIMIT_16_BIT
        bounds = self.row.ulp if self.is_value else self.row.ulp_gradient
        if self.callable.direction == "backward_from_output":
            # an output's own range of kinds has one rounding more in the product form: the looser of both
            bounds = max(bounds, self.row.ulp)
        return float(getattr(bounds, form.name))


def _evaluate(expression: Callable[..., Array], parameters: tuple[Any, ...], x: Array) -> Array:
    return expression(x, *parameters)


def default_parameters(row: Activation) -> tuple[float, ...]:
    """The parameters of a call without any; the first that is tried where there is no default."""
    return tuple(p.tried[0] if p.default is None else p.default for p in row.parameters)


def parameter_sets(row: Activation, direction: str) -> list[tuple[float, ...]]:
    """The default parameters, and each value of ``tried`` in place of one of them, as far as the direction takes it."""
    defaults = default_parameters(row)
    sets = [defaults]
    for position, parameter in enumerate(row.parameters):
        accepts = parameter.accepts_from_output if direction == "backward_from_output" else parameter.accepts
        for value in parameter.tried:
            changed = (*defaults[:position], value, *defaults[position + 1 :])
            accepted = {NON_NEGATIVE: value >= 0, POSITIVE: value > 0}.get(accepts, True)
            if accepted and changed not in sets:
                sets.append(changed)
    return sets


def functions_named(names: Iterable[str]) -> list[str]:
    """Public functions of activations (each with its gradients) and of functions; all of them without a name.

    Raises ValueError for a name that is neither.
    """
    chosen: list[str] = []
    for name in names:
        stem = ALIASES.get(name, name)
        if stem in BY_NAME:
            row = BY_NAME[stem]
            chosen += [row.function_name(direction) for direction in row.directions]
            continue
        try:
            chosen.append(dispatch.find(name).name)
        except ValueError:
            accepted = ", ".join([*dispatch.FUNCTIONS, *ALIASES])
            raise ValueError(f"name: got {name!r}; accepted: {accepted}") from None
    wanted = set(chosen) or set(dispatch.FUNCTIONS)
    return [name for name in dispatch.FUNCTIONS if name in wanted]


def subjects_of(functions: Iterable[str], with_tried: bool) -> list[Subject]:
    """The functions with their default parameters, and with every set that is tried."""
    found = []
    for name in functions:
        function = dispatch.FUNCTIONS[name]
        sets = parameter_sets(function.row, function.direction)
        found += [Subject(name, parameters) for parameters in (sets if with_tried else sets[:1])]
    return found
