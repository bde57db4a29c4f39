"""Which backend serves, how it is chosen, and what happens when one, or an instruction set, is missing or broken.

Whatever is decided at import or at the first use is tried in a new interpreter, with packages hidden from it or
replaced by broken ones.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import ALL_DTYPES, FUNCTIONS, bits, call, inputs, truth
from interpreters import run_python

import fastact
from fastact import dispatch
from fastact._kernels import base
from fastact.backends import cython_kernels, numba_kernels

NAMES = fastact.available_backends()
needs_numba = pytest.mark.skipif("numba" not in NAMES, reason=str(dispatch.why_unavailable("numba")))
needs_cython = pytest.mark.skipif("cython" not in NAMES, reason=str(dispatch.why_unavailable("cython")))


@pytest.fixture(autouse=True)
def backend_restored():
    before = fastact.get_backend()
    yield
    fastact.set_backend(before)


def serving_everywhere():
    """The backends that serve any function in any precision."""
    return {dispatch.serving(function, dtype) for function in FUNCTIONS[:5] for dtype in dispatch.DTYPES}


# -- choosing ---------------------------------------------------------------------------------------------------------


def test_available_in_the_written_order():
    assert list(NAMES) == sorted(NAMES, key=("cython", "numba", "numpy").index)
    assert "numpy" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_set_backend(name):
    fastact.set_backend(name)
    assert fastact.get_backend() == name
    assert serving_everywhere() == {name}
    fastact.set_backend("auto")
    assert fastact.get_backend() == "auto"
    assert serving_everywhere() == {NAMES[0]}


def test_use_backend_nests_and_restores():
    with fastact.use_backend("numpy"):
        assert serving_everywhere() == {"numpy"}
        with fastact.use_backend(NAMES[0]):
            assert fastact.get_backend() == NAMES[0]
            assert serving_everywhere() == {NAMES[0]}
            with fastact.use_backend("auto"):
                assert fastact.get_backend() == "auto"
        assert fastact.get_backend() == "numpy"
        assert serving_everywhere() == {"numpy"}
    assert fastact.get_backend() == "auto"


def test_use_backend_restores_after_an_exception():
    fastact.set_backend(NAMES[0])
    with pytest.raises(KeyError, match="mine"), fastact.use_backend("numpy"):
        raise KeyError("mine")
    assert fastact.get_backend() == NAMES[0]
    assert serving_everywhere() == {NAMES[0]}


@pytest.mark.parametrize("name", ["turbo", "", "Cython", "cython ", None, 3, ("numpy",)], ids=repr)
@pytest.mark.parametrize("choose", [fastact.set_backend, lambda name: fastact.use_backend(name).__enter__()])
def test_unknown_backend(choose, name):
    fastact.set_backend("numpy")
    with pytest.raises(ValueError) as error:
        choose(name)
    assert str(error.value) == f"name: got {name!r}; accepted: auto, cython, numba, numpy"
    assert fastact.get_backend() == "numpy"
    assert serving_everywhere() == {"numpy"}


@needs_cython
def test_the_same_objects_serve():
    """A function that somebody imported, or its ufunc, or its alias, changes its backend with all the others."""
    from fastact import swish
    from fastact.ufuncs import silu as ufunc

    x = inputs(swish, "float32", 2001)
    results = {}
    for name in NAMES:
        fastact.set_backend(name)
        assert fastact.silu is fastact.swish is swish
        assert fastact.ufuncs.silu is fastact.silu.ufunc is ufunc
        results[name] = bits(swish(x))
        assert (bits(ufunc(x)) == results[name]).all()
    # the NumPy backend is the reference rounded once, and no compiled kernel agrees with it everywhere
    assert (results["numpy"] == bits(truth(swish, x).astype("float32"))).all()
    assert (results["cython"] != results["numpy"]).any()


@pytest.mark.timeout(120)
def test_backend_changes_while_others_compute():
    """Each element comes from one backend or the other, and from nothing else."""
    x = inputs(fastact.gelu, "float32", 20_001)
    names = [name for name in NAMES if name != "numba"]
    possible = []
    for name in names:
        with fastact.use_backend(name):
            possible.append(bits(fastact.gelu(x)))
    done = threading.Event()

    def compute():
        while not done.is_set():
            got = bits(fastact.gelu(x))
            right = np.logical_or.reduce([got == values for values in possible])
            assert right.all()

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(compute) for _ in range(4)]
        for turn in range(300):
            fastact.set_backend(names[turn % len(names)])
        done.set()
        for future in futures:
            future.result()


# -- environment ------------------------------------------------------------------------------------------------------

SHOW = """
import fastact
from fastact.backends import cython_kernels
print(fastact.get_backend(), fastact.explain("gelu", [1.0]).backend, cython_kernels.instruction_set(), sep="|")
"""


@pytest.mark.parametrize("name", ["auto", *NAMES])
def test_backend_from_the_environment(name):
    got, serves, _ = run_python(SHOW, environment={"FASTACT_BACKEND": name}).strip().split("|")
    assert got == name
    assert serves == (NAMES[0] if name == "auto" else name)


@pytest.mark.parametrize("name", ["turbo", "", "NumPy"], ids=repr)
def test_unknown_backend_in_the_environment(name):
    errors = run_python(SHOW, environment={"FASTACT_BACKEND": name}, succeeds=False)
    assert f"ValueError: FASTACT_BACKEND: got {name!r}; accepted: auto, cython, numba, numpy" in errors


@needs_cython
@pytest.mark.parametrize("limit", cython_kernels.INSTRUCTION_SETS)
def test_instruction_set_from_the_environment(limit):
    _, serves, level = run_python(SHOW, environment={"FASTACT_MAX_ISA": limit}).strip().split("|")
    allowed = cython_kernels.INSTRUCTION_SETS[cython_kernels.INSTRUCTION_SETS.index(limit) :]
    assert level == next(name for name in allowed if name in base.runnable())
    assert serves == "cython"


@pytest.mark.parametrize("limit", ["sse9", "", "AVX2"], ids=repr)
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_unknown_instruction_set(limit, backend):
    """An error whichever backend is to serve."""
    environment = {"FASTACT_MAX_ISA": limit, "FASTACT_BACKEND": backend}
    errors = run_python(SHOW, environment=environment, succeeds=False)
    assert f"ValueError: FASTACT_MAX_ISA: got {limit!r}; accepted: base, avx2, avx512" in errors


@needs_cython
@pytest.mark.parametrize("limit", cython_kernels.INSTRUCTION_SETS)
def test_reasons_name_the_limit(limit):
    output = run_python(
        "from fastact.backends import cython_kernels; print(cython_kernels.passed_over())",
        environment={"FASTACT_MAX_ISA": limit},
    )
    above = cython_kernels.INSTRUCTION_SETS[: cython_kernels.INSTRUCTION_SETS.index(limit)]
    assert all(f"{level}: above FASTACT_MAX_ISA={limit}" in output for level in above)


# -- missing and broken -----------------------------------------------------------------------------------------------

#: ``check`` calls functions of each kind and compares them with the reference; ``HIDE`` is what cannot be imported.
CHECK = """
import sys
import warnings

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in HIDE:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden)", name=name)

