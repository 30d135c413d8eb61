"""What runs as one launch: descriptions are inlined into what reads them, joined with what works on
the same points, and put side by side.

Every rewrite keeps each element's own sum and order of operations: values do not change by fusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.compiler.lower import reads as step_reads
from graphc.compiler.lower import writes as step_writes

from ...ir.dims import Size, always_at_least
from ...ir.kernel import (
    Acc,
    Alias,
    Axis,
    Expr,
    Gemm,
    Index,
    Kernel,
    Load,
    Phase,
    Ref,
    Step,
    Store,
    index,
)  # fmt: skip
from ..numpy.expressions import gemm_drop_ones
from .cost import Products
from .inline import inline, replace_loads, without_ones
from .merge import join, prune
from .segments import Product, extent, segment_loads, segment_reads, segment_writes

# A launch takes so many arguments at most: its parameters must fit 4 KB.
MOST_ARGUMENTS = 400
MOST_SEGMENTS = 48
SMALL = 1 << 18  # points; below, a kernel leaves most of a device idle


@dataclass(frozen=True)
class Work:
    """Descriptions that run as one launch (or one alias, one routine, one library product)."""

    steps: tuple[Step | Product, ...]
    late: bool = False  # ends in a variable, or depends on what does

    def reads(self) -> set[Ref]:
        """The buffers read."""
        return {ref for step in self.steps for ref in reads(step)}

    def writes(self) -> set[Ref]:
        """The buffers written."""
        return {ref for step in self.steps for ref in writes(step)}


def reads(step: Step | Product) -> tuple[Ref, ...]:
    """The buffers that a step reads."""
    return segment_reads(step) if isinstance(step, (Kernel, Product)) else step_reads(step)


def writes(step: Step | Product) -> tuple[Ref, ...]:
    """The buffers that a step writes."""
    return segment_writes(step) if isinstance(step, (Kernel, Product)) else step_writes(step)


def fuse(
    steps: Sequence[Step], kept: set[Ref], updates: set[Ref], products: Products, *, fused: bool
) -> list[Work]:
    """The work of a graph, in order. kept: what must be there at the end; updates: what ends in a
    variable, and so must come after all else. fused: False leaves each description alone."""
    found = [part for step in steps for part in _cut(step, products)]
    if fused:
        found = inline(_without_aliases(found), kept, products)
    found = _live(found, kept)
    late = _late(found, updates)
    if not fused:
        return [Work((step,), step_late) for step, step_late in zip(found, late, strict=True)]
    joined = join(found, late, kept, products)
    work = [Work((step,), step_late) for step, step_late in joined]
    return _side_by_side(work, products)


# -- products -------------------------------------------------------------------------------------


def _cut(step: Step, products: Products) -> list[Step | Product]:
    """A product as the kernel that computes it, or left to cuBLAS."""
    if isinstance(step, Kernel):
        return [without_ones(step)]
    if not isinstance(step, Gemm):
        return [step]
    gemm = gemm_drop_ones(step)
    if products.choose(gemm):
        return [gemm]
    in_a = {axis for where in gemm.a.index for axis, _ in where.terms}
    in_b = {axis for where in gemm.b.index for axis, _ in where.terms}
    # An axis that only one operand has is one more row or column: the other is loaded once for all.
    rows = tuple(axis for axis in gemm.batch if axis not in in_b and axis in in_a)
    columns = tuple(axis for axis in gemm.batch if axis not in in_a)
    rest = tuple(axis for axis in gemm.batch if axis not in rows and axis not in columns)
    gemm = replace(gemm, batch=rest, m=(*rows, *gemm.m), n=(*columns, *gemm.n))
    tile, parts = products.tile(gemm)
    if parts == 1:
        store = Store(gemm.out, gemm.out_index, Load(gemm.out, gemm.out_index))
        return [Product(gemm, (store,), tile)]
    # The sum in parts, and the parts in their order.
    part = Axis("part", parts)
    partial = Ref(gemm.node, f"{gemm.out.what} in parts", (parts, *gemm.out.shape), gemm.out.dtype)
    store = Store(partial, (index(part), *gemm.out_index), Load(gemm.out, gemm.out_index))
    axes = tuple(Axis(f"n{i}", size) for i, size in enumerate(gemm.out.shape))
    where = tuple(map(index, axes))
    total = Acc("sum", Load(partial, (index(part), *where)), gemm.out.dtype)
    added = Kernel(
        gemm.node, axes,
        (Phase((part,), (total,)), Phase(stores=(Store(gemm.out, where, total),))),
    )  # fmt: skip
    return [Product(gemm, (store,), tile, parts, part), without_ones(added)]


# -- aliases --------------------------------------------------------------------------------------


def _without_aliases(steps: Sequence[Step | Product]) -> list[Step | Product]:
    """Loads of another shape of a buffer are loads of the buffer, where a map can say which."""
    source: dict[Ref, Ref] = {}
    found: list[Step | Product] = []
    for step in steps:
        if isinstance(step, Alias):
            source[step.out] = step.source
        if isinstance(step, Kernel):
            known: dict[Load, Expr] = {}
            for load in segment_loads(step):
                new = load
                while new.ref in source:
                    moved = _reshaped(new, source[new.ref])
                    if moved is None:
                        break
                    new = moved
                if new is not load:
                    known[load] = new
            if known:
                step = replace_loads(step, known)
        found.append(step)
    return found


def _reshaped(load: Load, ref: Ref) -> Load | None:
    """The same element, in a buffer of another shape with its elements in the same order: each of
    its dimensions must be a run of the load's."""
    where: list[Index] = []
    place = 0
    shape = load.ref.shape
    masked = load.fill is not None
    for size in ref.shape:
        # Dimensions of one element in between are no dimensions, if nothing can be outside them.
        total: Size = 1
        run: list[int] = []
        while total != size or (size == 1 and not run and place < len(shape) and shape[place] == 1):
            if place >= len(shape):
                return None
            run.append(place)
            total = total * shape[place]
            place += 1
            if not always_at_least(size - total, 0):
                return None
        merged = Index()
        for d in run:
            extent_after: Size = 1
            for later in run[run.index(d) + 1 :]:
                extent_after = extent_after * shape[later]
            if not isinstance(extent_after, int):
                return None
            if masked and len(run) > 1:
                return None
            if load.index[d].divisor != 1 and len(run) > 1:
                return None
            merged = load.index[d] if len(run) == 1 else merged + load.index[d] * extent_after
        where.append(merged)
    if any(size != 1 or (masked and load.index[d] != Index()) for d, size in enumerate(shape)
           if d >= place):  # fmt: skip
        return None
    return Load(ref, tuple(where), load.fill)


