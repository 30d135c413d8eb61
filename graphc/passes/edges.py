"""The edges of shared parameters, as ``unshare`` puts them and ``backward`` keeps them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from graphc.ir import Graph, Node
from graphc.ir.leaves import Parameter
from graphc.ops.sharing import Edge

_OUTPUT = re.compile(r"grad/(?P<name>.+)@(?P<number>[0-9]+)\Z")


def is_edge(node: Node) -> bool:
    """Whether ``node`` is one use of a parameter, told apart from the others."""
    return isinstance(node.op, Edge) and isinstance(node.inputs[0].op, Parameter)


def number_of(edge: Node) -> int:
    """Which use of its parameter an edge is."""
    return int(edge.op.attributes()["i"])


def edges(nodes: Iterable[Node]) -> dict[Node, dict[int, Node]]:
    """The edges among ``nodes``: by their parameter, then by their number."""
    found: dict[Node, dict[int, Node]] = {}
    for node in nodes:
        if is_edge(node):
            found.setdefault(node.inputs[0], {})[number_of(node)] = node
    return {weight: dict(sorted(uses.items())) for weight, uses in found.items()}


def edge_gradients(graph: Graph) -> dict[str, dict[int, str]]:
    """The outputs ``grad/<name>@i`` of a graph: by the parameter's name, then by the number.

    A parameter that is itself called ``name@i`` has an output of that name too, which is its own.
    """
    found: dict[str, dict[int, str]] = {}
    for output in graph.outputs:
        match = _OUTPUT.match(output)
        if match and output.removeprefix("grad/") not in graph.parameters:
            found.setdefault(match["name"], {})[int(match["number"])] = output
    return {name: dict(sorted(terms.items())) for name, terms in found.items()}
