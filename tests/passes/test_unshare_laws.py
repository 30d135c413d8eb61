"""share(unshare(g)) == g and share(backward(unshare(g))) == backward(g), on random graphs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import graphc as gx
from graphc import passes
from tests.random_graphs import Sample, sample


def shared(seeds: range) -> Iterator[tuple[Sample, gx.Graph]]:
    """Random graphs in which `loss` depends on a parameter through two uses or more."""
    for seed in seeds:
        drawn = sample(seed)
        # Edges of the user's own keep apart what would be one node: the laws are about the rest.
        graph = drawn.graph.apply(passes.share())
        if seed % 2:
            graph = graph.apply(passes.weight_decay(0.1, roles=("weight", "bias")))
        if graph.apply(passes.unshare()) != graph:
            yield drawn, graph


@pytest.mark.parametrize("block", range(4))
def test_the_laws_on_random_graphs(block: int) -> None:
    counted = 0
    for drawn, graph in shared(range(50 * block, 50 * block + 50)):
        counted += 1
        apart = graph.apply(passes.unshare())
        assert apart.apply(passes.share()) == graph
        assert apart.apply(passes.unshare()) == apart
        assert gx.parse(str(apart)) == apart
        direct, first = graph.apply(passes.backward()), apart.apply(passes.backward())
        assert first.apply(passes.share()) == direct
        assert gx.parse(str(first)).apply(passes.share()) == direct
        # One dict serves all of them, and step 2 is the sum of step 1's numbers.
        variables, inputs = drawn.variables(direct), drawn.inputs(0, direct)
        assert variables.keys() == drawn.variables(first).keys()
        terms = gx.interpret(first, variables, inputs=inputs)
        for name, value in gx.interpret(direct, variables, inputs=inputs).items():
            parts = [v for k, v in terms.items() if k == name or k.startswith(f"{name}@")]
            error = np.max(np.abs(np.sum(parts, axis=0) - value))
            assert error <= 1e-12 * max(np.max(np.abs(value)), 1e-30), name
    assert counted >= 25
