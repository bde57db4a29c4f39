"""Measures fastact beside every peer that is installed, and writes the JSON that `benchmarks/publish.py` publishes.

    python benchmarks/compare.py --json results.json            everything; about half an hour on two cores
    python benchmarks/compare.py --json results.json --quick    a small part of it, in two minutes
    python benchmarks/compare.py --json results.json --resume   goes on after an interrupt

    python benchmarks/compare.py --json avx2.json --instruction-set avx2      fastact and PyTorch, both with AVX2

The peers are PyTorch, ONNX Runtime, OpenVINO, JAX, NumPy/SciPy, thinc, numexpr and simd-ml-kernels: `pip install
'fastact[peers]'`.  Those that are missing are left out.  Run it from a checkout on a quiet machine.

This process measures nothing.  It starts a worker for each number of threads (peer_comparison/worker.py), shows how
far that is, and stores what it says.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from peer_comparison import cells, jax_functions, peers  # noqa: E402
from peer_comparison.results import Journal  # noqa: E402

from fastact import threads as own_threads  # noqa: E402
from fastact.catalogue import ACTIVATIONS  # noqa: E402
from fastact.verification.certificate import kernels_fingerprint  # noqa: E402

FUNCTIONS = {row.function_name(direction): (row.name, direction) for row in ACTIVATIONS for direction in row.directions}
#: Seconds of rounds for each cell: with 4032 cells and what it takes to build contenders, half an hour.
BUDGET = 0.1
#: Enough to see that all of it works: one size of each kind.
QUICK = {"sizes": ("16", "16Ki", "4Mi"), "modes": ("reused",), "threads": ("1",), "budget": 0.02}
#: fastact's and PyTorch's names for instruction sets, and oneDNN's, which PyTorch uses for gelu.  None of them reaches
#: MKL, whose tanh PyTorch takes for float32: it costs the same with each.
INSTRUCTION_SETS = {"avx2": ("avx2", "avx2", "AVX2"), "base": ("base", "default", "SSE41")}


def listed(name, accepted):
    """Parser of a comma-separated list of words."""

    def parse(text):
        words = tuple(accepted) if text == "all" else tuple(word.strip() for word in text.split(","))
        for word in words:
            if word not in accepted:
                raise argparse.ArgumentTypeError(f"{name}: got {word!r}; accepted: {', '.join(accepted)}")
        return tuple(dict.fromkeys(words))

    return parse


def seconds(text):
    """Parser of the budget."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError(f"--budget: got {text!r}; accepted: seconds, more than 0 and at most 60")
    return value


def parser():
    """The options."""
    made = argparse.ArgumentParser(description="Measure fastact beside every peer that is installed.")
    made.add_argument("--json", type=Path, required=True, metavar="PATH", help="where the results go")
    lists = {
        "functions": FUNCTIONS, "dtypes": cells.DTYPES, "sizes": cells.SIZES, "modes": cells.MODES,
    }  # fmt: skip
    for name, accepted in lists.items():
        help_text = f"{', '.join(accepted)}; comma-separated; default: all"
        made.add_argument(f"--{name}", type=listed(f"--{name}", accepted), metavar="LIST", help=help_text)
    made.add_argument(
        "--threads", type=listed("--threads", cells.THREADS), metavar="LIST",
        help="1, or all that the process may have; default: both",
    )  # fmt: skip
    made.add_argument(
        "--peers", type=listed("--peers", [*peers.PEERS, "none"]), metavar="LIST",
        help=f"{', '.join(peers.PEERS)}, none; default: those that are installed",
    )  # fmt: skip
    made.add_argument("--budget", type=seconds, help=f"seconds of rounds for each cell; default: {BUDGET}")
    made.add_argument("--quick", action="store_true", help="few sizes, one thread, few rounds: two minutes")
    made.add_argument("--resume", action="store_true", help="go on with what an interrupted run has left")
    made.add_argument(
        "--instruction-set",
        choices=INSTRUCTION_SETS,
        help="the best one that fastact and PyTorch may use; only these two",
    )
    return made


