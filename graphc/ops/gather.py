"""Reading by index, and its transpose, which adds up what was read twice: a closed family.

``gather`` and ``gather_grad`` are linear in their first operand, and each is the other's gradient.
``embedding`` is a gather of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir import dims
from graphc.ir.check import Check
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import DTypeError, GraphError
from graphc.ir.kernel import Lowering
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, shape_of
from graphc.ir.window import Everything, Receptive
from graphc.ops.axes import one_axis
from graphc.ops.counting import elements, traffic
from graphc.ops.mistake import mistake
from graphc.ops.pointwise import BOOL
from graphc.ops.reduce import wide
from graphc.ops.shape import check_shape, transpose
from graphc.ops.softmax import check_labels, check_range

__all__ = ["embedding", "gather", "gather_grad"]


@dataclass(frozen=True, eq=False)
class Gather(Op):
    """x at the indices, along the axis after the ``batch`` leading ones, which both share."""

    name: ClassVar[str] = "gather"
    operands: ClassVar[tuple[str, ...]] = ("x", "index")
    law: ClassVar[str] = "y[b…,k…,r…] = x[b…,index[b…,k…],r…]"
    batch: int = 0

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        x, index = inputs
        check_labels(check, index, "index")
        check.require(
            0 <= self.batch < x.ndim and self.batch <= index.ndim,
            f"x has {x.ndim} axes, the index {index.ndim}: they cannot share {self.batch}, with "
            "one more of x to read along",
        )
        lead = _shared(check, x, index, self.batch)
        shape = (*lead, *index.shape[self.batch :], *x.shape[self.batch + 1 :])
        return TensorType(check_shape(check, shape), x.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x, index = inputs
        lead, size, rest = _parts(x.shape, self.batch)
        _inside(self.name, index, size)
        rows, chosen = x.reshape(lead, size, *rest), index.reshape(lead, -1)
        read = np.stack([rows[b][chosen[b]] for b in range(lead)])
        return read.reshape(*index.shape, *rest)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        x, index = node.inputs
        return [make(GatherGrad(x.shape[self.batch], self.batch), gradient, index), None]

    def lower(self, low: Lowering, node: Node) -> None:
        x, index = node.inputs
        check_range(low, index, x.shape[self.batch], "an index")
        low.routine("gather", [x, index], low.out, batch=self.batch)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Everything(), Everything()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        # It reads as many elements of x as it writes, not all of x.
        index = node.inputs[1]
        moved = 2 * elements(node, sizes) * node.dtype.itemsize
        return Cost(0, moved + elements(index, sizes) * index.dtype.itemsize)


@dataclass(frozen=True, eq=False)
class GatherGrad(Op):
    """The transpose of ``gather`` in x: what was read several times is added up."""

    name: ClassVar[str] = "gather_grad"
    operands: ClassVar[tuple[str, ...]] = ("gradient", "index")
    law: ClassVar[str] = "<gather(x, i), g> = <x, gather_grad(g, i)>"
    size: int | Dim
    batch: int = 0

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        gradient, index = inputs
        check_labels(check, index, "index")
        check.require(
            gradient.dtype != BOOL, "needs numbers, not bool",
            fix="gx.cast(gradient, 'float32') first", error=DTypeError,
        )  # fmt: skip
        check.require(
            0 <= self.batch <= index.ndim <= gradient.ndim,
            f"the gradient has {gradient.ndim} axes, the index {index.ndim}, of which "
            f"{self.batch} are shared: the gradient begins with all of the index's",
        )
        lead = _shared(check, gradient, index, index.ndim)[: self.batch]
        check.at_least(self.size, 1, "the size that is indexed")
        shape = (*lead, self.size, *gradient.shape[index.ndim :])
        return TensorType(check_shape(check, shape), gradient.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        gradient, index = inputs
        size = dims.evaluate(self.size, sizes)
        _inside(self.name, index, size)
        lead, rest = index.shape[: self.batch], gradient.shape[index.ndim :]
        count = math.prod(lead)
        result = np.zeros((count, size, *rest), wide(gradient).dtype)
        chosen = index.reshape(count, -1)
        added = wide(gradient).reshape(count, chosen.shape[1], *rest)
        for b in range(count):
            np.add.at(result[b], chosen[b], added[b])
        return result.reshape(*lead, size, *rest).astype(gradient.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [make(Gather(self.batch), gradient, node.inputs[1]), None]

    def lower(self, low: Lowering, node: Node) -> None:
        check_range(low, node.inputs[1], self.size, "an index")
        low.routine("gather_grad", node.inputs, low.out, batch=self.batch)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Everything(), Everything()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(elements(node.inputs[0], sizes), traffic(node, sizes))


def _shared(check: Check, left: Node, index: Node, count: int) -> tuple[Size, ...]:
    """The leading axes that the index shares with the other operand."""
    name = check.op.operands[0]
    return tuple(
        check.equal(a, b, f"axis {axis} of {name} is not that of the index")
        for axis, (a, b) in enumerate(zip(left.shape[:count], index.shape[:count], strict=True))
    )


def _parts(shape: tuple[int, ...], batch: int) -> tuple[int, int, tuple[int, ...]]:
    """A shape as (elements of the shared axes, the indexed size, the rest)."""
    return math.prod(shape[:batch]), shape[batch], shape[batch + 1 :]


def _inside(name: str, index: Array, size: int) -> None:
    outside = np.argwhere((index < 0) | (index >= size))
    if len(outside):
        where = tuple(map(int, outside[0]))
        raise GraphError(
            f"{name}: index {index[where]} at {list(where)} is outside [0, {size}), the axis that "
            "is read"
        )


# -- functions -------------------------------------------------------------------------------------


def embedding(index: Node, weight: Node) -> Node:
    """The rows of ``weight`` that ``index`` names: the vector of each word.

    index: int64 of any shape, each in [0, K): another one is a GraphError when the program runs;
    weight: (K, D). Result: index.shape + (D,). Rows read several times get the sum of their
    gradients. Names and order as ``torch.nn.functional.embedding``. Raises DTypeError for other
    integers, ShapeError for a weight that is no matrix.

    >>> import graphc as gx
    >>> word = gx.input("word", ("N",), dtype="int64")
    >>> weight = gx.constant([[1.0, 2.0], [3.0, 4.0]])
    >>> gx.interpret(gx.Graph({"y": gx.embedding(word, weight)}), {}, word=[1, 0, 1])["y"].tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """
    if weight.ndim != 2:
        what = f"the weight has {weight.ndim} axes, not 2 (words, their vectors)"
        mistake("embedding", what, fix="gx.embedding(index, weight)", index=index, weight=weight)
    return make(Gather(), weight, index)


def gather(x: Node, axis: int, index: Node) -> Node:
    """``x`` at the indices along one axis: y[i, j, k] = x[i, index[i, j, k], k] for axis 1 of 3.

    index: int64, with x's axes, of x's sizes but along ``axis``; each in [0, x.shape[axis]):
    another one is a GraphError when the program runs. Result: index's shape. The order of the
    arguments is that of ``torch.gather``; the meaning is also ``numpy.take_along_axis``'s. Raises
    ShapeError where the shapes do not fit, DTypeError for other integers.

    >>> import graphc as gx
    >>> x, i = gx.input("x", ("N", 3)), gx.input("i", ("N", 1), dtype="int64")
    >>> graph = gx.Graph({"y": gx.gather(x, 1, i)})
    >>> gx.interpret(graph, {}, x=[[1, 2, 3], [4, 5, 6]], i=[[2], [0]])["y"].tolist()
    [[3.0], [4.0]]
    """
    at, last = one_axis("gather", x, axis), x.ndim - 1
    if index.ndim != x.ndim:
        mistake("gather", f"x has {x.ndim} axes, the index {index.ndim}", x=x, index=index)
    # The axis comes last, where all others are the batch.
    order = [i for i in range(x.ndim) if i != at] + [at]
    read = make(Gather(last), transpose(x, order), transpose(index, order))
    return transpose(read, [order.index(i) for i in range(x.ndim)])


def gather_grad(g: Node, index: Node, size: Any, *, batch: int = 0) -> Node:
    """The gradient of a gather to what it reads: zeros, with each part of ``g`` added at its index.

    g: index.shape + rest; index: int64, each in [0, size); batch: the number of leading axes that
    stay in place. Result: index.shape[:batch] + (size,) + rest. Where an index stands several times
    the parts are added in order. Raises ShapeError where g does not begin with index's shape.

    >>> import graphc as gx
    >>> g, i = gx.input("g", ("N",)), gx.input("i", ("N",), dtype="int64")
    >>> graph = gx.Graph({"x": gx.gather_grad(g, i, 3)})
    >>> gx.interpret(graph, {}, g=[1, 10, 100], i=[2, 0, 2])["x"].tolist()
    [10.0, 0.0, 101.0]
    """
    (count,) = shape_of((size,), what="gather_grad: size")
    return make(GatherGrad(count, batch), g, index)
