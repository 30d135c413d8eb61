"""Rows of ops/reduce.py."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Arg, Row

CUBE = Arg(("N", 4, 5))
TIES = Arg(("N", 3, 4), step=0.5)
WHOLE = Arg(("N", 4), -9, 9, dtype="int32")

# Reduced axes: all of them, some, the first (a sum over the batch), the last, two at once.
AXES: list[Any] = [None, 0, 1, -1, (0, 2), (1, 2)]


def rows(name: str, arg: Arg) -> list[Row]:
    function, oracle = getattr(gx, name), getattr(jnp, name)
    # squared, so that the second derivative of a linear op is not zero
    dropped = [
        Row(f"{name} axis {axis}", lambda x, axis=axis: function(x * x, axis), (arg,),
            lambda x, axis=axis: oracle(x * x, axis))
        for axis in AXES
    ]  # fmt: skip
    kept = [
        Row(f"{name} axis {axis} keepdims", lambda x, axis=axis: function(x * x, axis, True),
            (arg,), lambda x, axis=axis: oracle(x * x, axis, keepdims=True))
        for axis in AXES[2::2]
    ]  # fmt: skip
    return dropped + kept


ROWS = [
    *rows("sum", CUBE),
    *rows("mean", CUBE),
    *rows("max", TIES),
    *rows("min", TIES),
    Row("sum dim=", lambda x: gx.sum(x, dim=(1,)), (CUBE,), lambda x: jnp.sum(x, 1)),
    Row("mean of one", lambda x: gx.mean(x, 1), (("N", 1),), lambda x: jnp.mean(x, 1)),
    Row("mean of symbolic rows and columns", lambda x: gx.mean(x, (2, 3)), (("N", 2, "H", "W"),),
        lambda x: jnp.mean(x, (2, 3)), sizes=({"N": 1, "H": 3, "W": 2}, {"N": 7, "H": 2, "W": 5})),
    Row("variance", lambda x: gx.mean(gx.square(x - gx.mean(x, 0)), 0), (("N", 3),),
        lambda x: jnp.var(x, 0)),
    Row("max without ties", lambda x: gx.max(x, 1) * gx.min(x), (("N", 6),),
        lambda x: jnp.max(x, 1) * jnp.min(x)),
    Row("max of nan", lambda x: gx.max(gx.log(x), 1), (Arg(("N", 6), -1, 1),),
        lambda x: jnp.max(jnp.log(x), 1), grad=False),
    Row("sum of integers", lambda x: gx.sum(x, 1) + gx.max(x, 1) - gx.min(x, 1), (WHOLE,),
        lambda x: jnp.sum(x, 1, dtype="int32") + jnp.max(x, 1) - jnp.min(x, 1),
        dtypes=("int32",), grad=False),
]  # fmt: skip
