"""Make the golden tables: ``python tests/golden/make.py [names]`` (needs mpmath; gmpy2 makes it several times faster).

The truth comes from the catalogue's definitions and mpmath alone, and nothing here may use the package under test
beyond the catalogue: the file is loaded by its path, so that no compiled module is needed and none can interfere.
Gradients are numerical derivatives of the definition; the rows' ``derivative`` strings serve at kinks only, where the
mathematics leaves a choice, and ``tests/test_reference.py`` compares them with the numerical ones.

Huge arguments need no special rule: mpmath's exponents are integers without bound, and exp(1e300) costs no more than
the thousand bits of its argument.
"""

import importlib.util
import sys
import zlib
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

HERE = Path(__file__).resolve().parent
#: Digits for values; derivatives choose their own.
DIGITS = 60
#: Points per table by kind: of a row without parameters, for default parameters, for each variant.  Sized for files
#: of at most 150 KB.
COUNTS = {"forward": (1800, 1150, 240), "gradient": (1800, 1150, 240), "gradient_from_output": (800, 500, 130)}
#: Dense places: this many steps of one ULP either way.
STEPS = 24
#: Binary exponent under which a value counts as 0: far below any subnormal (2^-1074), and fits in int16.
VANISHED = -2000
#: Names that definitions may use.
NAMES = "exp expm1 log log1p sqrt sin cos tan atan asinh sinh cosh tanh erf erfc mpf pi"


