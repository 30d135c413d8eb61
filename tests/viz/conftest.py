"""Graphs that several of the drawing tests look at."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import models, nn, passes

TRAINING = (passes.backward(), passes.sgd(lr="lr", momentum=0.9))


@pytest.fixture(scope="session")
def lenet() -> gx.Graph:
    return models.build("lenet-5")


@pytest.fixture(scope="session")
def training(lenet: gx.Graph) -> gx.Graph:
    """With everything that a step can have: dropout, decay, momentum."""
    return lenet.apply(passes.insert_dropout(retain=0.5), passes.weight_decay(5e-4), *TRAINING)


@pytest.fixture(scope="session")
def shared() -> gx.Graph:
    """One layer called three times."""
    x, label = gx.input("x", ("N", 8)), gx.input("label", ("N",), dtype="int64")
    layer = nn.Linear(8, 8, name="layer")
    y = x
    for _ in range(3):
        y = gx.relu(layer(y))
    return gx.Graph({"logits": y, "loss": gx.cross_entropy(y, label)})


@pytest.fixture(scope="session")
def residual() -> gx.Graph:
    """Modules three deep."""
    x, label = gx.input("x", ("N", 8)), gx.input("label", ("N",), dtype="int64")
    block = lambda: nn.Residual(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)))  # noqa: E731
    y = nn.Sequential(nn.Linear(8, 8), block(), block())(x)
    return gx.Graph({"logits": y, "loss": gx.cross_entropy(y, label)})
