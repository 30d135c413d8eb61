"""Paddings that align: the repaired graph is aligned, keeps its shapes and weights, and runs."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.analysis.alignment import Certificate


def conv(x: gx.Node, kernel: int, name: str, stride: int = 1, padding: Any = 0) -> gx.Node:
    w = gx.parameter(name, (1, 1, kernel, kernel), init="kaiming_uniform")
    return gx.conv2d(x, w, stride=stride, padding=padding)


def image(*size: Any) -> gx.Node:
    return gx.input("image", (1, 1, *size))


def same_branches(x: gx.Node) -> gx.Node:
    return conv(x, 1, "a", 4) + conv(conv(x, 3, "b", 2, "same"), 1, "c", 2)


def deep(x: gx.Node) -> gx.Node:
    """A block at stride 2 whose branches are a pixel of its map apart."""
    x = conv(x, 3, "stem", 2, 1)
    return conv(x, 3, "d", 1, ((2, 0), (1, 1))) + conv(conv(x, 3, "e", 1, 1), 1, "f")


def shared(x: gx.Node) -> gx.Node:
    """The branch that is off is read by another one, which is not."""
    off = conv(x, 3, "g", 1, ((2, 0), (2, 0)))
    return gx.concat([conv(x, 1, "h") + off, conv(off, 1, "i")], 1)


@pytest.mark.parametrize("build", [same_branches, deep], ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [(8, 8), (12, 16)], ids=str)
def test_the_repaired_graph_is_aligned(build: Any, size: tuple[int, int]) -> None:
    x = image(*size)
    graph = gx.Graph({"y": build(x)})
    assert gx.receptive_field(graph.outputs["y"]).aligned is False
    repaired = gx.repair(graph)
    proof = gx.receptive_field(repaired.outputs["y"]).alignment
    assert isinstance(proof, Certificate)
    assert proof.holds()
    assert repaired.outputs["y"].shape == graph.outputs["y"].shape
    assert repaired.parameters == graph.parameters  # the same leaves
    assert gx.parse(str(repaired)) == repaired
    program = gx.compile(repaired, backend="numpy")
    held = program.init(seed=0)
    values = np.random.default_rng(0).standard_normal((1, 1, *size)).astype("float32")
    judged = gx.interpret(repaired, held, image=values)["y"]
    np.testing.assert_allclose(program(held, image=values)["y"], judged, rtol=1e-5, atol=1e-6)
    assert gx.repair(repaired) == repaired


def test_of_every_size() -> None:
    """A padding that is an expression of the size repairs all of them at once."""
    y = same_branches(image("H", "W"))
    field = gx.receptive_field(y)
    assert field.aligned is None
    repaired = gx.repair(y)
    assert gx.receptive_field(repaired).aligned is True
    for side in range(2, 14):
        there = gx.receptive_field(repaired, size={"H": side, "W": side + 1})
        assert there.aligned
        assert (there.size, there.stride) == ((3, 3), (4, 4))
    values = np.arange(64, dtype="float32").reshape(1, 1, 8, 8)
    graph = gx.Graph({"y": repaired})
    held = gx.compile(graph, backend="numpy").init(seed=0)
    assert gx.interpret(graph, held, image=values)["y"].shape == (1, 1, 2, 2)


def test_who_else_reads_the_branch_keeps_it() -> None:
    x = image(6, 6)
    node = shared(x)
    added = node.inputs[0]
    off = next(n for n in added.inputs if n.inputs[1].op.label() == "g")
    repaired = gx.repair(added)
    assert gx.receptive_field(repaired).aligned
    graph = gx.Graph({"sum": added, "other": gx.relu(off)})
    both = gx.repair(graph)
    assert gx.receptive_field(both.outputs["sum"]).aligned
    # "other" was aligned by itself.
    assert both.outputs["other"] is graph.outputs["other"]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda x: conv(x, 1, "a", 2)[:, :, :4, :4] + conv(x, 1, "b")[:, :, :4, :4], "strides"),
        (lambda x: conv(x, 2, "a") + conv(x, 1, "b")[:, :, 1:, 1:], "half a pixel"),
        (lambda x: x + gx.transpose(x, (0, 1, 3, 2)), "turns rows into columns"),
        (lambda x: x * gx.mean(x, (2, 3), keepdims=True), "sees everything"),
        (lambda x: gx.upsample(conv(x, 1, "a", 2)) + x, "phase"),
    ],
    ids=["strides", "half", "turned", "everything", "phases"],
)
def test_what_no_padding_repairs(build: Any, reason: str) -> None:
    node = build(image(8, 8))
    found = gx.receptive_field(node).alignment
    assert found.repair is None
    assert reason in found.reason
    with pytest.raises(gx.GraphError, match=reason):
        gx.repair(node)


def test_mistakes_are_named() -> None:
    with pytest.raises(gx.GraphError, match="repair takes a node"):
        gx.repair("x")
    with pytest.raises(gx.GraphError, match="give the node"):
        gx.repair(gx.relu(image(4, 4)), "image")


# -- of every size, on random nets ----------------------------------------------------------------


def layer(rng: random.Random, x: gx.Node, number: int) -> gx.Node:
    kernel, stride = rng.randint(1, 4), rng.randint(1, 3)
    padding = rng.choice(["same", "same", rng.randint(0, kernel - 1)])
    if rng.random() < 0.3:
        pool = rng.choice([gx.max_pool2d, gx.avg_pool2d])
        return pool(x, kernel, stride, padding)
    w = gx.parameter(f"w{number}", (1, 1, kernel, kernel))
    return gx.conv2d(x, w, stride=stride, padding=padding, dilation=rng.choice([1, 1, 2]))


def random_net(seed: int, x: gx.Node) -> gx.Node:
    """Branches that are added wherever their sizes may agree."""
    rng = random.Random(seed)
    maps = [x]
    for number in range(rng.randint(2, 6)):
        one = rng.choice(maps[-2:])
        try:
            if len(maps) > 2 and rng.random() < 0.4:
                maps.append(one + rng.choice(maps[1:-1]))
            else:
                maps.append(layer(rng, one, number))
        except gx.GraphError:
            continue
    return maps[-1]


def holds(when: Any, side: int) -> bool | None:
    return None if not when.decided else side % when.period in when.residues


@pytest.mark.parametrize("part", range(4))
def test_symbolic_fields_are_those_of_each_size(part: int) -> None:
    compared = 0
    for seed in range(60 * part, 60 * part + 60):
        x = image("H", "H")
        node = random_net(seed, x)
        every = gx.receptive_field(node, x)
        guards = {guard for each in gx.Graph({"y": gx.relu(node)}).nodes for guard in each.guards}
        for side in range(3, 27, 2 if seed % 2 else 1):
            sizes = {"H": side}
            if not all(guard.holds(sizes) for guard in guards):
                continue
            if min(n.evaluate(sizes) if isinstance(n, gx.Dim) else n for n in node.shape) < 1:
                continue
            there = gx.receptive_field(node, x, sizes)
            compared += 1
            if every.aligned is not None:
                assert there.aligned == every.aligned, (seed, side)
            if every.aligned:
                assert there.size == every.size
                assert there.stride == every.stride
                values = [p.evaluate(sizes) if isinstance(p, gx.Dim) else p for p in every.padding]
                assert there.padding == tuple(values), (seed, side)
            if every.aligned is None:
                told = [holds(d.when, side) for a in every._seen.unsure for d in a.differences]
                if None not in told:
                    assert there.aligned == all(told), (seed, side)
    assert compared > 100
