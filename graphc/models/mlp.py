"""Multi-layer perceptrons of the CIFAR-10 table (Zhang et al. 2017), on 28×28×3."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from graphc import nn
from graphc.models.registry import register


def perceptron(image: tuple[int, int, int], *hidden: int, classes: int) -> nn.Module:
    """Flatten, then fully-connected layers with ReLU between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inside, outside in pairwise((prod(image), *hidden)):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], classes))


@register("mlp-1x512", image=(3, 28, 28), classes=10)
def mlp_1x512(image: tuple[int, int, int], classes: int) -> nn.Module:
    """2352 -> 512 -> 10: 1,209,866 parameters."""
    return perceptron(image, 512, classes=classes)


@register("mlp-3x512", image=(3, 28, 28), classes=10)
def mlp_3x512(image: tuple[int, int, int], classes: int) -> nn.Module:
    """2352 -> 512 -> 512 -> 512 -> 10: 1,735,178 parameters."""
    return perceptron(image, 512, 512, 512, classes=classes)
