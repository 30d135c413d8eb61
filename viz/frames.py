"""Sliding-window frames: one frame a unit, with every number that makes it.

Works for any node that a window makes: convolutions with padding, stride, dilation and groups,
transposed ones, pooling, and the gradients of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.node import Node

from .canvas import Canvas, fit, text_width
from .chain import op_words
from .figure import Caption, Figure
from .grids import (
    FACTOR,
    FAINT,
    PADDING,
    PLAIN,
    READ,
    READ_PADDING,
    RESULT,
    SHOWN,
    WINNER,
    Grid,
    Look,
    Numbers,
    Part,
)
from .windows import Array, Layer, Reading, reading

_WIDEST = 1500.0
_MARGIN = 16.0
_GAP = 26.0  # between frames
_SIGN = 22.0  # room for ×, =, → between grids
_HEAD = 22.0
_MOST_PLACES = 10  # a larger plane is drawn around the window only
_MOST_RESULTS = 9
_MOST_SPAN = 12  # places of a window that are drawn; of a larger one the part that counts most
_TALLEST = 880.0  # a sheet of units that the user did not choose
_MOST_LAYERS = 3
_ALL, _SMALL = 9, 64  # units: up to so many each gets its frame; up to so many from a corner on


def frames(
    node: Node,
    variables: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    units: Sequence[tuple[int, int]] | None = None,
    image: int = 0,
    channel: int = 0,
    size: Mapping[str, int] | None = None,
    seed: int = 0,
    digits: int | None = None,
    across: int | None = None,
) -> Figure:
    """How a window slides: for each unit what it reads, by what it multiplies, and what comes out.

    node: a map made by ``conv2d``, ``conv_transpose2d``, ``max_pool2d``, ``avg_pool2d`` or a
    gradient of one, anywhere in a graph. variables, inputs: arrays by name, as for
    ``gx.interpret``; what is left out is made of small whole numbers from ``seed`` (then ``size``
    has the symbolic sizes, the batch is 1). units: the (row, column) of each frame; left out, all
    of a small map, some of a larger one (of a large one where its largest value is). image,
    channel: which of the result's. digits: significant digits of the numbers; left out, exact where
    they are short, else 3. across: frames in a row, as many as there are units for one strip;
    left out, as many as fit.

    ``.model["frames"]`` has for each unit the window, factors, products and sum of each channel
    that it reads (None for a tap that reads nothing), and its value. In the SVG each cell has its
    role, place and value as ``data-…``. Dashed cells are padding or the gaps of a stride.

    Raises GraphError: a node without a window, a unit, image or channel that is not there, a
    size without a number.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x, w = gx.input("x", (1, 1, 3, 3)), gx.constant([[[[1.0, 0.0], [0.0, -1.0]]]])
    >>> figure = viz.frames(gx.conv2d(x, w), inputs={"x": [[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]})
    >>> figure.model["frames"][0]["channels"][0]["products"], figure.model["frames"][0]["value"]
    ([[1.0, 0.0], [0.0, -5.0]], -4.0)
    """
    read = reading(
        node, variables, inputs, size=size, image=image, channel=channel, seed=seed,
        called="viz.frames",
    )  # fmt: skip
    chosen = _units(read, units)
    model = [_frame_model(read, y, x) for y, x in chosen]
    numbers = _numbers(read, model, digits)
    drawn = [
        _Frame(read, unit, chosen[: number + 1], entry, numbers)
        for number, (unit, entry) in enumerate(zip(chosen, model, strict=True))
    ]
    wide, tall = (
        max(getattr(frame, side) for frame in drawn) + _GAP for side in ("width", "height")
    )
    if across is None:
        across = max(int((_WIDEST - 2 * _MARGIN + _GAP) / wide), 1)
    elif isinstance(across, bool) or not isinstance(across, int) or across < 1:
        raise GraphError(f"viz.frames(across={across!r}) is not an int of at least 1")
    across = min(across, len(drawn))
    if units is None:
        drawn = drawn[: across * max(int(_TALLEST / tall), 1)]
        chosen, model = chosen[: len(drawn)], model[: len(drawn)]
    canvas = Canvas(
        2 * _MARGIN + across * wide - _GAP, 2 * _MARGIN + -(-len(drawn) // across) * tall - _GAP
    )
    for number, frame in enumerate(drawn):
        row, column = divmod(number, across)
        with canvas.group(f"frame-{number}", data={"unit": "{},{}".format(*frame.unit)}):
            frame.draw(canvas, _MARGIN + column * wide, _MARGIN + row * tall, number + 1)
    name = " ".join(op_words(node))
    return Figure(
        canvas,
        {"op": node.op.name, "frames": model, "result": read.result.tolist(), "bias": read.bias},
        _caption(read, chosen, numbers, drawn[0].taps, (image, channel), seed, name),
        f"Frames of {name}",
        _words(read, model, numbers, name),
    )


def _units(read: Reading, units: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
    rows, columns = read.result.shape
    if units is None:
        if rows * columns <= _ALL:
            return list(np.ndindex(rows, columns))
        if rows * columns <= _SMALL:
            some = [(0, 0), (0, 1), (0, 2), (1, 0), (rows // 2, columns // 2), (rows, columns)]
        else:  # where something happens, and a corner
            y, x = np.unravel_index(int(np.abs(read.result).argmax()), read.result.shape)
            some = [(int(y), int(x)), (int(y), int(x) + 1), (0, 0)]
        return list(dict.fromkeys((min(y, rows - 1), min(x, columns - 1)) for y, x in some))
    chosen: list[tuple[int, int]] = []
    for unit in units:
        pair = isinstance(unit, (tuple, list, np.ndarray)) and len(unit) == 2
        whole = pair and all(isinstance(at, (int, np.integer)) for at in unit)
        if not whole or not (0 <= unit[0] < rows and 0 <= unit[1] < columns):
            raise GraphError(
                f"viz.frames: there is no unit {unit!r} on a map of {rows} by {columns}"
            )
        chosen.append((int(unit[0]), int(unit[1])))
    if not chosen:
        raise GraphError("viz.frames(units=[]): there is nothing to draw")
    return chosen


def _frame_model(read: Reading, y: int, x: int) -> dict[str, Any]:
    channels = []
    for layer in read.layers:
        window, factors = read.window(layer, y, x), read.factors(layer, y, x)
        entry: dict[str, Any] = {"channel": layer.name, "window": _listed(window)}
        if factors is not None:
            with np.errstate(invalid="ignore"):  # 0 · ∞ is NaN, as in the op
                products = window * factors
            entry["factors"] = _listed(factors)
            entry["products"] = _listed(products)
            entry["sum"] = float(np.nansum(products))
        elif read.kind == "mean":
            entry["sum"] = float(np.nansum(window))
            entry["count"] = int(read.route["count"][y, x])
        else:
            entry["winner"] = list(read.winner(y, x))
        channels.append(entry)
    value = float(str(read.result[y, x]))
    return {"unit": [y, x], "channels": channels, "value": value}


def _listed(array: Array) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in array]


def _numbers(read: Reading, model: Sequence[dict[str, Any]], digits: int | None) -> Numbers:
    if digits is not None and (
        isinstance(digits, bool) or not isinstance(digits, int) or digits < 1
    ):
        raise GraphError(f"viz.frames(digits={digits!r}) is not an int of at least 1")
    shown = [layer.map for layer in read.layers[:_MOST_LAYERS]] + [read.result]
    shown += [layer.factors for layer in read.layers[:_MOST_LAYERS] if layer.factors is not None]
    sums = [[c.get("sum", 0.0) for c in entry["channels"]] for entry in model]
    products = [
        [v for row in c.get("products", []) for v in row if v is not None]
        for entry in model
        for c in entry["channels"][:_MOST_LAYERS]
    ]
    return Numbers.of([*shown, *sums, *products, [read.bias or 0.0]], digits)


# -- one frame ----------------------------------------------------------------------------


class _Frame:
    """One unit: the plane, the factors and the products of each channel, and the result."""

    def __init__(
        self,
        read: Reading,
        unit: tuple[int, int],
        seen: Sequence[tuple[int, int]],
        model: dict[str, Any],
        numbers: Numbers,
    ) -> None:
        self.read, self.unit, self.model, self.say = read, unit, model, numbers
        self.seen = set(seen)
        y, x = unit
        self.taps = _taps(read, model)
        self.places = tuple(
            track.places(at)[taps.cut]
            for track, at, taps in zip((read.rows, read.columns), (y, x), self.taps, strict=True)
        )
        self.parts = tuple(
            Part.around(places[0], places[-1], track.length, _MOST_PLACES)
            for places, track in zip(self.places, (read.rows, read.columns), strict=True)
        )
        self.out = tuple(
            Part.around(at - 1, at + 1, count, _MOST_RESULTS)
            for at, count in zip(unit, read.result.shape, strict=True)
        )
        self.layers = read.layers[:_MOST_LAYERS]
        self.planes = [self._plane(layer) for layer in self.layers]
        cut = self.taps[0].cut, self.taps[1].cut
        drawn = [e for e in model["channels"][:_MOST_LAYERS] if "products" in e]
        self.factors = [np.array(e["factors"], float)[cut] for e in drawn]
        self.products = [np.array(e["products"], float)[cut] for e in drawn]
        self.cells = (
            numbers.width(*self.planes),
            numbers.width(*self.factors) if self.factors else 0.0,
            numbers.width(*self.products) if self.products else 0.0,
            numbers.width(read.result[self.out[0].cut, self.out[1].cut]),
        )
        self.formula = self._formula()
        self.width, self.height = self._extent()

    def _plane(self, layer: Layer) -> Array:
        """The drawn part of the plane: the input's pixels; what fills the rest, or NaN."""
        rows, columns = self.parts
        plane = np.full((rows.count, columns.count), np.nan)
        for i, j in np.ndindex(plane.shape):
            pixel = self._pixel(i, j)
            if pixel is not None:
                plane[i, j] = layer.map[pixel]
            elif self.read.fill is not None:
                plane[i, j] = self.read.fill
        return plane

    def _pixel(self, i: int, j: int) -> tuple[int, int] | None:
        rows, columns = self.parts
        row = self.read.rows.pixel(rows.first + i)
        column = self.read.columns.pixel(columns.first + j)
        return None if row is None or column is None else (row, column)

    def _formula(self) -> str:
        entries, say = self.model["channels"], self.say
        value = say(self.model["value"])
        first = entries[0]
        if self.read.kind == "max":
            return f"the largest: {value}"
        if self.read.kind == "mean":
            return f"{say(first['sum'])} / {first['count']} = {value}"
        terms = [say(entry["sum"]) for entry in entries[:_MOST_LAYERS]]
        if len(entries) > _MOST_LAYERS:
            rest = float(sum(entry["sum"] for entry in entries[_MOST_LAYERS:]))
            terms.append(f"{say(rest)} of {len(entries) - _MOST_LAYERS} more channels")
        if self.read.bias is not None:
            terms.append(f"bias {say(self.read.bias)}")
        return f"{' + '.join(terms)} = {value}" if len(terms) > 1 else f"Σ = {value}"

    def _extent(self) -> tuple[float, float]:
        grids = self._grids(0.0, 0.0, 0)
        last = max(grid.right for grid in grids.values())
        bottom = max(
            max(grid.bottom for grid in self._grids(0.0, 0.0, n).values())
            for n in range(len(self.layers))
        )
        words = max(text_width(self.formula, 12) + 8, text_width(self._heading(99), 12, bold=True))
        return max(last, words), bottom + 30

    def _heading(self, number: int) -> str:
        return f"{number}: unit ({self.unit[0]}, {self.unit[1]})"

    def _grids(self, x: float, y: float, layer: int) -> dict[str, Grid]:
        """Where the grids of a layer stand in a frame whose corner is (x, y)."""
        rows, columns = self.parts
        plane_cell, factor_cell, product_cell, result_cell = self.cells
        top = y + _HEAD + 8
        tall = max(rows.count, self.taps[0].count) * 22.0 + (22 if len(self.read.layers) > 1 else 0)
        y = top + layer * (tall + 14) + (18 if len(self.read.layers) > 1 else 0)
        grids = {"input": Grid(x, y, plane_cell, rows.count, columns.count)}
        x = grids["input"].right
        taps = self.taps[0].count, self.taps[1].count
        middle = grids["input"].middle
        for name, cell in (("factor", factor_cell), ("product", product_cell)):
            if cell:
                grids[name] = Grid(x + _SIGN, middle - taps[0] * 11, cell, *taps)
                x = grids[name].right
        if layer == 0:
            out = self.out[0].count, self.out[1].count
            all_tall = len(self.layers) * (tall + 14) - 14
            centre = top + all_tall / 2
            up = max(centre - out[0] * 11, top + (18 if len(self.read.layers) > 1 else 0))
            grids["output"] = Grid(x + _SIGN + 4, up, result_cell, *out)
        return grids

    # -- drawing --------------------------------------------------------------------------

    def draw(self, canvas: Canvas, x: float, y: float, number: int) -> None:
        """Write the frame at (x, y)."""
        canvas.text(x, y + 12, self._heading(number), size=12, bold=True)
        for layer in range(len(self.layers)):
            self._draw_layer(canvas, x, y, layer)
        output = self._grids(x, y, 0)["output"]
        rows, columns = self.out
        shown = self.read.result[
            rows.first : rows.first + rows.count, columns.first : columns.first + columns.count
        ]

        def look(i: int, j: int) -> Look:
            at = rows.first + i, columns.first + j
            return RESULT if at == self.unit else SHOWN if at in self.seen else FAINT

        output.draw(canvas, shown, self.say, "output", look=look, first=(rows.first, columns.first))
        canvas.text(
            output.x - _SIGN / 2 - 2, output.middle + 5, "→", size=14, anchor="middle", fill="faint"
        )
        said = fit(self.formula, 12, max(self.width, 60))
        canvas.text(x, y + self.height - 6, said, size=12, data={"role": "formula"})

    def _draw_layer(self, canvas: Canvas, x: float, y: float, layer: int) -> None:
        grids = self._grids(x, y, layer)
        rows, columns = self.parts
        entry = self.model["channels"][layer]
        if len(self.read.layers) > 1:
            said = f"{self.layers[layer].name}: Σ = {self.say(entry['sum'])}"
            canvas.text(x, grids["input"].y - 6, said, size=11, fill="faint")
        winner = None
        if "winner" in entry:
            row, column = entry["winner"]
            first = self.taps[0].first, self.taps[1].first
            winner = self.places[0][row - first[0]], self.places[1][column - first[1]]

        def look(i: int, j: int) -> Look:
            place = rows.first + i, columns.first + j
            read = place[0] in self.places[0] and place[1] in self.places[1]
            if place == winner:
                return WINNER
            if self._pixel(i, j) is None:
                return READ_PADDING if read else PADDING
            return READ if read else PLAIN

        def data(i: int, j: int) -> dict[str, Any]:
            pixel = self._pixel(i, j)
            place = rows.first + i, columns.first + j
            read = place[0] in self.places[0] and place[1] in self.places[1]
            said = {"channel": layer, "read": int(read)}
            return said if pixel is None else {**said, "pixel": "{},{}".format(*pixel)}

        grids["input"].draw(
            canvas, self.planes[layer], self.say, "input", look=look, data=data,
            first=(rows.first, columns.first),
        )  # fmt: skip
        channel = {"channel": layer}
        for name, arrays, sign, look_of in (
            ("factor", self.factors, "×", FACTOR), ("product", self.products, "=", READ),
        ):  # fmt: skip
            if name in grids:
                grid = grids[name]
                grid.draw(
                    canvas, arrays[layer], self.say, name, look=_always(look_of),
                    data=lambda i, j: channel, first=(self.taps[0].first, self.taps[1].first),
                )  # fmt: skip
                canvas.text(grid.x - _SIGN / 2, grid.middle + 5, sign, size=14, anchor="middle")


def _taps(read: Reading, model: dict[str, Any]) -> tuple[Part, Part]:
    """The taps that are drawn: all, or the stretch around the one that counts most."""
    first = model["channels"][0]
    if "winner" in first:
        at = first["winner"]
    else:
        size = np.abs(np.array(first.get("products", first["window"]), float))
        at = np.unravel_index(int(np.where(np.isnan(size), -1, size).argmax()), size.shape)
    parts = []
    for track, tap in zip((read.rows, read.columns), at, strict=True):
        count = min(track.taps, 1 + (_MOST_SPAN - 1) // track.dilation)
        parts.append(Part(min(max(int(tap) - count // 2, 0), track.taps - count), count))
    return parts[0], parts[1]


def _always(look: Look) -> Callable[[int, int], Look]:
    return lambda i, j: look


# -- what is said -------------------------------------------------------------------------


def _caption(
    read: Reading,
    chosen: Sequence[tuple[int, int]],
    numbers: Numbers,
    taps: tuple[Part, Part],
    which: tuple[int, int],
    seed: int,
    name: str,
) -> Caption:
    rows, columns = read.result.shape
    whose = (
        "filter {image}, channel {channel}"
        if _is_filter(read)
        else "image {image}, channel {channel}"
    )
    said = f"{{op}}: {{shown}} of {{units}} units of {whose}; map {{map}} from {{input}}"
    values: dict[str, Any] = {
        "op": name, "shown": len(chosen), "units": rows * columns, "image": which[0],
        "channel": which[1], "map": [rows, columns], "input": list(read.layers[0].map.shape),
        **numbers.values,
    }  # fmt: skip
    if len(read.layers) > _MOST_LAYERS:
        said += "; {drawn} of {layers} channels that it reads are drawn"
        values |= {"drawn": _MOST_LAYERS, "layers": len(read.layers)}
    said += f"; {numbers.words}"
    whole = read.rows.taps, read.columns.taps
    if (taps[0].count, taps[1].count) != whole:
        said += "; of the {taps} taps of a window {some} are drawn"
        values |= {"taps": list(whole), "some": [taps[0].count, taps[1].count]}
    if read.rows.flipped and any(layer.factors is not None for layer in read.layers):
        said += "; the filter is turned by {turn} degrees"
        values["turn"] = 180
    made, numbers_made = read.made_words(seed)
    return Caption(f"{said}{made}.", {**values, **numbers_made})


def _is_filter(read: Reading) -> bool:
    return read.node.op.name == "conv2d_weight_grad"


def _words(read: Reading, model: Sequence[dict[str, Any]], numbers: Numbers, name: str) -> str:
    said = [
        f"unit ({entry['unit'][0]}, {entry['unit'][1]}) is {numbers(entry['value'])}"
        for entry in model
    ]
    height, width = read.layers[0].map.shape
    return f"A window slides over a map of {height} by {width} ({name}): {'; '.join(said)}."
