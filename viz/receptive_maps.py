"""Receptive fields as maps: effective ones, their growth, where a map lies on its image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from graphc.analysis import EffectiveField, field_table
from graphc.analysis import centre_offsets as offsets_of
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.node import Node

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .receptive import name_of

_MARGIN, _TOP, _SIDE = 16.0, 30.0, 360.0
_ROW = 17.0
_MOST_ROWS, _MOST_SIZES = 60, 48
# One hue that darkens evenly, so its levels keep their order for any eye and in grey.
_DARK = np.array([8, 48, 92])


def effective_field(found: EffectiveField) -> Figure:
    """An effective receptive field: how much each pixel counts, in the box of what the unit sees.

    found: made by ``gx.effective_receptive_field``. Darker counts more; white is 0 and the darkest
    is the largest, after the transform that the caption names. Beside it the centred squares that
    hold 0.2, 0.3, 0.5 and 0.99 of it (Ding et al. 2022).

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", (1, 1, 9, 9))
    >>> h = gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3)), padding=1)
    >>> figure = viz.effective_field(gx.effective_receptive_field(h, "ones"))
    >>> figure.caption.values["transform"], figure.model["box"]
    ('sqrt', [3, 3, 5, 5])
    """
    shown = found.shown
    height, width = shown.shape
    cell = _SIDE / max(height, width)
    pixels = (255 - shown[:, :, None] * (255 - _DARK)).round().astype(np.uint8)
    title = f"Effective receptive field of unit {found.unit}"
    left, top = _MARGIN, _TOP
    right = left + width * cell + 18
    canvas = Canvas(right + 190, max(top + height * cell, top + 130) + _MARGIN)
    canvas.text(_MARGIN, 18, title, bold=True, room=canvas.width - 2 * _MARGIN)
    canvas.image(left, top, width * cell, height * cell, pixels, title="how much each pixel counts")
    canvas.rect(left, top, width * cell, height * cell, stroke="faint")
    box = found.field.box(*found.unit)
    if box is not None:
        canvas.rect(
            left + box[1] * cell, top + box[0] * cell, (box[3] - box[1] + 1) * cell,
            (box[2] - box[0] + 1) * cell, stroke="vermillion", line=1.6, dash="6 3",
            title="what the unit sees", data={"role": "box", "box": ",".join(map(str, box))},
        )  # fmt: skip
    canvas.text(right, top + 12, "share", size=11, bold=True)
    canvas.text(right + 76, top + 12, "side", size=11, bold=True, anchor="end")
    canvas.text(right + 164, top + 12, "of the image", size=11, bold=True, anchor="end")
    for number, area in enumerate(found.areas, 1):
        y = top + 12 + _ROW * number
        canvas.text(right, y, f"{area.share:g}", size=11)
        canvas.text(right + 76, y, str(area.side), size=11, anchor="end")
        canvas.text(right + 164, y, f"{area.ratio:.4g}", size=11, anchor="end")
    y = top + 22 + _ROW * 5
    canvas.rect(right, y - 9, 12, 11, stroke="vermillion", dash="6 3", line=1.6)
    canvas.text(right + 18, y, "what the unit sees", size=11)
    template = (
        "unit {unit} of {node}: {what}, transform {transform}, over the largest; weights {weights}"
    )
    what = "numbers of paths" if found.weights == "ones" else f"{found.part} gradients"
    values: dict[str, Any] = {
        "unit": list(found.unit), "node": name_of(found.field.node), "what": what,
        "transform": found.transform, "weights": found.weights,
    }  # fmt: skip
    if found.weights != "ones":
        template += ", mean of {runs} runs from seed {seed}"
        values |= {"runs": found.runs, "seed": found.seed}
    template += "; half of it in a square of {half} pixels a side"
    values["half"] = next(area.side for area in found.areas if area.share == 0.5)
    model = {
        "unit": list(found.unit), "box": None if box is None else list(box),
        "values": [[_plain(v) for v in row] for row in found.values],
        "transform": found.transform, "weights": found.weights, "runs": found.runs,
        "areas": [{"share": a.share, "side": a.side, "ratio": a.ratio} for a in found.areas],
    }  # fmt: skip
    words = "Each pixel of the image, darker where it counts more, and a dashed box."
    return Figure(canvas, model, Caption(template, values), title, words)


def _plain(value: Any) -> int | float:
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def field_sizes(
    graph: Graph, wrt: Node | str | None = None, *, size: Mapping[str, int] | None = None
) -> Figure:
    """How fields grow with depth: a bar for each layer, and the image's height as a line.

    graph, wrt, size: as for ``gx.receptive_fields``. Layers are those of ``graphc rf``. Bars that
    pass the line are hatched: those layers see more than the image, so a part of what they read is
    padding. A layer that is not aligned says so.

    Raises GraphError: no layer has a field, sizes that are needed.

    >>> from graphc import models, viz
    >>> viz.field_sizes(models.build("vgg-11")).model["exceeding"]
    []
    """
    found = field_table(graph, wrt, size)
    rows = [row for row in found.rows if isinstance(row.size[0], int)][:_MOST_ROWS]
    if not rows:
        raise GraphError("viz.field_sizes: no layer has a field of a known size: say size=")
    wrt_node = rows[0].field.wrt
    height = (1, 1, *rows[0].field.way.shape(wrt_node))[-2]
    sizes = [_number(row.size[0]) for row in rows]
    scale = _SIDE / max(height, *sizes)
    names = max(text_width(row.name, 10) for row in rows)
    left = _MARGIN + min(names, 200) + 10
    canvas = Canvas(left + _SIDE + 150, _TOP + 18 + _ROW * len(rows) + _MARGIN)
    title = f"Receptive fields of {found.wrt} by layer"
    canvas.text(_MARGIN, 18, title, bold=True, room=canvas.width - 2 * _MARGIN)
    line = left + height * scale
    canvas.text(line, _TOP + 8, f"image {height}", size=10, anchor="middle")
    for number, (row, rows_seen) in enumerate(zip(rows, sizes, strict=True)):
        y = _TOP + 14 + _ROW * number
        canvas.text(left - 8, y + 10, row.name, size=10, anchor="end", room=200)
        paint = "vermillion" if row.exceeds else "blue"
        fill = "tint-vermillion" if row.exceeds else "tint-blue"
        bar = rows_seen * scale
        canvas.rect(left, y, bar, 12, fill=fill, stroke=paint, data={"size": rows_seen})
        if row.exceeds:
            canvas.hatch(left, y, bar, 12, stroke=paint)
        said = f"{rows_seen}" + {True: "", False: " not aligned", None: " by size"}[row.aligned]
        canvas.text(left + max(bar, height * scale) + 8, y + 10, said, size=10)
    canvas.line(line, _TOP + 12, line, _TOP + 14 + _ROW * len(rows), stroke="ink", line=1.5)
    exceeding = [row.name for row in rows if row.exceeds]
    template = (
        "{layers} layers of {image}, {height} pixels high; {exceeding} see more than it (hatched), "
        "the largest field is {largest} high"
    )
    values = {
        "layers": len(rows), "image": found.wrt, "height": height, "exceeding": len(exceeding),
        "largest": max(sizes),
    }  # fmt: skip
    left_out = len(found.rows) - len(rows)
    if left_out:
        template += "; {left} more are left out"
        values["left"] = left_out
    model = {
        "image": height, "exceeding": exceeding,
        "layers": [
            {"name": row.name, "size": [_number(n) for n in row.size], "aligned": bool(row.aligned)}
            for row in rows
        ],
    }  # fmt: skip
    words = "A bar for each layer, in the order of the graph, as long as its field is high."
    return Figure(canvas, model, Caption(template, values), title, words)


def _number(size: Any) -> int:
    """A size that is known to be a number."""
    return int(size)


def centre_offsets(
    node: Node, sizes: Iterable[int] | None = None, *, wrt: Node | None = None
) -> Figure:
    """How far off the image's first pixel a map's first unit looks, by the size of the image.

    node, wrt: as for ``gx.receptive_field``. sizes: of square images; left out, one period of the
    map's stride from 224 on. An arrow as long as the offset for each; 0 has a dot: there the map's
    corner is the image's. Sizes on which the map is not aligned say so.

    Raises GraphError: no size fits, more than 48, and what ``gx.centre_offsets`` raises.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", (1, 1, 8, 8))
    >>> h = gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3)), stride=2, padding="same")
    >>> viz.centre_offsets(h, [224, 225]).model["offsets"]
    [{'size': 224, 'rows': 1.0, 'columns': 1.0}, {'size': 225, 'rows': 0.0, 'columns': 0.0}]
    """
    given = list(range(224, 257) if sizes is None else sizes)
    if len(given) > _MOST_SIZES:
        raise GraphError(f"viz.centre_offsets: {len(given)} sizes, at most {_MOST_SIZES} are drawn")
    found = offsets_of(node, given, wrt)
    if not found:
        raise GraphError(f"viz.centre_offsets: {node!r} has no unit on images of these sizes")
    known = [abs(float(o[0])) for o in found.values() if o is not None]
    scale = 240 / max(max(known, default=1.0), 1.0)
    left = _MARGIN + 110
    canvas = Canvas(left + 240 + 130, _TOP + 22 + _ROW * len(found) + _MARGIN)
    title = f"Where unit (0, 0) of {name_of(node)} looks"
    canvas.text(_MARGIN, 18, title, bold=True, room=canvas.width - 2 * _MARGIN)
    canvas.text(left - 12, _TOP + 10, "image", size=10, anchor="end")
    canvas.text(left, _TOP + 10, "row of its centre", size=10)
    for number, (size, offset) in enumerate(found.items()):
        y = _TOP + 20 + _ROW * number
        canvas.text(left - 12, y + 4, f"{size} x {size}", size=10, anchor="end")
        if offset is None:
            canvas.text(left, y + 4, "not aligned", size=10)
            continue
        value = float(offset[0])
        if value:
            tip = left + abs(value) * scale
            paint = "vermillion" if value < 0 else "blue"
            canvas.line(left, y, tip, y, stroke=paint, line=2, arrow=min(8, abs(value) * scale),
                        dash="" if value > 0 else "5 3", data={"offset": value})  # fmt: skip
        else:
            tip = left + 4
            canvas.circle(left + 2, y, 3.5, fill="green", stroke="none", data={"offset": 0})
        canvas.text(tip + 8, y + 4, _half(offset[0]), size=10)
    sound = [size for size, offset in found.items() if offset is not None and not any(offset)]
    template = (
        "{sizes} sizes from {first} to {last}: offset 0 at {sound} of them, at most {most} pixels"
    )
    values = {
        "sizes": len(found), "first": min(found), "last": max(found), "sound": len(sound),
        "most": max(known, default=0.0),
    }  # fmt: skip
    model = {
        "offsets": [
            {"size": n, "rows": None if o is None else float(o[0]),
             "columns": None if o is None else float(o[1])}
            for n, o in found.items()
        ]
    }  # fmt: skip
    words = "A row for each size of the image: an arrow as long as the offset, a dot where it is 0."
    return Figure(canvas, model, Caption(template, values), title, words)


def _half(value: int | Fraction) -> str:
    return f"{float(value):g}"
