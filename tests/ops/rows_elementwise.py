"""Rows of ops/elementwise.py and ops/compare.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import graphc as gx
from tests.ops.harness import Arg, Row

POSITIVE = Arg(("N", 5), 0.3, 3.0)
TIES = Arg(("N", 4, 5), -1.0, 1.0, step=0.5)
WHOLE = Arg(("N", 4), -4, 4, dtype="int32")
TRUTH = Arg(("N", 4), 0, 1, dtype="bool")


def unary(name, oracle, *args, **options):
    function = getattr(gx, name)
    given = args or (("N", 5),)
    return Row(name, lambda x: function(x), given, oracle, **options)


def binary(name, function, oracle, **options):
    """On equal shapes, and with every way of broadcasting at once."""
    both = (Arg(("N", 4, 5), 0.3, 2.0), Arg(("N", 4, 5), 0.3, 2.0))
    stretched = (Arg((4, 1), 0.3, 2.0), Arg(("N", 1, 5), 0.3, 2.0))
    return [
        Row(f"{name}", function, both, oracle, **options),
        Row(f"{name}-broadcast", function, stretched, oracle, **options),
    ]


def compared(name, oracle):
    args = (TIES, Arg((5,), -1.0, 1.0, step=0.5))
    return Row(name, getattr(gx, name), args, oracle, grad=False)


ROWS = [
    *binary("add", lambda a, b: a + b, jnp.add),
    *binary("sub", lambda a, b: a - b, jnp.subtract),
    *binary("mul", lambda a, b: a * b, jnp.multiply),
    *binary("div", lambda a, b: a / b, jnp.divide),
    *binary("pow", lambda a, b: a**b, jnp.power),
    Row("mul-self", lambda x: x * x, (("N", 3),), lambda x: x * x),
    Row("pow-3", lambda x: x**3, (("N", 3),), lambda x: x**3),
    Row("pow-minus-1", lambda x: x**-1, (POSITIVE,), lambda x: x**-1),
    Row("pow-half", lambda x: x**0.5, (POSITIVE,), lambda x: x**0.5),
    Row("pow-2", lambda x: x**2, (("N", 3),), lambda x: x**2),
    Row("pow-of-base", lambda x: 2.5**x, (("N", 3),), lambda x: 2.5**x),
    Row("number-on-the-left", lambda x: 1 - 2 / x, (POSITIVE,), lambda x: 1 - 2 / x),
    Row("maximum-ties", gx.maximum, (TIES, TIES), jnp.maximum),
    Row("minimum-ties", gx.minimum, (TIES, TIES), jnp.minimum),
    Row("maximum", gx.maximum, (("N", 4), ("N", 4)), jnp.maximum),
    Row("minimum-broadcast", gx.minimum, (("N", 1, 4), (3, 1)), jnp.minimum),
    Row("pow-0", lambda x: x**0, (Arg(("N", 9), step=0.5),), lambda x: x**0),
    Row("pow-scalar-exponent", lambda a, b: a**b, (POSITIVE, Arg((), 0.5, 2.0)), jnp.power),
    Row("pow-at-zero", lambda a, b: a**b, (Arg(("N", 9), 0, 1, step=0.5),
        Arg((9,), 1, 3, step=1.0)), jnp.power, second=False),
    Row("pow-zero-of-zero", lambda a: a ** gx.constant(np.array([0.0, 2.0, 3.0], a.dtype)),
        (Arg(("N", 3), 0, 1, step=0.5),), lambda a: jnp.concatenate(
            [jnp.ones_like(a[:, :1]), a[:, 1:2] ** 2, a[:, 2:] ** 3], 1), second=False),
    Row(
        "maximum-broadcast",
        gx.maximum,
        (Arg((4, 1), step=0.5), Arg(("N", 1, 3), step=0.5)),
        jnp.maximum,
    ),
    unary("neg", jnp.negative),
    unary("square", jnp.square),
    unary("sqrt", jnp.sqrt, POSITIVE),
    unary("exp", jnp.exp, Arg(("N", 5), -3, 3)),
    unary("log", jnp.log, POSITIVE),
    unary("tanh", jnp.tanh, Arg(("N", 5), -3, 3)),
    unary("sin", jnp.sin, Arg(("N", 5), -3, 3)),
    unary("cos", jnp.cos, Arg(("N", 5), -3, 3)),
    unary("sigmoid", jax.nn.sigmoid, Arg(("N", 5), -6, 6)),
    unary("relu", jax.nn.relu, TIES),
    unary("abs", lambda x: jnp.where(x == 0, 0, jnp.abs(x)), TIES),  # slope 0 at 0, JAX's is 1
    unary("sign", jnp.sign, TIES),
    Row("scalar", lambda x: gx.exp(gx.tanh(x) * 2), ((),), lambda x: jnp.exp(jnp.tanh(x) * 2)),
    Row("integers", lambda a, b: gx.abs(a * b - 2) + a**2, (WHOLE, WHOLE),
        lambda a, b: jnp.abs(a * b - 2) + a**2, dtypes=("int32",), grad=False),
    Row("integers-maximum", lambda a, b: gx.maximum(a, b) - gx.minimum(a, gx.relu(b)),
        (WHOLE, WHOLE), lambda a, b: jnp.maximum(a, b) - jnp.minimum(a, jnp.maximum(b, 0)),
        dtypes=("int32",), grad=False),
    compared("equal", jnp.equal),
    compared("not_equal", jnp.not_equal),
    compared("less", jnp.less),
    compared("less_equal", jnp.less_equal),
    compared("greater", jnp.greater),
    compared("greater_equal", jnp.greater_equal),
    Row("equal-bool", gx.equal, (TRUTH, TRUTH), jnp.equal, dtypes=("bool",), grad=False),
    Row("logical_and", gx.logical_and, (TRUTH, TRUTH), jnp.logical_and, dtypes=("bool",),
        grad=False),
    Row("logical_or", gx.logical_or, (TRUTH, TRUTH), jnp.logical_or, dtypes=("bool",), grad=False),
    Row("logical_not", gx.logical_not, (TRUTH,), jnp.logical_not, dtypes=("bool",), grad=False),
    Row("where", gx.where, (TRUTH, ("N", 4), ("N", 1)), jnp.where),
    Row("where-number", lambda c, a: gx.where(c, a * a, 2.0), (TRUTH, ("N", 4)),
        lambda c, a: jnp.where(c, a * a, 2.0)),
    Row("where-guards-nan", lambda x: gx.where(x > 0, x / gx.maximum(x, 0.1), 0.0),
        (TIES,), lambda x: jnp.where(x > 0, x / jnp.maximum(x, 0.1), 0.0)),
    Row("cast-to-wider", lambda x: gx.cast(gx.cast(x, "float64") * 2, x.dtype), (("N", 3),),
        lambda x: x * 2),
    Row("cast-to-int", lambda x: gx.cast(x, "int32"), (Arg(("N", 3), -5, 5),),
        lambda x: x.astype("int32"), grad=False),
    Row("cast-from-bool", lambda x, t: x * gx.cast(t, x.dtype), (("N", 4), TRUTH),
        lambda x, t: x * t),
    Row("cast-from-int", lambda x, t: x * gx.cast(t, x.dtype), (("N", 4), WHOLE),
        lambda x, t: x * t),
]  # fmt: skip
