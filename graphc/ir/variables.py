"""What of a graph is the same in every run as long as its variables are."""

from __future__ import annotations

from typing import Any

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.leaves import SEED, STEP, Leaf, Parameter, State
from graphc.ir.node import Node


def of_variables_alone(graph: Graph) -> frozenset[Node]:
    """The nodes whose value depends on parameters, states and constants, and on nothing else.

    Neither on an input nor on its sizes, nor on random bits: ``random/seed`` and ``step`` are
    states that make other bits at each step, so nothing that reads them is among these.
    """
    found: set[Node] = set()
    for node in graph.nodes:
        if isinstance(node.op, Leaf):
            if isinstance(node.op, (Parameter, State)) and node not in (SEED, STEP):
                found.add(node)
        elif found.issuperset(node.inputs) and not _sized(node):
            found.add(node)
    return frozenset(found)


def _sized(node: Node) -> bool:
    """Whether ``node`` reads the sizes of a run, in its shape or in an attribute."""
    return _symbolic(node.shape) or any(map(_symbolic, node.op.attributes().values()))


def _symbolic(value: Any) -> bool:
    return isinstance(value, Dim) or (isinstance(value, tuple) and any(map(_symbolic, value)))
