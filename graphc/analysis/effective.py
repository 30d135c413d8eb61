"""Effective receptive fields: how much each pixel counts, by gradients or by counting paths.

Luo, Li, Urtasun and Zemel, Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks, 2016; the table of areas is that of Ding et al., Scaling Up Your Kernels to 31x31, 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from graphc.analysis.progressions import Progressions
from graphc.analysis.reads import Edge, links, look
from graphc.analysis.receptive_field import ReceptiveField, receptive_field
from graphc.analysis.way import Way, checked_node
from graphc.compiler.program import compile
from graphc.ir import Graph, GraphError, Node
from graphc.ir.dims import evaluate
from graphc.ir.leaves import Input
from graphc.ops.reduce import sum as sum_
from graphc.passes.backward import backward
from graphc.passes.inference import inference

Array = np.ndarray[Any, np.dtype[Any]]
TRANSFORMS: dict[str, Callable[[Array], Array]] = {
    "none": lambda values: values,
    "sqrt": np.sqrt,
    "log10(x+1)": lambda values: np.log10(values + 1),
}
SHARES = (0.2, 0.3, 0.5, 0.99)
# Counts up to here fit int64 whatever is added to them; larger ones are Python's ints.
LARGEST_COUNT = 1 << 62


@dataclass(frozen=True, slots=True)
class Area:
    """The smallest centred square that holds more than ``share`` of the map's sum."""

    share: float
    side: int
    ratio: float


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """How much each pixel of ``field.wrt`` counts for a unit; made by
    ``gx.effective_receptive_field``.

    ``values``: (height, width), raw: mean gradients, or numbers of paths (ints; Python's where they
    exceed int64). ``transform``: what is done to them before they are shown and their areas taken.
    ``weights``: "ones", "random" or "given"; ``runs``: how many images and weights were averaged;
    ``seed``: the first of theirs; ``part``: "absolute" or "positive".
    """

    field: ReceptiveField
    unit: tuple[int, int]
    values: Array
    transform: str
    weights: str
    runs: int
    seed: int
    part: str

    @property
    def shown(self) -> Array:
        """The transformed values over their largest, 0 to 1."""
        values = TRANSFORMS[self.transform](self.values.astype(np.float64))
        largest = values.max()
        return values / largest if largest > 0 else values

    @property
    def areas(self) -> tuple[Area, ...]:
        """The centred squares that hold 0.2, 0.3, 0.5 and 0.99 of the transformed sum.

        Centred on the middle of the unit's box, as far as the image goes.
        """
        top, left, bottom, right = self.field.box(*self.unit) or (0, 0, 0, 0)
        y, x = (top + bottom) // 2, (left + right) // 2
        shown = self.shown
        height, width = shown.shape
        total, found = shown.sum(), []
        for share in SHARES:
            reach = 0
            while reach < max(height, width):
                square = shown[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
                if square.sum() > share * total:
                    break
                reach += 1
            side = 2 * reach + 1
            found.append(Area(share, side, side * side / (height * width)))
        return tuple(found)

    @property
    def variance(self) -> tuple[Fraction | float, Fraction | float]:
        """Of the row and of the column of a pixel drawn with the values as weights.

        Exact for counts: n layers of k ones give n(k² - 1)/12.
        """
        return _variance(self.values.sum(1)), _variance(self.values.sum(0))

    def __repr__(self) -> str:
        height, width = self.values.shape
        return (
            f"EffectiveField(unit={self.unit}, {height}x{width}, weights={self.weights!r}, "
            f"runs={self.runs}, transform={self.transform!r})"
        )


def _variance(weights: Array) -> Fraction | float:
    if weights.dtype.kind == "f":
        places = np.arange(len(weights))
        middle = float((weights * places).sum() / weights.sum())
        return float((weights * (places - middle) ** 2).sum() / weights.sum())
    counts = [int(w) for w in weights]
    total = sum(counts)
    mean = Fraction(sum(i * w for i, w in enumerate(counts)), total)
    return Fraction(sum(i * i * w for i, w in enumerate(counts)), total) - mean * mean


def effective_receptive_field(
    node: Node,
    variables: Mapping[str, Any] | Literal["ones"] | None = None,
    images: Any = None,
    *,
    wrt: Node | None = None,
    unit: tuple[int, int] | None = None,
    size: Mapping[str, int] | None = None,
    transform: str = "sqrt",
    part: Literal["absolute", "positive"] = "absolute",
    runs: int = 20,
    seed: int = 0,
) -> EffectiveField:
    """How much each pixel counts for one unit of ``node``: its gradient, averaged.

    The gradient of the sum of the unit's channels goes back to ``wrt``, its parts (or the positive
    ones) are added over channels and averaged over images (Luo et al. 2016; ``part="positive"``
    and ``transform="log10(x+1)"`` are Ding et al. 2022's). The network is taken as it predicts:
    without dropout, normalized by running statistics.

    variables: trained ones; None draws new ones for each run, by the parameters' initializers;
    ``"ones"`` counts paths instead: every weight 1, every window a sum, no rectifier, exact
    integers. images: (n, …) for ``wrt``; left out, standard normal ones, one a run. unit: (row,
    column), the middle one if left out. size: numbers for symbolic sizes. transform: ``"none"``,
    ``"sqrt"`` or ``"log10(x+1)"``. runs, seed: how many are drawn, and from which seed on.

    Raises GraphError: another transform, a ``wrt`` that is no input (paths may end at any node),
    images of another shape, and what ``gx.receptive_field`` raises.

    >>> import graphc as gx
    >>> x = h = gx.input("x", (1, 1, 1, 9))
    >>> for name in "ab":
    ...     h = gx.conv2d(h, gx.parameter(name, (1, 1, 1, 3)), padding=(0, 1))
    >>> counted = gx.effective_receptive_field(h, "ones")
    >>> counted.values.tolist(), counted.variance[1]
    ([[0, 0, 1, 2, 3, 2, 1, 0, 0]], Fraction(4, 3))
    """
    if transform not in TRANSFORMS:
        raise GraphError(
            f"effective_receptive_field: transform={transform!r} is not one of "
            f"{', '.join(map(repr, TRANSFORMS))}"
        )
    if part not in ("absolute", "positive"):
        raise GraphError(f"effective_receptive_field: part={part!r}: 'absolute' or 'positive'")
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        raise GraphError(f"effective_receptive_field: runs={runs!r} is not an int of 1 or more")
    field = receptive_field(checked_node(node, "effective_receptive_field"), wrt, size)
    way = field.way
    shape = (1, 1, *way.shape(node))[-2:]
    at = (shape[0] // 2, shape[1] // 2) if unit is None else unit
    y = way.position(node, -2, at[0], "row")
    x = way.position(node, -1, at[1], "column")
    if isinstance(variables, str):
        if variables != "ones":
            raise GraphError(f"effective_receptive_field: variables={variables!r}: give a dict")
        values = paths(way, (y, x))
        return EffectiveField(field, (y, x), values, transform, "ones", 1, 0, "absolute")
    given = _images(field, images, runs, seed)
    values = _gradients(field, (y, x), variables, given, part, seed)
    weights = "random" if variables is None else "given"
    return EffectiveField(field, (y, x), values, transform, weights, len(given), seed, part)


def _images(field: ReceptiveField, images: Any, runs: int, seed: int) -> Array:
    """One image a run, (n, …)."""
    wrt = field.wrt
    if not isinstance(wrt.op, Input):
        raise GraphError(
            f"effective_receptive_field: gradients are taken to an input, not to {wrt!r}; "
            "variables='ones' counts paths to any node",
            nodes=[wrt],
        )
    shape = field.way.shape(wrt)[1:]
    if images is None:
        drawn = np.random.default_rng(seed).standard_normal((runs, *shape))
        return drawn.astype(wrt.dtype)
    array = np.asarray(images)
    if array.shape[1:] != shape or array.ndim != wrt.ndim or not len(array):
        raise GraphError(
            f"effective_receptive_field: images of shape {array.shape} are not images for {wrt!r}",
            nodes=[wrt],
        )
    return array.astype(wrt.dtype)


def _gradients(
    field: ReceptiveField,
    unit: tuple[int, int],
    variables: Mapping[str, Any] | None,
    images: Array,
    part: str,
    seed: int,
) -> Array:
    node = field.node
    graph = Graph({"unit": node}, {}).apply(inference())
    one = graph.outputs["unit"]
    if node.ndim >= 2:
        one = one[..., unit[0], unit[1]]
    graph = Graph({"loss": sum_(one)}, {}).apply(backward(wrt=[field.wrt]))
    name = next(name for name, leaf in graph.inputs.items() if leaf is field.wrt)
    batch = field.way.shape(field.wrt)[0]
    # With the loss: of a linear network the gradient alone would not read the image.
    program = compile(graph, backend="numpy")
    total = np.zeros(field.way.shape(field.wrt)[-2:])
    for run, image in enumerate(images):
        held = program.init(seed + run) if variables is None else dict(variables)
        given = {name: np.repeat(image[None], batch, 0)}
        gradient = program(held, given)[f"grad/{name}"][0].astype(np.float64)
        gradient = np.abs(gradient) if part == "absolute" else np.maximum(gradient, 0)
        total += gradient.reshape(-1, *total.shape).sum(0)
    return total / len(images)


# -- counting paths -------------------------------------------------------------------------------


def paths(way: Way, unit: tuple[int, int]) -> Array:
    """How many ways lead from a unit of ``way.node`` to each pixel of ``way.wrt``."""
    shape = way.shape(way.node)
    counts: dict[Node, Array] = {way.node: np.zeros(shape, np.int64)}
    start = counts[way.node]
    if start.ndim > 1:
        start[..., unit[0], unit[1]] = 1
    else:
        start[..., unit[1]] = 1
    for edge in way.edges:
        here = counts.get(edge.user)
        if here is None:
            continue
        back = _counted(here, edge, way)
        counts[edge.source] = _added(counts[edge.source], back) if edge.source in counts else back
    found = _wide(counts[way.wrt], _sum(counts[way.wrt]))
    plane = (1, 1, *found.shape)[-2:]
    total: Array = found.reshape(-1, *plane).sum(0)
    return total


def _added(one: Array, other: Array) -> Array:
    bound = int(other.max(initial=0)) + int(one.max(initial=0))
    added: Array = _wide(one, bound) + _wide(other, bound)
    return added


def _wide(counts: Array, bound: int) -> Array:
    return counts.astype(object) if bound >= LARGEST_COUNT else counts


def _counted(here: Array, edge: Edge, way: Way) -> Array:
    """The counts of the user's elements as counts of the source's."""
    found = links(edge)
    shape = way.shape(edge.source)
    if found is None:
        return here.reshape(shape)
    followed = [axis for axis, _ in found if axis is not None]
    dropped = tuple(axis for axis in range(here.ndim) if axis not in followed)
    here = _wide(here, _sum(here))
    rest = [axis for axis in range(here.ndim) if axis in followed]
    here = here.sum(dropped) if dropped else here
    # In the order of the source's axes, then axis by axis.
    here = here.transpose([rest.index(axis) for axis in followed]) if followed else here
    for at, ((axis, window), size) in enumerate(zip(found, shape, strict=True)):
        if axis is None:
            here = np.repeat(np.expand_dims(here, at), size, at)
            continue
        taps, pad = evaluate(window.size, way.sizes), evaluate(window.pad, way.sizes)
        matrix: Array = np.zeros((here.shape[at], size), np.int64)
        for position in range(here.shape[at]):
            read = look(Progressions.span(position, position), window, taps, pad, size)
            matrix[position, read.clip(0, size - 1).array()] = 1
        here = _wide(here, _sum(here))
        moved = np.moveaxis(here, at, -1)
        here = np.moveaxis(moved @ matrix.astype(moved.dtype), -1, at)
    counted: Array = here
    return counted


def _sum(counts: Array) -> int:
    """A bound of any sum of the counts."""
    return int(counts.max(initial=0)) * max(counts.size, 1)
