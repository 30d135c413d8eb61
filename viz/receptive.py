"""Receptive fields drawn: a unit's on its image, the fields by depth, and what is not aligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.analysis import Counterexample, ReceptiveField, receptive_fields
from graphc.analysis import receptive_field as field_of
from graphc.ir.errors import GraphError
from graphc.ir.node import Node

from .canvas import Canvas, text_width
from .figure import Caption, Figure

# The longer side of a drawn image, in points, and the largest size of a pixel.
_SIDE, _PIXEL = 420.0, 28.0
_MARGIN, _TOP = 16.0, 30.0
_MOST_DOTS = 1600  # pixels that are marked one by one
_MOST_LAYERS = 16
_MOST_TICKS = 60

Array = np.ndarray[Any, np.dtype[Any]]


def receptive_field(
    field: ReceptiveField | Node,
    y: int | None = None,
    x: int | None = None,
    *,
    image: Any = None,
    wrt: Node | None = None,
    size: Mapping[str, int] | None = None,
) -> Figure:
    """What unit (y, x) sees of its image: exact pixels, holes visible, with the box around them.

    field: a receptive field, or a node (then wrt and size as for ``gx.receptive_field``). y, x: the
    unit, the middle one if left out; negative ones count from the end. image: (height, width), or
    channels first or last, of any numbers; grey if left out. Pixels that are not seen are pale;
    where there is room each seen one has a dot. The dashed box is the field as if maps went on for
    ever, where it leaves the image.

    Raises GraphError: a unit that is not there, an image of another size, a size that is needed.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", (1, 1, 12, 12))
    >>> h = gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3)), dilation=2, padding=2)
    >>> figure = viz.receptive_field(h, 0, 6)
    >>> figure.model["rows"], figure.model["box"]
    ([0, 2], [0, 4, 2, 8])
    """
    if not isinstance(field, ReceptiveField):
        field = field_of(field, wrt, size)
    shape = (1, 1, *field.way.shape(field.node))[-2:]
    at = (shape[0] // 2 if y is None else y, shape[1] // 2 if x is None else x)
    at = (
        field.way.position(field.node, -2, at[0], "row"),
        field.way.position(field.node, -1, at[1], "column"),
    )
    seen = field.mask(*at)
    box, hull = field.box(*at), field.box(*at, clip=False)
    height, width = seen.shape
    pixels = _faded(_grey(image, seen.shape), seen)
    cell = min(_SIDE / max(height, width), _PIXEL)
    if hull is None or box is None:
        before = after = (0.0, 0.0)
    else:  # room for what lies on padding
        before = (max(-hull[0], 0) * cell, max(-hull[1], 0) * cell)
        after = (
            max(hull[2] - height + 1, 0) * cell,
            max(hull[3] - width + 1, 0) * cell,
        )
        limit = _SIDE / 3
        before = (min(before[0], limit), min(before[1], limit))
        after = (min(after[0], limit), min(after[1], limit))
    left, top = _MARGIN + before[1], _TOP + before[0]
    right, bottom = left + width * cell, top + height * cell
    title = f"{name_of(field.node)} ({at[0]}, {at[1]})"
    wide = max(right + after[1] + _MARGIN, text_width(title, 12, bold=True) + 2 * _MARGIN, 260)
    canvas = Canvas(wide, bottom + after[0] + _MARGIN)
    canvas.text(_MARGIN, 18, title, bold=True, room=wide - 2 * _MARGIN)
    canvas.image(left, top, width * cell, height * cell, pixels, title=name_of(field.wrt))
    canvas.rect(left, top, width * cell, height * cell, stroke="faint")
    marks = np.argwhere(seen)
    dotted = len(marks) <= _MOST_DOTS and cell >= 5
    if dotted:
        for row, column in marks.tolist():
            canvas.circle(
                left + (column + 0.5) * cell, top + (row + 0.5) * cell, min(cell / 5, 2.5),
                fill="vermillion", stroke="paper", line=0.5, data={"pixel": f"{row},{column}"},
            )  # fmt: skip
    if box is not None:
        _outline(canvas, box, left, top, cell, "vermillion", "", "box")
    if hull is not None and hull != box:
        shown = (
            max(hull[0], -before[0] / cell), max(hull[1], -before[1] / cell),
            min(hull[2], height - 1 + after[0] / cell), min(hull[3], width - 1 + after[1] / cell),
        )  # fmt: skip
        _outline(canvas, shown, left, top, cell, "blue", "5 3", "hull")
    rows, columns = np.flatnonzero(seen.any(1)).tolist(), np.flatnonzero(seen.any(0)).tolist()
    model = {
        "node": name_of(field.node), "wrt": name_of(field.wrt), "unit": list(at),
        "image": [height, width], "box": _list(box), "hull": _list(hull),
        "rows": rows, "columns": columns, "pixels": int(seen.sum()),
        "mask": ["".join("1" if s else "0" for s in row) for row in seen],
        "size": [str(n) if not isinstance(n, int) else n for n in field.size],
        "aligned": bool(field.aligned),
    }  # fmt: skip
    template = "unit {unit} of {node} sees {pixels} pixels of {image}"
    values: dict[str, Any] = {
        "unit": list(at), "node": name_of(field.node), "pixels": int(seen.sum()),
        "image": [height, width],
    }  # fmt: skip
    if box is None:
        template += ", so nothing but padding"
    else:
        template += " in the box {box}"
        values["box"] = list(box)
        holes = (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - int(seen.sum())
        template += ", with {holes} holes in it"
        values["holes"] = holes
    if hull is not None and hull != box:
        template += "; with its padding {hull} (dashed)"
        values["hull"] = list(hull)
    words = f"The image {name_of(field.wrt)} with the pixels that the unit sees, and their box."
    return Figure(canvas, model, Caption(template, values), f"Receptive field: {title}", words)


def fields_by_depth(
    field: ReceptiveField | Node,
    y: int | None = None,
    x: int | None = None,
    *,
    wrt: Node | None = None,
    size: Mapping[str, int] | None = None,
) -> Figure:
    """A pyramid: the columns of each layer that one unit sees, from the unit down to the image.

    field, y, x, wrt, size: as for ``viz.receptive_field``. Each layer is a row of its own units, to
    the scale of the image; those that the unit sees are filled, up to the borders. Layers are those
    that change what is seen, on one way to the node; of more than 16 an even choice is drawn.

    Raises GraphError as ``viz.receptive_field`` does.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = h = gx.input("x", (1, 1, 16, 16))
    >>> for name in "abc":
    ...     h = gx.conv2d(h, gx.parameter(name, (1, 1, 3, 3)), padding=1)
    >>> [layer["columns"] for layer in viz.fields_by_depth(h).model["layers"]]
    [[8, 8], [7, 9], [6, 10], [5, 11]]
    """
    if not isinstance(field, ReceptiveField):
        field = field_of(field, wrt, size)
    way = field.way
    shape = (1, 1, *way.shape(field.node))[-2:]
    at = (
        way.position(field.node, -2, shape[0] // 2 if y is None else y, "row"),
        way.position(field.node, -1, shape[1] // 2 if x is None else x, "column"),
    )
    layers = []
    for node in _trail(field):
        inner = field_of(field.node, node, way.sizes)
        box = inner.box(*at)
        plane = (1, 1, *way.shape(node))[-2:]
        layers.append({
            "node": name_of(node), "op": node.op.name, "width": plane[1], "height": plane[0],
            "rows": None if box is None else [box[0], box[2]],
            "columns": None if box is None else [box[1], box[3]],
            "seen": 0 if box is None else len(inner.columns(at[1])),
        })  # fmt: skip
    return _pyramid(layers, field, at)


def _pyramid(layers: list[dict[str, Any]], field: ReceptiveField, at: tuple[int, int]) -> Figure:
    said = [f"{each['node']} {each['width']} wide" for each in layers]
    label = min(max(text_width(text, 11) for text in said), 240.0)
    left, step, bar = _MARGIN + label + 12, 40.0, 18.0
    canvas = Canvas(left + _SIDE + 90, _TOP + step * len(layers))
    title = f"What unit {at} of {name_of(field.node)} sees, layer by layer"
    canvas.text(_MARGIN, 18, title, bold=True, room=canvas.width - 2 * _MARGIN)
    before: tuple[float, float, float] | None = None
    for number, (each, text) in enumerate(zip(layers, said, strict=True)):
        top = _TOP + step * number
        cell = _SIDE / each["width"]
        canvas.text(_MARGIN, top + 13, text, size=11, room=label)
        canvas.rect(left, top, _SIDE, bar, stroke="faint", fill="shade")
        if each["columns"] is None:
            before = None
            continue
        first, last = each["columns"]
        start, end = left + first * cell, left + (last + 1) * cell
        if before is not None:
            points = [(before[0], before[2]), (before[1], before[2]), (end, top), (start, top)]
            canvas.polygon(points, fill="tint-orange", stroke="orange", line=0.8, opacity=0.6)
        canvas.rect(start, top, end - start, bar, fill="tint-vermillion", stroke="vermillion",
                    line=1.4, data={"columns": f"{first},{last}"})  # fmt: skip
        if each["width"] <= _MOST_TICKS:
            for unit in range(1, each["width"]):
                canvas.line(left + unit * cell, top, left + unit * cell, top + bar,
                            stroke="grid", line=0.5)  # fmt: skip
        count = last - first + 1
        canvas.text(left + _SIDE + 8, top + 13, f"{count} column{'s' * (count != 1)}", size=11)
        before = (start, end, top + bar)
    bottom = layers[-1]
    template = (
        "unit {unit} of {node} sees {count} of the {width} columns of {image}, by {layers} layers"
    )
    values = {
        "unit": list(at), "node": name_of(field.node), "width": bottom["width"],
        "count": bottom["seen"], "image": bottom["node"], "layers": len(layers),
    }  # fmt: skip
    model = {"unit": list(at), "layers": layers}
    words = "A row for each layer, the image at the bottom; what the unit sees is filled."
    return Figure(canvas, model, Caption(template, values), title, words)


def misaligned(example: Counterexample | ReceptiveField | Node) -> Figure:
    """Two ways that are centred differently: the boxes that one unit sees by either.

    example: a counterexample (``field.alignment``), or a field or node that has one. The unit and
    the size are the smallest at which it shows; what lies outside the image is padding.

    Raises GraphError where the node is aligned, or no unit shows the difference.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", (1, 1, 8, 8))
    >>> one, two = (gx.parameter(n, (1, 1, k, k)) for n, k in (("one", 1), ("two", 3)))
    >>> y = gx.conv2d(x, one, stride=2) + gx.conv2d(x, two, stride=2, padding="same")
    >>> viz.misaligned(y).model["boxes"]
    [[0, 0, 0, 0], [0, 0, 2, 2]]
    """
    if isinstance(example, Node):
        example = field_of(example)
    if isinstance(example, ReceptiveField):
        proof = example.alignment
        if not isinstance(proof, Counterexample):
            raise GraphError(f"{example.node!r} is aligned: there is nothing to show")
        example = proof
    if example.boxes is None or example.size is None:
        raise GraphError(f"no single unit shows why {example.meeting!r} is not aligned")
    (height, width), boxes = example.size, example.boxes
    low = [min(0, *(box[i] for box in boxes)) for i in (0, 1)]
    high = [max(side - 1, *(box[2 + i] for box in boxes)) for i, side in enumerate(example.size)]
    cell = min(_SIDE / max(high[0] - low[0] + 1, high[1] - low[1] + 1), _PIXEL)
    ways = [" → ".join(name_of(node) for node in path) for path in example.paths]
    top = _TOP + 36
    left = _MARGIN
    across, down = (high[1] - low[1] + 1) * cell, (high[0] - low[0] + 1) * cell
    canvas = Canvas(max(across + 2 * _MARGIN, 480), top + down + _MARGIN)
    title = f"{name_of(example.meeting)} is not aligned"
    canvas.text(_MARGIN, 18, title, bold=True, room=canvas.width - 2 * _MARGIN)
    x0, y0 = left - low[1] * cell, top - low[0] * cell
    canvas.rect(x0, y0, width * cell, height * cell, fill="shade", stroke="faint")
    for n in range(high[0] - low[0] + 2 if cell >= 5 else 0):
        canvas.line(left, top + n * cell, left + across, top + n * cell, stroke="grid", line=0.5)
    for n in range(high[1] - low[1] + 2 if cell >= 5 else 0):
        canvas.line(left + n * cell, top, left + n * cell, top + down, stroke="grid", line=0.5)
    for number, (box, paint, dash) in enumerate(
        zip(boxes, ("blue", "vermillion"), ("", "6 3"), strict=True)
    ):
        y = _TOP + 4 + 15 * number
        canvas.line(_MARGIN, y - 4, _MARGIN + 22, y - 4, stroke=paint, line=2, dash=dash)
        canvas.text(_MARGIN + 28, y, ways[number], size=10, room=canvas.width - 2 * _MARGIN - 28)
        _outline(canvas, box, x0, y0, cell, paint, dash, f"way {number + 1}")
        centre = (x0 + (box[1] + box[3] + 1) / 2 * cell, y0 + (box[0] + box[2] + 1) / 2 * cell)
        arm = 5 - number
        canvas.line(centre[0] - arm, centre[1], centre[0] + arm, centre[1], stroke=paint, line=2)
        canvas.line(centre[0], centre[1] - arm, centre[0], centre[1] + arm, stroke=paint, line=2)
    offset = None if example.offset is None else [float(part) for part in example.offset]
    template = "at {size} unit {unit} of {node} sees {first} by one way and {second} by the other"
    values: dict[str, Any] = {
        "size": list(example.size), "unit": list(example.unit), "node": name_of(example.meeting),
        "first": list(boxes[0]), "second": list(boxes[1]),
    }  # fmt: skip
    if offset is not None:
        template += ", {offset} pixels apart"
        values["offset"] = offset
    template += "; to repair it: {repair}" if example.repair else "; {repair}"
    values["repair"] = example.repair or example.reason or ""
    model = {
        "kind": example.kind, "paths": ways, "size": list(example.size),
        "unit": list(example.unit), "boxes": [list(box) for box in boxes], "offset": offset,
        "when": example.when, "repair": example.repair, "reason": example.reason,
    }  # fmt: skip
    words = "The image's pixels with the two boxes and their centres."
    return Figure(canvas, model, Caption(template, values), title, words)


# -- parts ----------------------------------------------------------------------------------------


def _outline(
    canvas: Canvas, box: Sequence[float], left: float, top: float, cell: float, paint: str,
    dash: str, role: str,
) -> None:  # fmt: skip
    width, height = (box[3] - box[1] + 1) * cell, (box[2] - box[0] + 1) * cell
    canvas.rect(
        left + box[1] * cell, top + box[0] * cell, width, height, stroke=paint, line=2, dash=dash,
        title=role, data={"role": role, "box": ",".join(f"{n:g}" for n in box)},
    )  # fmt: skip


def _trail(field: ReceptiveField) -> list[Node]:
    """From the node down to the image, the layers of one way that change what is seen."""
    user_of: dict[Node, Node] = {}
    for edge in field.way.edges:
        user_of.setdefault(edge.source, edge.user)
    trail = [field.wrt]
    while trail[-1] is not field.node:
        trail.append(user_of[trail[-1]])
    below = receptive_fields(field.node, field.wrt, field.way.sizes)
    kept = [
        node
        for before, node in zip([None, *trail], trail, strict=False)
        if before is None or node is field.node or below[node].size != below[before].size
    ]
    if len(kept) > _MOST_LAYERS:
        chosen = np.linspace(0, len(kept) - 1, _MOST_LAYERS).round().astype(int)
        kept = [kept[i] for i in dict.fromkeys(chosen.tolist())]
    return kept[::-1]


def name_of(node: Node) -> str:
    """What a picture calls a node: a leaf's own name, else its op's."""
    label = getattr(node.op, "label", None)
    return str(label()) if label is not None else node.op.name


def _list(box: Sequence[int] | None) -> list[int] | None:
    return None if box is None else list(box)


def _grey(image: Any, shape: tuple[int, int]) -> Array:
    """An image as uint8 (height, width, 3), stretched over its own range; mid grey for none."""
    if image is None:
        return np.full((*shape, 3), 200, np.uint8)
    array = np.asarray(image)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[1:] == shape and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[:2] != shape or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise GraphError(
            f"viz.receptive_field: the image is {np.asarray(image).shape}, the field is of "
            f"{shape[0]} x {shape[1]} pixels: give (height, width), (3, height, width) or "
            "(height, width, 3)"
        )
    if array.dtype != np.uint8:
        array = array.astype(np.float64)
        low, high = np.nanmin(array), np.nanmax(array)
        if not np.isfinite([low, high]).all():
            raise GraphError("viz.receptive_field: the image has infinite or no numbers")
        scaled = (array - low) / (high - low) * 255 if high > low else array * 0 + 128
        array = np.nan_to_num(scaled).round().astype(np.uint8)
    return np.repeat(array, 3, 2) if array.shape[2] == 1 else array


def _faded(pixels: Array, seen: Array) -> Array:
    """Pixels that are not seen, pale: three quarters of the way to white."""
    pale = 255 - (255 - pixels.astype(np.int64)) // 4
    return np.where(seen[:, :, None], pixels, pale).astype(np.uint8)
