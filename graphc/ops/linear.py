"""Matrix products: ``matmul`` and the fully connected layer ``linear``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir.check import Check
from graphc.ir.errors import DTypeError
from graphc.ir.kernel import Axis, Lowering, apply
from graphc.ir.node import OPERATORS, Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType
from graphc.ir.window import AxisWindow, Followed, Receptive, Windowed
from graphc.ops.core import Constant
from graphc.ops.counting import elements, traffic
from graphc.ops.pointwise import BOOL, operands
from graphc.ops.reduce import sum, wide
from graphc.ops.shape import reshape, squeeze, unsqueeze

# A constant matrix with more numbers than this counts as one without zeros.
MOST_LISTED = 1 << 16


@dataclass(frozen=True, eq=False)
class Matmul(Op):
    """Products of matrices, the last two axes; the axes before them are a batch and broadcast.

    Either operand may be read transposed, so that gradients are matmuls of the same two operands.
    """

    name: ClassVar[str] = "matmul"
    law: ClassVar[str] = "y[…, i, j] = Σ_k left[…, i, k] · right[…, k, j]"
    operands: ClassVar[tuple[str, ...]] = ("left", "right")
    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        a, b = inputs
        for node in inputs:
            check.require(node.ndim >= 2, f"{node.type} is not a matrix: matrices have two axes")
            check.require(
                node.dtype != BOOL, "needs numbers, not bool",
                fix="gx.cast(x, 'float32') first", error=DTypeError,
            )  # fmt: skip
        m, k = a.shape[:-3:-1] if self.transpose_a else a.shape[-2:]
        inner, n = b.shape[:-3:-1] if self.transpose_b else b.shape[-2:]
        columns = "rows (it is read transposed)" if self.transpose_a else "columns"
        rows = "columns (it is read transposed)" if self.transpose_b else "rows"
        check.equal(
            k, inner, f"left has {k} {columns}, right has {inner} {rows}",
            fix="the inner sizes must agree: reshape or gx.transpose one operand",
        )  # fmt: skip
        batch = check.broadcast([a.shape[:-2], b.shape[:-2]])
        return TensorType((*batch, m, n), check.dtype(a, b))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        a, b = inputs
        left = a.swapaxes(-1, -2) if self.transpose_a else a
        right = b.swapaxes(-1, -2) if self.transpose_b else b
        return np.asarray(np.matmul(wide(left), wide(right))).astype(a.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        a, b = node.inputs
        ta, tb = self.transpose_a, self.transpose_b
        to_a = _product(b, gradient, tb, True) if ta else _product(gradient, b, False, not tb)
        to_b = _product(gradient, a, True, ta) if tb else _product(a, gradient, not ta, False)
        return to_a, to_b  # the driver sums over broadcast batch axes

    def lower(self, low: Lowering, node: Node) -> None:
        a, b = node.inputs
        batch = low.axes(node.shape[:-2], "b")
        m, n = Axis("m", node.shape[-2]), Axis("n", node.shape[-1])
        k = Axis("k", a.shape[-2] if self.transpose_a else a.shape[-1])
        left = [*_aligned(a, batch), *((k, m) if self.transpose_a else (m, k))]
        right = [*_aligned(b, batch), *((n, k) if self.transpose_b else (k, n))]
        # One matrix for the whole batch: the batch axes are more rows of one large product.
        rows_only = not self.transpose_a and all(size == 1 for size in b.shape[:-2])
        whole = rows_only and a.shape[:-2] == node.shape[:-2]
        low.gemm(
            batch=() if whole else batch, m=(*batch, m) if whole else (m,), n=(n,), k=(k,),
            a=low.load(a, left), b=low.load(b, right), out_index=(*batch, m, n),
        )  # fmt: skip

    def receptive(self, node: Node) -> Sequence[Receptive]:
        # Each row of a meets each column of b; batch axes broadcast, as the analysis knows.
        a, b = node.inputs
        rows, columns = node.ndim - 2, node.ndim - 1
        reads: list[Receptive] = []
        for source, kept, turned in (
            (a, rows, self.transpose_a),
            (b, columns, not self.transpose_b),
        ):
            batch = range(node.ndim - source.ndim, node.ndim - 2)
            reads.append(Followed((*batch, None, kept) if turned else (*batch, kept, None)))
        # A constant matrix says by its zeros what of the other operand is read.
        if not self.transpose_b and (listed := _listed(a, self.transpose_a)):
            reads[1] = Windowed(((-2, AxisWindow(listed=listed)),))
        if not self.transpose_a and (listed := _listed(b, not self.transpose_b)):
            reads[0] = Windowed(((-1, AxisWindow(listed=listed)),))
        return reads

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        a = node.inputs[0]
        inner = a.type.concrete(sizes)[-2 if self.transpose_a else -1]
        return Cost(2 * inner * elements(node, sizes), traffic(node, sizes))


def _listed(node: Node, turned: bool) -> tuple[tuple[int, ...], ...]:
    """Where the rows of a constant matrix (its columns, ``turned``) are not zero; nothing where it
    is no small constant matrix, or has no zeros."""
    if not isinstance(node.op, Constant) or node.ndim != 2 or node.op.value.size > MOST_LISTED:
        return ()
    marked = node.op.value != 0
    if marked.all():
        return ()
    return tuple(tuple(np.flatnonzero(row).tolist()) for row in (marked.T if turned else marked))


def _aligned(node: Node, batch: Sequence[Axis]) -> list[Axis | int]:
    """Where ``node`` is read for a point of the batch, as broadcasting aligns it."""
    sizes = node.shape[:-2]
    return [
        0 if size == 1 else axis
        for size, axis in zip(sizes, batch[len(batch) - len(sizes) :], strict=True)
    ]


def _product(a: Node, b: Node, transpose_a: bool, transpose_b: bool) -> Node:
    return make(Matmul(transpose_a, transpose_b), a, b)


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """The fully connected layer: an op of its own, so that k calls are k users of its weight."""

    name: ClassVar[str] = "linear"
    law: ClassVar[str] = "y[…, o] = Σ_i x[…, i] · weight[o, i] + bias[o]"
    operands: ClassVar[tuple[str, ...]] = ("x", "weight", "bias")

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2, 3)
        x, w = inputs[:2]
        check.require(x.ndim >= 1, "x is a scalar, it has no features")
        check.ndim(w, 2, "out features, in features")
        check.equal(
            x.shape[-1], w.shape[1],
            f"x has {x.shape[-1]} features, the weight takes {w.shape[1]} (weight.shape[1])",
            fix="gx.flatten(x) joins the axes after the batch; else the weight needs shape "
            f"({w.shape[0]}, {x.shape[-1]})",
        )  # fmt: skip
        for b in inputs[2:]:
            check.ndim(b, 1, "out features")
            check.equal(
                b.shape[0], w.shape[0],
                f"the bias has {b.shape[0]} numbers, the weight gives {w.shape[0]} features",
                fix=f"a bias of shape ({w.shape[0]},), one number for each row of the weight",
            )  # fmt: skip
        return TensorType((*x.shape[:-1], w.shape[0]), check.floating(*inputs))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x, w = map(wide, inputs[:2])
        y = np.matmul(x, w.T)
        for b in inputs[2:]:
            y = y + wide(b)
        return np.asarray(y).astype(inputs[0].dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        x, w = node.inputs[:2]
        rows = reshape(gradient, (-1, w.shape[0]))
        to_x = reshape(_product(rows, w, False, False), x.shape)
        to_w = _product(rows, reshape(x, (-1, w.shape[1])), True, False)
        return (to_x, to_w, *(sum(rows, 0) for _ in node.inputs[2:]))

    def lower(self, low: Lowering, node: Node) -> None:
        x, w = node.inputs[:2]
        bias = node.inputs[2:]
        rows = low.axes(node.shape[:-1], "m")
        n, k = Axis("n", w.shape[0]), Axis("k", w.shape[1])
        product = low.scratch("product", node.shape, node.dtype) if bias else low.out
        low.gemm(
            m=rows, n=(n,), k=(k,), a=low.load(x, (*rows, k)), b=low.load(w, (n, k)),
            out=product, out_index=(*rows, n),
        )  # fmt: skip
        for b in bias:
            axes = low.axes(node.shape)
            total = apply("add", low.load(product, axes), low.broadcast(b, axes))
            low.map(axes, low.out, axes, total)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        last = node.ndim - 1
        to_bias = [Followed((last,))] * (len(node.inputs) - 2)
        return [Followed((*range(last), None)), Followed((last, None)), *to_bias]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        x, w = node.inputs[:2]
        out_features, in_features = w.type.concrete(sizes)
        rows = math.prod(x.type.concrete(sizes)[:-1])
        flops = rows * out_features * (2 * in_features + len(node.inputs) - 2)
        return Cost(flops, traffic(node, sizes))


# -- public ---------------------------------------------------------------------------------------


def matmul(left: Any, right: Any) -> Node:
    """The matrix product over the last axis of ``left`` and the last but one of ``right``.

    left: (…, m, k), right: (…, k, n) → (…, m, n); the axes before broadcast, as in
    ``numpy.matmul``; a vector (k,) is a row on the left, a column on the right, and its axis of
    size 1 is dropped again. ``left @ right`` is the same.

    Raises ShapeError where the inner sizes differ or the batch axes do not broadcast, DTypeError
    for two dtypes.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 2))
    >>> y = x @ np.float32([[1, 2], [3, 4]])
    >>> gx.interpret(gx.Graph({"y": y}), {}, x=[[1, 0], [1, 1]])["y"].tolist()
    [[1.0, 2.0], [4.0, 6.0]]
    """
    a, b = operands(left, right)
    Check(Matmul(), (a, b)).require(
        a.ndim > 0 and b.ndim > 0, "a scalar is not a matrix", fix="x * y multiplies by element"
    )
    row, column = a.ndim == 1, b.ndim == 1
    y = make(Matmul(), unsqueeze(a, 0) if row else a, unsqueeze(b, 1) if column else b)
    axes = (*([-2] if row else []), *([-1] if column else []))
    return squeeze(y, axes) if axes else y


def linear(x: Node, w: Node, b: Node | None = None) -> Node:
    """The fully connected layer x·wᵀ + b, over the last axis of ``x``.

    x: (…, in), w: (out, in), b: (out,) → (…, out). Raises ShapeError where they do not fit,
    DTypeError for two dtypes or an integer one.

    >>> import graphc as gx
    >>> x, w = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3))
    >>> gx.linear(x, w).shape
    (Dim('N'), 2)
    """
    return make(Linear(), x, w) if b is None else make(Linear(), x, w, b)


OPERATORS["matmul"] = matmul

__all__ = ["linear", "matmul"]
