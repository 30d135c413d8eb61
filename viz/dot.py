"""A drawing's model as DOT text.

Only ids made here (``n3``, ``c1``) reach DOT raw. Labels are built row by row, each row cleaned and
escaped; there are no record shapes and no HTML labels, so nothing a user wrote is ever syntax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Literal

from .layout import Layout, plan
from .model import Cluster, DrawnEdge, DrawnNode, Model
from .style import FAINT, FONT, GREEN, GREY, INK, LOOKS, ORANGE, PURPLE
from .text import clean, rows

# How much the layout program is told; what it cannot do with all of it, it does with less.
Hints = Literal["all", "no boxes", "none"]
_MANY = 20  # nodes from which a training drawing has a legend
HINTS: tuple[Hints, ...] = ("all", "no boxes", "none")


def quote(text: str) -> str:
    """A DOT string that means exactly ``text``: also Graphviz's own escapes and entities."""
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def joined(lines: Iterable[str]) -> str:
    """A DOT string of several centred lines."""
    return '"' + "\\n".join(map(_escape, lines)) + '"'


def _attributes(given: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in given.items() if value)


def write(model: Model, hints: Hints = HINTS[0]) -> str:
    """The DOT text of ``model``; the same model gives the same bytes."""
    return _Writer(model, hints).write()


class _Writer:
    def __init__(self, model: Model, hints: Hints) -> None:
        self.model = model
        self.hints = hints
        self.layout = plan(model) if hints != "none" else Layout()
        self.nodes = {node.id: node for node in model.nodes}
        self.training = any(node.part != "forward" for node in model.nodes)
        self.free = "" if hints == "none" else "false"  # whether an edge ranks its ends
        self.lines: list[str] = []
        # Update rows are no boxes of their own, and a module's box holds its forward part: the
        # rest of a row stands to the right of it.
        self.boxed = set() if hints == "no boxes" else _boxed(model)
        self.inside: dict[str | None, list[DrawnNode]] = {}
        around = {cluster.id: cluster.parent for cluster in model.clusters}
        for node in model.nodes:
            home = node.cluster if node.part == "forward" else None
            while home is not None and home not in self.boxed:
                home = around[home]
            self.inside.setdefault(home, []).append(node)

    def write(self) -> str:
        model = self.model
        caption = [clean(model.title, 100), _counts(model)]
        if model.folded:
            caption.append(clean(model.folded, 100))
        self.lines = [
            "digraph graphc {",
            f'  graph [rankdir=TB, newrank=true, fontname="{FONT}", fontsize=13, labelloc=t, '
            f'fontcolor="{INK}", label={joined(caption)}, nodesep=0.25, ranksep=0.35, '
            'bgcolor="white", pad=0.2, class="picture"]',
            f'  node [fontname="{FONT}", fontsize=11, fontcolor="{INK}", margin="0.12,0.06", '
            "height=0.3, width=0.3]",
            f'  edge [fontname="{FONT}", fontsize=9, fontcolor="{FAINT}", color="{INK}", '
            "arrowsize=0.6]",
        ]
        # First, for the layout program fills its rows in the order in which it meets the nodes.
        self.hint()
        self.frame(None, "  ")
        self.lines += [
            f"  {self.edge(f'e{number}', edge)}"
            for number, edge in enumerate(model.edges)
            if not edge.told
        ]
        if self.training and len(model.nodes) >= _MANY:
            self.legend()
        self.lines.append("}")
        return "\n".join(self.lines) + "\n"

    # -- statements -----------------------------------------------------------------------

    def frame(self, parent: str | None, indent: str) -> None:
        """The nodes and clusters directly inside ``parent``."""
        self.lines += [indent + self.node(node) for node in self.inside.get(parent, [])]
        for cluster in self.model.clusters:
            if cluster.parent == parent and cluster.id in self.boxed:
                self.lines.append(f"{indent}subgraph cluster_{cluster.id} {{")
                self.lines.append(f"{indent}  {self.cluster(cluster)}")
                self.frame(cluster.id, indent + "  ")
                self.lines.append(f"{indent}}}")

    def cluster(self, cluster: Cluster) -> str:
        side = "l" if self.training else "r"  # where no edges pass
        return (
            f'graph [id="{cluster.id}", class="module", label={quote(clean(cluster.label))}, '
            f'labeljust={side}, fontsize=10, fontcolor="{FAINT}", color="{GREY}", '
            'bgcolor="transparent", style="dashed,rounded", margin=8]'
        )

    def node(self, node: DrawnNode) -> str:
        kind = node.part if node.kind in ("op", "box") else node.kind
        given = _shape(node.id, kind, rows(node.label))
        if node.kind == "box":
            given |= {"shape": "box3d", "margin": '"0.2,0.1"'}
        if self.layout.spine & {node.id, node.gradient_of}:
            given["group"] = node.part
        return f"{node.id} [{_attributes(given)}]"

    def edge(self, id: str, edge: DrawnEdge) -> str:
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        tail, head = edge.source, edge.target
        given = {"id": f'"{id}"', "label": self.edge_label(edge, source, target)}
        if edge.kind == "update":
            given |= {"class": '"update"', "color": f'"{PURPLE}"', "style": "dashed"}
            given["constraint"] = "false"
        elif source.part == target.part == "backward":
            given |= {"class": '"backward"', "color": f'"{ORANGE}"'}
            if self.hints != "none":
                # Ranked upside down: gradients run up, beside the values that run down.
                tail, head = head, tail
                given["dir"] = "back"
        elif target.part == "backward":
            # A value that was kept for a gradient: no step of the backward path itself.
            given |= {"class": '"kept"', "color": f'"{GREY}"', "style": "dotted"}
            given["constraint"] = self.free
        elif target.part == "update":
            part = "backward" if source.part == "backward" else "update"
            colour = ORANGE if part == "backward" else PURPLE
            given |= {"class": f'"{part}"', "color": f'"{colour}"'}
            inside = self.layout.line_of
            if (source.id in inside or target.id in inside) and not self.layout.same_line(edge):
                given["constraint"] = self.free
        elif source.kind in ("parameter", "state"):
            given |= {"class": '"parameter"', "color": f'"{GREEN}"'}
            if source.id in self.layout.operands.get(target.id, ()):
                given["weight"] = "20"  # a layer's parameters stay close above it
                given["minlen"] = str(self.layout.height(source.id))
        else:
            room = self.layout.room(target.id)
            straight = source.id in self.layout.spine and target.id in self.layout.spine
            weight = "40" if straight else "8" if source.shape else ""
            given |= {"class": '"data"', "weight": weight}
            given["minlen"] = str(room) if room > 1 else ""
        return f"{tail} -> {head} [{_attributes(given)}]"

    def edge_label(self, edge: DrawnEdge, source: DrawnNode, target: DrawnNode) -> str:
        """The shape that flows, where no shape says it and there is room; the multiplicity."""
        said = []
        if edge.operand == "decay":
            said.append("decay")
        elif (
            source.part == target.part != "update"
            and source.kind in ("op", "box", "grad_sum")
            and edge.kind != "update"
        ):
            said.append(edge.label)
        if edge.count > 1:
            said.append(f"({edge.count}×)")
        text = clean(" ".join(filter(None, said)))
        return quote(f"  {text}") if text else ""

    def hint(self) -> None:
        """Rows, and their order from left to right and from top to bottom."""
        layout, below = self.layout, "style=invis"
        for lines in layout.rows.values():
            for line in lines:
                self.lines.append(f"  {{rank=same; {'; '.join(line)}}}")
                self.lines += [f"  {a} -> {b} [{below}]" for a, b in pairwise(line)]
            self.lines += [f"  {a[-1]} -> {b[-1]} [{below}]" for a, b in pairwise(lines)]
        if not layout.training:
            return
        # A layer's parameters, one row each, and the row of its op below their ends.
        for op, leaves in layout.operands.items():
            for a, b in pairwise(leaves):
                self.lines.append(f"  {a} -> {b} [{below}, weight=20, minlen={layout.height(a)}]")
            ends = [layout.rows[leaf][-1][-1] for leaf in leaves if leaf in layout.rows]
            if ends and op in layout.rows:
                self.lines.append(f"  {ends[-1]} -> {layout.rows[op][0][1]} [{below}]")

    def legend(self) -> None:
        """One small shape for each kind that occurs, in a row beside the inputs."""
        kinds = {n.part if n.kind in ("op", "box") else n.kind for n in self.model.nodes}
        keys = [kind for kind in LOOKS if kind in kinds and kind != "constant"]
        self.lines += ["  subgraph cluster_legend {", '    graph [id="legend", class="legend", '
            f'color="{GREY}", bgcolor="transparent", style="rounded", margin=6, label=""]',
            '    node [fontsize=9, height=0.2, margin="0.08,0.03"]', "    {rank=same"]  # fmt: skip
        for kind in keys:
            given = _shape(f"key_{kind}", kind, [LOOKS[kind].means])
            self.lines.append(f"      key_{kind} [{_attributes(given)}]")
        self.lines += [f"      key_{a} -> key_{b} [style=invis]" for a, b in pairwise(keys)]
        self.lines += ["    }", "  }"]


