"""LeNet-5 (LeCun, Bottou, Bengio, Haffner, 1998) as it is built today: ReLU, max pooling."""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node
from graphc.models.registry import register
from graphc.ops.elementwise import relu
from graphc.ops.pool import max_pool2d
from graphc.ops.shape import flatten


class LeNet5(nn.Module):
    """Two convolutions and three fully-connected layers; 61,706 parameters on 28×28×1."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(None, 120)  # 400 -> 120 on 28×28
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W), H and W at least 12."""
        x = max_pool2d(relu(self.conv1(x)), 2)
        x = max_pool2d(relu(self.conv2(x)), 2)
        x = relu(self.fc1(flatten(x, 1)))
        x = relu(self.fc2(x))
        return self.fc3(x)  # type: ignore[no-any-return]


@register("lenet-5", image=(1, 28, 28), classes=10)
def lenet5(image: tuple[int, int, int], classes: int) -> nn.Module:
    """28×28×1: 6@5×5 pad 2, 16@5×5, each with ReLU and max-pool 2; 400-120-84-10."""
    return LeNet5(image[0], classes)
