"""``fastact tune``: what it chooses, by measurements that are made up and whose truth is known; the command itself.

No test asserts a time.
"""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from cases import bits, inputs
from interpreters import PACKAGE_FOLDER
from tuned_tables import SHOW, content, default_threshold, import_with, measured, parsed

import fastact
from fastact import _core, cli, costs, dispatch
from fastact.tuning import choices, command, measuring, storage
from fastact.tuning.measuring import Measuring, Setting, Subject

pytestmark = pytest.mark.skipif(dispatch.why_unavailable("cython") is not None, reason="nothing to tune")
needs_numba = pytest.mark.skipif(dispatch.why_unavailable("numba") is not None, reason="needs Numba")
GELU = Subject(dispatch.FUNCTIONS["gelu"], "float32")


# --- the clock -------------------------------------------------------------------------------------------------------


def test_settings_take_turns_and_are_restored():
    """With a clock that counts its readings; which setting it is for is seen in the kernel table."""
    ticks = iter(range(0, 10**9, 1000))
    seen = []

    def clock():
        seen.append(GELU.function.parallel_from[0])
        assert GELU.function.serving(0) == dispatch.BACKENDS.index("cython")
        return next(ticks)

    stream_from = _core.get_stream_from()
    before = GELU.function.parallel_from, [GELU.function.serving(k) for k in range(len(dispatch.DTYPES))]
    with measuring.restored():
        found = Measuring(clock).samples(GELU, 600, [Setting("cython", 700), Setting("cython", 800, 999)], 4)
    assert (GELU.function.parallel_from, [GELU.function.serving(k) for k in range(len(dispatch.DTYPES))]) == before
    # between two readings there are 1000 ns; the first five measurements tell that a sample takes 200 calls
    assert found == [[5.0] * 4, [5.0] * 4]
    assert _core.get_stream_from() == stream_from
    # a sample is two measurements, and a measurement two readings
    assert seen[:10] == [700] * 10
    assert seen[10::4] == [700, 800, 800, 700, 700, 800, 800, 700]


def test_restored_after_an_exception():
    before = GELU.function.parallel_from
    with pytest.raises(KeyboardInterrupt), measuring.restored():
        GELU.function.parallel_from = (600,) * len(dispatch.DTYPES)
        raise KeyboardInterrupt
    assert GELU.function.parallel_from == before


@pytest.mark.parametrize("in_place", [False, True], ids=["reused", "in place"])
def test_every_function_can_be_measured(function, dtype, in_place):
    """In place every call has the same data: the last result is that of the first."""
    subject = Subject(function, dtype)
    call = measuring._call(subject, 1000, in_place)
    before = [array.copy() for array in call.function.args]
    for _ in range(3):
        if call.refill:
            call.refill()
        out = call.function()
    result = out[0] if isinstance(out, tuple) else out
    names = [*function.array_names, *function.operand_names]
    expected = function(*before)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert (bits(result) == bits(expected)).all()
    assert np.shares_memory(result, call.function.args[0]) == in_place
    assert len(names) == len(call.function.args)


def test_a_cost_is_that_of_an_element():
    with measuring.restored():
        assert 0.001 < Measuring().cost(GELU, "cython", 3) < 10_000


def test_the_most_used_come_first():
    subjects = measuring.in_order(list(dispatch.FUNCTIONS.values()))
    assert len(subjects) == len(set(subjects)) == len(dispatch.FUNCTIONS) * len(dispatch.DTYPES)
    order = [(dispatch.DTYPES.index(s.dtype), s.function.direction != "forward") for s in subjects]
    assert order == sorted(order)


# --- what is chosen --------------------------------------------------------------------------------------------------


