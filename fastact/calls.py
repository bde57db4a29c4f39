"""Every call that the compiled callables do not take themselves: checks the arguments, then calls the ufunc.

Strides, broadcasting, ``where=``, casting, lists, scalars, subclasses and other people's arrays come here.  All checks
are made before anything is written, and a message names the argument, what it got and what is accepted.  What the
ufunc does with overlapping operands is NumPy's rule: as if they had been copied.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import _core, dispatch
from .dtypes import FLOATS, SUPPORTED, as_floats, common_dtype, computed_name, is_supported, rounded
from .exchange import as_array, as_output

#: Keywords that go to the ufunc as they are.
UFUNC_KEYWORDS = frozenset({"where", "casting", "order", "dtype", "subok", "signature", "sig"})
#: Types without an array protocol of their own, by far the most frequent ones.
_PLAIN = frozenset({np.ndarray, float, int, bool, list, tuple, type(None)})
_WEAK = frozenset({bool, int, float})


class _Signature(NamedTuple):
    """What _bind must know of a function, found once: that took a fifth of every call."""

    #: All parameters but the axis, in the order of the ufunc's inputs.
    names: tuple[str, ...]
    #: All that may be given by position.
    positional: tuple[str, ...]
    defaults: dict[str, float]


@cache
def _signature(function: _core.ElementwiseFunction) -> _Signature:
    names = (*function.array_names, *function.operand_names, *function.scalar_names)
    positional = (*names, "axis") if function.operand_names else names
    return _Signature(names, positional, {p.name: p.default for p in function.row.parameters if p.default is not None})


def general_call(function: _core.ElementwiseFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One call of a public function, any arguments."""
    given, out, axis, options = _bind(function, args, kwargs)
    n_arrays = len(function.array_names)
    n_inputs = n_arrays + len(function.operand_names)
    if any(map(_overrides, given)) or (out and any(map(_overrides, out))):
        # somebody else's array type: its own protocol calls the ufunc back on what it holds
        scalars = [function.check_scalar(k, value, True) for k, value in enumerate(given[n_inputs:])]
        if out:
            options["out"] = out + (None,) * (function.ufunc.nout - len(out))
        return function.ufunc(*given[:n_inputs], *scalars, **options)

    was_scalar = True
    for value in given[:n_inputs]:
        was_scalar = was_scalar and not isinstance(value, np.ndarray)
    inputs = _checked_inputs(function, given[:n_inputs])
    computed = computed_name(_computed_dtype(inputs, options))
    scalars = given[n_inputs:]
    if scalars:
        scalars = [function.check_scalar(k, value, computed == "float64") for k, value in enumerate(scalars)]
    function.prepare(dispatch.DTYPES.index(computed))
    arrays, operands = inputs[:n_arrays], inputs[n_arrays:]
    if operands:
        shapes = [operand.shape for operand in operands]
        named = zip(function.operand_names, operands, strict=True)
        operands = [_along_axis(function, name, operand, arrays[-1], axis) for name, operand in named]
        if function.direction == "backward":
            return _with_operand_gradients(function, arrays, operands, shapes, scalars, out, options, was_scalar)
    if out:
        _check_output(function, "out", out[0], [*arrays, *operands], options)
        options["out"] = out[0]
    result = function.ufunc(*arrays, *operands, *scalars, **options)
    return result if was_scalar or isinstance(result, np.ndarray) else np.asarray(result)


def _bind(
    function: _core.ElementwiseFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], tuple[Any, ...] | None, int, dict[str, Any]]:
    """The arguments in the order of the ufunc's inputs, the outputs, the axis, and what is for the ufunc."""
    names, positional, defaults = _signature(function)
    if len(args) > len(positional):
        raise TypeError(f"{function.name}: got {len(args)} positional arguments; accepted: {', '.join(positional)}")
    values = dict(zip(positional, args, strict=False))
    options = {}
    out = None
    for name, value in kwargs.items():
        if name == "out":
            out = _as_outputs(function, value)
        elif name in values:
            raise TypeError(f"{function.name}: {name}: got two values")
        elif name in positional:
            values[name] = value
        elif name in UFUNC_KEYWORDS:
            options[name] = value
        else:
            accepted = ", ".join([*positional, "out", *sorted(UFUNC_KEYWORDS)])
            raise TypeError(f"{function.name}: got an unknown argument {name!r}; accepted: {accepted}")
    missing = [name for name in names if name not in values and name not in defaults]
    if missing:
        raise TypeError(f"{function.name}: {', '.join(missing)}: missing")
    axis = values.get("axis", 1)
    return [values.get(name, defaults.get(name)) for name in names], out, axis, options


