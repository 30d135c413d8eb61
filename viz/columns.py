"""Networks beside each other as columns, layer by layer, aligned where their maps are as large.

The picture of the ResNet paper (He, Zhang, Ren and Sun, Deep residual learning for image
recognition, 2016, figure 3), made from graphs: sizes, counts and skips are those of the graphs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from graphc.analysis.cost import cost
from graphc.ir import dims
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph, post_order
from graphc.ir.node import Node

from .canvas import Canvas, text_width
from .chain import Chain, Step, chain
from .figure import Caption, Figure

_MARGIN = 16.0
_ROW = 19.0
_BOX = 14.5
_SIZE = 10.5  # on 1600 by 900 pixels the paper's three columns still have 9
_HEAD = 66.0
_LEFT = 86.0  # room for the sizes
_LANE = 30.0  # room for the skips, right of a column
_BETWEEN = 26.0  # columns
_GAP = 12.0  # stages
_WIDEST_NAME = 200.0

# (height, width) of the maps, and which time it is that a network comes to this size.
_Key = tuple[tuple[int, int], int]


@dataclass
class _Layer:
    """A box of a column."""

    step: int
    words: str
    look: tuple[str, str]
    key: _Key
    y: float = 0.0


@dataclass
class _Column:
    name: str
    row: Chain
    layers: list[_Layer]
    multiply_adds: int
    parameters: int
    width: float
    x: float = 0.0


def columns(graphs: Mapping[str, Graph], *, size: Mapping[str, int] | None = None) -> Figure:
    """Networks as columns of layers, aligned by the size of their maps, with what they cost.

    graphs: a graph by the name that stands above its column. size: numbers for symbolic sizes.
    A row of boxes begins at one height for all networks where their maps get as small; skips are
    arcs, dashed where something is computed on the way. Above each column stand the
    multiply-adds of one image (by ``gx.cost``: those of convolutions and matrix products) and
    the parameters.

    Raises GraphError: no graph, one without an image or a result, a symbolic size without a number,
    networks that go through the same sizes in different orders.

    >>> from graphc import models, viz
    >>> figure = viz.columns({"LeNet-5": models.build("lenet-5")})
    >>> figure.model["columns"][0]["multiply_adds"]
    416520
    """
    if not isinstance(graphs, Mapping) or not graphs:
        raise GraphError("viz.columns takes {name: graph}, with one graph or more")
    found = [_column(str(name), graph, size) for name, graph in graphs.items()]
    order = _order(found)
    tops = _place(found, order)
    bottom = max(layer.y for column in found for layer in column.layers) + _ROW + 6
    last = found[-1]
    canvas = Canvas(last.x + last.width + _LANE + _MARGIN, bottom + 4)
    for key in order:
        (height, width), _ = key
        canvas.line(
            _MARGIN, tops[key] - _GAP / 2 - 1, canvas.width - _MARGIN, tops[key] - _GAP / 2 - 1,
            stroke="grid",
        )  # fmt: skip
        said = f"{height} × {width}"
        canvas.text(
            _MARGIN, tops[key] + 11, said, size=12, bold=True,
            data={"stage": f"{height}×{width}", "y": f"{tops[key]:.2f}"},
        )  # fmt: skip
    canvas.text(_MARGIN, _MARGIN + 12, "size of", size=11, fill="faint")
    canvas.text(_MARGIN, _MARGIN + 27, "the maps", size=11, fill="faint")
    for column in found:
        with canvas.group(title=column.name, data={"column": column.name}):
            _draw(canvas, column)
    return Figure(
        canvas,
        {"stages": [list(key[0]) for key in order], "columns": [_model(c) for c in found]},
        _caption(found, order),
        "Networks in columns: " + ", ".join(column.name for column in found),
        _words(found),
    )


def multiply_adds(graph: Graph, end: Node, sizes: Mapping[str, int]) -> int:
    """Those of the convolutions and matrix products that ``end`` needs, for one image."""
    below = set(post_order([end]))
    known = cost(graph, **_given(graph, sizes))
    total = 0
    for each in known:
        node = each.node
        if node in below and node.op.name in ("conv2d", "conv2d_input_grad", "linear", "matmul"):
            biased = len(node.inputs) == 3
            added = math.prod(node.type.concrete(known.sizes)) if biased else 0
            total += (each.flops - added) // 2
    return total


def _given(graph: Graph, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes that ``gx.cost`` asks for; every batch is one image."""
    named = dims.names(extent for leaf in graph.inputs.values() for extent in leaf.shape)
    batches = dims.names(leaf.shape[0] for leaf in graph.inputs.values() if leaf.shape)
    return {name: sizes.get(name, 1) for name in named if name in sizes or name in batches}


