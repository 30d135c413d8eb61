"""Plates of filters: one cell a filter (or a channel of it), enlarged by a whole number.

Grey says what the numbers are only if the normalization is told, so the caption tells it, and the
default, ``symmetric``, keeps zero at mid grey: minimum-to-maximum scaling moves zero, which is the
usual way for such pictures to mislead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest

from .canvas import Canvas
from .figure import Caption, Figure
from .reading import on_host

Normalization = Literal["symmetric", "global", "per-filter"]
Array = np.ndarray[Any, np.dtype[Any]]

TOP = 254  # data use 0 … 254, so 255 is free for what is no data
MIDDLE = TOP // 2
GAP = (199, 221, 255)  # blue 255: no data pixel has it
SPLIT = (0, 60, 255)  # the line between two groups, in the same way
BROKEN = (255, 0, 110)  # a NaN or an infinity, in the same way
_MOST_CELLS = 2304  # 48 x 48
_WIDEST = 960  # pixels that an automatic scale aims at


@dataclass(frozen=True, eq=False)
class Plate:
    """What ``viz.filters`` returns: ``.png`` (bytes), ``.svg``, ``.save(path)``, ``.pixels()``.

    ``values`` are the numbers shown, (filters, channels, height, width); ``low`` and ``high`` are
    what black and white stand for, one pair for each filter; ``groups`` blocks of ``columns`` cells
    a row stand one above the other. ``.caption`` and ``.model`` say it as in every figure.
    """

    values: Array
    low: Array
    high: Array
    caption: Caption
    columns: int
    scale: int
    gap: int
    groups: int
    colour: bool
    """Whether the three channels of a filter are the red, green and blue of one cell."""

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self.values.shape[0] * (1 if self.colour else self.values.shape[1]))

    @property
    def rows(self) -> int:
        """How many rows of cells, over all groups."""
        return self.groups * -(-self.cells // self.groups // self.columns)

    @property
    def split(self) -> int:
        """Pixels between two groups, beyond the gap."""
        return max(2 * self.gap, self.scale, 4)

    def corner(self, cell: int) -> tuple[int, int]:
        """Top and left pixel of a cell."""
        height, width = self.values.shape[2:]
        group, inside = divmod(cell, self.cells // self.groups)
        row, column = divmod(inside, self.columns)
        row += group * (self.rows // self.groups)
        return (
            self.gap + row * (height * self.scale + self.gap) + group * self.split,
            self.gap + column * (width * self.scale + self.gap),
        )

    @property
    def model(self) -> dict[str, Any]:
        """The plate as data: the values, what is black and white, and where each cell stands."""
        return {
            "kind": "filters",
            "values": self.values.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "groups": self.groups,
            "columns": self.columns,
            "rows": self.rows,
            "scale": self.scale,
            "corners": [list(self.corner(cell)) for cell in range(self.cells)],
        }

    @cached_property
    def plate(self) -> Array:
        """The cells as RGB pixels, without the caption: uint8 (height, width, 3)."""
        height, width = self.values.shape[2:]
        shape = (
            self.gap
            + self.rows * (height * self.scale + self.gap)
            + (self.groups - 1) * self.split,
            self.gap + self.columns * (width * self.scale + self.gap),
        )
        plate = np.empty((*shape, 3), np.uint8)
        plate[:] = GAP
        for group in range(1, self.groups):
            line = self.corner(group * self.cells // self.groups)[0] - (self.gap + self.split) // 2
            plate[line - 1 : line + 1] = SPLIT
        rgb = self._rgb().reshape(self.cells, height, width, 3)
        large = rgb.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        for cell in range(self.cells):
            top, left = self.corner(cell)
            plate[top : top + height * self.scale, left : left + width * self.scale] = large[cell]
        return plate

    def _rgb(self) -> Array:
        """Values to pixels: (filters, channels or 1, height, width, 3)."""
        finite: Array = np.isfinite(self.values)
        values = np.where(finite, self.values, 0.0)
        low, high = (edge[:, None, None, None] for edge in (self.low, self.high))
        span = high - low
        # A filter without contrast is mid grey: it has no dark and no light.
        ramp = np.where(span > 0, (values - low) / np.where(span > 0, span, 1.0), 0.5)
        grey = np.rint(np.clip(ramp, 0, 1) * TOP).astype(np.uint8)
        if self.colour:
            cells = np.moveaxis(grey, 1, -1)[:, None]
            broken = ~np.asarray(finite.all(axis=1))[:, None]
        else:
            cells, broken = np.stack([grey] * 3, axis=-1), ~finite
        pixels: Array = np.where(np.expand_dims(broken, -1), np.array(BROKEN, np.uint8), cells)
        return pixels

    def pixels(self) -> Array:
        """The values read back from the picture: (filters, channels, height, width), float64.

        Each is within half a grey step, ``(high - low)/508``, of what was drawn; NaN where the
        value was not finite.
        """
        from PIL import Image

        with Image.open(BytesIO(self.png)) as image:
            seen = np.asarray(image.convert("RGB"))
        filters, channels, height, width = self.values.shape
        cells = np.empty((self.cells, height, width, 3), np.uint8)
        for cell in range(self.cells):
            top, left = self.corner(cell)
            bottom, right = top + height * self.scale, left + width * self.scale
            cells[cell] = seen[top : bottom : self.scale, left : right : self.scale]
        broken = (cells == np.array(BROKEN, np.uint8)).all(axis=-1)
        ramp = np.where(broken[..., None], np.nan, cells / TOP)
        if self.colour:
            ramp = np.moveaxis(ramp, -1, 1)
        else:
            ramp = ramp[..., 0].reshape(filters, channels, height, width)
        low, high = (edge[:, None, None, None] for edge in (self.low, self.high))
        read: Array = low + ramp * (high - low)
        return read

    @cached_property
    def png(self) -> bytes:
        """PNG bytes, the caption below the plate; the same input gives the same bytes."""
        from PIL import Image, ImageDraw, ImageFont

        font = ImageFont.load_default(size=12)
        height, width = self.plate.shape[:2]
        lines = _wrap(str(self.caption), max(width, 320) - 8, font)
        canvas = Image.new("RGB", (max(width, 320), height + 17 * len(lines) + 6), (255, 255, 255))
        canvas.paste(Image.fromarray(self.plate), (0, 0))
        pen = ImageDraw.Draw(canvas)
        for number, text in enumerate(lines):
            pen.text((4, height + 4 + 17 * number), text, fill=(40, 40, 40), font=font)
        buffer = BytesIO()
        canvas.save(buffer, format="PNG")
        return buffer.getvalue()

    @cached_property
    def _figure(self) -> Figure:
        height, width = self.plate.shape[:2]
        canvas = Canvas(max(width, 320), height + 8)
        canvas.image(0, 0, width, height, self.plate, title=str(self.caption))
        words = f"{self.cells} cells in {self.rows} rows, {self.groups} groups."
        return Figure(canvas, self.model, self.caption, "A plate of filters", words)

    @property
    def svg(self) -> str:
        """SVG text: the cells as a picture, the caption as text."""
        return self._figure.svg

    def save(self, path: str | Path) -> Path:
        """Write the picture: .png, .svg, .pdf or .json. Raises GraphError for others."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            return self._figure.save(path)
        path.write_bytes(self.png)
        return path

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<graphc.viz.Plate: {self.caption}>"


