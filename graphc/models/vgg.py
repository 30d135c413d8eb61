"""VGG (Simonyan and Zisserman 2015), with torchvision's structure and names."""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register_each
from graphc.ops import adaptive_avg_pool2d, flatten

# How many convolutions stand before each of the five max-pools, and their channels.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3×3 convolutions, each halved by a max-pool, then three linear layers."""

    def __init__(self, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for count, width in zip(DEPTHS[depth], CHANNELS, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(retain=0.5),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(retain=0.5),
            nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W), H and W at least 32; 7×7 is left of 224×224."""
        x = adaptive_avg_pool2d(self.features(x), 7)
        return self.classifier(flatten(x))  # type: ignore[no-any-return]


@register_each("vgg-{}", DEPTHS, image=(3, 224, 224), classes=1000)
def vgg(depth: int, image: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-19 has 143,667,240 parameters."""
    return VGG(depth, image[0], classes)
