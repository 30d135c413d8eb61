"""The NumPy schedule: descriptions become array calls, one a line, with their temporaries declared.

What is decided here: which axes become Python loops (the taps of a window), what is copied so that
a matrix product can read it (im2col), which number goes through which temporary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.compiler.lower import Ordered
from graphc.compiler.plan import (
    At, Buffer, Call, Dimension, Fit, Inside, Instruction, Kind, Linear, Loop, Scalar, Schedule,
    Span, View, Whole,
)  # fmt: skip
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.errors import BackendError
from graphc.ir.graph import Graph
from graphc.ir.kernel import (
    Acc, Alias, Apply, Axis, Const, Count, Expr, Gemm, Index, Kernel, Load, Phase, Position, Ref,
    Routine, Step, Store, apply, value,
)  # fmt: skip
from graphc.ir.leaves import stream_number
from graphc.ir.node import Node, describe

# Kernel op -> entry of the printer's table, where the two differ.
REDUCERS = {"sum": "add_reduce", "max": "max_reduce", "min": "min_reduce"}
COMBINERS = {"sum": "add", "max": "max", "min": "min"}
Operand = View | Scalar


def identity(acc: Acc) -> float | int | bool:
    """What an accumulator starts from."""
    if acc.monoid == "sum":
        return 0
    lowest = acc.monoid in ("max", "argmax")
    dtype = acc.expr.dtype
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min if lowest else info.max)
    return -math.inf if lowest else math.inf


class Scheduler:
    """Turns the ordered steps of one graph into a ``Schedule``."""

    def __init__(self, graph: Graph, ordered: Ordered) -> None:
        self.graph = graph
        self.ordered = ordered
        self.buffers: list[Buffer] = []
        self.lines: list[Instruction] = []
        self.of: dict[Ref, int] = {}
        self.ranges: dict[tuple[Size, np.dtype[Any]], int] = {}

    def run(self) -> Schedule:
        """Schedule every step."""
        graph = self.graph
        inputs, variables = [], []
        for name, node in graph.inputs.items():
            inputs.append((name, self._declare(value(node), "input", name)))
        for name, node in {**graph.parameters, **graph.states}.items():
            variables.append((name, self._declare(value(node), "variable", name)))
        for step in self.ordered.steps:
            self.step(step)
        direct = [(self.of[r], self.of[value(leaf)]) for r, leaf in self.ordered.direct.items()]
        copies = self._copies(dict(direct))
        return Schedule(
            tuple(self.buffers),
            tuple(self.lines),
            tuple(inputs),
            tuple(variables),
            tuple((name, self.buffer(value(node))) for name, node in graph.outputs.items()),
            tuple(direct),
            tuple(copies),
        )

    def _copies(self, direct: dict[int, int]) -> list[tuple[int, int]]:
        """The updates that are not computed in place: a plain copy each, after everything else.

        All of them read the old values: one that copies another updated variable reads it from a
        copy made first.
        """
        copies: list[tuple[int, int]] = []
        for leaf, node in self.graph.leaf_updates.items():
            target, source = self.of[value(leaf)], self.buffer(value(node))
            if source in direct or source == target:
                continue
            if self.buffers[self.buffers[source].root].kind in ("variable", "input"):
                kept = self._new(node.shape, node.dtype, "arena", f"old {node.op.name}")
                # It must be read before any variable changes, so it goes in front.
                line = Instruction((Call("copy", (self.all(source),), self.all(kept)),), node)
                self.lines.insert(0, line)
                source = kept
            copies.append((target, source))
        return copies

    # -- buffers ------------------------------------------------------------------------------

    def _new(
        self, shape: Sequence[Size], dtype: np.dtype[Any], kind: Kind, label: str,
        root: int | None = None, data: Any = None,
    ) -> int:  # fmt: skip
        number = len(self.buffers)
        self.buffers.append(
            Buffer(number, tuple(shape), dtype, kind, number if root is None else root, label, data)
        )
        return number

    def _declare(self, ref: Ref, kind: Kind, label: str) -> int:
        self.of[ref] = self._new(ref.shape, ref.dtype, kind, label)
        return self.of[ref]

    def buffer(self, ref: Ref) -> int:
        """The buffer that holds ``ref``."""
        if ref not in self.of:
            name = self.graph.name(ref.node)
            label = name if ref.what == "value" else f"{name}: {ref.what}"
            self._declare(ref, "arena", label)
        return self.of[ref]

    def temporary(self, shape: Sequence[Size], dtype: np.dtype[Any], node: Node) -> int:
        """A buffer for a value inside a kernel."""
        return self._new(shape, dtype, "arena", f"inside {self.graph.name(node)}")

    def all(self, number: int) -> View:
        """The buffer as it stands."""
        return View(number, (Whole(),) * len(self.buffers[number].shape))

    def range(self, extent: Size, dtype: np.dtype[Any]) -> int:
        """A buffer that holds 0, 1, 2, …"""
        key = (extent, dtype)
        if key not in self.ranges:
            self.ranges[key] = self._new((extent,), dtype, "range", f"0 … {extent} - 1")
        return self.ranges[key]

    # -- steps --------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """Schedule one description."""
        match step:
            case Alias():
                source = self.buffer(step.source)
                root = self.buffers[source].root
                label = self.graph.name(step.node)
                self.of[step.out] = self._new(
                    step.out.shape, step.out.dtype, "arena", label, root
                )
            case Routine():
                self._routine(step)
            case Gemm():
                self._gemm(step)
            case Kernel():
                _KernelSchedule(self, _drop_ones(step)).run()

    def _routine(self, step: Routine) -> None:
        options = dict(step.attributes)
        args = tuple(self.all(self.buffer(ref)) for ref in step.inputs)
        out = None if step.out is None else self.all(self.buffer(step.out))
        match step.name:
            case "constant":
                assert step.out is not None
                number = self.buffer(step.out)
                self.buffers[number] = replace(
                    self.buffers[number], kind="constant", data=options["value"]
                )
            case "philox":
                numbered = (("stream", stream_number(options["path"])),)
                self.emit(step.node, Call("uniform", args, out, numbered, pointwise=False))
            case "check_range":
                bounds = tuple(
                    Scalar(Linear(b) if isinstance(b, dims.Dim) else b)
                    for b in (options["low"], options["high"])
                )
                self.emit(step.node, Call("inside", (*args, *bounds), None, pointwise=False))
            case _:
                raise BackendError(f"the numpy backend has no routine {step.name!r}")

    def emit(self, node: Node, *calls: Call) -> None:
        """Add a line without loops."""
        self.lines.append(Instruction(calls, node))

    # -- matrix products ----------------------------------------------------------------------

    def _gemm(self, step: Gemm) -> None:
        step = _gemm_drop_ones(step)
        a = self._operand(step, step.a, (step.m, step.k))
        b = self._operand(step, step.b, (step.k, step.n))
        out = Load(step.out, step.out_index)
        target = self._collapse(out, step.batch, (step.m, step.n))
        if target is not None:
            self.emit(step.node, Call("matmul", (a, b), target, pointwise=False))
            return
        # The result's axes do not lie together: compute it in the order of the product, then copy.
        axes = (*step.batch, *step.m, *step.n)
        ref = Ref(step.node, f"product{len(self.buffers)}", tuple(x.extent for x in axes), step.a.dtype)
        product = Load(ref, tuple(Index(((axis, 1),)) for axis in axes))
        target = self._collapse(product, step.batch, (step.m, step.n))
        if target is None:
            raise BackendError(f"cannot lay out {describe(step.node)}")
        self.emit(step.node, Call("matmul", (a, b), target, pointwise=False))
        copy = Kernel(step.node, axes, (Phase(stores=(Store(step.out, step.out_index, product),)),))
        _KernelSchedule(self, copy).run()

    def _operand(self, step: Gemm, load: Load, groups: tuple[tuple[Axis, ...], ...]) -> View:
        """The operand as (batch…, rows, columns): as it lies, or copied so that it does."""
        found = self._collapse(load, step.batch, groups)
        if found is not None:
            return found
        used = {axis for index in load.index for axis, _ in index.terms}
        batch = tuple(axis for axis in step.batch if axis in used)
        # The innermost axis of the copy should be a long contiguous run, not a tap: the product
        # reads either order equally well.
        inner = groups if not _is_tap(load, groups[-1]) else groups[::-1]
        axes = (*batch, *(axis for group in inner for axis in group))
        shape = tuple(axis.extent for axis in axes)
        ref = Ref(step.node, f"operand{len(self.buffers)}", shape, load.dtype)
        where = tuple(Index(((axis, 1),)) for axis in axes)
        copy = Kernel(step.node, axes, (Phase(stores=(Store(ref, where, load),)),))
        _KernelSchedule(self, copy).run()
        view = self._collapse(Load(ref, where), step.batch, groups)
        if view is None:
            raise BackendError(f"cannot lay out an operand of {describe(step.node)}")
        return view

    def _collapse(
        self, load: Load, batch: tuple[Axis, ...], groups: tuple[tuple[Axis, ...], ...]
    ) -> View | None:
        """``load`` as one dimension a batch axis and one a group; None where it needs a copy."""
        flat: list[Axis] = []
        cut: list[Dimension] = []
        for index, size in zip(load.index, load.ref.shape, strict=True):
            if load.fill is not None and not _total(index, size, ()):
                return None
            if not index.terms and index.divisor == 1:
                cut.append(At(Linear(index.offset)))
                continue
            axes = _digits(index, size)
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
            if places:
                starts.append((places[0], position))
        starts.sort()
        shape = tuple(_extent(lists[position]) for _, position in starts)
        rank = {position: i for i, (_, position) in enumerate(starts)}
        order: list[int | None] = []
        positions = iter(range(len(lists)))
        for axis in batch:
            order.append(rank[next(positions)] if axis in where else None)
        order += [rank.get(position) for position in positions]
        while len(order) > len(groups) and order[0] is None:
            del order[0]  # matmul broadcasts what is not there
        plain = tuple(order) == tuple(range(len(shape)))
        kept = tuple(s for s, d in zip(load.ref.shape, cut, strict=True) if isinstance(d, Whole))
        return View(
            self.buffer(load.ref), tuple(cut),
            None if shape == kept else shape, None if plain else tuple(order),
        )  # fmt: skip


def _extent(axes: Sequence[Axis]) -> Size:
    total: Size = 1
    for axis in axes:
        total = total * axis.extent
    return total


def _digits(index: Index, size: Size) -> list[Axis] | None:
    """The axes of an index that runs through a whole dimension as digits do (``g·4 + c``)."""
    if index.divisor != 1 or not isinstance(index.offset, int) or index.offset != 0:
        return None
    factor: Size = 1
    found: list[Axis] = []
    for axis, coefficient in sorted(index.terms, key=lambda term: term[1]):
        if coefficient != factor:
            return None
        found.append(axis)
        factor = factor * axis.extent
    return found[::-1] if factor == size else None


def _is_tap(load: Load, group: Sequence[Axis]) -> bool:
    """Whether the last axis of a group shares an index with a longer one: a tap of a window."""
    last = group[-1] if group else None
    for index in load.index:
        axes = [axis for axis, _ in index.terms]
        if last in axes and len(axes) > 1:
            return _main_axis(axes) is not last
    return False


def _main_axis(axes: Sequence[Axis]) -> Axis:
    """Of the axes that share an index, the one that stays an array axis: the longest."""
    symbolic = [axis for axis in axes if not isinstance(axis.extent, int)]
    if symbolic:
        return symbolic[0]
    return max(axes, key=lambda axis: axis.extent)


# -- axes of extent 1 are no axes -----------------------------------------------------------------


def _drop_ones(kernel: Kernel) -> Kernel:
    used = [*kernel.parallel, *(axis for phase in kernel.phases for axis in phase.over)]
    ones = {axis for axis in used if isinstance(axis.extent, int) and axis.extent == 1}
    if not ones:
        return kernel
    memo: dict[Expr, Expr] = {}
    phases = tuple(
        Phase(
            tuple(axis for axis in phase.over if axis not in ones),
            tuple(_without(acc, ones, memo) for acc in phase.accs),  # type: ignore[misc]
            tuple(
                Store(s.ref, _index_without(s.index, ones), _without(s.expr, ones, memo))
                for s in phase.stores
            ),
        )
        for phase in kernel.phases
    )
    return Kernel(kernel.node, tuple(a for a in kernel.parallel if a not in ones), phases)


def _gemm_drop_ones(step: Gemm) -> Gemm:
    axes = (*step.batch, *step.m, *step.n, *step.k)
    ones = {axis for axis in axes if isinstance(axis.extent, int) and axis.extent == 1}
    keep = lambda group: tuple(axis for axis in group if axis not in ones)  # noqa: E731
    memo: dict[Expr, Expr] = {}
    a, b = _without(step.a, ones, memo), _without(step.b, ones, memo)
    assert isinstance(a, Load) and isinstance(b, Load)
    return Gemm(
        step.node, keep(step.batch), keep(step.m), keep(step.n), keep(step.k), a, b,
        step.out, _index_without(step.out_index, ones),
    )  # fmt: skip


def _index_without(index: tuple[Index, ...], ones: set[Axis]) -> tuple[Index, ...]:
    return tuple(
        replace(i, terms=tuple(term for term in i.terms if term[0] not in ones)) for i in index
    )


def _without(expr: Expr, ones: set[Axis], memo: dict[Expr, Expr]) -> Expr:
    if expr in memo:
        return memo[expr]
    new: Expr = expr
    match expr:
        case Load():
            new = replace(expr, index=_index_without(expr.index, ones))
        case Position():
            new = Const(0, expr.dtype) if expr.axis in ones else expr
        case Apply():
            new = replace(expr, args=tuple(_without(a, ones, memo) for a in expr.args))
        case Acc():
            new = replace(expr, expr=_without(expr.expr, ones, memo))
    memo[expr] = new
    return new


# -- one kernel -----------------------------------------------------------------------------------


@dataclass
class _Sweep:
    """A phase as it is being scheduled: its loops, its array axes, its masks, its line."""

    node: Node
    loops: tuple[Axis, ...]
    domain: tuple[Axis, ...]
    fits: list[Fit]
    fitted: dict[Axis, int]
    calls: list[Call]

    def variable(self, axis: Axis) -> str:
        """The Python variable of a looped axis."""
        return "ijklmnpq"[self.loops.index(axis)]


def _total(index: Index, size: Size, loops: Sequence[Axis]) -> bool:
    """Whether an index is inside its dimension wherever its axes are."""
    if index.divisor != 1:
        return False
    low = high = index.offset
    for axis, coefficient in index.terms:
        reach = (axis.extent - 1) * coefficient
        if coefficient > 0:
            high = high + reach
        else:
            low = low + reach
    return bool(dims.always_at_least(low, 0)) and bool(dims.always_at_least(size - 1 - high, 0))


class _KernelSchedule:
    """Schedules one kernel, phase after phase."""

    def __init__(self, owner: Scheduler, kernel: Kernel) -> None:
        self.owner = owner
        self.kernel = kernel
        self.node = kernel.node
        self.accs: dict[Acc, View] = {}
        # Values that stay good from phase to phase: those of sweeps without loops.
        self.memo: dict[tuple[Expr, tuple[Axis, ...]], Operand] = {}

    def run(self) -> None:
        """Add the lines of the kernel."""
        for number, described in enumerate(self.kernel.phases):
            phase = self._materialize(described)
            loops = self._loops(phase)
            for acc, as_described in zip(phase.accs, described.accs, strict=True):
                home = self._home(as_described, number)
                self._reduce(phase, acc, loops, home)
            for store in phase.stores:
                self._store(phase, store, loops)

    # -- choosing -----------------------------------------------------------------------------

    def _loops(self, phase: Phase) -> tuple[Axis, ...]:
        """The axes that become Python loops: of those that share an index, all but the longest."""
        found: dict[Axis, None] = {}
        for load in _phase_loads(phase):
            for index in load.index:
                axes = [axis for axis, _ in index.terms if axis not in found]
                if len(axes) < 2:
                    continue
                main = _main_axis(axes)
                found.update({axis: None for axis in axes if axis is not main})
        for axis in found:
            if not isinstance(axis.extent, int):
                raise BackendError(
                    f"{describe(self.node)}: a window of the symbolic size {axis.extent} cannot "
                    "be unrolled for NumPy"
                )
        order = [*self.kernel.parallel, *phase.over]
        return tuple(axis for axis in order if axis in found)

    def _materialize(self, phase: Phase) -> Phase:
        """Copy masked operands into plain ones until at most one mask is left, and only where the
        whole expression is one known number outside of it."""
        for expr, neutral in _results(phase):
            masked = list(dict.fromkeys(load for load in _loads(expr) if self._masked(load)))
            if not masked:
                continue
            first = masked[0]
            outside = _fold(expr, set(masked))
            one_mask = all(m.index == first.index for m in masked) and all(
                m.ref.shape == first.ref.shape for m in masked
            )
            if one_mask and outside is not None and neutral in (None, outside):
                continue
            swap: dict[Load, Load] = {}
            for load in masked:
                used = {axis for index in load.index for axis, _ in index.terms}
                axes = tuple(a for a in (*self.kernel.parallel, *phase.over) if a in used)
                ref = Ref(
                    self.node, f"masked{len(self.owner.buffers)}",
                    tuple(axis.extent for axis in axes), load.dtype,
                )  # fmt: skip
                where = tuple(Index(((axis, 1),)) for axis in axes)
                copy = Kernel(self.node, axes, (Phase(stores=(Store(ref, where, load),)),))
                _KernelSchedule(self.owner, copy).run()
                swap[load] = Load(ref, where)
            phase = _swap_loads(phase, swap)
        return phase

    def _masked(self, load: Load) -> bool:
        return load.fill is not None and not all(
            _total(index, size, ()) for index, size in zip(load.index, load.ref.shape, strict=True)
        )

    def _home(self, acc: Acc, number: int) -> View:
        """Where an accumulator lives: right in the result, if a later phase stores it as it is."""
        for phase in self.kernel.phases[number + 1 :]:
            for store in phase.stores:
                axes = tuple(t.terms[0][0] for t in store.index if len(t.terms) == 1)
                plain = all(_plain(t, s) for t, s in zip(store.index, store.ref.shape, strict=True))
                if store.expr == acc and plain and axes == self.kernel.parallel:
                    view = self.owner.all(self.owner.buffer(store.ref))
                    if self.owner.buffers[view.buffer].dtype == acc.dtype:
                        self.accs[acc] = view
                        return view
        shape = tuple(axis.extent for axis in self.kernel.parallel)
        view = self.owner.all(self.owner.temporary(shape, acc.dtype, self.node))
        self.accs[acc] = view
        return view

    # -- reductions ---------------------------------------------------------------------------

    def _reduce(self, phase: Phase, acc: Acc, loops: tuple[Axis, ...], home: View) -> None:
        parallel = self.kernel.parallel
        sweep = self._sweep(phase, acc.expr, loops)
        reduced = [axis for axis in phase.over if axis not in loops]
        if not [axis for axis in phase.over if axis in loops]:
            operand = self._widen(sweep, self.value(sweep, acc.expr), acc.expr)
            axes = tuple(sweep.domain.index(axis) for axis in reduced)
            if not axes:
                sweep.calls.append(Call("copy", (operand,), home))
            elif acc.monoid == "argmax":
                self._argmax(sweep, operand, axes, home)
            else:
                name = REDUCERS[acc.monoid]
                options = (("axis", axes if len(axes) > 1 else axes[0]),)
                sweep.calls.append(Call(name, (operand,), home, options, pointwise=False))
            self._close(sweep)
            return
        if reduced:
            raise BackendError(
                f"{describe(self.node)}: one phase both slides a window and reduces "
                f"{', '.join(a.name for a in reduced)}; split it into two"
            )
        start = identity(acc)
        target = self._target(sweep, home, parallel)
        if acc.monoid == "argmax":
            best = self.owner.all(
                self.owner.temporary(
                    [axis.extent for axis in parallel], acc.expr.dtype, self.node
                )
            )
            here = self._target(sweep, best, parallel)
            self.owner.emit(self.node, Call("fill", (Scalar(start),), best))
            self.owner.emit(self.node, Call("fill", (Scalar(0),), home))
            operand = self.value(sweep, acc.expr)
            larger = self._temporary(sweep, parallel, np.dtype(np.bool_))
            sweep.calls += [
                Call("gt", (operand, here), larger),
                Call("copy_where", (operand, larger), here, partial=True),
                Call("copy_where", (self._tap(sweep, phase), larger), target, partial=True),
            ]
        else:
            self.owner.emit(self.node, Call("fill", (Scalar(start),), home))
            operand = self.value(sweep, acc.expr)
            sweep.calls.append(Call(COMBINERS[acc.monoid], (target, operand), target))
        self._close(sweep)

    def _argmax(self, sweep: _Sweep, operand: Operand, axes: tuple[int, ...], home: View) -> None:
        if len(axes) != 1:
            raise BackendError(f"{describe(self.node)}: argmax over several axes at once")
        shape = [axis.extent for axis in self.kernel.parallel]
        found = self.owner.all(self.owner.temporary(shape, np.dtype(np.intp), self.node))
        options = (("axis", axes[0]),)
        sweep.calls.append(Call("argmax", (operand,), found, options, pointwise=False))
        sweep.calls.append(Call("cast", (found,), home))

    def _tap(self, sweep: _Sweep, phase: Phase) -> Scalar:
        """The row-major number of a tap."""
        terms: list[tuple[str, int]] = []
        factor = 1
        for axis in reversed(phase.over):
            terms.append((sweep.variable(axis), factor))
            assert isinstance(axis.extent, int)
            factor *= axis.extent
        return Scalar(Linear(0, tuple(reversed(terms))))

    # -- stores -------------------------------------------------------------------------------

    def _store(self, phase: Phase, store: Store, loops: tuple[Axis, ...]) -> None:
        if isinstance(store.expr, Acc) and self.accs[store.expr].buffer == self.owner.of.get(
            store.ref
        ):
            return  # it was accumulated right there
        masked = [load for load in _loads(store.expr) if self._masked(load)]
        used = {axis for load in _loads(store.expr) for i in load.index for axis, _ in i.terms}
        loops = tuple(axis for axis in loops if axis in used)
        sweep = self._sweep(phase, store.expr, loops)
        if masked:
            outside = _fold(store.expr, set(masked))
            assert outside is not None
            everywhere = _Sweep(self.node, (), (*sweep.domain, *loops), [], {}, [])
            view = self._view(everywhere, store.ref, store.index, reorder=False)
            self.owner.emit(self.node, Call("fill", (Scalar(outside),), view))
        target = self._view(sweep, store.ref, store.index)
        self.value(sweep, store.expr, target)
        self._close(sweep)

    def _close(self, sweep: _Sweep) -> None:
        """Turn the calls of a sweep into lines: one a call, or one for the whole loop."""
        if sweep.loops or sweep.fits:
            loops = tuple(
                Loop(sweep.variable(axis), axis.extent)
                for axis in sweep.loops
                if isinstance(axis.extent, int)
            )
            self.owner.lines.append(
                Instruction(tuple(sweep.calls), self.node, loops, tuple(sweep.fits))
            )
            return
        for call in sweep.calls:
            last = self.owner.lines[-1] if self.owner.lines else None
            if call.function == "copy_where" and last is not None and last.node is self.node:
                # A select is two calls on one line: what it is, then what it is instead.
                if last.calls[-1].out == call.out and not last.loops:
                    self.owner.lines[-1] = replace(last, calls=(*last.calls, call))
                    continue
            self.owner.emit(self.node, call)

    # -- the sweep of one expression ----------------------------------------------------------

    def _sweep(self, phase: Phase, expr: Expr, loops: tuple[Axis, ...]) -> _Sweep:
        domain = tuple(a for a in (*self.kernel.parallel, *phase.over) if a not in loops)
        sweep = _Sweep(self.node, loops, domain, [], {}, [])
        for load in _loads(expr):
            if not self._masked(load):
                continue
            for index, size in zip(load.index, load.ref.shape, strict=True):
                self._fit(sweep, index, size)
        return sweep

    def _fit(self, sweep: _Sweep, index: Index, size: Size) -> int | None:
        """The fit of a masked index; None where it needs none."""
        if _total(index, size, sweep.loops):
            return None
        inner = [(a, c) for a, c in index.terms if a not in sweep.loops]
        if len(inner) != 1 or inner[0][1] < 1:
            raise BackendError(
                f"{describe(self.node)}: NumPy cannot cut {index} out of a dimension of {size}"
            )
        ((axis, coefficient),) = inner
        fit = Fit(
            axis.extent, coefficient, self._linear(sweep, index), index.divisor, size
        )
        if axis in sweep.fitted:
            if sweep.fits[sweep.fitted[axis]] != fit:
                raise BackendError(f"{describe(self.node)}: two masks on one axis")
            return sweep.fitted[axis]
        sweep.fits.append(fit)
        sweep.fitted[axis] = len(sweep.fits) - 1
        return sweep.fitted[axis]

    def _linear(self, sweep: _Sweep, index: Index) -> Linear:
        terms = tuple((sweep.variable(a), c) for a, c in index.terms if a in sweep.loops)
        return Linear(index.offset, terms)

    def _view(
        self, sweep: _Sweep, ref: Ref, where: tuple[Index, ...], *, reorder: bool = True
    ) -> View:
        """The elements of ``ref`` at ``where``, its axes aligned with the sweep's domain."""
        cut: list[Dimension] = []
        axes: list[Axis] = []
        for index, size in zip(where, ref.shape, strict=True):
            inner = [(a, c) for a, c in index.terms if a not in sweep.loops]
            start = self._linear(sweep, index)
            if not inner:
                cut.append(At(start))
                continue
            if len(inner) > 1 or inner[0][0] in axes:
                raise BackendError(f"{describe(self.node)}: NumPy cannot index by {index}")
            ((axis, coefficient),) = inner
            axes.append(axis)
            fit = sweep.fitted.get(axis)
            if fit is not None and not _total(index, size, sweep.loops):
                cut.append(Inside(fit, points=False))
            elif fit is not None and coefficient == 1 and start == Linear():
                cut.append(Inside(fit, points=True))
            elif fit is not None:
                raise BackendError(f"{describe(self.node)}: a shifted read beside a mask")
            elif coefficient == 1 and start == Linear() and axis.extent == size:
                cut.append(Whole())
            else:
                cut.append(Span(start, axis.extent, coefficient))
        return View(
            self.owner.buffer(ref), tuple(cut), None,
            self._order(sweep, axes) if reorder else None,
        )  # fmt: skip

    def _order(self, sweep: _Sweep, axes: Sequence[Axis]) -> tuple[int | None, ...] | None:
        order: list[int | None] = [
            axes.index(axis) if axis in axes else None for axis in sweep.domain
        ]
        while order and order[0] is None:
            del order[0]
        return None if order == list(range(len(axes))) else tuple(order)

    def _target(self, sweep: _Sweep, home: View, parallel: Sequence[Axis]) -> View:
        """An accumulator as one turn of the loops sees it."""
        return self._temporary_view(sweep, home.buffer, parallel)

    def _temporary(self, sweep: _Sweep, axes: Sequence[Axis], dtype: np.dtype[Any]) -> View:
        number = self.owner.temporary([axis.extent for axis in axes], dtype, self.node)
        return self._temporary_view(sweep, number, axes)

    def _temporary_view(self, sweep: _Sweep, number: int, axes: Sequence[Axis]) -> View:
        cut: list[Dimension] = []
        kept: list[Axis] = []
        for axis in axes:
            if axis in sweep.loops:
                cut.append(At(Linear(0, ((sweep.variable(axis), 1),))))
                continue
            kept.append(axis)
            fit = sweep.fitted.get(axis)
            cut.append(Whole() if fit is None else Inside(fit, points=True))
        return View(number, tuple(cut), None, self._order(sweep, kept))

    # -- expressions --------------------------------------------------------------------------

    def value(self, sweep: _Sweep, expr: Expr, target: View | None = None) -> Operand:
        """Emit the calls that compute ``expr`` (into ``target`` if given) and say where it is.

        Iterative over the expression: fused chains may be deep.
        """
        keyed = not sweep.loops and not sweep.fits
        done: dict[Expr, Operand] = {}

        def known(e: Expr) -> Operand | None:
            if e in done:
                return done[e]
            return self.memo.get((e, sweep.domain)) if keyed else None

        stack: list[Expr] = [expr]
        while stack:
            current = stack[-1]
            if known(current) is not None:
                stack.pop()
                continue
            if isinstance(current, Apply):
                waiting = [arg for arg in current.args if known(arg) is None]
                if waiting:
                    stack.extend(reversed(waiting))
                    continue
                args = tuple(found for arg in current.args if (found := known(arg)) is not None)
                into = target if current is expr else None
                result = self._apply(sweep, current, args, into)
            else:
                result = self._atom(sweep, current)
            done[current] = result
            if keyed and not (isinstance(result, View) and result == target):
                self.memo[current, sweep.domain] = result
            stack.pop()
        result = done.get(expr) or known(expr)
        assert result is not None
        if target is not None and result != target:
            sweep.calls.append(self._copy(result, target, expr))
        return result

    def _copy(self, source: Operand, target: View, expr: Expr) -> Call:
        if isinstance(source, Scalar):
            return Call("fill", (source,), target)
        same = self.owner.buffers[source.buffer].dtype == self.owner.buffers[target.buffer].dtype
        return Call("copy" if same else "cast", (source,), target)

    def _atom(self, sweep: _Sweep, expr: Expr) -> Operand:
        match expr:
            case Load():
                return self._view(sweep, expr.ref, expr.index)
            case Const():
                return Scalar(expr.value)
            case Count():
                if isinstance(expr.size, int):
                    return Scalar(float(expr.size) if expr.dtype.kind == "f" else expr.size)
                return Scalar(Linear(expr.size))
            case Position() if expr.axis in sweep.loops:
                return Scalar(Linear(0, ((sweep.variable(expr.axis), 1),)))
            case Position():
                number = self.owner.range(expr.axis.extent, expr.dtype)
                fit = sweep.fitted.get(expr.axis)
                cut: Dimension = Whole() if fit is None else Inside(fit, points=True)
                return View(number, (cut,), None, self._order(sweep, [expr.axis]))
            case Acc():
                home = self.accs[expr]
                return self._temporary_view(sweep, home.buffer, self.kernel.parallel)
        raise BackendError(f"the numpy backend cannot compute {expr}")

    def _axes_of(self, sweep: _Sweep, expr: Expr) -> tuple[Axis, ...]:
        used: set[Axis] = set()
        stack, seen = [expr], set[int]()
        while stack:
            e = stack.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            match e:
                case Load():
                    used |= {axis for index in e.index for axis, _ in index.terms}
                case Position():
                    used.add(e.axis)
                case Acc():
                    used |= set(self.kernel.parallel)
                case Apply():
                    stack.extend(e.args)
        return tuple(axis for axis in sweep.domain if axis in used)

    def _apply(
        self, sweep: _Sweep, expr: Apply, args: tuple[Operand, ...], target: View | None
    ) -> Operand:
        if expr.op == "sigmoid":
            one = Const(1.0, expr.dtype)
            denominator = apply("add", one, apply("exp", apply("neg", expr.args[0])))
            return self.value(sweep, apply("div", one, denominator), target)
        folded = _fold_linear(expr.op, args)
        if folded is not None:
            return folded
        if target is not None and self.owner.buffers[target.buffer].dtype != expr.dtype:
            target = None  # the copy that follows converts
        out = target or self._temporary(sweep, self._axes_of(sweep, expr), expr.dtype)
        if expr.op == "select":
            condition, yes, no = args
            clash = isinstance(yes, View) and yes.buffer == out.buffer
            if clash or (isinstance(condition, View) and condition.buffer == out.buffer):
                out = self._temporary(sweep, self._axes_of(sweep, expr), expr.dtype)
            if no != out:
                sweep.calls.append(self._copy(no, out, expr))
            sweep.calls.append(Call("copy_where", (yes, condition), out, partial=True))
        elif expr.op == "cast":
            sweep.calls.append(Call("cast", args, out))
        else:
            sweep.calls.append(Call(expr.op, args, out))
        return out

    def _widen(self, sweep: _Sweep, operand: Operand, expr: Expr) -> View:
        """The operand of a reduction must have every axis of the sweep, at its full extent."""
        full = set(self._axes_of(sweep, expr)) == set(sweep.domain)
        if isinstance(operand, View) and full:
            return operand
        out = self._temporary(sweep, sweep.domain, expr.dtype)
        sweep.calls.append(self._copy(operand, out, expr))
        return out


