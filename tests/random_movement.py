"""Ways to draw one more value that move elements, or share, keep and draw what others made."""

from __future__ import annotations

from typing import Any

import graphc as gx
from tests import random_values  # noqa: F401 - its ways come first: seeds count on the order
from tests.random_draw import (
    Draw,
    Value,
    around,
    integers,
    maker,
)

# -- movement -------------------------------------------------------------------------------------


@maker(2)
def _reshape(draw: Draw) -> Value | None:
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
def _transpose(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 1)
    if value is None:
        return None
    order = list(range(value.node.ndim))
    draw.random.shuffle(order)
    return Value(gx.transpose(value.node, order), value.low, value.high)


@maker(2)
def _concat(draw: Draw) -> Value | None:
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
def _slice(draw: Draw) -> Value | None:
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
def _pad(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    fill = draw.random.choice([0.0, 0.0, 0.5])
    pairs = [tuple(draw.several(2, 0, 2)) for _ in range(value.node.ndim)]
    return Value(gx.pad(value.node, pairs, value=fill), *around(value.low, value.high, fill))


@maker(1)
def _flip(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim > 0)
    if value is None:
        return None
    axes = draw.random.sample(range(value.node.ndim), draw.random.randint(1, value.node.ndim))
    return Value(gx.flip(value.node, tuple(axes)), value.low, value.high)


@maker(1)
def _broadcast_to(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: v.node.ndim < 4)
    assert value is not None
    shape = [2 if size == 1 else size for size in value.node.shape]
    return Value(gx.broadcast_to(value.node, (3, *shape)), value.low, value.high)


# -- sharing, state, random -----------------------------------------------------------------------


@maker(1)
def _grad_sum(draw: Draw) -> Value | None:
    first = draw.pick(lambda v: True)
    assert first is not None
    second = draw.pick(lambda v: v.node.shape == first.node.shape)
    assert second is not None
    terms = [first, second, first][: draw.random.randint(2, 3)]
    low, high = sum(v.low for v in terms), sum(v.high for v in terms)
    return Value(gx.grad_sum(*(v.node for v in terms)), low, high)


@maker(1)
def _again(draw: Draw) -> Value | None:
    value, after = draw.pick(lambda v: True), draw.pick(lambda v: True)
    assert value is not None
    assert after is not None
    return Value(gx.tanh(gx.again(value.node, after.node)), -1, 1)


@maker(2)
def _track(draw: Draw) -> Value | None:
    value = draw.pick(lambda v: integers(v.node.shape))
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
def _random(draw: Draw) -> Value | None:
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
    return Value(node, *around(value.low / retain, value.high / retain, 0))
