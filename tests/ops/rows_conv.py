"""Rows of the convolution family: strides, paddings, dilations, groups, odd sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import graphc as gx
from tests.ops.harness import Arg, Row

# How JAX writes the paddings that these rows use.
PADS = {
    0: [(0, 0), (0, 0)],
    1: [(1, 1), (1, 1)],
    2: [(2, 2), (2, 2)],
    (1, 2): [(1, 1), (2, 2)],
    "valid": "VALID",
    "same": "SAME",
    ((1, 2), (0, 3)): [(1, 2), (0, 3)],
}
PLANES = ({"N": 1, "H": 6, "W": 9}, {"N": 2, "H": 7, "W": 8})


def both(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def oracle(
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Callable[..., Any]:
    def conv(x: Any, w: Any, b: Any = None) -> Any:
        pads: Any = PADS[padding]
        y = lax.conv_general_dilated(
            x, w, both(stride), pads, rhs_dilation=both(dilation), feature_group_count=groups
        )
        return y if b is None else y + b[:, None, None]

    return conv


def conv(name: str, x: Sequence[int | str], w: Sequence[int], **settings: Any) -> Row:
    """``conv2d`` with a bias where the name says so."""
    bias = (Arg((w[0],)),) if "bias" in name else ()
    return Row(
        f"conv2d {name}",
        lambda *nodes: gx.conv2d(*nodes, **settings),
        (Arg(tuple(x)), Arg(tuple(w)), *bias),
        oracle(**settings),
        sizes=PLANES if "H" in x else ({"N": 1}, {"N": 7}),
    )


def input_grad(name: str, plane: tuple[int, int], w: Sequence[int], **settings: Any) -> Row:
    forward = oracle(**settings)
    channels = w[1] * settings.get("groups", 1)
    shape = jax.eval_shape(forward, jnp.zeros((1, channels, *plane)), jnp.zeros(tuple(w))).shape

    def transposed(g: Any, w: Any) -> Any:
        image = jnp.zeros((g.shape[0], channels, *plane))
        return jax.vjp(lambda x: forward(x, w), image)[1](g)[0]

    return Row(
        f"conv2d_input_grad {name}",
        lambda g, w: gx.conv2d_input_grad(g, w, plane, **settings),
        (Arg(("N", *shape[1:])), Arg(tuple(w))),
        transposed,
    )


def weight_grad(name: str, x: Sequence[int], w: Sequence[int], **settings: Any) -> Row:
    forward = oracle(**settings)
    shape = jax.eval_shape(forward, jnp.zeros((1, *x)), jnp.zeros(tuple(w))).shape

    def transposed(x: Any, g: Any) -> Any:
        return jax.vjp(lambda weight: forward(x, weight), jnp.zeros(tuple(w)))[1](g)[0]

    return Row(
        f"conv2d_weight_grad {name}",
        lambda x, g: gx.conv2d_weight_grad(x, g, tuple(w[2:]), **settings),
        (Arg(("N", *x)), Arg(("N", *shape[1:]))),
        transposed,
    )


def formula(x: Any, w: Any) -> Any:
    """x₁[n,m] = Σ f[k,l]·x₀[n-k, m-l] with the origin of f at (K-1)//2, from SciPy's rule."""
    pads = [(k // 2, (k - 1) // 2) for k in w.shape[2:]]
    return lax.conv_general_dilated(x, w[:, :, ::-1, ::-1], (1, 1), pads)


ROWS = [
    conv("plain", ("N", 2, 6, 7), (3, 2, 3, 3)),
    conv("bias", ("N", 2, 6, 7), (3, 2, 3, 3)),
    conv("valid", ("N", 1, 5, 5), (2, 1, 2, 4), padding="valid"),
    conv("1x1", ("N", 3, 4, 3), (2, 3, 1, 1)),
    conv("1x1 stride 2", ("N", 3, 5, 4), (2, 3, 1, 1), stride=2),
    conv("whole image", ("N", 2, 4, 3), (3, 2, 4, 3)),
    conv("padding 2 bias", ("N", 1, 5, 6), (2, 1, 5, 5), padding=2),
    conv("padding (1, 2)", ("N", 2, 5, 6), (2, 2, 3, 4), padding=(1, 2)),
    conv("padding sides", ("N", 2, 5, 6), (2, 2, 3, 3), padding=((1, 2), (0, 3))),
    conv("stride 2", ("N", 2, 7, 8), (3, 2, 3, 3), stride=2, padding=1),
    conv("stride (3, 2)", ("N", 1, 8, 7), (2, 1, 2, 3), stride=(3, 2), padding=1),
    conv("same", ("N", 2, 5, 6), (2, 2, 3, 3), padding="same"),
    conv("same even filter", ("N", 2, 5, 6), (2, 2, 2, 4), padding="same"),
    conv("same stride 2", ("N", 2, 7, 8), (2, 2, 3, 3), stride=2, padding="same"),
    conv("same stride 3 small filter", ("N", 1, 8, 7), (2, 1, 2, 1), stride=3, padding="same"),
    conv("dilation 2", ("N", 2, 7, 8), (2, 2, 3, 3), dilation=2),
    conv("dilation (1, 2) same", ("N", 1, 6, 7), (2, 1, 3, 2), dilation=(1, 2), padding="same"),
    conv("dilation 2 stride 2", ("N", 1, 9, 8), (2, 1, 3, 3), dilation=2, stride=2, padding=2),
    conv("groups 2 bias", ("N", 4, 5, 6), (6, 2, 3, 3), groups=2, padding=1),
    conv("depthwise", ("N", 3, 6, 5), (3, 1, 3, 2), groups=3),
    conv("depthwise 2 each stride 2", ("N", 2, 6, 5), (4, 1, 3, 3), groups=2, stride=2, padding=1),
    conv("groups all at once", ("N", 4, 7, 9), (4, 2, 2, 3), groups=2, stride=(2, 1),
         dilation=(1, 2), padding=((1, 2), (0, 3))),
    conv("symbolic plane", ("N", 2, "H", "W"), (2, 2, 3, 3), padding=1, stride=2),
    conv("symbolic plane same", ("N", 1, "H", "W"), (2, 1, 3, 2), padding="same", stride=(2, 3)),
    input_grad("padding sides", (5, 6), (2, 3, 3, 3), padding=((1, 2), (0, 3))),
    input_grad("stride 2 leftover", (8, 7), (2, 1, 3, 3), stride=2),
    input_grad("same groups", (6, 5), (4, 1, 3, 3), stride=2, padding="same", groups=2),
    weight_grad("padding sides", (2, 5, 6), (3, 2, 3, 3), padding=((1, 2), (0, 3))),
    weight_grad("stride 2 leftover", (1, 8, 7), (2, 1, 3, 3), stride=2),
    weight_grad("same groups", (2, 6, 5), (4, 1, 3, 3), stride=2, padding="same", groups=2),
    Row("convolve2d same", lambda x, w: gx.convolve2d(x, w, padding="same"),
        (("N", 2, 5, 6), (3, 2, 3, 4)), formula),
]  # fmt: skip
