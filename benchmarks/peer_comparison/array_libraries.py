"""NumPy with SciPy, and PyTorch: the statements of ``fastact/peers.py``, which ``fastact bench`` times as well."""

from __future__ import annotations

import importlib

from fastact import contenders


class Maker:
    """Contenders of one of the two."""

    def __init__(self, label, threads):
        self._label = label
        if label == "torch":
            importlib.import_module("torch").set_num_threads(threads)

    def contender(self, case, arrays, copies):
        """The contender, or None where the library lacks the function."""
        found = contenders.array_libraries(case, arrays, copies)
        return next((contender for contender in found if contender.label == self._label), None)
