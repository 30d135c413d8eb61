"""Which elements of an input the elements of an op's result read, and the other way round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from graphc.analysis import regions
from graphc.analysis.progressions import Progressions
from graphc.analysis.regions import Region
from graphc.ir import GraphError, Node
from graphc.ir.dims import evaluate
from graphc.ir.node import describe
from graphc.ir.window import (
    AxisWindow,
    Followed,
    Moved,
    Nothing,
    Receptive,
    Reshaped,
    Windowed,
)

# The values of batch statistics come from the whole batch. They are left out, as in the published
# tables: by them every unit would see everything.
STATISTICS = {"batch_norm": (3, 4)}
POINT = AxisWindow()
# The one position of an axis of size 1, wherever the unit is.
BROADCAST = AxisWindow(stride=0)
# For each input axis: the output axis that it is read along (from the left), or None for all of it.
Links: TypeAlias = tuple[tuple[int | None, AxisWindow], ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """``user`` reads ``source``, its input number ``position``, by ``rule``."""

    user: Node
    position: int
    source: Node
    rule: Receptive


def edges(node: Node) -> list[Edge]:
    """The inputs that a receptive field follows, each by its rule."""
    left_out = STATISTICS.get(node.op.name, ())
    return [
        Edge(node, position, source, rule)
        for position, (source, rule) in enumerate(
            zip(node.inputs, node.op.receptive(node), strict=True)
        )
        if position not in left_out and not isinstance(rule, Nothing)
    ]


def links(edge: Edge) -> Links | None:
    """How the axes of the source follow those of the user; None: it is another shape of it."""
    node, source, rule = edge.user, edge.source, edge.rule
    ndim = source.ndim
    if isinstance(rule, Reshaped):
        return None
    if isinstance(rule, Moved):
        return tuple((rule.axes.index(axis), POINT) for axis in range(ndim))
    if isinstance(rule, Followed):
        found = [(axis, POINT) for axis in rule.axes]
    elif isinstance(rule, Windowed):
        shift = node.ndim - ndim
        windows = dict(rule.axes)
        found = [
            (axis + shift if axis + shift >= 0 else None, windows.get(axis - ndim, POINT))
            for axis in range(ndim)
        ]
    else:
        found = [(None, POINT)] * ndim
    for axis, (user_axis, window) in enumerate(found):
        if user_axis is None:
            continue
        size = source.shape[axis]
        if size == 1 and window is POINT and node.shape[user_axis] != 1:
            found[axis] = (None, BROADCAST)
        elif window.stride == 0 and window.size == size:
            found[axis] = (None, POINT)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Relation:
    """An edge at given sizes: which elements belong together."""

    out: tuple[int, ...]
    inside: tuple[int, ...]
    axes: tuple[tuple[int | None, AxisWindow, int, int], ...] | None  # with taps and pad

    @staticmethod
    def of(edge: Edge, sizes: Mapping[str, int]) -> Relation:
        """The relation of ``edge``. Raises KeyError for a size that is not given, GraphError for
        sizes that the graph does not work at."""
        out, inside = edge.user.type.concrete(sizes), edge.source.type.concrete(sizes)
        found = links(edge)
        if found is None:
            # At N = 1 a batch that is cut in three has no element left to tell the axes by.
            if not math.prod(out) == math.prod(inside) > 0:
                at = ", ".join(f"{name}={size}" for name, size in sizes.items())
                raise GraphError(
                    f"the graph does not work at {at}: {list(inside)} cannot take the shape "
                    f"{list(out)} in\n  {describe(edge.user)}\n  to fix: give sizes at which it "
                    "does, size={'N': …}",
                    nodes=[edge.user],
                )
            return Relation(out, inside, None)
        axes = tuple(
            (axis, window, evaluate(window.size, sizes), evaluate(window.pad, sizes))
            for axis, window in found
        )
        return Relation(out, inside, axes)

    def back(self, seen: Region, *, clip: bool = True) -> Region:
        """What the elements ``seen`` of the result read of the input.

        Without ``clip`` as if both went on for ever on all sides, but where ``ends`` says no.
        """
        if self.axes is None:
            return regions.reshaped(seen, self.out, self.inside)
        found = []
        for each in seen:
            sets = []
            for (axis, window, taps, pad), size in zip(self.axes, self.inside, strict=True):
                if axis is None:
                    sets.append(Progressions.span(0, size - 1))
                    continue
                read = each[axis] if window is POINT else look(each[axis], window, taps, pad, size)
                low = 0 if clip or window.ends[0] else None
                high = size - 1 if clip or window.ends[1] else None
                sets.append(read.clip(low, high))
            found.append(tuple(sets))
        return regions.region(found)

    def forth(self, given: Region) -> Region:
        """Which elements of the result read any of the elements ``given`` of the input."""
        if self.axes is None:
            return regions.reshaped(given, self.inside, self.out)
        found = []
        for each in given:
            sets = list(regions.whole(self.out))
            for (axis, window, taps, pad), positions in zip(self.axes, each, strict=True):
                if axis is None:
                    continue
                size = self.out[axis]
                turned, pad = _reversed(window, taps, pad)
                count = turned.size if isinstance(turned.size, int) else taps
                sets[axis] = look(positions, turned, count, pad, size).clip(0, size - 1)
            found.append(tuple(sets))
        return regions.region(found)


def look(
    positions: Progressions, window: AxisWindow, taps: int, pad: int, size: int
) -> Progressions:
    """What positions read along an axis of this size, beyond its ends too."""
    if not positions:
        return positions
    if window.through:
        first, last = (0, positions.last) if window.through < 0 else (positions.first, size - 1)
        return Progressions.span(first, last)
    if window.listed:
        listed = window.listed
        inside = positions.clip(0, len(listed) - 1)
        return Progressions.of([q for o in inside for q in listed[o]])
    return positions.window(window, taps, pad)


def _reversed(window: AxisWindow, taps: int, pad: int) -> tuple[AxisWindow, int]:
    """The window by which an input position is read: o·s + t·d - p = q·up, solved for o."""
    if window.through:
        return replace(window, through=-window.through), 0
    if window.listed:
        count = 1 + max((q for row in window.listed for q in row), default=0)
        rows: list[list[int]] = [[] for _ in range(count)]
        for o, row in enumerate(window.listed):
            for q in row:
                rows[q].append(o)
        return replace(window, listed=tuple(map(tuple, rows))), 0
    if window.per > 1:  # blocks of the result read blocks of the input, as groups of channels do
        return AxisWindow(window.per, stride=window.per, per=taps), 0
    turned = replace(window, size=taps, stride=window.up, up=abs(window.stride))
    if window.stride < 0:
        return replace(turned, stride=-window.up), pad
    return turned, (taps - 1) * window.dilation - pad


def concrete(edges_: Sequence[Edge], sizes: Mapping[str, int]) -> list[Relation]:
    """The relations of these edges."""
    return [Relation.of(edge, sizes) for edge in edges_]
