"""Where a value is used more than once: the sum of its gradients, and two identities.

Sharing itself needs no op: using a node twice is sharing it. ``grad_sum`` is where the gradients of
the uses meet. ``edge`` and ``again`` keep nodes apart that interning would make one: the i-th use
of a shared weight (``passes.unshare``), and a value read anew for a second computation
(``passes.checkpoint``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from graphc.ir.check import Check
from graphc.ir.errors import GraphError
from graphc.ir.kernel import Expr, Lowering, apply
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType
from graphc.ir.window import POINTWISE, Nothing, Receptive
from graphc.ops.counting import per_element
from graphc.ops.pointwise import Pointwise

MOST_TERMS = 2**20


@dataclass(frozen=True, eq=False)
class GradSum(Pointwise):
    """The sum of gradients that reach one value, in a fixed order. Nothing broadcasts here."""

    name: ClassVar[str] = "grad_sum"
    law: ClassVar[str] = "y = Σ terms: where it stands, edges share"
    operands: ClassVar[tuple[str, ...]] = ("term 1", "term")
    decay: int | None = None  # the term that comes from the penalty of weight_decay

    def operand(self, position: int) -> str:
        return "decay" if position == self.decay else super().operand(position)

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2, MOST_TERMS)
        check.require(
            self.decay is None or 0 <= self.decay < len(inputs),
            f"decay={self.decay} is not the position of a term",
            error=GraphError,
        )
        dtype = check.floating(*inputs)
        shape = inputs[0].shape
        for position, term in enumerate(inputs[1:], 2):
            what = f"term {position} is not of the shape of term 1"
            check.require(term.ndim == len(shape), f"{what}: {term.type}, {inputs[0].type}")
            pairs = zip(shape, term.shape, strict=True)
            shape = tuple(check.equal(a, b, what) for a, b in pairs)
        return TensorType(shape, dtype)

    def compute(self, *inputs: Any) -> Any:
        return reduce(np.add, inputs)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (gradient,) * len(node.inputs)

    def express(self, *elements: Expr) -> Expr:
        return reduce(lambda total, term: apply("add", total, term), elements)

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, len(node.inputs) - 1)


class Identity(Op):
    """Base of the ops whose value is their first operand's, in the same memory."""

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return inputs[0]

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (gradient, *(None for _ in node.inputs[1:]))

    def lower(self, low: Lowering, node: Node) -> None:
        low.alias(node.inputs[0])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return (POINTWISE, *(Nothing() for _ in node.inputs[1:]))

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(0, 0)


@dataclass(frozen=True, eq=False)
class Edge(Identity):
    """The i-th use of a shared weight, as a node of its own."""

    name: ClassVar[str] = "edge"
    law: ClassVar[str] = "y = w, told apart by i"
    operands: ClassVar[tuple[str, ...]] = ("w",)
    i: int

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        check.require(0 <= self.i < MOST_TERMS, f"i={self.i} does not number a use")
        return inputs[0].type


class Again(Identity):
    """x, to be read anew once ``after`` is there: what is computed from it is computed again."""

    name: ClassVar[str] = "again"
    law: ClassVar[str] = "y = x, not before `after` is known"
    operands: ClassVar[tuple[str, ...]] = ("x", "after")

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        return inputs[0].type


# -- public ---------------------------------------------------------------------------------------


def grad_sum(*terms: Node, decay: int | None = None) -> Node:
    """The sum of gradients of one shape and dtype; of a single one, that one.

    ``backward`` puts it where several gradients reach one value; a reader tells it from the model's
    own additions. decay: the position of the term that comes from weight decay, which print and
    drawings mark. Raises ShapeError or DTypeError where the terms differ.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> y = gx.grad_sum(x, x * 2, x)
    >>> gx.interpret(gx.Graph({"y": y}), {}, x=[1, 10])["y"].tolist()
    [4.0, 40.0]
    """
    return terms[0] if len(terms) == 1 else make(GradSum(decay), *terms)


def edge(w: Node, i: int) -> Node:
    """Use number ``i`` (from 0) of a shared weight: ``w`` itself, as a node of its own.

    Raises ShapeError for a negative ``i``.

    >>> import graphc as gx
    >>> w = gx.parameter("w", (2,))
    >>> gx.edge(w, 0) is gx.edge(w, 1)
    False
    """
    return make(Edge(i), w)


def again(x: Node, after: Node) -> Node:
    """``x``, read anew once ``after`` has been computed; no gradient flows to ``after``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.relu(gx.again(x, after=gx.sum(x))) is gx.relu(x)
    False
    """
    return make(Again(), x, after)


__all__ = ["again", "edge", "grad_sum"]
