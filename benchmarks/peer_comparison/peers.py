"""Who takes part: the peers by label, what each needs installed, and how its contenders are made.

A peer is shown at its best: what its public interface checks or copies on the way is left out where its own binding
allows it.  A peer that lacks a form (an output that is given, in place) is timed in the closest one, with a note; one
that lacks the function or the dtype is absent.

This file must not know how anything is timed; the modules that it names import their library when they are made.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple


class Peer(NamedTuple):
    """One peer."""

    name: str
    #: One or two letters for the cells of tables.
    initial: str
    #: What must be importable, beginning with what the version is taken from.
    packages: tuple[str, ...]
    #: Module of this package whose ``Maker`` makes its contenders.
    maker: str


PEERS: dict[str, Peer] = {
    "torch": Peer("PyTorch", "T", ("torch",), "array_libraries"),
    "onnxruntime": Peer("ONNX Runtime", "R", ("onnxruntime", "onnx"), "onnx_runtime"),
    "openvino": Peer("OpenVINO", "V", ("openvino",), "openvino_models"),
    "jax": Peer("JAX", "J", ("jax",), "jax_functions"),
    # SciPy may be missing: NumPy alone still has half of the functions
    "numpy": Peer("NumPy/SciPy", "N", ("numpy",), "array_libraries"),
    "thinc": Peer("thinc", "H", ("thinc",), "thinc_operations"),
    "numexpr": Peer("numexpr", "E", ("numexpr",), "numexpr_expressions"),
    "simd_ml_kernels": Peer("simd-ml-kernels", "S", ("simd_ml_kernels",), "simd_ml_kernels_calls"),
}


def is_installed(label: str) -> bool:
    """Whether a peer's packages are there; none is imported."""
    return all(importlib.util.find_spec(package) is not None for package in PEERS[label].packages)


def installed() -> tuple[str, ...]:
    """Labels of the peers that are there."""
    return tuple(label for label in PEERS if is_installed(label))


def maker(label: str, threads: int):
    """What makes this peer's contenders, on so many threads."""
    module = importlib.import_module(f"{__package__}.{PEERS[label].maker}")
    return module.Maker(label, threads)
