"""Layers that normalize: running statistics against a written-out update, inference, sharing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from tests.ops.harness import error

Array = np.ndarray[Any, Any]
F = np.float32


def image(channels: int = 3) -> gx.Node:
    return gx.input("x", ("N", channels, 4, 5))


def batch(seed: int, count: int = 6, channels: int = 3) -> Array:
    random = np.random.default_rng(seed)
    spread = random.uniform(0.5, 3.0, (1, channels, 1, 1))
    return (random.normal(size=(count, channels, 4, 5)) * spread + spread).astype(F)


def written_out(x: Array, mean: Array, variance: Array, weight: Array, bias: Array) -> Array:
    """Batch normalization by these statistics, in float64."""
    mean, variance, weight, bias = (
        np.asarray(v, np.float64)[:, None, None] for v in (mean, variance, weight, bias)
    )
    return (x.astype(np.float64) - mean) / np.sqrt(variance + 1e-5) * weight + bias


def followed(states: tuple[Array, Array], x: Array, momentum: float) -> tuple[Array, Array]:
    """PyTorch's update of running mean and (unbiased) variance, in float64."""
    x = x.astype(np.float64)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    old = 1 - momentum
    return old * states[0] + momentum * mean, old * states[1] + momentum * variance


def start(graph: gx.Graph) -> dict[str, Array]:
    """The initial values, which need no random numbers here."""
    leaves = {**graph.parameters, **graph.states}
    return {name: np.full(p.shape, p.op.init == nn.init.Ones(), F) for name, p in leaves.items()}


@pytest.mark.parametrize("momentum", [0.1, 0.03])
def test_50_steps_of_running_statistics(momentum: float) -> None:
    step = gx.compile(gx.Graph({"y": nn.BatchNorm2d(3, momentum=momentum)(image())}))
    variables = step.init(seed=0)
    states = np.zeros(3), np.ones(3)
    for seed in range(50):
        x = batch(seed, count=2 + seed % 3)
        y = step(variables, x=x)["y"]
        expected = written_out(x, x.mean((0, 2, 3)), x.var((0, 2, 3)), np.ones(3), np.zeros(3))
        assert error(y, expected) <= 1e-5
        states = followed(states, x, momentum)
    assert error(variables["batch_norm2d.running_mean"], states[0]) <= 1e-5
    assert error(variables["batch_norm2d.running_var"], states[1]) <= 1e-5


def test_inference_reads_the_running_statistics_and_updates_nothing() -> None:
    graph = gx.Graph({"y": nn.BatchNorm2d(3)(image())})
    predict = graph.apply(passes.inference())
    assert not predict.updates
    assert not predict.guards
    assert {n.op.name for n in predict.nodes} == {"input", "parameter", "state", "batch_norm"}
    random = np.random.default_rng(1)
    variables = {name: random.uniform(0.5, 2.0, 3).astype(F) for name in start(graph)}
    x = batch(2, count=1)
    y = gx.interpret(predict, variables, x=x)["y"]
    numbers = (variables[f"batch_norm2d.{k}"] for k in STATE_DICT)
    assert error(y, written_out(x, *numbers)) <= 1e-5
    assert predict.apply(passes.inference()) == predict


STATE_DICT = ("running_mean", "running_var", "weight", "bias")


def test_a_layer_called_twice_shares_and_updates_in_call_order() -> None:
    layer = nn.BatchNorm2d(3)
    a, b = gx.input("a", ("N", 3, 4, 5)), gx.input("b", ("M", 3, 4, 5))
    graph = gx.Graph({"a": layer(a), "b": layer(b)})
    assert list(graph.parameters) == ["batch_norm2d.weight", "batch_norm2d.bias"]
    assert sorted(graph.updates) == ["batch_norm2d.running_mean", "batch_norm2d.running_var"]
    first, second = batch(0), batch(1, count=3)
    _, after = gx.interpret(graph, start(graph), updates=True, a=first, b=second)
    states = followed(followed((np.zeros(3), np.ones(3)), first, 0.1), second, 0.1)
    assert error(after["batch_norm2d.running_mean"], states[0]) <= 1e-5
    assert error(after["batch_norm2d.running_var"], states[1]) <= 1e-5
    loss = gx.Graph({"loss": gx.sum(graph.outputs["a"]) + gx.sum(graph.outputs["b"])})
    gradients = loss.apply(passes.backward())
    shared = gradients.outputs["grad/batch_norm2d.weight"]
    assert (shared.op.name, len(shared.inputs)) == ("grad_sum", 2)


