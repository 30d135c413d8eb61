"""A pooling with all its numbers, and the way of its gradient back to the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import input as input_
from graphc.ir.node import Node

from .chain import op_words
from .figure import Figure
from .grids import FACTOR, FAINT, PLAIN, READ, SHOWN, WINNER, Look, Numbers
from .sheet import Sheet, listed, sources
from .windows import Array, Reading, check_op, reading

MOST = 20  # rows and columns of a map with all its numbers


def pooling(
    node: Node,
    variables: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    gradient: Any = None,
    image: int = 0,
    channel: int = 0,
    size: Mapping[str, int] | None = None,
    seed: int = 0,
    digits: int | None = None,
) -> Figure:
    """A pooling with its numbers, and the way of the gradient back through it.

    node: made by ``max_pool2d`` or ``avg_pool2d``; the other arguments as for ``viz.frames``.
    Above, the map and what pooling makes of it, each window's first maximum joined with its place
    in the result; below, a gradient of the result (``gradient``: numbers of its shape; left out, 1,
    2, 3, …) and what ``backward`` makes of it: to the maximum alone, or to all of an average's
    window.

    Raises GraphError: another node, a map of more than 20 rows or columns, a gradient of another
    shape, and what ``viz.frames`` raises.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", (1, 1, 2, 4))
    >>> figure = viz.pooling(gx.max_pool2d(x, 2), inputs={"x": [[[[3, 5, 8, 2], [7, 1, 0, 6]]]]})
    >>> figure.model["result"], figure.model["input_gradient"]
    ([[7.0, 8.0]], [[0.0, 0.0, 2.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    """
    check_op(node, ("max_pool2d", "avg_pool2d"), "viz.pooling")
    options: dict[str, Any] = {
        "size": size, "image": image, "channel": channel, "seed": seed, "called": "viz.pooling",
    }  # fmt: skip
    read = reading(node, variables, inputs, **options)
    map_ = read.layers[0].map
    if max(map_.shape) > MOST:
        raise GraphError(
            f"viz.pooling draws maps of at most {MOST} rows and columns, this one has "
            f"{map_.shape[0]} by {map_.shape[1]}\n"
            "  to fix: viz.frames draws some units of it"
        )
    g, back = _way_back(node, read, gradient, variables, inputs, options)
    say = Numbers.of([map_, read.result, g, back], digits)
    winners: dict[tuple[int, int], tuple[int, int]] = {}
    if read.kind == "max":
        found = ((unit, _winner(read, unit)) for unit in np.ndindex(*read.result.shape))
        winners = {unit: at for unit, at in found if at is not None}
    won = set(winners.values())

    def look(i: int, j: int) -> Look:
        return WINNER if (i, j) in won else PLAIN

    def lit(i: int, j: int) -> Look:
        return READ if back[i, j] else FAINT

    sheet = Sheet(say)
    name = " ".join(op_words(node))
    bottom = sheet.row(
        [
            sheet.grid(map_, None, "map", look, "input"),
            "" if winners else "→",
            sheet.grid(read.result, None, name, SHOWN, "output"),
        ],
        0.0,
    )
    sheet.row(
        [
            sheet.grid(back, None, "gradient of the map", lit, "input_gradient"),
            "" if winners else "←",
            sheet.grid(g, None, "gradient of the result", FACTOR, "gradient"),
        ],
        bottom + 22,
    )
    sheet.trails(0, 1, winners, back=False)
    sheet.trails(2, 3, winners, back=True)
    said = "{op} of channel {channel}, image {image}: {units} windows"
    values: dict[str, Any] = {
        "op": name, "channel": channel, "image": image, "units": int(read.result.size),
    }  # fmt: skip
    if winners:
        said += " with their first maximum at {pixels} pixels"
        values["pixels"] = len(won)
    said += "; the gradient sums to {before} before the way back and to {after} after it"
    values |= {
        "before": float(str(np.float32(g.sum()))),
        "after": float(str(np.float32(back.sum(dtype=np.float64)))),
    }
    model = {
        "op": node.op.name,
        "input": map_.tolist(),
        "result": listed(read.result),
        "winners": [[list(unit), list(at)] for unit, at in winners.items()],
        "gradient": g.tolist(),
        "input_gradient": listed(back),
    }
    return sheet.figure(model, sources(said, values, read, say, seed), "Pooling and its way back")


def _winner(read: Reading, unit: tuple[int, int]) -> tuple[int, int] | None:
    """The pixel at which a window has its first maximum; None on padding: all there is is -∞."""
    i, j = read.winner(*unit)
    row = read.rows.pixel(read.rows.places(unit[0])[i])
    column = read.columns.pixel(read.columns.places(unit[1])[j])
    return None if row is None or column is None else (row, column)


def _way_back(
    node: Node,
    read: Reading,
    gradient: Any,
    variables: Mapping[str, Any] | None,
    inputs: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> tuple[Array, Array]:
    """A gradient of the channel, and that of the map, by the op's own gradient rule."""
    shape = read.result.shape
    if gradient is None:
        gradient = np.arange(1.0, 1.0 + read.result.size).reshape(shape)
    g = np.asarray(gradient, np.float64)
    if g.shape != shape:
        raise GraphError(f"viz.pooling: the gradient has the shape {g.shape}, the result {shape}")
    taken = Graph({"map": node}).inputs
    name = "gradient"
    while name in taken:
        name += "_"
    (back,) = node.op.grad(node, input_(name, node.shape, node.dtype))
    assert back is not None
    whole = np.zeros(read.whole, node.dtype)
    whole[options["image"], options["channel"]] = g
    given = {**(inputs or {}), name: whole}
    return g, reading(back, variables, given, **options).result
