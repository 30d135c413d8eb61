"""A wrong gradient rule is found at its node, and only there; right ones raise no alarm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from graphc.ir import Node
from graphc.ir.graph import post_order
from tests.random_graphs import sample

Fault = Callable[[Sequence[Node | None]], Sequence[Node | None]]


def scaled(answers: Sequence[Node | None]) -> Sequence[Node | None]:
    return [None if a is None else a * 1.001 for a in answers]


def negated(answers: Sequence[Node | None]) -> Sequence[Node | None]:
    return [None if a is None else -a for a in answers]


def reversed_(answers: Sequence[Node | None]) -> Sequence[Node | None]:
    """The last elements first."""
    return [None if a is None or not a.ndim else gx.flip(a, tuple(range(a.ndim))) for a in answers]


def silent(answers: Sequence[Node | None]) -> Sequence[Node | None]:
    return [None] * len(answers)


def injected(
    monkeypatch: pytest.MonkeyPatch, victim: Node, fault: Fault, graph: gx.Graph
) -> gx.Graph:
    """The graph's gradients with one node's rule changed."""
    right = type(victim.op).grad

    def wrong(self: Any, node: Node, gradient: Node) -> Sequence[Node | None]:
        answers = right(self, node, gradient)
        return fault(answers) if node is victim else answers

    with monkeypatch.context() as patch:
        patch.setattr(type(victim.op), "grad", wrong)
        return graph.apply(passes.backward())


@pytest.mark.parametrize("seed", range(20))
def test_right_rules_raise_no_alarm(seed: int) -> None:
    drawn = sample(seed)
    found = gx.gradient_check(drawn.graph, drawn.variables(), inputs=drawn.inputs(0))
    assert found, str(found)
    assert found.worst.error < 1e-7
    assert max(found.leaves.values()) < 1e-6


def net() -> tuple[gx.Graph, dict[str, Any], dict[str, Any]]:
    image, label = gx.input("image", ("N", 2, 8, 8)), gx.input("label", ("N",), dtype="int64")
    block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), name="block")
    stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), name="stem")
    head = nn.Sequential(nn.Flatten(), nn.Linear(None, 6), nn.Dropout(retain=0.8), name="head")
    h = stem(image)
    h = gx.tanh(block(h) + h)
    logits = gx.concat([head(h), gx.mean(gx.sigmoid(h), (2, 3))], 1)
    graph = gx.Graph({"loss": gx.cross_entropy(logits, label)})
    variables = gx.compile(graph).init(seed=0)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(3, 2, 8, 8)).astype(np.float32)
    return graph, variables, {"image": batch, "label": np.array([0, 3, 9])}


VICTIMS = (
    "conv2d", "relu", "max_pool2d", "add", "tanh", "linear", "dropout", "concat", "sigmoid",
    "batch_norm", "cross_entropy", "reshape", "mean",
)  # fmt: skip


@pytest.mark.parametrize("fault", [scaled, negated, reversed_], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", VICTIMS)
def test_a_wrong_rule_is_found_at_its_node_and_only_there(
    name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, variables, inputs = net()
    # The last one: the first reshape is batch norm's, whose gradient is 0 but for rounding.
    victim = [n for n in post_order([graph.outputs["loss"]]) if n.op.name == name][-1]
    if fault is reversed_ and name in ("mean", "add"):
        pytest.skip("its gradient is the same from behind, or is")
    wrong = injected(monkeypatch, victim, fault, graph)
    found = gx.gradient_check(wrong, variables, inputs=inputs)
    assert not found
    assert [each.node for each in found.wrong] == [victim], str(found)
    assert found.worst.node is victim
    assert found.worst.line == (victim.lines or ("",))[0]
    assert found.errors[victim] == found.worst.error > 1e-5
    assert str(found).splitlines()[1].startswith("WRONG")
    red = found.overlay()
    assert {node for node, redness in red.items() if redness > 0} == {victim}
    assert 0.25 <= red[victim] <= 1
    assert list(red) == [node for node in wrong.nodes if node in found.errors]
    # Below it the whole gradients are wrong, though the rules there are right.
    assert max(found.leaves.values()) > 1e-5


@pytest.mark.parametrize("seed", range(12))
def test_faults_in_random_graphs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = sample(seed)
    graph = drawn.graph.apply(passes.backward())
    hidden = gx.gradient_check(graph, drawn.variables(), inputs=drawn.inputs(0))
    rng = np.random.default_rng(seed)
    # A node through which much flows; where nothing does, no fault can show. (At a tie of a
    # maximum every slope between two is right, and a small fault stays between them.)
    strong = [
        each.node
        for each in hidden
        if abs(each.symbolic) > 1e-3
        and len(each.node.inputs) == 1
        and each.node.op.name not in ("max_pool2d", "max", "min")
    ]
    if not strong:
        pytest.skip("nothing flows through an op of one input")
    victim = strong[rng.integers(len(strong))]
    wrong = injected(monkeypatch, victim, scaled, drawn.graph)
    found = gx.gradient_check(wrong, drawn.variables(), inputs=drawn.inputs(0))
    assert [each.node for each in found.wrong] == [victim], str(found)


@pytest.mark.parametrize("still", [True, False], ids=["still wrong", "wrong when built"])
def test_a_rule_that_forgets_its_input(still: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """x still has a gradient by the other ways: the sum is wrong, and the silent op is named."""
    x = gx.input("x", (4,))
    w = gx.parameter("w", (4,), init=0.7)
    y = gx.tanh(x * w)
    graph = gx.Graph({"loss": gx.sum(y * w + gx.sin(y) * gx.exp(y))})
    variables = gx.compile(graph).init(seed=0)
    for victim, operand in ((y, "x"), (graph.node("sin"), "x")):
        wrong = injected(monkeypatch, victim, silent, graph)
        with monkeypatch.context() as patch:
            if still:
                patch.setattr(type(victim.op), "grad", lambda self, node, gradient: [None])
            found = gx.gradient_check(wrong, variables, x=[0.5, -1.0, 2.0, 1.0])
        assert [each.node for each in found.wrong] == [victim], str(found)
        assert (found.worst.operand, found.worst.symbolic) == (operand, 0.0)


def test_a_silent_rule_on_the_only_way(monkeypatch: pytest.MonkeyPatch) -> None:
    v, w = gx.parameter("v", (4,)), gx.parameter("w", (4,))
    graph = gx.Graph({"loss": gx.sum(gx.tanh(v * 2) + w)})
    monkeypatch.setattr(type(graph.node("tanh").op), "grad", lambda self, node, gradient: [None])
    held = {"v": np.array([0.5, -1, 2, 1], np.float32), "w": np.ones(4, np.float32)}
    for tried in (graph, graph.apply(passes.backward())):
        found = gx.gradient_check(tried, held)
        assert [each.name for each in found.wrong] == ["tanh"], str(found)


def test_what_was_not_asked_for_is_no_fault() -> None:
    x, w = gx.input("x", (4,)), gx.parameter("w", (4,), init=0.7)
    v = gx.parameter("v", (4,), init=0.3)
    graph = gx.Graph({"loss": gx.sum(gx.tanh(x * v) * w)}).apply(passes.backward(wrt="w"))
    held = {name: np.ones(4, np.float32) for name in "wv"}
    found = gx.gradient_check(graph, held, x=[0.5, -1.0, 2.0, 1.0])
    assert found
    assert [each.name for each in found] == ["mul_1", "sum"] or len(found) == 2


def test_a_rule_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gx.input("x", (4,))
    graph = gx.Graph({"loss": gx.sum(gx.tanh(x))})
    victim = graph.node("tanh")
    for fault in (lambda g: g.nothing, lambda g: g @ g, lambda g: gx.ones((4, 5)) + g):
        with monkeypatch.context() as patch:
            patch.setattr(type(victim.op), "grad", lambda self, node, g, fault=fault: [fault(g)])
            with pytest.raises(gx.GraphError, match="tanh: its gradient rule ") as caught:
                gx.gradient_check(graph, {}, x=np.ones(4))
            assert victim in caught.value.nodes
            assert victim.lines[0] in str(caught.value)


def test_a_gradient_that_is_no_number_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another operand of the same node has a right one."""
    x, y = gx.input("x", (3,)), gx.input("y", (3,))
    graph = gx.Graph({"loss": gx.sum(x * y)})
    for wrong in (lambda g, a, b: [g * b, g * a * np.nan], lambda g, a, b: [g * b / 0.0, g * a]):
        with monkeypatch.context() as patch:
            rule = lambda self, node, g, wrong=wrong: wrong(g, *node.inputs)  # noqa: E731
            patch.setattr(type(graph.node("mul").op), "grad", rule)
            found = gx.gradient_check(graph, {}, x=[1.0, 2.0, 3.0], y=[3.0, 4.0, 0.5])
        assert [each.name for each in found.wrong] == ["mul"]
        assert found.overlay()[found.worst.node] == 1.0


