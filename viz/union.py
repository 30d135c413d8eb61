"""One layout for several graphs: what stays keeps its place, what comes or goes has one of its own.

The picture of all graphs together is laid out once. Each graph is then a selection of its shapes
and lines, with a badge on what the step before it added, took away or changed: a plus in a circle,
a cross in a square, a triangle; colours only say it again.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from graphc.ir.graph import Graph
from graphc.ir.node import Node

from . import marks
from .dot import HINTS, write
from .edits import Step, visible
from .fold import Fold, fold
from .marks import Status
from .model import Cluster, DrawnEdge, DrawnNode, Model, build
from .render import SECONDS, LayoutFailed, render
from .text import clean

_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")
_SHIFT = re.compile(r"translate\((-?[\d.]+)[ ,]+(-?[\d.]+)\)")


@dataclass(frozen=True)
class Shape:
    """One shape or line of the common picture, as SVG elements without a namespace."""

    markup: str
    box: tuple[float, float, float, float]  # x, y, width, height
    kind: str  # its class: "node forward", "edge data"


@dataclass(frozen=True)
class Shown:
    """What one graph shows of the common picture: ids to how they stand there."""

    shapes: dict[str, Status]
    lines: dict[str, Status]


@dataclass
class Union:
    """The common picture and the selections of the graphs."""

    model: Model
    size: tuple[float, float]
    shapes: dict[str, Shape] = field(default_factory=dict)
    lines: dict[str, Shape] = field(default_factory=dict)
    frames: dict[str, Shape] = field(default_factory=dict)  # the modules around
    shown: list[Shown] = field(default_factory=list)


def union(
    graphs: Sequence[Graph],
    ids: Sequence[Mapping[Node, str]],
    steps: Sequence[Step],
    *,
    how: Fold,
    limit: int,
    seconds: float = SECONDS,
) -> Union:
    """Lay the graphs out together; ``ids`` and ``steps`` as ``edits.track`` gives them.

    Raises BackendError where the layout takes longer than ``seconds``.
    """
    models = [_named(build(graph), graph, own) for graph, own in zip(graphs, ids, strict=True)]
    whole = _together(models)
    if how is not None or len(whole.nodes) > limit:
        whole = fold(whole, how, limit)
    place = {inner: node.id for node in whole.nodes for inner in node.inside}
    found = _laid_out(whole, seconds)
    rows = [frozenset(own.values()) for own in ids]
    before: frozenset[str] = rows[0]
    lines: frozenset[tuple[str, ...]] = frozenset()
    for number, model in enumerate(models):
        changed = _changed(steps[number - 1]) if number else frozenset()
        drawn = [node.id for node in model.nodes]
        gone = [node.id for node in models[number - 1].nodes] if number else []
        members: dict[str, list[Status]] = {}
        for id in dict.fromkeys((*drawn, *gone)):
            if id not in rows[number]:
                status: Status = "removed"
            elif id in before:
                status = "changed" if id in changed else ""
            else:
                status = "added"
            if status == "removed" or id in drawn:
                members.setdefault(place.get(id, id), []).append(status)
        shapes = {id: _joined(states) for id, states in members.items() if id in found.shapes}
        now = frozenset(_keys(model.edges, place))
        shown: dict[str, Status] = {}
        for edge in whole.edges:
            key = _key(edge, {})
            if edge.id not in found.lines or not {edge.source, edge.target} <= shapes.keys():
                continue
            if key in now:
                shown[edge.id] = "" if key in lines or not number else "added"
            elif key in lines:
                shown[edge.id] = "removed"
        found.shown.append(Shown(shapes, shown))
        before, lines = rows[number], now
    return found


def _changed(step: Step) -> frozenset[str]:
    """The nodes whose operands, attributes or type a step changed."""
    return frozenset(
        edit["id"]
        for edit in step.edits
        if edit["edit"] == "rewire" or (edit["edit"] == "change" and visible(edit))
    )


def _joined(states: Iterable[Status]) -> Status:
    """How a box stands, from what is inside."""
    found = set(states)
    return found.pop() if len(found) == 1 else "changed"


def _key(edge: DrawnEdge, place: Mapping[str, str]) -> tuple[str, ...]:
    """What makes two lines of different graphs the same one."""
    source, target = place.get(edge.source, edge.source), place.get(edge.target, edge.target)
    apart = (source, target) == (edge.source, edge.target) and ":" not in source + target
    return (source, target, edge.kind, str(edge.input) if apart else "")


def _keys(edges: Iterable[DrawnEdge], place: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
    return (_key(edge, place) for edge in edges if not edge.told)


# -- models -----------------------------------------------------------------------------------


def _named(model: Model, graph: Graph, ids: Mapping[Node, str]) -> Model:
    """``model`` with the ids of the film, which stay when names change."""
    known = {graph.name(node): id for node, id in ids.items()}
    new = {node.id: known[node.name] for node in model.nodes}

    def renamed(id: str | None) -> str | None:
        return None if id is None else new.get(id)

    return replace(
        model,
        nodes=tuple(
            replace(
                node, id=new[node.id], gradient_of=renamed(node.gradient_of),
                belongs_to=renamed(node.belongs_to), weight=renamed(node.weight),
            )
            for node in model.nodes
        ),
        edges=tuple(
            replace(
                edge, source=new[edge.source], target=new[edge.target], weight=renamed(edge.weight)
            )
            for edge in model.edges
        ),
        weights=tuple(new[id] for id in model.weights if id in new),
    )  # fmt: skip


def _together(models: Sequence[Model]) -> Model:
    """All that any of the models has, each thing as the last model has it."""
    order: list[str] = []
    nodes: dict[str, DrawnNode] = {}
    for model in reversed(models):
        last = -1
        for node in model.nodes:
            if node.id in nodes:
                last = order.index(node.id)
            else:
                nodes[node.id] = node
                last += 1
                order.insert(last, node.id)
    edges: dict[tuple[str, ...], DrawnEdge] = {}
    for model in models:
        for edge in model.edges:
            edges[_key(edge, {})] = edge
    position = {id: number for number, id in enumerate(order)}
    clusters: dict[str, Cluster] = {}
    for model in models:
        clusters |= {cluster.id: cluster for cluster in model.clusters}
    return replace(
        models[-1],
        nodes=tuple(nodes[id] for id in order),
        # The layout follows edges in the order of their targets.
        edges=tuple(sorted(edges.values(), key=lambda e: (position[e.target], e.input))),
        clusters=_parents_first(clusters),
        weights=tuple(dict.fromkeys(id for model in models for id in model.weights)),
        counts={},
    )


def _parents_first(clusters: Mapping[str, Cluster]) -> tuple[Cluster, ...]:
    found: dict[str, Cluster] = {}
    for cluster in clusters.values():
        chain = [cluster]
        while chain[-1].parent is not None and chain[-1].parent not in found:
            chain.append(clusters[chain[-1].parent])
        found |= {each.id: each for each in reversed(chain)}
    return tuple(found.values())


# -- layout -----------------------------------------------------------------------------------


def _laid_out(model: Model, seconds: float) -> Union:
    picture = b""
    for hints in HINTS[:-1]:
        with suppress(LayoutFailed):
            picture = render(write(model, hints), "svg", seconds=seconds)
            break
    else:
        picture = render(write(model, HINTS[-1]), "svg", seconds=seconds)
    # The layout program's own output, made from text that we escaped: no entity, no DTD subset.
    root = ET.fromstring(picture)
    shift = _SHIFT.search(next(iter(root)).get("transform", ""))
    dx, dy = (float(shift[1]), float(shift[2])) if shift else (0.0, 0.0)
    width, height = (float(n) for n in root.get("viewBox", "0 0 100 100").split()[2:])
    found = Union(model, (width, height))
    homes = {
        **{node.id: found.shapes for node in model.nodes},
        **{edge.id: found.lines for edge in model.edges},
        **{cluster.id: found.frames for cluster in model.clusters},
    }
    # Edges may go by their number, where an id of theirs would not be fit for a file.
    numbered = {f"e{number}": edge.id for number, edge in enumerate(model.edges)}
    for group in root.iter():
        id = group.get("id", "")
        id = id if id in homes else numbered.get(id, "")
        if id in homes and group.tag.endswith("}g"):
            homes[id][id] = _shape(group, dx, dy)
    return found


def _shape(group: ET.Element, dx: float, dy: float) -> Shape:
    """The elements of one group, without a namespace, an id or a link."""
    xs: list[float] = []
    ys: list[float] = []
    parts: list[str] = []
    for element in group.iter():
        tag = element.tag.rpartition("}")[2]
        if tag not in ("path", "polygon", "polyline", "ellipse", "text", "line"):
            continue
        kept = {
            name: value
            for name, value in element.attrib.items()
            if "}" not in name and name not in ("id", "class")
        }
        plain = ET.Element(tag, kept)
        plain.text = element.text if tag == "text" else None
        parts.append(ET.tostring(plain, encoding="unicode"))
        _extend(element, tag, xs, ys)
    box = (min(xs, default=0), min(ys, default=0), max(xs, default=0), max(ys, default=0))
    x, y = box[0] + dx, box[1] + dy
    markup = f'<g transform="translate({dx:g} {dy:g})">{"".join(parts)}</g>'
    return Shape(
        markup, (x, y, box[2] - box[0], box[3] - box[1]), clean(group.get("class", ""), 60)
    )


def _extend(element: ET.Element, tag: str, xs: list[float], ys: list[float]) -> None:
    if tag == "ellipse":
        cx, cy, rx, ry = (float(element.get(name, "0")) for name in ("cx", "cy", "rx", "ry"))
        xs += (cx - rx, cx + rx)
        ys += (cy - ry, cy + ry)
    elif tag == "text":
        xs.append(float(element.get("x", "0")))
        ys.append(float(element.get("y", "0")))
    else:
        numbers = [
            float(n) for n in _NUMBERS.findall(element.get("points") or element.get("d") or "")
        ]
        xs += numbers[0::2]
        ys += numbers[1::2]


# -- writing ----------------------------------------------------------------------------------


def store(found: Union, prefix: str) -> str:
    """The shapes, once; every graph's picture points at them. ``prefix`` begins their ids."""
    parts = []
    numbers = _numbers(found)
    for group in (found.frames, found.lines, found.shapes):
        for id, shape in group.items():
            # A copy knows no ancestor of the original, so what colours it stands inside.
            parts.append(
                f'<g id="{prefix}{numbers[id]}"><g class="graphc-drawing"><g class="{shape.kind}">'
                f"{shape.markup}</g></g></g>"
            )
    return f"<defs>{''.join(parts)}{marks.defined(prefix)}</defs>"


