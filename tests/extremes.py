"""The values that arithmetic may trip over, in any format of binary floating point.

They are made from bit patterns, because ``np.finfo`` knows only NumPy's own formats.
"""

import numpy as np
from cases import inputs


def patterns(dtype):
    """The unsigned type of a format's width, the bits of infinity, and the bit for the sign, as Python integers."""
    dtype = np.dtype(dtype)
    word = np.dtype(f"u{dtype.itemsize}")
    return word, int(np.array(np.inf, dtype).view(word)), 1 << 8 * dtype.itemsize - 1


def numbers_of(dtype, bit_patterns):
    """The numbers with these bits, in both signs."""
    word, _, sign = patterns(dtype)
    positive = np.array(bit_patterns, word)
    return np.concatenate([positive, positive | word.type(sign)]).view(dtype)


def smallest_normal(dtype):
    """The smallest number that is not subnormal."""
    _, infinity, _ = patterns(dtype)
    return numbers_of(dtype, [infinity & -infinity])[0]


def nans(dtype):
    """Quiet and signalling NaNs of both signs."""
    _, infinity, _ = patterns(dtype)
    quiet, signalling = (infinity & -infinity) >> 1, 1
    return numbers_of(dtype, [infinity | quiet, infinity | signalling, infinity | quiet | signalling])


def specials(dtype):
    """Everything finite that arithmetic may trip over, in both signs."""
    word, infinity, _ = patterns(dtype)
    tiny = infinity & -infinity
    one = int(np.array(1, dtype).view(word))
    bits = [0, 1, 3, tiny // 2, tiny - 1, tiny, one - 1, one, one + 1, infinity - tiny - 1, infinity - 2, infinity - 1]
    # epsilon, and the root of the largest number
    bits += [one - (tiny.bit_length() - 1) * tiny, (one + infinity) // 2]
    # where exponentials and Gaussians leave the normal numbers, and then the subnormal ones
    places = [0.5, 10.4, 13.2, 17.3, 37.6, 39.0, 87.5, 88.8, 103.3, 104.5, 708.5, 709.9, 745.3, 746.0]
    positive = np.array(places).astype(dtype)
    return np.concatenate([numbers_of(dtype, bits), positive, -positive])


def everything(function, dtype, count, params=None):
    """An array of ``count`` special values and samples, mixed."""
    extra = np.concatenate([nans(dtype), specials(dtype), np.array([np.inf, -np.inf], dtype)])
    values = np.concatenate([extra, inputs(function, dtype, max(0, count - extra.size), params)])
    return np.random.default_rng(5).permutation(values)[:count]
