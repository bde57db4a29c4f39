"""Makes ``src_cy/fetched_tables.h``: the polynomials whose coefficients ``src_cy/fetched.h`` fetches from memory.

Run ``python tools/fetched_tables.py`` (needs mpmath and numpy; four minutes).  Which tables there are, and how they are
written.  What their rows are, and how they are found: fetched_rows.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import piecewise_tables
from fetched_rows import Cut, Table, double_row, pair_row, single_row
from mpmath import exp, expm1
from piecewise_tables import ULP, c_number, gelu_tanh_exponent, header, logistic, rest_of_zero

C_TYPES = {"float32": "float", "float64": "double"}
TARGET = Path(__file__).resolve().parent.parent / "src_cy" / "fetched_tables.h"


def single(*values: Any, **further: Any) -> Cut:
    return Cut("float32", *values, **further)


def double(*values: Any, **further: Any) -> Cut:
    return Cut("float64", *values, **further)


#: What is cut into 32 intervals there is cut into hundreds here.
FUNCTIONS = {table.name: table for table in piecewise_tables.TABLES}


def table(name: str, loops: dict[str, str], *cuts: Cut, why: str = "", **further: Any) -> Table:
    function = FUNCTIONS[name]
    return Table(name, why or function.why, function.function, loops, cuts, zero=function.zero, **further)


TABLES = (
    # float32 is 1 from 17.4 on, float64 from 37.5; the last rows, which serve all greater numbers, are 1 exactly
    Table("logistic", "1 / (1 + exp(-t))", logistic,
          {"sigmoid_forward": "logistic", "silu_forward": "logistic_gate", "softplus_backward": "logistic"},
          (single("BELOW", 20.0, 64, first=-24.0), double("BELOW", 38.0, 64, first=-24.0, slopes=True)),
          # so far below 0 that -0.0 s(-0.0) is a sum of two of -0.0
          at_zero=(-(2.0**-60), 0.5)),
    table("normal", {"gelu_forward": "gate"},
          single("BELOW", 8.0, 128), double("BELOW", 9.0, 28, 8.0)),
    Table("gelu_tanh_gate", "gelu_tanh(-t) / -t", lambda t: logistic(-gelu_tanh_exponent(t)),
          {"gelu_tanh_forward": "gate"},
          (single("BELOW", 7.25, 192),)),
    # 1 from 7.2 on; intervals are a 64th of the exponent long, but for the first ones
    Table("gelu_tanh_logistic", "gelu_tanh(t) / t", lambda t: logistic(gelu_tanh_exponent(t)),
          {"gelu_tanh_forward": "gelu_tanh_gate"},
          (double("BELOW", 7.25, 104, cubic=4.5625, first=-8.0),), at_zero=(-(2.0**-60), 0.5)),
    table("tanh", {"tanh_forward": "tanh"},
          single("NOWHERE", 9.25, 64, first=-9.25), double("NOWHERE", 19.5, 64, first=-19.5),
          why="tanh(t)", at_zero=(0.0, -0.0), is_odd=True, leans=True),
    # float32 is 1 from 17.4 on, float64 from 37.5
    Table("elu", "1 - exp(-t)", lambda t: -expm1(-t), {"elu_forward": "elu"},
          (single("NOWHERE", 20.0, 64), double("NOWHERE", 38.0, 64)), at_zero=(0.0, 0.0), leans=True,
          # or it falls once in float32, from one interval to the next
          is_exact=True),
    Table("elu_output", "1 - exp(-t)", lambda t: -expm1(-t), {"softplus_backward_from_output": "elu_output"},
          (single("BELOW", 20.0, 64, first=0.0), double("BELOW", 38.0, 64, first=0.0)), rows="elu"),
    Table("elu_slope", "exp(-t)", lambda t: exp(-t), {"elu_backward": "elu_slope"},
          (single("BELOW", 24.0, 64), double("BELOW", 24.0, 64)), at_zero=(0.0, 1.0)),
    table("mish", {"mish_forward": "multiple"},
          single("BEYOND", 12.0, 32, first=-12.0), double("BEYOND", 12.0, 32, first=-12.0),
          least={"float32": 2.0**-90, "float64": 2.0**-900}, from_zero=False,
          why="tanh(log(1 + exp(t))), less 1 from 0 on"),
    table("logistic_slope", {"sigmoid_backward": "even"}, single("BEYOND", 11.0, 32)),
    Table("logistic_even", "exp(t) / (1 + exp(t))**2", logistic, {"sigmoid_backward": "logistic_slope"},
          (double("BEYOND", 20.0, 64, first=-20.0),), rows="logistic", folds=True),
    table("tanh_slope", {"tanh_backward": "even"}, single("BEYOND", 11.0, 64)),
    Table("tanh_even", "1 - tanh(t)**2", logistic, {"tanh_backward": "tanh_slope"},
          (double("BEYOND", 10.0, 128, first=-10.0),), rows="logistic", folds=True),
    table("silu_slope", {"silu_backward": "gradient"},
          single("BEYOND", 11.5, 32), double("BEYOND", 11.5, 32), from_zero=False),
    table("gelu_slope", {"gelu_backward": "gradient"},
          single("BELOW", 8.0, 128), double("BELOW", 9.0, 32, 7.5), from_zero=False),
    table("gelu_tanh_slope", {"gelu_tanh_backward": "gradient"},
          single("BELOW", 7.25, 192), double("BELOW", 7.5, 28, 14.0), from_zero=False),
    table("softplus", {"softplus_forward": "rising"},
          single("BEYOND", 8.0, 32, first=-8.0), double("BEYOND", 12.0, 32, first=-12.0)),
    table("mish_slope", {"mish_backward": "through_zero"},
          single("BEYOND", 12.0, 64, first=-12.0), double("BEYOND", 12.0, 32, first=-12.0),
          from_zero=False),
)  # fmt: skip


def text_of(table: Table, cut: Cut) -> str:
    name = f"fastact_{table.name}_fetched_{cut.precision}"
    if table.rows:
        return f"/* {table.why} */\n" + structure(table, cut)
    row = pair_row if table.adds else single_row if cut.precision == "float32" else double_row
    made = [row(table, cut, index) for index in cut.indices]
    worst = max(error for _, error in made) / ULP[cut.precision] * 2
    what = "c0" if table.adds else "a fit"
    if worst > 1:
        raise ArithmeticError(f"{table.name} {cut.precision}: the largest error of {what} is {worst:.3f} ulp")
    print(f"{table.name:16} {cut.precision} {len(made)} intervals, largest error of {what} {worst:.3f} ulp", flush=True)
    lines = [
        f"/* {table.why}; largest error of {what} {worst:.3f} units in the last place */",
        f"static const {C_TYPES[cut.precision]} {name}_rows[] __attribute__((aligned(64))) = {{",
        *(f"    {', '.join(c_number(cut, float(x)) for x in numbers)}," for numbers, _ in made),
        "};",
    ]
    return "\n".join([*lines, structure(table, cut)])


def row_bytes(table: Table, cut: Cut) -> int:
    """A polynomial of float64 fills a line of the cache."""
    if cut.precision == "float64":
        return 16 if table.adds else 64
    return 8 if table.adds else 16


def structure(table: Table, cut: Cut) -> str:
    """What a kind must know of the rows, and the kernels that it serves."""
    name = f"fastact_{table.name}_fetched_{cut.precision}"
    rows = f"fastact_{table.rows or table.name}_fetched_{cut.precision}_rows"
    scalars = {"linear": cut.linear, "first": -cut.last if cut.first is None else cut.first, "last": cut.last}
    if cut.precision == "float64":
        scalars |= {"quadratic": cut.quadratic, "cubic": cut.cubic}
    elif not table.adds:
        scalars["step"] = cut.step
    if table.least:
        scalars["least"] = table.least[cut.precision]
    if table.zero is not None:
        zero = cut.number(float(table.zero))
        scalars |= {"zero": float(zero), "zero_rest": rest_of_zero(table, cut.number, zero)}  # type: ignore[arg-type]
    lines = [f"static const struct fastact_fetched_{cut.precision} {name} = {{"]
    lines += [f"    .is_signed = {int(cut.signed)},", f"    .is_folded = {int(table.folds)},"]
    lines += [f"    .row_bytes = {row_bytes(table, cut)},"]
    lines += [f"    .turn = {table.turn},"] if table.turn is not None else []
    least = min(
        index
        for other in TABLES
        if other.name == (table.rows or table.name)
        for at in other.cuts
        if at.precision == cut.precision
        for index in at.indices
    )
    lines += [f"    .rows = (const char *){rows} + {row_bytes(table, cut) * -least},"]
    lines += [f"    .{key} = {c_number(cut, float(value))}," for key, value in scalars.items()]  # type: ignore[arg-type]
    lines += ["};"]
    for loop, kind in table.loops.items():
        direction = "forward" if loop.endswith("_forward") else "backward"
        macro = f"{direction}_{cut.precision}".upper()
        lines.append(f"FASTACT_FETCHED_{macro}({loop}, {table.name}, {kind}, FASTACT_{cut.ends})")
    return "\n".join([*lines, ""])


def text_at(where: tuple[int, int]) -> str:
    """The same by numbers, which go to another process, as functions do not."""
    return text_of(TABLES[where[0]], TABLES[where[0]].cuts[where[1]])


def text() -> str:
    """The whole header."""
    places = [(table, cut) for table in range(len(TABLES)) for cut in range(len(TABLES[table].cuts))]
    return header("fetched", text_at, places)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
