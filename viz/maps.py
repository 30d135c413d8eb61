"""A convolution as whole maps with their numbers: partial sums over channels, and its borders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.node import Node, make
from graphc.ops.conv import Conv2d, Convolution

from .chain import op_words
from .figure import Figure
from .grids import FACTOR, PADDING, PLAIN, READ, SHOWN, Look, Numbers, Part
from .sheet import Block, Sheet, listed, sources
from .windows import Array, Reading, Track, check_op, reading

_MOST, _MOST_LONG = 8, 4  # rows and columns that are drawn of a map, of one with long numbers
_MOST_LAYERS = 3
_MOST_READ = 14  # rows and columns of the input and of a filter
_MOST_PLACES = 20  # of a map that is drawn whole, with its padding
_TOUCHED = Look(fill="tint-green", stroke="green", line=1.6, dash="3 2")


def partial_sums(
    node: Node,
    variables: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    image: int = 0,
    channel: int = 0,
    size: Mapping[str, int] | None = None,
    seed: int = 0,
    digits: int | None = None,
) -> Figure:
    """A convolution over several channels: what each gives alone, their sum, and the bias.

    node: made by ``conv2d`` or ``conv_transpose2d``; the other arguments as for ``viz.frames``.
    Each row is a channel of the input, its part of the filter, and what the two alone give; the
    sum of these partial maps and the bias is the channel of the result. Of a large map a part is
    drawn, around its largest value, which the caption names; channels after the third are one sum.

    Raises GraphError: another node, an image or channel that is not there, a size without a number.

    >>> import graphc as gx, numpy as np
    >>> from graphc import viz
    >>> x, w = gx.input("x", (1, 3, 4, 4)), gx.parameter("w", (2, 3, 3, 3))
    >>> model = viz.partial_sums(gx.conv2d(x, w)).model
    >>> parts = [np.array(each["partial"]) for each in model["channels"]]
    >>> bool((sum(parts) == np.array(model["result"])).all())
    True
    """
    check_op(node, ("conv2d", "conv2d_input_grad"), "viz.partial_sums")
    read = reading(
        node, variables, inputs, size=size, image=image, channel=channel, seed=seed,
        called="viz.partial_sums",
    )  # fmt: skip
    partials = [_partial(read, layer) for layer in range(len(read.layers))]
    layers, more = read.layers[:_MOST_LAYERS], partials[_MOST_LAYERS:]
    factors = [np.asarray(layer.factors) for layer in layers]
    rest = sum(more, np.zeros(read.result.shape))
    bias = np.array([[0.0 if read.bias is None else read.bias]])
    whole = Numbers.of([layer.map for layer in layers] + factors + partials + [bias], digits)
    out, inside = _busiest(read, _MOST if whole.digits is None else _MOST_LONG)
    maps = [layer.map[inside[0].cut, inside[1].cut] for layer in layers]
    drawn = [p[out[0].cut, out[1].cut] for p in (*partials[: len(layers)], rest, read.result)]
    say = Numbers.of([*maps, *factors, *drawn, bias], digits)
    alike = [layer.map for layer in layers], factors, partials[: len(layers)]
    sheet, bottom = Sheet(say), -14.0
    taps = Part(0, min(read.rows.taps, _MOST_READ)), Part(0, min(read.columns.taps, _MOST_READ))
    for number, layer in enumerate(layers):
        title = f"input, {layer.name}"
        row: list[Block | str] = [
            sheet.grid(layer.map, inside, title, PLAIN, "input", number, alike[0]),
            "∗",
            sheet.grid(factors[number], taps, "filter", FACTOR, "factor", number, alike[1]),
            "=",
            sheet.grid(partials[number], out, "partial sum", READ, "partial", number, alike[2]),
        ]
        bottom = sheet.row(row, bottom + 14)
    right = sheet.right + 12
    sheet.bracket(right, bottom)
    last: list[Block | str] = []
    if more:
        last += ["+", sheet.grid(rest, out, f"{len(more)} more channels", READ, "rest")]
    if read.bias is not None:
        last += ["+", sheet.grid(bias, None, "bias", FACTOR, "bias")]
    last += ["=", sheet.grid(read.result, out, f"result, channel {channel}", SHOWN, "output")]
    sheet.row(last, 0.0, x=right + 10, middle=(20 + bottom) / 2)
    said = "{op}: channel {channel} of image {image} is the sum of {parts} partial maps"
    values: dict[str, Any] = {
        "op": " ".join(op_words(node)), "channel": channel, "image": image, "parts": len(partials),
    }  # fmt: skip
    if read.bias is not None:
        said += " and the bias {bias}"
        values["bias"] = float(str(np.float32(read.bias)))
    if (out[0].count, out[1].count) != read.result.shape:
        said += "; of {map} its rows {rows} and columns {columns} are drawn"
        values["map"] = list(read.result.shape)
        for name, part in zip(("rows", "columns"), out, strict=True):
            values[name] = [part.first, part.first + part.count - 1]
    if (taps[0].count, taps[1].count) != factors[0].shape:
        said += "; of a filter of {filter} the first {taps} rows and columns are drawn"
        values |= {"filter": list(factors[0].shape), "taps": [taps[0].count, taps[1].count]}
    model = {
        "op": node.op.name,
        "channels": [
            {"channel": layer.name, "partial": partial.tolist()}
            for layer, partial in zip(read.layers, partials, strict=True)
        ],
        "bias": read.bias,
        "result": listed(read.result),
    }
    return sheet.figure(model, sources(said, values, read, say, seed), "Partial sums")


def borders(
    node: Node,
    variables: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    image: int = 0,
    channel: int = 0,
    size: Mapping[str, int] | None = None,
    seed: int = 0,
    digits: int | None = None,
) -> Figure:
    """The same convolution with zeros around its input, and only where the whole filter fits.

    node: made by ``conv2d``. Left stands its own padding (``"same"``, where it has none), right
    ``"valid"``. The other arguments as for ``viz.frames``. Of several channels the first alone is
    drawn, with what it alone gives. Dashed cells of the input are zeros of the border; those of the
    result read one.

    Raises GraphError: another node, a map of more than 20 rows or columns with its padding, a
    filter that does not fit without, and what ``viz.frames`` raises.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x, w = gx.input("x", (1, 1, 5, 5)), gx.parameter("w", (1, 1, 3, 3))
    >>> figure = viz.borders(gx.conv2d(x, w))
    >>> [len(each["result"]) for each in figure.model["borders"]]
    [5, 3]
    """
    check_op(node, ("conv2d",), "viz.borders")
    assert isinstance(node.op, Conv2d)
    own = node.op.settings()
    padded = "same" if own["padding"] in (0, "valid") else own["padding"]
    reads = [
        reading(
            make(Conv2d(**{**own, "padding": padding}), *node.inputs), variables, inputs, size=size,
            image=image, channel=channel, seed=seed, called="viz.borders",
        )
        for padding in (padded, 0)
    ]  # fmt: skip
    longest = max(max(read.rows.length, read.columns.length) for read in reads)
    if longest > _MOST_PLACES:
        raise GraphError(
            f"viz.borders draws maps of at most {_MOST_PLACES} rows and columns with their "
            f"padding, this one has {longest}\n  to fix: viz.frames draws some units of it"
        )
    planes = [_plane(read) for read in reads]
    factors = np.asarray(reads[0].layers[0].factors)
    results = [_partial(read, 0) for read in reads]
    say = Numbers.of([*planes, factors, *results], digits)
    sheet, x = Sheet(say), 0.0
    middle = 20 + 11.0 * max(plane.shape[0] for plane in planes)
    for number, (word, read) in enumerate(zip(("zero padding", "valid"), reads, strict=True)):
        row: list[Block | str] = [
            sheet.grid(planes[number], None, f"{word}: input", _bordered(read), "input", number),
            "∗",
            sheet.grid(factors, None, "filter", FACTOR, "factor", number),
            "=",
            sheet.grid(results[number], None, "result", _touched(read), "output", number),
        ]
        sheet.row(row, 0.0, x=x, middle=middle)
        x = sheet.right + 48
    zeros, valid = reads
    touched = sum(_touches(zeros, *unit) for unit in np.ndindex(*zeros.result.shape))
    said = (
        "{op} at its borders: an input of {input} becomes {padded} with {rows} rows and {columns} "
        "columns of zeros before and after it, where {touched} units read a zero, and {valid} "
        "without"
    )
    values: dict[str, Any] = {
        "op": op_words(node)[0], "input": list(zeros.layers[0].map.shape),
        "padded": list(zeros.result.shape), "rows": _sides(zeros.rows),
        "columns": _sides(zeros.columns), "touched": touched, "valid": list(valid.result.shape),
    }  # fmt: skip
    if len(zeros.layers) > 1:
        said += "; of {layers} channels the first alone is drawn"
        values["layers"] = len(zeros.layers)
    if zeros.bias is not None:
        said += "; the bias {bias} is left out"
        values["bias"] = float(str(np.float32(zeros.bias)))
    model = {
        "op": node.op.name,
        "borders": [
            {
                "border": word,
                "padding": [_sides(read.rows), _sides(read.columns)],
                "result": result.tolist(),
            }
            for word, read, result in zip(("zeros", "valid"), reads, results, strict=True)
        ],
    }
    caption = sources(said, values, zeros, say, seed)
    return sheet.figure(model, caption, "Zero-padded and valid borders")


def _partial(read: Reading, number: int) -> Array:
    """What one channel gives alone: the op itself, on one channel and its part of the filter."""
    layer, op = read.layers[number], read.node.op
    assert isinstance(op, Convolution)
    alone: dict[str, Any] = {**op.settings(), "groups": 1}
    if op.name == "conv2d_input_grad":
        alone["size"] = read.result.shape
    operands = (layer.map[None, None], np.asarray(layer.factors)[None, None])
    with np.errstate(invalid="ignore"):
        return np.asarray(type(op)(**alone).evaluate({}, *operands)[0, 0])


def _busiest(read: Reading, most: int) -> tuple[tuple[Part, Part], tuple[Part, Part]]:
    """(of the result, of the input): all of small maps, else around the largest value."""
    at = np.unravel_index(int(np.abs(read.result).argmax()), read.result.shape)
    parts = []
    for track, centre, size in zip(
        (read.rows, read.columns), map(int, at), read.layers[0].map.shape, strict=True
    ):
        for count in range(most, 0, -1):
            if track.units <= count:
                part = Part(0, track.units)
            else:
                part = Part(min(max(centre - count // 2, 0), track.units - count), count)
            inside = _read_part(track, part, size)
            if inside.count <= _MOST_READ:
                break
        parts.append((part, Part(inside.first, min(inside.count, _MOST_READ))))
    (rows, seen_rows), (columns, seen_columns) = parts
    return (rows, columns), (seen_rows, seen_columns)


def _read_part(track: Track, part: Part, size: int) -> Part:
    """The pixels that a stretch of units reads; all of the axis, where that is all units."""
    seen = [
        pixel
        for unit in range(part.first, part.first + part.count)
        for place in track.places(unit)
        if (pixel := track.pixel(place)) is not None
    ]
    if part.count == track.units or not seen:
        return Part(0, size)
    return Part(min(seen), max(seen) - min(seen) + 1)


def _plane(read: Reading) -> Array:
    """The first channel with its zeros."""
    plane = np.zeros((read.rows.length, read.columns.length))
    for i, j in np.ndindex(*plane.shape):
        row, column = read.rows.pixel(i), read.columns.pixel(j)
        if row is not None and column is not None:
            plane[i, j] = read.layers[0].map[row, column]
    return plane


def _bordered(read: Reading) -> Callable[[int, int], Look]:
    def look(i: int, j: int) -> Look:
        outside = read.rows.pixel(i) is None or read.columns.pixel(j) is None
        return PADDING if outside else PLAIN

    return look


def _touched(read: Reading) -> Callable[[int, int], Look]:
    return lambda y, x: _TOUCHED if _touches(read, y, x) else SHOWN


def _touches(read: Reading, y: int, x: int) -> bool:
    """Whether unit (y, x) reads a zero of the border."""
    return any(read.rows.pixel(place) is None for place in read.rows.places(y)) or any(
        read.columns.pixel(place) is None for place in read.columns.places(x)
    )


def _sides(track: Track) -> list[int]:
    return [track.before, track.length - track.size - track.before]
