"""Activation functions for CPUs, forward and backward, in place.  The public names, and nothing else.

The functions themselves (``gelu``, ``gelu_backward``, ...) are made from ``catalogue.ACTIVATIONS``.
"""

from sys import modules as _modules

from . import _core, calls, dispatch, documentation, embedding, recycling, streaming, threads, ufuncs
from .catalogue import ALIASES
from .dispatch import available_backends, get_backend, set_backend, use_backend
from .embedding import get_include
from .explanation import explain
from .recycling import get_recycling, release_recycled, set_recycling
from .threads import get_num_threads, get_thread_pool, num_threads, set_num_threads, set_thread_pool
from .warming import warmup

__version__ = "0.1.0"

_core.install(dispatch.resolve_kernel, calls.general_call, documentation, embedding, threads.cpus_allowed())
_core.introduce(__version__, dispatch.instruction_set())
threads.start()
recycling.start()
dispatch.start(__version__)
streaming.start()
ufuncs.publish()

_functions = dispatch.FUNCTIONS | {
    alias + function.name[len(name) :]: function
    for alias, name in ALIASES.items()
    for function in dispatch.FUNCTIONS.values()
    if function.row.name == name
}
globals().update(_functions)

__all__ = [
    *sorted(_functions),
    "available_backends",
    "explain",
    "get_backend",
    "get_include",
    "get_num_threads",
    "get_recycling",
    "get_thread_pool",
    "num_threads",
    "release_recycled",
    "set_backend",
    "set_num_threads",
    "set_recycling",
    "set_thread_pool",
    "ufuncs",
    "use_backend",
    "warmup",
]

if "fastact_numba" in _modules:
    # Numba has looked for extensions before this import (fastact_numba.py)
    _modules["fastact_numba"].init()


def __getattr__(name: str) -> object:
    # where Cython looks for the C functions when somebody's module cimports fastact (fastact/__init__.pxd)
    if name == "__pyx_capi__":
        return embedding.compiled_functions().__pyx_capi__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
