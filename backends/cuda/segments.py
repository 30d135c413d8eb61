"""What one launch does: kernels side by side, each on blocks of its own, and how each is spread
over threads. One record beside each description; the printer decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import dims
from ...ir.dims import Size, names
from ...ir.kernel import Acc, Apply, Axis, Count, Expr, Gemm, Kernel, Load, Ref, Routine, Store
from .schedule import NARROW, index_reach, magnitude, most

BLOCK = 256  # threads a block, of every launch
WARP = 32
MOST_BLOCKS = 65_536


@dataclass(frozen=True, slots=True)
class Tile:
    """How a matrix product is cut: ``rows`` × ``columns`` of the result a block, ``depth`` of the
    sum at a time; each thread has ``down`` × ``across`` of the result."""

    rows: int
    columns: int
    depth: int
    down: int
    across: int


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product computed by tiles, and what is stored of each element of it.

    ``gemm``: its axes, those of ``batch`` walked block by block. ``stores``: functions of the
    element, which they name as the load of ``gemm.out`` at ``gemm.out_index``. ``parts``: into how
    many pieces the sum is cut; ``partial`` is then where they go, (parts, batch…, m…, n…).
    """

    gemm: Gemm
    stores: tuple[Store, ...]
    tile: Tile
    parts: int = 1
    part: Axis | None = None

    def element(self) -> Load:
        """An element of the result, as ``stores`` name it."""
        return Load(self.gemm.out, self.gemm.out_index)


