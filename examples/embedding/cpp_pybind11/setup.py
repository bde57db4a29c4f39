"""Build: three C++ files against pybind11's headers and those of the installed fastact."""

import platform

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

import fastact

FLAGS = ["-O3"]
if platform.machine().lower() in ("x86_64", "amd64"):
    # for the sums of the layers, which this module's compiler vectorises; fastact chooses its kernels by itself
    FLAGS += ["-march=native"]

setup(
    ext_modules=[
        Pybind11Extension(
            "perceptron",
            [f"sources/{name}.cpp" for name in ("module", "perceptron", "activation")],
            include_dirs=[fastact.get_include()],
            depends=["sources/perceptron.hpp", "sources/activation.hpp"],
            extra_compile_args=FLAGS,
            cxx_std=17,
        )
    ]
)
