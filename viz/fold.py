"""Folding: parts of a drawing become one box each, so that a large graph can still be read.

A box holds what one part of the step (forward, backward or update) has inside one cluster, or
inside several that are alike (×N); in a graph without modules, a run of consecutive nodes. A
parameter that several boxes read is never swallowed: sharing stays visible.

Left alone, a drawing of more than 25 nodes folds the statistics of its normalization layers, which
are most of the nodes and the least of the story, and one of more than ``limit`` nodes folds until
it can be read. The picture says what was folded and why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from graphc.ir.errors import GraphError
from graphc.ir.naming import suggest
from graphc.ir.summary import Part

from .layout import DRAWN, tangle
from .model import PENALTY, Cluster, DrawnEdge, DrawnNode, Model
from .repeats import runs, signature

Fold = bool | str | Iterable[str] | Callable[[str], object] | None
FEW = 25  # nodes that are always drawn as they are
_READABLE = 150  # nodes that a drawing folded by itself has at most
_LINES = 250  # … and lines: the time of a layout grows with those that cross
_RUNS = (60, 40, 25, 16, 10)  # boxes that a graph without modules is cut into

# Node id to the name of the box that takes it in; boxes are then made per name and part.
Plan = dict[str, str]


def fold(model: Model, how: Fold, limit: int) -> Model:
    """``model`` with the clusters folded that ``how`` names; None folds as the module says.

    Raises GraphError for a glob or a predicate that fits no module.
    """
    if how is False:
        return model
    tree = _Tree(model)
    if how is None:
        if len(model.nodes) > limit:
            return _automatic(model, tree, limit, f"more than {limit:,} nodes")
        if tangle(model) > DRAWN:
            return _automatic(model, tree, limit, "its lines would cross too often")
        return model if len(model.nodes) <= FEW else _tidy(model, tree)
    if how is True:
        found = _overview(model, tree)
        if len(found.nodes) > limit:  # few modules, or none
            return _automatic(model, tree, limit, f"more than {limit:,} nodes")
        if tangle(found) > DRAWN:
            return _automatic(model, tree, limit, "its lines would cross too often")
        return found
    if callable(how):
        chosen = tree.where(how)
    else:
        chosen = tree.matching([how] if isinstance(how, str) else list(how))
    return _apply(model, tree.plan(chosen), tree, "")


class _Tree:
    """The clusters of a model as a tree."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.clusters = {cluster.id: cluster for cluster in model.clusters}
        self.parent = {cluster.id: cluster.parent for cluster in model.clusters}
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

    def where(self, predicate: Callable[[str], object]) -> set[str]:
        found = {c.id for c in self.model.clusters if predicate(c.path)}
        if not found:
            paths = ", ".join(repr(c.path) for c in self.model.clusters[:8]) or "none"
            raise GraphError(
                f"viz.draw(fold={getattr(predicate, '__name__', predicate)}): it is true of no "
                f"module or update of this graph; the first paths are {paths}"
            )
        return found

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


def _tidy(model: Model, tree: _Tree) -> Model:
    """The statistics of each normalization layer, and what updates them, in one box: what stands in
    one module with a state and is no parameter. With the parameters too, where that gives a
    drawing of few nodes."""
    inner = {cluster.parent for cluster in model.clusters if cluster.kind == "module"}
    home = {
        node.cluster
        for node in model.nodes
        if node.kind == "state" and node.part == "forward" and node.cluster not in inner
    }
    plan: dict[str, str] = {}
    for node in model.nodes:
        around = next((c.id for c in tree.chain(node.cluster) if c.id in home), None)
        if around is not None and node.part != "backward" and not node.outputs:
            plan[node.id] = around
    model = _without_numbers(model, plan)
    leaves = {node.id for node in model.nodes if node.kind == "parameter"}
    why = "statistics of normalization (fold=False draws all)"
    found = model
    for kept in (leaves, set[str]()):
        inside = {id: name for id, name in plan.items() if id not in kept}
        tried = _apply(model, inside, tree, why, one=True)
        if found is model or len(tried.nodes) <= FEW:
            found = tried
        if len(found.nodes) <= FEW:
            break
    return found


