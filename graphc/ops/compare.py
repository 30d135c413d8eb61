"""Comparisons, logic, choice and conversion: the pointwise ops that make or read truth values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir.check import Check
from graphc.ir.errors import DTypeError
from graphc.ir.kernel import Expr, apply
from graphc.ir.node import OPERATORS, Node, make
from graphc.ir.types import dtype_of, is_float, short
from graphc.ops.core import constant
from graphc.ops.pointwise import BOOL, Binary, Pointwise, Unary, operands


class Comparison(Binary):
    """Base: two operands of one dtype give bool. A step function: no gradient flows."""

    takes = "any"
    flops = 1

    def result_dtype(self, check: Check, *inputs: Node) -> np.dtype[Any]:
        check.dtype(*inputs)
        return BOOL

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return None, None


class Equal(Comparison):
    """Elementwise ``==``."""

    name: ClassVar[str] = "eq"
    law: ClassVar[str] = "y = (left == right); a NaN equals nothing"

    def compute(self, a: Any, b: Any) -> Any:
        return np.equal(a, b)


class NotEqual(Comparison):
    """Elementwise ``!=``."""

    name: ClassVar[str] = "ne"
    law: ClassVar[str] = "y = (left != right); a NaN differs from everything"

    def compute(self, a: Any, b: Any) -> Any:
        return np.not_equal(a, b)


class Less(Comparison):
    """Elementwise ``<``."""

    name: ClassVar[str] = "lt"
    law: ClassVar[str] = "y = (left < right)"

    def compute(self, a: Any, b: Any) -> Any:
        return np.less(a, b)


class LessEqual(Comparison):
    """Elementwise ``<=``."""

    name: ClassVar[str] = "le"
    law: ClassVar[str] = "y = (left <= right)"

    def compute(self, a: Any, b: Any) -> Any:
        return np.less_equal(a, b)


class Greater(Comparison):
    """Elementwise ``>``."""

    name: ClassVar[str] = "gt"
    law: ClassVar[str] = "y = (left > right)"

    def compute(self, a: Any, b: Any) -> Any:
        return np.greater(a, b)


class GreaterEqual(Comparison):
    """Elementwise ``>=``."""

    name: ClassVar[str] = "ge"
    law: ClassVar[str] = "y = (left >= right)"

    def compute(self, a: Any, b: Any) -> Any:
        return np.greater_equal(a, b)


class And(Binary):
    """Elementwise logical and."""

    name: ClassVar[str] = "and"
    law: ClassVar[str] = "y = left and right"
    takes = "bools"

    def compute(self, a: Any, b: Any) -> Any:
        return np.logical_and(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return None, None


class Or(Binary):
    """Elementwise logical or."""

    name: ClassVar[str] = "or"
    law: ClassVar[str] = "y = left or right"
    takes = "bools"

    def compute(self, a: Any, b: Any) -> Any:
        return np.logical_or(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return None, None


class Not(Unary):
    """Elementwise logical not."""

    name: ClassVar[str] = "not"
    law: ClassVar[str] = "y = not x"
    takes = "bools"

    def compute(self, x: Any) -> Any:
        return np.logical_not(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return None


class Where(Pointwise):
    """Choice: the branch not taken is never computed with, a NaN in it does not show."""

    name: ClassVar[str] = "where"
    law: ClassVar[str] = "y = a where condition, else b"
    operands: ClassVar[tuple[str, ...]] = ("condition", "a", "b")
    flops = 0

    def result_dtype(self, check: Check, *inputs: Node) -> np.dtype[Any]:
        condition, a, b = inputs
        if condition.dtype != BOOL:
            check.fail(
                f"the condition is {short(condition.dtype)}, not bool",
                fix="compare, e.g. gx.where(x > 0, a, b)",
                error=DTypeError,
            )
        return check.dtype(a, b)

    def compute(self, *inputs: Any) -> Any:
        return np.where(*inputs)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        condition = node.inputs[0]
        return None, where(condition, gradient, 0.0), where(condition, 0.0, gradient)

    def express(self, *elements: Expr) -> Expr:
        return apply("select", *elements)


@dataclass(frozen=True, eq=False)
class Cast(Unary):
    """Conversion of the element type, as ``numpy.astype``: towards an int it truncates."""

    name: ClassVar[str] = "cast"
    law: ClassVar[str] = "y = x as dtype"
    takes = "any"
    flops = 0
    dtype: np.dtype[Any] = np.dtype(np.float32)

    def result_dtype(self, check: Check, *inputs: Node) -> np.dtype[Any]:
        return dtype_of(self.dtype)

    def compute(self, x: Any) -> Any:
        return x.astype(self.dtype)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return cast(g, x.dtype) if is_float(x.dtype) else None

    def express(self, *elements: Expr) -> Expr:
        return apply("cast", *elements, dtype=self.dtype)


# -- public ---------------------------------------------------------------------------------------


def equal(left: Any, right: Any) -> Node:
    """Where the elements are equal: bool, of the broadcast shape. (``==`` on nodes is identity.)

    Raises DTypeError for operands of two dtypes, ShapeError where the shapes do not broadcast.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.equal(x, 2.0)}), {}, x=[1, 2, 3])["y"].tolist()
    [False, True, False]
    """
    return make(Equal(), *operands(left, right))


def not_equal(left: Any, right: Any) -> Node:
    """Where the elements differ: bool, of the broadcast shape. Errors as ``equal``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.not_equal(x, 2.0)}), {}, x=[1, 2, 3])["y"].tolist()
    [True, False, True]
    """
    return make(NotEqual(), *operands(left, right))


def less(left: Any, right: Any) -> Node:
    """``left < right`` by element: bool, of the broadcast shape. Errors as ``equal``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": x < 2}), {}, x=[1, 2, 3])["y"].tolist()
    [True, False, False]
    """
    return make(Less(), *operands(left, right))


def less_equal(left: Any, right: Any) -> Node:
    """``left <= right`` by element: bool, of the broadcast shape. Errors as ``equal``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": x <= 2}), {}, x=[1, 2, 3])["y"].tolist()
    [True, True, False]
    """
    return make(LessEqual(), *operands(left, right))


def greater(left: Any, right: Any) -> Node:
    """``left > right`` by element: bool, of the broadcast shape. Errors as ``equal``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": x > 2}), {}, x=[1, 2, 3])["y"].tolist()
    [False, False, True]
    """
    return make(Greater(), *operands(left, right))


def greater_equal(left: Any, right: Any) -> Node:
    """``left >= right`` by element: bool, of the broadcast shape. Errors as ``equal``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": x >= 2}), {}, x=[1, 2, 3])["y"].tolist()
    [False, True, True]
    """
    return make(GreaterEqual(), *operands(left, right))


def logical_and(left: Any, right: Any) -> Node:
    """Both: of two bool operands, broadcast. Raises DTypeError for any other dtype.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> graph = gx.Graph({"y": gx.logical_and(x > 1, x < 3)})
    >>> gx.interpret(graph, {}, x=[1, 2, 3])["y"].tolist()
    [False, True, False]
    """
    return make(And(), *operands(left, right))


def logical_or(left: Any, right: Any) -> Node:
    """Either or both: of two bool operands, broadcast. Raises DTypeError for any other dtype.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> graph = gx.Graph({"y": gx.logical_or(x < 2, x > 2)})
    >>> gx.interpret(graph, {}, x=[1, 2, 3])["y"].tolist()
    [True, False, True]
    """
    return make(Or(), *operands(left, right))


def logical_not(x: Node) -> Node:
    """The opposite of a bool operand. Raises DTypeError for any other dtype.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.logical_not(x > 1)}), {}, x=[1, 2, 3])["y"].tolist()
    [True, False, False]
    """
    return make(Not(), x)


def where(condition: Node, a: Any, b: Any) -> Node:
    """``a`` where ``condition`` (bool) holds, else ``b``; all three broadcast.

    The gradient of the branch not taken is exactly 0, whatever its value (also NaN or inf).
    Raises DTypeError where the condition is not bool or ``a`` and ``b`` are of two dtypes.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.where(x > 2, x, 0)}), {}, x=[1, 2, 3])["y"].tolist()
    [0.0, 0.0, 3.0]
    """
    return make(Where(), *operands(condition), *operands(a, b))


def cast(x: Any, dtype: Any) -> Node:
    """``x`` with elements of another type, as ``numpy.astype``; ``x`` itself if it has it already.

    The gradient flows back in ``x``'s own type, if that is a floating one. Raises DTypeError for
    element types that graphc does not compute with.

    >>> import graphc as gx
    >>> pixels = gx.input("pixels", (3,), dtype="uint8")
    >>> graph = gx.Graph({"y": gx.cast(pixels, "float32") / 255})
    >>> gx.interpret(graph, {}, pixels=[0, 51, 255])["y"].tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    x, to = constant(x), dtype_of(dtype)
    return x if x.dtype == to else make(Cast(to), x)


OPERATORS.update(lt=less, le=less_equal, gt=greater, ge=greater_equal)

__all__ = [
    "cast",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "not_equal",
    "where",
]
