"""What Numba calls before its first compilation: makes fastact's functions known in jitted code, if fastact is in use.

Numba calls ``init`` (entry point ``numba_extensions`` in pyproject.toml) in every process, also where nobody uses
fastact.  Hence a module of its own, outside the package: importing the package takes 30 ms.  Where fastact is not
imported yet, ``fastact/__init__.py`` calls ``init`` again when it is.
"""

import sys
import warnings


def init() -> None:
    """Register the functions if fastact has been imported; a failure is a warning, never an error."""
    if "fastact" not in sys.modules:
        return
    try:
        from fastact import numba_extension

        numba_extension.init()
    except Exception as error:
        # whatever a foreign version of Numba may raise: fastact itself works without
        warnings.warn(
            f"fastact: its functions cannot be used in Numba's jitted code: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