def _without_numbers(model: Model, plan: dict[str, str]) -> Model:
    """A number made of sizes alone (a count over a count less one) that only boxes of ``plan`` read
    goes into the first of them: a line to the others would make them look dependent."""
    reads = {edge.target for edge in model.edges if edge.kind == "data"}
    users: dict[str, list[str]] = {}
    for edge in model.edges:
        users.setdefault(edge.source, []).append(edge.target)
    numbers = set()
    for node in model.nodes:
        plain = node.kind == "op" and not node.shape and node.id not in reads
        found = users.get(node.id, [])
        if plain and found and not node.outputs and all(user in plan for user in found):
            plan[node.id] = plan[found[0]]
            numbers.add(node.id)
    kept = (
        edge
        for edge in model.edges
        if edge.source not in numbers or plan[edge.source] == plan[edge.target]
    )
    return replace(model, edges=tuple(kept))


def _overview(model: Model, tree: _Tree) -> Model:
    """Each module of the outermost level that has several, or of the first level below where
    modules repeat each other, if few boxes tell all of that."""
    shallow = tree.overview()
    joints = _joints(model)
    outline = _apply(model, {**joints, **tree.plan(shallow)}, tree, "", repeats=True)
    start = max((tree.depth[id] for id in shallow), default=0)
    deepest = max((tree.depth[c.id] for c in model.clusters if c.kind == "module"), default=0)
    found = outline
    for depth in range(start + 1, deepest + 1):
        if any(node.repeats > 1 for node in found.nodes):
            return found
        plan = {**joints, **tree.plan(tree.deeper(depth))}
        found = _apply(model, plan, tree, "", repeats=True)
        if sum(node.part == "forward" for node in found.nodes) > FEW:
            break
    return found if any(node.repeats > 1 for node in found.nodes) else outline


def _joints(model: Model) -> Plan:
    """What joins the gradients of all modules and so is in none (the norm that clips them: one
    addition a parameter): where it is long, one box."""
    loose = {
        node.id
        for node in model.nodes
        if node.part != "forward" and node.kind in ("op", "grad_sum") and not node.outputs
        and node.cluster is None and node.belongs_to is None
    }  # fmt: skip
    near: dict[str, list[str]] = {id: [] for id in loose}
    for edge in model.edges:
        if edge.source in loose and edge.target in loose:
            near[edge.source].append(edge.target)
            near[edge.target].append(edge.source)
    plan: Plan = {}
    seen: set[str] = set()
    for node in model.nodes:
        if node.id not in loose or node.id in seen:
            continue
        seen.add(node.id)
        reached = [node.id]
        for id in reached:
            for other in near[id]:
                if other not in seen:
                    seen.add(other)
                    reached.append(other)
        if len(reached) > FEW:
            plan |= dict.fromkeys(reached, f"joint:{node.id}")
    return plan


def _automatic(model: Model, tree: _Tree, limit: int, why: str) -> Model:
    """The finest folding that can be read: updates, then modules from the innermost, with those
    that repeat each other in one box, then runs of consecutive nodes."""
    updates = {c.id for c in model.clusters if c.kind == "update"}
    most = min(limit, _READABLE)
    deepest = max((tree.depth[c.id] for c in model.clusters if c.kind == "module"), default=0)
    for chosen in (updates, *(tree.deeper(depth) for depth in range(deepest, 0, -1))):
        folded = _apply(model, tree.plan(chosen), tree, why, repeats=True)
        if chosen and _readable(folded, most):
            return folded
    plan = tree.plan(tree.deeper(1))
    for loose in (plan, Plan()):
        for count in _RUNS:
            cut = {**loose, **_runs(model, loose, count)}
            folded = _apply(model, cut, tree, why, repeats=True)
            if _readable(folded, most):
                return folded
    return folded


def _readable(model: Model, most: int) -> bool:
    lines = sum(not edge.told for edge in model.edges)
    return len(model.nodes) <= most and lines <= max(_LINES, 2 * len(model.nodes))


