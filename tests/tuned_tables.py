"""Tables of ``fastact tune`` for tests: whole ones, broken ones, and interpreters that may use them."""

import json

from interpreters import run_python

from fastact import costs, dispatch, tuned
from fastact.tuning import storage


def choice(**changed):
    """What is stored of one function and dtype."""
    return {"compiled_ns": 0.6, "numba_ns": None, "parallel_from": 4321, "backend": "cython"} | changed


def content(functions=None, **changed):
    """The data of a table that is right, but for what is changed."""
    measured = {"date": "2026-11-26", "numba": None, "functions": functions or {"gelu": {"float32": choice()}}}
    return storage.identity() | measured | changed


def parsed(data):
    """A table from its text, or from data."""
    text = data if isinstance(data, str) else json.dumps(data)
    return tuned.parsed(text, storage.identity(), dispatch.FUNCTIONS, dispatch.DTYPES)


def store(data):
    """Put a table where an import looks for it, whatever is in it."""
    path = storage.path()
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def measured(threshold=4321):
    """What storage.write takes."""
    return {"date": "2026-11-26", "numba": None, "functions": {"gelu": {"float32": choice(parallel_from=threshold)}}}


def import_with(folder, script, **options):
    """Run a script in an interpreter that may use the table in the folder."""
    environment = {"FASTACT_CACHE_DIR": str(folder), "FASTACT_TUNING": "on"} | options.pop("environment", {})
    return run_python(script, environment=environment, **options)


#: Prints the threshold of gelu and what was warned of, and then its reason.
SHOW = """
import numpy, sys
before = set(sys.modules)
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastact
import numpy as np
from fastact import tuned
x = np.linspace(-5, 5, 20_000, dtype="float32")
assert (fastact.gelu(x) == fastact.gelu(x.copy())).all()
print(fastact.gelu.parallel_from[0], tuned.ignored, len(caught), *(w.category.__name__ for w in caught), sep="|")
print(fastact.explain("gelu", x).reasons[-1])
assert not {"numba", "filelock", "platformdirs", "rich", "pathlib"} & set(sys.modules) - before
"""


def default_threshold():
    """That of gelu in float32, without a table."""
    return costs.threshold("gelu", "gelu_forward", "float32")[0]
