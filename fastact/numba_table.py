"""The C interface (``fastact.h``) called from code that Numba compiles.

Compiled code may outlive this process in Numba's cache, and may meet another version of fastact there.  So it holds no
addresses: it names three functions of the table as external symbols, which never change their type as long as the
table's ABI version, part of their names, stays the same; and it asks ``find`` for an activation when it first runs.
Each library of compiled code notes that the symbols must be there when it is loaded from a cache (``_reload_init``:
without its symbols LLVM would end the process).

Numba and llvmlite are imported by importing this module.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from . import _core

FUNCTIONS = ("find", "run", "sum_channels")
DTYPES = ("float32", "float64")
#: Statuses of ``fastact.h`` that callers tell apart, and one of our own: ``find`` knows no such activation.
OK, ERROR_PARAMETER, ERROR_UNKNOWN = 0, 7, -1

_pointer = ir.IntType(8).as_pointer()
_int = ir.IntType(32)


class _Table(ctypes.Structure):
    """``fastact_table``, as far as it is used here; a table only grows, at its end."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("abi_version", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
        ("version", ctypes.c_char_p),
        *((name, ctypes.c_void_p) for name in ("find", "kernel", "apply", "run", "get_threads", "set_threads")),
        *((name, ctypes.c_void_p) for name in ("instruction_set", "message", "activation", "describe", "sum_channels")),
    )


def _table() -> _Table:
    content = ctypes.pythonapi.PyCapsule_GetPointer
    content.restype, content.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return _Table.from_address(content(_core._C_API, b"fastact._core._C_API"))


def _symbol(name: str) -> str:
    return f"fastact_{name}_abi{_table().abi_version}"


def register_symbols() -> None:
    """Let LLVM find the table's functions."""
    for name in FUNCTIONS:
        binding.add_symbol(_symbol(name), getattr(_table(), name))


def _declared(context: Any, builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """A function of the table, for the module that is being built."""
    register_symbols()
    # an attribute that Numba does not document: without it, cached code needs `init` before it is loaded
    nothing: set[Any] = set()
    getattr(context.active_code_library, "_reload_init", nothing).add(register_symbols)
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), _symbol(name))


def _found(context: Any, builder: Any, activation: str, direction: int) -> Any:
    """What ``find`` returns, kept in a variable of the compiled code; another thread at worst stores the same."""
    kept = cgutils.add_global_variable(builder.module, _pointer, builder.module.get_unique_name("fastact_function"))
    kept.linkage, kept.initializer = "internal", ir.Constant(_pointer, None)
    size = context.get_abi_sizeof(_pointer)
    function = cgutils.alloca_once_value(builder, builder.load_atomic(kept, "monotonic", size))
    with builder.if_then(cgutils.is_null(builder, builder.load(function)), likely=False):
        find = _declared(context, builder, "find", _pointer, [_pointer, _int])
        name = context.insert_const_string(builder.module, activation)
        found = builder.call(find, [name, _int(direction)])
        builder.store_atomic(found, kept, "monotonic", size)
        builder.store(found, function)
    return builder.load(function)


def _stored(builder: Any, kind: Any, values: list[Any]) -> Any:
    """The address of a struct, or of an array of equal things, on the stack."""
    place = cgutils.alloca_once(builder, kind)
    for k, value in enumerate(values):
        builder.store(value, cgutils.gep_inbounds(builder, place, 0, k))
    return builder.bitcast(place, _pointer)


class Call(NamedTuple):
    """A function of the table, and how many of its operands are of which kind."""

    activation: str
    direction: int
    dtype: str
    #: Inputs of the result's shape, inputs with one value per channel, outputs, parameters.
    n_arrays: int
    n_operands: int
    n_outputs: int
    n_parameters: int


