"""Algebra on the graph: fewer nodes, the same bits."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph, Node
from graphc.ir.leaves import Leaf
from graphc.ir.node import make
from graphc.passes.define import define
from graphc.passes.laws import LAWS, Law


@define
def simplify() -> Callable[[Graph], Graph]:
    """f(constants) -> a constant, and the left side of a law -> its right side.

    The laws stand in ``graphc.passes.laws.LAWS``, one function each: x · 1 = x, -(-x) = x,
    x + (-y) = x - y, transpose of transpose, reshape of reshape, … Each is exact: every element of
    every output keeps its bits on the interpreter (a constant folds by the interpreter's own
    definition), except that a sum over what lies otherwise in memory may round otherwise. Nodes
    that nothing reads any more are gone; equal nodes are one in any graph. Inputs, edges,
    ``again``, tracked values, states and updates stay, and so does a node with a guard: a check.

    Running it twice changes nothing.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x = gx.input("x", ("N", 2, 3))
    >>> y = gx.transpose(gx.transpose(x * 1, (0, 2, 1)), (0, 2, 1)) - -(gx.exp(x) / 1)
    >>> print(gx.Graph({"y": y}).apply(passes.simplify()).text())
    graphc 1
    graph (x: f32[N,2,3]) {
      %exp: f32[N,2,3] = exp(%x)
      %add: f32[N,2,3] = add(%x, %exp)
      return y=%add
    }
    """
    return lambda graph: graph.rewrite(_replace)


def _replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
    if isinstance(old.op, Leaf):
        return None
    node = old if inputs == old.inputs else make(old.op, *inputs)
    # The operands are simple already, and what a law makes of them is one node: so one walk does.
    while (simpler := _step(node)) is not None:
        node = simpler
    return node


def _step(node: Node) -> Node | None:
    """What the first law that holds for ``node`` makes of it."""
    if node.guards:
        return None
    for law in (*_BY_OP.get(node.op.name, ()), *_BY_OP[""]):
        found: Node | None = law.rule(node)
        if found is not None and found.type == node.type and _unguarded(found, node):
            return found
    return None


def _unguarded(found: Node, node: Node) -> bool:
    """Whether ``found`` brings no guard that was not below ``node``."""
    near = [*node.inputs, *(source for operand in node.inputs for source in operand.inputs)]
    return not found.guards or found in near


_BY_OP: dict[str, list[Law]] = {"": []}
for _law in LAWS:
    for _op in _law.ops or ("",):
        _BY_OP.setdefault(_op, []).append(_law)
