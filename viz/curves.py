"""Line charts of what training reports, written as SVG by the few lines that this takes.

Each series has a colour and a dash of its own, so the chart reads in grey too.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from graphc.ir.errors import GraphError

from . import style
from .style import DARK_FAINT, DARK_INK, DARK_PAPER, FAINT, FONT, INK, PAPER
from .text import clean

_SVG = "http://www.w3.org/2000/svg"
# Colour and dash of each series.
_PENS = (
    (style.BLUE, ""),
    (style.VERMILLION, "7 3"),
    (style.GREEN, "2 3"),
    (style.PURPLE, "9 3 2 3"),
    (style.ORANGE, "14 4"),
    (style.SKY, "5 2 2 2 2 2"),
)
# Margins around the axes, in points: room for the numbers left and below.
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 40, 46
_ROW = 16


@dataclass(frozen=True)
class Chart:
    """What ``viz.curves`` returns: ``.svg`` (str), ``.save(path)``, ``.series``, ``.caption``."""

    series: dict[str, tuple[float, ...]]
    title: str
    x: str
    y: str
    caption: str
    first: int
    width: int
    height: int

    @cached_property
    def svg(self) -> str:
        """SVG text, for light and dark pages; the same numbers give the same bytes."""
        return _Sheet(self).write()

    def save(self, path: str | Path) -> Path:
        """Write the chart; the name must end in .svg."""
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise GraphError(f"a chart is saved as .svg, not as {path.name!r}")
        path.write_text(self.svg, encoding="utf-8")
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<graphc.viz.Chart of {', '.join(self.series)}>"


def curves(
    series: Mapping[str, Iterable[float]],
    *,
    title: str = "",
    x: str = "epoch",
    y: str = "",
    caption: str = "",
    first: int = 1,
    width: int = 640,
    height: int = 360,
) -> Chart:
    """A line chart of ``{name: values per epoch}``.

    The values of one series belong to ``first``, ``first`` + 1, … on the x axis. A NaN or an
    infinity leaves a gap, and the caption says how many there are. title, x, y, caption: text;
    width, height: points.

    Raises GraphError: no series, a series that is not numbers, nothing finite to draw.

    >>> from graphc import viz
    >>> chart = viz.curves({"train": [2.3, 0.9, 0.4], "test": [1.1, 0.7, 0.5]}, y="loss")
    >>> chart.svg.count("<polyline")
    4
    """
    if not isinstance(series, Mapping) or not series:
        raise GraphError("viz.curves takes {name: values per epoch}, with one series or more")
    read: dict[str, tuple[float, ...]] = {}
    for name, values in series.items():
        try:
            read[str(name)] = tuple(float(value) for value in values)
        except (TypeError, ValueError):
            raise GraphError(f"viz.curves: the values of {name!r} are not numbers") from None
    everything = [value for values in read.values() for value in values]
    if not any(map(math.isfinite, everything)):
        raise GraphError("viz.curves: there is no finite value to draw")
    if width < 200 or height < 120:
        raise GraphError(f"viz.curves: {width} by {height} points is too small for axes")
    lost = sum(not math.isfinite(value) for value in everything)
    if lost:
        caption = f"{caption} {lost} value{'s' * (lost > 1)} not finite, left out.".strip()
    return Chart(read, title, x, y, caption, first, width, height)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` + 1 round numbers (1, 2 or 5 times a power of ten apart) around both ends.

    >>> ticks(0.13, 2.3, 5)
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    """
    if not high > low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(m * power for m in (1, 2, 5, 10, 20) if (high - low) / (m * power) <= most)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(start, stop + 1)]


