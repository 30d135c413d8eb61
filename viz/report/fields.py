"""What the page says about receptive fields: for each map, the pixels of each row and column.

All of it is asked of ``gx.receptive_field``; the page looks boxes up and computes none.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.analysis import receptive_field
from graphc.ir.dims import evaluate, names
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Leaf
from graphc.ir.node import Node
from graphc.ir.summary import model_nodes

from .shell import text

Array = np.ndarray[Any, np.dtype[Any]]
Span = list[Any]  # [first, last], [first, last, step] or [first, last, [each]]
Box = tuple[int, int, int, int]

MOST_MAPS = 32
_MOST_UNITS = 4096  # of a map whose boxes are asked for one by one
_COMPARED = 1500  # units of all maps together whose boxes are compared with the tables
_LARGEST = 640  # pixels of the embedded picture


@dataclass(frozen=True)
class Map:
    """One map: what its units see of the image."""

    node: Node
    name: str
    shape: tuple[int, int]
    table: dict[str, Any]

    def box(self, y: int, x: int) -> Box | None:
        """(top, left, bottom, right) of a unit, as the page shows it."""
        if "boxes" in self.table:
            found = self.table["boxes"][y * self.shape[1] + x]
            return None if found is None else tuple(found)
        row, column = self.table["rows"][y], self.table["columns"][x]
        if row is None or column is None:
            return None
        return row[0], column[0], row[1], column[1]


@dataclass(frozen=True)
class FieldPart:
    """The maps of a graph, and the picture that their units look at."""

    wrt: Node
    maps: tuple[Map, ...]
    left_out: int
    size: tuple[int, int]
    uri: str
    said: str

    def as_dict(self) -> dict[str, Any]:
        """What the page reads: each different table once."""
        tables: list[dict[str, Any]] = []
        places = []
        for each in self.maps:
            if each.table not in tables:
                tables.append(each.table)
            places.append(tables.index(each.table))
        return {
            "tables": tables,
            "nodes": [
                {"id": m.name, "name": m.name, "height": m.shape[0], "width": m.shape[1],
                 "table": place}
                for m, place in zip(self.maps, places, strict=True)
            ],
        }  # fmt: skip


def collect(
    graph: Graph,
    image: Array | None,
    said: str,
    sizes: Mapping[str, int],
    most: int = MOST_MAPS,
) -> FieldPart:
    """The maps of ``graph`` that see its image. Raises GraphError where there is none, or where a
    size is needed and not given."""
    wrt = _image_of(graph)
    height, width = _extent(wrt, sizes)
    candidates = [
        node
        for node in model_nodes(graph)
        if node.ndim == 4 and not isinstance(node.op, Leaf) and _reads(node)
    ]
    below = _below(graph, wrt)
    # A map over another batch (a shard, a reshape of it) mixes examples: it has no one image.
    candidates = [n for n in candidates if n in below and n.shape[0] == wrt.shape[0]]
    chosen = _spread(candidates, most)
    compared = _COMPARED // max(len(chosen), 1)
    known = {name: size for name, size in sizes.items() if name != "N"}
    maps = [_map(graph, node, wrt, _extent(node, sizes), known, compared) for node in chosen]
    if not maps:
        raise GraphError("no map of this graph has rows and columns that look at the image")
    pixels, told = _pixels(image, said, (height, width))
    return FieldPart(
        wrt, tuple(maps), len(candidates) - len(chosen), (height, width), _uri(pixels), told
    )


def _image_of(graph: Graph) -> Node:
    images = [node for node in graph.inputs.values() if node.ndim == 4]
    if not images:
        raise GraphError("this graph has no image among its inputs: no shape (N, C, H, W)")
    named = [node for node in images if graph.name(node) == "image"]
    return (named or images)[0]


def _extent(node: Node, sizes: Mapping[str, int]) -> tuple[int, int]:
    missing = names(node.shape[-2:]) - sizes.keys()
    if missing:
        name = min(missing)
        raise GraphError(
            f"the size {name} is not known: viz.report(graph, path, size={{{name!r}: 224}})"
        )
    height, width = (evaluate(size, sizes) for size in node.shape[-2:])
    return int(height), int(width)


def _reads(node: Node) -> bool:
    """Whether a map is worth asking about: an op alone on one map sees what that map sees."""
    return sum(source.ndim == 4 for source in node.inputs) > 1 or node.op.name not in (
        "relu", "batch_norm", "dropout", "tanh", "sigmoid",
    )  # fmt: skip


def _below(graph: Graph, wrt: Node) -> set[Node]:
    """The nodes that depend on ``wrt``."""
    found = {wrt}
    for node in graph.nodes:
        if any(source in found for source in node.inputs):
            found.add(node)
    return found


def _spread(nodes: Sequence[Node], most: int) -> list[Node]:
    """At most so many of them, evenly, the last one among them."""
    if len(nodes) <= most:
        return list(nodes)
    return [nodes[(i + 1) * len(nodes) // most - 1] for i in range(most)]


def _map(
    graph: Graph,
    node: Node,
    wrt: Node,
    shape: tuple[int, int],
    sizes: Mapping[str, int],
    compared: int,
) -> Map:
    field = receptive_field(node, wrt, size=sizes)
    height, width = shape
    rows = [_span(field.rows(y)) for y in range(height)]
    columns = [_span(field.columns(x)) for x in range(width)]
    found = Map(node, graph.name(node), shape, {"rows": rows, "columns": columns})
    # Rows and columns tell the box, unless a branch ends where another one goes on: then each unit
    # is asked for.
    ys, xs = (_looked_at(count, math.isqrt(compared)) for count in shape)
    if all(found.box(y, x) == field.box(y, x) for y in ys for x in xs):
        return found
    if height * width > _MOST_UNITS:
        raise GraphError(
            f"{graph.name(node)} has {height * width:,} units whose boxes follow no rows and "
            f"columns, more than {_MOST_UNITS:,}"
        )
    boxes = [field.box(y, x) for y in range(height) for x in range(width)]
    return Map(node, graph.name(node), shape, {"boxes": [b and list(b) for b in boxes]})


def _looked_at(count: int, most: int) -> list[int]:
    """Both borders, and evenly what is between them."""
    if count <= most:
        return list(range(count))
    inner = (1 + i * (count - 3) // (most - 3) for i in range(most - 2))
    return sorted({0, count - 1, *inner})


def _span(seen: Sequence[int]) -> Span | None:
    """The pixels along one axis, as short as they can be said."""
    if not seen:
        return None
    steps = {b - a for a, b in pairwise(seen)}
    if len(steps) > 1:
        return [seen[0], seen[-1], list(seen)]
    step = steps.pop() if steps else 1
    return [seen[0], seen[-1]] if step == 1 else [seen[0], seen[-1], step]


# -- the picture ------------------------------------------------------------------------------


def _pixels(image: Array | None, said: str, size: tuple[int, int]) -> tuple[Array, str]:
    """(height, width) or (height, width, 3) of bytes, and what it is."""
    if image is None:
        return pattern(size), f"a test pattern of {size[0]}×{size[1]} pixels"
    found = np.asarray(image)
    if found.ndim == 3 and found.shape[0] in (1, 3) and found.shape[2] not in (1, 3):
        found = np.moveaxis(found, 0, 2)
    if found.ndim == 3 and found.shape[2] == 1:
        found = found[:, :, 0]
    if found.ndim not in (2, 3) or (found.ndim == 3 and found.shape[2] != 3):
        raise GraphError(
            f"the image has shape {tuple(np.shape(image))}: expected (H, W), (H, W, 3) or "
            "(C, H, W) with 1 or 3 channels"
        )
    if found.shape[:2] != size:
        raise GraphError(
            f"the image has {found.shape[0]}×{found.shape[1]} pixels, and the graph's input "
            f"{size[0]}×{size[1]}: resize it, or say size="
        )
    if found.dtype != np.uint8:
        if not np.isfinite(found).all():
            raise GraphError("the image has numbers that are not finite")
        found = np.clip(np.round(found.astype(np.float64) * 255), 0, 255).astype(np.uint8)
    return found, said


def pattern(size: tuple[int, int]) -> Array:
    """A picture to point at where there is none: rings and squares on a slope."""
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    rings = np.sin(40 * np.hypot(y - 0.5, x - 0.5)) > 0.6
    squares = (np.floor(y * 8) + np.floor(x * 8)) % 2
    return np.asarray(60 + 90 * (x + y) / 2 + 35 * squares + 40 * rings, np.uint8)


def _uri(pixels: Array) -> str:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    target = io.BytesIO()
    picture.save(target, "PNG")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


# -- HTML -------------------------------------------------------------------------------------


def part(found: FieldPart) -> str:
    """The part of the page: units on the left, the image on the right; without scripts, the
    centre units of some maps."""
    height, width = found.size
    image = (
        f'<image href="{found.uri}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
    )
    more = f" {found.left_out} further maps are left out." if found.left_out else ""
    return f"""<p>Each unit of a map depends on some pixels of the input and on no others.
