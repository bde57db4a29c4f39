"""MXCSR, the register in which x86 keeps the floating-point state of a thread: read, written, and its bits.

Other CPUs and C libraries have such a register elsewhere; tests that need this one are marked ``needs_mxcsr``.
"""

import ctypes
import ctypes.util
import platform
from concurrent.futures import ThreadPoolExecutor

import pytest

LIBM = ctypes.CDLL(ctypes.util.find_library("m"))
#: Place of MXCSR in glibc's ``fenv_t``, behind 28 bytes of the x87 unit.
_PLACE = 7
#: All traps masked, to the nearest number, nothing flushed, no flag.
DEFAULT = 0x1F80
ALL_FLAGS, ALL_MASKS = 0x003F, 0x1F80
FLUSH_RESULTS, FLUSH_INPUTS = 0x8000, 0x0040
FLUSHING = DEFAULT | FLUSH_RESULTS | FLUSH_INPUTS
DOWNWARD, UPWARD, TOWARDS_ZERO = 0x2000, 0x4000, 0x6000
#: Masks of the traps that programs switch on; the two others are raised by nearly every operation.
INVALID, DIVISION_BY_ZERO, OVERFLOW, UNDERFLOW = 0x0080, 0x0200, 0x0400, 0x0800

needs_mxcsr = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="reads MXCSR the way glibc keeps it"
)


def read_mxcsr():
    environment = (ctypes.c_uint32 * 8)()
    assert LIBM.fegetenv(environment) == 0
    return environment[_PLACE]


def write_mxcsr(value):
    environment = (ctypes.c_uint32 * 8)()
    assert LIBM.fegetenv(environment) == 0
    environment[_PLACE] = value
    assert LIBM.fesetenv(environment) == 0


def in_new_thread(target):
    """What ``target`` returns; whatever it does to its floating-point state ends with its thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(target).result()
