"""The demo's data, training and serving: from a seed to figures.  Prints nothing.

Everything random comes from the seed, so a run can be repeated to the bit.  Times are wall clock; an epoch's figure is
the median over the epochs, which a first epoch with cold caches, or one that another process disturbed, leaves alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from .activations import Activation, Array
from .network import Adam, Network

HELD_OUT = 0.25
RATE = 0.001


@dataclass(frozen=True)
class Digits:
    """1797 handwritten digits of 8 by 8 pixels in [0, 1]; a quarter, with equal shares of each digit, is held out."""

    images: Array
    labels: npt.NDArray[np.intp]
    held_out_images: Array
    held_out_labels: npt.NDArray[np.intp]


@dataclass
class Result:
    """What one network did.  Seconds; the ``activation`` figures are spent in forward, and in backward."""

    batches: int
    losses: list[float] = field(default_factory=list)
    training: float = 0.0
    forward_of_epochs: list[float] = field(default_factory=list)
    backward_of_epochs: list[float] = field(default_factory=list)
    accuracy: float = 0.0
    serving: float = 0.0
    serving_activation: float = 0.0
    serving_batches: int = 0

    @property
    def forward(self) -> float:
        """Seconds in forward activations in an epoch."""
        return median(self.forward_of_epochs)

    @property
    def backward(self) -> float:
        """Seconds in backward activations in an epoch."""
        return median(self.backward_of_epochs)


def load(seed: int) -> Digits:
    """The data; it ships inside scikit-learn."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        (images / 16).astype(np.float32), labels, test_size=HELD_OUT, stratify=labels, random_state=seed
    )
    return Digits(parts[0], parts[2].astype(np.intp), parts[1], parts[3].astype(np.intp))


def build(
    digits: Digits, hidden: list[int], batch: int, seed: int, make_activation: Callable[[tuple[int, int]], Activation]
) -> Network:
    """A fresh network; the seed decides its weights."""
    sizes = [digits.images.shape[1], *hidden, 10]
    return Network(sizes, make_activation, np.random.default_rng(seed), batch)


def train(
    network: Network, digits: Digits, epochs: int, batch: int, seed: int, report: Callable[[float], None]
) -> Result:
    """Train for some epochs; ``report`` gets each epoch's mean loss."""
    # a stream of its own: the order of the batches does not depend on how many weights were drawn
    shuffling = np.random.default_rng([seed, 1])
    optimiser = Adam(network.parameters, RATE)
    starts = range(0, len(digits.images), batch)
    result = Result(batches=len(starts))
    for _ in range(epochs):
        started = perf_counter()
        network.seconds.reset()
        order = shuffling.permutation(len(digits.images))
        loss = 0.0
        for start in starts:
            chosen = order[start : start + batch]
            loss += len(chosen) * network.loss_and_gradients(digits.images[chosen], digits.labels[chosen])
            optimiser.step(network.gradients)
        result.training += perf_counter() - started
        result.losses.append(loss / len(order))
        result.forward_of_epochs.append(network.seconds.forward)
        result.backward_of_epochs.append(network.seconds.backward)
        report(result.losses[-1])
    return result


def serve(network: Network, digits: Digits, batch: int, result: Result) -> None:
    """Serve the trained network over the held-out data, in batches, and enter accuracy and times."""
    starts = range(0, len(digits.held_out_images), batch)
    result.serving_batches = len(starts)
    right = 0
    network.seconds.reset()
    started = perf_counter()
    for start in starts:
        guesses = network.logits(digits.held_out_images[start : start + batch]).argmax(axis=1)
        right += int(np.count_nonzero(guesses == digits.held_out_labels[start : start + batch]))
    result.serving = perf_counter() - started
    result.serving_activation = network.seconds.forward
    result.accuracy = right / len(digits.held_out_images)
