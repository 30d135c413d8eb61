"""One kernel as array calls: loops over taps, masks cut out, temporaries for what lies between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphc.compiler.plan import (
    At,
    Call,
    Dimension,
    Fit,
    Inside,
    Linear,
    Loop,
    Scalar,
    Span,
    View,
    Whole,
)  # fmt: skip
from graphc.ir.dims import Size
from graphc.ir.errors import BackendError
from graphc.ir.kernel import (
    Acc,
    Apply,
    Axis,
    Const,
    Count,
    Expr,
    Index,
    Kernel,
    Load,
    Phase,
    Position,
    Ref,
    Store,
    apply,
)  # fmt: skip
from graphc.ir.node import Node, describe

from .expressions import (
    drop_ones,
    fold,
    fold_apply,
    identity,
    loads,
    main_axis,
    phase_loads,
    plain,
    results,
    swap_loads,
    total,
)  # fmt: skip

if TYPE_CHECKING:
    from .schedule import Scheduler

# Monoid -> the printer's entries: over array axes at once, and turn by turn.
REDUCERS = {"sum": "add_reduce", "max": "max_reduce", "min": "min_reduce"}
COMBINERS = {"sum": "add", "max": "max", "min": "min"}
Operand: TypeAlias = View | Scalar


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


class KernelSchedule:
    """Schedules one kernel, phase after phase."""

    def __init__(self, owner: Scheduler, kernel: Kernel) -> None:
        self.owner = owner
        self.kernel = kernel = drop_ones(kernel)
        self.node = kernel.node
        self.accs: dict[Acc, View] = {}
        self.memo: dict[tuple[Axis, ...], dict[Expr, Operand]] = {}

    def run(self) -> None:
        """Add the lines of the kernel."""
        for number, described in enumerate(self.kernel.phases):
            phase = self._materialize(described)
            loops = self._loops(phase)
            # A phase's stores cannot read its own accumulators, but those may share their values.
            for store in phase.stores:
                self._store(phase, store, loops)
            for acc, as_described in zip(phase.accs, described.accs, strict=True):
                home = self._home(as_described, number)
                self._reduce(phase, acc, loops, home)

    # -- choosing -----------------------------------------------------------------------------

    def _loops(self, phase: Phase) -> tuple[Axis, ...]:
        """The axes that become Python loops: of those that share an index, all but the longest."""
        found: dict[Axis, None] = {}
        for load in phase_loads(phase):
            for index, size in zip(load.index, load.ref.shape, strict=True):
                axes = [axis for axis, _ in index.terms if axis not in found]
                if len(axes) < 2:
                    continue
                # What is reduced loops rather than what stays, however short that is.
                stays = [axis for axis in axes if not phase.accs or axis not in phase.over]
                if load.fill is not None and not total(index, size):  # a mask is cut forwards
                    forwards = {axis for axis, coefficient in index.terms if coefficient > 0}
                    stays = [axis for axis in stays or axes if axis in forwards]
                main = main_axis(stays or axes)
                found.update({axis: None for axis in axes if axis is not main})
        slides = phase.accs and any(axis in found for axis in phase.over)
        flat = len(phase.over) > 1 and any(acc.monoid == "argmax" for acc in phase.accs)
        if slides or flat:
            # Every tap is a turn, also along a side that has one position only; and NumPy's argmax
            # numbers one axis.
            found.update(dict.fromkeys(phase.over))
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
        swap: dict[Load, Load] = {}
        for expr, neutral in results(phase):
            masked = [load for load in loads(expr) if load not in swap and self._masked(load)]
            if not masked:
                continue
            first = masked[0]
            outside = fold(expr, set(masked))
            one_mask = all(m.index == first.index for m in masked) and all(
                m.ref.shape == first.ref.shape for m in masked
            )
            if one_mask and outside is not None and neutral in (None, outside):
                continue
            for load in masked:
                used = {axis for index in load.index for axis, _ in index.terms}
                axes = tuple(a for a in (*self.kernel.parallel, *phase.over) if a in used)
                ref = Ref(
                    self.node, f"masked{len(self.owner.buffers)}",
                    tuple(axis.extent for axis in axes), load.dtype,
                )  # fmt: skip
                where = tuple(Index(((axis, 1),)) for axis in axes)
                copy = Kernel(self.node, axes, (Phase(stores=(Store(ref, where, load),)),))
                KernelSchedule(self.owner, copy).run()
                swap[load] = Load(ref, where)
        if swap:
            phase = swap_loads(phase, swap)
        return phase

    def _masked(self, load: Load) -> bool:
        return load.fill is not None and not all(
            total(index, size) for index, size in zip(load.index, load.ref.shape, strict=True)
        )

    def _home(self, acc: Acc, number: int) -> View:
        """Where an accumulator lives: right in the result, if a later phase stores it as it is."""
        for phase in self.kernel.phases[number + 1 :]:
            for store in phase.stores:
                axes = tuple(t.terms[0][0] for t in store.index if len(t.terms) == 1)
                direct = all(plain(t, s) for t, s in zip(store.index, store.ref.shape, strict=True))
                if store.expr == acc and direct and axes == self.kernel.parallel:
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
            axes = tuple(sweep.domain.index(axis) for axis in reduced)
            if acc.monoid == "argmax" and not axes:
                self.owner.emit(self.node, Call("fill", (Scalar(0),), home))  # of a single tap
                return
            target = home
            if sweep.fits:  # what a mask cuts off adds nothing
                self.owner.emit(self.node, Call("fill", (Scalar(identity(acc)),), home))
                target = replace(self._target(sweep, home, parallel), order=None)
            swept = self._widen(sweep, self.value(sweep, acc.expr), acc.expr)
            if not axes:
                sweep.calls.append(Call("copy", (swept,), target))
            elif acc.monoid == "argmax":
                self._argmax(sweep, swept, axes, target)
            else:
                name = REDUCERS[acc.monoid]
                options = (("axis", axes if len(axes) > 1 else axes[0]),)
                sweep.calls.append(Call(name, (swept,), target, options, pointwise=False))
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
                self.owner.temporary([axis.extent for axis in parallel], acc.expr.dtype, self.node)
            )
            here = self._target(sweep, best, parallel)
            self.owner.emit(
                self.node, Call("fill", (Scalar(start),), best), Call("fill", (Scalar(0),), home)
            )
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
        found = loads(store.expr)
        masked = [load for load in found if self._masked(load)]
        if loops:
            used = {axis for load in found for i in load.index for axis, _ in i.terms}
            loops = tuple(axis for axis in loops if axis in used)
        sweep = self._sweep(phase, store.expr, loops)
        if masked:
            outside = fold(store.expr, set(masked))
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
            self.owner.emit(self.node, *sweep.calls, loops=loops, fits=tuple(sweep.fits))
            return
        for call in sweep.calls:
            last = self.owner.lines[-1] if self.owner.lines else None
            if (
                call.function == "copy_where"
                and last is not None
                and last.calls[-1].out == call.out
            ):
                # A select is two calls on one line: what it is, then what it is instead.
                self.owner.lines[-1] = replace(last, calls=(*last.calls, call))
            else:
                self.owner.emit(self.node, call)

    # -- the sweep of one expression ----------------------------------------------------------

    def _sweep(self, phase: Phase, expr: Expr, loops: tuple[Axis, ...]) -> _Sweep:
        domain = tuple(a for a in (*self.kernel.parallel, *phase.over) if a not in loops)
        sweep = _Sweep(self.node, loops, domain, [], {}, [])
        for load in loads(expr):
            if not self._masked(load):
                continue
            for index, size in zip(load.index, load.ref.shape, strict=True):
                self._fit(sweep, index, size)
        return sweep

    def _fit(self, sweep: _Sweep, index: Index, size: Size) -> int | None:
        """The fit of a masked index; None where it needs none."""
        if total(index, size):
            return None
        inner = [(a, c) for a, c in index.terms if a not in sweep.loops]
        if len(inner) != 1 or inner[0][1] < 1:
            raise BackendError(
                f"{describe(self.node)}: NumPy cannot cut {index} out of a dimension of {size}"
            )
        ((axis, coefficient),) = inner
        fit = Fit(axis.extent, coefficient, self._linear(sweep, index), index.divisor, size)
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
            if fit is not None and not total(index, size):
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
        # Values of a sweep without loops stay good for the phases that follow.
        lasting = not sweep.loops and not sweep.fits
        done = self.memo.setdefault(sweep.domain, {}) if lasting else {}

        def known(e: Expr) -> Operand | None:
            if not isinstance(e, Apply):  # where it lies is all that there is to know
                return self._atom(sweep, e)
            return done.get(e)

        stack: list[Apply] = [expr] if isinstance(expr, Apply) else []
        while stack:
            current = stack[-1]
            args = [known(arg) for arg in current.args]
            waiting = [
                arg
                for arg, found in zip(current.args, args, strict=True)
                if found is None and isinstance(arg, Apply)
            ]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            if current not in done:
                ready = tuple(found for found in args if found is not None)
                into = target if current is expr else None
                done[current] = self._apply(sweep, current, ready, into)
        result = known(expr)
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
        folded = _fold(expr, args)
        if folded is not None:
            return folded
        if target is not None and self.owner.buffers[target.buffer].dtype != expr.dtype:
            target = None  # the copy that follows converts
        out = target or self._temporary(sweep, self._axes_of(sweep, expr), expr.dtype)
        if expr.op == "select":
            condition, yes, no = args
            later = [arg.buffer for arg in (condition, yes) if isinstance(arg, View)]
            if any(self.owner.one_memory(buffer, out.buffer) for buffer in later):
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


def _fold(expr: Apply, args: tuple[Operand, ...]) -> Scalar | None:
    """Arithmetic on loop variables and numbers, done while scheduling."""
    op, values = expr.op, [arg.value for arg in args if isinstance(arg, Scalar)]
    if len(values) < len(args):
        return None
    numbers = [v for v in values if not isinstance(v, Linear)]
    if len(numbers) == len(values):
        known = fold_apply(expr, numbers)
        return None if known is None else Scalar(known)
    if op not in ("add", "sub", "mul"):
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
