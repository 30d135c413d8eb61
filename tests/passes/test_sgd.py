"""``sgd`` follows PyTorch's rule over several steps, and composes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import passes
from graphc.ir.leaves import STEP


def problem() -> gx.Graph:
    x = gx.input("x", ("N", 3))
    w, b = gx.parameter("a.weight", (3,)), gx.parameter("a.bias", (), role="bias")
    return gx.Graph({"loss": gx.mean(gx.square(gx.tanh(gx.sum(x * w, 1) + b)))})


def start() -> dict[str, Any]:
    return {"a.weight": np.array([0.5, -1.0, 2.0], np.float32), "a.bias": np.array(0.3, np.float32)}


DATA = np.random.default_rng(3).normal(size=(6, 5, 3)).astype(np.float32)


def train(graph: gx.Graph, **inputs: Any) -> dict[str, Any]:
    """Six steps on the interpreter; states start at their initializer's value, zero."""
    variables = start()
    for name, leaf in graph.states.items():
        variables[name] = np.zeros(tuple(map(int, leaf.shape)), leaf.dtype)
    for x in DATA:
        _, variables = gx.interpret(graph, variables, updates=True, x=x, **inputs)
    return variables


def torch_sgd(lr: float, mu: float = 0.0, nesterov: bool = False, **scale: float) -> dict[str, Any]:
    """torch.optim.SGD (dampening 0) in float64: the first buffer is the first gradient."""

    def loss(p: dict[str, Any], x: Any) -> Any:
        return jnp.mean(jnp.tanh((x * p["a.weight"]).sum(1) + p["a.bias"]) ** 2)

    parameters = {k: v.astype(np.float64) for k, v in start().items()}
    buffers: dict[str, Any] = {}
    for x in DATA.astype(np.float64):
        gradients = jax.grad(loss)(parameters, x)
        for name, g in gradients.items():
            if mu:
                buffers[name] = mu * buffers[name] + g if name in buffers else g
                g = g + mu * buffers[name] if nesterov else buffers[name]
            parameters[name] = parameters[name] - lr * scale.get(name[2:], 1.0) * g
    return parameters


def close(found: dict[str, Any], oracle: dict[str, Any]) -> None:
    for name, value in oracle.items():
        error = np.max(np.abs(found[name] - value)) / np.max(np.abs(value))
        assert error <= 1e-5, name


@pytest.mark.parametrize(
    ("options", "oracle"),
    [
        ({"lr": 0.2}, {"lr": 0.2}),
        ({"lr": 0.2, "momentum": 0.9}, {"lr": 0.2, "mu": 0.9}),
        ({"lr": 0.2, "momentum": 0.9, "nesterov": True}, {"lr": 0.2, "mu": 0.9, "nesterov": True}),
        ({"lr": 0.2, "lr_scale": {"*.bias": 3}}, {"lr": 0.2, "bias": 3}),
        ({"lr": 0.2, "lr_scale": {"a.weight": 0, "*": 2.0}}, {"lr": 0.2, "weight": 0, "bias": 2}),
    ],
)
def test_six_steps_follow_pytorchs_rule(options: Any, oracle: Any) -> None:
    expected = torch_sgd(**oracle)
    close(train(problem().apply(passes.backward(), passes.sgd(**options))), expected)
    # The rate as an input gives the same.
    named = problem().apply(passes.backward(), passes.sgd(**{**options, "lr": "rate"}))
    close(train(named, rate=0.2), expected)


def test_the_rate_as_an_expression_of_the_step() -> None:
    rate = 0.2 * gx.cast(gx.less(STEP, 3), "float32")
    graph = problem().apply(passes.backward(), passes.sgd(lr=rate))
    assert "step" in graph.updates
    half = train(graph)
    full = train(problem().apply(passes.backward(), passes.sgd(lr=0.2)))
    assert int(half["step"]) == 6
    assert not np.array_equal(half["a.weight"], full["a.weight"])


