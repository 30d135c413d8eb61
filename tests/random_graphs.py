"""Random graphs, valid by construction: ``sample(seed)`` draws one over all public ops.

Made for every test that wants many graphs: printing and parsing, compilers against
``gx.interpret``, gradients against finite differences, passes, drawings. The same seed gives the
same graph in every process.

A ``Sample`` has a graph of 5 to 25 drawn ops with a symbolic batch (in a third of them symbolic
height and width too), the scalar output ``loss`` that depends on every drawn value, one to three
more outputs, shared parameters (in every second one at least), branches, tracked and freely updated
states, and for each of its ``runs`` (sizes) the arrays to call it with.

How it stays valid: every value carries bounds on its elements, found by interval arithmetic, so
that a logarithm is only taken of what is positive and nothing overflows; every size is known in
each of the runs, so that a window is only laid where it fits. No comparison is near a tie except
where both sides are exactly equal, so that two correct computations take the same branch.
"""

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


def sample(seed: int, dtype: str = "float64") -> Sample:
    """The random graph number ``seed``."""
    return _Draw(seed, dtype).run()


# -- the drawing ----------------------------------------------------------------------------------

Maker: TypeAlias = "Callable[[_Draw], Value | None]"
MAKERS: list[Maker] = []


def maker(weight: int) -> Callable[[Maker], Maker]:
    """A way to draw one more value, tried ``weight`` times as often as one of weight 1."""

    def register(function: Maker) -> Maker:
        MAKERS.extend([function] * weight)
        return function

    return register


class _Draw:
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
            if not _integers(value.node.shape) or self.random.random() < 0.4:
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
            found = self.pick(lambda v: _broadcast(v.node.shape, shape))
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


def _integers(shape: Sequence[int | gx.Dim]) -> bool:
    return all(isinstance(size, int) for size in shape)


