"""What a drawing shows, as data: nodes, edges with their input positions, nested clusters.

Everything that a picture says is decided here and tested here; DOT and SVG only write it down.
Ids are the names of the printed IR, so equal graphs give equal models, in any process and however
they were built; what has no name there (a box, a cluster, an edge) has an id with a colon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from graphc.ir import attrs, facts
from graphc.ir.dims import Dim, Size
from graphc.ir.graph import Graph, post_order
from graphc.ir.leaves import SEED, STEP, Input, Leaf, Parameter, State, Stream
from graphc.ir.node import Node
from graphc.ir.printer import line
from graphc.ir.summary import Part, model_nodes, modules, numbers, parts, uses
from graphc.ir.types import TensorType, short

Kind = Literal["input", "parameter", "state", "constant", "op", "edge", "grad_sum", "box"]
EdgeKind = Literal["data", "update"]

_DEEPEST = 15  # clusters around a node; a name may have any number of dots
_LONGEST_ID = 80
PENALTY = "penalty:penalty"  # the id of its cluster
_FEW = 3  # uses of a scalar that are still drawn as lines
PARTS: tuple[Part, ...] = ("forward", "backward", "update")
# How a label writes an op with one scalar operand folded in: "· × 0.9".
INFIX = {
    "add": "+", "sub": "−", "mul": "×", "div": "÷", "pow": "^",
    "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """One shape of the picture.

    ``belongs_to`` is the id of the node that this one stands beside: what it is the gradient of,
    the forward node whose rule made it, or the leaf whose update it serves.
    """

    id: str
    name: str
    op: str
    kind: Kind
    part: Part
    type: str = ""
    shape: tuple[int | str, ...] = ()
    dtype: str = ""
    role: str | None = None
    attributes: str = ""
    uses: int = 0
    cluster: str | None = None
    gradient_of: str | None = None
    belongs_to: str | None = None
    line: str = ""
    text: str = ""  # the node as the printed IR has it
    label: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()  # what the graph calls it where it is an output
    # Of one use of a shared parameter (``unshare``): its id, w, or an element of it, w[0,1].
    weight: str | None = None
    digest: str = ""  # of a folded box: a hash of what is inside
    inside: tuple[str, ...] = ()  # of a folded box: the ids of the nodes in it
    repeats: int = 1  # how many equal modules a folded box stands for
    values: dict[str, float | str] = field(default_factory=dict)  # overlay to what it says here
    marks: tuple[str, ...] = ()  # those values as the shape has them, one row each
    level: int | None = None  # of the overlay that colours: the step of its scale
    worst: bool = False  # where a check failed most


@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """One use: ``source`` is operand number ``input`` of ``target``. ``count`` > 1 when folded.

    ``told``: the label of the target says it, instead of a line (a learning rate's many uses).
    ``weight``: the id of the shared parameter whose use this is part of.
    """

    source: str
    target: str
    input: int
    operand: str = ""
    kind: EdgeKind = "data"
    label: str = ""
    count: int = 1
    told: bool = False
    weight: str | None = None

    @property
    def id(self) -> str:
        """``source:target:input``; names have no colon."""
        return f"{self.source}:{self.target}:{'update' if self.kind == 'update' else self.input}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A module, the update of one leaf, or the penalty that weight decay added."""

    id: str
    path: str
    parent: str | None
    kind: Literal["module", "update", "penalty"]
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """One overlay as the legend has it: what the numbers of the nodes mean.

    ``steps`` are the upper ends of the levels that colour the nodes (none: it only writes rows).
    """

    name: str
    unit: str
    fold: str = ""  # what a folded box says of the nodes inside: their sum, max or last; nothing
    sizes: dict[str, int] = field(default_factory=dict)  # at which it was measured
    note: str = ""
    low: float | None = None
    high: float | None = None
    total: float | None = None
    steps: tuple[float, ...] = ()
    keys: tuple[str, ...] = ()  # the levels as the legend writes them
    worst: str = ""  # the node where a check failed most


@dataclass(frozen=True, slots=True)
class Model:
    """A whole picture."""

    title: str
    nodes: tuple[DrawnNode, ...]
    edges: tuple[DrawnEdge, ...]
    clusters: tuple[Cluster, ...] = ()
    folded: str = ""  # what was folded and why, as the picture says it
    counts: dict[str, int] = field(default_factory=dict)
    weights: tuple[str, ...] = ()  # ids of the shared parameters whose uses are told apart
    scales: tuple[Scale, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers alone."""
        found = asdict(self)
        for key in ("nodes", "edges", "clusters", "scales"):
            found[key] = [_plain(entry) for entry in found[key]]
        for edge, entry in zip(self.edges, found["edges"], strict=True):
            entry["id"] = edge.id
        found["weights"] = list(self.weights)
        return found


def identify(name: str) -> str:
    """A name as an id: itself, or its beginning and a hash where it is very long.

    >>> identify("conv1.weight")
    'conv1.weight'
    """
    if len(name) <= _LONGEST_ID:
        return name
    return f"{name[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in entry.items()}


def dims_text(type_: TensorType) -> str:
    """``N×16×28×28`` (``i64 N``): a type as an edge shows it; nothing for a float32 scalar."""
    sizes = "×".join(map(_size_text, type_.shape))
    kind = "" if type_.dtype == np.float32 else short(type_.dtype)
    return " ".join(filter(None, (kind, sizes)))


def _size_text(size: Size) -> str:
    text = str(size)
    return f"({text})" if isinstance(size, Dim) and not text.isidentifier() else text


def build(graph: Graph, title: str | None = None) -> Model:
    """The model of the whole graph, nothing folded."""
    return _Builder(graph).model(title)


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.part = parts(graph)
        self.module = modules(graph)
        self.uses = uses(graph)
        # Updates of the seed and the step count are hidden as those are.
        self.updates = {
            leaf: node for leaf, node in graph.leaf_updates.items() if leaf not in (SEED, STEP)
        }
        self.kept = {*graph.outputs.values(), *self.updates.values()}
        self.visible = self._visible()
        self.ids = {n: identify(graph.name(n)) for n in graph.nodes if n in self.visible}
        self.outputs: dict[Node, tuple[str, ...]] = {}
        for name, node in graph.outputs.items():
            self.outputs[node] = (*self.outputs.get(node, ()), name)
        self.numbers = frozenset(numbers(graph))
        self.served = self._served()
        self.primal = self._primals()
        self.served |= self._alone()
        self.penalty = self._penalty()
        self.told = self._told()
        self.clusters: dict[tuple[str, ...], Cluster] = {}

    # -- what is drawn --------------------------------------------------------------------

    def inline(self, node: Node) -> bool:
        """Whether ``node`` is written into the labels of its users instead of being drawn."""
        if node in self.kept:
            return False
        return node in (SEED, STEP) or (not node.inputs and not node.ndim and node.op.name in (
            "constant", "size",
        ))  # fmt: skip

    def shown(self, node: Node) -> tuple[Node, ...]:
        """The operands that print and pictures show."""
        return node.inputs if node.op.shown is None else node.inputs[: node.op.shown]

    def _visible(self) -> set[Node]:
        visible: set[Node] = set()
        stack = [*self.graph.outputs.values(), *self.updates, *self.updates.values()]
        while stack:
            node = stack.pop()
            if node not in visible and not self.inline(node):
                visible.add(node)
                stack += self.shown(node)
        return visible

    def _penalty(self) -> set[Node]:
        """What only the output ``penalty`` needs, and the gradient rules of that."""
        penalty = self.graph.outputs.get("penalty")
        if penalty is None:
            return set()
        model = set(model_nodes(self.graph))
        found = {n for n in post_order([penalty]) if n not in model}
        return found | {
            n for n in self.graph.nodes if self.part[n] == "backward" and self.owner(n) in found
        }

    def _told(self) -> set[Node]:
        """Scalars that the updates of many leaves read (a rate, a norm): their labels say so, for
        lines would only cross."""
        users: dict[Node, int] = {}
        for node in self.served:
            for source in self.shown(node):
                if not source.ndim and self.part[source] == "update" and source not in self.served:
                    users[source] = users.get(source, 0) + 1
        return {n for n, count in users.items() if count > _FEW}

    # -- who belongs to whom --------------------------------------------------------------

    def _primals(self) -> dict[Node, Node]:
        """Gradient node to the node it is the gradient of.

        An addition hands its gradient on as it is, so one node may be the gradient of several: it
        stands beside the parameter among them, else beside the last, where it came from.
        """
        found: dict[Node, Node] = {}
        for node in self.graph.nodes:
            gradient = self.graph.gradients.get(node)
            if gradient is None or self.part.get(gradient) != "backward":
                continue
            if not isinstance(getattr(found.get(gradient), "op", None), Parameter):
                found[gradient] = node
        for name, node in self.graph.outputs.items():
            leaf = self.graph.parameters.get(name.removeprefix("grad/"))
            if name.startswith("grad/") and leaf is not None:
                found.setdefault(node, leaf)
        if not self.graph.gradients:  # a parsed graph: what a parameter's update reads
            for node, leaf in self.served.items():
                for source in node.inputs:
                    if self.part[source] == "backward" and source.type == leaf.type:
                        found.setdefault(source, leaf)
        return found

    def _served(self) -> dict[Node, Node]:
        """Nodes of the update part (and its states) to the leaf whose update alone needs them."""
        several = object()
        owner: dict[Node, Any] = {}

        def serve(node: Node, leaf: Any) -> None:
            if owner.setdefault(node, leaf) is not leaf:
                owner[node] = several

        states = {n: leaf for leaf, n in self.updates.items() if isinstance(leaf.op, State)}
        for leaf, node in self.updates.items():
            if isinstance(leaf.op, Parameter) and self.part[node] == "update":
                serve(node, leaf)
        for node in reversed(self.graph.nodes):
            if self.part[node] != "update" or node not in self.visible:
                continue
            if node in states and node not in owner:
                serve(node, states[node])
            if node in owner:
                for source in self.shown(node):
                    if self.part[source] == "update" and not isinstance(
                        source.op, (Input, Parameter)
                    ):
                        serve(source, owner[node])
        return {n: leaf for n, leaf in owner.items() if leaf is not several}

    def _alone(self) -> dict[Node, Node]:
        """Update nodes that all updates need but one gradient alone feeds (its part of a norm)."""
        leaves: dict[Node, frozenset[Node]] = {}
        for node in self.graph.nodes:
            if self.part[node] != "update" or not node.inputs or node in self.served:
                continue
            found: set[Node] = set()
            for source in self.shown(node):
                owner = self.served.get(source, self.primal.get(source))
                found |= leaves.get(source, frozenset() if owner is None else {owner})
            leaves[node] = frozenset(found)
        return {n: next(iter(found)) for n, found in leaves.items() if len(found) == 1}

    def owner(self, node: Node) -> Node | None:
        """What a backward node is the gradient of, else the node whose gradient rule made it."""
        while node in self.numbers and node not in self.primal:
            users = self.graph.users(node)
            if not users:
                return None
            node = users[0]
        return self.primal.get(node, facts.forward_of(node))

    def belongs(self, node: Node) -> Node | None:
        """The node that ``node`` stands beside."""
        part = self.part[node]
        owner: Node | None
        if part == "update":
            owner = self.served.get(node)
        elif part == "backward" and not isinstance(node.op, Leaf):
            owner = self.owner(node)
        else:
            owner = None
        return owner if owner in self.visible else None

    # -- clusters -------------------------------------------------------------------------

    def cluster(self, node: Node) -> str | None:
        part, owner = self.part[node], self.belongs(node)
        if node in self.penalty:
            return self._cluster(("penalty/",))
        path = self.module[node]
        if owner is not None and (part == "update" or node in self.primal):
            path = self.module[owner]
        key = tuple(path.split(".", _DEEPEST)) if path else ()
        if part == "update" and owner is not None and owner is not node:
            key = (*key, f"update/{self.graph.name(owner)}")
        return self._cluster(key)

    def _cluster(self, key: tuple[str, ...]) -> str | None:
        for depth in range(1, len(key) + 1):
            here = key[:depth]
            if here not in self.clusters:
                parent = self.clusters.get(here[:-1])
                kind, slash, of = here[-1].partition("/")
                path = here[-1].rstrip("/") if slash else ".".join(here)
                self.clusters[here] = Cluster(
                    id=f"{kind if slash else 'module'}:{identify(of or path)}",
                    path=path,
                    parent=parent.id if parent else None,
                    kind=kind if slash else "module",  # type: ignore[arg-type]
                    label=f"{kind} of {of}" if of else path,
                )
        return self.clusters[key].id if key else None

    # -- nodes and edges ------------------------------------------------------------------

    def model(self, title: str | None) -> Model:
        nodes = [self.node(n) for n in self.graph.nodes if n in self.visible]
        edges = [edge for n in self.graph.nodes if n in self.visible for edge in self.edges(n)]
        for leaf, node in self.updates.items():
            edges.append(DrawnEdge(self.ids[node], self.ids[leaf], 0, "new value", "update"))
        drawn = {part: sum(self.part[n] == part for n in self.visible) for part in PARTS}
        return Model(
            title=self._title() if title is None else title,
            nodes=tuple(nodes),
            edges=tuple(edges),
            clusters=tuple(self.clusters.values()),
            counts={
                **{part: count for part, count in drawn.items() if count},
                "parameters": self.graph.parameter_count(),
            },
            weights=tuple(dict.fromkeys(node.weight for node in nodes if node.weight)),
        )

    def _title(self) -> str:
        inputs, outputs = ", ".join(self.graph.inputs), ", ".join(self.graph.outputs)
        return f"{inputs} → {outputs}" if inputs else outputs

    def node(self, node: Node) -> DrawnNode:
        owner = self.belongs(node)
        primal = self.primal.get(node)
        lines = () if node in self.numbers else node.lines
        return DrawnNode(
            id=self.ids[node],
            name=self.graph.name(node),
            op=node.op.name,
            kind=_kind(node),
            part=self.part[node],
            type=str(node.type),
            shape=_shape(node),
            dtype=node.dtype.name,
            role=node.op.role if isinstance(node.op, Parameter) else None,
            attributes=_attributes(node),
            uses=self.uses.get(node, 0),
            cluster=self.cluster(node),
            gradient_of=self.ids.get(primal) if primal is not None else None,
            belongs_to=self.ids[owner] if owner is not None and owner is not node else None,
            line=(lines[0] + (f" (+{len(lines) - 1})" if len(lines) > 1 else "")) if lines else "",
            text=line(self.graph, node) if not isinstance(node.op, Input) else "",
            label=self.label(node),
            outputs=self.outputs.get(node, ()),
            weight=self.weight(node),
        )

    def weight(self, node: Node) -> str | None:
        """The shared parameter that ``node`` is one use of, or the one element of it that is used
        (``unshare(unroll=…)``): ``w[0,0,1,1]``."""
        if node.op.name == "edge" and isinstance(node.inputs[0].op, Parameter):
            picks = [u for u in self.graph.users(node) if self.part[u] == "forward"]
            if len(picks) == 1 and _one_element(picks[0]):
                return self.weight(picks[0])
            return self.ids[node.inputs[0]]
        if _one_element(node) and node.inputs[0].op.name == "edge":
            place = ",".join(map(str, node.op.attributes()["starts"]))
            return f"{self.ids[node.inputs[0].inputs[0]]}[{place}]"
        return None

    def label(self, node: Node) -> tuple[str, ...]:
        """The lines inside the shape, unescaped."""
        name = self.graph.name(node)
        primal = self.primal.get(node)
        if isinstance(node.op, Leaf):
            if node in self.served:  # it stands in the row of the leaf that its name repeats
                name = name.rpartition("/")[2]
            rows = [name, dims_text(node.type) or short(node.dtype)]
            if self.uses.get(node, 0) > 1:
                rows.append(f"shared: {self.uses[node]} uses")
            if node in self.told:
                rows.append(f"{len(self.graph.users(node))} uses")
            return tuple(rows)
        title = node.op.name
        if node in self.told and name != title:  # what other labels call it
            title = f"{name} = {title}"
        of = f"grad of {self._called(primal)}" if primal is not None else ""
        if node.op.name == "grad_sum":
            return (f"Σ {of}" if of else "Σ of gradients",)
        # A gradient's attributes repeat those of the node beside it.
        attributes = _attributes(node) if self.part[node] != "backward" else ""
        rows = [title, *filter(None, (attributes, self._scalars(node), of))]
        if node.op.name == "constant":
            rows = ["constant", dims_text(node.type)]
        if node.op.name == "edge":
            rows = [self._called(node)]
        elif self.weight(node) is not None:
            return (f"{self._called(node.inputs[0])}[{str(self.weight(node)).rpartition('[')[2]}",)
        return tuple(rows)

    def _called(self, node: Node) -> str:
        """Its name; of one use of a weight the weight's, with the number: ``w@0``."""
        if node.op.name == "edge":
            return f"{self.graph.name(node.inputs[0])}@{node.op.attributes()['i']}"
        return self.graph.name(node)

    def _scalars(self, node: Node) -> str:
        """The operands that are written in: ``· × 0.9``."""
        texts = [
            _scalar(n) if self.inline(n) else self.graph.name(n) if self.is_told(node, n) else "·"
            for n in self.shown(node)
        ]
        if all(text == "·" for text in texts):
            return ""
        sign = INFIX.get(node.op.name)
        if sign and len(texts) == 2:
            return f"{texts[0]} {sign} {texts[1]}"
        return ", ".join(
            f"{node.op.operand(i)}={text}" for i, text in enumerate(texts) if text != "·"
        )

    def is_told(self, node: Node, source: Node) -> bool:
        return source in self.told and node in self.served

    def edges(self, node: Node) -> Iterable[DrawnEdge]:
        for position, source in enumerate(self.shown(node)):
            if not self.inline(source):
                yield DrawnEdge(
                    source=self.ids[source],
                    target=self.ids[node],
                    input=position,
                    operand=node.op.operand(position),
                    label=dims_text(source.type),
                    told=self.is_told(node, source),
                    weight=self.weight(node) or self.weight(source),
                )


def _kind(node: Node) -> Kind:
    for cls, kind in _LEAVES:
        if isinstance(node.op, cls):
            return kind
    if node.op.name in ("grad_sum", "constant", "edge"):
        return node.op.name  # type: ignore[return-value]
    return "op"


_LEAVES: tuple[tuple[type[Leaf], Kind], ...] = (
    (Input, "input"), (Parameter, "parameter"), (State, "state"), (Stream, "state"),
)  # fmt: skip


def _shape(node: Node) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else str(size) for size in node.shape)


def _one_element(node: Node) -> bool:
    """Whether it takes one element out of an array."""
    return node.op.name == "slice" and all(size == 1 for size in node.shape)


def _attributes(node: Node) -> str:
    """``padding=2 stride=2``; nothing for a constant, whose value is not an attribute to read."""
    if isinstance(node.op, Leaf) or node.op.name == "constant":
        return ""
    return node.op.text().strip()


def _scalar(node: Node) -> str:
    """What stands in a label for an operand that is not drawn."""
    if isinstance(node.op, Leaf):
        return node.op.label()
    value = getattr(node.op, "value", None)
    if value is None:
        return str(getattr(node.op, "of", node.op.name))
    return attrs.render_array(value)
