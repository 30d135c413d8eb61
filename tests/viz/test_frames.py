"""Sliding windows: the numbers in the frames are the op's, and the cells those that it reads."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

import graphc as gx
from graphc import models, viz
from graphc.viz.windows import reading
from tests.viz.reading_figures import cells, check_figure, frames_of

# bin/generate_makefile of vdumoulin/conv_arithmetic (MIT), the settings of its animations:
# input, output, padding, kernel, stride, dilation, mode, transposed.
ARITHMETIC = {
    "no_padding_no_strides": (4, 2, 0, 3, 1, 1, "convolution", False),
    "no_padding_no_strides_transposed": (4, 2, 0, 3, 1, 1, "convolution", True),
    "arbitrary_padding_no_strides": (5, 6, 2, 4, 1, 1, "convolution", False),
    "arbitrary_padding_no_strides_transposed": (5, 6, 2, 4, 1, 1, "convolution", True),
    "same_padding_no_strides": (5, 5, 1, 3, 1, 1, "convolution", False),
    "same_padding_no_strides_transposed": (5, 5, 1, 3, 1, 1, "convolution", True),
    "full_padding_no_strides": (5, 7, 2, 3, 1, 1, "convolution", False),
    "full_padding_no_strides_transposed": (5, 7, 2, 3, 1, 1, "convolution", True),
    "no_padding_strides": (5, 2, 0, 3, 2, 1, "convolution", False),
    "no_padding_strides_transposed": (5, 2, 0, 3, 2, 1, "convolution", True),
    "padding_strides": (5, 3, 1, 3, 2, 1, "convolution", False),
    "padding_strides_transposed": (5, 3, 1, 3, 2, 1, "convolution", True),
    "padding_strides_odd": (6, 3, 1, 3, 2, 1, "convolution", False),
    "padding_strides_odd_transposed": (6, 3, 1, 3, 2, 1, "convolution", True),
    "dilation": (7, 3, 0, 3, 1, 2, "convolution", False),
    "numerical_no_padding_no_strides": (5, 3, 0, 3, 1, 1, "convolution", False),
    "numerical_padding_strides": (5, 3, 1, 3, 2, 1, "convolution", False),
    "numerical_average_pooling": (5, 3, 0, 3, 1, 1, "average", False),
    "numerical_max_pooling": (5, 3, 0, 3, 1, 1, "max", False),
}
Cells = set[tuple[int, int]]


def tikz(step: int, i: int, o: int, p: int, k: int, s: int, d: int, transposed: bool) -> Any:
    """bin/produce_figure: (side, units of the input, shaded cells, unit) of one step.

    As there in TikZ's coordinates, where y goes up; then turned, so that row 0 is above.
    """
    k = (k - 1) * d + 1
    if transposed:
        bottom_pad = (i + 2 * p - k) % s
        i, o, p, spacing, s = o, i, k - 1 - p, s, 1
        total, adjust = o + k - 1, 0
    else:
        bottom_pad, spacing, total = 0, 1, i + 2 * p
        adjust = (total - (k - s)) % s
    offset_y, offset_x = list(itertools.product(range(o - 1, -1, -1), range(o)))[step]
    units = {
        (bottom_pad + p + spacing * b, p + spacing * a)
        for a, b in itertools.product(range(i), range(i))
    }
    shaded = {
        (adjust + s * offset_y + b, s * offset_x + a)
        for a, b in itertools.product(range(0, k, d), range(0, k, d))
    }
    up = lambda pairs: {(total - 1 - y, x) for y, x in pairs}  # noqa: E731
    return total, up(units), up(shaded), (o - 1 - offset_y, offset_x)


def configured(i: int, o: int, p: int, k: int, s: int, d: int, mode: str, transposed: bool) -> Any:
    """The node of a setting, and the input's name and size."""
    if transposed:
        x = gx.input("x", (1, 1, o, o))
        extra = (i + 2 * p - k) % s
        w = gx.parameter("w", (1, 1, k, k))
        return gx.conv_transpose2d(x, w, stride=s, padding=p, output_padding=extra)
    x = gx.input("x", (1, 1, i, i))
    if mode == "average":
        return gx.avg_pool2d(x, k, s, p)
    if mode == "max":
        return gx.max_pool2d(x, k, s, p)
    return gx.conv2d(x, gx.parameter("w", (1, 1, k, k)), stride=s, padding=p, dilation=d)


