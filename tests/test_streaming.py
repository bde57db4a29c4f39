"""Outputs that go past the caches: when they do, that no bit depends on it, and that nothing beside them is touched.

The threshold is lowered, so that small arrays are streamed, and every kernel is, whether it would gain or not.  That a
call is streamed shows in what its kernel is handed: a buffer instead of the output.
"""

import ctypes
import itertools
import sys

import numpy as np
import pytest
from cases import DTYPES, FUNCTIONS, HALF_DTYPES, assert_same_bits, call, first, inputs, supply
from disassembly import functions_of, kernels_file, needs_objdump
from interpreters import run_python

import fastact
from fastact import _core, costs, dispatch, streaming, tuned
from fastact.backends import cython_kernels

pytestmark = pytest.mark.skipif(not _core.can_stream(), reason="built without streaming stores")

LINE, BLOCK = 64, 512  # bytes: CACHE_LINE and STREAM_BYTES of src_cy/
#: Numbers of threads from which outputs are streamed, for all dtypes.
ALWAYS, NEVER = (1,) * len(dispatch.DTYPES), (costs.NEVER_STREAMED,) * len(dispatch.DTYPES)


@pytest.fixture
def everything_streams():
    """Stream whatever can be streamed, from the first byte on, in every function."""
    bound, bounded = _core.get_stream_from(), {function.name: function.streams_on for function in FUNCTIONS}
    _core.set_stream_from(1)
    for function in FUNCTIONS:
        function.streams_on = ALWAYS
    yield
    _core.set_stream_from(bound)
    for function in FUNCTIONS:
        function.streams_on = bounded[function.name]


@pytest.fixture
def handed():
    """Puts a kernel that copies its first input in relu's place, and lists the addresses and counts it is handed."""
    calls = []
    names = {"float32": ctypes.c_float, "float64": ctypes.c_double}

    def kernel_of(dtype):
        pointers = ctypes.POINTER(ctypes.c_void_p)
        signature = ctypes.CFUNCTYPE(None, pointers, pointers, ctypes.c_ssize_t, ctypes.c_void_p)

        def kernel(inputs, outputs, count, _):
            calls.append((outputs[0], count))
            ctypes.memmove(outputs[0], inputs[0], count * ctypes.sizeof(names[dtype]))

        return signature(kernel)

    kernels = [kernel_of(dtype) for dtype in DTYPES]
    for precision, kernel in enumerate(kernels):
        address = ctypes.cast(kernel, ctypes.c_void_p).value
        fastact.relu.supply(0, precision, address, False)
        fastact.relu_backward.supply(0, precision, address, False)
    with fastact.use_backend("cython"), fastact.num_threads(1):
        yield calls
    supply(cython_kernels.instruction_set())


def is_inside(address, array):
    return array.ctypes.data <= address < array.ctypes.data + array.nbytes


def streamed(calls, out):
    """Whether the calls wrote out through buffers, in blocks."""
    outside = [count for address, count in calls if not is_inside(address, out)]
    return sum(outside) >= out.size - LINE and max(outside) * out.itemsize <= BLOCK


needs_streaming_kernels = pytest.mark.skipif(
    cython_kernels.instruction_set() not in ("avx512", "avx2"), reason="kernels stream by themselves where they look up"
)
needs_compiled = pytest.mark.skipif(cython_kernels.unavailable() is not None, reason="without compiled kernels")


# -- when -------------------------------------------------------------------------------------------------------------


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_outputs_are_streamed_from_the_threshold_on(everything_streams, handed, dtype):
    x = np.arange(5000, dtype=dtype)
    out = np.empty_like(x)
    for bound, expected in ((2 * x.nbytes, True), (2 * x.nbytes + 1, False), (sys.maxsize, False)):
        _core.set_stream_from(bound)
        handed.clear()
        fastact.relu(x, out=out)
        assert streamed(handed, out) == expected, bound
        assert (out == x).all()
    handed.clear()
    _core.set_stream_from(3 * x.nbytes)
    fastact.relu_backward(x, x, out=out)
    assert streamed(handed, out)


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_gains_nothing_is_not_streamed(everything_streams, handed, dtype):
    x = np.arange(5000, dtype=dtype)
    room = np.zeros(2 * x.size + 1, dtype)
    in_place = x.copy()
    cases = {
        "in place": (in_place, in_place),
        "into the gradient": (in_place, in_place),
        "strided output": (x, room[: 2 * x.size : 2]),
        "strided input": (room[1 : 2 * x.size + 1 : 2], np.empty_like(x)),
    }
    for name, (source, out) in cases.items():
        handed.clear()
        if name == "into the gradient":
            fastact.relu_backward(source, x, out=out)
        else:
            fastact.relu(source, out=out)
        assert max(count for _, count in handed) * x.itemsize > BLOCK, name


