"""What the figures read of a graph: which node is meant, its value, and values as pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.compiler.binding import gather
from graphc.compiler.interpret import interpret
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest
from graphc.ir.node import Node

Array = np.ndarray[Any, np.dtype[Any]]

# Greys for data go from 0 to 254 as in viz.filters: 127 is the middle, and 255 is no datum.
WHITE = 254


def node_of(graph: Graph, which: Node | str, caller: str) -> Node:
    """A node of the graph, or the one that an output or a line of the printed IR calls so."""
    if not isinstance(graph, Graph):
        raise GraphError(f"{caller} takes a Graph first, not a {type(graph).__name__}")
    if isinstance(which, str):
        return graph.node(which)
    if not isinstance(which, Node):
        raise GraphError(f"{caller}: a node or its name is wanted, not {which!r}")
    graph.name(which)
    return which


def needed(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """The part of the graph that computes these nodes, as outputs ``v0``, ``v1``, …"""
    return graph.rebuild({f"v{i}": node for i, node in enumerate(nodes)}, updates={})


def inputs_for(
    part: Graph, graph: Graph, inputs: Mapping[str, Any] | None, named: Mapping[str, Any]
) -> dict[str, Any]:
    """The arrays that a part of the graph needs. An input of the whole graph may be given too."""
    given = gather(inputs, named)
    for name in given:
        if name not in graph.inputs:
            raise GraphError(f"the graph has no input {name!r}{suggest(name, graph.inputs)}")
    return {name: array for name, array in given.items() if name in part.inputs}


def values_of(
    graph: Graph,
    variables: Mapping[str, Any],
    nodes: Sequence[Node],
    inputs: Mapping[str, Any] | None,
    named: Mapping[str, Any],
) -> list[Array]:
    """The values of these nodes by the plain definition of every op (``gx.interpret``)."""
    part = needed(graph, nodes)
    held = {name: on_host(array) for name, array in variables.items()}
    values = interpret(part, held, inputs=inputs_for(part, graph, inputs, named))
    return [values[f"v{i}"] for i in range(len(nodes))]


def on_host(array: Any) -> Array:
    """An array of any backend as NumPy's: a device array hands its values out by .get()."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def example_of(batch: Array, example: int, caller: str) -> Array:
    """One row of a batch."""
    if isinstance(example, bool) or not isinstance(example, int):
        raise GraphError(f"{caller}: example={example!r} is not the number of an example")
    if not batch.ndim or not -len(batch) <= example < len(batch):
        count = len(batch) if batch.ndim else 0
        raise GraphError(f"{caller}: example={example}, but the batch has {count}")
    row: Array = batch[example]
    return row


def symmetric(values: Array, bound: float) -> Array:
    """Grey pixels: 0 is the middle, ±``bound`` white and black, all 0 even where bound is 0."""
    ramp = np.clip(values / bound, -1, 1) if bound > 0 else np.zeros(values.shape)
    return np.rint((ramp + 1) / 2 * WHITE).astype(np.uint8)


def largest(values: Array) -> float:
    """The largest absolute value, 0 where there is none. Raises GraphError: not all finite."""
    if not np.isfinite(values).all():
        raise GraphError("the values to draw are not all finite: nothing says how grey a NaN is")
    return float(np.abs(values).max(initial=0.0))


def span(values: Array) -> tuple[float, float]:
    """What is black and what is white of an image: 0 and 1, or its minimum and maximum if those
    are beyond: an image, other than a filter or a map, has no zero to keep in the middle."""
    largest(values)  # all finite
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def picture(values: Array, low: float, high: float) -> Array:
    """(height, width), or three channels in front for colour, as pixels between these two."""
    ramp = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    grey = np.rint(np.clip(ramp, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(grey, 0, -1)) if grey.ndim == 3 else grey