def _column(name: str, graph: Graph, size: Mapping[str, int] | None) -> _Column:
    row = chain(graph, size=size, called="viz.columns")
    layers: list[_Layer] = []
    times: dict[tuple[int, int], int] = {}
    for index, step in enumerate(row.steps):
        plane = step.volume[:2]
        if not layers or layers[-1].key[0] != plane:
            times[plane] = times.get(plane, -1) + 1
        words = _said(step)
        if words:
            layers.append(_Layer(index, words, _look(step), (plane, times[plane])))
        else:  # a flatten: no layer of the network, and no size of its own
            times[plane] -= not layers or layers[-1].key[0] != plane
    parameters = sum(math.prod(leaf.type.concrete({})) for leaf in graph.parameters.values())
    wide = max(text_width(layer.words, _SIZE) for layer in layers) + 16
    head = min(max(text_width(name, 13, bold=True), 118.0), _WIDEST_NAME)
    end = row.steps[-1].node
    return _Column(
        name, row, layers, multiply_adds(graph, end, row.sizes), parameters, max(wide, head)
    )


def _said(step: Step) -> str:
    channels = step.volume[2]
    if not step.nodes:
        return f"image, {channels} channels" if channels != 1 else "image, 1 channel"
    words = step.words()
    first, *more = words
    strides = [word.removeprefix("stride ") for word in more if word.startswith("stride ")]
    if first == "flatten":
        return ""
    if first == "fully connected":
        return f"fully connected, {channels}"
    step_down = f", /{strides[0]}" if strides else ""
    if "pool" in first:
        op: Any = step.nodes[0].op
        stride = op.kernel if op.stride is None else op.stride
        step_down = f", /{stride}" if isinstance(stride, int) else f", /{stride[0]}×{stride[1]}"
        return f"{first}{step_down}"
    return f"{first}, {channels}{step_down}"


def _look(step: Step) -> tuple[str, str]:
    """(fill, stroke) of a box: what it is, told by its words as well."""
    name = step.nodes[0].op.name if step.nodes else "input"
    if name == "input":
        return "shade", "faint"
    if "pool" in name or name == "mean":
        return "tint-orange", "orange"
    if name in ("linear", "matmul"):
        return "tint-purple", "purple"
    return "tint-blue", "blue"


def _order(found: Sequence[_Column]) -> list[_Key]:
    """The stages of all networks in one order that is right for each."""
    before: dict[_Key, set[_Key]] = {}
    for column in found:
        keys = list(dict.fromkeys(layer.key for layer in column.layers))
        for key in keys:
            before.setdefault(key, set())
        for one, other in pairwise(keys):
            before[other].add(one)
    sorter = TopologicalSorter(before)
    try:
        sorter.prepare()
    except CycleError as error:
        sizes = " and ".join(f"{h}×{w}" for (h, w), _ in dict.fromkeys(error.args[1]))
        raise GraphError(
            f"viz.columns: these networks come to maps of {sizes} in different orders, so they "
            "cannot be aligned: draw them apart"
        ) from None
    order: list[_Key] = []
    ready: list[_Key] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        # Of those that may come next, the largest maps: what a network has more of, it has early.
        ready.sort(key=lambda key: (-key[0][0] * key[0][1], key))
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def _place(found: Sequence[_Column], order: Sequence[_Key]) -> dict[_Key, float]:
    """Give each layer its place; returns the y at which each stage begins, for all columns."""
    x = _MARGIN + _LEFT
    for column in found:
        column.x = x
        x += column.width + _LANE + _BETWEEN
    tops, y = {}, _MARGIN + _HEAD
    for key in order:
        tops[key] = y
        longest = 0
        for column in found:
            own = [layer for layer in column.layers if layer.key == key]
            for number, layer in enumerate(own):
                layer.y = y + number * _ROW
            longest = max(longest, len(own))
        y += longest * _ROW + _GAP
    return tops


