"""Joining: kernels that work on the same points become one, the later one reading what the earlier
has just computed from registers, not from memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from graphc.compiler.lower import reads as step_reads
from graphc.compiler.lower import writes as step_writes

from ...ir.kernel import (
    Acc,
    Apply,
    Axis,
    Expr,
    Index,
    Kernel,
    Load,
    Phase,
    Position,
    Ref,
    Step,
    Store,
)  # fmt: skip
from ..numpy.expressions import digits
from .cost import Products
from .inline import NotAffine, composed, elements, operations, substitute
from .segments import Product, extent, segment_loads, segment_reads, segment_stores, segment_writes

LARGEST = 256  # operations of one kernel
TEAMS = 4096  # elements that a reduction's own teams may also store, beside what they reduce to


def prune(kernel: Kernel, needed: Iterable[Ref]) -> Kernel:
    """The kernel without the stores that nobody needs, and the phases left empty."""
    wanted = set(needed)
    phases = tuple(
        replace(phase, stores=tuple(s for s in phase.stores if s.ref in wanted))
        for phase in kernel.phases
    )
    return replace(kernel, phases=tuple(p for p in phases if p.stores or p.accs))


def join(
    steps: Sequence[Step | Product], late: Sequence[bool], kept: set[Ref], products: Products
) -> list[tuple[Step | Product, bool]]:
    """Join what can be, in one sweep: each step with an earlier one."""
    return _Joiner(steps, late, kept, products).run()


class _Joiner:
    def __init__(
        self, steps: Sequence[Step | Product], late: Sequence[bool], kept: set[Ref],
        products: Products,
    ) -> None:  # fmt: skip
        self.steps: list[Step | Product | None] = list(steps)
        self.late, self.kept, self.products = list(late), kept, products
        self.writer: dict[Ref, int] = {}
        self.readers: dict[Ref, set[int]] = {}
        for number, step in enumerate(steps):
            self._register(number, step)

    def _register(self, number: int, step: Step | Product) -> None:
        inside = isinstance(step, (Kernel, Product))
        for ref in segment_writes(step) if inside else step_writes(step):  # type: ignore[arg-type]
            self.writer[ref] = number
        for ref in segment_reads(step) if inside else step_reads(step):  # type: ignore[arg-type]
            self.readers.setdefault(ref, set()).add(number)

    def _forget(self, number: int, step: Step | Product) -> None:
        inside = isinstance(step, (Kernel, Product))
        for ref in segment_reads(step) if inside else step_reads(step):  # type: ignore[arg-type]
            self.readers[ref].discard(number)

    def run(self) -> list[tuple[Step | Product, bool]]:
        for number in range(len(self.steps)):
            at: int | None = number
            while at is not None:  # what was joined may be joined again
                at = self._one(at)
        return [
            (step, late) for step, late in zip(self.steps, self.late, strict=True)
            if step is not None
        ]  # fmt: skip

    def _one(self, number: int) -> int | None:
        """Join this step with an earlier one; where the result is, or None."""
        second = self.steps[number]
        if not isinstance(second, Kernel):
            return None
        for other in self._candidates(number, second):
            first = self.steps[other]
            if not isinstance(first, (Kernel, Product)) or self.late[other] != self.late[number]:
                continue
            place = self._place(other, number, first, second)
            if place is None:
                continue
            joined = joined_steps(first, second, self.products)
            if joined is None:
                continue
            self._forget(other, first)
            self._forget(number, second)
            self.steps[other] = self.steps[number] = None
            self.steps[place] = joined
            self._register(place, joined)
            self._prune(place)
            return place
        return None

    def _candidates(self, number: int, second: Kernel) -> list[int]:
        """What it depends on, the nearest first; then what reads the same."""
        read = segment_reads(second)
        made = sorted({self.writer[r] for r in read if self.writer.get(r, number) < number})[::-1]
        large = [r for r in read if self.products.size(elements(r)) > 1]
        beside = {n for r in large for n in self.readers.get(r, ()) if n < number}
        return [*made, *sorted(beside - set(made))[::-1]]

    def _place(
        self, other: int, number: int, first: Kernel | Product, second: Kernel
    ) -> int | None:
        """Where both can run as one: where the first stands, if all that the second reads is there
        by then; or where the second stands, if nothing between reads what the first writes."""
        own = set(segment_writes(first))
        rest = [r for r in segment_reads(second) if r not in own]
        if all(self.writer.get(r, -1) < other for r in rest):
            return other
        if any(other < n < number for r in own for n in self.readers.get(r, ())):
            return None
        return number

    def _prune(self, place: int) -> None:
        """Drop what only the joined kernel itself read."""
        step = self.steps[place]
        assert isinstance(step, (Kernel, Product))
        wanted = [
            r for r in segment_writes(step)
            if r in self.kept or self.readers.get(r)
        ]  # fmt: skip
        if isinstance(step, Product):
            stores = tuple(s for s in step.stores if s.ref in wanted)
            self.steps[place] = replace(step, stores=stores)
        else:
            self.steps[place] = prune(step, wanted)


# -- two kernels in one ---------------------------------------------------------------------------


def joined_steps(
    first: Kernel | Product, second: Kernel, products: Products
) -> Kernel | Product | None:
    """One kernel that does both, or None where their points are not the same."""
    stores = {store.ref: store for store in segment_stores(first)}
    depends = any(load.ref in stores for load in segment_loads(second))
    try:
        mapping = _mapping(first, second, stores) if depends else _beside(first, second, products)
        if mapping is None:
            return None
        if isinstance(first, Product):
            return _onto_product(first, second, mapping, stores)
        return _onto_kernel(first, second, mapping, stores, products)
    except NotAffine:
        return None


def _mapping(
    first: Kernel | Product, second: Kernel, stores: dict[Ref, Store]
) -> dict[Axis, Index] | None:
    """The second kernel's axes as indices over the first one's: the point where each element is
    made is the point where it is read."""
    mapping: dict[Axis, Index] = {}
    for load in segment_loads(second):
        store = stores.get(load.ref)
        if store is None:
            continue
        if load.fill is not None:
            return None
        for read, made in zip(load.index, store.index, strict=True):
            axes = [(axis, c) for axis, c in read.terms if axis.extent != 1]
            if not axes:
                if any(axis.extent != 1 for axis, _ in made.terms) or read.offset != made.offset:
                    return None
                continue
            if len(axes) != 1 or axes[0][1] != 1 or read.divisor != 1 or read.offset != 0:
                return None
            axis = axes[0][0]
            if mapping.setdefault(axis, made) != made:
                return None
    return mapping


def _beside(
    first: Kernel | Product, second: Kernel, products: Products
) -> dict[Axis, Index] | None:
    """Two kernels that need nothing of each other, but read the same large buffer."""
    if isinstance(first, Product) or len(first.parallel) != len(second.parallel):
        return None
    points = products.size(extent(second.parallel))
    mapping: dict[Axis, Index] = {}
    for a, b in zip(first.parallel, second.parallel, strict=True):
        if a.extent != b.extent:
            return None
        mapping[b] = Index(((a, 1),))
    if _sweeps(first) != _sweeps(second):
        return None
    for a_phase, b_phase in zip(first.phases, second.phases, strict=False):
        if a_phase.over and b_phase.over:
            mapping |= {
                b: Index(((a, 1),)) for a, b in zip(a_phase.over, b_phase.over, strict=True)
            }
    mine = {(load.ref, load.index) for load in segment_loads(first)}
    for load in segment_loads(second):
        moved = load.ref, tuple(composed(where, mapping) for where in load.index)
        if moved in mine and products.size(elements(load.ref)) * 2 > points:
            return mapping
    return None


def _sweeps(kernel: Kernel) -> list[tuple[object, ...]]:
    """The sizes of what each phase reduces over."""
    return [tuple(axis.extent for axis in phase.over) for phase in kernel.phases if phase.over]


def _known(
    second: Kernel, mapping: dict[Axis, Index], stores: dict[Ref, Store]
) -> dict[Load, Expr]:
    """The values of the second kernel's loads that the first has computed."""
    known: dict[Load, Expr] = {}
    for load in segment_loads(second):
        if load.ref in stores:
            moved = Load(load.ref, tuple(composed(w, mapping) for w in load.index), load.fill)
            if moved.index != stores[load.ref].index and any(
                a.extent != 1 for w in moved.index for a, _ in w.terms
            ):
                raise NotAffine
            known[moved] = stores[load.ref].expr
    return known


