"""What a graph takes: operations, bytes moved and parameters, node by node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphc.analysis.table import named, table
from graphc.ir import Graph, GraphError, Node, dims
from graphc.ir.leaves import Leaf, Parameter


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One node's share: ``flops`` (a multiply-add is 2), ``bytes`` (its inputs read once and its
    result written once) and ``parameters``, those that it is the first to read."""

    node: Node
    name: str
    flops: int
    bytes: int
    parameters: int


@dataclass(frozen=True)
class GraphCost:
    """The cost of one run of a graph; printed, a table.

    Attributes: ``nodes`` (node to ``NodeCost``, in ``.nodes`` order), ``flops``, ``bytes`` and
    ``parameters`` (totals; a shared parameter counts once), ``sizes`` (what the named dimensions
    were taken as). ``cost[node]`` is the node's, by itself or by its name.
    """

    nodes: dict[Node, NodeCost]
    sizes: dict[str, int]
    parameters: int

    @property
    def flops(self) -> int:
        """All operations; a multiply-add is 2."""
        return sum(each.flops for each in self.nodes.values())

    @property
    def bytes(self) -> int:
        """All bytes read and written, if every node ran by itself."""
        return sum(each.bytes for each in self.nodes.values())

    def __getitem__(self, node: Node | str) -> NodeCost:
        if isinstance(node, Node):
            return self.nodes[node]
        return named(self, node)

    def __iter__(self) -> Iterator[NodeCost]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        at = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        rows = [
            (each.name, str(each.node.type), each.flops, each.bytes, each.parameters)
            for each in self
        ]
        total = ("total" + (f" at {at}" if at else ""), "", self.flops, self.bytes, self.parameters)
        return table(("node", "type", "flops", "bytes", "parameters"), rows, total)

    __repr__ = __str__


def cost(graph: Graph, N: int = 1, **sizes: int) -> GraphCost:
    """Operations, bytes and parameters of one run of ``graph``, node by node and in total.

    N: the batch size, where the graph has a dimension called N; further named dimensions by name.
    A multiply-add is two flops; each op counts by its own ``cost`` rule. The parameters of a node
    are those that no earlier node reads, so that they add up to ``graph.parameter_count()``.
    Raises GraphError for a dimension without a value, or one that the graph does not have.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 100))
    >>> y = gx.linear(x, gx.parameter("w", (10, 100)), gx.parameter("b", (10,), role="bias"))
    >>> print(gx.cost(gx.Graph({"y": y}), N=2))
    node          type       flops  bytes  parameters
    linear        f32[N,10]  4,020  4,920       1,010
    total at N=2             4,020  4,920       1,010
    """
    known = dims.names(size for leaf in graph.inputs.values() for size in leaf.shape)
    if unknown := sizes.keys() - known:
        raise GraphError(
            f"cost: the graph has no dimension {min(unknown)!r}; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    given = {**({"N": N} if "N" in known else {}), **sizes}
    if missing := known - given.keys():
        name = min(missing)
        raise GraphError(
            f"cost: the graph has a dimension {name}, whose size is not given\n"
            f"  to fix: gx.cost(graph, {name}=…)"
        )
    for name, size in given.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise GraphError(f"cost: {name}={size!r} is not a size: an int of 1 or more")
    first: dict[Node, Node] = {}
    for node in graph.nodes:
        for source in node.inputs:
            first.setdefault(source, node)
    found: dict[Node, NodeCost] = {}
    for node in graph.nodes:
        if isinstance(node.op, Leaf):
            continue
        each = node.op.cost(node, given)
        own = _elements({i for i in node.inputs if first[i] is node}, given)
        found[node] = NodeCost(node, graph.name(node), each.flops, each.bytes, own)
    return GraphCost(found, given, graph.parameter_count())


def _elements(leaves: Iterable[Node], sizes: Mapping[str, int]) -> int:
    return sum(
        math.prod(leaf.type.concrete(sizes)) for leaf in leaves if isinstance(leaf.op, Parameter)
    )
