"""What lies between an image and the nodes that see it: one sweep forwards over a graph, and exact
regions swept back, or forth, between two nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from graphc.analysis import hulls, reads, regions
from graphc.analysis.hulls import Difference, Views
from graphc.analysis.progressions import Progressions
from graphc.analysis.reads import Edge, Relation
from graphc.analysis.regions import Region
from graphc.ir import Graph, GraphError, Node, dims
from graphc.ir.dims import Size
from graphc.ir.graph import post_order
from graphc.ir.leaves import Input
from graphc.ir.node import describe
from graphc.ir.types import is_float


@dataclass(frozen=True, slots=True)
class Apart:
    """Two edges into ``meeting`` by which it sees ``wrt`` with different centres or strides."""

    meeting: Node
    one: Edge
    other: Edge
    differences: tuple[Difference, ...]

    @property
    def certain(self) -> bool:
        """At every size: none of the differences vanishes at some."""
        return any(d.when is None or d.when.never for d in self.differences)


@dataclass(frozen=True, slots=True)
class Seen:
    """A node in the sweep: what its units see; the first edge that leads to ``wrt``; where ways to
    it part, ``apart`` at every size, ``unsure`` at some."""

    views: Views
    edge: Edge | None
    apart: Apart | None
    unsure: tuple[Apart, ...]


@dataclass(frozen=True)
class Survey:
    """One sweep from ``wrt`` over everything below ``roots``."""

    wrt: Node
    sizes: Mapping[str, int]
    seen: Mapping[Node, Seen]
    # The nodes that depend on wrt in any way, batch statistics included.
    touched: frozenset[Node]

    @staticmethod
    def of(
        roots: Sequence[Node], wrt: Node | None, size: Mapping[str, int] | None, caller: str
    ) -> Survey:
        """The sweep. Raises GraphError: no one image, a size that is no number."""
        below = post_order(roots)
        if wrt is None:
            wrt = _image(roots[0], below, caller)
        given = checked_sizes(wrt, below, size, caller)
        seen = {wrt: Seen(hulls.begin(wrt.ndim), None, None, ())}
        touched = {wrt}
        for node in below:
            if node is wrt or touched.isdisjoint(node.inputs):
                continue
            touched.add(node)
            found = _arrive(node, seen, given)
            if found is not None:
                seen[node] = found
        return Survey(wrt, given, seen, frozenset(touched))

    def way(self, node: Node) -> Way:
        """All that lies between ``wrt`` and ``node``."""
        used, edges, whole = {node}, [], []
        for each in reversed(post_order([node])):
            if each not in used or each is self.wrt:
                continue
            for edge in reads.edges(each):
                if edge.source in self.seen:
                    used.add(edge.source)
                    edges.append(edge)
            statistics = reads.STATISTICS.get(each.op.name, ())
            if any(each.inputs[i] in self.touched for i in statistics):
                whole.append(each)
        return Way(node, self.wrt, tuple(edges), self.sizes, tuple(reversed(whole)))

    def path(self, edge: Edge) -> tuple[Node, ...]:
        """One way from ``wrt`` to the user of ``edge``, by this edge."""
        found = [edge.user]
        at: Edge | None = edge
        while at is not None:
            found.append(at.source)
            at = self.seen[at.source].edge
        return tuple(reversed(found))


def _arrive(node: Node, seen: Mapping[Node, Seen], sizes: Mapping[str, int]) -> Seen | None:
    """What a node sees, by all its inputs together."""
    found: Seen | None = None
    for edge in reads.edges(node):
        source = seen.get(edge.source)
        if source is None:
            continue
        views = hulls.follow(source.views, edge, sizes)
        if found is None:
            found = Seen(views, edge, source.apart, source.unsure)
            continue
        apart, unsure = found.apart or source.apart, found.unsure
        if source.unsure and source.unsure != unsure:
            unsure = (*unsure, *(each for each in source.unsure if each not in unsure))
        beside = hulls.beside(edge)
        rows, row_apart = hulls.join(found.views[0], views[0], 0, beside)
        columns, column_apart = hulls.join(found.views[1], views[1], 1, beside)
        differences = tuple(d for d in (row_apart, column_apart) if d is not None)
        if differences and found.edge is not None:
            new = Apart(node, found.edge, edge, differences)
            if not new.certain:
                unsure = (*unsure, new)
            elif apart is None:
                apart = new
        found = Seen((rows, columns), found.edge, apart, unsure)
    return found


@dataclass(frozen=True)
class Way:
    """All that lies between ``wrt`` and ``node``: each edge to follow, users before sources."""

    node: Node
    wrt: Node
    edges: tuple[Edge, ...]
    sizes: Mapping[str, int]
    whole_batch: tuple[Node, ...]
    _found: dict[tuple[object, ...], Region] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """The edges at these sizes. Raises GraphError for a size that is not given."""
        try:
            return tuple(Relation.of(edge, self.sizes) for edge in self.edges)
        except KeyError as error:
            raise unknown(self.wrt, str(error.args[0])) from None

    def shape(self, node: Node) -> tuple[int, ...]:
        """The sizes of a node's axes. Raises GraphError for one that is not given."""
        try:
            return node.type.concrete(self.sizes)
        except KeyError as error:
            raise unknown(self.wrt, str(error.args[0])) from None

    def back(self, unit: Mapping[int, int], *, clip: bool = True) -> Region:
        """What the elements of ``node`` at ``unit`` (axis from the right: position) read."""
        key = (clip, *sorted(unit.items()))
        if key in self._found:
            return self._found[key]
        found = {self.node: self._start(self.node, unit)}
        self.shape(self.wrt)
        for edge, relation in zip(self.edges, self.relations, strict=True):
            part = relation.back(found.get(edge.user, ()), clip=clip)
            found[edge.source] = regions.join(found.get(edge.source, ()), part)
        return self._keep(key, found[self.wrt])

    def forth(self, pixel: Mapping[int, int]) -> Region:
        """Which elements of ``node`` read any element of ``wrt`` at ``pixel``."""
        key = ("forth", *sorted(pixel.items()))
        if key in self._found:
            return self._found[key]
        found = {self.wrt: self._start(self.wrt, pixel)}
        self.shape(self.node)
        for edge, relation in zip(reversed(self.edges), reversed(self.relations), strict=True):
            part = relation.forth(found.get(edge.source, ()))
            found[edge.user] = regions.join(found.get(edge.user, ()), part)
        return self._keep(key, found[self.node])

    def _keep(self, key: tuple[object, ...], found: Region) -> Region:
        if len(self._found) >= 4096:  # a whole map of units is asked for again and again
            self._found.clear()
        self._found[key] = found
        return found

    def _start(self, node: Node, at: Mapping[int, int]) -> Region:
        product = list(regions.whole(self.shape(node)))
        for axis, position in at.items():
            if -axis <= len(product):
                product[axis] = Progressions.span(position, position)
        return (tuple(product),)

    def position(self, node: Node, axis: int, value: object, what: str) -> int:
        """A position that the user gave, negative ones counted from the end."""
        shape = self.shape(node)
        extent = shape[axis] if len(shape) >= -axis else 1
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise GraphError(f"receptive_field: a {what} is an int, not {value!r}")
        if not -extent <= value < extent:
            raise GraphError(
                f"receptive_field: there is no {what} {value} on a map with {extent}: "
                f"{describe(node)}",
                nodes=[node],
            )
        return int(value) % extent


