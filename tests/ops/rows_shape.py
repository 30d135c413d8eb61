"""Rows of ops/shape.py and ops/indexing.py. Most multiply by themselves: a linear op's second
derivative is zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Arg, Row

PLANE = ({"N": 1, "H": 6, "W": 5}, {"N": 2, "H": 7, "W": 8})
WHOLE = Arg(("N", 4), -9, 9, dtype="int32")
TRUTH = Arg(("N", 4), 0, 1, dtype="bool")


def squared(name: str, function: Callable[..., Any], *shape: int | str, oracle: Any = None) -> Row:
    """``function`` of x·x; ``oracle`` where it does not read the same in JAX."""
    said = oracle or function
    symbolic = {size for size in shape if isinstance(size, str)}
    sizes = PLANE if symbolic - {"N"} else ({"N": 1}, {"N": 7})
    return Row(name, lambda x: function(x * x), (shape,), lambda x: said(x * x), sizes=sizes)


ROWS = [
    # reshape and its relatives
    squared("reshape", lambda x: gx.reshape(x, ("N", 6)), "N", 2, 3,
            oracle=lambda x: x.reshape(-1, 6)),
    squared("reshape -1 first", lambda x: gx.reshape(x, (-1, 3)), "N", 2, 3,
            oracle=lambda x: x.reshape(-1, 3)),
    squared("reshape of symbolic planes", lambda x: gx.reshape(x, ("N", -1)), "N", 2, "H", "W",
            oracle=lambda x: x.reshape(x.shape[0], -1)),
    squared("reshape with a guard", lambda x: gx.reshape(x, (-1, 2)), 2, "N", 3,
            oracle=lambda x: x.reshape(-1, 2)),
    squared("reshape to vector", lambda x: gx.reshape(x, -1), "N", 3, oracle=jnp.ravel),
    squared("flatten", gx.flatten, "N", 2, 3, 2, oracle=lambda x: x.reshape(x.shape[0], -1)),
    squared("flatten start", lambda x: gx.flatten(x, start_dim=2), "N", 2, 3, 2,
            oracle=lambda x: x.reshape(*x.shape[:2], -1)),
    squared("squeeze", gx.squeeze, "N", 1, 3, 1, oracle=lambda x: x[:, 0, :, 0]),
    squared("squeeze axis", lambda x: gx.squeeze(x, -1), "N", 1, 3, 1,
            oracle=lambda x: x[..., 0]),
    squared("unsqueeze", lambda x: gx.unsqueeze(x, dim=1), "N", 3, oracle=lambda x: x[:, None]),
    # transpose, flip
    squared("transpose 2", lambda x: gx.transpose(x, (1, 0)), "N", 3, oracle=jnp.transpose),
    squared("transpose 4", lambda x: gx.transpose(x, (2, 0, 3, 1)), "N", 2, 3, 4,
            oracle=lambda x: jnp.transpose(x, (2, 0, 3, 1))),
    squared("transpose negative", lambda x: gx.transpose(x, (0, -1, -2)), "N", 2, 3,
            oracle=lambda x: jnp.transpose(x, (0, 2, 1))),
    squared("flip", gx.flip, "N", 3, oracle=jnp.flip),
    squared("flip axes", lambda x: gx.flip(x, (-1, -2)), "N", 2, "H", "W",
            oracle=lambda x: jnp.flip(x, (-1, -2))),
    # concat
    Row("concat", lambda a, b: gx.concat([a, b, a * b], 1), (("N", 3), ("N", 3)),
        lambda a, b: jnp.concatenate([a, b, a * b], 1)),
    Row("concat channels", lambda a, b: gx.cat([a * a, b * b], dim=1),
        (("N", 2, 3, 3), ("N", 1, 3, 3)),
        lambda a, b: jnp.concatenate([a * a, b * b], 1)),
    Row("concat of batches", lambda a, b: gx.concat([a * a, b]) * 2, (("N", 3), ("M", 3)),
        lambda a, b: jnp.concatenate([a * a, b]) * 2, sizes=({"N": 1, "M": 7}, {"N": 7, "M": 2})),
    Row("concat of integers", lambda a: gx.concat([a, a + 1], 1), (WHOLE,),
        lambda a: jnp.concatenate([a, a + 1], 1), dtypes=("int32",), grad=False),
    # indexing
    squared("index int", lambda x: x[:, 1], "N", 3, 4),
    squared("index negative", lambda x: x[..., -1], "N", 3, 4),
    squared("index first of batch", lambda x: x[0], "N", 3, 4),
    squared("index last of batch", lambda x: x[-1], "N", 3, 4),
    squared("slice", lambda x: x[:, 1:3, :-1], "N", 4, 5),
    squared("slice clamps", lambda x: x[:, 2:99], "N", 4),
    squared("slice steps", lambda x: x[:, ::2, 1::3], "N", 5, 8),
    squared("slice of symbolic planes", lambda x: x[:, :, 1:-1, ::2], "N", 2, "H", "W"),
    squared("slice to the end of symbolic", lambda x: x[..., -3:], "N", 2, "H", "W"),
    squared("slice backwards", lambda x: x[:, ::-1, 3:0:-2], "N", 3, 5),
    squared("slice symbolic backwards", lambda x: x[..., ::-1, ::-2], "N", 2, "H", "W"),
    squared("slice new axis", lambda x: x[:, None, 1:, ..., None], "N", 3, 2),
    Row("slice of bools", lambda x: x[:, 1:], (TRUTH,), lambda x: x[:, 1:], dtypes=("bool",),
        grad=False),
    # pad, broadcast_to
    squared("pad", lambda x: gx.pad(x, ((0, 0), (0, 0), (1, 2), (3, 0))), "N", 2, "H", "W",
            oracle=lambda x: jnp.pad(x, ((0, 0), (0, 0), (1, 2), (3, 0)))),
    squared("pad flat value", lambda x: gx.pad(x, (1, 2, 0, 1), value=-0.5), "N", 2, 3,
            oracle=lambda x: jnp.pad(x, ((0, 0), (0, 1), (1, 2)), constant_values=-0.5)),
    squared("pad batch", lambda x: gx.pad(x, ((1, 1), (0, 0))), "N", 2,
            oracle=lambda x: jnp.pad(x, ((1, 1), (0, 0)))),
    squared("pad infinity", lambda x: gx.max(gx.pad(x, (1, 1), value=-float("inf")), 1), "N", 3,
            oracle=lambda x: jnp.max(x, 1)),
    Row("pad of integers", lambda x: gx.pad(x, (1, 0), value=7), (WHOLE,),
        lambda x: jnp.pad(x, ((0, 0), (1, 0)), constant_values=7), dtypes=("int32",), grad=False),
    squared("broadcast_to", lambda x: gx.broadcast_to(x, ("N", 2, 3, 4)), "N", 1, 3, 1,
            oracle=lambda x: jnp.broadcast_to(x, (x.shape[0], 2, 3, 4))),
    Row("broadcast_to batch", lambda x, y: gx.broadcast_to(x * x, y.shape) * y, ((3,), ("N", 3)),
        lambda x, y: jnp.broadcast_to(x * x, y.shape) * y),
]  # fmt: skip
