"""The algebra that ``simplify`` knows: one law a function, each exact in floating point.

Exact means: every element keeps its bits, -0.0, infinities and NaN included (of a NaN, that it is
one). What is only nearly true is no law here: x + 0.0 is not x where x is -0.0, x · 0 is not 0
where x is infinite, and sums are never reordered. No law drops an operand that is not a constant:
the inputs of a graph stay its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir import Node
from graphc.ir.node import make
from graphc.ir.types import is_float
from graphc.ops.core import Constant, constant
from graphc.ops.elementwise import neg, square
from graphc.ops.random import Dropout
from graphc.ops.reduce import Reduction
from graphc.ops.shape import BroadcastTo, Flip, Reshape, Transpose
from graphc.ops.shape import reshape as reshape_
from graphc.ops.sharing import Identity

Rule = Callable[[Node], Node | None]

# Values that are never -0.0, and never negative either.
POSITIVE = frozenset({"abs", "square", "exp", "sigmoid", "softmax", "one_hot", "size"})


@dataclass(frozen=True)
class Law:
    """An equation, the ops that its left side may be, and the right side of a node (or None)."""

    text: str
    ops: tuple[str, ...]  # empty: any
    rule: Rule


LAWS: list[Law] = []


def law(text: str, *ops: str) -> Callable[[Rule], Rule]:
    """Enter the decorated function into the table."""

    def enter(rule: Rule) -> Rule:
        LAWS.append(Law(text, ops, rule))
        return rule

    return enter


# -- reading ------------------------------------------------------------------------------------


def inside(node: Node, *ops: str) -> Node | None:
    """The operand of ``node`` if that is one of ``ops``, of one operand, and can be left out.

    A node with guards cannot: they are checks that the user's graph makes.
    """
    return node.inputs[0] if node.op.name in ops and not node.guards else None


def number(node: Node) -> Any:
    """The number that every element of ``node`` is, a NumPy scalar; None where it is not known."""
    while isinstance(node.op, (BroadcastTo, Reshape)) and not node.guards:
        node = node.inputs[0]
    if not isinstance(node.op, Constant):
        return None
    elements = node.op.value.reshape(-1)
    # Compared by bits: an array of 0.0 and -0.0 is not one number.
    same = elements.view(f"V{elements.itemsize}") == elements[:1].view(f"V{elements.itemsize}")
    return elements[0] if np.all(same) else None


def _is(node: Node, value: float) -> bool:
    """Whether every element is ``value``: 0.0 and -0.0 are two numbers."""
    found = number(node)
    if found is None or found != value:
        return False
    return not is_float(node.dtype) or bool(np.signbit(found)) == (math.copysign(1, value) < 0)


def _other(node: Node, value: float) -> Node | None:
    """The other operand of a commutative node, where one of the two is ``value``."""
    a, b = node.inputs
    return a if _is(b, value) else b if _is(a, value) else None


def _positive(node: Node) -> bool:
    """Whether no element is negative or -0.0 (a NaN may be there)."""
    return node.op.name in POSITIVE


# -- numbers ------------------------------------------------------------------------------------


@law(
    "f(constants) = the constant",
)
def fold(node: Node) -> Node | None:
    """By the op's own definition; never where the result is larger than its operands were."""
    if not node.inputs or isinstance(node.op, (Identity, BroadcastTo)):
        return None
    values = [source.op.value for source in node.inputs if isinstance(source.op, Constant)]
    if len(values) < len(node.inputs) or not all(isinstance(n, int) for n in node.shape):
        return None
    if math.prod(node.type.concrete({})) > sum(value.size for value in values):
        return None
    with np.errstate(all="ignore"):
        return constant(np.asarray(node.op.evaluate({}, *values)), node.dtype)


@law("x · 1 = x", "mul")
def times_one(node: Node) -> Node | None:
    """Also where the 1 was broadcast, as the gradient of a sum is."""
    return _other(node, 1.0)


@law("x / 1 = x", "div")
def over_one(node: Node) -> Node | None:
    """Division is correctly rounded, so by 1 it is exact."""
    return node.inputs[0] if _is(node.inputs[1], 1.0) else None


@law("x ^ 1 = x", "pow")
def to_the_one(node: Node) -> Node | None:
    """C's pow is exact there."""
    return node.inputs[0] if _is(node.inputs[1], 1.0) else None


@law("x + -0.0 = x", "add")
def plus_minus_zero(node: Node) -> Node | None:
    """The zero of floating-point addition is -0.0: -0.0 + 0.0 is 0.0."""
    return _other(node, -0.0) if is_float(node.dtype) else None


@law("x + 0 = x, of integers and where x is never -0.0", "add")
def plus_zero(node: Node) -> Node | None:
    """Squares, exponentials and the like are never -0.0."""
    x = _other(node, 0.0)
    return x if x is not None and (not is_float(x.dtype) or _positive(x)) else None


@law("x - 0 = x", "sub")
def minus_zero(node: Node) -> Node | None:
    """Of 0.0 only: x - -0.0 is x + 0.0."""
    return node.inputs[0] if _is(node.inputs[1], 0.0) else None


@law("x · -1 = -x", "mul")
def times_minus_one(node: Node) -> Node | None:
    """Both flip the sign alone."""
    x = _other(node, -1.0)
    return neg(x) if x is not None else None


# -- signs --------------------------------------------------------------------------------------


@law("-(-x) = x", "neg")
def neg_neg(node: Node) -> Node | None:
    """Integers wrap around, twice."""
    return inside(node.inputs[0], "neg")


