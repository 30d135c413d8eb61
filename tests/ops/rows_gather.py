"""Rows of reading by index, of running sums, and of argmax."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Arg, Row


def indices(shape: tuple[Any, ...], size: int) -> Arg:
    return Arg(shape, 0, size - 1, dtype="int64")


def added(g: Any, index: Any, size: int) -> Any:
    return jnp.zeros((size, *g.shape[index.ndim :])).at[index].add(g)


TIES = Arg(("N", 4, 3), -1.0, 1.0, step=0.5)

ROWS = [
    Row("embedding", gx.embedding, (indices(("N", 3), 5), (5, 4)), lambda i, w: w[i]),
    Row("embedding of one", lambda i, w: gx.embedding(i, w), (indices((), 5), (5, 4)),
        lambda i, w: w[i]),
    Row("gather last axis", lambda x, i: gx.gather(x, -1, i), (("N", 5), indices(("N", 7), 5)),
        lambda x, i: jnp.take_along_axis(x, i, 1)),
    Row("gather axis 0", lambda x, i: gx.gather(x, 0, i), ((4, "N"), indices((6, "N"), 4)),
        lambda x, i: jnp.take_along_axis(x, i, 0)),
    Row("gather middle axis", lambda x, i: gx.gather(x, 1, i),
        (("N", 3, 2), indices(("N", 5, 2), 3)), lambda x, i: jnp.take_along_axis(x, i, 1)),
    Row("gather of a vector", lambda x, i: gx.gather(x, 0, i), ((5,), indices(("M",), 5)),
        lambda x, i: x[i], sizes=({"M": 1}, {"M": 8})),
    Row("gather_grad", lambda g, i: gx.gather_grad(g, i, 4), (("N", 3), indices(("N",), 4)),
        lambda g, i: added(g, i, 4)),
    Row("gather_grad of a batch", lambda g, i: gx.gather_grad(g, i, 4, batch=1),
        ((2, "M", 3), indices((2, "M"), 4)),
        lambda g, i: jnp.stack([added(g[b], i[b], 4) for b in range(2)]),
        sizes=({"M": 1}, {"M": 9})),
    Row("cumsum", lambda x: gx.cumsum(x, 1), (("N", 5),), lambda x: jnp.cumsum(x, 1)),
    Row("cumsum axis 0", lambda x: gx.cumsum(x, dim=0), (("N", 2, 3),),
        lambda x: jnp.cumsum(x, 0)),
    Row("cumsum of squares", lambda x: gx.cumsum(x * x, -2), ((3, "N", 2),),
        lambda x: jnp.cumsum(x * x, -2)),
    Row("cumsum integers", lambda x: gx.cumsum(x, 1), (Arg(("N", 5), -9, 9, dtype="int64"),),
        lambda x: jnp.cumsum(x, 1), dtypes=("int64",), grad=False),
    Row("argmax", lambda x: gx.argmax(x, 1), (TIES,), lambda x: jnp.argmax(x, 1), grad=False),
    Row("argmax keepdims", lambda x: gx.argmax(x, -1, True), (TIES,),
        lambda x: jnp.argmax(x, -1, keepdims=True), grad=False),
    Row("argmax of all", gx.argmax, (TIES,), jnp.argmax, grad=False),
    Row("argmax of one", lambda x: gx.argmax(x, 1), (("N", 1),), lambda x: jnp.argmax(x, 1),
        grad=False),
    Row("argmax integers", lambda x: gx.argmax(x, dim=0), (Arg(("N", 3), -2, 2, dtype="int32"),),
        lambda x: jnp.argmax(x, 0), dtypes=("int32",), grad=False),
]  # fmt: skip
