"""The plate of R-CNN: for a few units of a network, the places of a data set that excite them most.

After Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
segmentation", CVPR 2014, section 3.1 and figure 4: all places of all images are sorted by the
activation there, non-maximum suppression leaves one of those that overlap in one image, and the
best are shown with their receptive field and their activation in white. Here the field is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.analysis.receptive_field import ReceptiveField, receptive_field
from graphc.compiler.program import compile as compile_graph
from graphc.data.dataset import Dataset
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, describe

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .reading import Array, needed, node_of, on_host, picture, span

Box = tuple[int, int, int, int]

_CALLER = "viz.plate"
_IN_A_LINE = 18  # places of a unit side by side; more go on below
_CELL, _GAP, _MARGIN = 74.0, 4.0, 14.0


@dataclass(frozen=True)
class _Peak:
    """A place that excites a unit: in which image, where on the map, what it sees, how much."""

    image: int
    y: int
    x: int
    box: Box
    value: float


def plate(
    graph: Graph,
    variables: Mapping[str, Any],
    node: Node | str,
    images: Any,
    *,
    channels: Sequence[int] | None = None,
    top: int = 16,
    overlap: float = 0.3,
    digits: int = 1,
    normalized: bool = False,
    crop: bool = False,
    batch: int = 256,
    backend: str | None = None,
) -> Figure:
    """What excites the units of a map most, over a data set: one row a channel.

    node: a map (N, C, H, W) of the graph, or its name. images: a ``data`` set (pixels / 255), or an
    array (n, c, h, w) as the graph takes it. channels: which (left out, the first six). top: places
    a channel. overlap: of two places in one image whose fields overlap more than this (intersection
    over union), only the stronger is kept; 1 keeps all. digits: of the values, after the point.
    normalized: each row divided by its first value, where that is positive. crop: only what the
    unit sees, not the whole image with a box around it. batch: images a run.

    The box of a unit is ``gx.receptive_field(node).box(y, x)``: (top, left, bottom, right),
    inclusive, cut at the border. ``.model``: ``rows`` with, by place, ``image`` (its number),
    ``unit`` [y, x], ``box``, ``inside`` (whether nothing was cut off), ``value`` and ``text``, what
    is printed. Raises GraphError: no such node, channel, or images that do not fit; a graph in
    training (dropout, batch statistics), whose values depend on more than the image.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import viz
    >>> x, w = gx.input("x", ("N", 1, 4, 4)), gx.parameter("w", (1, 1, 2, 2))
    >>> graph = gx.Graph({"y": gx.conv2d(x, w)})
    >>> images = np.arange(32, dtype="float32").reshape(2, 1, 4, 4) / 32
    >>> held = {"w": np.ones((1, 1, 2, 2), "float32")}
    >>> figure = viz.plate(graph, held, "y", images, top=2)
    >>> [(p["image"], p["unit"], p["box"], p["text"]) for p in figure.model["rows"][0]["places"]]
    [(1, [2, 2], [2, 2, 3, 3], '3.6'), (1, [2, 0], [2, 0, 3, 1], '3.3')]
    """
    wanted = node_of(graph, node, _CALLER)
    _check_options(top, overlap, digits, batch)
    if wanted.ndim != 4:
        raise GraphError(
            f"{_CALLER} takes a map (batch, channels, height, width), not {describe(wanted)}",
            nodes=[wanted],
        )
    part = needed(graph, [wanted])
    source, field, pixels = _field(part, wanted, images)
    values, which = _values(part, variables, source, pixels, channels, batch, backend)
    boxes: dict[tuple[int, int], Box | None] = {}

    def box(y: int, x: int) -> Box | None:
        if (y, x) not in boxes:
            boxes[y, x] = field.box(y, x)
        return boxes[y, x]

    rows = []
    for number, channel in enumerate(which):
        peaks = _peaks(values[:, number], box, top, overlap)
        first = peaks[0].value if peaks else 0.0
        divide = normalized and first > 0
        places = [
            {
                "image": peak.image, "unit": [peak.y, peak.x], "box": list(peak.box),
                "inside": field.box(peak.y, peak.x, clip=False) == peak.box, "value": peak.value,
                "text": f"{peak.value / first if divide else peak.value:.{digits}f}",
            }
            for peak in peaks
        ]  # fmt: skip
        rows.append({"channel": channel, "normalized": divide, "places": places})
    name = graph.name(wanted)
    called = images.name if isinstance(images, Dataset) else "images"
    ends = span(pixels)
    model = {
        "kind": "plate", "node": name, "images": len(pixels), "data": called, "top": top,
        "overlap": overlap, "digits": digits, "normalized": normalized, "crop": crop, "rows": rows,
        "field": list(field.size), "low": ends[0], "high": ends[1],
    }  # fmt: skip
    said = {
        "node": name, "channels": which, "top": top, "images": len(pixels), "data": called,
        "overlap": float(overlap), "field": list(field.size), "digits": digits,
        "low": float(f"{ends[0]:.3g}"), "high": float(f"{ends[1]:.3g}"),
    }  # fmt: skip
    template = (
        "units {channels} of {node}: the {top} places of {images} {data} that excite each most, "
        "those that overlap a stronger one of the same image by more than {overlap} left out; in "
        "white the exact receptive field (at most {field} pixels, cut at the border) and the "
        "activation, to {digits} digits after the point"
    )
    if normalized:
        template += ", each row divided by its first value"
        if plain := [row["channel"] for row in rows if not row["normalized"]]:
            template += " (but not {plain}, where it is not positive)"
            said["plain"] = plain
    template += "; black {low}, white {high}"
    canvas = _sheet(model, pixels)
    words = (
        f"{len(rows)} rows, one for each unit, with the images that excite it most from left to "
        "right."
    )
    return Figure(canvas, model, Caption(template, said), f"What excites {name}", words)


# -- computing ----------------------------------------------------------------------------


def _check_options(top: Any, overlap: Any, digits: Any, batch: Any) -> None:
    for what, value, least in (("top", top, 1), ("digits", digits, 0), ("batch", batch, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise GraphError(f"{_CALLER}({what}={value!r}) must be an int of at least {least}")
    if digits > 9:
        raise GraphError(f"{_CALLER}(digits={digits}): no float32 has so many")
    if isinstance(overlap, bool) or not isinstance(overlap, (int, float)) or not 0 <= overlap <= 1:
        raise GraphError(f"{_CALLER}(overlap={overlap!r}) must lie between 0 and 1")


def _field(part: Graph, wanted: Node, images: Any) -> tuple[str, ReceptiveField, Array]:
    """The name of the image input, the receptive field on it, and the images as it takes them."""
    if len(part.inputs) != 1 or next(iter(part.inputs.values())).ndim != 4:
        raise GraphError(
            f"{_CALLER}: {describe(wanted)} must depend on one image (N, c, h, w), not on "
            f"{', '.join(part.inputs) or 'no input'}",
            nodes=[wanted],
        )
    ((source, leaf),) = part.inputs.items()
    array = images.arrays()[0] if isinstance(images, Dataset) else on_host(images)
    if array.ndim != 4 or not len(array):
        raise ShapeError(
            f"{_CALLER}: images of shape {array.shape} are not (n, channels, height, width), n > 0"
        )
    sizes: dict[str, int] = {}
    for size, number in zip(leaf.shape[1:], array.shape[1:], strict=True):
        if size != number and isinstance(size, int):
            raise ShapeError(
                f"{_CALLER}: images of shape {array.shape}, but {source} is {describe(leaf)}",
                nodes=[leaf],
            )
        if not isinstance(size, int):
            sizes[str(size)] = number
    random = [node for node in part.nodes if node.op.name in ("dropout", "random_uniform")]
    field = receptive_field(wanted, leaf, size=sizes or None)
    if random or field.whole_batch:
        cause = random[0] if random else field.whole_batch[0]
        raise GraphError(
            f"{_CALLER}: a unit depends on more than its image, by {describe(cause)}\n"
            "  to fix: plates of graph.apply(passes.inference())",
            nodes=[cause],
        )
    return source, field, array


def _values(
    part: Graph,
    variables: Mapping[str, Any],
    source: str,
    images: Array,
    channels: Sequence[int] | None,
    batch: int,
    backend: str | None,
) -> tuple[Array, list[int]]:
    """The activations of the channels shown: (images, channels, height, width)."""
    count = part.outputs["v0"].shape[1]
    if not isinstance(count, int):
        raise GraphError(f"{_CALLER}: the number of channels is symbolic, {count}")
    which = list(range(min(6, count))) if channels is None else list(channels)
    for channel in which:
        if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)):
            raise GraphError(f"{_CALLER}: {channel!r} is not the number of a channel")
        if not 0 <= channel < count:
            raise GraphError(f"{_CALLER}: there is no channel {channel} among {count}")
    if not which:
        raise GraphError(f"{_CALLER}: channels={channels!r} is empty")
    fixed = part.inputs[source].shape[0]
    if isinstance(fixed, int):
        batch = fixed
        if len(images) % batch:
            raise ShapeError(
                f"{_CALLER}: the graph takes {batch} images at a time, which does not divide "
                f"{len(images)}; declare the batch as 'N'"
            )
    program = compile_graph(part, backend)
    held = {name: np.array(on_host(array)) for name, array in variables.items()}
    found = [
        np.asarray(on_host(program(held, {source: images[i : i + batch]})["v0"]))[:, which]
        for i in range(0, len(images), batch)
    ]
    values = np.concatenate(found).astype(np.float64)
    if not np.isfinite(values).all():
        raise GraphError(f"{_CALLER}: activations are not all finite, so none is the largest")
    return values, [int(channel) for channel in which]


def _peaks(
    values: Array, box: Callable[[int, int], Box | None], top: int, overlap: float
) -> list[_Peak]:
    """The strongest places, (images, height, width), after non-maximum suppression; of equal ones
    the first."""
    found: list[_Peak] = []
    kept: dict[int, list[Box]] = {}
    _, height, width = values.shape
    flat = values.reshape(-1)
    for place in np.argsort(-flat, kind="stable"):
        if len(found) == top:
            break
        image, rest = divmod(int(place), height * width)
        y, x = divmod(rest, width)
        seen = box(y, x)
        if seen is None or any(_share(seen, other) > overlap for other in kept.get(image, ())):
            continue
        kept.setdefault(image, []).append(seen)
        found.append(_Peak(image, y, x, seen, float(flat[place])))
    return found


def _share(first: Box, second: Box) -> float:
    """Intersection over union of two inclusive boxes, in pixels."""
    high = min(first[2], second[2]) - max(first[0], second[0]) + 1
    wide = min(first[3], second[3]) - max(first[1], second[1]) + 1
    both = max(high, 0) * max(wide, 0)
    areas = ((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (first, second))
    return both / (sum(areas) - both)


# -- the sheet ----------------------------------------------------------------------------


def _sheet(model: dict[str, Any], pixels: Array) -> Canvas:
    canvas = Canvas(10, 10)
    names = [f"unit {row['channel']}" for row in model["rows"]]
    left = _MARGIN + max(text_width(name, 11) for name in names) + 10
    widest, y = left, _MARGIN
    for name, row in zip(names, model["rows"], strict=True):
        canvas.text(_MARGIN, y + _CELL / 2 + 4, name, size=11)
        for number, place in enumerate(row["places"]):
            line, column = divmod(number, _IN_A_LINE)
            x, at = left + column * (_CELL + _GAP), y + line * (_CELL + _GAP)
            with canvas.group(data={
                "channel": row["channel"], "image": place["image"],
                "box": ",".join(map(str, place["box"])), "value": place["text"],
            }):  # fmt: skip
                _place(canvas, model, place, pixels[place["image"]], x, at)
            widest = max(widest, x + _CELL)
        y += max(-(-len(row["places"]) // _IN_A_LINE), 1) * (_CELL + _GAP) + 2
    canvas.width = max(widest + _MARGIN, 420)
    canvas.height = y + 4
    return canvas


def _place(
    canvas: Canvas, model: dict[str, Any], place: dict[str, Any], image: Array, x: float, y: float
) -> None:
    """An image (or the crop) with the field and the value in white, edged so that it shows on
    any picture."""
    top, left, bottom, right = place["box"]
    seen = image if len(image) in (1, 3) else image.mean(axis=0, keepdims=True)
    if model["crop"]:
        seen = seen[:, top : bottom + 1, left : right + 1]
        top, left, bottom, right = 0, 0, bottom - top, right - left
    planes = seen if len(seen) == 3 else seen[0]
    scale = _CELL / max(seen.shape[1:])
    high, wide = seen.shape[1] * scale, seen.shape[2] * scale
    x, y = x + (_CELL - wide) / 2, y + (_CELL - high) / 2
    canvas.rect(x, y, wide, high, fill="#000000", stroke="grid", line=0.8)
    canvas.image(x, y, wide, high, picture(planes, model["low"], model["high"]),
                 title=f"image {place['image']}, unit {place['unit']}")  # fmt: skip
    inset = 0.8  # so that the line lies on the field's own pixels
    box = (
        x + left * scale + inset, y + top * scale + inset,
        (right - left + 1) * scale - 2 * inset, (bottom - top + 1) * scale - 2 * inset,
    )  # fmt: skip
    canvas.rect(*box, stroke="#000000", line=3.2)
    canvas.rect(*box, stroke="#ffffff", line=1.6)
    wide_text = text_width(place["text"], 10)
    at = max(min(x + wide - wide_text - 3, x + _CELL), x + 2), y + high - 4
    corners = [(at[0] - 2, at[1] - 9.5), (at[0] + wide_text + 2, at[1] - 9.5),
               (at[0] + wide_text + 2, at[1] + 3), (at[0] - 2, at[1] + 3)]  # fmt: skip
    canvas.polygon(corners, fill="#000000", stroke="none", opacity=0.7)
    canvas.text(at[0], at[1], place["text"], size=10, fill="#ffffff")
