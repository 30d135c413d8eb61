"""A convolution unrolled: its edges, its matrix, and the gradient of one weight."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

import graphc as gx
from graphc import nn, passes, viz
from graphc.viz.canvas import SMALLEST, labels_of, overlapping

Array = np.ndarray[Any, np.dtype[Any]]


def conv(
    size: tuple[int, int] = (4, 4), kernel: tuple[int, int] = (3, 3), channels: int = 1,
    filters: int = 1, batch: Any = "N", **settings: Any,
) -> gx.Node:  # fmt: skip
    groups = settings.get("groups", 1)
    x = gx.input("x", (batch, channels, *size))
    w = gx.parameter("w", (filters, channels // groups, *kernel))
    return gx.conv2d(x, w, **settings)


def positions(size: int, kernel: int, stride: int, padding: int, dilation: int, tap: int) -> int:
    """How many outputs of one axis have this tap on a pixel: the closed form, by intervals."""
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    low = -(-(padding - tap * dilation) // stride)  # the first o with o·s + t·d - p >= 0
    high = (size - 1 + padding - tap * dilation) // stride  # the last with … <= size - 1
    return max(min(high, out - 1) - max(low, 0) + 1, 0)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    filters=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_edges_have_the_closed_form_and_the_matrix_is_the_convolution(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int, dilation: int,
    groups: int, filters: int, seed: int,
) -> None:  # fmt: skip
    if any(n + 2 * padding < dilation * (k - 1) + 1 for n, k in zip(size, kernel, strict=True)):
        return
    node = conv(
        size, kernel, channels=groups, filters=filters * groups, stride=stride, padding=padding,
        dilation=dilation, groups=groups,
    )  # fmt: skip
    if max(np.prod(node.shape[1:]), groups * size[0] * size[1]) > 64:
        return
    model = viz.sharing(node).model
    for entry in model["weights"]:
        _, _, kh, kw = entry["index"]
        expected = [
            positions(n, k, stride, padding, dilation, tap)
            for n, k, tap in zip(size, kernel, (kh, kw), strict=True)
        ]
        assert entry["edges"] == expected[0] * expected[1]
        assert entry["edges"] == sum(e["weight"] == entry["index"] for e in model["edges"])
    # … and T @ x is what SciPy's correlation gives.
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=node.inputs[1].shape), rng.normal(size=(groups, *size))
    image = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
    holes = np.zeros((*w.shape[:2], *(dilation * (k - 1) + 1 for k in kernel)))
    holes[:, :, ::dilation, ::dilation] = w
    expected_map = np.stack([
        signal.correlate2d(image[f // filters], holes[f, 0], mode="valid")[::stride, ::stride]
        for f in range(filters * groups)
    ])  # fmt: skip
    matrix = np.array(viz.sharing(node, w).model["toeplitz"])
    assert np.array_equal(matrix, gx.toeplitz(node, w))
    np.testing.assert_allclose(matrix @ x.ravel(), expected_map.ravel(), rtol=0, atol=1e-12)
    numbers = np.array(model["numbers"])
    assert np.array_equal(np.where(numbers > 0, w.ravel()[numbers - 1], 0), matrix)


@pytest.mark.parametrize("padding", ["same", 1, ((0, 1), (2, 0))])
def test_the_matrix_serves_every_padding_as_the_interpreter(padding: Any) -> None:
    node = conv((5, 4), (3, 2), channels=2, filters=3, padding=padding, stride=(2, 1))
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 2, 3, 2)).astype("float32")
    x = rng.normal(size=(2, 2, 5, 4)).astype("float32")
    maps = gx.interpret(gx.Graph({"y": node}), {"w": w}, x=x)["y"]
    assert np.allclose(gx.toeplitz(node, w) @ x.reshape(2, -1).T, maps.reshape(2, -1).T, atol=1e-5)


def test_edges_of_one_weight_look_alike_and_no_two_weights_do() -> None:
    figure = viz.sharing(conv((5, 5), (3, 3), padding=1), np.arange(9.0).reshape(1, 1, 3, 3))
    looks = {(w["colour"], w["dash"]) for w in figure.model["weights"]}
    assert len(looks) == 9
    root = ET.fromstring(figure.svg.encode())
    space = "{http://www.w3.org/2000/svg}"
    lines = [e for e in root.iter(f"{space}polyline") if e.get("data-weight")]
    assert len(lines) == len(figure.model["edges"]) == 13 * 13
    drawn = {
        (e.get("data-weight"), e.get("class"), e.get("stroke-dasharray")) for e in lines
    }  # fmt: skip
    assert len(drawn) == 9
    counts = [sum(e.get("data-weight") == str(i) for e in lines) for i in range(9)]
    assert counts == [w["edges"] for w in figure.model["weights"]]
    # Each cell of the matrix says its weight, and stands where the matrix has it.
    cells = [e for e in root.iter(f"{space}rect") if e.get("data-column")]
    numbers = np.zeros((25, 25), int)
    for cell in cells:
        at = int(cell.get("data-row", "")), int(cell.get("data-column", ""))
        numbers[at] = 1 + int(cell.get("data-weight", ""))
    assert numbers.tolist() == figure.model["numbers"]


@pytest.mark.parametrize(
    "figure",
    [
        viz.sharing(conv()),
        viz.sharing(conv((8, 8), (3, 3), padding=1)),
        viz.sharing(conv((1, 9), (1, 3), channels=2, filters=2, padding=(0, 1))),
        viz.sharing(conv((3, 3), (3, 3), channels=4, filters=4, groups=2, padding=1)),
    ],
)
def test_labels_are_large_enough_and_apart(figure: viz.Figure) -> None:
    labels = labels_of(figure.svg)
    assert not overlapping(labels)
    assert all(label.size >= SMALLEST or label.cell for label in labels)
    read = viz.Caption.parse(figure.caption.template, str(figure.caption))
    assert read == figure.caption.values
    assert read["edges"] == len(figure.model["edges"])
    assert json.loads(json.dumps(figure.model)) == figure.model
    assert figure.svg == figure.svg


def test_a_large_convolution_is_drawn_small_and_says_so() -> None:
    layer = nn.Conv2d(3, 16, 3, stride=2, padding="same")
    node = layer(gx.input("image", ("N", 3, "H", "W")))
    with pytest.raises(gx.GraphError, match=r"(?s)symbolic.*to fix.*image=\(5, 5\)"):
        viz.sharing(node)
    figure = viz.sharing(node, np.ones((16, 3, 3, 3)), image=(5, 5), filters=1, channels=1)
    assert figure.model["input"] == [1, 5, 5]
    assert figure.model["output"] == [1, 3, 3]
    assert figure.model["stride"] == [2, 2]
    assert figure.model["padding"] == [[1, 1], [1, 1]]
    assert "drawn small" in str(figure.caption)
    assert figure.caption.values["of"] == [16, "(H+1)//2", "(W+1)//2", 3]


def test_part_of_a_grouped_convolution_is_part_of_its_first_group() -> None:
    node = conv((4, 4), (2, 2), channels=4, filters=6, groups=2)
    w = np.random.default_rng(4).normal(size=(6, 2, 2, 2))
    model = viz.sharing(node, w, filters=2, channels=1).model
    # Output channel f < 3 reads input channels 0 and 1: the same numbers stand in the whole matrix.
    whole = gx.toeplitz(node, w)
    assert model["groups"] == 1
    assert np.array_equal(np.array(model["toeplitz"]), whole[: 2 * 9, :16])
    with pytest.raises(gx.GraphError, match="there are 3 in the first group"):
        viz.sharing(node, filters=4)


@pytest.mark.parametrize("graph_first", [True, False])
def test_the_lit_edges_add_up_to_the_gradient(graph_first: bool) -> None:
    node = conv((5, 6), (3, 2), channels=2, filters=2, padding=(1, 0), stride=(2, 1))
    graph = gx.Graph({"loss": gx.sum(gx.square(gx.tanh(node)))})
    rng = np.random.default_rng(1)
    held = {"w": rng.normal(size=(2, 2, 3, 2)).astype("float32")}
    x = rng.normal(size=(3, 2, 5, 6)).astype("float32")
    train = graph.apply(passes.backward())
    slope = gx.interpret(train, held, x=x)["grad/w"]
    for weight in itertools.product(range(2), range(2), range(3), range(2)):
        if sum(weight) % 3:
            continue
        given = train if graph_first else graph
        model = viz.weight_gradient(given, held, "conv2d", weight, x=x).model
        total = sum(edge["product"] for edge in model["edges"])
        assert model["gradient"] == slope[weight]
        assert abs(total - slope[weight]) <= 1e-5 * np.abs(slope).max()
        edges = gx.convolution_edges(node)
        assert len(model["edges"]) == sum(edge.weight == weight for edge in edges)


def test_the_gradient_figure_says_both_sums() -> None:
    x, w = gx.input("x", ("N", 1, 3, 3)), gx.parameter("w", (1, 1, 2, 2))
    graph = gx.Graph({"loss": gx.sum(gx.conv2d(gx.conv2d(x, w), w))})
    held = {"w": np.array([[[[1, 2], [3, 4]]]], "float32")}
    image = np.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    total = gx.interpret(graph.apply(passes.backward()), held, x=image)["grad/w"]
    # A weight of two layers: each figure has the part of its layer, both together are the gradient.
    parts = [
        viz.weight_gradient(graph, held, name, (0, 0, 1, 0), x=image)
        for name in ("conv2d", "conv2d_1")
    ]
    assert sum(part.model["sum"] for part in parts) == total[0, 0, 1, 0]
    decayed = graph.apply(passes.weight_decay(0.5), passes.backward())
    model = viz.weight_gradient(decayed, held, "conv2d", (0, 0, 1, 0), x=image).model
    assert (model["sum"], model["terms"]) == (parts[0].model["sum"], 3)
    assert model["whole_gradient"] == total[0, 0, 1, 0] + 0.5 * 3
    # With a square between them the two uses have gradients of their own.
    graph = gx.Graph({"loss": gx.sum(gx.conv2d(gx.square(gx.conv2d(x, w)), w))})
    first, second = (
        viz.weight_gradient(graph, held, name, (0, 0, 1, 0), x=image).model
        for name in ("conv2d", "conv2d_1")
    )
    assert first["gradient"] == first["sum"] != second["gradient"] == second["sum"]
    assert first["sum"] + second["sum"] == first["whole_gradient"] == second["whole_gradient"]
    said = viz.Caption.parse(parts[0].caption.template, str(parts[0].caption))
    assert (said["terms"], said["whole"], said["lit"]) == (2, float(total[0, 0, 1, 0]), 4)
    assert said["gradient"] == said["sum"] == parts[0].model["gradient"] < said["whole"]
    root = ET.fromstring(parts[0].svg.encode())
    assert sum(element.get("data-lit") == "True" for element in root.iter()) == 4
    assert not overlapping(labels_of(parts[0].svg))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.sharing(gx.relu(gx.input("x", (2,)))), gx.GraphError, "takes a conv2d"),
        (lambda: viz.sharing("conv2d"), gx.GraphError, "takes a conv2d, not 'conv2d'"),
        (lambda: viz.sharing(conv((28, 28))), gx.GraphError, "784 units on one side"),
        (lambda: viz.sharing(conv(), np.ones(9)), gx.ShapeError, r"shape \(9,\)"),
        (lambda: viz.sharing(conv(), filters=2), gx.GraphError, r"filters=2\): there are 1"),
        (lambda: viz.sharing(conv(), image=(2, 2)), gx.ShapeError, "window"),
        (lambda: gx.toeplitz(conv(), np.ones((3, 3))), gx.ShapeError, r"\(1, 1, 3, 3\)"),
        (lambda: gx.toeplitz(conv((999, 999), (1, 1)), [[[[1]]]]), gx.GraphError, "too large"),
        (
            lambda: viz.weight_gradient(
                gx.Graph({"loss": gx.sum(conv())}), {}, "conv2d", (0, 0, 3, 0)
            ),
            gx.GraphError,
            r"weight=\(0, 0, 3, 0\) is not",
        ),
    ],
)
def test_mistakes_are_told(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
