"""The schedule for CUDA: descriptions become launches and library products, with their temporaries
declared.

What is decided here: what runs as one launch (with ``cuda.fuse``), which products go to cuBLAS and
which to a kernel of ours, how many threads work on one point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.compiler.devices import Device
from graphc.compiler.lower import Ordered
from graphc.compiler.plan import (
    At,
    Call,
    Dimension,
    Linear,
    Over,
    Scalar,
    Span,
    View,
    Whole,
)
from graphc.ir import dims
from graphc.ir.errors import BackendError
from graphc.ir.graph import Graph
from graphc.ir.kernel import (
    Alias,
    Axis,
    Gemm,
    Kernel,
    Load,
    Phase,
    Ref,
    Routine,
    Store,
    index,
    value,
)  # fmt: skip
from graphc.ir.node import Node

from ..cuda.cost import Products
from ..cuda.fuse import Work, fuse
from ..cuda.segments import (
    BLOCK,
    WARP,
    Launch,
    Product,
    Segment,
    extent,
    segment_loads,
    segment_reads,
    segment_stores,
)  # fmt: skip
from ..numpy.expressions import digits, gemm_drop_ones
from ..numpy.product import collapse
from ..table import Table

ASSUMED = 32  # what a named dimension is taken to be where a choice depends on it


@dataclass(frozen=True)
class Options:
    """What the user chose. ``exact``: every sum in the fixed order of our kernels, no cuBLAS.
    ``fused``: several descriptions in one launch. ``library``: cuBLAS wherever it can (True), never
    (False), where it pays (None)."""

    exact: bool = False
    fused: bool = True
    library: bool | None = None
    tf32: bool = False


class Scheduler(Table):
    """Turns the ordered steps of one graph into a ``Schedule``."""

    def __init__(self, graph: Graph, ordered: Ordered, device: Device, options: Options) -> None:
        sizes = {name: ASSUMED for node in graph.inputs.values() for name in dims.names(node.shape)}
        self.products = Products(
            device, sizes,
            library=False if options.exact else options.library,
            possible=lambda product: library_views(product) is not None,
            tf32=options.tf32,
        )  # fmt: skip
        kept = {value(node) for node in (*graph.outputs.values(), *graph.leaf_updates.values())}
        self.kept = kept
        updates = {value(node) for node in graph.leaf_updates.values()}
        self.work = fuse(ordered.steps, kept, updates, self.products, fused=options.fused)
        super().__init__(graph, Ordered((), in_place(graph, self.work)))
        # A node that was fused into another's launch is computed all the same.
        self.needs += [(node, ()) for node in dict.fromkeys(s.node for s in ordered.steps)]
        self.uniform = {
            step.out: step
            for work in self.work
            for step in work.steps
            if isinstance(step, Routine) and step.name == "philox" and step.out is not None
        }

    def everything(self) -> None:
        """Every piece of work, in order."""
        for work in self.work:
            self.one(work)

    def one(self, work: Work) -> None:
        """Schedule one piece of work."""
        first = work.steps[0]
        match first:
            case Alias():
                self.alias(first)
            case Routine():
                self._routine(first)
            case Gemm():
                self._library(first)
            case _:
                self.launch([s for s in work.steps if isinstance(s, (Kernel, Product))])

    # -- launches -----------------------------------------------------------------------------

    def launch(self, steps: Sequence[Kernel | Product | Routine]) -> None:
        """One launch of these, side by side."""
        segments = tuple(Segment(step, self._team(step)) for step in steps)
        read = {ref for step in steps for ref in segment_reads(step)}
        uniform = {ref: self.uniform[ref] for ref in read if ref in self.uniform}
        launch = Launch(segments, uniform)
        args = tuple(self.all(self.buffer(ref)) for ref in launch.reads())
        outs: list[View] = []
        for step in steps:
            if isinstance(step, Routine):
                assert step.out is not None
                outs.append(self.all(self.buffer(step.out)))
            outs += [self._stored(store) for store in segment_stores(step)]
        last = steps[-1]
        node = last.gemm.node if isinstance(last, Product) else last.node
        call = Call(
            "launch", args, outs[0], (("launch", launch),), pointwise=False,
            also=tuple(outs[1:]), over=self._over(steps),
        )  # fmt: skip
        self.emit(node, call)
        self.needs.append((node, tuple(self.buffer(ref) for ref in launch.reads())))

    def _team(self, step: Kernel | Product | Routine) -> int:
        """How many threads reduce for one point: one where a few elements are added, or where
        neighbouring threads read neighbouring columns; else a warp, or a block."""
        if not isinstance(step, Kernel):
            return 1
        most = max((self.products.size(extent(p.over)) for p in step.phases), default=1)
        points = self.products.size(extent(step.parallel))
        if most <= WARP or (most <= 512 and points >= BLOCK and _columns(step)):
            return 1
        return WARP if most <= 1024 or points >= 4096 else BLOCK

    def _stored(self, store: Store) -> View:
        """What a store writes of its buffer."""
        cut: list[Dimension] = []
        for where, size in zip(store.index, store.ref.shape, strict=True):
            terms = [(axis, c) for axis, c in where.terms if axis.extent != 1]
            if not terms:
                cut.append(Whole() if size == 1 else At(Linear(where.offset)))
            elif digits(where, size) is not None or len(terms) > 1:
                cut.append(Whole())
            else:
                ((axis, step),) = terms
                cut.append(Span(Linear(where.offset), axis.extent, step))
        return View(self.buffer(store.ref), tuple(cut))

    def _over(self, steps: Sequence[Kernel | Product | Routine]) -> tuple[Over, ...]:
        """Which results may take the memory of what they are computed from."""
        found: list[Over] = []
        for ref, store, loads in takes_over(steps):
            found.append(
                Over(
                    self.buffer(ref), self.buffer(store.ref),
                    tuple(load.index for load in loads), store.index,
                )
            )  # fmt: skip
        return tuple(found)

    # -- routines -----------------------------------------------------------------------------

    def _routine(self, step: Routine) -> None:
        options = dict(step.attributes)
        match step.name:
            case "constant":
                self.constant(step)
            case "philox":
                # Its numbers are made where they are read; an output has to hold them too.
                if step.out in self.kept:
                    self.launch([_written(step)])
            case "check_range":
                bounds = tuple(
                    Scalar(Linear(b) if isinstance(b, dims.Dim) else b)
                    for b in (options["low"], options["high"])
                )
                args = tuple(self.all(self.buffer(ref)) for ref in step.inputs)
                what = (("what", options["what"]),)
                self.emit(step.node, Call("inside", (*args, *bounds), None, what, pointwise=False))
                self.needs.append((step.node, tuple(self.buffer(ref) for ref in step.inputs)))
            case "gather_grad":
                gradient, index = step.inputs
                order = Ref(step.node, "order", index.shape, np.dtype(np.int64))
                batch = (("batch", options["batch"]),)
                self.launch([Routine(step.node, "order", (index,), order, batch)])
                self.launch([replace(step, inputs=(gradient, index, order))])
            case "gather" | "cumsum":
                self.launch([step])
            case _:
                raise BackendError(
                    f"the cupy backend has no routine {step.name!r}", nodes=[step.node]
                )

    # -- products -----------------------------------------------------------------------------

    def _library(self, step: Gemm) -> None:
        """A product for cuBLAS, operands read as they lie."""
        found = library_views(step)
        assert found is not None
        a, b, out = (
            replace(view, buffer=self.buffer(ref))
            for view, ref in zip(found, (step.a.ref, step.b.ref, step.out), strict=True)
        )
        self.emit(step.node, Call("matmul", (a, b), out, pointwise=False))
        self.needs.append((step.node, tuple(self.buffer(r) for r in (step.a.ref, step.b.ref))))


def library_views(step: Gemm) -> tuple[View, View, View] | None:
    """The operands and the result of a product as cuBLAS takes them: matrices, each with one
    stride along rows or columns. None where one of them would have to be copied."""
    step = gemm_drop_ones(step)
    if step.batch or step.a.dtype.kind != "f" or step.a.dtype.itemsize < 2:
        return None
    views = (
        collapse(step.a, (), (step.m, step.k), 0),
        collapse(step.b, (), (step.k, step.n), 0),
        collapse(Load(step.out, step.out_index), (), (step.m, step.n), 0),
    )
    a, b, out = views
    if a is None or b is None or out is None or out.order is not None:
        return None
    if any(not isinstance(dim, Whole) for view in (a, b, out) for dim in view.dims):
        return None
    if any(view.order is not None and None in view.order for view in (a, b)):
        return None
    return a, b, out


def _written(step: Routine) -> Kernel:
    """The numbers of a philox, each stored where it belongs."""
    assert step.out is not None
    axes = tuple(Axis(f"n{i}", size) for i, size in enumerate(step.out.shape))
    where = tuple(map(index, axes))
    return Kernel(
        step.node, axes, (Phase(stores=(Store(step.out, where, Load(step.out, where)),)),)
    )


def _columns(kernel: Kernel) -> bool:
    """Whether neighbouring points read neighbouring memory, each through its own column."""
    if not kernel.parallel:
        return False
    inner = kernel.parallel[-1]
    large = [load for load in segment_loads(kernel) if load.index]
    return bool(large) and all(
        any(axis is inner and abs(c) == 1 for axis, c in load.index[-1].terms) for load in large
    )


def takes_over(
    steps: Sequence[Kernel | Product | Routine],
) -> list[tuple[Ref, Store, list[Load]]]:
    """(operand, store, its loads): where each element of the operand is loaded only by the thread
    that then stores the result there, and by nothing else of the launch."""
    found: list[tuple[Ref, Store, list[Load]]] = []
    readers: dict[Ref, int] = {}
    for step in steps:
        for ref in segment_reads(step):
            readers[ref] = readers.get(ref, 0) + 1
    for step in steps:
        if not isinstance(step, Kernel) or len(step.phases) != 1 or step.phases[0].over:
            continue
        loads: dict[Ref, list[Load]] = {}
        for load in segment_loads(step):
            loads.setdefault(load.ref, []).append(load)
        for store in step.phases[0].stores:
            for ref, own in loads.items():
                same = ref.shape == store.ref.shape and ref.dtype == store.ref.dtype
                if same and readers[ref] == 1 and all(
                    load.index == store.index and load.fill is None for load in own
                ):  # fmt: skip
                    found.append((ref, store, own))
    return found


def in_place(graph: Graph, work: Sequence[Work]) -> dict[Ref, Node]:
    """Which updates are computed right in their variable: nothing reads the old value after it is
    overwritten."""
    last_read: dict[Ref, int] = {}
    written: dict[Ref, list[int]] = {}
    settled: set[Ref] = set()
    for position, piece in enumerate(work):
        for ref in piece.reads():
            last_read[ref] = position
        for ref in piece.writes():
            written.setdefault(ref, []).append(position)
        for step in piece.steps:
            if isinstance(step, Alias):
                settled |= {step.out, step.source}
            if isinstance(step, Routine) and step.name == "constant" and step.out is not None:
                settled.add(step.out)
    direct: dict[Ref, Node] = {}
    pairs: dict[int, set[tuple[Ref, Ref]]] = {}  # of the launches asked about
    fetched = {value(node) for node in graph.outputs.values()}
    for leaf, node in graph.leaf_updates.items():
        ref, old = value(node), value(leaf)
        if ref not in written or ref in direct or settled & {ref, old} or old in fetched:
            continue
        begun, read = written[ref][0], last_read.get(old, -1)
        if read > begun or len(written[ref]) != 1:
            continue
        if begun not in pairs:
            steps = [s for s in work[begun].steps if isinstance(s, (Kernel, Product, Routine))]
            pairs[begun] = {(r, s.ref) for r, s, _ in takes_over(steps)}
        if read < begun or (old, ref) in pairs[begun]:
            direct[ref] = leaf
    return direct


__all__ = ["Options", "Scheduler", "in_place", "library_views"]
