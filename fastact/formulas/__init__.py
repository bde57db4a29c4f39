"""What each activation *is*: scalar value and derivative in plain Python, one file per family.

A formula is written in a small subset of Python (see ``lowering.py``) so that the same text becomes a Cython kernel
for every instruction set and a Numba kernel, and still runs here as ordinary Python for reading and debugging.
"""
