"""Rows of normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Arg, Row

X = ("N", 3, 4, 2)
C = (3,)
VARIANCE = Arg(C, 0.5, 2.0)


def batch_norm(eps: float = 1e-5) -> Callable[..., Any]:
    def oracle(x: Any, *vectors: Any) -> Any:
        scale, shift, mean, variance = (
            v.reshape(v.shape + (1,) * (x.ndim - 2)) if v.ndim else v for v in vectors
        )
        return scale * (x - mean) / jnp.sqrt(variance + eps) + shift

    return oracle


def standardized(x: Any, axes: tuple[int, ...], eps: float = 1e-5) -> Any:
    """By the definition of the variance, E[x²] - E[x]²: float64 is wide enough for it."""
    mean = jnp.mean(x, axes, keepdims=True)
    variance = jnp.mean(x**2, axes, keepdims=True) - mean**2
    return (x - mean) / jnp.sqrt(variance + eps)


def by_the_batch(x: Any, scale: Any, shift: Any) -> gx.Node:
    mean = gx.mean(x, (0, 2, 3))
    variance = gx.mean(gx.square(x - gx.reshape(mean, (3, 1, 1))), (0, 2, 3))
    return gx.batch_norm(x, scale, shift, mean, variance)


def by_the_batch_oracle(x: Any, scale: Any, shift: Any) -> Any:
    return standardized(x, (0, 2, 3)) * scale[:, None, None] + shift[:, None, None]


def group_norm(x: Any, weight: Any, bias: Any) -> Any:
    n, c, *rest = x.shape
    y = standardized(x.reshape(n, 2, c // 2, *rest), (2, 3, 4), 1e-3).reshape(x.shape)
    return y * weight[:, None, None] + bias[:, None, None]


def lrn(size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Callable[[Any], Any]:
    def oracle(x: Any) -> Any:
        channels = x.shape[1]
        sums = [
            sum(x[:, j] ** 2 for j in range(channels) if 0 <= j - (c - size // 2) < size)
            for c in range(channels)
        ]
        return x / (k + alpha / size * jnp.stack(sums, 1)) ** beta

    return oracle


ROWS = [
    Row("batch_norm", gx.batch_norm, (X, C, C, C, VARIANCE), batch_norm()),
    Row("batch_norm eps 0 of a matrix", lambda *v: gx.batch_norm(*v, eps=0.0),
        (("N", 3), C, C, C, VARIANCE), batch_norm(0.0)),
    Row("batch_norm of volumes", lambda *v: gx.batch_norm(*v, eps=0.1),
        ((2, 3, 2, 1, 2), C, C, C, VARIANCE), batch_norm(0.1)),
    Row("batch_norm by scalars", gx.batch_norm, (X, (), (), C, Arg((), 0.5, 2.0)), batch_norm()),
    Row("batch_norm plain", lambda x, m, v: gx.batch_norm(x, 1, 0, m, v), (X, C, VARIANCE),
        lambda x, m, v: batch_norm()(x, jnp.ones(3), jnp.zeros(3), m, v)),
    Row("batch_norm by the batch", by_the_batch, (X, C, C), by_the_batch_oracle,
        sizes=({"N": 2}, {"N": 7})),
    Row("layer_norm", lambda x, w, b: gx.layer_norm(x, 5, w, b), (("N", 3, 5), (5,), (5,)),
        lambda x, w, b: standardized(x, (2,)) * w + b),
    Row("layer_norm over two axes", lambda x: gx.layer_norm(x, (3, 2), eps=0.1), (("N", 3, 2),),
        lambda x: standardized(x, (1, 2), 0.1)),
    Row("group_norm", lambda x, w, b: gx.group_norm(x, 2, w, b, eps=1e-3),
        (("N", 4, 2, 3), (4,), (4,)), group_norm),
    Row("group_norm of each channel", lambda x: gx.group_norm(x, 3), (X,),
        lambda x: standardized(x, (2, 3))),
    Row("local_response_norm", lambda x: gx.local_response_norm(x, 3, 0.5, 0.75, 1.5),
        (Arg(("N", 5, 2, 3), -2.0, 2.0),), lrn(3, 0.5, 0.75, 1.5)),
    Row("local_response_norm even", lambda x: gx.local_response_norm(x, 4, 2.0, 0.5),
        (Arg(("N", 5, 3), -2.0, 2.0),), lrn(4, 2.0, 0.5)),
    Row("local_response_norm wider than the channels",
        lambda x: gx.local_response_norm(x, 9, 1.0, 2.0), (Arg(X, -2.0, 2.0),), lrn(9, 1.0, 2.0)),
    Row("local_response_norm of one", lambda x: gx.local_response_norm(x, 1, 1.0),
        (Arg(("N", 2, 2, 2), -2.0, 2.0),), lrn(1, 1.0)),
]  # fmt: skip
