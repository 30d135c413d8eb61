"""Reading kernel expressions: what they load, what they are where a mask cuts them off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.kernel import (
    Acc,
    Apply,
    Axis,
    Const,
    Expr,
    Gemm,
    Index,
    Kernel,
    Load,
    Phase,
    Position,
    Store,
)  # fmt: skip

Number: TypeAlias = "float | int | bool"


def identity(acc: Acc) -> Number:
    """What an accumulator starts from."""
    if acc.monoid == "sum":
        return 0
    lowest = acc.monoid in ("max", "argmax")
    dtype = acc.expr.dtype
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min if lowest else info.max)
    return -math.inf if lowest else math.inf


def total(index: Index, size: Size) -> bool:
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


def extent_of(axes: Sequence[Axis]) -> Size:
    """How many points a group of axes has."""
    points: Size = 1
    for axis in axes:
        points = points * axis.extent
    return points


def digits(index: Index, size: Size) -> list[Axis] | None:
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


def is_tap(load: Load, group: Sequence[Axis]) -> bool:
    """Whether the last axis of a group shares an index with a longer one: a tap of a window."""
    last = group[-1] if group else None
    for index in load.index:
        axes = [axis for axis, _ in index.terms]
        if last in axes and len(axes) > 1:
            return main_axis(axes) is not last
    return False


def main_axis(axes: Sequence[Axis]) -> Axis:
    """Of the axes that share an index, the one that stays an array axis: the longest."""
    symbolic = [axis for axis in axes if not isinstance(axis.extent, int)]
    if symbolic:
        return symbolic[0]
    return max(axes, key=lambda axis: axis.extent if isinstance(axis.extent, int) else 0)


# -- axes of extent 1 are no axes -----------------------------------------------------------------


def drop_ones(kernel: Kernel) -> Kernel:
    """The kernel without the axes of extent 1 that would only get in the way: reduced ones, and
    those that share an index with another axis (the single tap of a 1×1 window)."""
    ones = {a for phase in kernel.phases for a in phase.over if a.extent == 1}
    cut: set[Axis] = set()
    for phase in kernel.phases:
        for load in phase_loads(phase):
            for index, size in zip(load.index, load.ref.shape, strict=True):
                if len(index.terms) > 1:
                    found = {axis for axis, _ in index.terms if axis.extent == 1}
                    ones |= found
                    if load.fill is not None and not total(index, size):
                        cut |= found.intersection(kernel.parallel)
    ones -= cut  # a mask is cut along an axis: the one position of a padded window stays
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


def gemm_drop_ones(step: Gemm) -> Gemm:
    """The product without its axes of extent 1."""
    axes = (*step.batch, *step.m, *step.n, *step.k)
    ones = {axis for axis in axes if isinstance(axis.extent, int) and axis.extent == 1}
    for load in (step.a, step.b):
        for index, size in zip(load.index, load.ref.shape, strict=True):
            found = {axis for axis, coefficient in index.terms if coefficient > 0}
            if found <= ones and load.fill is not None and not total(index, size):
                ones -= found  # a mask is cut along an axis, forwards

    def keep(group: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(axis for axis in group if axis not in ones)

    memo: dict[Expr, Expr] = {}
    a, b = _without(step.a, ones, memo), _without(step.b, ones, memo)
    assert isinstance(a, Load)
    assert isinstance(b, Load)
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


# -- reading expressions --------------------------------------------------------------------------


def results(phase: Phase) -> list[tuple[Expr, Number | None]]:
    """What a phase computes, with the value that an accumulator may skip."""
    return [
        *((acc.expr, identity(acc)) for acc in phase.accs),
        *((store.expr, None) for store in phase.stores),
    ]


def loads(expr: Expr) -> list[Load]:
    """The loads of an expression, not those behind an accumulator."""
    found: list[Load] = []
    stack, seen = [expr], set[int]()
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, Load):
            if e not in found:  # they are few: comparing costs less than hashing
                found.append(e)
        elif isinstance(e, Apply):
            stack.extend(reversed(e.args))
    return found


def phase_loads(phase: Phase) -> list[Load]:
    """The loads of everything a phase computes."""
    return [load for expr, _ in results(phase) for load in loads(expr)]


def fold(expr: Expr, masked: set[Load]) -> Number | None:
    """The number an expression is where its masked loads give their fills; None if it varies."""
    memo: dict[Expr, Number | None] = {}
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
                memo[e] = fold_apply(e, [memo[arg] for arg in e.args])
            case _:
                memo[e] = None
        stack.pop()
    return memo[expr]


def fold_apply(expr: Apply, args: Sequence[Number | None]) -> Number | None:
    """The number a function gives of numbers; None where it depends on one that varies."""
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
    arrays = [np.asarray(arg, a.dtype) for arg, a in zip(known, expr.args, strict=True)]
    with np.errstate(all="ignore"):
        result = function(*arrays)
    return result.astype(expr.dtype).item()  # type: ignore[no-any-return]


_FOLDS: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
    "min": np.minimum, "neg": np.negative, "exp": np.exp, "log": np.log, "sqrt": np.sqrt,
    "expm1": np.expm1, "log1p": np.log1p, "tanh": np.tanh, "abs": np.absolute,
    "relu": lambda x: np.maximum(x, 0), "eq": np.equal, "ne": np.not_equal, "lt": np.less,
    "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "cast": np.asarray,
}  # fmt: skip


def swap_loads(phase: Phase, swap: dict[Load, Load]) -> Phase:
    """The phase with some loads replaced by others."""
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


def plain(index: Index, size: Size) -> bool:
    """Whether an index is one axis that runs through the whole dimension."""
    return (
        len(index.terms) == 1
        and index.terms[0][1] == 1
        and index.divisor == 1
        and index.offset == 0
        and index.terms[0][0].extent == size
    )
