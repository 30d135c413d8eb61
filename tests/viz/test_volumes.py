"""Volumes: every map of the way once, to scale; the ops, the joins and the cone are the graph's."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import graphc as gx
from graphc import models, nn, passes, viz
from graphc.viz.canvas import SVG
from tests.viz.reading_figures import check_figure, smallest_at_1600


def boxes(figure: viz.Figure) -> list[ET.Element]:
    root = ET.fromstring(figure.svg.encode())
    return [g for g in root.iter(f"{{{SVG}}}g") if "data-channels" in g.attrib]


def corners(polygon: ET.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, p.split(","))) for p in polygon.get("points", "").split()]  # type: ignore[misc]


def test_lenets_volumes() -> None:
    figure = viz.volumes(models.build("lenet-5"))
    check_figure(figure)
    assert smallest_at_1600(figure) >= 9
    assert [box["size"] for box in figure.model["boxes"]] == [
        [28, 28, 1], [28, 28, 6], [14, 14, 6], [10, 10, 16], [5, 5, 16],
        [1, 1, 400], [1, 1, 120], [1, 1, 84], [1, 1, 10],
    ]  # fmt: skip
    assert figure.model["boxes"][1]["words"] == ["conv 5×5", "pad 2", "ReLU"]
    assert figure.model["boxes"][5]["words"] == ["flatten"]


@pytest.mark.parametrize("kind", ["linear", "sqrt", "log"])
def test_boxes_are_to_the_scale_that_is_said(kind: Any) -> None:
    figure = viz.volumes(models.build("lenet-5"), scale=kind)
    law = {"linear": float, "sqrt": math.sqrt, "log": lambda n: math.log2(1 + n)}[kind]
    values = figure.caption.values
    assert values["plane"] == values["depth"] == kind
    for drawn in boxes(figure):
        height, width, channels = (int(drawn.get(f"data-{n}", "")) for n in
                                   ("height", "width", "channels"))  # fmt: skip
        front = drawn.find(f"{{{SVG}}}rect")
        assert front is not None
        side = corners(drawn.findall(f"{{{SVG}}}polygon")[1])
        least = 1.5  # points
        assert float(front.get("height", "")) == pytest.approx(
            max(law(height) * values["a"], least), abs=0.01
        )
        assert float(front.get("width", "")) == pytest.approx(
            max(law(channels) * values["b"], least), abs=0.01
        )
        # The width goes back along the slant: 0.42 right and 0.3 up a point.
        assert side[1][0] - side[0][0] == pytest.approx(
            0.42 * max(law(width) * values["a"], least), abs=0.02
        )


# The deepest of a kind fold to the same boxes as their smaller sisters, and take seconds.
DEEP = {"resnet-200-v2", "resnet-101", "residual-110", "plain-110", "residual-56"}


@pytest.mark.parametrize("name", sorted(set(models.names()) - DEEP))
def test_every_network_of_the_zoo(name: str) -> None:
    graph = models.build(name)
    figure = viz.volumes(graph)
    check_figure(figure)
    model = figure.model
    assert sum(b["repeat"] for b in model["boxes"]) >= len(model["boxes"])
    # Each map is there: the runs, unfolded, are as many as the caption says.
    unfolded, number = 0, 0
    while number < len(model["boxes"]):
        box = model["boxes"][number]
        unfolded += box["run"] * box["repeat"]
        number += box["run"]
    assert unfolded == figure.caption.values["maps"]
    for box in model["boxes"]:
        shape = graph.node(box["node"]).type.concrete({"N": 1})[1:]
        assert math.prod(shape) == math.prod(box["size"])


def test_at_most_25_boxes_at_the_default_fold() -> None:
    for name in ("vgg-19", "resnet-34", "residual-110", "unet-small"):
        assert len(viz.volumes(models.build(name)).model["boxes"]) <= 25
    unfolded = viz.volumes(models.build("resnet-34"), fold=False)
    assert len(unfolded.model["boxes"]) == 37
    assert len(unfolded.model["joins"]) == 16
    check_figure(unfolded)


def test_a_residual_block() -> None:
    x = gx.input("image", ("N", 8, "H", "W"))
    block = nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
                                      nn.Conv2d(8, 8, 3, padding=1)))  # fmt: skip
    graph = gx.Graph({"y": block(x)})
    figure = viz.volumes(graph, size={"H": 9, "W": 12})
    check_figure(figure)
    assert smallest_at_1600(figure) >= 9
    assert figure.caption.values["sizes"] == ["H=9", "W=12"]
    assert [box["size"] for box in figure.model["boxes"]] == [[9, 12, 8]] * 3
    assert figure.model["joins"] == [{"from": 0, "to": 2, "words": "identity"}]
    with pytest.raises(gx.GraphError, match="the dimension H has no value"):
        viz.volumes(graph, size={"W": 4})


def test_the_cone_is_the_receptive_field() -> None:
    graph = models.build("lenet-5")
    for unit in ((0, 0), (4, 5), (9, 9)):
        figure = viz.volumes(graph, unit=("conv2d_1", *unit))
        check_figure(figure)
        node = graph.node("conv2d_1")
        for box in figure.model["boxes"][:3]:
            seen = gx.receptive_field(node, graph.node(box["node"])).box(*unit)
            assert tuple(box["field"]) == seen
        assert figure.model["boxes"][3]["field"] == [*unit, *unit]
        assert all(box["field"] is None for box in figure.model["boxes"][4:])
        values = figure.caption.values
        seen = gx.receptive_field(node, graph.inputs["image"]).box(*unit)
        assert (values["top"], values["left"], values["bottom"], values["right"]) == seen
        drawn = [
            e for e in ET.fromstring(figure.svg.encode()).iter() if "data-top" in e.attrib
        ]  # fmt: skip
        assert len(drawn) == 4
        # On the image: the drawn quadrilateral is the field's share of the side.
        side = corners(boxes(figure)[0].findall(f"{{{SVG}}}polygon")[1])
        top, left, bottom, _ = seen or (0, 0, 0, 0)
        tall = side[3][1] - side[0][1]
        quad = corners(drawn[0])
        slant = (quad[0][0] - side[0][0]) / (side[1][0] - side[0][0])
        assert slant == pytest.approx(left / 28, abs=0.01)
        rise = slant * (side[1][1] - side[0][1])
        assert quad[0][1] - side[0][1] - rise == pytest.approx(top / 28 * tall, abs=0.05)
        assert quad[3][1] - quad[0][1] == pytest.approx((bottom + 1 - top) / 28 * tall, abs=0.05)


def test_training_graphs_and_vectors() -> None:
    graph = models.build("mlp-1x512")
    train = graph.apply(passes.backward(), passes.sgd(lr=0.1))
    figure, plain = viz.volumes(train), viz.volumes(graph)
    assert [b["size"] for b in figure.model["boxes"]] == [b["size"] for b in plain.model["boxes"]]
    x = gx.input("x", ("N", 5))
    vector = viz.volumes(gx.Graph({"y": gx.linear(x, gx.parameter("w", (3, 5)))}))
    check_figure(vector)
    assert [box["size"] for box in vector.model["boxes"]] == [[1, 1, 5], [1, 1, 3]]


def test_any_name_is_text() -> None:
    x = gx.input("a--b", ("N", 1, 4, 4))
    figure = viz.volumes(gx.Graph({"y": gx.relu(x) * 2}), title="<b>&\"'\u202e" * 3)
    check_figure(figure)
    assert len(figure.model["boxes"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "cubic"}, "use 'linear', 'sqrt' or 'log'"),
        ({"unit": ("conv2d", 1)}, r"is \(node, y, x\)"),
        ({"unit": ("conv2", 1, 1)}, "no node is called 'conv2': did you mean"),
        ({"unit": ("conv2d", 28, 0)}, "there is no row 28"),
        ({"unit": ("conv1.weight", 0, 0)}, "not on the row of boxes"),
        ({"output": "logit"}, "no output is called 'logit'"),
        ({"output": "loss"}, "no map leads from image to loss"),
        ({"size": {"K": 3}}, "no dimension is called 'K'"),
        ({"wrt": gx.input("other", (1, 2))}, "is no node of this graph"),
    ],
)
def test_mistakes_are_told(options: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        viz.volumes(models.build("lenet-5"), **options)


def test_which_input_is_the_image() -> None:
    a, b = gx.input("a", ("N", 2, 4, 4)), gx.input("b", ("N", 2, 4, 4))
    graph = gx.Graph({"y": gx.max_pool2d(a + b, 2)})
    with pytest.raises(gx.GraphError, match=r"which input is the image\? \(wrt= one of a, b\)"):
        viz.volumes(graph)
    assert len(viz.volumes(graph, wrt=b).model["boxes"]) == 2
    small = gx.conv2d(gx.input("s", ("N", 2, "H", "H")), gx.parameter("w", (1, 2, 3, 3)))
    with pytest.raises(gx.GraphError, match="at .*H=2.* nothing is left of conv2d"):
        viz.volumes(gx.Graph({"y": small}), size={"H": 2})
    with pytest.raises(gx.GraphError, match="takes a Graph"):
        viz.volumes(a)  # type: ignore[arg-type]
    with pytest.raises(gx.GraphError, match="has no input"):
        viz.volumes(gx.Graph({"y": gx.parameter("w", (2, 2))}))


def test_the_unit_may_be_of_an_output() -> None:
    x, w = gx.input("x", ("N", 1, 5, 5)), gx.parameter("w", (1, 1, 3, 3))
    graph = gx.Graph({"map": gx.conv2d(x, w)})
    one, two = (viz.volumes(graph, unit=(name, 1, 1)) for name in ("map", "conv2d"))
    assert one.svg == two.svg
