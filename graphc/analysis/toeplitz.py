"""A convolution as the matrix of a linear layer: sparse, and each weight in many places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir import GraphError, Node, ShapeError
from graphc.ir.node import describe
from graphc.ops.conv import Conv2d
from graphc.passes.unroll import ConvolutionEdge, convolution_edges

MOST_CELLS = 2**26


def toeplitz(node: Node, weight: npt.ArrayLike) -> npt.NDArray[Any]:
    """The matrix T with ``T @ x[n].ravel() == conv2d(x, weight)[n].ravel()``, the bias left out.

    node: a ``conv2d`` of an image whose height and width are ints, with any stride, padding,
    dilation and groups. weight: an array of the shape of its filters. T has a row for each output
    (channel, row, column) and a column for each input, both row-major, and the dtype of ``weight``;
    it is 0 where no tap connects the two. Along the positions of a stride-1 convolution its blocks
    are Toeplitz matrices: constant along their diagonals.

    Where each weight stands tells ``toeplitz(node, 1 + np.arange(w.size).reshape(w.shape))``.

    Raises GraphError for another node, a symbolic size, or a matrix of more than 2²⁶ cells;
    ShapeError for a weight of another shape.

    >>> import graphc as gx
    >>> x, w = gx.input("x", ("N", 1, 1, 4)), gx.parameter("w", (1, 1, 1, 2))
    >>> gx.toeplitz(gx.conv2d(x, w), [[[[5, 7]]]])
    array([[5, 7, 0, 0],
           [0, 5, 7, 0],
           [0, 0, 5, 7]])
    """
    weight = np.asarray(weight)
    edges = [] if _too_large(node) else convolution_edges(node)
    filters = node.inputs[1]
    if weight.shape != filters.shape:
        raise ShapeError(
            f"toeplitz: the weight has shape {weight.shape}, the filters of the convolution have "
            f"{tuple(filters.shape)}: {describe(node)}",
            nodes=[node],
        )
    rows, columns = units(node), units(node.inputs[0])
    if _too_large(node):
        raise GraphError(
            f"toeplitz: a matrix of {math.prod(rows):,} rows and {math.prod(columns):,} columns is "
            f"too large to write out: {describe(node)}\n  to fix: a smaller image",
            nodes=[node],
        )
    matrix = np.zeros((math.prod(rows), math.prod(columns)), weight.dtype)
    if edges:
        at, read, used = edge_numbers(node, edges)
        matrix[at, read] = weight.reshape(-1)[used]
    return matrix


def _too_large(node: Node) -> bool:
    """Whether this is a convolution whose matrix nobody could hold; told before it is unrolled."""
    shapes = [end.shape[1:] for end in (node, *node.inputs[:1])]
    if not isinstance(node.op, Conv2d) or not all(isinstance(n, int) for n in sum(shapes, ())):
        return False
    return math.prod(units(node)) * math.prod(units(node.inputs[0])) > MOST_CELLS


def units(node: Node) -> tuple[int, int, int]:
    """(channels, height, width) of a map whose sizes are ints."""
    channels, height, width = (int(size) for size in node.shape[1:])  # type: ignore[arg-type]
    return channels, height, width


def edge_numbers(
    node: Node, edges: list[ConvolutionEdge]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The row-major numbers of the output, input and weight of each of the node's edges."""
    shapes = (units(node), units(node.inputs[0]), node.inputs[1].type.concrete({}))
    ends = (np.array(side, np.intp).T for side in zip(*edges, strict=True))
    output, read, weight = (
        np.ravel_multi_index(tuple(side), shape) for side, shape in zip(ends, shapes, strict=True)
    )
    return output, read, weight


__all__ = ["toeplitz"]
