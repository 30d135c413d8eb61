"""Rows of compositions: einsum, transposed convolution, losses, attention."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import graphc as gx
from tests.ops.harness import Arg, Row

LABEL = Arg(("N",), 0, 4, dtype="int64")
LOGITS = Arg(("N", 5), -3.0, 3.0)
SHARE = Arg(("N", 3), 0.0, 1.0)


def einsum(equation: str, *shapes: tuple[Any, ...], **options: Any) -> Row:
    return Row(f"einsum {equation}", lambda *nodes: gx.einsum(equation, *nodes), shapes,
        lambda *arrays: jnp.einsum(equation, *arrays), **options)  # fmt: skip


def transposed(
    name: str, x: tuple[Any, ...], w: tuple[int, ...], bias: int = 0, **options: Any
) -> Row:
    def oracle(x: Any, w: Any, *b: Any) -> Any:
        """By zeros between the pixels, and a correlation with the filters turned around."""
        groups = options.get("groups", 1)
        both = {}
        for key, usual in (("stride", 1), ("dilation", 1), ("padding", 0), ("output_padding", 0)):
            value = options.get(key, usual)
            both[key] = value if isinstance(value, tuple) else (value, value)
        filters = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
        filters = filters.reshape(-1, *filters.shape[2:])[:, :, ::-1, ::-1]
        pads = []
        for axis in range(2):
            span = both["dilation"][axis] * (w.shape[2 + axis] - 1)
            pad = both["padding"][axis]
            before, after = pad if isinstance(pad, tuple) else (pad, pad)
            pads.append((span - before, span - after + both["output_padding"][axis]))
        y = jax.lax.conv_general_dilated(
            x, filters, (1, 1), pads, lhs_dilation=both["stride"], rhs_dilation=both["dilation"],
            feature_group_count=groups,
        )  # fmt: skip
        return y + b[0][:, None, None] if b else y

    shapes = (x, w, (bias,)) if bias else (x, w)
    return Row(f"conv_transpose2d {name}",
        lambda *nodes: gx.conv_transpose2d(*nodes, **options), shapes, oracle)  # fmt: skip


def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
    scores = jnp.einsum("...ld,...sd->...ls", q, k) * (scale or 1 / np.sqrt(q.shape[-1]))
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return jax.nn.softmax(scores) @ v


def causal(q: Any, k: Any, v: Any) -> Any:
    return attention(q, k, v, jnp.tril(jnp.ones((q.shape[-2], k.shape[-2]), bool)))


def smoothed(logits: Any, label: Any) -> Any:
    target = 0.9 * jax.nn.one_hot(label, 5) + 0.1 / 5
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), 1))


def binary(x: Any, t: Any, pos: float = 1.0) -> Any:
    return -(pos * t * jax.nn.log_sigmoid(x) + (1 - t) * jax.nn.log_sigmoid(-x))


MORE = ({"N": 1, "T": 4}, {"N": 2, "T": 3})

ROWS = [
    einsum("ij,jk->ik", ("N", 3), (3, 2)),
    einsum("ij,jk", ("N", 3), (3, 2)),
    einsum("bhqd,bhkd->bhqk", ("N", 2, "T", 3), ("N", 2, "T", 3), sizes=MORE),
    einsum("nchw,oc->nohw", ("N", 3, 2, 2), (4, 3)),
    einsum("ni,nj->nij", ("N", 3), ("N", 2)),
    einsum("i,j->ji", (3,), (2,)),
    einsum("ni,ni->", ("N", 3), ("N", 3)),
    einsum("nij,k->i", ("N", 3, 2), (4,)),
    einsum("ni,ij,nj->n", ("N", 3), (3, 2), ("N", 2)),
    einsum("nij->jn", ("N", 3, 2)),
    transposed("plain", ("N", 2, 3, 4), (2, 3, 2, 3)),
    transposed("bias stride", ("N", 2, 3, 2), (2, 3, 3, 3), 3, stride=2, padding=1,
        output_padding=1),
    transposed("pairs", ("N", 2, 2, 3), (2, 1, 2, 3), stride=(3, 1), padding=(1, 2),
        output_padding=(2, 0), dilation=(2, 1)),
    transposed("groups", ("N", 4, 2, 2), (4, 2, 2, 2), 4, stride=2, groups=2),
    transposed("sides", ("N", 1, 3, 3), (1, 2, 3, 3), stride=2, padding=((1, 0), (0, 1))),
    Row("mse_loss", gx.mse_loss, (("N", 3), ("N", 3)), lambda x, t: jnp.mean((x - t) ** 2)),
    Row("mse_loss sum of a number", lambda x: gx.mse_loss(x, 0.5, reduction="sum"), (("N", 3),),
        lambda x: jnp.sum((x - 0.5) ** 2)),
    Row("l1_loss", lambda x, t: gx.l1_loss(x, t, reduction="none"), (("N", 3), ("N", 3)),
        lambda x, t: jnp.abs(x - t)),
    Row("binary_cross_entropy_with_logits", gx.binary_cross_entropy_with_logits,
        (Arg(("N", 3), -4.0, 4.0), SHARE), lambda x, t: jnp.mean(binary(x, t))),
    Row("binary_cross_entropy_with_logits weights",
        lambda x, t, w: gx.binary_cross_entropy_with_logits(x, t, weight=w, pos_weight=3.0),
        (Arg(("N", 3), -40.0, 40.0), SHARE, (3,)),
        lambda x, t, w: jnp.mean(binary(x, t, 3.0) * w)),
    Row("nll_loss", lambda x, label: gx.nll_loss(gx.log_softmax(x), label), (LOGITS, LABEL),
        lambda x, label: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), label[:, None], 1))),
    Row("nll_loss of pixels", lambda x, label: gx.nll_loss(x, label, reduction="sum"),
        (("N", 3, 2, 2), Arg(("N", 2, 2), 0, 2, dtype="int64")),
        lambda x, label: -jnp.sum(jnp.take_along_axis(x, label[:, None], 1))),
    Row("cross_entropy label_smoothing",
        lambda x, label: gx.cross_entropy(x, label, label_smoothing=0.1), (LOGITS, LABEL),
        smoothed),
    Row("attention", gx.scaled_dot_product_attention, (("N", "T", 4), ("N", 5, 4), ("N", 5, 2)),
        attention, sizes=MORE),
    Row("attention causal",
        lambda q, k, v: gx.scaled_dot_product_attention(q, k, v, is_causal=True),
        (("N", "T", 4), ("N", "T", 4), ("N", "T", 2)), causal, sizes=MORE),
    Row("attention masked", gx.scaled_dot_product_attention,
        ((2, 3, 4), (2, 3, 4), (2, 3, 2), Arg((3, 3), 1, 1, dtype="bool")), attention),
    Row("attention added mask",
        lambda q, k, v, m: gx.scaled_dot_product_attention(q, k, v, m, scale=0.7),
        ((2, 3, 4), (3, 4), (2, 3, 2), (3, 3)), lambda q, k, v, m: attention(q, k, v, m, 0.7)),
]  # fmt: skip
