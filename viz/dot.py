"""A drawing's model as DOT text.

Every id and every text is quoted. Labels are built row by row, each row cleaned and escaped; there
are no record shapes and no HTML labels, so nothing a user wrote is ever syntax. What the text says
follows from the printed IR and the modules alone: no line number, no order of construction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Literal

from .caption import rows_of
from .layout import Layout, plan
from .model import Cluster, DrawnEdge, DrawnNode, Model, Scale
from .style import (
    FAINT,
    FONT,
    GREEN,
    GREY,
    INK,
    LOOKS,
    ORANGE,
    PURPLE,
    RAMP,
    VERMILLION,
    WEIGHTS,
    WORST,
)  # fmt: skip
from .text import clean, rows

# How much the layout program is told; what it cannot do with all of it, it does with less.
Hints = Literal["all", "no boxes", "none"]
# Where many lines cross: straight ones, and no search for the very best order.
_STRAIGHT = ", splines=line, nslimit=1, nslimit1=1, mclimit=0.2"
_ROW = 24  # characters of an op with its attributes in one row
_WIDE = 34  # of a parameter with its shape
_MANY = 20  # nodes from which a training drawing has a legend
Key = tuple[str, dict[str, str]]  # a shape of the legend: its id and attributes
HINTS: tuple[Hints, ...] = ("all", "no boxes", "none")


def quote(text: str) -> str:
    """A DOT string that means exactly ``text``: also Graphviz's own escapes and entities."""
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def joined(lines: Iterable[str]) -> str:
    """A DOT string of several centred lines, each with room for a wider font."""
    return '"' + "\\n".join(_escape(padded(line)) for line in lines) + '"'


