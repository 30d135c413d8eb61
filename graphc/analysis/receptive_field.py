"""Receptive fields: which input pixels a unit of a map depends on, exactly, on any graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
Box: TypeAlias = tuple[int, int, int, int]
# Units looked at along an axis, at most, to tell how the field moves.
MOST_UNITS = 4096


@dataclass(frozen=True, repr=False)
class ReceptiveField:
    """What the units of ``node`` see of ``wrt``; made by ``gx.receptive_field``.

    Attributes: ``size``, ``stride``, ``padding``: (h, w), such that unit (y, x) sees the rows from
    y·stride - padding on, size of them, and columns alike (Araujo, Norris and Sim, Distill 2019;
    where a map was transposed on the way, rows go with x);
    stride and padding are 0 along an axis of which every unit sees all. ``aligned``: whether all
    ways from ``wrt`` to ``node`` are centred alike, so that these numbers hold; where they are not,
    ``size`` is the largest hull of a unit, ``stride`` and ``padding`` are None, and ``paths`` tells
    the two ways that disagree. ``whole_batch``: the normalizations by batch statistics on the way:
    through them a unit depends on the whole batch, which is left out, as in the published tables.
    """

    node: Node
    wrt: Node
    size: Pair
    stride: Pair | None
    padding: Pair | None
    paths: tuple[str, str] | None
    whole_batch: tuple[Node, ...]
    _way: _Way = field(compare=False)

    @property
    def aligned(self) -> bool:
        """Whether one (size, stride, padding) describes every unit."""
        return self.paths is None

    def box(self, y: int, x: int, clip: bool = True) -> Box | None:
        """(top, left, bottom, right), inclusive: the smallest box around what unit (y, x) sees.

        None where it sees nothing: a padding position depends on nothing. With ``clip=False`` as if
        every map went on for ever: negative positions are padding.
        Raises GraphError for a unit that is not on the map.
        """
        if not clip:
            _, state = self._way.hull([y], [x])
            ends = [self._way.ends(state, axis) for axis in (-2, -1)]
            if ends[0][0] is None or ends[1][0] is None:
                return None
            (top, bottom), (left, right) = ends[0][0], ends[1][0]
            return top, left, bottom, right
        seen = self._way.seen(y, x)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        if not rows.size:
            return None
        return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])

    def rows(self, y: int) -> tuple[int, ...]:
        """The rows of ``wrt`` that units of row ``y`` see, sorted, holes left out."""
        return tuple(np.flatnonzero(self._way.seen(y, None).any(1)).tolist())

    def columns(self, x: int) -> tuple[int, ...]:
        """The columns of ``wrt`` that units of column ``x`` see, sorted, holes left out."""
        return tuple(np.flatnonzero(self._way.seen(None, x).any(0)).tolist())

    def mask(self, y: int, x: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """The pixels that unit (y, x) sees, (height, width): the set itself, not its box."""
        return self._way.seen(y, x).copy()

    def __repr__(self) -> str:
        text = f"size={self.size}, stride={self.stride}, padding={self.padding}"
        if self.paths is not None:
            text += f", aligned=False, paths={self.paths}"
        if self.whole_batch:
            text += f", whole_batch={len(self.whole_batch)} normalizations"
        return f"ReceptiveField({text})"


def receptive_field(
    node: Node, wrt: Node | None = None, size: Mapping[str, int] | None = None
) -> ReceptiveField:
    """Which pixels of ``wrt`` the units of ``node`` depend on.

    node: a map (…, H, W), or anything else (a fully connected layer sees everything). wrt: an input
    or any node below; left out, the one image that ``node`` depends on. size: numbers for symbolic
    sizes, ``{"H": 224, "W": 224}``; needed where they decide the padding, and for boxes, which end
    at the border. Every channel of a unit counts; ops say by their ``receptive`` rules what they
    read. Branches are joined as sets, so boxes, rows and columns are exact, dilation's holes
    included.

    Raises GraphError: ``node`` does not depend on ``wrt``, several inputs and no ``wrt``, a size
    that is needed and not given.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3, 224, 224))
    >>> h = gx.conv2d(x, gx.parameter("w", (8, 3, 7, 7)), stride=2, padding=3)
    >>> field = gx.receptive_field(gx.max_pool2d(h, 3, 2, 1))
    >>> field
    ReceptiveField(size=(11, 11), stride=(4, 4), padding=(5, 5))
    >>> field.box(0, 0), field.box(0, 0, clip=False), field.rows(55)
    ((0, 0, 5, 5), (-5, -5, 5, 5), (215, 216, 217, 218, 219, 220, 221, 222, 223))
    """
    way = _Way.of(node, wrt, size)
    mismatch, state = way.hull([0], [0])
    # How many units repeat everything: enough of them, and one more, show whether it is regular.
    counts = [1 if a is None else min(2 * a.period + 1, MOST_UNITS) for a in way.plane(state)]
    by_axis = [1, 1]
    for along, count in zip(way.plane(state), counts, strict=True):
        if along is not None:
            by_axis[along.axis] = max(by_axis[along.axis], count)
    mismatch, state = way.hull(range(max(by_axis[0], 3)), range(max(by_axis[1], 3)))
    paths = None if mismatch is None else way.two_paths(*mismatch)
    found: list[tuple[int, int, int]] = []
    for axis in (-2, -1):
        regular = _regular(way.ends(state, axis))
        if regular is None and paths is None:
            paths = way.phases(axis)
        found.append(regular or (0, 0, 0))
    if paths is not None:
        return ReceptiveField(node, way.wrt, way.largest(), None, None, paths, way.whole_batch, way)
    (h, sh, ph), (w, sw, pw) = found
    return ReceptiveField(node, way.wrt, (h, w), (sh, sw), (ph, pw), None, way.whole_batch, way)


def _regular(ends: list[tuple[int, int] | None]) -> tuple[int, int, int] | None:
    """(size, stride, padding) of hulls that move evenly, None where they do not."""
    if any(each is None for each in ends):
        return None
    known = [each for each in ends if each is not None]
    first, last = known[0]
    steps = {b[0] - a[0] for a, b in pairwise(known)}
    sizes = {b - a for a, b in known}
    if len(steps) > 1 or len(sizes) > 1:
        return None
    return last - first + 1, steps.pop() if steps else 0, -first


@dataclass(frozen=True)
class _Way:
    """All that lies between ``wrt`` and ``node``: each node with the inputs to follow."""

    node: Node
    wrt: Node
    # Users before what they read.
    edges: tuple[tuple[Node, Node, Receptive], ...]
    sizes: Mapping[str, int]
    whole_batch: tuple[Node, ...]

    @staticmethod
    def of(node: Node, wrt: Node | None, size: Mapping[str, int] | None) -> _Way:
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
        return _Way(node, wrt, tuple(edges), _sizes(wrt, used, size), tuple(reversed(whole)))

    # -- exact, within the borders ------------------------------------------------------------

    def seen(self, y: int | None, x: int | None) -> reads.Mask:
        """The pixels (height, width) that unit (y, x) sees; None is every unit of that axis."""
        shape = self._shape(self.node)
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
        self._shape(self.wrt)
        found: dict[Node, reads.Mask] = {self.node: mask}
        for user, source, rule in self.edges:
            part = reads.back(found[user], user, source, rule, self.sizes)
            found[source] = found[source] | part if source in found else part
        plane = self._shape(self.wrt)[-2:]
        result = found[self.wrt]
        rows = result.ndim - len(plane)
        result = reads.collapse(result, tuple(range(rows))).reshape(result.shape[rows:])
        return np.broadcast_to(result, (1, 1, *plane)[-2:])

    def _shape(self, node: Node) -> tuple[int, ...]:
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

    def hull(
        self, rows: Sequence[int], columns: Sequence[int]
    ) -> tuple[tuple[Node, Node, Node] | None, hulls.State]:
        """What these units see of ``wrt``; and the first node that two ways reach unevenly.

        The first is (node, a user, another user), where the two see it with different centres.
        """
        mismatch: tuple[Node, Node, Node] | None = None
        found = {self.node: hulls.start(self.node.ndim, rows, columns)}
        first: dict[Node, Node] = {}
        for user, source, rule in self.edges:
            try:
                state = hulls.back(found[user], user, source, rule, self.sizes)
            except KeyError as error:
                raise self._unknown(str(error.args[0])) from None
            if source not in found:
                found[source], first[source] = state, user
                continue
            if mismatch is None and not hulls.same_centres(found[source], state, source):
                mismatch = (source, first[source], user)
            found[source] = hulls.join(found[source], state)
        return mismatch, found[self.wrt]

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

    def largest(self) -> Pair:
        """The largest hull of a unit of the map."""
        shape = (1, 1, *self._shape(self.node))[-2:]
        _, state = self.hull(range(min(shape[0], MOST_UNITS)), range(min(shape[1], MOST_UNITS)))
        sizes = []
        for axis in (-2, -1):
            known = [e for e in self.ends(state, axis) if e is not None]
            sizes.append(max((last - first + 1 for first, last in known), default=0))
        return sizes[0], sizes[1]

    # -- telling ------------------------------------------------------------------------------

    def two_paths(self, source: Node, one: Node, other: Node) -> tuple[str, str]:
        """Two ways that read ``source`` with different centres, each up to where they meet."""
        ways = [self._up(one), self._up(other)]
        meeting = next(node for node in ways[0] if node in ways[1])
        texts = []
        for way in ways:
            way = way[: way.index(meeting) + 1]
            texts.append(" -> ".join([_short(source), *map(_short, way)]))
        return texts[0], texts[1]

    def _up(self, start: Node) -> list[Node]:
        """From ``start`` to the target, by the first user of each."""
        user_of = {source: user for user, source, _ in reversed(self.edges)}
        way = [start]
        while way[-1] is not self.node:
            way.append(user_of[way[-1]])
        return way

    def phases(self, axis: int) -> tuple[str, str]:
        """The two phases of one way whose field does not move evenly (a transposed convolution)."""
        what = "row" if axis == -2 else "column"
        text = " -> ".join(map(_short, [self.wrt, *self._up(self._reader())]))
        return f"{text} at {what} 0", f"{text} at {what} 1"

    def _reader(self) -> Node:
        return next(user for user, source, _ in self.edges if source is self.wrt)


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
