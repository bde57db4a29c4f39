# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""out[c, t] = silu(bias[c] + sum of weight[c, k] * x[c, t - k] over k): one filter for each channel, no look ahead.

Channels are shared out to OpenMP threads, and each is computed in tiles: SiLU is applied to a tile while that is in the
L1 cache, without the GIL.  ``fastact.silu`` gives the bits of the Python function.  ``silu_formula`` is the formula
itself, compiled into the loop that adds the bias; its last bit may differ.
"""

cimport fastact
from cython cimport floating
from cython.parallel cimport prange
from fastact.inline cimport silu as silu_formula

cdef enum:
    TILE = 2048  # elements: 8 KiB of float32, 16 KiB of float64

cdef enum Ending:
    BIAS, BIAS_SILU, BIAS_SILU_INLINE


cdef int convolve_tile(const floating *x, const floating *weight, floating bias, floating *out, Py_ssize_t taps,
                       Py_ssize_t start, Py_ssize_t stop, Ending ending) noexcept nogil:
    """Elements start..stop of one channel; returns a status of fastact."""
    cdef Py_ssize_t k, t
    for t in range(start, stop):
        out[t] = 0
    for k in range(taps):
        for t in range(max(start, k), stop):
            out[t] += weight[k] * x[t - k]
    if ending == BIAS_SILU_INLINE:
        for t in range(start, stop):
            out[t] = silu_formula(out[t] + bias)
        return 0
    for t in range(start, stop):
        out[t] += bias
    if ending == BIAS_SILU:
        return fastact.silu(&out[start], &out[start], stop - start)
    return 0


cdef int convolve_channel(const floating *x, const floating *weight, floating bias, floating *out, Py_ssize_t taps,
                          Py_ssize_t length, Ending ending) noexcept nogil:
    cdef Py_ssize_t start = 0
    cdef int status = 0
    while start < length and status == 0:
        status = convolve_tile(x, weight, bias, out, taps, start, min(start + TILE, length), ending)
        start += TILE
    return status


cdef object convolve_all(const floating[:, ::1] x, const floating[:, ::1] weight, const floating[::1] bias,
                         floating[:, ::1] out, int threads, Ending ending):
    cdef Py_ssize_t channels = x.shape[0], length = x.shape[1], taps = weight.shape[1], c
    cdef int status = 0
    if weight.shape[0] != channels or bias.shape[0] != channels or taps == 0:
        raise ValueError(f"weight, bias: got {weight.shape[0]} x {taps}, {bias.shape[0]}; accepted: one filter and "
                         f"one bias for each of {channels} channels")
    if out.shape[0] != channels or out.shape[1] != length:
        raise ValueError(f"out: got {out.shape[0]} x {out.shape[1]}; accepted: {channels} x {length}")
    if threads < 1:
        raise ValueError(f"threads: got {threads}; accepted: 1 and more")
    if length > 0:
        # |= makes it a reduction: 0 if no thread has had an error
        for c in prange(channels, nogil=True, num_threads=threads, schedule="static"):
            status |= convolve_channel(&x[c, 0], &weight[c, 0], bias[c], &out[c, 0], taps, length, ending)
    if status != 0:
        raise RuntimeError(f"silu: fastact returned status {status} (enum fastact_status in fastact.h)")


def convolve(const floating[:, ::1] x, const floating[:, ::1] weight, const floating[::1] bias, floating[:, ::1] out,
             int threads=1):
    """The convolution and the bias alone, into out, which must be apart from x."""
    convolve_all(x, weight, bias, out, threads, BIAS)


def convolve_silu(const floating[:, ::1] x, const floating[:, ::1] weight, const floating[::1] bias,
                  floating[:, ::1] out, int threads=1):
    """With SiLU, by fastact's C function on each tile."""
    convolve_all(x, weight, bias, out, threads, BIAS_SILU)


def convolve_silu_inline(const floating[:, ::1] x, const floating[:, ::1] weight, const floating[::1] bias,
                         floating[:, ::1] out, int threads=1):
    """With SiLU, by fastact's formula in this module's own loop."""
    convolve_all(x, weight, bias, out, threads, BIAS_SILU_INLINE)
