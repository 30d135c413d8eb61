"""Small networks, and a step of each on the emulated device beside the same on NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gx
from graphc import models, nn, passes

Array = np.ndarray[Any, np.dtype[Any]]


def trained(graph: gx.Graph, *, dropout: bool = False) -> gx.Graph:
    """The training step with weight decay and momentum."""
    before = [passes.insert_dropout(retain=0.5, after="relu")] if dropout else []
    return graph.apply(
        *before,
        passes.weight_decay(5e-4),
        passes.backward(),
        passes.sgd(lr="lr", momentum=0.9),
    ).select("loss")


def classifier(net: nn.Module, shape: tuple[int, ...]) -> gx.Graph:
    """Logits and loss of a net on images of this shape."""
    image = gx.input("image", ("N", *shape))
    label = gx.input("label", ("N",), dtype="int64")
    logits = net(image)
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})


def mlp() -> gx.Graph:
    """Two layers, a few numbers each."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 10))
    return trained(classifier(net, (3, 2, 2)))


def residual() -> gx.Graph:
    """Two residual blocks with batch statistics, the second at half the size; dropout."""

    def block(before: int, after: int, stride: int) -> nn.Module:
        branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1),
            nn.BatchNorm2d(after),
        )
        skip = None
        if before != after or stride != 1:
            skip = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride), nn.BatchNorm2d(after))
        return nn.Sequential(nn.Residual(branch, skip), nn.ReLU())

    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        block(8, 8, 1),
        block(8, 12, 2),
        nn.Dropout(retain=0.8),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.Linear(12, 10),
    )
    return trained(classifier(net, (3, 10, 10)))


def lenet() -> gx.Graph:
    """LeNet-5 with dropout."""
    return trained(models.build("lenet-5"), dropout=True)


def batch(graph: gx.Graph, n: int, seed: int = 0) -> dict[str, Any]:
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    shape = graph.inputs["image"].type.concrete({"N": n})
    image = rng.standard_normal(shape, dtype=np.float32)
    return {"image": image, "label": rng.integers(0, 10, n), "lr": 0.01}


def host(variables: dict[str, Any]) -> dict[str, Array]:
    """Variables as NumPy arrays."""
    return {name: gx.to_numpy(array) for name, array in variables.items()}


def differences(left: dict[str, Any], right: dict[str, Any]) -> dict[str, float]:
    """max|a - b| / max|a| of each; what is 0 but for rounding (a bias behind a normalization by
    the batch) counts against 0.01."""
    left, right = host(left), host(right)
    assert left.keys() == right.keys()
    found = {}
    for name, array in left.items():
        wide = array.astype(np.float64)
        scale = max(float(np.abs(wide).max(initial=0)), 1e-2)
        found[name] = float(np.abs(wide - right[name].astype(np.float64)).max(initial=0)) / scale
    return found
