"""The lecture's picture of a network: a row of boxes, height × width × channels, to scale.

Between two boxes stands what was done. Height and width share one scale, channels have another,
and the caption says both. A long network folds what repeats and goes on in a second row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from graphc.analysis.receptive_field import receptive_field
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.node import Node

from .canvas import Canvas, Point, text_width
from .chain import Chain, chain
from .figure import Caption, Figure

Scale = Literal["linear", "sqrt", "log"]

_WIDEST = 1500.0
_MARGIN = 20.0
_TALL, _DEEP = 130.0, 84.0  # the largest height or width, and the most channels, in points
_SLANT = (0.42, -0.3)  # one point of width goes this far right and up
_SIZE = 12.0
_THIN = 1.5  # no side is drawn thinner
_UNFOLDED = 24  # more boxes than this, and what repeats is folded
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PERIODS = 6  # the longest repeat that is looked for, in boxes


@dataclass(frozen=True)
class _Ruler:
    """Numbers to points: one scale for an axis, said in the caption."""

    kind: Scale
    points: float

    @staticmethod
    def of(sizes: Sequence[int], longest: float, kind: Scale | None) -> _Ruler:
        """The scale that makes the largest of ``sizes`` ``longest`` points."""
        most, least = max(sizes), min(sizes)
        if kind is None:
            kind = "linear" if most <= 40 * least else "sqrt" if most <= 1600 * least else "log"
        return _Ruler(kind, round(longest / _Ruler(kind, 1.0)(most), 4))

    def __call__(self, size: int) -> float:
        match self.kind:
            case "linear":
                return self.points * size
            case "sqrt":
                return self.points * math.sqrt(size)
        return self.points * math.log2(1 + size)


@dataclass
class _Box:
    """One box: a step of the chain with its place on the sheet."""

    step: int
    size: tuple[int, int, int]
    words: tuple[str, ...]
    repeat: int = 1  # how often the run that begins here stands in the network
    run: int = 1  # … and of how many boxes it is made
    x: float = 0.0
    y: float = 0.0  # the middle of the front
    row: int = 0
    tall: float = 0.0
    wide: float = 0.0
    deep: float = 0.0

    @property
    def right(self) -> float:
        return self.x + self.deep + self.wide * _SLANT[0]

    @property
    def top(self) -> float:
        return self.y - self.tall / 2 + self.wide * _SLANT[1]

    def far(self, v: float, h: float) -> Point:
        """A place on the side that faces the next box: shares of its height and width."""
        return (
            self.x + self.deep + h * self.wide * _SLANT[0],
            self.y - self.tall / 2 + v * self.tall + h * self.wide * _SLANT[1],
        )


@dataclass
class _Arc:
    """A way beside the row, from box to box."""

    start: int
    end: int
    words: str
    level: int = 0
    y: float = 0.0
    mark: str = ""  # a letter at both ends, where they are in different rows
    shift: tuple[float, float] = (0.0, 0.0)  # … so that letters at one box stand side by side

    @property
    def ends(self) -> tuple[int, int]:
        return self.start, self.end


def volumes(
    graph: Graph,
    *,
    size: Mapping[str, int] | None = None,
    unit: tuple[Node | str, int, int] | None = None,
    wrt: Node | None = None,
    output: str | None = None,
    scale: Scale | None = None,
    fold: bool | None = None,
    title: str = "",
) -> Figure:
    """A network as boxes of height × width × channels, with the ops between them.

    The row follows the longest way from the image (``wrt``, left out: the one image input) to
    ``output`` (left out: ``logits``, or the first that is a map of the image); other ways are
    arcs into the op that joins them. The batch is left out. size: numbers for symbolic sizes.
    unit: ``(node, y, x)``, the node or its name: what it sees is marked on every box before it,
    by ``gx.receptive_field``. scale: ``"linear"``, ``"sqrt"`` or ``"log"`` for all lengths; left
    out, the first that keeps the smallest visible. fold: whether repeated runs of boxes are drawn
    once with ×N; left out, where there are more than 24 boxes.

    Raises GraphError: no image or several and no ``wrt``, no such output, a symbolic size without
    a number, a unit that is beside the row or off its map.

    >>> import graphc as gx
    >>> from graphc import models, viz
    >>> figure = viz.volumes(models.build("lenet-5"))
    >>> [box["size"] for box in figure.model["boxes"]][:3]
    [[28, 28, 1], [28, 28, 6], [14, 14, 6]]
    """
    if scale not in (None, "linear", "sqrt", "log"):
        raise GraphError(f"viz.volumes(scale={scale!r}): use 'linear', 'sqrt' or 'log'")
    row = chain(graph, wrt=wrt, output=output, size=size)
    boxes = _boxes(row, fold)
    plane = _Ruler.of([side for box in boxes for side in box.size[:2]], _TALL, scale)
    depth = _Ruler.of([box.size[2] for box in boxes], _DEEP, scale)
    for box in boxes:
        box.tall, box.wide = (max(plane(side), _THIN) for side in box.size[:2])
        box.deep = max(depth(box.size[2]), _THIN)
    named, cone = _cone(graph, row, boxes, unit, size)
    arcs = _arcs(row, boxes)
    canvas = Canvas(0, 0)
    _place(canvas, boxes, arcs, title)
    if title:
        canvas.text(_MARGIN, _MARGIN + 8, title, size=16, bold=True)
    quads = _quads(boxes, cone)
    for box in boxes:
        _draw_box(canvas, box, graph.name(row.steps[box.step].node))
    _draw_rays(canvas, boxes, quads)
    for number, (before, box) in enumerate(pairwise(boxes)):
        _draw_op(canvas, before, box, number + 1 in quads)
    _draw_runs(canvas, boxes)
    for arc in arcs:
        _draw_arc(canvas, boxes, arc)
    _draw_fields(canvas, cone, quads)
    return Figure(
        canvas,
        _model(graph, row, boxes, plane, depth, cone, arcs),
        _caption(graph, row, boxes, (plane, depth), cone, arcs, named),
        title or f"Volumes from {graph.name(row.image)} to {graph.name(row.steps[-1].node)}",
        _words(graph, row, boxes),
    )


# -- what is drawn ------------------------------------------------------------------------


def _boxes(row: Chain, fold: bool | None) -> list[_Box]:
    keys = [(step.volume, step.words()) for step in row.steps]
    ends = {join.target for join in row.joins}
    if fold is None:
        fold = len(keys) > _UNFOLDED
    boxes, start = [], 0
    while start < len(keys):
        run, repeat = _repeat(keys, start) if fold else (1, 1)
        # The same fold a few boxes on is better where its runs end as the network's blocks do.
        later = (_repeat(keys, start + shift) for shift in range(1, run))
        if start + run - 1 not in ends and any(
            same == (run, repeat) and start + shift + run - 1 in ends
            for shift, same in enumerate(later, 1)
        ):
            run, repeat = 1, 1
        boxes += [_Box(index, *keys[index]) for index in range(start, start + run)]
        boxes[-run].repeat, boxes[-run].run = repeat, run
        start += run * repeat
    return boxes


def _repeat(keys: Sequence[Any], start: int) -> tuple[int, int]:
    """(length, times) of the run from ``start`` on that folds the most boxes away."""
    best = (1, 1)
    for length in range(1, _PERIODS + 1):
        first, times = keys[start : start + length], 1
        while keys[start + times * length : start + (times + 1) * length] == first:
            times += 1
        if length * (times - 1) > best[0] * (best[1] - 1):
            best = length, times
    return best


def _arcs(row: Chain, boxes: Sequence[_Box]) -> list[_Arc]:
    """The joins; ways with the same ends are one arc, and a folded run shows those of one run."""
    place: dict[int, int] = {}
    for number, box in enumerate(boxes):
        for step in range(box.step, box.step + box.run * box.repeat):
            place.setdefault(step, number + (step - box.step) % box.run)
    found: dict[tuple[int, int], list[str]] = {}
    for join in row.joins:
        source, target = place[join.source], place[join.target]
        if source < target:
            words = found.setdefault((source, target), [])
            if join.words() not in words:
                words.append(join.words())
    return [_Arc(start, end, "; ".join(words)) for (start, end), words in found.items()]


def _cone(
    graph: Graph,
    row: Chain,
    boxes: Sequence[_Box],
    unit: tuple[Node | str, int, int] | None,
    size: Mapping[str, int] | None,
) -> tuple[str, dict[int, tuple[int, int, int, int]]]:
    """The unit's node; box number to what it sees of that map: (top, left, bottom, right)."""
    if unit is None:
        return "", {}
    try:
        named, y, x = unit
    except (TypeError, ValueError):
        raise GraphError(f"viz.volumes(unit={unit!r}) is (node, y, x)") from None
    if isinstance(named, str):
        named = graph.node(named)
    last = row.step_of(named)
    if last is None:
        raise GraphError(
            f"viz.volumes: the unit's node {graph.name(named) if named in graph.nodes else named!r}"
            " is not on the row of boxes"
        )
    found = {}
    for number, box in enumerate(boxes):
        if box.step > last:
            break
        node = row.steps[box.step].node
        if box.step < last:
            seen = receptive_field(named, node, size).box(y, x)
            if seen is not None:
                found[number] = seen
        elif last:
            receptive_field(named, row.image, size).box(y, x)  # refuses a unit off the map
            found[number] = (y, x, y, x)
    return graph.name(named), found


