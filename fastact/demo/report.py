"""Runs the demo's two networks behind a progress bar and prints what came of it.

The tables say what was measured, and what served; they draw no conclusion beyond a ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ..catalogue import ALIASES, BY_NAME
from ..explanation import explain
from ..threads import num_threads
from . import training
from .activations import Activation, FastactActivation, PlainActivation, plain_label
from .training import Digits, Result


def run(arguments: argparse.Namespace) -> int:
    """Train and serve twice, print the tables."""
    console = Console()
    digits = training.load(arguments.seed)
    widths = " - ".join(str(n) for n in (digits.images.shape[1], *arguments.hidden, 10))
    console.print(
        f"{arguments.activation} network {widths}, float32; {len(digits.images)} digits to train on, "
        f"{len(digits.held_out_images)} held out; batches of {arguments.batch}; seed {arguments.seed}"
    )
    # One thread each, unless more are asked for: the ratio is then that of the code, since plain NumPy activations have
    # no threads.  And two pools that take turns on the same cores, BLAS's and fastact's, spin in each other's way.
    with threadpool_limits(limits=arguments.threads, user_api="blas"), num_threads(arguments.threads):
        ours, plain = compare(arguments, digits, console)
        served = _served_by(arguments)
    console.print(_table(arguments.activation, ours, plain))
    console.print(
        "Times of activations: wall clock around the calls, median of the epochs. "
        f"Matrix products: NumPy's in both, threads: {arguments.threads}."
    )
    console.print("\nServed by:", *served, sep="\n", highlight=False, soft_wrap=True)
    return 0


def compare(arguments: argparse.Namespace, digits: Digits, console: Console) -> tuple[Result, Result]:
    """The two networks' results: same seed, same data, same code but for the activations."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    name = arguments.activation
    kinds: list[tuple[str, Callable[[tuple[int, int]], Activation]]] = [
        ("fastact", lambda shape: FastactActivation(name, shape, np.float32)),
        (plain_label(name), lambda shape: PlainActivation(name, shape, np.float32)),
    ]
    results = []
    with Progress(*columns, console=console) as progress:
        for label, make_activation in kinds:
            task = progress.add_task(label, total=arguments.epochs, loss="-")
            network = training.build(digits, arguments.hidden, arguments.batch, arguments.seed, make_activation)

            def report(loss: float, task: int = task) -> None:
                progress.update(progress.task_ids[task], advance=1, loss=f"{loss:.4f}")

            result = training.train(network, digits, arguments.epochs, arguments.batch, arguments.seed, report)
            training.serve(network, digits, arguments.batch, result)
            results.append(result)
    return results[0], results[1]


def _table(name: str, ours: Result, plain: Result) -> Table:
    label = plain_label(name)
    table = Table("", "fastact", label, "ratio", title=f"{name}: fastact beside {label}")
    for column in table.columns[1:]:
        column.justify = "right"

    def timed(what: str, seconds: Callable[[Result], float], unit: str, factor: float) -> None:
        mine, theirs = seconds(ours), seconds(plain)
        # a clock that did not move is no ratio
        ratio = f"{theirs / mine:.1f}x" if mine > 0 else "-"
        table.add_row(what, f"{_figures(mine * factor)} {unit}", f"{_figures(theirs * factor)} {unit}", ratio)

    table.add_row("test accuracy", f"{ours.accuracy:.2%}", f"{plain.accuracy:.2%}", "")
    table.add_row("training loss, last epoch", f"{ours.losses[-1]:.6f}", f"{plain.losses[-1]:.6f}", "")
    table.add_section()
    timed("activations, per epoch", lambda r: r.forward + r.backward, "ms", 1e3)
    timed("  per batch, forward", lambda r: r.forward / r.batches, "µs", 1e6)
    timed("  per batch, backward", lambda r: r.backward / r.batches, "µs", 1e6)
    timed("  per batch, serving", lambda r: r.serving_activation / r.serving_batches, "µs", 1e6)
    table.add_section()
    timed("training, all of it", lambda r: r.training, "s", 1)
    timed("serving, all of it", lambda r: r.serving, "ms", 1e3)
    return table


def _figures(value: float) -> str:
    """Three figures, never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _served_by(arguments: argparse.Namespace) -> list[str]:
    """What served the fastact network: an explanation for each direction, with its reasons."""
    name = BY_NAME[ALIASES.get(arguments.activation, arguments.activation)].name
    layer = FastactActivation(name, (1, 1), np.float32)
    sums = np.zeros((arguments.batch, max(arguments.hidden)), np.float32)
    return [str(explain(function, sums)) for function in layer.functions]
