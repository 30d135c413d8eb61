"""Figures and their sheet: captions that read back, boxes of labels, text that stays text."""

from __future__ import annotations

import json
import math
import re
import sys
import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageFont

import graphc as gx
from graphc.viz import Caption, Figure
from graphc.viz.canvas import (
    PAINTS,
    SVG,
    Canvas,
    Label,
    fit,
    labels_of,
    overlapping,
    text_width,
    wrap,
)

scalars = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=20))
values = st.one_of(scalars, st.lists(scalars, max_size=4), st.lists(st.lists(scalars, max_size=2)))


def small(**given: Any) -> Figure:
    canvas = Canvas(300, 100)
    canvas.rect(10, 10, 60, 30, fill="tint-blue", title="a box")
    canvas.text(80, 30, "a label")
    caption = given.pop("caption", Caption("{n} boxes", {"n": 1}))
    return Figure(canvas, {"boxes": [1, 2.5, math.nan]}, caption, "A figure", "One box.", **given)


# -- captions -----------------------------------------------------------------------------


@given(first=values, second=values)
@example(first="true", second="1")
@example(first="", second="a b")
@example(first=1, second=1.0)
@example(first='"quoted" \\', second="\udcff\u202e\n")
@example(first=["nan", math.nan], second=[math.inf, "Infinity"])
@example(first=-0.0, second=1e300)
def test_what_a_caption_says_is_read_back(first: Any, second: Any) -> None:
    template = "step {first}: of {second}, as measured {{x}}"
    caption = Caption(template, {"first": first, "second": second})
    read = Caption.parse(template, str(caption))
    # Types too: 1, 1.0 and True are three values; NaN is itself.
    assert repr(read) == repr({"first": first, "second": second})
    assert str(caption).isprintable()


def test_numpys_numbers_are_printed_as_short_as_they_are() -> None:
    given = {"a": np.float32(0.1), "b": np.int64(3), "c": np.float64(0.1), "d": np.bool_(True)}
    caption = Caption("{a} {b} {c} {d} {e}", {**given, "e": np.array([0.5, 2], np.float32)})
    assert str(caption) == "0.1 3 0.1 true [0.5, 2.0]"
    assert np.float32(caption.values["a"]) == np.float32(0.1)  # type: ignore[arg-type]
    assert caption == Caption(caption.template, Caption.parse(caption.template, str(caption)))
    assert hash(caption) == hash(Caption(caption.template, caption.values))
    assert caption != Caption("{a}", {"a": 1})


@pytest.mark.parametrize(
    ("template", "given", "message"),
    [
        ("{a}{b}", {"a": 1, "b": 23}, "put words between its fields"),
        ("{a} and {b}", {"a": 1}, "do not agree about b"),
        ("{a}", {"a": 1, "b": 2}, "do not agree about b"),
        ("{a:.2f}", {"a": 1.0}, "a field is {name} and nothing else"),
        ("{}", {}, "a field is {name} and nothing else"),
        ("{a", {"a": 1}, "the caption '{a'"),
        ("{a}", {"a": None}, "is a number, a word or a list"),
        ("{a}", {"a": {"b": 1}}, "is a number, a word or a list"),
    ],
)
def test_captions_that_cannot_be(template: str, given: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=re.escape(message)):
        Caption(template, given)
    with pytest.raises(gx.GraphError, match="is not what the caption"):
        Caption.parse("{a} px", "3 cm")


# -- the sheet ----------------------------------------------------------------------------


def test_the_table_of_widths_is_the_fonts() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(file), 100)
    for text in ("conv2d 3×3, 64 → 128", "The quick brown fox", "Σ δ·w = 0.25", "é Größe"):
        assert font.getlength(text) * 0.97 <= text_width(text, 100) <= font.getlength(text) * 1.2


def test_boxes_read_back_are_those_drawn() -> None:
    canvas = Canvas(200, 100)
    canvas.text(10, 20, "start", size=9)
    canvas.text(90.123, 20.987, "middle", anchor="middle", bold=True)
    canvas.text(190, 50, "end", anchor="end", size=14)
    canvas.text(20, 90, "turned", turn=True, anchor="middle")
    canvas.text(40, 90, "7", size=6, cell=True)
    assert labels_of(canvas.finish("t", "")) == canvas.labels
    turned = canvas.labels[3]
    assert turned.bottom - turned.top > turned.right - turned.left
    assert canvas.overlaps() == []
    canvas.text(12, 21, "on it")
    assert [{a.text, b.text} for a, b in canvas.overlaps()] == [{"start", "on it"}]