sys.meta_path.insert(0, Hidden())

import numpy as np
import fastact
from fastact import reference
from fastact.backends import cython_kernels

x = np.linspace(-9, 9, 5001, dtype="float32")
one = np.ones_like(x)
CALLS = {
    "relu": (x,), "gelu": (x,), "elu": (x, 1.7), "prelu": (x, 0.25), "silu_backward": (one, x),
    "tanh_backward_from_output": (one, np.tanh(x)),
}

def expected(name):
    *_, place = (k for k, argument in enumerate(CALLS[name]) if np.ndim(argument))
    return getattr(reference, name.replace("backward", "gradient"))(*map(np.float64, CALLS[name][place:]))

def is_right(result, name, step=1):
    np.testing.assert_allclose(result, expected(name)[::step], rtol=1e-6, err_msg=name)

def check():
    for name, arguments in CALLS.items():
        is_right(getattr(fastact, name)(*arguments), name)
        strided = [a[::3] if np.ndim(a) else a for a in arguments]
        is_right(getattr(fastact, name)(*strided), name, 3)
"""


def run_without(hidden, script, **options):
    return run_python(f"HIDE = {tuple(hidden)!r}\n{CHECK}\n{script}", **options)


@pytest.mark.parametrize("way", ["not found", "refused", "None in sys.modules"])
def test_without_numba(way):
    """Nothing else changes: the next in order serves, and who asks for Numba is told."""
    hide = "import sys; sys.modules['numba'] = None\n" if way == "None in sys.modules" else ""
    find = "import importlib.util; importlib.util.find_spec = lambda name: None\n" if way == "not found" else ""
    run_without(
        ["numba"] if way == "refused" else [],
        f"""
{find}{hide}
assert fastact.available_backends() == ("cython", "numpy"), fastact.available_backends()
assert fastact.explain("gelu", 1.0).backend == "cython"
check()
try:
    fastact.set_backend("numba")
