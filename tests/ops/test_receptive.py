"""What an op says it reads (``receptive``) against what it reads: perturb an input element and see
which outputs change. Every changed output must have it in its window, along every axis."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

import graphc as gx
from graphc.compiler.interpret import values_of
from graphc.ir import dims
from graphc.ir.op import OPS
from graphc.ir.window import (
    AxisWindow,
    Everything,
    Followed,
    Moved,
    Nothing,
    Receptive,
    Reshaped,
    Windowed,
)
from tests.ops.harness import Array, Sizes, all_cases, variables

NAMES = sorted(set(OPS) - {"input", "parameter", "state", "stream"})
MOST_NODES, MOST_ELEMENTS = 4, 60


def values(name: str) -> Iterable[tuple[gx.Node, Sizes, dict[gx.Node, Array]]]:
    """Nodes of an op, with the values around them."""
    found = 0
    for built in all_cases():
        mine = [node for node in built.forward.nodes if node.op.name == name]
        if not mine or found >= MOST_NODES:
            continue
        found += 1
        sample = built.row.samples[-1]
        arrays = built.arrays(sample, built.forward)
        held = variables(built.forward)
        yield mine[0], sample.sizes, values_of(built.forward, arrays, held, sample.sizes)


def changed(node: gx.Node, position: int, at: tuple[int, ...], arrays: list[Array], sizes: Sizes):
    """Where the result changes when one element of an input does."""
    with np.errstate(all="ignore"):
        before = node.op.evaluate(sizes, *arrays)
    result = np.zeros(before.shape, bool)
    for delta in (-2.0, 0.5, 2.0):
        moved = [array.copy() for array in arrays]
        if moved[position].dtype == bool:
            moved[position][at] ^= True
        elif moved[position].dtype.kind == "f":
            moved[position][at] += delta
        else:
            labels = moved[position]
            labels[at] = (labels[at] + int(delta)) % (labels.max() + 1)
        with np.errstate(all="ignore"):
            after = node.op.evaluate(sizes, *moved)
        result |= (after != before) & ~((after != after) & (before != before))
    return result


def reads(
    window: Receptive,
    to: tuple[int, ...],
    at: tuple[int, ...],
    extents: tuple[int, ...],
    shape: tuple[int, ...],
    sizes: Sizes,
) -> bool:
    """Whether the output element ``to`` may read the input element ``at``."""
    if isinstance(window, Moved):
        return all(to[i] == at[axis] for i, axis in enumerate(window.axes))
    if isinstance(window, Followed):
        return all(
            axis is None or extents[i] == 1 or to[axis] == at[i]
            for i, axis in enumerate(window.axes)
        )
    if isinstance(window, Reshaped):
        return np.ravel_multi_index(to, shape) == np.ravel_multi_index(at, extents)
    if not isinstance(window, Windowed):
        return isinstance(window, Everything)
    listed = dict(window.axes)
    for back in range(-1, -len(at) - 1, -1):
        if back not in listed and (extents[back] == 1 or -back > len(to)):
            continue
        o = to[back] if -back <= len(to) else 0
        if not covers(listed.get(back, AxisWindow()), o, at[back], sizes):
            return False
    return True


def covers(window: AxisWindow, o: int, i: int, sizes: Sizes) -> bool:
    if window.through:
        return i <= o if window.through < 0 else i >= o
    if window.listed:
        return i in window.listed[o]
    size, pad = dims.evaluate(window.size, sizes), dims.evaluate(window.pad, sizes)
    first = o // window.per * window.stride - pad
    return any(first + tap * window.dilation == i * window.up for tap in range(size))


@pytest.mark.parametrize("name", NAMES)
def test_reads_nothing_outside_its_windows(name: str) -> None:
    rng = np.random.default_rng(0)
    for node, sizes, known in values(name):
        arrays = [known[source] for source in node.inputs]
        for position, window in enumerate(node.op.receptive(node)):
            if node.op.shown is not None and position >= node.op.shown:
                assert isinstance(window, Nothing)  # the random stream, the seed, the step
                continue
            places = list(np.ndindex(arrays[position].shape))
            if len(places) > MOST_ELEMENTS:
                places = [places[i] for i in rng.choice(len(places), MOST_ELEMENTS, replace=False)]
            for at in places:
                seen = changed(node, position, at, arrays, sizes)
                for to in np.argwhere(seen):
                    assert reads(
                        window, tuple(to), at, arrays[position].shape, seen.shape, sizes
                    ), (
                        f"{node}: output {tuple(to)} reads {node.op.operand(position)}{list(at)}, "
                        f"which {window} denies"
                    )
