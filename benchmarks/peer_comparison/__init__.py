"""The comparison with every peer: `python benchmarks/compare.py` measures it, `benchmarks/publish.py` publishes it."""
