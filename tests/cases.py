"""What the tests are about: every row, function, backend and parameter set, and how to call and compare them.

A plain module (``from cases import ...``); the fixtures that switch backends are in ``conftest.py``.  Everything is
derived from the catalogue, so a new row is tested without a line here.
"""

import functools
import itertools

import numpy as np
import pytest

from fastact import _core, dispatch, reference
from fastact._kernels import base
from fastact.backends import cython_kernels
from fastact.catalogue import ACTIVATIONS, NON_NEGATIVE, POSITIVE

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

ROWS = list(ACTIVATIONS)
#: Every public callable, forward and backward.
FUNCTIONS = list(dispatch.FUNCTIONS.values())
#: Those whose array arguments are all of one shape; the others (prelu) take an array per channel as well.
PLAIN_FUNCTIONS = [function for function in FUNCTIONS if not function.operand_names]
#: Those that take a gradient.
BACKWARD_FUNCTIONS = [function for function in FUNCTIONS if function.direction != "forward"]
ROWS_AND_DIRECTIONS = [(row, direction) for row in ROWS for direction in row.directions]
#: What a direction is called in ``reference.py``.
SUFFIX = {"forward": "", "backward": "_gradient", "backward_from_output": "_gradient_from_output"}
DTYPES = ("float32", "float64")
needs_threads = pytest.mark.skipif(not _core.built_with_threads(), reason="built without threads")
#: What is computed in float32; bfloat16 where there is ml_dtypes, without which nobody has an array of it.
HALF_DTYPES = ("float16",) if ml_dtypes is None else ("float16", "bfloat16")
ALL_DTYPES = (*DTYPES, *HALF_DTYPES)

#: The instruction sets that this machine runs and FASTACT_MAX_ISA allows, best first.
_HIGHEST = cython_kernels.INSTRUCTION_SETS.index(cython_kernels.highest_allowed())
LEVELS = [level for level in cython_kernels.INSTRUCTION_SETS[_HIGHEST:] if level in base.runnable()]
#: What the ``backend`` fixture goes through: ``cython.avx512``, ..., ``numba``, ``numpy``.
BACKENDS = [
    *(f"cython.{level}" for level in reversed(LEVELS)),
    *(name for name in ("numba", "numpy") if dispatch.why_unavailable(name) is None),
]


def finfo(dtype):
    """np.finfo, which knows nothing of bfloat16."""
    return ml_dtypes.finfo(dtype) if np.dtype(dtype).name == "bfloat16" else np.finfo(dtype)


def parameter_sets(row, direction="forward"):
    """The default parameters, and each value of ``tried`` in place of one of them; tuples in the row's order.

    Only what the direction accepts: a gradient from the output needs, say, a slope that is not negative.
    """
    defaults = tuple(p.tried[0] if p.default is None else p.default for p in row.parameters)
    sets = [defaults]
    for position, parameter in enumerate(row.parameters):
        for value in parameter.tried:
            changed = (*defaults[:position], value, *defaults[position + 1 :])
            accepts = parameter.accepts_from_output if direction == "backward_from_output" else parameter.accepts
            accepted = {NON_NEGATIVE: value >= 0, POSITIVE: value > 0}.get(accepts, True)
            if accepted and changed not in sets:
                sets.append(changed)
    return sets


def call(function, x, params=None, *, grad=None, **keywords):
    """The function on x with its default parameters or these; backward with a gradient of ones or this one."""
    params = parameter_sets(function.row)[0] if params is None else params
    if function.direction == "forward":
        return function(x, *params, **keywords)
    return function(np.ones_like(x) if grad is None else grad, x, *params, **keywords)


def thinned(cases, backend, every=16):
    """Cases that are the driver's business; NumPy's expressions, which are slow to call, get one in so many."""
    return cases[::every] if backend == "numpy" else cases


def first(result):
    """The gradient of x, where a function gives one for each operand."""
    return result[0] if isinstance(result, tuple) else result


def truth(function, x, params=None):
    """The reference's value, or derivative, in float64; parameters rounded to x's precision, as the functions do."""
    params = parameter_sets(function.row)[0] if params is None else params
    x = np.asarray(x)
    computed = np.float64 if x.dtype == np.float64 else np.float32
    expression = getattr(reference, function.row.name + SUFFIX[function.direction])
    return expression(x, *(np.float64(computed(p)) for p in params))


def samples(dtype, count, seed=0):
    """Random numbers of every kind: the middle, the tails, any bit pattern that is finite, zeros of both signs."""
    return _samples(np.dtype(dtype), count, seed).copy()


# the same arrays serve thousands of tests; the largest of these take half a MiB
@functools.lru_cache(maxsize=256)
def _samples(dtype, count, seed):
    random = np.random.default_rng(seed)
    middle = random.normal(0, 2, count)
    tails = random.uniform(-110, 110, count)
    # ml_dtypes asks in float32 whether a number is finite, which a signalling NaN minds
    with np.errstate(over="ignore", invalid="ignore"):
        anything = random.integers(0, 256, (count, dtype.itemsize), dtype=np.uint8).view(dtype)[:, 0]
        kinds = np.stack([middle, middle, tails, np.where(random.random(count) < 0.5, 0.0, -0.0)]).astype(dtype)
        kinds = np.concatenate([kinds, np.where(np.isfinite(anything), anything, dtype.type(-1))[None]])
    return kinds[random.choice(5, count, p=[0.4, 0.2, 0.2, 0.05, 0.15]), np.arange(count)]


def limit(text, row, params):
    """The number that a limit in the catalogue stands for."""
    names = dict(zip((p.name for p in row.parameters), params, strict=True))
    value = eval(text, {"inf": np.inf, "__builtins__": {}}, names)
    # -inf times a slope of 0: the function is 0 for all negative inputs
    return 0.0 if np.isnan(value) else value


def inputs(function, dtype, count, params=None, seed=0):
    """Samples that the function is made for: a gradient from the output gets outputs."""
    if function.direction != "backward_from_output":
        return samples(dtype, count, seed)
    params = parameter_sets(function.row)[0] if params is None else params
    return _outputs(function.row.name, np.dtype(dtype), count, params, seed).copy()


@functools.lru_cache(maxsize=256)
def _outputs(name, dtype, count, params, seed):
    return getattr(reference, name)(samples(dtype, count, seed), *params).astype(dtype)


def bits(array):
    """The bit patterns of an array of native floats, every NaN the same (payload and sign are not promised)."""
    array = np.array(array, copy=True, order="C")
    # a rectifier hands a signalling NaN on as it is, and ml_dtypes, not NumPy, says so when it looks at one
    with np.errstate(invalid="ignore"):
        array[np.isnan(array)] = np.nan
    return array.view(f"u{array.dtype.itemsize}")


def assert_same_bits(got, expected, what=""):
    """Both arrays have one dtype, one shape and the same bits in every element."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype, what
    assert got.shape == expected.shape, what
    differs = bits(got) != bits(expected)
    if differs.any():
        place = np.unravel_index(differs.argmax(), differs.shape)
        pytest.fail(
            f"{what}: {differs.sum()} of {differs.size} differ; at {place}: {got[place]!r}, {expected[place]!r}"
        )


def supply(level):
    """Enter the compiled kernels of an instruction set into the kernel table."""
    for function, dtype in itertools.product(FUNCTIONS, dispatch.DTYPES):
        dispatch.supply_compiled(function, dtype, level)
