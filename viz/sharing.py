"""Weight sharing seen: a convolution unrolled to its units and edges, coloured by weight, beside
the matrix that it is; and the gradient of one weight as the sum over the edges that share it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from graphc.analysis.toeplitz import edge_numbers, toeplitz, units
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.leaves import input as make_input
from graphc.ir.leaves import naming_of, parameter
from graphc.ir.node import Node, describe, make
from graphc.ops.conv import Conv2d
from graphc.passes.backward import backward
from graphc.passes.unroll import ConvolutionEdge, convolution_edges

from . import style
from .canvas import Canvas, Label, text_width
from .figure import Caption, Figure
from .reading import Array, node_of, on_host, values_of

MOST_UNITS = 64
MOST_EDGES = 2000

# A weight's pen: colours that are told apart with any colour vision, then dashes; and what can be
# read on the colour, in a cell of the matrix.
_COLOURS = (
    ("blue", style.BLUE, style.PAPER),
    ("vermillion", style.VERMILLION, style.PAPER),
    ("green", style.GREEN, style.PAPER),
    ("orange", style.ORANGE, style.INK),
    ("purple", style.PURPLE, style.INK),
    ("sky", style.SKY, style.INK),
)
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "12 4", "4 2 1 2")
_TEXT = 9.0


@dataclass(frozen=True)
class _Weight:
    """One weight of the filters: where it stands, what it is called, how its edges look."""

    number: int
    index: tuple[int, int, int, int]
    label: str
    edges: int

    @property
    def colour(self) -> tuple[str, str, str]:
        return _COLOURS[self.number % len(_COLOURS)]

    @property
    def dash(self) -> str:
        return _DASHES[self.number // len(_COLOURS) % len(_DASHES)]


@dataclass(frozen=True)
class _Unrolled:
    """A small convolution as units and edges."""

    node: Node
    edges: list[ConvolutionEdge]

    @staticmethod
    def of(node: Node, caller: str, fix: str) -> _Unrolled:
        if not isinstance(node.op, Conv2d):
            raise GraphError(f"{caller} takes a conv2d, not {describe(node)}", nodes=[node])
        plane = [*node.inputs[0].shape[2:], *node.shape[2:]]
        if not all(isinstance(size, int) for size in plane):
            raise GraphError(
                f"{caller}: the size of the image is symbolic: {describe(node)}\n  to fix: {fix}",
                nodes=[node],
            )
        unrolled = _Unrolled(node, [])
        most = max(math.prod(unrolled.input), math.prod(unrolled.output))
        edges = convolution_edges(node) if most <= MOST_UNITS else []
        if most > MOST_UNITS or len(edges) > MOST_EDGES:
            few = f"{most:,} units on one side" if most > MOST_UNITS else f"{len(edges):,} edges"
            raise GraphError(
                f"{caller} draws at most {MOST_UNITS} units a side and {MOST_EDGES:,} edges, and "
                f"this convolution has {few}: {describe(node)}\n  to fix: {fix}",
                nodes=[node],
            )
        return _Unrolled(node, edges)

    @property
    def input(self) -> tuple[int, int, int]:
        return units(self.node.inputs[0])

    @property
    def output(self) -> tuple[int, int, int]:
        return units(self.node)

    def weights(self) -> list[_Weight]:
        shape = self.node.inputs[1].type.concrete({})
        counts = np.zeros(shape, int)
        for edge in self.edges:
            counts[edge.weight] += 1
        letters = "abcdefghijklmnopqrstuvwxyz"
        return [
            _Weight(
                number,
                (index[0], index[1], index[2], index[3]),
                letters[number] if counts.size <= len(letters) else str(number),
                int(counts[index]),
            )
            for number, index in enumerate(np.ndindex(*shape))
        ]

    def settings(self) -> dict[str, Any]:
        """How the filters move, in numbers: the padding of a ``"same"`` too."""
        op, x = self.node.op, self.node.inputs[0]
        assert isinstance(op, Conv2d)
        height, width = self.node.inputs[1].type.concrete({})[2:]
        rows, columns = op.numbers(units(x)[1:], (height, width), {})
        return {
            "stride": [rows.stride, columns.stride],
            "padding": [list(rows.sides), list(columns.sides)],
            "dilation": [rows.dilation, columns.dilation],
            "groups": op.groups,
        }


def sharing(
    node: Node,
    weight: Any = None,
    *,
    image: tuple[int, int] | None = None,
    filters: int | None = None,
    channels: int | None = None,
) -> Figure:
    """A convolution unrolled: every unit, every edge by its weight, and the matrix beside it.

    node: a ``conv2d`` of any graph, small enough to be seen (64 units a side, 2,000 edges), or
    taken small: image=(height, width) draws it as it would sweep over an image of that size,
    filters= and channels= its first ones, and the caption says so. weight: an array of the shape
    of the filters, whose numbers are then written into the filter.

    ``.model``: ``edges`` (output, input and weight index of each, as ``gx.convolution_edges``),
    ``weights`` (index, label, count of edges), ``numbers`` (the matrix with 1 + the number of the
    weight, 0 where there is no edge) and, with ``weight``, ``toeplitz`` (with its values:
    ``gx.toeplitz``). Edges of one weight share colour, dash and letter. Padded taps are no edges.

    Raises GraphError: no conv2d, or one too large; ShapeError: a weight of another shape.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x, w = gx.input("x", ("N", 1, 4, 4)), gx.parameter("w", (1, 1, 3, 3))
    >>> figure = viz.sharing(gx.conv2d(x, w))
    >>> len(figure.model["edges"]), {entry["edges"] for entry in figure.model["weights"]}
    (36, {4})
    """
    if not isinstance(node, Node) or not isinstance(node.op, Conv2d):
        what = describe(node) if isinstance(node, Node) else repr(node)
        raise GraphError(f"viz.sharing takes a conv2d, not {what}")
    small = _smaller(node, image, filters, channels)
    fix = "viz.sharing(node, image=(5, 5), filters=1, channels=1)"
    unrolled = _Unrolled.of(small, "viz.sharing", fix)
    values = None if weight is None else _cut(node, small, on_host(weight))
    shape = small.inputs[1].type.concrete({})
    numbers = toeplitz(small, 1 + np.arange(math.prod(shape)).reshape(shape))
    weights = unrolled.weights()
    name = naming_of(node.inputs[1]).fixed if node.inputs[1].op.name == "parameter" else None
    model: dict[str, Any] = {
        "kind": "sharing", "weight": name, "input": list(unrolled.input),
        "output": list(unrolled.output), **unrolled.settings(),
        "weights": [
            {
                "index": list(w.index), "label": w.label, "edges": w.edges, "colour": w.colour[0],
                "dash": w.dash,
                **({} if values is None else {"value": float(values[w.index])}),
            }
            for w in weights
        ],
        "edges": [{k: list(v) for k, v in edge._asdict().items()} for edge in unrolled.edges],
        "numbers": numbers.tolist(),
    }  # fmt: skip
    if values is not None:
        model["toeplitz"] = toeplitz(small, values).tolist()
    said = {
        "weight": name or "weight", "input": model["input"], "output": model["output"],
        "edges": len(unrolled.edges), "weights": len(weights),
        "each": sorted({w.edges for w in weights}),
        "rows": numbers.shape[0], "columns": numbers.shape[1], "stride": model["stride"],
        "padding": model["padding"], "dilation": model["dilation"], "groups": model["groups"],
    }  # fmt: skip
    template = (
        "{weight} over {input} to {output}: {edges} edges share {weights} weights, {each} edges a "
        "weight; as a matrix {rows} by {columns}; stride {stride}, padding {padding}, dilation "
        "{dilation}, groups {groups}"
    )
    if small is not node:
        said["of"] = [*_numbers(node.shape[1:]), *_numbers(node.inputs[1].shape[1:2])]
        template += "; drawn small: the graph's own has filters, height, width and channels {of}"
    canvas = _sharing_sheet(unrolled, weights, values, numbers)
    words = (
        f"Left: {math.prod(unrolled.input)} input units, {math.prod(unrolled.output)} output units "
        f"and the {len(unrolled.edges)} edges between them, coloured, dashed and lettered by "
        "weight. Middle: the filter with those letters. Right: the matrix of the layer, each "
        "weight at every place where it stands."
    )
    return Figure(canvas, model, Caption(template, said), "Weight sharing, unrolled", words)


def weight_gradient(
    graph: Graph,
    variables: Mapping[str, Any],
    node: Node | str,
    weight: Sequence[int] = (0, 0, 0, 0),
    *,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """The gradient of one weight of a convolution: all its edges lit, and their sum.

    graph: with the output ``loss``, before ``backward`` or after. node: a small ``conv2d`` of it,
    or its name. weight: (filter, channel, row, column). inputs (or keywords): the arrays. Each lit
    edge carries the input that it reads times the gradient at the output that it feeds, summed over
    the batch; their sum is the weight's gradient, which the caption gives beside it. Where several
    gradients meet in the weight (other layers that share it, decay), it is that of this use.

    ``.model``: ``edges`` (input, output, product), ``sum``, ``gradient`` (as ``backward`` has it
    for this use), ``terms`` (how many meet) and ``whole_gradient``. Raises GraphError: no such node
    or weight, a convolution too large to draw, or no gradient that reaches it.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import viz
    >>> x, w = gx.input("x", ("N", 1, 1, 3)), gx.parameter("w", (1, 1, 1, 2))
    >>> graph = gx.Graph({"loss": gx.sum(gx.square(gx.conv2d(x, w)))})
    >>> held = {"w": np.ones((1, 1, 1, 2), "float32")}
    >>> figure = viz.weight_gradient(graph, held, "conv2d", x=[[[[1, 2, 3]]]])
    >>> [edge["product"] for edge in figure.model["edges"]], figure.model["gradient"]
    ([6.0, 20.0], 26.0)
    """
    caller = "viz.weight_gradient"
    conv = node_of(graph, node, caller)
    unrolled = _Unrolled.of(
        conv, caller, "a net for small images, of ints: input('x', (1, 1, 5, 5))"
    )
    shape = conv.inputs[1].type.concrete({})
    whole = isinstance(weight, (tuple, list)) and all(isinstance(i, Integral) for i in weight)
    at = tuple(int(i) for i in weight) if whole else ()
    if len(at) != 4 or not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        raise GraphError(
            f"{caller}: weight={weight!r} is not (filter, channel, row, column) of {shape}"
        )
    if not graph.gradients:
        graph = graph.apply(backward())
    slopes = [graph.gradients[end] for end in (conv, conv.inputs[1]) if end in graph.gradients]
    if len(slopes) < 2:
        raise GraphError(f"{caller}: no gradient reaches {describe(conv)}", nodes=[conv])
    # Where several gradients meet in the weight (other layers, decay), which of them is this use's.
    met = slopes[1].inputs if slopes[1].op.name == "grad_sum" else (slopes[1],)
    own = next((term for term in met if slopes[0] in term.inputs), slopes[1])
    wanted = [conv.inputs[0], slopes[0], own, slopes[1]]
    x, dy, dw, whole_dw = values_of(graph, variables, wanted, inputs, named)
    lit = [edge for edge in unrolled.edges if edge.weight == at]
    products = [
        float(np.einsum("n,n->", *(_unit(a, i) for a, i in ((x, e.input), (dy, e.output)))))
        for e in lit
    ]
    total, gradient = math.fsum(products), float(dw[at])
    model = {
        "kind": "weight gradient", "weight": list(at), "input": list(unrolled.input),
        "output": list(unrolled.output), "batch": len(x), "terms": len(met), "sum": total,
        "gradient": gradient, "all_edges": len(unrolled.edges),
        "whole_gradient": float(whole_dw[at]),
        "edges": [
            {"input": list(e.input), "output": list(e.output), "product": product}
            for e, product in zip(lit, products, strict=True)
        ],
    }  # fmt: skip
    template = (
        "{node}, weight {weight}: the products input × output gradient on its {lit} of {edges} "
        "edges, summed over a batch of {batch}, come to {sum}; backward's gradient is {gradient}"
    )
    said = {
        "node": graph.name(conv), "weight": list(at), "lit": len(lit),
        "edges": len(unrolled.edges), "batch": len(x), "sum": _rounded(total),
        "gradient": _rounded(gradient),
    }  # fmt: skip
    if len(met) > 1:
        template += ", one of the {terms} that meet in the weight, together {whole}"
        said |= {"terms": len(met), "whole": _rounded(float(whole_dw[at]))}
    caption = Caption(template, said)
    words = (
        f"The {len(unrolled.edges)} edges of the convolution in grey, the {len(lit)} that share "
        "one weight lit, each with its product in the table; the sum stands below."
    )
    canvas = _gradient_sheet(unrolled, lit, products, total, at)
    return Figure(canvas, model, caption, "The gradient of one shared weight", words)


# -- what is drawn ------------------------------------------------------------------------


def _smaller(
    node: Node, image: tuple[int, int] | None, filters: int | None, channels: int | None
) -> Node:
    """The same convolution over a smaller image, or fewer channels; the node itself if neither."""
    if image is None and filters is None and channels is None:
        return node
    assert isinstance(node.op, Conv2d)
    op, (x, weight) = node.op, node.inputs[:2]
    shape, groups = weight.type.concrete({}), node.op.groups
    most = {"filters": shape[0], "channels": shape[1] * groups}
    if groups > 1 and (filters is not None or channels is not None):
        # Only within the first group do the first filters read the first channels.
        most = {"filters": shape[0] // groups, "channels": shape[1]}
        op, groups = replace(op, groups=1), 1
    taken = {}
    for (what, limit), value in zip(most.items(), (filters, channels), strict=True):
        taken[what] = limit if value is None else value
        if isinstance(value, bool) or taken[what] not in range(1, limit + 1):
            group = " in the first group" if op is not node.op else ""
            raise GraphError(f"viz.sharing({what}={value!r}): there are {limit}{group}")
    plane = x.shape[2:] if image is None else tuple(image)
    return make(
        op,
        make_input("x", (1, taken["channels"], *plane), dtype=x.dtype),
        parameter("w", (taken["filters"], taken["channels"] // groups, *shape[2:]), dtype=x.dtype),
    )


def _cut(node: Node, small: Node, weight: Array) -> Array:
    expected = node.inputs[1].type.concrete({})
    if weight.shape != expected:
        raise ShapeError(
            f"viz.sharing: the weight has shape {weight.shape}, the filters {expected}",
            nodes=[node],
        )
    if weight.dtype.kind not in "fiub" and weight.dtype.name != "bfloat16":
        raise GraphError(f"viz.sharing: the weight is {weight.dtype}, no numbers")
    filters, channels = small.inputs[1].type.concrete({})[:2]
    return weight[:filters, :channels].astype(np.float64)


def _numbers(shape: Sequence[Any]) -> list[int | str]:
    return [size if isinstance(size, int) else str(size) for size in shape]


def _unit(batch: Array, index: tuple[int, int, int]) -> Array:
    channel, row, column = index
    values: Array = batch[:, channel, row, column].astype(np.float64)
    return values


def _rounded(value: float) -> float:
    """Six significant digits: what float32 keeps."""
    return float(f"{value:.6g}")


# -- the sheets ---------------------------------------------------------------------------

_TOP = 52.0
_RADIUS = 4.0


@dataclass(frozen=True)
class _Columns:
    """Where the units stand: inputs in a column on the left, outputs in one on the right."""

    x: tuple[float, float]
    y: tuple[float, float]
    step: tuple[float, float]
    height: float

    def at(self, side: int, number: int) -> tuple[float, float]:
        return self.x[side], self.y[side] + number * self.step[side]


def _columns(unrolled: _Unrolled, left: float) -> _Columns:
    counts = (math.prod(unrolled.input), math.prod(unrolled.output))
    height = max(12.5 * max(counts), min(30.0 * max(counts), 330.0))
    labels = max(text_width(_called(i, unrolled.input), _TEXT) for i in range(counts[0]))
    step = [min(height / count, 46.0) for count in counts]
    tops = [_TOP + (height - s * (n - 1)) / 2 for s, n in zip(step, counts, strict=True)]
    x = left + labels + 10
    across = min(max(220.0, height * 0.6), 330.0)
    return _Columns((x, x + across), (tops[0], tops[1]), (step[0], step[1]), height)


def _called(number: int, shape: tuple[int, int, int]) -> str:
    """A unit by its row and column, and by its channel where there are several."""
    index = np.unravel_index(number, shape)
    return ",".join(str(int(i)) for i in (index if shape[0] > 1 else index[1:]))


def _put_units(
    canvas: Canvas, unrolled: _Unrolled, columns: _Columns, names: Sequence[str]
) -> None:
    sides = (unrolled.input, unrolled.output)
    for side, (shape, name) in enumerate(zip(sides, names, strict=True)):
        x = columns.x[side]
        canvas.text(x, _TOP - 26, name, anchor="middle", bold=True)
        size = " × ".join(map(str, shape if shape[0] > 1 else shape[1:]))
        canvas.text(x, _TOP - 11, size, anchor="middle", size=10, fill="faint")
        for number in range(math.prod(shape)):
            y = columns.at(side, number)[1]
            called = _called(number, shape)
            canvas.circle(x, y, _RADIUS, fill="paper", data={"unit": called, "side": name})
            anchor: Any = "end" if side == 0 else "start"
            away = -9 if side == 0 else 9
            canvas.text(x + away, y + 3.2, called, size=_TEXT, anchor=anchor)


def _numbered(unrolled: _Unrolled) -> Iterator[tuple[int, int, int]]:
    if unrolled.edges:
        for output, read, used in zip(*edge_numbers(unrolled.node, unrolled.edges), strict=True):
            yield int(output), int(read), int(used)


def _sharing_sheet(
    unrolled: _Unrolled, weights: Sequence[_Weight], values: Array | None, numbers: Array
) -> Canvas:
    canvas = Canvas(10, 10)
    columns = _columns(unrolled, 16)
    with canvas.group("edges"):
        lines = []
        for output, read, used in _numbered(unrolled):
            weight = weights[used]
            start, end = columns.at(0, read), columns.at(1, output)
            canvas.line(
                *start, *end, stroke=weight.colour[0], line=1.5, dash=weight.dash,
                data={"weight": used, "input": read, "output": output},
            )  # fmt: skip
            lines.append((start, end, weight))
    _letter(canvas, lines)
    _put_units(canvas, unrolled, columns, ("input", "output"))
    right = (
        columns.x[1]
        + 20
        + max(
            text_width(_called(i, unrolled.output), _TEXT)
            for i in range(math.prod(unrolled.output))
        )
    )
    middle = _put_filters(canvas, right + 24, weights, values)
    matrix = _put_matrix(canvas, middle + 34, unrolled, weights, numbers)
    canvas.width = matrix[0] + 16
    canvas.height = max(_TOP + columns.height, matrix[1]) + 14
    return canvas


def _letter(canvas: Canvas, lines: Sequence[tuple[Any, Any, _Weight]]) -> None:
    """A letter on each edge where one has room: no two letters meet."""
    taken: list[Label] = []
    for (x0, y0), (x1, y1), weight in lines:
        for part in (0.5, 0.35, 0.65, 0.22, 0.78, 0.43, 0.57):
            x, y = x0 + part * (x1 - x0), y0 + part * (y1 - y0)
            half = text_width(weight.label, _TEXT) / 2
            box = Label(weight.label, x - half - 1, y - 6, x + half + 1, y + 6, _TEXT)
            if not any(box.meets(other) for other in taken):
                taken.append(box)
                canvas.rect(
                    box.left, box.top + 1, 2 * half + 2, 10, fill="paper", stroke="none"
                )  # fmt: skip
                canvas.text(x, y + 3.2, weight.label, size=_TEXT, anchor="middle")
                break


def _put_filters(
    canvas: Canvas, left: float, weights: Sequence[_Weight], values: Array | None
) -> float:
    """The filters, a letter in each cell; returns how far right they reach."""
    filters, channels, height, width = (1 + max(w.index[i] for w in weights) for i in range(4))
    cell = 30.0 if values is None else 40.0
    gap = 14.0
    canvas.text(left, _TOP - 26, "filter" if filters == 1 else "filters", bold=True)
    for weight in weights:
        f, c, kh, kw = weight.index
        x = left + c * (width * cell + gap) + kw * cell
        y = _TOP + f * (height * cell + gap) + kh * cell
        canvas.rect(
            x + 1.5, y + 1.5, cell - 3, cell - 3, stroke=weight.colour[0], line=2.5,
            dash=weight.dash, title=f"{weight.label}: {weight.edges} edges",
            data={"weight": weight.number, "edges": weight.edges},
        )  # fmt: skip
        middle = x + cell / 2
        if values is None:
            canvas.text(middle, y + cell / 2 + 4.5, weight.label, anchor="middle")
        else:
            value = f"{values[weight.index]:.2g}"
            canvas.text(middle, y + cell / 2 - 1, weight.label, anchor="middle")
            canvas.text(middle, y + cell / 2 + 12, value, anchor="middle", size=_TEXT)
    return left + channels * (width * cell + gap) - gap


def _put_matrix(
    canvas: Canvas, left: float, unrolled: _Unrolled, weights: Sequence[_Weight], numbers: Array
) -> tuple[float, float]:
    """The matrix, a coloured and lettered cell for each edge; returns its right and bottom."""
    rows, columns = numbers.shape
    cell = min(20.0, max(11.0, 420.0 / max(rows, columns)))
    size = min(10.0, cell * 0.72 / max(max(text_width(w.label, 1) for w in weights), 0.6))
    names = [
        [_called(i, shape) for i in range(math.prod(shape))]
        for shape in (unrolled.output, unrolled.input)
    ]
    wide = max(text_width(name, _TEXT) for name in names[0])
    tall = max(text_width(name, _TEXT) for name in names[1])
    left += wide + 6
    top = _TOP + tall
    canvas.text(left, _TOP - 26, f"matrix, {rows} × {columns}", bold=True)
    canvas.text(left, _TOP - 11, "a row per output, a column per input", size=10, fill="faint")
    # Row and column names where they have room: every n-th, so that they never meet.
    every = max(math.ceil(12.0 / cell), 1)
    for row in range(0, rows, every):
        y = top + (row + 0.5) * cell + 3.2
        canvas.text(left - 5, y, names[0][row], size=_TEXT, anchor="end")
    for column in range(0, columns, every):
        x = left + (column + 0.5) * cell + 3.2
        canvas.text(x, top - 5, names[1][column], size=_TEXT, turn=True)
    with canvas.group("matrix"):
        for place in range(1, rows):
            canvas.line(left, top + place * cell, left + columns * cell, top + place * cell,
                        stroke="grid", line=0.5)  # fmt: skip
        for place in range(1, columns):
            canvas.line(left + place * cell, top, left + place * cell, top + rows * cell,
                        stroke="grid", line=0.5)  # fmt: skip
        for row, column in np.argwhere(numbers > 0).tolist():
            weight = weights[int(numbers[row, column]) - 1]
            x, y = left + column * cell, top + row * cell
            canvas.rect(
                x + 0.5, y + 0.5, cell - 1, cell - 1, fill=weight.colour[1], stroke="none",
                data={"row": row, "column": column, "weight": weight.number},
            )  # fmt: skip
            if weight.dash and cell > 12:
                canvas.rect(x + 2, y + 2, cell - 4, cell - 4, stroke=weight.colour[2], dash="2 2")
            canvas.text(
                x + cell / 2, y + cell / 2 + size * 0.35, weight.label, size=size, anchor="middle",
                fill=weight.colour[2], cell=True,
            )  # fmt: skip
        canvas.rect(left, top, columns * cell, rows * cell)
    return left + columns * cell, top + rows * cell


def _gradient_sheet(
    unrolled: _Unrolled,
    lit: Sequence[ConvolutionEdge],
    products: Sequence[float],
    total: float,
    at: tuple[int, ...],
) -> Canvas:
    canvas = Canvas(10, 10)
    columns = _columns(unrolled, 16)
    number = int(np.ravel_multi_index(at, unrolled.node.inputs[1].type.concrete({})))
    every = sorted(_numbered(unrolled), key=lambda edge: edge[2] == number)  # the lit ones on top
    with canvas.group("edges"):
        for output, read, used in every:
            pen: dict[str, Any] = {"stroke": "vermillion", "line": 2.5}
            if used != number:
                pen = {"stroke": "grid", "line": 0.8}
            canvas.line(
                *columns.at(0, read), *columns.at(1, output), **pen,
                data={"weight": used, "input": read, "output": output, "lit": used == number},
            )  # fmt: skip
    _put_units(canvas, unrolled, columns, ("input x", "gradient dy"))
    left = columns.x[1] + 70
    canvas.text(left, _TOP - 26, "x · dy on each lit edge", bold=True)
    y = _TOP
    said = f"gradient of weight {','.join(map(str, at))}"
    right = left + text_width(said, 10, bold=True) + text_width("  -0.0000000", 10, bold=True)
    for edge, product in zip(lit, products, strict=True):
        ends = [
            _called(int(np.ravel_multi_index(end, shape)), shape)
            for end, shape in ((edge.input, unrolled.input), (edge.output, unrolled.output))
        ]
        canvas.text(left, y, f"x[{ends[0]}] · dy[{ends[1]}]", size=10)
        canvas.text(right, y, f"{product:.6g}", size=10, anchor="end")
        y += 14
    canvas.line(left, y - 8, right, y - 8)
    canvas.text(left, y + 6, said, size=10, bold=True)
    canvas.text(right, y + 6, f"{total:.6g}", size=10, anchor="end", bold=True)
    canvas.width = right + 16
    canvas.height = max(_TOP + columns.height, y + 10) + 14
    return canvas