@pytest.mark.parametrize("name", ARITHMETIC)
def test_conv_arithmetic_cell_by_cell(name: str) -> None:
    i, o, p, k, s, d, _, transposed = setting = ARITHMETIC[name]
    node = configured(*setting)
    side = i if transposed else o
    assert node.shape[2:] == (side, side)
    figure = viz.frames(node, units=list(np.ndindex(side, side)))
    drawn = frames_of(figure)
    assert len(drawn) == side * side
    for step, frame in enumerate(drawn):
        total, units, shaded, unit = tikz(step, i, o, p, k, s, d, transposed)
        plane = cells(frame, "input")
        places = {(int(c["row"]), int(c["column"])) for c in plane}
        assert places == set(itertools.product(range(total), range(total)))
        pixels = {(int(c["row"]), int(c["column"])) for c in plane if "pixel" in c}
        assert pixels == units
        read = {(int(c["row"]), int(c["column"])) for c in plane if c["read"] == "1"}
        assert read == shaded
        assert frame.get("data-unit") == f"{unit[0]},{unit[1]}"


@pytest.mark.parametrize("name", [name for name in ARITHMETIC if name.startswith("numerical")])
def test_conv_arithmetic_number_by_number(name: str) -> None:
    """The numbers that bin/produce_figure draws from NumPy's seed 1234, and those it computes."""
    i, o, p, k, s, _, mode, _ = ARITHMETIC[name]
    random = np.random.RandomState(1234)
    padded = np.zeros((i + 2 * p, i + 2 * p), "int32")
    padded[p : p + i, p : p + i] = random.randint(low=0, high=4, size=(i, i))
    kernel = random.randint(low=0, high=3, size=(k, k))
    output = np.empty((o, o), "float32")
    for y, x in itertools.product(range(o), range(o)):
        window = padded[s * y : s * y + k, s * x : s * x + k]
        output[y, x] = {
            "convolution": (window * kernel).sum(), "average": window.mean(), "max": window.max()
        }[mode]  # fmt: skip
    node = configured(*ARITHMETIC[name])
    image = padded[p : p + i, p : p + i]
    variables = {"w": kernel[None, None].astype(np.float32)} if mode == "convolution" else {}
    figure = viz.frames(node, variables, {"x": image[None, None].astype(np.float32)}, digits=9)
    for frame in frames_of(figure):
        for cell in cells(frame, "output"):
            assert np.float32(cell["text"]) == output[int(cell["row"]), int(cell["column"])]
        for cell in cells(frame, "input"):
            number = padded[int(cell["row"]), int(cell["column"])]
            assert float(cell["text"] or 0) == number
        for cell in cells(frame, "factor"):
            assert float(cell["text"]) == kernel[int(cell["row"]), int(cell["column"])]


# -- any node -----------------------------------------------------------------------------


def nodes() -> dict[str, tuple[gx.Node, int, int]]:
    """(node, image, channel) by name: each op with odd settings."""
    x = gx.input("x", ("N", 4, 7, 6))
    w, b = gx.parameter("w", (6, 2, 3, 2)), gx.parameter("b", (6,), role="bias")
    wt = gx.parameter("wt", (4, 3, 3, 2))
    conv = gx.conv2d(x, w, stride=2, padding=1, groups=2)
    pool = gx.max_pool2d(x, (3, 2), padding=1)
    mean = gx.avg_pool2d(x, (3, 2), 2, "same")
    g, gp, gm = (gx.input(n, node.shape) for n, node in (("g", conv), ("gp", pool), ("gm", mean)))
    return {
        "groups": (gx.conv2d(x, w, b, groups=2), 0, 4),
        "same": (gx.conv2d(x, w, b, groups=2, padding="same", stride=2), 0, 1),
        "uneven": (gx.conv2d(x, w, groups=2, padding=((2, 0), (1, 3)), dilation=(2, 1)), 0, 2),
        "formula": (gx.convolve2d(x, w, groups=2, padding="full"), 0, 5),
        "transposed": (gx.conv_transpose2d(x, wt, stride=2, padding=1, groups=2), 0, 4),
        "spread": (gx.conv_transpose2d(x, wt, stride=3, dilation=2, groups=2), 0, 1),
        "max": (pool, 0, 2),
        "overlapping": (gx.max_pool2d(x, 3, 1, "same"), 0, 3),
        "average": (mean, 0, 3),
        "padded average": (gx.avg_pool2d(x, 3, 2, 1), 0, 0),
        "image gradient": (gx.conv2d_input_grad(g, w, (7, 6), stride=2, padding=1, groups=2), 0, 3),
        "filter gradient": (
            gx.conv2d_weight_grad(x, g, (3, 2), stride=2, padding=1, groups=2), 4, 1,
        ),
        "max gradient": (gx.max_pool2d_scatter(gp, x, (3, 2), padding=1), 0, 1),
        "average gradient": (gx.avg_pool2d_input_grad(gm, (7, 6), (3, 2), 2, "same"), 0, 2),
        "one pixel": (gx.conv2d(gx.input("p", (1, 1, 1, 1)), gx.parameter("v", (1,) * 4)), 0, 0),
        "global": (gx.avg_pool2d(x, (7, 6)), 0, 0),
    }  # fmt: skip


