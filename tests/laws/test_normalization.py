"""Rows 26 and 30: what batch norm makes of the scale of weights, and dropout of a variance."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from tests.laws.nets import random_source
from tests.models.test_against_jax import random_variables, widened
from tests.ops.harness import Array, error
from tests.ops.test_random import literal

ALPHAS = np.logspace(-3, 3, 13)


def network(eps: float) -> gx.Graph:
    """Convolutions in front of batch norm, one of them used twice, in float64."""
    first, twice = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1)
    norms = [nn.BatchNorm2d(4, eps=eps) for _ in range(3)]
    x, label = gx.input("image", ("N", 3, 5, 5)), gx.input("label", ("N",), dtype="int64")
    z = first(x)
    y = gx.relu(norms[0](z))
    for norm in norms[1:]:
        y = gx.relu(y + norm(twice(y)))
    logits = nn.Linear(4, 4, name="head")(gx.mean(y, (2, 3)))
    outputs = {"z": z, "normal": norms[0](z), "logits": logits}
    return widened(gx.Graph({**outputs, "loss": gx.cross_entropy(logits, label)}))


def drawn(graph: gx.Graph) -> tuple[dict[str, Any], dict[str, Array]]:
    random = np.random.default_rng(7)
    variables = random_variables(graph, random)
    image = random.normal(size=(6, 3, 5, 5))
    return variables, {"image": image, "label": random.integers(0, 4, 6)}


def scaled(variables: dict[str, Any], factors: dict[str, Any]) -> dict[str, Any]:
    """Filters times a factor each; the bias in front of a norm goes with its filter."""
    new = {key: value.copy() for key, value in variables.items()}
    for layer, factor in factors.items():
        for key in (f"{layer}.weight", f"{layer}.bias"):
            if key in new:
                new[key] *= np.reshape(factor, (-1,) + (1,) * (new[key].ndim - 1))
    return new


CONVOLUTIONS = ("conv2d", "conv2d_1")


@pytest.mark.parametrize("alpha", ALPHAS)
def test_without_eps_the_scale_of_filters_does_not_count(alpha: float) -> None:
    """BN(αWX) = BN(WX) within 1e-12; the gradient scales as 1/α."""
    graph = network(eps=0.0).apply(passes.backward())
    variables, inputs = drawn(graph)
    step = gx.compile(graph)
    plain = step({k: v.copy() for k, v in variables.items()}, inputs)
    # One scale for all filters of a layer, and one for each filter.
    each = np.exp(np.random.default_rng(1).uniform(-1, 1, 4)) * alpha
    for factors in (
        {"conv2d": np.full(4, alpha)},
        {"conv2d": each, "conv2d_1": np.full(4, 1 / alpha)},
    ):
        out = step(scaled(variables, factors), inputs)
        for name in ("normal", "logits", "loss"):
            assert error(out[name], plain[name]) <= 1e-12
        for layer, factor in factors.items():
            gradient = out[f"grad/{layer}.weight"] * factor[:, None, None, None]
            assert error(gradient, plain[f"grad/{layer}.weight"]) <= 1e-11


def test_the_gradient_is_orthogonal_to_each_filter() -> None:
    """⟨∂L/∂W_c, W_c⟩ = 0 per channel (the bias counted with its filter), so a step only lengthens:
    ‖w - η∂w‖² = ‖w‖² + η²‖∂w‖²."""
    rate = 0.3
    graph = network(eps=0.0).apply(passes.backward(), passes.sgd(lr=rate, keep_gradients=True))
    variables, inputs = drawn(graph)
    variables["conv2d_1.bias"][:] = 0
    step = gx.compile(graph)
    for _ in range(20):
        before = {key: value.copy() for key, value in variables.items()}
        out = step(variables, inputs)
        for layer in CONVOLUTIONS:
            key = f"{layer}.weight"
            old, gradient = before[key].reshape(4, -1), out[f"grad/{key}"].reshape(4, -1)
            inner = np.sum(old * gradient, 1)
            lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(gradient, axis=1)
            assert np.all(lengths > 0)
            assert np.all(np.abs(inner) <= 1e-12 * lengths)
            squares = [np.sum(np.square(each), 1) for each in (variables[key].reshape(4, -1), old)]
            grown = squares[1] + rate**2 * np.sum(np.square(gradient), 1)
            assert error(squares[0], grown) <= 1e-12
            assert np.all(squares[0] > squares[1])


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_with_eps_the_deviation_has_its_closed_form(alpha: float, eps: float) -> None:
    """BN(αWX) = BN(WX)·√((σ²+ε)/(σ²+ε/α²)), before scale and shift, per channel."""
    graph = network(eps).select("z", "normal")
    variables, inputs = drawn(network(eps))
    image = {"image": inputs["image"]}
    plain = gx.interpret(graph, variables, inputs=image)
    out = gx.interpret(graph, scaled(variables, {"conv2d": np.full(4, alpha)}), inputs=image)
    variance = plain["z"].var((0, 2, 3))
    ratio = np.sqrt((variance + eps) / (variance + eps / alpha**2))[:, None, None]
    shift = variables["batch_norm2d.bias"][:, None, None]
    assert error(out["normal"], (plain["normal"] - shift) * ratio + shift) <= 1e-12


@pytest.mark.parametrize("retain", [0.5, 0.75])
@pytest.mark.parametrize("scaling", ["train", "test"])
def test_dropout_adds_its_variance_exactly(retain: float, scaling: Any) -> None:
    """Var_train(z) = Var_test(z) + (1-p)/p Σ w² E[x²], over all masks with their probabilities.

    Each of the 16 masks of four units is found among the steps, drawn by the graph itself, and
    weighted p^kept·(1-p)^dropped; the variance is over examples and masks. With "test" scaling z
    is p times as large, in both.
    """
    x, w = gx.input("x", (1, 4), dtype="float64"), gx.input("w", (3, 4), dtype="float64")
    dropped = gx.dropout(x, retain=retain, scaling=scaling)
    graph = gx.Graph({"z": gx.linear(dropped, w)})
    random = np.random.default_rng(5)
    rows, weights = random.normal(1, 2, size=(7, 4)), random.normal(size=(3, 4))
    predict = graph.apply(passes.inference())

    steps: dict[tuple[bool, ...], int] = {}
    for step in range(2000):
        mask = literal("dropout", 1, step, 4) < np.float32(retain)
        steps.setdefault(tuple(mask.tolist()), step)
    assert steps.keys() == set(product([False, True], repeat=4))
    chances = [retain ** sum(m) * (1 - retain) ** (4 - sum(m)) for m in steps]
    z = np.array(
        [
            [
                gx.interpret(graph, random_source(1, step), x=row[None], w=weights)["z"][0]
                for row in rows
            ]
            for step in steps.values()
        ]
    )
    mean = np.einsum("m,mnc->c", chances, z) / len(rows)
    train = np.einsum("m,mnc->c", chances, (z - mean) ** 2) / len(rows)

    test = np.array([gx.interpret(predict, {}, x=row[None], w=weights)["z"][0] for row in rows])
    factor = 1.0 if scaling == "train" else retain
    added = (1 - retain) / retain * np.sum(weights**2 * np.mean(rows**2, 0), 1) * factor**2
    assert error(mean, test.mean(0)) <= 1e-12
    assert error(train, test.var(0) + added) <= 1e-12


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-12)])
def test_running_statistics_of_a_layer_called_twice_after_50_steps(
    dtype: str, limit: float
) -> None:
    """PyTorch's update written out, twice a step, in the order of the calls."""
    layer = nn.BatchNorm2d(3, scale=False, shift=False)
    first = layer(gx.input("x", ("N", 3, 4, 4)))
    graph = gx.Graph({"y": layer(gx.tanh(first) + first)})
    step = gx.compile(graph if dtype == "float32" else widened(graph))
    variables = step.init(seed=0)
    mean, variance = np.zeros(3), np.ones(3)
    random = np.random.default_rng(0)
    for _ in range(50):
        x = random.normal(random.normal(), random.uniform(0.5, 2), (3, 3, 4, 4)).astype(dtype)
        step(variables, x=x)
        y = x.astype(np.float64)
        for _ in range(2):
            mean = 0.9 * mean + 0.1 * y.mean((0, 2, 3))
            variance = 0.9 * variance + 0.1 * y.var((0, 2, 3), ddof=1)
            spread = np.sqrt(y.var((0, 2, 3), keepdims=True) + 1e-5)
            normal = (y - y.mean((0, 2, 3), keepdims=True)) / spread
            y = np.tanh(normal) + normal
    assert error(variables["batch_norm2d.running_mean"], mean) <= limit
    assert error(variables["batch_norm2d.running_var"], variance) <= limit
