"""Make the golden tables: ``python tests/golden/make.py [names]`` (needs mpmath; gmpy2 makes it several times faster).

The truth comes from the catalogue's definitions and mpmath alone, and nothing here may use the package under test
beyond the catalogue and ``fastact/verification/definitions.py``: both are loaded by their path, so that no compiled
module is needed and none can interfere.  Gradients are numerical derivatives of the definition; the rows'
``derivative`` strings serve at kinks only, and ``tests/test_reference.py`` compares them with the numerical ones.
"""

import importlib
import importlib.util
import sys
import types
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


def load_sources():
    """Catalogue and definitions without importing fastact: the checkout's, or a wheel's whose tests run alone."""
    package = HERE.parents[1] / "fastact"
    if not package.exists():
        package = Path(importlib.util.find_spec("fastact").origin).parent
    # packages without the code of their __init__: modules in them find each other, and nothing else is run
    for name, folder in (("fastact_sources", package), ("fastact_sources.verification", package / "verification")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    return [importlib.import_module(f"fastact_sources.{name}") for name in ("catalogue", "verification.definitions")]


catalogue, definitions = load_sources()
expression, truth, parameter_sets = definitions.expression, definitions.truth, definitions.parameter_sets


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
        low, high = definitions.output_range(row, params)
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
    hi, lo, exponent = definitions.scaled(value)
    if not hi:
        return 0.0, 0.0, int(np.log2(np.finfo(dtype).smallest_subnormal))
    return hi, lo if dtype == np.float64 else 0.0, exponent


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
