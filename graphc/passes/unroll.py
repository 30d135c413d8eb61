"""A convolution taken apart into its sparse edges: which output, which input, which weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from graphc.ir import GraphError, Node
from graphc.ir.dims import evaluate
from graphc.ir.leaves import Parameter
from graphc.ir.node import describe
from graphc.ir.types import Shape
from graphc.ops.conv import Conv2d
from graphc.ops.core import constant
from graphc.ops.padding import Sweep
from graphc.ops.shape import broadcast_to, concat, reshape

MOST_EDGES = 2**20


class ConvolutionEdge(NamedTuple):
    """One product of a convolution: output[o] += input[i] · weight[w], without the batch axis."""

    output: tuple[int, int, int]
    input: tuple[int, int, int]
    weight: tuple[int, int, int, int]


def convolution_edges(node: Node, limit: int | None = None) -> list[ConvolutionEdge]:
    """The edges of a convolution seen as a sparse linear layer that shares weights.

    node: a ``conv2d`` of an image whose height and width are ints. For each output (channel, row,
    column), row-major, the inputs (channel, row, column) that it reads and the weight (filter,
    channel, row, column) of each: Σ over the edges of input · weight is the convolution without its
    bias. Taps that stand on the padding are no edges. All edges with one weight share it.

    limit: the empty list for what is not such a convolution of a parameter with at most this many
    edges. Without it, raises GraphError for another node, a symbolic size, or more than 2²⁰ edges.

    >>> import graphc as gx
    >>> x, w = gx.input("x", (1, 1, 1, 3)), gx.parameter("w", (1, 1, 1, 2))
    >>> for edge in gx.convolution_edges(gx.conv2d(x, w)):
    ...     print(edge.output, edge.input, edge.weight)
    (0, 0, 0) (0, 0, 0) (0, 0, 0, 0)
    (0, 0, 0) (0, 0, 1) (0, 0, 0, 1)
    (0, 0, 1) (0, 0, 1) (0, 0, 0, 0)
    (0, 0, 1) (0, 0, 2) (0, 0, 0, 1)
    """
    op = node.op
    if not isinstance(op, Conv2d) or not all(isinstance(n, int) for n in node.inputs[0].shape[2:]):
        if limit is not None:
            return []
        raise GraphError(
            "convolution_edges takes a conv2d of an image whose height and width are ints, not "
            f"{describe(node)}",
            nodes=[node],
        )
    x, weight = node.inputs[:2]
    if limit is not None and not isinstance(weight.op, Parameter):
        return []
    filters, each, height, width = weight.type.concrete({})
    rows, columns = op.numbers(x.shape[2:], (height, width), {})
    down, across = _taps(rows), _taps(columns)
    count = filters * each * sum(map(len, down)) * sum(map(len, across))
    if limit is not None and count > limit:
        return []
    if count > MOST_EDGES:
        raise GraphError(
            f"this convolution has {count:,} edges, too many to list: {describe(node)}\n"
            "  to fix: a smaller image, or fewer channels",
            nodes=[node],
        )
    ahead = filters // op.groups  # filters of one group
    return [
        ConvolutionEdge((f, oh, ow), (f // ahead * each + c, ih, iw), (f, c, kh, kw))
        for f, (oh, high), (ow, wide) in product(range(filters), enumerate(down), enumerate(across))
        for c, (kh, ih), (kw, iw) in product(range(each), high, wide)
    ]


def _taps(sweep: Sweep) -> list[list[tuple[int, int]]]:
    """At each position: the taps that stand on a pixel, and which pixel that is."""
    size, before = evaluate(sweep.size, {}), evaluate(sweep.before, {})
    first = (at * sweep.stride - before for at in range(sweep.count))
    reach = (
        [(tap, start + tap * sweep.dilation) for tap in range(sweep.kernel)] for start in first
    )
    return [[(tap, pixel) for tap, pixel in taps if 0 <= pixel < size] for taps in reach]


def unrolled(
    inputs: Sequence[Node], shape: Shape, uses: Iterable[tuple[ConvolutionEdge, Node]]
) -> Node:
    """The convolution of ``inputs`` (x, weight, bias) as the sum over its edges.

    uses: each edge with the node that is its weight, of the shape of the filters.
    """
    x = inputs[0]
    filters, height, width = (evaluate(size, {}) for size in shape[1:])
    sums: dict[tuple[int, int, int], Node] = {}
    for (output, (c, ih, iw), (f, each, kh, kw)), weight in uses:
        pixel = x[:, c : c + 1, ih : ih + 1, iw : iw + 1]
        term = pixel * weight[f : f + 1, each : each + 1, kh : kh + 1, kw : kw + 1]
        sums[output] = sums[output] + term if output in sums else term
    places = product(range(filters), range(height), range(width))
    blank = broadcast_to(constant(0.0, x.dtype), (shape[0], 1, 1, 1))
    result = reshape(concat([sums.get(place, blank) for place in places], 1), shape)
    return result + reshape(inputs[2], (filters, 1, 1)) if len(inputs) == 3 else result


__all__ = ["ConvolutionEdge", "convolution_edges"]