def _as_outputs(function: _core.ElementwiseFunction, out: Any) -> tuple[Any, ...] | None:
    if out is None:
        return None
    outputs = out if isinstance(out, tuple) else (out,)
    outputs = tuple([value if _overrides(value) else _output_view(function, value) for value in outputs])
    accepted = 1 + (len(function.operand_names) if function.direction == "backward" else 0)
    if not 1 <= len(outputs) <= accepted:
        raise ValueError(f"{function.name}: out: got {len(outputs)} arrays; accepted: 1 to {accepted}")
    return outputs


def _output_view(function: _core.ElementwiseFunction, value: Any) -> Any:
    if type(value) is np.ndarray:
        return value
    view = None if value is None else as_output(value)
    if view is None and value is not None:
        raise TypeError(
            f"{function.name}: out: got {type(value).__name__}; accepted: a NumPy array, or an object that lends "
            "its memory for writing (buffer protocol, DLPack on the CPU)"
        )
    return view


def _overrides(value: Any) -> bool:
    """Whether a value brings an array protocol of its own."""
    if type(value) in _PLAIN:
        return False
    protocol = getattr(type(value), "__array_ufunc__", None)
    return protocol is not None and protocol is not np.ndarray.__array_ufunc__ and not isinstance(value, np.generic)


def _checked_inputs(function: _core.ElementwiseFunction, given: list[Any]) -> list[Any]:
    """The inputs as arrays of floats.  Python numbers are weak, as in NumPy 2: they do not widen arrays beside them."""
    names = (*function.array_names, *function.operand_names)
    weak = [type(value) in _WEAK for value in given]
    if all(weak):
        weak = [False] * len(weak)
    if not any(weak):
        arrays = [_as_numbers(function, name, value) for name, value in zip(names, given, strict=True)]
        if not [array for array in arrays if array.dtype not in FLOATS]:
            return arrays
        bfloat16 = next((array.dtype for array in arrays if _core.is_bfloat16(array.dtype)), None)
        return [as_floats(array, bfloat16) for array in arrays]
    arrays = [
        None if is_weak else _as_numbers(function, name, value)
        for name, value, is_weak in zip(names, given, weak, strict=True)
    ]
    strong = [array for array in arrays if array is not None]
    bfloat16 = next((array.dtype for array in strong if _core.is_bfloat16(array.dtype)), None)
    arrays = [None if array is None else as_floats(array, bfloat16) for array in arrays]
    dtype = common_dtype([array for array in arrays if array is not None])
    with np.errstate(all="ignore"):
        return [
            _weak_number(function, name, value, dtype) if array is None else array
            for name, value, array in zip(names, given, arrays, strict=True)
        ]


def _computed_dtype(inputs: list[Any], options: dict[str, Any]) -> np.dtype[Any]:
    """The dtype of the loop that these inputs, and a dtype asked for, lead to."""
    asked = options.get("dtype")
    return np.dtype(asked) if asked else common_dtype(inputs)


