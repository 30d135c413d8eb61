"""From the layout program's SVG to ours: names to read, colours for dark paper, the IR inside."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from heapq import heapify, heappop, heappush

from .model import DrawnEdge, DrawnNode, Model
from .style import (
    BLACK,
    DARK_FAINT,
    DARK_INK,
    DARK_PAPER,
    DARK_RAMP,
    DARK_WORST,
    GREY,
    LOOKS,
    WEIGHTS,
)  # fmt: skip
from .text import clean

_SVG = "http://www.w3.org/2000/svg"
_MOST_READ = 12
_LONGEST = 300  # of what a node says when it is pointed at


def finish(picture: bytes, model: Model, embedded: str, caption: str = "") -> str:
    """The SVG text of ``model`` from the layout ``picture``, with the IR in a comment.

    It has no script, no link and no reference outside itself. Who does not see it hears its title,
    its description and a list of its nodes in topological order, each with what it reads.
    """
    ET.register_namespace("", _SVG)
    # The layout program's own output, made from text that we escaped: no entity, no DTD subset.
    root = ET.fromstring(picture)
    root.set("class", "graphc-drawing")
    # No role "img": that would hide the list inside from a screen reader.
    root.set("role", "graphics-document document")
    root.set("aria-label", clean(model.title, _LONGEST))
    for text in root.iter(f"{{{_SVG}}}text"):
        text.text = (text.text or "").strip("\u00a0 ")  # the layout's room for wider fonts
    background = root.find(f"{{{_SVG}}}g/{{{_SVG}}}polygon")
    if background is not None:
        background.set("class", "paper")
    _name(root, model)
    for group in root.findall(f"{{{_SVG}}}g"):
        group.set("aria-hidden", "true")  # the shapes; the list says the same in order
    head = [
        _element("title", clean(model.title, _LONGEST)),
        _element("desc", describe(model, caption)),
        _element("style", stylesheet()),
        _list(outline(model)),
    ]
    for position, element in enumerate(head):
        element.tail = "\n"
        root.insert(position, element)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {embedded} -->\n{body}\n'


def _list(rows: list[str]) -> ET.Element:
    """The outline: a list that is drawn nowhere and read by screen readers."""
    group = ET.Element(f"{{{_SVG}}}g")
    group.set("class", "outline")
    group.set("role", "list")
    group.set("aria-label", "nodes in topological order")
    for row in rows:
        item = ET.SubElement(group, f"{{{_SVG}}}g")
        item.set("role", "listitem")
        item.set("aria-label", row)
        ET.SubElement(item, f"{{{_SVG}}}title").text = row
    return group


def listed(rows: list[str]) -> str:
    """An outline as SVG text, for a picture that is not made here."""
    return ET.tostring(_list(rows), encoding="unicode")


def outline(model: Model) -> list[str]:
    """Each drawn node in a line, after all that it reads (a folded box as near as can be).

    ``3. conv2d: conv2d f32[N,6,28,28], forward, reads image, conv1.weight, conv1.bias``
    """
    sources: dict[str, list[DrawnEdge]] = {}
    for edge in model.edges:
        if edge.kind == "data":
            sources.setdefault(edge.target, []).append(edge)
    names = {node.id: node.name for node in model.nodes}
    updated = {edge.target: names[edge.source] for edge in model.edges if edge.kind == "update"}
    found = []
    for number, node in enumerate(ordered(model), 1):
        kind = node.kind if node.kind not in ("op", "box") else node.op
        kind = f"{len(node.label) and node.label[0]}, folded" if node.kind == "box" else kind
        said = [f"{number}. {node.name}: {' '.join(filter(None, (kind, node.type)))}", node.part]
        if node.uses > 1:
            said.append(f"{node.uses} uses")
        if node.gradient_of is not None:
            said.append(f"gradient of {names.get(node.gradient_of, node.gradient_of)}")
        read = [
            names[e.source] + (f" ×{e.count}" if e.count > 1 else "")
            for e in sources.get(node.id, [])
        ]
        if read:
            said.append(f"reads {', '.join(read[:_MOST_READ])}")
            if len(read) > _MOST_READ:
                said[-1] += f" and {len(read) - _MOST_READ} more"
        if node.id in updated:
            said.append(f"becomes {updated[node.id]}")
        if node.outputs:
            said.append(f"output {', '.join(node.outputs)}")
        said += node.marks
        found.append(clean(", ".join(said), _LONGEST))
    return found


def ordered(model: Model) -> list[DrawnNode]:
    """The nodes, each after those that it reads; the model's own order where that leaves a choice,
    and where boxes read each other."""
    nodes = {node.id: node for node in model.nodes}
    place = {id: number for number, id in enumerate(nodes)}
    waits = dict.fromkeys(nodes, 0)
    users: dict[str, list[str]] = {}
    for edge in model.edges:
        if edge.kind == "data":
            waits[edge.target] += 1
            users.setdefault(edge.source, []).append(edge.target)
    ready = [place[id] for id, count in waits.items() if not count]
    heapify(ready)
    ids, found, left = list(nodes), [], dict.fromkeys(nodes)
    while left:
        id = ids[heappop(ready)] if ready else next(iter(left))
        if id not in left:
            continue
        del left[id]
        found.append(nodes[id])
        for user in users.get(id, ()):
            waits[user] -= 1
            if not waits[user]:
                heappush(ready, place[user])
    return found


def _element(tag: str, text: str) -> ET.Element:
    element = ET.Element(f"{{{_SVG}}}{tag}")
    element.text = text
    return element


def _name(root: ET.Element, model: Model) -> None:
    """Give each shape and line a title that says what it is, instead of its id."""
    nodes = {node.id: node for node in model.nodes}
    said = {node.id: about(node) for node in model.nodes}
    said |= {edge.id: about_edge(edge, nodes) for edge in model.edges}
    said |= {cluster.id: cluster.label for cluster in model.clusters}
    for group in root.iter(f"{{{_SVG}}}g"):
        title = group.find(f"{{{_SVG}}}title")
        if title is None:
            continue
        text = said.get(group.get("id", ""))
        if text is None:
            group.remove(title)
        else:
            title.text = clean(text, _LONGEST)


def about(node: DrawnNode) -> str:
    """A node in one line: as the printed IR has it, and the user's line."""
    return "  # ".join(filter(None, (node.text or f"{node.name}: {node.type}", node.line)))


