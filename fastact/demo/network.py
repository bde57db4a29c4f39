"""A multilayer perceptron in NumPy: matrix products by NumPy, activations by whoever is given.

All buffers are made once, for the largest batch, and used again for every batch, so that what is timed is arithmetic
and not the operating system's page faults.  The network never looks inside an activation: its two versions in the
demo run this same code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter

import numpy as np
import numpy.typing as npt

from .activations import Activation, Array

#: Adam's decay rates, of the running means of gradients and of their squares.
_OF_MEANS, _OF_SQUARES = 0.9, 0.999


class ActivationSeconds:
    """Time spent in activations since it was last reset: wall clock around the calls, nothing else."""

    def __init__(self) -> None:
        self.forward = self.backward = 0.0

    def reset(self) -> None:
        self.forward = self.backward = 0.0


class Network:
    """Layers of ``sizes`` units, activations between them, a softmax with cross-entropy at the end."""

    def __init__(
        self,
        sizes: Sequence[int],
        make_activation: Callable[[tuple[int, int]], Activation],
        generator: np.random.Generator,
        batch: int,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        shapes = list(pairwise(sizes))
        # He initialisation
        self.weights = [(generator.standard_normal(s) * np.sqrt(2 / s[0])).astype(dtype) for s in shapes]
        self.biases = [np.zeros(n, dtype) for n in sizes[1:]]
        self.weight_gradients = [np.empty_like(w) for w in self.weights]
        self.bias_gradients = [np.empty_like(b) for b in self.biases]
        self.activations = [make_activation((batch, n)) for n in sizes[1:-1]]
        self.seconds = ActivationSeconds()
        self._sums = [np.empty((batch, n), dtype) for n in sizes[1:]]
        self._gradients = [np.empty((batch, n), dtype) for n in sizes[1:]]
        #: What each layer was fed, for the weights' gradients.
        self._fed: list[Array] = []

    @property
    def parameters(self) -> list[Array]:
        """Everything that is trained."""
        return [*self.weights, *self.biases]

    @property
    def gradients(self) -> list[Array]:
        """The gradient of each of ``parameters``, as the last ``backward`` left it."""
        return [*self.weight_gradients, *self.bias_gradients]

    def logits(self, images: Array, training: bool = False) -> Array:
        """The last layer's sums: a buffer that the next call overwrites."""
        values = images
        self._fed = []
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            self._fed.append(values)
            sums = self._sums[k][: len(images)]
            np.matmul(values, weight, out=sums)
            sums += bias
            if k == len(self.activations):
                break
            activation = self.activations[k]
            started = perf_counter()
            values = activation.forward(sums) if training else activation.serve(sums)
            self.seconds.forward += perf_counter() - started
        return sums

    def loss_and_gradients(self, images: Array, labels: npt.NDArray[np.intp]) -> float:
        """Return the mean cross-entropy of a batch, and leave its gradients in ``gradients``."""
        chances = self.logits(images, training=True)
        loss = softmax_cross_entropy(chances, labels)
        # the gradient for the logits is (chances - one-hot labels) / batch
        chances[np.arange(len(labels)), labels] -= 1
        chances /= len(labels)
        self._backward(chances)
        return loss

    def _backward(self, grad: Array) -> None:
        for k in reversed(range(len(self.weights))):
            np.matmul(self._fed[k].T, grad, out=self.weight_gradients[k])
            np.sum(grad, axis=0, out=self.bias_gradients[k])
            if k == 0:
                return
            grad = np.matmul(grad, self.weights[k].T, out=self._gradients[k - 1][: len(grad)])
            started = perf_counter()
            grad = self.activations[k - 1].backward(grad)
            self.seconds.backward += perf_counter() - started


def softmax_cross_entropy(logits: Array, labels: npt.NDArray[np.intp]) -> float:
    """Turn logits into probabilities in place, and return the mean cross-entropy with the labels."""
    logits -= logits.max(axis=1, keepdims=True)
    # before the exponential, where a probability of zero would be log(0)
    right = logits[np.arange(len(labels)), labels].copy()
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1, keepdims=True)
    logits /= sums
    return float(np.mean(np.log(sums[:, 0]) - right))


class Adam:
    """Kingma and Ba's optimiser (arXiv:1412.6980), in place: one rate suits every activation here."""

    def __init__(self, parameters: Sequence[Array], rate: float) -> None:
        self._parameters, self._rate = parameters, rate
        self._means = [np.zeros_like(p) for p in parameters]
        self._squares = [np.zeros_like(p) for p in parameters]
        self._steps = 0

    def step(self, gradients: Sequence[Array]) -> None:
        """Move the parameters; the gradients are used up."""
        self._steps += 1
        # the corrections for the zeros that the averages started from, as plain numbers
        correction = math.sqrt(1 - _OF_SQUARES**self._steps)
        rate = self._rate * correction / (1 - _OF_MEANS**self._steps)
        for parameter, mean, square, gradient in zip(
            self._parameters, self._means, self._squares, gradients, strict=True
        ):
            # one factor goes into the running averages, so that the gradient's own buffer is all the room needed
            mean *= _OF_MEANS
            gradient *= 1 - _OF_MEANS
            mean += gradient
            gradient *= gradient
            gradient *= (1 - _OF_SQUARES) / (1 - _OF_MEANS) ** 2
            square *= _OF_SQUARES
            square += gradient
            np.sqrt(square, out=gradient)
            gradient += 1e-8 * correction
            np.divide(mean, gradient, out=gradient)
            gradient *= rate
            parameter -= gradient
