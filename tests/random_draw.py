"""How random graphs are drawn: values with bounds, and what a way to draw one more can ask for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import graphc as gx

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Sizes: TypeAlias = dict[str, int]

LIMIT = 6.0  # no drawn value is larger than this in magnitude
LARGEST = 3000  # elements of a drawn value, at most
CLASSES = 4


@dataclass(frozen=True)
class Value:
    """A drawn node with bounds on its elements."""

    node: gx.Node
    low: float
    high: float

    @property
    def size(self) -> float:
        """The largest magnitude an element can have."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Sample:
    """A random graph with what it is run on."""

    seed: int
    dtype: str
    graph: gx.Graph
    runs: tuple[Sizes, ...]  # the sizes that it is valid for

    def variables(self, graph: gx.Graph | None = None) -> dict[str, Array]:
        """Values for the parameters and states of the graph (or of what a pass made of it)."""
        graph = self.graph if graph is None else graph
        rng = np.random.default_rng([self.seed, 1])
        found = {
            name: np.asarray(rng.uniform(-1, 1, leaf.type.concrete({})), leaf.dtype)
            for name, leaf in {**graph.parameters, **graph.states}.items()
        }
        fixed = {"random/seed": np.array(self.seed, np.uint64), "step": np.array(3, np.int64)}
        return found | {name: value for name, value in fixed.items() if name in found}

    def inputs(self, run: int, graph: gx.Graph | None = None) -> dict[str, Array]:
        """The inputs of the graph (or of what a pass made of it) at the sizes of ``runs[run]``."""
        graph = self.graph if graph is None else graph
        rng = np.random.default_rng([self.seed, 2, run])
        found: dict[str, Array] = {}
        for name, leaf in graph.inputs.items():
            shape = leaf.type.concrete(self.runs[run])
            if leaf.dtype.kind == "i":
                found[name] = rng.integers(0, CLASSES, shape)
            else:
                found[name] = np.asarray(rng.uniform(-1, 1, shape), leaf.dtype)
        return found


Maker: TypeAlias = "Callable[[Draw], Value | None]"
MAKERS: list[Maker] = []


def maker(weight: int) -> Callable[[Maker], Maker]:
    """A way to draw one more value, tried ``weight`` times as often as one of weight 1."""

    def register(function: Maker) -> Maker:
        MAKERS.extend([function] * weight)
        return function

    return register


