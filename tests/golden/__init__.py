"""Golden tables: true values of every activation and its gradients at chosen points, and the distance to them in ULP.

``make.py`` writes the tables, from the catalogue's definitions and mpmath alone.  This loader must stay free of both,
and of the package under test, so that a test run reads numbers that nothing under test could have moved.
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
KINDS = ("forward", "gradient", "gradient_from_output")
#: Bits of the significand, and exponent of the smallest subnormal.
PRECISION = {"float32": (24, -149), "float64": (53, -1074)}


class Table:
    """Points ``x`` and the truth at them, ``(hi + lo) * 2**exponent`` with ``hi`` in [0.5, 1) or 0.

    Attributes: ``kind``, ``dtype``, ``params`` (floats, already rounded to the dtype), ``x``, ``hi``, ``lo``,
    ``exponent``.  Scaled so, a truth far below the smallest subnormal is still exact.
    """

    def __init__(self, kind, dtype, params, x, hi, lo, exponent):
        self.kind, self.dtype, self.params = kind, np.dtype(dtype), params
        self.x, self.hi, self.lo, self.exponent = x, hi, lo, exponent.astype(np.int32)
        self._digits, self._lowest = PRECISION[self.dtype.name]
        #: exponent of one ULP of the truth
        self._ulp = np.maximum(self.exponent - self._digits, self._lowest)

    def __len__(self):
        return len(self.x)

    def __repr__(self):
        return f"<golden {self.kind} {self.dtype} {self.params}: {len(self)} points>"

    def ulp_error(self, result):
        """Distance of each result from the truth in ULP of the truth, as real numbers.

        One ULP is at least the smallest subnormal.  Infinity is right where the truth rounds to it; NaN and every
        other infinity are infinitely far.  The sign of zero does not count.  A float64 result is taken as it is, also
        by a float32 table: so an error before the last rounding can be measured.
        """
        result = np.asarray(result, np.float64)
        if result.shape != self.x.shape:
            raise ValueError(f"result has shape {result.shape}, the table has {self.x.shape}")
        with np.errstate(all="ignore"):
            difference = (np.ldexp(result, -self.exponent) - self.hi) - self.lo
            error = np.ldexp(np.abs(difference), self.exponent - self._ulp)
        error = np.where(np.isnan(error), np.inf, error)
        # from the largest finite number plus half an ULP on, i.e. (1 - 2^-(digits + 1)) * 2^top
        top = 3 - self._lowest - self._digits
        sign = np.sign(self.hi)
        below_one = 1 - np.abs(self.hi) <= np.ldexp(1.0, -self._digits - 1) + self.lo * sign
        rounds_to_inf = (self.exponent > top) | ((self.exponent == top) & below_one)
        return np.where(rounds_to_inf & (result == np.copysign(np.inf, self.hi)), 0.0, error)

    def worst(self, result):
        """(largest error in ULP, the x it occurs at, the result there)."""
        error = self.ulp_error(result)
        where = int(np.argmax(error))
        return float(error[where]), self.x[where], np.asarray(result)[where]


def load(name):
    """Return the tables of one activation, keyed by (kind, dtype name, params)."""
    tables = {}
    with np.load(FOLDER / f"{name}.npz") as stored:
        for key in stored["keys"]:
            kind, dtype, _ = str(key).split()
            part = {field: stored[f"{key} {field}"] for field in ("params", "x", "hi", "lo", "exponent")}
            params = tuple(float(p) for p in part.pop("params"))
            tables[kind, dtype, params] = Table(kind, dtype, params, **part)
    return tables