def _onto_product(
    first: Product, second: Kernel, mapping: dict[Axis, Index], stores: dict[Ref, Store]
) -> Product | None:
    """A map of a product's elements, computed where they are."""
    if first.parts != 1 or len(second.phases) != 1 or second.phases[0].over:
        return None
    gemm = first.gemm
    points = (*gemm.batch, *gemm.m, *gemm.n)
    if not _covers(second.parallel, points, mapping):
        return None
    known = _known(second, mapping, stores)
    found = tuple(_store(s, mapping, known) for s in second.phases[0].stores)
    own = {*points}
    if any(not _axes(s.expr) <= own for s in found):
        return None
    own_stores = first.stores
    if sum(operations(s.expr)[0] for s in (*own_stores, *found)) > LARGEST:
        return None
    return replace(first, stores=(*own_stores, *found))


def _covers(parallel: Sequence[Axis], points: Sequence[Axis], mapping: dict[Axis, Index]) -> bool:
    """Whether the mapped axes run through all the points, each once."""
    images: list[Axis] = []
    for axis in parallel:
        if axis.extent == 1:
            mapping.setdefault(axis, Index())
            continue
        if axis not in mapping or digits(mapping[axis], axis.extent) is None:
            return False  # of a part of the points alone
        images += [a for a, _ in mapping[axis].terms if a.extent != 1]
    wanted = [axis for axis in points if axis.extent != 1]
    return len(images) == len(set(images)) and set(images) == set(wanted)


