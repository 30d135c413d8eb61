"""Rows of titled grids with signs between them: what the figures of whole maps are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .grids import Grid, Look, Numbers, Part
from .windows import Array, Reading

_MARGIN = 16.0
_SIGN = 34.0
_TITLE = 12.0
_ABOVE = 20.0  # room for a title over its grid
# Trails are told apart by dash as well as colour.
_TRAIL_ROOM = 110.0
# Where in the height of a cell trails run: above and below its number.
_LANES = (3.0, 19.0, 5.5, 16.5)
_TRAILS = (("vermillion", ""), ("blue", "6 3"), ("green", "2 2"), ("purple", "8 2 2 2"))

Looks = Look | Callable[[int, int], Look]


@dataclass
class Block:
    """A grid with its title, before and after it has its place."""

    values: Array
    parts: tuple[Part, Part]
    title: str
    look: Looks
    role: str
    channel: int | None
    cell: float
    grid: Grid | None = None

    @property
    def width(self) -> float:
        """Points that the grid or its title takes."""
        return max(self.cell * self.parts[1].count, text_width(self.title, _TITLE))

    @property
    def height(self) -> float:
        """Points of the grid alone."""
        return self.parts[0].count * 22.0


class Sheet:
    """Grids in rows; ``figure`` writes them down."""

    def __init__(self, say: Numbers) -> None:
        self.say = say
        self.placed: list[Block] = []
        self._signs: list[tuple[float, float, str]] = []
        self._brackets: list[tuple[float, float]] = []
        self._trails: list[tuple[int, int, Mapping[tuple[int, int], tuple[int, int]], bool]] = []

    def grid(
        self,
        values: Array,
        parts: tuple[Part, Part] | None,
        title: str,
        look: Looks,
        role: str,
        channel: int | None = None,
        like: Sequence[Array] = (),
    ) -> Block:
        """A block for ``row``: the drawn part of ``values``, all of it where ``parts`` is None.

        ``like``: maps that shall have cells of the same width.
        """
        whole = Part(0, values.shape[0]), Part(0, values.shape[1])
        used = parts or whole
        return Block(
            values, used, title, look, role, channel,
            self.say.width(*(each[used[0].cut, used[1].cut] for each in (values, *like))),
        )  # fmt: skip

    def row(
        self,
        items: Sequence[Block | str],
        y: float,
        *,
        x: float = 0.0,
        middle: float | None = None,
    ) -> float:
        """Place blocks and signs from ``x`` on, centred on one line; returns where they end.

        An empty sign is room for trails.
        """
        tallest = max(item.height for item in items if isinstance(item, Block))
        if middle is None:
            middle = y + _ABOVE + tallest / 2
        for item in items:
            if isinstance(item, str):
                wide = _SIGN if item else _TRAIL_ROOM
                self._signs.append((x + wide / 2, middle, item))
                x += wide
                continue
            left = x + (item.width - item.cell * item.parts[1].count) / 2
            item.grid = Grid(
                left, middle - item.height / 2, item.cell, item.parts[0].count, item.parts[1].count
            )
            self.placed.append(item)
            x += item.width
        return middle + tallest / 2

    def bracket(self, x: float, bottom: float) -> None:
        """A bracket on the right of all rows so far: their sum follows."""
        self._brackets.append((x, bottom))

    def trails(
        self,
        first: int,
        second: int,
        ends: Mapping[tuple[int, int], tuple[int, int]],
        *,
        back: bool,
    ) -> None:
        """Lines between cells of two placed blocks: {cell of the second: cell of the first}."""
        self._trails.append((first, second, ends, back))

    @property
    def right(self) -> float:
        """Where the rightmost block ends."""
        return max(b.grid.x + b.cell * b.parts[1].count for b in self.placed if b.grid is not None)

    def figure(self, model: dict[str, Any], caption: Caption, title: str) -> Figure:
        """All that was placed, as a figure."""
        titles = [self._title(block)[0] for block in self.placed]
        left = min(
            [
                0.0,
                *(
                    x - text_width(b.title, _TITLE) / 2
                    for b, x in zip(self.placed, titles, strict=True)
                ),
            ]
        )
        grids = [block.grid for block in self.placed if block.grid is not None]
        top = min(grid.y for grid in grids) - _ABOVE
        right = max(
            max(grid.right for grid in grids),
            *(
                x + text_width(b.title, _TITLE) / 2
                for b, x in zip(self.placed, titles, strict=True)
            ),
        )
        bottom = max(grid.bottom for grid in grids)
        dx, dy = _MARGIN - left, _MARGIN - min(top, 0.0)
        canvas = Canvas(max(right + dx + _MARGIN, 320), bottom + dy + _MARGIN)
        for block in self.placed:
            self._draw(canvas, block, dx, dy)
        for x, y, sign in self._signs:
            if sign:
                canvas.text(x + dx, y + dy + 6, sign, size=16, anchor="middle")
        for x, end in self._brackets:
            ends = [(x, _ABOVE), (x + 6, _ABOVE), (x + 6, end), (x, end)]
            canvas.polyline([(a + dx, b + dy) for a, b in ends], stroke="faint", line=1.5)
        for first, second, cells, back in self._trails:
            self._draw_trails(canvas, first, second, cells, back)
        return Figure(canvas, model, caption, title, self._words())

    def _title(self, block: Block) -> tuple[float, float]:
        assert block.grid is not None
        return (block.grid.x + block.grid.right) / 2, block.grid.y - 7

    def _draw(self, canvas: Canvas, block: Block, dx: float, dy: float) -> None:
        assert block.grid is not None
        x, y = self._title(block)
        grid = Grid(
            block.grid.x + dx, block.grid.y + dy, block.grid.wide, block.grid.rows,
            block.grid.columns,
        )  # fmt: skip
        block.grid = grid
        rows, columns = block.parts
        look = block.look
        data = {} if block.channel is None else {"channel": block.channel}

        def cell(i: int, j: int) -> Look:
            return look if isinstance(look, Look) else look(rows.first + i, columns.first + j)

        with canvas.group(title=block.title, data={"map": block.role, **data}):
            grid.draw(
                canvas, block.values[rows.cut, columns.cut], self.say, block.role, look=cell,
                data=lambda i, j: data, first=(rows.first, columns.first),
            )  # fmt: skip
        canvas.text(x + dx, y + dy, block.title, size=_TITLE, anchor="middle", fill="faint")

    def _draw_trails(
        self,
        canvas: Canvas,
        first: int,
        second: int,
        cells: Mapping[tuple[int, int], tuple[int, int]],
        back: bool,
    ) -> None:
        one, other = self.placed[first].grid, self.placed[second].grid
        assert one is not None
        assert other is not None
        used: Counter[tuple[int, int]] = Counter()
        for number, (unit, pixel) in enumerate(cells.items()):
            colour, dash = _TRAILS[number % len(_TRAILS)]
            heights = []
            for side, grid, row in ((0, one, pixel[0]), (1, other, unit[0])):
                lane = _LANES[used[side, row] % len(_LANES)]
                used[side, row] += 1
                heights.append(grid.y + row * grid.tall + lane)
            start, end = one.corner(*pixel)[0] + one.wide, other.corner(*unit)[0]
            # Along its row to the edge of its grid, across, and along the other's row.
            points = [
                (start - 3, heights[0]), (one.right + 3, heights[0]), (other.x - 12, heights[1]),
                (end + 4, heights[1]),
            ]  # fmt: skip
            canvas.polyline(
                points[::-1] if back else points, stroke=colour, line=1.2, dash=dash, arrow=6,
                data={"trail": "{},{}".format(*pixel), "unit": "{},{}".format(*unit)},
            )  # fmt: skip

    def _words(self) -> str:
        said = []
        for block in self.placed:
            rows, columns = block.values.shape
            said.append(f"{block.title}, {rows} by {columns}")
        return "Maps with their numbers: " + "; ".join(said) + "."


def sources(
    said: str, values: Mapping[str, Any], read: Reading, say: Numbers, seed: int
) -> Caption:
    """The caption: ``said``, how the numbers are printed, and which of them were made."""
    made, numbers = read.made_words(seed)
    return Caption(f"{said}; {say.words}{made}.", {**values, **say.values, **numbers})


def listed(array: Array) -> list[list[float]]:
    """A map for a model: float32 numbers as they print."""
    return [[float(str(value)) for value in row] for row in np.asarray(array)]