def test_masks_and_jumps_and_comparisons_are_no_faults() -> None:
    x, t = gx.input("x", ("N", 4)), gx.input("t", (4,))
    seen = gx.where(t > 0, x, -np.inf)
    attention = gx.Graph({"loss": gx.sum(gx.softmax(seen, 1) * x) + gx.sum(gx.max(seen, 1))})
    given = {"x": [[0.5, -1.0, 2.0, 1.0]], "t": [1.0, 0.0, 1.0, 0.0]}
    found = gx.gradient_check(attention, {}, inputs=given)
    assert found, str(found)
    jumps = gx.Graph({"loss": gx.sum(gx.sign(x) * gx.square(x) + gx.sign(x - 2.0) + gx.sin(x))})
    assert gx.gradient_check(jumps, {}, x=[[0.0, 2.0, 2.5, -1.0], [0.0, 0.0, 0.0, 0.0]])


def test_after_unshare_and_with_decay_and_dropout() -> None:
    graph, variables, inputs = net()
    decayed = graph.apply(passes.weight_decay(0.1))
    assert gx.gradient_check(decayed, variables, inputs=inputs)
    x = gx.input("x", ("N", 3))
    layer = nn.Linear(3, 3)
    twice = gx.Graph({"loss": gx.sum(gx.tanh(layer(gx.tanh(layer(x)))))})
    held = gx.compile(twice).init(seed=0)
    apart = twice.apply(passes.unshare(), passes.backward())
    found = gx.gradient_check(apart, held, x=np.ones((2, 3), np.float32))
    assert found
    assert found.leaves == {}


