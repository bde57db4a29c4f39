"""The demo: it learns, it repeats itself to the bit, and its two networks compute the same thing."""

import argparse

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the demo's data ships inside scikit-learn")
pytest.importorskip("rich", reason="the demo prints with rich")

import fastact
from fastact import cli
from fastact.catalogue import ACTIVATIONS
from fastact.demo import activations, add_arguments, network, report, training

NAMES = [row.name for row in ACTIVATIONS if not row.operands]
SMALL = {"hidden": [96, 64], "batch": 50, "seed": 3}


def make_network(kind, name, dtype=np.float32, sizes=(64, 24, 16, 10), batch=40):
    return network.Network(sizes, lambda shape: kind(name, shape, dtype), np.random.default_rng(5), batch, dtype)


def trained(kind, name, epochs=4):
    digits = training.load(SMALL["seed"])
    made = training.build(
        digits, SMALL["hidden"], SMALL["batch"], SMALL["seed"], lambda shape: kind(name, shape, np.float32)
    )
    result = training.train(made, digits, epochs, SMALL["batch"], SMALL["seed"], lambda loss: None)
    training.serve(made, digits, SMALL["batch"], result)
    return made, result


def test_the_default_run_is_above_95_percent(capsys):
    assert cli.main(["demo"]) == 0
    text = capsys.readouterr().out
    (row,) = (line for line in text.splitlines() if "test accuracy" in line)
    ours, plain = (float(word.strip("%")) for word in row.split() if word.endswith("%"))
    assert ours > 95
    assert abs(ours - plain) < 1
    for expected in (
        "training loss",
        "per batch, backward",
        "gelu on float32:",
        "gelu_backward on float32:",
        "1 thread,",
    ):
        assert expected in text


def test_same_seed_same_bits():
    first, first_result = trained(activations.FastactActivation, "silu", epochs=2)
    second, second_result = trained(activations.FastactActivation, "silu", epochs=2)
    for a, b in zip(first.parameters, second.parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first_result.losses == second_result.losses
    assert first_result.accuracy == second_result.accuracy


def test_another_seed_is_another_run():
    arguments = {"hidden": [8], "batch": 50, "make_activation": lambda shape: None}
    digits = training.load(1)
    first, second = (training.build(digits, seed=seed, **arguments) for seed in (1, 2))
    assert not np.array_equal(first.weights[0], second.weights[0])
    assert not np.array_equal(digits.images, training.load(2).images)


def test_in_place_training_learns_like_plain_numpy():
    _, ours = trained(activations.FastactActivation, "relu", epochs=8)
    _, plain = trained(activations.PlainActivation, "relu", epochs=8)
    assert ours.accuracy > 0.95
    assert ours.losses == pytest.approx(plain.losses, rel=1e-3)
    assert len(ours.forward_of_epochs) == len(ours.backward_of_epochs) == 8
    assert min(ours.forward, ours.backward, ours.training, ours.serving) > 0


@pytest.fixture
def batch():
    generator = np.random.default_rng(7)
    return generator.random((40, 64)), generator.integers(0, 10, 40)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name, batch):
    images, labels = batch
    made = make_network(activations.FastactActivation, name, np.float64)
    made.loss_and_gradients(images, labels)
    gradients = [gradient.copy() for gradient in made.gradients]
    generator = np.random.default_rng(11)
    step = 1e-6
    for parameter, gradient in zip(made.parameters, gradients, strict=True):
        direction = generator.standard_normal(parameter.shape)
        losses = []
        for side in (1, -1):
            parameter += side * step * direction
            losses.append(made.loss_and_gradients(images, labels))
            parameter -= side * step * direction
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float(np.sum(gradient * direction)), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_both_networks_have_the_same_gradients(name, batch):
    images, labels = batch
    ours, plain = (
        make_network(kind, name, np.float64) for kind in (activations.FastactActivation, activations.PlainActivation)
    )
    assert ours.loss_and_gradients(images, labels) == pytest.approx(plain.loss_and_gradients(images, labels), rel=1e-12)
    for a, b in zip(ours.gradients, plain.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_plain_versions_stay_in_float32(name):
    # a yardstick that drifts into float64 would flatter fastact
    value, gradient = activations.plain(name)
    x = np.linspace(-4, 4, 9, dtype=np.float32)
    y = value(x)
    assert y.dtype == gradient(x, x, y).dtype == np.float32


def test_an_activation_without_a_plain_version_is_compared_with_the_reference(monkeypatch):
    x = np.linspace(-4, 4, 9)
    value, gradient = activations.plain("elu")
    y = value(x)
    expected = gradient(x, x, y)
    monkeypatch.delitem(activations.PLAIN, "elu")
    value, gradient = activations.plain("elu")
    np.testing.assert_allclose(value(x), y, rtol=1e-14)
    np.testing.assert_allclose(gradient(x, x, y), expected, rtol=1e-14)
    assert activations.plain_label("elu") == "NumPy reference"


def test_forward_runs_in_place_where_the_gradient_can_use_the_output():
    pre = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    for name, in_place in (("relu", True), ("tanh", True), ("gelu", False), ("swish", False)):
        layer = activations.FastactActivation(name, (3, 4), np.float32)
        sums = pre.copy()
        assert (layer.forward(sums) is sums) == in_place
        grad = np.ones_like(pre)
        assert layer.backward(grad) is grad
        assert layer.serve(sums) is sums


def test_a_short_last_batch_uses_the_same_buffers():
    layer = activations.FastactActivation("gelu", (8, 4), np.float32)
    sums = np.ones((8, 4), np.float32)
    whole = layer.forward(sums)
    assert np.shares_memory(layer.forward(sums[:3]), whole)


def test_the_softmax_survives_large_logits():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]], np.float32)
    assert network.softmax_cross_entropy(logits, np.array([0, 0])) == pytest.approx(5000)
    np.testing.assert_array_equal(logits, [[1, 0], [0, 1]])


def test_a_run_prints_the_same_figures_twice(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    # columns are as wide as the times beside them
    words = ["--epochs", "2", "--hidden", "32", "--seed", "9", "--activation", "tanh"]
    printed = []
    for _ in range(2):
        assert report.run(parser.parse_args(words)) == 0
        lines = capsys.readouterr().out.splitlines()
        printed.append([line.split() for line in lines if "accuracy" in line or "training loss" in line])
    assert printed[0] == printed[1]
    assert len(printed[0]) == 2


def test_the_number_of_threads_is_the_callers_again_afterwards(capsys):
    before = fastact.get_num_threads()
    assert cli.main(["demo", "--epochs", "1", "--hidden", "16", "--threads", "2"]) == 0
    assert "threads: 2" in capsys.readouterr().out
    assert fastact.get_num_threads() == before