def _broadcast(a: Sequence[int | gx.Dim], b: Sequence[int | gx.Dim]) -> bool:
    """Whether two shapes broadcast without a guard."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return all(x == y or x == 1 or y == 1 for x, y in pairs)


def _around(*bounds: float) -> tuple[float, float]:
    return min(bounds), max(bounds)


def _through(function: Callable[[float], float], v: Value) -> tuple[float, float]:
    """The bounds of an increasing function."""
    return function(v.low), function(v.high)


# -- elementwise ----------------------------------------------------------------------------------


@maker(5)
def _unary(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: True)
    assert value is not None
    x, low, high = value.node, value.low, value.high
    name = draw.random.choice(
        ["neg", "exp", "log", "sqrt", "square", "tanh", "sigmoid", "relu", "abs", "sign", "wave"]
    )
    match name:
        case "neg":
            return Value(-x, -high, -low)
        case "exp":
            return Value(gx.exp(x * 0.5), *_through(lambda t: math.exp(t / 2), value))
        case "log" | "sqrt":
            if low < 0.25:
                x, low, high = gx.abs(x) + 0.25, 0.25, value.size + 0.25
            if name == "log":
                return Value(gx.log(x), math.log(low), math.log(high))
            return Value(gx.sqrt(x), math.sqrt(low), math.sqrt(high))
        case "square":
            return Value(gx.square(x), 0, value.size**2)
        case "tanh":
            return Value(gx.tanh(x), *_through(math.tanh, value))
        case "wave":
            return Value(draw.random.choice([gx.sin, gx.cos])(x), -1, 1)
        case "sigmoid":
            return Value(gx.sigmoid(x), *_through(lambda t: 1 / (1 + math.exp(-t)), value))
        case "relu":
            return Value(gx.relu(x), max(low, 0), max(high, 0))
        case "abs":
            return Value(gx.abs(x), 0, value.size)
        case _:
            return Value(gx.sign(x) * 0.5, -0.5, 0.5)


@maker(2)
def _activation(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: True)
    assert value is not None
    x, high = value.node, max(value.high, 0)
    name = draw.random.choice(
        ["sin", "cos", "erf", "expm1", "log1p", "softplus", "elu", "gelu", "silu", "clip"]
    )
    match name:
        case "sin" | "cos" | "erf":
            return Value(getattr(gx, name)(x), -1, 1)
        case "expm1":
            return Value(gx.expm1(x * 0.5), *_through(lambda t: math.expm1(t / 2), value))
        case "log1p":
            return Value(gx.log1p(gx.abs(x)), 0, math.log1p(value.size))
        case "softplus":
            return Value(gx.softplus(x), 0, high + 1)
        case "clip":
            return Value(gx.clip(x, -0.7, 1.3), -0.7, 1.3)
        case _:
            return Value(getattr(gx, name)(x), -1, high)


@maker(7)
def _binary(draw: _Draw) -> Value | None:
    left = draw.pick(lambda v: True)
    assert left is not None
    right = draw.partner(left)
    if draw.random.random() < 0.3:
        left, right = right, left
    a, b = left.node, right.node
    name = draw.random.choice(["add", "sub", "mul", "div", "pow", "maximum", "minimum"])
    match name:
        case "add":
            return Value(a + b, left.low + right.low, left.high + right.high)
        case "sub":
            return Value(a - b, left.low - right.high, left.high - right.low)
        case "mul":
            corners = [s * t for s in (left.low, left.high) for t in (right.low, right.high)]
            return Value(a * b, *_around(*corners))
        case "div":
            return Value(a / (gx.square(b) + 0.5), *_around(left.low * 2, left.high * 2, 0))
        case "pow" if draw.random.random() < 0.5:
            exponent = draw.random.choice([2, 3, 2.0, 1.5, -1.0])
            base = gx.sigmoid(a) + 0.5  # in (0.5, 1.5)
            return Value(base**exponent, 0, 4)
        case "pow":
            return Value((gx.sigmoid(a) + 0.5) ** gx.tanh(b), 0, 2)
        case "maximum":
            return Value(gx.maximum(a, b), max(left.low, right.low), max(left.high, right.high))
        case _:
            return Value(gx.minimum(a, b), min(left.low, right.low), min(left.high, right.high))


@maker(3)
def _choice(draw: _Draw) -> Value | None:
    asked = draw.pick(lambda v: True)
    assert asked is not None
    left = draw.pick(lambda v: _broadcast(v.node.shape, asked.node.shape)) or asked
    right = draw.partner(left)
    if not _broadcast(right.node.shape, asked.node.shape):
        right = left
    border = round(draw.random.uniform(-0.5, 0.5), 3)
    compare = draw.random.choice([gx.less, gx.less_equal, gx.greater, gx.greater_equal])
    condition = compare(asked.node, border)
    match draw.random.randrange(4):
        case 0:
            condition = gx.logical_not(condition)
        case 1:
            condition = gx.logical_or(condition, gx.greater(asked.node, border + 0.3))
        case 2:
            condition = gx.logical_and(condition, gx.not_equal(asked.node, asked.node * 0.5))
    if draw.random.random() < 0.3:
        return Value(gx.cast(condition, draw.dtype) + left.node, left.low, left.high + 1)
    low, high = min(left.low, right.low), max(left.high, right.high)
    return Value(gx.where(condition, left.node, right.node), low, high)


@maker(1)
def _one_hot(draw: _Draw) -> Value | None:
    return Value(gx.one_hot(draw.labels, CLASSES, draw.dtype), 0, 1)


@maker(1)
def _size(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: not _integers(v.node.shape))
    if value is None:
        return None
    size = next(size for size in value.node.shape if not isinstance(size, int))
    return Value(value.node / gx.size(size, draw.dtype), *_around(value.low, value.high, 0))


# -- reductions, normalizations -------------------------------------------------------------------


@maker(4)
def _reduction(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    x = value.node
    axes = draw.random.sample(range(x.ndim), draw.random.randint(1, x.ndim))
    axis = draw.random.choice([None, axes[0], tuple(axes), axes[0] - x.ndim])
    keep = draw.random.random() < 0.4
    name = draw.random.choice(["sum", "mean", "max", "min"])
    if name == "sum":
        over = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else [axis]
        count = draw.most([x.shape[i] for i in over])
        return Value(gx.sum(x, axis, keep), *_around(value.low * count, value.high * count, 0))
    function = {"mean": gx.mean, "max": gx.max, "min": gx.min}[name]
    return Value(function(x, axis, keep), value.low, value.high)


@maker(2)
def _along(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    x = value.node
    axis = draw.random.randrange(x.ndim)
    if draw.random.random() < 0.5:
        # The largest, read from where it stands.
        return Value(gx.gather(x, axis, gx.argmax(x, axis, True)), value.low, value.high)
    count = draw.most([x.shape[axis]])
    return Value(gx.cumsum(x, axis), *_around(value.low * count, value.high * count, 0))


@maker(1)
def _embedding(draw: _Draw) -> Value | None:
    return Value(gx.embedding(draw.labels, draw.parameter((CLASSES, 3)).node), -1, 1)


@maker(2)
def _softmax(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    axis = draw.random.randrange(-value.node.ndim, value.node.ndim)
    if draw.random.random() < 0.5:
        return Value(gx.softmax(value.node, axis), 0, 1)
    count = draw.most([value.node.shape[axis]])
    return Value(gx.log_softmax(value.node, dim=axis), -2 * value.size - math.log(count), 0)


@maker(1)
def _cross_entropy(draw: _Draw) -> Value | None:
    value = draw.pick(
        lambda v: (
            v.node.ndim == 2
            and v.node.shape[0] == draw.labels.shape[0]
            and isinstance(v.node.shape[1], int)
            and v.node.shape[1] >= CLASSES
        )
    )
    if value is None:
        return None
    high = 2 * value.size + math.log(draw.most(value.node.shape[1:]))
    return Value(gx.cross_entropy(value.node, draw.labels), 0, high)


@maker(2)
def _normalization(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim >= 3 and isinstance(v.node.shape[1], int))
    if value is None:
        return None
    x = value.node
    channels = x.shape[1]
    assert isinstance(channels, int)
    if draw.random.random() < 0.4:
        window = draw.random.randint(1, 4)
        return Value(gx.local_response_norm(x, window, alpha=0.5), value.low, value.high)
    scale, shift, mean, spread = (draw.parameter((channels,)) for _ in range(4))
    variance = gx.sigmoid(spread.node) + 0.5
    high = 2 * (value.size + 1) + 1
    return Value(gx.batch_norm(x, scale.node, shift.node, mean.node, variance), -high, high)


# -- products -------------------------------------------------------------------------------------


@maker(3)
def _linear(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0 and isinstance(v.node.shape[-1], int))
    if value is None:
        return None
    features = value.node.shape[-1]
    assert isinstance(features, int)
    out = draw.random.choice([features, 3, CLASSES])
    weight = draw.parameter((out, features))
    bias = draw.parameter((out,)) if draw.random.random() < 0.5 else None
    high = value.size * features + 1
    node = gx.linear(value.node, weight.node, None if bias is None else bias.node)
    return Value(node, -high, high)


@maker(3)
def _matmul(draw: _Draw) -> Value | None:
    left = draw.pick(lambda v: v.node.ndim > 0)
    if left is None:
        return None
    x = left.node
    inner = x.shape[-1]
    others = [
        v for v in draw.values
        if (v.node.ndim == 1 and v.node.shape[0] == inner)
        or (
            v.node.ndim >= 2 and v.node.shape[-2] == inner
            and _broadcast(v.node.shape[:-2], x.shape[:-2])
        )
    ]  # fmt: skip
    right: Value | None
    if x.ndim >= 2 and draw.random.random() < 0.3:
        order = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
        right = Value(gx.transpose(x, order), left.low, left.high)
    elif isinstance(inner, int) and (not others or draw.random.random() < 0.5):
        shape = draw.random.choice([(inner,), (inner, 2), (1, inner, 3), (inner, inner)])
        right = draw.parameter(shape)
    else:
        right = draw.random.choice(others) if others else None
    if right is None:
        return None
    high = left.size * right.size * draw.most([inner])
    return Value(x @ right.node, -high, high)


@maker(6)
def _convolution(draw: _Draw) -> Value | None:
    value = draw.image()
    if value is None:
        return None
    x = value.node
    channels = x.shape[1]
    assert isinstance(channels, int)
    groups = draw.random.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
    filters = groups * draw.random.choice([1, 2])
    stride, dilation = (_pair(draw, [1, 1, 2, 3]), _pair(draw, [1, 1, 2]))
    padding = _padding(draw, 2)
    spans, kernel = [], []
    for axis in range(2):
        size = draw.random.choice([1, 2, 3])
        gap = dilation if isinstance(dilation, int) else dilation[axis]
        room = draw.least(x.shape[2 + axis])
        while (size - 1) * gap + 1 > room:
            size -= 1
        kernel.append(size)
        spans.append((size - 1) * gap + 1)
    if 0 in kernel:
        return None
    weight = draw.parameter((filters, channels // groups, kernel[0], kernel[1]))
    bias = draw.parameter((filters,)).node if draw.random.random() < 0.5 else None
    true = draw.random.random() < 0.3
    node = (gx.convolve2d if true else gx.conv2d)(
        x, weight.node, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    high = value.size * (channels // groups) * math.prod(kernel) + 1
    return Value(node, -high, high)


@maker(4)
def _pooling(draw: _Draw) -> Value | None:
    value = draw.image()
    if value is None:
        return None
    room = [draw.least(size) for size in value.node.shape[2:]]
    kernel = tuple(min(draw.random.choice([1, 2, 3]), most) for most in room)
    stride = draw.random.choice([None, 1, 2, (2, 1), 3])
    padding = _padding(draw, min(kernel) - 1)
    shown: Any = kernel[0] if kernel[0] == kernel[1] else kernel
    if draw.random.random() < 0.5:
        return Value(gx.max_pool2d(value.node, shown, stride, padding), value.low, value.high)
    low, high = _around(value.low, value.high, 0)
    return Value(gx.avg_pool2d(value.node, shown, stride, padding), low, high)


def _pair(draw: _Draw, choices: Sequence[int]) -> Any:
    """An int, or a pair."""
    if draw.random.random() < 0.6:
        return draw.random.choice(choices)
    return draw.random.choice(choices), draw.random.choice(choices)


def _padding(draw: _Draw, most: int) -> Any:
    """A padding in any of its forms, at most ``most`` on a side."""
    if most < 1 or draw.random.random() < 0.3:
        return draw.random.choice([0, "valid", "same"])
    sides = draw.several(4, 0, most)
    return draw.random.choice(
        [most, (sides[0], sides[1]), ((sides[0], sides[1]), (sides[2], sides[3])), "same"]
    )


# -- movement -------------------------------------------------------------------------------------


@maker(2)
def _reshape(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: 0 < v.node.ndim < 6)
    if value is None:
        return None
    x = value.node
    match draw.random.randrange(4):
        case 0:
            node = gx.flatten(x, draw.random.randrange(x.ndim))
        case 1:
            node = gx.unsqueeze(x, draw.random.randint(0, x.ndim))
        case 2:
            node = gx.squeeze(x)
        case _:
            node = gx.reshape(x, (-1,))
    return Value(node, value.low, value.high)


@maker(2)
def _transpose(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 1)
    if value is None:
        return None
    order = list(range(value.node.ndim))
    draw.random.shuffle(order)
    return Value(gx.transpose(value.node, order), value.low, value.high)


@maker(2)
def _concat(draw: _Draw) -> Value | None:
    first = draw.pick(lambda v: v.node.ndim > 0)
    if first is None:
        return None
    axis = draw.random.randrange(first.node.ndim)

    def rest(value: Value) -> Any:
        shape = value.node.shape
        return len(shape), (*shape[:axis], *shape[axis + 1 :])

    others = [v for v in draw.values if v.node.ndim > 0 and rest(v) == rest(first)]
    parts = [first, *(draw.random.choice(others) for _ in range(draw.random.randint(1, 2)))]
    low, high = min(v.low for v in parts), max(v.high for v in parts)
    return Value(gx.concat([v.node for v in parts], axis), low, high)


@maker(4)
def _slice(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    index: list[Any] = []
    for size in value.node.shape:
        room = draw.least(size)
        kind = draw.random.random()
        if kind < 0.35:
            index.append(slice(None))
        elif kind < 0.5:
            index.append(draw.random.choice([0, -1, draw.random.randrange(room)]))
        elif kind < 0.8 or room == 1:
            start = draw.random.randrange(room)
            stop = draw.random.randint(start + 1, room)
            step = draw.random.choice([None, None, 2, 3])
            index.append(slice(start, draw.random.choice([stop, None]), step))
        else:
            index.append(slice(None, None, draw.random.choice([-1, -1, -2, -3])))
    if draw.random.random() < 0.2:
        index.insert(draw.random.randint(0, len(index)), None)
    return Value(value.node[tuple(index)], value.low, value.high)


@maker(2)
def _pad(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    fill = draw.random.choice([0.0, 0.0, 0.5])
    pairs = [tuple(draw.several(2, 0, 2)) for _ in range(value.node.ndim)]
    return Value(gx.pad(value.node, pairs, value=fill), *_around(value.low, value.high, fill))


@maker(1)
def _flip(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    axes = draw.random.sample(range(value.node.ndim), draw.random.randint(1, value.node.ndim))
    return Value(gx.flip(value.node, tuple(axes)), value.low, value.high)


@maker(1)
def _broadcast_to(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim < 4)
    assert value is not None
    shape = [2 if size == 1 else size for size in value.node.shape]
    return Value(gx.broadcast_to(value.node, (3, *shape)), value.low, value.high)


# -- sharing, state, random -----------------------------------------------------------------------


@maker(1)
def _grad_sum(draw: _Draw) -> Value | None:
    first = draw.pick(lambda v: True)
    assert first is not None
    second = draw.pick(lambda v: v.node.shape == first.node.shape)
    assert second is not None
    terms = [first, second, first][: draw.random.randint(2, 3)]
    low, high = sum(v.low for v in terms), sum(v.high for v in terms)
    return Value(gx.grad_sum(*(v.node for v in terms)), low, high)


@maker(1)
def _again(draw: _Draw) -> Value | None:
    value, after = draw.pick(lambda v: True), draw.pick(lambda v: True)
    assert value is not None
    assert after is not None
    return Value(gx.tanh(gx.again(value.node, after.node)), -1, 1)


@maker(2)
def _track(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: _integers(v.node.shape))
    if value is None:
        return None
    shape = value.node.shape
    known = [state for state in draw.states if state.shape == shape]
    if known and draw.random.random() < 0.5:
        state = draw.random.choice(known)
    else:
        state = gx.state(f"running_{len(draw.states)}", shape, dtype=draw.dtype)
        draw.states.append(state)
    momentum = draw.random.choice([0.1, 0.5, 1.0])
    count: Any = draw.random.choice([None, None, 12])
    return Value(gx.track(value.node, state, momentum, count), value.low, value.high)


@maker(2)
def _random(draw: _Draw) -> Value | None:
    value = draw.pick(lambda v: True)
    assert value is not None
    draw.streams += 1
    if draw.random.random() < 0.4:
        name = f"noise_{draw.streams}"
        drawn = gx.random_uniform(value.node.shape, name=name, dtype=draw.dtype)
        return Value(drawn + value.node, value.low, value.high + 1)
    retain = draw.random.choice([0.5, 0.8])
    scaling: Any = draw.random.choice(["train", "test"])
    node = gx.dropout(value.node, retain=retain, scaling=scaling)
    return Value(node, *_around(value.low / retain, value.high / retain, 0))
