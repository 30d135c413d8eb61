"""Folding: parts of a drawing become one box each, so that a large graph can still be read.

A box holds what one part of the step (forward, backward or update) has inside one cluster; in a
graph without modules, a run of consecutive nodes. A parameter that several boxes read is never
swallowed: sharing stays visible.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from graphc.ir.errors import GraphError
from graphc.ir.naming import suggest

from .model import Cluster, DrawnEdge, DrawnNode, Model

Fold = bool | str | Iterable[str] | None
_RUNS = 60  # boxes that a graph without modules is cut into

# Node id to the name of the box that takes it in; boxes are then made per name and part.
Plan = Mapping[str, str]


def fold(model: Model, how: Fold, limit: int) -> Model:
    """``model`` with the clusters that ``how`` names folded; None folds what exceeds ``limit``.

    Raises GraphError for a glob that fits no module.
    """
    if how is False or (how is None and len(model.nodes) <= limit):
        return model
    tree = _Tree(model)
    if how is None:
        return _automatic(model, tree, limit)
    if how is True:
        chosen = tree.overview()
    else:
        chosen = tree.matching([how] if isinstance(how, str) else list(how))
    return _apply(model, tree.plan(chosen), tree, "")


class _Tree:
    """The clusters of a model as a tree."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.clusters = {cluster.id: cluster for cluster in model.clusters}
        self.depth: dict[str, int] = {}
        for cluster in model.clusters:  # parents come first
            self.depth[cluster.id] = self.depth[cluster.parent] + 1 if cluster.parent else 1

    def chain(self, cluster: str | None) -> Iterable[Cluster]:
        """``cluster`` and all around it, innermost first."""
        while cluster is not None:
            yield self.clusters[cluster]
            cluster = self.clusters[cluster].parent

    def matching(self, globs: list[str]) -> set[str]:
        paths = [cluster.path for cluster in self.model.clusters]
        for glob in globs:
            if not any(fnmatchcase(path, glob) for path in paths):
                raise GraphError(
                    f"viz.draw(fold={glob!r}): no module or update of this graph has such a path"
                    f"{suggest(glob, dict.fromkeys(paths))}"
                )
        return {
            c.id for c in self.model.clusters if any(fnmatchcase(c.path, glob) for glob in globs)
        }

    def overview(self) -> set[str]:
        """The outermost level that has more than one module, and every update outside modules."""
        found: set[str] = set()
        for depth in range(1, max(self.depth.values(), default=0) + 1):
            level = [c for c in self.model.clusters if self.depth[c.id] == depth]
            found |= {c.id for c in level}
            if sum(c.kind == "module" for c in level) > 1:
                break
        modules = [c for c in self.model.clusters if c.id in found and c.kind == "module"]
        inner = {c.parent for c in modules}
        return {i for i in found if i not in inner}

    def deeper(self, depth: int) -> set[str]:
        """The modules at ``depth``, with what is less deep and holds no other; all updates."""
        parents = {c.parent for c in self.model.clusters if c.kind == "module"}
        return {
            c.id
            for c in self.model.clusters
            if c.kind == "update"
            or self.depth[c.id] == depth
            or (self.depth[c.id] < depth and c.id not in parents)
        }

    def plan(self, chosen: set[str]) -> dict[str, str]:
        """Each node to the outermost chosen cluster around it."""
        outermost: dict[str | None, str] = {}
        for cluster in self.model.clusters:
            around = [c.id for c in self.chain(cluster.id) if c.id in chosen]
            if around:
                outermost[cluster.id] = around[-1]
        return {n.id: outermost[n.cluster] for n in self.model.nodes if n.cluster in outermost}


def _automatic(model: Model, tree: _Tree, limit: int) -> Model:
    """The finest folding that draws at most ``limit`` nodes: updates, then modules from the
    innermost, then runs of consecutive nodes."""
    updates = {c.id for c in model.clusters if c.kind == "update"}
    why = f"more than {limit:,} nodes"
    deepest = max((tree.depth[c.id] for c in model.clusters if c.kind == "module"), default=0)
    for chosen in (updates, *(tree.deeper(depth) for depth in range(deepest, 0, -1))):
        plan = tree.plan(chosen)
        folded = _apply(model, plan, tree, why)
        if chosen and len(folded.nodes) <= limit:
            return folded
    plan = tree.plan(tree.deeper(1))
    folded = _apply(model, {**plan, **_runs(model, plan)}, tree, why)
    if len(folded.nodes) <= limit:
        return folded
    return _apply(model, _runs(model, {}), tree, why)


