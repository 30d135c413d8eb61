"""Plain and residual networks of one depth for CIFAR-10, from one function (He, Zhang, Ren, Sun
2016, section 4.2): 6n+2 layers, three stages of 16, 32 and 64 channels, zero-padded skips."""

from __future__ import annotations

from graphc import nn
from graphc.ir import GraphError, Node
from graphc.models.registry import register_each
from graphc.ops import pad, relu

DEPTHS = (8, 14, 20, 32, 44, 56, 110)


class Block(nn.Module):
    """Two 3×3 convolutions, beside a skip that has no parameters, or alone (``skip=False``)."""

    def __init__(self, inside: int, width: int, stride: int, skip: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.more, self.skip = stride, width - inside, skip

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + self.shortcut(x)) if self.skip else relu(y)

    def shortcut(self, x: Node) -> Node:
        """x itself, or every other pixel of it and zeros in the new channels."""
        x = x[:, :, :: self.stride, :: self.stride]
        return pad(x, ((0, 0), (0, self.more), (0, 0), (0, 0)))


class CifarNet(nn.Module):
    """A 3×3 convolution, 3·n blocks, the mean, a linear layer: depth = 6n + 2 layers."""

    def __init__(self, depth: int, channels: int, classes: int, *, skip: bool) -> None:
        super().__init__()
        count, rest = divmod(depth - 2, 6)
        if rest or count < 1:
            raise GraphError(f"a net of {depth} layers: the depth is 6n + 2, e.g. 20, 44 or 110")
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inside = 16
        stages = []
        for width in (16, 32, 64):
            blocks = []
            for _ in range(count):
                blocks.append(Block(inside, width, 1 if inside == width else 2, skip))
                inside = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W)."""
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x))  # type: ignore[no-any-return]


@register_each("residual-{}", DEPTHS, image=(3, 32, 32), classes=10)
def residual(depth: int, image: tuple[int, int, int], classes: int) -> nn.Module:
    """With skips: 269,722 parameters at depth 20, 658,586 at 44."""
    return CifarNet(depth, image[0], classes, skip=True)


@register_each("plain-{}", DEPTHS, image=(3, 32, 32), classes=10)
def plain(depth: int, image: tuple[int, int, int], classes: int) -> nn.Module:
    """The same net without its skips, which have no parameters."""
    return CifarNet(depth, image[0], classes, skip=False)
