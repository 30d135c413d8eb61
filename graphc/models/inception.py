"""The small Inception of the CIFAR-10 table (Zhang, Bengio, Hardt, Recht, Vinyals, ICLR 2017)."""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register
from graphc.ops import concat

# What follows the first convolution, in order: (1×1 channels, 3×3 channels) of an Inception block,
# or the channels that a Downsample block adds.
BLOCKS: tuple[tuple[int, int] | int, ...] = (
    (32, 32), (32, 48), 80,
    (112, 48), (96, 64), (80, 80), (48, 96), 96,
    (176, 160), (176, 160),
)  # fmt: skip


class ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU; one learned vector: the norm's shift, else the bias."""

    def __init__(
        self, inside: int, outside: int, kernel: int, stride: int = 1, *, norm: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding="same", bias=not norm)
        self.norm = nn.BatchNorm2d(outside, scale=False) if norm else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        return self.relu(self.norm(self.conv(x)))  # type: ignore[no-any-return]


class Inception(nn.Module):
    """Convolutions 1×1 and 3×3 side by side, their channels one after the other."""

    def __init__(self, inside: int, ones: int, threes: int, *, norm: bool) -> None:
        super().__init__()
        self.ones = ConvUnit(inside, ones, 1, norm=norm)
        self.threes = ConvUnit(inside, threes, 3, norm=norm)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        return concat([self.ones(x), self.threes(x)], axis=1)


class Downsample(nn.Module):
    """A convolution 3×3/2 beside a max-pool 3×3/2: half the size, ``more`` channels more."""

    def __init__(self, inside: int, more: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = ConvUnit(inside, more, 3, stride=2, norm=norm)
        self.pool = nn.MaxPool2d(3, 2, padding="same")

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        return concat([self.conv(x), self.pool(x)], axis=1)


def small_net(channels: int, classes: int, *, norm: bool) -> nn.Module:
    """A convolution, the blocks, the mean over what is left of the image, one linear layer."""
    layers: list[nn.Module] = [ConvUnit(channels, 96, 3, norm=norm)]
    width = 96
    for block in BLOCKS:
        if isinstance(block, int):
            layers.append(Downsample(width, block, norm=norm))
            width += block
        else:
            layers.append(Inception(width, *block, norm=norm))
            width = sum(block)
    return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Linear(width, classes))


@register("small-inception", image=(3, 28, 28), classes=10)
def small_inception(image: tuple[int, int, int], classes: int) -> nn.Module:
    """28 -> 14 -> 7, eight Inception and two Downsample blocks: 1,649,402 parameters."""
    return small_net(image[0], classes, norm=True)


@register("small-inception-nobn", image=(3, 28, 28), classes=10)
def small_inception_without_norm(image: tuple[int, int, int], classes: int) -> nn.Module:
    """The same with a bias in place of each batch norm: 1,649,402 parameters as well."""
    return small_net(image[0], classes, norm=False)