def filters(
    weights: Any,
    variables: Any = None,
    *,
    name: str | None = None,
    image: tuple[int, int, int] | None = None,
    normalize: Normalization = "symmetric",
    groups: int | None = None,
    colour: bool | None = None,
    columns: int | None = None,
    scale: int | None = None,
    gap: int | None = None,
) -> Plate:
    """A plate of convolution filters.

    weights: an array (out, in, height, width), or a Graph together with ``variables``, of which
    ``name`` says the parameter (left out, the first with four axes). image=(channels, height,
    width): the rows of a linear layer's weight (out, in), as the images that they look for. Three
    input channels are drawn in colour, one cell a filter; any other number (or colour=False) in
    grey, one cell a channel, the channels of a filter in one row. groups: that many blocks, one
    above the other with a line between them, as AlexNet's two (left out, the groups of the graph's
    convolution). normalize: ``"symmetric"`` (zero is mid grey, the largest absolute value
    of the plate black or white), ``"global"`` (minimum to maximum of the plate) or ``"per-filter"``
    (minimum to maximum of each filter). columns: cells in a row. scale: pixels a weight. gap:
    pixels between cells.

    Raises GraphError: not four axes, no such parameter, an unknown normalization, groups that do
    not divide the filters.

    >>> import numpy as np
    >>> from graphc import viz
    >>> plate = viz.filters(np.linspace(-1, 1, 50).reshape(2, 1, 5, 5))
    >>> print(plate.caption)
    2 filters 5 x 5 of 1 channel, in 1 row of 2; zero is mid grey, black -1.0, white 1.0
    >>> bool(abs(plate.pixels() - plate.values).max() <= 1 / 254)
    True
    """
    array, called = _weights(weights, variables, name, image)
    if normalize not in ("symmetric", "global", "per-filter"):
        raise GraphError(
            f"viz.filters(normalize={normalize!r}): use 'symmetric' (zero is mid grey), 'global' "
            "or 'per-filter'"
        )
    for what, value, least in (("columns", columns, 1), ("scale", scale, 1), ("gap", gap, 0)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise GraphError(f"viz.filters({what}={value!r}) must be an int of at least {least}")
    if colour not in (None, True, False):
        raise GraphError(f"viz.filters(colour={colour!r}) must be True or False")
    count, channels = array.shape[:2]
    groups = _groups(weights, name or called, count) if groups is None else groups
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or count % groups:
        raise GraphError(f"viz.filters(groups={groups!r}) does not divide the {count} filters")
    if colour and channels != 3:
        raise GraphError(f"viz.filters(colour=True): colours have 3 channels, not {channels}")
    colour = channels == 3 if colour is None else colour
    shown_channels = 3 if colour else min(channels, _MOST_CELLS)
    shown = min(count, max(_MOST_CELLS // (1 if colour else shown_channels), 1))
    if shown < count:  # whole groups, or the first of the first one
        each = count // groups
        groups = max(shown // each, 1)
        shown = min(groups * each, shown)
    values = array[:shown, :shown_channels]
    low, high, how, ends = _limits(values, normalize)
    one_cell = colour or channels == 1
    columns = columns or (math.ceil(math.sqrt(shown)) if one_cell else shown_channels)
    if scale is None:
        cell = values.shape[3] + 0.25  # the gap is a quarter of a weight
        scale = min(max(int(_WIDEST / (columns * cell)), 1), 16)
    if gap is None:
        gap = max(scale // 4, 1)
    rows = groups * -(-shown * (1 if one_cell else shown_channels) // groups // columns)
    said: dict[str, Any] = {
        "filters": count, "height": array.shape[2], "width": array.shape[3], "channels": channels,
        "rows": rows, "columns": columns, **ends,
    }  # fmt: skip
    template = f"{{filters}} filter{_s(count)} {{height}} x {{width}} of {{channels}} "
    template += f"channel{_s(channels)}, in {{rows}} row{_s(rows)} of {{columns}}"
    if called:
        said["name"], template = called, "{name}: " + template
    if groups > 1:
        said["groups"], template = groups, template + ", {groups} groups"
    if (shown, shown_channels) != (count, channels):
        said |= {"shown": shown, "of_each": shown_channels}
        template += " (the first {shown} filters and {of_each} channels are shown)"
    template += "; " + how
    if broken := int((~np.isfinite(values)).sum()):
        said["broken"] = broken
        template += f"; {{broken}} value{_s(broken)} not finite, in red"
    caption = Caption(template, said)
    return Plate(values, low, high, caption, columns, scale, gap, groups, colour)


def _groups(weights: Any, name: str, count: int) -> int:
    """The groups of the convolution that uses this parameter, if it is a graph's."""
    if not isinstance(weights, Graph):
        return 1
    users = (user.op for user in weights.users(weights.parameters[name]))
    found = next((op.groups for op in users if op.name == "conv2d"), 1)  # type: ignore[attr-defined]
    # Groups of one filter each (depthwise) are no blocks to see.
    return int(found) if count % found == 0 and found < count else 1


def _weights(
    weights: Any, variables: Any, name: str | None, image: tuple[int, int, int] | None
) -> tuple[Array, str]:
    """The array (out, in, height, width) and what it is called."""
    called = ""
    if image is not None and not (
        isinstance(image, (tuple, list))
        and len(image) == 3
        and all(isinstance(n, int) for n in image)
    ):
        raise GraphError(f"viz.filters(image={image!r}) is not (channels, height, width)")
    if isinstance(weights, Graph):
        if variables is None:
            raise GraphError(
                "viz.filters(graph) needs the values too: viz.filters(graph, variables)"
            )
        axes = 4 if image is None else 2
        found = [k for k, n in weights.parameters.items() if n.ndim == axes]
        if name is None:
            if not found:
                raise GraphError(f"this graph has no parameter with {axes} axes to draw as filters")
            name = found[0]
        elif name not in weights.parameters:
            raise GraphError(f"no parameter is called {name!r}{suggest(name, found)}")
        if name not in variables:
            raise GraphError(f"variables hold no {name!r}{suggest(name, variables)}")
        weights, called = variables[name], name
    elif variables is not None or name is not None:
        raise GraphError("viz.filters takes an array alone, or a Graph with its variables")
    array = on_host(weights)
    if image is not None:
        if array.ndim != 2 or array.shape[1] != math.prod(image):
            raise GraphError(
                f"viz.filters(image={image!r}) reads the rows of a weight (out, "
                f"{math.prod(image)}) as images, not {array.shape}"
            )
        array = array.reshape(-1, *image)
    numbers = array.dtype.kind in "fiub" or array.dtype.name == "bfloat16"
    if array.ndim != 4 or array.size == 0 or not numbers:
        hint = "; of a linear layer, say image=(channels, height, width)" * (array.ndim == 2)
        raise GraphError(
            "viz.filters draws numbers of shape (out, in, height, width), "
            f"not {array.dtype.name} {array.shape}{hint}"
        )
    return array.astype(np.float64), called


def _limits(values: Array, normalize: Normalization) -> tuple[Array, Array, str, dict[str, float]]:
    """What black and white are, for each filter, and how the caption says it."""
    flat = np.where(np.isfinite(values), values, np.nan).reshape(len(values), -1)
    known = np.isfinite(flat)
    least = np.min(np.where(known, flat, np.inf), axis=1)
    most = np.max(np.where(known, flat, -np.inf), axis=1)
    least, most = (np.where(known.any(axis=1), edge, 0.0) for edge in (least, most))
    if normalize == "per-filter":
        return least, most, "black and white are each filter's own minimum and maximum", {}
    if normalize == "global":
        low, high = float(least.min()), float(most.max())
        how = "black {low}, white {high}: minimum and maximum of all"
    else:
        high = float(max(0.0, -least.min(), most.max()))  # no -0.0
        low, how = 0.0 - high, "zero is mid grey, black {low}, white {high}"
    ends = {"low": float(f"{low:.3g}"), "high": float(f"{high:.3g}")}
    return np.full(len(values), low), np.full(len(values), high), how, ends


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _wrap(text: str, width: int, font: Any) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
