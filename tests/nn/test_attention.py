"""Attention: what it declares and refuses; its values are compared with JAX in the zoo's tests."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from tests.ops.harness import error


def test_declares_pytorchs_parameters() -> None:
    layer = nn.MultiheadAttention(8, 2)
    graph = gx.Graph({"y": layer(gx.input("x", ("N", "T", 8)))})
    prefix = "multihead_attention."
    assert {k.removeprefix(prefix): p.shape for k, p in graph.parameters.items()} == {
        "in_proj_weight": (24, 8), "in_proj_bias": (24,),
        "out_proj.weight": (8, 8), "out_proj.bias": (8,),
    }  # fmt: skip


def test_knows_no_order() -> None:
    """Permuted tokens give permuted results."""
    graph = gx.Graph({"y": nn.MultiheadAttention(6, 3)(gx.input("x", ("N", "T", 6)))})
    random = np.random.default_rng(0)
    given = {k: random.normal(size=p.shape).astype("f4") for k, p in graph.parameters.items()}
    x, order = random.normal(size=(2, 5, 6)).astype("f4"), random.permutation(5)
    plain = gx.interpret(graph, given, x=x)["y"]
    permuted = gx.interpret(graph, given, x=x[:, order])["y"]
    assert error(permuted, plain[:, order]) <= 1e-5


def test_mistakes() -> None:
    with pytest.raises(gx.GraphError, match="num_heads=3 does not divide embed_dim=8"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(gx.ShapeError, match=r"takes \(N, T, 8\)"):
        nn.MultiheadAttention(8, 2)(gx.input("x", ("N", 8)))