def _boxed(model: Model) -> set[str]:
    """The modules drawn as a box: those with two forward nodes or more, or other boxes, inside."""
    parent = {c.id: c.parent for c in model.clusters if c.kind == "module"}
    count = Counter(n.cluster for n in model.nodes if n.part == "forward")
    found = {id for id in parent if count[id] > 1}
    for id in reversed(parent):  # a parent comes before its children
        around = parent[id]
        if id in found and around is not None:
            found.add(around)
    return found


def _shape(id: str, kind: str, label: Iterable[str]) -> dict[str, str]:
    """What all nodes of one kind look like."""
    look = LOOKS[kind]
    return {
        "id": f'"{id}"',
        "class": f'"{kind}"',
        "label": joined(label),
        "shape": look.shape,
        "style": f'"{look.style}"',
        "color": f'"{look.line}"',
        "fillcolor": f'"{look.fill}"',
        "fontcolor": '"white"' if kind == "output" else "",
        "penwidth": f"{look.width:g}" if look.width != 1 else "",
        "peripheries": str(look.outlines) if look.outlines != 1 else "",
    }


def _counts(model: Model) -> str:
    """One line of numbers under the title."""
    counts = [f"{count} {part}" for part, count in model.counts.items() if part != "parameters"]
    said = f"{model.counts.get('parameters', 0):,} parameters"
    return f"{' + '.join(counts)} nodes, {said}" if len(counts) > 1 else said
