"""A failure of passes on a graph, made small: what a person then reads is a few lines.

``shrink(case, fails)`` is greedy: it leaves out a pass, an output, an update, a node, as long as
the same failure stays, and stops where nothing more can go.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

import graphc as gx
from graphc.ir import Node
from graphc.ir.leaves import Leaf, Parameter
from tests.random_graphs import CLASSES, Sizes

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Step: TypeAlias = Callable[[gx.Graph], gx.Graph]
MOST_TRIES = 2000


@dataclass(frozen=True)
class Case:
    """Passes on a graph, with the sizes that it runs at; values depend on the names alone."""

    graph: gx.Graph
    steps: tuple[Step, ...]
    sizes: Sizes
    seed: int

    def variables(self, graph: gx.Graph) -> dict[str, Array]:
        """Parameters in (-1, 1), states in (0, 1): a second moment is not negative."""
        found = {
            name: self._values(name, leaf, -1 if isinstance(leaf.op, Parameter) else 0)
            for name, leaf in {**graph.parameters, **graph.states}.items()
        }
        fixed = {"random/seed": np.array(self.seed, np.uint64), "step": np.array(3, np.int64)}
        return found | {name: value for name, value in fixed.items() if name in found}

    def inputs(self, graph: gx.Graph) -> dict[str, Array]:
        """Integers are labels, floats lie in (-1, 1)."""
        return {name: self._values(name, leaf, -1) for name, leaf in graph.inputs.items()}

    def _values(self, name: str, leaf: Node, low: float) -> Array:
        random = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        shape = leaf.type.concrete(self.sizes)
        if leaf.dtype.kind in "iu":
            return random.integers(0, CLASSES, shape).astype(leaf.dtype)
        return np.asarray(random.uniform(low, 1, shape), leaf.dtype)

    def text(self) -> str:
        """What a person needs to see the failure again."""
        steps = ", ".join(map(repr, self.steps))
        return f"{self.graph}\n.apply({steps})\nat {self.sizes}, values of seed {self.seed}"


@dataclass(frozen=True)
class Failure:
    """Which pass failed and how, and what is to be read about it."""

    name: str
    kind: str
    detail: str


Fails: TypeAlias = Callable[[Case], Failure | None]


def shrink(case: Case, fails: Fails) -> Case:
    """The smallest case that greedy steps find with the failure of ``case``."""
    first = fails(case)
    assert first is not None
    tries = 0
    while True:
        for candidate in _smaller(case):
            tries += 1
            found = fails(candidate)
            if found is not None and (found.name, found.kind) == (first.name, first.kind):
                case = candidate
                break
        else:
            return case
        if tries > MOST_TRIES:
            return case


def _smaller(case: Case) -> Iterator[Case]:
    """Cases with one thing less, those that lose most first."""
    for i in range(len(case.steps)):
        yield replace(case, steps=(*case.steps[:i], *case.steps[i + 1 :]))
    yield from (replace(case, graph=graph) for graph in _graphs(case.graph, case.sizes))


def _graphs(graph: gx.Graph, sizes: Sizes) -> Iterator[gx.Graph]:
    outputs, updates = graph.outputs, graph.leaf_updates
    for name in outputs:
        if len(outputs) > 1:
            yield graph.rebuild({n: node for n, node in outputs.items() if n != name})
    for leaf in updates:
        kept = {n: node for n, node in updates.items() if n is not leaf}
        smaller = graph.rebuild(outputs, kept)
        if len(smaller.nodes) < len(graph.nodes):  # a step that is read is counted up again
            yield smaller
    inner = [node for node in graph.nodes if not isinstance(node.op, Leaf) and node.inputs]
    for name in outputs:
        for node in inner:
            yield from _built(graph, _fetching, name, node)
            if node.ndim and node.dtype.kind == "f":
                yield from _built(graph, _fetching, name, gx.mean(node))
    for number, node in enumerate(reversed(inner)):
        for source in dict.fromkeys(node.inputs):
            if source.type == node.type:
                yield from _built(graph, _instead, node, source)
        if node.dtype.kind == "f":
            for shape in dict.fromkeys((node.shape, node.type.concrete(sizes))):
                cut = gx.input(f"cut_{len(graph.nodes)}_{number}", shape, dtype=node.dtype)
                yield from _built(graph, _instead, node, cut)


def _fetching(graph: gx.Graph, name: str, node: Node) -> gx.Graph:
    """``graph`` with ``node`` for the output ``name``."""
    return graph.rebuild({**graph.outputs, name: node})


def _instead(graph: gx.Graph, node: Node, other: Node) -> gx.Graph:
    """``graph`` with ``other`` in the place of ``node``."""

    def put(old: Node, inputs: tuple[Node, ...]) -> Node | None:
        if old is not node:
            return None
        return inputs[node.inputs.index(other)] if other in node.inputs else other

    return graph.rewrite(put)


def _built(graph: gx.Graph, make: Callable[..., gx.Graph], *args: Any) -> Iterator[gx.Graph]:
    """``make(graph, …)``, where that is a graph and smaller."""
    try:
        made = make(graph, *args)
    except gx.GraphError:  # a size that no input tells any more, a guard that is wrong now
        return
    if len(made.nodes) < len(graph.nodes):
        yield made
