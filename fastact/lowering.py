"""Formula text to Cython, C and Numba source: types every literal, writes the signatures, nothing more.

A formula (``formulas/``) is a Python function of floats in a small subset: assignments to fresh names, one ``return``
at the end, ``+ - * /``, negation, one comparison as the condition of a conditional expression, calls to other
formulas, primitives and polynomials, and named constants.  Anything else is a ``LoweringError`` that names the place.

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
from .formulas.primitives import PRIMITIVES, Constant, Polynomial

Formula = Callable[..., float]

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
        self.type = C_TYPES[dtype]

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
        self.type = C_TYPES[dtype]

    def literal(self, value: float) -> str:
        # decimal, because C++ has hexadecimal floats from C++17 on only; nine digits name every float32
        text = f"{value:.9g}" if self.dtype == "float32" else repr(value)
        code = "f" if self.dtype == "float32" else "d"
        if struct.unpack(code, struct.pack(code, float(text)))[0] != value or not math.isfinite(value):
            raise ValueError(f"value: got {value!r}; accepted: a finite number that is exact in {self.dtype}")
        text = text if "." in text or "e" in text else f"{text}.0"
        return f"({text}{'f' if self.dtype == 'float32' else ''})"

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


class _Lowering:
    """One formula in one dialect; collects the formulas it calls."""

    def __init__(self, formula: Formula, dialect: Dialect) -> None:
        self.formula, self.dialect = formula, dialect
        self.called: list[Formula] = []
        source, self.first_line = inspect.getsourcelines(formula)
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
        self.text = dialect.define(formula.__name__, self.arguments, self.lines, self._value(last.value))

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
        self.lines.append((target, self._value(value)))
        self.known[name] = target

    def _value(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self.dialect.literal(float(value))
            case ast.Name(id=name):
                return self.known.get(name) or self._constant(node, name)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.dialect.literal(-float(value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"(-{self._value(operand)})"
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
                return f"({self._value(left)} {OPERATORS[type(operator)]} {self._value(right)})"
            case ast.IfExp(test=ast.Compare(left=left, ops=[comparison], comparators=[right]), body=yes, orelse=no) if (
                type(comparison) in COMPARISONS
            ):
                condition = f"{self._value(left)} {COMPARISONS[type(comparison)]} {self._value(right)}"
                return f"{self.dialect.call('select')}({condition}, {self._value(yes)}, {self._value(no)})"
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, [self._value(argument) for argument in arguments])
        raise self._error(node, f"`{ast.unparse(node)}` is outside the subset (see lowering.py)")

    def _constant(self, node: ast.AST, name: str) -> str:
        value = self.formula.__globals__.get(name)
        if not isinstance(value, Constant):
            raise self._error(node, f"{name!r} is neither a local name nor a Constant")
        return self.dialect.literal(getattr(value, self.dialect.dtype))

    def _call(self, node: ast.AST, name: str, arguments: list[str]) -> str:
        target = self.formula.__globals__.get(name)
        if isinstance(target, Polynomial):
            if len(arguments) != 1:
                raise self._error(node, "a polynomial is evaluated at one name")
            return self._horner(node, target, arguments[0])
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
        *rest, result = [self.dialect.literal(c) for c in getattr(polynomial, self.dialect.dtype)]
        for coefficient in reversed(rest):
            result = f"({result} * {x} + {coefficient})"
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


def loop_of(row: Activation, direction: str) -> Loop:
    """The loop of a catalogue row in one direction."""
    family = importlib.import_module(f"{__package__}.formulas.{row.family}")
    suffix = {"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}[direction]
    names = [row.name + suffix]
    if direction == "backward":
        names += [f"{row.name}_{parameter.name}_gradient" for parameter in row.operands]
    operands = tuple(parameter.name for parameter in row.operands)
    return Loop(
        name=f"{row.name}_{direction}",
        arrays=(() if direction == "forward" else ("grad",)) + ("x",) + operands,
        scalars=tuple(parameter.name for parameter in row.scalars),
        formulas=tuple(getattr(family, name) for name in names),
        arguments=", ".join(["x[i]"] + [f"{p.name}[i]" if p.per_channel else p.name for p in row.parameters]),
        chained=direction != "forward",
    )


def operations(loop: Loop) -> int:
    """Arithmetic of one element, in units of about one addition: what the parallel thresholds are derived from.

    A division counts as eight, which is what its reciprocal throughput is beside an addition's on current CPUs.
    """

    def count(formula: Formula, seen: dict[Formula, int]) -> int:
        if formula not in seen:
            lowered = _Lowering(formula, CythonDialect("float32"))
            text = lowered.text.split(":\n", 1)[1]
            own = sum(text.count(f" {sign} ") for sign in "+-*") + 8 * text.count(" / ") + text.count("select_")
            seen[formula] = own + sum(count(callee, seen) for callee in lowered.called)
        return seen[formula]

    return sum(count(formula, {}) for formula in loop.formulas) + int(loop.chained)
