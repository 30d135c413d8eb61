"""Rows of adaptive pooling and upsampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Row


def adaptive(rows: int, columns: int) -> Callable[[Any], Any]:
    def oracle(x: Any) -> Any:
        h, w = x.shape[2:]
        return jnp.stack([
            jnp.stack([
                x[:, :, i * h // rows : -(-(i + 1) * h // rows),
                  j * w // columns : -(-(j + 1) * w // columns)].mean((2, 3))
                for j in range(columns)
            ], -1)
            for i in range(rows)
        ], -2)  # fmt: skip

    return oracle


ROWS = [
    Row("adaptive_avg_pool2d 1", lambda x: gx.adaptive_avg_pool2d(x, 1), (("N", 2, "H", 4),),
        lambda x: x.mean((2, 3), keepdims=True), sizes=({"N": 1, "H": 3}, {"N": 2, "H": 5})),
    Row("adaptive_avg_pool2d divides", lambda x: gx.adaptive_avg_pool2d(x, (2, None)),
        (("N", 2, 6, 3),), adaptive(2, 3)),
    Row("adaptive_avg_pool2d overlaps", lambda x: gx.adaptive_avg_pool2d(x, (3, 2)),
        (("N", 2, 7, 5),), adaptive(3, 2)),
    Row("adaptive_avg_pool2d repeats", lambda x: gx.adaptive_avg_pool2d(x, (4, 3)),
        (("N", 2, 1, 2),), adaptive(4, 3)),
    Row("upsample", gx.upsample, (("N", 2, "H", 3),),
        lambda x: x.repeat(2, 2).repeat(2, 3), sizes=({"N": 1, "H": 3}, {"N": 2, "H": 1})),
    Row("upsample by a pair", lambda x: gx.upsample(x, (1, 3)), (("N", 2, 2, 2),),
        lambda x: x.repeat(3, 3)),
]  # fmt: skip
