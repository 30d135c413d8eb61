"""Row 5 of the lecture: a map follows shifts of its image, checked by shifting."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn
from tests.analysis.test_receptive_field import net


def follows(node: gx.Node, x: gx.Node, axis: int) -> bool:
    """Shift the image by the period along rows (0) or columns (1): does the map follow, within
    the margin?"""
    found = gx.equivariance(node, x)
    assert found.period is not None
    assert found.shift is not None
    pixels, units, margin = found.period[axis], found.shift[axis], found.margin[axis]
    images = np.random.default_rng(0).uniform(1, 2, tuple(int(s) for s in x.shape[1:]))
    shifted = np.roll(images, pixels, axis + 1)
    batch = np.stack([images, shifted])
    before, after = gx.interpret(gx.Graph({"y": node}), {}, x=batch)["y"]
    # Units that see padding do not follow, nor those that see what was rolled around.
    length = before.shape[axis + 1]
    kept = np.arange(margin, length - margin - units)
    if not kept.size:
        return False
    across = np.arange(before.shape[2 - axis])
    across = across[found.margin[1 - axis] : len(across) - found.margin[1 - axis]]
    old = before.take(kept, axis + 1).take(across, 2 - axis)
    new = after.take(kept + units, axis + 1).take(across, 2 - axis)
    np.testing.assert_allclose(new, old, rtol=1e-12)
    return bool(old.size)


def test_random_nets_follow() -> None:
    checked = 0
    for seed in range(60):
        rng = random.Random(seed)
        x = gx.input("x", ("N", rng.randint(1, 2), 24, 26), "float64")
        node = net(rng, x)
        if gx.equivariance(node, x).period is not None:
            checked += follows(node, x, 0) + follows(node, x, 1)
    assert checked > 50


def conv(x: gx.Node, kernel: int, **settings: Any) -> gx.Node:
    return gx.conv2d(x, gx.parameter("w", (1, 1, kernel, kernel)), **settings)


def test_period_margin_and_what_breaks() -> None:
    x = gx.input("x", ("N", 1, 32, 32))
    plain = gx.equivariance(conv(x, 5))
    assert (plain.period, plain.shift, plain.margin, plain.broken_by) == (
        (1, 1), (1, 1), (0, 0), (),
    )  # fmt: skip
    padded = gx.equivariance(conv(x, 5, padding=(2, 1)))
    assert (padded.period, padded.margin) == ((1, 1), (2, 1))
    assert [each.what for each in padded.broken_by] == ["padding"]
    strided = gx.equivariance(gx.max_pool2d(conv(x, 3, padding=1, stride=(2, 3)), 2))
    assert (strided.period, strided.margin) == ((4, 6), (1, 1))
    assert [(e.what, e.node.op.name) for e in strided.broken_by] == [
        ("padding", "conv2d"), ("stride", "conv2d"), ("stride", "max_pool2d"),
    ]  # fmt: skip
    assert all(each.line.startswith("test_equivariance.py:") for each in strided.broken_by)
    assert "stride: max_pool2d" in repr(strided)


@pytest.mark.parametrize(
    ("end", "what", "op"),
    [
        (gx.flatten, "flatten", "reshape"),
        (lambda x: gx.mean(x, (2, 3)), "whole map", "mean"),
        (lambda x: gx.mean(x, (2, 3), keepdims=True), "whole map", "mean"),
        (lambda x: gx.flip(x, 3), "reversed", "flip"),
        (lambda x: gx.transpose(x, (0, 1, 3, 2)), "turned", "transpose"),
        (lambda x: conv(x, 1, stride=2) + conv(x, 3)[:, :, :4, :4], "branches", "add"),
        (lambda x: gx.linear(x, gx.parameter("w", (8, 8))), "fully connected", "linear"),
    ],
    ids=["flatten", "mean", "keepdims", "flip", "transpose", "branches", "linear"],
)
def test_what_leaves_no_period(end: Any, what: str, op: str) -> None:
    x = gx.input("x", ("N", 1, 8, 8))
    found = gx.equivariance(end(gx.relu(x)))
    assert (found.period, found.shift, found.margin) == (None, None, None)
    assert (what, op) in [(each.what, each.node.op.name) for each in found.broken_by]


def test_nets_of_the_zoo() -> None:
    graph = models.build("lenet-5")
    pools = [n for n in graph.nodes if n.op.name == "max_pool2d"]
    assert gx.equivariance(pools[-1]).period == (4, 4)
    whole = gx.equivariance(graph.outputs["logits"])
    assert whole.period is None
    assert whole.broken_by[-1].what == "flatten"
    assert whole.broken_by[-1].line.startswith("lenet.py:")
    up_again = models.build("unet-small").outputs["logits"]
    found = gx.equivariance(up_again, size={"N": 1})
    assert (found.period, found.shift) == ((4, 4), (4, 4))


def test_symbolic_sizes() -> None:
    x = gx.input("x", ("N", 1, "H", "W"))
    layer = nn.Conv2d(1, 1, 3, padding=1, stride=2)
    found = gx.equivariance(layer(x))
    assert found.period == (2, 2)
    with pytest.raises(gx.GraphError, match="size H"):
        _ = found.margin
    assert gx.equivariance(layer(x), size={"H": 9, "W": 8}).margin == (1, 1)
