"""The values of a graph in float64, whatever its own types: for checks that need the digits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.compiler.binding import Array, failed
from graphc.ir import Graph, GraphError, Node
from graphc.ir.graph import post_order
from graphc.ir.leaves import Input, Parameter, State, Stream, stream_number
from graphc.ir.node import describe
from graphc.ir.types import is_float


def widened(array: Array) -> Array:
    """Floating-point arrays in float64, all others as they are."""
    return array.astype(np.float64) if is_float(array.dtype) else array


def evaluate(node: Node, sizes: Mapping[str, int], arrays: Iterable[Array]) -> Array:
    """One op's plain definition on float64 arrays."""
    inputs = tuple(arrays)
    if node.op.name == "cast" and is_float(node.dtype) and is_float(inputs[0].dtype):
        return inputs[0]  # rounding to fewer digits is what float64 leaves out
    try:
        value = np.asarray(node.op.evaluate(sizes, *inputs))
    except Exception as error:  # also of a rule that built what no op can compute
        raise failed(node, error) from error
    return widened(value) if is_float(node.dtype) else value


def values(
    graph: Graph,
    roots: Iterable[Node],
    variables: Mapping[str, Array],
    inputs: Mapping[str, Array],
    sizes: Mapping[str, int],
) -> dict[Node, Array]:
    """The value of every node below ``roots``, floating-point ones in float64."""
    found: dict[Node, Array] = {}
    with np.errstate(all="ignore"):
        for node in post_order(roots):
            match node.op:
                case Input():
                    found[node] = widened(_known(graph, node, inputs, "the input"))
                case Parameter() | State():
                    found[node] = widened(_known(graph, node, variables, "the variable"))
                case Stream():
                    found[node] = np.array(stream_number(graph.name(node)), np.uint64)
                case _:
                    found[node] = evaluate(node, sizes, (found[i] for i in node.inputs))
    return found


def _known(graph: Graph, leaf: Node, table: Mapping[str, Any], what: str) -> Array:
    name = graph.name(leaf)
    if name not in table:
        raise GraphError(f"{what} {name!r} is missing: {describe(leaf)}", nodes=[leaf])
    return np.asarray(table[name])