# -- layout -------------------------------------------------------------------------------


def _place(canvas: Canvas, boxes: list[_Box], arcs: Sequence[_Arc], title: str) -> None:
    """Boxes from left to right, in as many rows as it takes, and the heights of the arcs."""
    x, row = _MARGIN, 0
    widest = 0.0
    for number, box in enumerate(boxes):
        body = box.deep + box.wide * _SLANT[0]
        taken = max(body, text_width(_size(box), _SIZE))
        arrow = _arrow(box) if number else 0.0
        if number and x + arrow + taken > _WIDEST - _MARGIN:
            x, row = _MARGIN, row + 1
        box.x = x + arrow + (taken - body) / 2
        box.row = row
        x += arrow + taken + 8
        widest = max(widest, x)
    letters, marked = iter(_LETTERS * len(arcs)), Counter[int]()
    for arc in arcs:
        if boxes[arc.start].row != boxes[arc.end].row:
            arc.mark = next(letters)
            outs, ins = marked[arc.start] + 1, marked[arc.end] + 1
            marked[arc.start], marked[arc.end] = outs, ins
            arc.shift = 16.0 * outs, -16.0 * ins
    y = _MARGIN + (28 if title else 0)
    folded = any(box.repeat > 1 for box in boxes)
    for number in range(row + 1):
        own = [box for box in boxes if box.row == number]
        levels = _levels(boxes, arcs, number)
        marks = any(boxes[end].row == number for arc in arcs if arc.mark for end in arc.ends)
        over = max(b.tall / 2 - b.wide * _SLANT[1] for b in own) + (40 if marks else 0)
        top = y + 24 * levels
        middle = top + max(over, max(len(box.words) for box in own) * 16 + 8) + 8
        for box in own:
            box.y = middle
        for arc in arcs:
            arc.y = y + 24 * (levels - arc.level) - 6 if boxes[arc.start].row == number else arc.y
        y = middle + max(box.tall / 2 for box in own) + (58 if folded else 34)
    canvas.width = max(widest + _MARGIN, 420)
    canvas.height = y


