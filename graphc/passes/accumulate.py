"""Micro-batches: the pieces of a batch one after the other, their gradients in a running sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from graphc.ir import Graph, GraphError, Node, facts
from graphc.ir.graph import post_order
from graphc.ir.node import describe, make
from graphc.ops.sharing import Again, GradSum, again, grad_sum
from graphc.passes.define import define
from graphc.passes.shard import pieces_of

Key = TypeVar("Key")


@define
def accumulate() -> Callable[[Graph], Graph]:
    """grad_sum(g₁, …, g_k) -> (g₁ + g₂) + …, piece i+1 read once the sum to i is there.

    The graph is that of ``shard(k)`` and ``backward``, with an order: a piece of the inputs is read
    through ``again`` nodes that wait for the gradients of the piece before it, and each
    ``grad_sum`` over the pieces becomes a running sum. So the forward values of one micro-batch are
    gone before those of the next are made, and the planned peak falls; the gradients are summed in
    the order that they were. It stands between ``backward`` and the optimizer; running it twice
    changes nothing.

    Raises GraphError: a graph that ``shard`` did not cut, no outputs ``grad/…``, behind
    ``checkpoint`` (it goes in front), or gradients that need several pieces at once, as a batch's
    statistics do (an example's own, ``nn.GroupNorm`` or ``nn.LayerNorm``, do not).

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x, w = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3))
    >>> graph = gx.Graph({"loss": gx.mean(gx.tanh(gx.linear(x, w)))})
    >>> step = graph.apply(passes.shard(2), passes.backward(), passes.accumulate())
    >>> [node.op.name for node in step.nodes if node.op.name in ("again", "grad_sum")]
    ['again', 'grad_sum']
    """

    def run(graph: Graph) -> Graph:
        pieces = pieces_of(graph)
        if not pieces:
            raise GraphError(
                "accumulate orders the micro-batches that passes.shard(k) cut, and this graph is "
                "whole: passes.shard(k), passes.backward(), passes.accumulate()"
            )
        wanted = [node for name, node in graph.outputs.items() if name.startswith("grad/")]
        if not wanted:
            raise GraphError(
                "accumulate found no outputs grad/…: put it after passes.backward(), and in front "
                "of the optimizer, which consumes them"
            )
        later = [piece for stage in pieces[1:] for piece in stage]
        if all(isinstance(user.op, Again) for piece in later for user in graph.users(piece)):
            return graph
        return _Ordered(graph, pieces, wanted).run()

    return run


class _Ordered:
    """The graph with its pieces one after the other."""

    def __init__(self, graph: Graph, pieces: Sequence[Sequence[Node]], wanted: list[Node]) -> None:
        self.graph = graph
        self.pieces = pieces
        self.read = _pieces_read(graph, pieces)
        self.sums = self._sums(wanted)
        self.new: dict[Node, Node] = {}

    def _stage(self, node: Node) -> int | None:
        """The one piece that ``node`` depends on; None for none and for several."""
        read = self.read[node]
        return read.bit_length() - 1 if read.bit_count() == 1 else None

    def _sums(self, wanted: list[Node]) -> list[Node]:
        """Where gradients of different pieces meet. Raises GraphError where something else does."""
        found: list[Node] = []
        for node in post_order(wanted):
            meets = self.read[node].bit_count() > 1
            if not meets or all(self._stage(source) is None for source in node.inputs):
                continue
            if isinstance(node.op, Again):
                raise GraphError(
                    "accumulate: passes.checkpoint() has gone through this graph, and what it "
                    "computes again waits for the gradients of all pieces at once\n  to fix: put "
                    "accumulate in front of it: passes.shard(k), passes.backward(), "
                    "passes.accumulate(), passes.checkpoint()",
                    nodes=[node],
                )
            if not isinstance(node.op, GradSum):
                raise GraphError(
                    "accumulate: the gradients need several pieces of the batch at once, so they "
                    f"cannot go one after the other. They meet in\n  {describe(node)}\n"
                    "  to fix: normalize by statistics of the example (nn.GroupNorm, nn.LayerNorm) "
                    "in place of the batch's, or leave passes.accumulate() out",
                    nodes=[node],
                )
            found.append(node)
        return found

    def run(self) -> Graph:
        totals: dict[Node, Node] = {}
        token: Node | None = None
        for number, stage in enumerate(self.pieces):
            for node in self.graph.nodes:
                if self._stage(node) == number:
                    self._rebuild(node)
                    if node in stage and token is not None:
                        self.new[node] = again(self.new[node], token)
            token = None
            for node in self.sums:
                terms = [self.new[t] for t in node.inputs if self._stage(t) == number]
                if terms:
                    running = [totals[node]] if node in totals else []
                    with facts.derive(node):
                        totals[node] = grad_sum(*running, *terms)
                    # One node that is there when all of these sums are.
                    token = totals[node] if token is None else again(token, totals[node])
        for node in self.graph.nodes:
            if node in totals:
                self._finish(node, totals[node])
            elif self.read[node].bit_count() > 1:
                self._rebuild(node)
        return self.graph.rebuild(
            self._renewed(self.graph.outputs),
            self._renewed(self.graph.leaf_updates),
            gradients={
                self.new.get(node, node): self.new.get(gradient, gradient)
                for node, gradient in self.graph.gradients.items()
            },
        )

    def _rebuild(self, node: Node) -> None:
        inputs = tuple(self.new.get(source, source) for source in node.inputs)
        with facts.derive(node):
            self._put(node, node if inputs == node.inputs else make(node.op, *inputs))

    def _finish(self, node: Node, total: Node) -> None:
        """The sum over the pieces, with the terms that no single piece gives (weight decay's)."""
        rest = [i for i, term in enumerate(node.inputs) if self._stage(term) is None]
        decay = node.op.attributes()["decay"]
        mark = rest.index(decay) + 1 if decay in rest else None
        terms = (self.new.get(node.inputs[i], node.inputs[i]) for i in rest)
        with facts.derive(node):
            self._put(node, grad_sum(total, *terms, decay=mark))

    def _put(self, old: Node, new: Node) -> None:
        self.new[old] = new
        owner = facts.forward_of(old)
        if new is not old and owner is not None:
            facts.set_forward(new, self.new.get(owner, owner))

    def _renewed(self, table: Mapping[Key, Node]) -> dict[Key, Node]:
        return {key: self.new.get(node, node) for key, node in table.items()}


def _pieces_read(graph: Graph, pieces: Sequence[Sequence[Node]]) -> dict[Node, int]:
    """Which pieces each node depends on, one bit for each."""
    own = {node: 1 << number for number, stage in enumerate(pieces) for node in stage}
    read: dict[Node, int] = {}
    for node in graph.nodes:
        found = own.get(node, 0)
        for source in node.inputs:
            found |= read[source]
        read[node] = found
    return read


__all__ = ["accumulate"]
