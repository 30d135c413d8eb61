"""A small U-Net (Ronneberger, Fischer, Brox 2015): one label for every pixel."""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register
from graphc.ops import concat, max_pool2d, upsample


class ConvPair(nn.Module):
    """Twice: 3×3 convolution, batch norm, ReLU; the size stays."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
        )

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        return self.layers(x)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """Down by pooling, up by repeating pixels; each size is joined with what it was on the way
    down. H and W must be multiples of 4."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.down1 = ConvPair(channels, 16)
        self.down2 = ConvPair(16, 32)
        self.bottom = ConvPair(32, 64)
        self.up2 = ConvPair(64 + 32, 32)
        self.up1 = ConvPair(32 + 16, 16)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W)."""
        large = self.down1(x)
        middle = self.down2(max_pool2d(large, 2))
        small = self.bottom(max_pool2d(middle, 2))
        y = self.up2(concat([middle, upsample(small, 2)], axis=1))
        y = self.up1(concat([large, upsample(y, 2)], axis=1))
        return self.head(y)  # type: ignore[no-any-return]


@register("unet-small", image=(3, 64, 64), classes=2)
def unet_small(image: tuple[int, int, int], classes: int) -> nn.Module:
    """Three sizes of 16, 32 and 64 channels; ``label`` is (N, H, W)."""
    return UNet(image[0], classes)
