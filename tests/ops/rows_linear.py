"""Rows of ops/linear.py."""

from __future__ import annotations

import jax.numpy as jnp

import graphc as gx
from graphc.ir.node import make
from graphc.ops.linear import Matmul
from tests.ops.harness import Arg, Row


def product(name: str, a: tuple[int | str, ...], b: tuple[int | str, ...]) -> Row:
    return Row(f"matmul {name}", gx.matmul, (a, b), jnp.matmul)


def turned(ta: bool, tb: bool) -> Row:
    """The matmuls that gradients are made of; their own gradients are matmuls of this kind."""
    a = ("N", 3, 2) if ta else ("N", 2, 3)
    b = ("N", 4, 3) if tb else ("N", 3, 4)
    return Row(
        f"matmul transpose_a={ta} transpose_b={tb}",
        lambda a, b: make(Matmul(ta, tb), a, b),
        (a, b),
        lambda a, b: jnp.matmul(a.mT if ta else a, b.mT if tb else b),
    )


def fully_connected(x, w, b=0.0):
    return x @ w.T + b


ROWS = [
    product("", ("N", 3), (3, 4)),
    product("left grows with the batch", (2, "N"), ("N", 3)),
    product("batched", ("N", 2, 3), ("N", 3, 4)),
    product("one right for all", ("N", 2, 2, 3), (3, 4)),
    product("one left for all", (2, 3), ("N", 3, 4)),
    product("broadcast batches", ("N", 1, 2, 3), (2, 3, 4)),
    product("both stretch", ("N", 1, 2, 3), (1, 2, 3, 2)),
    product("row", (3,), ("N", 3, 4)),
    product("column", ("N", 2, 3), (3,)),
    product("dot", (3,), (3,)),
    *(turned(ta, tb) for ta in (False, True) for tb in (False, True)),
    Row("matmul operator", lambda x: x @ x, ((3, 3),), lambda x: x @ x),
    Row("matmul of integers", gx.matmul,
        (Arg(("N", 3), -9, 9, dtype="int32"), Arg((3, 2), -9, 9, dtype="int32")),
        jnp.matmul, dtypes=("int32",), grad=False),
    Row("linear", gx.linear, (("N", 5), (3, 5), (3,)), fully_connected),
    Row("linear without bias", gx.linear, (("N", 5), (3, 5)), fully_connected),
    Row("linear of sequences", gx.linear, (("N", 2, 5), (3, 5), (3,)), fully_connected),
    Row("linear of symbolic sequences", gx.linear, (("N", "T", 2, 3), (2, 3), (2,)),
        fully_connected, sizes=({"N": 1, "T": 3}, {"N": 7, "T": 2})),
    Row("linear of a vector", gx.linear, ((5,), (3, 5), (3,)), fully_connected),
    Row("linear twice", lambda x, w: gx.linear(gx.tanh(gx.linear(x, w)), w), (("N", 4), (4, 4)),
        lambda x, w: jnp.tanh(x @ w.T) @ w.T),
]  # fmt: skip
