"""Softmax, its logarithm, and the cross-entropy of labels: all stable for any finite logits.

Each starts from one kernel: the maximum along the axis, and the exponentials below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir import dims
from graphc.ir.check import Check
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import DTypeError, GraphError
from graphc.ir.kernel import (
    Acc,
    Axis,
    Const,
    Expr,
    Lowering,
    Phase,
    Position,
    Ref,
    Store,
    apply,
    index,
    number,
)  # fmt: skip
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, dtype_of, shape_of, short
from graphc.ir.window import AxisWindow, Everything, Receptive, Windowed
from graphc.ops.axes import one_axis, said_axis
from graphc.ops.core import size
from graphc.ops.counting import elements, per_element, traffic
from graphc.ops.elementwise import exp
from graphc.ops.mistake import mistake
from graphc.ops.reduce import mean, wide
from graphc.ops.reduce import sum as sum_

__all__ = ["cross_entropy", "log_softmax", "one_hot", "softmax"]

INT64 = np.dtype(np.int64)
# Subtract the maximum, exponentiate, add up, divide: an exponential counts as one operation.
FLOPS = 5


@dataclass(frozen=True, eq=False)
class AlongAxis(Op):
    """What softmax and its logarithm share: they normalize along one axis, counted from 0."""

    operands: ClassVar[tuple[str, ...]] = ("x",)
    axis: int

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check.require(0 <= self.axis < x.ndim, f"there is no axis {self.axis} in x")
        return TensorType(x.shape, check.floating(x))

    def lower(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        below, powers, total = exponentials(low, x, self.axis)
        axes = low.axes(x.shape)
        rest = [axis for i, axis in enumerate(axes) if i != self.axis]
        found = self.normalized(
            low.load(below, axes), low.load(powers, axes), low.load(total, rest)
        )
        low.map(axes, low.out, axes, found)

    def normalized(self, below: Expr, power: Expr, total: Expr) -> Expr:
        """The result, from x below its maximum, that one's exponential, and the sum of those."""
        raise NotImplementedError

    def receptive(self, node: Node) -> Sequence[Receptive]:
        # Every position along the axis reads all of it: a window that does not move.
        whole = AxisWindow(size=node.shape[self.axis], stride=0)
        return [Windowed(((self.axis - node.ndim, whole),))]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, FLOPS)