@law("x + (-y) = x - y", "add")
def plus_neg(node: Node) -> Node | None:
    """IEEE 754 defines the difference so; addition commutes."""
    for x, negative in (node.inputs, node.inputs[::-1]):
        if (y := inside(negative, "neg")) is not None:
            return x - y
    return None


@law("x - (-y) = x + y", "sub")
def minus_neg(node: Node) -> Node | None:
    """As the sum of a negative is the difference."""
    x, negative = node.inputs
    y = inside(negative, "neg")
    return x + y if y is not None else None


@law("(-x) · (-y) = x · y, (-x) / (-y) = x / y", "mul", "div")
def signs_cancel(node: Node) -> Node | None:
    """The sign of a product or quotient is found apart from its magnitude."""
    x, y = (inside(operand, "neg") for operand in node.inputs)
    return make(node.op, x, y) if x is not None and y is not None else None


@law("|-x| = |x|, (-x)² = x²", "abs", "square")
def even(node: Node) -> Node | None:
    """Even functions."""
    x = inside(node.inputs[0], "neg")
    return make(node.op, x) if x is not None else None


@law("|x|² = x²", "square")
def square_abs(node: Node) -> Node | None:
    """The square forgets the sign."""
    x = inside(node.inputs[0], "abs")
    return square(x) if x is not None else None


@law("|x| = x, relu(x) = x, where x is never negative", "abs", "relu")
def already_positive(node: Node) -> Node | None:
    """Both leave 0.0, infinity and NaN as they are."""
    x = node.inputs[0]
    return x if is_float(x.dtype) and _positive(x) else None


@law("f(f(x)) = f(x)", "relu", "sign", "abs")
def idempotent(node: Node) -> Node | None:
    """Of functions that change nothing the second time."""
    x = node.inputs[0]
    return x if x.op.name == node.op.name else None


@law("f(x, x) = x", "maximum", "minimum", "and", "or")
def same_operands(node: Node) -> Node | None:
    """Of functions that choose."""
    a, b = node.inputs
    return a if a is b else None


@law("not not x = x", "not")
def not_not(node: Node) -> Node | None:
    """Truth has two values."""
    return inside(node.inputs[0], "not")


@law("x as a wider type and back = x", "cast")
def there_and_back(node: Node) -> Node | None:
    """A type is wider if it holds every value of the other."""
    x = inside(node.inputs[0], "cast")
    middle = node.inputs[0].dtype
    if x is None or x.dtype != node.dtype or not _holds(middle, x.dtype):
        return None
    return x


def _holds(wide: np.dtype[Any], narrow: np.dtype[Any]) -> bool:
    if narrow.name == "bfloat16":
        return wide.name in ("bfloat16", "float32", "float64")
    return wide.name != "bfloat16" and np.can_cast(narrow, wide, "safe")


@law("x as its own type = x", "cast")
def own_type(node: Node) -> Node | None:
    """A file may say it."""
    return node.inputs[0] if node.inputs[0].dtype == node.dtype else None


# -- places -------------------------------------------------------------------------------------


@law(
    "a movement that leaves every element in its place = x",
    "reshape",
    "broadcast_to",
    "transpose",
    "flip",
    "slice",
    "pad",
)
def in_place(node: Node) -> Node | None:
    """What only says the shape that is there."""
    (x,) = node.inputs
    match node.op:
        case Transpose(axes=axes):
            still = axes == tuple(range(x.ndim))
        case Flip(axes=axes):
            still = all(x.shape[axis] == 1 for axis in axes)
        case _:  # no slice or padding but an empty one keeps the shape
            still = x.shape == node.shape
    return x if still else None


@law("reshape(reshape(x)) = reshape(x)", "reshape")
def reshape_reshape(node: Node) -> Node | None:
    """Row-major order stays through both."""
    x = inside(node.inputs[0], "reshape")
    return reshape_(x, node.shape) if x is not None else None


@law("broadcast_to(broadcast_to(x)) = broadcast_to(x)", "broadcast_to")
def broadcast_broadcast(node: Node) -> Node | None:
    """Repeating what was repeated."""
    x = inside(node.inputs[0], "broadcast_to")
    return make(node.op, x) if x is not None else None


@law("transpose(transpose(x, a), b) = transpose(x, a∘b)", "transpose")
def transpose_transpose(node: Node) -> Node | None:
    """The identity among them is no node at all."""
    inner = node.inputs[0]
    x = inside(inner, "transpose")
    if x is None or not isinstance(node.op, Transpose) or not isinstance(inner.op, Transpose):
        return None
    axes = tuple(inner.op.axes[axis] for axis in node.op.axes)
    return x if axes == tuple(range(x.ndim)) else make(Transpose(axes), x)


@law("flip(flip(x, a), b) = flip(x, a xor b)", "flip")
def flip_flip(node: Node) -> Node | None:
    """What is reversed twice stays."""
    inner = node.inputs[0]
    x = inside(inner, "flip")
    if x is None or not isinstance(node.op, Flip) or not isinstance(inner.op, Flip):
        return None
    axes = tuple(sorted({*node.op.axes} ^ {*inner.op.axes}))
    return make(Flip(axes), x) if axes else x


@law("max(x) = min(x) = x, over axes of size 1", "max", "min")
def extreme_of_one(node: Node) -> Node | None:
    """Not the sum: NumPy's begins with 0.0, and -0.0 would show."""
    (x,) = node.inputs
    if not isinstance(node.op, Reduction) or any(x.shape[axis] != 1 for axis in node.op.axes):
        return None
    return reshape_(x, node.shape)


@law("dropout(x, retain=1) = x", "dropout")
def keep_all(node: Node) -> Node | None:
    """Every uniform number is below 1."""
    return node.inputs[0] if isinstance(node.op, Dropout) and node.op.retain == 1.0 else None
