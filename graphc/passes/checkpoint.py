"""Memory for time: forward values are forgotten, and computed again for their gradients."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from graphc.ir import Graph, GraphError, Node, dims, facts
from graphc.ir.graph import post_order
from graphc.ir.leaves import Leaf, State, Stream
from graphc.ir.node import make
from graphc.ops.sharing import Again, again
from graphc.passes.define import define
from graphc.passes.edges import is_edge

# Named sizes stand for this many while segments are chosen; only their proportions count.
NOMINAL = 64


@define
def checkpoint(segments: int | None = None) -> Callable[[Graph], Graph]:
    """grad(x₁ … xₙ) -> grad(kept, xᵢ computed again from what is kept): the same bits.

    The forward pass is cut into segments where little crosses. What crosses is kept; all else is
    forgotten on the way to the loss, and computed again on the way back, segment by segment, each
    once the gradients of the next one are there. Inputs of a segment are read through ``again``
    nodes, which say so and keep the second computation apart from the first. Dropout draws the same
    mask again; what a layer tracks is not tracked twice.

    segments: how many; left out, the number with the least memory by a count of kept bytes, often
    near the root of the number of layers. Chen et al., Training Deep Nets with Sublinear Memory
    Cost, 2016. It stands between ``backward`` and the optimizer, and behind ``accumulate``, where
    it keeps every bit but saves little: the pieces forgot most already. Running it twice changes
    nothing.

    Raises GraphError without outputs ``grad/…`` or for fewer segments than 2.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x, w = gx.input("x", (64, 8)), gx.parameter("w", (8, 8))
    >>> for _ in range(16):
    ...     x = gx.tanh(x @ w)
    >>> train = gx.Graph({"loss": gx.sum(x)}).apply(passes.backward())
    >>> few = train.apply(passes.checkpoint())
    >>> peaks = [gx.compile(g).plan.peak_bytes for g in (train, few)]
    >>> peaks[1] < peaks[0]
    True
    """
    if segments is not None and (isinstance(segments, bool) or not isinstance(segments, int)):
        raise GraphError(f"checkpoint(segments={segments!r}): how many segments, an int")
    if segments is not None and segments < 2:
        raise GraphError(f"checkpoint(segments={segments}): at least 2, or nothing is forgotten")

    def run(graph: Graph) -> Graph:
        wanted = {name: node for name, node in graph.outputs.items() if name.startswith("grad/")}
        target = graph.outputs.get("objective", graph.outputs.get("loss"))
        if not wanted or target is None:
            raise GraphError(
                "checkpoint found no outputs grad/… of a loss: put it after passes.backward(), and "
                "in front of the optimizer, which consumes them"
            )
        forward = _Forward.of(graph, target, wanted.values())
        if any(isinstance(node.op, Again) for node in forward.backward):
            return graph
        cuts = forward.best() if segments is None else forward.cuts(segments)
        new = _Recomputed(forward, cuts, list(wanted.values())).run()
        outputs = {
            name: new.get(node, node) if name in wanted else node
            for name, node in graph.outputs.items()
        }
        gradients = {node: new.get(g, g) for node, g in graph.gradients.items()}
        return graph.rebuild(outputs, gradients=gradients)

    return run


@dataclass(frozen=True)
class _Forward:
    """The forward nodes in order, what of them is read on the way back, and what stays anyway."""

    nodes: list[Node]
    backward: list[Node]
    at: dict[Node, int]
    saved: list[int]  # bytes of each that the way back reads
    until: list[int]  # the last forward position that reads each
    size: list[int]
    stays: set[Node]

    @staticmethod
    def of(graph: Graph, target: Node, gradients: Iterable[Node]) -> _Forward:
        below = set(post_order([target]))
        later = set(post_order(gradients)) - below
        # An edge is the parameter itself: nothing is computed, nothing forgotten.
        nodes = [n for n in graph.nodes if n in below and n.inputs and not is_edge(n)]
        at = {node: i for i, node in enumerate(nodes)}
        backward = [n for n in graph.nodes if n in later]
        sizes = dict.fromkeys(
            (name for n in graph.inputs.values() for name in dims.names(n.shape)), NOMINAL
        )
        size = [max(math.prod(n.type.concrete(sizes)), 1) * n.dtype.itemsize for n in nodes]
        read = {source for n in backward for source in n.inputs}
        until = list(range(len(nodes)))
        for i, node in enumerate(nodes):
            for source in node.inputs:
                if source in at:
                    until[at[source]] = i
        saved = [s if n in read else 0 for s, n in zip(size, nodes, strict=True)]
        stays = {*graph.outputs.values(), *graph.leaf_updates.values()}
        return _Forward(nodes, backward, at, saved, until, size, stays)

    @cached_property
    def total(self) -> list[int]:
        """Bytes read on the way back, of all nodes up to each one."""
        return list(accumulate(self.saved))

    @cached_property
    def crossing(self) -> list[int]:
        """Bytes that a cut in front of each position would keep."""
        change = [0] * (len(self.nodes) + 1)
        for i, last in enumerate(self.until):
            if last > i:
                change[i + 1] += self.size[i]
                change[last + 1] -= self.size[i]
        return list(accumulate(change))[: len(self.nodes)]

    def cuts(self, segments: int) -> list[int]:
        """Positions where segments begin: of about equal saved bytes, moved to where little
        crosses."""
        total, crossing = self.total, self.crossing
        found: set[int] = set()
        for k in range(1, segments):
            middle = k * total[-1] / segments
            low, high = (
                bisect_right(total, middle + side * total[-1] / segments) + 1
                for side in (-0.5, 0.5)
            )
            near = range(low, min(high, len(total)))
            if near:
                found.add(min(near, key=lambda i: (crossing[i], abs(total[i - 1] - middle))))
        return sorted(found)

    def kept(self, cuts: Sequence[int]) -> set[Node]:
        """What crosses a cut, and what stays in any case."""
        ends = [*cuts, len(self.nodes)]
        segment = _segments(cuts, len(self.nodes))
        reach = zip(self.nodes, segment, self.until, strict=True)
        return self.stays | {node for node, number, last in reach if ends[number] <= last}

    def best(self) -> list[int]:
        """The cuts with the least kept and recomputed bytes at a time."""
        if not self.nodes or not any(self.saved):
            return []
        most = 2 * math.isqrt(sum(s > 0 for s in self.saved)) + 2
        # Every number of segments where they are few, then fewer of the numbers.
        counts = {*range(2, 33), *(round(2 ** (k / 4)) for k in range(20, 80))}
        return min((self.cuts(n) for n in sorted(counts) if n <= most), key=self.cost)

    def cost(self, cuts: Sequence[int]) -> int:
        """Bytes kept, and the most that one segment holds while it is gone through backwards."""
        kept = self.kept(cuts)
        held = [0] * (len(cuts) + 1)
        for i, segment in enumerate(_segments(cuts, len(self.nodes))):
            held[segment] += 0 if self.nodes[i] in kept else self.saved[i]
        return sum(self.size[self.at[n]] for n in kept if n in self.at) + max(held)


def _segments(cuts: Sequence[int], count: int) -> list[int]:
    """The segment of each position."""
    return [bisect_right(cuts, position) for position in range(count)]


class _Recomputed:
    """The way back on values that are computed again."""

    def __init__(self, forward: _Forward, cuts: Sequence[int], gradients: list[Node]) -> None:
        self.forward = forward
        self.kept = forward.kept(cuts)
        self.last = len(cuts)
        self.segment = _segments(cuts, len(forward.nodes))
        self.gradients = gradients
        self.new: dict[Node, Node] = {}  # of the way back
        self.copies: dict[Node, Node] = {}  # of forward values
        self.token: Node | None = None

    def run(self) -> Mapping[Node, Node]:
        """The new nodes of the way back, by the old ones."""
        stages = self._stages()
        below: list[list[Node]] = [[] for _ in range(self.last + 1)]
        for node in self.forward.backward:
            below[stages[node]].append(node)
        first_read: dict[Node, int] = {}
        for node in self.forward.backward:
            for source in node.inputs:
                first_read[source] = min(stages[node], first_read.get(source, self.last))
        wanted = [node for node in reversed(self.gradients) if node in stages]
        for stage in reversed(range(self.last + 1)):
            for node in below[stage]:
                self._rebuild(node)
            # What must be there before the segment in front of this one is computed again: the
            # gradients of the parameters, so that nothing that they read lives on, and what the
            # stages to come read.
            ends = [n for n in below[stage] if n.inputs and first_read.get(n, stage) < stage]
            for node in dict.fromkeys([*(n for n in wanted if stages[n] == stage), *ends]):
                value = self.new[node]
                self.token = value if self.token is None else again(self.token, value)
        return self.new

    def _stages(self) -> dict[Node, int]:
        """The earliest segment that each node of the way back needs computed again."""
        stages: dict[Node, int] = {}
        for node in self.forward.backward:
            stages[node] = min((self._stage(s, stages) for s in node.inputs), default=self.last)
        return stages

    def _stage(self, source: Node, stages: Mapping[Node, int]) -> int:
        if self._forgotten(source):
            return self.segment[self.forward.at[source]]
        return stages.get(source, self.last)

    def _rebuild(self, node: Node) -> None:
        inputs = tuple(self.new[s] if s in self.new else self._value(s) for s in node.inputs)
        with facts.derive(node):
            self.new[node] = node if inputs == node.inputs else make(node.op, *inputs)

    def _forgotten(self, node: Node) -> bool:
        """Whether it is a forward value that does not stay until it is needed."""
        at = self.forward.at
        return node in at and node not in self.kept and self.segment[at[node]] < self.last

    def _value(self, source: Node) -> Node:
        """A forward value as the way back reads it: as it is, or computed again."""
        stack = [source] if self._forgotten(source) else []
        while stack:
            node = stack[-1]
            # All of them lie in one segment: what comes from another crosses a cut, and is kept.
            missing = [s for s in node.inputs if self._forgotten(s) and s not in self.copies]
            if missing:
                stack += missing
                continue
            stack.pop()
            with facts.derive(node):
                inputs = [
                    self.copies[s] if s in self.copies else self._outside(s) for s in node.inputs
                ]
                self.copies[node] = inputs[0] if node.op.tracks else make(node.op, *inputs)
        return self.copies.get(source, source)

    def _outside(self, source: Node) -> Node:
        """An input of the segment, read anew when the gradients behind it are there."""
        constant = not source.inputs and not isinstance(source.op, Leaf)
        if constant or isinstance(source.op, (State, Stream)) or self.token is None:
            return source
        return again(source, self.token)
