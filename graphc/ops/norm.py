"""Normalization: by given statistics, over axes of one example, over neighbouring channels.

``batch_norm`` is pure: where its mean and variance come from (the batch, or running statistics) is
said by the graph. ``layer_norm`` and ``group_norm`` are compositions of other ops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from graphc.ir.check import Check
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.facts import user_line
from graphc.ir.kernel import Acc, Axis, Const, Lowering, Phase, Store, apply, index
from graphc.ir.node import Node, describe, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, shape_of
from graphc.ir.window import POINTWISE, AxisWindow, Followed, Receptive, Windowed
from graphc.ops.counting import elements, per_element, traffic
from graphc.ops.elementwise import sqrt, square
from graphc.ops.pointwise import operands
from graphc.ops.pool import avg_pool2d, avg_pool2d_input_grad
from graphc.ops.reduce import mean as mean_
from graphc.ops.reduce import sum as sum_
from graphc.ops.reduce import wide
from graphc.ops.shape import reshape

__all__ = ["batch_norm", "group_norm", "layer_norm", "local_response_norm"]


def per_channel(values: Node, x: Node) -> Node:
    """One number a channel, (C,), shaped to broadcast against x, (N, C, …); a scalar as it is."""
    return values if values.ndim == 0 else reshape(values, (*values.shape, *[1] * (x.ndim - 2)))


# -- by given statistics ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """Each channel shifted and scaled, by numbers that are all given."""

    name: ClassVar[str] = "batch_norm"
    operands: ClassVar[tuple[str, ...]] = ("x", "scale", "shift", "mean", "variance")
    law: ClassVar[str] = "y = scale · (x - mean) / √(variance + eps) + shift, by channel"
    eps: float = 1e-5

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(5)
        x = inputs[0]
        dtype = check.floating(*inputs)
        check.require(x.ndim >= 2, f"x has {x.ndim} axes, not batch, channels, …")
        check.require(
            math.isfinite(self.eps) and self.eps >= 0,
            f"eps={self.eps} is not a small number, 0 or more",
            error=GraphError,
        )
        channels = x.shape[1]
        for name, values in zip(self.operands[1:], inputs[1:], strict=True):
            check.require(
                values.ndim <= 1,
                f"{name} has {values.ndim} axes: it is one number for each channel, or a scalar",
            )
            if values.ndim == 1:
                what = f"x has {channels} channels, {name} is for {values.shape[0]}"
                channels = check.equal(channels, values.shape[0], what)
        return TensorType((x.shape[0], channels, *x.shape[2:]), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x, *rest = map(wide, inputs)
        scale, shift, mean, variance = (
            values.reshape(values.shape + (1,) * (x.ndim - 2) * values.ndim) for values in rest
        )
        deviation = np.sqrt(variance + x.dtype.type(self.eps))
        return np.asarray(scale * ((x - mean) / deviation) + shift).astype(inputs[0].dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        x, scale, _, mean, variance = node.inputs
        axes = (0, *range(2, x.ndim))
        inverse = 1 / sqrt(variance + self.eps)
        factor = scale * inverse
        # All that is of x's size: three products; the five gradients share two sums.
        total = sum_(gradient, axes)
        moment = sum_(gradient * (x - per_channel(mean, x)), axes) * inverse
        return [
            gradient * per_channel(factor, x),
            moment,
            total,
            -(factor * total),
            factor * inverse * moment * -0.5,
        ]

    def lower(self, low: Lowering, node: Node) -> None:
        axes = low.axes(node.shape)
        x, scale, shift, mean, variance = (
            low.load(values, axes if position == 0 else axes[1 : 1 + values.ndim])
            for position, values in enumerate(node.inputs)
        )
        deviation = apply("sqrt", apply("add", variance, Const(self.eps, node.dtype)))
        factor = apply("div", scale, deviation)
        normal = apply("mul", apply("sub", x, mean), factor)
        low.map(axes, low.out, axes, apply("add", normal, shift))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [POINTWISE, *(Followed((1,)[: each.ndim]) for each in node.inputs[1:])]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        # Three operations an element; the factor takes three a channel.
        channels = node.type.concrete(sizes)[1]
        return Cost(3 * (elements(node, sizes) + channels), traffic(node, sizes))


def batch_norm(
    x: Node, scale: Any, shift: Any, mean: Any, variance: Any, eps: float = 1e-5
) -> Node:
    """scale · (x - mean) / √(variance + eps) + shift, each channel by its own numbers.

    x: (N, C, …); scale, shift, mean, variance: (C,) each, or a scalar for all channels; eps: 0 or
    more. Result: x's shape. Pure: it has no mode and no state. ``nn.BatchNorm2d`` feeds it with
    the batch's statistics, and ``passes.inference`` with the running ones. Gradients reach all
    five operands.

    Raises ShapeError where a vector does not fit the channels, DTypeError for other dtypes.
    Source: Ioffe and Szegedy 2015, algorithm 1.

    >>> import graphc as gx
    >>> x, v = gx.input("x", ("N", 2)), gx.input("v", (2,))
    >>> graph = gx.Graph({"y": gx.batch_norm(x, 10, 1, 0, v, eps=0.0)})
    >>> gx.interpret(graph, {}, x=[[1, 2], [3, 4]], v=[1, 4])["y"].tolist()
    [[11.0, 11.0], [31.0, 21.0]]
    """
    given = operands(x, scale, shift, mean, variance)
    return make(BatchNorm(float(eps)), *given)


# -- by an example's own statistics ----------------------------------------------------------------


def layer_norm(
    x: Node,
    normalized_shape: Any,
    weight: Node | None = None,
    bias: Node | None = None,
    eps: float = 1e-5,
) -> Node:
    """Each example normalized over its last axes to mean 0 and variance 1, then scaled and shifted.

    x: (…, *normalized_shape); normalized_shape: an int or a tuple; weight, bias: of that shape.
    Result: x's shape. Raises ShapeError where x does not end in that shape.
    Source: Ba, Kiros and Hinton 2016.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.layer_norm(gx.input("x", ("N", 2)), 2, eps=0.0)})
    >>> gx.interpret(graph, {}, x=[[1, 3], [10, 10.5]])["y"].tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    shape = shape_of(normalized_shape, what="layer_norm: normalized_shape")
    count = len(shape)
    if count == 0 or x.shape[-count:] != shape:
        _refuse("layer_norm", f"x does not end in the axes {_text(shape)}", x)
    for name, values in (("weight", weight), ("bias", bias)):
        if values is not None and values.shape != shape:
            _refuse("layer_norm", f"{name} is {_text(values.shape)}, not {_text(shape)}", x, values)
    y = _standardized(x, tuple(range(x.ndim - count, x.ndim)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def group_norm(
    x: Node,
    num_groups: int,
    weight: Node | None = None,
    bias: Node | None = None,
    eps: float = 1e-5,
) -> Node:
    """Each group of channels of an example normalized to mean 0, variance 1; scaled by channel.

    x: (N, C, …), C an int that ``num_groups`` divides; weight, bias: (C,). Result: x's shape.
    Raises ShapeError where the groups do not divide the channels or a vector does not fit.
    Source: Wu and He 2018.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.group_norm(gx.input("x", ("N", 4)), 2, eps=0.0)})
    >>> gx.interpret(graph, {}, x=[[1, 3, 10, 10.5]])["y"].tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    if x.ndim < 2:
        _refuse("group_norm", f"x has {x.ndim} axes, not batch, channels, …", x)
    batch, channels, *rest = x.shape
    groups = num_groups if isinstance(num_groups, int) else 0
    if not isinstance(channels, int) or groups < 1 or channels % groups:
        _refuse("group_norm", f"num_groups={num_groups!r} does not divide {channels} channels", x)
    for name, values in (("weight", weight), ("bias", bias)):
        if values is not None and values.shape != (channels,):
            what = f"{name} is {_text(values.shape)}, and there are {channels} channels"
            _refuse("group_norm", what, x, values)
    grouped = reshape(x, (batch, groups, channels // groups, *rest))
    y = reshape(_standardized(grouped, tuple(range(2, grouped.ndim)), eps), x.shape)
    y = y if weight is None else y * per_channel(weight, x)
    return y if bias is None else y + per_channel(bias, x)


def _standardized(x: Node, axes: tuple[int, ...], eps: float) -> Node:
    """(x - mean) / √(variance + eps) over ``axes``; the variance divides by the count."""
    centred = x - mean_(x, axes, keepdims=True)
    return centred / sqrt(mean_(square(centred), axes, keepdims=True) + float(eps))


# -- over neighbouring channels --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LocalResponseNorm(Op):
    """Each element divided by a power of the mean square over the channels around it."""

    name: ClassVar[str] = "local_response_norm"
    operands: ClassVar[tuple[str, ...]] = ("x",)
    law: ClassVar[str] = "y[n,c] = x[n,c] / (k + alpha/size · Σ_t x[n,c+t-size//2]²) ^ beta"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check.require(x.ndim >= 3, f"x has {x.ndim} axes, not batch, channels, positions, …")
        check.at_least(self.size, 1, "the number of channels in a window")
        for name in ("alpha", "beta", "k"):
            value = getattr(self, name)
            finite = math.isfinite(value)
            check.require(finite, f"{name}={value} is not a finite number", error=GraphError)
        return TensorType(x.shape, check.floating(x))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x = wide(inputs[0])
        around = [(0, 0)] * x.ndim
        around[1] = self.before, self.size - 1 - self.before
        padded = np.pad(np.square(x), around)
        channels = x.shape[1]
        squares = sum(padded[:, tap : tap + channels] for tap in range(self.size))
        kind = x.dtype.type
        base = kind(self.k) + kind(self.alpha) * squares / kind(self.size)
        return np.asarray(x / np.power(base, kind(self.beta))).astype(inputs[0].dtype)

    @property
    def before(self) -> int:
        """How many of a window's channels stand before its own."""
        return self.size // 2

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        base = self.k + self.alpha * self.average(square(x))
        direct = gradient / base**self.beta
        # What x[c] adds to the divisors of the channels around it.
        pull = self.spread(direct * x / base)
        return [direct - 2 * self.alpha * self.beta * (x * pull)]

    # The mean over a window of channels is an average pooling, with the channels as rows.

    def average(self, x: Node) -> Node:
        """The mean over the window of each channel; channels that are not there count as 0."""
        return reshape(avg_pool2d(_channel_rows(x), (self.size, 1), 1, self.padding), x.shape)

    def spread(self, x: Node) -> Node:
        """The transpose of ``average``."""
        rows = _channel_rows(x)
        swept = ((self.size, 1), 1, self.padding)
        return reshape(avg_pool2d_input_grad(rows, rows.shape[2:], *swept), x.shape)

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What pooling needs to keep the number of channels."""
        return (self.before, self.size - 1 - self.before), (0, 0)

    def lower(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        axes, tap = low.axes(x.shape), Axis("t", self.size)
        channel = axes[1] + tap - self.before
        fill = 0.0 if self.size > 1 else None
        near = low.load(x, [axes[0], channel, *axes[2:]], fill)
        squares = Acc("sum", apply("mul", near, near), x.dtype)
        share = Const(self.alpha / self.size, x.dtype)
        base = apply("add", Const(self.k, x.dtype), apply("mul", share, squares))
        power = apply("pow", base, Const(self.beta, x.dtype))
        y = apply("div", low.load(x, axes), power)
        store = Store(low.out, tuple(map(index, axes)), y)
        low.kernel(axes, [Phase((tap,), (squares,)), Phase(stores=(store,))])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Windowed(((1 - node.ndim, AxisWindow(self.size, pad=self.before)),))]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        # A square and an addition for each tap; scale, add, power (10), divide.
        return per_element(node, sizes, 2 * self.size + 13)


def _channel_rows(x: Node) -> Node:
    """(N, C, …) as an image (N, 1, C, positions)."""
    batch, channels, *positions = x.shape
    return reshape(x, (batch, 1, channels, math.prod(positions)))


def local_response_norm(
    x: Node, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Node:
    """x / (k + alpha · (mean of x² over ``size`` channels around)) ^ beta.

    x: (N, C, …), three axes or more; size: channels in a window, size//2 of them before its own;
    those that are not there count as zeros. As PyTorch: alpha is divided by ``size``, unlike in
    the paper and in TensorFlow. Result: x's shape.

    Raises ShapeError for fewer axes or a size below 1, DTypeError for integers.
    Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3.

    >>> import graphc as gx
    >>> x = gx.input("x", (1, 3, 1))
    >>> graph = gx.Graph({"y": gx.local_response_norm(x, 3, alpha=3.0, beta=1.0)})
    >>> gx.interpret(graph, {}, x=[[[1], [2], [0]]])["y"].ravel().tolist()
    [0.1666666716337204, 0.3333333432674408, 0.0]
    """
    if isinstance(size, bool) or not isinstance(size, int):
        _refuse("local_response_norm", f"size={size!r} is not an int", x, error=GraphError)
    return make(LocalResponseNorm(size, float(alpha), float(beta), float(k)), x)


# -- errors ----------------------------------------------------------------------------------------


def _text(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))})"


def _refuse(name: str, what: str, *nodes: Node, error: type[GraphError] = ShapeError) -> NoReturn:
    rows = "\n".join(f"  {describe(node)}" for node in nodes)
    lines = [*(line for node in nodes for line in node.lines), user_line()]
    message = f"{name}: {what}\n{rows}\n  called at {user_line()}"
    raise error(message, nodes=nodes, lines=lines)