def padded(line: str) -> str:
    """``line`` with spaces around it that ``finish`` takes away again: the fonts of a reader may be
    a seventh wider than those of the layout, and the shape must hold the text in any of them."""
    room = "\u00a0" * (1 + len(line) // 8)
    return f"{room}{line}{room}"


def _attributes(given: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in given.items() if value)


def write(model: Model, hints: Hints = HINTS[0], caption: str = "") -> str:
    """The DOT text of ``model``; the same model gives the same bytes."""
    return _Writer(model, hints, caption).write()


def key_of_weight(id: str, model: Model) -> int:
    """Which of ``WEIGHTS`` the uses of a shared parameter have."""
    return model.weights.index(id) % len(WEIGHTS)


class _Writer:
    def __init__(self, model: Model, hints: Hints, caption: str) -> None:
        self.model = model
        self.caption = caption
        self.hints = hints
        self.layout = plan(model) if hints != "none" else Layout()
        self.nodes = {node.id: node for node in model.nodes}
        self.training = any(node.part != "forward" for node in model.nodes)
        # Where parameters stand beside their op, a row has the height of its highest shape.
        leaves = {leaf for sides in self.layout.sides.values() for side in sides for leaf in side}
        kinds = () if self.training else ("op", "input")
        ops = {n.id for n in model.nodes if n.kind in kinds}
        self.beside = leaves | ops
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
        heading = [clean(model.title, 100), *rows_of(self.caption)]
        if model.folded:
            heading.append(clean(model.folded, 100))
        self.lines = [
            "digraph graphc {",
            f'  graph [rankdir=TB, newrank=true, fontname="{FONT}", fontsize=13, labelloc=t, '
            f'fontcolor="{INK}", label={joined(heading)}, nodesep=0.25, '
            f'ranksep={0.35 if self.training else 0.16}, bgcolor="white", pad=0.2, '
            f'class="picture"{_STRAIGHT if self.layout.tangled else ""}]',
            f'  node [fontname="{FONT}", fontsize=11, fontcolor="{INK}", margin="0.12,0.06", '
            "height=0.3, width=0.3]",
            f'  edge [fontname="{FONT}", fontsize=11, fontcolor="{FAINT}", color="{INK}", '
            "arrowsize=0.6]",
        ]
        # First, for the layout program fills its rows in the order in which it meets the nodes.
        self.hint()
        self.frame(None, "  ")
        self.lines += [f"  {self.edge(edge)}" for edge in model.edges if not edge.told]
        self.legend()
        self.lines.append("}")
        return "\n".join(self.lines) + "\n"

    # -- statements -----------------------------------------------------------------------

    def frame(self, parent: str | None, indent: str) -> None:
        """The nodes and clusters directly inside ``parent``."""
        self.lines += [indent + self.node(node) for node in self.inside.get(parent, [])]
        for cluster in self.model.clusters:
            if cluster.parent == parent and cluster.id in self.boxed:
                self.lines.append(f"{indent}subgraph {quote(f'cluster_{cluster.id}')} {{")
                self.lines.append(f"{indent}  {self.cluster(cluster)}")
                self.frame(cluster.id, indent + "  ")
                self.lines.append(f"{indent}}}")

    def cluster(self, cluster: Cluster) -> str:
        side = "l" if self.training else "r"  # where no edges pass
        return (
            f'graph [id={quote(cluster.id)}, class="module", label={quote(clean(cluster.label))}, '
            f'labeljust={side}, fontsize=11, fontcolor="{FAINT}", color="{GREY}", '
            'bgcolor="transparent", style="dashed,rounded", margin=8]'
        )

    def node(self, node: DrawnNode) -> str:
        kind = node.part if node.kind in ("op", "box") else node.kind
        given = _shape(node.id, kind, self.label(node))
        classes: list[str] = [kind]
        if node.kind == "box":
            given |= {"shape": "box3d", "margin": '"0.2,0.1"'}
        if node.outputs:
            given |= {"penwidth": f"{LOOKS['output'].width:g}"}
            classes.append("is-output")
        if node.weight is not None:
            number = key_of_weight(node.weight, self.model)
            colour, dash, _ = WEIGHTS[number]
            given |= {"color": f'"{colour}"', "style": f'"filled,{dash}"'}
            classes.append(f"weight{number}")
        if node.level is not None:
            given |= {"fillcolor": f'"{RAMP[node.level]}"'}
            classes.append(f"level{node.level}")
        if node.worst:
            given |= {"fillcolor": f'"{WORST}"', "color": f'"{VERMILLION}"', "penwidth": "3"}
            given["peripheries"] = "2"
            classes.append("worst")
        given["class"] = quote(" ".join(classes))
        if self.layout.spine & {node.id, node.gradient_of}:
            given["group"] = node.part
        return f"{quote(node.id)} [{_attributes(given)}]"

    def label(self, node: DrawnNode) -> list[str]:
        """The rows of a shape: what it is, what it is called outside, what was measured."""
        said = list(node.label)
        if node.id in self.beside and len(" ".join(said[:2])) <= (
            _ROW if node.kind == "op" else _WIDE
        ):
            said[:2] = [" ".join(said[:2])]
        found = rows(tuple(said))
        if node.outputs:
            found.append(clean(f"→ {', '.join(node.outputs)}"))
        return found + rows(node.marks)

    def edge(self, edge: DrawnEdge) -> str:
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        tail, head = edge.source, edge.target
        given = {"id": quote(edge.id), "label": self.edge_label(edge, source, target)}
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
        elif edge.weight is not None:
            number = key_of_weight(edge.weight, self.model)
            colour, dash, _ = WEIGHTS[number]
            given |= {"class": f'"weight{number}"', "color": f'"{colour}"', "style": f'"{dash}"'}
        elif source.kind in ("parameter", "state"):
            given |= {"class": '"parameter"', "color": f'"{GREEN}"'}
            if source.id in self.layout.sides.get(target.id, ([], []))[1]:
                # An edge inside a row orders its ends from left to right.
                tail, head = head, tail
                given["dir"] = "back"
            if source.id in self.layout.operands.get(target.id, ()):
                given["weight"] = "20"  # a layer's parameters stay close above it
                given["minlen"] = str(self.layout.height(source.id))
        else:
            room = self.layout.room(target.id)
            straight = source.id in self.layout.spine and target.id in self.layout.spine
            weight = "40" if straight else "8" if source.shape else ""
            given |= {"class": '"data"', "weight": weight}
            given["minlen"] = str(room) if room > 1 else ""
        return f"{quote(tail)} -> {quote(head)} [{_attributes(given)}]"

    def edge_label(self, edge: DrawnEdge, source: DrawnNode, target: DrawnNode) -> str:
        """The shape that flows, where no shape says it and there is room; the multiplicity."""
        said = []
        if edge.operand == "decay":
            said.append("decay")
        elif source.weight is not None and edge.weight is not None and target.part == "forward":
            said.append(source.label[0].rpartition(".")[2])
        elif (
            source.part == target.part != "update"
            and source.kind in ("op", "box", "grad_sum")
            and edge.kind != "update"
        ):
            said.append(edge.label)
        if edge.count > 1 and source.part == target.part != "update" and edge.kind != "update":
            said.append(f"({edge.count}×)")
        text = clean(" ".join(filter(None, said)))
        return quote(padded(f" {text} ")) if text else ""

    def hint(self) -> None:
        """Rows, and their order from left to right and from top to bottom."""
        layout, below = self.layout, "style=invis"
        for lines in layout.rows.values():
            for line in lines:
                self.row(line)
            self.lines += [
                f"  {quote(a[-1])} -> {quote(b[-1])} [{below}]" for a, b in pairwise(lines)
            ]
        for op, (left, right) in layout.sides.items():
            self.row([*left, op, *right], ordered=False)  # its edges give the order
        # A layer's parameters, one row each, and the row of its op below their ends.
        for op, leaves in layout.operands.items():
            for a, b in pairwise(leaves):
                far = f"[{below}, weight=20, minlen={layout.height(a)}]"
                self.lines.append(f"  {quote(a)} -> {quote(b)} {far}")
            ends = [layout.rows[leaf][-1][-1] for leaf in leaves if leaf in layout.rows]
            if ends and op in layout.rows:
                self.lines.append(
                    f"  {quote(ends[-1])} -> {quote(layout.rows[op][0][1])} [{below}]"
                )

    def row(self, ids: list[str], *, ordered: bool = True) -> None:
        """These in one row, in this order."""
        said = [quote(id) for id in ids]
        self.lines.append(f"  {{rank=same; {'; '.join(said)}}}")
        if ordered:
            self.lines += [f"  {a} -> {b} [style=invis]" for a, b in pairwise(said)]

    def legend(self) -> None:
        """One small shape for each kind that occurs, for each level of an overlay, and for each
        weight whose uses are told apart: rows beside the inputs."""
        kinds: set[str] = {n.part if n.kind in ("op", "box") else n.kind for n in self.model.nodes}
        kinds |= {"box" for n in self.model.nodes if n.kind == "box"}
        kinds |= {"output" for n in self.model.nodes if n.outputs}
        groups: list[list[Key]] = []
        if self.training and len(self.model.nodes) >= _MANY:
            keys = [kind for kind in LOOKS if kind in kinds and kind != "constant"]
            groups.append([
                (f"key:{kind}", _shape(f"key:{kind}", kind, [LOOKS[kind].means])) for kind in keys
            ])  # fmt: skip
        groups.append([
            (id, _weight(id, number % len(WEIGHTS), weight))
            for number, weight in enumerate(self.model.weights[: len(WEIGHTS)])
            for id in [f"key:weight:{weight}"]
        ])  # fmt: skip
        groups = [group for group in groups if group]
        column = [
            (id, _shape(id, "forward", [said]) | more)
            for number, scale in enumerate(self.model.scales)
            for id, said, more in _levels(scale, number)
        ]
        if not groups and not column:
            return
        self.lines += ["  subgraph cluster_legend {", '    graph [id="legend", class="legend", '
            f'color="{GREY}", bgcolor="transparent", style="rounded", margin=6, label=""]',
            '    node [fontsize=10, height=0.2, margin="0.08,0.03"]']  # fmt: skip
        for group in groups:
            self.lines.append("    {rank=same")
            self.keys(group, "      ")
            self.lines.append("    }")
        for above, under in pairwise([*groups, column]):
            if under:
                self.lines.append(f"    {quote(above[0][0])} -> {quote(under[0][0])} [style=invis]")
        self.keys(column, "    ")  # one below the other: a forward drawing is high and narrow
        self.lines.append("  }")

    def keys(self, group: list[Key], indent: str) -> None:
        ids = [quote(id) for id, _ in group]
        self.lines += [f"{indent}{quote(id)} [{_attributes(given)}]" for id, given in group]
        self.lines += [f"{indent}{a} -> {b} [style=invis]" for a, b in pairwise(ids)]


def _levels(scale: Scale, place: int) -> list[tuple[str, str, dict[str, str]]]:
    """The legend's shapes for one overlay: its name, then a key for each level of its colour."""
    id = f"key:scale{place}"
    name = clean(scale.name.replace("_", " ") + (f" in {scale.unit}" if scale.unit else ""))
    found = [(id, name, {"shape": "plain", "style": "", "class": '"key"'})]
    for number, said in enumerate(scale.keys):
        fill = {"fillcolor": f'"{RAMP[number]}"', "class": f'"forward level{number}"'}
        found.append((f"{id}:{number}", clean(said), fill))
    if scale.worst:
        fill = {
            "fillcolor": f'"{WORST}"', "color": f'"{VERMILLION}"', "penwidth": "3",
            "peripheries": "2", "class": '"forward worst"',
        }  # fmt: skip
        found.append((f"{id}:worst", clean(f"worst: {scale.worst}"), fill))
    return found


def _weight(id: str, number: int, weight: str) -> dict[str, str]:
    colour, dash, _ = WEIGHTS[number]
    given = _shape(id, "edge", [clean(f"uses of {weight}")])
    given |= {"color": f'"{colour}"', "style": f'"filled,{dash}"'}
    return given | {"class": f'"edge weight{number}"'}


def _boxed(model: Model) -> set[str]:
    """The modules drawn as a box: those with two forward ops or more, or other boxes, inside."""
    parent = {c.id: c.parent for c in model.clusters if c.kind == "module"}
    count = Counter(n.cluster for n in model.nodes if n.part == "forward")
    ops = Counter(
        n.cluster
        for n in model.nodes
        if n.part == "forward" and n.kind not in ("parameter", "state")
    )
    # The parameters of a single op say in their names what a box would.
    found = {id for id in parent if count[id] > 1 and ops[id] > 1}
    for id in reversed(parent):  # a parent comes before its children
        around = parent[id]
        if id in found and around is not None:
            found.add(around)
    return found


def _shape(id: str, kind: str, label: Iterable[str]) -> dict[str, str]:
    """What all nodes of one kind look like."""
    look = LOOKS[kind]
    return {
        "id": quote(id),
        "class": f'"{kind}"',
        "label": joined(label),
        "shape": look.shape,
        "style": f'"{look.style}"',
        "color": f'"{look.line}"',
        "fillcolor": f'"{look.fill}"',
        "penwidth": f"{look.width:g}" if look.width != 1 else "",
        "peripheries": str(look.outlines) if look.outlines != 1 else "",
    }
