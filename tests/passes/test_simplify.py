"""``simplify``: every law on every bit, random graphs in value, and what must stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from graphc.ir.node import make
from graphc.ops.compare import Cast
from graphc.ops.elementwise import Pow
from graphc.ops.shape import BroadcastTo, Flip, Pad, Reshape, Slice, Transpose
from graphc.passes.laws import LAWS
from tests.random_graphs import sample

# What floating-point algebra stumbles over, and a few plain numbers.
HARD = np.array(
    [[0.0, -0.0, 1.0, -1.0], [np.inf, -np.inf, np.nan, 0.1], [3e38, -1e-45, 1e-38, 7.0]], np.float32
)
OTHER = np.ascontiguousarray(HARD[::-1, ::-1])

Build = Callable[[Any, Any], gx.Node]
X = gx.input("x", (3, 4))
Y = gx.input("y", (3, 4))
I8 = gx.cast(gx.where(gx.equal(X, X), gx.maximum(gx.minimum(X, 100.0), -128.0), 0.0), "int8")
ONES = np.ones((3, 4), np.float32)

# For each law, left sides and how many nodes are left of each but for the operands.
CASES: dict[str, list[tuple[gx.Node, int]]] = {
    "f(constants) = the constant": [
        (X * (gx.exp(gx.constant(2.0)) - 3.0 / gx.constant([1.0, 2.0, 3.0, 4.0])), 2),
        (gx.where(gx.constant(1.0) < 2.0, X, Y), 2),
    ],
    "x · 1 = x": [(X * 1, 0), (1.0 * X, 0), (X * ONES, 0), (I8 * 1, 0),
                  (X * gx.broadcast_to(gx.constant(1.0), (3, 4)), 0)],
    "x / 1 = x": [(X / 1, 0), (X / ONES, 0)],
    "x ^ 1 = x": [(make(Pow(), X, gx.constant(1.0)), 0)],
    "x + -0.0 = x": [(X + -0.0, 0), (-0.0 + X, 0)],
    "x + 0 = x, of integers and where x is never -0.0": [
        (I8 + 0, 0), (gx.square(X) + 0.0, 1), (0.0 + gx.exp(X), 1), (gx.abs(X) + 0, 1)],
    "x - 0 = x": [(X - 0.0, 0), (I8 - 0, 0)],
    "x · -1 = -x": [(X * -1, 1), (-1 * X, 1), (I8 * -1, 1)],
    "-(-x) = x": [(gx.neg(-X), 0), (gx.neg(-I8), 0), (gx.neg(gx.neg(-X)), 1)],
    "x + (-y) = x - y": [(X + -Y, 1), (-X + Y, 1), (-X + -Y, 2)],
    "x - (-y) = x + y": [(X - -Y, 1)],
    "(-x) · (-y) = x · y, (-x) / (-y) = x / y": [(-X * -Y, 1), (-X / -Y, 1)],
    "|-x| = |x|, (-x)² = x²": [(gx.abs(-X), 1), (gx.square(-X), 1), (gx.abs(-I8), 1)],
    "|x|² = x²": [(gx.square(gx.abs(X)), 1)],
    "|x| = x, relu(x) = x, where x is never negative": [
        (gx.relu(gx.square(X)), 1), (gx.abs(gx.exp(X)), 1), (gx.relu(gx.abs(X)), 1),
        (gx.abs(gx.sigmoid(X)), 1)],
    "f(f(x)) = f(x)": [
        (gx.relu(gx.relu(X)), 1), (gx.sign(gx.sign(X)), 1), (gx.abs(gx.abs(X)), 1)],
    "f(x, x) = x": [(gx.maximum(X, X), 0), (gx.minimum(X, X), 0),
                    (gx.logical_and(X > Y, X > Y), 1), (gx.logical_or(X > Y, X > Y), 1)],
    "not not x = x": [(gx.logical_not(gx.logical_not(X > Y)), 1)],
    "x as a wider type and back = x": [
        (gx.cast(gx.cast(X, "float64"), "float32"), 0), (gx.cast(gx.cast(I8, "int64"), "int8"), 0),
        (gx.cast(gx.cast(I8, "float16"), "int8"), 0)],
    "x as its own type = x": [(make(Cast(np.dtype("float32")), X), 0)],
    "a movement that leaves every element in its place = x": [
        (make(Reshape((3, 4)), X), 0), (make(BroadcastTo((3, 4)), X), 0),
        (make(Transpose((0, 1)), X), 0), (make(Slice((0, 0), (3, 4)), X), 0),
        (make(Pad((0, 0), (0, 0)), X), 0), (make(Flip((1,)), X[:, :1]), 1)],
    "reshape(reshape(x)) = reshape(x)": [
        (gx.reshape(gx.reshape(X, (12,)), (2, 6)), 1), (gx.reshape(gx.reshape(X, 12), (3, 4)), 0)],
    "broadcast_to(broadcast_to(x)) = broadcast_to(x)": [
        (gx.broadcast_to(gx.broadcast_to(X, (2, 3, 4)), (5, 2, 3, 4)), 1)],
    "transpose(transpose(x, a), b) = transpose(x, a∘b)": [
        (gx.transpose(gx.transpose(X, (1, 0)), (1, 0)), 0),
        (gx.transpose(gx.transpose(gx.reshape(X, (3, 2, 2)), (1, 2, 0)), (0, 2, 1)), 2)],
    "flip(flip(x, a), b) = flip(x, a xor b)": [
        (gx.flip(gx.flip(X, (0,)), (0,)), 0), (gx.flip(gx.flip(X, (0, 1)), (0,)), 1)],
    "max(x) = min(x) = x, over axes of size 1": [
        (gx.max(gx.reshape(X, (3, 1, 4)), 1), 0),
        (gx.min(gx.reshape(X, (3, 1, 4)), 1, keepdims=True), 1)],
    "dropout(x, retain=1) = x": [(gx.dropout(X, retain=1.0), 0)],
}  # fmt: skip


def test_every_law_has_its_cases() -> None:
    assert [law.text for law in LAWS] == list(CASES)
    assert all(law.rule.__doc__ for law in LAWS)


@pytest.mark.parametrize("text", CASES)
def test_a_law_keeps_every_bit(text: str) -> None:
    operands = {X, Y, *gx.Graph({"i": I8}).nodes}
    for node, left in CASES[text]:
        # Both operands stay inputs of the graph whatever becomes of the node.
        before = gx.Graph({"y": node, "keep": X + Y})
        after = before.apply(passes.simplify())
        made = set(gx.Graph({"y": after.outputs["y"]}).nodes) - operands
        assert len(made) == left, (text, str(after))
        assert after.apply(passes.simplify()) == after
        inputs = {"x": HARD, "y": OTHER}
        variables = {"random/seed": np.array(0, np.uint64), "step": np.array(0)}
        found = gx.interpret(after, variables, inputs=inputs)["y"]
        expected = gx.interpret(before, variables, inputs=inputs)["y"]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)  # NaN equals NaN here, -0.0 equals 0.0
        if found.dtype.kind == "f":
            number = ~np.isnan(found)
            np.testing.assert_array_equal(np.signbit(found)[number], np.signbit(expected)[number])


@pytest.mark.parametrize(
    "node",
    [
        X + 0.0, X - -0.0, X * 0.0, X - X, X / X, -(X - Y), 0.0 - X, gx.exp(gx.log(X)),
        gx.sqrt(gx.square(X)), gx.cast(gx.cast(X, "float16"), "float32"), X * 1.0000001,
        X + np.array([-0.0, 0.0, -0.0, -0.0], np.float32), gx.relu(gx.tanh(X)), gx.abs(gx.relu(X)),
        gx.where(X > Y, X, X), gx.broadcast_to(gx.constant(2.0), (3, 4)), (X * 2) * 3, (X + 1) - 1,
        gx.cast(gx.cast(I8, "uint8"), "int8"), X[:1] * ONES,
    ],
)  # fmt: skip
def test_what_is_only_nearly_true_is_left_alone(node: gx.Node) -> None:
    graph = gx.Graph({"y": node})
    assert graph.apply(passes.simplify()) == graph


# -- printed -------------------------------------------------------------------------------------


def test_printed_before_and_after() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    graph = gx.Graph({"loss": gx.sum(-(x * 1) + -gx.square(-w) + gx.constant(2.0) * 3)})
    graph = graph.apply(passes.backward())
    assert graph.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        "  %constant: f32[] = constant() value=1.0\n"
        "  %mul: f32[N,3] = mul(%x, %constant)\n"
        "  %neg: f32[N,3] = neg(%mul)\n"
        '  %w = parameter f32[3] role="weight" init="zeros"\n'
        "  %neg_1: f32[3] = neg(%w)\n"
        "  %square: f32[3] = square(%neg_1)\n"
        "  %neg_2: f32[3] = neg(%square)\n"
        "  %add: f32[N,3] = add(%neg, %neg_2)\n"
        "  %constant_1: f32[] = constant() value=2.0\n"
        "  %constant_2: f32[] = constant() value=3.0\n"
        "  %mul_1: f32[] = mul(%constant_1, %constant_2)\n"
        "  %add_1: f32[N,3] = add(%add, %mul_1)\n"
        "  %sum: f32[] = sum(%add_1) axes=[0,1]\n"
        "  %broadcast_to: f32[N,3] = broadcast_to(%constant) shape=[N,3]\n"
        "  %sum_1: f32[3] = sum(%broadcast_to) axes=[0]\n"
        "  %neg_3: f32[3] = neg(%sum_1)\n"
        "  %mul_2: f32[3] = mul(%neg_1, %constant_1)\n"
        "  %mul_3: f32[3] = mul(%neg_3, %mul_2)\n"
        "  %neg_4: f32[3] = neg(%mul_3)\n"
        "  return loss=%sum, grad/w=%neg_4\n"
        "}"
    )
    after = graph.apply(passes.simplify())
    assert after.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        "  %neg: f32[N,3] = neg(%x)\n"
        '  %w = parameter f32[3] role="weight" init="zeros"\n'
        "  %square: f32[3] = square(%w)\n"
        "  %sub: f32[N,3] = sub(%neg, %square)\n"
        "  %constant: f32[] = constant() value=6.0\n"
        "  %add: f32[N,3] = add(%sub, %constant)\n"
        "  %sum: f32[] = sum(%add) axes=[0,1]\n"
        "  %constant_1: f32[] = constant() value=1.0\n"
        "  %broadcast_to: f32[N,3] = broadcast_to(%constant_1) shape=[N,3]\n"
        "  %sum_1: f32[3] = sum(%broadcast_to) axes=[0]\n"
        "  %neg_1: f32[3] = neg(%sum_1)\n"
        "  %neg_2: f32[3] = neg(%w)\n"
        "  %constant_2: f32[] = constant() value=2.0\n"
        "  %mul: f32[3] = mul(%neg_2, %constant_2)\n"
        "  %mul_1: f32[3] = mul(%neg_1, %mul)\n"
        "  %neg_3: f32[3] = neg(%mul_1)\n"
        "  return loss=%sum, grad/w=%neg_3\n"
        "}"
    )
    assert gx.parse(str(after)) == after
    assert after.gradients[after.parameters["w"]] is after.outputs["grad/w"]
    assert after.outputs["loss"].lines == graph.outputs["loss"].lines


# -- what must stay ------------------------------------------------------------------------------


def test_edges_kept_values_tracks_and_updates_stay() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    state = gx.state("running", (3,))
    y = gx.tanh(gx.again(x, gx.sum(w))) * gx.edge(w, 0) * gx.edge(w, 1)
    y = y + gx.track(gx.mean(x, 0), state) + gx.dropout(x, retain=0.5)
    graph = gx.Graph({"y": y})
    assert graph.apply(passes.simplify()) == graph
    train = gx.Graph({"loss": gx.sum(gx.square(y * 1))}).apply(
        passes.backward(wrt="w"), passes.share(), passes.adam(lr=0.1)
    )
    after = train.apply(passes.simplify())
    assert list(after.updates) == list(train.updates)
    assert list(after.states) == list(train.states)
    assert after.stream_names == train.stream_names


def test_a_guard_is_a_check_and_stays() -> None:
    a, b = gx.input("a", ("M", 2)), gx.input("b", ("N", 2))
    ones = gx.broadcast_to(gx.constant(1.0), a.shape)
    graph = gx.Graph({"y": (b + a) * ones, "z": make(Reshape(b.shape), gx.reshape(a, (-1,)))})
    assert graph.guards
    after = graph.apply(passes.simplify())
    assert set(after.guards) == set(graph.guards)


def test_the_zoos_training_step_shrinks_and_keeps_its_values() -> None:
    train = models.build("lenet-5").apply(
        passes.weight_decay(0.1), passes.backward(), passes.sgd(lr="lr", momentum=0.9)
    )
    after = train.apply(passes.simplify())
    assert len(after.nodes) < len(train.nodes)
    step, simple = gx.compile(train), gx.compile(after)
    variables, others = step.init(seed=0), simple.init(seed=0)
    random = np.random.default_rng(0)
    batch = {
        "image": random.random((2, 1, 28, 28)).astype(np.float32),
        "label": np.array([3, 5]),
        "lr": np.array(0.1, np.float32),
    }
    for _ in range(2):
        step(variables, batch)
        simple(others, batch)
    for name, value in variables.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-5, atol=1e-7)


# -- random graphs -------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(2))
def test_random_graphs_keep_their_values(block: int) -> None:
    shrunk = 0
    for seed in range(1000 + 40 * block, 1040 + 40 * block):
        drawn = sample(seed)
        graph = drawn.graph
        if seed % 2 and gx.Graph({"loss": graph.outputs["loss"]}).parameters:
            graph = graph.apply(passes.backward())
        after = graph.apply(passes.simplify())
        assert after.apply(passes.simplify()) == after
        assert gx.parse(str(after)) == after
        shrunk += len(after.nodes) < len(graph.nodes)
        variables, inputs = drawn.variables(graph), drawn.inputs(0, graph)
        assert set(after.inputs) == set(graph.inputs)
        assert set(after.updates) == set(graph.updates)
        found = gx.interpret(after, variables, inputs=inputs)
        for name, value in gx.interpret(graph, variables, inputs=inputs).items():
            error = np.max(np.abs(found[name] - value)) if value.dtype.kind == "f" else 0
            assert error <= 1e-12 * max(np.max(np.abs(value)), 1.0), (seed, name)
    assert shrunk > 10
