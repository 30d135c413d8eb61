"""What a network makes of an example: its feature maps, before and after a ReLU, and the path from
the image through k filters to k maps. Every value is the interpreter's, and zero is mid grey."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, describe

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .reading import Array, example_of, largest, node_of, picture, span, symmetric, values_of

Normalization = Literal["symmetric", "global", "per-map"]

_MOST_MAPS = 256
_MARGIN, _GAP = 16.0, 6.0


def activations(
    graph: Graph,
    variables: Mapping[str, Any],
    node: Node | str,
    *,
    example: int = 0,
    channels: Sequence[int] | None = None,
    normalize: Normalization = "symmetric",
    columns: int | None = None,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """The feature maps of one example at a node, a grid of grey pictures.

    node: (N, C, H, W), or (N, F) for units without a place; a node of the graph or its name.
    example: which one of the batch. channels: which maps (left out, the first 256). normalize:
    ``"symmetric"`` (zero is mid grey, the largest absolute value black or white), ``"global"``
    (minimum to maximum of all maps shown) or ``"per-map"``; the caption says which and the limits.
    inputs (or keywords): the arrays; what the node does not need may be left out.

    ``.model``: ``values`` [map][row][column], ``channels``, ``low``, ``high`` (what is black and
    white, by map). Raises GraphError: no such node, example or channel, values not finite.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 1, 2, 2))
    >>> figure = viz.activations(gx.Graph({"y": gx.relu(x)}), {}, "y", x=[[[[1, -1], [0, 2]]]])
    >>> figure.model["values"]
    [[[1.0, 0.0], [0.0, 2.0]]]
    """
    caller = "viz.activations"
    wanted = node_of(graph, node, caller)
    (batch,) = values_of(graph, variables, [wanted], inputs, named)
    maps, which = _chosen(_maps(batch, example, wanted, caller), channels, caller)
    largest(maps)
    low, high = _limits(maps, normalize, caller)
    model = {
        "kind": "activations", "node": graph.name(wanted), "example": example,
        "normalize": normalize, "channels": which, "values": maps.tolist(),
        "low": low.tolist(), "high": high.tolist(),
    }  # fmt: skip
    template, limits = _said(normalize, low, high)
    caption = Caption(
        "{node} of example {example}: {maps} of {all} maps, {height} by {width}; " + template,
        {
            "node": model["node"], "example": example, "maps": len(maps),
            "all": batch.shape[1], "height": maps.shape[1], "width": maps.shape[2], **limits,
        },
    )  # fmt: skip
    canvas = Canvas(10, 10)
    pictures = [_grey(each, low[i], high[i]) for i, each in enumerate(maps)]
    columns = _columns(columns, len(maps), caller)
    labels = len(maps) <= 64
    right, bottom = _grid(canvas, _MARGIN, _MARGIN, pictures, which, columns, labels=labels)
    canvas.width, canvas.height = max(right + _MARGIN, 360), bottom + 10
    words = (
        f"{len(maps)} feature maps of {model['node']}, in rows of {columns}, from channel "
        f"{which[0]} to {which[-1]}."
    )
    return Figure(canvas, model, caption, f"Activations of {model['node']}", words)


def rectified(
    graph: Graph,
    variables: Mapping[str, Any],
    node: Node | str,
    *,
    example: int = 0,
    channels: Sequence[int] | None = None,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """Feature maps before and after a ReLU (or any op of one value), on one scale.

    node: the ReLU, or its name. Zero is mid grey in both rows and the largest absolute value of
    both black or white, so what was dark before becomes mid grey. channels: which maps (left out,
    the first eight).

    ``.model``: ``before``, ``after`` [map][row][column], ``bound``, ``zeroed`` (how many values
    became 0). Raises GraphError as ``viz.activations`` does.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 1, 1, 3))
    >>> figure = viz.rectified(gx.Graph({"y": gx.relu(x)}), {}, "y", x=[[[[-1, 0, 2]]]])
    >>> figure.model["before"], figure.model["after"], figure.model["zeroed"]
    ([[[-1.0, 0.0, 2.0]]], [[[0.0, 0.0, 2.0]]], 1)
    """
    caller = "viz.rectified"
    after_node = node_of(graph, node, caller)
    if len(after_node.inputs) != 1 or after_node.inputs[0].shape != after_node.shape:
        raise GraphError(
            f"{caller} takes a relu, or another op of one value, not {describe(after_node)}",
            nodes=[after_node],
        )
    pair = values_of(graph, variables, [after_node.inputs[0], after_node], inputs, named)
    wanted = range(min(8, pair[0].shape[1])) if channels is None and pair[0].ndim > 1 else channels
    before, after = (
        _chosen(_maps(batch, example, after_node, caller), wanted, caller) for batch in pair
    )
    which, bound = before[1], max(largest(before[0]), largest(after[0]))
    zeroed = int(((before[0] != 0) & (after[0] == 0)).sum())
    model = {
        "kind": "rectified", "node": graph.name(after_node), "op": after_node.op.name,
        "example": example, "channels": which, "before": before[0].tolist(),
        "after": after[0].tolist(), "bound": bound, "zeroed": zeroed,
    }  # fmt: skip
    caption = Caption(
        "{maps} maps of example {example} before and after {op}: zero is mid grey, black {low}, "
        "white {high}; {op} makes {zeroed} of {values} values zero",
        {
            "maps": len(which), "example": example, "op": after_node.op.name,
            "low": -_three(bound), "high": _three(bound), "zeroed": zeroed,
            "values": before[0].size,
        },
    )  # fmt: skip
    canvas = Canvas(10, 10)
    left = _MARGIN + 10 + text_width("before", 12)
    y = _MARGIN
    for said, maps, labels in (("before", before[0], True), ("after", after[0], False)):
        shades = [symmetric(each, bound) for each in maps]
        right, bottom = _grid(canvas, left, y, shades, which, len(maps), labels=labels)
        canvas.text(_MARGIN, (y + (14 if labels else 0) + bottom) / 2 + 4, said)
        y = bottom + 10
    canvas.width, canvas.height = max(right + _MARGIN, 360), y
    words = f"Two rows of {len(which)} feature maps: before {after_node.op.name}, and after it."
    return Figure(canvas, model, caption, f"Before and after {after_node.op.name}", words)


def convolved(
    graph: Graph,
    variables: Mapping[str, Any],
    node: Node | str,
    *,
    example: int = 0,
    filters: Sequence[int] | None = None,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """An image, k filters and the k maps that they make of it: one row a filter.

    node: a ``conv2d``, or its name. filters: which ones (left out, the first six). The filters have
    one symmetric scale and the maps another, zero mid grey in both; of a filter with several
    channels each is drawn (in colour where there are three), up to eight of them.

    ``.model``: ``image``, ``weights`` [filter][channel][row][column], ``maps``
    [filter][row][column]. Raises GraphError: no conv2d, no such filter or example.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import viz
    >>> x, w = gx.input("x", ("N", 1, 1, 3)), gx.parameter("w", (1, 1, 1, 2))
    >>> graph = gx.Graph({"y": gx.conv2d(x, w)})
    >>> held = {"w": np.array([[[[1, -1]]]], "float32")}
    >>> viz.convolved(graph, held, "y", x=[[[[5, 3, 0]]]]).model["maps"]
    [[[2.0, 3.0]]]
    """
    caller = "viz.convolved"
    conv = node_of(graph, node, caller)
    if conv.op.name != "conv2d":
        raise GraphError(f"{caller} takes a conv2d, not {describe(conv)}", nodes=[conv])
    x, weights, out = values_of(graph, variables, [*conv.inputs[:2], conv], inputs, named)
    image = example_of(x, example, caller).astype(np.float64)
    wanted = range(min(6, len(weights))) if filters is None else filters
    maps, which = _chosen(example_of(out, example, caller).astype(np.float64), wanted, caller)
    shown = weights[which].astype(np.float64)
    of_weights, of_maps, (low, high) = largest(shown), largest(maps), span(image)
    model = {
        "kind": "convolved", "node": graph.name(conv), "example": example, "filters": which,
        "image": image.tolist(), "weights": shown.tolist(), "maps": maps.tolist(),
        "weight_bound": of_weights, "map_bound": of_maps, "image_low": low, "image_high": high,
    }  # fmt: skip
    caption = Caption(
        "{node} of example {example}: an image {image}, {k} of {all} filters {size} and their maps "
        "{map}; zero is mid grey, filters from {wlow} to {whigh}, maps from {mlow} to {mhigh}, but "
        "the image is black at {low} and white at {high}",
        {
            "node": model["node"], "example": example, "image": list(image.shape),
            "k": len(which), "all": len(weights), "size": list(weights.shape[1:]),
            "map": list(maps.shape[1:]), "wlow": -_three(of_weights), "whigh": _three(of_weights),
            "mlow": -_three(of_maps), "mhigh": _three(of_maps), "low": _three(low),
            "high": _three(high),
        },
    )  # fmt: skip
    canvas = _convolved_sheet(image, shown, maps, which, (low, high), of_weights, of_maps)
    words = (
        f"Left: the image. Middle: {len(which)} filters, each with an arrow from the image and one "
        "to the map that it makes. Right: the maps."
    )
    return Figure(canvas, model, caption, "An image, its filters, their maps", words)


# -- values -------------------------------------------------------------------------------


def _maps(batch: Array, example: int, node: Node, caller: str) -> Array:
    """The maps of one example: (channels, height, width), units without a place as 1 by 1."""
    if batch.ndim not in (2, 4):
        raise GraphError(
            f"{caller} draws maps (batch, channels, height, width) or units (batch, features), not "
            f"{describe(node)}",
            nodes=[node],
        )
    maps = example_of(batch, example, caller).astype(np.float64)
    return maps.reshape(*maps.shape, 1, 1) if maps.ndim == 1 else maps


def _chosen(maps: Array, channels: Iterable[int] | None, caller: str) -> tuple[Array, list[int]]:
    which = list(range(min(len(maps), _MOST_MAPS))) if channels is None else list(channels)
    for channel in which:
        if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)):
            raise GraphError(f"{caller}: {channel!r} is not the number of a channel")
        if not 0 <= channel < len(maps):
            raise GraphError(f"{caller}: there is no channel {channel} among {len(maps)}")
    if not which or not maps.size:
        raise GraphError(f"{caller}: there is no map to draw")
    return maps[which], [int(channel) for channel in which]


def _limits(maps: Array, normalize: Normalization, caller: str) -> tuple[Array, Array]:
    """What is black and what is white, by map."""
    if normalize == "per-map":
        low: Array = maps.min(axis=(1, 2))
        return low, maps.max(axis=(1, 2))
    if normalize not in ("symmetric", "global"):
        raise GraphError(
            f"{caller}(normalize={normalize!r}): use 'symmetric' (zero is mid grey), 'global' or "
            "'per-map'"
        )
    bound = float(np.abs(maps).max())
    ends = (-bound, bound) if normalize == "symmetric" else (float(maps.min()), float(maps.max()))
    first, last = (np.full(len(maps), end) for end in ends)
    return first, last


def _said(normalize: Normalization, low: Array, high: Array) -> tuple[str, dict[str, Any]]:
    if normalize == "per-map":
        return "black and white are each map's own minimum and maximum", {}
    ends = {"low": _three(float(low[0])), "high": _three(float(high[0]))}
    if normalize == "global":
        return "black {low}, white {high}: minimum and maximum of all", ends
    return "zero is mid grey, black {low}, white {high}", ends


def _three(value: float) -> float:
    """Three significant digits: more than an eye tells greys apart."""
    return float(f"{value:.3g}") + 0.0  # and no -0.0


def _grey(values: Array, low: float, high: float) -> Array:
    """Grey pixels from black at ``low`` to white at ``high``; without contrast, mid grey."""
    return symmetric(values - (low + high) / 2, (high - low) / 2)


# -- sheets -------------------------------------------------------------------------------


def _columns(columns: int | None, count: int, caller: str) -> int:
    if columns is None:
        return math.ceil(math.sqrt(count * 1.6)) if count > 8 else count
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise GraphError(f"{caller}(columns={columns!r}) must be an int of at least 1")
    return columns


def _cell(height: int, width: int, columns: int) -> float:
    """Points a pixel: a whole number where the map is small, at most 110 points a map."""
    room = min(110.0, max(900.0 / columns - _GAP, 12.0), 26.0 * max(height, width))
    scale = room / max(height, width)
    return float(math.floor(scale)) if scale >= 1 else scale


def _grid(
    canvas: Canvas, left: float, top: float, pictures: Sequence[Array], names: Sequence[int],
    columns: int, *, labels: bool,
) -> tuple[float, float]:  # fmt: skip
    """Pictures in rows; returns how far right and down they reach."""
    height, width = pictures[0].shape[:2]
    scale = _cell(height, width, columns)
    wide, high = width * scale, height * scale
    labels = labels and wide >= text_width(str(max(names)), 9) + 2
    step = high + _GAP + (12 if labels else 0)
    right = bottom = 0.0
    for number, (pixels, name) in enumerate(zip(pictures, names, strict=True)):
        row, column = divmod(number, columns)
        x, y = left + column * (wide + _GAP), top + row * step
        if labels:
            canvas.text(x + wide / 2, y + 9, str(name), size=9, anchor="middle", fill="faint")
            y += 12
        canvas.image(x, y, wide, high, pixels, title=f"map {name}", data={"map": name})
        canvas.rect(x, y, wide, high, stroke="grid", line=0.6)
        right, bottom = max(right, x + wide), max(bottom, y + high)
    return right, bottom


def _convolved_sheet(
    image: Array, weights: Array, maps: Array, which: Sequence[int], ends: tuple[float, float],
    of_weights: float, of_maps: float,
) -> Canvas:  # fmt: skip
    canvas = Canvas(10, 10)
    count, channels, height, width = weights.shape
    colour = channels == 3
    cells = 1 if colour else min(channels, 8)
    row = 84.0
    top = 40.0
    middle = top + count * row / 2
    wide = _put_image(canvas, image, ends, middle, count * row)
    filters_at = _MARGIN + wide + 100
    tap = min(64.0 / max(height, width), 14.0)
    each = width * tap + 4
    maps_at = filters_at + cells * each + (16 if cells < channels and not colour else 0) + 90
    scale = min(row - 12, 72.0) / max(maps.shape[1:])
    canvas.text(filters_at, 22, f"{count} filter{'s' * (count > 1)}", bold=True)
    canvas.text(maps_at, 22, f"{count} map{'s' * (count > 1)}", bold=True)
    for number in range(count):
        y = top + (number + 0.5) * row
        canvas.line(_MARGIN + wide + 8, middle, filters_at - 10, y, stroke="faint", arrow=7)
        canvas.text(filters_at - 4, y - height * tap / 2 - 2, str(which[number]), size=9,
                    fill="faint", anchor="end")  # fmt: skip
        for cell in range(cells):
            values = np.moveaxis(weights[number], 0, -1) if colour else weights[number, cell]
            x = filters_at + cell * each
            pixels = symmetric(values, of_weights)
            canvas.image(x, y - height * tap / 2, width * tap, height * tap, pixels,
                         data={"filter": which[number], "channel": cell})  # fmt: skip
            canvas.rect(x, y - height * tap / 2, width * tap, height * tap, line=0.8)
        reach = filters_at + cells * each
        if cells < channels and not colour:
            canvas.text(reach, y + 4, "…")
            reach += 16
        canvas.line(reach + 8, y, maps_at - 10, y, stroke="faint", arrow=7)
        tall, across = maps.shape[1] * scale, maps.shape[2] * scale
        canvas.image(maps_at, y - tall / 2, across, tall, symmetric(maps[number], of_maps),
                     data={"map": which[number]})  # fmt: skip
        canvas.rect(maps_at, y - tall / 2, across, tall, line=0.8)
    canvas.width = max(maps_at + maps.shape[2] * scale + _MARGIN, 420)
    canvas.height = top + count * row + 10
    return canvas


def _put_image(
    canvas: Canvas, image: Array, ends: tuple[float, float], middle: float, room: float
) -> float:
    """The image, or the maps that stand for it inside a network, up to eight; returns the width."""
    planes = [image] if len(image) == 3 else list(image[:8])
    few = len(image) in (1, 3)
    side = 150.0 if len(planes) == 1 else min((room - 4) / len(planes) - 4, 72.0)
    scale = side / max(image.shape[1:])
    wide, high = image.shape[2] * scale, image.shape[1] * scale
    canvas.text(_MARGIN, 22, "image" if few else f"{len(image)} maps", bold=True)
    y = middle - (len(planes) * (high + 4) - 4) / 2
    for plane in planes:
        canvas.image(_MARGIN, y, wide, high, picture(plane, *ends), title="image")
        canvas.rect(_MARGIN, y, wide, high, line=0.8)
        y += high + 4
    if not few and len(planes) < len(image):
        canvas.text(_MARGIN, y + 10, f"the first {len(planes)}", size=9, fill="faint")
    return max(float(wide), 56.0)