@needs_compiled
def test_functions_that_compute_for_long_are_not_streamed(handed):
    """By the thresholds as they are: those with a handful of operations are, others not, or on several threads."""
    assert fastact.relu.streams_on == fastact.leaky_relu_backward.streams_on == ALWAYS
    assert fastact.gelu.streams_on[0] > 1
    # float64 has twice the bytes, but takes more than twice the time
    assert fastact.gelu.streams_on[1] >= fastact.gelu.streams_on[0]
    assert fastact.gelu.streams_on[2:] == NEVER[2:]
    bound = _core.get_stream_from()
    _core.set_stream_from(1)
    fastact.relu.streams_on = NEVER
    try:
        x = np.arange(5000, dtype="float32")
        out = np.empty_like(x)
        fastact.relu(x, out=out)
        assert not streamed(handed, out)
    finally:
        fastact.relu.streams_on = ALWAYS
        _core.set_stream_from(bound)


@needs_compiled
@pytest.mark.skipif(not _core.built_with_threads(), reason="built without threads")
def test_several_threads_stream_what_one_does_not(handed):
    """And only those that share a call: alone, its kernel does not wait for memory."""
    x = np.arange(1 << 16, dtype="float32")
    out = np.empty_like(x)
    bound, thresholds = _core.get_stream_from(), fastact.relu.parallel_from
    _core.set_stream_from(1)
    fastact.relu.streams_on, fastact.relu.parallel_from = (2,) * len(ALWAYS), (4096,) * len(ALWAYS)
    try:
        for count in (1, 2, 3):
            handed.clear()
            with fastact.num_threads(count):
                assert fastact.explain("relu", x).streams == (count > 1)
                fastact.relu(x, out=out)
            assert bool(streamed(handed, out)) == (count > 1)
            assert (out == x).all()
    finally:
        fastact.relu.streams_on, fastact.relu.parallel_from = ALWAYS, thresholds
        _core.set_stream_from(bound)


# -- what is written --------------------------------------------------------------------------------------------------


def in_pieces(function, x, grad, bounds, **keywords):
    """Results by calls on the pieces of an array."""
    return np.concatenate([first(call(function, x[a:b], grad=grad[a:b], **keywords)) for a, b in bounds])


def operands(function, dtype, count):
    """Values, gradients, and results that were not streamed."""
    x = inputs(function, dtype, count)
    grad = np.random.default_rng(1).normal(size=count).astype(dtype)
    bound = _core.get_stream_from()
    _core.set_stream_from(sys.maxsize)
    expected = first(call(function, x, grad=grad))
    _core.set_stream_from(bound)
    return x, grad, expected


def lengths(dtype):
    """Around granules, lines, and one, two and three blocks."""
    block = BLOCK // np.dtype(dtype).itemsize
    around = [blocks * block + d for blocks in (1, 2, 3) for d in (-17, -16, -1, 0, 1, 15, 16, 17)]
    return [1, 15, 16, 17, 31, 33, *around]