def about_edge(edge: DrawnEdge, nodes: dict[str, DrawnNode]) -> str:
    """An edge in one line: from, to, as which operand, with what shape."""
    operand = f" ({edge.operand})" if edge.operand else ""
    many = f" ×{edge.count}" if edge.count > 1 else ""
    shape = f": {edge.label}" if edge.label else ""
    return f"{nodes[edge.source].name} → {nodes[edge.target].name}{operand}{shape}{many}"


def describe(model: Model, caption: str = "") -> str:
    """The picture in words, for those who do not see it."""
    counts = [f"{model.counts[part]} {part}" for part in model.counts if part != "parameters"]
    shared = [f"{n.name} ({n.uses} uses)" for n in model.nodes if n.uses > 1]
    sums = sum(n.kind == "grad_sum" for n in model.nodes)
    sentences = [
        f"A computation graph, drawn with {len(model.nodes)} nodes and {len(model.edges)} edges",
        f"Its nodes: {', '.join(counts)}",
        f"Its parameters hold {model.counts['parameters']:,} numbers",
        f"Shared parameters: {', '.join(shared[:20])}" if shared else "",
        f"Gradients are summed at {sums} nodes" if sums else "",
        model.folded,
        caption,
    ]
    return clean(". ".join(filter(None, sentences)) + ".", 4000)


def stylesheet() -> str:
    """What changes on dark paper; all else is in the elements' own attributes."""
    ink = f"fill: {DARK_INK}", f"stroke: {DARK_INK}"
    rules = {
        ".paper": f"fill: {DARK_PAPER}",
        "text": ink[0],
        ".edge text": f"fill: {DARK_FAINT}",
        ".cluster text": f"fill: {DARK_FAINT}",
        ".cluster path": f"fill: none; stroke: {GREY}",
        ".edge.data path": ink[1],
        ".edge.data polygon": f"{ink[0]}; {ink[1]}",
    }
    for kind, look in LOOKS.items():
        if look.dark:
            for tag in ("path", "polygon", "ellipse"):
                rules[f".node.{kind} {tag}"] = f"fill: {look.dark}"
        if look.line == BLACK:
            for tag in ("path", "polygon"):
                rules[f".node.{kind} {tag}"] += f"; {ink[1]}"
    for number, colour in enumerate(DARK_RAMP):
        for tag in ("path", "polygon", "ellipse"):
            rules[f".node.level{number} {tag}"] = f"fill: {colour}"
    for number, (_, _, colour) in enumerate(WEIGHTS):
        rules[f".weight{number} path"] = f"stroke: {colour}"
        rules[f".edge.weight{number} polygon"] = f"fill: {colour}; stroke: {colour}"
        rules[f".node.weight{number} ellipse"] = f"fill: {DARK_PAPER}; stroke: {colour}"
    for tag in ("path", "polygon", "ellipse"):
        rules[f".node.worst {tag}"] = f"fill: {DARK_WORST}"
    written = (f".graphc-drawing {where} {{ {what} }}" for where, what in rules.items())
    return "\n".join(("@media (prefers-color-scheme: dark) {", *written, "}"))