def _levels(boxes: Sequence[_Box], arcs: Sequence[_Arc], row: int) -> int:
    """Put the arcs of a row on levels, so that no two share a stretch; how many there are."""
    own = [arc for arc in arcs if not arc.mark and boxes[arc.start].row == row]
    placed: list[_Arc] = []
    for arc in sorted(own, key=lambda arc: (arc.end - arc.start, arc.start)):
        taken = {o.level for o in placed if o.start < arc.end and arc.start < o.end}
        arc.level = next(level for level in range(len(own)) if level not in taken)
        placed.append(arc)
    return 1 + max((arc.level for arc in own), default=-1)


def _size(box: _Box) -> str:
    height, width, channels = box.size
    return f"{channels}" if (height, width) == (1, 1) else f"{height}×{width}×{channels}"


def _arrow(box: _Box) -> float:
    return max(max((text_width(word, _SIZE) for word in box.words), default=0.0) + 26, 50)


# -- drawing ------------------------------------------------------------------------------


def _draw_box(canvas: Canvas, box: _Box, name: str) -> None:
    dx, dy = box.wide * _SLANT[0], box.wide * _SLANT[1]
    left, right, top, bottom = box.x, box.x + box.deep, box.y - box.tall / 2, box.y + box.tall / 2
    height, width, channels = box.size
    data = {"height": height, "width": width, "channels": channels, "node": name}
    with canvas.group(title=f"{name}: {height}×{width}×{channels}", data=data):
        canvas.polygon(
            [(left, top), (left + dx, top + dy), (right + dx, top + dy), (right, top)],
            fill="tint-blue", stroke="blue",
        )  # fmt: skip
        canvas.polygon(
            [(right, top), (right + dx, top + dy), (right + dx, bottom + dy), (right, bottom)],
            fill="paper", stroke="blue",
        )  # fmt: skip
        canvas.rect(left, top, box.deep, box.tall, fill="tint-blue", stroke="blue")
    middle = (left + right + dx) / 2
    canvas.text(middle, _foot(box) + 18, _size(box), anchor="middle", size=_SIZE)


