"""Receptive fields: which input pixels a unit of a map depends on, exactly, on any graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from graphc.analysis import hulls
from graphc.analysis.way import MOST_UNITS, Way
from graphc.ir import Node

Pair: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[int, int, int, int]


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
    _way: Way = field(compare=False)

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
            state = self._way.sweep([y], [x])
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
    way = Way.of(node, wrt, size)
    apart: list[tuple[Node, Node, Node]] = []

    def join(source: Node, user: Node, before: hulls.State, state: hulls.State) -> None:
        if not apart and not hulls.same_centres(before, state, source):
            apart.append((source, way.first_user(source), user))

    # Enough units that everything repeats, and one more, show whether it is regular.
    rows, columns = (range(min(2 * period + 1, MOST_UNITS)) for period in way.periods())
    state = way.sweep(rows, columns, join=join)
    paths = way.two_paths(*apart[0]) if apart else None
    found: list[tuple[int, int, int]] = []
    for axis in (-2, -1):
        regular = _regular(way.ends(state, axis))
        if regular is None and paths is None:
            paths = way.phases(axis)
        found.append(regular or (0, 0, 0))
    if paths is not None:
        largest = _largest(way)
        return ReceptiveField(node, way.wrt, largest, None, None, paths, way.whole_batch, way)
    (h, sh, ph), (w, sw, pw) = found
    return ReceptiveField(node, way.wrt, (h, w), (sh, sw), (ph, pw), None, way.whole_batch, way)


def _largest(way: Way) -> Pair:
    """The largest hull of a unit of the map."""
    shape = (1, 1, *way.shape(way.node))[-2:]
    state = way.sweep(range(min(shape[0], MOST_UNITS)), range(min(shape[1], MOST_UNITS)))
    sizes = []
    for axis in (-2, -1):
        known = [each for each in way.ends(state, axis) if each is not None]
        sizes.append(max((last - first + 1 for first, last in known), default=0))
    return sizes[0], sizes[1]


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