class Machine:
    """A machine whose costs are known: what ``Measuring`` would tell of it, with noise that slows some samples down."""

    def __init__(self, ns=1.0, numba_ns=1.0, numba_in_place_ns=None, start_ns=1000.0, threads=2, noise=0.2, seconds=0):
        self.ns, self.numba_ns, self.start_ns, self.threads = ns, numba_ns, start_ns, threads
        self.numba_in_place_ns = numba_in_place_ns or numba_ns
        self.random, self.noise = np.random.default_rng(20260101), noise
        self.now, self.seconds, self.asked = 0.0, seconds, []

    def time(self, size, setting, in_place=False):
        numba = self.numba_in_place_ns if in_place else self.numba_ns
        serial = size * (numba if setting.backend == "numba" else self.ns)
        return serial / self.threads + self.start_ns if size >= setting.parallel_from else serial

    def samples(self, subject, size, settings, rounds, in_a_row=False, in_place=False):
        self.asked.append((size, settings))
        self.now += self.seconds
        slowed = 1 + self.noise * (self.random.random((len(settings), rounds)) > 0.7)
        times = np.array([self.time(size, setting, in_place) for setting in settings])
        return (times[:, None] * slowed).tolist()

    def cost(self, subject, backend, rounds):
        self.now += self.seconds
        return self.numba_ns if backend == "numba" else self.ns


def test_noise_is_no_difference():
    random = np.random.default_rng(1)
    for _ in range(200):
        one, other = 100 * (1 + 0.5 * (random.random((2, choices.ROUNDS)) > 0.8))
        assert choices.is_as_fast(one, other)
    assert not choices.is_as_fast([110.0] * 9, [100.0] * 9)
    assert not choices.is_as_fast([100.0, 120, 120], [100.0, 101, 102])
    assert not choices.is_as_fast([106.0, 107, 107], [100.0, 120, 120])


@pytest.mark.parametrize("ns", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("start_ns", [600.0, 1000.0, 3000.0, 15_000.0])
def test_work_from_which_threads_pay(ns, start_ns):
    """Two threads take half the time and what it takes to start: they pay from twice that on."""
    found = choices.break_even(Machine(ns, start_ns=start_ns), [(GELU, ns)])
    assert found.not_at <= 2 * start_ns / 0.9
    assert 2 * start_ns <= found.pays_from <= 2 * start_ns * 2.3
    assert choices._WORK_NS.index(found.pays_from) == choices._WORK_NS.index(found.not_at) + 1


def test_where_threads_always_pay():
    assert choices.break_even(Machine(start_ns=0.0), [(GELU, 0.1)]) == (min(choices._WORK_NS), 0.0)


def test_the_most_cautious_probe_counts():
    tanh = Subject(dispatch.FUNCTIONS["tanh"], "float32")

    class SlowForTanh(Machine):
        def samples(self, subject, *arguments, **options):
            self.start_ns = 10_000.0 if subject == tanh else 1000.0
            return super().samples(subject, *arguments, **options)

    quick, slow = (choices.break_even(SlowForTanh(), [(subject, 1.0)]) for subject in (GELU, tanh))
    assert quick.pays_from < slow.pays_from and quick.not_at < slow.not_at
    for probes in ([(GELU, 1.0), (tanh, 1.0)], [(tanh, 1.0), (GELU, 1.0)]):
        assert choices.break_even(SlowForTanh(), probes) == (slow.pays_from, quick.not_at)


@pytest.mark.parametrize("start_ns, threads", [(0.0, 1), (1e9, 2)], ids=["a busy core", "slow to start"])
def test_where_threads_never_pay_the_defaults_stay(start_ns, threads):
    assert choices.break_even(Machine(start_ns=start_ns, threads=threads), [(GELU, 1.0)]) is None
    assert choices.break_even(Machine(), []) is None


def default_cost():
    return costs.measured("gelu", "float32") or costs.estimated("gelu_forward", "float32")


def chosen_on(model, cost):
    """The threshold that a machine of the test's gets."""
    return choices.threshold(model, GELU, cost, choices.break_even(model, [(GELU, cost)]))


def test_a_threshold_near_the_default_is_the_default():
    model = Machine(default_cost(), start_ns=1500.0)
    assert chosen_on(model, default_cost()) == (None, "as the default")


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 3.0, 10.0])
@pytest.mark.parametrize("start_ns", [100.0, 500.0, 1500.0, 5000.0, 20_000.0])
def test_never_slower_than_the_default(factor, start_ns):
    """At no size, on machines that are faster or slower than the one of the table, with threads that start so fast."""
    cost = default_cost() * factor
    model = Machine(cost, start_ns=start_ns)
    chosen = chosen_on(model, cost).elements
    tuned_setting, default_setting = (
        Setting("cython", n) for n in (chosen or default_threshold(), default_threshold())
    )
    for size in np.geomspace(512, 10**7, 200).astype(int):
        assert model.time(size, tuned_setting) <= model.time(size, default_setting) * (1 + choices.MARGIN)


