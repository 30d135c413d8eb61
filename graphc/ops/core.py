"""The two ops without operands: a constant and the value of a symbolic size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir import dims
from graphc.ir.check import Check
from graphc.ir.dims import Size
from graphc.ir.errors import GraphError
from graphc.ir.kernel import Const, Lowering, number
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, dtype_of, shape_of
from graphc.ir.window import Receptive


@dataclass(frozen=True, eq=False)
class Constant(Op):
    """A fixed array, told apart by its bits."""

    name: ClassVar[str] = "constant"
    law: ClassVar[str] = "y = value"
    value: np.ndarray[Any, Any]

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        return TensorType(shape_of(self.value.shape, what="constant"), dtype_of(self.value.dtype))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return self.value

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return ()

    def lower(self, low: Lowering, node: Node) -> None:
        # A number is written into the kernels that read it; an array is a buffer of the plan.
        if self.value.ndim == 0:
            low.map((), low.out, (), Const(self.value.item(), node.dtype))
        else:
            low.routine("constant", (), low.out, value=self.value)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return ()

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(0, self.value.nbytes)


@dataclass(frozen=True, eq=False)
class SizeOf(Op):
    """The number that a size is in this run, as a scalar."""

    name: ClassVar[str] = "size"
    law: ClassVar[str] = "y = the number that `of` is in this run"
    of: int | dims.Dim
    dtype: np.dtype[Any] = np.dtype(np.float32)

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        return TensorType((), dtype_of(self.dtype))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return np.asarray(dims.evaluate(self.of, sizes), self.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return ()

    def lower(self, low: Lowering, node: Node) -> None:
        low.map((), low.out, (), number(self.of, node.dtype))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return ()

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(0, node.dtype.itemsize)


def constant(value: Any, dtype: Any = None) -> Node:
    """A constant node: a number, or an array (copied, so later changes to yours do not show).

    dtype: where left out, an array keeps its own; a Python float is float32, an int int64.
    Raises DTypeError for element types that graphc does not compute with.

    >>> import graphc as gx
    >>> gx.constant([1.0, 2.0]).dtype.name
    'float32'
    >>> gx.constant(0.0) is gx.constant(-0.0)
    False
    """
    if isinstance(value, Node):
        return value
    given = dtype_of(dtype) if dtype is not None else None
    try:
        array = np.array(value)
    except ValueError as error:
        raise GraphError(f"constant({type(value).__name__}) is not an array: {error}") from None
    if given is None and not isinstance(value, (np.ndarray, np.generic)) and array.dtype == float:
        given = np.dtype(np.float32)
    array = np.array(array, dtype=dtype_of(array.dtype) if given is None else given, order="C")
    array.setflags(write=False)
    return make(Constant(array))


def size(of: Size | str, dtype: Any = "float32") -> Node:
    """The value of a size, as a scalar node: ``gx.size(x.shape[0])``. Of an int it is a constant.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> float(gx.interpret(gx.Graph({"n": gx.size("N") + gx.sum(x) * 0}), {}, x=[[1, 2, 3]])["n"])
    1.0
    """
    (entry,) = shape_of((of,), what="size")
    return (
        constant(entry, dtype) if isinstance(entry, int) else make(SizeOf(entry, dtype_of(dtype)))
    )
