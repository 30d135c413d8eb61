"""Attention, as a composition of matrix products and a softmax."""

from __future__ import annotations

from typing import ClassVar

from graphc.ir import GraphError, Node, ShapeError
from graphc.ir.leaves import parameter
from graphc.ir.node import describe
from graphc.nn.layers import Linear, positive
from graphc.nn.module import Module
from graphc.ops.attention import scaled_dot_product_attention
from graphc.ops.linear import linear
from graphc.ops.shape import reshape, transpose


class MultiheadAttention(Module):
    """Every position reads every other, in ``num_heads`` ways: (N, T, D) -> (N, T, D).

    softmax(Q·Kᵀ / √(D/heads))·V by head, where Q, K, V are linear in x. PyTorch's names and shapes:
    ``in_proj_weight`` (3·D, D), ``in_proj_bias``, ``out_proj``. Self-attention, batch first,
    without a mask. Raises GraphError where the heads do not divide embed_dim, ShapeError where x
    does not fit. Source: Vaswani et al. 2017, section 3.2.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> nn.MultiheadAttention(8, 2)(gx.input("x", ("N", 5, 8))).shape
    (Dim('N'), 5, 8)
    """

    _kind: ClassVar[str] = "multihead_attention"

    def __init__(self, embed_dim: int, num_heads: int, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.embed_dim = positive(self, "embed_dim", embed_dim)
        self.num_heads = positive(self, "num_heads", num_heads)
        if embed_dim % num_heads:
            raise GraphError(
                f"MultiheadAttention: num_heads={num_heads} does not divide embed_dim={embed_dim}"
            )
        shape = (3 * embed_dim, embed_dim)
        self.in_proj_weight = parameter("in_proj_weight", shape, init="xavier_uniform")
        self.in_proj_bias = parameter("in_proj_bias", shape[:1], role="bias")
        self.out_proj = Linear(embed_dim, embed_dim, init="xavier_uniform")

    def forward(self, x: Node) -> Node:
        """x: (N, T, embed_dim)."""
        if x.ndim != 3 or x.shape[2] != self.embed_dim:
            raise ShapeError(
                f"MultiheadAttention takes (N, T, {self.embed_dim}), not\n  {describe(x)}",
                nodes=[x],
            )
        batch, length, _ = x.shape
        width = self.embed_dim // self.num_heads
        joined = linear(x, self.in_proj_weight, self.in_proj_bias)
        apart = reshape(joined, (batch, length, 3, self.num_heads, width))
        q, k, v = (transpose(apart[:, :, i], (0, 2, 1, 3)) for i in range(3))
        read = scaled_dot_product_attention(q, k, v)
        together = reshape(transpose(read, (0, 2, 1, 3)), (batch, length, self.embed_dim))
        return self.out_proj(together)  # type: ignore[no-any-return]
