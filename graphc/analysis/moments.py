"""Mean and variance of every value of a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.analysis.double import values
from graphc.analysis.table import named, table
from graphc.compiler.binding import Array, bind_inputs, bind_variables, gather
from graphc.ir import Graph, GraphError, Node
from graphc.ir.leaves import STEP, Leaf
from graphc.ir.types import is_float


@dataclass(frozen=True, slots=True, eq=False)
class NodeMoments:
    """``mean`` and ``variance`` over all elements of a node's value; ``channel_mean`` and
    ``channel_variance`` for each position of its second axis (a scalar where it has none)."""

    node: Node
    name: str
    mean: float
    variance: float
    channel_mean: Array
    channel_variance: Array


@dataclass(frozen=True, eq=False)
class Moments:
    """What ``gx.moments`` found; printed, a table. ``found[node]`` by node or by its name."""

    nodes: dict[Node, NodeMoments]

    def __getitem__(self, node: Node | str) -> NodeMoments:
        if isinstance(node, Node):
            return self.nodes[node]
        return named(self, node)

    def __iter__(self) -> Iterator[NodeMoments]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        rows = [(e.name, str(e.node.type), e.mean, e.variance) for e in self]
        return table(("node", "type", "mean", "variance"), rows)

    __repr__ = __str__


def moments(
    graph: Graph,
    variables: Mapping[str, Any],
    /,
    *,
    draws: int = 1,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Moments:
    """Mean and variance of every floating-point node, as the graph runs on this batch.

    variables, inputs (or keywords): as ``gx.interpret`` takes them. draws: how many steps are run
    one after the other; with dropout each draws other masks, and the moments are over all of them.
    Variances are those of the population (divided by the count), computed in float64. Nothing is
    updated.

    Dropout with retain p in front of a linear layer adds (1-p)/p · Σ w² E[x²] to the variance of
    its result z in training: compare this graph with the one that ``passes.inference()`` makes.
    Raises what ``gx.interpret`` raises.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N",))
    >>> print(gx.moments(gx.Graph({"y": x * 2}), {}, x=[1.0, 3.0]))
    node  type    mean  variance
    x     f32[N]     2         1
    mul   f32[N]     4         4
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise GraphError(f"moments: draws={draws!r} is not an int of 1 or more")
    arrays, sizes = bind_inputs(graph, gather(inputs, named))
    held = bind_variables(graph, variables, writable=False)
    first = held.get(graph.name(STEP)) if STEP in graph.states.values() else None
    nodes = [
        n
        for n in graph.nodes
        if is_float(n.dtype) and (n.inputs or (isinstance(n.op, Leaf) and n.shape != ()))
    ]
    totals = {node: _Sums() for node in nodes}
    for draw in range(draws):
        if first is not None:
            held = {**held, graph.name(STEP): first + np.asarray(draw, first.dtype)}
        known = values(graph, nodes, held, arrays, sizes)
        for node, sums in totals.items():
            sums.add(known[node])
    return Moments({node: sums.result(graph, node) for node, sums in totals.items()})


class _Sums:
    """The values of each channel, of several runs, by their count, mean and squared deviations."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = np.zeros(())
        self.squares: Array = np.zeros(())

    def add(self, value: Array) -> None:
        """One more run: means and deviations combined as Chan, Golub and LeVeque do (1983)."""
        axes = (0, *range(2, value.ndim)) if value.ndim >= 2 else tuple(range(value.ndim))
        mean = np.asarray(value.mean(axis=axes))
        squares = np.asarray(value.var(axis=axes)) * (value.size // max(mean.size, 1))
        count = value.size // max(mean.size, 1)
        if self.count == 0:
            self.count, self.mean, self.squares = count, mean, squares
            return
        both, gap = self.count + count, mean - self.mean
        self.squares = self.squares + squares + gap**2 * (self.count * count / both)
        self.mean = self.mean + gap * (count / both)
        self.count = both

    def result(self, graph: Graph, node: Node) -> NodeMoments:
        variance = self.squares / self.count
        return NodeMoments(
            node,
            graph.name(node),
            float(self.mean.mean()),
            float(variance.mean() + self.mean.var()),
            self.mean,
            variance,
        )
