"""Where an element lies: a load or a store as one sum over the axes, and what must be checked.

Facts of a description that the schedule and the printer both need, so that they never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...ir.dims import Size, always_at_least
from ...ir.kernel import Acc, Apply, Axis, Expr, Index, Kernel, Load, Ref, Step, Store


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold at run time for one index to be valid; what can be proved is left out."""

    low: bool  # at least 0
    high: bool  # below the size of its dimension
    whole: bool  # divisible


@dataclass(frozen=True, slots=True)
class Address:
    """``Σ terms[axis]·axis + offset``, plus the dimensions of ``checked`` by their own index."""

    terms: dict[Axis, Size]
    offset: Size
    strides: tuple[Size, ...]
    checked: dict[int, Check]


def address(access: Load | Store) -> Address:
    """The address of a load or a store in its row-major buffer."""
    shape = access.ref.shape
    strides = tuple(math.prod(shape[d + 1 :], start=1) for d in range(len(shape)))
    masked = isinstance(access, Load) and access.fill is not None
    terms: dict[Axis, Size] = {}
    offset: Size = 0
    checked: dict[int, Check] = {}
    for d, (where, size, stride) in enumerate(zip(access.index, shape, strides, strict=True)):
        check = _check(where, size) if masked else Check(False, False, False)
        if where.divisor != 1 or check.low or check.high:
            checked[d] = check
            continue
        for axis, coefficient in moving(where):
            terms[axis] = terms.get(axis, 0) + stride * coefficient
        offset = offset + stride * where.offset
    return Address(terms, offset, strides, checked)


def moving(where: Index) -> list[tuple[Axis, int]]:
    """The terms of an index that are not always 0: an axis of one point stands still."""
    return [(axis, c) for axis, c in where.terms if axis.extent != 1]


def _check(where: Index, size: Size) -> Check:
    least: Size = where.offset
    most: Size = where.offset
    for axis, coefficient in moving(where):
        reach = (axis.extent - 1) * coefficient
        least, most = (least, most + reach) if coefficient > 0 else (least + reach, most)
    parts = [where.offset, *(coefficient for _, coefficient in moving(where))]
    return Check(
        low=not always_at_least(least, 0),
        high=not always_at_least(size * where.divisor - 1 - most, 0),
        whole=not all(isinstance(p, int) and p % where.divisor == 0 for p in parts)
        and where.divisor != 1,
    )


# -- walking a kernel -----------------------------------------------------------------------------


def is_elementwise(step: Step) -> bool:
    """Whether a step is a kernel that reduces nothing: what this package can print so far."""
    return isinstance(step, Kernel) and not any(phase.over or phase.accs for phase in step.phases)


def stores(kernel: Kernel) -> tuple[Store, ...]:
    """All stores of an elementwise kernel. Its phases are one: no load sees what a store wrote."""
    return tuple(store for phase in kernel.phases for store in phase.stores)


def expressions(kernel: Kernel) -> Iterator[Expr]:
    """Every expression object of the stores once, arguments first (a value used twice is one)."""
    seen: set[int] = set()
    for store in stores(kernel):
        stack: list[Expr] = [store.expr]
        while stack:
            expr = stack[-1]
            rest = expr.args if isinstance(expr, Apply) else ()
            rest = (expr.expr,) if isinstance(expr, Acc) else rest
            todo = [part for part in reversed(rest) if id(part) not in seen]
            if todo and id(expr) not in seen:
                stack.extend(todo)
                continue
            stack.pop()
            if id(expr) not in seen:
                seen.add(id(expr))
                yield expr


def loads(kernel: Kernel) -> tuple[Load, ...]:
    """All loads of the stores' expressions."""
    return tuple(expr for expr in expressions(kernel) if isinstance(expr, Load))


def accesses(kernel: Kernel) -> tuple[Load | Store, ...]:
    """All loads, then all stores."""
    return (*loads(kernel), *stores(kernel))


def loaded(kernel: Kernel) -> tuple[Ref, ...]:
    """The buffers that are read, each once, in order of their first load."""
    return tuple(dict.fromkeys(load.ref for load in loads(kernel)))


def stored(kernel: Kernel) -> tuple[Ref, ...]:
    """The buffers that are written, each once."""
    return tuple(dict.fromkeys(store.ref for store in stores(kernel)))
