"""``accumulate``: micro-batches one after the other, the same numbers from less memory."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from tests.passes.test_shard import assert_close, convolutions, dropout, inputs, mlp, normalized

# The second piece waits for the gradient of the first, the third for the sum of both.
EXPECTED = """graphc 1
graph (x: f32[N,3]) {
  %reshape: f32[3*(N//3),3] = reshape(%x) shape=[3*(N//3),3]
  %slice: f32[N//3,3] = slice(%reshape) starts=[0,0] sizes=[N//3,3]
  %w = parameter f32[3] role="weight" init="zeros"
  %mul: f32[N//3,3] = mul(%slice, %w)
  %sum: f32[] = sum(%mul) axes=[0,1]
  %slice_1: f32[N//3,3] = slice(%reshape) starts=[N//3,0] sizes=[N//3,3]
  %constant: f32[] = constant() value=1.0
  %broadcast_to: f32[N//3,3] = broadcast_to(%constant) shape=[N//3,3]
  %mul_1: f32[N//3,3] = mul(%broadcast_to, %slice)
  %sum_1: f32[3] = sum(%mul_1) axes=[0]
  %again: f32[N//3,3] = again(%slice_1, %sum_1)
  %mul_2: f32[N//3,3] = mul(%again, %w)
  %sum_2: f32[] = sum(%mul_2) axes=[0,1]
  %add: f32[] = add(%sum, %sum_2)
  %slice_2: f32[N//3,3] = slice(%reshape) starts=[2*(N//3),0] sizes=[N//3,3]
  %mul_3: f32[N//3,3] = mul(%broadcast_to, %again)
  %sum_3: f32[3] = sum(%mul_3) axes=[0]
  %grad_sum: f32[3] = grad_sum(%sum_1, %sum_3)
  %again_1: f32[N//3,3] = again(%slice_2, %grad_sum)
  %mul_4: f32[N//3,3] = mul(%again_1, %w)
  %sum_4: f32[] = sum(%mul_4) axes=[0,1]
  %add_1: f32[] = add(%add, %sum_4)
  %mul_5: f32[N//3,3] = mul(%broadcast_to, %again_1)
  %sum_5: f32[3] = sum(%mul_5) axes=[0]
  %grad_sum_1: f32[3] = grad_sum(%grad_sum, %sum_5)
  return loss=%add_1, grad/w=%grad_sum_1
}"""

MICRO = (passes.backward(), passes.accumulate())


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("build", [mlp, convolutions, dropout])
def test_values_gradients_and_updates_are_those_of_the_whole(build: Any, k: int) -> None:
    graph = build().apply(passes.weight_decay(0.01))
    rest = passes.sgd(lr=0.1, momentum=0.9)
    whole = graph.apply(passes.backward(), rest)
    cut = graph.apply(passes.shard(k), passes.backward())
    step = cut.apply(passes.accumulate(), rest)
    variables = gx.compile(whole).init(seed=3)
    given = inputs(graph, 6)
    expected = gx.interpret(whole, variables, inputs=given, updates=True)
    found = gx.interpret(step, variables, inputs=given, updates=True)
    assert_close(found[0], expected[0])
    assert_close(found[1], expected[1])
    mine = {name: np.array(value) for name, value in variables.items()}
    assert_close(gx.compile(step)(mine, inputs=given), expected[0])
    assert_close(mine, expected[1])


@pytest.mark.parametrize("build", [mlp, convolutions, dropout])
def test_the_bits_are_those_of_shard(build: Any) -> None:
    cut = build().apply(passes.shard(3), passes.backward())
    step = cut.apply(passes.accumulate())
    variables, given = gx.compile(cut).init(seed=1), inputs(cut, 6)
    expected = gx.interpret(cut, variables, inputs=given)
    for name, value in gx.interpret(step, variables, inputs=given).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("build", [mlp, convolutions, dropout])
def test_with_checkpoint_behind_it_the_bits_stay(build: Any) -> None:
    cut = build().apply(passes.shard(3), passes.backward())
    both = cut.apply(passes.accumulate(), passes.checkpoint(3))
    assert both.apply(passes.accumulate()) == both.apply(passes.checkpoint(3)) == both
    variables, given = gx.compile(cut).init(seed=1), inputs(cut, 6)
    expected = gx.interpret(cut, variables, inputs=given)
    for name, value in gx.interpret(both, variables, inputs=given).items():
        np.testing.assert_array_equal(value, expected[name])
    mine = {name: np.array(value) for name, value in variables.items()}
    assert_close(gx.compile(both)(mine, inputs=given), expected)


@pytest.mark.parametrize("build", [mlp, convolutions, dropout])
def test_behind_checkpoint_it_says_to_go_in_front(build: Any) -> None:
    order = (passes.shard(3), passes.backward(), passes.checkpoint(3), passes.accumulate())
    with pytest.raises(gx.GraphError, match="put accumulate in front of it"):
        build().apply(*order)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_a_piece_has_its_own_numbers_of_the_stream(k: int) -> None:
    """Element i of the whole batch is number i of the stream, whichever piece it is in."""
    x, w = gx.input("x", ("N", 5)), gx.parameter("w", (5,))
    dropped = gx.dropout(x * w, retain=0.6, scaling="test")
    graph = gx.Graph({"loss": gx.sum(dropped), "dropped": dropped})
    step = graph.apply(passes.shard(k), *MICRO)
    seed, count, n = 11, 3, 3 * k
    variables = {
        "w": np.ones(5, np.float32),
        "random/seed": np.array(seed, np.uint64), "step": np.array(count, np.int64),
    }  # fmt: skip
    (stream,) = graph.stream_names.values()
    number = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    bits = np.random.Philox(key=np.array([seed, number], np.uint64), counter=[0, 0, count, 0])
    drawn = np.random.Generator(bits).random(n * 5, dtype=np.float32).reshape(n, 5)
    kept = drawn < np.float32(0.6)
    for run in (gx.interpret, lambda g, v, x: gx.compile(g)(v, x=x)):
        found = run(step, variables, x=np.ones((n, 5), np.float32))
        np.testing.assert_array_equal(found["dropped"] != 0, kept)
        np.testing.assert_allclose(found["grad/w"], kept.sum(0))


def test_the_planned_peak_falls() -> None:
    layers: list[Any] = []
    for _ in range(6):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    image, label = gx.input("image", ("N", 4, 8, 8)), gx.input("label", ("N",), dtype="int64")
    graph = gx.Graph({"loss": gx.cross_entropy(net(image), label)})
    whole = graph.apply(passes.backward())
    peaks = []
    for step in (whole, graph.apply(passes.shard(8), *MICRO)):
        program = gx.compile(step)
        given = {"image": np.ones((64, 4, 8, 8), np.float32), "label": np.zeros(64, np.int64)}
        program(program.init(), inputs=given)
        peaks.append(program.plan.peak_bytes)
    assert peaks[1] < 0.4 * peaks[0]


def test_printed_before_and_after() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    before = gx.Graph({"loss": gx.sum(x * w)}).apply(passes.shard(3), passes.backward())
    kept, rest = before.text().split("  %slice_1: ", 1)
    assert rest.endswith(
        "  %grad_sum: f32[3] = grad_sum(%sum_3, %sum_4, %sum_5)\n"
        "  return loss=%add_1, grad/w=%grad_sum\n"
        "}"
    )
    after = before.apply(passes.accumulate())
    assert after.text() == EXPECTED
    assert after.text().startswith(kept)
    assert gx.parse(str(after)) == after
    assert after.apply(passes.accumulate()) == after


def test_decay_keeps_its_mark() -> None:
    step = mlp().apply(passes.weight_decay(0.1), passes.shard(2), *MICRO)
    gradient = step.outputs["grad/0.weight"]
    assert gradient.op.attributes()["decay"] == 1
    assert [term.op.name for term in gradient.inputs] == ["grad_sum", "mul"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp().apply(*MICRO), r"cut, and this graph is whole: passes.shard\(k\)"),
        (
            lambda: mlp().apply(passes.shard(2), passes.accumulate()),
            "no outputs grad/…: put it after passes.backward",
        ),
        (
            lambda: normalized().apply(passes.shard(2), *MICRO),
            r"need several pieces of the batch at once[^|]*nn.GroupNorm",
        ),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        make()