class Draw:
    def __init__(self, seed: int, dtype: str) -> None:
        self.seed = seed
        self.dtype = dtype
        self.random = random.Random(seed)
        symbolic = self.random.random() < 1 / 3
        batches = self.random.sample(range(1, 6), 2)
        self.runs: tuple[Sizes, ...] = tuple(
            {"N": n, "H": h, "W": w}
            for n, h, w in zip(batches, self.several(2, 5, 8), self.several(2, 5, 8), strict=True)
        )
        channels = self.random.choice([1, 2, 4])
        plane = ("H", "W") if symbolic else tuple(self.several(2, 5, 8))
        self.labels = gx.input("label", ("N",), dtype="int64")
        self.parameters: list[Value] = []
        self.states: list[gx.Node] = []
        self.streams = 0
        self.values = [
            Value(gx.input("image", ("N", channels, *plane), dtype=dtype), -1, 1),
            Value(gx.input("x", ("N", self.random.choice([3, 5])), dtype=dtype), -1, 1),
        ]

    def several(self, count: int, low: int, high: int) -> list[int]:
        """Ints in [low, high]."""
        return [self.random.randint(low, high) for _ in range(count)]

    def run(self) -> Sample:
        drawn = self.random.randint(5, 25)
        made: list[Value] = []
        while len(made) < drawn:
            value = self.random.choice(MAKERS)(self)
            if value is None or self.most(value.node.shape) > LARGEST:
                continue
            value = self.tame(value)
            made.append(value)
            self.values.append(value)
        return self.finish(made)

    def finish(self, made: Sequence[Value]) -> Sample:
        """The loss of everything that nothing reads yet, more outputs, updates of states."""
        read = {source for value in made for source in value.node.inputs}
        loss = gx.cast(gx.mean(gx.square(self.values[0].node)), self.dtype)
        for value in made:
            if value.node not in read:
                loss = loss + gx.mean(gx.square(value.node + 0.5))
        uses = gx.Graph({"loss": loss})
        twice = any(len(uses.users(p)) > 1 for p in uses.parameters.values())
        if self.seed % 2 == 0 and not twice:
            weight = self.pick(lambda v: True, self.parameters) or self.parameter((3,))
            loss = loss + gx.mean(gx.square(weight.node)) + gx.mean(gx.sigmoid(weight.node))
        chosen = self.random.sample(made, self.random.randint(1, 3))
        outputs = {"loss": loss, **{f"out_{i}": value.node for i, value in enumerate(chosen)}}
        graph = gx.Graph(outputs)
        updates = {**graph.leaf_updates, **self.updates()}
        graph = graph.rebuild(outputs, updates)
        names = {
            size.name for leaf in graph.inputs.values() for size in leaf.shape
            if isinstance(size, gx.Dim)
        }  # fmt: skip
        runs = tuple({n: size for n, size in run.items() if n in names} for run in self.runs)
        return Sample(self.seed, self.dtype, graph, runs)

    def updates(self) -> dict[gx.Node, gx.Node]:
        """States that take values of the graph, of each other, and of their own past."""
        known: dict[tuple[Any, ...], gx.Node] = {}
        found: dict[gx.Node, gx.Node] = {}
        for value in self.random.sample(self.values, min(3, len(self.values))):
            if not integers(value.node.shape) or self.random.random() < 0.4:
                continue
            number = len(found)
            old = gx.state(f"free_{number}", value.node.shape, dtype=self.dtype)
            other = known.setdefault(value.node.shape, old)
            found[old] = self.random.choice(
                [
                    lambda old=old, v=value, other=other: old * 0.5 + v.node,
                    lambda old=old, v=value, other=other: v.node,
                    lambda old=old, v=value, other=other: gx.where(v.node > 0.25, old, other),
                    lambda old=old, v=value, other=other: other,
                    lambda old=old, v=value, other=other: gx.flip(old) - other,
                ]
            )()
        return found

    # -- choosing -----------------------------------------------------------------------------

    def pick(
        self, fits: Callable[[Value], bool], values: Sequence[Value] | None = None
    ) -> Value | None:
        """A value that fits, a recent one more often; None where there is none."""
        found = [v for v in (self.values if values is None else values) if fits(v)]
        if not found:
            return None
        recent = found[-4:]
        return self.random.choice(recent if self.random.random() < 0.6 else found)

    def image(self, least: int = 1) -> Value | None:
        """A value (N, C, H, W) with C an int and ``least`` pixels a side or more."""
        return self.pick(
            lambda v: (
                v.node.ndim == 4
                and isinstance(v.node.shape[1], int)
                and min(self.least(size) for size in v.node.shape[2:]) >= least
            )
        )

    def parameter(self, shape: tuple[int, ...]) -> Value:
        """A parameter of this shape: as often as not one that there is."""
        same = [p for p in self.parameters if p.node.shape == shape]
        if same and self.random.random() < 0.6:
            return self.random.choice(same)
        name = f"p{len(self.parameters)}"
        role = self.random.choice(["weight", "bias", "scale", "shift"])
        node = gx.parameter(name, shape, dtype=self.dtype, init="normal", role=role)
        self.parameters.append(Value(node, -1, 1))
        return self.parameters[-1]

    def partner(self, value: Value) -> Value:
        """What broadcasts against a value: another, a parameter, itself, a number."""
        shape = value.node.shape
        kind = self.random.random()
        if kind < 0.5:
            found = self.pick(lambda v: broadcast(v.node.shape, shape))
            if found is not None:
                return found
        if kind < 0.8:
            tail = shape[self.random.randint(0, len(shape)) :]
            sizes = [
                size if isinstance(size, int) and self.random.random() < 0.8 else 1 for size in tail
            ]
            return self.parameter(tuple(sizes))
        number = round(self.random.uniform(-2, 2), 3)
        return Value(gx.constant(number, self.dtype), number, number)

    # -- sizes and bounds ---------------------------------------------------------------------

    def extents(self, size: int | gx.Dim) -> list[int]:
        """What a size is in each of the runs."""
        return [size if isinstance(size, int) else size.evaluate(run) for run in self.runs]

    def least(self, size: int | gx.Dim) -> int:
        """The smallest that a size is in any run."""
        return min(self.extents(size))

    def most(self, shape: Sequence[int | gx.Dim]) -> int:
        """The most elements that a shape has in any run."""
        return math.prod(max(self.extents(size)) for size in shape)

    def tame(self, value: Value) -> Value:
        """A value within the limit: scaled, or squashed, where it may be larger."""
        if value.size <= LIMIT:
            return value
        if self.random.random() < 0.5:
            return Value(gx.tanh(value.node * (1 / value.size)), -1, 1)
        scale = 2 / value.size
        return Value(value.node * scale, value.low * scale, value.high * scale)


def integers(shape: Sequence[int | gx.Dim]) -> bool:
    return all(isinstance(size, int) for size in shape)


def broadcast(a: Sequence[int | gx.Dim], b: Sequence[int | gx.Dim]) -> bool:
    """Whether two shapes broadcast without a guard."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return all(x == y or x == 1 or y == 1 for x, y in pairs)


def around(*bounds: float) -> tuple[float, float]:
    return min(bounds), max(bounds)


def through(function: Callable[[float], float], v: Value) -> tuple[float, float]:
    """The bounds of an increasing function."""
    return function(v.low), function(v.high)
