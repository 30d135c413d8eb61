"""Layers that make images larger: transposed convolution, and pixels repeated."""

from __future__ import annotations

from typing import Any, ClassVar

from graphc.ir import GraphError, Node, ShapeError
from graphc.ir.leaves import parameter
from graphc.ir.node import describe
from graphc.nn.layers import Init, Weighted, positive, window
from graphc.nn.module import Module
from graphc.ops.conv_transpose import conv_transpose2d
from graphc.ops.resize import upsample


class ConvTranspose2d(Weighted):
    """Each pixel spreads its filter: (N, in, H, W) -> (N, out, H', W'), as ``gx.conv_transpose2d``.

    ``weight`` is (in_channels, out_channels // groups, kh, kw), ``bias`` (out_channels,);
    ``in_channels=None`` is inferred at the first call. output_padding: which of the sizes that a
    ``Conv2d`` with this stride brings to H. Raises GraphError for sizes that are not positive ints
    or channels that the groups do not divide, ShapeError where x does not fit.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> layer = nn.ConvTranspose2d(16, 8, 2, stride=2)
    >>> layer(gx.input("x", ("N", 16, 7, 7))).shape, layer.weight.shape
    ((Dim('N'), 8, 14, 14), (16, 8, 2, 2))
    """

    _kind: ClassVar[str] = "conv_transpose2d"

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        *,
        init: Init = "kaiming_uniform",
        name: str | None = None,
    ) -> None:
        super().__init__(bias, init, name)
        self.in_channels = in_channels
        self.out_channels = positive(self, "out_channels", out_channels)
        self.kernel_size = window(self, kernel_size)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.output_padding = output_padding
        self.groups = positive(self, "groups", groups)
        if in_channels is not None:
            self._declare_filters(positive(self, "in_channels", in_channels))

    def _declare_filters(self, channels: int) -> None:
        for what, count in (("in_channels", channels), ("out_channels", self.out_channels)):
            if count % self.groups:
                what = f"groups={self.groups} does not divide {what}={count}"
                raise GraphError(f"ConvTranspose2d: {what}")
        shape = (channels, self.out_channels // self.groups, *self.kernel_size)
        self.weight = parameter("weight", shape, init=self._init)
        out = (self.out_channels,)
        self.bias = parameter("bias", out, role="bias") if self._bias else None

    def forward(self, x: Node) -> Node:
        """x: (N, in_channels, H, W)."""
        if self.in_channels is None:
            channels = self._inferred(x, 1, "in_channels")
            self._declare_filters(channels)
            self.in_channels = channels
        return conv_transpose2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding,
            output_padding=self.output_padding, groups=self.groups, dilation=self.dilation,
        )  # fmt: skip


class Upsample(Module):
    """Pixels repeated: (N, C, H, W) -> (N, C, H·scale, W·scale), or to ``size``, a multiple.

    One of size and scale_factor is given, an int or a pair (height, width). mode: ``"nearest"``
    alone. Raises GraphError for anything else, ShapeError where size is not a multiple of x's.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> nn.Upsample(scale_factor=2)(gx.input("x", ("N", 3, 7, 5))).shape
    (Dim('N'), 3, 14, 10)
    """

    _kind: ClassVar[str] = "upsample"

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale_factor: int | tuple[int, int] | None = None,
        mode: str = "nearest",
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if (size is None) == (scale_factor is None):
            raise GraphError("Upsample: say size= or scale_factor=, one of them")
        if mode != "nearest":
            raise GraphError(f"Upsample: mode={mode!r} is not 'nearest', the one that there is")
        self.size = None if size is None else window(self, size, "size")
        self.scale_factor = (
            None if scale_factor is None else window(self, scale_factor, "scale_factor")
        )
        self.mode = mode

    def forward(self, x: Node) -> Node:
        """x: (N, C, H, W)."""
        if self.size is None:
            return upsample(x, self.scale_factor)
        factors = []
        for wanted, here in zip(self.size, x.shape[2:], strict=False):
            if not isinstance(here, int) or wanted % here:
                raise ShapeError(
                    f"Upsample: size={self.size} is not a multiple of\n  {describe(x)}", nodes=[x]
                )
            factors.append(wanted // here)
        return upsample(x, tuple(factors))