NODES = nodes()


@pytest.mark.parametrize("name", NODES)
def test_frames_of_any_window(name: str) -> None:
    node, image, channel = NODES[name]
    rng = np.random.default_rng(1)
    graph = gx.Graph({"y": node})
    shape = lambda leaf: leaf.type.concrete({"N": 2})  # noqa: E731
    inputs = {n: rng.normal(size=shape(leaf)).astype("f") for n, leaf in graph.inputs.items()}
    variables = {n: rng.normal(size=leaf.shape).astype("f") for n, leaf in graph.parameters.items()}
    judged = gx.interpret(graph, variables, inputs=inputs)["y"][image, channel]
    units = list(np.ndindex(*judged.shape))[:12]
    # digits=9 tells every float32 from every other.
    figure = viz.frames(
        node, variables, inputs, image=image, channel=channel, units=units, digits=9
    )
    check_figure(figure)
    for unit, entry, frame in zip(units, figure.model["frames"], frames_of(figure), strict=True):
        assert np.float32(entry["value"]) == judged[unit]
        seen = {(int(c["row"]), int(c["column"])): c for c in cells(frame, "output")}
        assert np.float32(seen[unit]["text"]) == judged[unit]
        for cell in seen.values():
            at = int(cell["row"]), int(cell["column"])
            assert np.float32(cell["text"]) == np.float32(cell["value"]) == judged[at]
        total = figure.model["bias"] or 0.0
        for drawn in entry["channels"]:
            window = np.array(drawn["window"], float)
            if "factors" in drawn:
                assert drawn["sum"] == np.nansum(window * np.array(drawn["factors"], float))
                total += drawn["sum"]
            elif "winner" in drawn:
                total = np.nanmax(window)
                assert window[tuple(drawn["winner"])] == total
            else:
                total = np.nansum(window) / drawn["count"]
        np.testing.assert_allclose(total, judged[unit], rtol=2e-5, atol=2e-5)


def test_the_first_of_equal_maxima_wins() -> None:
    x = gx.input("x", (1, 1, 2, 2))
    figure = viz.frames(gx.max_pool2d(x, 2), inputs={"x": np.ones((1, 1, 2, 2), "f")})
    assert figure.model["frames"][0]["channels"][0]["winner"] == [0, 0]


def test_units_read_what_the_receptive_field_says() -> None:
    for name in ("groups", "same", "uneven", "transposed", "spread", "max", "average"):
        node, _, channel = NODES[name]
        read = reading(node, channel=channel, inputs=None)
        field = gx.receptive_field(node, node.inputs[0])
        for unit in np.ndindex(*read.result.shape):
            rows = {read.rows.pixel(p) for p in read.rows.places(unit[0])} - {None}
            columns = {read.columns.pixel(p) for p in read.columns.places(unit[1])} - {None}
            mask = np.zeros(read.layers[0].map.shape, bool)
            mask[np.ix_(sorted(rows), sorted(columns))] = True  # type: ignore[type-var]
            np.testing.assert_array_equal(field.mask(*unit), mask)