def test_every_offset_and_length(everything_streams, function, backend, dtype):
    """At each of 64 consecutive elements: the bits of ordinary stores, and not a byte beside the output is touched."""
    # the driver is the same for every backend: fewer places where a kernel comes from elsewhere, or is never streamed
    offsets = range(0, 64, 1 if backend.startswith("cython") else 13)
    most = max(lengths(dtype))
    x, grad, expected = operands(function, dtype, most)
    guard = np.random.default_rng(2).integers(0, 256, (most + 192) * np.dtype(dtype).itemsize, dtype=np.uint8)
    for offset in offsets:
        room = guard.view(dtype).copy()
        start = -(room.ctypes.data // room.itemsize) % (LINE // room.itemsize) + offset
        for length in lengths(dtype)[offset % 4 :: 4]:
            room[:] = guard.view(dtype)
            out = room[start : start + length]
            call(function, x[:length], grad=grad[:length], out=out)
            assert_same_bits(out, expected[:length], (offset, length))
            out[...] = guard.view(dtype)[start : start + length]
            assert (room.view(np.uint8) == guard).all(), (offset, length)


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("name", ["relu", "leaky_relu_backward", "prelu", "prelu_backward", "sigmoid_backward"])
def test_16_bits_at_every_offset_and_length(everything_streams, name, dtype):
    """A granule is half a line there: nothing beside the output is touched, and no bit differs."""
    function = getattr(fastact, name)
    x, grad, expected = operands(function, dtype, 1800)
    for offset, length in itertools.product(range(0, 33), (31, 33, 64, 528, 1000, 1024, 1040, 1600, 1800)):
        room = np.full(1900, 7, np.uint16)
        out = room[offset : offset + length].view(expected.dtype)
        call(function, x[:length], grad=grad[:length], out=out)
        assert_same_bits(out, expected[:length], (offset, length))
        assert (room[:offset] == 7).all() and (room[offset + length :] == 7).all(), (offset, length)


@pytest.mark.parametrize("dtype", [*DTYPES, *HALF_DTYPES])
@pytest.mark.parametrize("deviation", [0.1, 3.0, 8.0, 40.0])
def test_numbers_beyond_the_tables(everything_streams, plain_function, dtype, deviation):
    """Where a kernel puts some, most or all of its results into place later on."""
    x, grad = (np.random.default_rng(6).normal(size=(2, 20_011)) * deviation).astype(dtype)
    streamed_out = first(call(plain_function, x, grad=grad))
    _core.set_stream_from(sys.maxsize)
    assert_same_bits(streamed_out, first(call(plain_function, x, grad=grad)), deviation)


@needs_streaming_kernels
@needs_objdump
def test_kernels_that_look_up_stream_by_themselves():
    """Read from the machine code: results are the same without such a store, only late."""

    level = cython_kernels.instruction_set()

    def instructions(role):
        named = functions_of(kernels_file(level), lambda symbol: symbol if symbol.endswith(f"_{role}") else None)
        return {name[: -len(role)]: {mnemonic for _, mnemonic, _ in body} for name, body in named.items()}

    ordinary, streaming_kernels = instructions("kernel"), instructions("streaming")
    assert len(streaming_kernels) == len(cython_kernels.streaming_kernels_of(level)) > 0
    for name, mnemonics in streaming_kernels.items():
        assert any(mnemonic.startswith("vmovnt") for mnemonic in mnemonics), name
        assert not any(mnemonic.startswith("vmovnt") for mnemonic in ordinary[name]), name


def test_every_alignment_of_the_inputs(everything_streams, plain_function, dtype):
    """Inputs that stand otherwise in their lines than the output, and constant ones."""
    x, grad, expected = operands(plain_function, dtype, 1000)
    for offset in range(0, 17):
        room = np.zeros(1100, dtype)
        moved = room[offset : offset + 1000]
        moved[:] = x
        assert_same_bits(first(call(plain_function, moved, grad=grad)), expected, offset)
    if plain_function.direction != "forward":
        constant = np.broadcast_to(grad[:1], grad.shape)
        ufunc = getattr(fastact.ufuncs, plain_function.name)
        params = [p.default for p in plain_function.row.scalars]
        assert_same_bits(ufunc(constant, x, *params), first(call(plain_function, x, grad=constant.copy())), "constant")


def test_overlapping_output(everything_streams, dtype):
    """As if the input had been copied."""
    for distance in (-300, -16, -1, 1, 16, 300):
        values = np.random.default_rng(3).normal(size=3000).astype(dtype)
        expected = fastact.relu(values[500:2500].copy())
        fastact.relu(values[500:2500], out=values[500 + distance : 2500 + distance])
        assert_same_bits(values[500 + distance : 2500 + distance], expected, distance)


def test_threads_write_what_one_thread_writes(everything_streams, function, dtype, two_threads):
    x, grad, expected = operands(function, dtype, 40_011)
    for shift in range(0, 40, 3):
        out = np.zeros(x.size + 40, dtype)
        part = out[shift : shift + x.size]
        call(function, x, grad=grad, out=part)
        assert_same_bits(part, expected, shift)
        assert not out[:shift].any() and not out[shift + x.size :].any()


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("shape", [(3, 2, 5000), (2, 7, 1025), (5, 4, 3), (900, 13), (1, 1, 4097)], ids=str)
def test_values_per_channel(everything_streams, dtype, direction, shape):
    """Rows of a channel's elements: long ones are streamed one by one."""
    x, grad = np.random.default_rng(4).normal(size=(2, *shape)).astype(dtype)
    weight = np.linspace(-0.5, 2, shape[1]).astype(dtype)
    function = fastact.prelu if direction == "forward" else fastact.prelu_backward
    arrays = (x,) if direction == "forward" else (grad, x)
    got = function(*arrays, weight)
    _core.set_stream_from(sys.maxsize)
    expected = function(*arrays, weight)
    for one, other in zip(np.atleast_1d(got) if direction == "forward" else got,
                          np.atleast_1d(expected) if direction == "forward" else expected, strict=True):  # fmt: skip
        assert_same_bits(one, other, shape)


def test_as_it_is_by_default():
    """A call beyond the threshold of this machine, as users make it, on one thread and on several."""
    bound = streaming.stream_from()
    if bound is None or bound > 1 << 28:
        pytest.skip(f"calls that move {bound} bytes take too much memory for a test")
    x = np.random.default_rng(5).normal(size=bound // 8 + 1001).astype("float32")
    expected = np.where(x < 0, np.float32(0), x)
    for threads in (1, fastact.get_num_threads()):
        with fastact.num_threads(threads):
            assert fastact.explain("relu", x).streams
            assert (fastact.relu(x) == expected).all()


# -- the threshold ----------------------------------------------------------------------------------------------------


def test_explain_tells(everything_streams):
    x = np.zeros(1000, "float32")
    _core.set_stream_from(8000)
    explanation = fastact.explain("relu", x)
    assert explanation.streams
    assert any("8000 bytes in and out, streaming pays from 8000" in reason for reason in explanation.reasons)
    assert not fastact.explain("relu", x[:-1]).streams
    assert fastact.explain("relu_backward", x[:700]).streams
    assert fastact.explain("relu", np.zeros(9999, "float16")).streams
    assert not fastact.explain("relu", np.zeros(9999, "int16")).streams
    # three arrays; what is summed over channels is not one
    assert fastact.explain("prelu_backward", x[:700]).streams
    assert not fastact.explain("prelu_backward", x[:600]).streams
    assert not fastact.explain("relu", np.zeros(9999, "float32")[::2]).streams
    with fastact.use_backend("numpy"):
        assert not fastact.explain("relu", x).streams
    _core.set_stream_from(sys.maxsize)
    assert not fastact.explain("relu", x).streams
    _core.set_stream_from(8000)
    # no kernel of this dtype streams by itself
    x = np.zeros(1000, "float64")
    fastact.elu.streams_on = NEVER
    assert "ordinary stores: the kernel takes longer than memory does" in fastact.explain("elu", x).reasons
    fastact.elu.streams_on = (7,) * len(NEVER)
    expected = "ordinary stores: the kernel takes longer than memory does on fewer than 7 threads"
    assert expected in fastact.explain("elu", x).reasons


@needs_streaming_kernels
def test_explain_tells_of_kernels_that_stream_by_themselves(everything_streams):
    fastact.gelu.streams_on = NEVER
    with fastact.use_backend("cython"):
        assert fastact.explain("gelu", np.zeros(1000, "float32")).streams


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", (1, "FASTACT_STREAM_FROM")), (" 4096 ", (4096, "FASTACT_STREAM_FROM")),
     ("never", (streaming.NEVER, "FASTACT_STREAM_FROM"))],
)  # fmt: skip
def test_environment_overrides(monkeypatch, value, expected):
    monkeypatch.setenv("FASTACT_STREAM_FROM", value)
    assert streaming.default_stream_from() == expected