except RuntimeError as error:
    message = str(error)
else:
    raise AssertionError("no error")
assert message.startswith("name: got 'numba', which cannot serve here: numba"), message
assert message.endswith("available: cython, numpy"), message
assert fastact.get_backend() == "auto"
check()
""",
    )


def test_numba_asked_for_by_the_environment_but_missing():
    """The next in order serves, and explain says why."""
    run_without(
        ["numba"],
        """
assert fastact.get_backend() == "numba"
explanation = fastact.explain("gelu", 1.0)
assert explanation.backend == "cython"
assert any(reason.startswith("numba passed over: numba") for reason in explanation.reasons), explanation
check()
""",
        environment={"FASTACT_BACKEND": "numba"},
    )


@needs_cython
def test_numba_that_does_not_import(tmp_path):
    """Found, but broken: known at the first use only.  One warning, right results, and the reason stays readable."""
    package = tmp_path / "numba" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise ImportError('Numba needs NumPy 1.0 or less')\n")
    run_without(
        [],
        """
fastact.set_backend("numba")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check()
assert [w.category for w in caught] == [RuntimeWarning], caught
assert "backend numba cannot serve" in str(caught[0].message), caught[0]
assert "Numba needs NumPy 1.0 or less" in str(caught[0].message), caught[0]
explanation = fastact.explain("gelu", 1.0)
assert explanation.backend == "cython"
passed_over, = (reason for reason in explanation.reasons if reason.startswith("numba passed over"))
assert "Numba needs NumPy 1.0 or less" in passed_over
assert fastact.available_backends() == ("cython", "numpy")
try:
    fastact.set_backend("numba")
except RuntimeError as error:
    assert "Numba needs NumPy 1.0 or less" in str(error)
else:
    raise AssertionError("no error")
check()
""",
        path=tmp_path,
    )


@pytest.mark.parametrize("path", ["dense", "strided", "ufunc"])
@pytest.mark.parametrize("kind", ["warning made an error", "interrupt"])
def test_exception_while_a_kernel_is_made(kind, path):
    """It reaches the caller, or the result is right; never a result that nobody computed, and the next call works."""
    way = {"dense": "fastact.gelu(x)", "strided": "fastact.gelu(x[::2])", "ufunc": "fastact.ufuncs.gelu(x)"}[path]
    step = 2 if path == "strided" else 1
    error = "KeyboardInterrupt" if kind == "interrupt" else "ImportError"
    run_without(
        [],
        f"""
from fastact.backends import numpy_kernels

made = []
make = numpy_kernels.kernel

def fail_first(loop, dtype):
    made.append(loop)
    if len(made) == 1:
        raise {error}("while a kernel was made")
    return make(loop, dtype)

fastact.set_backend("numpy")
numpy_kernels.kernel = fail_first
warnings.simplefilter("error")
try:
    result = {way}
except (KeyboardInterrupt, RuntimeWarning):
    pass
else:
    is_right(result, "gelu", {step})
