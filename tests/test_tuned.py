"""The table of ``fastact tune``, read and written: one that is damaged or about something else is never believed.

Whoever only imports fastact gets a warning at most.
"""

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from interpreters import PACKAGE_FOLDER
from tuned_tables import SHOW, choice, content, default_threshold, import_with, measured, parsed, store

from fastact import cache, cli, costs, dispatch, machine, tuned
from fastact._kernels import base
from fastact.backends import cython_kernels
from fastact.tuning import command, storage

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(dispatch.why_unavailable("cython") is not None, reason="nothing to tune")


# --- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the folders have no variable to change them by")
@pytest.mark.parametrize("base", [None, "", "/somewhere/else"])
def test_the_folder_is_that_of_platformdirs(monkeypatch, base):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("FASTACT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if base is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert cache.folder() == platformdirs.user_cache_dir("fastact", appauthor=False)


def test_the_folder_from_the_environment(monkeypatch):
    monkeypatch.setenv("FASTACT_CACHE_DIR", "/mine")
    assert cache.folder() == "/mine"


CPUINFO = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: Some CPU\nstepping\t: 1\nflags\t\t: fpu\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n\n"


@pytest.mark.parametrize(
    "text, model",
    [
        (CPUINFO * 500, "Some CPU, family 26, model 2, stepping 1"),
        (ARM, "implementer 0x41, variant 0x3, part 0xd0c"),
    ],
    ids=["x86", "arm"],
)
def test_cpu_model(tmp_path, text, model):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert machine.cpu_model(file) == model


@pytest.mark.parametrize("text", [None, "", "nothing: known\n"], ids=["absent", "empty", "other words"])
def test_cpu_model_is_never_empty(tmp_path, text):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    assert machine.cpu_model(file)


def test_each_cpu_and_instruction_set_has_a_file_of_its_own(cache_folder):
    here = storage.identity()
    others = [here, here | {"cpu": "another"}, here | {"instruction_set": "sse9"}]
    assert len({tuned.path_of(about) for about in others}) == 3
    assert tuned.path_of(here | {"numpy": "9"}) == tuned.path_of(here)


# --- what it must look like ------------------------------------------------------------------------------------------


def test_a_whole_table_is_read():
    functions = {
        "gelu": {"float32": choice(), "float64": choice(parallel_from=None)},
        "tanh": {"float32": choice(numba_ns=0.3, backend="numba")},
    }
    table = parsed(content(functions, numba="0.99"))
    assert table.origin == "tuned table of 2026-11-26"
    assert table.numba_version == "0.99"
    assert table.stream_from is None
    assert parsed(content(stream_from=1 << 27)).stream_from == 1 << 27
    assert table.choice("gelu", "float32") == (0.6, None, 4321, False)
    assert table.choice("gelu", "float64").parallel_from is None
    assert table.choice("tanh", "float32") == (0.6, 0.3, 4321, True)
    assert table.choice("tanh", "float64") is table.choice("mish", "float32") is None


def broken(**changed):
    return content({"gelu": {"float32": choice(**changed)}})


NONSENSE = {
    **{f"{key} {value!r:.20}": broken(**{key: value})
       for key in ("compiled_ns", "numba_ns", "parallel_from")
       for value in (0, -1, -0.5, float("nan"), float("inf"), 10**400, 1e300, True, "5", [5], {})},
    "compiled_ns missing": broken(compiled_ns=None),
    "parallel_from a fraction": broken(parallel_from=5000.5),
    "parallel_from small": broken(parallel_from=511),
    "parallel_from huge": broken(parallel_from=2**41),
    **{f"stream_from {value!r}": content(stream_from=value)
       for value in (0, -1, 1000, 2**63, 1e9, float("nan"), True, "5", [5])},
    "backend unknown": broken(backend="turbo"),
    "backend numpy": broken(backend="numpy"),
    "numba without a cost": broken(backend="numba"),
    "no choice": content({"gelu": {"float32": 5}}),
    "no dtypes": content({"gelu": 5}),
    "unknown function": content({"glue": {"float32": choice()}}),
    "unknown dtype": content({"gelu": {"float99": choice()}}),
    "functions a list": content(functions=[1]),
    "date": content(date="yesterday"),
    "no date": content(date=None),
    "numba a number": content(numba=3),
    "a list": "[1, 2]",
    "a number": "5",
    "nothing": "",
    "not JSON": "\x00\x01\x02",
    "deep": "[" * 100_000,
    "long number": '{"functions": {}, "schema": ' + "9" * 10_000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused(name):
    with pytest.raises(tuned.Alien):
        parsed(NONSENSE[name])


@pytest.mark.parametrize(
    "key, value",
    [("schema", 2), ("schema", "1"), ("fastact", "0.0"), ("numpy", "1"), ("cpu", "another"), ("instruction_set", "x")],
)
def test_a_table_about_something_else_is_refused(key, value):
    with pytest.raises(tuned.Alien, match=rf"made for {key} {value!r}, and this is .*: run fastact tune again"):
        parsed(content(**{key: value}))


def test_no_part_of_a_table_is_one():
    text = json.dumps(content())
    for length in range(len(text)):
        with pytest.raises(tuned.Alien):
            parsed(text[:length])


def test_a_table_with_a_wrong_byte_is_refused_or_sane():
    """Whatever is accepted is something that the driver can work with."""
    text = json.dumps(content({"gelu": {"float32": choice(numba_ns=0.5)}}))
    random = np.random.default_rng(20260101)
    accepted = 0
    for _ in range(3000):
        place, character = random.integers(len(text)), chr(random.integers(32, 127))
        try:
            table = parsed(text[:place] + character + text[place + 1 :])
        except tuned.Alien:
            continue
        accepted += 1
        for by_dtype in table.choices.values():
            for found in by_dtype.values():
                assert found.parallel_from is None or 512 <= found.parallel_from <= 2**40
                assert 0.01 <= found.compiled_ns <= 1e6
    assert accepted


# --- at import -------------------------------------------------------------------------------------------------------


def test_a_table_is_used(cache_folder):
    store(content())
    first, reason = import_with(cache_folder, SHOW).splitlines()
    assert first == "4321|None|0"
    assert "threads pay from 4321;" in reason
    assert reason.endswith("; threshold: tuned table of 2026-11-26")


def test_without_a_table(cache_folder):
    first, reason = import_with(cache_folder, SHOW).splitlines()
    assert first == f"{default_threshold()}|None|0"
    assert "threshold: shipped table, " in reason
    assert "threshold: shipped table, " in import_with(cache_folder / "absent", SHOW)


def test_what_a_table_leaves_out_has_the_default(cache_folder):
    store(content({"gelu": {"float32": choice(parallel_from=None)}, "tanh": {"float64": choice()}}))
    assert import_with(cache_folder, SHOW).startswith(f"{default_threshold()}|None|0")


def test_a_table_is_ignored_where_that_is_wanted(cache_folder):
    store(content())
    first, _ = import_with(cache_folder, SHOW, environment={"FASTACT_TUNING": "off"}).splitlines()
    assert first == f"{default_threshold()}|FASTACT_TUNING=off|0"


@pytest.mark.parametrize("value", ["no", "", "ON", "0"], ids=repr)
def test_unknown_value_of_the_variable(cache_folder, value):
    errors = import_with(cache_folder, "import fastact", environment={"FASTACT_TUNING": value}, succeeds=False)
    assert f"ValueError: FASTACT_TUNING: got {value!r}; accepted: on, off" in errors


def test_the_table_of_another_instruction_set_is_another_file(cache_folder):
    store(content())
    lowest = cython_kernels.INSTRUCTION_SETS[-1]
    if cython_kernels.instruction_set() == lowest:
        pytest.skip("this machine runs one instruction set only")
    first, _ = import_with(cache_folder, SHOW, environment={"FASTACT_MAX_ISA": lowest}).splitlines()
    threshold, ignored, warned = first.split("|")
    assert (ignored, warned) == ("None", "0")
    assert threshold != "4321"


def as_folder(path):
    path.mkdir()


def as_pipe(path):
    os.mkfifo(path)


def as_loop(path):
    path.symlink_to(path)


DAMAGED = {
    "truncated": lambda path: path.write_text(json.dumps(content())[:150]),
    "empty": lambda path: path.write_text(""),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "a threshold of 0": lambda path: path.write_text(json.dumps(broken(parallel_from=0))),
    "another CPU": lambda path: path.write_text(json.dumps(content(cpu="another"))),
    "another schema": lambda path: path.write_text(json.dumps(content(schema=99))),
    "too long": lambda path: path.write_text(json.dumps(content()) + " " * 2**20),
    "a folder": as_folder,
    "a pipe": as_pipe,
    "a loop": as_loop,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_broken_table_warns_once_and_is_ignored(cache_folder, kind):
    DAMAGED[kind](storage.path())
    first, reason = import_with(cache_folder, SHOW).splitlines()
    threshold, ignored, *warned = first.split("|")
    assert int(threshold) == default_threshold()
    assert ignored.startswith(str(storage.path()))
    assert warned == ["1", "RuntimeWarning"]
    assert "shipped table" in reason


def test_a_broken_table_stops_no_import_where_warnings_are_errors(cache_folder):
    """And info tells what nobody was warned of."""
    path = store("{")
    script = """
        import warnings
        warnings.simplefilter("error")
        import fastact
        from fastact import cli
        warnings.simplefilter("default")
        cli.main(["info"])
        """
    text = import_with(cache_folder, script)
    assert f"fastact tune's table is not used: {path} is damaged: " in text


def test_the_warning_is_one_line(cache_folder):
    store("{")
    done = subprocess.run(
        [sys.executable, "-c", "import fastact"],
        env=os.environ | {"FASTACT_TUNING": "on", "PYTHONPATH": str(PACKAGE_FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert "RuntimeWarning: fastact: the table of fastact tune is ignored: " in line


def test_info_names_the_table(cache_folder, capsys, monkeypatch):
    monkeypatch.setattr(tuned, "table", parsed(content(numba="0.0")))
    monkeypatch.setattr(tuned, "ignored", None)
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tuning"] == "tuned table of 2026-11-26"
    if facts["backends"]["numba"]["available"]:
        assert "that was Numba 0.0, and this is " in facts["tuning_ignored"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_the_table(cache_folder):
    store(content())
    import_with(
        cache_folder,
        """
        import os
        import numpy as np
        import fastact
        fastact.set_num_threads(2)
        x = np.linspace(-5, 5, 100_000, dtype="float32")
        expected = fastact.gelu(x)
        child = os.fork()
        same = fastact.gelu.parallel_from[0] == 4321 and (fastact.gelu(x) == expected).all()
        if not child:
            os._exit(0 if same else 1)
        assert same and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        """,
    )


# --- what is shipped -------------------------------------------------------------------------------------------------


def test_the_shipped_table_is_sane():
    """A function that is missing is estimated; one that is there has a cost that can be."""
    table = json.loads(Path(costs.__file__).with_name("costs.json").read_text())
    assert set(table["compiled_ns"]) <= set(cython_kernels.INSTRUCTION_SETS)
    tables = [*table["compiled_ns"].values(), table["numba"].get("ns", {})]
    for by_dtype in tables:
        assert set(by_dtype) <= set(dispatch.DTYPES)
        for by_function in by_dtype.values():
            assert set(by_function) <= set(dispatch.FUNCTIONS)
            assert all(0.01 < cost < 1000 for cost in by_function.values())


@pytest.mark.skipif(not (ROOT / "tools" / "costs.py").exists(), reason="the tools are not beside the tests")
def test_the_tool_that_measures_it(tmp_path, monkeypatch):
    """On two functions: every instruction set of this machine, and afterwards the kernels are what they were."""
    specification = importlib.util.spec_from_file_location("costs_tool", ROOT / "tools" / "costs.py")
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    functions = {name: dispatch.FUNCTIONS[name] for name in ("gelu", "prelu_backward")}
    before = {(f, k): f.kernel_address(k) for f in functions.values() for k in range(len(dispatch.DTYPES))}
    monkeypatch.setattr(tool, "FILE", tmp_path / "costs.json")
    monkeypatch.setattr(tool, "ROUNDS", 1)
    monkeypatch.setattr(tool, "MEMORY_BYTES", 1 << 16)
    monkeypatch.setattr(tool.dispatch, "FUNCTIONS", functions)
    monkeypatch.setattr(sys, "argv", ["costs.py", "--no-numba"])
    tool.main()
    assert {(f, k): f.kernel_address(k) for f, k in before} == before
    table = json.loads((tmp_path / "costs.json").read_text())
    runnable = [level for level in cython_kernels.INSTRUCTION_SETS if level in base.runnable()]
    # what this machine does not run is as it was
    assert list(table["compiled_ns"]) == list(table["measured_on"]) == list(cython_kernels.INSTRUCTION_SETS)
    for level, by_dtype in table["compiled_ns"].items():
        assert list(by_dtype) == list(dispatch.DTYPES)
        if level in runnable:
            assert all(set(by_function) == set(functions) for by_function in by_dtype.values())
        else:
            assert by_dtype == costs._TABLE["compiled_ns"][level]
    monkeypatch.setattr(costs, "_TABLE", table)
    serving = table["compiled_ns"][cython_kernels.instruction_set()]
    assert costs.measured("gelu", "float64") == serving["float64"]["gelu"]


def test_thresholds_follow_from_the_costs(function):
    loop = f"{function.row.name}_{function.direction}"
    for dtype, threshold in zip(dispatch.DTYPES, function.parallel_from, strict=True):
        cost = costs.measured(function.name, dtype)
        assert threshold == max(512, int(5000 / (costs.estimated(loop, dtype) if cost is None else cost)))


def test_a_function_that_is_not_in_the_table_is_estimated(monkeypatch):
    monkeypatch.setattr(costs, "_TABLE", {"compiled_ns": {}})
    elements, origin = costs.threshold("gelu", "gelu_forward", "float32")
    assert elements == int(5000 / costs.estimated("gelu_forward", "float32"))
    assert origin == "estimated from its operations"
    assert costs.estimated("gelu_forward", "float64") > costs.estimated("gelu_forward", "float32")
    assert costs.threshold("new", "new_forward", "float32")[0] >= 512
    assert costs.numba_cost("gelu", "float32") is None


def test_numba_wins_by_the_shipped_table_only_by_enough_and_on_its_instruction_set(monkeypatch):
    level = cython_kernels.instruction_set()
    compiled = {"float32": {"gelu": 1.0, "tanh": 1.0, "relu": 1.0}}
    numba = {"version": "1", "instruction_set": level, "ns": {"float32": {"gelu": 0.95, "tanh": 0.8}}}
    table = {"measured_on": {}, "compiled_ns": {level: compiled}, "numba": numba}
    monkeypatch.setattr(costs, "_TABLE", table)
    assert costs.numba_cost("gelu", "float32") is None
    assert costs.numba_cost("tanh", "float32")[:3] == (0.8, 1.0, "1")
    assert costs.numba_cost("relu", "float32") is None
    numba["instruction_set"] = "another"
    assert costs.numba_cost("tanh", "float32") is None


# --- the file --------------------------------------------------------------------------------------------------------


def test_nonsense_is_never_stored(cache_folder):
    with storage.alone():
        storage.write(measured())
        with pytest.raises(tuned.Alien):
            storage.write(measured(threshold=3))
        with pytest.raises(ValueError):
            storage.write(measured(threshold=float("nan")))
    assert storage.read().choice("gelu", "float32").parallel_from == 4321


def test_a_folder_that_cannot_be_written_to(cache_folder, capsys, monkeypatch):
    """Known before anything is measured."""
    blocked = cache_folder / "file"
    blocked.write_text("")
    monkeypatch.setenv("FASTACT_CACHE_DIR", str(blocked / "inside"))
    monkeypatch.setattr(command, "_tune", lambda arguments: pytest.fail("measured in vain"))
    assert cli.main(["tune"]) == 2
    assert capsys.readouterr().err.startswith("fastact tune: [Errno ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(cache_folder, capsys):
    cache_folder.chmod(0o500)
    try:
        assert cli.main(["tune"]) == 2
    finally:
        cache_folder.chmod(0o700)
    assert "Permission denied" in capsys.readouterr().err


HOLD = """
import sys, time
from fastact.tuning import storage
with storage.alone():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(cache_folder):
    """A process that is tuning."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE_FOLDER)}
    with subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_tuning(cache_folder, holder, capsys):
    assert cli.main(["tune"]) == 2
    assert capsys.readouterr().err.startswith("fastact tune: another fastact tune is running (it holds ")
    # who only reads does not wait
    store(content())
    assert import_with(cache_folder, SHOW).startswith("4321|None|0")
    holder.kill()
    holder.wait()
    with storage.alone():
        storage.write(measured(5000))
    assert import_with(cache_folder, SHOW).startswith("5000|None|0")


def _write_again_and_again(seconds, threshold):
    end = time.monotonic() + seconds
    written = 0
    while time.monotonic() < end:
        try:
            with storage.alone():
                storage.write(measured(threshold))
                written += 1
        except storage.Busy:
            time.sleep(0.001)
    sys.exit(0 if written else 1)


@pytest.mark.timeout(120)
def test_readers_see_whole_tables_while_others_write(cache_folder):
    with storage.alone():
        storage.write(measured(1000))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_again_and_again, args=(2.0, 1000 + k)) for k in range(3)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        # never Alien, never None
        seen.add(storage.read().choice("gelu", "float32").parallel_from)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert seen <= {1000, 1001, 1002} and len(seen) > 1
    assert {path.name for path in cache_folder.iterdir()} <= {storage.path().name, "tuning.lock"}
