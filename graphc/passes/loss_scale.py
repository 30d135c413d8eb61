"""Dynamic loss scaling: a scale that is a state, and what follows from an overflow.

``mixed_precision`` puts it in; the optimizers ask ``guarded`` for the updates that they may make.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from graphc.ir import Graph, GraphError, Node, state
from graphc.ir.node import describe
from graphc.ops.compare import less, logical_and, where
from graphc.ops.elementwise import abs as abs_
from graphc.ops.elementwise import maximum, minimum
from graphc.ops.reduce import max as max_

FINITE = "finite"  # the output: whether every gradient of this step is finite
SCALE = "mixed_precision/loss_scale"
STEPS = "mixed_precision/finite_steps"  # in a row
FIRST, LEAST, MOST = 2.0**16, 2.0**-24, 2.0**24


class Scaler:
    """The scale of a graph, by which its gradients are multiplied; ``follow`` adds its update."""

    def __init__(self, graph: Graph, growth_interval: int) -> None:
        known = graph.states
        if FINITE in graph.outputs and SCALE not in known:
            raise GraphError(
                f"an output is called {FINITE!r} already: mixed_precision(loss_scale='dynamic') "
                f"makes one that says whether all gradients are\n  "
                f"{describe(graph.outputs[FINITE])}\n  to fix: call yours otherwise",
                nodes=[graph.outputs[FINITE]],
            )
        self.scale = known[SCALE] if SCALE in known else state(SCALE, (), init=FIRST)
        self.steps = known[STEPS] if STEPS in known else state(STEPS, (), dtype="int64")
        self.growth_interval = growth_interval

    def follow(self, graph: Graph) -> Graph:
        """``graph`` with the output ``finite`` and the updates of the scale."""
        gradients = [node for name, node in graph.outputs.items() if name.startswith("grad/")]
        finite = all_finite(gradients)
        longer = self.steps + 1
        full = longer >= self.growth_interval
        grown = where(full, minimum(self.scale * 2.0, MOST), self.scale)
        updates = graph.leaf_updates
        updates[self.scale] = where(finite, grown, maximum(self.scale * 0.5, LEAST))
        updates[self.steps] = where(finite, where(full, 0, longer), 0)
        return graph.rebuild({**graph.outputs, FINITE: finite}, updates)


def all_finite(nodes: list[Node]) -> Node:
    """A bool scalar: no inf and no NaN in any of them (a maximum hands a NaN on)."""
    return reduce(logical_and, (less(max_(abs_(node)), float("inf")) for node in nodes))


def guarded(graph: Graph, updates: Mapping[Node, Node]) -> dict[Node, Node]:
    """The updates of an optimizer, not made in a step whose gradients overflowed.

    They are what they were where the loss scale is not dynamic.
    """
    if SCALE not in graph.states:
        return dict(updates)
    if FINITE not in graph.outputs:
        raise GraphError(
            f"the loss scale of this graph is dynamic, but its output {FINITE!r} is gone, which "
            "says whether to take the step: select it too, or put the optimizer in front of select"
        )
    finite = graph.outputs[FINITE]
    before = graph.leaf_updates
    return {
        leaf: new if before.get(leaf) is new else where(finite, new, leaf)
        for leaf, new in updates.items()
    }