def _draw(canvas: Canvas, column: _Column) -> None:
    middle = column.x + column.width / 2
    canvas.text(
        middle, _MARGIN + 12, column.name, size=13, bold=True, anchor="middle",
        room=column.width,
    )  # fmt: skip
    billions = _billions(column.multiply_adds)
    canvas.text(middle, _MARGIN + 30, f"{billions} multiply-adds", size=11, anchor="middle")
    canvas.text(
        middle, _MARGIN + 45, f"{_billions(column.parameters)} parameters", size=11, anchor="middle"
    )
    for before, layer in pairwise(column.layers):
        if layer.y - before.y > 0:
            canvas.line(middle, before.y + _BOX, middle, layer.y, stroke="faint", arrow=4)
    for layer in column.layers:
        fill, stroke = layer.look
        canvas.rect(
            column.x, layer.y, column.width, _BOX, fill=fill, stroke=stroke, radius=3,
            data={"layer": layer.words},
        )  # fmt: skip
        canvas.text(middle, layer.y + 11, layer.words, size=_SIZE, anchor="middle")
    _draw_skips(canvas, column)


def _draw_skips(canvas: Canvas, column: _Column) -> None:
    right = column.x + column.width
    for start, end, plain in _skips(column):
        top, foot = column.layers[start].y + _BOX - 3.5, column.layers[end].y + 4
        reach = min(10 + 0.12 * (foot - top), _LANE - 4)
        path = (
            f"M{right:.2f} {top:.2f}C{right + 1.3 * reach:.2f} {top + 2:.2f} "
            f"{right + 1.3 * reach:.2f} {foot - 2:.2f} {right + 4:.2f} {foot:.2f}"
        )
        canvas.path(
            path, stroke="green", line=1.4, dash="" if plain else "4 3",
            title="skip" if plain else "skip with a computation",
            data={"skip": f"{start},{end}"},
        )  # fmt: skip
        canvas.polygon(
            [(right, foot), (right + 6, foot - 3.4), (right + 6, foot + 3.4)], fill="green",
            stroke="none",
        )  # fmt: skip


def _skips(column: _Column) -> list[tuple[int, int, bool]]:
    """(from layer, to layer, whether nothing is computed on the way)."""
    place = {layer.step: number for number, layer in enumerate(column.layers)}
    found: dict[tuple[int, int], bool] = {}
    for join in column.row.joins:
        if join.source in place and join.target in place:
            ends = place[join.source], place[join.target]
            found[ends] = found.get(ends, True) and join.words() == "identity"
    return [(*ends, plain) for ends, plain in found.items()]


def _billions(count: int) -> str:
    """A count in words, three significant digits."""
    for power, word in ((9, "billion"), (6, "million"), (3, "thousand")):
        if count >= 10**power:
            return f"{float(f'{count / 10**power:.3g}'):g} {word}"
    return str(count)


def _model(column: _Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "multiply_adds": column.multiply_adds,
        "parameters": column.parameters,
        "layers": [
            {"words": layer.words, "size": list(layer.key[0]), "y": round(layer.y, 2)}
            for layer in column.layers
        ],
        "skips": [list(skip) for skip in _skips(column)],
    }


def _caption(found: Sequence[_Column], order: Sequence[_Key]) -> Caption:
    parts: list[str] = []
    values: dict[str, Any] = {}
    for number, column in enumerate(found):
        parts.append(
            f"{{name{number}}}: {{boxes{number}}} boxes, {{adds{number}}} multiply-adds, "
            f"{{parameters{number}}} parameters"
        )
        values |= {
            f"name{number}": column.name, f"boxes{number}": len(column.layers),
            f"adds{number}": column.multiply_adds, f"parameters{number}": column.parameters,
        }  # fmt: skip
    said = "; ".join(parts) + ". One image; {stages} sizes of maps"
    values["stages"] = len(order)
    if found[0].row.sizes:
        said += ", at {sizes}"
        values["sizes"] = [f"{name}={size}" for name, size in found[0].row.sizes.items()]
    return Caption(said + ". Arcs are skips, dashed where something is computed.", values)


def _words(found: Sequence[_Column]) -> str:
    said = [f"{c.name}: " + ", ".join(layer.words for layer in c.layers) for c in found]
    return "Networks as columns of layers. " + ". ".join(said) + "."
