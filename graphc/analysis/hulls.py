"""Receptive fields on maps that go on for ever: sets of positions for each axis of each node.

An axis of a node is described by the positions that a few units of the target see along it
(``Positions``), or by None: all of it. Borders play no part, so what is found is periodic in the
unit, which gives size, stride and padding their meaning (Araujo, Norris and Sim, Distill 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphc.ir import Node
from graphc.ir.dims import Size, evaluate
from graphc.ir.window import AxisWindow, Moved, Receptive, Windowed

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
# A reshape that splits an axis into larger pieces than this is no upsampling: it flattens.
LARGEST_PIECE = 64


@dataclass(frozen=True)
class Positions:
    """What each unit sees along an axis.

    ``axis`` is the axis of the target that the units count along (0 rows, 1 columns); one set a
    unit; after ``period`` units the sets repeat, moved.
    """

    axis: int
    sets: tuple[Numbers, ...]
    period: int = 1

    def map(self, function: Callable[[Numbers], Numbers], factor: int = 1) -> Positions:
        """The sets after ``function``; ``factor`` more phases."""
        sets = tuple(np.unique(function(each)) for each in self.sets)
        return Positions(self.axis, sets, self.period * factor)

    def ends(self) -> list[tuple[int, int] | None]:
        """First and last position of each set, None for one that is empty."""
        return [(int(s[0]), int(s[-1])) if s.size else None for s in self.sets]


Along: TypeAlias = "Positions | None"
State: TypeAlias = "tuple[Along, ...]"


def start(ndim: int, rows: Sequence[int], columns: Sequence[int]) -> State:
    """The target itself: the units ``rows`` and ``columns`` of its last two axes."""
    units = [
        Positions(axis, tuple(np.array([u]) for u in each))
        for axis, each in ((0, rows), (1, columns))
    ]
    return (None,) * (ndim - 2) + tuple(units[2 - min(ndim, 2) :])


def back(
    state: State, node: Node, source: Node, rule: Receptive, sizes: Mapping[str, int]
) -> State:
    """What the units see of ``source`` by what they see of ``node``, which reads it by ``rule``."""
    if node.op.name == "reshape" and node.shape[-2:] != source.shape[-2:] and node.ndim > 2:
        return _reshaped(state, node.type.concrete(sizes), source.type.concrete(sizes))
    if isinstance(rule, Moved):
        return tuple(state[rule.axes.index(axis)] for axis in range(len(state)))
    if not isinstance(rule, Windowed):
        return (None,) * source.ndim
    listed = dict(rule.axes)
    found: list[Along] = []
    for axis in range(-source.ndim, 0):
        # Where leading axes were reduced, those that are left do not correspond.
        known = -axis <= node.ndim and (axis >= -2 or source.ndim <= node.ndim)
        along = state[axis] if known else None
        if along is not None:
            size = source.shape[axis]
            if axis in listed:
                along = _window(along, listed[axis], size, sizes)
            elif size == 1 and node.shape[axis] != 1:  # broadcast
                along = along.map(lambda s: s[:1] * 0)
        found.append(along)
    return tuple(found)


def _window(along: Positions, window: AxisWindow, size: Size, sizes: Mapping[str, int]) -> Along:
    if window.stride == 0 and window.size == size:
        return None
    reach = evaluate(window.size, sizes)
    taps = np.arange(reach) * window.dilation - evaluate(window.pad, sizes)

    def read(positions: Numbers) -> Numbers:
        at: Numbers = (positions[:, None] * window.stride + taps).ravel()
        whole: Numbers = at[at % window.up == 0] // window.up
        return whole

    return along.map(read, window.up)


def _reshaped(state: State, out: tuple[int, ...], inside: tuple[int, ...]) -> State:
    """Axes that are split or merged (upsampling does both), group by group of equal products."""
    found: list[Along] = [None] * len(inside)
    i = j = 0
    while i < len(inside) or j < len(out):
        first_in, first_out = i, j
        i, j = i + 1, j + 1
        while math.prod(inside[first_in:i]) != math.prod(out[first_out:j]):
            if math.prod(inside[first_in:i]) < math.prod(out[first_out:j]):
                i += 1
            else:
                j += 1
        # An axis of one position says nothing.
        ins = [axis for axis in range(first_in, min(i, len(inside))) if inside[axis] > 1]
        outs = [axis for axis in range(first_out, min(j, len(out))) if out[axis] > 1]
        _group(state, out, outs, inside, ins, found)
    return tuple(found)


def _group(
    state: State,
    out: tuple[int, ...],
    outs: Sequence[int],
    inside: tuple[int, ...],
    ins: Sequence[int],
    found: list[Along],
) -> None:
    """Fill in the axes ``ins`` from the axes ``outs``, which hold the same elements."""
    seen = [each for axis in outs if (each := state[axis]) is not None]
    if not outs or len(seen) < len(outs) or len({each.axis for each in seen}) > 1:
        return
    inner = [math.prod(inside[a] for a in ins[k + 1 :]) for k in range(len(ins))]
    if inner[0] > LARGEST_PIECE:
        return
    steps = [math.prod(out[a] for a in outs[k + 1 :]) for k in range(len(outs))]
    sets = []
    for parts in zip(*(each.sets for each in seen), strict=True):
        flat = np.zeros(1, np.int64)
        for part, step in zip(parts, steps, strict=True):
            flat = (flat[:, None] + part * step).ravel()
        sets.append(flat)
    whole = Positions(seen[0].axis, tuple(sets), math.lcm(*(each.period for each in seen)))
    for k, axis in enumerate(ins):
        # The first axis goes on for ever, like the map.
        found[axis] = whole.map(_piece(inner[k], inside[axis] if k else None), inner[0])


def _piece(inner: int, extent: int | None) -> Callable[[Numbers], Numbers]:
    """The index along one of the axes that a flat index is split into."""

    def piece(flat: Numbers) -> Numbers:
        return flat // inner if extent is None else flat // inner % extent

    return piece


def join(one: State, other: State) -> State:
    """What is seen by either of two ways."""
    return tuple(_join(a, b) for a, b in zip(one, other, strict=True))


def _join(one: Along, other: Along) -> Along:
    if one is None or other is None or one.axis != other.axis:
        return None
    sets = tuple(np.union1d(a, b) for a, b in zip(one.sets, other.sets, strict=True))
    return Positions(one.axis, sets, math.lcm(one.period, other.period))


def same_centres(one: State, other: State, node: Node) -> bool:
    """Whether two ways to ``node`` are centred on the same positions, for every unit.

    Equal strides and equal centres are the same as equal centres of every unit.
    """
    for a, b, size in zip(one, other, node.shape, strict=True):
        if size == 1 or (a is None and b is None):
            continue
        if a is None or b is None or a.axis != b.axis:
            return False
        for p, q in zip(a.ends(), b.ends(), strict=True):
            if p is not None and q is not None and sum(p) != sum(q):
                return False
    return True
