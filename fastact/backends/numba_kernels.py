"""Kernels compiled by Numba from the lowered formulas, on first use; numba is imported no sooner.

Three faces of one function, ``element``: ``kernel`` puts it into a loop and gives ``@cfunc`` pointers for the driver,
which threads them like the compiled ones; ``vectorized`` gives ``@vectorize`` ufuncs; and ``numba_extension.py`` lets
people's own jitted code call it.

What is particular to Numba, all of it measured (DESIGN §5):

- ``error_model="numpy"``: otherwise every division may raise, and no loop with one is vectorised.
- No ``fastmath``: what is fused is decided where formulas are lowered, so that the bits are those of the compiled
  kernels, and flags that assume away NaN, infinities or signed zeros would break the formulas.
- ``forceinline``: LLVM leaves the float64 formulas of gelu and mish as calls otherwise, and the loop scalar (10 ns).
- A loop over two pointers that turn out equal runs LLVM's scalar fallback, eight times slower.  So ``DISTINCT``: in
  place, the driver puts a block buffer between.
- No on-disk cache: Numba's has races that crash (numba #4807, #10128).
- ``target="parallel"`` and ``parallel=True`` are not used: they are slower than the driver's threads, and their
  runtimes abort on concurrent callers (workqueue) or kill forked children (omp).
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalogue import ACTIVATIONS

if TYPE_CHECKING:
    from .. import lowering

DISTINCT = True

_LOOPS = {f"{row.name}_{direction}": (row, direction) for row in ACTIVATIONS for direction in row.directions}
#: What formulas are compiled with, whatever the options of the code that they are inlined into.
OPTIONS: dict[str, Any] = {"error_model": "numpy"}
# Numba's compiler is not re-entrant for one dispatcher; the lock also keeps two threads from compiling the same thing.
_lock = threading.RLock()
_compiled: dict[tuple[str, str], Any] = {}


def forget_lock() -> None:
    """Make a new lock, in a forked child whose parent may have been compiling."""
    global _lock
    _lock = threading.RLock()


def unavailable() -> str | None:
    """Why Numba cannot serve, or None; looks for the package without importing it."""
    try:
        found = importlib.util.find_spec("numba")
    except (ImportError, ValueError) as error:
        return f"numba: {error}"
    return None if found else "numba is not installed (pip install numba)"


def _is_x86() -> bool:
    import llvmlite.binding

    return bool(llvmlite.binding.get_default_triple().startswith(("x86_64", "i686")))


def _has_feature(name: str) -> bool:
    """Whether the CPU that Numba compiles for has this, in LLVM's words."""
    import llvmlite.binding
    from numba.core import config

    if config.CPU_NAME not in (None, "host") and not config.CPU_FEATURES:
        return False
    features = config.CPU_FEATURES
    found = features if features is not None else llvmlite.binding.get_host_cpu_features().flatten()
    return f"+{name}" in found.split(",")


@functools.cache
def _has_fma() -> bool:
    """Whether the CPU that Numba compiles for rounds a * b + c once; a call of libm does instead, far slower."""
    return not _is_x86() or _has_feature("fma")


@functools.cache
def _primitives(precision: str) -> dict[str, Any]:
    """Numba's versions of ``formulas/primitives.py``, ``select`` and ``multiply_add``, for one precision."""
    import numba
    from numba.extending import intrinsic

    double = (np.float64, np.int64, 52)
    precisions: dict[str, tuple[Any, ...]] = {
        "float32": (np.float32, np.int32, 23),
        "float64": double,
        "widened": double,
        "narrowed": (np.float32, np.int32, 23),
    }
    T, bits, shift = precisions[precision]
    jit = numba.njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)
    integer, shift_by = bits, bits(shift)
    all_but_sign, sign_bit = bits(np.iinfo(bits).max), bits(np.iinfo(bits).min)

    @intrinsic
    def fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.fma(*arguments)

        return a(a, b, c), generate

    @jit
    def select(condition, yes, no):
        return yes if condition else no

    @jit
    def absolute(x):
        return integer(T(x).view(integer) & all_but_sign).view(T)

    @jit
    def copysign(magnitude, sign):
        kept = T(magnitude).view(integer) & all_but_sign
        return integer(kept | (T(sign).view(integer) & sign_bit)).view(T)

    @jit
    def power_of_two(shifted):
        return integer(T(shifted).view(integer) << shift_by).view(T)

    if _has_fma():

        @jit
        def multiply_add(a, b, c):
            return fused(a, b, c)
    else:

        @jit
        def multiply_add(a, b, c):
            return a * b + c

    @jit
    def multiply_subtract(a, b, c):
        return fused(a, b, -c)

    return {
        "T": T,
        "jit": jit,
        "select": select,
        "absolute": absolute,
        "copysign": copysign,
        "power_of_two": power_of_two,
        "multiply_add": multiply_add,
        "multiply_subtract": multiply_subtract,
    }


