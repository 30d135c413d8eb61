"""Costs against counting by hand and against published totals."""

from __future__ import annotations

import itertools

import pytest

import graphc as gx
from graphc import models, nn


def test_a_convolution_counted_position_by_position() -> None:
    x = gx.input("x", ("N", 4, 7, 6))
    w, b = gx.parameter("w", (6, 2, 3, 2)), gx.parameter("b", (6,), role="bias")
    y = gx.conv2d(x, w, b, stride=2, padding=1, groups=2)
    n, filters, height, width = 3, 6, 4, 4
    assert y.shape[1:] == (filters, height, width)
    flops = 0
    for _ in itertools.product(range(n), range(filters), range(height), range(width)):
        for _ in itertools.product(range(2), range(3), range(2)):
            flops += 2  # multiply, add
        flops += 1  # the bias
    found = gx.cost(gx.Graph({"y": y}), N=n)
    assert found[y].flops == found.flops == flops
    elements = n * 4 * 7 * 6 + 6 * 2 * 3 * 2 + 6 + n * filters * height * width
    assert found[y].bytes == found.bytes == 4 * elements
    assert found[y].parameters == found.parameters == 78


def test_a_net_node_by_node() -> None:
    x = gx.input("x", ("N", 10))
    first, second = nn.Linear(10, 8), nn.Linear(8, 3, bias=False)
    h = gx.relu(first(x))
    graph = gx.Graph({"y": second(h)})
    found = gx.cost(graph, N=5)
    flops = {
        "linear": 5 * 8 * (2 * 10 + 1),
        "relu": 5 * 8,
        "linear_1": 5 * 3 * 2 * 8,
    }
    by_op = [(each.node.op.name, each.flops) for each in found]
    assert by_op == [("linear", flops["linear"]), ("relu", 40), ("linear", flops["linear_1"])]
    assert found.flops == sum(flops.values())
    assert [each.parameters for each in found] == [88, 0, 24]
    assert found.parameters == graph.parameter_count() == 112
    assert found[h] is found[graph.name(h)]


def test_a_shared_parameter_counts_once() -> None:
    x = gx.input("x", ("N", 6))
    layer = nn.Linear(6, 6)
    graph = gx.Graph({"y": layer(layer(x))})
    found = gx.cost(graph)
    assert [each.parameters for each in found] == [42, 0]
    assert found.parameters == graph.parameter_count()


@pytest.mark.parametrize(
    ("name", "multiply_adds"), [("vgg-19", 19.6e9), ("resnet-34", 3.6e9), ("plain-34", 3.6e9)]
)
def test_published_totals(name: str, multiply_adds: float) -> None:
    """He et al. 2016, figure 3: 19.6 and 3.6 billion multiply-adds at 224×224."""
    graph = models.build(name)
    found = gx.cost(graph)
    assert found.flops / 2 == pytest.approx(multiply_adds, rel=0.025)
    products = sum(e.flops for e in found if e.node.op.name in ("conv2d", "linear"))
    assert products / found.flops > 0.99
    assert found.parameters == graph.parameter_count()
    assert gx.cost(graph, N=2).flops == pytest.approx(2 * found.flops, rel=1e-3)


def test_the_table() -> None:
    graph = models.build("lenet-5")
    lines = str(gx.cost(graph, N=1000)).splitlines()
    assert lines[0].split() == ["node", "type", "flops", "bytes", "parameters"]
    assert lines[-1].split()[:3] == ["total", "at", "N=1000"]
    assert lines[-1].split()[-1] == "61,706"
    assert len(lines) == 2 + len(gx.cost(graph))


def test_sizes_are_asked_for() -> None:
    x = gx.input("x", ("B", 3))
    graph = gx.Graph({"y": gx.relu(x)})
    assert gx.cost(graph, B=4).flops == 12
    with pytest.raises(gx.GraphError, match=r"dimension B, whose size is not given"):
        gx.cost(graph)
    with pytest.raises(gx.GraphError, match=r"no dimension 'M'; it has B"):
        gx.cost(graph, B=1, M=2)
    with pytest.raises(gx.GraphError, match=r"B=0 is not a size"):
        gx.cost(graph, B=0)
