"""Rows of the random ops: the oracle draws the same bits, by the expression of the design."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import graphc as gx
from tests.ops.harness import SEED, STEP, Row


def uniform(path: str, shape: tuple[int, ...], seed: int = SEED, t: int = STEP) -> Any:
    s = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")
    key = np.array([seed, s], np.uint64)
    philox = np.random.Philox(key=key, counter=[0, 0, t, 0])
    return np.random.Generator(philox).random(shape, dtype=np.float32)


def dropped(retain: float, factor: float) -> Callable[[Any], Any]:
    """Dropout of x² by a stream called "dropout"."""
    return lambda x: jnp.where(uniform("dropout", x.shape) < np.float32(retain), x * x * factor, 0)


ROWS = [
    Row("dropout", lambda x: gx.dropout(x * x, retain=0.5), (("N", 3, 4),), dropped(0.5, 2.0)),
    Row("dropout 0.8", lambda x: gx.dropout(x * x, retain=0.8), (("N", 9),),
        dropped(0.8, 1 / float(np.float32(0.8)))),
    Row("dropout test scaling", lambda x: gx.dropout(x * x, retain=0.3, scaling="test"),
        (("N", 9),), dropped(0.3, 1.0)),
    Row("dropout of everything kept", lambda x: gx.dropout(x * x, retain=1.0), (("N", 3),),
        dropped(1.0, 1.0)),
    Row("random_uniform", lambda x: x * x * gx.random_uniform(("N", 5)), (("N", 5),),
        lambda x: x * x * uniform("random_uniform", x.shape), dtypes=("float32",)),
    Row("random_uniform f64",
        lambda x: x * x * gx.random_uniform((3, "N"), dtype="float64", name="noise"),
        ((3, "N"),), lambda x: x * x * uniform("noise", x.shape), dtypes=("float64",)),
]  # fmt: skip
