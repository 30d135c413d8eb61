"""How far a map follows its image when that is shifted, and what keeps it from doing so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

from graphc.analysis import hulls
from graphc.analysis.way import Way
from graphc.ir import Node
from graphc.ir.dims import Size, always_at_least, evaluate
from graphc.ir.node import describe
from graphc.ir.window import AxisWindow, Everything, Moved, Receptive, Windowed

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
        height, width = (1, 1, *self._way.shape(self.node))[-2:]
        spoiled = [np.zeros(height, bool), np.zeros(width, bool)]

        def look(source: Node, state: hulls.State) -> None:
            for along, extent in zip(state[-2:], self._way.shape(source)[-2:], strict=True):
                if along is not None:
                    outside = [bool(((s < 0) | (s >= extent)).any()) for s in along.sets]
                    spoiled[along.axis] |= outside

        self._way.sweep(range(height), range(width), look=look)
        return _from_border(spoiled[0]), _from_border(spoiled[1])

    def __repr__(self) -> str:
        return f"Equivariance(period={self.period}, broken_by={list(self.broken_by)})"


def _from_border(spoiled: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    """How far from either border a spoiled position stands; all of it where none is left."""
    good = np.flatnonzero(~spoiled)
    return int(max(good[0], len(spoiled) - 1 - good[-1])) if good.size else len(spoiled)


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
    way = Way.of(node, wrt, size)
    found, lost = _breaks(way)
    apart: list[Node] = []
    units = way.periods()

    def join(source: Node, user: Node, before: hulls.State, state: hulls.State) -> None:
        if _moves(before, units) != _moves(state, units):
            apart.append(way.meeting(way.first_user(source), user))

    state = way.sweep(range(units[0] + 1), range(units[1] + 1), join=join)
    moves = _moves((None, None, *state)[-2:], units)
    if not lost:
        lost += [Break(each, "branches") for each in dict.fromkeys(apart)]
    if not lost and _axes(state) == [1, 0]:
        turning = (user for user, _, rule in way.edges if isinstance(rule, Moved))
        lost.append(Break(next(turning), "turned"))
    if not lost and None in moves:
        lost.append(Break(way.first_user(way.wrt), "whole map"))
    place = {each: i for i, (each, _, _) in enumerate(reversed(way.edges))}
    reasons = tuple(sorted([*found, *lost], key=lambda each: place[each.node]))
    if lost:
        return Equivariance(node, way.wrt, None, None, reasons, way)
    period = tuple(move or 0 for move in moves)
    return Equivariance(node, way.wrt, (period[0], period[1]), units, reasons, way)


def _moves(state: Iterable[hulls.Along], units: Pair) -> list[int | None]:
    """How far what is seen along each axis moves when the unit moves by one period."""
    moves: list[int | None] = []
    for along in state:
        ends = [] if along is None else along.ends()
        here, there = (ends[0], ends[units[along.axis]]) if along and ends else (None, None)
        moves.append(None if here is None or there is None else there[0] - here[0])
    return moves


def _axes(state: hulls.State) -> list[int | None]:
    """Along which axis of the target the rows and columns of the image go."""
    return [None if along is None else along.axis for along in state[-2:]]


def _breaks(way: Way) -> tuple[list[Break], list[Break]]:
    """What limits the shifts that are followed; and what ends all following: after it the value
    is no map any more."""
    limits: dict[Break, None] = {}
    ends: dict[Break, None] = {}
    maps = {way.wrt}
    for user, source, rule in reversed(way.edges):
        if source not in maps:
            continue
        what = _end(user, source, rule)
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


def _end(user: Node, source: Node, rule: Receptive) -> str | None:
    """Why ``user`` is no map that moves with ``source``, None where it is one."""
    if user.op.name == "reshape":
        return "flatten" if user.ndim < 3 and source.ndim > 2 else None
    if isinstance(rule, Everything):
        return "fully connected" if user.op.name in ("linear", "matmul") else "whole map"
    if isinstance(rule, Windowed):
        for axis, window in rule.axes:
            if axis >= -2 and window.stride < 0:
                return "reversed"
            if axis >= -2 and window.stride == 0 and source.shape[axis] != 1:
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