def _runs(model: Model, plan: Plan) -> dict[str, str]:
    """What no module holds, cut into runs: edges go forward, so runs make no new cycle.

    A gradient or an update goes with the run of the node that it belongs to.
    """
    loose = [n for n in model.nodes if n.id not in plan and n.kind not in ("input", "output")]
    forward = [n.id for n in loose if n.part == "forward"]
    length = -(-len(forward) // _RUNS) or 1
    found = {id: f"run {index // length}" for index, id in enumerate(forward)}
    last = "run 0"
    for node in loose:
        if node.part != "forward":
            last = found.get(node.belongs_to or "", last)
            found[node.id] = last
    return found


def _apply(model: Model, plan: Plan, tree: _Tree, why: str) -> Model:
    inside = _without_shared(model, plan)
    groups: dict[tuple[str, str], list[DrawnNode]] = {}
    for node in model.nodes:
        if node.id in inside:
            groups.setdefault(inside[node.id], []).append(node)
    # One node alone is drawn as itself.
    groups = {key: nodes for key, nodes in groups.items() if len(nodes) > 1}
    if not groups:
        return model
    number = {key: f"b{index}" for index, key in enumerate(groups)}
    place = {n.id: number[key] for key, nodes in groups.items() for n in nodes}
    names = {node.id: node.name for node in model.nodes}
    told: dict[str, dict[str, None]] = {}
    for edge in model.edges:
        if edge.told and edge.target in place:
            told.setdefault(place[edge.target], {})[names[edge.source]] = None
    boxes: dict[str, DrawnNode] = {}
    for (name, part), members in groups.items():
        id = number[name, part]
        box = _box(id, name, members, tree, told.get(id, {}))
        boxes[id] = replace(box, belongs_to=_beside(members, place, id))
    nodes: list[DrawnNode] = []
    drawn: set[str] = set()
    for node in model.nodes:
        home = place.get(node.id, node.id)
        if home not in drawn:
            drawn.add(home)
            nodes.append(boxes[home] if home in boxes else _moved(node, place))
    swallowed = len(place)
    note = f"{swallowed:,} nodes folded into {len(boxes):,} boxes"
    left = _clusters(model, nodes)
    return replace(
        model,
        nodes=tuple(nodes),
        edges=tuple(_edges(model, place)),
        clusters=left,
        folded=f"{note}: {why}" if why else note,
    )


def _without_shared(model: Model, plan: Plan) -> dict[str, tuple[str, str]]:
    """Node id to (box name, part), without leaves that are read outside their box.

    A leaf goes where its readers are: a parameter into the forward box of its own module.
    """
    nodes = {node.id: node for node in model.nodes}
    inside: dict[str, tuple[str, str]] = {
        node: (name, nodes[node].part) for node, name in plan.items()
    }
    readers: dict[str, set[str]] = {}
    for edge in model.edges:
        if edge.kind == "data" and nodes[edge.target].part == "forward":
            readers.setdefault(edge.source, set()).add(plan.get(edge.target, edge.target))
    for node in model.nodes:
        inner = node.kind == "parameter" and node.id in inside
        if inner and readers.get(node.id, set()) - {plan[node.id]}:
            del inside[node.id]
    return inside


def _moved(node: DrawnNode, place: Mapping[str, str]) -> DrawnNode:
    """A node whose neighbours may have gone into a box."""
    of, primal = node.belongs_to or "", node.gradient_of or ""
    return replace(
        node, belongs_to=place.get(of, of) or None, gradient_of=place.get(primal, primal) or None
    )


def _beside(members: list[DrawnNode], place: Mapping[str, str], id: str) -> str | None:
    """What a box stands beside: what most of its members do, as far as that is outside."""
    near = (place.get(n.belongs_to, n.belongs_to) for n in members if n.belongs_to is not None)
    found = Counter(other for other in near if other != id)
    return min(found, key=lambda other: (-found[other], other)) if found else None


def _box(
    id: str, name: str, inside: list[DrawnNode], tree: _Tree, told: Iterable[str]
) -> DrawnNode:
    part = inside[0].part
    cluster = tree.clusters.get(name)
    path = cluster.path if cluster else f"{inside[0].name} … {inside[-1].name}"
    ops = Counter(n.op for n in inside if n.kind in ("op", "grad_sum"))
    common = ", ".join(f"{op} ×{k}" if k > 1 else op for op, k in ops.most_common(3))
    held = sum(math.prod(map(int, n.shape)) for n in inside if n.kind == "parameter")
    head = path if part == "forward" else f"{part} of {path.removeprefix('update/')}"
    label = [head, common + (", …" if len(ops) > 3 else ""), f"{len(inside):,} nodes"]
    if held:
        label.append(f"{held:,} parameters")
    label += [f"reads {source}" for source in told]
    return DrawnNode(
        id=id, name=head, op="box", kind="box", part=part,
        cluster=cluster.parent if cluster else None,
        text=head,
        label=tuple(filter(None, label)),
        digest=hashlib.sha256("\n".join(n.text for n in inside).encode()).hexdigest()[:12],
    )  # fmt: skip


def _edges(model: Model, place: Mapping[str, str]) -> Iterable[DrawnEdge]:
    """Edges between what is drawn: those that end at a box are joined and counted."""
    joined: dict[tuple[str, str, str], list[DrawnEdge]] = {}
    order: list[DrawnEdge | tuple[str, str, str]] = []
    for edge in model.edges:
        source, target = place.get(edge.source, edge.source), place.get(edge.target, edge.target)
        if (source, target) == (edge.source, edge.target):
            order.append(edge)
        elif source != target:
            key = (source, target, edge.kind)
            if key not in joined:
                order.append(key)
            joined.setdefault(key, []).append(edge)
    for entry in order:
        if isinstance(entry, DrawnEdge):
            yield entry
            continue
        edges = joined[entry]
        labels = {edge.label for edge in edges}
        yield replace(
            edges[0],
            source=entry[0], target=entry[1],
            label=labels.pop() if len(labels) == 1 else "",
            count=len(edges),
            # A value that stays drawn at this end keeps its operand; a box has none.
            operand=edges[0].operand if len(edges) == 1 else "",
        )  # fmt: skip


def _clusters(model: Model, nodes: Iterable[DrawnNode]) -> tuple[Cluster, ...]:
    """The clusters that still hold something."""
    parents = {cluster.id: cluster.parent for cluster in model.clusters}
    kept: set[str] = set()
    for node in nodes:
        here = node.cluster
        while here is not None and here not in kept:
            kept.add(here)
            here = parents[here]
    return tuple(cluster for cluster in model.clusters if cluster.id in kept)


__all__ = ["Fold", "fold"]