def _plain(index: Index, size: Size) -> bool:
    return (
        len(index.terms) == 1
        and index.terms[0][1] == 1
        and index.divisor == 1
        and index.offset == 0
        and index.terms[0][0].extent == size
    )


def _fold_linear(op: str, args: tuple[Operand, ...]) -> Scalar | None:
    """Arithmetic on loop variables and numbers, done while scheduling."""
    if not all(isinstance(arg, Scalar) for arg in args) or op not in ("add", "sub", "mul"):
        return None
    values = [arg.value for arg in args if isinstance(arg, Scalar)]
    if not any(isinstance(v, Linear) for v in values):
        return None
    linear = [v if isinstance(v, Linear) else Linear(int(v)) for v in values]
    left, right = linear
    if op == "mul":
        if left.terms and right.terms:
            return None
        if right.terms:
            left, right = right, left
        if not isinstance(right.offset, int):
            return None
        factor = right.offset
        return Scalar(Linear(left.offset * factor, tuple((v, c * factor) for v, c in left.terms)))
    sign = 1 if op == "add" else -1
    return Scalar(
        Linear(
            left.offset + right.offset * sign,
            left.terms + tuple((v, c * sign) for v, c in right.terms),
        )
    )


# -- reading expressions --------------------------------------------------------------------------


