"""Grids of numbers: one cell a value, its text as short as it is exact, its role in its data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .canvas import Canvas, text_width

Array = np.ndarray[Any, np.dtype[Any]]

SIZE = 11.0  # points of the numbers
_ROOM = 8.0  # around a number, left and right together
_LEAST = 22.0  # sides of a cell
_EXACT = 5  # characters up to which numbers are printed as they are


@dataclass(frozen=True)
class Numbers:
    """How a figure prints its numbers: exactly (``digits`` None), or rounded."""

    digits: int | None

    @staticmethod
    def of(arrays: Iterable[Any], digits: int | None) -> Numbers:
        """Exact where every number of ``arrays`` is short; else three significant digits."""
        if digits is not None:
            return Numbers(digits)
        exact = Numbers(None)
        short = all(len(exact(float(v))) <= _EXACT for a in arrays for v in np.ravel(a))
        return exact if short else Numbers(3)

    def __call__(self, value: float) -> str:
        """The text of a number, "" for NaN."""
        if math.isnan(value):
            return ""
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        if self.digits is None:
            text = repr(float(value))
            return text.removesuffix(".0") if text != "-0.0" else "0"
        text = f"{value:.{self.digits}g}"
        return "0" if float(text) == 0 else text

    @property
    def words(self) -> str:
        """For a caption's template: ``{digits}`` is a value of it unless all is exact."""
        return "numbers exact" if self.digits is None else "numbers to {digits} significant digits"

    @property
    def values(self) -> dict[str, int]:
        """The values of ``words``."""
        return {} if self.digits is None else {"digits": self.digits}

    def width(self, *arrays: Any) -> float:
        """A cell in which each number of ``arrays`` has room."""
        texts = [self(float(v)) for a in arrays for v in np.ravel(a)]
        widest = max((text_width(text, SIZE) for text in texts), default=0.0)
        return max(_LEAST, math.ceil(widest + _ROOM))


@dataclass(frozen=True)
class Look:
    """How a cell looks: ``line`` 0 leaves its outline out."""

    fill: str = "paper"
    stroke: str = "faint"
    line: float = 0.8
    dash: str = ""
    ink: str = "ink"
    bold: bool = False


PLAIN = Look()
PADDING = Look(fill="shade", stroke="faint", dash="2 2", ink="faint")
READ = Look(fill="tint-orange", stroke="vermillion", line=1.6)
READ_PADDING = Look(fill="shade", stroke="vermillion", line=1.6, dash="3 2", ink="faint")
WINNER = Look(fill="tint-vermillion", stroke="vermillion", line=2.6, bold=True)
FACTOR = Look(fill="tint-blue", stroke="blue")
RESULT = Look(fill="tint-green", stroke="green", line=2.6, bold=True)
SHOWN = Look(fill="tint-green", stroke="green")
FAINT = Look(ink="faint")


@dataclass(frozen=True)
class Part:
    """The stretch of an axis that is drawn: all of a short one, a part of a long one."""

    first: int
    count: int

    @staticmethod
    def around(first: int, last: int, length: int, most: int) -> Part:
        """All, where that is at most ``most``; else from before ``first`` to after ``last``."""
        if length <= most:
            return Part(0, length)
        first = max(min(first, length - 1), 0)
        start, end = max(first - 1, 0), max(min(last + 2, length), first + 1)
        return Part(start, end - start)

    @property
    def cut(self) -> slice:
        """The stretch, to cut an array with."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True)
class Grid:
    """A grid on the sheet: its corner, the sides of a cell, how many rows and columns."""

    x: float
    y: float
    wide: float
    rows: int
    columns: int
    tall: float = _LEAST

    @property
    def right(self) -> float:
        """The x at which the grid ends."""
        return self.x + self.columns * self.wide

    @property
    def bottom(self) -> float:
        """The y at which the grid ends."""
        return self.y + self.rows * self.tall

    @property
    def middle(self) -> float:
        """The y of the middle."""
        return (self.y + self.bottom) / 2

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """The left upper corner of a cell."""
        return self.x + column * self.wide, self.y + row * self.tall

    def centre(self, row: float, column: float) -> tuple[float, float]:
        """The middle of a cell."""
        return self.x + (column + 0.5) * self.wide, self.y + (row + 0.5) * self.tall

    def draw(
        self,
        canvas: Canvas,
        values: Array,
        say: Callable[[float], str],
        role: str,
        *,
        look: Callable[[int, int], Look] = lambda row, column: Look(),
        data: Callable[[int, int], Mapping[str, Any]] = lambda row, column: {},
        first: tuple[int, int] = (0, 0),
    ) -> None:
        """Write the cells; ``first`` is the (row, column) that the left upper cell is called."""
        for row, column in np.ndindex(self.rows, self.columns):
            value = float(values[row, column])
            style = look(row, column)
            x, y = self.corner(row, column)
            named = {"role": role, "row": first[0] + row, "column": first[1] + column}
            if not math.isnan(value):
                named["value"] = repr(value)
            canvas.rect(
                x, y, self.wide, self.tall, fill=style.fill, stroke=style.stroke, line=style.line,
                dash=style.dash, data={**named, **data(row, column)},
            )  # fmt: skip
            text = say(value)
            if text:
                canvas.text(
                    x + self.wide / 2, y + self.tall / 2 + SIZE * 0.36, text, size=SIZE,
                    anchor="middle", fill=style.ink, bold=style.bold,
                )  # fmt: skip