def unknown(wrt: Node, name: str) -> GraphError:
    """The error of a size that decides the answer and is not given."""
    return GraphError(
        f"the receptive field depends on the size {name}, which is symbolic: "
        f"{describe(wrt)}\n  to fix: gx.receptive_field(node, size={{{name!r}: 224}})",
        nodes=[wrt],
    )


def independent(node: Node, wrt: Node) -> GraphError:
    """The error of two nodes that no way connects."""
    return GraphError(
        f"{describe(node)} does not depend on the values of\n  {describe(wrt)}", nodes=[node, wrt]
    )


def checked_node(node: object, caller: str) -> Node:
    """``node``. Raises GraphError where it is none."""
    if not isinstance(node, Node):
        what = "a Graph: choose a node, graph.outputs[…]" if isinstance(node, Graph) else repr(node)
        raise GraphError(f"{caller} takes a node, not {what}")
    return node


def _image(node: Node, below: tuple[Node, ...], caller: str) -> Node:
    """The input that is meant where ``wrt`` is left out."""
    found = [n for n in below if isinstance(n.op, Input) and is_float(n.dtype)]
    images = [n for n in found if n.ndim >= 3] or found
    if len(images) != 1:
        listed = "".join(f"\n  {describe(n)}" for n in images) or " no input of numbers"
        raise GraphError(
            f"{caller}: {describe(node)} depends on{listed}\n"
            f"  to fix: say which one is meant, gx.{caller}(…, wrt=x)",
            nodes=[node, *images],
        )
    return images[0]


def checked_sizes(
    wrt: Node, used: Iterable[Node], given: Mapping[str, int] | None, caller: str
) -> dict[str, int]:
    """The sizes given, and 1 for the batch: units of one example do not see another's."""
    shapes = {n.shape for n in used}
    known = dims.names(s for shape in shapes for s in shape)
    for name, size in (given or {}).items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise GraphError(f"{caller}: size {name}={size!r} is not an int of 1 or more")
    # A matrix (N, features) is no image; of another one the first axis may be the rows.
    batch = dims.names(wrt.shape[:1]) if wrt.ndim > 2 else frozenset({"N"})
    batch -= dims.names(wrt.shape[1:])
    return {**dict.fromkeys(batch & known, 1), **{n: int(s) for n, s in (given or {}).items()}}


def extent(node: Node, axis: int, sizes: Mapping[str, int]) -> Size:
    """How long an axis (from the right) of a node is; 1 if it lacks it."""
    return hulls.known(node.shape[axis], sizes) if node.ndim >= -axis else 1


def short(node: Node) -> str:
    """``conv2d (net.py:12)``."""
    label = getattr(node.op, "label", None)
    name = label() if label is not None else node.op.name
    return f"{name} ({node.lines[0]})" if node.lines else str(name)
