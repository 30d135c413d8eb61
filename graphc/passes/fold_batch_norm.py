"""A normalization by known statistics is a scale and a shift: the layer before it can have both."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph, Node, facts
from graphc.ir.node import make
from graphc.ir.variables import of_variables_alone
from graphc.ops.conv import Conv2d
from graphc.ops.elementwise import sqrt
from graphc.ops.linear import Linear
from graphc.ops.norm import BatchNorm
from graphc.ops.shape import broadcast_to, reshape
from graphc.passes.define import define
from graphc.passes.select import only_before_backward


@define
def fold_batch_norm() -> Callable[[Graph], Graph]:
    """batch_norm(conv2d(x, w, b)) -> conv2d(x, w·s, (b - mean)·s + shift), s = scale/√(var + eps).

    So for every ``conv2d``, and every ``linear`` of vectors, whose weight and statistics depend on
    variables alone and whose result nothing else reads: after ``inference``, that is. In a training
    graph the statistics are those of the batch, and nothing is folded. s, w·s and the new bias are
    nodes of the graph, which ``Program.bind`` computes once. Values change by rounding alone.

    Running it twice changes nothing. Raises GraphError after ``backward``.

    >>> import graphc as gx
    >>> from graphc import nn, passes
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    >>> graph = gx.Graph({"y": net(gx.input("x", ("N", 3, 8, 8)))})
    >>> folded = graph.apply(passes.inference(), passes.fold_batch_norm())
    >>> [node.op.name for node in folded.nodes if node.shape[1:] == (8, 6, 6)]
    ['conv2d', 'relu']
    """

    def run(graph: Graph) -> Graph:
        only_before_backward(graph, "fold_batch_norm")
        known = of_variables_alone(graph)
        held = {*graph.outputs.values(), *graph.leaf_updates.values()}
        folded: set[Node] = set()

        def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
            if not isinstance(old.op, BatchNorm) or not known.issuperset(old.inputs[1:]):
                return None
            layer = old.inputs[0]
            if layer in held or len(graph.users(layer)) > 1:
                return None
            # A second normalization folds into what the first one left.
            if layer not in folded and not known.issuperset(layer.inputs[1:]):
                return None
            node = _folded(inputs[0], old.op.eps, inputs[1:])
            if node is not None:
                facts.add(node, facts.origins(layer))
                folded.add(old)
            return node

        return graph.rewrite(replace)

    return run


def _folded(layer: Node, eps: float, statistics: tuple[Node, ...]) -> Node | None:
    """``layer`` with the normalization inside; None where it is no such layer."""
    # Features that are not axis 1 are not the channels that batch_norm scales.
    if not isinstance(layer.op, (Conv2d, Linear)) or (
        layer.ndim != 2 and layer.op.name == "linear"
    ):
        return None
    scale, shift, mean, variance = statistics
    x, weight, *bias = layer.inputs
    factor = scale / sqrt(variance + eps)
    rows = factor if factor.ndim == 0 else reshape(factor, (-1, *[1] * (weight.ndim - 1)))
    moved = shift + (bias[0] - mean) * factor if bias else shift - mean * factor
    return make(layer.op, x, weight * rows, broadcast_to(moved, weight.shape[:1]))
