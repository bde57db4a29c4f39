"""The call of a C function for arrays, as source text that Numba compiles: one text for each combination of types.

The C function takes dense arrays of one precision.  What it does not take (strides, other dtypes, outputs that overlap
inputs) is copied before or after; everything else is passed on as it is.  Shapes are checked here, parameters by the C
function, whose status becomes an exception.  Messages are constants, because compiled code cannot build others.

The text is flat on purpose: a helper that takes or returns an array, or a tuple of arrays, costs two atomic changes of
a reference count, and a dozen of them cost more than the activation of a small array (0.4 us a call instead of 0.15).
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.errors import TypingError

from . import _core, numba_table
from .catalogue import DIRECTIONS

#: How ``numba_table.run_function`` walks the elements.
_LAYOUT = "rows, columns, row_step, step"
# nobody calls these functions but compiled code
_jit = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


def refusal(function: _core.ElementwiseFunction, name: str, got: Any, accepted: str) -> TypingError:
    """The error for an argument of a type that cannot be served."""
    return TypingError(f"{function.name}: {name}: got {got}; accepted: {accepted}")


@functools.cache
def array_function(function: _core.ElementwiseFunction, given: tuple[tuple[str, Any], ...], dtype: str) -> Any:
    """The jitted call of a function with arguments of these types, at least one of which is an array.

    ``given`` has the names and Numba types of all arguments, in order; ``dtype`` is what computes.
    """
    kinds = dict(given)
    inputs = (*function.array_names, *function.operand_names)
    arrays = [key for key in inputs if isinstance(kinds[key], types.Array)]
    channels = [key for key in function.operand_names if key in arrays and kinds[key].ndim]
    leading = _leading(function, kinds, arrays)
    has_out = kinds["out"] is not None
    has_gradients = bool(function.operand_names) and function.direction == "backward"
    T = getattr(np, dtype)

    lines = [f"shape, size = {leading}.shape, {leading}.size"]
    for key in [*arrays, "out"] if has_out else arrays:
        if key not in (leading, *function.operand_names):
            message = f"{function.name}: {key}: accepted: an array of the shape of {leading}"
            lines += [f"if {key}.shape != shape:", f"    raise ValueError({message!r})"]
    is_dense = not has_out or kinds["out"] == _dense(kinds["out"], dtype)
    passed = [key if kinds[key] == _dense(kinds[key], dtype) else f"dense_{key}" for key in inputs]
    if has_out:
        # as if the inputs had been copied: by the function without out, so that no text holds the computation twice
        results = "result, gradient" if has_gradients else "result"
        apart = [f"{results} = fresh({', '.join(list(kinds)[:-1])}, None)", "assign(out, result)"]
        apart += [f"return {results.replace('result', 'out')}"]
        overlaps = [f"meets(out, {key}, {key in function.array_names})" for key in arrays if key in passed]
        if is_dense:
            apart = [f"if {' or '.join(overlaps)}:", *_indented(apart)] if overlaps else []
        lines += apart
    if is_dense:
        lines += _computing(function, kinds, passed, channels, "out" if has_out else "result")
    source = "\n".join([f"def compute({', '.join(kinds)}):", *_indented(lines)])

    call = numba_table.Call(
        activation=function.row.name,
        direction=DIRECTIONS.index(function.direction),
        dtype=dtype,
        n_arrays=len(function.array_names),
        n_operands=len(function.operand_names),
        n_outputs=1 + (len(function.operand_names) if has_gradients else 0),
        n_parameters=len(function.scalar_names),
    )
    namespace: dict[str, Any] = {
        "T": T,
        "empty": np.empty,
        "zeros": np.zeros,
        "copied": _copier(T, False),
        "reordered": _copier(T, True),
        "assign": _assignment(kinds["out"]) if has_out else None,
        "fresh": array_function(function, (*given[:-1], ("out", None)), dtype) if has_out else None,
        "meets": numba_table.meets,
        "run": numba_table.run_function(call),
        "sum_channels": numba_table.sum_channels,
        "check": _status_check(function),
        "channels_of": _channels(function, channels[0], np.dtype(T).itemsize) if channels else None,
    }
    exec(compile(source, f"<fastact {function.name} of arrays for numba>", "exec"), namespace)
    return _jit(namespace["compute"])


def _computing(
    function: _core.ElementwiseFunction, kinds: dict[str, Any], passed: list[str], channels: list[str], target: str
) -> list[str]:
    """The lines that compute into ``target``: ``out``, or a new array; ``passed`` are the dense inputs' names."""
    inputs = (*function.array_names, *function.operand_names)
    layout = f"channels_of(shape, {channels[0]}, axis)" if channels else "1, 1, size, 0, 0, 1, size"
    lines = [f"outer, {_LAYOUT}, count, inner = {layout}"]
    for key, name in zip(inputs, passed, strict=True):
        if key != name:
            copy = "reordered" if getattr(kinds[key], "layout", "") == "F" else "copied"
            lines += [f"{name} = {copy if isinstance(kinds[key], types.Array) else 'T'}({key})"]
    has_gradients = bool(function.operand_names) and function.direction == "backward"
    arguments = [*passed, target, *(["terms"] if has_gradients else [])]
    arguments += [f"float({key})" for key in function.scalar_names]
    lines += ["terms = empty(shape, T)"] if has_gradients else []
    lines += ["result = empty(shape, T)"] if target == "result" else []
    lines += ["for k in range(outer):"]
    lines += [f"    check(run({', '.join(arguments)}, k * rows * columns, {_LAYOUT}))"]
    if not has_gradients:
        return [*lines, f"return {target}"]
    lines += ["sums = zeros(count)", "if size:", "    check(sum_channels(terms, count, inner, sums))"]
    weight = kinds[function.operand_names[0]]
    is_number = not isinstance(weight, types.Array)
    gradient = "T(sums[0])" if is_number else "sums.astype(T)" + ("" if weight.ndim else ".reshape(())")
    return [*lines, f"return {target}, {gradient}"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _leading(function: _core.ElementwiseFunction, kinds: dict[str, Any], arrays: list[str]) -> str:
    """The array whose shape the others and the result have; checks the numbers of dimensions."""
    dense = [key for key in arrays if key in function.array_names]
    if not dense:
        raise refusal(function, arrays[0], kinds[arrays[0]], f"a number, where {function.array_names[-1]} is one")
    leading = dense[-1]
    ndim = kinds[leading].ndim
    for key in (*dense, "out"):
        if kinds[key] is not None and kinds[key].ndim != ndim:
            raise refusal(function, key, kinds[key], f"as many dimensions as {leading} has, {ndim}")
    for key in arrays:
        if key in function.operand_names and kinds[key].ndim > min(ndim, 1):
            raise refusal(function, key, kinds[key], "a number, or a 1-D array with one value per channel")
    return leading


def _dense(kind: Any, dtype: str) -> Any:
    """The type that an argument of this type must have to be passed on as it is."""
    scalar = getattr(types, dtype)
    return types.Array(scalar, kind.ndim, "C", readonly=not kind.mutable) if isinstance(kind, types.Array) else scalar


@functools.cache
def _copier(T: Any, keeps_order: bool) -> Any:
    """A jitted function: a C-contiguous copy of an array in the precision that computes."""
    if not keeps_order:
        # arrays in Fortran order would stay so
        return _jit(lambda array: array.astype(T))

    @_jit
    def copied(array):
        dense = np.empty(array.shape, T)
        _assign_rows(dense, array)
        return dense

    return copied


# NumPy's assignment, out[...] = values, brings along all that makes the text of its error: 3 to 12 seconds to compile,
# where these take 0.2 s, and 0.5 ns for an element of a matrix, where rows take 0.3.


@_jit
def _assign_dense(out, values):
    elements, result = out.reshape(-1), values.reshape(-1)
    for k in range(result.size):
        elements[k] = result[k]


@_jit
def _assign_rows(out, values):
    for index in np.ndindex(out.shape[:-1]):
        row, result = out[index], values[index]
        for k in range(result.size):
            row[k] = result[k]


@_jit
def _assign_number(out, values):
    out[()] = values[()]


def _assignment(kind: Any) -> Any:
    """What assigns the elements of a dense array to those of an array of this type and the same shape."""
    if not kind.ndim:
        return _assign_number
    return _assign_dense if kind.layout == "C" else _assign_rows


@functools.cache
def _status_check(function: _core.ElementwiseFunction) -> Any:
    """A jitted function that raises what a status of the C function means."""
    name = function.name
    parameters = [
        f"{key}: accepted: {accepts}"
        for key, accepts in zip(function.scalar_names, function.scalar_accepts, strict=True)
    ]
    refused = f"{name}: {'; '.join(parameters)}, also after rounding to the precision that computes"
    unknown = f"{name}: the installed version of fastact does not know it; compile this code again"
    failed = f"{name}: fastact's C interface refused the call"

    @_jit
    def check(status):
        if status == numba_table.ERROR_PARAMETER:
            raise ValueError(refused)
        if status == numba_table.ERROR_UNKNOWN:
            raise RuntimeError(unknown)
        if status != numba_table.OK:
            raise RuntimeError(failed)

    return check


def _channels(function: _core.ElementwiseFunction, operand: str, itemsize: int) -> Any:
    """A jitted function: how the C function walks x beside an operand with one value per channel.

    x is seen as (outer, channels, inner).  Returns outer, rows, columns, row_step, step, channels, inner.
    """
    wrong_axis = f"{function.name}: axis: accepted: an axis of x, counted from 0, or from the end from -1"
    wrong_shape = f"{function.name}: {operand}: accepted: a number, or one value for each channel along axis of x"

    @_jit
    def channels_of(shape, values, axis):
        size = 1
        for length in shape:
            size *= length
        ndim = len(shape)
        position = 0 if ndim == 1 and axis == 1 else axis + ndim if axis < 0 else axis
        if position < 0 or position >= ndim:
            raise ValueError(wrong_axis)
        if values.size == 1:
            return 1, 1, size, 0, 0, 1, size
        channels = shape[position]
        if values.size != channels:
            raise ValueError(wrong_shape)
        if size == 0:
            return 0, 0, 0, 0, 0, channels, 1
        inner = 1
        for k in range(position + 1, ndim):
            inner *= shape[k]
        if inner == 1:
            return 1, size // channels, channels, 0, itemsize, channels, 1
        return size // (channels * inner), channels, inner, itemsize, 0, channels, inner

    return channels_of
