"""Build: one extension module of four C files against the headers of the installed fastact."""

import platform

from setuptools import Extension, setup

import fastact

# The two last flags change no value, and GCC needs them to vectorise the formulas of fastact_inline.h.  No -std=c11:
# with it GCC does not contract a product and a sum to FMA, and the matrix product takes twice as long.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
if platform.machine().lower() in ("x86_64", "amd64"):
    # for this machine only: a product that is to run elsewhere needs one build per instruction set, which is not the
    # subject here.  512 bits, because GCC uses half of each AVX-512 register by itself.
    FLAGS += ["-march=native", "-mprefer-vector-width=512"]

setup(
    ext_modules=[
        Extension(
            "fused_dense",
            [f"sources/{name}.c" for name in ("module", "product", "epilogues", "inline_epilogue")],
            include_dirs=[fastact.get_include()],
            depends=["sources/product.h", "sources/epilogues.h"],
            extra_compile_args=FLAGS,
        )
    ]
)
