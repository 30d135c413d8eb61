"""What all pointwise ops share: one element of each input, broadcast, makes one of the result.

A pointwise op is a few lines below a base of this file: its name and law, ``compute`` (NumPy),
``slopes`` (gradients, as nodes), and, where the kernels call it otherwise, ``express``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from graphc.ir.check import Check
from graphc.ir.errors import DTypeError, GraphError
from graphc.ir.facts import user_line
from graphc.ir.kernel import Expr, Lowering, apply
from graphc.ir.node import Node, describe
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, is_float, short
from graphc.ir.window import POINTWISE, Receptive
from graphc.ops.core import constant
from graphc.ops.counting import per_element

BOOL = np.dtype(np.bool_)


class Pointwise(Op):
    """Base of the pointwise ops; most have no attributes and so need no ``@dataclass``."""

    # Element types that it takes; where gradients must be exact only floats make sense.
    takes: ClassVar[Literal["any", "numbers", "floats", "bools"]] = "numbers"
    # What the kernels call it (kernel.POINTWISE), if that is not its own name.
    kernel: ClassVar[str] = ""
    flops: ClassVar[int] = 1

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(len(self.operands))
        dtype = self.result_dtype(check, *inputs)
        return TensorType(check.broadcast([node.shape for node in inputs]), dtype)

    def result_dtype(self, check: Check, *inputs: Node) -> np.dtype[Any]:
        """The element type of the result; here the one that all operands have."""
        if self.takes == "floats":
            return check.floating(*inputs)
        dtype = check.dtype(*inputs)
        if self.takes == "bools" and dtype != BOOL:
            check.fail(
                f"needs bool operands, not {short(dtype)}",
                fix="compare first, e.g. gx.not_equal(x, 0)",
                error=DTypeError,
            )
        if self.takes == "numbers" and dtype == BOOL:
            check.fail(
                "needs numbers, not bool",
                fix="gx.cast(x, 'float32') first, or gx.where(x, a, b) to choose",
                error=DTypeError,
            )
        return dtype

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        # NumPy makes a scalar of a 0-d result.
        return np.asarray(self.compute(*inputs))

    def compute(self, *inputs: Any) -> Any:
        """The value, by NumPy's broadcasting functions."""
        raise NotImplementedError

    def lower(self, low: Lowering, node: Node) -> None:
        low.pointwise(self.express)

    def express(self, *elements: Expr) -> Expr:
        """One element of the result from one of each input."""
        return apply(self.kernel or self.name, *elements)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return (POINTWISE,) * len(node.inputs)

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, self.flops)


class Unary(Pointwise):
    """y = f(x)."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    def compute(self, x: Any) -> Any:
        raise NotImplementedError

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (self.slope(gradient, node.inputs[0], node),)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        """g · f'(x), which may be said with y = f(x); None where it is zero everywhere."""
        raise NotImplementedError


class Binary(Pointwise):
    """y = f(left, right)."""

    operands: ClassVar[tuple[str, ...]] = ("left", "right")

    def compute(self, a: Any, b: Any) -> Any:
        raise NotImplementedError

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        a, b = node.inputs
        return self.slopes(gradient, a, b, node)

    def slopes(self, g: Node, a: Node, b: Node, y: Node) -> tuple[Node | None, Node | None]:
        """g · ∂f/∂a and g · ∂f/∂b, which may be said with y = f(a, b)."""
        raise NotImplementedError


def operands(*values: Any) -> tuple[Node, ...]:
    """``values`` as nodes: a Python number takes the dtype of the first node (or array) among them.

    NumPy arrays become constants of their own dtype. Raises DTypeError where a Python number does
    not fit (a float beside an integer node, 300 beside int8), GraphError for anything else.
    """
    typed = [v if isinstance(v, Node) else constant(v) for v in values if _has_dtype(v)]
    like = typed[0] if typed else None
    return tuple(_operand(value, like) for value in values)


def _has_dtype(value: Any) -> bool:
    # np.float64 is a Python float as well: x * np.sqrt(2) means the number.
    return isinstance(value, (Node, np.ndarray, np.generic)) and not isinstance(value, float)


def _operand(value: Any, like: Node | None) -> Node:
    if isinstance(value, Node):
        return value
    if _has_dtype(value) or (like is None and isinstance(value, (bool, int, float))):
        return constant(value)
    if like is None or not isinstance(value, (bool, int, float)):
        raise GraphError(
            f"a {type(value).__name__} is not an operand\n  called at {user_line()}\n"
            "  to fix: use nodes, Python numbers, or gx.constant(array)",
            lines=[user_line()],
        )
    return constant(_number(value, like), like.dtype)


def _number(value: bool | int | float, like: Node) -> bool | int | float:
    """``value`` if ``like``'s dtype holds it."""
    dtype = like.dtype
    if isinstance(value, bool):
        fits, fix = dtype == BOOL, "gx.where(condition, a, b) chooses; 1.0 and 0.0 are numbers"
    elif isinstance(value, int):
        fits, fix = dtype != BOOL, "compare first, or gx.cast the bool node"
        if fits and not is_float(dtype):
            info = np.iinfo(dtype)
            fits, fix = info.min <= value <= info.max, "gx.cast the node to a wider dtype"
    else:
        fits, fix = is_float(dtype), f"gx.cast(x, 'float32') the {short(dtype)} operand first"
        if fits and np.isfinite(value):
            with np.errstate(over="ignore"):
                fits = bool(np.isfinite(np.asarray(value).astype(dtype).astype(np.float64)))
            fix = "gx.cast the node to float64 first"
    if not fits:
        raise DTypeError(
            f"{value!r} is a Python {type(value).__name__}, which {short(dtype)} does not hold: "
            f"dtypes never promote\n  beside  {describe(like)}\n"
            f"  called at {user_line()}\n  to fix: {fix}",
            nodes=[like],
            lines=[*like.lines, user_line()],
        )
    return value


__all__ = ["operands"]
