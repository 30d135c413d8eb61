"""Activations as layers, beside ReLU, Tanh and Sigmoid: PyTorch's names and arguments."""

from __future__ import annotations

from typing import ClassVar

from graphc.ir import Node
from graphc.nn.module import Module
from graphc.ops.activation import elu, gelu, leaky_relu, silu, softplus


class LeakyReLU(Module):
    """x above 0, negative_slope·x elsewhere."""

    _kind: ClassVar[str] = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.negative_slope = negative_slope

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x above 0, alpha·(eˣ - 1) elsewhere."""

    _kind: ClassVar[str] = "elu"

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha = alpha

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return elu(x, self.alpha)


class GELU(Module):
    """x · Φ(x), Φ the normal distribution function; by a tanh with ``approximate="tanh"``."""

    _kind: ClassVar[str] = "gelu"

    def __init__(self, approximate: str = "none", *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.approximate = approximate

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return gelu(x, self.approximate)


class SiLU(Module):
    """x · sigmoid(x)."""

    _kind: ClassVar[str] = "silu"

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return silu(x)


class Softplus(Module):
    """ln (1 + exp(beta·x)) / beta."""

    _kind: ClassVar[str] = "softplus"

    def __init__(self, beta: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.beta = beta

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return softplus(x, self.beta)
