"""What must be true of every graph; run at construction and after each pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.ir import dims
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.leaves import Leaf, Parameter, State
from graphc.ir.node import Node, describe

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def check_structure(graph: Graph) -> None:
    """The cheap part, at construction: updates fit their leaves, every dimension has a source."""
    for leaf, node in graph.leaf_updates.items():
        if not isinstance(leaf.op, (Parameter, State)):
            raise GraphError(
                f"only parameters and states can be updated, not {describe(leaf)}", nodes=[leaf]
            )
        if leaf.type != node.type:
            raise ShapeError(
                f"the update of {describe(leaf)} is {node.type}: it must keep the type\n"
                f"  {describe(node)}",
                nodes=[leaf, node],
            )
    told = {
        size.name
        for node in graph.inputs.values()
        for size in node.shape
        if isinstance(size, dims.Dim) and size.name is not None
    }
    for node in graph.nodes:
        for name in dims.names(node.shape):
            if name not in told:
                raise GraphError(
                    f"nothing tells the size {name} of {describe(node)}: it must stand alone in "
                    f"the shape of some input, e.g. gx.input('x', ({name!r}, 3))",
                    nodes=[node],
                )


def verify(graph: Graph) -> None:
    """Raise GraphError unless every node's type and guards are what its op infers again.

    Also: names are unique, leaves are not derived, outputs and updates are nodes of the graph.

    >>> import graphc as gx
    >>> gx.verify(gx.Graph({"y": gx.relu(gx.input("x", (3,)))}))
    """
    from graphc.ir.check import Check

    check_structure(graph)
    seen: dict[str, Node] = {}
    for node in graph.nodes:
        name = graph.name(node)
        if name in seen:
            raise GraphError(f"two nodes are called {name!r}", nodes=[seen[name], node])
        seen[name] = node
        if isinstance(node.op, Leaf):
            if node.inputs:
                raise GraphError(f"the leaf {describe(node)} has inputs", nodes=[node])
            continue
        check = Check(node.op, node.inputs)
        type_ = node.op.infer(check, *node.inputs)
        if type_ != node.type or tuple(check.guards) != node.guards:
            raise GraphError(
                f"{describe(node)} says {node.type}, but its op infers {type_}", nodes=[node]
            )
