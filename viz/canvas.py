"""A sheet to draw on, which becomes SVG text: the one writer of the teaching figures.

One unit is one point. A colour is either a name of ``PAINTS``, which has a light and a dark
variant, or ``#rrggbb`` for what means the same on both papers (a grey level, a filter). Every text
leaves a box behind, from a table of widths, so that a test can ask which labels overlap. All is
drawn in absolute coordinates: no transform, no marker, no reference, nothing to resolve.
"""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np

from graphc.ir.errors import GraphError

from . import style
from .text import clean

SVG = "http://www.w3.org/2000/svg"
SMALLEST = 9.0  # points: what can be read on a slide
Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

# name: (on light paper, on dark paper). The tints are for areas, with ink on them.
PAINTS = {
    "ink": (style.INK, style.DARK_INK),
    "paper": (style.PAPER, style.DARK_PAPER),
    "faint": (style.FAINT, style.DARK_FAINT),
    "grid": ("#d9d9d9", "#3d4249"),
    "shade": ("#ececec", "#2b2e33"),
    "blue": (style.BLUE, "#3f9fdc"),
    "sky": (style.SKY, style.SKY),
    "green": (style.GREEN, "#12b886"),
    "orange": (style.ORANGE, style.ORANGE),
    "vermillion": (style.VERMILLION, "#f0843c"),
    "purple": (style.PURPLE, style.PURPLE),
    "yellow": (style.YELLOW, style.YELLOW),
    "tint-blue": ("#ddeffb", "#12384f"),
    "tint-green": ("#d3f0e6", "#0d4a39"),
    "tint-orange": ("#fdf0d2", "#4d3a08"),
    "tint-vermillion": ("#fbdcc8", "#6b3208"),
    "tint-purple": ("#f8e9f1", "#4a2a3b"),
}

