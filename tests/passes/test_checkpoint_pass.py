"""``checkpoint``: the same bits from less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from tests.random_graphs import sample


def chain() -> gx.Graph:
    x, w = gx.input("x", ("N", 2)), gx.parameter("w", (2,))
    for _ in range(4):
        x = gx.tanh(x * w)
    return gx.Graph({"loss": gx.sum(x)}).apply(passes.backward())


def residual(blocks: int) -> gx.Graph:
    """2·blocks convolutions, each second one behind batch norm, relu and dropout."""
    layers: list[Any] = []
    for _ in range(blocks):
        branch = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(retain=0.8),
            nn.Conv2d(4, 4, 3, padding=1),
        )  # fmt: skip
        layers += [nn.Residual(branch), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    image, label = gx.input("image", ("N", 4, 8, 8)), gx.input("label", ("N",), dtype="int64")
    return gx.Graph({"loss": gx.cross_entropy(net(image), label)}).apply(passes.backward())


def test_printed_before_and_after() -> None:
    before = chain()
    kept, first = before.text().split("  %square_3: ", 1)
    assert first == (
        "f32[N,2] = square(%tanh)\n"
        "  %sub_3: f32[N,2] = sub(%constant, %square_3)\n"
        "  %mul_10: f32[N,2] = mul(%mul_9, %sub_3)\n"
        "  %mul_11: f32[N,2] = mul(%mul_10, %x)\n"
        "  %sum_1: f32[2] = sum(%mul_11) axes=[0]\n"
        "  %mul_12: f32[N,2] = mul(%mul_8, %tanh)\n"
        "  %sum_2: f32[2] = sum(%mul_12) axes=[0]\n"
        "  %mul_13: f32[N,2] = mul(%mul_6, %tanh_1)\n"
        "  %sum_3: f32[2] = sum(%mul_13) axes=[0]\n"
        "  %mul_14: f32[N,2] = mul(%mul_4, %tanh_2)\n"
        "  %sum_4: f32[2] = sum(%mul_14) axes=[0]\n"
        "  %grad_sum: f32[2] = grad_sum(%sum_1, %sum_2, %sum_3, %sum_4)\n"
        "  return loss=%sum, grad/w=%grad_sum\n"
        "}"
    )
    after = before.apply(passes.checkpoint(segments=2))
    # The first tanh is computed again from x and w, once the gradients behind it are there.
    assert after.text() == kept + (
        "  %again: f32[N,2] = again(%mul_8, %mul_9)\n"
        "  %mul_10: f32[N,2] = mul(%mul_6, %tanh_1)\n"
        "  %sum_1: f32[2] = sum(%mul_10) axes=[0]\n"
        "  %again_1: f32[N,2] = again(%again, %sum_1)\n"
        "  %mul_11: f32[N,2] = mul(%mul_4, %tanh_2)\n"
        "  %sum_2: f32[2] = sum(%mul_11) axes=[0]\n"
        "  %again_2: f32[N,2] = again(%again_1, %sum_2)\n"
        "  %again_3: f32[N,2] = again(%x, %again_2)\n"
        "  %again_4: f32[2] = again(%w, %again_2)\n"
        "  %mul_12: f32[N,2] = mul(%again_3, %again_4)\n"
        "  %tanh_4: f32[N,2] = tanh(%mul_12)\n"
        "  %square_3: f32[N,2] = square(%tanh_4)\n"
        "  %sub_3: f32[N,2] = sub(%constant, %square_3)\n"
        "  %mul_13: f32[N,2] = mul(%mul_9, %sub_3)\n"
        "  %mul_14: f32[N,2] = mul(%mul_13, %x)\n"
        "  %sum_3: f32[2] = sum(%mul_14) axes=[0]\n"
        "  %mul_15: f32[N,2] = mul(%mul_8, %tanh_4)\n"
        "  %sum_4: f32[2] = sum(%mul_15) axes=[0]\n"
        "  %grad_sum: f32[2] = grad_sum(%sum_3, %sum_4, %sum_1, %sum_2)\n"
        "  return loss=%sum, grad/w=%grad_sum\n"
        "}"
    )
    assert gx.parse(str(after)) == after


@pytest.mark.parametrize("segments", [None, 2])
def test_fifty_layers_in_half_of_the_memory_with_the_same_bits(segments: int | None) -> None:
    before = residual(25)
    after = before.apply(passes.checkpoint(segments))
    steps = [
        gx.compile(graph.apply(passes.sgd(lr=0.1, momentum=0.9, keep_gradients=True)))
        for graph in (before, after)
    ]
    variables = [step.init(seed=0) for step in steps]
    random = np.random.default_rng(0)
    for _ in range(2):
        batch = {
            "image": random.normal(size=(32, 4, 8, 8)).astype(np.float32),
            "label": random.integers(0, 10, 32),
        }
        first, second = (s(v, batch) for s, v in zip(steps, variables, strict=True))
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], err_msg=name)
    for name, value in variables[0].items():
        np.testing.assert_array_equal(value, variables[1][name], err_msg=name)
    peaks = [step.plan.peak_bytes for step in steps]
    assert peaks[1] < (0.5 if segments != 2 else 0.8) * peaks[0], peaks


def test_a_tracked_value_is_tracked_once() -> None:
    before = residual(4)
    after = before.apply(passes.checkpoint(3))
    for graph in (before, after):
        assert sum(node.op.name == "track" for node in graph.nodes) == 8
        assert len([name for name in graph.updates if "running" in name]) == 8
    dropouts = [n for n in after.nodes if n.op.name == "dropout"]
    assert len(dropouts) > sum(node.op.name == "dropout" for node in before.nodes)
    # A second computation reads no stream, seed or step of its own.
    again = [node for node in after.nodes if node.op.name == "again"]
    assert {node.inputs[0].op.name for node in again}.isdisjoint({"stream", "state", "constant"})
    assert after.stream_names == before.stream_names


@pytest.mark.parametrize("block", range(2))
def test_random_graphs_keep_their_bits(block: int) -> None:
    changed = 0
    for seed in range(3000 + 30 * block, 3030 + 30 * block):
        drawn = sample(seed)
        graph = drawn.graph
        reached = gx.Graph({"loss": graph.outputs["loss"]}).parameters
        if not reached or "again" in {node.op.name for node in graph.nodes}:
            continue
        graph = graph.apply(passes.share(), passes.backward())
        again = passes.checkpoint(2 + seed % 3)
        after = graph.apply(again)
        assert after.apply(again) == after
        assert gx.parse(str(after)) == after
        changed += after != graph
        variables, inputs = drawn.variables(graph), drawn.inputs(0, graph)
        found, new = gx.interpret(after, variables, updates=True, inputs=inputs)
        expected, old = gx.interpret(graph, variables, updates=True, inputs=inputs)
        for name, value in {**expected, **old}.items():
            np.testing.assert_array_equal({**found, **new}[name], value, err_msg=f"{seed} {name}")
    assert changed > 10


def test_edges_are_shared_behind_it_as_before_it() -> None:
    x, w = gx.input("x", ("N", 2)), gx.parameter("w", (2,))
    for _ in range(6):
        x = gx.tanh(x * w)
    graph = gx.Graph({"loss": gx.sum(x)}).apply(passes.unshare(), passes.backward())
    late = graph.apply(passes.checkpoint(2), passes.share())
    assert not [node for node in late.nodes if node.op.name == "edge"]
    values = {"w": np.array([0.5, -2.0], np.float32)}
    data = np.ones((3, 2), np.float32)
    found = gx.interpret(late, values, x=data)["grad/w"]
    expected = gx.interpret(graph.apply(passes.share()), values, x=data)["grad/w"]
    np.testing.assert_array_equal(found, expected)


def test_gradients_belong_to_their_nodes_still() -> None:
    after = chain().apply(passes.checkpoint(2))
    w = after.parameters["w"]
    assert after.gradients[w] is after.outputs["grad/w"]
    assert "gradient of %tanh" in str(after)


def test_mistakes_are_refused() -> None:
    graph = chain()
    for wrong in (0, 1, -3, True, 2.0):
        with pytest.raises(gx.GraphError, match="segments"):
            passes.checkpoint(wrong)  # type: ignore[arg-type]
    with pytest.raises(gx.GraphError, match=r"put it after passes\.backward\(\)"):
        graph.select("loss").apply(passes.checkpoint())
    with pytest.raises(gx.GraphError, match="in front of the optimizer"):
        graph.apply(passes.sgd(lr=0.1), passes.checkpoint())
