"""Residual networks for ImageNet (He, Zhang, Ren, Sun 2016), with torchvision's structure and
names: the stride of a bottleneck is in its 3×3 convolution. Plain nets are the same without skips.
"""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register, register_each
from graphc.ops import relu

# Blocks of each of the four stages.
BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def projection(inside: int, outside: int, stride: int) -> nn.Module:
    """The skip where sizes differ: a 1×1 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a skip, or without one (``skip=False``)."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int, skip: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.skip = skip
        if skip and (stride, inside) != (1, width):
            self.downsample = projection(inside, width, stride)
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + self.downsample(x)) if self.skip else relu(y)


class Bottleneck(nn.Module):
    """1×1 down to ``width`` channels, 3×3, 1×1 up to four times as many; beside a skip."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int, skip: bool = True) -> None:
        super().__init__()
        outside = self.expansion * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.skip = skip
        if skip and (stride, inside) != (1, outside):
            self.downsample = projection(inside, outside, stride)
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + self.downsample(x)) if self.skip else relu(y)


class ResNet(nn.Module):
    """A 7×7 stem, four stages of blocks of doubling width and halving size, the mean, a linear
    layer."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        channels: int,
        classes: int,
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = 64

        def stage(count: int, width: int, stride: int) -> nn.Module:
            nonlocal inside
            blocks = []
            for i in range(count):
                blocks.append(block(inside, width, stride if i == 0 else 1, skip))
                inside = block.expansion * width
            return nn.Sequential(*blocks)

        self.layer1 = stage(depths[0], 64, 1)
        self.layer2 = stage(depths[1], 128, 2)
        self.layer3 = stage(depths[2], 256, 2)
        self.layer4 = stage(depths[3], 512, 2)
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W)."""
        x = self.maxpool(relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x))  # type: ignore[no-any-return]


@register_each("resnet-{}", BASIC, image=(3, 224, 224), classes=1000)
def basic_resnet(depth: int, image: tuple[int, int, int], classes: int) -> nn.Module:
    """Two convolutions a block; ResNet-34 has 21,797,672 parameters."""
    return ResNet(BasicBlock, BASIC[depth], image[0], classes)


@register_each("resnet-{}", BOTTLENECK, image=(3, 224, 224), classes=1000)
def bottleneck_resnet(depth: int, image: tuple[int, int, int], classes: int) -> nn.Module:
    """Three convolutions a block; ResNet-50 has 25,557,032 parameters."""
    return ResNet(Bottleneck, BOTTLENECK[depth], image[0], classes)


@register("plain-34", image=(3, 224, 224), classes=1000)
def plain_34(image: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-34 without its skips and their projections: 21,623,848 parameters."""
    return ResNet(BasicBlock, BASIC[34], image[0], classes, skip=False)