def test_the_overlay_is_redder_the_more_is_wrong() -> None:
    x = gx.input("x", (3,))
    graph = gx.Graph({"loss": gx.sum(gx.tanh(x) * x)})
    found = gx.gradient_check(graph, {}, x=[0.5, -1.0, 2.0])
    assert set(found.overlay().values()) == {0.0}
    errors = [0.0, 1e-6, 2e-6, 1e-3, 0.5, 1.0, 7.0, float("inf"), float("nan")]
    nodes = [
        replace(found.worst, node=gx.input(f"x{i}", ()), error=e) for i, e in enumerate(errors)
    ]
    shown = gx.Graph({each.name + str(i): each.node for i, each in enumerate(nodes)})
    red = list(replace(found, nodes=tuple(nodes), graph=shown).overlay().values())
    assert red[:2] == [0.0, 0.0]
    assert 0.25 < red[2] < red[3] < red[4] < 1
    assert red[5:] == [1.0] * 4


def test_kinks_are_no_faults() -> None:
    x = gx.input("x", (4,))
    graph = gx.Graph({"loss": gx.sum(gx.relu(x) * 3 + gx.abs(x) + gx.maximum(x, 0.0))})
    assert gx.gradient_check(graph, {}, x=[0.0, 0.0, 1.0, -1.0])


def test_mistakes_are_named() -> None:
    x = gx.input("x", (2,))
    with pytest.raises(gx.GraphError, match="an output called 'objective' or"):
        gx.gradient_check(gx.Graph({"y": gx.sum(x)}), {}, x=[1, 2])
    label = gx.input("label", (2,), dtype="int64")
    counted = gx.Graph({"loss": gx.sum(gx.cast(label, "float32"))})
    with pytest.raises(gx.GraphError, match="depends on no parameter"):
        gx.gradient_check(counted, {}, label=[1, 2])
