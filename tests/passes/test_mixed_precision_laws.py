"""Mixed precision on random graphs: but for rounding, it changes nothing.

Both graphs are evaluated with every float, those of 16 bits included, as a float64: casts and the
loss scale must then cancel to the last digits, wherever the pass put them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes
from graphc.ir.leaves import Stream, stream_number
from graphc.ir.types import dtype_of, is_float
from tests.random_graphs import Array, sample

GRAPHS, SOAK = 60, 1000
LIMIT = 1e-9


def wide(
    graph: gx.Graph, given: Mapping[str, Any], sizes: Mapping[str, int], low: np.dtype[Any]
) -> dict[str, Array]:
    """The outputs, by the ops' plain definitions, without any rounding to a narrow type but that of
    constants: the pass rounds a constant to ``low`` once and for all."""
    values: dict[gx.Node, Array] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op.name == "cast" and is_float(node.inputs[0].dtype) and is_float(node.dtype):
                value = values[node.inputs[0]]
            elif node.inputs or node.op.name in ("constant", "size"):
                value = node.op.evaluate(sizes, *(values[source] for source in node.inputs))
            else:
                value = given[graph.name(node)]
            if node.op.name == "constant" and is_float(node.dtype):
                value = value.astype(low)
            values[node] = value.astype(np.float64) if is_float(node.dtype) else value
    return {name: values[node] for name, node in graph.outputs.items()}


def check(seed: int) -> int:
    """How many nodes of the sample's graph work in 16 bits."""
    drawn = sample(2 * seed, "float32")  # every second graph shares a parameter
    graph = drawn.graph.apply(*([passes.backward()] if drawn.graph.parameters else []))
    low = ("float16", "bfloat16")[seed % 2]
    lower = passes.mixed_precision(low, loss_scale=2.0 ** (seed % 5))
    mixed = graph.apply(lower)
    assert mixed.apply(lower) == mixed
    assert gx.parse(str(mixed)) == mixed
    assert {k: v.type for k, v in mixed.outputs.items()} == {
        k: v.type for k, v in graph.outputs.items()
    }
    given = drawn.variables(graph) | drawn.inputs(0, graph)
    given |= {
        graph.name(node): np.array(stream_number(graph.name(node)), np.uint64)
        for node in graph.nodes
        if isinstance(node.op, Stream)
    }
    before, after = (wide(each, given, drawn.runs[0], dtype_of(low)) for each in (graph, mixed))
    for name, expected in before.items():
        if not is_float(expected.dtype):
            continue
        size = np.max(np.abs(expected), initial=0.0)
        assert np.max(np.abs(after[name] - expected), initial=0.0) <= LIMIT * (size + 1), (
            seed, name,
        )  # fmt: skip
    return sum(node.dtype.itemsize == 2 for node in mixed.nodes)


def test_but_for_rounding_it_changes_nothing() -> None:
    assert sum(check(seed) > 0 for seed in range(GRAPHS)) > GRAPHS / 3


@pytest.mark.slow
def test_but_for_rounding_it_changes_nothing_in_a_thousand_graphs() -> None:
    for seed in range(GRAPHS, GRAPHS + SOAK):
        check(seed)
