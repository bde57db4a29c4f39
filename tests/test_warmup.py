"""``fastact.warmup``: what it makes, where Numba serves after it, and that nobody waits for a compiler without it.

Where Numba is to be faster by a table, the table is one that was made up; the bits are the same whoever serves.
"""

import threading
import warnings

import numpy as np
import pytest
from cases import bits, call, inputs, needs_threads
from interpreters import run_python
from tuned_tables import choice, content, import_with, parsed, store

import fastact
from fastact import dispatch, tuned
from fastact.backends import cython_kernels, numba_kernels

NAMES = fastact.available_backends()
needs_numba = pytest.mark.skipif("numba" not in NAMES, reason=str(dispatch.why_unavailable("numba")))
needs_cython = pytest.mark.skipif("cython" not in NAMES, reason=str(dispatch.why_unavailable("cython")))
both = pytest.mark.skipif(not {"cython", "numba"} <= set(NAMES), reason="needs compiled kernels and Numba")


@pytest.fixture(autouse=True)
def choices_restored(monkeypatch):
    monkeypatch.setattr(dispatch, "_warmed", set())
    before = fastact.get_backend()
    yield
    dispatch._warmed.clear()
    fastact.set_backend(before)


def numba_version():
    if "numba" in NAMES and numba_kernels.version_imported() is None:
        import numba  # noqa: F401
    return numba_kernels.version_imported() or "0.0"


def numba_faster(*names, version=None):
    """The data of a table by which Numba is the faster one for these functions in float32, and for no other."""
    wins = choice(numba_ns=0.3, backend="numba", parallel_from=None)
    loses = choice(numba_ns=0.9, parallel_from=None)
    functions = {
        name: {dtype: wins if name in names and dtype == "float32" else loses for dtype in dispatch.DTYPES}
        for name in dispatch.FUNCTIONS
    }
    return content(functions, numba=version or numba_version())


@pytest.fixture
def leaky_relu_is_faster(monkeypatch):
    """By this process's table, Numba is faster for one function in float32, which no kernel looks up."""
    monkeypatch.setattr(tuned, "table", parsed(numba_faster("leaky_relu")))


def serving(name, dtype="float32"):
    return dispatch.serving(dispatch.FUNCTIONS[name], dtype)


# --- what it takes and returns ---------------------------------------------------------------------------------------


@needs_cython
def test_everything_by_default(monkeypatch):
    monkeypatch.setattr(tuned, "table", parsed(numba_faster()))
    ready = fastact.warmup(start_threads=False)
    places = [(one.function, one.dtype) for one in ready]
    assert places == [(name, dtype) for dtype in ("float32", "float64") for name in dispatch.FUNCTIONS]
    assert {one.backend for one in ready} == {"cython"}
    assert all(0 <= one.seconds < 60 for one in ready)


@pytest.mark.parametrize(
    "functions, names",
    [
        ("gelu", ["gelu"]),
        ("swish_backward", ["silu_backward"]),
        (fastact.gelu, ["gelu"]),
        (["gelu", fastact.gelu, "relu"], ["gelu", "relu"]),
        ((name for name in ("leaky_relu", "silu", "swish")), ["leaky_relu", "silu"]),
        ([], []),
    ],
    ids=["name", "alias", "function", "both", "generator", "none"],
)
def test_functions_are_found(functions, names):
    ready = fastact.warmup(functions, "float64", backend="numpy")
    assert [tuple(one[:3]) for one in ready] == [(name, "float64", "numpy") for name in names]


