"""Example for fastact: convolutions along a sequence that end in SiLU, as the layers of state-space models do."""

from .convolution import convolve, convolve_silu, convolve_silu_inline

__all__ = ["convolve", "convolve_silu", "convolve_silu_inline"]
