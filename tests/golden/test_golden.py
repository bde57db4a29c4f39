"""The loader's arithmetic, and that the stored tables still say what the catalogue says."""

import numpy as np
import pytest

from golden import KINDS, Table, load

make = pytest.importorskip("golden.make", reason="needs mpmath", exc_type=ImportError)
ROWS = list(make.catalogue.ACTIVATIONS)


def table(dtype, hi, exponent, lo=0.0):
    """Return a table of one true value."""
    return Table("forward", dtype, (), np.zeros(1, dtype), np.array([hi]), np.array([lo]), np.array([exponent]))


@pytest.mark.parametrize(
    ("dtype", "hi", "exponent", "lo", "result", "expected"),
    [
        # truth 1: one ULP is 2^-52 (2^-23), also for a result just below 1
        ("float64", 0.5, 1, 0.0, 1.0, 0),
        ("float64", 0.5, 1, 0.0, 1 + 2**-52, 1),
        ("float64", 0.5, 1, 0.0, 1 - 2**-53, 0.5),
        ("float64", -0.5, 1, 0.0, -1 - 2**-52, 1),
        ("float32", 0.5, 1, 0.0, 1 + 2**-23, 1),
        ("float32", 0.5, 1, 0.0, 1 + 2**-24, 0.5),
        # truth half an ULP beside 1, and a quarter
        ("float64", 0.5, 1, 2**-54, 1.0, 0.5),
        ("float64", 0.5, 1, 2**-55, 1 + 2**-52, 0.75),
        # subnormal truths: 2^-1074 * 1.25 and 2^-149 * 0.75
        ("float64", 0.625, -1073, 0.0, 2**-1074, 0.25),
        ("float64", 0.625, -1073, 0.0, 0.0, 1.25),
        ("float32", 0.75, -149, 0.0, 2**-149, 0.25),
        # far below every subnormal, and zero
        ("float64", 0.5, -1900, 0.0, 2**-1074, 1),
        ("float64", 0.0, -1074, 0.0, 2**-1074, 1),
        ("float32", 0.0, -149, 0.0, -(2**-149), 1),
        ("float32", 0.0, -149, 0.0, -0.0, 0),
        # around overflow: the largest number, the first one that rounds to infinity, and far above
        ("float64", 1 - 2**-53, 1024, 0.0, np.finfo(np.float64).max, 0),
        ("float64", 1 - 2**-53, 1024, 0.0, np.inf, np.inf),
        ("float64", 1 - 2**-53, 1024, 2**-54, np.inf, 0),
        ("float64", 0.75, 1025, 0.0, np.inf, 0),
        ("float64", 0.75, 1025, 0.0, -np.inf, np.inf),
        ("float32", 1 - 2**-25, 128, 0.0, np.inf, 0),
        ("float32", 1 - 2**-24, 128, 0.0, np.inf, np.inf),
        ("float64", 0.5, 1, 0.0, np.nan, np.inf),
        ("float64", 0.5, -1000, 0.0, 1e308, np.inf),
    ],
)
def test_ulp_error(dtype, hi, exponent, lo, result, expected):
    assert table(dtype, hi, exponent, lo).ulp_error(np.array([result])) == expected


def test_shape_is_checked():
    with pytest.raises(ValueError, match="shape"):
        table("float64", 0.5, 1).ulp_error(1.0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_tables_are_complete_and_current(row):
    tables = load(row.name)
    wanted = {
        (kind, dtype, params)
        for kind in KINDS
        if kind != "gradient_from_output" or row.derivative_from_output
        for dtype in ("float32", "float64")
        for params in make.parameter_sets(row, kind, np.dtype(dtype))
    }
    assert set(tables) == wanted, f"run: python tests/golden/make.py {row.name}"
    for (kind, dtype, params), stored in tables.items():
        assert stored.x.dtype == dtype
        assert np.all(np.isfinite(stored.x))
        with make.mp.workdps(make.DIGITS):
            f = make.truth(row, kind, params)
            for i in range(0, len(stored), 1 + len(stored) // 12):
                again = make.scaled(f(make.mpf(float(stored.x[i]))), np.dtype(dtype))
                stored_now = stored.hi[i], stored.lo[i], stored.exponent[i]
                assert again == pytest.approx(stored_now, rel=1e-7), f"x = {stored.x[i]!r}: make the tables again"
