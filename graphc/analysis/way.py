"""The way from an image to a node: what lies between, and the field swept back over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from graphc.analysis import hulls, reads
from graphc.ir import Graph, GraphError, Node, dims
from graphc.ir.dims import Size
from graphc.ir.graph import post_order
from graphc.ir.leaves import Input
from graphc.ir.node import describe
from graphc.ir.types import is_float
from graphc.ir.window import Receptive

Pair: TypeAlias = tuple[int, int]
# Units looked at along an axis, at most, to tell how the field moves.
MOST_UNITS = 4096


@dataclass(frozen=True)
class Way:
    """All that lies between ``wrt`` and ``node``: each node with the inputs to follow."""

    node: Node
    wrt: Node
    # Users before what they read.
    edges: tuple[tuple[Node, Node, Receptive], ...]
    sizes: Mapping[str, int]
    whole_batch: tuple[Node, ...]

    @staticmethod
    def of(node: Node, wrt: Node | None, size: Mapping[str, int] | None) -> Way:
        """The way to ``node`` from ``wrt``, or from the one image that it depends on."""
        given: object = node
        if not isinstance(given, Node):
            what = "a Graph: choose a node, graph.outputs[…]" if isinstance(given, Graph) else given
            raise GraphError(f"receptive_field takes a node, not {what!r}")
        below = post_order([node])
        if wrt is None:
            wrt = _image(node, below)
        # Forwards: what depends on wrt at all, and what does by the ways that are followed.
        touched, reached = {wrt}, {wrt}
        for each in below:
            if each is wrt:
                continue
            if any(source in touched for source in each.inputs):
                touched.add(each)
                if any(each.inputs[position] in reached for position, _ in reads.edges(each)):
                    reached.add(each)
        if node not in reached:
            raise GraphError(
                f"{describe(node)} does not depend on the values of\n  {describe(wrt)}",
                nodes=[node, wrt],
            )
        # Backwards: what of it the node depends on.
        used, edges, whole = {node: None}, [], []
        for each in reversed(below):
            if each not in used or each is wrt:
                continue
            for position, rule in reads.edges(each):
                source = each.inputs[position]
                if source in reached:
                    used[source] = None
                    edges.append((each, source, rule))
            if any(each.inputs[i] in touched for i in reads.STATISTICS.get(each.op.name, ())):
                whole.append(each)
        return Way(node, wrt, tuple(edges), _sizes(wrt, used, size), tuple(reversed(whole)))

    # -- exact, within the borders ------------------------------------------------------------

    def seen(self, y: int | None, x: int | None) -> reads.Mask:
        """The pixels (height, width) that unit (y, x) sees; None is every unit of that axis."""
        shape = self.shape(self.node)
        mask = np.ones((1,) * len(shape), bool)
        for axis, unit, what in ((-2, y, "row"), (-1, x, "column")):
            if unit is None:
                continue
            extent = shape[axis] if len(shape) >= -axis else 1
            if isinstance(unit, bool) or not isinstance(unit, (int, np.integer)):
                raise GraphError(f"receptive_field: a {what} is an int, not {unit!r}")
            if not 0 <= unit < extent:
                raise GraphError(
                    f"receptive_field: there is no {what} {unit} on a map with {extent}: "
                    f"{describe(self.node)}",
                    nodes=[self.node],
                )
            if len(shape) >= -axis:
                where = [1] * len(shape)
                where[axis] = extent
                mask = mask & (np.arange(extent) == unit).reshape(where)
        self.shape(self.wrt)
        found: dict[Node, reads.Mask] = {self.node: mask}
        for user, source, rule in self.edges:
            part = reads.back(found[user], user, source, rule, self.sizes)
            found[source] = found[source] | part if source in found else part
        plane = self.shape(self.wrt)[-2:]
        result = found[self.wrt]
        rows = result.ndim - len(plane)
        result = reads.collapse(result, tuple(range(rows))).reshape(result.shape[rows:])
        return np.broadcast_to(result, (1, 1, *plane)[-2:])

    def shape(self, node: Node) -> tuple[int, ...]:
        """The sizes of a node's axes. Raises GraphError for one that is not given."""
        try:
            return node.type.concrete(self.sizes)
        except KeyError as error:
            raise self._unknown(str(error.args[0])) from None

    def _unknown(self, name: str) -> GraphError:
        return GraphError(
            f"the receptive field depends on the size {name}, which is symbolic: "
            f"{describe(self.wrt)}\n  to fix: gx.receptive_field(node, size={{{name!r}: 224}})",
            nodes=[self.node, self.wrt],
        )

    # -- as if every map went on for ever -----------------------------------------------------

    def sweep(
        self,
        rows: Sequence[int],
        columns: Sequence[int],
        join: Callable[[Node, Node, hulls.State, hulls.State], None] | None = None,
        look: Callable[[Node, hulls.State], None] | None = None,
    ) -> hulls.State:
        """What these units of ``node`` see of ``wrt``, as if every map went on for ever.

        ``look(source, state)`` is told of each edge; ``join(source, user, before, state)`` of each
        further way, by ``user``, to a node that was seen ``before``.
        """
        found = {self.node: hulls.start(self.node.ndim, rows, columns)}
        for user, source, rule in self.edges:
            try:
                state = hulls.back(found[user], user, source, rule, self.sizes)
            except KeyError as error:
                raise self._unknown(str(error.args[0])) from None
            if look is not None:
                look(source, state)
            if source in found:
                if join is not None:
                    join(source, user, found[source], state)
                state = hulls.join(found[source], state)
            found[source] = state
        return found[self.wrt]

    def periods(self) -> tuple[int, int]:
        """After how many rows and columns of ``node`` the sets repeat, moved."""
        periods = [1, 1]
        for along in self.plane(self.sweep([0], [0])):
            if along is not None:
                periods[along.axis] = math.lcm(periods[along.axis], along.period)
        return periods[0], periods[1]

    def plane(self, state: hulls.State) -> tuple[hulls.Along, hulls.Along]:
        """Rows and columns of ``wrt``."""
        padded = (*(None,) * max(2 - len(state), 0), *state)
        return padded[-2], padded[-1]

    def ends(self, state: hulls.State, axis: int) -> list[tuple[int, int] | None]:
        """First and last position along an axis of ``wrt``, for each unit."""
        along = self.plane(state)[axis]
        if along is not None:
            return along.ends()
        return [(0, self._extent(axis) - 1)]

    def _extent(self, axis: int) -> int:
        if self.wrt.ndim < -axis:
            return 1
        size: Size = self.wrt.shape[axis]
        try:
            return dims.evaluate(size, self.sizes)
        except KeyError as error:
            raise self._unknown(str(error.args[0])) from None

    # -- telling ------------------------------------------------------------------------------

    def two_paths(self, source: Node, one: Node, other: Node) -> tuple[str, str]:
        """Two ways that read ``source`` with different centres, each up to where they meet."""
        meeting = self.meeting(one, other)
        texts = []
        for way in (self._up(one), self._up(other)):
            part = [source, *way[: way.index(meeting) + 1]]
            texts.append(" -> ".join(map(_short, part)))
        return texts[0], texts[1]

    def first_user(self, source: Node) -> Node:
        """The user by which ``source`` is reached first, from the target."""
        return next(user for user, read, _ in self.edges if read is source)

    def _up(self, start: Node) -> list[Node]:
        """From ``start`` to the target, by the first user of each."""
        user_of = {source: user for user, source, _ in reversed(self.edges)}
        way = [start]
        while way[-1] is not self.node:
            way.append(user_of[way[-1]])
        return way

    def meeting(self, one: Node, other: Node) -> Node:
        """Where the ways up from two nodes come together."""
        ways = [self._up(one), self._up(other)]
        return next(node for node in ways[0] if node in ways[1])

    def phases(self, axis: int) -> tuple[str, str]:
        """The two phases of one way whose field does not move evenly (a transposed convolution)."""
        what = "row" if axis == -2 else "column"
        text = " -> ".join(map(_short, [self.wrt, *self._up(self.first_user(self.wrt))]))
        return f"{text} at {what} 0", f"{text} at {what} 1"