def _results(phase: Phase) -> list[tuple[Expr, float | int | bool | None]]:
    """What a phase computes, with the value that an accumulator may skip."""
    return [
        *((acc.expr, identity(acc)) for acc in phase.accs),
        *((store.expr, None) for store in phase.stores),
    ]


def _loads(expr: Expr) -> list[Load]:
    """The loads of an expression, not those behind an accumulator."""
    found: dict[Load, None] = {}
    stack, seen = [expr], set[int]()
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, Load):
            found[e] = None
        elif isinstance(e, Apply):
            stack.extend(reversed(e.args))
    return list(found)


def _phase_loads(phase: Phase) -> list[Load]:
    return [load for expr, _ in _results(phase) for load in _loads(expr)]


def _fold(expr: Expr, masked: set[Load]) -> float | int | bool | None:
    """The number an expression is where its masked loads give their fills; None if it varies."""
    memo: dict[Expr, float | int | bool | None] = {}
    stack: list[Expr] = [expr]
    while stack:
        e = stack[-1]
        if e in memo:
            stack.pop()
            continue
        match e:
            case Load():
                memo[e] = e.fill if e in masked else None
            case Const():
                memo[e] = e.value
            case Apply():
                waiting = [arg for arg in e.args if arg not in memo]
                if waiting:
                    stack.extend(waiting)
                    continue
                memo[e] = _fold_apply(e, [memo[arg] for arg in e.args])
            case _:
                memo[e] = None
        stack.pop()
    return memo[expr]


