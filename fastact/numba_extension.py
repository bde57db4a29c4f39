"""Every public function inside ``@numba.njit``: ``fastact.gelu(x)`` of numbers and of arrays, no import needed.

Numba calls ``init`` before the first compilation of a process (entry point ``numba_extensions``).  It tells Numba the
functions by ``numba.extending.overload``; nothing is compiled before somebody's code calls one.

A number is computed by the formula itself, as Numba's backend compiles it, inlined into the caller's loop, which LLVM
then vectorises.  That leaves no room for checks: a parameter is taken as it is.  An array goes to the C function
(``numba_arrays.py``), and so to whatever backend serves and to the driver's threads: the bits of the call from Python.

Numba knows types at compile time only, hence two kinds of errors: a TypingError for an argument of the wrong type, and
a ValueError with a constant text for a wrong shape or value.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload
from numba.np.numpy_support import as_dtype

from . import _core, dispatch, numba_arrays, numba_table
from .backends import numba_kernels
from .numba_arrays import refusal

_lock = threading.Lock()
_registered = False

_ACCEPTED = "float32, float64, integers, bools, and arrays of them"


def init() -> None:
    """Tell Numba the public functions; Numba calls it, and calling it again does nothing."""
    global _registered
    with _lock:
        if not _registered:
            numba_table.register_symbols()
            for function in dispatch.FUNCTIONS.values():
                _register(function)
            _registered = True


def argument_names(function: _core.ElementwiseFunction) -> tuple[str, ...]:
    """All arguments but ``out``, in their order."""
    axis = ("axis",) if function.operand_names else ()
    return (*function.array_names, *function.operand_names, *function.scalar_names, *axis)


def _signature(function: _core.ElementwiseFunction) -> str:
    defaults = {p.name: p.default for p in function.row.scalars} | {"axis": 1}
    return ", ".join([f"{name}={defaults[name]!r}" if name in defaults else name for name in argument_names(function)])


def _defined(function: _core.ElementwiseFunction, body: str, namespace: dict[str, Any]) -> Any:
    """A Python function of the public function's name and arguments."""
    source = f"def {function.name}({_signature(function)}, out=None):\n    return {body}\n"
    exec(compile(source, f"<fastact {function.name} for numba>", "exec"), namespace)
    return namespace[function.name]


def _register(function: _core.ElementwiseFunction) -> None:
    def implementation(given: dict[str, Any]) -> Any:
        return _implementation(function, given)

    pairs = ", ".join(f"{name!r}: {name}" for name in (*argument_names(function), "out"))
    typed = _defined(function, f"implementation({{{pairs}}})", {"implementation": implementation})
    overload(function, jit_options={"forceinline": True, **numba_kernels.OPTIONS})(typed)


def _implementation(function: _core.ElementwiseFunction, given: dict[str, Any]) -> Any:
    """What Numba compiles for arguments of these types."""
    given = {name: _checked(function, name, kind) for name, kind in given.items()}
    inputs = [given[name] for name in (*function.array_names, *function.operand_names)]
    arrays = [kind for kind in inputs if isinstance(kind, types.Array)]
    if arrays:
        dtype = _computed([kind.dtype for kind in arrays])
        compute = numba_arrays.array_function(function, tuple(given.items()), dtype)
        return _defined(function, f"compute({', '.join(given)})", {"compute": compute})
    if given["out"] is not None:
        raise refusal(function, "out", given["out"], "nothing, where no argument is an array")
    # an operand that is a number is a parameter like others: a literal 0.25 is float64 to Numba, and must not make
    # a loop over float32 compute in double
    dtype = _computed([given[name] for name in function.array_names])
    namespace = {"T": getattr(np, dtype), "element": numba_kernels.element(_loop(function), dtype)}
    elements = (*function.array_names, *function.operand_names, *function.scalar_names)
    return _defined(function, f"element({', '.join(f'T({name})' for name in elements)})", namespace)


def _loop(function: _core.ElementwiseFunction) -> str:
    return f"{function.row.name}_{function.direction}"


def _is_number(kind: Any) -> bool:
    """Whether a type is one of numbers that fastact computes with."""
    return kind in (types.float32, types.float64) or isinstance(kind, types.Integer | types.Boolean)


def _checked(function: _core.ElementwiseFunction, name: str, kind: Any) -> Any:
    """The type of an argument, if it is one that the argument accepts; None for an ``out`` that is not given."""
    kind = types.unliteral(kind)
    is_default = isinstance(kind, types.Omitted) or not isinstance(kind, types.Type)
    if name == "out":
        if is_default or kind is types.none:
            return None
        if not isinstance(kind, types.Array) or kind.dtype not in (types.float32, types.float64) or not kind.mutable:
            raise refusal(function, name, kind, "a writeable float32 or float64 array")
    elif name == "axis":
        if not is_default and not isinstance(kind, types.Integer):
            raise refusal(function, name, kind, "an integer")
    elif name in function.scalar_names:
        if not is_default and not _is_number(kind):
            raise refusal(function, name, kind, "a float32 or float64 number, an integer or a bool")
    elif not _is_number(kind.dtype if isinstance(kind, types.Array) else kind):
        raise refusal(function, name, kind, _ACCEPTED)
    return kind


def _computed(kinds: list[Any]) -> str:
    """The dtype that computes, as NumPy promotes; integers alone are computed as float64."""
    return "float32" if np.result_type(*map(as_dtype, kinds)) == np.float32 else "float64"
