"""Line charts of what training reports.

Each series has a colour and a dash of its own, so the chart reads in grey too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from graphc.ir.errors import GraphError

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .text import clean

# Colour and dash of each series.
_PENS = (
    ("blue", ""),
    ("vermillion", "7 3"),
    ("green", "2 3"),
    ("purple", "9 3 2 3"),
    ("orange", "14 4"),
    ("sky", "5 2 2 2 2 2"),
)
_SIZE = 11.0
_SAID = 4  # series whose end the caption says
# Margins around the axes, in points: room for the numbers left and below.
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 40, 46
_ROW = 16
_LEAST = 64.0  # the axes are at least so high


@dataclass(frozen=True)
class Chart:
    """What ``viz.curves`` returns: ``.svg`` (str), ``.png``, ``.save(path)``, ``.series``,
    ``.caption``."""

    series: dict[str, tuple[float, ...]]
    title: str
    x: str
    y: str
    caption: Caption
    first: int
    width: int
    height: int

    @cached_property
    def figure(self) -> Figure:
        """The chart as a figure."""
        return _Sheet(self).draw()

    @property
    def svg(self) -> str:
        """SVG text, for light and dark pages; the same numbers give the same bytes."""
        return self.figure.svg

    @property
    def png(self) -> bytes:
        """PNG, two pixels a point. Raises BackendError: the extra graphc[viz] is missing."""
        return self.figure.png

    def save(self, path: str | Path, size: tuple[int, int] | None = None) -> Path:
        """As ``Figure.save``; .json has the numbers."""
        return self.figure.save(path, size)

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
    infinity leaves a gap, and the caption says how many there are; it also says where the series
    end. title, x, y, caption: text; width, height: points, to which the caption adds its rows.

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
    return Chart(read, title, x, y, _caption(read, caption), first, width, height)


def _caption(series: Mapping[str, Sequence[float]], given: str) -> Caption:
    """The user's words, then where the first few series end, and what is not drawn."""
    said = [clean(given, 2000).replace("{", "{{").replace("}", "}}")] if given else []
    values: dict[str, int | float | str] = {}
    ends = []
    for number, (name, points) in enumerate(list(series.items())[:_SAID]):
        known = [value for value in points if math.isfinite(value)]
        if known:
            ends.append(f"{{name{number}}} at {{end{number}}}")
            values |= {f"name{number}": name, f"end{number}": float(f"{known[-1]:.4g}")}
    if ends:
        said.append(f"Ends: {', '.join(ends)}.")
    lost = sum(not math.isfinite(value) for points in series.values() for value in points)
    if lost:
        said.append(f"{{lost}} value{'s' * (lost > 1)} not finite, left out.")
        values["lost"] = lost
    return Caption(" ".join(said), values)


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
    """One chart being drawn."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.per_row = self._per_row()
        rows = -(-len(chart.series) // self.per_row)
        self.top = _TOP + _ROW * (rows - 1) + (18 if chart.title else 0)
        # A long legend makes the sheet higher rather than the axes lower.
        self.bottom = max(chart.height - _BOTTOM, self.top + _LEAST)
        self.canvas = Canvas(chart.width, self.bottom + _BOTTOM)
        values = [v for row in chart.series.values() for v in row if math.isfinite(v)]
        # As many numbers as have room; round ones may be one more.
        most = max(min(int((self.bottom - self.top) / 20) - 1, 6), 1)
        self.y_ticks = ticks(min(values), max(values), most)
        step = self.y_ticks[1] - self.y_ticks[0]
        digits = max(-math.floor(math.log10(step) + 1e-9), 0)
        self.y_said = [_number(tick, digits) for tick in self.y_ticks]
        widest = max(text_width(said, _SIZE) for said in self.y_said)
        self.left, self.right = max(_LEFT, widest + 30), chart.width - _RIGHT
        last = chart.first + max(map(len, chart.series.values())) - 1
        self.x_range = (chart.first, max(last, chart.first + 1))
        wide = text_width(f"{self.x_range[1]}", _SIZE) + 14
        most = max(min(int((self.right - self.left) / wide) - 1, 10), 1)
        spread = ticks(self.x_range[0], self.x_range[1], most)
        self.x_ticks = [t for t in spread if t.is_integer() and chart.first <= t <= last]

    def _per_row(self) -> int:
        longest = max(text_width(clean(name, 28), _SIZE) for name in self.chart.series)
        return max(int((self.chart.width - _LEFT - _RIGHT) // (48 + longest)), 1)

    def place(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), y0, y1 = self.x_range, self.y_ticks[0], self.y_ticks[-1]
        return (
            self.left + (x - x0) / (x1 - x0) * (self.right - self.left),
            self.bottom - (y - y0) / (y1 - y0) * (self.bottom - self.top),
        )

    def draw(self) -> Figure:
        chart = self.chart
        if chart.title:
            room = chart.width - 20
            self.canvas.text(chart.width / 2, 20, chart.title, size=13, anchor="middle", room=room)
        self.axes()
        self.legend()
        for number, (name, values) in enumerate(chart.series.items()):
            self.line(name, values, *_PENS[number % len(_PENS)])
        title = chart.title or f"{chart.y or 'values'} by {chart.x}"
        model = {"series": dict(chart.series), "first": chart.first}
        return Figure(self.canvas, model, chart.caption, title, self.words())

    def axes(self) -> None:
        chart, canvas = self.chart, self.canvas
        for tick, said in zip(self.y_ticks, self.y_said, strict=True):
            _, y = self.place(chart.first, tick)
            canvas.path(f"M{self.left} {y:.1f}H{self.right}", stroke="grid")
            canvas.text(self.left - 6, y + 4, said, size=_SIZE, anchor="end", fill="faint")
        for tick in self.x_ticks:
            x, _ = self.place(tick, self.y_ticks[0])
            canvas.path(f"M{x:.1f} {self.bottom}v4", stroke="faint")
            said = f"{tick:.0f}"
            canvas.text(x, self.bottom + 16, said, size=_SIZE, anchor="middle", fill="faint")
        canvas.path(f"M{self.left} {self.top}V{self.bottom}H{self.right}", stroke="faint")
        middle, room = (self.left + self.right) / 2, self.right - self.left
        canvas.text(middle, self.bottom + 32, chart.x, size=_SIZE, anchor="middle", room=room)
        if chart.y:
            middle, room = (self.top + self.bottom) / 2, self.bottom - self.top
            canvas.text(14, middle, chart.y, size=_SIZE, anchor="middle", turn=True, room=room)

    def legend(self) -> None:
        per_row, start = self.per_row, float(_LEFT)
        width = (self.right - start) / per_row
        for number, name in enumerate(self.chart.series):
            row, column = divmod(number, per_row)
            x = start + column * width
            y = (38 if self.chart.title else 20) + row * _ROW
            colour, dash = _PENS[number % len(_PENS)]
            self.canvas.line(x, y - 4, x + 30, y - 4, stroke=colour, line=2, dash=dash)
            self.canvas.text(x + 36, y, clean(name, 28), size=_SIZE, room=width - 40)

    def line(self, name: str, values: Sequence[float], colour: str, dash: str) -> None:
        run: list[tuple[float, float]] = []
        for number, value in enumerate([*values, math.nan]):
            if math.isfinite(value):
                run.append(self.place(self.chart.first + number, value))
            elif len(run) == 1:  # a line needs two points; one alone is a dot
                self.canvas.circle(*run[0], 3, fill=colour, stroke="none", title=clean(name, 200))
                run = []
            elif run:
                said = clean(name, 200)
                self.canvas.polyline(run, stroke=colour, line=2, dash=dash, title=said)
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


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if digits <= 6 and abs(value) < 1e7 else f"{value:.4g}"