def _weak_number(function: _core.ElementwiseFunction, name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    try:
        return rounded(np.asarray(float(value)), dtype)
    except OverflowError:
        raise ValueError(f"{function.name}: {name}: got {value!r}; accepted: a number that fits a float") from None


def _as_numbers(function: _core.ElementwiseFunction, name: str, value: Any) -> Any:
    array = as_array(value)
    if is_supported(array.dtype):
        return array
    raise TypeError(f"{function.name}: {name}: got dtype {array.dtype}; accepted: {SUPPORTED}")


def _along_axis(function: _core.ElementwiseFunction, name: str, operand: Any, x: Any, axis: int) -> Any:
    """A per-channel operand, reshaped so that it broadcasts along ``axis`` of x."""
    if operand.ndim == 0:
        return operand
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{function.name}: axis: got {axis!r}; accepted: an integer")
    if x.ndim == 1 and axis == 1:
        axis = 0
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{function.name}: axis: got {axis}; accepted: {-x.ndim} to {x.ndim - 1} for x of {x.ndim}-D")
    channels = x.shape[axis]
    if operand.size != 1 and (operand.ndim != 1 or operand.size != channels):
        raise ValueError(
            f"{function.name}: {name}: got shape {operand.shape}; accepted: a scalar, or ({channels},), "
            f"one value per channel along axis {axis} of x, which has shape {x.shape}"
        )
    shape = [1] * x.ndim
    shape[axis] = operand.size
    return operand.reshape(shape)


def _check_output(
    function: _core.ElementwiseFunction, name: str, out: Any, inputs: list[Any], options: dict[str, Any]
) -> None:
    where = options.get("where", True)
    shape = inputs[0].shape
    shapes = (
        [array.shape for array in inputs[1:]] if where is True else [*(a.shape for a in inputs[1:]), np.shape(where)]
    )
    if any(other != shape for other in shapes):
        shape = _broadcast_shape([shape, *shapes])
    if out.shape != shape:
        raise ValueError(f"{function.name}: {name}: got shape {out.shape}; accepted: {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{function.name}: {name}: got a read-only array; accepted: a writeable one")
    result = _computed_dtype(inputs, options)
    casting = options.get("casting", "same_kind")
    if result is not out.dtype and not np.can_cast(result, out.dtype, casting):
        raise TypeError(
            f"{function.name}: {name}: got dtype {out.dtype}; accepted: what {result} can be cast to "
            f"with casting={casting!r}"
        )
    if _overlaps_itself(out):
        raise ValueError(
            f"{function.name}: {name}: got an array whose elements share memory "
            f"(shape {out.shape}, strides {out.strides}); accepted: one place for each element"
        )


def _broadcast_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """np.broadcast_shapes, which stops at 32 dimensions where ufuncs go to 64."""
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    result = tuple(next((n for n in lengths if n != 1), 1) for lengths in zip(*padded, strict=True))
    if any(n not in (1, m) for shape in padded for n, m in zip(shape, result, strict=True)):
        raise ValueError(f"shapes {', '.join(map(str, shapes))} do not broadcast together")
    return result


def _overlaps_itself(array: np.ndarray[Any, Any]) -> bool:
    """Whether two elements of an array share memory."""
    flags = array.flags
    if flags.forc or array.size < 2:
        return False
    axes = zip(array.strides, array.shape, strict=True)
    steps = sorted((abs(stride), length) for stride, length in axes if length > 1)
    extent = array.itemsize
    for stride, length in steps:
        if stride < extent:
            break
        extent += stride * (length - 1)
    else:
        return False
    if steps[0][0] == 0:
        return True
    # interleaved axes: rare enough to count the addresses
    offsets = np.zeros((), dtype=np.intp)
    for stride, length in steps:
        offsets = np.add.outer(offsets, np.arange(length) * stride)
    ordered = np.sort(offsets, axis=None)
    return bool((np.diff(ordered) < array.itemsize).any())


def _with_operand_gradients(
    function: _core.ElementwiseFunction,
    arrays: list[Any],
    operands: list[Any],
    shapes: list[tuple[int, ...]],
    scalars: list[float],
    out: tuple[Any, ...] | None,
    options: dict[str, Any],
    was_scalar: bool,
) -> Any:
    """Gradients for x and for each per-channel operand: the latter summed, in float64, over what it broadcast to."""
    outputs = (out or ()) + (None,) * (1 + len(operands) - len(out or ()))
    dtype = common_dtype([*arrays, *operands])
    is_half = dtype.itemsize == 2
    if outputs[0] is not None:
        _check_output(function, "out", outputs[0], [*arrays, *operands], options)
    for position, target in enumerate(outputs[1:]):
        if target is not None:
            _check_output(function, f"out[{position + 1}]", target, [np.empty(shapes[position], dtype)], {})
    if is_half:
        # the terms of the sum are not to be rounded to 16 bits
        function.prepare(dispatch.DTYPES.index("float32"))
        arrays = [array.astype(np.float32) for array in arrays]
        operands = [operand.astype(np.float32) for operand in operands]
    first = outputs[0] if not is_half else None
    results = function.ufunc(*arrays, *operands, *scalars, out=(first, *[None] * len(operands)), **options)
    gradient = results[0]
    if is_half:
        # where a mask leaves elements out, numbers of any kind stand in their places
        narrowed = rounded(np.asanyarray(gradient), dtype)
        gradient = _stored(narrowed[()] if was_scalar else narrowed, outputs[0], options)
    gradients = []
    for operand, shape, terms, target in zip(operands, shapes, results[1:], outputs[1:], strict=True):
        with np.errstate(all="ignore"):
            total = _sum_over_channels(np.asarray(terms), operand, options.get("where", True)).reshape(shape)
            stored = _stored(rounded(total, dtype), target, {})
            gradients.append(stored[()] if was_scalar and target is None else stored)
    return (gradient if was_scalar or isinstance(gradient, np.ndarray) else np.asarray(gradient), *gradients)


def _sum_over_channels(terms: Any, operand: Any, where: Any) -> Any:
    """Float64 sums of the terms over every axis but the operand's channel axis."""
    if where is not True:
        terms = np.where(where, terms, 0)
    channels = [k for k in range(terms.ndim) if operand.ndim and operand.shape[k] != 1]
    axis = channels[0] if channels else 0
    count = terms.shape[axis] if channels else 1
    inner = int(np.prod(terms.shape[axis + 1 :], dtype=np.intp)) if channels else max(terms.size, 2)
    if terms.size == 0:
        return np.zeros(operand.size)
    dense = np.ascontiguousarray(terms, terms.dtype if terms.dtype == np.float64 else np.float32)
    return _core.channel_sums(dense, count, inner)


def _stored(value: Any, target: Any, options: dict[str, Any]) -> Any:
    if target is None:
        return value
    np.copyto(target, value, casting="same_kind", where=options.get("where", True))
    return target