def settled(options, complain):
    """Fill in what the options leave open; ``complain`` ends the program."""
    defaults = {"sizes": tuple(cells.SIZES), "modes": cells.MODES, "threads": cells.THREADS, "budget": BUDGET}
    defaults |= QUICK if options.quick else {}
    dtypes = cells.DTYPES
    if importlib.util.find_spec("ml_dtypes") is None:
        dtypes = tuple(dtype for dtype in dtypes if dtype != "bfloat16")
        if "bfloat16" in (options.dtypes or ()):
            complain(f"--dtypes: got bfloat16, which needs ml_dtypes; accepted: {', '.join(dtypes)}")
    for name, value in {"functions": tuple(FUNCTIONS), "dtypes": dtypes, **defaults}.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.instruction_set:
        if options.peers not in (None, ("torch",)):
            complain(f"--peers: got {','.join(options.peers)}; accepted with --instruction-set: torch")
        options.peers = ("torch",)
    if options.peers is None:
        options.peers = peers.installed()
    elif "none" in options.peers:
        options.peers = ()
    missing = [label for label in options.peers if not peers.is_installed(label)]
    if missing:
        complain(f"--peers: got {missing[0]}, which is not installed; accepted: {', '.join(peers.installed())}")
    if not options.json.absolute().parent.is_dir():
        complain(f"--json: got {options.json}; accepted: a path in a folder that exists")
    return options


def wanted(options):
    """The cells of each number of threads."""
    numbers = {"1": 1, "all": own_threads.cpus_allowed()}
    # with one CPU both are the same
    counts = dict.fromkeys(numbers[word] for word in options.threads)
    sizes = [cells.SIZES[word] for word in options.sizes]
    functions = [FUNCTIONS[name] for name in options.functions]
    return {count: cells.cells(functions, options.dtypes, sizes, options.modes, count) for count in counts}


def environment(options, threads):
    """What a worker must find when it imports its peers."""
    made = {**os.environ, **jax_functions.environment(threads)}
    if options.instruction_set:
        ours, torch, onednn = INSTRUCTION_SETS[options.instruction_set]
        made |= {"FASTACT_MAX_ISA": ours, "ATEN_CPU_CAPABILITY": torch, "ONEDNN_MAX_CPU_ISA": onednn}
    folders = [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return made | {"PYTHONPATH": os.pathsep.join(folders)}


class WorkerFailed(RuntimeError):
    """A worker ended before its last cell."""


def measure(options, threads, todo, journal, advance):
    """Let a worker measure some cells."""
    request = {"peers": options.peers, "threads": threads, "budget": options.budget, "cells": todo}
    command = [sys.executable, "-m", "peer_comparison.worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    begun = None
    with subprocess.Popen(command, env=environment(options, threads), **pipes) as worker:
        try:
            # a worker that is already gone says so by its status
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(json.dumps(request))
                worker.stdin.close()
            for line in worker.stdout:
                data = json.loads(line)
                if "begin" in data:
                    begun = data["begin"]
                    continue
                journal.add(data)
                if "cell" in data:
                    advance(data["cell"])
            worker.wait()
        finally:
            worker.kill()
    if worker.returncode != 0:
        raise WorkerFailed(f"the worker ended with status {worker.returncode} at {begun}")


def main(arguments=None):
    """Measure what the options ask for."""
    made = parser()
    options = settled(made.parse_args(arguments), made.error)
    try:
        from rich.console import Console
        from rich.progress import Progress, TimeRemainingColumn
    except ImportError:
        print("compare.py needs rich for its progress bar: pip install 'fastact[cli]'", file=sys.stderr)
        return 2
    from peer_comparison.worker import versions

    names = ("functions", "dtypes", "sizes", "modes", "threads", "peers", "budget", "instruction_set", "quick")
    about = {"options": {name: getattr(options, name) for name in names}}
    # lists, as they are when they are read back
    about = json.loads(json.dumps(about | {"versions": versions(options.peers), "kernels": kernels_fingerprint()}))
    journal = Journal(options.json, about)
    try:
        journal.open(options.resume)
    except ValueError as problem:
        made.error(str(problem))
    done = journal.measured()
    by_threads = wanted(options)
    total = sum(map(len, by_threads.values()))
    complete, status = False, 0
    console = Console(stderr=True)
    try:
        with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn(elapsed_when_finished=True),
                      console=console, transient=True) as progress:  # fmt: skip
            bar = progress.add_task("measuring", total=total, completed=len(done))

            def advance(cell):
                progress.update(bar, advance=1, description=cells.Cell(*cell).function)

            for threads, all_of_them in by_threads.items():
                todo = [cell for cell in all_of_them if cell not in done]
                if todo:
                    measure(options, threads, todo, journal, advance)
        complete = True
    except KeyboardInterrupt:
        console.print("interrupted; the same command with --resume goes on")
        status = 130
    except WorkerFailed as problem:
        console.print(f"{problem}; the same command with --resume begins with that cell", style="red")
        status = 1
    finally:
        journal.close(complete)
    return status


if __name__ == "__main__":
    sys.exit(main())
