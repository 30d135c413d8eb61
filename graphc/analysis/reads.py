"""Which input elements a set of output elements reads: one op backwards, as exact as its rule.

A set is a boolean array of as many axes as the node; an axis of length 1 stands for a whole axis
whose positions are all alike (all channels of a map), so a set over a wide map stays small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from graphc.ir import Node
from graphc.ir.dims import evaluate
from graphc.ir.window import AxisWindow, Moved, Nothing, Receptive, Windowed

Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
# The values of batch statistics come from the whole batch. They are left out, as in the published
# tables: by them every unit would see everything.
STATISTICS = {"batch_norm": (3, 4)}


def edges(node: Node) -> list[tuple[int, Receptive]]:
    """The inputs that a receptive field follows, each by its rule."""
    left_out = STATISTICS.get(node.op.name, ())
    rules = node.op.receptive(node)
    return [
        (position, rule)
        for position, rule in enumerate(rules)
        if position not in left_out and not isinstance(rule, Nothing)
    ]


def back(mask: Mask, node: Node, source: Node, rule: Receptive, sizes: Mapping[str, int]) -> Mask:
    """What of ``source`` the elements ``mask`` of ``node`` read."""
    out, inside = node.type.concrete(sizes), source.type.concrete(sizes)
    if not mask.any():
        return np.zeros((1,) * len(inside), bool)
    if node.op.name == "reshape":
        return _reshaped(mask, out, inside)  # exact, where the rule is a bound
    if isinstance(rule, Moved):
        return mask.transpose(np.argsort(rule.axes))
    if isinstance(rule, Windowed) and len(out) >= len(inside[-2:]):
        return _windowed(mask, rule, out, inside, sizes)
    return np.ones((1,) * len(inside), bool)


def _reshaped(mask: Mask, out: tuple[int, ...], inside: tuple[int, ...]) -> Mask:
    if mask.size == 1:
        return np.ones((1,) * len(inside), bool)
    if out[-2:] == inside[-2:] and mask.size == math.prod(mask.shape[-2:]):
        return mask.reshape((1,) * (len(inside) - 2) + mask.shape[-2:])
    return np.broadcast_to(mask, out).reshape(inside)


def _windowed(
    mask: Mask,
    rule: Windowed,
    out: tuple[int, ...],
    inside: tuple[int, ...],
    sizes: Mapping[str, int],
) -> Mask:
    if len(inside) > len(out):
        # Leading axes were reduced: which, the rule does not say, so all of them are read.
        mask = collapse(mask, tuple(range(len(out) - 2)))
        mask = mask.reshape((1,) * (len(inside) - len(out)) + mask.shape)
        out = (0,) * (len(inside) - 2) + out[-2:]
    extra = len(out) - len(inside)
    mask = collapse(mask, tuple(range(extra))).reshape(mask.shape[max(extra, 0) :])
    listed = {len(inside) + axis: window for axis, window in rule.axes}
    for axis, (n, m) in enumerate(zip(out[extra:], inside, strict=True)):
        window = listed.get(axis)
        if window is not None:
            mask = _axis(mask, axis, window, n, m, sizes)
        elif n != m:  # broadcast
            mask = collapse(mask, (axis,))
    return mask


def collapse(mask: Mask, axes: tuple[int, ...]) -> Mask:
    """Whether anything is seen along these axes, which keep one position."""
    return np.asarray(np.any(mask, axis=axes, keepdims=True))


def _axis(
    mask: Mask, axis: int, window: AxisWindow, n: int, m: int, sizes: Mapping[str, int]
) -> Mask:
    """Along one axis: ``n`` positions of the result read windows of ``m``."""
    size, pad = evaluate(window.size, sizes), evaluate(window.pad, sizes)
    if window.stride == 0:
        mask, n = collapse(mask, (axis,)), 1
    alike = mask.shape[axis] == 1
    seen = np.ones(n, bool) if alike else np.moveaxis(mask, axis, -1)
    read = np.zeros((*seen.shape[:-1], m), bool)
    positions = np.arange(n) * window.stride
    for tap in range(size):
        at = positions + (tap * window.dilation - pad)
        inside = (at % window.up == 0) & (at >= 0) & (at < m * window.up)
        read[..., at[inside] // window.up] |= seen[..., inside]
    if not alike:
        return np.moveaxis(read, -1, axis)
    if read.all():
        return mask
    return mask & read.reshape([m if i == axis else 1 for i in range(mask.ndim)])
