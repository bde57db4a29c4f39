"""Formula text to Cython, C and Numba source: types every literal, writes the signatures, nothing more.

A formula (``formulas/``) is a Python function of floats in a small subset: assignments to fresh names, one ``return``
at the end, ``+ - * /``, negation, one comparison as the condition of a conditional expression, calls to other
formulas, primitives and polynomials, and named constants.  Anything else is a ``LoweringError`` that names the place.

Four precisions.  ``float32`` and ``float64`` compute in their own type.  ``widened`` computes a float32 result in
float64 and leaves the one rounding to the caller: for formulas whose roundings float32 cannot hold below one unit in
the last place, and for CPUs without FMA.  There every ``correction`` of a rounding error is dropped, with all that
serves it alone, and polynomials are shorter.  A family's ``WIDENED_FORMS`` may name another formula to take there,
because digits to spare allow a shorter way.  ``narrowed`` computes a result of 16 bits in float32, again without
corrections and with polynomials that are shorter still: float32 has 13 or 16 bits more than such a result.  Only a
``cancellation`` stays there.

Fusing is decided here, not by the compilers, which differ: ``a * b + c`` becomes ``multiply_add``, one rounding where
the CPU has FMA, and compilers are told to contract nothing.  So the bits of a formula are the same on AVX2, AVX-512
and Numba, whichever compiler built it.  (Not all kernels compute one: ``Loop.piecewise``.)

Why types matter: a bare ``0.5`` is a double to Cython, C and Numba alike, and one double in a float32 formula makes
the whole loop compute in double, at half the lanes, without a warning.  Conditional expressions become calls of a
``select`` with both sides computed, because Cython turns its own conditional expressions into branches that GCC does
not vectorise.

Standard library only: ``setup.py`` runs this before anything is built.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from .catalogue import Activation
from .declarations import C_TYPES
from .formulas.primitives import PRIMITIVES, Constant, Polynomial, cancellation, correction, multiply_subtract

Formula = Callable[..., float]

#: A correction in widened or narrowed arithmetic: no text stands for it, and none for what is computed from it alone.
VANISHED = ""
#: Types of the precisions, in C.
TYPES = {**C_TYPES, "widened": C_TYPES["float64"], "narrowed": C_TYPES["float32"]}
#: Dtypes of 16 bits.
HALVES = ("float16", "bfloat16")

OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


class LoweringError(SyntaxError):
    """A formula steps outside the subset."""


class Dialect(ABC):
    """How one target spells the pieces of a formula for one precision."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    @abstractmethod
    def literal(self, value: float) -> str:
        """A number of this precision."""

    @abstractmethod
    def call(self, name: str) -> str:
        """The name under which a formula or primitive is called."""

    def multiply_add(self, a: str, b: str, c: str) -> str:
        """a * b + c, rounded once where the CPU can."""
        return f"{self.call('multiply_add')}({a}, {b}, {c})"

    def local(self, name: str) -> str:
        """The name of a value that is assigned inside a formula."""
        return name

    @abstractmethod
    def define(self, name: str, arguments: list[str], lines: list[tuple[str, str]], result: str) -> str:
        """A function: assignments, then the value returned."""


class CythonDialect(Dialect):
    """``cdef inline`` functions; precision is part of the name: ``gelu_float64``."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.type = TYPES[dtype]

    def literal(self, value: float) -> str:
        return f"(<{self.type}>{value!r})"

    def call(self, name: str) -> str:
        return f"{name}_{self.dtype}"

    def define(self, name: str, arguments: list[str], lines: list[tuple[str, str]], result: str) -> str:
        typed = ", ".join(f"{self.type} {argument}" for argument in arguments)
        body = [f"    cdef {self.type} {target} = {value}\n" for target, value in lines]
        signature = f"cdef inline {self.type} {self.call(name)}({typed}) noexcept nogil:\n"
        return signature + "".join(body) + f"    return {result}\n"


class CDialect(Dialect):
    """Inline functions of ``include/fastact_inline.h``, for C99 and C++11: ``fastact_gelu_float64``."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.type = TYPES[dtype]

    def literal(self, value: float) -> str:
        # decimal, because C++ has hexadecimal floats from C++17 on only; nine digits name every float32
        is_single = self.type == "float"
        text = f"{value:.9g}" if is_single else repr(value)
        code = "f" if is_single else "d"
        if struct.unpack(code, struct.pack(code, float(text)))[0] != value or not math.isfinite(value):
            raise ValueError(f"value: got {value!r}; accepted: a finite number that is exact in {self.dtype}")
        text = text if "." in text or "e" in text else f"{text}.0"
        return f"({text}{'f' if is_single else ''})"

    def call(self, name: str) -> str:
        return f"fastact_{name}_{self.dtype}"

    def local(self, name: str) -> str:
        # tanh_gradient has a `double`, quotient a `short`, and windows.h makes macros of `near` and `small`
        return f"{name}_"

    def signature(self, name: str, arguments: list[str]) -> str:
        """The function's head."""
        return f"{self.type} {self.call(name)}({', '.join(f'{self.type} {argument}' for argument in arguments)})"

    def define(self, name: str, arguments: list[str], lines: list[tuple[str, str]], result: str) -> str:
        body = [f"    const {self.type} {target} = {value};\n" for target, value in lines]
        used = set(re.findall(r"\w+", " ".join([*(value for _, value in lines), result])))
        # a caller who compiles with -Wextra must see no warning of ours
        body += [f"    (void){argument};\n" for argument in arguments if argument not in used]
        head = f"FASTACT_INLINE {self.signature(name, arguments)}\n{{\n"
        return head + "".join(body) + f"    return {result};\n}}\n"