def test_a_node_deep_in_a_network() -> None:
    graph = models.build("lenet-5")
    image = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    variables = gx.compile(graph, backend="numpy").init(seed=0)
    node = graph.node("conv2d_1")
    judged = gx.interpret(gx.Graph({"y": node}), {
        n: variables[n] for n in gx.Graph({"y": node}).parameters
    }, image=image)["y"]  # fmt: skip
    figure = viz.frames(node, variables, {"image": image}, image=1, channel=7, units=[(9, 0)])
    check_figure(figure)
    assert np.float32(figure.model["frames"][0]["value"]) == judged[1, 7, 9, 0]
    assert figure.caption.values["layers"] == 6
    # What is drawn is rounded, as the caption says; the data is exact.
    (frame,) = frames_of(figure)
    for cell in cells(frame, "output"):
        exact = judged[1, 7, int(cell["row"]), int(cell["column"])]
        assert np.float32(cell["value"]) == exact
        assert cell["text"] == f"{exact:.3g}"
    assert figure.caption.values["digits"] == 3


def test_the_numbers_are_those_of_the_compiled_program() -> None:
    """Whole numbers, so that every order of the sums gives the same bits."""
    rng = np.random.default_rng(2)
    for name in ("groups", "same", "uneven", "transposed", "spread", "max", "padded average"):
        node, _, channel = NODES[name]
        graph = gx.Graph({"y": node})
        x = rng.integers(-9, 10, (1, 4, 7, 6)).astype("f")
        variables = {
            n: rng.integers(-5, 6, leaf.shape).astype("f") for n, leaf in graph.parameters.items()
        }
        program = gx.compile(graph, backend="numpy")
        ran = program({**program.init(seed=0), **variables}, x=x)["y"][0, channel]
        units = [(0, 0), (1, 1), (ran.shape[0] - 1, ran.shape[1] - 1)]
        figure = viz.frames(node, variables, {"x": x}, channel=channel, units=units, digits=9)
        for unit, frame in zip(units, frames_of(figure), strict=True):
            seen = {(int(c["row"]), int(c["column"])): c["text"] for c in cells(frame, "output")}
            assert np.float32(seen[unit]) == ran[unit]


def test_frames_as_one_strip() -> None:
    x, w = gx.input("x", (1, 1, 5, 5)), gx.parameter("w", (1, 1, 3, 3))
    strip = viz.frames(gx.conv2d(x, w), across=9)
    check_figure(strip)
    assert strip.canvas.width > 8 * strip.canvas.height
    assert strip.model == viz.frames(gx.conv2d(x, w)).model
    with pytest.raises(gx.GraphError, match=r"across=0"):
        viz.frames(gx.conv2d(x, w), across=0)


def test_what_is_not_given_is_made_and_said() -> None:
    x, w = gx.input("x", ("N", 1, "H", 5)), gx.parameter("w", (1, 1, 3, 3))
    figure = viz.frames(gx.conv2d(x, w), size={"H": 4}, seed=3)
    assert figure.caption.values["made"] == ["x", "w"]
    assert figure.caption.values["seed"] == 3
    assert figure.svg == viz.frames(gx.conv2d(x, w), size={"H": 4}, seed=3).svg
    assert figure.svg != viz.frames(gx.conv2d(x, w), size={"H": 4}, seed=4).svg


def test_large_windows_are_drawn_in_part() -> None:
    x, w = gx.input("x", (1, 2, 60, 50)), gx.parameter("w", (1, 2, 40, 30))
    figure = viz.frames(gx.conv2d(x, w))
    check_figure(figure)
    root = ET.fromstring(figure.svg.encode())
    assert max(map(float, root.get("viewBox", "").split())) < 1600
    assert figure.caption.values["taps"] == [40, 30]
    some = figure.caption.values["some"]
    for number, frame in enumerate(frames_of(figure)):
        entry = figure.model["frames"][number]
        window = np.array(entry["channels"][0]["window"])
        products = np.array(entry["channels"][0]["products"])
        drawn = [c for c in cells(frame, "product") if c["channel"] == "0"]
        assert len(drawn) == np.prod(some)  # type: ignore[arg-type]
        for cell in drawn:
            assert float(cell["value"]) == products[int(cell["row"]), int(cell["column"])]
        read = [c for c in cells(frame, "input") if (c["read"], c["channel"]) == ("1", "0")]
        assert len(read) == len(drawn)
        y, x_ = entry["unit"]
        for cell in read:
            at = int(cell["row"]) - y, int(cell["column"]) - x_
            assert float(cell["value"]) == window[at]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -0.0])
