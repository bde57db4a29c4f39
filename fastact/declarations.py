"""What the C functions of each activation look like: names, arguments, order.

One description for all who need it: the template that defines the functions (``src_cy/embedding.pyx.in``), the
``.pxd`` that declares them to Cython (``tools/embedding.py``), and ``address``, which tells people what they call.  It
computes nothing and knows no formulas.  Standard library only, because ``setup.py`` reads it.
"""

from __future__ import annotations

from typing import NamedTuple

from .catalogue import ACTIVATIONS, DIRECTIONS, Activation

C_TYPES = {"float32": "float", "float64": "double"}
#: ``array``: a status, from pointers and a count.  ``scalar``: a number, from numbers.
FORMS = ("array", "scalar")


class CFunction(NamedTuple):
    """The C functions of one activation in one direction, in both forms and precisions."""

    #: Of the public function: ``elu_backward``.
    name: str
    activation: str
    #: Position in ``catalogue.DIRECTIONS``.
    direction: int
    #: Names of the inputs, the outputs and the scalar parameters, in their order.
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]

    def c_name(self, form: str, dtype: str) -> str:
        """Name of the function of one form and precision: ``elu_backward_scalar_float64``."""
        return f"{self.name}_{dtype}" if form == "array" else f"{self.name}_{form}_{dtype}"

    def arguments(self, form: str, dtype: str, count_type: str = "ptrdiff_t") -> str:
        """The arguments as C declares them."""
        number = C_TYPES[dtype]
        words = [f"double {name}" for name in self.parameters]
        if form == "scalar":
            return ", ".join([*(f"{number} {name}" for name in self.inputs), *words])
        arrays = [f"const {number} *{name}" for name in self.inputs] + [f"{number} *{name}" for name in self.outputs]
        return ", ".join([*arrays, f"{count_type} count", *words])

    def result(self, form: str, dtype: str) -> str:
        """The type of what it returns."""
        return "int" if form == "array" else C_TYPES[dtype]

    def signature(self, form: str, dtype: str) -> str:
        """The type of the function in C: ``int (const float *x, float *out, ptrdiff_t count, double alpha)``."""
        return f"{self.result(form, dtype)} ({self.arguments(form, dtype)})"


def c_function(row: Activation, direction: str) -> CFunction:
    """The C functions of a row in one direction."""
    operands = tuple(parameter.name for parameter in row.operands)
    given = {"forward": (), "backward": ("grad",), "backward_from_output": ("grad",)}[direction]
    gradients = tuple(f"{name}_gradient" for name in operands) if direction == "backward" else ()
    return CFunction(
        name=row.function_name(direction),
        activation=row.name,
        direction=DIRECTIONS.index(direction),
        inputs=(*given, "y" if direction == "backward_from_output" else "x", *operands),
        outputs=("out", *gradients),
        parameters=tuple(parameter.name for parameter in row.scalars),
    )


def c_functions() -> list[CFunction]:
    """Those of all rows."""
    return [c_function(row, direction) for row in ACTIVATIONS for direction in row.directions]
