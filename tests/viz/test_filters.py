"""Plates of filters: what a pixel means, and that it can be read back."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import graphc as gx
from graphc import models, viz
from graphc.viz.filters import BROKEN, GAP, MIDDLE, SPLIT, TOP

Array = np.ndarray[Any, np.dtype[Any]]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def pixels(plate: viz.Plate) -> Array:
    with Image.open(BytesIO(plate.png)) as image:
        return np.asarray(image.convert("RGB"))


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 9),
    channels=st.sampled_from([1, 2, 3, 5]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    normalize=st.sampled_from(["symmetric", "global", "per-filter"]),
    scale=st.integers(1, 3),
    gap=st.integers(0, 2),
)
def test_values_are_read_back_from_the_picture(
    seed: int, count: int, channels: int, height: int, width: int, normalize: Any, scale: int,
    gap: int,
) -> None:  # fmt: skip
    weights = draw(seed, count, channels, height, width)
    plate = viz.filters(weights, normalize=normalize, scale=scale, gap=gap)
    read = plate.pixels()
    half_step = (plate.high - plate.low)[:, None, None, None] / TOP / 2
    assert read.shape == weights.shape
    assert np.all(np.abs(read - weights) <= half_step * (1 + 1e-9) + 1e-12)


def test_symmetric_keeps_zero_at_mid_grey() -> None:
    plate = viz.filters(np.array([[[[-0.5, 0.0, 2.0]]]]), scale=1, gap=0)
    assert plate.plate[0, :, 0].tolist() == [round(127 - 0.5 / 2 * 127), MIDDLE, TOP]
    said = "1 filter 1 x 3 of 1 channel, in 1 row of 1; zero is mid grey, black -2.0, white 2.0"
    assert str(plate.caption) == said


def test_the_caption_says_the_normalization() -> None:
    weights = draw(0, 4, 1, 3, 3)
    said = viz.filters(weights, normalize="global").caption
    assert "minimum and maximum of all" in str(said)
    read = viz.Caption.parse(said.template, str(said))
    assert read == said.values
    for name, edge in (("low", weights.min()), ("high", weights.max())):
        assert read[name] == float(f"{edge:.3g}")
    assert "own minimum and maximum" in str(viz.filters(weights, normalize="per-filter").caption)
    # … and it is in the picture: there is ink below the plate.
    plate = viz.filters(weights)
    assert (pixels(plate)[plate.plate.shape[0] :] < 128).any()


@pytest.mark.parametrize("normalize", ["symmetric", "global", "per-filter"])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_filter_is_even_and_never_nan(normalize: Any, value: float) -> None:
    plate = viz.filters(np.full((2, 1, 3, 3), value), normalize=normalize, scale=1, gap=0)
    shown = plate.plate[:3, :6, 0]
    assert len(np.unique(shown)) == 1
    if normalize != "symmetric" or value == 0:
        assert shown[0, 0] == MIDDLE
    assert np.array_equal(plate.pixels(), plate.values)


def test_the_gap_and_broken_values_are_no_data_colours() -> None:
    weights = draw(1, 6, 3, 4, 4)
    weights[2, 1, 0, 0] = np.nan
    weights[3] = np.inf
    plate = viz.filters(weights, columns=3, gap=2)
    assert max(GAP) == max(BROKEN) == max(SPLIT) == 255 > TOP
    assert "49 values not finite, in red" in str(plate.caption)
    read = plate.pixels()
    assert np.isnan(read[2, :, 0, 0]).all()
    assert np.isnan(read[3]).all()
    assert np.isfinite(read[[0, 1, 4, 5]]).all()
    assert tuple(plate.plate[0, 0]) == GAP


def test_one_cell_a_filter_in_colour_else_one_a_channel() -> None:
    assert viz.filters(draw(2, 12, 3, 5, 5)).cells == 12
    assert viz.filters(draw(2, 12, 1, 5, 5)).columns == 4
    plate = viz.filters(draw(2, 12, 6, 5, 5), gap=1, scale=2)
    assert (plate.cells, plate.columns) == (72, 6)
    assert plate.plate.shape == (1 + 12 * 11, 1 + 6 * 11, 3)
    # Nearest neighbour: each weight is a square of equal pixels.
    cell = plate.plate[1:11, 1:11, 0]
    assert np.array_equal(cell, cell[::2, ::2].repeat(2, 0).repeat(2, 1))


def test_a_large_layer_says_what_is_left_out() -> None:
    plate = viz.filters(draw(3, 512, 512, 1, 1), scale=1)
    assert plate.cells <= 2304
    assert "(the first 4 filters and 512 channels are shown)" in str(plate.caption)


def test_filters_of_a_graph() -> None:
    graph = models.build("lenet-5")
    variables = gx.compile(graph).init(seed=0)
    plate = viz.filters(graph, variables)
    assert str(plate.caption).startswith("conv1.weight: 6 filters 5 x 5 of 1 channel, in 2 rows")
    assert np.array_equal(plate.values, np.float64(variables["conv1.weight"]))
    assert viz.filters(graph, variables, name="conv2.weight").values.shape == (16, 6, 5, 5)


def test_alexnets_plate_has_six_rows_of_sixteen_and_a_line_between_its_groups() -> None:
    plate = viz.filters(draw(5, 96, 3, 11, 11), groups=2, columns=16, scale=2, gap=1)
    assert (plate.rows, plate.columns, plate.groups, plate.cells) == (6, 16, 2, 96)
    tops = sorted({plate.corner(cell)[0] for cell in range(96)})
    steps = np.diff(tops)
    assert steps.tolist() == [23, 23, 23 + plate.split, 23, 23]
    # Filter 48, the first of the second group, begins a row; nothing of the data is blue 255.
    assert plate.corner(48) == (tops[3], 1)
    line = plate.plate[tops[2] + 22 : tops[3]]
    assert (line == SPLIT).all(axis=-1).any(axis=1).sum() == 2
    half_step = (plate.high - plate.low)[:, None, None, None] / TOP / 2
    assert np.all(np.abs(plate.pixels() - plate.values) <= half_step * (1 + 1e-9))
    assert plate.caption.values["groups"] == 2


def test_groups_are_those_of_the_graphs_convolution() -> None:
    x, w = gx.input("x", ("N", 4, 8, 8)), gx.parameter("w", (6, 2, 3, 3), init=0.5)
    graph = gx.Graph({"y": gx.conv2d(x, w, groups=2)})
    plate = viz.filters(graph, {"w": draw(6, 6, 2, 3, 3)})
    assert (plate.groups, plate.rows, plate.columns) == (2, 6, 2)
    uneven = viz.filters(draw(6, 6, 1, 3, 3), groups=2, columns=2)
    assert (uneven.rows, uneven.corner(3)[1]) == (4, uneven.gap)  # each group begins a row


def test_a_filter_a_row_and_a_channel_a_cell_on_demand() -> None:
    weights = draw(7, 5, 3, 4, 4)
    plate = viz.filters(weights, colour=False, scale=1, gap=0)
    assert (plate.rows, plate.columns, plate.cells) == (5, 3, 15)
    assert np.allclose(plate.pixels(), weights, atol=plate.high[0] / TOP)


def test_rows_of_a_linear_layer_as_images() -> None:
    x = gx.input("x", ("N", 1, 4, 6))
    graph = gx.Graph({"y": gx.linear(gx.flatten(x, 1), gx.parameter("w", (5, 24)))})
    w = draw(9, 5, 24)
    plate = viz.filters(graph, {"w": w}, image=(1, 4, 6))
    assert np.array_equal(plate.values, w.reshape(5, 1, 4, 6))
    assert np.allclose(plate.pixels(), plate.values, atol=plate.high[0] / TOP)


def test_the_plate_as_svg_and_as_data(tmp_path: Path) -> None:
    plate = viz.filters(draw(8, 4, 1, 3, 3))
    svg = plate.save(tmp_path / "a.svg").read_text(encoding="utf-8")
    assert svg == plate.svg
    assert "zero is mid grey" in svg
    kept = json.loads(plate.save(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert kept == plate.model
    assert np.array_equal(kept["values"], plate.values)


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = (viz.filters(draw(4, 5, 3, 4, 4)) for _ in range(2))
    assert first.png == second.png == first._repr_png_()
    assert first.save(tmp_path / "a.png").read_bytes() == first.png


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.filters(np.zeros((3, 3))), r"shape \(out, in, height, width\), not float64"),
        (lambda: viz.filters(np.array([["a"]])), "draws numbers of shape"),
        (lambda: viz.filters(np.zeros((0, 1, 3, 3))), "draws numbers of shape"),
        (lambda: viz.filters(np.zeros((1, 1, 3, 3)), normalize="max"), "use 'symmetric'"),
        (lambda: viz.filters(np.zeros((1, 1, 3, 3)), scale=0), r"scale=0\) must be an int"),
        (lambda: viz.filters(np.zeros((1, 1, 3, 3)), name="w"), "takes an array alone"),
        (lambda: viz.filters(models.build("lenet-5")), r"filters\(graph, variables\)"),
        (lambda: viz.filters(models.build("lenet-5"), {}), "variables hold no 'conv1.weight'"),
        (
            lambda: viz.filters(models.build("lenet-5"), {}, name="conv9.weight"),
            r"no parameter is called 'conv9\.weight'.*conv1\.weight",
        ),
        (lambda: viz.filters(draw(0, 1, 1, 2, 2)).save("a.jpg"), r"saved as \.svg"),
        (lambda: viz.filters(draw(0, 4, 1, 2, 2), groups=3), "does not divide the 4 filters"),
        (lambda: viz.filters(draw(0, 4, 9)), r"say image=\(channels, height, width\)"),
        (lambda: viz.filters(draw(0, 4, 9), image=(1, 3, 2)), r"rows of a weight \(out, 6\)"),
        (lambda: viz.filters(draw(0, 4, 9), image=9), "is not \\(channels, height, width\\)"),
        (lambda: viz.filters(draw(0, 4, 1, 2, 2), groups=0), "does not divide"),
        (lambda: viz.filters(draw(0, 4, 2, 2, 2), colour=True), "colours have 3 channels, not 2"),
    ],
)
def test_mistakes_are_told(call: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        call()


def test_zeros_have_no_sign() -> None:
    assert "black 0.0, white 0.0" in str(viz.filters(np.zeros((2, 1, 3, 3))).caption)
