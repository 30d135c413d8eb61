"""The image flattened to a vector: where each pixel of the map comes to stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, describe

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .reading import Array, example_of, node_of, picture, span, values_of

_MARGIN = 16.0
_NUMBERS = 40  # up to so many values are written as numbers
_ROWS = ("blue", "vermillion", "green", "orange", "purple", "sky")
_ON = 30.0


def flattened(
    graph: Graph,
    variables: Mapping[str, Any],
    node: Node | str,
    *,
    example: int = 0,
    channel: int = 0,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """An image and the vector that a fully-connected layer reads of it, row after row.

    node: a ``flatten`` (a ``reshape`` to (N, features)) of maps (N, C, H, W), or its name. Small
    images, up to 40 values, are drawn as numbers, larger ones as greys: then channel= says
    which map is drawn, with every row (or every n-th) at its place in the vector.

    ``.model``: ``image`` [channel][row][column], ``vector``, ``places`` ([channel, row, column] of
    each element of the vector). Raises GraphError: no such node or example.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 1, 2, 2))
    >>> graph = gx.Graph({"y": gx.flatten(x, 1)})
    >>> figure = viz.flattened(graph, {}, "y", x=[[[[13, 21], [18, 14]]]])
    >>> figure.model["vector"], figure.model["places"][1]
    ([13.0, 21.0, 18.0, 14.0], [0, 0, 1])
    """
    caller = "viz.flattened"
    flat = node_of(graph, node, caller)
    source = flat.inputs[0] if flat.inputs else flat
    if flat.op.name != "reshape" or flat.ndim != 2 or source.ndim != 4:
        raise GraphError(
            f"{caller} takes a flatten of maps (N, C, H, W), not {describe(flat)}", nodes=[flat]
        )
    batch, vectors = values_of(graph, variables, [source, flat], inputs, named)
    if len(vectors) != len(batch):
        raise GraphError(
            f"{caller}: {describe(flat)} does not keep the batch: {len(batch)} examples became "
            f"{len(vectors)}",
            nodes=[flat],
        )
    image = example_of(batch, example, caller).astype(np.float64)
    vector = example_of(vectors, example, caller).astype(np.float64)
    if isinstance(channel, bool) or channel not in range(len(image)):
        raise GraphError(f"{caller}: there is no channel {channel!r} among {len(image)}")
    low, high = span(image)
    # A reshape keeps the row-major order, so element i is the image's i-th.
    places = np.stack(np.unravel_index(np.arange(image.size), image.shape), axis=1)
    model = {
        "kind": "flattened", "node": graph.name(flat), "example": example, "image": image.tolist(),
        "vector": vector.tolist(), "places": places.tolist(), "low": low, "high": high,
    }  # fmt: skip
    template = (
        "{node} of example {example}: {channels} by {height} by {width} becomes a vector of "
        "{features}, which does not know what was above or below"
    )
    said = {
        "node": model["node"], "example": example, "channels": image.shape[0],
        "height": image.shape[1], "width": image.shape[2], "features": vector.size,
    }  # fmt: skip
    if image.size <= _NUMBERS:
        canvas = _numbers_sheet(image, vector)
    else:
        canvas = _greys_sheet(image, vector, places, channel, low, high)
        template += "; black {low}, white {high}"
        said |= {"low": float(f"{low:.3g}"), "high": float(f"{high:.3g}")}
    caption = Caption(template, said)
    words = (
        f"Above, right: the image of {image.shape[1]} rows. Below: the vector of {vector.size} "
        "elements, the rows one after the other."
    )
    return Figure(canvas, model, caption, "An image, flattened", words)


def _numbers_sheet(image: Array, vector: Array) -> Canvas:
    canvas = Canvas(10, 10)
    said = [f"{value:.4g}" for value in vector]
    side = max(_ON, max(text_width(number, 12) for number in said) + 10)
    channels, height, width = image.shape
    # The image stands right of all that its first map becomes, so no two ways cross.
    left = _MARGIN + (height - 0.5) * width * side + 34
    below = 40 + height * _ON + 34
    canvas.text(left, 24, "image", bold=True)
    canvas.text(_MARGIN, below + _ON + 18, "vector", bold=True)
    for number, text in enumerate(said):
        channel, rest = divmod(number, height * width)
        row, column = divmod(rest, width)
        paint = _ROWS[(channel * height + row) % len(_ROWS)]
        for x, y in (
            (left + channel * (width * side + 16) + column * side, 40 + row * _ON),
            (_MARGIN + number * side, below),
        ):
            canvas.rect(x + 1.5, y + 1.5, side - 3, _ON - 3, stroke=paint, line=2,
                        data={"element": number})  # fmt: skip
            canvas.text(x + side / 2, y + 19, text, anchor="middle")
    for row in range(height):
        y, x = 40 + (row + 0.5) * _ON, _MARGIN + (row + 0.5) * width * side
        way = [(left - 4, y), (x, y), (x, below - 3)]
        canvas.polyline(way, stroke=_ROWS[row % len(_ROWS)], line=1.4, arrow=7)
    canvas.width = max(left + channels * (width * side + 16), _MARGIN + len(said) * side) + _MARGIN
    canvas.height = below + _ON + 30
    return canvas


def _greys_sheet(
    image: Array, vector: Array, places: Array, channel: int, low: float, high: float
) -> Canvas:
    """One map large, and its part of the vector as a strip that is cut into rows."""
    canvas = Canvas(10, 10)
    channels, height, width = image.shape
    side = 200.0 / max(height, width)
    first = int(np.flatnonzero((places == (channel, 0, 0)).all(axis=1))[0])
    shown = vector[first : first + height * width]
    pixel = min(max(900.0 / len(shown), 0.6), 20.0)
    strip, tall = pixel * len(shown), height * side
    every = max(math.ceil(height / 7), 1)
    marked = range(0, height, every)
    left = _MARGIN + (marked[-1] + 0.5) * width * pixel + 40
    below = 40 + tall + 30
    ends = f"elements {first} to {first + len(shown) - 1} of the vector of {len(vector)}"
    canvas.text(left, 26, "image" if channels == 1 else f"map {channel} of {channels}", bold=True)
    canvas.text(_MARGIN, below + 60, ends, bold=True)
    canvas.image(left, 40, width * side, tall, picture(image[channel], low, high))
    canvas.rect(left, 40, width * side, tall, line=0.8)
    canvas.image(_MARGIN, below, strip, 26, picture(shown[None], low, high), data={"vector": 0})
    canvas.rect(_MARGIN, below, strip, 26, line=0.8)
    for number, row in enumerate(marked):
        paint = _ROWS[number % len(_ROWS)]
        x, y = _MARGIN + row * width * pixel, 40 + row * side
        canvas.rect(left, y, width * side, side, stroke=paint, line=2, data={"row": row})
        canvas.rect(x, below, width * pixel, 26, stroke=paint, line=2, data={"row": row})
        middle = x + width * pixel / 2
        way = [(left - 3, y + side / 2), (middle, y + side / 2), (middle, below - 3)]
        canvas.polyline(way, stroke=paint, line=1.4, arrow=7)
        if width * pixel * every >= text_width(f"row {row}", 9) + 6:
            canvas.text(middle, below + 38, f"row {row}", size=9, anchor="middle", fill="faint")
    canvas.width = max(left + width * side, _MARGIN + strip) + _MARGIN
    canvas.width = max(canvas.width, _MARGIN * 2 + text_width(ends, 12, bold=True))
    canvas.height = below + 74
    return canvas