@pytest.mark.parametrize("factor, start_ns", [(0.1, 1500.0), (1.0, 10_000.0), (3.0, 1500.0), (1.0, 500.0)])
def test_a_better_threshold_is_kept(factor, start_ns):
    cost = default_cost() * factor
    model = Machine(cost, start_ns=start_ns)
    chosen = chosen_on(model, cost)
    assert chosen.reason == f"instead of {default_threshold()}"
    sizes = np.geomspace(512, 10**6, 200).astype(int)
    time_with = [sum(model.time(size, Setting("cython", n)) / size for size in sizes)
                 for n in (chosen.elements, default_threshold())]  # fmt: skip
    assert time_with[0] < time_with[1]


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_threshold_that_is_slower_than_the_default_is_dropped(factor):
    """The cost that was measured is wrong, as on a machine that was busy just then."""
    truth = default_cost()
    even = choices.BreakEven(3500.0, 2500.0)
    chosen = choices.threshold(Machine(truth, start_ns=1500.0), GELU, truth * factor, even)
    assert chosen.elements is None
    assert " was slower than " in chosen.reason


@pytest.mark.parametrize(
    "numba_ns, in_place_ns, wins",
    [(0.5, 0.5, True), (0.9, 0.9, True), (0.98, 0.98, False), (1.0, 1.0, False), (1.5, 1.5, False), (0.5, 1.2, False)],
)
def test_numba_must_win(numba_ns, in_place_ns, wins):
    assert choices.numba_wins(Machine(1.0, numba_ns, in_place_ns), GELU) is wins


def test_numba_must_not_lose_at_any_size():
    class SlowWhenSmall(Machine):
        def time(self, size, setting, in_place=False):
            return super().time(size, setting, in_place) + 300 * (setting.backend == "numba")

    assert choices.numba_wins(SlowWhenSmall(1.0, 0.5, start_ns=0), GELU) is False


# --- the command -----------------------------------------------------------------------------------------------------


class Memory(Machine):
    """A machine with a cache, beyond which streamed outputs take less time, and within which they take more."""

    def __init__(self, cache, reader_cache=None, gain=0.7, **how):
        super().__init__(**how)
        self.cache, self.reader_cache, self.gain = cache, reader_cache or cache, gain

    def samples(self, subject, size, settings, rounds, in_a_row=False, read=False):
        moved = size * subject.bytes_moved
        self.now += self.seconds
        streamed = self.gain if moved >= (self.reader_cache if read else self.cache) else 1.3
        times = [moved * (streamed if setting.stream_from == 1 else 1.0) for setting in settings]
        slowed = 1 + self.noise * (self.random.random((len(settings), rounds)) > 0.8)
        return (np.array(times)[:, None] * slowed).tolist()


RELU = Subject(dispatch.FUNCTIONS["relu"], "float32")
RELU_BACKWARD = Subject(dispatch.FUNCTIONS["relu_backward"], "float32")


def stream_from(model, default, is_time_left=lambda: True):
    return choices.stream_from(model, [RELU, RELU_BACKWARD], default, is_time_left).n_bytes


@pytest.mark.parametrize(
    ("cache", "reader_cache", "default", "chosen"),
    [
        (2**25 - 99, None, 2**29, 2**25),
        (2**25 - 99, None, 2**22, 2**25),
        (2**25 - 99, None, 2**25, None),
        (2**25 - 99, None, 3 * 2**24, None),
        (2**21 - 99, 2**24 - 99, 2**29, 2**24),
        (2**10, None, 2**27, 2**21),
        (2**28, None, 2**26, None),
    ],
    ids=["sooner", "later", "the same", "near", "the reader decides", "always", "beyond what is tried"],
)
def test_bytes_from_which_streaming_pays(cache, reader_cache, default, chosen):
    assert stream_from(Memory(cache, reader_cache, noise=0.0), default) == chosen