def _runs(model: Model, plan: Plan, count: int) -> dict[str, str]:
    """What no module holds, cut into runs: edges go forward, so runs make no new cycle.

    A gradient or an update goes with the run of the node that it belongs to.
    """
    loose = [n for n in model.nodes if n.id not in plan and n.kind != "input"]
    forward = [n.id for n in loose if n.part == "forward"]
    length = -(-len(forward) // count) or 1
    found = {id: f"run:{index // length}" for index, id in enumerate(forward)}
    last = "run:0"
    for node in loose:
        if node.part != "forward":
            last = found.get(node.belongs_to or "", last)
            found[node.id] = last
    return found


def _apply(
    model: Model, plan: Plan, tree: _Tree, why: str, *, repeats: bool = False, one: bool = False
) -> Model:
    """``repeats``: modules that are alike become one box. ``one``: a box has all parts."""
    again = runs(model, plan, tree.parent) if repeats else {}
    inside = _without_shared(model, {id: again.get(n, n) for id, n in plan.items()}, one=one)
    groups: dict[tuple[str, Part], list[DrawnNode]] = {}
    for node in model.nodes:
        if node.id in inside:
            groups.setdefault(inside[node.id], []).append(node)
    # One node alone is drawn as itself.
    groups = {key: nodes for key, nodes in groups.items() if len(nodes) > 1}
    if not groups:
        return model
    place = {n.id: f"box:{name}:{part}" for (name, part), ns in groups.items() for n in ns}
    names = {node.id: node.name for node in model.nodes}
    told: dict[str, dict[str, None]] = {}
    several: dict[str, list[str]] = {}
    into: dict[str, list[DrawnEdge]] = {}
    for edge in model.edges:
        into.setdefault(edge.target, []).append(edge)
        inside_it = place.get(edge.source) == place.get(edge.target)
        if edge.told and edge.target in place and not inside_it:
            told.setdefault(place[edge.target], {})[names[edge.source]] = None
        source, target = place.get(edge.source), place.get(edge.target)
        if source and target and source != target and source.startswith(f"box:{PENALTY}:"):
            told.setdefault(target, {})[PENALTY.partition(":")[2]] = None
    for name, first in again.items():
        several.setdefault(first, [first]).append(name)
    kinds = {node.id: node for node in model.nodes}
    layers = {
        kinds[edge.target].op
        for edge in model.edges
        if kinds[edge.source].kind == "parameter" and kinds[edge.target].part == "forward"
    }
    boxes: dict[str, DrawnNode] = {}
    for (name, part), members in groups.items():
        id = f"box:{name}:{part}"
        alike = _Alike.of(members, [plan[n.id] for n in members], several.get(name, [name]), into)
        box = _box(id, name, part, members, tree, told.get(id, {}), alike, layers)
        boxes[id] = _valued(replace(box, belongs_to=_beside(members, place, id)), members, model)
    nodes: list[DrawnNode] = []
    drawn: set[str] = set()
    for node in model.nodes:
        home = place.get(node.id, node.id)
        if home not in drawn:
            drawn.add(home)
            nodes.append(boxes[home] if home in boxes else _moved(node, place))
    swallowed = len(place)
    note = f"{swallowed:,} nodes folded into {_counted(len(boxes))}"
    return replace(
        model,
        nodes=tuple(nodes),
        edges=tuple(_edges(model, place, boxes)),
        clusters=_clusters(model, nodes),
        folded=f"{note}: {why}" if why else note,
    )


def _counted(boxes: int) -> str:
    return f"{boxes:,} box{'es' if boxes > 1 else ''}"


@dataclass(frozen=True)
class _Alike:
    """How many modules a box stands for, their names, and the hash of one of them."""

    count: int
    names: tuple[str, ...]
    digest: str

    @staticmethod
    def of(
        members: list[DrawnNode], homes: list[str], names: list[str],
        into: Mapping[str, list[DrawnEdge]],
    ) -> _Alike:  # fmt: skip
        """``homes``: the module of each member."""
        apart: dict[str, list[DrawnNode]] = {}
        for node, home in zip(members, homes, strict=True):
            apart.setdefault(home, []).append(node)
        digests = [signature(nodes, into) for nodes in apart.values()]
        equal = len(set(digests)) == 1
        whole = digests[0] if equal else signature(members, into)
        return _Alike(len(apart) if equal else 1, tuple(names), whole)


def _valued(box: DrawnNode, members: list[DrawnNode], model: Model) -> DrawnNode:
    """The overlays of a box: what its members say together."""
    found: dict[str, float | str] = {}
    for scale in model.scales:
        given = [node.values[scale.name] for node in members if scale.name in node.values]
        numbers = [value for value in given if not isinstance(value, str)]
        if scale.fold == "sum" and numbers:
            found[scale.name] = added(numbers)
        elif scale.fold == "max" and numbers:
            found[scale.name] = max(numbers)
        elif scale.fold == "last" and given:
            found[scale.name] = given[-1]
    outputs = tuple(name for node in members for name in node.outputs)
    return replace(box, values=found, outputs=outputs, worst=any(node.worst for node in members))


def added(numbers: list[float]) -> float:
    """Their sum: an int of ints, else without the dust of the additions."""
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    return float(f"{math.fsum(numbers):.12g}")


def _without_shared(model: Model, plan: Plan, *, one: bool = False) -> dict[str, tuple[str, Part]]:
    """Node id to (box name, part), without leaves that are read outside their box; ``one``: a box
    has all parts.

    A leaf goes where its readers are: a parameter into the forward box of its own module.
    """
    nodes = {node.id: node for node in model.nodes}
    inside: dict[str, tuple[str, Part]] = {
        node: (name, "forward" if one else nodes[node].part) for node, name in plan.items()
    }
    readers: dict[str, set[str]] = {}
    for edge in model.edges:
        # Weight decay reads every weight, and shares none.
        decay = nodes[edge.target].cluster == PENALTY
        if edge.kind == "data" and nodes[edge.target].part == "forward" and not decay:
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
    id: str,
    name: str,
    part: Part,
    inside: list[DrawnNode],
    tree: _Tree,
    told: Iterable[str],
    alike: _Alike,
    layers: Container[str],
) -> DrawnNode:
    cluster = tree.clusters.get(name)
    path = cluster.path if cluster else f"{inside[0].name} … {inside[-1].name}"
    if len(alike.names) > 1:
        path = f"{path} … {tree.clusters[alike.names[-1]].path}"
    ops = Counter(n.op for n in inside if n.kind in ("op", "grad_sum"))
    # The layers first: what reads a parameter.
    order = sorted(ops, key=lambda op: (op not in layers, -ops[op]))
    counted = [(op, -(-ops[op] // alike.count)) for op in order[:3]]
    common = ", ".join(f"{op} ×{k}" if k > 1 else op for op, k in counted)
    held = sum(math.prod(map(int, n.shape)) for n in inside if n.kind == "parameter")
    head = path if part == "forward" else f"{part} of {path.removeprefix('update/')}"
    each = f"×{alike.count}: " if alike.count > 1 else ""
    label = [head, each + common + (", …" if len(ops) > 3 else ""), f"{len(inside):,} nodes"]
    if held:
        label.append(f"{held:,} parameters")
    label += [f"reads {source}" for source in told]
    return DrawnNode(
        id=id, name=head, op="box", kind="box", part=part,
        cluster=cluster.parent if cluster else None,
        text=head,
        label=tuple(filter(None, label)),
        digest=alike.digest,
        repeats=alike.count,
        inside=tuple(n.id for n in inside),
    )  # fmt: skip


def _edges(
    model: Model, place: Mapping[str, str], boxes: Mapping[str, DrawnNode]
) -> Iterable[DrawnEdge]:
    """Edges between what is drawn: those that end at a box are joined and counted.

    Between the penalty's boxes and those of the modules they are told: each module has one.
    """
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
            told=all(edge.told for edge in edges) or _of_penalty(entry[:2], boxes),
        )  # fmt: skip


def _of_penalty(ends: Iterable[str], boxes: Mapping[str, DrawnNode]) -> bool:
    found = [boxes.get(end) for end in ends]
    return None not in found and any(end.startswith(f"box:{PENALTY}:") for end in ends)


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