@pytest.mark.parametrize("value", ["", "0", "-1", "1e6", "64K", "Never", "²", "9" * 30])
def test_unknown_environment_is_an_error(monkeypatch, value):
    monkeypatch.setenv("FASTACT_STREAM_FROM", value)
    with pytest.raises(
        ValueError, match=r"FASTACT_STREAM_FROM: got .*; accepted: a number of bytes from 1, or 'never'"
    ):
        streaming.default_stream_from()


def test_a_tuned_table_overrides_what_is_shipped(monkeypatch):
    table = tuned.Table("2026-11-26", None, {}, 123456)
    monkeypatch.setattr(tuned, "table", table)
    monkeypatch.delenv("FASTACT_STREAM_FROM", raising=False)
    assert streaming.default_stream_from() == (123456, "tuned table of 2026-11-26")
    assert streaming.shipped_stream_from()[1] != "tuned table of 2026-11-26"
    monkeypatch.setenv("FASTACT_STREAM_FROM", "1")
    assert streaming.default_stream_from() == (1, "FASTACT_STREAM_FROM")
    monkeypatch.delenv("FASTACT_STREAM_FROM")
    monkeypatch.setattr(tuned, "table", table._replace(stream_from=None))
    assert streaming.default_stream_from() == streaming.shipped_stream_from()


