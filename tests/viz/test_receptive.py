"""Pictures of receptive fields: what they show is what the analysis says, mark by mark."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, viz
from graphc.viz import Caption, Figure
from graphc.viz.canvas import SMALLEST, labels_of, overlapping

SVG = "{http://www.w3.org/2000/svg}"


def conv(x: gx.Node, kernel: int, name: str, **settings: Any) -> gx.Node:
    w = gx.parameter(name, (1, x.shape[1], kernel, kernel), init="kaiming_uniform")
    return gx.conv2d(x, w, **settings)


def image(*size: Any) -> gx.Node:
    return gx.input("image", (1, 1, *size))


def holed() -> gx.Node:
    x = image(12, 9)
    return conv(x, 3, "a", dilation=2, padding=2) + conv(x, 1, "b")


def unaligned() -> gx.Node:
    x = image(8, 8)
    return conv(x, 1, "a", stride=4) + conv(
        conv(x, 3, "b", stride=2, padding="same"), 1, "c", stride=2
    )


def pool(name: str = "vgg-11") -> gx.Node:
    return [n for n in models.build(name).nodes if n.op.name == "max_pool2d"][-1]


FIGURES = {
    "field": lambda: viz.receptive_field(holed(), 0, 3),
    "large": lambda: viz.receptive_field(pool(), 0, 0),
    "depth": lambda: viz.fields_by_depth(pool()),
    "sizes": lambda: viz.field_sizes(models.build("resnet-18")),
    "unaligned": lambda: viz.misaligned(unaligned()),
    "centre": lambda: viz.centre_offsets(conv(image(9, 9), 3, "a", stride=2, padding="same")),
    "effective": lambda: viz.effective_field(gx.effective_receptive_field(holed(), runs=2)),
    "counted": lambda: viz.effective_field(gx.effective_receptive_field(holed(), "ones")),
}


@pytest.mark.parametrize("name", FIGURES)
def test_labels_captions_and_files(name: str) -> None:
    figure, again = FIGURES[name](), FIGURES[name]()
    assert isinstance(figure, Figure)
    assert figure.svg == again.svg
    assert Caption.parse(figure.caption.template, str(figure.caption)) == figure.caption.values
    labels = labels_of(figure.svg)
    assert not overlapping(labels)
    assert all(label.size >= SMALLEST for label in labels)
    root = ET.fromstring(figure.svg.encode())
    for tag in ("title", "desc"):
        assert root.find(f"{SVG}{tag}").text
    assert json.loads(json.dumps(figure.model)) == figure.model
    assert "script" not in figure.svg
    assert figure.svg.count("http") == figure.svg.count("http://www.w3.org/")


def attributes(figure: Figure, name: str) -> list[str]:
    root = ET.fromstring(figure.svg.encode())
    return [e.get(f"data-{name}") for e in root.iter() if e.get(f"data-{name}") is not None]


@pytest.mark.parametrize("unit", [(0, 0), (5, 4), (-1, -1)])
def test_dots_and_boxes_are_the_field(unit: tuple[int, int]) -> None:
    node = holed()
    field = gx.receptive_field(node)
    figure = viz.receptive_field(node, *unit)
    seen = {tuple(map(int, text.split(","))) for text in attributes(figure, "pixel")}
    assert seen == set(map(tuple, np.argwhere(field.mask(*unit)).tolist()))
    assert figure.model["box"] == list(field.box(*unit))
    assert figure.model["hull"] == list(field.box(*unit, clip=False))
    y, x = unit
    picture = np.array([[c == "1" for c in row] for row in figure.model["mask"]])
    np.testing.assert_array_equal(picture, field.mask(y, x))
    holes = np.prod(np.ptp(np.argwhere(picture), 0) + 1) - picture.sum()
    assert figure.caption.values["holes"] == holes


def test_images_of_many_kinds() -> None:
    node = holed()
    rng = np.random.default_rng(0)
    for shape, dtype in (
        ((12, 9), "uint8"),
        ((1, 1, 12, 9), "float32"),
        ((3, 12, 9), "uint8"),
        ((12, 9, 3), "int64"),
    ):
        given = rng.integers(0, 200, shape).astype(dtype)
        assert viz.receptive_field(node, image=given).svg
    flat = viz.receptive_field(node, image=np.ones((12, 9)))
    assert flat.svg
    with pytest.raises(gx.GraphError, match=r"the image is \(9, 12\), the field is of 12 x 9"):
        viz.receptive_field(node, image=np.ones((9, 12)))
    with pytest.raises(gx.GraphError, match="infinite"):
        viz.receptive_field(node, image=np.full((12, 9), np.inf))
    with pytest.raises(gx.GraphError, match="no row 12"):
        viz.receptive_field(node, 12, 0)


def test_nothing_but_padding() -> None:
    figure = viz.receptive_field(conv(image(3, 3), 1, "a", padding=2), 0, 0)
    assert figure.model["box"] is None
    assert "nothing but padding" in str(figure.caption)


def test_layers_by_depth_are_fields_of_their_own() -> None:
    node = pool()
    layers = viz.fields_by_depth(node, 3, 3).model["layers"]
    whole = gx.receptive_field(node).box(3, 3)
    assert layers[-1]["columns"] == [whole[1], whole[3]]
    assert layers[0]["columns"] == [3, 3]
    widths = [each["width"] for each in layers]
    assert widths == sorted(widths)


def test_layers_that_exceed_the_image() -> None:
    figure = viz.field_sizes(models.build("resnet-18"))
    graph = models.build("resnet-18")
    fields = gx.receptive_fields(graph)
    for each in figure.model["layers"]:
        field = fields[graph.node(each["name"])]
        assert each["size"] == list(field.size)
        assert (each["name"] in figure.model["exceeding"]) == (max(field.size) > 224)
    assert len(figure.model["exceeding"]) == 4


def test_both_boxes_of_a_counterexample() -> None:
    example = gx.receptive_field(unaligned()).alignment
    figure = viz.misaligned(example)
    assert figure.model["boxes"] == [list(box) for box in example.boxes]
    assert figure.model["offset"] == [1.0, 1.0]
    assert figure.model["size"] == [2, 2]
    assert len(attributes(figure, "role")) == 2
    with pytest.raises(gx.GraphError, match="is aligned"):
        viz.misaligned(conv(image(5, 5), 3, "a"))


def test_offsets_of_published_nets() -> None:
    """0 at 321, and 2 and 31 pixels at 224 (Araujo, Norris and Sim's table)."""
    from tests.analysis.slim_nets import NETS

    for name, off in (("mobilenet_v1", 31), ("resnet_v1_50", 2), ("inception_v2", 31)):
        last = list(NETS[name](image(224, 224)).values())[-1]
        found = viz.centre_offsets(last, [224, 321]).model["offsets"]
        assert [each["rows"] for each in found] == [off, 0]
    layer = gx.linear(gx.flatten(image(8, 8)), gx.parameter("w", (2, 64)))
    with pytest.raises(gx.GraphError, match="no unit on images of these sizes"):
        viz.centre_offsets(layer)


def test_notebooks_show_a_table_and_the_picture() -> None:
    bundle = gx.receptive_field(holed())._repr_mimebundle_()
    assert "size" in bundle["text/plain"]
    assert bundle["image/svg+xml"].startswith("<?xml")
    assert bundle["text/html"].startswith("<pre>")
    assert bundle["text/html"].endswith("</svg>\n")
    symbolic = gx.receptive_field(conv(image("H", "W"), 3, "a"))._repr_mimebundle_()
    assert "image/svg+xml" not in symbolic
    assert "padding" in symbolic["text/plain"]