def test_dtypes_come_one_after_the_other():
    ready = fastact.warmup(["gelu", "relu"], ["float64", "float32", "float64"], backend="numpy")
    assert [(one.function, one.dtype) for one in ready] == [
        *(("gelu", "float64"), ("relu", "float64")),
        *(("gelu", "float32"), ("relu", "float32")),
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"functions": "glue"}, "function: got 'glue'; accepted: relu, "),
        ({"functions": ["gelu", "glue"]}, "function: got 'glue'; accepted: relu, "),
        ({"functions": np.tanh}, "function: got <ufunc 'tanh'>; accepted: relu, "),
        ({"functions": 5}, "functions: got 5; accepted: None, "),
        ({"functions": [["gelu"]]}, r"functions: got \['gelu'\]; accepted: "),
        ({"dtypes": "float99"}, "dtypes: got 'float99'; accepted: float32, float64"),
        ({"dtypes": ["float32", "int8"]}, "dtypes: got 'int8'; accepted: float32, float64"),
        ({"dtypes": 5}, "dtypes: got 5; accepted: float32, float64"),
        ({"dtypes": [np.zeros(3)]}, r"dtypes: got array\(\[0., 0., 0.\]\); accepted: float32, float64"),
        ({"backend": "auto"}, "backend: got 'auto'; accepted: None, cython, numba, numpy"),
        ({"backend": "turbo"}, "backend: got 'turbo'; accepted: None, cython, numba, numpy"),
        ({"backend": ["numba"]}, r"backend: got \['numba'\]; accepted: None, cython, numba, numpy"),
    ],
    ids=str,
)
def test_unknown_words(arguments, message, monkeypatch):
    """Nothing has been made by then."""
    monkeypatch.setattr(dispatch, "warm", lambda *unused: pytest.fail("something was made"))
    with pytest.raises(ValueError, match=f"^{message}"):
        fastact.warmup(**arguments)


def test_a_backend_that_cannot_serve(monkeypatch):
    monkeypatch.setitem(dispatch._failed, "numba", "it is broken")
    with pytest.raises(RuntimeError, match="backend: got 'numba', which cannot serve here: it is broken; available: "):
        fastact.warmup("gelu", backend="numba")


@needs_numba
def test_a_backend_that_breaks_meanwhile(monkeypatch):
    """Named: an error.  Not named: a warning, as at a first call, and another one serves."""

    def breaks(loop, dtype):
        raise OSError("no compiler today")

    monkeypatch.setattr(numba_kernels, "kernel", breaks)
    monkeypatch.setattr(dispatch, "_failed", {})
    with (
        pytest.warns(RuntimeWarning, match="backend numba cannot serve"),
        pytest.raises(RuntimeError, match=r"which cannot serve here: gelu_forward float32: OSError: no compiler today"),
    ):
        fastact.warmup("gelu", backend="numba")
    dispatch._failed.clear()
    # whatever other tests have had compiled is to be made again
    place = dispatch.BACKENDS.index("numba"), dispatch.DTYPES.index("float64")
    dispatch.FUNCTIONS["mish_backward"].supply(*place, 0, True)
    fastact.set_backend("numba")
    with pytest.warns(RuntimeWarning, match="backend numba cannot serve"):
        [ready] = fastact.warmup("mish_backward", "float64", start_threads=False)
    assert ready.backend == fastact.available_backends()[0] != "numba"


# --- where Numba serves ----------------------------------------------------------------------------------------------


@both
def test_numba_serves_where_it_is_faster_once_it_is_warmed_up(leaky_relu_is_faster):
    assert (serving("leaky_relu"), serving("gelu")) == ("cython", "cython")
    ready = fastact.warmup(["leaky_relu", "gelu"])
    assert {(one.function, one.dtype): one.backend for one in ready} == {
        ("leaky_relu", "float32"): "numba",
        ("leaky_relu", "float64"): "cython",
        ("gelu", "float32"): "cython",
        ("gelu", "float64"): "cython",
    }
    assert (serving("leaky_relu"), serving("leaky_relu", "float64"), serving("gelu")) == ("numba", "cython", "cython")
    assert fastact.get_backend() == "auto"


@both
def test_who_has_chosen_a_backend_has_it(leaky_relu_is_faster):
    fastact.warmup("leaky_relu")
    for name in NAMES:
        with fastact.use_backend(name):
            assert serving("leaky_relu") == name
        assert serving("leaky_relu") == "numba"
    fastact.set_backend("cython")
    assert {one.backend for one in fastact.warmup("leaky_relu", "float32")} == {"cython"}
    assert serving("leaky_relu") == "cython"
    fastact.set_backend("auto")
    assert serving("leaky_relu") == "numba"


@both
def test_a_backend_that_is_named_is_made_and_does_not_serve_for_that(leaky_relu_is_faster):
    [ready] = fastact.warmup("gelu", "float32", backend="numba")
    assert ready.backend == "numba"
    assert serving("gelu") == "cython"