def test_numbers_that_are_none(value: float) -> None:
    x, w = gx.input("x", (1, 1, 4, 4)), gx.parameter("w", (1, 1, 2, 2))
    image = {"x": np.full((1, 1, 4, 4), value, "f")}
    check_figure(viz.frames(gx.conv2d(x, w), inputs=image))
    check_figure(viz.partial_sums(gx.conv2d(x, w), inputs=image))
    for node in (gx.max_pool2d(x, 3, 2, 1), gx.avg_pool2d(x, 2), gx.max_pool2d(x, 2)):
        check_figure(viz.frames(node, inputs=image))
        check_figure(viz.pooling(node, inputs=image))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: viz.frames(gx.relu(x)), "viz.frames draws conv2d, .* but this is relu"),
        (lambda x, w: viz.frames("conv"), "takes a node of a graph"),
        (lambda x, w: viz.frames(gx.conv2d(x, w)), "the dimension H has no value"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"K": 3}), "no dimension is called 'K'"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, units=[(9, 0)]), "no unit"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, units=[3]), "no unit 3"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": "9"}), "H='9' is not a size"),
        (
            lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 10**12}),
            "more than a figure makes up",
        ),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, seed=-1), "seed=-1 is not"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, units=[(0.5, 0)]), "no unit"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, units=[]), "nothing to draw"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, channel=1), "no channel 1 of 1"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, image=-1), "no image -1 of 1"),
        (lambda x, w: viz.frames(gx.conv2d(x, w), size={"H": 9}, digits=0), "digits=0"),
    ],
)
def test_mistakes_are_told(call: Any, message: str) -> None:
    x, w = gx.input("x", ("N", 1, "H", 5)), gx.parameter("w", (1, 1, 3, 3))
    with pytest.raises(gx.GraphError, match=message):
        call(x, w)


# -- whole maps ---------------------------------------------------------------------------


def test_partial_maps_and_the_bias_add_up() -> None:
    rng = np.random.default_rng(0)
    for name in ("groups", "same", "uneven", "transposed"):
        node, _, channel = NODES[name]
        graph = gx.Graph({"y": node})
        x = rng.integers(0, 9, (1, 4, 7, 6)).astype("f")
        variables = {n: rng.integers(-3, 4, leaf.shape).astype("f")
                     for n, leaf in graph.parameters.items()}  # fmt: skip
        figure = viz.partial_sums(node, variables, {"x": x}, channel=channel)
        check_figure(figure)
        judged = gx.interpret(graph, variables, x=x)["y"][0, channel]
        parts = [np.array(each["partial"]) for each in figure.model["channels"]]
        np.testing.assert_array_equal(sum(parts) + (figure.model["bias"] or 0.0), judged)
        for number, part in enumerate(parts):
            # The sum of one channel alone, by the op itself on an image that has no other.
            alone = np.zeros_like(x)
            first = channel // (node.shape[1] // 2) * len(parts)
            alone[:, first + number] = x[:, first + number]
            plain = {n: v * (n != "b") for n, v in variables.items()}
            np.testing.assert_array_equal(
                gx.interpret(graph, plain, x=alone)["y"][0, channel], part
            )
        root = ET.fromstring(figure.svg.encode())
        for cell in cells(root, "output"):
            assert np.float32(cell["value"]) == judged[int(cell["row"]), int(cell["column"])]
            assert float(cell["text"]) == float(cell["value"])


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_way_back_through_a_pooling(data: st.DataObject) -> None:
    draw = data.draw
    height, width = draw(st.integers(2, 7)), draw(st.integers(2, 7))
    kernel = draw(st.integers(1, min(height, width, 3))), draw(st.integers(1, min(width, 3)))
    stride, average = draw(st.integers(1, 3)), draw(st.booleans())
    x = gx.input("x", (1, 1, height, width))
    node = (gx.avg_pool2d if average else gx.max_pool2d)(x, kernel, stride)
    image = np.array(draw(st.lists(st.integers(0, 5), min_size=height * width,
                                   max_size=height * width)), "f")  # fmt: skip
    image = image.reshape(1, 1, height, width)
    figure = viz.pooling(node, inputs={"x": image})
    check_figure(figure)
    result, back = np.array(figure.model["result"]), np.array(figure.model["input_gradient"])
    g = np.array(figure.model["gradient"])
    judged = gx.interpret(gx.Graph({"y": node}), {}, x=image)["y"][0, 0]
    np.testing.assert_array_equal(np.float32(result), judged)
    expected = np.zeros((height, width))
    for y, x_ in np.ndindex(*result.shape):
        window = np.s_[y * stride : y * stride + kernel[0], x_ * stride : x_ * stride + kernel[1]]
        if average:
            expected[window] += g[y, x_] / (kernel[0] * kernel[1])
            continue
        at = np.unravel_index(image[0, 0][window].argmax(), kernel)
        expected[y * stride + at[0], x_ * stride + at[1]] += g[y, x_]
    np.testing.assert_allclose(back, expected, rtol=1e-5)
    if not average:
        assert len(figure.model["winners"]) == result.size
        trails = [e for e in ET.fromstring(figure.svg.encode()).iter() if "data-trail" in e.attrib]
        assert len(trails) == 2 * result.size
        for trail in trails:
            unit = tuple(map(int, trail.get("data-unit", "").split(",")))
            at = tuple(map(int, trail.get("data-trail", "").split(",")))
            assert [list(unit), list(at)] in figure.model["winners"]


