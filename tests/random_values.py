"""Ways to draw one more value: elementwise, reductions, normalizations, products, windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import graphc as gx
from tests.random_draw import (
    CLASSES,
    Draw,
    Value,
    around,
    broadcast,
    integers,
    maker,
    through,
)

# -- elementwise ----------------------------------------------------------------------------------


@maker(5)
def _unary(draw: Draw) -> Value | None:
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
            return Value(gx.exp(x * 0.5), *through(lambda t: math.exp(t / 2), value))
        case "log" | "sqrt":
            if low < 0.25:
                x, low, high = gx.abs(x) + 0.25, 0.25, value.size + 0.25
            if name == "log":
                return Value(gx.log(x), math.log(low), math.log(high))
            return Value(gx.sqrt(x), math.sqrt(low), math.sqrt(high))
        case "square":
            return Value(gx.square(x), 0, value.size**2)
        case "tanh":
            return Value(gx.tanh(x), *through(math.tanh, value))
        case "wave":
            return Value(draw.random.choice([gx.sin, gx.cos])(x), -1, 1)
        case "sigmoid":
            return Value(gx.sigmoid(x), *through(lambda t: 1 / (1 + math.exp(-t)), value))
        case "relu":
            return Value(gx.relu(x), max(low, 0), max(high, 0))
        case "abs":
            return Value(gx.abs(x), 0, value.size)
        case _:
            return Value(gx.sign(x) * 0.5, -0.5, 0.5)


@maker(2)
def _activation(draw: Draw) -> Value | None:
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
            return Value(gx.expm1(x * 0.5), *through(lambda t: math.expm1(t / 2), value))
        case "log1p":
            return Value(gx.log1p(gx.abs(x)), 0, math.log1p(value.size))
        case "softplus":
            return Value(gx.softplus(x), 0, high + 1)
        case "clip":
            return Value(gx.clip(x, -0.7, 1.3), -0.7, 1.3)
        case _:
            return Value(getattr(gx, name)(x), -1, high)


@maker(7)
def _binary(draw: Draw) -> Value | None:
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
            return Value(a * b, *around(*corners))
        case "div":
            return Value(a / (gx.square(b) + 0.5), *around(left.low * 2, left.high * 2, 0))
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
def _choice(draw: Draw) -> Value | None:
    asked = draw.pick(lambda v: True)
    assert asked is not None
    left = draw.pick(lambda v: broadcast(v.node.shape, asked.node.shape)) or asked
    right = draw.partner(left)
    if not broadcast(right.node.shape, asked.node.shape):
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
def _one_hot(draw: Draw) -> Value | None:
    return Value(gx.one_hot(draw.labels, CLASSES, draw.dtype), 0, 1)


@maker(1)
def _size(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: not integers(v.node.shape))
    if value is None:
        return None
    size = next(size for size in value.node.shape if not isinstance(size, int))
    return Value(value.node / gx.size(size, draw.dtype), *around(value.low, value.high, 0))


# -- reductions, normalizations -------------------------------------------------------------------


@maker(4)
def _reduction(draw: Draw) -> Value | None:
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
        return Value(gx.sum(x, axis, keep), *around(value.low * count, value.high * count, 0))
    function = {"mean": gx.mean, "max": gx.max, "min": gx.min}[name]
    return Value(function(x, axis, keep), value.low, value.high)


@maker(2)
def _along(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    x = value.node
    axis = draw.random.randrange(x.ndim)
    if draw.random.random() < 0.5:
        # The largest, read from where it stands.
        return Value(gx.gather(x, axis, gx.argmax(x, axis, True)), value.low, value.high)
    count = draw.most([x.shape[axis]])
    return Value(gx.cumsum(x, axis), *around(value.low * count, value.high * count, 0))


@maker(1)
def _embedding(draw: Draw) -> Value | None:
    return Value(gx.embedding(draw.labels, draw.parameter((CLASSES, 3)).node), -1, 1)


@maker(2)
def _softmax(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    axis = draw.random.randrange(-value.node.ndim, value.node.ndim)
    if draw.random.random() < 0.5:
        return Value(gx.softmax(value.node, axis), 0, 1)
    count = draw.most([value.node.shape[axis]])
    return Value(gx.log_softmax(value.node, dim=axis), -2 * value.size - math.log(count), 0)


@maker(1)
def _cross_entropy(draw: Draw) -> Value | None:
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
def _normalization(draw: Draw) -> Value | None:
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
def _linear(draw: Draw) -> Value | None:
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
def _matmul(draw: Draw) -> Value | None:
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
            and broadcast(v.node.shape[:-2], x.shape[:-2])
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
def _convolution(draw: Draw) -> Value | None:
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
def _pooling(draw: Draw) -> Value | None:
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
    low, high = around(value.low, value.high, 0)
    return Value(gx.avg_pool2d(value.node, shown, stride, padding), low, high)


def _pair(draw: Draw, choices: Sequence[int]) -> Any:
    """An int, or a pair."""
    if draw.random.random() < 0.6:
        return draw.random.choice(choices)
    return draw.random.choice(choices), draw.random.choice(choices)


def _padding(draw: Draw, most: int) -> Any:
    """A padding in any of its forms, at most ``most`` on a side."""
    if most < 1 or draw.random.random() < 0.3:
        return draw.random.choice([0, "valid", "same"])
    sides = draw.several(4, 0, most)
    return draw.random.choice(
        [most, (sides[0], sides[1]), ((sides[0], sides[1]), (sides[2], sides[3])), "same"]
    )