def test_streaming_that_gains_next_to_nothing_is_left_alone():
    assert stream_from(Memory(2**20, gain=0.97), 2**27) is None


def test_streaming_is_not_tried_without_time():
    model = Memory(2**20, seconds=1.0)
    assert stream_from(model, 2**27, lambda: model.now < 10) is None
    found = command.tune_streaming(subjects_named("relu"), model, command.Deadline(2))
    assert found == (None, "no time was left")


def test_functions_that_do_not_wait_for_memory_tell_nothing_of_streaming():
    found = command.tune_streaming(subjects_named("gelu", "prelu"), Memory(2**20), command.Deadline(60))
    assert found == (None, "no function that waits for memory was measured")


@pytest.mark.parametrize("read", [False, True])
def test_a_call_can_be_measured_with_its_reader(read):
    with measuring.restored():
        settings = [Setting("cython", measuring.NEVER, 1), Setting("cython", measuring.NEVER, measuring.NEVER)]
        streamed, ordinary = Measuring().samples(RELU_BACKWARD, 4096, settings, 2, read=read)
    assert all(ns > 0 for ns in (*streamed, *ordinary))


def subjects_named(*names):
    return measuring.in_order([dispatch.FUNCTIONS[name] for name in names])


def test_results_are_a_table():
    """What is stored is what is read."""
    model = Machine(0.1, 0.05, start_ns=100.0)
    with fastact.num_threads(2):
        results = command.tune(subjects_named("gelu", "tanh"), False, model, command.Deadline(100))
    assert [str(subject) for subject in results] == [
        f"{name} {dtype}" for dtype in dispatch.DTYPES for name in ("gelu", "tanh")
    ]
    functions = {}
    for subject, result in results.items():
        functions.setdefault(subject.function.name, {})[subject.dtype] = result.as_json()
    table = parsed(content(functions))
    for subject, result in results.items():
        assert table.choice(subject.function.name, subject.dtype) == (0.1, None, result.threshold.elements, False)


def test_what_there_is_no_time_for_is_left_out():
    """Every measurement takes a second, by a clock that nothing else moves."""
    model = Machine(seconds=1.0)
    deadline = command.Deadline(4.5, clock=lambda: model.now)
    subjects = measuring.in_order(list(dispatch.FUNCTIONS.values()))
    with fastact.num_threads(1):
        results = command.tune(subjects, False, model, deadline)
    assert list(results) == subjects[:5]
    assert model.now == 5.0
    assert {result.threshold.reason for result in results.values()} == {"one thread is used"}


def test_numba_stops_in_time(monkeypatch):
    """After the compiled kernels, with 60 seconds in all and 7 for each kernel of Numba's; the first take longest."""
    model = Machine(1.0, 0.5, seconds=0.01)
    compiled = []

    def supply(function, dtype, backend):
        compiled.append((function.name, dtype))
        model.now += 7.0
        return True

    monkeypatch.setattr(dispatch, "supply", supply)
    deadline = command.Deadline(60, clock=lambda: model.now)
    subjects = measuring.in_order(list(dispatch.FUNCTIONS.values()))
    with fastact.num_threads(1):
        results = command.tune(subjects, True, model, deadline)
    assert len(results) == len(subjects)
    assert [(s.function.name, s.dtype) for s, r in results.items() if r.numba] == compiled
    assert 5 <= len(compiled) <= 8
    assert model.now < 60


def test_a_broken_numba_leaves_the_rest(monkeypatch):
    monkeypatch.setattr(dispatch, "supply", lambda *unused: False)
    with fastact.num_threads(1):
        results = command.tune(subjects_named("gelu"), True, Machine(), command.Deadline(60))
    assert [result.numba_ns for result in results.values()] == [None] * len(dispatch.DTYPES)


