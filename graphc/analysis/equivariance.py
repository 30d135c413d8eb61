"""How far a map follows its image when that is shifted, and what keeps it from doing so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

import numpy as np

from graphc.analysis import hulls, regions
from graphc.analysis.hulls import View, Views
from graphc.analysis.progressions import NONE, Progressions
from graphc.analysis.reads import POINT, Edge, Relation
from graphc.analysis.way import Survey, Way, checked_node, independent
from graphc.ir import Node
from graphc.ir.dims import Size, always_at_least, evaluate
from graphc.ir.node import describe
from graphc.ir.window import AxisWindow, Everything, Followed, Moved, Reshaped, Windowed

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Break:
    """One thing that keeps a map from following every shift: the node and ``what`` it does.

    ``what``: ``"stride"`` (follows shifts by multiples of the period only), ``"padding"`` (the
    margin does not follow); and those that leave no period: ``"flatten"`` (position becomes a
    feature), ``"fully connected"``, ``"whole map"`` (another op of which every unit reads all),
    ``"reversed"`` (a flip moves the other way), ``"turned"`` (rows become columns), ``"branches"``
    (they move by different amounts). ``line``: the user's line.
    """

    node: Node
    what: str

    @property
    def line(self) -> str:
        """Where the user wrote it, ``"file.py:12"``; empty where that is not known."""
        return self.node.lines[0] if self.node.lines else ""

    def __repr__(self) -> str:
        return f"{self.what}: {describe(self.node)}"


@dataclass(frozen=True, repr=False)
class Equivariance:
    """How ``node`` follows shifts of ``wrt``; made by ``gx.equivariance``.

    Attributes: ``period``: (h, w), shifting ``wrt`` by these many pixels shifts the map by
    ``shift`` units, (h, w), exactly, away from the margin; None where no shift does. ``margin``:
    (h, w), how many rows (columns) of the map, from either border, are spoiled: they see padding
    somewhere on their way. ``broken_by``: what keeps it from following every shift everywhere.
    """

    node: Node
    wrt: Node
    period: Pair | None
    shift: Pair | None
    broken_by: tuple[Break, ...]
    _way: Way = field(compare=False)

    @cached_property
    def margin(self) -> Pair | None:
        """Rows and columns from either border that see padding; None where there is no period.

        Raises GraphError where it depends on a symbolic size that was not given.
        """
        if self.period is None:
            return None
        spoiled = _spoiled(self._way)[self.node]
        shape = (1, 1, *self._way.shape(self.node))[-2:]
        rows, columns = (
            _from_border(spoiled.get(axis, NONE), extent)
            for axis, extent in zip((-2, -1), shape, strict=True)
        )
        return rows, columns

    def __repr__(self) -> str:
        return f"Equivariance(period={self.period}, broken_by={list(self.broken_by)})"


def _from_border(spoiled: Progressions, extent: int) -> int:
    """How far from either border a spoiled position stands; all of it where none is left."""
    good = np.setdiff1d(np.arange(extent), spoiled.array())
    return int(max(good[0], extent - 1 - good[-1])) if good.size else extent


def _spoiled(way: Way) -> dict[Node, dict[int, Progressions]]:
    """For each node and axis (from the right) the positions that see padding somewhere."""
    found: dict[Node, dict[int, Progressions]] = {way.wrt: {}}
    way.shape(way.wrt)
    for edge, relation in zip(reversed(way.edges), reversed(way.relations), strict=True):
        mine = found.setdefault(edge.user, {})
        for axis, positions in found[edge.source].items():
            product = list(regions.whole(relation.inside))
            product[axis] = positions
            for reached in relation.forth((tuple(product),)):
                for at, (part, size) in enumerate(zip(reached, relation.out, strict=True)):
                    if len(part) < size:
                        _add(mine, at - len(reached), part)
        for at, part in _outside(relation).items():
            _add(mine, at, part)
    return found


def _add(sets: dict[int, Progressions], axis: int, more: Progressions) -> None:
    if more:
        sets[axis] = sets.get(axis, NONE) | more


def _outside(relation: Relation) -> dict[int, Progressions]:
    """The positions of the result, axis by axis, that read beyond the ends of the input."""
    found: dict[int, Progressions] = {}
    for (axis, window, taps, pad), size in zip(
        relation.axes or (), relation.inside, strict=relation.axes is not None
    ):
        if axis is None or window is POINT or window.per > 1 or window.special:
            continue
        positions = np.arange(relation.out[axis])
        ends = positions * window.stride - pad
        last = ends + (taps - 1) * window.dilation
        beyond = (ends < 0) | (last > (size - 1) * window.up)
        _add(found, axis - len(relation.out), Progressions.of(positions[beyond]))
    return found


def equivariance(
    node: Node, wrt: Node | None = None, size: Mapping[str, int] | None = None
) -> Equivariance:
    """Whether a map follows when its image is shifted: by which steps, and except where.

    node: a map (…, H, W). wrt: the image, or any map below; left out, the one that ``node`` depends
    on. size: numbers for symbolic sizes, which the margin needs, and a padding that depends on
    them.

    Convolution and pooling do the same at every position, so a shift of the image by the product
    of the strides shifts the map by one. Read off the ops' ``receptive`` rules; values are not
    looked at. Raises what ``gx.receptive_field`` raises.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 1, 28, 28))
    >>> h = gx.conv2d(x, gx.parameter("w", (8, 1, 5, 5)), padding=2)
    >>> found = gx.equivariance(gx.max_pool2d(gx.relu(h), 2))
    >>> found.period, found.margin, [each.what for each in found.broken_by]
    ((2, 2), (1, 1), ['padding', 'stride'])
    >>> gx.equivariance(gx.flatten(h)).period is None
    True
    """
    survey = Survey.of([checked_node(node, "equivariance")], wrt, size, "equivariance")
    if node not in survey.seen:
        raise independent(node, survey.wrt)
    way, views = survey.way(node), survey.seen[node].views
    found, lost = _breaks(way)
    units = (_period(views, -2), _period(views, -1))
    moves = tuple(_move(view, units) for view in views)
    if not lost:
        lost += [Break(each, "branches") for each in _branches(survey, way)]
    if not lost and [_axis(view) for view in views] == [-1, -2]:
        turning = (edge.user for edge in way.edges if isinstance(edge.rule, Moved))
        lost.append(Break(next(turning), "turned"))
    if not lost and None in moves:
        first = next(edge.user for edge in way.edges if edge.source is way.wrt)
        lost.append(Break(first, "whole map"))
    place = {edge.user: i for i, edge in enumerate(reversed(way.edges))}
    reasons = tuple(sorted([*found, *lost], key=lambda each: place[each.node]))
    if lost:
        return Equivariance(node, way.wrt, None, None, reasons, way)
    period = tuple(move or 0 for move in moves)
    return Equivariance(node, way.wrt, (period[0], period[1]), units, reasons, way)


def _period(views: Views, axis: int) -> int:
    """After how many units along an axis all that they see repeats, moved."""
    tracks = [track for view in views if isinstance(view, tuple) for track in view]
    return math.lcm(*(track.period for track in tracks if track.axis == axis))


def _move(view: View, units: Pair) -> int | None:
    """How far what is seen moves when the unit moves by one period; None where nothing says so."""
    if not isinstance(view, tuple) or len(view) > 1 or view[0].axis < -2:
        return None
    return units[2 + view[0].axis] // view[0].period * view[0].advance


def _axis(view: View) -> int | None:
    return view[0].axis if isinstance(view, tuple) and view[0].advance else None


def _branches(survey: Survey, way: Way) -> list[Node]:
    """The nodes that are reached by ways which move by different amounts."""
    rates: dict[Node, set[object]] = {}
    for edge in reversed(way.edges):
        views = hulls.follow(survey.seen[edge.source].views, edge, survey.sizes)
        rates.setdefault(edge.user, set()).add(tuple(map(_rate, views)))
    return [node for node, found in rates.items() if len(found) > 1]


def _rate(view: View) -> object:
    if not isinstance(view, tuple):
        return type(view)
    return frozenset((track.axis, Fraction(track.advance, track.period)) for track in view)


def _breaks(way: Way) -> tuple[list[Break], list[Break]]:
    """What limits the shifts that are followed; and what ends all following: after it the value
    is no map any more."""
    limits: dict[Break, None] = {}
    ends: dict[Break, None] = {}
    maps = {way.wrt}
    for edge in reversed(way.edges):
        user, source, rule = edge.user, edge.source, edge.rule
        if source not in maps:
            continue
        what = _end(edge)
        if what is not None:
            ends[Break(user, what)] = None
            continue
        maps.add(user)
        if isinstance(rule, Windowed):
            for axis, window in rule.axes:
                if axis >= -2:
                    for limit in _limits(window, user.shape[axis], source.shape[axis], way):
                        limits[Break(user, limit)] = None
    return list(limits), list(ends)


def _end(edge: Edge) -> str | None:
    """Why a user is no map that moves with its source, None where it is one."""
    user, source, rule = edge.user, edge.source, edge.rule
    if isinstance(rule, Reshaped):
        return "flatten" if user.ndim < 3 and source.ndim > 2 else None
    whole = "fully connected" if user.op.name in ("linear", "matmul") else "whole map"
    if isinstance(rule, Everything):
        return whole
    if isinstance(rule, Followed):
        plane = zip(rule.axes[-2:], source.shape[-2:], strict=True)
        return whole if any(axis is None and size != 1 for axis, size in plane) else None
    if isinstance(rule, Windowed):
        for axis, window in rule.axes:
            if axis >= -2 and window.stride < 0:
                return "reversed"
            unmoved = window.stride == 0 or window.special
            if axis >= -2 and unmoved and source.shape[axis] != 1:
                return "whole map"
    return None


def _limits(window: AxisWindow, out: Size, inside: Size, way: Way) -> list[str]:
    """What a window does to shifts along one axis."""
    found = []
    first = window.pad
    last = (
        (out - 1) * window.stride
        + (window.size - 1) * window.dilation
        - window.pad
        - (inside - 1) * window.up
    )
    if _positive(first, way) or _positive(last, way):
        found.append("padding")
    if window.stride > 1:
        found.append("stride")
    return found


def _positive(size: Size, way: Way) -> bool:
    """Whether it can be above 0: a symbolic padding can."""
    try:
        return evaluate(size, way.sizes) > 0
    except KeyError:
        return always_at_least(size, 1) is not False
