"""Layers that normalize: by the batch, by the example, by groups and neighbours of channels."""

from __future__ import annotations

import math
from typing import ClassVar

from graphc.ir import GraphError, Node, ShapeError
from graphc.ir.leaves import parameter, state
from graphc.ir.node import describe
from graphc.nn.layers import positive
from graphc.nn.module import Module
from graphc.ops.core import constant
from graphc.ops.elementwise import square
from graphc.ops.norm import batch_norm, group_norm, layer_norm, local_response_norm, per_channel
from graphc.ops.reduce import mean
from graphc.ops.state import track


class BatchNorm2d(Module):
    """Each channel normalized over the batch and its pixels, then scaled and shifted.

    The graph it declares is the training graph: it reads the batch's mean and variance, and its
    states follow them, ``running_mean`` ← (1-m)·running_mean + m·mean, and ``running_var`` alike
    with the unbiased variance (so N·H·W ≥ 2 is a guard), as PyTorch. ``passes.inference`` puts the
    states in place of the batch's statistics. Called twice, it updates twice, in the graph's order.

    channels: C of x (N, C, H, W). eps, momentum (m, the weight of the new value): PyTorch's.
    scale, shift: whether it learns them: ``weight`` (C,) with role ``scale``, from 1, and ``bias``
    (C,) with role ``shift``, from 0; else None, a constant 1 or 0. Raises GraphError for arguments
    out of range, ShapeError where x does not fit. Source: Ioffe and Szegedy 2015.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> layer = nn.BatchNorm2d(3, shift=False)
    >>> graph = gx.Graph({"y": layer(gx.input("image", ("N", 3, 8, 8)))})
    >>> list(graph.parameters), list(graph.updates)
    (['batch_norm2d.weight'], ['batch_norm2d.running_mean', 'batch_norm2d.running_var'])
    """

    _kind: ClassVar[str] = "batch_norm2d"

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        scale: bool = True,
        shift: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.channels = positive(self, "channels", channels)
        self.eps = _small(self, eps)
        self.momentum = float(momentum)
        if not 0 <= self.momentum <= 1:
            raise GraphError(
                f"BatchNorm2d: momentum={momentum} is not a weight between 0 and 1: it is "
                "PyTorch's, the weight of the new value, 0.1 by default"
            )
        self.weight, self.bias = _affine((channels,), scale, shift)
        self.running_mean = state("running_mean", (channels,))
        self.running_var = state("running_var", (channels,), init="ones")

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W)."""
        if x.ndim != 4:
            raise ShapeError(f"BatchNorm2d takes (N, C, H, W), not\n  {describe(x)}", nodes=[x])
        if x.shape[1] != self.channels:
            raise ShapeError(
                f"BatchNorm2d({self.channels}) was given {x.shape[1]} channels:\n  {describe(x)}",
                nodes=[x],
            )
        batch, _, height, width = x.shape
        axes = (0, 2, 3)
        middle = track(mean(x, axes), self.running_mean, self.momentum)
        variance = track(
            mean(square(x - per_channel(middle, x)), axes),
            self.running_var,
            self.momentum,
            count=batch * height * width,
        )
        scale = constant(1.0, x.dtype) if self.weight is None else self.weight
        shift = constant(0.0, x.dtype) if self.bias is None else self.bias
        return batch_norm(x, scale, shift, middle, variance, self.eps)


class LayerNorm(Module):
    """Each example normalized over its last axes, then scaled and shifted, as ``gx.layer_norm``.

    normalized_shape: an int or a tuple, the shape of those axes, of ``weight`` (role ``scale``) and
    of ``bias`` (role ``shift``); both are None without ``elementwise_affine``, ``bias`` alone
    without that. Raises GraphError for arguments out of range, ShapeError where x does not fit.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> nn.LayerNorm(4)(gx.input("x", ("N", 3, 4))).shape
    (Dim('N'), 3, 4)
    """

    _kind: ClassVar[str] = "layer_norm"

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        given = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
        self.normalized_shape = tuple(positive(self, "normalized_shape", size) for size in given)
        self.eps = _small(self, eps)
        learned = elementwise_affine
        self.weight, self.bias = _affine(self.normalized_shape, learned, learned and bias)

    def forward(self, x: Node) -> Node:
        """x: (…, *normalized_shape)."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(Module):
    """Each group of channels of an example normalized, then scaled and shifted by channel.

    x: (N, num_channels, …), as ``gx.group_norm``. ``weight`` and ``bias`` are (num_channels,), or
    None without ``affine``. Raises GraphError for arguments out of range, ShapeError where x does
    not fit.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> nn.GroupNorm(2, 6)(gx.input("image", ("N", 6, 8, 8))).shape
    (Dim('N'), 6, 8, 8)
    """

    _kind: ClassVar[str] = "group_norm"

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_groups = positive(self, "num_groups", num_groups)
        self.num_channels = positive(self, "num_channels", num_channels)
        if num_channels % num_groups:
            raise GraphError(
                f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}"
            )
        self.eps = _small(self, eps)
        self.weight, self.bias = _affine((num_channels,), affine, affine)

    def forward(self, x: Node) -> Node:
        """x: (N, num_channels, …)."""
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class LocalResponseNorm(Module):
    """Each element over a power of the mean square around it, as ``gx.local_response_norm``.

    size: channels in a window; alpha is divided by it, as in PyTorch.

    >>> from graphc import nn
    >>> nn.LocalResponseNorm(9, alpha=0.001)
    LocalResponseNorm(size=9, alpha=0.001, beta=0.75, k=1.0)
    """

    _kind: ClassVar[str] = "local_response_norm"

    def __init__(
        self,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.size = positive(self, "size", size)
        self.alpha, self.beta, self.k = float(alpha), float(beta), float(k)

    def forward(self, x: Node) -> Node:
        """x: (N, C, …), three axes or more."""
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)


def _affine(shape: tuple[int, ...], scale: bool, shift: bool) -> tuple[Node | None, Node | None]:
    """``weight`` and ``bias`` under PyTorch's names, with roles that ``weight_decay`` leaves."""
    weight = parameter("weight", shape, init="ones", role="scale") if scale else None
    bias = parameter("bias", shape, role="shift") if shift else None
    return weight, bias


def _small(layer: Module, eps: float) -> float:
    if not (math.isfinite(eps) and eps >= 0):
        raise GraphError(f"{type(layer).__name__}: eps={eps} is not a small number, 0 or more")
    return float(eps)