def load_catalogue():
    """``fastact/catalogue.py`` without importing fastact: the checkout's, or that of a wheel whose tests run alone."""
    package = HERE.parents[1] / "fastact"
    if not package.exists():
        package = Path(importlib.util.find_spec("fastact").origin).parent
    spec = importlib.util.spec_from_file_location("catalogue", package / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    # the classes in it look their module up by name
    sys.modules["catalogue"] = module
    spec.loader.exec_module(module)
    return module


catalogue = load_catalogue()


def expression(text, variable, row, params):
    """Turn an expression of the catalogue into a function of one mpf."""
    scope = {name: getattr(mp, name) for name in NAMES.split()}
    scope.update(abs=abs, min=min, max=max, inf=mp.inf, __builtins__={})
    scope.update({p.name: mpf(value) for p, value in zip(row.parameters, params, strict=True)})
    code = compile(text, f"<{row.name}>", "eval")
    return lambda x: mpf(eval(code, scope | {variable: x}))


def numerical_derivative(f, at_kinks=None):
    """Derivative of f by a central difference; if the two one-sided ones disagree, ``at_kinks`` decides."""

    def quotients(x, bits):
        with mp.workprec(bits):
            # leaves an error of 2^-220 (one-sided) or 2^-440 of the scale on which f bends; relative to x where x is
            # large, so that x + step differs from x
            step = mp.ldexp(1, -220 + max(0, mp.mag(x) if x else 0))
            return (f(x) - f(x - step)) / step, (f(x + step) - f(x)) / step

    def derivative(x):
        left, right = quotients(x, 900)
        if max(abs(left), abs(right)) < mp.ldexp(1, -200):
            # f may tend to a constant other than 0: then digits are lost as the derivative falls.  2600 bits are right
            # for derivatives down to 2^-2000, and for those below they give something as small
            left, right = quotients(x, 2600)
        if at_kinks and abs(left - right) > mp.ldexp(abs(left) + abs(right), -100):
            return at_kinks(x)
        return (left + right) / 2

    return derivative


def truth(row, kind, params):
    """Return the function whose values a table holds."""
    definition = expression(row.definition, "x", row, params)
    if kind == "forward":
        return definition
    if kind == "gradient_from_output":
        return expression(row.derivative_from_output, "y", row, params)
    return numerical_derivative(definition, expression(row.derivative, "x", row, params) if row.kink else None)


def parameter_sets(row, kind, dtype):
    """Yield the default first, then one set per tried value; those a from-output gradient refuses are left out."""
    defaults = [p.tried[0] if p.default is None else p.default for p in row.parameters]
    sets = [tuple(defaults)]
    for place, parameter in enumerate(row.parameters):
        sets += [(*defaults[:place], value, *defaults[place + 1 :]) for value in parameter.tried]
    refused = {catalogue.FINITE: lambda v: False, catalogue.POSITIVE: lambda v: v <= 0,
               catalogue.NON_NEGATIVE: lambda v: v < 0}  # fmt: skip
    for params in dict.fromkeys(sets):
        bad = any(refused[p.accepts_from_output](v) for p, v in zip(row.parameters, params, strict=True))
        if not (kind == "gradient_from_output" and bad):
            yield tuple(float(dtype.type(value)) for value in params)


def around(point, dtype, steps=STEPS):
    """The numbers within some ULP steps of a point."""
    up = down = dtype.type(point)
    found = [up]
    for _ in range(steps):
        up, down = np.nextafter(up, dtype.type(np.inf)), np.nextafter(down, dtype.type(-np.inf))
        found += [up, down]
    return found


def crossings(f, dtype):
    """Where |f| falls below the smallest normal, the smallest subnormal and half of it, on either side if it does."""
    info = np.finfo(dtype)
    levels = [mpf(float(info.tiny)), mpf(float(info.smallest_subnormal)), mpf(float(info.smallest_subnormal)) / 2]
    for sign in (-1, 1):
        for level in levels:
            # all tails are exponential or faster: 2^14 is far beyond every underflow, for a parameter of 0.1 too
            near, far = 1.0, 2.0**14
            if abs(f(mpf(sign * far))) >= level or abs(f(mpf(sign * near))) < level:
                continue
            while far - near > np.spacing(dtype.type(near)):
                middle = (near + far) / 2
                near, far = (middle, far) if abs(f(mpf(sign * middle))) >= level else (near, middle)
            yield sign * near


def points(row, kind, f, dtype, params, count, random):
    """Numbers of the dtype to evaluate at, sorted: random ones by the logarithm and linear ones, and dense places."""
    info = np.finfo(dtype)
    low, high = -np.inf, np.inf
    dense = list(row.interesting) + list(crossings(f, dtype))
    if kind == "gradient_from_output":
        low, high = (float(expression(end, "y", row, params)(mpf(0))) for end in row.output_range)
        dense = [0.0] + [end for end in (low, high) if np.isfinite(end)]
    smallest, largest = float(info.smallest_subnormal), float(info.max)
    third = count // 3
    exponents = random.uniform(np.log2(smallest), np.log2(largest), third)
    logarithmic = 2.0**exponents * random.choice([-1.0, 1.0], third)
    # the magnitudes at which something happens, and again linearly
    middling = 2.0 ** random.uniform(-30, 10, third) * random.choice([-1.0, 1.0], third)
    linear = random.uniform(max(low, -20.0), min(high, 20.0), third)
    with np.errstate(over="ignore"):
        found = np.concatenate([logarithmic, middling, linear]).astype(dtype)
    steps = STEPS if count >= 500 else STEPS // 4
    ends = [0.0, smallest, -smallest, float(info.tiny), -float(info.tiny), largest, -largest]
    close = [x for place in dense for x in around(place, dtype, steps)]
    found = np.unique(np.concatenate([found, np.array(ends, dtype), np.array(close, dtype)]))
    return found[np.isfinite(found) & (found >= low) & (found <= high)]


def scaled(value, dtype):
    """Write a true value as (hi, lo, exponent); lo only where hi alone would not measure a float64 finely."""
    if not value or mp.mag(value) < VANISHED:
        return 0.0, 0.0, int(np.log2(np.finfo(dtype).smallest_subnormal))
    mantissa, exponent = mp.frexp(value)
    hi = float(mantissa)
    if abs(hi) == 1:
        hi, mantissa, exponent = hi / 2, mantissa / 2, exponent + 1
    return hi, float(mantissa - mpf(hi)) if dtype == np.float64 else 0.0, int(exponent)


def make(row):
    """Write the tables of one row."""
    stored, keys = {}, []
    kinds = [kind for kind in COUNTS if kind != "gradient_from_output" or row.derivative_from_output]
    for kind in kinds:
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            for number, params in enumerate(parameter_sets(row, kind, dtype)):
                key = f"{kind} {dtype.name} {number}"
                # a seed of its own for each table: making one alone gives the same numbers
                random = np.random.default_rng(zlib.crc32(f"{row.name} {key}".encode()))
                f = truth(row, kind, params)
                count = COUNTS[kind][0 if not params else 1 if number == 0 else 2]
                x = points(row, kind, f, dtype, params, count, random)
                hi, lo, exponent = zip(*(scaled(f(mpf(float(point))), dtype) for point in x), strict=True)
                part = {"params": np.array(params), "x": x, "hi": np.array(hi),
                        "lo": np.array(lo, np.float32), "exponent": np.array(exponent, np.int16)}  # fmt: skip
                stored.update({f"{key} {field}": array for field, array in part.items()})
                keys.append(key)
    path = HERE / f"{row.name}.npz"
    np.savez_compressed(path, keys=np.array(keys), **stored)
    print(f"{path.name}: {len(keys)} tables, {path.stat().st_size / 1e3:.0f} KB", flush=True)


if __name__ == "__main__":
    mp.dps = DIGITS
    for name in sys.argv[1:] or catalogue.BY_NAME:
        make(catalogue.BY_NAME[name])
