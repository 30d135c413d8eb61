"""Images brought to another size: adaptive pooling, upsampling. Compositions of other ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from graphc.ir.dims import Size
from graphc.ir.errors import ShapeError
from graphc.ir.facts import user_line
from graphc.ir.node import Node, describe
from graphc.ops.core import constant
from graphc.ops.linear import matmul
from graphc.ops.padding import pair, refuse, two
from graphc.ops.pool import avg_pool2d
from graphc.ops.reduce import mean
from graphc.ops.shape import broadcast_to, reshape

__all__ = ["adaptive_avg_pool2d", "upsample"]


def adaptive_avg_pool2d(x: Node, output_size: Any) -> Node:
    """The image averaged down (or repeated up) to ``output_size``, as PyTorch.

    x: (N, C, H, W); output_size: an int or a pair (OH, OW), None keeps that side. Output row i is
    the mean of the rows from ⌊i·H/OH⌋ to ⌈(i+1)·H/OH⌉ - 1; columns alike. Result (N, C, OH, OW):
    x itself where it has that size, the mean where it is 1×1, ``avg_pool2d`` where it divides H and
    W, else two products with constant matrices. A symbolic H or W may only be kept, or go to 1×1.

    Raises ShapeError for another number of axes or a symbolic size, GraphError for another form.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.adaptive_avg_pool2d(gx.input("x", (1, 1, 1, 4)), (1, 2))})
    >>> gx.interpret(graph, {}, x=[[[[1, 3, 5, 9]]]])["y"]
    array([[[[2., 7.]]]], dtype=float32)
    """
    _check_image("adaptive_avg_pool2d", x)
    wanted = _sides(output_size)
    plane = x.shape[2:]
    out = tuple(n if side is None else side for n, side in zip(plane, wanted, strict=True))
    if out == plane:
        return x
    if out == (1, 1):
        return mean(x, (2, 3), keepdims=True)
    (height, width), (rows, columns) = _numbers(x, plane), _numbers(x, out)
    if height % rows == 0 and width % columns == 0:
        return avg_pool2d(x, (height // rows, width // columns))
    down = constant(_averages(height, rows).astype(x.dtype))
    across = constant(_averages(width, columns).T.astype(x.dtype))
    return matmul(matmul(down, x), across)


def upsample(x: Node, scale_factor: Any = 2) -> Node:
    """Each pixel repeated ``scale_factor`` times along both sides: PyTorch's mode ``"nearest"``.

    x: (N, C, H, W); scale_factor: an int of 1 or more, or a pair (height, width). Result
    (N, C, H·scale, W·scale). Raises ShapeError for another number of axes, GraphError for a
    factor of another form.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.upsample(gx.input("x", (1, 1, 1, 2)))})
    >>> gx.interpret(graph, {}, x=[[[[1, 2]]]])["y"]
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]], dtype=float32)
    """
    _check_image("upsample", x)
    rows, columns = two(pair(scale_factor, "upsample: scale_factor"))
    if rows < 1 or columns < 1:
        refuse("upsample: scale_factor", scale_factor, "1 or more")
    n, c, height, width = x.shape
    apart = reshape(x, (n, c, height, 1, width, 1))
    repeated = broadcast_to(apart, (n, c, height, rows, width, columns))
    return reshape(repeated, (n, c, height * rows, width * columns))


def _averages(size: int, out: int) -> np.ndarray[Any, np.dtype[Any]]:
    """The matrix (out, size) whose row i averages what position i covers."""
    weights = np.zeros((out, size))
    for i in range(out):
        first, end = i * size // out, -(-(i + 1) * size // out)
        weights[i, first:end] = 1 / (end - first)
    return weights


def _sides(output_size: Any) -> tuple[int | None, int | None]:
    both = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    good = len(both) == 2 and all(
        side is None or (isinstance(side, int) and not isinstance(side, bool) and side >= 1)
        for side in both
    )
    if not good:
        wanted = "a positive int, or a pair of those and None (height, width)"
        refuse("adaptive_avg_pool2d: output_size", output_size, wanted)
    return both[0], both[1]


def _numbers(x: Node, plane: Sequence[Size]) -> tuple[int, int]:
    height, width = plane
    if not isinstance(height, int) or not isinstance(width, int):
        what = f"the image's size ({height}, {width}) is not a number, which only 1×1 allows"
        _fail("adaptive_avg_pool2d", x, what)
    return height, width


def _check_image(name: str, x: Node) -> None:
    if x.ndim != 4:
        _fail(name, x, f"x has {x.ndim} axes, not batch, channels, height, width")


def _fail(name: str, x: Node, what: str) -> NoReturn:
    raise ShapeError(
        f"{name}: {what}\n  x  {describe(x)}\n  called at {user_line()}",
        nodes=[x],
        lines=[*x.lines, user_line()],
    )