def _image(node: Node, below: tuple[Node, ...]) -> Node:
    """The input that is meant where ``wrt`` is left out."""
    found = [n for n in below if isinstance(n.op, Input) and is_float(n.dtype)]
    images = [n for n in found if n.ndim >= 3] or found
    if len(images) != 1:
        listed = "".join(f"\n  {describe(n)}" for n in images) or " no input of numbers"
        raise GraphError(
            f"receptive_field: {describe(node)} depends on{listed}\n"
            "  to fix: say which one is meant, gx.receptive_field(node, wrt=x)",
            nodes=[node, *images],
        )
    return images[0]


def _sizes(wrt: Node, used: Iterable[Node], given: Mapping[str, int] | None) -> dict[str, int]:
    """The sizes given, and 1 for the batch: units of one example do not see another's."""
    known = dims.names(s for n in used for s in n.shape)
    for name, size in (given or {}).items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise GraphError(f"receptive_field: size {name}={size!r} is not an int of 1 or more")
    # A matrix (N, features) is no image; of another one the first axis may be the rows.
    batch = dims.names(wrt.shape[:1]) if wrt.ndim > 2 else frozenset({"N"})
    batch -= dims.names(wrt.shape[1:])
    return {**dict.fromkeys(batch & known, 1), **(given or {})}


def _short(node: Node) -> str:
    label = getattr(node.op, "label", None)
    name = label() if label is not None else node.op.name
    return f"{name} ({node.lines[0]})" if node.lines else name