def run_function(call: Call) -> Any:
    """``fastact_table.run`` of one function, for Numba code: a status.

    ``run(inputs..., outputs..., parameters..., start, rows, columns, row_step, step)``; no tuples of arrays, because
    each costs two changes of reference counts.  An input is a C-contiguous array or a number.  Inputs of the result's
    shape and outputs begin at element ``start`` and are dense; other arrays advance by the steps.
    """
    n_inputs = call.n_arrays + call.n_operands
    n_arguments = n_inputs + call.n_outputs

    def typed(*given: Any) -> Any:
        numbers = [types.float64] * call.n_parameters + [types.intp] * 5
        return types.int32(*given[:n_arguments], *numbers), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, rows, columns, row_step, step = arguments[-5:]
        intp = context.get_value_type(types.intp)
        size = intp(context.get_abi_sizeof(context.get_value_type(getattr(types, call.dtype))))
        offset, dense_steps = builder.mul(start, size), [builder.mul(columns, size), size]
        operand = ir.LiteralStructType([_pointer, intp, intp])

        def placed(k: int) -> Any:
            """Argument k as a ``fastact_input`` or ``fastact_output``."""
            kind, value = signature.args[k], arguments[k]
            if not isinstance(kind, types.Array):
                fields = [builder.bitcast(cgutils.alloca_once_value(builder, value), _pointer), intp(0), intp(0)]
            else:
                address = _data(context, builder, kind, value)
                is_dense = k < call.n_arrays or k >= n_inputs
                fields = [builder.gep(address, [offset]), *dense_steps] if is_dense else [address, row_step, step]
            return cgutils.make_anonymous_struct(builder, fields, operand)

        operands = [placed(k) for k in range(n_arguments)]
        fields = [
            rows,
            columns,
            _stored(builder, ir.ArrayType(operand, n_inputs), operands[:n_inputs]),
            _stored(builder, ir.ArrayType(operand, call.n_outputs), operands[n_inputs:]),
            _stored(builder, ir.ArrayType(ir.DoubleType(), call.n_parameters), arguments[n_arguments:-5]),
            # threads: 0, as many as the process allows
            *map(_int, [DTYPES.index(call.dtype), n_inputs, call.n_outputs, call.n_parameters, 0]),
        ]
        kind = ir.LiteralStructType([intp] * 3 + [_pointer] * 3 + [_int] * 5)
        described = _stored(builder, kind, [intp(context.get_abi_sizeof(kind)), *fields])
        function = _found(context, builder, call.activation, call.direction)
        status = cgutils.alloca_once_value(builder, _int(ERROR_UNKNOWN))
        with builder.if_then(cgutils.is_not_null(builder, function), likely=True):
            table_run = _declared(context, builder, "run", _int, [_pointer, _pointer])
            builder.store(builder.call(table_run, [function, described]), status)
        return builder.load(status)

    # an intrinsic has a fixed number of arguments: with *arguments they would come as a tuple
    names = ", ".join(f"argument_{k}" for k in range(n_arguments + call.n_parameters + 5))
    namespace: dict[str, Any] = {"typed": typed}
    exec(f"def run(typing, {names}):\n    return typed({names})\n", namespace)
    return intrinsic(namespace["run"])


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Address of an array's first element."""
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, _pointer)


@intrinsic
def sum_channels(typing: Any, terms: Any, channels: Any, inner: Any, sums: Any) -> Any:
    """``fastact_table.sum_channels`` of C-contiguous arrays, for Numba code: a status."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        intp = context.get_value_type(types.intp)
        count = context.make_array(terms)(context, builder, arguments[0]).nitems
        data = [_data(context, builder, signature.args[k], arguments[k]) for k in (0, 3)]
        table_sum = _declared(context, builder, "sum_channels", _int, [_int, _pointer, intp, intp, intp, _pointer])
        dtype = _int(DTYPES.index(terms.dtype.name))
        return builder.call(table_sum, [dtype, data[0], count, arguments[1], arguments[2], data[1]])

    return types.int32(terms, types.intp, types.intp, sums), generate


@intrinsic
def meets(typing: Any, out: Any, array: Any, may_be_equal: Any) -> Any:
    """Whether two C-contiguous arrays share memory; in place, where that is allowed, does not count."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        intp = context.get_value_type(types.intp)
        spans = []
        for kind, value in zip((out, array), arguments, strict=False):
            structure = context.make_array(kind)(context, builder, value)
            begin = builder.ptrtoint(structure.data, intp)
            spans.append((begin, builder.add(begin, builder.mul(structure.nitems, structure.itemsize))))
        (begin, end), (other_begin, other_end) = spans
        overlap = builder.and_(
            builder.icmp_unsigned("<", begin, other_end), builder.icmp_unsigned("<", other_begin, end)
        )
        allowed = builder.and_(arguments[2], builder.icmp_unsigned("==", begin, other_begin))
        return builder.and_(overlap, builder.not_(allowed))

    return types.boolean(out, array, types.boolean), generate
