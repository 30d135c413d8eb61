"""Line charts: each number where it belongs, each series told apart without colour."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gx
from graphc import viz
from graphc.viz.curves import ticks
from tests.viz.reading_figures import check_figure

SVG = "{http://www.w3.org/2000/svg}"
numbers = st.floats(-1e6, 1e6, allow_nan=False)


def lines(text: str) -> list[ET.Element]:
    """The lines of the series; those of the legend have no title."""
    root = ET.fromstring(text.encode())
    return [e for e in root.iter(f"{SVG}polyline") if e.find(f"{SVG}title") is not None]


def points(line: ET.Element) -> list[tuple[float, float]]:
    found = re.findall(r"([-\d.]+),([-\d.]+)", line.get("points", ""))
    return [(float(x), float(y)) for x, y in found]


def axis(text: str, anchor: str) -> list[tuple[float, float]]:
    """The numbers of an axis with their places: y has its text ending at the axis, x centred."""
    root = ET.fromstring(text.encode())
    found = []
    for e in root.iter(f"{SVG}text"):
        said = e.text or ""
        if e.get("text-anchor") == anchor and re.fullmatch(r"-?[\d.]+(e[-+]\d+)?", said):
            found.append((float(said), float(e.get("y" if anchor == "end" else "x", ""))))
    return found


def test_points_stand_at_their_numbers() -> None:
    values = {"train": [2.3, 0.9, 0.4, 0.35], "test": [1.1, 0.7, 0.5, 0.52]}
    text = viz.curves(values, y="loss").svg
    (low, bottom), (high, top) = axis(text, "end")[0], axis(text, "end")[-1]
    (first, left), (last, right) = axis(text, "middle")[0], axis(text, "middle")[-1]
    assert (first, last) == (1, 4)
    for line, expected in zip(lines(text), values.values(), strict=True):
        for epoch, ((x, y), value) in enumerate(zip(points(line), expected, strict=True), 1):
            assert x == pytest.approx(left + (epoch - 1) / 3 * (right - left), abs=0.2)
            # A tick's text stands 4 points below its line.
            share = (value - low) / (high - low)
            assert y + 4 == pytest.approx(bottom + share * (top - bottom), abs=0.2)


def test_series_differ_in_colour_and_in_dash() -> None:
    text = viz.curves({f"run {i}": [i, i + 1.0] for i in range(6)}).svg
    looks = [(e.get("stroke"), e.get("stroke-dasharray")) for e in lines(text)]
    assert len({colour for colour, _ in looks}) == 6
    assert len({dash for _, dash in looks}) == 6


def test_what_is_not_finite_leaves_a_gap() -> None:
    chart = viz.curves({"a": [1.0, 2.0, math.nan, 3.0, math.inf, 4.0, 5.0]}, caption="mnist.")
    found = [len(points(line)) for line in lines(chart.svg)]
    assert found == [2, 2]
    assert chart.svg.count("<circle") == 1
    assert str(chart.caption) == "mnist. Ends: a at 5.0. 2 values not finite, left out."
    assert str(chart.caption) in chart.svg


@given(low=numbers, span=st.floats(0, 1e6), most=st.integers(2, 10))
def test_ticks_are_round_and_enclose(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert 2 <= len(found) <= most + 2
    assert found[0] <= low + 1e-9 * abs(low) + 1e-12 * span
    assert found[-1] >= (low + span) - 1e-9 * (abs(low) + span)
    step = (found[-1] - found[0]) / (len(found) - 1)
    assert f"{step:.3e}"[0] in "1259"  # 9: 9.999e-1


@given(
    st.dictionaries(
        st.text(max_size=40), st.lists(numbers, min_size=1, max_size=30), min_size=1, max_size=9
    )
)
def test_any_series_can_be_drawn(series: dict[str, list[float]]) -> None:
    chart = viz.curves(series, title="t", y="y", caption="c")
    check_figure(chart.figure)
    root = ET.fromstring(chart.svg.encode())
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        "svg", "title", "desc", "style", "metadata", "rect", "text", "path", "polyline", "circle",
    }  # fmt: skip
    for line in lines(chart.svg):
        for x, y in points(line):
            assert 0 <= x <= chart.width
            assert 0 <= y <= chart.height


@pytest.mark.parametrize(("width", "height"), [(200, 120), (320, 160), (640, 360), (1600, 850)])
@pytest.mark.parametrize("first", [0, 1, 10**9])
def test_labels_stay_apart(width: int, height: int, first: int) -> None:
    series = {f"a rather long name of run {i}": [1e-5 * i, 2e5] * 20 for i in range(3)}
    chart = viz.curves(series, width=width, height=height, first=first, title="t" * 300, y="loss")
    check_figure(chart.figure)


def test_names_are_text_alone() -> None:
    text = viz.curves({"<script>&\"'\n": [1, 2]}, title="</title><b>", x="]]>", y="-->").svg
    said = [e.text for e in ET.fromstring(text.encode()).iter(f"{SVG}text")]
    assert "<script>&\"'\ufffd" in said
    assert "</title><b>" in said


def test_save_and_show(tmp_path: Path) -> None:
    chart = viz.curves({"loss": [3, 2, 1]})
    assert chart.save(tmp_path / "a.svg").read_text(encoding="utf-8") == chart.svg
    assert chart._repr_svg_() == chart.svg == viz.curves({"loss": [3, 2, 1]}).svg
    assert repr(chart) == "<graphc.viz.Chart of loss>"
    # With one value a series is a dot.
    assert "<circle" in viz.curves({"loss": [3]}).svg


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.curves({}), "with one series or more"),
        (lambda: viz.curves([1, 2]), "takes {name: values per epoch}"),  # type: ignore[arg-type]
        (lambda: viz.curves({"a": ["x"]}), "values of 'a' are not numbers"),  # type: ignore[list-item]
        (lambda: viz.curves({"a": 3}), "values of 'a' are not numbers"),  # type: ignore[dict-item]
        (lambda: viz.curves({"a": [math.nan]}), "no finite value"),
        (lambda: viz.curves({"a": [1]}, width=10), "too small"),
        (lambda: viz.curves({"a": [1]}).save("a.gif"), r"saved as \.svg"),
    ],
)
def test_mistakes_are_told(call: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=re.escape(message) if "{" in message else message):
        call()
