"""Every node that ``backward`` makes tells which forward node it belongs to, in print."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import models, passes
from graphc.ir import facts
from tests.laws import nets


@pytest.mark.parametrize("name", ["lenet-5", "small-inception", "residual-8", *nets.OWN])
def test_each_gradient_node_prints_its_forward_node(name: str) -> None:
    graph = nets.CASES[name].build() if name in nets.OWN else models.build(name)
    after = graph.apply(passes.backward())
    old = set(graph.nodes)
    # What depends on no leaf (a constant, 1/N) serves the whole process, and carries no comment.
    grounded: set[gx.Node] = set()
    for node in after.nodes:
        if node.op.name in ("input", "parameter", "state") or grounded.intersection(node.inputs):
            grounded.add(node)
    made = [node for node in after.nodes if node not in old and node in grounded]
    lines = {line.split(":")[0].strip(): line for line in str(after).splitlines() if "%" in line}
    assert len(made) > len(graph.parameters)
    for node in made:
        forward = facts.forward_of(node)
        assert forward in old
        assert f"# gradient of %{after.name(forward)}" in lines[f"%{after.name(node)}"]