assert made
is_right({way}, "gelu", {step})
""",
    )


@needs_cython
def test_instruction_set_not_built():
    best, *lower = base.runnable()
    if not lower:
        pytest.skip("this machine runs one instruction set only")
    run_without(
        [f"fastact._kernels.{best}"],
        f"""
assert cython_kernels.instruction_set() == {lower[0]!r}
reason = next(reason for reason in cython_kernels.passed_over() if reason.startswith({best!r}))
assert reason.startswith("{best}: not built (") and "hidden" in reason, reason
explanation = fastact.explain("gelu", 1.0)
assert explanation.backend == "cython" and explanation.instruction_set == {lower[0]!r}
assert reason in explanation.reasons
check()
""",
    )


NO_KERNELS = tuple(f"fastact._kernels.{level}" for level in cython_kernels.INSTRUCTION_SETS)
WITHOUT_KERNELS = """
assert cython_kernels.instruction_set() == "none"
assert "hidden" in cython_kernels.unavailable()
try:
    fastact.set_backend("cython")
except RuntimeError as error:
    assert "name: got 'cython', which cannot serve here: base: " in str(error), error
else:
    raise AssertionError("no error")
explanation = fastact.explain("gelu", 1.0)
assert any(reason.startswith("cython passed over: base: ") for reason in explanation.reasons), explanation
check()
"""


@needs_numba
def test_no_compiled_kernels():
    run_without(
        NO_KERNELS,
        "assert fastact.available_backends() == ('numba', 'numpy')\n"
        + WITHOUT_KERNELS
        + "assert explanation.backend == 'numba', explanation",
        timeout=60,
    )


def test_neither_compiled_kernels_nor_numba():
    run_without(
        (*NO_KERNELS, "numba"),
        "assert fastact.available_backends() == ('numpy',)\n"
        + WITHOUT_KERNELS
        + "assert explanation.backend == 'numpy', explanation",
    )


# -- first use --------------------------------------------------------------------------------------------------------


@needs_numba
def test_first_call_through_a_ufunc():
    """The ufunc's loop meets the gap in the kernel table, without the GIL; also where threads are to work."""
    run_without(
        [],
        """
is_right(fastact.ufuncs.gelu(x), "gelu")
is_right(fastact.ufuncs.elu(x, 1.7), "elu")
is_right(fastact.ufuncs.relu(x, where=x > 0, out=np.zeros_like(x)), "relu")
fastact.set_num_threads(2)
large = np.tile(x, 100)
assert fastact.explain("silu_backward", large).threads == fastact.get_num_threads()
result = fastact.ufuncs.silu_backward(np.ones_like(large), large)
for part in np.split(result, 100):
    is_right(part, "silu_backward")
assert fastact.explain("gelu", x).backend == "numba"
""",
        environment={"FASTACT_BACKEND": "numba"},
        timeout=60,
    )


@needs_numba
def test_first_use_by_eight_threads():
    """All at once, half of them with the same function, half of them through the ufuncs."""
    run_without(
        [],
        """
import threading
from concurrent.futures import ThreadPoolExecutor

barrier = threading.Barrier(8)
names = list(CALLS)

def first_use(k):
    barrier.wait()
    for turn in range(len(names)):
        name = names[(turn + k // 4) % len(names)]
        function = getattr(fastact, name)
        is_right(function.ufunc(*CALLS[name]) if k % 2 else function(*CALLS[name]), name)

with ThreadPoolExecutor(8) as pool:
    for future in [pool.submit(first_use, k) for k in range(8)]:
        future.result()
assert fastact.explain("gelu", x).backend == "numba"
""",
        environment={"FASTACT_BACKEND": "numba"},
        timeout=60,
    )


@needs_numba
def test_kernels_are_compiled_once():
    fastact.set_backend("numba")
    fastact.relu(np.ones(3, "float32"))
    kernel = numba_kernels._compiled["relu_forward", "float32"]
    fastact.set_backend("auto")
    fastact.set_backend("numba")
    fastact.relu(np.ones(3, "float32"))
    assert numba_kernels._compiled["relu_forward", "float32"] is kernel