@dataclass(frozen=True, slots=True)
class Segment:
    """A description on a part of a launch's blocks. ``team``: threads for each point of a kernel's
    parallel axes, 1, 32 or a block."""

    step: Kernel | Product | Routine
    team: int = 1

    def points(self) -> Size:
        """What the blocks divide among them."""
        match self.step:
            case Kernel():
                return extent(self.step.parallel)
            case Product():
                return extent(self.step.gemm.batch)
            case Routine():
                return routine_points(self.step)

    def blocks(self, sizes: Mapping[str, int]) -> int:
        """How many blocks to launch."""
        points = dims.evaluate(self.points(), sizes)
        if isinstance(self.step, Product):
            gemm, tile = self.step.gemm, self.step.tile
            down = -(-dims.evaluate(extent(gemm.m), sizes) // tile.rows)
            across = -(-dims.evaluate(extent(gemm.n), sizes) // tile.columns)
            return max(1, points * down * across * self.step.parts)
        return max(1, min(-(-points * self.team // BLOCK), MOST_BLOCKS))


@dataclass(frozen=True, eq=False)
class Launch:
    """Segments side by side. ``uniform``: buffers that are never there: their elements are random
    numbers, made where they are read, of (routine: its seed and step)."""

    segments: tuple[Segment, ...]
    uniform: Mapping[Ref, Routine] = field(default_factory=dict)

    def reads(self) -> tuple[Ref, ...]:
        """The buffers read, each once, in order."""
        found: dict[Ref, None] = {}
        for segment in self.segments:
            for ref in segment_reads(segment.step):
                if ref in self.uniform:
                    found.update(dict.fromkeys(self.uniform[ref].inputs))
                else:
                    found[ref] = None
        return tuple(found)

    def writes(self) -> tuple[Ref, ...]:
        """The buffers written, each once, in order."""
        return tuple(dict.fromkeys(r for s in self.segments for r in segment_writes(s.step)))

    def sizes(self) -> tuple[str, ...]:
        """The named dimensions that the text mentions."""
        found: list[Size] = []
        for segment in self.segments:
            found += segment_sizes(segment.step)
        found += [size for ref in (*self.reads(), *self.writes()) for size in ref.shape]
        for ref in self.uniform:
            found += ref.shape
        return tuple(sorted(names(found)))

    def wide(self, largest: Mapping[str, int]) -> bool:
        """Whether an index may not fit 32 bits at sizes up to ``largest``."""
        return any(reach(segment.step, largest) > NARROW for segment in self.segments)

    def bounds(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Where each segment's blocks end; the last is the grid."""
        total, found = 0, []
        for segment in self.segments:
            total += segment.blocks(sizes)
            found.append(total)
        return tuple(found)


def extent(axes: Sequence[Axis]) -> Size:
    """How many points the axes have."""
    return math.prod((axis.extent for axis in axes), start=1)


def routine_points(step: Routine) -> Size:
    """What a routine gives a thread each."""
    shape = (step.out or step.inputs[0]).shape
    if step.name == "cumsum":
        axis = dict(step.attributes)["axis"]
        return math.prod(shape[:axis], start=1) * math.prod(shape[axis + 1 :], start=1)
    return math.prod(shape, start=1)


# -- walking --------------------------------------------------------------------------------------


def roots(step: Kernel | Product | Routine) -> Iterator[Expr]:
    """The expressions that a step evaluates."""
    match step:
        case Kernel():
            for phase in step.phases:
                yield from phase.accs
                yield from (store.expr for store in phase.stores)
        case Product():
            yield step.gemm.a
            yield step.gemm.b
            yield from (store.expr for store in step.stores)


def walk(found: Iterable[Expr]) -> Iterator[Expr]:
    """Every expression object once."""
    seen: set[int] = set()
    stack = list(found)[::-1]
    while stack:
        expr = stack.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        yield expr
        if isinstance(expr, Apply):
            stack += expr.args[::-1]
        elif isinstance(expr, Acc):
            stack.append(expr.expr)


def segment_loads(step: Kernel | Product | Routine) -> list[Load]:
    """Every load, but that of a product's own element."""
    own = step.element() if isinstance(step, Product) else None
    return [e for e in walk(roots(step)) if isinstance(e, Load) and e != own]


def segment_stores(step: Kernel | Product | Routine) -> list[Store]:
    """Every store."""
    match step:
        case Kernel():
            return [store for phase in step.phases for store in phase.stores]
        case Product():
            return list(step.stores)
    return []


def accesses(step: Kernel | Product | Routine) -> list[Load | Store]:
    """Every load, then every store."""
    return [*segment_loads(step), *segment_stores(step)]


def segment_reads(step: Kernel | Product | Routine) -> tuple[Ref, ...]:
    """The buffers read, in order."""
    if isinstance(step, Routine):
        return step.inputs
    return tuple(dict.fromkeys(load.ref for load in segment_loads(step)))


def segment_writes(step: Kernel | Product | Routine) -> tuple[Ref, ...]:
    """The buffers written, in order."""
    if isinstance(step, Routine):
        return () if step.out is None else (step.out,)
    return tuple(dict.fromkeys(store.ref for store in segment_stores(step)))


def segment_axes(step: Kernel | Product | Routine) -> list[Axis]:
    """Every axis that it walks."""
    match step:
        case Kernel():
            return [*step.parallel, *(axis for phase in step.phases for axis in phase.over)]
        case Product():
            gemm = step.gemm
            return [*gemm.batch, *gemm.m, *gemm.n, *gemm.k]
    return []


def segment_sizes(step: Kernel | Product | Routine) -> list[Size]:
    """Every size that its text may mention, but the shapes of buffers."""
    found: list[Size] = [axis.extent for axis in segment_axes(step)]
    found += [e.size for e in walk(roots(step)) if isinstance(e, Count)]
    for access in accesses(step):
        found += [where.offset for where in access.index]
    return found


def reach(step: Kernel | Product | Routine, largest: Mapping[str, int]) -> int:
    """A number that no size, index, address or part of one exceeds."""
    bounds = [1]
    match step:
        case Kernel():
            points = most(extent(step.parallel), largest)
            bounds += [points * BLOCK if any(p.over for p in step.phases) else points]
            bounds += [most(extent(phase.over), largest) for phase in step.phases]
        case Product():
            gemm = step.gemm
            bounds += [most(extent(g), largest) + 256 for g in (gemm.batch, gemm.m, gemm.n, gemm.k)]
            bounds.append(most(extent((*gemm.m, *gemm.n, *gemm.batch)), largest))
    bounds += [magnitude(e.size, largest) for e in walk(roots(step)) if isinstance(e, Count)]
    for ref in (*segment_reads(step), *segment_writes(step)):
        bounds.append(most(math.prod(ref.shape, start=1), largest))
    for access in accesses(step):
        shape = access.ref.shape
        strides = [most(math.prod(shape[d + 1 :], start=1), largest) for d in range(len(shape))]
        for where, size in zip(access.index, shape, strict=True):
            bounds.append(most(size * where.divisor, largest))
        reaches = [index_reach(where, largest) for where in access.index]
        bounds.append(sum(r * s for r, s in zip(reaches, strides, strict=True)))
    return max(bounds)
