"""The receptive fields of every node of a network: sizes, strides, paddings and alignment.

    python benchmarks/receptive_fields.py [--repeat 5]

prints, for each network, its nodes, those that depend on the image, and the best processor seconds
of the whole analysis; then microseconds a node, which stay level if the cost grows linearly. The
promise is 0.5 s for ResNet-50.
"""

from __future__ import annotations

import argparse
import gc
import time

import graphc as gx
from graphc import models

NETWORKS = ("lenet-5", "vgg-16", "resnet-18", "resnet-50", "resnet-101", "resnet-200-v2")


def analyse(graph: gx.Graph) -> int:
    """Everything about every node; how many there are."""
    fields = gx.receptive_fields(graph)
    for field in fields.values():
        _ = field.size, field.stride, field.padding, field.aligned
    return len(fields)


def seconds(graph: gx.Graph, repeat: int) -> tuple[float, int]:
    """The best of some runs, in processor seconds, and how many nodes have a field."""
    best, count = float("inf"), 0
    for _ in range(repeat):
        gc.collect()
        start = time.process_time()
        count = analyse(graph)
        best = min(best, time.process_time() - start)
    return best, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print(f"{'network':<16}{'nodes':>8}{'fields':>8}{'seconds':>10}{'us/node':>9}")
    for name in NETWORKS:
        graph = models.build(name)
        best, count = seconds(graph, repeat)
        nodes = len(graph.nodes)
        print(f"{name:<16}{nodes:>8}{count:>8}{best:>10.4f}{best / nodes * 1e6:>9.1f}")


if __name__ == "__main__":
    main()
