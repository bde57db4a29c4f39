"""The true ``np.ufunc`` behind each public function, under the same name: ``fastact.ufuncs.gelu``.

For code that wants a ufunc: its own array protocol, ``where=``, ``out=`` tuples, ``ufunc.types``, pickling by name.
bfloat16 is among them in every call, but not in ``ufunc.types``, which lists NumPy's own types.
Parameters are operands here, always given: ``fastact.ufuncs.elu(x, 1.0)``.
"""

import numpy as np

from . import dispatch


def publish() -> None:
    """Put the ufuncs into this module's namespace, where pickle finds them by name; the package calls it once."""
    for name, function in dispatch.FUNCTIONS.items():
        globals()[name] = function.ufunc


def __getattr__(name: str) -> np.ufunc:
    raise AttributeError(f"no ufunc {name!r}; there are: {', '.join(dispatch.FUNCTIONS)}")
