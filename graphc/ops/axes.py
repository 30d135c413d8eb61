"""Axes as users say them (``axis=-1``, ``dim=(1, 2)``) and as ops hold them: sorted, from 0."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from graphc.ir.check import Check
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.facts import user_line
from graphc.ir.node import Node, describe, not_a_node


def one_axis(name: str, x: Node, axis: Any, ndim: int | None = None) -> int:
    """The axis number ``axis`` of ``x``, counted from 0; ``name`` is the function in errors.

    Raises ShapeError where there is no such axis. ndim: if the axis is one of the result's.
    """
    if not isinstance(x, Node):
        raise not_a_node(name, "x", x)
    count = x.ndim if ndim is None else ndim
    try:
        number = operator.index(axis)
    except TypeError:
        raise GraphError(
            f"{name}: axis={axis!r} is not an int\n  x  {describe(x)}\n  called at {user_line()}",
            nodes=[x],
            lines=[*x.lines, user_line()],
        ) from None
    if not -count <= number < count:
        rule = f"an axis from {-count} to {count - 1}" if count else "no axis: x is a scalar"
        raise ShapeError(
            f"{name}: there is no axis {number}\n  x  {describe(x)}\n  called at {user_line()}\n"
            f"  to fix: use {rule}",
            nodes=[x],
            lines=[*x.lines, user_line()],
        )
    return number % count


def said_axis(name: str, x: Node, axis: Any, dim: Any) -> Any:
    """What the user said, by either name."""
    if not isinstance(x, Node):
        raise not_a_node(name, "x", x)
    if axis is not None and dim is not None:
        raise GraphError(
            f"{name}: axis={axis!r} and dim={dim!r} are one argument: give one of them\n"
            f"  x  {describe(x)}\n  called at {user_line()}",
            nodes=[x],
            lines=[*x.lines, user_line()],
        )
    return dim if axis is None else axis


def several_axes(name: str, x: Node, axis: Any = None, dim: Any = None) -> tuple[int, ...]:
    """The axes that the user named, sorted and counted from 0; all of them for None."""
    said = said_axis(name, x, axis, dim)
    if said is None:
        return tuple(range(x.ndim))
    listed = said if isinstance(said, (tuple, list)) else (said,)
    axes = sorted(one_axis(name, x, entry) for entry in listed)
    if len(set(axes)) != len(axes):
        raise ShapeError(
            f"{name}: axis={said!r} names an axis twice\n  x  {describe(x)}\n"
            f"  called at {user_line()}",
            nodes=[x],
            lines=[*x.lines, user_line()],
        )
    return tuple(axes)


def check_axes(check: Check, axes: Sequence[int], ndim: int) -> None:
    """For ``infer``: at least one axis, in range and in order (how public functions write them)."""
    good = len(axes) > 0 and list(axes) == sorted(set(axes)) and axes[0] >= 0 and axes[-1] < ndim
    check.require(good, f"axes={list(axes)} are not axes, in order, of an operand of {ndim}")
