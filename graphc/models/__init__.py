"""The zoo: networks by name, each as a graph with inputs image, label and outputs logits, loss."""

from graphc.models import (
    alexnet,
    cifar,
    inception,
    inception_v3,
    lenet,
    mlp,
    preactivation,
    resnet,
    transformer,
    unet,
    vgg,
)
from graphc.models.registry import build, names

__all__ = [
    "alexnet",
    "build",
    "cifar",
    "inception",
    "inception_v3",
    "lenet",
    "mlp",
    "names",
    "preactivation",
    "resnet",
    "transformer",
    "unet",
    "vgg",
]
