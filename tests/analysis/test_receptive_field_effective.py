"""Effective receptive fields: counted paths against n-fold box convolution, gradients against
finite differences and closed forms."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn


def stack(layers: int, kernel: int, side: int) -> gx.Node:
    node = gx.input("x", (1, 1, side, side))
    pad = kernel // 2
    for number in range(layers):
        w = gx.parameter(f"w{number}", (1, 1, kernel, kernel))
        node = gx.conv2d(node, w, padding=pad)
    return node


def box(layers: int, kernel: int) -> list[int]:
    """The n-fold convolution of a box, in Python's integers."""
    row = [1]
    for _ in range(layers):
        row = [
            sum(row[i - t] for t in range(kernel) if 0 <= i - t < len(row))
            for i in range(len(row) + kernel - 1)
        ]
    return row


@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (5, 3), (10, 3), (4, 5), (40, 3)])
def test_ones_are_the_box_convolution(layers: int, kernel: int) -> None:
    reach = layers * (kernel // 2)
    side = 2 * reach + 5
    found = gx.effective_receptive_field(stack(layers, kernel, side), "ones")
    row = [0, 0, *box(layers, kernel), 0, 0]
    assert found.values.tolist() == [[a * b for b in row] for a in row]
    assert found.variance == (Fraction(layers * (kernel**2 - 1), 12),) * 2
    if kernel == 3:
        assert max(row) == sum(
            comb(layers, k) * comb(layers - k, k) for k in range(layers // 2 + 1)
        )
    # Nothing counts outside what the unit sees, and all of that does.
    middle = side // 2
    np.testing.assert_array_equal(found.values > 0, found.field.mask(middle, middle))


def test_paths_of_branches_add_up() -> None:
    x = gx.input("x", (1, 2, 9, 9))
    w = [gx.parameter(n, (2, 2, 3, 3)) for n in "ab"]
    h = gx.relu(gx.conv2d(x, w[0], padding=1, stride=2)) + gx.max_pool2d(x, 1, 2)
    node = gx.conv2d(gx.upsample(h), w[1], dilation=2)
    found = gx.effective_receptive_field(node, "ones", unit=(1, 2))
    np.testing.assert_array_equal(found.values > 0, found.field.mask(1, 2))
    # One weight of each kind, and a linear network: the gradient counts the same.
    plain = gx.conv2d(
        gx.upsample(gx.conv2d(x, w[0], padding=1, stride=2) + gx.max_pool2d(x, 1, 2)),
        w[1], dilation=2,
    )  # fmt: skip
    ones = {n: np.ones((2, 2, 3, 3), np.float32) for n in "ab"}
    by_gradient = gx.effective_receptive_field(plain, ones, unit=(1, 2), runs=1)
    np.testing.assert_array_equal(by_gradient.values, found.values)


def test_gradients_against_finite_differences() -> None:
    x = gx.input("x", ("N", 1, 6, 7), "float64")
    w = gx.parameter("w", (2, 1, 3, 3), dtype="float64", init="kaiming_uniform")
    node = gx.tanh(gx.conv2d(x, w, padding=1))
    held = {"w": np.random.default_rng(1).standard_normal((2, 1, 3, 3))}
    images = np.random.default_rng(2).standard_normal((3, 1, 6, 7))
    found = gx.effective_receptive_field(node, held, images, unit=(0, 3), transform="none")
    graph, total, step = gx.Graph({"y": node}), np.zeros((6, 7)), 1e-6
    for image in images:
        for at in np.ndindex(6, 7):
            moved = np.stack([image, image])
            moved[0, 0][at] -= step
            moved[1, 0][at] += step
            below, above = gx.interpret(graph, held, x=moved)["y"][:, :, 0, 3].sum(1)
            total[at] += abs(above - below) / (2 * step)
    np.testing.assert_allclose(found.values, total / 3, atol=1e-8)
    assert (found.runs, found.weights) == (3, "given")
    positive = gx.effective_receptive_field(node, held, images, unit=(0, 3), part="positive")
    assert (positive.values <= found.values + 1e-12).all()


def test_random_weights_normalizations_and_dropout() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(retain=0.5),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
    )  # fmt: skip
    node = layers(gx.input("x", ("N", 3, "H", "W")))
    found = gx.effective_receptive_field(node, size={"H": 12, "W": 10}, runs=4, seed=3)
    y, x = found.unit
    assert found.values.shape == (12, 10)
    assert not found.values[~found.field.mask(y, x)].any()
    again = gx.effective_receptive_field(node, size={"H": 12, "W": 10}, runs=4, seed=3)
    np.testing.assert_array_equal(found.values, again.values)
    assert found.shown.max() == 1
    assert [area.share for area in found.areas] == [0.2, 0.3, 0.5, 0.99]
    assert [a.side for a in found.areas] == sorted(a.side for a in found.areas)


def test_areas_by_hand() -> None:
    # 3-fold box of 3: 1 3 6 7 6 3 1, of 27 a side; the middle pixel holds 49 of 729.
    found = gx.effective_receptive_field(stack(3, 3, 7), "ones", transform="none")
    sides = {area.share: area.side for area in found.areas}
    assert sides == {0.2: 3, 0.3: 3, 0.5: 5, 0.99: 7}  # 361, 361, 625 and 729 of 729
    assert found.areas[0].ratio == 9 / 49


def test_mistakes() -> None:
    node = stack(1, 3, 5)
    with pytest.raises(gx.GraphError, match="not one of 'none', 'sqrt'"):
        gx.effective_receptive_field(node, transform="log")
    with pytest.raises(gx.GraphError, match=r"images of shape \(2, 5\)"):
        gx.effective_receptive_field(node, images=np.ones((2, 5)))
    with pytest.raises(gx.GraphError, match="no row 9"):
        gx.effective_receptive_field(node, unit=(9, 0))
    with pytest.raises(gx.GraphError, match="taken to an input"):
        gx.effective_receptive_field(gx.relu(gx.relu(node)), wrt=gx.relu(node))
    with pytest.raises(gx.GraphError, match="runs=0"):
        gx.effective_receptive_field(node, runs=0)


def test_a_net_of_the_zoo() -> None:
    graph = models.build("lenet-5")
    last = [n for n in graph.nodes if n.op.name == "max_pool2d"][-1]
    found = gx.effective_receptive_field(last, runs=2)
    y, x = found.unit
    assert not found.values[~found.field.mask(y, x)].any()
