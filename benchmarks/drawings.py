"""How long drawings take: from the graph to the SVG, folded as they fold by themselves or as asked.

python benchmarks/drawings.py
"""

from __future__ import annotations

import random
import time

import graphc as gx
from graphc import models, nn, passes, viz

STEP = (passes.weight_decay(1e-4), passes.backward(), passes.sgd(lr="lr", momentum=0.9))


def chain(length: int) -> gx.Graph:
    """Ops without modules."""
    y = gx.input("x", ("N",))
    for _ in range(length):
        y = gx.tanh(y)
    return gx.Graph({"loss": gx.sum(y)})


def blocks(count: int) -> gx.Graph:
    """Residual blocks, alike."""
    x = gx.input("x", ("N", 8))
    made = (
        nn.Residual(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)))
        for _ in range(count)
    )
    return gx.Graph({"loss": gx.sum(nn.Sequential(*made)(x))})


def wide(count: int) -> gx.Graph:
    """Ops without modules, each of two values from anywhere before it."""
    rng = random.Random(0)
    rows = [gx.input("x", ("N",))]
    while len(rows) < count:
        rows.append(gx.tanh(rng.choice(rows[-40:])) * rng.choice(rows))
    return gx.Graph({"loss": gx.sum(sum(rows[1:], rows[0]))})


def main() -> None:
    cases = {
        "LeNet-5": (models.build("lenet-5"), {}),
        "LeNet-5's step": (models.build("lenet-5").apply(*STEP), {}),
        "ResNet-34": (models.build("resnet-34"), {}),
        "ResNet-34's step": (models.build("resnet-34").apply(*STEP), {}),
        "ResNet-34's step, fold=True": (models.build("resnet-34").apply(*STEP), {"fold": True}),
        "ResNet-101's step": (models.build("resnet-101").apply(*STEP), {}),
        "a chain of 5,000": (chain(5000), {}),
        "5,000 nodes in blocks": (blocks(620), {}),
        "5,000 nodes, tangled": (wide(1800), {}),
        "1,200 nodes, tangled": (wide(440), {}),
    }
    print(f"{'graph':30} {'nodes':>7} {'drawn':>6} {'s':>7}   SVG")
    for name, (graph, options) in cases.items():
        begun = time.perf_counter()
        drawing = viz.draw(graph, **options)
        svg = drawing.svg
        took = time.perf_counter() - begun
        drawn = len(drawing.model["nodes"])
        size = f"{len(svg) / 1e3:,.0f} kB"
        print(f"{name:30} {len(graph.nodes):7,} {drawn:6,} {took:7.2f}   {size}")


if __name__ == "__main__":
    main()
