"""What must be true of every graph; run at construction and after each pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from graphc.ir import dims
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.leaves import Leaf, Parameter, State
from graphc.ir.node import Node, describe

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def check_updates(updates: Mapping[Node, Node]) -> None:
    """Only parameters and states are updated, by values of their own type. Before there are names:
    a node that is no leaf has none."""
    for leaf, node in updates.items():
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


def check_structure(graph: Graph) -> None:
    """The cheap part, at construction: every dimension has a source."""
    told = {
        size.name
        for node in graph.inputs.values()
        for size in node.shape
        if isinstance(size, dims.Dim) and size.name is not None
    }
    for node in graph.nodes:
        # gx.size, track's count and the start of a slice are sizes that no shape shows.
        inside = () if isinstance(node.op, Leaf) else node.op.attributes().values()
        for name in dims.names(_sizes((node.shape, *inside))):
            if name not in told:
                raise GraphError(
                    f"nothing tells the size {name} of {describe(node)}: it must stand alone in "
                    f"the shape of some input, e.g. gx.input('x', ({name!r}, 3))",
                    nodes=[node],
                )


def _sizes(values: Iterable[object]) -> Iterator[dims.Dim]:
    """The symbolic sizes among attribute values, inside tuples too."""
    for value in values:
        if isinstance(value, dims.Dim):
            yield value
        elif isinstance(value, tuple):
            yield from _sizes(value)


def verify(graph: Graph) -> None:
    """Raise GraphError unless every node's type and guards are what its op infers again.

    Also: names are unique, leaves are not derived, outputs and updates are nodes of the graph.

    >>> import graphc as gx
    >>> gx.verify(gx.Graph({"y": gx.relu(gx.input("x", (3,)))}))
    """
    from graphc.ir.check import Check

    check_updates(graph.leaf_updates)
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