@pytest.mark.alone
def test_the_command(cache_folder, capsys):
    """The real thing on three functions: measured, stored, shown, read by a new process, removed."""
    pytest.importorskip("rich")
    before = {f.name: (f.parallel_from, f.serving(0), f.serving(1)) for f in dispatch.FUNCTIONS.values()}
    words = ["tune", "--no-numba", "--seconds", "5", "--functions", "gelu", "swish_backward", "prelu_backward"]
    assert cli.main(words) == 0
    assert {f.name: (f.parallel_from, f.serving(0), f.serving(1)) for f in dispatch.FUNCTIONS.values()} == before
    printed = capsys.readouterr().out
    assert "12 of 12 measured, 0 with Numba (--no-numba)" in printed
    [path] = cache_folder.glob("tuning-*")
    assert path == storage.path()
    table = storage.read()
    assert set(table.choices) == {"gelu", "silu_backward", "prelu_backward"}
    assert cli.main(["tune", "--show"]) == 0
    assert "silu_backward" in capsys.readouterr().out
    first, _ = import_with(cache_folder, SHOW).splitlines()
    chosen = table.choice("gelu", "float32").parallel_from
    assert first == f"{default_threshold() if chosen is None else chosen}|None|0"
    assert cli.main(["tune", "--remove"]) == 0
    assert cli.main(["tune", "--remove"]) == 0
    assert cli.main(["tune", "--show"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"removed {path}\nthere is no {path}\nthere is no {path}\n"
    assert not list(cache_folder.glob("tuning-*"))


@needs_numba
def test_the_command_with_numba(cache_folder, capsys):
    pytest.importorskip("rich")
    assert cli.main(["tune", "--seconds", "40", "--functions", "relu"]) == 0
    assert "with Numba; " in capsys.readouterr().out
    table = storage.read()
    assert table.numba_version
    assert table.choice("relu", "float32").numba_ns > 0


@pytest.mark.parametrize(
    "words",
    [["--seconds", "1"], ["--seconds", "x"], ["--functions", "glue"], ["--functions"], ["--show", "--remove"]],
    ids=str,
)
def test_wrong_arguments(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["tune", *words])
    assert stop.value.code == 2
    assert "usage: fastact tune" in capsys.readouterr().err


def test_show_says_why_a_table_is_not_used(cache_folder, capsys):
    storage.path().write_text("{")
    assert cli.main(["tune", "--show"]) == 2
    assert f"fastact tune: {storage.path()} is damaged: " in capsys.readouterr().err


def test_without_compiled_kernels(cache_folder, capsys, monkeypatch):
    monkeypatch.setattr(dispatch, "why_unavailable", lambda name: f"no {name}")
    assert cli.main(["tune"]) == 2
    assert "there are no compiled kernels to tune: no cython" in capsys.readouterr().err
    assert not list(cache_folder.glob("tuning-*"))


def test_an_interrupt_stores_nothing(cache_folder, capsys, monkeypatch):
    def interrupted(*unused):
        raise KeyboardInterrupt

    with storage.alone():
        storage.write(measured())
    before = GELU.function.parallel_from
    monkeypatch.setattr(Measuring, "cost", interrupted)
    assert cli.main(["tune", "--functions", "gelu"]) == 130
    assert "interrupted; nothing was stored" in capsys.readouterr().err
    assert storage.read().choice("gelu", "float32").parallel_from == 4321
    assert GELU.function.parallel_from == before
    # and nobody is locked out
    with storage.alone():
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_killed_process_leaves_the_former_table(cache_folder):
    """While it measures, and what it left does not lock the next one out."""
    with storage.alone():
        storage.write(measured())
    script = "import sys; from fastact import cli; sys.exit(cli.main(['tune', '--no-numba']))"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE_FOLDER)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline().startswith("measuring")
        process.send_signal(signal.SIGKILL)
    assert storage.read().choice("gelu", "float32").parallel_from == 4321
    with storage.alone():
        storage.write(measured(5000))
    assert storage.read().choice("gelu", "float32").parallel_from == 5000


def test_a_table_changes_no_bit(two_threads):
    """Thresholds decide how an array is split, and nothing else."""
    x = inputs(fastact.gelu, "float32", 30_001)
    results = []
    for threshold in (512, 5000, 2**40):
        GELU.function.parallel_from = (threshold,) * len(dispatch.DTYPES)
        results.append(bits(fastact.gelu(x)))
    assert all((result == results[0]).all() for result in results)
