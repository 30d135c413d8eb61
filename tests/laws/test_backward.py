"""Every node that ``backward`` makes tells which forward node it belongs to, in print."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import models, passes
from graphc.ir import printer
from tests.laws import nets


@pytest.mark.parametrize("name", ["lenet-5", "small-inception", "residual-8", *nets.OWN])
def test_each_gradient_node_prints_its_forward_node(name: str) -> None:
    graph = nets.CASES[name].build() if name in nets.OWN else models.build(name)
    after = graph.apply(passes.backward())
    old = set(graph.nodes)
    made = [node for node in after.nodes if node not in old]
    assert len(made) > len(graph.parameters)
    # What depends on no leaf (a constant, 1/N) serves the whole process: it belongs where it is
    # read. A parameter is a leaf, and no part of a gradient.
    owners = printer.forward_owners(after)
    for node in made:
        assert owners[node] in old
        assert f"# gradient of %{after.name(owners[node])}" in shown(after, node)


def test_a_gradient_of_two_graphs_prints_the_forward_node_of_each() -> None:
    x, label = gx.input("x", ("N", 3)), gx.input("label", ("N",), dtype="int64")
    kept = []
    for classes in (2, 2, 4):
        logits = gx.linear(x, gx.parameter("w", (classes, 3)))
        graph = gx.Graph({"loss": gx.cross_entropy(gx.tanh(logits), label)})
        after = graph.apply(passes.backward())
        for node in after.nodes:
            if node not in graph.nodes:
                assert "# gradient of %" in shown(after, node)
        kept += [after] if classes == 2 else []


def shown(graph: gx.Graph, node: gx.Node) -> str:
    start = f"%{graph.name(node)}:"
    return next(line for line in str(graph).splitlines() if line.strip().startswith(start))
