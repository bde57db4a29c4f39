"""Build: one Cython module; `cimport fastact` is found in the installed package by Cython itself."""

import platform

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastact

# The two last flags change no value, and GCC needs them to vectorise the formula.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
if platform.machine().lower() in ("x86_64", "amd64"):
    # for the machine it is built on.  512 bits, because GCC uses half of each AVX-512 register by itself.
    FLAGS += ["-march=native", "-mprefer-vector-width=512"]

setup(
    package_dir={"": "src"},
    packages=["causal_convolution"],
    ext_modules=cythonize(
        Extension(
            "causal_convolution.convolution",
            ["src/causal_convolution/convolution.pyx"],
            include_dirs=[fastact.get_include()],  # for the inline formulas; `cimport fastact` alone needs none
            extra_compile_args=[*FLAGS, "-fopenmp"],
            extra_link_args=["-fopenmp"],
        )
    ),
)
