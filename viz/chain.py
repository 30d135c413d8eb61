"""A network as one row of maps: the longest way from its image to its result, step by step.

A step is an op that makes a new map (a convolution, a pooling, a fully connected layer, whatever
changes the shape) with the pointwise ops that follow it. The other ways are joins: they leave the
row behind one step and meet it again in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from graphc.ir import dims
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Input
from graphc.ir.naming import suggest
from graphc.ir.node import Node, describe
from graphc.ir.types import is_float

# What makes a way long: the ops with weights or windows.
_LAYERS = frozenset({
    "conv2d", "conv2d_input_grad", "linear", "matmul", "max_pool2d", "avg_pool2d",
})  # fmt: skip
# A run of these makes one map: what is upsampled, or split into heads, is seen when it is done.
_MOVES = frozenset({"reshape", "transpose", "slice", "broadcast_to", "flip", "pad"})
_WORDS = {
    "conv2d": "conv", "conv2d_input_grad": "transposed conv", "linear": "fully connected",
    "max_pool2d": "max pool", "avg_pool2d": "average pool", "batch_norm": "batch norm",
    "relu": "ReLU", "add": "+", "mul": "×", "local_response_norm": "response norm",
    "broadcast_to": "broadcast",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One map of the row: ``node`` is its last op, ``nodes`` all that made it of the map before."""

    node: Node
    nodes: tuple[Node, ...]
    shape: tuple[int, ...]
    """Without the batch: (channels, height, width) or (features,)."""

    @property
    def volume(self) -> tuple[int, int, int]:
        """(height, width, channels); what has no height or width has 1."""
        return volume(self.shape)

    def words(self) -> tuple[str, ...]:
        """What was done, in a few words: the op with its settings, then the pointwise ops."""
        if not self.nodes:
            return ()
        if all(n.op.name in _MOVES for n in self.nodes):
            return (_moved(self.nodes),)
        first, *rest = self.nodes
        after = list(dict.fromkeys(_WORDS.get(n.op.name, n.op.name) for n in rest))
        return (*op_words(first), *([", ".join(after)] if after else []))


@dataclass(frozen=True)
class Join:
    """A way beside the row: from the map of step ``source`` into step ``target``."""

    source: int
    target: int
    nodes: tuple[Node, ...]
    by: str
    """The op that joins them: add, concat, …"""

    def words(self) -> str:
        """What is done on the way."""
        layers = [n for n in self.nodes if n.op.name in _LAYERS]
        return ", ".join(" ".join(op_words(n)[:1]) for n in layers) or "identity"


@dataclass(frozen=True)
class Chain:
    """The row: its image and steps (the first is the image itself), and the joins."""

    image: Node
    steps: tuple[Step, ...]
    joins: tuple[Join, ...]
    sizes: dict[str, int]

    def step_of(self, node: Node) -> int | None:
        """The step that ``node`` belongs to, None beside the row."""
        for index, step in enumerate(self.steps):
            if node is step.node or node in step.nodes:
                return index
        return None