class _Sheet:
    """One chart being written."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        rows = -(-len(chart.series) // self._per_row())
        self.top = _TOP + _ROW * (rows - 1) + (18 if chart.title else 0)
        self.bottom = chart.height - _BOTTOM - (16 if chart.caption else 0)
        self.left, self.right = _LEFT, chart.width - _RIGHT
        values = [v for row in chart.series.values() for v in row if math.isfinite(v)]
        self.y_ticks = ticks(min(values), max(values), 6)
        last = chart.first + max(map(len, chart.series.values())) - 1
        self.x_range = (chart.first, max(last, chart.first + 1))
        spread = ticks(self.x_range[0], self.x_range[1], 10)
        self.x_ticks = [t for t in spread if t.is_integer() and chart.first <= t <= last]

    def _per_row(self) -> int:
        longest = max(len(clean(name, 28)) for name in self.chart.series)
        return max(int((self.chart.width - _LEFT - _RIGHT) // (48 + 6.5 * longest)), 1)

    def place(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), y0, y1 = self.x_range, self.y_ticks[0], self.y_ticks[-1]
        return (
            self.left + (x - x0) / (x1 - x0) * (self.right - self.left),
            self.bottom - (y - y0) / (y1 - y0) * (self.bottom - self.top),
        )

    # -- writing --------------------------------------------------------------------------

    def write(self) -> str:
        chart = self.chart
        ET.register_namespace("", _SVG)
        root = ET.Element(f"{{{_SVG}}}svg", {
            "viewBox": f"0 0 {chart.width} {chart.height}", "width": f"{chart.width}",
            "height": f"{chart.height}", "class": "graphc-chart", "role": "img",
            "font-family": FONT, "font-size": "11",
        })  # fmt: skip
        self.root = root
        self.add("title", text=clean(chart.title or f"{chart.y or 'values'} by {chart.x}", 200))
        self.add("desc", text=self.words())
        self.add("style", text=_STYLE)
        self.add("rect", {"class": "paper", "width": "100%", "height": "100%", "fill": PAPER})
        if chart.title:
            self.text(chart.width / 2, 20, chart.title, "middle", size=13)
        self.axes()
        self.legend()
        for number, (name, values) in enumerate(chart.series.items()):
            self.line(name, values, *_PENS[number % len(_PENS)])
        if chart.caption:
            self.text(self.left, chart.height - 8, chart.caption, "start", faint=True)
        body = ET.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'

    def add(
        self, tag: str, given: Mapping[str, str] | None = None, text: str | None = None
    ) -> ET.Element:
        element = ET.SubElement(self.root, f"{{{_SVG}}}{tag}", dict(given or {}))
        element.text, element.tail = text, "\n"
        return element

    def text(
        self, x: float, y: float, said: str, anchor: str, *, size: int = 11, faint: bool = False,
        turn: bool = False,
    ) -> None:  # fmt: skip
        given = {
            "x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "font-size": f"{size}",
            "fill": FAINT if faint else INK, "class": "faint" if faint else "ink",
        }  # fmt: skip
        if turn:
            given["transform"] = f"rotate(-90 {x:.1f} {y:.1f})"
        self.add("text", given, clean(said, 120))

    def stroke(self, points: Sequence[tuple[float, float]], **given: str) -> ET.Element:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        named = {name.replace("_", "-").rstrip("-"): value for name, value in given.items()}
        return self.add("polyline", {"points": path, "fill": "none", **named})

    def axes(self) -> None:
        chart = self.chart
        digits = max(-math.floor(math.log10(self.y_ticks[1] - self.y_ticks[0]) + 1e-9), 0)
        for tick in self.y_ticks:
            _, y = self.place(chart.first, tick)
            self.add("path", {
                "d": f"M{self.left} {y:.1f}H{self.right}", "stroke": "#d9d9d9", "class": "grid",
            })  # fmt: skip
            self.text(self.left - 6, y + 4, _number(tick, digits), "end", faint=True)
        for tick in self.x_ticks:
            x, _ = self.place(tick, self.y_ticks[0])
            self.add("path", {
                "d": f"M{x:.1f} {self.bottom}v4", "stroke": FAINT, "class": "axis",
            })  # fmt: skip
            self.text(x, self.bottom + 16, f"{tick:.0f}", "middle", faint=True)
        self.add("path", {
            "d": f"M{self.left} {self.top}V{self.bottom}H{self.right}", "stroke": FAINT,
            "fill": "none", "class": "axis",
        })  # fmt: skip
        self.text((self.left + self.right) / 2, self.bottom + 32, chart.x, "middle")
        if chart.y:
            self.text(14, (self.top + self.bottom) / 2, chart.y, "middle", turn=True)

    def legend(self) -> None:
        per_row = self._per_row()
        width = (self.right - self.left) / per_row
        for number, name in enumerate(self.chart.series):
            row, column = divmod(number, per_row)
            x = self.left + column * width
            y = (38 if self.chart.title else 20) + row * _ROW
            colour, dash = _PENS[number % len(_PENS)]
            self.stroke([(x, y - 4), (x + 30, y - 4)], **_pen(colour, dash))
            self.text(x + 36, y, clean(name, 28), "start")

    def line(self, name: str, values: Sequence[float], colour: str, dash: str) -> None:
        run: list[tuple[float, float]] = []
        for number, value in enumerate([*values, math.nan]):
            if math.isfinite(value):
                run.append(self.place(self.chart.first + number, value))
                continue
            if len(run) == 1:  # a line needs two points; one alone is a dot
                dot = {"cx": f"{run[0][0]:.1f}", "cy": f"{run[0][1]:.1f}", "r": "3"}
                element = self.add("circle", {**dot, "fill": colour})
            elif run:
                element = self.stroke(run, **_pen(colour, dash))
            if run:
                ET.SubElement(element, f"{{{_SVG}}}title").text = clean(name, 200)
            run = []

    def words(self) -> str:
        """The chart in words: where each series begins, ends and is lowest and highest."""
        said = []
        for name, values in self.chart.series.items():
            known = [v for v in values if math.isfinite(v)]
            if known:
                said.append(
                    f"{name}: {len(values)} values, from {known[0]:.4g} to {known[-1]:.4g}, "
                    f"lowest {min(known):.4g}, highest {max(known):.4g}"
                )
        return clean("; ".join(said), 2000)


def _pen(colour: str, dash: str) -> dict[str, str]:
    pen = {"stroke": colour, "stroke_width": "2", "stroke_linejoin": "round"}
    return {**pen, "stroke_dasharray": dash} if dash else pen


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if digits <= 6 and abs(value) < 1e7 else f"{value:.4g}"


_STYLE = f"""@media (prefers-color-scheme: dark) {{
.graphc-chart .paper {{ fill: {DARK_PAPER} }}
.graphc-chart .ink {{ fill: {DARK_INK} }}
.graphc-chart .faint {{ fill: {DARK_FAINT} }}
.graphc-chart .grid {{ stroke: #33373d }}
.graphc-chart .axis {{ stroke: {DARK_FAINT} }}
}}"""
