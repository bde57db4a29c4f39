"""What other people's C, Cython, ctypes, cffi and SciPy code asks of the package: headers, addresses, callbacks.

The C functions themselves are compiled (``src_cy/embedding.pyx.in``, ``src_cy/table.pxi``) and are loaded when the
first of them is asked for.  ``docs/embedding.md`` is the guide.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from types import ModuleType
from typing import Any

from . import _core, dispatch
from .declarations import C_TYPES, FORMS, CFunction, c_function


def get_include() -> str:
    """Return the folder of ``fastact.h`` and ``fastact_inline.h``, for a C compiler's ``-I``.

    Returns
    -------
    str
        An absolute path.  ``python -m fastact --includes`` prints it as a compiler's option.

    Examples
    --------
    >>> import fastact, os
    >>> os.path.exists(os.path.join(fastact.get_include(), "fastact.h"))
    True
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")


def compiled_functions() -> ModuleType:
    """The module that holds the C functions."""
    return importlib.import_module("fastact._embedding")


def described(
    function: _core.ElementwiseFunction, direction: str | None
) -> tuple[_core.ElementwiseFunction, CFunction]:
    """A public function, or the one of its activation in another direction, and what its C functions look like."""
    if direction is None:
        direction = function.direction
    if direction not in function.row.directions:
        accepted = ", ".join(function.row.directions)
        raise ValueError(f"{function.name}: direction: got {direction!r}; accepted: {accepted}")
    return dispatch.FUNCTIONS[function.row.function_name(direction)], c_function(function.row, direction)


def _checked(function: _core.ElementwiseFunction, form: str, dtype: str) -> None:
    accepted_forms = (*FORMS, "kernel")
    if form not in accepted_forms:
        raise ValueError(f"{function.name}: form: got {form!r}; accepted: {', '.join(accepted_forms)}")
    if dtype not in C_TYPES:
        raise ValueError(f"{function.name}: dtype: got {dtype!r}; accepted: {', '.join(C_TYPES)}")


def address(function: _core.ElementwiseFunction, dtype: str, direction: str | None, form: str) -> int:
    """What ``ElementwiseFunction.address`` returns; it has the documentation."""
    _checked(function, form, dtype)
    function, declaration = described(function, direction)
    if form == "kernel":
        return function.kernel_address(int(dtype == "float64"))
    found: int = compiled_functions().addresses()[declaration.c_name(form, dtype)]
    return found


def signature(function: _core.ElementwiseFunction, dtype: str, direction: str | None, form: str) -> str:
    """What ``ElementwiseFunction.c_signature`` returns; it has the documentation."""
    _checked(function, form, dtype)
    if form == "kernel":
        return "void (const void *const *inputs, void *const *outputs, ptrdiff_t count, const void *parameters)"
    return described(function, direction)[1].signature(form, dtype)


def low_level_callable(function: _core.ElementwiseFunction, parameters: dict[str, Any]) -> Any:
    """What ``ElementwiseFunction.low_level_callable`` returns; it has the documentation."""
    from scipy import LowLevelCallable

    unknown = set(parameters) - set(function.scalar_names)
    if unknown:
        accepted = ", ".join(function.scalar_names) or "no parameters"
        raise TypeError(f"{function.name}: got an unknown argument {unknown.pop()!r}; accepted: {accepted}")
    capsules = compiled_functions().__pyx_capi__
    if not function.scalar_names:
        return LowLevelCallable(capsules[f"{function.name}_scalar_float64"])
    defaults = {parameter.name: parameter.default for parameter in function.row.scalars}
    values = [
        function.check_scalar(k, parameters.get(name, defaults[name]), True)
        for k, name in enumerate(function.scalar_names)
    ]
    # the cast keeps the numbers alive as long as the callable lives
    data = ctypes.cast((ctypes.c_double * len(values))(*values), ctypes.c_void_p)
    return LowLevelCallable(capsules[f"{function.name}_callback"], data)
