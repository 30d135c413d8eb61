"""Reductions: sum, mean, max and min over some axes, or over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from graphc.ir.check import Check
from graphc.ir.dims import Size
from graphc.ir.errors import DTypeError
from graphc.ir.kernel import Acc, Expr, Lowering, Phase, Store, apply, index, number
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import Shape, TensorType
from graphc.ir.window import AxisWindow, Followed, Receptive, Windowed
from graphc.ops.axes import check_axes, several_axes
from graphc.ops.compare import cast, equal, where
from graphc.ops.core import size
from graphc.ops.counting import elements, traffic
from graphc.ops.pointwise import BOOL
from graphc.ops.shape import broadcast_to, reshape


@dataclass(frozen=True, eq=False)
class Reduction(Op):
    """Base: ``axes`` in order, counted from 0; they are dropped, or kept as 1."""

    operands: ClassVar[tuple[str, ...]] = ("x",)
    monoid: ClassVar[Literal["sum", "max", "min"]]
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check_axes(check, self.axes, x.ndim)
        check.require(
            x.dtype != BOOL,
            "needs numbers, not bool",
            fix="gx.cast(x, 'float32') first: then sum counts, max is any, min is all",
            error=DTypeError,
        )
        shape = self.kept(x.shape)
        if not self.keepdims:
            shape = tuple(n for axis, n in enumerate(shape) if axis not in self.axes)
        return TensorType(shape, x.dtype)

    def kept(self, shape: Shape) -> Shape:
        """``shape`` with 1 in place of what is reduced: it broadcasts against the operand."""
        return tuple(1 if axis in self.axes else n for axis, n in enumerate(shape))

    def count(self, x: Node) -> Size:
        """How many elements make one of the result."""
        return math.prod(x.shape[axis] for axis in self.axes)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        result = self.compute(wide(x), axis=self.axes, keepdims=self.keepdims)
        return np.asarray(result).astype(x.dtype)

    def compute(self, x: Array, **over: Any) -> Any:
        """The value, by NumPy's function."""
        raise NotImplementedError

    def stretched(self, x: Node, node: Node) -> Node:
        """``node``, of the result's shape, as it broadcasts against the operand ``x``."""
        # Leading axes need no reshape: broadcasting counts from the right.
        leading = self.axes == tuple(range(len(self.axes)))
        return node if self.keepdims or leading else reshape(node, self.kept(x.shape))

    def lower(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        axes = low.axes(x.shape)
        over = tuple(axes[axis] for axis in self.axes)
        parallel = tuple(axis for axis in axes if axis not in over)
        acc = Acc(self.monoid, low.load(x, axes), x.dtype)
        where_to = [0 if axis in over else axis for axis in axes] if self.keepdims else parallel
        store = Store(low.out, tuple(map(index, where_to)), self.finish(acc, node))
        low.kernel(parallel, [Phase(over, (acc,)), Phase(stores=(store,))])

    def finish(self, acc: Acc, node: Node) -> Expr:
        """What is stored, from what was accumulated."""
        return acc

    def receptive(self, node: Node) -> Sequence[Receptive]:
        (x,) = node.inputs
        if self.keepdims:
            whole = ((axis - x.ndim, AxisWindow(x.shape[axis], stride=0)) for axis in self.axes)
            return (Windowed(tuple(whole)),)
        kept = iter(range(node.ndim))
        return (Followed(tuple(None if i in self.axes else next(kept) for i in range(x.ndim))),)

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(elements(node.inputs[0], sizes), traffic(node, sizes))


def wide(x: Array) -> Array:
    """``x`` in the type that sums of it are made in: two-byte floats accumulate in float32."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


class Sum(Reduction):
    """The sum over axes."""

    name: ClassVar[str] = "sum"
    law: ClassVar[str] = "y = Σ x over axes"
    monoid = "sum"

    def compute(self, x: Array, **over: Any) -> Any:
        return np.sum(x, dtype=x.dtype, **over)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return (broadcast_to(self.stretched(x, gradient), x.shape),)


class Mean(Reduction):
    """The mean over axes."""

    name: ClassVar[str] = "mean"
    law: ClassVar[str] = "y = Σ x / count over axes"
    monoid = "sum"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        type_ = super().infer(check, *inputs)
        check.floating(*inputs)
        return type_

    def compute(self, x: Array, **over: Any) -> Any:
        return np.mean(x, **over)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        share = gradient / size(self.count(x), x.dtype)
        return (broadcast_to(self.stretched(x, share), x.shape),)

    def finish(self, acc: Acc, node: Node) -> Expr:
        return apply("div", acc, number(self.count(node.inputs[0]), node.dtype))


class Extremum(Reduction):
    """Base of max and min: NaN wins, equal ones share the gradient evenly."""

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        winners = equal(x, self.stretched(x, node))
        count = make(Sum(self.axes, keepdims=True), cast(winners, x.dtype))
        return (where(winners, self.stretched(x, gradient) / count, 0.0),)


class Max(Extremum):
    """The largest element over axes."""

    name: ClassVar[str] = "max"
    law: ClassVar[str] = "y = max x over axes, ties split evenly"
    monoid = "max"

    def compute(self, x: Array, **over: Any) -> Any:
        return np.max(x, **over)


class Min(Extremum):
    """The smallest element over axes."""

    name: ClassVar[str] = "min"
    law: ClassVar[str] = "y = min x over axes, ties split evenly"
    monoid = "min"

    def compute(self, x: Array, **over: Any) -> Any:
        return np.min(x, **over)


# -- public ---------------------------------------------------------------------------------------


def sum(x: Node, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Node:
    """The sum over ``axis``: an int, a tuple of ints, or None for all; ``dim=`` is the same.

    The axes are dropped, or kept with size 1 (``keepdims=True``). The dtype stays: integers may
    wrap. Raises ShapeError for an axis that is not there, DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> gx.interpret(gx.Graph({"y": gx.sum(x, 1)}), {}, x=[[1, 2, 3], [4, 5, 6]])["y"].tolist()
    [6.0, 15.0]
    """
    axes = several_axes("sum", x, axis, dim)
    return make(Sum(axes, keepdims), x) if axes else x


def mean(x: Node, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Node:
    """The mean over ``axis``, of floating-point numbers. Arguments and errors as ``sum``.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> gx.interpret(gx.Graph({"y": gx.mean(x, 0)}), {}, x=[[1, 2, 3], [3, 2, 1]])["y"].tolist()
    [2.0, 2.0, 2.0]
    """
    axes = several_axes("mean", x, axis, dim)
    return make(Mean(axes, keepdims), x) if axes else x


def max(x: Node, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Node:
    """The largest element over ``axis``; NaN where one is NaN. Arguments and errors as ``sum``.

    Elements that are equally large share the gradient evenly.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> gx.interpret(gx.Graph({"y": gx.max(x, 1)}), {}, x=[[1, 2, 3], [6, 5, 4]])["y"].tolist()
    [3.0, 6.0]
    """
    axes = several_axes("max", x, axis, dim)
    return make(Max(axes, keepdims), x) if axes else x


def min(x: Node, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Node:
    """The smallest element over ``axis``; NaN where one is NaN. Arguments and errors as ``sum``.

    Elements that are equally small share the gradient evenly.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> gx.interpret(gx.Graph({"y": gx.min(x)}), {}, x=[[1, 2, 3], [6, 5, 4]])["y"].tolist()
    1.0
    """
    axes = several_axes("min", x, axis, dim)
    return make(Min(axes, keepdims), x) if axes else x


__all__ = ["max", "mean", "min", "sum"]