class NumbaDialect(Dialect):
    """Plain functions for ``numba.njit``; ``T`` is the scalar type of the namespace they are executed in."""

    def literal(self, value: float) -> str:
        return f"T({value!r})"

    def call(self, name: str) -> str:
        return name

    def define(self, name: str, arguments: list[str], lines: list[tuple[str, str]], result: str) -> str:
        body = [f"    {target} = {value}\n" for target, value in lines]
        return f"@jit\ndef {name}({', '.join(arguments)}):\n" + "".join(body) + f"    return {result}\n"


def written_form(formula: Formula, precision: str) -> Formula:
    """The formula whose text stands for this one: another in widened arithmetic, if its family names one."""
    forms: dict[Formula, Formula] = formula.__globals__.get("WIDENED_FORMS", {}) if precision == "widened" else {}
    return forms.get(formula, formula)


class _Lowering:
    """One formula in one dialect; collects the formulas it calls."""

    def __init__(self, formula: Formula, dialect: Dialect) -> None:
        self.formula, self.dialect = formula, dialect
        self.called: list[Formula] = []
        source, self.first_line = inspect.getsourcelines(written_form(formula, dialect.dtype))
        tree = ast.parse("".join(source)).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self.arguments = [argument.arg for argument in tree.args.args]
        #: what each name of the formula is called in the dialect
        self.known = {argument: argument for argument in self.arguments}
        self.lines: list[tuple[str, str]] = []
        statements = [s for s in tree.body if not self._is_docstring(s)]
        if not statements:
            raise self._error(tree, "a formula ends with `return <value>`")
        for statement in statements[:-1]:
            self._assignment(statement)
        last = statements[-1]
        if not isinstance(last, ast.Return) or last.value is None:
            raise self._error(last, "a formula ends with `return <value>`")
        self.text = dialect.define(formula.__name__, self.arguments, self.lines, self._present(last.value))

    @staticmethod
    def _is_docstring(statement: ast.stmt) -> bool:
        return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)

    def _error(self, node: ast.AST, message: str) -> LoweringError:
        line = self.first_line + getattr(node, "lineno", 1) - 1
        return LoweringError(f"{inspect.getsourcefile(self.formula)}:{line}: {self.formula.__name__}: {message}")

    def _assignment(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case _:
                raise self._error(statement, "only assignments to one name may stand before the return")
        if name in self.known:
            raise self._error(statement, f"{name!r} is assigned twice")
        target = self.dialect.local(name)
        text = self._value(value)
        self.known[name] = target if text else VANISHED
        if text:
            self.lines.append((target, text))

    def _present(self, node: ast.expr) -> str:
        """Text of a value that must stand there, even if it has vanished."""
        # -0.0, because x + -0.0 is x for every x: compilers drop the addition
        return self._value(node) or self.dialect.literal(-0.0)

    def _value(self, node: ast.expr) -> str:
        """Text of a value, or VANISHED."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self.dialect.literal(float(value))
            case ast.Name(id=name):
                return self.known[name] if name in self.known else self._constant(node, name)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.dialect.literal(-float(value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                text = self._value(operand)
                return f"(-{text})" if text else VANISHED
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as operator, right=right):
                return self._sum(left, right, OPERATORS[type(operator)])
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as operator, right=right):
                first, second = self._value(left), self._value(right)
                return f"({first} {OPERATORS[type(operator)]} {second})" if first and second else VANISHED
            case ast.IfExp(test=ast.Compare(left=left, ops=[comparison], comparators=[right]), body=yes, orelse=no) if (
                type(comparison) in COMPARISONS
            ):
                if not self._value(yes) and not self._value(no):
                    return VANISHED
                condition = f"{self._present(left)} {COMPARISONS[type(comparison)]} {self._present(right)}"
                return f"{self.dialect.call('select')}({condition}, {self._present(yes)}, {self._present(no)})"
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments)
        raise self._error(node, f"`{ast.unparse(node)}` is outside the subset (see lowering.py)")

    def _sum(self, left: ast.expr, right: ast.expr, sign: str) -> str:
        """A sum or difference; a product on either side, the left one first, is fused with it."""
        first, second = self._value(left), self._value(right)
        if not second:
            return first
        if not first:
            return second if sign == "+" else f"(-{second})"
        for product, negative, other in (
            (left, False, second if sign == "+" else f"(-{second})"),
            (right, sign == "-", first),
        ):
            if isinstance(product, ast.BinOp) and isinstance(product.op, ast.Mult):
                a, b = self._value(product.left), self._value(product.right)
                return self.dialect.multiply_add(f"(-{a})" if negative else a, b, other)
        return f"({first} {sign} {second})"

    def _constant(self, node: ast.AST, name: str) -> str:
        value = self.formula.__globals__.get(name)
        if not isinstance(value, Constant):
            raise self._error(node, f"{name!r} is neither a local name nor a Constant")
        return self.dialect.literal(getattr(value, self.dialect.dtype))

    def _call(self, node: ast.AST, name: str, nodes: list[ast.expr]) -> str:
        target = self.formula.__globals__.get(name)
        if target is correction:
            return VANISHED if self.dialect.dtype in ("widened", "narrowed") else self._value(nodes[0])
        if target is cancellation:
            return VANISHED if self.dialect.dtype == "widened" else self._value(nodes[0])
        arguments = [self._present(argument) for argument in nodes]
        if isinstance(target, Polynomial):
            if len(arguments) != 1:
                raise self._error(node, "a polynomial is evaluated at one name")
            return self._horner(node, target, arguments[0])
        if target is multiply_subtract and self.dialect.dtype == "widened":
            raise self._error(node, "a rounding error stands in a correction, or widened arithmetic pays for it")
        if target not in PRIMITIVES:
            if not inspect.isfunction(target) or ".formulas." not in target.__module__:
                raise self._error(node, f"{name!r} is neither a formula, a primitive nor a Polynomial")
            self.called.append(target)
        return f"{self.dialect.call(name)}({', '.join(arguments)})"

    def _horner(self, node: ast.AST, polynomial: Polynomial, x: str) -> str:
        # Splitting even from odd powers shortens the chain (gelu: 3 % faster in float32, 17 % in float64), but costs
        # half a unit in the last place, which SSE2 does not have to spare.
        if not x.isidentifier():
            raise self._error(node, "a polynomial is evaluated at a name")
        coefficients = getattr(polynomial, self.dialect.dtype)
        if not coefficients:
            raise self._error(node, f"the polynomial has no coefficients for {self.dialect.dtype}: see WIDENED")
        *rest, result = [self.dialect.literal(c) for c in coefficients]
        for coefficient in reversed(rest):
            result = self.dialect.multiply_add(result, x, coefficient)
        return result


def lower_each(formulas: list[Formula], dialect: Dialect) -> dict[Formula, str]:
    """Text of each of these formulas and of all that they call, callees first."""
    done: dict[Formula, str] = {}

    def visit(formula: Formula) -> None:
        if formula not in done:
            lowered = _Lowering(formula, dialect)
            for callee in lowered.called:
                visit(callee)
            done[formula] = lowered.text

    for formula in formulas:
        visit(formula)
    return done


def lower(formulas: list[Formula], dialect: Dialect) -> str:
    """Text of these formulas and of all that they call, each once, callees first."""
    return "\n".join(lower_each(formulas, dialect).values())


class Loop(NamedTuple):
    """What a kernel loops over, in the words of its target: the same for the Cython template and for Numba."""

    name: str
    #: Names of the input arrays, in the order of the kernel's ``inputs``.
    arrays: tuple[str, ...]
    #: Names of the scalar parameters, in the order of the kernel's ``params``.
    scalars: tuple[str, ...]
    #: Value or derivative, and then the derivatives with regard to per-channel operands: one per output.
    formulas: tuple[Formula, ...]
    #: What the formulas are called with, inside the loop.
    arguments: str
    #: Whether each result is multiplied by ``grad``.
    chained: bool
    #: Whether float32 is always computed in widened arithmetic.
    widened: bool
    #: Instruction sets and dtypes in which it is looked up: the formula has the tails, and everything elsewhere.
    piecewise: tuple[tuple[str, str], ...]

    def precision(self, dtype: str, fused: bool = True) -> str:
        """In which precision a dtype is computed; without FMA, float32 is widened wherever FMA would be used."""
        if dtype in HALVES:
            return "narrowed"
        if dtype == "float32" and (self.widened or not (fused or self.is_plain())):
            return "widened"
        return dtype

    def looked_up(self, level: str) -> tuple[str, ...]:
        """The dtypes in which an instruction set looks up what the formula computes."""
        return tuple(dtype for having, dtype in self.piecewise if having == level)

    def is_plain(self) -> bool:
        """Whether nothing in it can be fused, so that its bits are the same on every CPU."""
        return "multiply_" not in lower(list(self.formulas), CythonDialect("float32"))

    def is_exact(self) -> bool:
        """Whether each result in 16 bits is one of the inputs, perhaps without its sign, or 0 or 1: nothing to round.

        Tried with every bfloat16 there is, so only where no parameter has a say.
        """
        if len(self.arrays) > 1 + self.chained or self.scalars:
            return False
        (formula,) = self.formulas
        # ordinary numbers first: there nearly all functions show it, when setup.py asks for each of them
        for half in (*range(0x3F00, 0x4100), *range(1 << 16)):
            (x,) = struct.unpack("<f", struct.pack("<I", half << 16))
            try:
                value = formula(x)
            except ArithmeticError:  # where C gives infinity or NaN, Python may refuse
                return False
            if value == value and not (abs(value) in (0.0, 1.0) or (abs(value) == abs(x) and not self.chained)):
                return False
        return True


def loop_of(row: Activation, direction: str) -> Loop:
    """The loop of a catalogue row in one direction."""
    family = importlib.import_module(f"{__package__}.formulas.{row.family}")
    suffix = {"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}[direction]
    names = [row.name + suffix]
    if direction == "backward":
        names += [f"{row.name}_{parameter.name}_gradient" for parameter in row.operands]
    formulas = tuple(getattr(family, name) for name in names)
    operands = tuple(parameter.name for parameter in row.operands)
    return Loop(
        name=f"{row.name}_{direction}",
        arrays=(() if direction == "forward" else ("grad",)) + ("x",) + operands,
        scalars=tuple(parameter.name for parameter in row.scalars),
        formulas=formulas,
        arguments=", ".join(["x[i]"] + [f"{p.name}[i]" if p.per_channel else p.name for p in row.parameters]),
        chained=direction != "forward",
        widened=any(formula in getattr(family, "WIDENED", ()) for formula in formulas),
        piecewise=tuple(
            (level, dtype)
            for (level, precision), looked_up in getattr(family, "PIECEWISE", {}).items()
            if formulas[0] in looked_up
            for dtype in (HALVES if precision == "narrow" else (precision,))
        ),
    )


def uniform_loop_of(row: Activation, direction: str) -> Loop:
    """The loop where the per-channel operand has one value, for a row or for all: a scalar, after the parameters."""
    loop = loop_of(row, direction)
    operands = tuple(parameter.name for parameter in row.operands)
    return loop._replace(
        name=f"{loop.name}_uniform",
        # operands are the last arrays: the others keep their places
        arrays=loop.arrays[: -len(operands)],
        scalars=loop.scalars + operands,
        arguments=", ".join(["x[i]", *(parameter.name for parameter in row.parameters)]),
    )


def loops_of(row: Activation) -> list[Loop]:
    """All loops of a row, each of which is a kernel for each dtype."""
    loops = [loop_of(row, direction) for direction in row.directions]
    return loops + ([uniform_loop_of(row, direction) for direction in row.directions] if row.operands else [])


def operations(loop: Loop, dtype: str = "float32") -> int:
    """Arithmetic of one element in units of about one addition: what parallel thresholds are derived from.

    A division counts as eight, which is what its reciprocal throughput is beside an addition's on current CPUs, and
    everything twice in widened arithmetic, which has half the lanes.
    """
    precision = loop.precision(dtype)

    def count(formula: Formula, seen: dict[Formula, int]) -> int:
        if formula not in seen:
            lowered = _Lowering(formula, CythonDialect(precision))
            text = lowered.text.split(":\n", 1)[1]
            own = sum(text.count(f" {sign} ") for sign in "+-*") + 8 * text.count(" / ") + text.count("select_")
            own += 2 * text.count("multiply_")
            seen[formula] = own + sum(count(callee, seen) for callee in lowered.called)
        return seen[formula]

    total = sum(count(formula, {}) for formula in loop.formulas)
    return total * (2 if precision == "widened" else 1) + int(loop.chained)