def test_a_batch_of_one_value_is_refused() -> None:
    graph = gx.Graph({"y": nn.BatchNorm2d(2)(gx.input("x", ("N", 2, 1, 1)))})
    assert [str(guard) for guard in graph.guards] == ["N >= 2"]
    with pytest.raises(gx.ShapeError, match="N >= 2"):
        gx.interpret(graph, start(graph), x=np.zeros((1, 2, 1, 1), F))


def test_an_absent_scale_or_shift_is_a_constant() -> None:
    full, bare = nn.BatchNorm2d(3), nn.BatchNorm2d(3, scale=False, shift=False)
    assert (full.weight.role, full.bias.role) == ("scale", "shift")
    assert (bare.weight, bare.bias) == (None, None)
    node = bare(image())
    assert node.inputs[1:3] == (gx.constant(1.0), gx.constant(0.0))
    assert list(gx.Graph({"y": nn.BatchNorm2d(3, scale=False)(image())}).parameters) == [
        "batch_norm2d.bias"
    ]


def test_names_are_pytorchs() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    graph = gx.Graph({"y": net(image())})
    assert list(graph.parameters) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias",
    ]  # fmt: skip
    assert list(graph.states) == ["1.running_mean", "1.running_var"]


def test_weight_decay_leaves_scale_and_shift() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(24))
    graph = gx.Graph({"loss": gx.sum(net(image()))}).apply(passes.weight_decay(1e-3))
    squared = [n.inputs[0] for n in graph.nodes if n.op.name == "square"]
    assert [n for n in squared if n.op.name == "parameter"] == [graph.parameters["0.weight"]]


def test_a_training_step_of_a_small_net_equals_its_interpretation() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4),
        nn.LocalResponseNorm(3), nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 2),
    )  # fmt: skip
    label = gx.input("label", ("N",), dtype="int64")
    graph = gx.Graph({"loss": gx.cross_entropy(net(image()), label)})
    train = graph.apply(passes.backward(), passes.sgd(lr=0.1, momentum=0.9))
    step = gx.compile(train)
    variables = step.init(seed=3)
    before = {name: array.copy() for name, array in variables.items()}
    given = {"x": batch(5), "label": np.array([0, 1, 1, 0, 1, 0])}
    out, after = gx.interpret(train, before, updates=True, inputs=given)
    found = step(variables, inputs=given)
    assert error(found["loss"], out["loss"]) <= 1e-5
    for name, value in after.items():
        assert error(variables[name], value) <= 1e-5, name


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.BatchNorm2d(0), "channels"),
        (lambda: nn.BatchNorm2d(3, eps=-1), "eps=-1"),
        (lambda: nn.BatchNorm2d(3, momentum=1.5), "momentum=1.5"),
        (lambda: nn.BatchNorm2d(4)(image(3)), "was given 3 channels"),
        (lambda: nn.BatchNorm2d(4)(gx.input("x", ("N", 4))), "N, C, H, W"),
        (lambda: nn.LayerNorm((3, 0)), "normalized_shape"),
        (lambda: nn.LayerNorm(6)(image()), "end in the axes"),
        (lambda: nn.GroupNorm(2, 5), "does not divide"),
        (lambda: nn.GroupNorm(2, 4)(image(3)), "does not divide 3"),
        (lambda: nn.LocalResponseNorm(1.5), "size"),
    ],
)
def test_mistakes_say_what_to_write(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        build()


def test_training_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: see the written-out one")
    layer = torch.nn.BatchNorm2d(3)
    graph = gx.Graph({"y": nn.BatchNorm2d(3)(image())})
    variables = start(graph)
    for seed in range(50):
        out, variables = gx.interpret(graph, variables, updates=True, x=batch(seed))
        expected = layer(torch.from_numpy(batch(seed))).detach().numpy()
        assert error(out["y"], expected) <= 1e-5
    for key in STATE_DICT:
        assert error(variables[f"batch_norm2d.{key}"], layer.state_dict()[key].numpy()) <= 1e-5
    predict = graph.apply(passes.inference())
    y = gx.interpret(predict, variables, x=batch(99))["y"]
    assert error(y, layer.eval()(torch.from_numpy(batch(99))).detach().numpy()) <= 1e-5
