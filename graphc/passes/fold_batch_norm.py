"""A normalization by known statistics is a scale and a shift: the layer before it can have both."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from graphc.ir import Graph, Node, facts
from graphc.ir.node import make
from graphc.ir.op import Op
from graphc.ir.variables import of_variables_alone
from graphc.ops.conv import Conv2d, Conv2dInputGrad
from graphc.ops.elementwise import Add, add, sqrt
from graphc.ops.linear import Linear
from graphc.ops.norm import BatchNorm
from graphc.ops.shape import broadcast_to, reshape
from graphc.passes.define import define
from graphc.passes.select import only_before_backward

# A conv_transpose2d is the conv2d's gradient, with its bias added behind it.
PRODUCTS = (Conv2d, Conv2dInputGrad)


@define
def fold_batch_norm() -> Callable[[Graph], Graph]:
    """batch_norm(conv2d(x, w, b)) -> conv2d(x, w·s, (b - mean)·s + shift), s = scale/√(var + eps).

    So for every ``conv2d``, ``conv_transpose2d``, and ``linear`` of vectors whose weight and
    statistics depend on variables alone and whose result nothing else reads: after ``inference``,
    that is. Where something else does read a convolution, or its weight is not known, the
    normalization behind it becomes y·s + (shift - mean·s). In a training graph the statistics are
    those of the batch, and nothing is folded. s, w·s and the new bias are nodes of the graph, which
    ``Program.bind`` computes once. Values change by rounding alone.

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

        def alone(node: Node) -> bool:
            return node not in held and len(graph.users(node)) == 1

        def foldable(before: Node) -> bool:
            product, behind = _layer(before)
            if not known.issuperset([*product.inputs[1:], *behind]):
                return False
            return product is before or alone(product)

        def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
            if not isinstance(old.op, BatchNorm) or not known.issuperset(old.inputs[1:]):
                return None
            before = old.inputs[0]
            # A second normalization folds into what the first one left.
            if alone(before) and (before in folded or foldable(before)):
                node = _folded(inputs[0], old.op.eps, inputs[1:])
            elif isinstance(_layer(before)[0].op, PRODUCTS):
                factor, moved = _affine(old.op.eps, inputs[1:], [])
                node = inputs[0] * _channels(factor) + _channels(moved)
            else:
                return None
            if node is not None:
                facts.add(node, facts.origins(before))
                folded.add(old)
            return node

        return graph.rewrite(replace)

    return run


def _layer(node: Node) -> tuple[Node, list[Node]]:
    """The product that a layer is, and the bias that is added behind it, if one is."""
    if isinstance(node.op, Add):
        for product, bias in (node.inputs, node.inputs[::-1]):
            if isinstance(product.op, PRODUCTS) and bias.shape == (product.shape[1], 1, 1):
                return product, [bias]
    return node, []


def _folded(layer: Node, eps: float, statistics: tuple[Node, ...]) -> Node | None:
    """``layer`` with the normalization inside; None where it is no such layer."""
    product, behind = _layer(layer)
    # Features that are not axis 1 are not the channels that batch_norm scales.
    if not isinstance(product.op, (*PRODUCTS, Linear)) or (
        isinstance(product.op, Linear) and product.ndim != 2
    ):
        return None
    x, weight, *biases = product.inputs
    biases += [reshape(bias, (-1,)) for bias in behind]
    factor, moved = _affine(eps, statistics, biases)
    bias = broadcast_to(moved, (product.shape[1],))
    scaled = _scaled(product.op, weight, factor)
    if isinstance(product.op, Conv2dInputGrad):
        return make(product.op, x, scaled) + reshape(bias, (-1, 1, 1))
    return make(product.op, x, scaled, bias)


def _affine(eps: float, statistics: tuple[Node, ...], biases: list[Node]) -> tuple[Node, Node]:
    """The factor of each channel, and what is added behind it."""
    scale, shift, mean, variance = statistics
    factor = scale / sqrt(variance + eps)
    moved = shift + (reduce(add, biases) - mean) * factor if biases else shift - mean * factor
    return factor, moved


def _channels(vector: Node) -> Node:
    """A number for each channel, beside a map; a scalar as it is."""
    return vector if vector.ndim == 0 else reshape(vector, (-1, 1, 1))


def _scaled(op: Op, weight: Node, factor: Node) -> Node:
    """A layer's weight with each of its output channels times its factor."""
    if not isinstance(op, Conv2dInputGrad):
        rows = factor if factor.ndim == 0 else reshape(factor, (-1, *[1] * (weight.ndim - 1)))
        return weight * rows
    # Transposed: the rows are the input's channels, and each group of them has its own columns.
    if factor.ndim == 0:
        return weight * factor
    _, columns, *kernel = weight.shape
    apart = reshape(weight, (op.groups, -1, columns, *kernel))
    return reshape(apart * reshape(factor, (op.groups, 1, columns, 1, 1)), weight.shape)