@both
def test_a_kernel_that_was_made_for_another_reason_does_not_serve(leaky_relu_is_faster):
    with fastact.use_backend("numba"):
        fastact.leaky_relu(np.ones(3, "float32"))
    assert serving("leaky_relu") == "cython"


@both
@pytest.mark.parametrize("first", ["the choice", "the warm-up"])
def test_nothing_is_compiled_after_it(monkeypatch, first):
    """set_backend("numba") before or after: the calls find everything made."""
    if first == "the choice":
        fastact.set_backend("numba")
    dtypes = ["float32", "float64", "float16"]
    fastact.warmup(["elu", "softplus_backward"], dtypes, backend=None if first == "the choice" else "numba")
    fastact.set_backend("numba")
    monkeypatch.setattr(numba_kernels, "_compile", lambda *unused: pytest.fail("compiled"))
    for name in ("elu", "softplus_backward"):
        for dtype in dtypes:
            function = dispatch.FUNCTIONS[name]
            function(*[np.ones(5, dtype)] * len(function.array_names))
            assert serving(name, dtype) == "numba"


@both
def test_the_bits_are_the_same(leaky_relu_is_faster, two_threads):
    """On every path: dense, strided, in place, 16 bits, the ufunc, threads."""
    function = fastact.leaky_relu

    def results():
        for dtype in ("float16", "float32", "float64", "int8"):
            x = inputs(function, dtype, 20_001)
            yield from (call(function, x), call(function, x[::3]), fastact.ufuncs.leaky_relu(x, 0.01), function(x[0]))
            if dtype != "int8":
                y = x.copy()
                yield function(y, out=y)

    before = [bits(np.asarray(result)) for result in results()]
    fastact.warmup("leaky_relu")
    assert serving("leaky_relu") == "numba"
    after = [bits(np.asarray(result)) for result in results()]
    assert len(before) == len(after)
    assert all((one == other).all() for one, other in zip(before, after, strict=True))


@both
def test_numba_does_not_serve_where_the_compiled_kernel_looks_up(monkeypatch, two_threads):
    """It has the formula, whose bits are others: a warm-up must not change a result."""
    if not cython_kernels.looks_up("tanh_forward", "float32"):
        pytest.skip("nothing is looked up here")
    monkeypatch.setattr(tuned, "table", parsed(numba_faster("tanh")))
    x = inputs(fastact.tanh, "float32", 1001)
    before = bits(fastact.tanh(x))
    [ready] = fastact.warmup("tanh", "float32")
    assert ready.backend == serving("tanh") == "cython"
    assert (bits(fastact.tanh(x)) == before).all()
    assert not [line for line in fastact.explain("tanh", x).reasons if "numba is faster" in line]


@both
def test_explain_tells_why(leaky_relu_is_faster):
    def reasons(name="leaky_relu"):
        return [reason for reason in fastact.explain(name, np.zeros(3, "float32")).reasons if "numba" in reason]

    origin = "numba is faster, 0.3 ns per element instead of 0.6 (tuned table of 2026-11-26)"
    assert reasons()[1:] == [f"{origin}, but not warmed up: see fastact.warmup"]
    assert len(reasons("gelu")) == 1
    fastact.warmup("leaky_relu")
    explanation = fastact.explain("leaky_relu", np.zeros(3, "float32"))
    assert explanation.backend == "numba"
    assert reasons()[1:] == [f"{origin}, and warmed up"]
    with fastact.use_backend("cython"):
        assert len(reasons()) == 1


@both
def test_a_table_of_another_numba_says_nothing(monkeypatch):
    numba_version()
    monkeypatch.setattr(tuned, "table", parsed(numba_faster("leaky_relu", version="0.0")))
    [ready] = fastact.warmup("leaky_relu", "float32")
    assert ready.backend == serving("leaky_relu") == "cython"
    text = str(fastact.explain("leaky_relu", np.zeros(3, "float32")))
    assert f"but that was Numba 0.0, and this is {numba_version()}" in text


