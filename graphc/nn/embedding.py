"""A table of vectors, one a word."""

from __future__ import annotations

from typing import ClassVar

from graphc.ir import Node
from graphc.ir.leaves import parameter
from graphc.nn.layers import Init, positive
from graphc.nn.module import Module
from graphc.ops.gather import embedding


class Embedding(Module):
    """The vector of each word: int64 of any shape -> that shape + (embedding_dim,).

    ``weight`` is (num_embeddings, embedding_dim), drawn from the standard normal distribution as
    PyTorch's, or as ``init`` says; tie it to a ``Linear`` by using it there. Raises GraphError for
    sizes that are not positive ints; a word outside [0, num_embeddings) is one when the program
    runs.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> layer = nn.Embedding(100, 8)
    >>> layer(gx.input("word", ("N", "T"), dtype="int64")).shape, layer.weight.shape
    ((Dim('N'), Dim('T'), 8), (100, 8))
    """

    _kind: ClassVar[str] = "embedding"

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        init: Init = "normal",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_embeddings = positive(self, "num_embeddings", num_embeddings)
        self.embedding_dim = positive(self, "embedding_dim", embedding_dim)
        shape = (self.num_embeddings, self.embedding_dim)
        self.weight = parameter("weight", shape, init=init)

    def forward(self, index: Node) -> Node:
        """index: int64, any shape."""
        return embedding(index, self.weight)
