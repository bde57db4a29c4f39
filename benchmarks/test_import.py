"""What ``import fastact`` costs beyond ``import numpy``: each time in a new process, so that nothing is loaded yet."""

import subprocess
import sys

PROCESSES = 7
PROGRAM = """
import time
import numpy
start = time.perf_counter()
import fastact
print(time.perf_counter() - start)
"""


def seconds():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    return float(result.stdout)


def test_import(benchmark):
    """The process's own start and NumPy are in pytest-benchmark's time, not in ``extra_info``."""
    taken = []
    benchmark.group = "import"
    benchmark.pedantic(lambda: taken.append(seconds()), rounds=PROCESSES, warmup_rounds=1)
    benchmark.extra_info.update(milliseconds_beyond_numpy=min(taken) * 1e3, processes=len(taken))