# -- explain ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_explain_names_backend_and_reasons(name):
    fastact.set_backend(name)
    explanation = fastact.explain("gelu", np.zeros(16, "float32"))
    assert explanation.function == "gelu"
    assert explanation.dtype == "float32"
    assert explanation.backend == name
    assert explanation.instruction_set == cython_kernels.instruction_set()
    assert explanation.threads == 1
    assert explanation.path == "direct"
    assert explanation.reasons[0].startswith(f"order: {name}, ")
    assert f"(backend {name!r} is set)" in explanation.reasons[0]
    text = str(explanation)
    assert text.splitlines()[0].startswith(f"gelu on float32: {name}")
    assert all(f"  - {reason}" in text.splitlines() for reason in explanation.reasons)


@pytest.mark.parametrize(
    "function, name",
    [
        ("silu", "silu"),
        ("swish", "silu"),
        ("swish_backward", "silu_backward"),
        (fastact.silu_backward, "silu_backward"),
        ("softplus_backward_from_output", "softplus_backward_from_output"),
    ],
    ids=str,
)
def test_explain_finds_functions(function, name):
    assert fastact.explain(function, [0.5]).function == name


@pytest.mark.parametrize("function", ["tanhh", "", "swishy", "gelu_backward_from_output", None, np.tanh], ids=str)
def test_explain_unknown_function(function):
    with pytest.raises(ValueError, match=r"function: got .*; accepted: relu, relu_backward, ") as error:
        fastact.explain(function, 1.0)
    assert repr(function) in str(error.value)


STRIDED = np.zeros((8, 8), "float32")[:, ::2]


@pytest.mark.parametrize(
    "x, dtype, path, reason",
    [
        (np.zeros(5), "float64", "direct", ""),
        (np.zeros((3, 4), "float16", order="F"), "float16", "direct", ""),
        (np.zeros((), "float32"), "float32", "direct", ""),
        (STRIDED, "float32", "ufunc", "not dense"),
        (np.zeros(5, ">f4"), ">f4", "ufunc", "converted"),
        (np.zeros(5, "int8"), "int8", "ufunc", "converted"),
        (np.ma.zeros(5), "float64", "ufunc", "MaskedArray is not exactly a NumPy array"),
        ([1.0, 2.0], "float64", "ufunc", "list is not exactly a NumPy array"),
        (1, "int64", "ufunc", "int is not exactly a NumPy array"),
    ],
    ids=["dense", "fortran", "0-d", "strided", "swapped", "int8", "masked", "list", "int"],
)
def test_explain_path(x, dtype, path, reason):
    explanation = fastact.explain("gelu", x)
    assert (explanation.dtype, explanation.path) == (dtype, path)
    assert any(reason in text for text in explanation.reasons)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "longdouble", "U3", "O", "M8[s]"])
def test_explain_refuses_what_the_call_refuses(dtype):
    x = np.zeros(3, dtype)
    with pytest.raises(TypeError):
        fastact.gelu(x)
    with pytest.raises(TypeError):
        fastact.explain("gelu", x)


def test_explain_threads():
    with fastact.num_threads(2):
        used = fastact.get_num_threads()
        for dtype, size in zip(dispatch.DTYPES, fastact.gelu.parallel_from, strict=True):
            if dtype not in ALL_DTYPES:
                continue
            small = fastact.explain("gelu", np.zeros(size - 1, dtype))
            large = fastact.explain("gelu", np.zeros(size, dtype))
            assert (small.threads, large.threads) == (1, used)
            assert large.reasons[-1].startswith(f"{size} elements, threads pay from {size}; {used} may be used")
    with fastact.num_threads(1):
        assert fastact.explain("gelu", np.zeros(10**6, "float32")).threads == 1


def test_explain_calls_nothing():
    """It changes no array and no choice."""
    x = inputs(fastact.gelu, "float32", 100)
    before = x.copy()
    fastact.set_backend("numpy")
    fastact.explain("gelu", x)
    assert (bits(x) == bits(before)).all()
    assert fastact.get_backend() == "numpy"
    assert (bits(call(fastact.gelu, x)) == bits(truth(fastact.gelu, x).astype("float32"))).all()