@both
def test_warmups_and_calls_at_once(leaky_relu_is_faster):
    """From four threads, while four others compute: every result is right, whoever served it."""
    x = inputs(fastact.leaky_relu, "float32", 5001)
    expected = bits(fastact.leaky_relu(x))
    failures, done = [], threading.Event()

    def guarded(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def compute():
        while not done.is_set():
            assert (bits(fastact.leaky_relu(x)) == expected).all()

    def warm():
        for _ in range(20):
            fastact.warmup(["leaky_relu", "relu"])
            dispatch._warmed.clear()
            fastact.set_backend("auto")

    computing = [threading.Thread(target=guarded, args=(compute,)) for _ in range(4)]
    warming = [threading.Thread(target=guarded, args=(warm,)) for _ in range(4)]
    for thread in (*computing, *warming):
        thread.start()
    for thread in warming:
        thread.join()
    done.set()
    for thread in computing:
        thread.join()
    assert failures == []


# --- in processes of their own ---------------------------------------------------------------------------------------


@both
def test_nobody_waits_unasked(cache_folder):
    """A table that says Numba everywhere, and every function called: Numba is not even imported."""
    store(numba_faster(*dispatch.FUNCTIONS))
    import_with(
        cache_folder,
        """
        import sys
        import numpy as np
        import fastact
        from fastact import dispatch, tuned
        assert tuned.table is not None
        for function in dispatch.FUNCTIONS.values():
            for dtype in ("float16", "float32", "float64"):
                arrays = [np.full(100, 0.5, dtype)] * len(function.array_names) + [0.5] * len(function.operand_names)
                function(*arrays)
                function.ufunc(*arrays, *([0.5] * len(function.scalar_names)))
            assert fastact.explain(function, np.zeros(3, "float32")).backend == "cython"
        assert "numba" not in sys.modules
        """,
    )


@both
def test_warmed_up_in_a_new_process(cache_folder):
    """Numba is imported by the warm-up; a child that is forked after it has what it made."""
    store(numba_faster("leaky_relu"))
    import_with(
        cache_folder,
        """
        import os, sys, time
        import numpy as np
        import fastact
        x = np.linspace(-3, 3, 10_000, dtype="float32")
        before = fastact.leaky_relu(x)
        ready, = fastact.warmup("leaky_relu", "float32")
        assert ready.backend == "numba" and ready.seconds > 0.01, ready
        again, = fastact.warmup("leaky_relu", "float32")
        assert again.seconds < ready.seconds / 10, (ready, again)
        assert (fastact.leaky_relu(x) == before).all()
        explanation = fastact.explain("leaky_relu", x)
        assert explanation.backend == "numba" and "and warmed up" in str(explanation), explanation
        child = os.fork() if hasattr(os, "fork") else None
        if child == 0:
            same = fastact.explain("leaky_relu", x).backend == "numba" and (fastact.leaky_relu(x) == before).all()
            os._exit(0 if same else 1)
        assert child is None or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        """,
        timeout=60,
    )


@both
def test_the_backend_of_the_environment_wins(cache_folder):
    store(numba_faster("leaky_relu"))
    import_with(
        cache_folder,
        """
        import sys
        import fastact
        ready, = fastact.warmup("leaky_relu", "float32")
        assert ready.backend == "cython" and "numba" not in sys.modules
        assert fastact.explain("leaky_relu", [1.0]).backend == "cython"
        """,
        environment={"FASTACT_BACKEND": "cython"},
    )


@needs_threads
@pytest.mark.parametrize("count, start, tasks", [(1, True, 1), (4, False, 1), (2, True, 2), (4, True, 4)])
def test_threads_are_started(count, start, tasks):
    run_python(
        f"""
        import os
        import fastact
        fastact.set_num_threads({count})
        fastact.warmup("gelu", "float32", backend=fastact.available_backends()[0], start_threads={start})
        if os.path.isdir("/proc/self/task") and "cython" in fastact.available_backends():
            assert len(os.listdir("/proc/self/task")) == {tasks}, os.listdir("/proc/self/task")
        """
    )


@pytest.mark.parametrize("kind", ["nothing", "prelu only"])
def test_no_function_to_start_threads_with(kind):
    with fastact.num_threads(2), warnings.catch_warnings():
        warnings.simplefilter("error")
        fastact.warmup([] if kind == "nothing" else ["prelu"], backend=NAMES[0])
