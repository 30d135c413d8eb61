"""What dropout must be: a fair, independent mask; a subnetwork; one function in both scalings."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes
from tests.laws.nets import random_source
from tests.models.test_against_jax import widened
from tests.ops.harness import Array, error
from tests.ops.test_random import literal

DRAWS = 10**6
RETAIN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def masks(retain: float, seed: int, step: int) -> dict[str, Array]:
    """What two streams retain of 10⁶ ones each, 1,000 examples of 1,000 numbers, as -1 and 1."""
    x = gx.input("x", ("N", 1000))
    streams = {name: gx.dropout(x, retain=retain, scaling="test") for name in ("first", "second")}
    draw = gx.compile(gx.Graph(streams), backend="numpy")
    out = draw(random_source(seed, step), x=np.ones((DRAWS // 1000, 1000), np.float32))
    return {name: value * 2 - 1 for name, value in out.items()}


@pytest.mark.parametrize("retain", RETAIN)
def test_the_share_retained_is_p_within_four_sigma(retain: float) -> None:
    sigma = np.sqrt(retain * (1 - retain) / DRAWS)
    for mask in masks(retain, seed=20, step=3).values():
        assert set(np.unique(mask)) == {-1.0, 1.0}
        assert abs(np.mean(mask > 0) - retain) <= 4 * sigma


def correlation(a: Array, b: Array) -> float:
    """In standard deviations of what independent coins would give."""
    both = np.stack([a.ravel(), b.ravel()]).astype(np.float64)
    return abs(float(np.asarray(np.corrcoef(both))[0, 1])) * float(np.sqrt(a.size))


def test_streams_steps_and_seeds_are_uncorrelated() -> None:
    """Each pair of eight masks of 10⁶: |r| ≤ 4/√10⁶, four sigma of independent draws."""
    drawn = [
        masks(0.5, seed, step)[name]
        for seed in (20, 21)
        for step in (3, 4)
        for name in ("first", "second")
    ]
    assert max(correlation(a, b) for a, b in combinations(drawn, 2)) <= 4


def test_examples_and_units_are_uncorrelated() -> None:
    """Row 27: independently for each example. 499,500 pairs of 1,000 draws: |r| ≤ 5.5/√1000.

    The largest of half a million normal numbers is about 5; and neighbours, taken all together
    (10⁶ pairs), lie within four sigma.
    """
    mask = masks(0.5, seed=20, step=3)["first"]
    assert correlation(mask[:-1], mask[1:]) <= 4
    assert correlation(mask[:, :-1], mask[:, 1:]) <= 4
    for rows in (mask, mask.T):
        r = np.corrcoef(rows)
        assert np.max(np.abs(r - np.eye(len(r)))) <= 5.5 / np.sqrt(1000)


# -- row 27: an SGD step of the subnetwork ---------------------------------------------------------


SIZES = (12, 20, 15, 4)


def perceptron(*sizes: int) -> gx.Graph:
    """Linear layers with relu between them, by the names that a Sequential gives them."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    x, label = gx.input("x", ("N", sizes[0])), gx.input("label", ("N",), dtype="int64")
    logits = nn.Sequential(*layers[:-1])(x)
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})


def test_weights_at_dropped_units_get_no_gradient() -> None:
    """A batch of one: exactly 0, and the others have the gradient of the thinned network."""
    drop = passes.insert_dropout(retain={"x": 0.7, "*": 0.5}, scaling="test")
    graph = widened(perceptron(*SIZES).apply(drop)).apply(passes.backward())
    random = np.random.default_rng(1)
    # All positive, so that each relu is open and nothing but a mask makes a 0.
    variables = {
        k: random.uniform(0.1, 1, leaf.type.concrete({})) for k, leaf in graph.parameters.items()
    }
    x, label = random.uniform(0.5, 1, (1, SIZES[0])), np.array([2])
    out = gx.compile(graph)(variables | random_source(5, 11), x=x, label=label)

    kept = [
        literal(f"{site}/dropout", 5, 11, size) < np.float32(p)
        for site, size, p in zip("x13", SIZES, (0.7, 0.5, 0.5), strict=False)
    ] + [np.ones(SIZES[3], bool)]
    assert all(0 < mask.sum() < mask.size for mask in kept[:3])
    thin = widened(perceptron(*(int(mask.sum()) for mask in kept))).apply(passes.backward())
    few = {
        f"{2 * i}.{kind}": value[kept[i + 1]][:, kept[i]]
        if kind == "weight"
        else value[kept[i + 1]]
        for i in range(3)
        for kind, value in ((k, variables[f"{2 * i}.{k}"]) for k in ("weight", "bias"))
    }
    expected = gx.interpret(thin, few, x=x[:, kept[0]], label=label)
    for i in range(3):
        weight, bias = out[f"grad/{2 * i}.weight"], out[f"grad/{2 * i}.bias"]
        np.testing.assert_array_equal(weight != 0, np.outer(kept[i + 1], kept[i]))
        np.testing.assert_array_equal(bias != 0, kept[i + 1])
        assert error(weight[kept[i + 1]][:, kept[i]], expected[f"grad/{2 * i}.weight"]) <= 1e-12
        assert error(bias[kept[i + 1]], expected[f"grad/{2 * i}.bias"]) <= 1e-12


