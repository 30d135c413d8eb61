"""Receptive and projective fields on random graphs, against boolean propagation.

The propagation is written here, op by op from its definition, in NumPy: example p of a batch has
the one pixel p set, and a unit is set if anything that it reads is. Nothing of ``graphc.analysis``
is used by it. The values come from ``gx.interpret``: positive integer weights, so nothing cancels.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.analysis.alignment import Certificate
from graphc.ir import Node

Bits = np.ndarray[Any, np.dtype[np.bool_]]
MOST_UNITS, MOST_PIXELS = 90, 64


@dataclass(frozen=True)
class Map:
    """A node, and what reaches it: [pixel, channel, row, column]."""

    node: Node
    bits: Bits

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.bits.shape[1:]


def weights(rng: random.Random, *shape: int) -> Node:
    return gx.constant(np.random.default_rng(rng.randrange(2**31)).integers(1, 4, shape) * 1.0)


def sides(n: int, span: int, stride: int, padding: Any) -> tuple[int, int]:
    """The padding before and after an axis."""
    if padding == "same":
        total = max((-(-n // stride) - 1) * stride + span - n, 0)
        return total // 2, total - total // 2
    return padding


def gathered(bits: Bits, kernel: Any, stride: Any, dilation: Any, padding: Any) -> Bits:
    """[tap, pixel, channel, row, column]: what each tap of a window stands on."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = [sides(*each) for each in zip(bits.shape[2:], spans, stride, padding, strict=True)]
    padded = np.pad(bits, ((0, 0), (0, 0), *pads))
    out = [(n - s) // t + 1 for n, s, t in zip(padded.shape[2:], spans, stride, strict=True)]
    assert min(out) >= 1
    taps = []
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            rows = a * dilation[0] + stride[0] * np.arange(out[0])
            columns = b * dilation[1] + stride[1] * np.arange(out[1])
            taps.append(padded[:, :, rows[:, None], columns])
    return np.stack(taps)


def channels(bits: Bits, groups: int, out: int) -> Bits:
    """Each of ``out`` channels is set where any channel of its group is."""
    p, c, h, w = bits.shape
    grouped = bits.reshape(p, groups, c // groups, h, w).any(2)
    return np.repeat(grouped, out // groups, 1)


def pair(rng: random.Random, low: int, high: int) -> tuple[int, int]:
    return rng.randint(low, high), rng.randint(low, high)


def window(rng: random.Random) -> tuple[Any, Any, Any, Any, Any]:
    """Kernel, stride, dilation, and padding as graphc and as this file write it."""
    kernel, stride = pair(rng, 1, 3), pair(rng, 1, 3)
    dilation = pair(rng, 1, 3) if rng.random() < 0.3 else (1, 1)
    if rng.random() < 0.3:
        return kernel, stride, dilation, "same", ("same", "same")
    pads = tuple((rng.randint(0, k - 1), rng.randint(0, k - 1)) for k in kernel)
    return kernel, stride, dilation, pads, pads


def conv(rng: random.Random, x: Map) -> Map:
    kernel, stride, dilation, padding, pads = window(rng)
    c = x.shape[0]
    groups = rng.choice([g for g in (1, 2, 3, 4) if c % g == 0])
    out = groups * rng.randint(1, 2)
    node = gx.conv2d(
        x.node, weights(rng, out, c // groups, *kernel),
        stride=stride, dilation=dilation, padding=padding, groups=groups,
    )  # fmt: skip
    return Map(node, channels(gathered(x.bits, kernel, stride, dilation, pads).any(0), groups, out))


def transposed(rng: random.Random, x: Map) -> Map:
    kernel, stride = pair(rng, 1, 3), pair(rng, 1, 3)
    dilation = pair(rng, 1, 2)
    c = x.shape[0]
    groups = rng.choice([g for g in (1, 2) if c % g == 0])
    out = groups * rng.randint(1, 2)
    cut = tuple(rng.randint(0, (k - 1) * d) for k, d in zip(kernel, dilation, strict=True))
    extra = tuple(rng.randint(0, s - 1) for s in stride)
    node = gx.conv_transpose2d(
        x.node, weights(rng, c, out // groups, *kernel),
        stride=stride, padding=cut, output_padding=extra, groups=groups, dilation=dilation,
    )  # fmt: skip
    bits = np.zeros((len(x.bits), c, *node.shape[2:]), bool)
    for at in np.ndindex(*x.shape[1:], *kernel):
        to = [at[i] * stride[i] + at[2 + i] * dilation[i] - cut[i] for i in (0, 1)]
        if 0 <= to[0] < bits.shape[2] and 0 <= to[1] < bits.shape[3]:
            bits[:, :, to[0], to[1]] |= x.bits[:, :, at[0], at[1]]
    return Map(node, channels(bits, groups, out))


def pool(rng: random.Random, x: Map) -> Map:
    kernel, stride, _, padding, pads = window(rng)
    function = rng.choice([gx.max_pool2d, gx.avg_pool2d])
    node = function(x.node, kernel, stride, padding)
    return Map(node, gathered(x.bits, kernel, stride, (1, 1), pads).any(0))


def upsampled(rng: random.Random, x: Map) -> Map:
    rows, columns = pair(rng, 1, 2)
    bits = np.repeat(np.repeat(x.bits, rows, 2), columns, 3)
    return Map(gx.upsample(x.node, (rows, columns)), bits)


def padded(rng: random.Random, x: Map) -> Map:
    widths = ((0, 0), (0, rng.randint(0, 1)), pair(rng, 0, 2), pair(rng, 0, 2))
    return Map(gx.pad(x.node, widths, value=rng.choice([0.0, 2.0])), np.pad(x.bits, widths))


def cut(rng: random.Random, x: Map) -> Map:
    parts = [slice(None)]
    for n in x.shape:
        start = rng.randint(0, (n - 1) // 2)
        parts.append(slice(start, rng.randint(start + 1, n), rng.randint(1, 2)))
    if rng.random() < 0.3:
        parts[-1] = slice(None, None, -1)
    return Map(x.node[tuple(parts)], x.bits[tuple(parts)])


def turned(rng: random.Random, x: Map) -> Map:
    axes = rng.choice([(0, 1, 3, 2), (0, 2, 1, 3), (0, 3, 2, 1)])
    return Map(gx.transpose(x.node, axes), x.bits.transpose(axes))


def rectified(rng: random.Random, x: Map) -> Map:
    return Map(gx.relu(x.node), x.bits)


def summed(rng: random.Random, x: Map) -> Map:
    axis = rng.randint(1, 3)
    return Map(gx.cumsum(x.node, axis), np.logical_or.accumulate(x.bits, axis))


UNARY = [
    conv, conv, conv, transposed, pool, pool, upsampled, padded, cut, turned, rectified, summed,
]  # fmt: skip


def joined(rng: random.Random, x: Map, y: Map) -> Map | None:
    """Two maps as one, where their shapes allow it."""
    if x.shape == y.shape and rng.random() < 0.6:
        return Map(x.node + y.node, x.bits | y.bits)
    fitting = [
        axis
        for axis in (1, 2, 3)
        if all(x.bits.shape[i] == y.bits.shape[i] for i in (1, 2, 3) if i != axis)
    ]
    if not fitting:
        return None
    axis = rng.choice(fitting)
    return Map(gx.concat([x.node, y.node], axis), np.concatenate([x.bits, y.bits], axis))


def dag(seed: int) -> tuple[Node, Map]:
    """A random graph of three to eight ops, its image and its last map."""
    rng = random.Random(seed)
    c, h, w = rng.randint(1, 4), rng.randint(2, 8), rng.randint(1, 8)
    x = gx.input("x", ("N", c, h, w), "float64")
    seen = np.eye(h * w, dtype=bool).reshape(h * w, 1, h, w)
    maps = [Map(x, np.repeat(seen, c, 1))]
    for _ in range(rng.randint(3, 8)):
        # Late ones more often, so that graphs are deep and branch.
        one = rng.choice(maps[-3:])
        made: Map | None
        try:
            if len(maps) > 1 and rng.random() < 0.35:
                made = joined(rng, one, rng.choice(maps))
            else:
                step: Callable[[random.Random, Map], Map] = rng.choice(UNARY)
                made = step(rng, one)
        except gx.GraphError:  # a window that does not fit
            continue
        if made is not None and made.shape[1] * made.shape[2] <= MOST_UNITS and made.shape[0] <= 12:
            assert made.node.shape[1:] == made.bits.shape[1:]
            maps.append(made)
    return x, maps[-1]


def perturbed(node: Node, x: Node, pixels: int) -> Bits:
    """[pixel, channel, row, column]: what changes when a pixel becomes far larger, bit for bit."""
    c, h, w = (int(n) for n in x.shape[1:])
    batch = np.repeat(np.random.default_rng(0).integers(1, 9, (1, c, h, w)) * 1.0, pixels + 1, 0)
    for p in range(pixels):
        batch[p, :, p // w, p % w] += 1e14  # above any unit, so a maximum over it changes
    values = gx.interpret(gx.Graph({"map": node}), {}, x=batch)["map"]
    return values[:-1] != values[-1]


def check(seed: int, most: int | None) -> None:
    """All units, or ``most`` of them, against the propagation and against what happens."""
    rng = random.Random(seed)
    x, last = dag(seed)
    height, width = (int(n) for n in x.shape[2:])
    reach = last.bits.any(1)  # [pixel, row, column]
    np.testing.assert_array_equal(perturbed(last.node, x, height * width), last.bits)
    if not reach.any():
        return  # only padding is left
    field, forth = gx.receptive_field(last.node, x), gx.projective_field(last.node, x)
    units = list(np.ndindex(*reach.shape[1:]))
    for y, at in units if most is None else rng.sample(units, min(most, len(units))):
        seen = reach[:, y, at].reshape(height, width)
        np.testing.assert_array_equal(field.mask(y, at), seen, str((seed, y, at)))
        where = np.argwhere(seen)
        assert field.box(y, at) == ((*where.min(0), *where.max(0)) if len(where) else None)
    channel = rng.randrange(last.shape[0])
    y, at = rng.choice(units)
    seen = last.bits[:, channel, y, at].reshape(height, width)
    np.testing.assert_array_equal(field.mask(y, at, channel), seen)
    seen = reach[:, y].any(1).reshape(height, width)
    assert field.rows(y) == tuple(np.flatnonzero(seen.any(1)))
    seen = reach[:, :, at].any(1).reshape(height, width)
    assert field.columns(at) == tuple(np.flatnonzero(seen.any(0)))
    pixels = list(np.ndindex(height, width))
    for row, column in pixels if most is None else rng.sample(pixels, min(3, len(pixels))):
        np.testing.assert_array_equal(forth.mask(row, column), reach[row * width + column])
    numbers_hold(field, x, last)


def numbers_hold(field: Any, x: Node, last: Map) -> None:
    """Where the field is aligned, hulls are where stride, size and padding say; and contain all."""
    for y, at in np.ndindex(*last.shape[1:]):
        hull, box = field.box(y, at, clip=False), field.box(y, at)
        if box is not None:
            assert all(a <= b for a, b in zip(hull[:2], box[:2], strict=True))
            assert all(a >= b for a, b in zip(hull[2:], box[2:], strict=True))
        if field.aligned and hull is not None:
            sizes = (hull[2] - hull[0] + 1, hull[3] - hull[1] + 1)
            assert sizes == field.size


@pytest.mark.parametrize("part", range(10))
def test_sets_are_those_of_boolean_propagation(part: int) -> None:
    for seed in range(100 * part, 100 * part + 100):
        check(seed, most=6)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(100))
def test_ten_thousand_graphs_unit_by_unit(part: int) -> None:
    for seed in range(10_000 + 100 * part, 10_100 + 100 * part):
        check(seed, most=None)


def tried(node: Node, x: Node) -> Node | str:
    try:
        return gx.repair(node, x)
    except gx.GraphError as error:
        return str(error)


@pytest.mark.parametrize("part", range(4))
def test_alignment_is_proved_refuted_or_repaired(part: int) -> None:
    counted = {"proved": 0, "repaired": 0, "impossible": 0}
    for seed in range(50 * part, 50 * part + 50):
        x, last = dag(seed)
        if not last.bits.any():
            continue
        field = gx.receptive_field(last.node, x)
        found = field.alignment
        if isinstance(found, Certificate):
            assert found.holds()
            counted["proved"] += 1
            continue
        assert str(found)
        if found.boxes is not None and found.offset is not None:
            assert any(found.offset)
        repaired = tried(last.node, x)
        if isinstance(repaired, str):
            assert "no padding repairs it" in repaired
            counted["impossible"] += 1
            continue
        again = gx.receptive_field(repaired, x)
        assert repaired.shape == last.node.shape
        if found.kind in ("phase", "units") and found.meeting is last.node:
            continue  # one way, with phases: there was nothing to repair
        assert again._seen.apart is None
        counted["repaired"] += 1
    assert counted["proved"]
