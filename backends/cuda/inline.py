"""Inlining: what is one expression per element is computed where it is read, if that moves less."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.compiler.lower import reads as step_reads

from ...ir.dims import Size
from ...ir.kernel import (
    Acc,
    Apply,
    Axis,
    Const,
    Expr,
    Index,
    Kernel,
    Load,
    Phase,
    Position,
    Ref,
    Routine,
    Step,
    Store,
)  # fmt: skip
from .cost import Products
from .segments import Product, extent, segment_loads, segment_reads

_HEAVY = frozenset({"exp", "log", "pow", "tanh", "sigmoid", "erf", "sin", "cos", "expm1", "log1p"})
LARGEST = 96  # operations of one expression
WINDOW = 2  # operations that may be repeated for every tap of a window


class NotAffine(Exception):
    """An index that no map can say."""


def substitute(expr: Expr, mapping: dict[Axis, Index], known: dict[Load, Expr]) -> Expr:
    """``expr`` with its axes replaced, and the loads of ``known`` (after that) by what they load.
    Reductions are renamed inside too. Raises NotAffine."""
    memo: dict[int, tuple[Expr, Expr]] = {}

    def rebuild(e: Expr) -> Expr:
        found = memo.get(id(e))
        if found is not None:
            return found[1]
        new: Expr = e
        match e:
            case Load():
                new = Load(e.ref, tuple(composed(where, mapping) for where in e.index), e.fill)
                new = known.get(new, new)
            case Position() if e.axis in mapping:
                where = mapping[e.axis]
                if where.divisor != 1 or not _plain_or_constant(where):
                    raise NotAffine
                if where.terms:
                    new = Position(where.terms[0][0], e.dtype)
                elif isinstance(where.offset, int):
                    new = Const(where.offset, e.dtype)
                else:
                    raise NotAffine
            case Apply():
                new = Apply(e.op, tuple(map(rebuild, e.args)), e.dtype)
            case Acc():
                new = Acc(e.monoid, rebuild(e.expr), e.dtype)
        memo[id(e)] = e, new
        return new

    return rebuild(expr)


def _plain_or_constant(where: Index) -> bool:
    if not where.terms:
        return True
    return len(where.terms) == 1 and where.terms[0][1] == 1 and where.offset == 0


def composed(where: Index, mapping: dict[Axis, Index]) -> Index:
    """An index with its axes replaced."""
    if not any(axis in mapping for axis, _ in where.terms):
        return where
    total = Index((), where.offset)
    for axis, coefficient in where.terms:
        image = mapping.get(axis, Index(((axis, 1),)))
        if image.divisor != 1:
            raise NotAffine
        total = total + image * coefficient
    return Index(total.terms, total.offset, where.divisor)


def without_ones(kernel: Kernel) -> Kernel:
    """The kernel without its axes of one point: their index is 0."""
    axes = [*kernel.parallel, *(axis for phase in kernel.phases for axis in phase.over)]
    mapping = {axis: Index() for axis in axes if axis.extent == 1}
    if not mapping:
        return kernel

    def new(expr: Expr) -> Expr:
        return substitute(expr, mapping, {})

    phases = tuple(
        Phase(
            tuple(axis for axis in phase.over if axis not in mapping),
            tuple(new(acc) for acc in phase.accs),  # type: ignore[misc]
            tuple(
                Store(s.ref, tuple(composed(w, mapping) for w in s.index), new(s.expr))
                for s in phase.stores
            ),
        )
        for phase in kernel.phases
    )
    parallel = tuple(axis for axis in kernel.parallel if axis not in mapping)
    return Kernel(kernel.node, parallel, phases)


def identity(store: Store) -> list[Axis | None] | None:
    """The axis of each dimension (None: it has one position), where a store writes its whole
    buffer, one element a point."""
    axes: list[Axis | None] = []
    for where, size in zip(store.index, store.ref.shape, strict=True):
        if size == 1 and where == Index():
            axes.append(None)
            continue
        if len(where.terms) != 1 or where.terms[0][1] != 1 or where.divisor != 1:
            return None
        if where.offset != 0 or where.terms[0][0].extent != size:
            return None
        axes.append(where.terms[0][0])
    plain = [axis for axis in axes if axis is not None]
    return axes if len(set(plain)) == len(plain) else None


def operations(expr: Expr) -> tuple[int, bool]:
    """How many operations, each object once, and whether one of them is costly."""
    seen: set[int] = set()
    stack, count, heavy = [expr], 0, False
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, Apply):
            count += 1
            heavy |= e.op in _HEAVY
            stack += e.args
        elif isinstance(e, Acc):
            stack.append(e.expr)
    return count, heavy


def inline(
    steps: Sequence[Step | Product], kept: set[Ref], products: Products
) -> list[Step | Product]:
    """Every map into its readers, where that does not move more memory."""
    return _Inliner(steps, kept, products).run()


class _Inliner:
    def __init__(self, steps: Sequence[Step | Product], kept: set[Ref], products: Products) -> None:
        self.steps: list[Step | Product] = list(steps)
        self.kept, self.products = kept, products
        self.readers: dict[Ref, list[int]] = {}
        self.drawn: set[Ref] = set()  # random numbers: made where they are read, at a cost
        self.writers: dict[Ref, int] = {}
        for number, step in enumerate(self.steps):
            for ref in self._reads(step):
                self.readers.setdefault(ref, []).append(number)
            if isinstance(step, Routine) and step.name == "philox" and step.out is not None:
                self.drawn.add(step.out)
            if isinstance(step, Kernel):
                for store in (s for p in step.phases for s in p.stores):
                    self.writers[store.ref] = self.writers.get(store.ref, 0) + 1

    def _reads(self, step: Step | Product) -> tuple[Ref, ...]:
        return segment_reads(step) if isinstance(step, (Kernel, Product)) else step_reads(step)

    def run(self) -> list[Step | Product]:
        for number in range(len(self.steps)):
            step = self.steps[number]
            if not isinstance(step, Kernel) or len(step.phases) != 1 or step.phases[0].over:
                continue
            for store in step.phases[0].stores:
                axes = identity(store)
                if axes is not None and self.writers[store.ref] == 1:
                    self._one(step, store, axes)
        return self.steps

    def _one(self, kernel: Kernel, store: Store, axes: list[Axis | None]) -> None:
        readers = self.readers.get(store.ref, [])
        if not readers:
            return
        size = self.products.size
        points = size(extent(kernel.parallel))
        count, heavy = operations(store.expr)
        loads = {
            (load.ref, load.index)
            for load in segment_loads(
                Kernel(kernel.node, kernel.parallel, (Phase(stores=(store,)),))
            )
        }
        drawn = any(ref in self.drawn for ref, _ in loads)
        heavy |= drawn
        full = sum(size(elements(ref)) * 2 > points and points > 1 for ref, _ in loads)
        new: dict[int, Kernel] = {}
        keep = store.ref in self.kept
        for number in readers:
            reader = self.steps[number]
            rewritten = self._rewritten(reader, store, axes)
            if rewritten is None or not self._cheap(reader, store, points, count, heavy):
                keep = True
                continue
            new[number] = rewritten
        if keep and full + drawn:
            return  # it is stored anyway: reading it is no more than reading what it is made of
        if not keep and full > 1 and len(readers) > (2 if full == 2 else 1):
            return
        if heavy and len(readers) > 1:
            return
        for number, rewritten in new.items():
            self.steps[number] = rewritten
            self.readers[store.ref].remove(number)
            for ref in self._reads(rewritten):
                if number not in self.readers.setdefault(ref, []):
                    self.readers[ref].append(number)

    def _cheap(
        self, reader: Step | Product, store: Store, points: int, count: int, heavy: bool
    ) -> bool:
        """Whether the reader does not compute each element many times over."""
        assert isinstance(reader, Kernel)
        size = self.products.size
        parallel = size(extent(reader.parallel))
        for phase in reader.phases:
            part = Kernel(reader.node, reader.parallel, (phase,))
            if store.ref not in segment_reads(part):
                continue
            times = parallel * size(extent(phase.over))
            total = sum(operations(e)[0] for e in (*phase.accs, *(s.expr for s in phase.stores)))
            if total + count > LARGEST:
                return False
            if times > 2 * points and (heavy or count > (4 if points == 1 else WINDOW)):
                return False
        return True

    def _rewritten(
        self, reader: Step | Product, store: Store, axes: list[Axis | None]
    ) -> Kernel | None:
        """The reader with every load of the store's buffer replaced; None where one cannot be."""
        if not isinstance(reader, Kernel):
            return None
        known: dict[Load, Expr] = {}
        for load in segment_loads(reader):
            if load.ref != store.ref:
                continue
            if load.fill is not None or any(where.divisor != 1 for where in load.index):
                return None
            try:
                pairs = zip(axes, load.index, strict=True)
                mapping = {axis: where for axis, where in pairs if axis is not None}
                known[load] = substitute(store.expr, mapping, {})
            except NotAffine:
                return None
        return replace_loads(reader, known)


def replace_loads(kernel: Kernel, known: dict[Load, Expr]) -> Kernel:
    """A kernel with some loads replaced by expressions."""

    def new(expr: Expr) -> Expr:
        return substitute(expr, {}, known)

    phases = tuple(
        Phase(
            phase.over,
            tuple(new(acc) for acc in phase.accs),  # type: ignore[misc]
            tuple(Store(s.ref, s.index, new(s.expr)) for s in phase.stores),
        )
        for phase in kernel.phases
    )
    return Kernel(kernel.node, kernel.parallel, phases)


def elements(ref: Ref) -> Size:
    """How many elements a buffer has."""
    return math.prod(ref.shape, start=1)


__all__ = [
    "NotAffine",
    "composed",
    "elements",
    "identity",
    "inline",
    "operations",
    "substitute",
    "without_ones",
]