# -- row 28: two scalings, one function ------------------------------------------------------------


@pytest.mark.parametrize("retain", [0.25, 0.5, 0.8])
def test_both_scalings_agree_in_expectation(retain: float) -> None:
    """Each mask's "train" is its "test" over p, inference's too, and both are means over masks."""
    x, w = gx.input("x", ("N", 10), dtype="float64"), gx.input("w", (1, 10), dtype="float64")
    random = np.random.default_rng(2)
    row, weights = random.normal(size=(1, 10)), random.normal(size=(1, 10))
    draws = {"x": np.tile(row, (DRAWS // 10, 1)), "w": weights}
    p = float(np.float32(retain))
    found = {}
    for scaling, factor in (("train", 1.0), ("test", p)):
        graph = gx.Graph({"z": gx.linear(gx.dropout(x, retain=retain, scaling=scaling), w)})
        z = gx.compile(graph)(random_source(3, 4), draws)["z"]
        mean = gx.interpret(graph.apply(passes.inference()), {}, x=row, w=weights)["z"]
        variance = factor**2 * (1 - p) / p * np.sum((row * weights) ** 2)
        assert abs(z.mean() - mean.item()) <= 4 * np.sqrt(variance / len(z))
        assert error(mean, factor * row @ weights.T) <= 1e-14
        found[scaling] = z
    assert error(p * found["train"], found["test"]) <= 1e-14


def test_a_change_of_weights_rate_and_decay_makes_the_scalings_one() -> None:
    """w' = p·w, η' = p²·η, λ' = λ/p² behind the dropped layer: 200 steps with momentum and decay.

    Each step's masked logits, and what inference then predicts, are those of the other network.
    """
    sizes, rate, decay, p = (6, 24, 5), 0.05, 0.01, float(np.float32(0.8))

    def network(scaling: Literal["train", "test"], factor: float) -> tuple[gx.Program, gx.Program]:
        drop = passes.insert_dropout(retain=0.8, scaling=scaling)
        graph = widened(perceptron(*sizes).apply(drop))
        step = graph.apply(
            passes.weight_decay(decay, where="0.weight"),
            passes.weight_decay(decay / factor**2, where="2.weight"),
            passes.backward(),
            passes.sgd(lr=rate, momentum=0.9, lr_scale={"2.weight": factor**2}),
        )
        predict = graph.select("logits").apply(passes.inference())
        return gx.compile(step), gx.compile(predict)

    (step, predict), (scaled_step, scaled_predict) = network("test", 1.0), network("train", p)
    random = np.random.default_rng(4)
    variables = step.init(seed=9)
    other = {name: value.copy() for name, value in variables.items()}
    other["2.weight"] *= p
    start, held_out = variables["2.weight"].copy(), random.normal(size=(8, sizes[0]))
    for _ in range(200):
        batch = {"x": random.normal(size=(8, sizes[0])), "label": random.integers(0, 5, 8)}
        assert error(scaled_step(other, batch)["logits"], step(variables, batch)["logits"]) <= 1e-12
        found, expected = scaled_predict(other, x=held_out), predict(variables, x=held_out)
        assert error(found["logits"], expected["logits"]) <= 1e-12
    assert error(other["2.weight"], p * variables["2.weight"]) <= 1e-12
    assert error(other["0.weight"], variables["0.weight"]) <= 1e-12
    assert error(variables["2.weight"], start) > 0.1, "200 steps that led nowhere show nothing"


# -- inference: as if it had never been dropped ----------------------------------------------------


@pytest.mark.parametrize("name", ["lenet-5", "small-alexnet", "small-inception", "residual-8"])
def test_inference_equals_the_graph_never_dropped(name: str) -> None:
    graph = models.build(name)
    retain = {"image": 0.9, "*": 0.5}
    trained = graph.apply(
        passes.insert_dropout(retain=retain),
        passes.weight_decay(1e-3),
        passes.backward(),
        passes.sgd(lr="lr", momentum=0.9),
    )
    assert any(node.op.name == "dropout" for node in trained.nodes)
    plain = graph.select("logits").apply(passes.inference())
    assert trained.select("logits").apply(passes.inference()) == plain
    # With the other scaling each site becomes p·x, and no random op is left either.
    scaled = graph.apply(passes.insert_dropout(retain=retain, scaling="test"))
    for after in (plain, scaled.apply(passes.inference())):
        names = {node.op.name for node in after.nodes}
        assert names.isdisjoint({"dropout", "random_uniform", "stream"})
        assert {"step", "random/seed"}.isdisjoint(after.states)
        assert not after.updates


def test_dropout_layers_leave_nothing_behind() -> None:
    """A network with dropout layers predicts by the graph of one with identities there."""

    def network(*between: nn.Module) -> gx.Graph:
        first, second = between
        net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), first, nn.Linear(3, 2), second)
        return gx.Graph({"y": net(gx.input("x", ("N", 4)))})

    dropped = network(nn.Dropout(retain=0.5), nn.Dropout(retain=0.9))
    assert dropped.apply(passes.inference()) == network(nn.Identity(), nn.Identity())
