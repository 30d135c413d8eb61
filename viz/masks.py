"""Which units a step of training dropped, and between which layers they stand.

The mask is drawn again from (seed, step, stream) by the rule of the design, and compared with what
the compiled program makes of the same variables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.compiler.program import compile as compile_graph
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph, post_order
from graphc.ir.leaves import Input, stream_number
from graphc.ir.node import Node
from graphc.ir.window import POINTWISE
from graphc.ops.random import Dropout

from .reading import Array, example_of, inputs_for, needed, on_host

MOST_UNITS = 40
MOST_LISTED = 2**16
_CALLER = "viz.thinned"
# A layer of the net: a value, and the dropouts between it and what reads it.
_Key = tuple[Node, tuple[Node, ...]]


@dataclass(frozen=True)
class Layer:
    """Units of the network: a value, whose elements a dropout may have dropped."""

    name: str
    shape: tuple[int, ...]
    sites: tuple[Node, ...]
    streams: tuple[str, ...]
    kept: Array  # flat bools, in the row-major order of the value

    @property
    def retain(self) -> float:
        """The probability that a unit is kept."""
        return short(math.prod(site.op.retain for site in self.sites))  # type: ignore[attr-defined]

    @property
    def maps(self) -> bool:
        """Whether the layer is drawn as maps, not as a column of units."""
        return len(self.shape) == 3 and bool(self.sites)

    def dropped(self, units: int) -> list[int]:
        """The numbers of the dropped units; of a very large layer, of those that are drawn."""
        kept = self.kept if len(self.kept) <= MOST_LISTED else self.kept[: len(self.shown(units))]
        return [int(number) for number in np.flatnonzero(~kept)]

    def stack(self, units: int) -> int:
        """How many of the maps are drawn: one takes the room of two units."""
        return min(self.shape[0], max(units // 2, 1))

    def shown(self, units: int) -> list[int]:
        """The units that are drawn: the first ones of a layer, the first maps of a stack."""
        if self.maps:
            return list(range(self.stack(units) * math.prod(self.shape[1:])))
        return list(range(min(len(self.kept), units)))


@dataclass(frozen=True)
class Net:
    """The layers, from the input on, and which of them are fully connected."""

    layers: list[Layer]
    links: list[tuple[int, int]]  # fully-connected: every unit of one with every unit of the other
    first: int  # the first one that is drawn: of a deep net, those next to its output

    def edges(self, units: int, thinned: bool) -> list[list[int]]:
        """[layer, unit, layer, unit] of the drawn edges; thinned: those with both ends kept."""
        return [
            [a, i, b, j]
            for a, b in self.links
            if not self.layers[a].maps and min(a, b) >= self.first
            for i in self.layers[a].shown(units)
            for j in self.layers[b].shown(units)
            if not thinned or (self.layers[a].kept[i] and self.layers[b].kept[j])
        ]


# -- what the step did ------------------------------------------------------------------


def thin(
    graph: Graph,
    variables: Mapping[str, Any],
    example: int,
    step: int | None,
    units: int,
    most: int,
    backend: str | None,
    inputs: Mapping[str, Any] | None,
    named: Mapping[str, Any],
) -> tuple[Net, dict[str, Any]]:
    """The layers with what the step kept of them, and ``example``, ``seed``, ``step``, ``backend``.

    most: how many layers are drawn. Raises GraphError: see ``viz.thinned``.
    """
    if not isinstance(graph, Graph):
        raise GraphError(f"{_CALLER} takes a Graph first, not a {type(graph).__name__}")
    if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= MOST_UNITS:
        raise GraphError(f"{_CALLER}(units={units!r}): an int from 1 to {MOST_UNITS} is wanted")
    forward = post_order(n for name, n in graph.outputs.items() if not name.startswith("grad/"))
    fed = _fed(forward)  # a dropout of weights has no mask of an example
    sites = [n for n in forward if isinstance(n.op, Dropout) and n.inputs[0] in fed]
    if not sites:
        raise GraphError(
            f"{_CALLER}: no activation on the way to {', '.join(graph.outputs)} has dropout\n"
            "  to fix: graph.apply(passes.insert_dropout(retain=0.5)), or nn.Dropout(retain=0.5)"
        )
    held = {name: np.array(on_host(array)) for name, array in variables.items()}
    for name in ("random/seed", "step"):
        if name not in held:
            raise GraphError(f"{_CALLER}: variables hold no {name!r}; program.init(seed=0) does")
    if step is not None:
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise GraphError(f"{_CALLER}(step={step!r}): the number of a step, from 0")
        held["step"] = np.full_like(held["step"], step)
    seed, at = int(held["random/seed"]), int(held["step"])  # before the program counts it up
    keys, links = _layers(forward, sites)
    wanted = [node for site in sites for node in (site.inputs[0], site)] + [key[0] for key in keys]
    part = needed(graph, wanted)
    program = compile_graph(part, backend)
    out = program(held, inputs_for(part, graph, inputs, named))
    values = [np.asarray(on_host(out[f"v{number}"])) for number in range(len(wanted))]
    masks: dict[Node, Array] = {}
    for site, before, after in zip(sites, values[::2], values[1::2], strict=False):
        mask = _mask(site, graph.name(site.inputs[1]), seed, at, before.shape)
        if not np.array_equal(after != 0, mask & (before != 0)):
            raise GraphError(
                f"{_CALLER}: the compiled program does not keep what (seed, step, stream) says at "
                f"{graph.name(site)}: please report this",
                nodes=[site],
            )
        masks[site] = example_of(mask, example, _CALLER).reshape(-1)
    layers = []
    for (node, passed), value in zip(keys, values[2 * len(sites) :], strict=True):
        kept = np.ones(value[0].size, bool)
        for site in passed:
            kept = kept & masks[site]
        streams = tuple(graph.name(site.inputs[1]) for site in passed)
        layers.append(Layer(_name(graph, node), value.shape[1:], passed, streams, kept))
    return Net(layers, links, max(len(layers) - most, 0)), {
        "example": example, "seed": seed, "step": at, "backend": program.backend.name,
    }  # fmt: skip


def _mask(site: Node, stream: str, seed: int, step: int, shape: tuple[int, ...]) -> Array:
    """Which elements are retained: the rule itself, apart from what the ops are made of."""
    key = np.array([seed, stream_number(stream)], np.uint64)
    bits = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, step, 0]))
    assert isinstance(site.op, Dropout)
    kept: Array = bits.random(shape, dtype=np.float32) < np.float32(site.op.retain)
    return kept


def short(value: float) -> float:
    """A probability as it was written: 0.8, not the nearest float32."""
    return float(str(np.float32(value)))


# -- the network as layers --------------------------------------------------------------


def _layers(
    forward: Sequence[Node], sites: Sequence[Node]
) -> tuple[list[_Key], list[tuple[int, int]]]:
    """The layers in order, and which of them are fully connected: pairs of their numbers."""
    place = {node: number for number, node in enumerate(forward)}
    fed = _fed(forward)
    mixing = [node for node in forward if _mixes(node)]
    sources = {node: _units_of(node.inputs[0], fed) for node in mixing}
    found: dict[_Key, None] = dict.fromkeys(sources.values())
    seen = {site for _, passed in found for site in passed}
    for site in sites:
        if site not in seen:
            found[_units_of(site, fed)] = None
    ends = {node for node, _ in found}
    found.update({(node, ()): None for node in mixing if node not in ends})
    keys = sorted(found, key=lambda key: (place[key[0]], [place[site] for site in key[1]]))
    links = [
        (keys.index(sources[node]), number)
        for number, (node, _) in enumerate(keys)
        if node in sources
    ]
    return keys, links


def _fed(forward: Sequence[Node]) -> set[Node]:
    """What depends on an input: activations, not weights."""
    fed: set[Node] = set()
    for node in forward:
        if isinstance(node.op, Input) or any(source in fed for source in node.inputs):
            fed.add(node)
    return fed


def _mixes(node: Node) -> bool:
    """A fully-connected layer: (batch, units in) to (batch, units out)."""
    x = node.inputs[0] if node.inputs else node
    dense = node.op.name == "linear" or (
        node.op.name == "matmul" and node.inputs[1].op.name in ("parameter", "edge")
    )
    return dense and x.ndim == 2 and node.ndim == 2


def _units_of(node: Node, fed: set[Node]) -> _Key:
    """The value whose units ``node`` has, and the dropouts on the way to it: what is computed unit
    by unit (a ReLU, a reshape) has the units of what it reads."""
    ends: dict[Node, None] = {}
    passed: dict[Node, None] = {}
    stack, seen = [node], set[Node]()
    while stack:
        here = stack.pop()
        if here in seen:
            continue
        seen.add(here)
        if isinstance(here.op, Dropout):
            passed[here] = None
            stack.append(here.inputs[0])
        elif ways := _unitwise(here, fed):
            stack += ways
        else:
            ends[here] = None
    if len(ends) == 1:
        return next(iter(ends)), tuple(passed)
    # Units of several values, joined: those of the sum, or of what was dropped.
    return (node.inputs[0], (node,)) if isinstance(node.op, Dropout) else (node, ())


def _unitwise(node: Node, fed: set[Node]) -> list[Node]:
    """The activations that ``node`` reads unit by unit; none where it mixes units."""
    if node.op.name == "reshape":
        return list(node.inputs)
    return [
        source
        for source, reads in zip(node.inputs, node.op.receptive(node), strict=True)
        if source in fed and source.shape == node.shape and reads == POINTWISE
    ]


def _name(graph: Graph, node: Node) -> str:
    """The module that made it, the input's name, or what the printed IR calls it."""
    if isinstance(node.op, Input):
        return graph.name(node)
    return next(filter(None, graph.paths(node)), graph.name(node))
