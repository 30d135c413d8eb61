"""From the layout program's SVG to ours: names to read, colours for dark paper, the IR inside."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from .model import DrawnEdge, DrawnNode, Model
from .style import BLACK, DARK_FAINT, DARK_INK, DARK_PAPER, GREY, LOOKS
from .text import clean

_SVG = "http://www.w3.org/2000/svg"
_LONGEST = 300  # of what a node says when it is pointed at


def finish(picture: bytes, model: Model, embedded: str) -> str:
    """The SVG text of ``model`` from the layout ``picture``, with the IR in a comment.

    It has no script, no link and no reference outside itself.
    """
    ET.register_namespace("", _SVG)
    # The layout program's own output, made from text that we escaped: no entity, no DTD subset.
    root = ET.fromstring(picture)
    root.set("class", "graphc-drawing")
    root.set("role", "img")
    background = root.find(f"{{{_SVG}}}g/{{{_SVG}}}polygon")
    if background is not None:
        background.set("class", "paper")
    _name(root, model)
    head = [_element("title", clean(model.title, _LONGEST)), _element("desc", describe(model))]
    head.append(_element("style", stylesheet()))
    for position, element in enumerate(head):
        element.tail = "\n"
        root.insert(position, element)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {embedded} -->\n{body}\n'


def _element(tag: str, text: str) -> ET.Element:
    element = ET.Element(f"{{{_SVG}}}{tag}")
    element.text = text
    return element


def _name(root: ET.Element, model: Model) -> None:
    """Give each shape and line a title that says what it is, instead of its id."""
    nodes = {node.id: node for node in model.nodes}
    said = {node.id: about(node) for node in model.nodes}
    said |= {f"e{i}": about_edge(edge, nodes) for i, edge in enumerate(model.edges)}
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


def describe(model: Model) -> str:
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
    ]
    return clean(". ".join(filter(None, sentences)) + ".", 2000)


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
    rules[".node.output text"] = f"fill: {DARK_PAPER}"
    written = (f".graphc-drawing {where} {{ {what} }}" for where, what in rules.items())
    return "\n".join(("@media (prefers-color-scheme: dark) {", *written, "}"))
