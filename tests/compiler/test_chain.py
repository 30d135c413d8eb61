"""Long chains: no stage recurses, and each is linear (benchmarks/chain.py measures it)."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import passes


@pytest.mark.parametrize("length", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_chain_of_relus_compiles_and_runs(length: int) -> None:
    node = gx.input("x", ("N",))
    for _ in range(length):
        node = gx.relu(node)
    graph = gx.Graph({"loss": gx.sum(node)}).apply(passes.backward(wrt="x"))
    program = gx.compile(graph, verify=False)
    assert program.plan.launches >= 3 * length
    for n in (3, 2):
        x = np.arange(n, dtype=np.float32) - 1
        out = program({}, x=x)
        assert out["loss"] == x[x > 0].sum()
        assert out["grad/x"].tolist() == (x > 0).tolist()


def test_a_deep_chain_of_updates_and_views() -> None:
    """Views of views and a state read all along the way."""
    x = gx.input("x", ("N", 4))
    state = gx.state("s", (4,), init="ones")
    node = x
    for turn in range(2_000):
        node = gx.transpose(gx.transpose(node, (1, 0)), (1, 0))
        node = gx.reshape(gx.reshape(node, ("4*N",)), ("N", 4))
        if turn % 100 == 0:
            node = node + state
    graph = gx.Graph({"y": node}, updates={state: state + gx.sum(node, 0)})
    program = gx.compile(graph)
    variables = program.init()
    out = program(variables, x=np.zeros((2, 4), np.float32))
    assert out["y"].tolist() == [[20.0] * 4] * 2
    assert variables["s"].tolist() == [41.0] * 4