Point at a unit, or move with the arrow keys. The box is what gx.receptive_field says, exact at the
borders; where the unit skips pixels inside it, those that it reads are tinted.{more}</p>
<div class="dynamic">
<div class="tools"><label for="field-node">map</label> <select id="field-node"></select></div>
<div class="pair">
<figure><figcaption>units of the map</figcaption>
<svg id="field-units" class="units" tabindex="0" role="application" aria-label="units"></svg>
</figure>
<figure><figcaption>the input: {text(found.said)}</figcaption>
<svg id="field-image" class="image" viewBox="0 0 {width} {height}" role="img" \
aria-label="the input, with the box of the unit">{image}<g id="field-marks"></g></svg></figure>
</div>
<p id="field-said" aria-live="polite"></p>
</div>
{_still(found, image)}"""


def _still(found: FieldPart, image: str) -> str:
    boxes, rows = [], []
    for each in _spread_maps(found.maps):
        y, x = each.shape[0] // 2, each.shape[1] // 2
        box = each.box(y, x)
        if box is None:
            continue
        top, left, bottom, right = box
        boxes += [
            f'<rect class="{kind}" x="{left}" y="{top}" width="{right - left + 1}" '
            f'height="{bottom - top + 1}"/>'
            for kind in ("box-back", "box")
        ]
        rows.append(
            f"<li>{text(each.name)}, unit ({y}, {x}): rows {top} to {bottom}, columns {left} to "
            f"{right}</li>"
        )
    height, width = found.size
    return f"""<figure class="static pair">
<svg class="image" viewBox="0 0 {width} {height}" role="img" aria-label="what centre units see">\
{image}{"".join(boxes)}</svg>
<figcaption>The input: {text(found.said)}. What the centre units of some maps see, from small to
large:<ul>{"".join(rows)}</ul></figcaption>
</figure>"""


def _spread_maps(maps: Sequence[Map]) -> list[Map]:
    if len(maps) <= 6:
        return list(maps)
    return [maps[(i + 1) * len(maps) // 6 - 1] for i in range(6)]
