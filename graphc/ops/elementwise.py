"""Arithmetic and functions, element by element, with NumPy's broadcasting and no promotion."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from graphc.ir.kernel import Expr, apply
from graphc.ir.node import OPERATORS, Node, make
from graphc.ops.compare import equal, where
from graphc.ops.core import Constant
from graphc.ops.pointwise import Binary, Unary, operands

# -- arithmetic -----------------------------------------------------------------------------------


class Add(Binary):
    """left + right."""

    name: ClassVar[str] = "add"
    law: ClassVar[str] = "y = left + right"

    def compute(self, a: Any, b: Any) -> Any:
        return np.add(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return g, g


class Sub(Binary):
    """left - right."""

    name: ClassVar[str] = "sub"
    law: ClassVar[str] = "y = left - right"

    def compute(self, a: Any, b: Any) -> Any:
        return np.subtract(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return g, -g


class Mul(Binary):
    """left · right."""

    name: ClassVar[str] = "mul"
    law: ClassVar[str] = "y = left · right"

    def compute(self, a: Any, b: Any) -> Any:
        return np.multiply(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return g * b, g * a


class Div(Binary):
    """left / right."""

    name: ClassVar[str] = "div"
    law: ClassVar[str] = "y = left / right"
    takes = "floats"

    def compute(self, a: Any, b: Any) -> Any:
        return np.divide(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        over = g / b
        return over, -(over * y)


class Pow(Binary):
    """left to the power right; the conventions at 0 are PyTorch's: no NaN where the slope is 0."""

    name: ClassVar[str] = "pow"
    law: ClassVar[str] = "y = left ^ right"
    takes = "floats"
    flops = 10

    def compute(self, a: Any, b: Any) -> Any:
        return np.power(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        if isinstance(b.op, Constant) and b.ndim == 0 and b.op.value != 0:
            exponent = float(b.op.value)
            return g * (pow(a, exponent - 1) * exponent), None
        # What is not chosen must be finite too: its own gradient is 0 times its slope.
        flat, zero = equal(b, 0), equal(a, 0)
        left = where(flat, 0.0, b * pow(where(flat, 1.0, a), b - 1))
        right = where(zero, 0.0, y * log(where(zero, 1.0, a)))
        return g * left, g * right


class Maximum(Binary):
    """The larger of two; equal ones share the gradient. A NaN wins."""

    name: ClassVar[str] = "maximum"
    law: ClassVar[str] = "y = max(left, right), ties split evenly"
    kernel = "max"

    def compute(self, a: Any, b: Any) -> Any:
        return np.maximum(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return _shared(g, a > b, equal(a, b)), _shared(g, b > a, equal(a, b))


class Minimum(Binary):
    """The smaller of two; equal ones share the gradient. A NaN wins."""

    name: ClassVar[str] = "minimum"
    law: ClassVar[str] = "y = min(left, right), ties split evenly"
    kernel = "min"

    def compute(self, a: Any, b: Any) -> Any:
        return np.minimum(a, b)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        return _shared(g, a < b, equal(a, b)), _shared(g, b < a, equal(a, b))


def _shared(g: Node, wins: Node, ties: Node) -> Node:
    """g where an operand wins, half of it where the two are equal."""
    return where(wins, g, where(ties, g * 0.5, 0.0))


# -- functions ------------------------------------------------------------------------------------


class Neg(Unary):
    """-x."""

    name: ClassVar[str] = "neg"
    law: ClassVar[str] = "y = -x"

    def compute(self, x: Any) -> Any:
        return np.negative(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return -g


class Square(Unary):
    """x², with one read of x: ``weight_decay`` reads each weight once."""

    name: ClassVar[str] = "square"
    law: ClassVar[str] = "y = x²"

    def compute(self, x: Any) -> Any:
        return np.square(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * (x * 2)

    def express(self, *elements: Expr) -> Expr:
        return apply("mul", *elements, *elements)


class Sqrt(Unary):
    """√x."""

    name: ClassVar[str] = "sqrt"
    law: ClassVar[str] = "y = √x"
    takes = "floats"

    def compute(self, x: Any) -> Any:
        return np.sqrt(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g / (y * 2)


class Exp(Unary):
    """eˣ."""

    name: ClassVar[str] = "exp"
    law: ClassVar[str] = "y = eˣ"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.exp(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * y


class Log(Unary):
    """The natural logarithm."""

    name: ClassVar[str] = "log"
    law: ClassVar[str] = "y = ln x"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.log(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g / x


class Tanh(Unary):
    """The hyperbolic tangent."""

    name: ClassVar[str] = "tanh"
    law: ClassVar[str] = "y = tanh x"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.tanh(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * (1 - square(y))


class Sin(Unary):
    """The sine of x in radians."""

    name: ClassVar[str] = "sin"
    law: ClassVar[str] = "y = sin x"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.sin(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * cos(x)


class Cos(Unary):
    """The cosine of x in radians."""

    name: ClassVar[str] = "cos"
    law: ClassVar[str] = "y = cos x"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.cos(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return -(g * sin(x))


class Sigmoid(Unary):
    """The logistic function."""

    name: ClassVar[str] = "sigmoid"
    law: ClassVar[str] = "y = 1 / (1 + e⁻ˣ)"
    takes = "floats"
    flops = 12

    def compute(self, x: Any) -> Any:
        one = x.dtype.type(1)
        return one / (one + np.exp(-x))

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * (y * (1 - y))


class Relu(Unary):
    """The rectifier, with slope 0 at 0."""

    name: ClassVar[str] = "relu"
    law: ClassVar[str] = "y = max(x, 0), y'(0) = 0"

    def compute(self, x: Any) -> Any:
        return np.maximum(x, x.dtype.type(0))

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        # Said with y, so that x need not be kept for the way back.
        return where(y > 0, g, 0.0)


class Abs(Unary):
    """|x|, with slope 0 at 0."""

    name: ClassVar[str] = "abs"
    law: ClassVar[str] = "y = |x|, y'(0) = 0"

    def compute(self, x: Any) -> Any:
        return np.abs(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * sign(x)


class Sign(Unary):
    """-1, 0 or 1. Flat everywhere: no gradient flows."""

    name: ClassVar[str] = "sign"
    law: ClassVar[str] = "y = -1, 0 or 1 as x is below, at or above 0"

    def compute(self, x: Any) -> Any:
        return np.sign(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return None


# -- public: arithmetic ---------------------------------------------------------------------------


def add(left: Any, right: Any) -> Node:
    """``left + right``, broadcast as NumPy does; a Python number takes the node's dtype.

    Raises DTypeError for operands of two dtypes (nothing is promoted), ShapeError where the shapes
    do not broadcast.

    >>> import graphc as gx
    >>> x = gx.input("x", (2, 1))
    >>> gx.interpret(gx.Graph({"y": x + np.float32([10, 20])}), {}, x=[[1], [2]])["y"].tolist()
    [[11.0, 21.0], [12.0, 22.0]]
    """
    return make(Add(), *operands(left, right))


def sub(left: Any, right: Any) -> Node:
    """``left - right``, broadcast. Errors as ``add``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": 1 - x}), {}, x=[1, 3])["y"].tolist()
    [0.0, -2.0]
    """
    return make(Sub(), *operands(left, right))


def mul(left: Any, right: Any) -> Node:
    """``left · right`` by element, broadcast. Errors as ``add``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": x * x}), {}, x=[1, 3])["y"].tolist()
    [1.0, 9.0]
    """
    return make(Mul(), *operands(left, right))


def div(left: Any, right: Any) -> Node:
    """``left / right`` of floating-point operands, broadcast. Errors as ``add``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": x / 4}), {}, x=[1, 3])["y"].tolist()
    [0.25, 0.75]
    """
    return make(Div(), *operands(left, right))


def pow(left: Any, right: Any) -> Node:
    """``left ** right`` of floating-point operands, broadcast; ``x ** 2`` is ``square(x)``.

    At 0 as PyTorch: the gradient is 0 for a power 0, and for an exponent above a base 0.
    Errors as ``add``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": x ** 3}), {}, x=[1, 3])["y"].tolist()
    [1.0, 27.0]
    """
    if isinstance(left, Node) and isinstance(right, (int, float)):
        if right == 2:
            return square(left)
        if right == 1 and not isinstance(right, bool):
            return left
    return make(Pow(), *operands(left, right))


def maximum(left: Any, right: Any) -> Node:
    """The larger one of each pair of elements, broadcast; NaN where either is NaN.

    Where the two are equal each gets half of the gradient. Errors as ``add``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.maximum(x, 2)}), {}, x=[1, 2, 3])["y"].tolist()
    [2.0, 2.0, 3.0]
    """
    return make(Maximum(), *operands(left, right))


def minimum(left: Any, right: Any) -> Node:
    """The smaller one of each pair of elements, broadcast; NaN where either is NaN.

    Where the two are equal each gets half of the gradient. Errors as ``add``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.minimum(x, 2)}), {}, x=[1, 2, 3])["y"].tolist()
    [1.0, 2.0, 2.0]
    """
    return make(Minimum(), *operands(left, right))


# -- public: functions ----------------------------------------------------------------------------


def neg(x: Node) -> Node:
    """``-x``. Raises DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": -x}), {}, x=[1, -2])["y"].tolist()
    [-1.0, 2.0]
    """
    return make(Neg(), x)


def square(x: Node) -> Node:
    """x². Raises DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.square(x)}), {}, x=[1, -2])["y"].tolist()
    [1.0, 4.0]
    """
    return make(Square(), x)


def sqrt(x: Node) -> Node:
    """√x, NaN below 0. Raises DTypeError unless ``x`` is floating-point.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.sqrt(x)}), {}, x=[1, 4])["y"].tolist()
    [1.0, 2.0]
    """
    return make(Sqrt(), x)


def exp(x: Node) -> Node:
    """eˣ. Raises DTypeError unless ``x`` is floating-point.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.exp(x)}), {}, x=[0, -1000])["y"].tolist()
    [1.0, 0.0]
    """
    return make(Exp(), x)


def log(x: Node) -> Node:
    """The natural logarithm; -inf at 0, NaN below. Raises DTypeError unless ``x`` is floating.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.log(x)}), {}, x=[1, 0])["y"].tolist()
    [0.0, -inf]
    """
    return make(Log(), x)


def tanh(x: Node) -> Node:
    """The hyperbolic tangent. Raises DTypeError unless ``x`` is floating-point.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.tanh(x)}), {}, x=[0, 100])["y"].tolist()
    [0.0, 1.0]
    """
    return make(Tanh(), x)


def sin(x: Node) -> Node:
    """The sine of ``x`` in radians. Raises DTypeError unless ``x`` is floating-point.

    >>> import graphc as gx, numpy as np
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.sin(x)}), {}, x=[0, np.pi / 2])["y"].tolist()
    [0.0, 1.0]
    """
    return make(Sin(), x)


def cos(x: Node) -> Node:
    """The cosine of ``x`` in radians. Raises DTypeError unless ``x`` is floating-point.

    >>> import graphc as gx, numpy as np
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.cos(x)}), {}, x=[0, np.pi])["y"].tolist()
    [1.0, -1.0]
    """
    return make(Cos(), x)


def sigmoid(x: Node) -> Node:
    """1 / (1 + e⁻ˣ). Raises DTypeError unless ``x`` is floating-point.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.sigmoid(x)}), {}, x=[0, 100])["y"].tolist()
    [0.5, 1.0]
    """
    return make(Sigmoid(), x)


def relu(x: Node) -> Node:
    """max(x, 0), with slope 0 at 0 (Nair, Hinton 2010). Raises DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.relu(x)}), {}, x=[-1, 2])["y"].tolist()
    [0.0, 2.0]
    """
    return make(Relu(), x)


def abs(x: Node) -> Node:
    """|x|, with slope 0 at 0. Raises DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.abs(x)}), {}, x=[-1, 2])["y"].tolist()
    [1.0, 2.0]
    """
    return make(Abs(), x)


def sign(x: Node) -> Node:
    """-1, 0 or 1 as ``x`` is below, at or above 0; no gradient flows. Raises DTypeError for bool.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.sign(x)}), {}, x=[-5, 0, 2])["y"].tolist()
    [-1.0, 0.0, 1.0]
    """
    return make(Sign(), x)


OPERATORS.update(add=add, sub=sub, mul=mul, div=div, pow=pow, neg=neg)

__all__ = [
    "abs",
    "add",
    "cos",
    "div",
    "exp",
    "log",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "relu",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "square",
    "sub",
    "tanh",
]
