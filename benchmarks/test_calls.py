"""The cost of a call: 16 float32, one thread, with ``out=`` and without, beside an empty call, np.tanh and PyTorch.

The difference from the empty call in the same group is what a call costs beyond Python's own share.
"""

import pytest

from fastact import cases, contenders, dispatch, measurement

CASES = [
    pytest.param(
        cases.Case(function.row.name, function.direction, "float32", measurement.CALL_SIZE, mode),
        id=f"{function.name}-{mode}",
    )
    for function in dispatch.FUNCTIONS.values()
    for mode in ("reused", "fresh")
]
SERVING = next(name for name in dispatch.order() if dispatch.why_unavailable(name) is None)


@pytest.mark.parametrize("caller", ["fastact", "empty", "np.tanh", "numpy", "torch"])
@pytest.mark.parametrize("called", CASES)
def test_call(called, caller, benchmark, describe, request):
    # other names than test_activations has, whose parameters conftest makes
    case, label = called, caller
    arrays = cases.arrays_for(case)
    available = {c.label: c for c in contenders.contenders(case, (SERVING,), label in ("numpy", "torch"), arrays)}
    available["fastact"] = available[f"fastact.{SERVING}"]
    available["empty"] = measurement.empty_call(case, arrays)
    available["np.tanh"] = measurement.tanh_call(case, arrays)
    if label not in available:
        pytest.skip(f"{label} has no {case.function}, or is not installed")
    contender = available[label]
    benchmark.group = f"call|{case.group}"
    with measurement.same_threads(1, label == "torch"), contender.active():
        contender.warm_up()
        taken = []
        benchmark.pedantic(
            lambda: taken.append(contender.batch()), rounds=request.config.getoption("rounds"), warmup_rounds=1
        )
    describe(benchmark, case, contender, taken)
