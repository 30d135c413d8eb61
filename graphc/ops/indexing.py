"""``x[…]``: basic indexing of nodes, as slices, flips and reshapes."""

from __future__ import annotations

import operator
from typing import Any

from graphc.ir.check import Check
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import GraphError
from graphc.ir.node import OPERATORS, Node, make
from graphc.ops.shape import Slice, flip, reshape


def getitem(x: Node, index: Any) -> Node:
    """``x[index]``: ints, slices (with steps), ``...`` and None, as NumPy reads them.

    On an axis whose size is an int, slices clamp as NumPy's do; on a symbolic one they must end
    within it, which is a guard. Raises ShapeError for an empty result or an index out of range,
    GraphError for an index that is none of these.
    """
    entries = list(index) if isinstance(index, tuple) else [index]
    used = sum(entry is not None and entry is not Ellipsis for entry in entries)
    check = Check(Slice((), ()), (x,))
    check.require(used <= x.ndim, f"{used} indices, and x has {x.ndim} axes")
    if sum(entry is Ellipsis for entry in entries) > 1:
        check.fail("two '...' in one index", error=GraphError)
    whole = [slice(None)] * (x.ndim - used)
    at = next((i for i, entry in enumerate(entries) if entry is Ellipsis), len(entries))
    entries[at : at + 1] = whole

    cuts: list[tuple[Size, Size, int]] = []
    shape: list[Size] = []
    reversed_axes: list[int] = []
    for entry in entries:
        if entry is None:
            shape.append(1)
            continue
        axis = len(cuts)
        if isinstance(entry, slice):
            start, size, step = _range(check, entry, x.shape[axis], axis)
            if step < 0:
                reversed_axes.append(axis)
            cuts.append((start, size, abs(step)))
            shape.append(size)
        else:
            cuts.append((_position(check, entry, x.shape[axis], axis), 1, 1))
    if reversed_axes:
        x = flip(x, tuple(reversed_axes))
    return reshape(_cut(x, cuts), tuple(shape))


def _cut(x: Node, cuts: list[tuple[Size, Size, int]]) -> Node:
    """The slice, or x where it takes everything."""
    if all(
        start == 0 and size == n and step == 1
        for n, (start, size, step) in zip(x.shape, cuts, strict=True)
    ):
        return x
    starts, sizes, steps = zip(*cuts, strict=True)
    return make(Slice(starts, sizes, steps if any(step > 1 for step in steps) else ()), x)


def _position(check: Check, entry: Any, extent: Size, axis: int) -> Size:
    """The element that an int means."""
    try:
        if isinstance(entry, bool):
            raise TypeError
        number = operator.index(entry)
    except TypeError:
        what = f"a {type(entry).__name__}"
        check.fail(
            f"{what} is not an index of axis {axis}",
            fix="ints, slices, ... and None index a node; gx.where chooses by condition",
            error=GraphError,
        )
    if isinstance(extent, int) and not -extent <= number < extent:
        check.fail(f"there is no element {number} on axis {axis}, which has {extent}")
    return number if number >= 0 else extent + number


def _range(check: Check, entry: slice, extent: Size, axis: int) -> tuple[Size, Size, int]:
    """Start, size and step; where the step is negative, of the reversed axis."""
    begin, end, step = (_bound(check, p, axis) for p in (entry.start, entry.stop, entry.step))
    step = 1 if step is None else step
    if not isinstance(step, int) or step == 0:
        check.fail(f"a slice steps by an int that is not 0, not by {step} (axis {axis})")
    start: Size
    stop: Size
    if isinstance(extent, int) and not isinstance(begin, Dim) and not isinstance(end, Dim):
        start, stop, _ = slice(begin, end, step).indices(extent)  # NumPy's clamping
    else:
        first, last = (0, extent) if step > 0 else (extent - 1, -1)
        start = first if begin is None else _from_end(begin, extent)
        stop = last if end is None else _from_end(end, extent)
    if step < 0:
        start, stop = extent - 1 - start, extent - 1 - stop
    return start, (stop - start + abs(step) - 1) // abs(step), step


def _bound(check: Check, part: Any, axis: int) -> Size | None:
    """A part of a slice: an int (NumPy's too), a size, or None."""
    if part is None or isinstance(part, Dim):
        return part
    try:
        return operator.index(part)
    except TypeError:
        check.fail(f"a slice takes ints, not {part!r} (axis {axis})", error=GraphError)


def _from_end(bound: Size, extent: Size) -> Size:
    """A bound as a position: negative ints count from the end."""
    return extent + bound if isinstance(bound, int) and bound < 0 else bound


OPERATORS["slice"] = getitem