@functools.cache
def _loops_of(precision: str) -> tuple[lowering.Loop, ...]:
    """The loops that are computed in a precision, for whichever dtype."""
    from .. import lowering

    loops = [lowering.loop_of(*place) for place in _LOOPS.values()]
    dtype = {"float64": "float64", "narrowed": "float16"}.get(precision, "float32")
    return tuple(loop for loop in loops if loop.precision(dtype, _has_fma()) == precision)


@functools.cache
def _formulas(precision: str) -> dict[str, Any]:
    """All lowered formulas of one precision as Numba functions, by name; nothing is compiled before it is called."""
    from .. import lowering

    namespace = dict(_primitives(precision))
    formulas = [formula for loop in _loops_of(precision) for formula in loop.formulas]
    source = lowering.lower(formulas, lowering.NumbaDialect(precision))
    exec(compile(source, f"<fastact formulas {precision}>", "exec"), namespace)
    return namespace


# Without the lock: Numba calls this while it compiles other people's code, holding its own lock, for which a thread
# that is in `kernel` may be waiting.
@functools.cache
def element(loop: str, dtype: str) -> Any:
    """One element of a loop as a Numba function that is always inlined.

    Takes arrays' and operands' elements and then scalar parameters, all of ``dtype``; of float32 for dtypes of 16 bits,
    whose arithmetic that is.  Returns the result, or a tuple with the gradients of operands after it.
    """
    from .. import lowering

    described = lowering.loop_of(*_LOOPS[loop])
    precision = described.precision(dtype, _has_fma())
    names = described.arguments.replace("[i]", "").split(", ")
    # widened and rounded by the two types, which are one and the same unless the precision is "widened"
    arguments = ", ".join(f"T({name})" for name in names)
    factor = "grad * " if described.chained else ""
    results = ", ".join(f"{factor}result({formula.__name__}({arguments}))" for formula in described.formulas)
    # not under the activation's name, which is a formula's as well
    source = f"@jit\ndef element({', '.join([*described.arrays, *described.scalars])}):\n    return {results}\n"
    namespace = dict(_formulas(precision), result=np.float64 if dtype == "float64" else np.float32)
    exec(compile(source, f"<fastact {loop} {dtype}>", "exec"), namespace)
    return namespace["element"]


