"""Graphs whose plans have a bit of everything: shared by the tests of the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import graphc as gx
from graphc import models, nn, passes
from graphc.compiler.program import Program

Feed = dict[str, Any]


def lenet() -> gx.Graph:
    """LeNet-5's training step."""
    return models.build("lenet-5").apply(passes.backward(), passes.sgd(lr="lr", momentum=0.9))


def everything() -> gx.Graph:
    """Dropout, decay, a layer called twice, strides, overlapping pools, concat, slices."""
    image = gx.input("image", ("N", 2, 9, 9))
    label = gx.input("label", ("N",), dtype="int64")
    first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
    shared = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    x = gx.relu(first(image))
    x = gx.tanh(shared(shared(x)))
    pooled = gx.max_pool2d(x, 3, 1)
    left = gx.avg_pool2d(x, 3, 2, padding=1)
    both = gx.concat([pooled, left[:, :, ::-1]], 1)
    both = gx.pad(both, ((0, 0), (0, 0), (1, 0), (0, 2)))
    logits = nn.Linear(8 * 4 * 5, 5)(gx.reshape(both, ("N", 160)))
    graph = gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})
    return graph.apply(
        passes.insert_dropout(retain=0.7, after="relu"),
        passes.weight_decay(1e-2),
        passes.backward(),
        passes.sgd(lr="lr", momentum=0.9, nesterov=True),
    )


def feed(graph: gx.Graph, n: int, seed: int = 0) -> Feed:
    """Inputs of batch ``n`` for the graphs above."""
    rng = np.random.default_rng(seed)
    given: Feed = {}
    for name, node in graph.inputs.items():
        shape = node.type.concrete({"N": n})
        if node.dtype.kind == "i":
            given[name] = rng.integers(0, 5, shape)
        elif name == "lr":
            given[name] = 0.05
        else:
            given[name] = rng.standard_normal(shape).astype(node.dtype)
    return given


def run(
    program: Program, variables: Mapping[str, Any], given: Feed
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outputs of one step and the variables after it; ``variables`` stay as they are."""
    fresh = {name: np.array(array) for name, array in variables.items()}
    return program(fresh, given), fresh
