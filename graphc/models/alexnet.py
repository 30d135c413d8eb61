"""The small Alexnet of the CIFAR-10 table (Zhang, Bengio, Hardt, Recht, Vinyals, ICLR 2017)."""

from __future__ import annotations

from graphc import nn
from graphc.models.registry import register


@register("small-alexnet", image=(3, 28, 28), classes=10)
def small_alexnet(image: tuple[int, int, int], classes: int) -> nn.Module:
    """Two times conv 5×5, max-pool 3×3/2, LRN; then FC 384-192: 1,387,786 parameters.

    Padding is TensorFlow's "same" everywhere: 28 -> 14 -> 7.
    """
    return nn.Sequential(
        nn.Conv2d(image[0], 64, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding="same"),
        nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0),
        nn.Conv2d(64, 64, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding="same"),
        nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0),
        nn.Flatten(),
        nn.Linear(None, 384),  # 7·7·64 = 3136 -> 384 on 28×28
        nn.ReLU(),
        nn.Linear(384, 192),
        nn.ReLU(),
        nn.Linear(192, classes),
    )
