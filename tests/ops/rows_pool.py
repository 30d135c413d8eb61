"""Rows of pooling: kernels, strides, paddings, ties, odd sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import graphc as gx
from tests.ops.harness import Arg, Row
from tests.ops.rows_conv import PADS, PLANES, both

X = ("N", 2, 7, 8)


def window(kernel: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any]:
    pads: Any = PADS[padding]
    if not isinstance(pads, str):
        pads = [(0, 0), (0, 0), *pads]
    return (1, 1, *both(kernel)), (1, 1, *both(kernel if stride is None else stride)), pads


def max_oracle(kernel: Any, stride: Any = None, padding: Any = 0) -> Callable[[Any], Any]:
    return lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *window(kernel, stride, padding))


def avg_oracle(kernel: Any, stride: Any = None, padding: Any = 0) -> Callable[[Any], Any]:
    def average(x: Any) -> Any:
        sums = lax.reduce_window(x, 0.0, lax.add, *window(kernel, stride, padding))
        if padding != "same":
            return sums / (both(kernel)[0] * both(kernel)[1])
        ones = jnp.ones_like(x)
        return sums / lax.reduce_window(ones, 0.0, lax.add, *window(kernel, stride, padding))

    return average


def take_oracle(kernel: Any, stride: Any = None, padding: Any = 0) -> Callable[[Any, Any], Any]:
    """By ``argmax``, which takes the first; JAX's select-and-gather may not, where x ties."""
    (_, _, *taps), (_, _, *steps), pads = window(kernel, stride, padding)

    def taken(t: Any, x: Any) -> Any:
        sides = lax.padtype_to_pads(x.shape[2:], taps, steps, pads) if pads == "SAME" else pads[2:]

        def seen(image: Any, fill: float) -> Any:
            padded = jnp.pad(image, [(0, 0), (0, 0), *sides], constant_values=fill)
            last = [n - k + 1 for n, k in zip(padded.shape[2:], taps, strict=True)]
            return jnp.stack([
                padded[:, :, i : i + last[0] : steps[0], j : j + last[1] : steps[1]]
                for i in range(taps[0]) for j in range(taps[1])
            ])  # fmt: skip

        winner = jnp.argmax(seen(x, -jnp.inf), 0)
        return jnp.take_along_axis(seen(t, 0.0), winner[None], 0)[0]

    return jax.jit(taken)


def scatter_oracle(*settings: Any) -> Callable[[Any, Any], Any]:
    taken = take_oracle(*settings)
    return lambda g, x: jax.vjp(lambda t: taken(t, x), jnp.zeros_like(x))[1](g)[0]


SETTINGS: list[tuple[Any, ...]] = [
    (2,),
    (3, 2),
    (3, 1, 1),
    (2, 3),
    ((2, 3), (1, 2), 1),
    (3, 2, "same"),
    (2, 2, "same"),
    ((3, 4), None, ((1, 2), (0, 3))),
    ((7, 8),),
    ((7, 2),),
]
PLANE = ("N", 1, "H", "W")


def row(name: str, settings: tuple[Any, ...], x: Any = X) -> Row:
    """Of x², so that there is a second derivative."""
    function, oracle = (
        (gx.max_pool2d, max_oracle) if name == "max_pool2d" else (gx.avg_pool2d, avg_oracle)
    )
    plane = " symbolic plane" if x == PLANE else ""
    return Row(
        f"{name} {settings}{plane}",
        lambda x: function(x * x, *settings),
        (Arg(x, 0.1, 2.0),),
        lambda x: oracle(*settings)(x * x),
        sizes=PLANES if x == PLANE else ({"N": 1}, {"N": 7}),
    )


def pooled(settings: tuple[Any, ...]) -> tuple[int | str, ...]:
    shape = jax.eval_shape(max_oracle(*settings), jnp.zeros((1, *X[1:]))).shape
    return ("N", *shape[1:])


ROWS = [
    *(row("max_pool2d", settings) for settings in SETTINGS),
    *(row("avg_pool2d", settings) for settings in SETTINGS),
    *(row(name, settings, PLANE) for name in ("max_pool2d", "avg_pool2d")
      for settings in [(2,), (3, 2, "same"), (2, (2, 3), "same")]),
    # The first of equal maxima takes the gradient.
    Row("max_pool2d ties", lambda x: gx.max_pool2d(x, 3, 2), (Arg(X, step=0.5),),
        max_oracle(3, 2)),
    Row("max_pool2d ties padded", lambda x: gx.max_pool2d(x, 3, 2, 1), (Arg(X, step=1.0),),
        max_oracle(3, 2, 1)),
    *(Row(f"max_pool2d_scatter {s}", lambda g, x, s=s: gx.max_pool2d_scatter(g * g, x, *s),
          (Arg(pooled(s), 0.5, 1.5), Arg(X, step=0.25)),
          lambda g, x, s=s: scatter_oracle(*s)(g * g, x))
      for s in [(2,), (3, 2, 1), (3, 2, "same")]),
    *(Row(f"max_pool2d_take {s}", lambda t, x, s=s: gx.max_pool2d_take(t * t, x, *s),
          (Arg(X, 0.5, 1.5), Arg(X, step=0.25)),
          lambda t, x, s=s: take_oracle(*s)(t * t, x))
      for s in [(2,), (3, 2, 1), (3, 2, "same")]),
    *(Row(f"avg_pool2d_input_grad {s}",
          lambda g, s=s: gx.avg_pool2d_input_grad(g * g, (7, 8), *s), (Arg(pooled(s), 0.5, 1.5),),
          lambda g, s=s: jax.vjp(avg_oracle(*s), jnp.zeros((g.shape[0], 2, 7, 8)))[1](g * g)[0])
      for s in [(2,), (3, 2, 1), (3, 2, "same")]),
]  # fmt: skip
