"""Docstrings and signatures of the public functions, built when somebody asks for one.

From the catalogue row, and from the certificate (``certificate.json``, written by ``fastact verify --save``) where it
has a record of the function.
"""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalogue import Activation

if TYPE_CHECKING:
    from . import _core

_DTYPES = """float32 and float64 are computed as such, float16 and bfloat16 (of `ml_dtypes`)
    in float32 and rounded once; integers and bools as `numpy.tanh` does."""


def signature(function: _core.ElementwiseFunction) -> inspect.Signature:
    """Arrays, operands and parameters by position or name; ``out`` and the ufunc's keywords by name."""
    kind = inspect.Parameter
    either, named = kind.POSITIONAL_OR_KEYWORD, kind.KEYWORD_ONLY
    parameters = [kind(name, either) for name in (*function.array_names, *function.operand_names)]
    parameters += [kind(p.name, either, default=p.default) for p in function.row.scalars]
    if function.operand_names:
        parameters.append(kind("axis", either, default=1))
    parameters.append(kind("out", named, default=None))
    parameters.append(kind("ufunc_keywords", kind.VAR_KEYWORD))
    return inspect.Signature(parameters)


def docstring(function: _core.ElementwiseFunction) -> str:
    """The numpydoc text of a public function."""
    row, direction = function.row, function.direction
    sections = [_head(row, direction), _parameters(function), _returns(function), _raises(function)]
    sections += [_notes(function), _examples(row, direction)]
    return "\n\n".join(sections) + "\n"


def _head(row: Activation, direction: str) -> str:
    if direction == "forward":
        return f"{row.title}.\n\n    {row.name}(x) = {row.definition}"
    if direction == "backward":
        return (
            f"Gradient of `{row.name}` with regard to its input, times ``grad``.\n\n"
            f"    {row.name}_backward(grad, x) = grad * f'(x),  f'(x) = {row.derivative}"
        )
    return (
        f"Gradient of `{row.name}` from its output ``y``, times ``grad``: for training with the forward in place.\n\n"
        f"    {row.name}_backward_from_output(grad, y) = grad * f'(x),  f'(x) = {row.derivative_from_output}"
    )


def _parameters(function: _core.ElementwiseFunction) -> str:
    lines = ["Parameters", "----------"]
    texts = {
        "grad": "Gradient of the loss with regard to the output.",
        "x": f"Input of any shape. {_DTYPES}",
        "y": f"Output of `{function.row.name}`. {_DTYPES}",
    }
    for name in function.array_names:
        lines += [f"{name} : array_like", f"    {texts[name]}"]
    for parameter in function.row.operands:
        lines += [f"{parameter.name} : array_like", f"    {parameter.meaning.capitalize()}."]
    for parameter, accepts in zip(function.row.scalars, function.scalar_accepts, strict=True):
        lines += [f"{parameter.name} : float, default {parameter.default}"]
        lines += [f"    {parameter.meaning.capitalize()}: {accepts}. No unit. Taken in the precision that computes."]
    if function.operand_names:
        lines += ["axis : int, default 1", "    The channel axis; for 1-D input it is 0."]
    pair = function.operand_names and function.direction == "backward"
    lines += ["out : ndarray, optional" if not pair else "out : ndarray or tuple of ndarray, optional"]
    targets = " or ".join(f"``{name}``" for name in function.array_names)
    lines += [f"    Where to write, of the result's shape. It may be {targets}: then the call is in place."]
    lines += ["**ufunc_keywords", "    ``where``, ``casting``, ``dtype``, ``order``, ``subok``, as for a NumPy ufunc."]
    return "\n".join(lines)


def _returns(function: _core.ElementwiseFunction) -> str:
    if function.operand_names and function.direction == "backward":
        names = ", ".join(["x", *function.operand_names])
        return f"Returns\n-------\ntuple of ndarray\n    The gradients with regard to {names}."
    what = "``out``, or a new array of the broadcast shape; a scalar for scalars."
    return f"Returns\n-------\nndarray or scalar\n    {what}"


