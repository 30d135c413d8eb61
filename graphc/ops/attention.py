"""Attention: every position reads every other, by products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.errors import GraphError
from graphc.ir.node import Node
from graphc.ops.along import cumsum
from graphc.ops.compare import where
from graphc.ops.core import constant
from graphc.ops.linear import matmul
from graphc.ops.mistake import mistake
from graphc.ops.pointwise import BOOL
from graphc.ops.shape import broadcast_to, reshape, transpose
from graphc.ops.softmax import softmax

__all__ = ["scaled_dot_product_attention"]

NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: Node,
    key: Node,
    value: Node,
    attn_mask: Node | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Node:
    """softmax(query·keyᵀ·scale)·value over the last two axes (Vaswani et al. 2017, equation 1).

    query: (…, L, D); key: (…, S, D); value: (…, S, V). Result (…, L, V). attn_mask: broadcasts
    against (…, L, S); bool, True where a query may read, or numbers added before the softmax.
    is_causal: query i reads keys 0 to i; not beside a mask. scale: 1/√D by default. A query that
    may read nothing gets NaN. Dropout is not part of it.

    Names and defaults are PyTorch's. Raises ShapeError where the sizes do not fit, GraphError for a
    mask beside is_causal, or a symbolic D without a scale.

    >>> import graphc as gx
    >>> x = gx.input("x", ("T", 1))
    >>> graph = gx.Graph({"y": gx.scaled_dot_product_attention(x * 0, x, x, is_causal=True)})
    >>> gx.interpret(graph, {}, x=[[2], [4], [9]])["y"].tolist()
    [[2.0], [3.0], [5.0]]
    """
    given: dict[str, Any] = {"query": query, "key": key, "value": value}
    for name, node in given.items():
        if node.ndim < 2:
            mistake(NAME, f"{name} has {node.ndim} axes, not (…, length, features)", **given)
    for left, right, axis in (("query", "key", -1), ("key", "value", -2)):
        a, b = given[left], given[right]
        if dims.always_equal(a.shape[axis], b.shape[axis]) is False:
            what = "features" if axis == -1 else "positions"
            two = f"{left} has {a.shape[axis]} {what}, {right} {b.shape[axis]}"
            mistake(NAME, two, **given)
    if is_causal and attn_mask is not None:
        mistake(NAME, "is_causal=True beside a mask: give one", error=GraphError, mask=attn_mask)
    if scale is None:
        width = query.shape[-1]
        if not isinstance(width, int):
            what = f"the number of features is {width}, not a number"
            mistake(NAME, what, fix="say scale=", error=GraphError, query=query)
        scale = 1 / math.sqrt(width)
    last = key.ndim - 1
    scores = matmul(query, transpose(key, (*range(last - 1), last, last - 1))) * scale
    if is_causal:
        attn_mask = _places(scores.shape[-2], 1) >= _places(scores.shape[-1], 0)
    if attn_mask is not None:
        hidden = attn_mask.dtype == BOOL
        scores = where(attn_mask, scores, -np.inf) if hidden else scores + attn_mask
    return matmul(softmax(scores), value)


def _places(length: Size, axis: int) -> Node:
    """1, 2, 3, … as a column (axis 1 is new) or as a row; the length may be symbolic."""
    count = cumsum(broadcast_to(constant(1), (length,)), 0)
    return reshape(count, (length, 1) if axis else (1, length))
