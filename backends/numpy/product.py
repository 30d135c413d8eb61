"""Matrix products: operands read as they lie where their axes allow it, else copied (im2col)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.compiler.plan import At, Call, Dimension, Linear, View, Whole
from graphc.ir.errors import BackendError
from graphc.ir.kernel import Axis, Gemm, Index, Kernel, Load, Phase, Ref, Store
from graphc.ir.node import describe

from .expressions import digits, extent_of, gemm_drop_ones, is_tap, total
from .sweep import KernelSchedule

if TYPE_CHECKING:
    from .schedule import Scheduler


_UNKNOWN = -1  # a buffer is declared when a line reads it, not before


class ProductSchedule:
    """Schedules one Gemm."""

    def __init__(self, owner: Scheduler, step: Gemm) -> None:
        self.owner = owner
        self.step = gemm_drop_ones(step)

    def run(self) -> None:
        """Add the lines of the product."""
        step = self.step
        a = self._operand(step, step.a, (step.m, step.k))
        b = self._operand(step, step.b, (step.k, step.n))
        out = Load(step.out, step.out_index)
        target = self._collapse(out, step.batch, (step.m, step.n))
        if target is not None:
            self.owner.emit(step.node, Call("matmul", (a, b), target, pointwise=False))
            return
        # The result's axes do not lie together: compute it in the order of the product, then copy.
        axes = (*step.batch, *step.m, *step.n)
        shape = tuple(axis.extent for axis in axes)
        ref = Ref(step.node, f"product{len(self.owner.buffers)}", shape, step.a.dtype)
        product = Load(ref, tuple(Index(((axis, 1),)) for axis in axes))
        target = self._collapse(product, step.batch, (step.m, step.n))
        if target is None:
            raise BackendError(f"cannot lay out {describe(step.node)}")
        self.owner.emit(step.node, Call("matmul", (a, b), target, pointwise=False))
        copy = Kernel(step.node, axes, (Phase(stores=(Store(step.out, step.out_index, product),)),))
        KernelSchedule(self.owner, copy).run()

    def _operand(self, step: Gemm, load: Load, groups: tuple[tuple[Axis, ...], ...]) -> View:
        """The operand as (batch…, rows, columns): as it lies, or copied so that it does."""
        found = self._collapse(load, step.batch, groups)
        if found is not None:
            return found
        used = {axis for index in load.index for axis, _ in index.terms}
        batch = tuple(axis for axis in step.batch if axis in used)
        # The innermost axis of the copy should be a long contiguous run, not a tap: the product
        # reads either order equally well.
        inner = groups if not is_tap(load, groups[-1]) else groups[::-1]
        axes = (*batch, *(axis for group in inner for axis in group))
        shape = tuple(axis.extent for axis in axes)
        ref = Ref(step.node, f"operand{len(self.owner.buffers)}", shape, load.dtype)
        where = tuple(Index(((axis, 1),)) for axis in axes)
        copy = Kernel(step.node, axes, (Phase(stores=(Store(ref, where, load),)),))
        KernelSchedule(self.owner, copy).run()
        view = self._collapse(Load(ref, where), step.batch, groups)
        if view is None:
            raise BackendError(f"cannot lay out an operand of {describe(step.node)}")
        return view

    def _collapse(
        self, load: Load, batch: tuple[Axis, ...], groups: tuple[tuple[Axis, ...], ...]
    ) -> View | None:
        found = collapse(load, batch, groups, _UNKNOWN)
        return None if found is None else replace(found, buffer=self.owner.buffer(load.ref))


def collapse(
    load: Load, batch: tuple[Axis, ...], groups: tuple[tuple[Axis, ...], ...], number: int
) -> View | None:
    """``load``, of the buffer ``number``, as one dimension a batch axis and one a group; None
    where it needs a copy."""
    flat: list[Axis] = []
    cut: list[Dimension] = []
    gaps: set[int] = set()  # before which axes one position of many was taken
    for index, size in zip(load.index, load.ref.shape, strict=True):
        if load.fill is not None and not total(index, size):
            return None
        if not index.terms and index.divisor == 1:
            cut.append(At(Linear(index.offset)))
            if size != 1:
                gaps.add(len(flat))
            continue
        axes = digits(index, size)
        if axes is None:
            return None
        flat += axes
        cut.append(Whole())
    lists = [*((axis,) for axis in batch if axis in flat), *groups]
    where = {axis: i for i, axis in enumerate(flat)}
    if sorted(where.values()) != list(range(len(flat))) or set(flat) != {
        axis for group in lists for axis in group
    }:
        return None
    starts: list[tuple[int, int]] = []
    for position, group in enumerate(lists):
        places = [where[axis] for axis in group]
        if places and places != list(range(places[0], places[0] + len(places))):
            return None
        if gaps.intersection(places[1:]):
            return None  # they do not make one stride
        if places:
            starts.append((places[0], position))
    starts.sort()
    shape = tuple(extent_of(lists[position]) for _, position in starts)
    rank = {position: i for i, (_, position) in enumerate(starts)}
    positions = iter(range(len(lists)))
    order: list[int | None] = [rank[next(positions)] if axis in where else None for axis in batch]
    order += [rank.get(position) for position in positions]
    while len(order) > len(groups) and order[0] is None:
        del order[0]  # matmul broadcasts what is not there
    plain = tuple(order) == tuple(range(len(shape)))
    kept = tuple(s for s, d in zip(load.ref.shape, cut, strict=True) if isinstance(d, Whole))
    return View(
        number, tuple(cut),
        None if shape == kept else shape, None if plain else tuple(order),
    )  # fmt: skip