def _foot(box: _Box) -> float:
    return box.y + box.tall / 2


def _draw_op(canvas: Canvas, before: _Box, box: _Box, crossed: bool) -> None:
    """The arrow into a box, with what is done above it, on paper of its own where rays cross."""
    room = _arrow(box)
    left = min(box.x, (box.x + box.right) / 2 - text_width(_size(box), _SIZE) / 2)
    end = box.x - 5
    start = max(before.right + 5, left - room + 4) if before.row == box.row else end - room + 14
    canvas.line(start, box.y, end, box.y, stroke="faint", line=1.5, arrow=7)
    middle = left - room / 2 - 2
    for number, word in enumerate(reversed(box.words)):
        if crossed:
            wide = text_width(word, _SIZE) + 4
            canvas.rect(
                middle - wide / 2, box.y - 19 - 16 * number, wide, 15, fill="paper", stroke="none"
            )
        canvas.text(middle, box.y - 8 - 16 * number, word, anchor="middle", size=_SIZE)


def _draw_runs(canvas: Canvas, boxes: Sequence[_Box]) -> None:
    """A bracket under each run that is folded."""
    for number, box in enumerate(boxes):
        if box.repeat == 1:
            continue
        run = boxes[number : number + box.run]
        for row in sorted({each.row for each in run}):
            own = [each for each in run if each.row == row]
            y = max(map(_foot, [b for b in boxes if b.row == row])) + 26
            left, right = own[0].x - _arrow(own[0]) + 10, own[-1].right
            canvas.polyline([(left, y), (left, y + 5), (right, y + 5), (right, y)], stroke="purple")
            canvas.text(
                (left + right) / 2, y + 19, f"×{box.repeat}", anchor="middle", size=13, bold=True
            )


def _draw_arc(canvas: Canvas, boxes: Sequence[_Box], arc: _Arc) -> None:
    """A way beside the row: over the boxes, or from letter to letter where they are in two rows."""
    source, target = boxes[arc.start], boxes[arc.end]
    out, into = (box.x + (box.right - box.x) / 2 for box in (source, target))
    if arc.mark:
        for box, x, down in ((source, out, False), (target, into, True)):
            x += arc.shift[down]
            ends = [(x, box.top - 22), (x, box.top - 3)]
            canvas.polyline(
                ends if down else ends[::-1], stroke="green", line=1.5, arrow=7, dash="5 3"
            )
            canvas.text(x, box.top - 26, arc.mark, anchor="middle", size=_SIZE, bold=True)
        return
    points = [
        (out + 4, source.top - 3),
        (out + 4, arc.y),
        (into - 4, arc.y),
        (into - 4, target.top - 3),
    ]
    canvas.polyline(points, stroke="green", line=1.5, arrow=7, dash="5 3", title=arc.words)
    room = into - out - 20
    canvas.text((out + into) / 2, arc.y - 5, arc.words, anchor="middle", size=11, room=room)


def _quads(
    boxes: Sequence[_Box], cone: Mapping[int, tuple[int, int, int, int]]
) -> dict[int, list[Point]]:
    """The field on the side of each box that faces the next one."""
    quads = {}
    for number, (top, left, bottom, right) in cone.items():
        box = boxes[number]
        height, width, _ = box.size
        v, h = (top / height, (bottom + 1) / height), (left / width, (right + 1) / width)
        corners = ((v[0], h[0]), (v[0], h[1]), (v[1], h[1]), (v[1], h[0]))
        quads[number] = [box.far(*corner) for corner in corners]
    return quads


def _draw_rays(canvas: Canvas, boxes: Sequence[_Box], quads: Mapping[int, list[Point]]) -> None:
    for number, quad in quads.items():
        if number + 1 in quads and boxes[number].row == boxes[number + 1].row:
            for here, there in zip(quad, quads[number + 1], strict=True):
                canvas.line(*here, *there, stroke="vermillion", line=0.8, dash="3 2")