@dataclass(frozen=True, eq=False)
class Softmax(AlongAxis):
    """exp(x) / Σ exp(x) along an axis."""

    name: ClassVar[str] = "softmax"
    law: ClassVar[str] = "y = exp(x) / Σ exp(x); softmax(x + c) = softmax(x)"

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        powers = np.exp(_below(x, self.axis))
        return np.asarray(powers / np.sum(powers, self.axis, keepdims=True), x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        mean = sum_(gradient * node, self.axis, keepdims=True)
        return [(gradient - mean) * node]

    def normalized(self, below: Expr, power: Expr, total: Expr) -> Expr:
        return apply("div", power, total)


@dataclass(frozen=True, eq=False)
class LogSoftmax(AlongAxis):
    """x - log Σ exp(x) along an axis."""

    name: ClassVar[str] = "log_softmax"
    law: ClassVar[str] = "y = x - log Σ exp(x)"

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        return _log_softmax(x, self.axis).astype(x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [gradient - exp(node) * sum_(gradient, self.axis, keepdims=True)]

    def normalized(self, below: Expr, power: Expr, total: Expr) -> Expr:
        return apply("sub", below, apply("log", total))


def exponentials(low: Lowering, x: Node, axis: int) -> tuple[Ref, Ref, Ref]:
    """x below its maximum along ``axis``, the exponentials of that, and their sums.

    Built once however many ops read them: a loss and its gradient start from the same three.
    """

    def build() -> tuple[Ref, Ref, Ref]:
        axes = low.axes(x.shape)
        along = axes[axis]
        parallel = [a for a in axes if a is not along]
        below, powers = (low.scratch(what, x.shape, x.dtype) for what in ("below", "powers"))
        total = low.scratch("total", [a.extent for a in parallel], x.dtype)
        at = low.load(x, axes)
        largest = Acc("max", at, x.dtype)
        difference = apply("sub", at, largest)
        power = apply("exp", difference)
        added = Acc("sum", power, x.dtype)
        where = tuple(map(index, axes))
        stores = (Store(below, where, difference), Store(powers, where, power))
        last = Store(total, tuple(map(index, parallel)), added)
        low.kernel(
            parallel,
            [
                Phase((along,), (largest,)),
                Phase((along,), (added,), stores),
                Phase(stores=(last,)),
            ],
        )
        return below, powers, total

    below, powers, total = low.once(("exponentials", x, axis), build)
    return below, powers, total


def _below(x: Array, axis: int) -> Array:
    x = wide(x)
    return np.asarray(x - np.max(x, axis, keepdims=True))


def _log_softmax(x: Array, axis: int) -> Array:
    below = _below(x, axis)
    return np.asarray(below - np.log(np.sum(np.exp(below), axis, keepdims=True)))


# -- labels ----------------------------------------------------------------------------------------


def check_labels(check: Check, label: Node, what: str = "labels") -> None:
    """For ``infer``: labels and indices are int64."""
    if label.dtype != INT64:
        check.fail(
            f"the {what} are {short(label.dtype)}, not i64",
            fix=f"declare them with dtype='int64', or gx.cast({what}, 'int64')",
            error=DTypeError,
        )


def check_range(low: Lowering, label: Node, classes: Size, what: str = "a label") -> None:
    """Labels are checked when the program runs: once, however many ops read them."""

    def build() -> tuple[Ref, ...]:
        low.routine("check_range", [label], None, low=0, high=classes, what=what)
        return ()

    low.once(("check_range", label, classes), build)


def _in_range(name: str, label: Array, classes: int) -> Array:
    outside = np.argwhere((label < 0) | (label >= classes))
    if len(outside):
        where = tuple(map(int, outside[0]))
        raise GraphError(
            f"{name}: label {label[where]} at {list(where)} is not a class: there are {classes}, "
            f"numbered 0 to {classes - 1}"
        )
    return label


@dataclass(frozen=True, eq=False)
class OneHot(Op):
    """1 at the label's place along a new last axis, 0 elsewhere."""

    name: ClassVar[str] = "one_hot"
    operands: ClassVar[tuple[str, ...]] = ("label",)
    law: ClassVar[str] = "y[…,c] = [label[…] = c]"
    classes: int | Dim
    dtype: np.dtype[Any] = np.dtype(np.float32)

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (label,) = inputs
        check_labels(check, label)
        classes = check.at_least(self.classes, 1, "the number of classes")
        return TensorType(shape_of((*label.shape, classes)), dtype_of(self.dtype))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        classes = dims.evaluate(self.classes, sizes)
        label = _in_range(self.name, inputs[0], classes)
        return np.asarray(label[..., None] == np.arange(classes)).astype(self.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [None]

    def lower(self, low: Lowering, node: Node) -> None:
        (label,) = node.inputs
        check_range(low, label, self.classes)
        axes = low.axes(node.shape)
        here = apply("eq", Position(axes[-1], INT64), low.load(label, axes[:-1]))
        low.map(axes, low.out, axes, apply("cast", here, dtype=node.dtype))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Everything()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, 1)


@dataclass(frozen=True, eq=False)
class CrossEntropy(Op):
    """The mean over the batch of -log softmax(logits)[label]."""

    name: ClassVar[str] = "cross_entropy"
    operands: ClassVar[tuple[str, ...]] = ("logits", "label")
    law: ClassVar[str] = "y = mean_n (log Σ_c exp(logits[n,c]) - logits[n,label[n]])"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        logits, label = inputs
        check.ndim(logits, 2, "batch, classes")
        check.ndim(label, 1, "batch: one class number for each example")
        check_labels(check, label)
        dtype = check.floating(logits)
        what = f"there are {logits.shape[0]} rows of logits and {label.shape[0]} labels"
        check.equal(logits.shape[0], label.shape[0], what)
        return TensorType((), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        logits, label = inputs
        _in_range(self.name, label, logits.shape[1])
        chosen = np.take_along_axis(_log_softmax(logits, 1), label[:, None], 1)
        return np.asarray(-np.mean(chosen)).astype(logits.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        logits, label = node.inputs
        batch, classes = logits.shape
        too_much = softmax(logits, 1) - one_hot(label, classes, logits.dtype)
        return [too_much * (gradient / size(batch, logits.dtype)), None]

    def lower(self, low: Lowering, node: Node) -> None:
        logits, label = node.inputs
        batch, classes = logits.shape
        dtype = node.dtype
        check_range(low, label, classes)
        below, _, total = exponentials(low, logits, 1)
        n, c = Axis("n", batch), Axis("c", classes)
        mine = apply("eq", Position(c, INT64), low.load(label, [n]))
        here = apply("select", mine, low.load(below, [n, c]), Const(0.0, dtype))
        chosen = Acc("sum", here, dtype)
        rows = low.scratch("rows", (batch,), dtype)
        each = Store(rows, (index(n),), apply("sub", apply("log", low.load(total, [n])), chosen))
        low.kernel([n], [Phase((c,), (chosen,)), Phase(stores=(each,))])
        m = Axis("n", batch)
        all_rows = Acc("sum", low.load(rows, [m]), dtype)
        mean = Store(low.out, (), apply("div", all_rows, number(batch, dtype)))
        low.kernel([], [Phase((m,), (all_rows,)), Phase(stores=(mean,))])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Everything(), Everything()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(FLOPS * elements(node.inputs[0], sizes), traffic(node, sizes))


# -- functions -------------------------------------------------------------------------------------


def softmax(x: Node, axis: int = -1, *, dim: int | None = None) -> Node:
    """exp(x) / Σ exp(x) along ``axis`` (``dim=`` is the same): positive numbers that add up to 1.

    x: any shape, floating. Result: x's shape. Raises ShapeError for an axis that is not there,
    DTypeError for integers.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.softmax(gx.input("x", (2, 2)))})
    >>> gx.interpret(graph, {}, x=[[0, 0], [1000, -1000]])["y"].tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    return make(Softmax(_axis("softmax", x, axis, dim)), x)


def log_softmax(x: Node, axis: int = -1, *, dim: int | None = None) -> Node:
    """x - log Σ exp(x) along ``axis`` (``dim=`` is the same), exact where softmax is 0 or 1.

    Shapes and errors as in ``softmax``.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.log_softmax(gx.input("x", (1, 2)))})
    >>> gx.interpret(graph, {}, x=[[1000, 0]])["y"].tolist()
    [[0.0, -1000.0]]
    """
    return make(LogSoftmax(_axis("log_softmax", x, axis, dim)), x)


def _axis(name: str, x: Node, axis: int, dim: int | None) -> int:
    # The default may stand beside dim=; another axis= may not.
    said = said_axis(name, x, None if dim is not None and axis == -1 else axis, dim)
    return one_axis(name, x, said)


def one_hot(label: Node, classes: Size | str, dtype: Any = "float32") -> Node:
    """1 at the place of each label along a new last axis of ``classes``, 0 elsewhere.

    label: int64 of any shape, each in [0, classes): another one is a GraphError when the program
    runs. Result: label.shape + (classes,), of ``dtype``. Raises DTypeError for other integers.

    >>> import graphc as gx
    >>> label = gx.input("label", ("N",), dtype="int64")
    >>> gx.interpret(gx.Graph({"y": gx.one_hot(label, 3)}), {}, label=[2, 0])["y"].tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    (count,) = shape_of((classes,), what="one_hot: classes")
    return make(OneHot(count, dtype_of(dtype)), label)


def cross_entropy(logits: Node, label: Node, *, label_smoothing: float = 0.0) -> Node:
    """The mean over the batch of -log softmax(logits)[label], in nats: a scalar.

    logits: (N, C), floating; label: (N,), int64, each in [0, C): another one is a GraphError when
    the program runs. Never computes the exponential of a positive number, so no finite logits
    overflow. The gradient is (softmax(logits) - one_hot(label)) / N.

    label_smoothing, in [0, 1]: how much of the target goes to all classes alike (Szegedy et al.
    2016, section 7); above 0 the result is a sum with the mean of -log softmax.

    Raises ShapeError where the shapes are others, DTypeError where the dtypes are, GraphError for
    a label_smoothing outside [0, 1].

    >>> import graphc as gx
    >>> logits = gx.input("logits", ("N", 2))
    >>> label = gx.input("label", ("N",), dtype="int64")
    >>> graph = gx.Graph({"loss": gx.cross_entropy(logits, label)})
    >>> float(gx.interpret(graph, {}, logits=[[1000, 0], [0, 1000]], label=[0, 0])["loss"])
    500.0
    """
    hard = make(CrossEntropy(), logits, label)
    if not 0 <= label_smoothing <= 1:
        what = f"label_smoothing={label_smoothing!r} is not in [0, 1]"
        mistake("cross_entropy", what, error=GraphError, logits=logits)
    if label_smoothing == 0:
        return hard
    even = mean(log_softmax(logits, 1))
    return hard * (1 - label_smoothing) - even * float(label_smoothing)
