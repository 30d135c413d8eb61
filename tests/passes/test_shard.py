"""``shard``: the batch in pieces, and nothing else changes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from tests.random_graphs import sample

Arrays = dict[str, np.ndarray[Any, Any]]


def wide(graph: gx.Graph) -> gx.Graph:
    """The graph in float64."""
    text = re.sub(r"( = size\(\) of=\S+)", r'\1 dtype="float64"', graph.text())
    return gx.parse(text.replace("f32", "f64"))


def classifier(net: nn.Module, *shape: int) -> gx.Graph:
    image, label = gx.input("image", ("N", *shape)), gx.input("label", ("N",), dtype="int64")
    logits = net(image)
    return wide(gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)}))


def mlp() -> gx.Graph:
    return classifier(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)), 6)


def convolutions() -> gx.Graph:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.LocalResponseNorm(3),
        nn.Residual(nn.Conv2d(4, 4, 3, padding=1)), nn.Flatten(), nn.Linear(36, 5),
    )  # fmt: skip
    return classifier(net, 2, 6, 6)


def dropout() -> gx.Graph:
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Dropout(retain=0.7), nn.ReLU(), nn.Flatten(),
        nn.Linear(48, 7), nn.Dropout(retain=0.5), nn.Linear(7, 5),
    )  # fmt: skip
    return classifier(net, 2, 6, 6)


def normalized() -> gx.Graph:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4),
        nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    return classifier(net, 2, 6, 6)


def inputs(graph: gx.Graph, n: int) -> Arrays:
    rng = np.random.default_rng(n)
    found: Arrays = {}
    for name, node in graph.inputs.items():
        shape = node.type.concrete({"N": n})
        ints = node.dtype.kind == "i"
        found[name] = rng.integers(0, 4, shape) if ints else rng.normal(size=shape)
    return found


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        limit = 1e-12 * max(1.0, float(np.max(np.abs(value.astype(float)))))
        error = np.max(np.abs(found[name].astype(float) - value.astype(float)))
        assert error <= limit, (name, error)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("build", [mlp, convolutions, dropout, normalized])
def test_values_gradients_and_updates_are_those_of_the_whole(build: Any, k: int) -> None:
    graph = build()
    whole = graph.apply(passes.backward())
    cut = graph.apply(passes.shard(k), passes.backward())
    variables = gx.compile(whole).init(seed=3)
    for name, leaf in whole.parameters.items():
        # Each parameter is read k times, and its gradients meet in one grad_sum.
        assert len(graph.apply(passes.shard(k)).users(leaf)) == k
        assert cut.outputs[f"grad/{name}"].op.name == "grad_sum"
        assert len(cut.outputs[f"grad/{name}"].inputs) == k
    given = inputs(graph, 6)
    expected = gx.interpret(whole, variables, inputs=given, updates=True)
    found = gx.interpret(cut, variables, inputs=given, updates=True)
    assert_close(found[0], expected[0])
    assert_close(found[1], expected[1])
    # The compiled step is the same, at another size too.
    given = inputs(graph, 2 * k)
    outputs = gx.compile(cut)({n: np.array(v) for n, v in variables.items()}, inputs=given)
    assert_close(outputs, gx.interpret(whole, variables, inputs=given))


def test_the_mask_has_the_same_bits() -> None:
    x = gx.input("x", ("N", 7))  # 7 is no multiple of the eight numbers of a block
    graph = gx.Graph({"y": gx.dropout(gx.tanh(x), retain=0.6)})
    cut = graph.apply(passes.shard(3))
    variables = {"random/seed": np.array(9, np.uint64), "step": np.array(4, np.int64)}
    given = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    expected, found = (gx.interpret(g, variables, x=given)["y"] for g in (graph, cut))
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.count_nonzero(found) < found.size
    assert [*cut.stream_names.values()] == [*graph.stream_names.values()]


@pytest.mark.parametrize(("n", "k"), [(7, 2), (1, 2), (5, 4), (2, 3)])
def test_a_batch_that_k_does_not_divide_is_refused_before_anything_runs(n: int, k: int) -> None:
    graph = mlp().apply(passes.shard(k), passes.backward())
    program = gx.compile(graph)
    variables = program.init()
    for run in (gx.interpret, lambda graph, *rest, **given: program(*rest, **given)):
        with pytest.raises(gx.ShapeError, match=rf"does not hold with N={n} by axis 0 of 'image'"):
            run(graph, variables, inputs=inputs(graph, n))
    assert program(variables, inputs=inputs(graph, 2 * k))


def test_printed_before_and_after() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3))
    before = gx.Graph({"loss": gx.mean(gx.linear(x, w))})
    assert before.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        '  %w = parameter f32[2,3] role="weight" init="zeros"\n'
        "  %linear: f32[N,2] = linear(%x, %w)\n"
        "  %mean: f32[] = mean(%linear) axes=[0,1]\n"
        "  return loss=%mean\n"
        "}"
    )
    after = before.apply(passes.shard(2))
    assert after.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        "  %reshape: f32[2*(N//2),3] = reshape(%x) shape=[2*(N//2),3]\n"
        "  %slice: f32[N//2,3] = slice(%reshape) starts=[0,0] sizes=[N//2,3]\n"
        '  %w = parameter f32[2,3] role="weight" init="zeros"\n'
        "  %linear: f32[N//2,2] = linear(%slice, %w)\n"
        "  %mean: f32[] = mean(%linear) axes=[0,1]\n"
        "  %slice_1: f32[N//2,3] = slice(%reshape) starts=[N//2,0] sizes=[N//2,3]\n"
        "  %linear_1: f32[N//2,2] = linear(%slice_1, %w)\n"
        "  %mean_1: f32[] = mean(%linear_1) axes=[0,1]\n"
        "  %add: f32[] = add(%mean, %mean_1)\n"
        "  %constant: f32[] = constant() value=2.0\n"
        "  %div: f32[] = div(%add, %constant)\n"
        "  return loss=%div\n"
        "}"
    )
    assert gx.parse(str(after)) == after
    assert after.apply(passes.shard(2)) == after
    assert before.apply(passes.shard(1)) == before


def test_decay_and_momentum_go_with_it() -> None:
    graph = mlp()
    rest = (passes.weight_decay(0.1), passes.backward(), passes.sgd(lr=0.1, momentum=0.9))
    whole, cut = graph.apply(*rest), graph.apply(passes.shard(2), *rest)
    before = graph.apply(rest[0], passes.shard(2), *rest[1:])
    variables = gx.compile(whole).init(seed=1)
    given = inputs(graph, 4)
    expected = gx.interpret(whole, variables, inputs=given, updates=True)
    for other in (cut, before):
        found = gx.interpret(other, variables, inputs=given, updates=True)
        assert_close(found[0], expected[0])
        assert_close(found[1], expected[1])


def test_what_mixes_examples_reads_the_joined_pieces() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (4, 3))
    h = gx.linear(x, w)
    similar = h @ gx.transpose(h, (1, 0))
    graph = gx.Graph({"loss": gx.sum(gx.softmax(similar, axis=1) * similar), "most": gx.max(h, 0)})
    cut = graph.apply(passes.shard(2))
    assert [user.op.name for user in cut.users(cut.parameters["w"])] == ["linear", "linear"]
    both = wide(graph), wide(cut)
    variables = {"w": np.random.default_rng(0).normal(size=(4, 3))}
    given = inputs(both[0], 4)
    expected, found = (
        gx.interpret(g.apply(passes.backward()), variables, inputs=given) for g in both
    )
    assert_close(found, expected)


def test_on_random_graphs() -> None:
    counted = 0
    for seed in range(36):
        drawn = sample(seed)
        run = 0 if drawn.runs[0]["N"] > 1 else 1
        n = drawn.runs[run]["N"]
        k = next(d for d in range(2, n + 1) if n % d == 0)
        cut = drawn.graph.apply(passes.shard(k))
        assert gx.parse(str(cut)) == cut
        assert cut.apply(passes.shard(k)) == cut
        try:
            graphs = [g.apply(passes.backward()) for g in (drawn.graph, cut)]
        except gx.GraphError:  # a loss that depends on no parameter
            graphs = [drawn.graph, cut]
        variables, given = drawn.variables(graphs[0]), drawn.inputs(run, graphs[0])
        expected, found = (gx.interpret(g, variables, inputs=given, updates=True) for g in graphs)
        assert_close(found[0], expected[0])
        assert_close(found[1], expected[1])
        counted += "grad_sum" in str(graphs[1])
    assert counted >= 18


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp().apply(passes.shard(0)), r"shard\(k=0\): how many pieces"),
        (lambda: mlp().apply(passes.backward(), passes.shard(2)), "shard comes before backward"),
        (lambda: mlp().apply(passes.shard(2), passes.shard(4)), "cut into 2 pieces already"),
        (lambda: mlp().apply(passes.shard(2, batch="M")), "named sizes are N"),
        (
            lambda: gx.Graph({"y": gx.relu(gx.input("x", (4, 2)))}).apply(passes.shard(2)),
            "cuts a symbolic batch axis, and no input has one",
        ),
        (
            lambda: gx.Graph(
                {"y": gx.sum(gx.input("a", ("N", 2))) + gx.sum(gx.input("b", ("M",)))}
            ).apply(passes.shard(2)),
            "led by the sizes M, N: say which is the batch",
        ),
        (
            lambda: gx.Graph({"y": gx.softmax(gx.input("x", ("N", 2)), 0)}).apply(passes.shard(2)),
            "found nothing that works example by example along N",
        ),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        make()