def volume(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of a shape without its batch.

    >>> volume((6, 28, 28)), volume((120,))
    ((28, 28, 6), (1, 1, 120))
    """
    match shape:
        case (channels,):
            return 1, 1, channels
        case (rows, channels):  # a sequence: position by feature
            return rows, 1, channels
        case (channels, height, width):
            return height, width, channels
    return math.prod(shape[1:-1]), shape[-1], shape[0]


def op_words(node: Node) -> tuple[str, ...]:
    """The op and its settings, each in a few words."""
    op: Any = node.op
    name = _WORDS.get(op.name, op.name)
    if op.name in ("conv2d", "conv2d_input_grad"):
        height, width = node.inputs[1].shape[2:]
        return (
            f"{name} {height}×{width}",
            *_settings(op, "stride", "padding", "dilation", "groups"),
        )
    if op.name in ("max_pool2d", "avg_pool2d"):
        kernel = op.kernel if isinstance(op.kernel, tuple) else (op.kernel, op.kernel)
        return (f"{name} {kernel[0]}×{kernel[1]}", *_settings(op, "stride", "padding"))
    if op.name == "mean" and node.inputs[0].ndim == 4 and 1 in (node.ndim - 1, *node.shape[2:3]):
        return ("global average",)
    return (name,)


def _moved(nodes: tuple[Node, ...]) -> str:
    """What a run of ops that compute nothing comes to."""
    before, after = nodes[0].inputs[0], nodes[-1]
    if after.ndim == 2:
        return "flatten"
    if "broadcast_to" in {n.op.name for n in nodes} and before.ndim == after.ndim == 4:
        factors = [
            int(b) // int(a) if isinstance(a, int) and isinstance(b, int) and b % a == 0 else 0
            for a, b in zip(before.shape[2:], after.shape[2:], strict=True)
        ]
        return f"upsample {factors[0]}×{factors[1]}" if all(factors) else "upsample"
    return ", ".join(dict.fromkeys(_WORDS.get(n.op.name, n.op.name) for n in nodes))


def _settings(op: Any, *names: str) -> tuple[str, ...]:
    """The attributes that are not their default."""
    words = {"padding": "pad"}
    plain = {"stride": (1, None), "padding": (0,), "dilation": (1,), "groups": (1,)}
    said = []
    for name in names:
        value = getattr(op, name)
        if value in plain[name] and not isinstance(value, tuple):
            continue
        text = str(value).replace(" ", "") if isinstance(value, tuple) else str(value)
        said.append(f"{words.get(name, name)} {text}")
    return tuple(said)


def chain(
    graph: Graph,
    *,
    wrt: Node | None = None,
    output: str | None = None,
    size: Mapping[str, int] | None = None,
    called: str = "viz.volumes",
) -> Chain:
    """The row of ``graph``. Raises GraphError: no image, no such output, a size without a value."""
    if not isinstance(graph, Graph):
        raise GraphError(f"{called} takes a Graph, not {graph!r}")
    image = wrt if wrt is not None else _image(graph, called)
    if image not in graph.nodes:
        raise GraphError(f"{called}: {describe(image)} is no node of this graph")
    members = _reached(graph, image)
    end = _end(graph, output, members, image, called)
    best = _longest(graph, image, members, end)
    path = [end]
    while path[-1] is not image:
        path.append(best[path[-1]])
    path.reverse()
    sizes = _sizes(path, size or {}, called)
    steps: list[tuple[Node, list[Node]]] = [(image, [])]
    for before, node in pairwise(path):
        new = node.op.name in _LAYERS or node.shape[1:] != before.shape[1:]
        moved = node.op.name in _MOVES and steps[-1][1] and before.op.name in _MOVES
        if new and not (moved and all(n.op.name in _MOVES for n in steps[-1][1])):
            steps.append((node, [node]))
        else:
            steps[-1] = (node, [*steps[-1][1], node])
    found = tuple(Step(n, tuple(ops), n.type.concrete(sizes)[1:]) for n, ops in steps)
    for step in found:
        if min(step.shape, default=1) < 1:
            at = ", ".join(f"{name}={extent}" for name, extent in sizes.items())
            raise GraphError(f"{called}: at {at} nothing is left of {describe(step.node)}")
    joins = _joins(path, found, best, members)
    return Chain(image, found, joins, {n: s for n, s in sizes.items() if n in (size or {})})


def _image(graph: Graph, called: str) -> Node:
    inputs = [n for n in graph.inputs.values() if isinstance(n.op, Input) and is_float(n.dtype)]
    for ndim in (4, 3, 2):
        found = [n for n in inputs if n.ndim == ndim]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(map(graph.name, found))
            raise GraphError(f"{called}: which input is the image? (wrt= one of {names})")
    raise GraphError(f"{called}: this graph has no input (N, C, H, W), (N, T, C) or (N, C)")


def _reached(graph: Graph, image: Node) -> set[Node]:
    """What depends on the image and keeps its batch axis: statistics over the batch do not."""
    found = {image}
    for node in graph.nodes:
        keeps = node.ndim >= 2 and node.shape[0] == image.shape[0]
        if keeps and any(source in found for source in node.inputs):
            found.add(node)
    return found


def _end(graph: Graph, output: str | None, members: set[Node], image: Node, called: str) -> Node:
    if output is not None:
        if output not in graph.outputs:
            raise GraphError(
                f"{called}: no output is called {output!r}{suggest(output, graph.outputs)}"
            )
        names = [output]
    else:
        names = [n for n in ("logits", *graph.outputs) if n in graph.outputs]
    for name in names:
        node = graph.outputs[name]
        if node in members and node is not image:
            return node
    raise GraphError(
        f"{called}: no map leads from {graph.name(image)} to {', '.join(names)}: an output drawn "
        "has the image's batch axis and depends on it"
    )


def _longest(graph: Graph, image: Node, members: set[Node], end: Node) -> dict[Node, Node]:
    """For each node the input that the longest way to it comes by; the first of equals."""
    length = {image: 0}
    best: dict[Node, Node] = {}
    for node in graph.nodes:
        if node is image or node not in members:
            continue
        sources = [source for source in node.inputs if source in length]
        if sources:
            best[node] = max(sources, key=lambda source: length[source])
            length[node] = length[best[node]] + (node.op.name in _LAYERS)
        if node is end:
            break
    return best


def check_sizes(size: Mapping[str, int], called: str) -> None:
    """Raise GraphError unless every number of ``size`` is one that a dimension can have."""
    for name, value in size.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise GraphError(f"{called}: {name}={value!r} is not a size: an int of 1 or more")


def _sizes(path: list[Node], size: Mapping[str, int], called: str) -> dict[str, int]:
    names = dims.names(extent for node in path for extent in node.shape)
    batch = dims.names(path[0].shape[:1])
    for name in size:
        if name not in names:
            raise GraphError(f"{called}: no dimension is called {name!r}{suggest(name, names)}")
    missing = sorted(names - batch - size.keys())
    if missing:
        raise GraphError(
            f"{called}: the dimension {missing[0]} has no value\n"
            f"  to fix: {called}(…, size={{{missing[0]!r}: 32}})"
        )
    check_sizes(size, called)
    return {**dict.fromkeys(batch, 1), **size}


def _joins(
    path: list[Node], steps: tuple[Step, ...], best: dict[Node, Node], members: set[Node]
) -> tuple[Join, ...]:
    place = {path[0]: 0}
    for index, step in enumerate(steps):
        place |= dict.fromkeys((*step.nodes, step.node), index)
    found: dict[Join, None] = {}
    for node in path[1:]:
        for source in node.inputs:
            if source not in members or source is best[node]:
                continue
            way: list[Node] = []
            while source not in place:
                way.append(source)
                source = best[source]
            if place[source] < place[node]:
                nodes = tuple(reversed(way))
                found[Join(place[source], place[node], nodes, node.op.name)] = None
    return tuple(found)
