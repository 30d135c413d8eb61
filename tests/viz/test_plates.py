"""The plate of R-CNN: values and boxes are the computed ones, and a crop alone gives its value."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import data, nn, passes, viz
from graphc.viz.canvas import SMALLEST, labels_of, overlapping

Array = np.ndarray[Any, np.dtype[Any]]
SVG = "{http://www.w3.org/2000/svg}"


def net(image: gx.Node, padding: int = 0) -> tuple[gx.Node, dict[str, Array]]:
    """Two convolutions and a pooling; the same weights for every image."""
    rng = np.random.default_rng(7)
    shapes = {"first": (4, 1, 3, 3), "second": (5, 4, 3, 3)}
    held = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    first, second = (gx.parameter(name, shape) for name, shape in shapes.items())
    h = gx.max_pool2d(gx.relu(gx.conv2d(image, first, padding=padding)), 2)
    return gx.relu(gx.conv2d(h, second, padding=padding)), held


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("mnist-mini", "test")[:200]


def brute(values: Array, field: Any, top: int, overlap: float) -> list[tuple[int, int, int, float]]:
    """Non-maximum suppression as its definition: pixels counted on masks."""
    places = sorted(np.ndindex(values.shape), key=lambda at: -values[at])
    found: list[tuple[int, int, int, float]] = []
    for image, y, x in places:
        if len(found) == top:
            break
        mask = field.mask(y, x)
        hull = np.zeros(mask.shape, bool)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        hull[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        for other, oy, ox, _ in found:
            if other != image:
                continue
            t, left, b, right = field.box(oy, ox)
            kept = np.zeros(mask.shape, bool)
            kept[t : b + 1, left : right + 1] = True
            if (hull & kept).sum() / (hull | kept).sum() > overlap:
                break
        else:
            found.append((image, y, x, float(values[image, y, x])))
    return found


@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("padding", [0, 1])
def test_places_values_and_boxes_are_the_computed_ones(
    digits: data.Dataset, overlap: float, padding: int
) -> None:
    node, held = net(gx.input("image", ("N", 1, 28, 28)), padding)
    graph = gx.Graph({"y": node})
    few = digits[:4]
    figure = viz.plate(
        graph, held, node, few, channels=[4, 0], top=9, overlap=overlap, digits=3, batch=3
    )
    values = gx.interpret(graph, held, image=few.arrays()[0])["y"]
    field = gx.receptive_field(node)
    assert [row["channel"] for row in figure.model["rows"]] == [4, 0]
    for row in figure.model["rows"]:
        expected = brute(values[:, row["channel"]], field, 9, overlap)
        assert len(row["places"]) == len(expected)
        for place, (image, y, x, value) in zip(row["places"], expected, strict=True):
            assert (place["image"], place["unit"]) == (image, [y, x])
            assert place["value"] == pytest.approx(value, rel=1e-5, abs=1e-6)
            assert place["text"] == f"{place['value']:.3f}"
            assert tuple(place["box"]) == field.box(y, x)
            assert place["inside"] == (field.box(y, x, clip=False) == field.box(y, x))
    root = ET.fromstring(figure.svg.encode())
    drawn = [
        (int(g.get("data-image", "")), g.get("data-box"), g.get("data-value"),
         [t.text for t in g.iter(f"{SVG}text")], [t.get("fill") for t in g.iter(f"{SVG}text")])
        for g in root.iter(f"{SVG}g")
        if g.get("data-box")
    ]  # fmt: skip
    assert drawn == [
        (p["image"], ",".join(map(str, p["box"])), p["text"], [p["text"]], ["#ffffff"])
        for row in figure.model["rows"]
        for p in row["places"]
    ]


def test_forward_on_the_crop_alone_gives_the_printed_value(digits: data.Dataset) -> None:
    node, held = net(gx.input("image", ("N", 1, 28, 28)))
    figure = viz.plate(gx.Graph({"y": node}), held, "y", digits, top=6, digits=4)
    any_size, _ = net(gx.input("image", ("N", 1, "H", "W")))
    crop_graph = gx.Graph({"y": any_size})
    images = digits.arrays()[0]
    for row in figure.model["rows"]:
        for place in row["places"]:
            assert place["inside"]  # a VALID net has no other
            top, left, bottom, right = place["box"]
            crop = images[
                place["image"] : place["image"] + 1, :, top : bottom + 1, left : right + 1
            ]
            value = gx.interpret(crop_graph, held, image=crop)["y"]
            assert value.shape == (1, 5, 1, 1)
            assert f"{value[0, row['channel'], 0, 0]:.4f}" == place["text"]


@pytest.mark.parametrize("crop", [False, True])
def test_rows_divided_by_their_first_value_say_so(digits: data.Dataset, crop: bool) -> None:
    node, held = net(gx.input("image", ("N", 1, 28, 28)))
    held["second"][2] = -1  # a dead unit: nothing to divide by
    graph = gx.Graph({"y": node})
    figure = viz.plate(graph, held, "y", digits, channels=[1, 2], normalized=True, crop=crop)
    lively, dead = figure.model["rows"]
    assert lively["places"][0]["text"] == "1.0"
    first = lively["places"][0]["value"]
    assert [p["text"] for p in lively["places"]] == [
        f"{p['value'] / first:.1f}" for p in lively["places"]
    ]
    assert not dead["normalized"]
    assert {p["text"] for p in dead["places"]} == {"0.0"}
    assert "divided by its first value (but not [2], where it is not positive)" in str(
        figure.caption
    )
    labels = labels_of(figure.svg)
    assert not overlapping(labels)
    assert all(label.size >= SMALLEST for label in labels)
    read = viz.Caption.parse(figure.caption.template, str(figure.caption))
    assert read == figure.caption.values
    assert (read["images"], read["digits"], read["overlap"]) == (200, 1, 0.3)


def test_colour_images_symbolic_sizes_and_fixed_batches() -> None:
    images = np.random.default_rng(0).random((4, 3, 9, 12), np.float32)
    held = {"w": np.random.default_rng(1).normal(size=(2, 3, 2, 4)).astype("float32")}
    w = gx.parameter("w", (2, 3, 2, 4))
    free = gx.Graph(
        {"y": gx.conv2d(gx.input("x", ("N", 3, "H", "W")), w, padding="same", stride=3)}
    )
    fixed = gx.Graph({"y": gx.conv2d(gx.input("x", (2, 3, 9, 12)), w, padding="same", stride=3)})
    first, second = (viz.plate(graph, held, "y", images, top=3) for graph in (free, fixed))
    assert first.model["rows"] == second.model["rows"]
    assert first.svg == viz.plate(free, held, "y", images, top=3).svg
    with pytest.raises(gx.ShapeError, match="2 images at a time"):
        viz.plate(fixed, held, "y", images[:3])


def test_ties_take_the_first_image() -> None:
    x = gx.input("x", ("N", 1, 3, 3))
    images = np.ones((99, 1, 3, 3), "float32")
    figure = viz.plate(gx.Graph({"y": gx.relu(x)}), {}, "y", images, top=4)
    assert [(p["image"], p["unit"]) for p in figure.model["rows"][0]["places"]] == [
        (0, [0, 0]), (0, [0, 1]), (0, [0, 2]), (0, [1, 0]),
    ]  # fmt: skip


def in_training(kind: str) -> gx.Graph:
    x = gx.input("x", ("N", 1, 4, 4))
    y = nn.BatchNorm2d(1)(x) if kind == "norm" else gx.dropout(x, retain=0.5)
    return gx.Graph({"y": y})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, i: viz.plate(g, {}, "y", i, top=0), "top=0"),
        (lambda g, i: viz.plate(g, {}, "y", i, overlap=1.5), "overlap=1.5"),
        (lambda g, i: viz.plate(g, {}, "y", i, channels=[1]), "no channel 1"),
        (lambda g, i: viz.plate(g, {}, "y", i[:0]), "n > 0"),
        (lambda g, i: viz.plate(g, {}, "y", i[:, :, :3]), "but x is"),
        (lambda g, i: viz.plate(g, {}, "y", i * np.inf), "not all finite"),
        (
            lambda g, i: viz.plate(in_training("drop"), {}, "y", i),
            r"(?s)more than its image.*infere",
        ),
        (
            lambda g, i: viz.plate(in_training("norm"), {}, "y", i),
            r"(?s)more than its image.*infere",
        ),
        (
            lambda g, i: viz.plate(gx.Graph({"y": gx.flatten(g.inputs["x"])}), {}, "y", i),
            "takes a map",
        ),
    ],
)
def test_mistakes_are_told(call: Any, message: str) -> None:
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N", 1, 4, 4)))})
    with pytest.raises(gx.GraphError, match=message):
        call(graph, np.ones((2, 1, 4, 4), "float32"))


def test_batch_norm_after_inference_is_drawn() -> None:
    graph = in_training("norm").apply(passes.inference())
    held = gx.compile(graph).init()
    figure = viz.plate(graph, held, "y", np.ones((2, 1, 4, 4), "float32"), top=1)
    assert figure.model["rows"][0]["places"][0]["box"] == [0, 0, 0, 0]
