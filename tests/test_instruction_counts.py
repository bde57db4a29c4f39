"""Kernels and calls take no more instructions than is stored, and as many as are read; whatever compares them can tell.

The counts are in ``benchmarks/instruction_counts.json``, and so is what they were made with: another compiler's are
skipped, with the reason.
"""

import json
import sys
from pathlib import Path

import disassembly
import pytest
from environments import has_sources

# last, because conftest.py and others have namesakes there
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import call_instructions
import instruction_counts
import kernel_instructions

needs_sources = pytest.mark.skipif(not has_sources(), reason="the flags of a build are those beside setup.py's")
MADE_WITH = {
    "machine": "x86_64",
    "compiler": "GCC: (Debian 12.2.0-14+deb12u1) 12.2.0",
    "flags": "-fPIC -fwrapv",
    "instruction_set": "avx2",
    "python": "3.11.7",
    "python_build": "GCC 12.2.0",
    "numpy": "2.4.6",
}


# --- what is stored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", instruction_counts.MEASURING)
def test_every_kernel_and_call_is_stored(part):
    odd = instruction_counts.strangers(part, instruction_counts.stored())
    assert not odd, f"run `{instruction_counts.UPDATE}`, because of\n" + "\n".join(map(str, odd))


@needs_sources
@pytest.mark.parametrize("part", instruction_counts.MEASURING)
def test_no_more_instructions_than_stored(part, capsys):
    found = instruction_counts.report(part, instruction_counts.stored())
    text = "\n".join(found.lines)
    if not found.compared:
        pytest.skip(text)
    assert not found.fails, text
    if text:
        # fewer than stored is no failure, but whoever made it so should store it
        with capsys.disabled():
            print(f"\n{text}")


@disassembly.reads_code
def test_counts_read_are_counts_run():
    """The loop found in the machine code is the one that runs, and takes as many elements per pass as it seems to."""
    try:
        counts, level = call_instructions.measured()
    except call_instructions.Unavailable as reason:
        pytest.skip(str(reason))
    short, long = (counts[f"gelu(float32_{size}, out=out_float32_{size})"]["kernel"] for size in (16, 1024))
    loop = next(loop for loop in disassembly.LOOPS if loop.name == "gelu_forward")
    fetches = kernel_instructions.fetches(level, loop, "float32")
    read = kernel_instructions.cost_of(disassembly.kernels_of(level)["gelu_forward_float32"], "float32", fetches)
    # 16 elements take the loop for what is left, 1024 the one that takes several vectors at a time and what leads to it
    assert (long - short) / 1024 == pytest.approx(read["instructions"], rel=0.05)


# --- the comparison ------------------------------------------------------------------------------------------------


def kinds(before, now, **options):
    return [(c.kind, c.name, c.measure) for c in instruction_counts.changes(before, now, 0.03, **options)]


@pytest.mark.parametrize(
    "before, now, expected",
    [
        (100, 100, None),
        (100, 103, None),
        (100, 103.5, "more"),
        (100, 97, None),
        (100, 96, "fewer"),
        (7, 8, "more"),
        (0, 0.125, "more"),
    ],
)
def test_what_counts_as_a_change(before, now, expected):
    found = kinds({"a": {"instructions": before}}, {"a": {"instructions": now}})
    assert found == ([(expected, "a", "instructions")] if expected else [])


def test_expensive_kind_that_was_not_there():
    """Fewer instructions, and a division among them."""
    found = instruction_counts.changes({"a": {"instructions": 10}}, {"a": {"instructions": 9, "division": 0.5}}, 0.03)
    assert [(change.kind, change.measure, change.fails) for change in found] == [
        ("fewer", "instructions", False),
        ("more", "division", True),
    ]


def test_new_and_gone_are_changes():
    assert kinds({"a": {}, "b": {}}, {"b": {}, "c": {}}) == [("new", "c", ""), ("gone", "a", "")]
    assert all(change.fails for change in instruction_counts.changes({"a": {}}, {"b": {}}, 0.03))


def test_measures_left_out():
    before, now = {"a": {"core": 10, "all": 10}}, {"a": {"core": 20, "all": 20}}
    assert kinds(before, now, without={"all"}) == [("more", "a", "core")]


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({}, None),
        ({"compiler": "GCC: (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0"}, None),
        ({"compiler": "GCC: (GNU) 13.1.0"}, "compiler: stored for GCC 12, here GCC 13"),
        ({"compiler": "clang version 12.0.1"}, "compiler: stored for GCC 12, here clang 12"),
        ({"compiler": ""}, "compiler: stored for GCC 12, here an unknown compiler"),
        ({"python": "3.11.9"}, None),
        ({"python": "3.12.7"}, "python: stored for 3.11, here 3.12"),
        ({"flags": "-fPIC -fcf-protection"}, "flags: stored for -fPIC -fwrapv, here -fPIC -fcf-protection"),
        ({"flags": "unknown (no -g)"}, "flags: stored for -fPIC -fwrapv, here unknown (no -g)"),
        ({"instruction_set": "base"}, "instruction_set: stored for avx2, here base"),
        ({"machine": "aarch64"}, "machine: stored for x86_64, here aarch64"),
        ({"numpy": "2.5.0"}, None),
    ],
)
def test_what_cannot_be_compared(changed, reason):
    assert instruction_counts.obstacles(MADE_WITH, MADE_WITH | changed) == ([reason] if reason else [])