def test_environment_at_import():
    script = "import fastact\nfrom fastact import _core, streaming\nprint(_core.get_stream_from(), streaming.origin)"
    assert run_python(script, environment={"FASTACT_STREAM_FROM": "12345"}).split() == ["12345", "FASTACT_STREAM_FROM"]
    assert run_python(script, environment={"FASTACT_STREAM_FROM": "never"}).split()[0] == str(sys.maxsize)
    assert "FASTACT_STREAM_FROM: got '0'" in run_python(
        script, environment={"FASTACT_STREAM_FROM": "0"}, succeeds=False
    )


def machine(folder, caches, cpu=0):
    """Folders as Linux has them under /sys; {index: (size, shared_cpu_list)}."""
    for index, (size, sharing) in caches.items():
        place = folder / f"cpu{cpu}" / "cache" / f"index{index}"
        place.mkdir(parents=True)
        (place / "size").write_text(size + "\n")
        (place / "shared_cpu_list").write_text(sharing + "\n")
    return str(folder)


@pytest.mark.parametrize(
    ("caches", "cpus", "expected"),
    [
        ({0: ("48K", "0"), 1: ("32K", "0"), 2: ("1024K", "0"), 3: ("32768K", "0-1")}, [0, 1], 32 << 20),
        ({2: ("1M", "0"), 3: ("32M", "0-7,64-71")}, list(range(64)), 4 * 32 << 20),
        ({2: ("1M", "0"), 3: ("32M", "0-7")}, [0, 1, 2], 32 << 20),
        # a virtual machine with two CPUs that sees the whole cache of its host
        ({2: ("2048K", "0"), 3: ("307200K", "0-1")}, [0, 1], 32 << 20),
        ({2: ("2048K", "0"), 3: ("307200K", "0-119")}, list(range(120)), 300 << 20),
        ({0: ("32K", "0"), 1: ("32K", "0"), 2: ("512K", "0-3")}, [0, 1, 2, 3], 512 << 10),
        ({3: ("many", "0")}, [0], None),
        ({}, [0], None),
    ],
)
def test_last_level_caches(tmp_path, caches, cpus, expected):
    assert streaming.last_level_caches(machine(tmp_path, caches), cpus) == expected


def test_last_level_caches_of_the_cpus_that_are_allowed(tmp_path):
    root = machine(tmp_path, {3: ("16M", "4-7")}, cpu=4)
    assert streaming.last_level_caches(root, [4, 5, 6, 7, 8]) == 2 * 16 << 20


def test_without_a_cache_size_nothing_is_streamed(monkeypatch):
    monkeypatch.delenv("FASTACT_STREAM_FROM", raising=False)
    monkeypatch.setattr(streaming, "last_level_caches", lambda: None)
    assert streaming.default_stream_from() == (streaming.NEVER, "no cache size known")
    monkeypatch.setattr(streaming, "last_level_caches", lambda: 1 << 20)
    assert streaming.default_stream_from() == (2 << 20, "2 x last-level cache")
