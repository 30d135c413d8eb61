"""Rows of ops/sharing.py, ops/state.py and ops/core.py."""

from __future__ import annotations

import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Row


def tracked(x: gx.Node) -> gx.Node:
    return gx.track(gx.mean(x * x, 0), gx.state("running", (3,), dtype=x.dtype), momentum=0.1)


TABLE = [[1.0, -2.0], [0.5, 3.0]]

ROWS = [
    Row("grad_sum", lambda a, b: gx.grad_sum(a * b, b, a), (("N", 3), ("N", 3)),
        lambda a, b: a * b + b + a),
    Row("edge", lambda w: gx.edge(w, 0) * gx.edge(w, 1), ((3,),), lambda w: w * w),
    Row("again", lambda x: gx.tanh(gx.again(x, gx.sum(x))) * x, (("N", 3),),
        lambda x: jnp.tanh(x) * x),
    Row("track", tracked, (("N", 3),), lambda x: jnp.mean(x * x, 0)),
    Row("constant", lambda x: gx.exp(x) * gx.constant(TABLE, x.dtype), (("N", 2, 2),),
        lambda x: jnp.exp(x) * jnp.array(TABLE)),
    Row("size", lambda x: x * x * gx.size("N", x.dtype), (("N", 3),), lambda x: x * x * len(x)),
    Row("size of an expression", lambda x: x * x * gx.size(x.shape[0] * 2 + 1, x.dtype),
        (("N", 3),), lambda x: x * x * (2 * len(x) + 1)),
]  # fmt: skip