@given(st.lists(st.tuples(*[st.integers(1, 60)] * 4), max_size=12))
def test_overlaps_are_those_of_all_pairs(corners: list[tuple[int, int, int, int]]) -> None:
    labels = [Label(f"{i}", x, y, x + w, y + h, 9) for i, (x, y, w, h) in enumerate(corners)]
    brute = {
        frozenset((a.text, b.text))
        for a in labels
        for b in labels
        if a is not b
        and max(a.left, b.left) < min(a.right, b.right)
        and max(a.top, b.top) < min(a.bottom, b.bottom)
    }
    assert {frozenset((a.text, b.text)) for a, b in overlapping(labels)} == {
        pair for pair in brute if len(pair) == 2
    }


def test_small_labels_and_unknown_paints_are_refused() -> None:
    canvas = Canvas(10, 10)
    with pytest.raises(gx.GraphError, match="of 8 pt cannot be read: 9 pt is the least"):
        canvas.text(0, 0, "tiny", size=8)
    with pytest.raises(gx.GraphError, match="no paint is called 'red'"):
        canvas.rect(0, 0, 1, 1, fill="red")
    with pytest.raises(gx.GraphError, match="an image is uint8"):
        canvas.image(0, 0, 1, 1, np.zeros((2, 2)))


def test_texts_fit_their_room() -> None:
    assert fit("short", 12, 100) == "short"
    cut = fit("a very long name of a layer", 12, 80)
    assert "…" in cut
    assert text_width(cut, 12) <= 80
    assert fit("layer", 12, 0) == "…"
    rows = wrap("many words that take more than one line", 12, 90)
    assert " ".join(rows) == "many words that take more than one line"
    assert all(text_width(row, 12) <= 90 for row in rows)
    assert wrap("", 12, 90) == [""]


def test_dark_paper_has_a_rule_for_each_paint_in_use() -> None:
    canvas = Canvas(100, 100)
    for number, paint in enumerate(PAINTS):
        canvas.rect(number, 0, 1, 1, fill=paint, stroke=paint)
    root = ET.fromstring(canvas.finish("t", "d").encode())
    rules = dict(
        re.findall(r"\.([fs]-[\w-]+) \{ \w+: (#\w+) \}", root.findtext(f"{{{SVG}}}style", ""))
    )
    for rect in root.iter(f"{{{SVG}}}rect"):
        for name in rect.get("class", "").split():
            light, dark = PAINTS[name[2:]]
            assert rect.get({"f": "fill", "s": "stroke"}[name[0]]) == light
            assert rules.get(name, light) == dark


def test_an_arrow_ends_where_it_should() -> None:
    canvas = Canvas(100, 100)
    line = canvas.line(10, 10, 50, 10, arrow=8)
    canvas.line(5, 5, 5, 5, arrow=8)  # no length, no direction
    head = canvas.root[0]
    assert head.get("points", "").split()[0] == "50,10"
    assert line.get("points") == "10,10 42,10"


# -- figures ------------------------------------------------------------------------------


def test_a_figure_carries_its_numbers() -> None:
    figure = small()
    root = ET.fromstring(figure.svg.encode())
    kept = json.loads(root.findtext(f"{{{SVG}}}metadata", ""))
    assert kept["model"] == {"boxes": [1, 2.5, "nan"]}
    said = [e.text or "" for e in root.iter(f"{{{SVG}}}text") if "data-caption" in e.attrib]
    assert Caption.parse(kept["caption"]["template"], " ".join(said)) == {"n": 1}
    assert root.findtext(f"{{{SVG}}}title") == "A figure"
    assert root.findtext(f"{{{SVG}}}desc") == "One box. 1 boxes"
    assert overlapping(labels_of(figure.svg)) == []
    assert figure.svg == small().svg
    assert figure._repr_svg_() == figure._repr_mimebundle_()["image/svg+xml"] == figure.svg
    assert repr(figure) == "<graphc.viz.Figure: 1 boxes>"