def test_kernels_do_not_depend_on_python():
    of_kernels = {name: MADE_WITH[name] for name in ("machine", "compiler", "flags")}
    assert instruction_counts.obstacles(of_kernels, of_kernels) == []
    assert instruction_counts.foreign_obstacles(of_kernels, of_kernels) == []


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Return a function that runs the command on made-up counts: exit status, and what it printed."""
    monkeypatch.setattr(instruction_counts, "STORED", tmp_path / "counts.json")

    def run(*words, calls=None, made_with=MADE_WITH, unavailable=False, **kernels):
        def measure(part, changed):
            if unavailable:
                raise call_instructions.Unavailable("no objdump")
            counts = {name: {"instructions": 100, "all": 100} for name in instruction_counts.names_of(part)}
            return {"made_with": made_with, "counts": counts | changed}

        measuring = {"kernels": lambda: measure("kernels", kernels), "calls": lambda: measure("calls", calls or {})}
        monkeypatch.setattr(instruction_counts, "MEASURING", measuring)
        monkeypatch.setattr(instruction_counts, "build", lambda part: made_with)
        return instruction_counts.main(list(words)), capsys.readouterr().out

    return run


KERNEL = "avx512 gelu_forward float32"


def test_command_without_anything_stored(command):
    status, text = command()
    assert status == 1
    assert instruction_counts.UPDATE in text


def test_command_stores_and_compares(command):
    assert command("--update")[0] == 0
    data = json.loads(instruction_counts.STORED.read_text())
    assert data["kernels"]["counts"][KERNEL] == {"instructions": 100, "all": 100}
    assert data["calls"]["made_with"] == MADE_WITH
    counts = [len(instruction_counts.names_of(part)) for part in ("kernels", "calls")]
    assert command() == (0, "{} kernels: no more than stored\n{} calls: no more than stored\n".format(*counts))


def test_command_fails_if_a_kernel_costs_more(command):
    command("--update")
    status, text = command(**{KERNEL: {"instructions": 104, "all": 100}})
    assert status == 1
    assert f"more   {KERNEL}: instructions 100 -> 104 (+4.0%)" in text
    assert f"if that is meant: {instruction_counts.UPDATE}" in text


def test_command_tells_what_costs_less(command):
    command("--update")
    status, text = command(**{KERNEL: {"instructions": 90, "all": 100}})
    assert status == 0
    assert f"fewer  {KERNEL}: instructions 100 -> 90 (-10.0%)" in text
    assert instruction_counts.UPDATE in text


def test_new_activation_has_to_be_stored(command, monkeypatch):
    command("--update")
    names = instruction_counts.names_of
    monkeypatch.setattr(instruction_counts, "names_of", lambda part: [*names(part), "avx2 swoosh_forward float32"])
    status, text = command()
    assert status == 1
    assert "new    avx2 swoosh_forward float32" in text
    assert instruction_counts.UPDATE in text


def test_command_leaves_out_what_numpy_does(command):
    command("--update")
    call = call_instructions.CASES[0]
    more = {call: {"instructions": 100, "all": 120}}
    assert command(calls=more)[0] == 1
    status, text = command(calls=more, made_with=MADE_WITH | {"numpy": "2.5.0"})
    assert status == 0
    assert "numpy: stored for 2.4, here 2.5" in text


def test_command_says_what_it_does_not_compare(command):
    command("--update")
    assert command(unavailable=True)[0] == 0
    assert "kernels: not compared: no objdump" in command(unavailable=True)[1]
    status, text = command(made_with=MADE_WITH | {"compiler": "GCC: (GNU) 13.1.0"}, **{KERNEL: {"instructions": 900}})
    assert status == 0
    assert "kernels: not compared: compiler: stored for GCC 12, here GCC 13" in text


def test_update_keeps_what_cannot_be_measured(command):
    command("--update", **{KERNEL: {"instructions": 50, "all": 50}})
    before = instruction_counts.STORED.read_text()
    assert "left as they were: no objdump" in command("--update", unavailable=True)[1]
    assert instruction_counts.STORED.read_text() == before


def test_update_tells_when_others_will_compare_nothing(command):
    command("--update")
    text = command("--update", made_with=MADE_WITH | {"compiler": "GCC: (GNU) 13.1.0"})[1]
    assert "compiler: stored for GCC 12, here GCC 13: others compare nothing from now on" in text
