"""One digest for all results of a function, the same however the work was split.

Leaves are blake2b digests of 2**16 results in the order of the sweep, every NaN replaced by one.  Two neighbours make
their parent, level by level; a last one without a neighbour moves up as it is.  A piece of work that begins at a
multiple of its own length, a power of two of leaves, therefore ends in a node of the whole tree.

Two builds whose digests agree give the same bits everywhere the sweep has been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from .numbers import Array, Format

#: Results per leaf.
LEAF = 2**16
_BYTES = 16


def leaf_digest(results: Array, form: Format) -> bytes:
    """Digest of the results of one leaf."""
    missing = np.isnan(results)
    if missing.any():
        results = results.copy()
        results[missing] = np.nan
        # the sign of the one NaN must not depend on the platform
        results.view(form.pattern)[missing] &= form.pattern.type(form.places // 2 - 1)
    little_endian = results.view(form.pattern).astype(form.pattern.newbyteorder("<"), copy=False)
    return hashlib.blake2b(little_endian.tobytes(), digest_size=_BYTES).digest()


def root(nodes: Sequence[bytes]) -> bytes:
    """The digest above neighbouring nodes of one level, the last of which may stand for less than the others."""
    if not nodes:
        raise ValueError("nodes: got none; accepted: at least one digest")
    while len(nodes) > 1:
        pairs = [nodes[k : k + 2] for k in range(0, len(nodes), 2)]
        nodes = [
            hashlib.blake2b(b"".join(pair), digest_size=_BYTES).digest() if len(pair) == 2 else pair[0]
            for pair in pairs
        ]
    return nodes[0]
