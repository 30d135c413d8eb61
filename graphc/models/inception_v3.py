"""Inception v3 (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016), torchvision's structure and names.

A block's attributes are its convolutions, branch by branch; ``forward`` says how they connect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register
from graphc.ops import avg_pool2d, concat, max_pool2d, mean


class BasicConv2d(nn.Module):
    """Convolution, batch norm, ReLU; ``padding="half"`` keeps the size at stride 1."""

    def __init__(
        self, inside: int, outside: int, kernel: int | tuple[int, int], stride: int = 1,
        padding: Any = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding == "half":
            sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
            padding = (sides[0] // 2, sides[1] // 2)
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]


def chain(x: Node, *layers: Callable[[Node], Node]) -> Node:
    """The layers, one after the other."""
    for layer in layers:
        x = layer(x)
    return x


class InceptionA(nn.Module):
    """1×1; 5×5; 3×3 twice; average pool: 224 channels and the pool's."""

    def __init__(self, inside: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(inside, 64, 1)
        self.branch5x5_1 = BasicConv2d(inside, 48, 1)
        self.branch5x5_2 = BasicConv2d(48, 64, 5, padding="half")
        self.branch3x3dbl_1 = BasicConv2d(inside, 64, 1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding="half")
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, padding="half")
        self.branch_pool = BasicConv2d(inside, pool, 1)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        branches = [
            self.branch1x1(x),
            chain(x, self.branch5x5_1, self.branch5x5_2),
            chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3),
            self.branch_pool(avg_pool2d(x, 3, 1, 1)),
        ]
        return concat(branches, axis=1)


class InceptionB(nn.Module):
    """Half the size: 3×3/2; 3×3 twice, the last /2; max-pool: 480 channels more."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(inside, 384, 3, 2)
        self.branch3x3dbl_1 = BasicConv2d(inside, 64, 1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding="half")
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, 2)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        branches = [
            self.branch3x3(x),
            chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3),
            max_pool2d(x, 3, 2),
        ]
        return concat(branches, axis=1)


class InceptionC(nn.Module):
    """1×1; 7×7 as 1×7 and 7×1, once and twice; average pool: 768 channels."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        across, down = (1, 7), (7, 1)
        self.branch1x1 = BasicConv2d(inside, 192, 1)
        self.branch7x7_1 = BasicConv2d(inside, width, 1)
        self.branch7x7_2 = BasicConv2d(width, width, across, padding="half")
        self.branch7x7_3 = BasicConv2d(width, 192, down, padding="half")
        self.branch7x7dbl_1 = BasicConv2d(inside, width, 1)
        self.branch7x7dbl_2 = BasicConv2d(width, width, down, padding="half")
        self.branch7x7dbl_3 = BasicConv2d(width, width, across, padding="half")
        self.branch7x7dbl_4 = BasicConv2d(width, width, down, padding="half")
        self.branch7x7dbl_5 = BasicConv2d(width, 192, across, padding="half")
        self.branch_pool = BasicConv2d(inside, 192, 1)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        branches = [
            self.branch1x1(x),
            chain(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3),
            chain(
                x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3,
                self.branch7x7dbl_4, self.branch7x7dbl_5,
            ),
            self.branch_pool(avg_pool2d(x, 3, 1, 1)),
        ]  # fmt: skip
        return concat(branches, axis=1)


class InceptionD(nn.Module):
    """Half the size: 3×3/2; 1×7, 7×1, 3×3/2; max-pool: 512 channels more."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(inside, 192, 1)
        self.branch3x3_2 = BasicConv2d(192, 320, 3, 2)
        self.branch7x7x3_1 = BasicConv2d(inside, 192, 1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, (1, 7), padding="half")
        self.branch7x7x3_3 = BasicConv2d(192, 192, (7, 1), padding="half")
        self.branch7x7x3_4 = BasicConv2d(192, 192, 3, 2)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        branches = [
            chain(x, self.branch3x3_1, self.branch3x3_2),
            chain(
                x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4
            ),
            max_pool2d(x, 3, 2),
        ]
        return concat(branches, axis=1)


class InceptionE(nn.Module):
    """1×1; 3×3 once and twice, each ending in 1×3 beside 3×1; average pool: 2048 channels."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        across, down = (1, 3), (3, 1)
        self.branch1x1 = BasicConv2d(inside, 320, 1)
        self.branch3x3_1 = BasicConv2d(inside, 384, 1)
        self.branch3x3_2a = BasicConv2d(384, 384, across, padding="half")
        self.branch3x3_2b = BasicConv2d(384, 384, down, padding="half")
        self.branch3x3dbl_1 = BasicConv2d(inside, 448, 1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, 3, padding="half")
        self.branch3x3dbl_3a = BasicConv2d(384, 384, across, padding="half")
        self.branch3x3dbl_3b = BasicConv2d(384, 384, down, padding="half")
        self.branch_pool = BasicConv2d(inside, 192, 1)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        once = self.branch3x3_1(x)
        twice = chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(avg_pool2d(x, 3, 1, 1)),
        ]
        return concat(branches, axis=1)


class InceptionAux(nn.Module):
    """The auxiliary head, on the 17×17 maps: pool, two convolutions, the mean, a linear layer."""

    def __init__(self, inside: int, classes: int) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(inside, 128, 1)
        self.conv1 = BasicConv2d(128, 768, 5)
        self.fc = nn.Linear(768, classes)

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W), H and W at least 17."""
        x = chain(avg_pool2d(x, 5, 3), self.conv0, self.conv1)
        return self.fc(mean(x, (2, 3)))  # type: ignore[no-any-return]


class InceptionV3(nn.Module):
    """Eleven Inception blocks on 299×299 images; gives (logits, auxiliary logits), or the logits
    alone without the auxiliary head."""

    def __init__(self, channels: int, classes: int, *, auxiliary: bool = True) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(channels, 32, 3, 2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, 3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, 3, padding="half")
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, pool=32)
        self.Mixed_5c = InceptionA(256, pool=64)
        self.Mixed_5d = InceptionA(288, pool=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.AuxLogits = InceptionAux(768, classes) if auxiliary else None
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.GlobalAvgPool2d()
        self.dropout = nn.Dropout(retain=0.5)
        self.fc = nn.Linear(2048, classes)

    def forward(self, x: Node) -> Any:
        """x: (N, channels, H, W)."""
        x = chain(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3, self.maxpool1)
        x = chain(x, self.Conv2d_3b_1x1, self.Conv2d_4a_3x3, self.maxpool2)
        x = chain(x, self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)
        x = chain(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)
        y = chain(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c)
        logits = self.fc(self.dropout(self.avgpool(y)))
        return logits if self.AuxLogits is None else (logits, self.AuxLogits(x))


@register("inception-v3", image=(3, 299, 299), classes=1000)
def inception_v3(image: tuple[int, int, int], classes: int) -> nn.Module:
    """27,161,264 parameters; 23,834,568 without the auxiliary head (``.select("logits")``)."""
    return InceptionV3(image[0], classes)
