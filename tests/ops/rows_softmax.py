"""Rows of softmax, log-softmax, cross-entropy and one-hot."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Arg, Row

LABEL = Arg(("N",), 0, 4, dtype="int64")
LOGITS = Arg(("N", 5), -3.0, 3.0)
# Far beyond where exp overflows in float32 (88), and exact differences.
LARGE = Arg(("N", 5), -300.0, 300.0)


def cross_entropy(logits: Any, label: Any) -> Any:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1)
    return -jnp.mean(chosen)


ROWS = [
    Row("softmax", gx.softmax, (LOGITS,), jax.nn.softmax),
    Row("softmax axis 0", lambda x: gx.softmax(x, 0), (("N", 3),), lambda x: jax.nn.softmax(x, 0)),
    Row("softmax dim 1 of 4", lambda x: gx.softmax(x, dim=1), (("N", 3, 2, 2),),
        lambda x: jax.nn.softmax(x, 1)),
    # Its gradient is below the smallest float32.
    Row("softmax large", gx.softmax, (LARGE,), jax.nn.softmax, grad=False),
    Row("softmax of one", gx.softmax, (("N", 1),), jax.nn.softmax),
    Row("log_softmax", gx.log_softmax, (LOGITS,), jax.nn.log_softmax),
    Row("log_softmax axis 1 of 3", lambda x: gx.log_softmax(x, 1), (("N", 3, 2),),
        lambda x: jax.nn.log_softmax(x, 1)),
    Row("log_softmax large", gx.log_softmax, (LARGE,), jax.nn.log_softmax),
    Row("cross_entropy", gx.cross_entropy, (LOGITS, LABEL), cross_entropy),
    Row("cross_entropy large", gx.cross_entropy, (LARGE, LABEL), cross_entropy),
    Row("cross_entropy fixed batch", gx.cross_entropy,
        ((4, 3), Arg((4,), 0, 2, dtype="int64")), cross_entropy),
    Row("one_hot", lambda x, label: x * gx.one_hot(label, 5, x.dtype), (LOGITS, LABEL),
        lambda x, label: x * jax.nn.one_hot(label, 5)),
    Row("one_hot of a matrix", lambda label: gx.one_hot(label, 3),
        (Arg(("N", 2), 0, 2, dtype="int64"),), lambda label: jax.nn.one_hot(label, 3),
        dtypes=("float32",), grad=False),
]  # fmt: skip