def _live(steps: Sequence[Step | Product], kept: set[Ref]) -> list[Step | Product]:
    """Without what nothing reads any more, and without the stores of it."""
    needed = set(kept)
    found: list[Step | Product] = []
    for step in reversed(steps):
        written = writes(step)
        if written and not needed.intersection(written):
            continue
        if isinstance(step, Kernel):
            step = prune(step, needed)
        found.append(step)
        needed.update(reads(step))
    return found[::-1]


def _late(steps: Sequence[Step | Product], updates: set[Ref]) -> list[bool]:
    after: set[Ref] = set()
    found = []
    for step in steps:
        late = bool(updates.intersection(writes(step)) or after.intersection(reads(step)))
        if late:
            after.update(writes(step))
        found.append(late)
    return found


# -- side by side ---------------------------------------------------------------------------------


def _side_by_side(work: Sequence[Work], products: Products) -> list[Work]:
    """Small kernels that need nothing of each other in one launch, at the place of the first."""
    found: list[Work] = []
    written_at: dict[Ref, int] = {}
    for piece in work:
        place = len(found)
        if _packs(piece, products):
            ready = max((written_at.get(ref, -1) for ref in piece.reads()), default=-1) + 1
            for at in range(ready, len(found)):
                if _together(found[at], piece, products):
                    place = at
                    break
        if place < len(found):
            found[place] = replace(found[place], steps=(*found[place].steps, *piece.steps))
        else:
            found.append(piece)
        for ref in piece.writes():
            written_at[ref] = max(place, written_at.get(ref, -1))
    return found


def _packs(piece: Work, products: Products) -> bool:
    return all(
        isinstance(step, Kernel) and (piece.late or products.size(extent(step.parallel)) <= SMALL)
        for step in piece.steps
    )


def _together(first: Work, second: Work, products: Products) -> bool:
    if first.late != second.late or not _packs(first, products):
        return False
    if first.writes() & second.reads() or first.writes() & second.writes():
        return False
    arguments = first.reads() | first.writes() | second.reads() | second.writes()
    count = len(first.steps) + len(second.steps)
    return len(arguments) <= MOST_ARGUMENTS and count <= MOST_SEGMENTS


__all__ = ["Work", "fuse", "reads", "writes"]
