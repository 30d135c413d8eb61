"""Residual networks, version 2 (He, Zhang, Ren, Sun, Identity mappings, ECCV 2016): batch norm and
ReLU stand before each convolution, and the skips are left alone."""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register
from graphc.ops import relu

# Blocks of each of the four stages: ResNet-200 of the paper's ImageNet table.
DEPTHS_200 = (3, 24, 36, 3)


class PreactivationBlock(nn.Module):
    """BN-ReLU-1×1, BN-ReLU-3×3, BN-ReLU-1×1 beside the skip.

    The first block of a stage projects the skip, from what its own BN-ReLU gives; the first one
    of the net has none of its own (``preactivated``), since the stem ends with it.
    """

    def __init__(
        self, inside: int, width: int, stride: int, project: bool, preactivated: bool
    ) -> None:
        super().__init__()
        self.bn1 = nn.Identity() if preactivated else nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.preactivated = preactivated
        self.downsample = nn.Conv2d(inside, 4 * width, 1, stride, bias=False) if project else None

    def forward(self, x: Node) -> Node:
        """x: (N, inside, H, W)."""
        y = x if self.preactivated else relu(self.bn1(x))
        skip: Node = x if self.downsample is None else self.downsample(y)
        y = self.conv1(y)
        y = self.conv2(relu(self.bn2(y)))
        residue: Node = self.conv3(relu(self.bn3(y)))
        return residue + skip


class ResNetV2(nn.Module):
    """A 7×7 stem with BN and ReLU, four stages, a last BN and ReLU, the mean, a linear layer."""

    def __init__(self, depths: tuple[int, int, int, int], channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = 64
        stages = []
        for stage, (count, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True)):
            blocks = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                first = stage == 0 and i == 0
                blocks.append(PreactivationBlock(inside, width, stride, i == 0, first))
                inside = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(inside)
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W)."""
        x = self.maxpool(relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(relu(self.bn2(x))))  # type: ignore[no-any-return]


@register("resnet-200-v2", image=(3, 224, 224), classes=1000)
def resnet_200_v2(image: tuple[int, int, int], classes: int) -> nn.Module:
    """3, 24, 36, 3 bottlenecks: 64,666,152 parameters."""
    return ResNetV2(DEPTHS_200, image[0], classes)
