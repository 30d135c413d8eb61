"""What one unit of a sliding-window op reads: the taps, the numbers under them, their factors.

The plane that a window slides over is drawn as one grid: the input with its padding, and for a
transposed convolution with the gaps that its stride leaves between the pixels (Dumoulin and Visin,
A guide to convolution arithmetic, 2016). Everything comes from the op's own sweep and from the
values of ``gx.interpret``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc.compiler.initial import initial_variables, numbers_of
from graphc.compiler.interpret import interpret
from graphc.ir import dims
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest
from graphc.ir.node import Node, describe
from graphc.ops.conv import Convolution
from graphc.ops.padding import Sweep
from graphc.ops.pool import Pooling

from .chain import check_sizes

Array = np.ndarray[Any, np.dtype[Any]]
Kind = Literal["sum", "mean", "max"]

WINDOWED = (
    "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "max_pool2d", "max_pool2d_scatter",
    "avg_pool2d", "avg_pool2d_input_grad",
)  # fmt: skip
_MOST_INPUT, _MOST_PARAMETER = 4, 3  # numbers made for a figure are whole and below these,
_MOST_MADE = 10**7  # numbers of one input
_NAMED = 4  # so many are named in a caption
_MOST_POOLED = 10  # and below this where they are compared


@dataclass(frozen=True)
class Track:
    """One axis of the plane: ``length`` places, of which the input takes ``size``, ``up`` apart.

    Unit o has tap t at place ``o·stride + t·dilation``; the input's first pixel is at ``before``.
    ``flipped``: tap t belongs to number ``taps - 1 - t`` of the filter.
    """

    units: int
    taps: int
    stride: int
    dilation: int
    before: int
    length: int
    size: int
    up: int = 1
    flipped: bool = False

    def places(self, unit: int) -> list[int]:
        """Where the taps of a unit stand."""
        return [unit * self.stride + tap * self.dilation for tap in range(self.taps)]

    def pixel(self, place: int) -> int | None:
        """The input's pixel at a place, None on padding and in a gap."""
        index, rest = divmod(place - self.before, self.up)
        return index if rest == 0 and 0 <= index < self.size else None

    @staticmethod
    def forwards(sweep: Sweep) -> Track:
        """A window that slides over its input."""
        before, _ = sweep.sides
        return Track(
            sweep.count, sweep.kernel, sweep.stride, sweep.dilation, before, sweep.length,
            dims.evaluate(sweep.size, {}),
        )  # fmt: skip

    @staticmethod
    def backwards(sweep: Sweep) -> Track:
        """What goes the other way: each pixel reads the positions whose window held it."""
        pixels = dims.evaluate(sweep.size, {})
        before = sweep.span - 1 - sweep.sides[0]
        return Track(
            pixels, sweep.kernel, 1, sweep.dilation, before, pixels + sweep.span - 1, sweep.count,
            sweep.stride, flipped=True,
        )  # fmt: skip

    @staticmethod
    def weights(sweep: Sweep) -> Track:
        """The gradient of a filter: its taps are the units, the positions are the taps."""
        before, _ = sweep.sides
        return Track(
            sweep.kernel, sweep.count, sweep.dilation, sweep.stride, before, sweep.length,
            dims.evaluate(sweep.size, {}),
        )  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One channel that a unit reads: the map under the window, and the factors of its taps."""

    name: str
    map: Array
    factors: Array | None


@dataclass(frozen=True)
class Reading:
    """One channel of a node's result, and all that its units read."""

    node: Node
    kind: Kind
    rows: Track
    columns: Track
    layers: tuple[Layer, ...]
    result: Array
    """The channel's values, (rows, columns), as ``gx.interpret`` gives them."""
    bias: float | None
    fill: float | None
    """What a tap on the padding reads; None: it is left out."""
    made: tuple[str, ...]
    """The inputs and parameters whose numbers were made, not given."""
    whole: tuple[int, ...]
    """The shape of the node's value, batch and channels included."""
    route: Mapping[str, Array]
    """For max pooling: the winner of each window, for pooling: its counts."""

    def made_words(self, seed: int) -> tuple[str, dict[str, Any]]:
        """What a caption says about the numbers that were made, and its values."""
        if not self.made:
            return "", {}
        if len(self.made) <= _NAMED:
            return (
                "; whole numbers from seed {seed} for {made}",
                {"seed": seed, "made": list(self.made)},
            )
        return (
            "; whole numbers from seed {seed} for {made} inputs and parameters",
            {"seed": seed, "made": len(self.made)},
        )

    def factors(self, layer: Layer, y: int, x: int) -> Array | None:
        """The factor of each tap of unit (y, x), as the window lies on the plane."""
        if self.node.op.name == "max_pool2d_scatter":
            return self._won(y, x)
        if self.node.op.name == "avg_pool2d_input_grad":
            return self._shares(y, x)
        if layer.factors is None:
            return None
        return layer.factors[::-1, ::-1] if self.rows.flipped else layer.factors

    def window(self, layer: Layer, y: int, x: int) -> Array:
        """The numbers under the taps of unit (y, x); NaN where a tap reads nothing."""
        out = np.full((self.rows.taps, self.columns.taps), np.nan)
        for (i, place_y), (j, place_x) in _pairs(self.rows.places(y), self.columns.places(x)):
            pixel = self.rows.pixel(place_y), self.columns.pixel(place_x)
            if pixel[0] is None or pixel[1] is None:
                out[i, j] = np.nan if self.fill is None else self.fill
            else:
                out[i, j] = layer.map[pixel]
        return out

    def winner(self, y: int, x: int) -> tuple[int, int]:
        """The tap (row, column) at which a max pooling's unit found its maximum."""
        row, column = divmod(int(self.route["winner"][y, x]), self.columns.taps)
        return row, column

    def _won(self, y: int, x: int) -> Array:
        """1 where the window that a tap stands on has its maximum at pixel (y, x)."""
        won = np.zeros((self.rows.taps, self.columns.taps))
        for (i, place_y), (j, place_x) in _pairs(self.rows.places(y), self.columns.places(x)):
            at = self.rows.pixel(place_y), self.columns.pixel(place_x)
            if at[0] is not None and at[1] is not None:
                tap = (self.rows.taps - 1 - i) * self.columns.taps + self.columns.taps - 1 - j
                won[i, j] = self.route["winner"][at] == tap
        return won

    def _shares(self, y: int, x: int) -> Array:
        shares = np.zeros((self.rows.taps, self.columns.taps))
        for (i, place_y), (j, place_x) in _pairs(self.rows.places(y), self.columns.places(x)):
            at = self.rows.pixel(place_y), self.columns.pixel(place_x)
            if at[0] is not None and at[1] is not None:
                shares[i, j] = 1 / self.route["count"][at]
        return shares