def _draw_fields(
    canvas: Canvas,
    cone: Mapping[int, tuple[int, int, int, int]],
    quads: Mapping[int, list[Point]],
) -> None:
    for number, quad in quads.items():
        top, left, bottom, right = cone[number]
        canvas.polygon(
            quad, fill="vermillion", stroke="vermillion", opacity=0.45, line=1.5,
            title=f"rows {top} to {bottom}, columns {left} to {right}",
            data={"top": top, "left": left, "bottom": bottom, "right": right},
        )  # fmt: skip


# -- what is said -------------------------------------------------------------------------


def _caption(
    graph: Graph,
    row: Chain,
    boxes: Sequence[_Box],
    rulers: tuple[_Ruler, _Ruler],
    cone: Mapping[int, tuple[int, int, int, int]],
    arcs: Sequence[_Arc],
    named: str,
) -> Caption:
    plane, depth = rulers
    per = {
        "linear": "pt for each", "sqrt": "pt times the square root",
        "log": "pt times the binary logarithm of 1 + n",
    }  # fmt: skip
    said = "{boxes} boxes for {maps} maps from {image} to {end}, the batch left out"
    values: dict[str, Any] = {
        "boxes": len(boxes), "maps": len(row.steps), "image": graph.name(row.image),
        "end": graph.name(row.steps[-1].node), "plane": plane.kind, "a": plane.points,
        "depth": depth.kind, "b": depth.points,
    }  # fmt: skip
    if row.sizes:
        said += ", at {sizes}"
        values["sizes"] = [f"{name}={size}" for name, size in row.sizes.items()]
    said += f". Height and width: {{plane}} scale, {{a}} {per[plane.kind]} pixel; "
    said += f"channels: {{depth}} scale, {{b}} {per[depth.kind]} channel"
    said = said.replace("1 + n pixel", "1 + pixels").replace("1 + n channel", "1 + channels")
    said = said.replace("root pixel", "root of pixels").replace("root channel", "root of channels")
    thin = sum(plane(side) < _THIN for box in boxes for side in box.size[:2]) + sum(
        depth(box.size[2]) < _THIN for box in boxes
    )
    if thin:
        said += "; {thin} sides are drawn at the least, {least} pt"
        values |= {"thin": thin, "least": _THIN}
    said += "."
    if len(boxes) < len(row.steps):
        said += " What repeats is drawn once, with ×N."
    if arcs:
        said += " Dashed: ways beside the row."
    if cone:
        first, last = min(cone), max(cone)
        said += (
            " Unit ({y}, {x}) of {unit} sees rows {top} to {bottom} and columns {left} to {right}"
            " of {seen}."
        )
        top, left, bottom, right = cone[first]
        values |= {
            "y": cone[last][0], "x": cone[last][1],
            "unit": named, "top": top, "bottom": bottom,
            "left": left, "right": right, "seen": graph.name(row.steps[boxes[first].step].node),
        }  # fmt: skip
    return Caption(said, values)


def _model(
    graph: Graph,
    row: Chain,
    boxes: Sequence[_Box],
    plane: _Ruler,
    depth: _Ruler,
    cone: Mapping[int, tuple[int, int, int, int]],
    arcs: Sequence[_Arc],
) -> dict[str, Any]:
    drawn = [
        {
            "node": graph.name(row.steps[box.step].node),
            "ops": [graph.name(node) for node in row.steps[box.step].nodes],
            "words": list(box.words),
            "size": list(box.size),
            "points": [round(length, 4) for length in (box.tall, box.wide, box.deep)],
            "repeat": box.repeat,
            "run": box.run,
            "row": box.row,
            "field": list(cone[number]) if number in cone else None,
        }
        for number, box in enumerate(boxes)
    ]
    return {
        "image": graph.name(row.image),
        "boxes": drawn,
        "joins": [{"from": arc.start, "to": arc.end, "words": arc.words} for arc in arcs],
        "scales": {
            "plane": {"kind": plane.kind, "points": plane.points},
            "channels": {"kind": depth.kind, "points": depth.points},
        },
    }


def _words(graph: Graph, row: Chain, boxes: Sequence[_Box]) -> str:
    said = []
    for box in boxes:
        height, width, channels = box.size
        done = f"{', '.join(box.words)}: " if box.words else ""
        times = f" ({box.run} maps, {box.repeat} times)" if box.repeat > 1 else ""
        said.append(f"{done}{height}×{width}×{channels}{times}")
    return f"A network as boxes from {graph.name(row.image)}: " + "; ".join(said) + "."
