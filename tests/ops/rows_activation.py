"""Rows of activations and of the functions that they are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import graphc as gx
from tests.ops.harness import Arg, Row

WIDE = Arg(("N", 7), -4.0, 4.0)
FAR = Arg(("N", 7), -90.0, 90.0)
TIES = Arg(("N", 7), -1.0, 1.0, step=0.5)

ROWS = [
    Row("erf", gx.erf, (WIDE,), jax.scipy.special.erf),
    Row("erf near 0", gx.erf, (Arg(("N", 7), -1e-3, 1e-3),), jax.scipy.special.erf),
    Row("erf far", gx.erf, (Arg(("N", 31), -7.0, 7.0),), jax.scipy.special.erf),
    Row("expm1", gx.expm1, (Arg(("N", 7), -3.0, 3.0),), jnp.expm1),
    Row("expm1 near 0", gx.expm1, (Arg(("N", 7), -1e-6, 1e-6),), jnp.expm1),
    Row("log1p", gx.log1p, (Arg(("N", 7), -0.8, 3.0),), jnp.log1p),
    Row("log1p near 0", gx.log1p, (Arg(("N", 7), -1e-6, 1e-6),), jnp.log1p),
    Row("softplus", gx.softplus, (WIDE,), jax.nn.softplus),
    Row("softplus far", gx.softplus, (FAR,), jax.nn.softplus, second=False),
    # At 0, where JAX's own logaddexp has the right second derivative too.
    Row("softplus at 0", gx.softplus, (Arg(("N", 3), 0.0, 0.0),), jax.nn.softplus),
    Row("softplus beta", lambda x: gx.softplus(x, beta=2.5), (WIDE,),
        lambda x: jax.nn.softplus(x * 2.5) / 2.5),
    # JAX's slope at 0 is 1, PyTorch's is the negative slope.
    Row("leaky_relu", lambda x: gx.leaky_relu(x, 0.2), (TIES,),
        lambda x: jnp.where(x > 0, x, 0.2 * x)),
    Row("silu", gx.silu, (WIDE,), jax.nn.silu),
    Row("elu", gx.elu, (TIES,), lambda x: jnp.where(x > 0, x, jnp.expm1(jnp.where(x > 0, 0, x)))),
    Row("elu alpha", lambda x: gx.elu(x, 0.5), (WIDE,), lambda x: jax.nn.elu(x, 0.5)),
    Row("elu far", gx.elu, (Arg(("N", 7), -900.0, 900.0),), jax.nn.elu, second=False),
    Row("gelu", gx.gelu, (WIDE,), lambda x: jax.nn.gelu(x, approximate=False)),
    Row("gelu tanh", lambda x: gx.gelu(x, "tanh"), (WIDE,), jax.nn.gelu),
    # The gradient of torch.clamp flows at the bounds, JAX's is halved there.
    Row("clip", lambda x: gx.clip(x, -0.5, 0.5), (TIES,),
        lambda x: jnp.where((x < -0.5) | (x > 0.5), 0.5 * jnp.sign(x), x)),
    Row("clip between nodes", gx.clip, (WIDE, Arg((7,), -3.0, -1.0), Arg(("N", 1), 0.5, 2.0)),
        jnp.clip),
    Row("clip above alone", lambda x: gx.clip(x, max=0.3), (WIDE,), lambda x: jnp.clip(x, max=0.3)),
    Row("clip integers", lambda x: gx.clip(x, 0, 2), (Arg(("N", 5), -4, 4, dtype="int32"),),
        lambda x: jnp.clip(x, 0, 2), dtypes=("int32",), grad=False),
]  # fmt: skip