def _numbers(found: Union) -> dict[str, str]:
    """Ids that are fit for any file: a name may be anything."""
    return {
        id: f"{letter}{number}"
        for letter, group in (("c", found.frames), ("l", found.lines), ("s", found.shapes))
        for number, id in enumerate(group)
    }


def picture(found: Union, number: int, prefix: str) -> str:
    """The shapes that graph ``number`` shows, with their badges: elements, no svg around them."""
    shown, numbers = found.shown[number], _numbers(found)
    nodes = {node.id: node for node in found.model.nodes}
    parents = {cluster.id: cluster.parent for cluster in found.model.clusters}
    around: set[str] = set()
    for id in shown.shapes:
        here = nodes[id].cluster
        while here is not None and here not in around:
            around.add(here)
            here = parents.get(here)
    parts = [f'<use href="#{prefix}{numbers[id]}"/>' for id in found.frames if id in around]

    def use(id: str, status: Status) -> str:
        kind = ' class="gone"' if status == "removed" else ""
        return f'<use href="#{prefix}{numbers[id]}"{kind}/>'

    parts += [use(id, status) for id, status in shown.lines.items()]
    for id, status in shown.shapes.items():
        parts.append(use(id, status))
        if status:
            x, y, width, height = found.shapes[id].box
            parts.append(
                f'<rect class="outline-{status}" x="{x - 3:.1f}" y="{y - 3:.1f}" '
                f'width="{width + 6:.1f}" height="{height + 6:.1f}" rx="5"/>'
                f'<use href="#{prefix}{status}" x="{x - 3:.1f}" y="{y - 3:.1f}"/>'
            )
    return "\n".join(parts)