def test_the_lectures_pooling() -> None:
    """The 6 x 6 map of the lecture, pooled 2 x 2."""
    map_ = [
        [3, 5, 8, 10, 9, 4], [7, 10, 2, 6, 2, 8], [7, 3, 5, 1, 7, 0],
        [1, 2, 6, 1, 9, 2], [3, 1, 2, 2, 5, 4], [4, 8, 2, 1, 4, 3],
    ]  # fmt: skip
    x = gx.input("x", (1, 1, 6, 6))
    largest = viz.pooling(gx.max_pool2d(x, 2), inputs={"x": [[map_]]}).model["result"]
    assert largest == [[10, 10, 9], [7, 6, 9], [8, 2, 5]]
    mean = viz.pooling(gx.avg_pool2d(x, 2), inputs={"x": [[map_]]}).model["result"]
    assert mean[0][0] == 6.25


def test_borders_side_by_side() -> None:
    x, w = gx.input("x", ("N", 1, 6, 5)), gx.parameter("w", (1, 1, 3, 3))
    rng = np.random.default_rng(0)
    image, filter_ = rng.integers(0, 9, (1, 1, 6, 5)), rng.integers(-2, 3, (1, 1, 3, 3))
    figure = viz.borders(gx.conv2d(x, w), {"w": filter_.astype("f")}, {"x": image.astype("f")})
    check_figure(figure)
    zeros, valid = (np.array(each["result"]) for each in figure.model["borders"])
    np.testing.assert_array_equal(zeros, correlate2d(image[0, 0], filter_[0, 0], "same"))
    np.testing.assert_array_equal(valid, correlate2d(image[0, 0], filter_[0, 0], "valid"))
    assert figure.caption.values["touched"] == 6 * 5 - 4 * 3
    own = viz.borders(gx.conv2d(x, w, padding=((2, 0), (0, 1))))
    assert own.model["borders"][0]["padding"] == [[2, 0], [0, 1]]


def test_whole_maps_refuse_what_they_cannot_draw() -> None:
    x, w = gx.input("x", (1, 1, 30, 30)), gx.parameter("w", (1, 1, 3, 3))
    with pytest.raises(gx.GraphError, match="at most 20 rows and columns"):
        viz.borders(gx.conv2d(x, w))
    with pytest.raises(gx.GraphError, match="at most 20 rows and columns"):
        viz.pooling(gx.max_pool2d(x, 2))
    with pytest.raises(gx.GraphError, match=r"the gradient has the shape \(3,\)"):
        viz.pooling(gx.max_pool2d(gx.input("s", (1, 1, 4, 4)), 2), gradient=[1, 2, 3])
    with pytest.raises(gx.GraphError, match="viz.borders draws conv2d, but this is max_pool2d"):
        viz.borders(gx.max_pool2d(x, 2))
    with pytest.raises(gx.GraphError, match="viz.partial_sums draws conv2d or conv2d_input_grad"):
        viz.partial_sums(gx.max_pool2d(x, 2))
    # A large map is drawn in part, and the caption says which.
    figure = viz.partial_sums(gx.conv2d(x, w))
    check_figure(figure)
    assert figure.caption.values["map"] == [28, 28]