def _pairs(rows: list[int], columns: list[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return [(row, column) for row in enumerate(rows) for column in enumerate(columns)]


# -- values -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """A node's value and its operands', by ``gx.interpret``."""

    graph: Graph
    operands: tuple[Array, ...]
    result: Array
    made: tuple[str, ...]
    sizes: dict[str, int]


def check_op(node: Node, names: Sequence[str], called: str) -> None:
    """Raise GraphError unless ``node`` is made by one of the ops ``names``."""
    if not isinstance(node, Node):
        raise GraphError(f"{called} takes a node of a graph, not {node!r}")
    if node.op.name not in names:
        wanted = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
        raise GraphError(
            f"{called} draws {wanted}, but this is {describe(node)}\n"
            "  to fix: choose such a node of the graph: graph.node(name)",
            nodes=[node],
        )


def values_of(
    node: Node,
    variables: Mapping[str, Any] | None,
    inputs: Mapping[str, Any] | None,
    size: Mapping[str, int] | None,
    seed: int,
    called: str,
) -> Values:
    """The value of ``node`` and of what it reads.

    What is not given is made: small whole numbers from ``seed`` for inputs and parameters, states
    as they begin. Raises GraphError: a size without a number, arrays that do not fit.
    """
    operands = {f"operand{i}": source for i, source in enumerate(node.inputs)}
    graph = Graph({"result": node, **operands})
    sizes = dict(size or {})
    known = dims.names(extent for leaf in graph.inputs.values() for extent in leaf.shape)
    for name in sizes:
        if name not in known:
            raise GraphError(f"{called}: no dimension is called {name!r}{suggest(name, known)}")
    check_sizes(sizes, called)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise GraphError(f"{called}: seed={seed!r} is not an int of 0 or more, below 2⁶⁴")
    given, made = dict(inputs or {}), []
    for name, leaf in graph.inputs.items():
        if name in given:
            continue
        batch = dims.names(leaf.shape[:1])
        missing = sorted(dims.names(leaf.shape) - batch - sizes.keys())
        if missing:
            raise GraphError(
                f"{called}: the dimension {missing[0]} has no value\n"
                f"  to fix: give size={{{missing[0]!r}: 5}}, or inputs={{{name!r}: an array}}"
            )
        shape = leaf.type.concrete({**dict.fromkeys(batch, 1), **sizes})
        if math.prod(shape) > _MOST_MADE:
            raise GraphError(
                f"{called}: an input {name} of {' × '.join(map(str, shape))} numbers is more than "
                f"a figure makes up ({_MOST_MADE:,})\n  to fix: give smaller sizes, or inputs=…"
            )
        most = _MOST_POOLED if isinstance(node.op, Pooling) else _MOST_INPUT
        given[name] = _whole_numbers(name, seed, most, shape).astype(leaf.dtype)
        made.append(name)
    held = dict(variables or {})
    if missing_names := [n for n in (*graph.parameters, *graph.states) if n not in held]:
        initial = initial_variables(graph, seed)
        for name in missing_names:
            held[name] = initial[name]
            if name in graph.parameters:
                whole = _whole_numbers(name, seed, _MOST_PARAMETER, initial[name].shape)
                held[name] = whole.astype(initial[name].dtype)
                made.append(name)
    needed = {n: held[n] for n in (*graph.parameters, *graph.states)}
    arrays = {n: given[n] for n in graph.inputs}
    outputs = interpret(graph, needed, inputs=arrays)
    bound = {
        name: int(extent)
        for n, leaf in graph.inputs.items()
        for name, extent in _bound(leaf, np.shape(arrays[n]))
    }
    found = tuple(outputs[f"operand{i}"] for i in range(len(node.inputs)))
    return Values(graph, found, outputs["result"], tuple(made), bound)


def _whole_numbers(name: str, seed: int, most: int, shape: tuple[int, ...]) -> Array:
    """From 0 to below ``most``; they depend on the seed and the name alone."""
    return np.asarray(numbers_of(f"figure/{name}", seed).integers(0, most, shape))


def _bound(leaf: Node, shape: tuple[int, ...]) -> list[tuple[str, int]]:
    return [
        (str(extent), n)
        for extent, n in zip(leaf.shape, shape, strict=True)
        if not isinstance(extent, int)
    ]


def reading(
    node: Node,
    variables: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    size: Mapping[str, int] | None = None,
    image: int = 0,
    channel: int = 0,
    seed: int = 0,
    called: str = "viz.frames",
) -> Reading:
    """One channel of one image of ``node``: its values and what its units read.

    Of a filter's gradient, ``image`` is the filter and ``channel`` its channel. Raises GraphError:
    no window, an image or channel that is not there, and what ``values_of`` raises.
    """
    check_op(node, WINDOWED, called)
    values = values_of(node, variables, inputs, size, seed, called)
    for what, number, count in (
        ("image", image, values.result.shape[0]),
        ("channel", channel, values.result.shape[1]),
    ):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
            raise GraphError(
                f"{called}: there is no {what} {number!r} of {count} in {describe(node)}"
            )
    if isinstance(node.op, Convolution):
        return _convolution(node, node.op, values, image, channel)
    assert isinstance(node.op, Pooling)
    return _pooling(node, node.op, values, image, channel)


def _convolution(node: Node, op: Convolution, values: Values, image: int, channel: int) -> Reading:
    operands = [np.asarray(a, np.float64) for a in values.operands]
    bias = None
    if op.name == "conv2d":
        x, weight = operands[:2]
        rows, columns = op.numbers(x.shape[2:], weight.shape[2:], values.sizes)
        first = channel // (len(weight) // op.groups) * weight.shape[1]
        layers = [
            Layer(f"channel {first + c}", x[image, first + c], weight[channel, c])
            for c in range(weight.shape[1])
        ]
        tracks = Track.forwards(rows), Track.forwards(columns)
        bias = float(operands[2][channel]) if len(operands) == 3 else None
    elif op.name == "conv2d_input_grad":
        g, weight = operands
        rows, columns = op.numbers(values.result.shape[2:], weight.shape[2:], values.sizes)
        group, own = divmod(channel, weight.shape[1])
        filters = len(weight) // op.groups
        layers = [
            Layer(f"channel {o}", g[image, o], weight[o, own])
            for o in range(group * filters, (group + 1) * filters)
        ]
        tracks = Track.backwards(rows), Track.backwards(columns)
    else:
        x, g = operands
        rows, columns = op.numbers(x.shape[2:], values.result.shape[2:], values.sizes)
        first = image // (g.shape[1] // op.groups) * values.result.shape[1]
        layers = [Layer(f"image {n}", x[n, first + channel], g[n, image]) for n in range(len(x))]
        tracks = Track.weights(rows), Track.weights(columns)
    result = values.result[image, channel]
    return Reading(
        node, "sum", *tracks, tuple(layers), result, bias, 0.0, values.made,
        values.result.shape, {},
    )  # fmt: skip


def _pooling(node: Node, op: Pooling, values: Values, image: int, channel: int) -> Reading:
    operands = [np.asarray(a) for a in values.operands]
    op_any: Any = op
    backwards = op.name in ("max_pool2d_scatter", "avg_pool2d_input_grad")
    plane = values.result.shape[2:] if backwards else operands[0].shape[2:]
    rows, columns = op.numbers(plane, values.sizes)
    one = np.s_[image : image + 1, channel : channel + 1]
    if op.name.startswith("max"):
        route = {"winner": op_any.winners(operands[-1][one], values.sizes)[0, 0]}
    else:
        counts = op_any.counts(rows, columns, np.dtype(np.float64))
        route = {"count": np.broadcast_to(counts, (rows.count, columns.count))}
    turn = Track.backwards if backwards else Track.forwards
    kinds: dict[str, Kind] = {"max_pool2d": "max", "avg_pool2d": "mean"}
    # The padding's zeros count in an average, unless it is "same".
    padded = {"max_pool2d": None, "avg_pool2d": None if op.padding == "same" else 0.0}
    map_ = np.asarray(operands[0], np.float64)[image, channel]
    return Reading(
        node, kinds.get(op.name, "sum"), turn(rows), turn(columns),
        (Layer(f"channel {channel}", map_, None),), values.result[image, channel], None,
        padded.get(op.name, 0.0), values.made,
        values.result.shape, route,
    )  # fmt: skip
