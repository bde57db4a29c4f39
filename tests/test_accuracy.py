"""Every value and gradient, on every backend and instruction set, against the truth.

float64 and float32 against golden tables (mpmath, 1500 points per function and parameter set, dense at kinks, zeros of
the derivative and where results become subnormal); float32 besides on every 4099th of all its bit patterns, and float16
and bfloat16 on all of them, against the reference in float64, which ``test_reference.py`` holds to the golden tables.

Limits are the rows' (``Activation.ulp``, ``ulp_gradient``); the zeros of the derivatives are no exception to them.
"""

import functools

import half_precision
import numpy as np
import pytest
from cases import FUNCTIONS, HALF_DTYPES, call, first, parameter_sets, truth
from golden import load

KINDS = {"forward": "forward", "gradient": "backward", "gradient_from_output": "backward_from_output"}
#: float32 numbers are swept in steps of this many bit patterns: a prime, so that no exponent is favoured.
STEP = 4099


def limit_of(function, dtype):
    bounds = function.row.ulp if function.direction == "forward" else function.row.ulp_gradient
    # an output's own range of kinds has one rounding more in the product form: the looser of both bounds
    looser = max(bounds, function.row.ulp) if function.direction == "backward_from_output" else bounds
    return getattr(looser, dtype)


def test_golden_tables(function, backend, dtype):
    tables = load(function.row.name)
    accepted = {
        tuple(np.dtype(dtype).type(p) for p in params) for params in parameter_sets(function.row, function.direction)
    }
    tested = 0
    for (kind, table_dtype, params), table in tables.items():
        if KINDS[kind] != function.direction or table_dtype != dtype or params not in accepted:
            continue
        worst, x, got = table.worst(first(call(function, table.x, params)))
        assert worst <= limit_of(function, dtype), f"{worst:.2f} ULP at {x!r} (gave {got!r}), parameters {params}"
        tested += len(table)
    assert tested > 300


@functools.cache
def sweep(function_name):
    """float32 numbers over the whole line that the function is made for, and the truth in float64."""
    function = next(f for f in FUNCTIONS if f.name == function_name)
    x = np.arange(0, 2**32, STEP, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    if function.direction == "backward_from_output":
        low, high = (eval(text, {"inf": np.inf, "alpha": 1.0}) for text in function.row.output_range)
        x = x[(x >= low) & (x <= high)]
    return x, truth(function, x)


def ulp_error(got, expected, digits, lowest):
    """Distance in ULP of the truth, whose ULP is at least the smallest subnormal."""
    with np.errstate(all="ignore"):
        exponent = np.frexp(expected)[1]
        error = np.abs(got.astype(np.float64) - expected) / np.ldexp(1.0, np.maximum(exponent - digits, lowest))
    agree = (got.astype(np.float64) == expected) | (np.isinf(got) & (np.abs(expected) >= np.finfo(got.dtype).max))
    return np.where(agree, 0.0, error)


def test_float32_over_the_whole_line(function, backend):
    x, expected = sweep(function.name)
    error = ulp_error(first(call(function, x)), expected, 24, -149)
    worst = int(np.argmax(error))
    assert error[worst] <= limit_of(function, "float32"), f"{error[worst]:.2f} ULP at {x[worst]!r}"


#: Of the float16 and bfloat16 numbers, how many may give a neighbour of the correctly rounded result, at most: the
#: default parameters, and any.  The latter have products (an alpha of 1.7 times a subnormal number) that float32 rounds
#: to halfway between two bfloat16 numbers by the hundred.
MISROUNDED = {"float16": (24, 40), "bfloat16": (4, 500)}


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision_on_all_its_values(function, backend, dtype):
    """Half an ULP, and what a relative error of 2**-21 is in ULP of the dtype: "narrowed" arithmetic, rounded once."""
    result = first(call(function, half_precision.nans(dtype)))
    # a rectifier hands a signalling NaN on as it is, and ml_dtypes, not NumPy, says so when it looks at one
    with np.errstate(invalid="ignore"):
        assert np.isnan(result).all()
    digits = half_precision.FORMATS[dtype][0]
    default, *others = parameter_sets(function.row, function.direction)
    # an operand such as a weight is an array, rounded to the dtype of x
    for params in [default, *(others if function.scalar_names else [])]:
        errors = half_precision.errors(function, dtype, params)
        assert errors.count > 15000
        what = f"{errors.worst:.5f} ULP at {errors.place!r}, parameters {params}"
        assert errors.worst <= 0.5 + 2.0 ** (digits - 21), what
        bound = MISROUNDED[dtype][params != default]
        assert len(errors.misrounded) <= bound, (len(errors.misrounded), errors.misrounded[:20], params)


@pytest.mark.parametrize("name", ["gelu_backward", "gelu_tanh_backward", "silu_backward", "mish_backward"])
def test_gradient_beside_its_zero(name, backend):
    """Every float32 number within 2000 of the zero: where other libraries have no digit left."""
    function = next(f for f in FUNCTIONS if f.name == name)
    zero = np.float32(next(p for p in function.row.interesting if -2 < p < 0))
    x = (zero.view(np.int32) + np.arange(-2000, 2000, dtype=np.int32)).view(np.float32)
    expected = truth(function, x)
    assert (expected > 0).any() and (expected < 0).any()
    assert np.max(ulp_error(call(function, x), expected, 24, -149)) <= limit_of(function, "float32")