def _raises(function: _core.ElementwiseFunction) -> str:
    lines = ["Raises", "------", "TypeError"]
    lines += ["    For complex, object, string and other dtypes, or an ``out`` that cannot hold the result."]
    lines += ["ValueError", "    For an ``out`` of the wrong shape, read-only, or overlapping itself"]
    lines[-1] += "; for a parameter\n    outside what it accepts." if function.row.parameters else "."
    lines += ["    Nothing is written before an error is raised."]
    return "\n".join(lines)


@functools.cache
def _records(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The certificate's records about default parameters, by function and dtype; none where there is no certificate."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))["records"]
    except FileNotFoundError:
        return {}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        # the default parameters come first
        found.setdefault((record["function"], record["dtype"]), record)
    return found


#: What `_certified` reads.
CERTIFICATE = Path(__file__).with_name("certificate.json")


def _certified(function: _core.ElementwiseFunction) -> list[str]:
    """What the certificate says about a function, a line for each dtype."""
    lines = []
    for (name, dtype), record in _records(CERTIFICATE).items():
        if name != function.name:
            continue
        bits = {"float32": 32, "float64": 64}.get(dtype, 16)
        if record.get("stride") == 1:
            visited = f"Certified on {record['date']} over all 2**{bits} {dtype} numbers"
            visited += "" if record["points"] == 2**bits else " that are outputs"
        else:
            visited = f"Measured on {record['date']} on {record['points']} {dtype} numbers over the whole line"
        parameters = ", ".join(f"{name} = {value:g}" for name, value in record["parameters"].items())
        figures = ", ".join(
            f"{float(of['ulp']):.2f} ({target}{_own_sweep(of)})" for target, of in record["targets"].items()
        )
        lines.append(f"{visited}{f' with {parameters}' if parameters else ''}: {figures} ULP.")
    return lines


def _own_sweep(figures: dict[str, Any]) -> str:
    """What a target says of itself that was not measured with the others of its record."""
    what = f"every {figures['stride']}th number " if "stride" in figures else ""
    return f", {what}on {figures['date']}" if "date" in figures else ""


def _notes(function: _core.ElementwiseFunction) -> str:
    row, direction = function.row, function.direction
    ulp = row.ulp if direction == "forward" else row.ulp_gradient
    lines = ["Notes", "-----"]
    lines.append(f"Largest error: {ulp.float32:g} ULP in float32, {ulp.float64:g} ULP in float64, over the whole line.")
    lines += _certified(function)
    if direction == "forward":
        low, high = row.limits
        lines.append(f"NaN gives NaN; f(-inf) = {low}, f(inf) = {high}; the sign of zero is kept where f(0) = 0.")
    else:
        low, high = row.gradient_limits
        lines.append(f"NaN gives NaN; f'(-inf) = {low}, f'(inf) = {high}.")
        if row.kink:
            lines.append(f"The derivative is {row.kink}.")
    if direction == "forward" and row.derivative_from_output:
        in_place = "the forward may run in place in training"
        lines.append(f"`{row.name}_backward_from_output` needs only the output: {in_place}.")
    elif direction == "forward":
        lines.append("The gradient needs the input: keep it, and do not run the forward in place in training.")
    if row.aliases:
        lines.append(f"Also known as: {', '.join(row.aliases)}.")
    lines.append(f"Source: {row.source}.")
    return "\n".join(lines)


def _examples(row: Activation, direction: str) -> str:
    """Executed by tests/test_documentation.py; what they show holds for every row."""
    name = row.function_name(direction)
    weight = ", np.float32(0.25)" if row.operands else ""
    lines = ["Examples", "--------", ">>> import numpy as np", ">>> import fastact"]
    lines.append('>>> x = np.linspace(0.1, 0.9, 5, dtype="float32")')
    if direction == "forward":
        lines += [f">>> y = fastact.{name}(x{weight})", ">>> y.dtype.name, y.shape", "('float32', (5,))"]
        lines += [f">>> fastact.{name}(x{weight}, out=x) is x", "True", ">>> bool((x == y).all())", "True"]
    elif row.operands:
        lines += [">>> grad = np.ones_like(x)", f">>> dx, dweight = fastact.{name}(grad, x{weight}, out=grad)"]
        lines += [">>> dx is grad", "True"]
    else:
        lines += [">>> grad = np.ones_like(x)", f">>> fastact.{name}(grad, x, out=grad) is grad", "True"]
    return "\n".join(lines)
