"""``weight_decay`` adds a penalty over weights alone, and its gradient is λ·W."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from graphc.ir import Node


def graph_of(**more: Node) -> gx.Graph:
    x = gx.input("x", ("N", 4))
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), name="net")
    return gx.Graph({"loss": gx.mean(gx.square(net(x))), **more})


def values(graph: gx.Graph) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=tuple(map(int, p.shape))).astype(p.dtype)
        for name, p in graph.parameters.items()
    }


X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def run(graph: gx.Graph) -> dict[str, Any]:
    return gx.interpret(graph, values(graph), x=X)


def test_printed_before_and_after() -> None:
    w, b = gx.parameter("w", (2,)), gx.parameter("b", (2,), role="bias")
    graph = gx.Graph({"loss": gx.sum(w + b)})
    after = graph.apply(passes.weight_decay(0.5))
    assert after.text() == (
        "graphc 1\n"
        "graph () {\n"
        '  %w = parameter f32[2] role="weight" init="zeros"\n'
        '  %b = parameter f32[2] role="bias" init="zeros"\n'
        "  %add: f32[2] = add(%w, %b)\n"
        "  %sum: f32[] = sum(%add) axes=[0]\n"
        "  %square: f32[2] = square(%w)\n"
        "  %sum_1: f32[] = sum(%square) axes=[0]\n"
        "  %constant: f32[] = constant() value=0.25\n"
        "  %mul: f32[] = mul(%sum_1, %constant)\n"
        "  %add_1: f32[] = add(%sum, %mul)\n"
        "  return loss=%sum, penalty=%mul, objective=%add_1\n"
        "}"
    )
    assert after.outputs["loss"] is graph.outputs["loss"]
    assert gx.parse(str(after)) == after


def test_value_and_gradient_agree_with_jax() -> None:
    graph = graph_of().apply(passes.weight_decay(0.3), passes.backward())
    parameters = {k: v.astype(np.float64) for k, v in values(graph).items()}

    def objective(p: dict[str, Any]) -> Any:
        h = jnp.tanh(X @ p["net.0.weight"].T + p["net.0.bias"])
        y = h @ p["net.2.weight"].T + p["net.2.bias"]
        decay = sum(jnp.sum(p[f"net.{i}.weight"] ** 2) for i in (0, 2))
        return jnp.mean(y**2) + 0.3 / 2 * decay

    oracle, gradients = jax.value_and_grad(objective)(parameters)
    out = run(graph)
    assert abs(out["objective"] - oracle) / oracle < 1e-6
    for name, gradient in gradients.items():
        error = np.max(np.abs(out[f"grad/{name}"] - gradient)) / np.max(np.abs(gradient))
        assert error <= 1e-5


def test_several_add_up_through_one_square_a_weight() -> None:
    graph = graph_of()
    twice = graph.apply(
        passes.weight_decay(0.1), passes.weight_decay(0.2, where="net.0"), passes.backward()
    )
    assert sum(node.op.name == "square" for node in twice.nodes) == 1 + 1 + 2  # loss, tanh', w's
    weights = values(graph)
    first, second = (float(np.sum(weights[f"net.{i}.weight"] ** 2)) for i in (0, 2))
    out = run(twice)
    assert out["penalty"] == pytest.approx(0.15 * first + 0.05 * second, rel=1e-6)
    assert out["objective"] == pytest.approx(float(out["loss"] + out["penalty"]), rel=1e-6)
    alone = run(graph.apply(passes.backward()))
    decay = out["grad/net.0.weight"] - alone["grad/net.0.weight"]
    np.testing.assert_allclose(decay, 0.3 * weights["net.0.weight"], rtol=1e-4)
    assert twice.outputs["grad/net.0.weight"].op.text() == " decay=1"


def test_roles_and_where_select() -> None:
    graph, weights = graph_of(), values(graph_of())

    def penalty(**options: Any) -> float:
        return float(run(graph.apply(passes.weight_decay(2.0, **options)))["penalty"])

    norm = {name: float(np.sum(value**2)) for name, value in weights.items()}
    assert penalty(roles=("bias",)) == pytest.approx(norm["net.0.bias"] + norm["net.2.bias"])
    assert penalty(where="net.2*") == pytest.approx(norm["net.2.weight"])
    assert penalty(where="*.0.weight") == pytest.approx(norm["net.0.weight"])
    assert penalty(where=lambda p: p.shape == (3, 4)) == pytest.approx(norm["net.0.weight"])
    assert penalty(roles=("weight", "bias")) == pytest.approx(sum(norm.values()))


def test_only_weights_on_the_way_to_loss_count() -> None:
    stray = gx.parameter("stray", (3,))
    graph = graph_of(other=gx.sum(stray)).apply(passes.weight_decay(1.0))
    assert graph.users(stray) == (graph.outputs["other"],)


def test_rate_zero_and_no_weights_are_allowed() -> None:
    assert float(run(graph_of().apply(passes.weight_decay(0)))["penalty"]) == 0.0
    x = gx.input("x", ("N", 4))
    bare = gx.Graph({"loss": gx.mean(x)}).apply(passes.weight_decay(0.1))
    assert bare.outputs["penalty"].op.name == "constant"
    out = gx.interpret(bare, {}, x=X)
    assert float(out["penalty"]) == 0.0
    assert out["objective"] == out["loss"]


def test_a_weight_of_another_dtype_is_cast_to_the_loss() -> None:
    w = gx.parameter("w", (2,), dtype="float64")
    graph = gx.Graph({"loss": gx.sum(gx.cast(w, "float32"))}).apply(passes.weight_decay(2.0))
    assert graph.outputs["penalty"].dtype == np.float32
    assert float(gx.interpret(graph, {"w": np.array([1.0, 2.0])})["penalty"]) == 5.0


def test_mistakes() -> None:
    graph = graph_of()
    for rate in (-0.1, "0.1", True, float("nan"), float("inf")):
        with pytest.raises(gx.GraphError, match="at least 0"):
            passes.weight_decay(rate)
    with pytest.raises(gx.GraphError, match="did you mean 'weight'"):
        passes.weight_decay(0.1, roles=("weights",))
    with pytest.raises(gx.GraphError, match="comes before backward"):
        graph.apply(passes.backward(), passes.weight_decay(0.1))
    with pytest.raises(gx.GraphError, match="comes before backward"):
        graph.apply(passes.backward(), passes.sgd(lr=0.1), passes.weight_decay(0.1))
    with pytest.raises(gx.GraphError, match=r"'conv\*' names none of net\.0 = net\.0\.weight"):
        graph.apply(passes.weight_decay(0.1, where="conv*"))
    with pytest.raises(gx.GraphError, match="where= is a module path"):
        graph.apply(passes.weight_decay(0.1, where=3))
    with pytest.raises(gx.GraphError, match="the output 'loss', and there is none"):
        gx.Graph({"y": graph.outputs["loss"]}).apply(passes.weight_decay(0.1))
    for name in ("penalty", "objective"):
        with pytest.raises(gx.GraphError, match="did not make"):
            graph_of(**{name: gx.constant(1.0)}).apply(passes.weight_decay(0.1))


def test_the_report_says_what_decays_what_not_and_why() -> None:
    graph = graph_of(beside=gx.parameter("alone", (2,)) * gx.parameter("gain", (2,), role="scale"))
    report = passes.weight_decay(0.25).report(graph)
    assert [(e.name, e.rate) for e in report.chosen] == [
        ("net.0.weight", 0.25),
        ("net.2.weight", 0.25),
    ]
    assert {e.name: e.why for e in report.left} == {
        "net.0.bias": "role bias, not weight",
        "net.2.bias": "role bias, not weight",
        "alone": "not on the way to loss",
        "gain": "not on the way to loss",
    }
    assert [e.name for e in report.entries] == list(graph.parameters)
    assert "net.0.bias    left    0         role bias, not weight" in str(report).splitlines()
    some = passes.weight_decay(0.0, roles=("weight", "bias"), where="net.2.*").report(graph)
    assert [(e.name, e.rate) for e in some.chosen] == [("net.2.weight", 0.0), ("net.2.bias", 0.0)]
    assert some.left[0].why == "where='net.2.*' does not name it"
    assert "role bias, where='net.2.*'" in str(some)
    small = passes.weight_decay(1.0, where=lambda node: node.shape == (2, 3)).report(graph)
    assert [e.name for e in small.chosen] == ["net.2.weight"]


def test_the_report_is_of_the_pass_that_ran() -> None:
    decay = passes.weight_decay(0.5, roles="bias", where="*.0.*")
    graph = graph_of()
    after = graph.apply(decay, passes.backward())
    assert decay.report(after) is not None
    marked = {name for name in after.outputs if "decay=" in str(after.select(name))}
    assert marked == {f"grad/{entry.name}" for entry in decay.report(graph).chosen}


def test_other_passes_and_graphs_without_a_loss_have_no_report() -> None:
    with pytest.raises(gx.GraphError, match="has no report"):
        passes.sgd(lr=0.1).report(graph_of())
    with pytest.raises(gx.GraphError, match="there is none"):
        passes.weight_decay(0.1).report(gx.Graph({"y": gx.parameter("w", ())}))
