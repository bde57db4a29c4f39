"""Every activation, direction, backend, dtype, size and mode, beside NumPy/SciPy, PyTorch and the memory traffic.

What is timed is the contender's own compiled loop (``fastact/contenders.py``), a batch of calls in each round.  Arrays
that a call overwrites are refilled in the set-up of the round, which is not timed.
"""

import pytest

from fastact import cases, contenders, measurement


def test_activation(case, label, benchmark, describe, request):
    arrays = cases.arrays_for(case)
    backends = (label.partition(".")[2],) if label.startswith("fastact.") else ()
    found = [c for c in contenders.contenders(case, backends, not backends, arrays) if c.label == label]
    if not found:
        pytest.skip(f"{label} has no {case.function}, or is not installed")
    contender = found[0]
    rounds = request.config.getoption("rounds") if case.size < 2**24 else measurement.FEWEST_ROUNDS
    benchmark.group = case.group
    with measurement.same_threads(case.threads, label == "torch"), contender.active():
        contender.warm_up()
        taken = []
        benchmark.pedantic(
            lambda: taken.append(contender.batch()), setup=contender.refill, rounds=rounds, warmup_rounds=1
        )
        max_ulp = measurement.max_ulp(case, label, backends)
    describe(benchmark, case, contender, taken, max_ulp)