# Widths of ASCII 32 … 126 in hundredths of the size, of a wide sans serif (DejaVu Sans): what a
# page really uses is seldom wider, so boxes that are apart here are apart there.
_WIDTHS = (
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75,
    79, 60, 79, 69, 63, 61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35,
    63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84,
)  # fmt: skip
_BOLD = 1.15
_ASCENT, _DESCENT = 0.76, 0.24  # of the size, above and below the line on which letters stand


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide ``text`` is at ``size``, in points.

    >>> text_width("conv2d", 10)
    36.5
    """
    hundredths = 0.0
    for character in text:
        code = ord(character)
        if 32 <= code < 127:
            hundredths += _WIDTHS[code - 32]
        else:  # letters of other alphabets, signs, ideographs: a guess upwards
            hundredths += 70 if code < 0x250 else 84 if code < 0x2E80 else 105
    return round(hundredths / 100 * size * (_BOLD if bold else 1), 6)


@dataclass(frozen=True, slots=True)
class Label:
    """A text and the box it takes: ``left``, ``top``, ``right``, ``bottom`` in points.

    ``cell``: a number inside a matrix cell, which may be smaller than other labels.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float
    cell: bool = False

    def meets(self, other: Label) -> bool:
        """Whether the two boxes have a point inside both."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class Canvas:
    """A sheet of ``width`` by ``height`` points; see the module."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.labels: list[Label] = []
        self.root = ET.Element(f"{{{SVG}}}svg")
        self._into = self.root
        self._used: dict[tuple[str, str], None] = {}  # (paint, property), in order of first use

    # -- shapes ---------------------------------------------------------------------------

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str = "none",
        stroke: str = "ink", line: float = 1.0, dash: str = "", radius: float = 0.0,
        title: str = "", data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """A rectangle by its left upper corner. ``data``: becomes ``data-…`` attributes."""
        given = {"x": x, "y": y, "width": width, "height": height}
        if radius:
            given["rx"] = radius
        return self._shape("rect", given, fill, stroke, line, dash, title, data)

    def circle(
        self, x: float, y: float, radius: float, *, fill: str = "none", stroke: str = "ink",
        line: float = 1.0, dash: str = "", title: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """A circle by its centre."""
        given = {"cx": x, "cy": y, "r": radius}
        return self._shape("circle", given, fill, stroke, line, dash, title, data)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = "ink",
        line: float = 1.0, dash: str = "", arrow: float = 0.0, title: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """A straight line; with ``arrow``, a head of that length at its second end."""
        return self.polyline(
            [(x1, y1), (x2, y2)], stroke=stroke, line=line, dash=dash, arrow=arrow, title=title,
            data=data,
        )  # fmt: skip

    def polyline(
        self, points: Sequence[Point], *, stroke: str = "ink", line: float = 1.0, dash: str = "",
        arrow: float = 0.0, title: str = "", data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """Lines through ``points``; with ``arrow``, a head of that length at the last."""
        points = list(points)
        if arrow:
            points[-1] = self._head(points[-2], points[-1], arrow, stroke)
        given = {"points": _points(points), "stroke-linejoin": "round"}
        return self._shape("polyline", given, "none", stroke, line, dash, title, data)

    def polygon(
        self, points: Iterable[Point], *, fill: str = "none", stroke: str = "ink",
        line: float = 1.0, dash: str = "", opacity: float = 1.0, title: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """A closed shape through ``points``."""
        given: dict[str, Any] = {"points": _points(points), "stroke-linejoin": "round"}
        if opacity < 1:
            given["fill-opacity"] = opacity
        return self._shape("polygon", given, fill, stroke, line, dash, title, data)

    def path(
        self, d: str, *, fill: str = "none", stroke: str = "ink", line: float = 1.0,
        dash: str = "", title: str = "", data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """A path in SVG's own words, which the figures write themselves (never a user)."""
        return self._shape("path", {"d": d}, fill, stroke, line, dash, title, data)

    def hatch(
        self, x: float, y: float, width: float, height: float, *, stroke: str = "faint",
        step: float = 5.0, line: float = 0.7,
    ) -> ET.Element:  # fmt: skip
        """Diagonal lines that fill a rectangle: an area told apart without colour."""
        strokes = []
        offset = step
        while offset < width + height:
            x1, y1 = x + max(offset - height, 0), y + min(offset, height)
            x2, y2 = x + min(offset, width), y + max(offset - width, 0)
            strokes.append(f"M{_number(x1)} {_number(y1)}L{_number(x2)} {_number(y2)}")
            offset += step
        return self.path("".join(strokes), stroke=stroke, line=line)

    def image(
        self, x: float, y: float, width: float, height: float, pixels: np.ndarray[Any, Any], *,
        title: str = "", data: Mapping[str, Any] | None = None,
    ) -> ET.Element:  # fmt: skip
        """uint8 pixels, (height, width) grey or (height, width, 3), as an embedded PNG.

        Each pixel becomes a rectangle of one colour (nearest neighbour).
        """
        from PIL import Image

        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise GraphError(
                f"an image is uint8 (height, width) or (height, width, 3), not {pixels.dtype} "
                f"{pixels.shape}"
            )
        buffer = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
        element = self._add("image", {
            "x": x, "y": y, "width": width, "height": height, "preserveAspectRatio": "none",
            "style": "image-rendering:pixelated",
            "href": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
        }, title, data)  # fmt: skip
        return element

    # -- text -----------------------------------------------------------------------------

    def text(
        self, x: float, y: float, said: str, *, size: float = 12.0, anchor: Anchor = "start",
        fill: str = "ink", bold: bool = False, turn: bool = False, cell: bool = False,
        room: float | None = None, data: Mapping[str, Any] | None = None,
    ) -> Label:  # fmt: skip
        """One line of text, standing on ``y``; ``turn``: upwards instead of rightwards.

        ``room``: points it may take; a longer text is cut in the middle. ``cell``: a number
        inside a matrix cell, the only text that may be smaller than 9 points.
        """
        if size < SMALLEST and not cell:
            raise GraphError(
                f"the label {clean(said)!r} of {size:g} pt cannot be read: 9 pt is the least"
            )
        said = clean(said, 2000)
        if room is not None:
            said = fit(said, size, room, bold=bold)
        given: dict[str, Any] = {"x": x, "y": y, "font-size": size, "stroke": "none"}
        if anchor != "start":
            given["text-anchor"] = anchor
        if bold:
            given["font-weight"] = "bold"
        if turn:
            given["transform"] = f"rotate(-90 {_number(x)} {_number(y)})"
        if cell:
            data = {**(data or {}), "cell": 1}
        element = self._add("text", given, "", data)
        element.set("fill", self._paint(fill, "fill", element))
        element.text = said
        label = _label(said, x, y, size, anchor, bold, turn, cell)
        self.labels.append(label)
        return label

    def lines(
        self, x: float, y: float, said: str, width: float, *, size: float = 12.0,
        fill: str = "ink", leading: float = 1.35, data: Mapping[str, Any] | None = None,
    ) -> float:  # fmt: skip
        """Text wrapped into ``width``, its first line standing on ``y``; returns the last y."""
        for number, row in enumerate(wrap(clean(said, 20_000), size, width)):
            if number:
                y += size * leading
            self.text(x, y, row, size=size, fill=fill, data=data)
        return y

    def overlaps(self) -> list[tuple[Label, Label]]:
        """Pairs of labels whose boxes meet: a figure has none."""
        return overlapping(self.labels)

    # -- structure ------------------------------------------------------------------------

    @contextmanager
    def group(
        self, id: str = "", *, title: str = "", data: Mapping[str, Any] | None = None
    ) -> Iterator[ET.Element]:
        """What is drawn inside belongs together: ``with canvas.group("layer-1"): …``."""
        before = self._into
        self._into = self._add("g", {"id": id} if id else {}, title, data)
        try:
            yield self._into
        finally:
            self._into = before

    def stylesheet(self) -> str:
        """What changes on dark paper: one rule for each paint in use."""
        rules = [
            f".{prop[0]}-{paint} {{ {prop}: {PAINTS[paint][1]} }}"
            for paint, prop in self._used
            if PAINTS[paint][0] != PAINTS[paint][1]
        ]
        return "\n".join(("@media (prefers-color-scheme: dark) {", *rules, "}"))

    def finish(self, title: str, description: str, metadata: str = "", name: str = "figure") -> str:
        """The sheet as SVG text."""
        ET.register_namespace("", SVG)
        width, height = _number(self.width), _number(self.height)
        root = ET.Element(f"{{{SVG}}}svg", {
            "viewBox": f"0 0 {width} {height}", "width": f"{width}pt", "height": f"{height}pt",
            "class": f"graphc-{name}", "role": "img", "font-family": style.FONT,
        })  # fmt: skip
        paper = ET.Element(f"{{{SVG}}}rect", {"width": "100%", "height": "100%"})
        paper.set("fill", self._paint("paper", "fill", paper))
        for tag, text in (
            ("title", clean(title, 200)),
            ("desc", clean(description, 20_000)),
            ("style", self.stylesheet()),
            ("metadata", metadata),
        ):
            if text:
                ET.SubElement(root, f"{{{SVG}}}{tag}").text = text
        root.extend([paper, *self.root])
        for element in root:
            element.tail = "\n"
        body = ET.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'

    # -- inside ---------------------------------------------------------------------------

    def _add(
        self, tag: str, given: Mapping[str, Any], title: str, data: Mapping[str, Any] | None
    ) -> ET.Element:
        said = {name: v if isinstance(v, str) else _number(v) for name, v in given.items()}
        for name, value in (data or {}).items():
            said[f"data-{name}"] = clean(str(value), 20_000)
        element = ET.SubElement(self._into, f"{{{SVG}}}{tag}", said)
        if title:
            ET.SubElement(element, f"{{{SVG}}}title").text = clean(title, 500)
        return element

    def _shape(
        self, tag: str, given: Mapping[str, Any], fill: str, stroke: str, line: float, dash: str,
        title: str, data: Mapping[str, Any] | None,
    ) -> ET.Element:  # fmt: skip
        element = self._add(tag, given, title, data)
        element.set("fill", self._paint(fill, "fill", element))
        if stroke != "none":
            element.set("stroke", self._paint(stroke, "stroke", element))
            if line != 1:
                element.set("stroke-width", _number(line))
            if dash:
                element.set("stroke-dasharray", dash)
        return element

    def _paint(self, paint: str, prop: str, element: ET.Element) -> str:
        """The light colour; a paint with a dark variant marks the element with its class."""
        if paint not in PAINTS:
            if paint == "none" or re.fullmatch("#[0-9a-fA-F]{6}", paint):
                return paint
            raise GraphError(
                f"no paint is called {paint!r}: use #rrggbb, 'none' or one of {', '.join(PAINTS)}"
            )
        self._used[paint, prop] = None
        known = element.get("class")
        element.set("class", f"{known} {prop[0]}-{paint}" if known else f"{prop[0]}-{paint}")
        return PAINTS[paint][0]

    def _head(self, start: Point, tip: Point, length: float, paint: str) -> Point:
        """An arrow head with its tip there; returns where the line may end."""
        dx, dy = tip[0] - start[0], tip[1] - start[1]
        distance = math.hypot(dx, dy)
        if not distance:
            return tip
        dx, dy = dx / distance, dy / distance
        foot = tip[0] - dx * length, tip[1] - dy * length
        half = length * 0.4
        corners = [
            tip, (foot[0] - dy * half, foot[1] + dx * half),
            (foot[0] + dy * half, foot[1] - dx * half),
        ]  # fmt: skip
        self.polygon(corners, fill=paint, stroke="none")
        return foot


# -- texts and boxes ----------------------------------------------------------------------


def wrap(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """``text`` as lines of at most ``width`` points, broken at spaces.

    >>> wrap("image of 28 x 28 pixels", 10, 80)
    ['image of 28 x', '28 pixels']
    """
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fit(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """``text``, cut in the middle until it takes at most ``room`` points."""
    if text_width(text, size, bold=bold) <= room:
        return text
    low, high = 2, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(clean(text, middle), size, bold=bold) <= room:
            low = middle
        else:
            high = middle - 1
    cut = clean(text, low)
    return cut if text_width(cut, size, bold=bold) <= room else "…"


def overlapping(labels: Iterable[Label]) -> list[tuple[Label, Label]]:
    """Pairs of labels whose boxes meet."""
    found: list[tuple[Label, Label]] = []
    near: list[Label] = []  # those that reach below the top of the next
    for label in sorted((it for it in labels if it.text.strip()), key=lambda it: it.top):
        near = [other for other in near if other.bottom > label.top]
        found += [(other, label) for other in near if other.meets(label)]
        near.append(label)
    return found


def labels_of(svg: str) -> list[Label]:
    """The texts of a figure's SVG with their boxes, read back from the file.

    >>> canvas = Canvas(100, 20)
    >>> said = canvas.text(10, 15, "a label")
    >>> labels_of(canvas.finish("t", "")) == [said]
    True
    """
    found = []
    for element in ET.fromstring(svg.encode()).iter(f"{{{SVG}}}text"):
        place = {name: float(element.get(name, "0")) for name in ("x", "y", "font-size")}
        anchor = element.get("text-anchor", "start")
        found.append(
            _label(
                element.text or "", place["x"], place["y"], place["font-size"],
                anchor,  # type: ignore[arg-type]  # the writer wrote one of the three
                element.get("font-weight") == "bold", element.get("transform") is not None,
                element.get("data-cell") is not None,
            )
        )  # fmt: skip
    return found


def _label(
    text: str, x: float, y: float, size: float, anchor: Anchor, bold: bool, turn: bool, cell: bool
) -> Label:
    # As the file has them, so that boxes read back from it are the same boxes.
    x, y, size = (float(_number(value)) for value in (x, y, size))
    width = text_width(text, size, bold=bold)
    before = {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    up, down = _ASCENT * size, _DESCENT * size
    if turn:
        box = x - up, y - (width - before), x + down, y + before
    else:
        box = x - before, y - up, x + width - before, y + down
    return Label(text, *box, size, cell)


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """At most two digits after the point: a hundredth of a point is less than any eye sees."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
