"""Feature maps, before and after a ReLU, through filters, and an image as a vector."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import signal

import graphc as gx
from graphc import data, models, passes, viz
from graphc.viz.canvas import SMALLEST, labels_of, overlapping

Array = np.ndarray[Any, np.dtype[Any]]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def digits() -> Array:
    images: Array = data.load("mnist-mini", "test")[:3].arrays()[0]
    return images


@pytest.fixture(scope="module")
def lenet() -> tuple[gx.Graph, dict[str, Array]]:
    graph = models.build("lenet-5")
    return graph, gx.compile(graph).init(seed=3)


def images_of(figure: viz.Figure, attribute: str) -> dict[str, Array]:
    """The pictures inside an SVG, by a data attribute."""
    found = {}
    for element in ET.fromstring(figure.svg.encode()).iter(f"{SVG}image"):
        if (name := element.get(f"data-{attribute}")) is not None:
            raw = base64.b64decode(element.get("href", "").split(",")[1])
            with Image.open(BytesIO(raw)) as image:
                found[name] = np.asarray(image)
    return found


def test_values_are_the_interpreters_and_are_read_back_from_the_picture(
    lenet: tuple[gx.Graph, dict[str, Array]], digits: Array
) -> None:
    graph, held = lenet
    node = next(n for n in graph.nodes if n.op.name == "conv2d")
    program = gx.compile(graph.rebuild({"maps": node}))
    expected = program(held, image=digits)["maps"][1]
    # The label is an input of the graph that the maps do not need: it may be given or left out.
    figure = viz.activations(graph, held, node, example=1, image=digits, label=np.zeros(3, int))
    np.testing.assert_allclose(figure.model["values"], expected, rtol=1e-5, atol=1e-6)
    bound = np.abs(figure.model["values"]).max()
    assert figure.model["high"] == [bound] * 6 == [-low for low in figure.model["low"]]
    for name, pixels in images_of(figure, "map").items():
        read = (pixels / 127.0 - 1) * bound
        assert (
            np.abs(read - np.array(figure.model["values"])[int(name)]).max() <= bound / 254 + 1e-9
        )


def test_zero_is_mid_grey_and_an_even_map_too(digits: Array) -> None:
    x = gx.input("x", ("N", 2, 2, 2))
    graph = gx.Graph({"y": gx.relu(x)})
    value = np.array([[[[-1, 0], [2, 4]], [[3, 3], [3, 3]]]], "float32")
    shown = images_of(viz.activations(graph, {}, "y", x=value), "map")
    assert shown["0"].tolist() == [[127, 127], [190, 254]]
    even = images_of(viz.activations(graph, {}, "y", normalize="per-map", x=value), "map")
    assert even["0"].tolist() == [[0, 0], [127, 254]]
    assert set(even["1"].ravel().tolist()) == {127}
    spread = viz.activations(graph, {}, "y", normalize="global", x=value)
    assert images_of(spread, "map")["1"].tolist() == [[190, 190], [190, 190]]
    assert "minimum and maximum of all" in str(spread.caption)
    nothing = viz.activations(graph, {}, "y", x=np.zeros((1, 2, 2, 2)))
    assert set(images_of(nothing, "map")["0"].ravel().tolist()) == {127}


def test_units_without_a_place_and_chosen_channels(
    lenet: tuple[gx.Graph, dict[str, Array]], digits: Array
) -> None:
    graph, held = lenet
    figure = viz.activations(graph, held, "logits", channels=[7, 2], example=2, image=digits)
    logits = gx.interpret(graph.select("logits"), held, image=digits)["logits"]
    assert np.array_equal(np.ravel(figure.model["values"]), logits[2, [7, 2]])
    assert figure.model["channels"] == [7, 2]


def test_before_and_after_relu(lenet: tuple[gx.Graph, dict[str, Array]], digits: Array) -> None:
    graph, held = lenet
    relu = next(n for n in graph.nodes if n.op.name == "relu")
    figure = viz.rectified(graph, held, relu, image=digits)
    before, after = (np.array(figure.model[name]) for name in ("before", "after"))
    assert np.array_equal(after, np.maximum(before, 0))
    assert (before < 0).any()
    assert figure.model["zeroed"] == (before < 0).sum()
    assert figure.caption.values["zeroed"] == figure.model["zeroed"]
    assert figure.model["bound"] == np.abs(before).max()


def test_filters_make_maps(digits: Array) -> None:
    x, w = gx.input("x", ("N", 1, 28, 28)), gx.parameter("w", (4, 1, 3, 3))
    graph = gx.Graph({"y": gx.conv2d(x, w, padding=1)})
    held = {"w": np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype("float32")}
    figure = viz.convolved(graph, held, "y", filters=[3, 1], example=2, x=digits)
    for number, filter_ in enumerate([3, 1]):
        expected = signal.correlate2d(digits[2, 0], held["w"][filter_, 0], mode="same")
        np.testing.assert_allclose(figure.model["maps"][number], expected, atol=1e-5)
        assert np.array_equal(figure.model["weights"][number], held["w"][filter_])
    assert np.array_equal(figure.model["image"], digits[2])
    assert set(images_of(figure, "filter")) == {"3", "1"} == set(images_of(figure, "map"))


@pytest.mark.parametrize("channels", [2, 3, 12])
def test_filters_of_several_channels(channels: int) -> None:
    x, w = gx.input("x", ("N", channels, 6, 9)), gx.parameter("w", (2, channels, 2, 3))
    graph = gx.Graph({"y": gx.conv2d(x, w)})
    held = gx.compile(graph).init()
    value = np.random.default_rng(1).normal(size=(1, channels, 6, 9)).astype("float32")
    figure = viz.convolved(graph, held, "y", x=value)
    assert not overlapping(labels_of(figure.svg))
    assert figure.caption.values["low"] == float(f"{value.min():.3g}")


def test_an_image_becomes_a_vector_row_after_row(digits: Array) -> None:
    x = gx.input("x", ("N", 2, 3, 3))
    graph = gx.Graph({"y": gx.flatten(x, 1)})
    value = np.arange(36, dtype="float32").reshape(2, 2, 3, 3)
    figure = viz.flattened(graph, {}, "y", example=1, x=value)
    assert figure.model["vector"] == value[1].ravel().tolist()
    for element, (c, row, column) in zip(
        figure.model["vector"], figure.model["places"], strict=True
    ):
        assert figure.model["image"][c][row][column] == element
    cells = [e.get("data-element") for e in ET.fromstring(figure.svg.encode()).iter(f"{SVG}rect")]
    assert all(cells.count(str(number)) == 2 for number in range(18))  # in the image, in the vector
    graph = models.build("lenet-5")
    flat = next(n for n in graph.nodes if n.op.name == "reshape")
    held = gx.compile(graph).init()
    large = viz.flattened(graph, held, flat, channel=15, image=digits)
    assert large.model["places"][-1] == [15, 4, 4]
    assert "elements 375 to 399" in large.svg
    transposed = gx.Graph({"y": gx.flatten(gx.transpose(x, (0, 2, 3, 1)), 1)})
    turned = viz.flattened(transposed, {}, "y", x=value).model  # its image is what it reads
    assert turned["vector"] == value[0].transpose(1, 2, 0).ravel().tolist()


@pytest.mark.parametrize("kind", ["activations", "rectified", "convolved", "flattened"])
def test_labels_captions_and_bytes(
    kind: str, lenet: tuple[gx.Graph, dict[str, Array]], digits: Array
) -> None:
    graph, held = lenet
    names = {"rectified": "relu_1", "convolved": "conv2d_1", "flattened": "reshape"}
    make = getattr(viz, kind)
    figure = make(graph, held, names.get(kind, "relu_1"), example=1, image=digits)
    labels = labels_of(figure.svg)
    assert not overlapping(labels)
    assert all(label.size >= SMALLEST for label in labels)
    read = viz.Caption.parse(figure.caption.template, str(figure.caption))
    assert read == figure.caption.values
    again = make(graph, held, names.get(kind, "relu_1"), example=1, image=digits)
    assert again.svg == figure.svg


def test_a_training_graph_draws_too(digits: Array) -> None:
    graph = models.build("lenet-5").apply(passes.backward(), passes.sgd(lr="lr"))
    held = gx.compile(graph).init()
    figure = viz.activations(graph, held, "relu", image=digits)
    assert len(figure.model["values"]) == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, v, x: viz.activations(g, v, "rlu", image=x), "no node is called 'rlu'"),
        (lambda g, v, x: viz.activations(g, v, "relu", example=3, image=x), "the batch has 3"),
        (lambda g, v, x: viz.activations(g, v, "relu", channels=[6], image=x), "no channel 6"),
        (lambda g, v, x: viz.activations(g, v, "relu", channels=[], image=x), "no map"),
        (lambda g, v, x: viz.activations(g, v, "relu", normalize="max", image=x), "'per-map'"),
        (lambda g, v, x: viz.activations(g, v, "relu", image=x * np.nan), "not all finite"),
        (lambda g, v, x: viz.activations(g, v, "relu", img=x), "no input 'img'"),
        (lambda g, v, x: viz.activations(g, v, "conv1.bias", image=x), "draws maps"),
        (lambda g, v, x: viz.activations(x, v, "relu", image=x), "takes a Graph first"),
        (lambda g, v, x: viz.rectified(g, v, "conv2d", image=x), "op of one value"),
        (lambda g, v, x: viz.convolved(g, v, "relu", image=x), "takes a conv2d"),
        (lambda g, v, x: viz.flattened(g, v, "relu", image=x), "takes a flatten"),
        (lambda g, v, x: viz.flattened(g, v, "reshape", channel=16, image=x), "no channel 16"),
    ],
)
def test_mistakes_are_told(
    call: Any, message: str, lenet: tuple[gx.Graph, dict[str, Array]], digits: Array
) -> None:
    with pytest.raises(gx.GraphError, match=message):
        call(*lenet, digits)