def _fold_apply(
    expr: Apply, args: Sequence[float | int | bool | None]
) -> float | int | bool | None:
    if expr.op == "select":
        condition, yes, no = args
        if condition is None:
            return yes if yes == no else None
        return yes if condition else no
    known = [arg for arg in args if arg is not None]
    if len(known) != len(args):
        return None
    function = _FOLDS.get(expr.op)
    if function is None:
        return None
    with np.errstate(all="ignore"):
        result = function(*(np.asarray(arg, a.dtype) for arg, a in zip(known, expr.args, strict=True)))
    return result.astype(expr.dtype).item()  # type: ignore[no-any-return]


_FOLDS: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
    "min": np.minimum, "neg": np.negative, "exp": np.exp, "log": np.log, "sqrt": np.sqrt,
    "tanh": np.tanh, "abs": np.absolute, "relu": lambda x: np.maximum(x, 0), "eq": np.equal,
    "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "cast": np.asarray,
}  # fmt: skip


def _swap_loads(phase: Phase, swap: dict[Load, Load]) -> Phase:
    memo: dict[Expr, Expr] = {}

    def rebuild(e: Expr) -> Expr:
        if e not in memo:
            match e:
                case Load():
                    memo[e] = swap.get(e, e)
                case Apply():
                    memo[e] = replace(e, args=tuple(map(rebuild, e.args)))
                case _:
                    memo[e] = e
        return memo[e]

    return Phase(
        phase.over,
        tuple(replace(acc, expr=rebuild(acc.expr)) for acc in phase.accs),
        tuple(replace(store, expr=rebuild(store.expr)) for store in phase.stores),
    )

