"""Hints for the layout: which nodes share a row, in what order, and what is the spine.

A training step reads as a table. Forward runs down on the left; beside each forward node stands its
gradient, and since edges of the backward part are ranked upside down, gradients run up; beside the
gradient of a parameter stands its update. A layer's parameters come directly above the layer.
In a forward drawing they stand in its row instead, to its left and right, so that the page is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import DrawnEdge, DrawnNode, Model

_LONGEST = 8  # nodes of an update in one line


# Rows that lines between forward ops span in all, from which a layout takes too long: with curves,
# and at all. A network of thousands of ops has less; a tangle of a few hundred more.
CURVED, DRAWN = 1500, 6000


@dataclass(frozen=True)
class Layout:
    """Hints by node id.

    ``rows``: a node and what stands beside it, in one line or (a long update) in several, the first
    of which begins with the node itself. ``operands``: an op and the leaves right above it.
    ``sides``: in a forward drawing, an op and the leaves to its left and to its right.
    """

    rows: dict[str, list[list[str]]] = field(default_factory=dict)
    line_of: dict[str, tuple[str, int]] = field(default_factory=dict)
    operands: dict[str, list[str]] = field(default_factory=dict)
    sides: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    spine: frozenset[str] = frozenset()
    training: bool = False
    tangled: bool = False

    def same_line(self, edge: DrawnEdge) -> bool:
        """Whether both ends stand in one line."""
        line = self.line_of.get(edge.source)
        return line is not None and line == self.line_of.get(edge.target)

    def height(self, leaf: str) -> int:
        """How many lines the row of a leaf has."""
        return len(self.rows.get(leaf, [[]]))

    def room(self, op: str) -> int:
        """Lines between an op and the values that flow into it: its parameters stand there."""
        return 1 + sum(map(self.height, self.operands.get(op, [])))


def plan(model: Model) -> Layout:
    """The hints for ``model``."""
    nodes = {node.id: node for node in model.nodes}
    training = any(node.part != "forward" for node in model.nodes)
    rows = _rows(model, nodes) if training else {}
    operands = _operands(model, nodes)
    return Layout(
        rows=rows,
        line_of={
            id: (head, number)
            for head, lines in rows.items()
            for number, line in enumerate(lines)
            for id in line
        },
        operands=operands if training else {},
        sides={} if training else {op: _split(leaves) for op, leaves in operands.items()},
        spine=_spine(model, nodes),
        training=training,
        tangled=tangle(model) > CURVED,
    )


def tangle(model: Model) -> int:
    """How many rows the lines between forward ops pass by, in all."""
    inner = {n.id for n in model.nodes if n.part == "forward" and n.kind in ("op", "box")}
    row: dict[str, int] = {}
    found = 0
    lines: dict[str, list[str]] = {}
    for edge in model.edges:
        if edge.kind == "data" and not edge.told and {edge.source, edge.target} <= inner:
            lines.setdefault(edge.target, []).append(edge.source)
    for node in model.nodes:  # in topological order, boxes aside
        sources = [row[source] for source in lines.get(node.id, ()) if source in row]
        row[node.id] = here = 1 + max(sources, default=0)
        found += sum(here - above - 1 for above in sources)
    return found


def _rows(model: Model, nodes: dict[str, DrawnNode]) -> dict[str, list[list[str]]]:
    """Each node with its gradient and the nodes of its update, in that order."""
    rows: dict[str, list[list[str]]] = {}
    for part in ("backward", "update"):
        for node in model.nodes:
            if node.part != part:
                continue
            # A helper of a gradient rule is near its node anyway; it must not push the row apart.
            helper = part == "backward" and node.kind != "box"
            head = node.gradient_of if helper else node.belongs_to
            if head is None or head not in nodes or nodes[head].part != "forward":
                continue
            lines = rows.setdefault(head, [[head]])
            if len(lines[-1]) > _LONGEST + (len(lines) == 1):
                lines.append([])
            lines[-1].append(node.id)
    return rows


def _operands(model: Model, nodes: dict[str, DrawnNode]) -> dict[str, list[str]]:
    """For each forward op, the parameters and states that it is the first to read."""
    found: dict[str, list[str]] = {}
    placed: set[str] = set()
    for edge in model.edges:
        source, target = nodes[edge.source], nodes[edge.target]
        if (
            edge.kind == "data"
            and source.kind in ("parameter", "state")
            and source.part == target.part == "forward"
            and source.id not in placed
        ):
            placed.add(source.id)
            found.setdefault(target.id, []).append(source.id)
    return found


def _split(leaves: list[str]) -> tuple[list[str], list[str]]:
    """The first to the left, the next to the right, and so on outwards."""
    return leaves[::2][::-1], leaves[1::2]


def _spine(model: Model, nodes: dict[str, DrawnNode]) -> frozenset[str]:
    """The longest forward path of values: drawn straight."""
    length: dict[str, int] = {}
    before: dict[str, str] = {}
    # The model's edges come in the order of their targets, so one walk suffices.
    for edge in model.edges:
        source, target = nodes[edge.source], nodes[edge.target]
        if edge.kind == "data" and _flows(source) and _flows(target):
            through = length.get(edge.source, 0) + 1
            if through > length.get(edge.target, 0):
                length[edge.target], before[edge.target] = through, edge.source
    if not length:
        return frozenset()
    here: str | None = max(length, key=lambda id: length[id])
    found: set[str] = set()
    while here is not None and here not in found:
        found.add(here)
        here = before.get(here)
    return frozenset(found)


def _flows(node: DrawnNode) -> bool:
    """Whether a value on its way through the network is here: no leaf, no scalar of a penalty."""
    return node.part == "forward" and (
        node.kind == "box" or (node.kind == "op" and len(node.shape) > 0)
    )
