"""Activations beside ReLU, tanh and sigmoid, and the functions that they are made of."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.kernel import Const, Expr, apply
from graphc.ir.node import Node, make
from graphc.ops.compare import where
from graphc.ops.elementwise import exp, sigmoid, square, tanh
from graphc.ops.mistake import mistake
from graphc.ops.pointwise import Unary

__all__ = [
    "clip",
    "elu",
    "erf",
    "expm1",
    "gelu",
    "leaky_relu",
    "log1p",
    "silu",
    "softplus",
]

_ERF = np.frompyfunc(math.erf, 1, 1)


class Erf(Unary):
    """The error function."""

    name: ClassVar[str] = "erf"
    law: ClassVar[str] = "y = 2/√π · ∫ exp(-t²) dt from 0 to x"
    takes = "floats"
    flops = 20

    def compute(self, x: Any) -> Any:
        return np.asarray(_ERF(x), np.float64).astype(x.dtype)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * (exp(-square(x)) * (2 / math.sqrt(math.pi)))


class Expm1(Unary):
    """eˣ - 1, exact to the last digits near 0."""

    name: ClassVar[str] = "expm1"
    law: ClassVar[str] = "y = eˣ - 1"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.expm1(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * (y + 1)


class Log1p(Unary):
    """ln (1 + x), exact to the last digits near 0."""

    name: ClassVar[str] = "log1p"
    law: ClassVar[str] = "y = ln (1 + x)"
    takes = "floats"
    flops = 10

    def compute(self, x: Any) -> Any:
        return np.log1p(x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g / (x + 1)


class Softplus(Unary):
    """ln (1 + eˣ): an op, not a composition, because its slope is the sigmoid to all orders."""

    name: ClassVar[str] = "softplus"
    law: ClassVar[str] = "y = ln (1 + eˣ); softplus(x) - softplus(-x) = x"
    takes = "floats"
    flops = 22

    def compute(self, x: Any) -> Any:
        return np.logaddexp(x.dtype.type(0), x)

    def slope(self, g: Node, x: Node, y: Node) -> Node | None:
        return g * sigmoid(x)

    def express(self, *elements: Expr) -> Expr:
        (x,) = elements
        # The exponential of what is never positive cannot overflow.
        small = apply("log1p", apply("exp", apply("neg", apply("abs", x))))
        return apply("add", apply("max", x, Const(0.0, x.dtype)), small)


# -- functions ------------------------------------------------------------------------------------


def erf(x: Node) -> Node:
    """The error function, 2/√π · ∫ exp(-t²) dt from 0 to ``x``. Raises DTypeError unless floating.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.erf(x)}), {}, x=[0, -9])["y"].tolist()
    [0.0, -1.0]
    """
    return make(Erf(), x)


def expm1(x: Node) -> Node:
    """eˣ - 1, without the loss of digits near 0. Raises DTypeError unless floating.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,), dtype="float64")
    >>> gx.interpret(gx.Graph({"y": gx.expm1(x)}), {}, x=[0, 1e-20])["y"].tolist()
    [0.0, 1e-20]
    """
    return make(Expm1(), x)


def log1p(x: Node) -> Node:
    """ln (1 + x), without the loss of digits near 0; -inf at -1, NaN below. Errors as ``expm1``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,), dtype="float64")
    >>> gx.interpret(gx.Graph({"y": gx.log1p(x)}), {}, x=[0, 1e-20])["y"].tolist()
    [0.0, 1e-20]
    """
    return make(Log1p(), x)


def softplus(x: Node, beta: float = 1.0) -> Node:
    """ln (1 + exp(beta·x)) / beta, a smooth ReLU. It overflows nowhere, so it needs no threshold.

    Raises DTypeError unless ``x`` is floating, GraphError for a beta that is not positive.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.softplus(x)}), {}, x=[-1000, 1000])["y"].tolist()
    [0.0, 1000.0]
    """
    if not (math.isfinite(beta) and beta > 0):
        mistake("softplus", f"beta={beta!r} is not a positive number", error=GraphError, x=x)
    return make(Softplus(), x) if beta == 1 else make(Softplus(), x * float(beta)) / float(beta)


def leaky_relu(x: Node, negative_slope: float = 0.01) -> Node:
    """``x`` above 0, ``negative_slope``·x elsewhere (Maas, Hannun, Ng 2013).

    At 0 the slope is ``negative_slope``, as PyTorch. Raises DTypeError unless ``x`` is floating.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.leaky_relu(x, 0.25)}), {}, x=[-4, 3])["y"].tolist()
    [-1.0, 3.0]
    """
    return where(x > 0, x, x * float(negative_slope))


def silu(x: Node) -> Node:
    """x · sigmoid(x), also called swish (Elfwing, Uchibe, Doya 2017). Errors as ``sigmoid``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.silu(x)}), {}, x=[0, 100])["y"].tolist()
    [0.0, 100.0]
    """
    return x * sigmoid(x)


def elu(x: Node, alpha: float = 1.0) -> Node:
    """``x`` above 0, alpha·(eˣ - 1) elsewhere (Clevert, Unterthiner, Hochreiter 2015).

    At 0 the slope is ``alpha``, as PyTorch. Raises DTypeError unless ``x`` is floating.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.elu(x)}), {}, x=[-1000, 3])["y"].tolist()
    [-1.0, 3.0]
    """
    positive = x > 0
    # Behind the choice the exponential of a large x would be infinite, and 0 · inf its gradient.
    low = expm1(where(positive, 0.0, x))
    return where(positive, x, low if alpha == 1 else low * float(alpha))


def gelu(x: Node, approximate: str = "none") -> Node:
    """x · Φ(x), Φ the normal distribution function (Hendrycks, Gimpel 2016).

    approximate: ``"none"``, x/2 · (1 + erf(x/√2)), or ``"tanh"``,
    x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))). Raises DTypeError unless ``x`` is floating,
    GraphError for another word.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.gelu(x)}), {}, x=[0, 100])["y"].tolist()
    [0.0, 100.0]
    """
    if approximate == "none":
        return (x * 0.5) * (erf(x * math.sqrt(0.5)) + 1)
    if approximate != "tanh":
        what = f"approximate={approximate!r} is neither 'none' nor 'tanh'"
        mistake("gelu", what, error=GraphError, x=x)
    inner = (x * math.sqrt(2 / math.pi)) * (square(x) * 0.044715 + 1)
    return (x * 0.5) * (tanh(inner) + 1)


def clip(x: Node, min: Any = None, max: Any = None) -> Node:
    """``x`` with what is below ``min`` raised to it and what is above ``max`` lowered to it.

    min, max: numbers, nodes that broadcast, or None for no bound; where min > max the result is
    max. The gradient flows where x is within the bounds, these included (as ``torch.clamp``); a NaN
    stays. Raises GraphError without a bound; errors as ``where``.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.clip(x, 0, 1)}), {}, x=[-2, 0.5, 3])["y"].tolist()
    [0.0, 0.5, 1.0]
    """
    if min is None and max is None:
        mistake("clip", "no bound", fix="say min=, max= or both", error=GraphError, x=x)
    if min is not None:
        x = where(x < min, min, x)
    return x if max is None else where(x > max, max, x)