def test_a_long_caption_is_wrapped_and_read_back() -> None:
    said = "word " * 60 + "x" * 100
    figure = small(caption=Caption("It says {said} and {n}.", {"said": said, "n": 0.1}))
    root = ET.fromstring(figure.svg.encode())
    rows = [e.text or "" for e in root.iter(f"{{{SVG}}}text") if "data-caption" in e.attrib]
    assert len(rows) > 5
    assert Caption.parse(figure.caption.template, " ".join(rows)) == figure.caption.values
    width = float(root.get("viewBox", "").split()[2])
    assert all(label.right <= width for label in labels_of(figure.svg))
    assert small().canvas.width == 300  # the sheet itself is left as it was


@pytest.mark.parametrize(
    "said", ["<script>&\"'", "</text><b>", "]]>", "-->", "\u202e\x00\ud800", "漢字 Ω", "{x} %s"]
)
def test_any_text_is_text(said: str) -> None:
    canvas = Canvas(100, 50)
    canvas.text(5, 20, said)
    with canvas.group("g", title=said, data={"name": said}):
        canvas.rect(0, 0, 5, 5, title=said)
    figure = Figure(canvas, {said: said}, Caption("{s}", {"s": said}), said, said)
    root = ET.fromstring(figure.svg.encode())
    plain = {e.tag.removeprefix(f"{{{SVG}}}") for e in root.iter()}
    assert plain == {"svg", "title", "desc", "style", "metadata", "g", "rect", "text"}
    assert figure.svg.count("http") == figure.svg.count("http://www.w3.org/")
    assert "href" not in figure.svg


def test_images_keep_their_pixels(tmp_path: Path) -> None:
    canvas = Canvas(40, 40)
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17
    canvas.image(0, 0, 40, 40, pixels)
    figure = Figure(canvas, {}, Caption("an image"), "t", "d")
    with Image.open(BytesIO(figure.png)) as image:
        seen = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(seen[10:80:20, 10:80:20], pixels)
    np.testing.assert_array_equal(seen[2:80:20, 18:80:20], pixels)  # no blur between them


def test_figures_are_saved(tmp_path: Path) -> None:
    figure = small()
    assert figure.save(tmp_path / "a.svg").read_text(encoding="utf-8") == figure.svg
    assert figure.save(tmp_path / "a.PNG").read_bytes() == figure.png == small().png
    with Image.open(BytesIO(figure.png)) as image:
        assert image.size[0] == 600
    first = figure.save(tmp_path / "a.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    assert first == small().save(tmp_path / "b.pdf").read_bytes()
    assert json.loads(figure.save(tmp_path / "a.json").read_text()) == {"boxes": [1, 2.5, "nan"]}
    with pytest.raises(gx.GraphError, match=r"\.svg, \.png, \.pdf or \.json, not as 'a\.gif'"):
        figure.save(tmp_path / "a.gif")


def test_figures_are_saved_in_a_size(tmp_path: Path) -> None:
    figure = small()
    with Image.open(figure.save(tmp_path / "a.png", size=(1600, 900))) as image:
        assert image.size == (1600, 900)
        # 300 points are drawn 1600 wide or less, undistorted: the box is twice as wide as high.
        blue = np.asarray(image.convert("RGB"))[..., 2].astype(int) > 247
        blue &= np.asarray(image.convert("RGB"))[..., 0] < 230
    rows, columns = np.flatnonzero(blue.any(1)), np.flatnonzero(blue.any(0))
    assert columns[-1] - columns[0] == pytest.approx(2 * (rows[-1] - rows[0]), rel=0.05)
    text = figure.save(tmp_path / "a.svg", size=(1600, 900)).read_text(encoding="utf-8")
    root = ET.fromstring(text.encode())
    assert (root.get("width"), root.get("height")) == ("1600px", "900px")
    assert labels_of(text) == labels_of(figure.svg)
    for wrong in ((0, 5), (5,), "big", (1.5, 2), (10**6, 1)):
        with pytest.raises(gx.GraphError, match=r"\(width, height\) in pixels"):
            figure.save(tmp_path / "a.png", size=wrong)  # type: ignore[arg-type]
    with pytest.raises(gx.GraphError, match=r"only \.svg and \.png have a size"):
        figure.save(tmp_path / "a.pdf", size=(10, 10))


@pytest.mark.parametrize(("package", "ending"), [("resvg_py", "png"), ("svglib.svglib", "pdf")])
def test_a_missing_extra_is_told(
    package: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(gx.BackendError, match=r"pip install 'graphc\[viz\]'"):
        small().save(tmp_path / f"a.{ending}")
