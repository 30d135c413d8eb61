"""The first stages: a graph becomes kernel descriptions, pure views disappear into their readers,
and the steps that end in a variable move to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from graphc.ir.graph import Graph
from graphc.ir.kernel import (
    Acc,
    Alias,
    Apply,
    Const,
    Count,
    Expr,
    Gemm,
    Index,
    Kernel,
    Load,
    Lowering,
    Phase,
    Ref,
    Routine,
    Step,
    Store,
    value,
)  # fmt: skip
from graphc.ir.node import Node


def legalize(graph: Graph) -> list[Step]:
    """The kernel descriptions of every node, in ``.nodes`` order."""
    low = Lowering(graph.name)
    for node in graph.nodes:
        low.begin(node)
        node.op.lower(low, node)
    return low.steps


# -- group: views and numbers are part of what reads them -----------------------------------------


def group(graph: Graph, steps: Sequence[Step]) -> list[Step]:
    """Inline every kernel that only renames elements (a transpose, a slice, a broadcast) or holds
    one number into the loads that read it; what nothing reads any more is dropped."""
    needed = {value(node) for node in (*graph.outputs.values(), *graph.leaf_updates.values())}
    views: dict[Ref, tuple[Store, Expr]] = {}
    result: list[Step] = []
    for step in steps:
        if any(load.ref in views for load in loads(step)):
            step = _map_loads(step, lambda load: _inline(load, views))
        store = _renames(step)
        if store is not None:
            views[store.ref] = (store, store.expr)
        result.append(step)
    # Backwards, so that a view of a view goes with its only reader.
    live: list[Step] = []
    for step in reversed(result):
        written = writes(step)
        if not written or any(ref in needed for ref in written):
            live.append(step)
            needed.update(reads(step))
    return live[::-1]


def _renames(step: Step) -> Store | None:
    """The store of a kernel that is nothing but one load or one number per element."""
    if not isinstance(step, Kernel) or len(step.phases) != 1:
        return None
    phase = step.phases[0]
    if phase.over or phase.accs or len(phase.stores) != 1:
        return None
    store = phase.stores[0]
    if not isinstance(store.expr, (Load, Const, Count)):
        return None
    if isinstance(store.expr, Load) and (
        store.expr.fill is not None or any(i.divisor != 1 for i in store.expr.index)
    ):
        return None
    axes = [i.terms[0][0] for i in store.index if _is_axis(i)]
    # One part of a concat is not the whole buffer.
    whole = tuple(axis.extent for axis in axes) == store.ref.shape
    return store if whole and len(set(axes)) == len(store.index) else None


def _is_axis(index: Index) -> bool:
    """Whether the index is one axis, as it is."""
    return (
        len(index.terms) == 1
        and index.terms[0][1] == 1
        and index.divisor == 1
        and isinstance(index.offset, int)
        and index.offset == 0
    )


def _inline(load: Load, views: dict[Ref, tuple[Store, Expr]]) -> Expr:
    if load.ref not in views:
        return load
    store, source = views[load.ref]
    if not isinstance(source, Load):
        return source if load.fill is None else load
    axes = [i.terms[0][0] for i in store.index]
    if load.fill is not None or any(i.divisor != 1 for i in load.index):
        # A masked read is valid inside *its* buffer: only a permutation keeps that box.
        if not all(_is_axis(i) for i in source.index) or len(source.index) != len(axes):
            return load
        sizes = {axis: axis.extent for axis in axes}
        if any(
            sizes[i.terms[0][0]] != d for i, d in zip(source.index, source.ref.shape, strict=True)
        ):
            return load
        where = dict(zip(axes, load.index, strict=True))
        return Load(source.ref, tuple(where[i.terms[0][0]] for i in source.index), load.fill)
    where = dict(zip(axes, load.index, strict=True))
    composed: list[Index] = []
    for index in source.index:
        total = Index((), index.offset)
        for axis, coefficient in index.terms:
            total = total + where[axis] * coefficient
        composed.append(total)
    return Load(source.ref, tuple(composed), None)


def _map_loads(step: Step, function: Callable[[Load], Expr]) -> Step:
    """``step`` with every load replaced by ``function(load)``; a Gemm takes only loads back."""
    memo: dict[Expr, Expr] = {}

    def rebuild(expr: Expr) -> Expr:
        if expr in memo:
            return memo[expr]
        new: Expr = expr
        match expr:
            case Load():
                new = function(expr)
            case Apply():
                new = replace(expr, args=tuple(map(rebuild, expr.args)))
            case Acc():
                new = replace(expr, expr=rebuild(expr.expr))
        memo[expr] = new
        return new

    match step:
        case Kernel():
            phases = tuple(
                Phase(
                    phase.over,
                    tuple(rebuild(acc) for acc in phase.accs),  # type: ignore[misc]
                    tuple(replace(store, expr=rebuild(store.expr)) for store in phase.stores),
                )
                for phase in step.phases
            )
            return replace(step, phases=phases)
        case Gemm():
            a, b = rebuild(step.a), rebuild(step.b)
            return replace(
                step,
                a=a if isinstance(a, Load) else step.a,
                b=b if isinstance(b, Load) else step.b,
            )
        case _:
            return step


# -- who reads and writes what --------------------------------------------------------------------


def loads(step: Step) -> Iterator[Load]:
    """Every load of a step, repeated ones too."""
    match step:
        case Kernel():
            stack: list[Expr] = [
                e for p in step.phases for e in (*p.accs, *(s.expr for s in p.stores))
            ]
            seen: set[int] = set()
            while stack:
                expr = stack.pop()
                if id(expr) in seen:
                    continue
                seen.add(id(expr))
                match expr:
                    case Load():
                        yield expr
                    case Apply():
                        stack.extend(expr.args)
                    case Acc():
                        stack.append(expr.expr)
        case Gemm():
            yield step.a
            yield step.b
        case _:
            return


def reads(step: Step) -> tuple[Ref, ...]:
    """The buffers a step reads."""
    match step:
        case Routine():
            return step.inputs
        case Alias():
            return (step.source,)
        case _:
            return _distinct(load.ref for load in loads(step))


def writes(step: Step) -> tuple[Ref, ...]:
    """The buffers a step writes."""
    match step:
        case Kernel():
            return _distinct(s.ref for p in step.phases for s in p.stores)
        case Gemm():
            return (step.out,)
        case Routine():
            return () if step.out is None else (step.out,)
        case Alias():
            return (step.out,)


def _distinct(refs: Iterable[Ref]) -> tuple[Ref, ...]:
    found: list[Ref] = []
    for ref in refs:
        if ref not in found:  # they are few: comparing costs less than hashing
            found.append(ref)
    return tuple(found)


# -- order: what ends in a variable comes last ----------------------------------------------------


@dataclass(frozen=True)
class Ordered:
    """Steps in execution order, and which results are computed right into their variable."""

    steps: tuple[Step, ...]
    direct: dict[Ref, Node]  # result -> the leaf whose memory it takes


def order(graph: Graph, steps: Sequence[Step]) -> Ordered:
    """Move the updates to the end (they take effect after the outputs), and let an update write
    straight into its variable where nothing reads the old value afterwards."""
    first = [s for s in steps if isinstance(s, Routine) and s.name == "check_range"]
    leaves = {value(leaf) for leaf in (*graph.inputs.values(), *graph.parameters.values())}
    early_checks = [s for s in first if all(ref in leaves for ref in s.inputs)]
    rest = [s for s in steps if s not in early_checks]
    roots = {value(node) for node in graph.leaf_updates.values()}
    if not roots:
        return Ordered((*early_checks, *rest), {})

    late: set[Ref] = set()
    early_steps: list[Step] = []
    late_steps: list[Step] = []
    for step in rest:
        if any(ref in roots for ref in writes(step)) or any(ref in late for ref in reads(step)):
            late.update(writes(step))
            late_steps.append(step)
        else:
            early_steps.append(step)
    ordered = (*early_checks, *early_steps, *late_steps)

    last_read: dict[Ref, int] = {}
    written_at: dict[Ref, list[int]] = {}
    settled: set[Ref] = set()  # these have their memory already
    for position, step in enumerate(ordered):
        for ref in reads(step):
            last_read[ref] = position
        for ref in writes(step):
            written_at.setdefault(ref, []).append(position)
        if isinstance(step, Alias):
            settled |= {step.out, step.source}
        if isinstance(step, Routine) and step.name == "constant" and step.out is not None:
            settled.add(step.out)  # its memory is that of the literal
    direct: dict[Ref, Node] = {}
    fetched = {value(node) for node in graph.outputs.values()}
    for leaf, node in graph.leaf_updates.items():
        ref, old = value(node), value(leaf)
        if ref not in written_at or ref in direct or settled & {ref, old} or old in fetched:
            continue  # an input, another variable, a view, or a value that is wanted as it was
        begun, read = written_at[ref][0], last_read.get(old, -1)
        whole = len(written_at[ref]) == 1  # a concat is written part by part
        if read < begun or (whole and read == begun and _pointwise(ordered[begun], old)):
            direct[ref] = leaf
    return Ordered(ordered, direct)


def _pointwise(step: Step, ref: Ref) -> bool:
    """Whether a step is one store that reads ``ref`` only at the element that it writes."""
    if not isinstance(step, Kernel) or len(step.phases) != 1:
        return False
    (phase,) = step.phases
    if phase.over or len(phase.stores) != 1:
        return False
    where = phase.stores[0].index
    masked = any(load.fill is not None for load in loads(step))
    return not masked and all(load.index == where for load in loads(step) if load.ref == ref)