@functools.cache
def _conversions(dtype: str) -> dict[str, Any]:
    """``widen`` and ``narrow``, between elements as they are in memory and the numbers that are computed with.

    For dtypes of 16 bits, which are words to Numba, those of ``src_cy/halves.h``, which says why they are so.
    """
    import numba
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    jit = numba.njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)
    word, single = np.uint32, np.float32

    @jit
    def same(x):
        return x

    @jit
    def widen_bfloat16(half):
        return word(word(half) << word(16)).view(single)

    @jit
    def narrow_bfloat16(x):
        bits = single(x).view(word)
        rounded = word(bits + word(0x7FFF) + (word(bits >> word(16)) & word(1)))
        is_nan = word(bits & word(0x7FFFFFFF)) > word(0x7F800000)
        return np.uint16(word(bits | word(0x400000) if is_nan else rounded) >> word(16))

    @intrinsic
    def extend(typing_context: Any, half: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

        return types.float32(types.uint16), generate

    @intrinsic
    def truncate(typing_context: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

        return types.uint16(types.float32), generate

    @jit
    def widen_by_f16c(half):
        return extend(half)

    @jit
    def narrow_by_f16c(x):
        return truncate(single(x))

    @jit
    def widen_float16(half):
        magnitude = word(half) & word(0x7FFF)
        sign = word(word(half) & word(0x8000)) << word(16)
        normal = word(word(magnitude << word(13)) + word(112 << 23))
        special = word(word(magnitude << word(13)) | word(0x7F800000))
        tiny = single(single(np.int32(magnitude)) * single(2.0**-24)).view(word)
        below = tiny if magnitude < word(0x400) else normal
        return word((special if magnitude >= word(0x7C00) else below) | sign).view(single)

    @jit
    def narrow_float16(x):
        bits = single(x).view(word)
        magnitude = word(bits & word(0x7FFFFFFF))
        tiny = word(single(magnitude.view(single) + single(0.5)).view(word) - word(0x3F000000))
        odd = word(magnitude >> word(13)) & word(1)
        normal = word(word(magnitude + word(0xFFF - (112 << 23) & 0xFFFFFFFF) + odd) >> word(13))
        payload = word(word(magnitude >> word(13)) & word(0x3FF)) | word(0x7E00)
        special = word(payload) if magnitude > word(0x7F800000) else word(0x7C00)
        below = tiny if magnitude < word(0x38800000) else normal
        half = special if magnitude >= word(0x477FF000) else below
        return np.uint16(word(half) | word(word(bits >> word(16)) & word(0x8000)))

    # elsewhere LLVM would call functions of a library that may not be there; 0.13 ns more for relu
    has_f16c = _is_x86() and _has_feature("f16c")
    float16 = (widen_by_f16c, narrow_by_f16c) if has_f16c else (widen_float16, narrow_float16)
    pairs = {"float16": float16, "bfloat16": (widen_bfloat16, narrow_bfloat16)}
    return dict(zip(("widen", "narrow"), pairs.get(dtype, (same, same)), strict=True))


def _kernel_source(loop: lowering.Loop) -> str:
    """The loop of src_cy/kernels.pyx.in, in Numba's words."""
    outputs = [f"out_{k}" for k in range(len(loop.formulas))]
    lines = ["def kernel(inputs, outputs, count, params):"]
    lines += [f"    {name} = carray(address(inputs, {k}), (count,))" for k, name in enumerate(loop.arrays)]
    lines += [f"    {name} = carray(address(outputs, {k}), (count,))" for k, name in enumerate(outputs)]
    lines += [f"    {name} = carray(params, ({k + 1},))[{k}]" for k, name in enumerate(loop.scalars)]
    arguments = ", ".join([*(f"widen({name}[i])" for name in loop.arrays), *loop.scalars])
    values = [f"value_{k}" for k in range(len(outputs))]
    lines += ["    for i in range(count):", f"        {', '.join(values)} = element({arguments})"]
    lines += [f"        {name}[i] = narrow({value})" for name, value in zip(outputs, values, strict=True)]
    return "\n".join(lines) + "\n"


def kernel(loop: str, dtype: str) -> int:
    """Address of a kernel, compiled now if it is the first time."""
    with _lock:
        if (loop, dtype) not in _compiled:
            _compiled[loop, dtype] = _compile(loop, dtype)
        address: int = _compiled[loop, dtype].address
    return address


def _compile(name: str, dtype: str) -> Any:
    import numba
    from numba.core import types
    from numba.extending import intrinsic

    from .. import lowering

    loop = lowering.loop_of(*_LOOPS[name])
    is_half = dtype in lowering.HALVES
    pointer = types.CPointer(types.uint16 if is_half else getattr(types, dtype))
    parameters = types.CPointer(types.float32) if is_half else pointer

    @intrinsic
    def address(typing_context: Any, table: Any, index: Any) -> Any:
        """Entry of a table of pointers; Numba has no pointer to pointer, so the table is typed as integers."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.gep(arguments[0], [arguments[1]])
            return builder.inttoptr(builder.load(place), context.get_value_type(pointer))

        return pointer(table, index), generate

    namespace = {"element": element(name, dtype), "carray": numba.carray, "address": address, **_conversions(dtype)}
    exec(compile(_kernel_source(loop), f"<fastact kernel {name} {dtype}>", "exec"), namespace)
    table = types.CPointer(types.intp)
    signature = types.void(table, table, types.intp, parameters)
    return numba.cfunc(signature, nopython=True, **OPTIONS)(namespace["kernel"])


@functools.cache
def vectorized(name: str) -> Any:
    """A ``@numba.vectorize`` ufunc of an activation's function, float32 and float64, compiled now.

    Takes arrays, per-channel operands and scalar parameters in the order of the public function, all as operands.

    Parameters
    ----------
    name : str
        Name of a public function: ``"gelu"``, ``"elu_backward"`` ...

    Examples
    --------
    >>> from fastact.backends import numba_kernels
    >>> gelu = numba_kernels.vectorized("gelu")
    >>> float(gelu(0.0))
    0.0
    """
    import numba
    from numba.core import types
    from numba.extending import overload

    loops = {row.function_name(direction): loop for loop, (row, direction) in _LOOPS.items()}
    if name not in loops:
        raise ValueError(f"name: got {name!r}; accepted: {', '.join(sorted(loops))}")
    from .. import lowering

    loop = lowering.loop_of(*_LOOPS[loops[name]])
    names = ", ".join([*loop.arrays, *loop.scalars])
    scalars = (types.float32, types.float64)
    precise = {scalar: element(loops[name], scalar.name) for scalar in scalars}

    def evaluate(*operands: Any) -> Any:
        """Stands for the function of the operands' precision."""

    @overload(evaluate)
    def choose(*operands):
        # no annotations: Numba compares this signature with the lambda's
        function = precise[operands[0]]
        return lambda *operands: function(*operands)

    # a ufunc of Numba's has one output: the result, not the gradients of operands
    first = "[0]" if len(loop.formulas) > 1 else ""
    namespace = {"evaluate": evaluate}
    exec(f"def {name}({names}):\n    return evaluate({names}){first}\n", namespace)
    signatures = [scalar(*[scalar] * (len(loop.arrays) + len(loop.scalars))) for scalar in scalars]
    with _lock:
        return numba.vectorize(signatures, nopython=True)(namespace[name])


def version_imported() -> str | None:
    """The version of the Numba that this process has imported; None if it has not."""
    numba = sys.modules.get("numba")
    return getattr(numba, "__version__", None)


def describe() -> str:
    """One line for people."""
    try:
        from importlib.metadata import version

        return f"compiled on first use, Numba {version('numba')}"
    except ImportError:
        return "compiled on first use"
