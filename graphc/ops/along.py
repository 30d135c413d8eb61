"""Along one axis: running sums, and where the largest element stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir.check import Check
from graphc.ir.errors import DTypeError
from graphc.ir.kernel import Acc, Const, Lowering, Phase, Store, index
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType
from graphc.ir.window import AxisWindow, Followed, Receptive, Windowed
from graphc.ops.axes import one_axis, said_axis
from graphc.ops.counting import elements, per_element, traffic
from graphc.ops.pointwise import BOOL
from graphc.ops.reduce import wide
from graphc.ops.shape import reshape

__all__ = ["argmax", "cumsum"]

INT64 = np.dtype(np.int64)


def _check_axis(check: Check, axis: int) -> Node:
    check.arity(1)
    (x,) = check.inputs
    check.require(0 <= axis < x.ndim, f"there is no axis {axis} in x")
    check.require(
        x.dtype != BOOL, "needs numbers, not bool", fix="gx.cast(x, 'int64') first",
        error=DTypeError,
    )  # fmt: skip
    return x


@dataclass(frozen=True, eq=False)
class Argmax(Op):
    """The place of the largest element along an axis; of several, the first. A NaN is largest."""

    name: ClassVar[str] = "argmax"
    operands: ClassVar[tuple[str, ...]] = ("x",)
    law: ClassVar[str] = "y = the first i at which x[…,i,…] is the maximum"
    axis: int
    keepdims: bool = False

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        x = _check_axis(check, self.axis)
        kept = (1,) if self.keepdims else ()
        return TensorType((*x.shape[: self.axis], *kept, *x.shape[self.axis + 1 :]), INT64)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        found = np.argmax(inputs[0], self.axis, keepdims=self.keepdims)
        return np.asarray(found, np.int64)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [None]

    def lower(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        if x.shape[self.axis] == 1:  # of one element, whatever it is
            axes = low.axes(node.shape)
            low.map(axes, low.out, axes, Const(0, INT64))
            return
        axes = low.axes(x.shape)
        along = axes[self.axis]
        parallel = [axis for axis in axes if axis is not along]
        first = Acc("argmax", low.load(x, axes), INT64)
        to = [0 if axis is along else axis for axis in axes] if self.keepdims else parallel
        store = Store(low.out, tuple(map(index, to)), first)
        low.kernel(parallel, [Phase((along,), (first,)), Phase(stores=(store,))])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        (x,) = node.inputs
        if not self.keepdims:
            kept = iter(range(node.ndim))
            return [Followed(tuple(None if i == self.axis else next(kept) for i in range(x.ndim)))]
        return [Windowed(((self.axis - x.ndim, AxisWindow(x.shape[self.axis], stride=0)),))]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(elements(node.inputs[0], sizes), traffic(node, sizes))


@dataclass(frozen=True, eq=False)
class Cumsum(Op):
    """Running sums along an axis, from its beginning, or (its transpose) from its end."""

    name: ClassVar[str] = "cumsum"
    operands: ClassVar[tuple[str, ...]] = ("x",)
    law: ClassVar[str] = "y[…,i,…] = Σ_j≤i x[…,j,…]; j≥i with reverse, which is the transpose"
    axis: int
    reverse: bool = False

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        return _check_axis(check, self.axis).type

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        turned = np.flip(wide(x), self.axis) if self.reverse else wide(x)
        added = np.cumsum(turned, self.axis, turned.dtype)
        return (np.flip(added, self.axis) if self.reverse else added).astype(x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [make(Cumsum(self.axis, not self.reverse), gradient)]

    def lower(self, low: Lowering, node: Node) -> None:
        low.routine("cumsum", node.inputs, low.out, axis=self.axis, reverse=self.reverse)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        so_far = AxisWindow(through=1 if self.reverse else -1)
        return [Windowed(((self.axis - node.ndim, so_far),))]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, 1)


# -- functions ------------------------------------------------------------------------------------


def argmax(x: Node, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Node:
    """Where the largest element along ``axis`` (``dim=`` is the same) stands: int64, from 0.

    Of equal elements the first; a NaN is larger than all. With no axis, the place among all
    elements in row-major order. Result: x's shape without the axis, or with 1 there
    (``keepdims``). No gradient flows. Raises ShapeError for an axis that is not there, DTypeError
    for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> gx.interpret(gx.Graph({"y": gx.argmax(x, 1)}), {}, x=[[1, 3, 3], [6, 5, 4]])["y"].tolist()
    [1, 0]
    """
    said = said_axis("argmax", x, axis, dim)
    if said is not None:
        return make(Argmax(one_axis("argmax", x, said), keepdims), x)
    place = make(Argmax(0), reshape(x, (math.prod(x.shape),)))
    return reshape(place, (1,) * x.ndim) if keepdims else place


def cumsum(x: Node, axis: Any = None, *, dim: Any = None) -> Node:
    """The running sums of ``x`` along ``axis`` (``dim=`` is the same; one of them is needed).

    Result: x's shape and dtype. Raises ShapeError for an axis that is not there, GraphError for
    none, DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.cumsum(x, 0)}), {}, x=[1, 2, 3])["y"].tolist()
    [1.0, 3.0, 6.0]
    """
    return make(Cumsum(one_axis("cumsum", x, said_axis("cumsum", x, axis, dim))), x)