def test_printed_before_and_after() -> None:
    w = gx.parameter("w", (2,))
    before = gx.Graph({"loss": gx.sum(w)}).apply(passes.backward())
    after = before.apply(passes.sgd(lr="lr", momentum=0.9))
    body = before.text().split("{\n", 1)[1]
    assert "return loss=%sum, grad/w=%broadcast_to" in body
    assert after.text() == (
        "graphc 1\n"
        "graph (lr: f32[]) {\n"
        '  %w = parameter f32[2] role="weight" init="zeros"\n'
        "  %sum: f32[] = sum(%w) axes=[0]\n"
        '  %sgd/w/momentum = state f32[2] init="zeros"\n'
        "  %constant: f32[] = constant() value=0.9\n"
        "  %mul: f32[2] = mul(%sgd/w/momentum, %constant)\n"
        "  %constant_1: f32[] = constant() value=1.0\n"
        "  %broadcast_to: f32[2] = broadcast_to(%constant_1) shape=[2]\n"
        "  %add: f32[2] = add(%mul, %broadcast_to)\n"
        "  %mul_1: f32[2] = mul(%lr, %add)\n"
        "  %sub: f32[2] = sub(%w, %mul_1)\n"
        "  return loss=%sum\n"
        "  update %sgd/w/momentum = %add\n"
        "  update %w = %sub\n"
        "}"
    )
    assert gx.parse(str(after)) == after


def test_gradients_are_consumed_or_kept_and_those_of_inputs_stay() -> None:
    graph = problem().apply(passes.backward(wrt=["a.weight", "a.bias", "x"]))
    assert list(graph.apply(passes.sgd(lr=0.1)).outputs) == ["loss", "grad/x"]
    kept = graph.apply(passes.sgd(lr=0.1, keep_gradients=True))
    assert list(kept.outputs) == ["loss", "grad/a.weight", "grad/a.bias", "grad/x"]
    assert list(graph.apply(passes.sgd(lr=0.1)).updates) == ["a.bias", "a.weight"]


def test_two_optimizers_on_different_parameters_share_the_rate() -> None:
    graph = problem().apply(
        passes.backward(wrt="a.weight"),
        passes.sgd(lr="lr", momentum=0.9),
        passes.backward(wrt="a.bias"),
        passes.sgd(lr="lr"),
    )
    assert list(graph.inputs) == ["x", "lr"]
    assert list(graph.updates) == ["a.bias", "a.weight", "sgd/a.weight/momentum"]
    values = train(graph, lr=0.2)
    assert np.isfinite(values["a.weight"]).all()


def test_an_input_of_the_graph_is_reused_as_the_rate() -> None:
    lr = gx.input("lr", ())
    w = gx.parameter("w", ())
    graph = gx.Graph({"loss": w * lr}).apply(passes.backward(), passes.sgd(lr="lr"))
    assert graph.inputs["lr"] is lr


def test_float64_parameters_keep_their_type() -> None:
    w = gx.parameter("w", (2,), dtype="float64")
    graph = gx.Graph({"loss": gx.sum(w * w)}).apply(passes.backward(), passes.sgd(lr="lr"))
    assert graph.inputs["lr"].dtype == np.float32
    _, new = gx.interpret(graph, {"w": np.array([1.0, 2.0])}, updates=True, lr=0.25)
    assert new["w"].tolist() == [0.5, 1.0]


def test_history_names_the_passes() -> None:
    graph = problem().apply(passes.backward(), passes.sgd(lr=0.1))
    assert [earlier.made_by for earlier in graph.history] == ["declare", "backward"]
    assert graph.made_by == "sgd"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "at least 0"),
        ({"lr": float("nan")}, "at least 0"),
        ({"lr": True}, "number"),
        ({"lr": None}, "number"),
        ({"lr": "learning rate"}, "identifier"),
        ({"lr": 0.1, "momentum": 1.5}, "from 0 to 1"),
        ({"lr": 0.1, "nesterov": True}, "needs a momentum"),
        ({"lr": gx.input("v", (2,))}, "scalar"),
        ({"lr": gx.input("n", (), dtype="int64")}, "floating-point"),
        ({"lr": 0.1, "lr_scale": {"a.*": -2}}, "at least 0"),
    ],
)
def test_bad_options_are_refused_at_once(options: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        passes.sgd(**options)


def test_bad_graphs_are_refused() -> None:
    graph = problem()
    with pytest.raises(gx.GraphError, match=r"run passes\.backward\(\)"):
        graph.apply(passes.sgd(lr=0.1))
    after = graph.apply(passes.backward())
    with pytest.raises(gx.GraphError, match=r"run passes\.backward\(\)"):
        after.apply(passes.sgd(lr=0.1), passes.sgd(lr=0.1))
    with pytest.raises(gx.GraphError, match=r"another optimizer"):
        after.apply(passes.sgd(lr=0.1, keep_gradients=True), passes.sgd(lr=0.1))
    with pytest.raises(gx.GraphError, match=r"'b\.\*' names none of a\.weight, a\.bias"):
        after.apply(passes.sgd(lr=0.1, lr_scale={"b.*": 2}))
    with pytest.raises(gx.GraphError, match="the input 'x' as learning rate"):
        after.apply(passes.sgd(lr="x"))
