"""From the declared (training) graph to the one that predicts."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph, Node
from graphc.ops.random import Dropout
from graphc.passes.define import define


@define(changes="*")
def inference() -> Callable[[Graph], Graph]:
    """track(v, s) -> s, dropout(x) -> x (or p·x); no updates.

    A running statistic takes the place of the batch's; dropout gives its mean: x where training
    divided by p (``scaling="train"``), p·x where it did not. All updates go, but that of ``step``
    where a random op stays. Running it twice changes nothing.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x = gx.input("x", (2,))
    >>> graph = gx.Graph({"y": gx.dropout(x, retain=0.5)})
    >>> graph.apply(passes.inference()).outputs["y"] is x
    True
    """

    def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
        if old.op.tracks:
            return inputs[1]
        if isinstance(old.op, Dropout):
            x = inputs[0]
            return x if old.op.scaling == "train" else x * old.op.retain
        return None

    def run(graph: Graph) -> Graph:
        # In this order: a step that only the removed ops read needs no counting.
        return graph.rewrite(replace).rebuild(updates={})

    return run