def _onto_kernel(
    first: Kernel, second: Kernel, mapping: dict[Axis, Index], stores: dict[Ref, Store],
    products: Products,
) -> Kernel | None:  # fmt: skip
    over = {axis for phase in first.phases for axis in phase.over}
    mapping = dict(mapping)
    spread: tuple[Axis, ...] = ()
    if not _covers(second.parallel, first.parallel, mapping):
        # A map of the elements that the first one sweeps: one more sweep over them.
        if len(second.phases) != 1 or second.phases[0].over or not over:
            return None
        spread = tuple(
            axis for axis in second.parallel
            if axis.extent != 1 and (
                axis not in mapping
                or any(a in over for a, _ in mapping[axis].terms)
            )
        )  # fmt: skip
        rest = [axis for axis in second.parallel if axis not in spread]
        size = products.size(extent(second.parallel))
        if not spread or not _covers(rest, first.parallel, mapping) or size > TEAMS * 16:
            return None
    # Axes that it alone has stay; those that are the first one's take their place.
    swept: dict[Axis, Axis] = {}
    for axis in (*spread, *(a for phase in second.phases for a in phase.over)):
        image = mapping.get(axis)
        if image is None:
            continue
        plain = len(image.terms) == 1 and image.terms[0][1] == 1 and image.offset == 0
        if not plain or image.terms[0][0].extent != axis.extent:
            return None
        swept[axis] = image.terms[0][0]
    known = _known(second, mapping, stores)
    phases: list[Phase] = list(first.phases)
    for phase in second.phases:
        new = Phase(
            tuple(swept.get(axis, axis) for axis in (*phase.over, *spread)),
            tuple(substitute(acc, mapping, known) for acc in phase.accs),  # type: ignore[misc]
            tuple(_store(store, mapping, known) for store in phase.stores),
        )
        _append(phases, new)
    points = set(first.parallel)
    for phase in phases:
        allowed = points | set(phase.over)
        inner = [*(acc.expr for acc in phase.accs), *(s.expr for s in phase.stores)]
        if any(not {a for a in _axes(e) if a.extent != 1} <= allowed for e in inner):
            return None
    joined = Kernel(second.node, first.parallel, tuple(phases))
    total = sum(
        operations(e)[0] for p in phases for e in (*p.accs, *(s.expr for s in p.stores))
    )  # fmt: skip
    return joined if total <= LARGEST else None


def _append(phases: list[Phase], new: Phase) -> None:
    """A phase after others, in the sweep of one of them where it needs nothing that comes later."""
    needs = {a for e in (*new.accs, *(s.expr for s in new.stores)) for a in _accs(e)}
    needs -= set(new.accs)
    for number, phase in enumerate(phases):
        if phase.over == new.over:
            before = {a for p in phases[:number] for a in p.accs}
            before |= set(phase.accs) if not phase.over else set()
            if needs <= before:
                accs = tuple(dict.fromkeys((*phase.accs, *new.accs)))
                phases[number] = Phase(phase.over, accs, (*phase.stores, *new.stores))
                return
    phases.append(new)


def _store(store: Store, mapping: dict[Axis, Index], known: dict[Load, Expr]) -> Store:
    where = tuple(composed(w, mapping) for w in store.index)
    return Store(store.ref, where, substitute(store.expr, mapping, known))


def _accs(expr: Expr) -> set[Acc]:
    """The reductions that a value reads; of a reduction, those inside it too."""
    found: set[Acc] = set()
    stack: list[Expr] = [expr]
    seen: set[int] = set()
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, Acc):
            found.add(e)
            stack.append(e.expr)
        elif isinstance(e, Apply):
            stack += e.args
    return found


def _axes(expr: Expr) -> set[Axis]:
    """The axes that a value depends on; a reduction inside it is one number."""
    found: set[Axis] = set()
    stack: list[Expr] = [expr]
    while stack:
        e = stack.pop()
        if isinstance(e, Load):
            found |= {axis for where in e.index for axis, _ in where.terms}
        elif isinstance(e, Position):
            found.add(e.axis)
        elif isinstance(e, Apply):
            stack += e.args
    return found
