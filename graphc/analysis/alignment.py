"""Whether all ways from an image to a node are centred alike: the proof, or the unit that refutes
it (Araujo, Norris and Sim, Computing Receptive Fields, Distill 2019, on alignment)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from graphc.analysis import hulls, regions
from graphc.analysis.hulls import View, Views
from graphc.analysis.quasi import zero
from graphc.analysis.reads import Edge
from graphc.analysis.way import Apart, Survey, Way, short
from graphc.ir import Dim, GraphError, Node, dims, facts
from graphc.ir.dims import Size
from graphc.ir.graph import post_order
from graphc.ir.leaves import input as declare
from graphc.ir.node import make
from graphc.ir.types import TensorType

# Sizes up to this one (and up to the graph's own) are tried for a smallest counterexample.
LARGEST_TRIED = 256


@dataclass(frozen=True, slots=True)
class Step:
    """A node of a certificate, with what its units see along the rows and columns of ``wrt``."""

    node: Node
    views: Views

    @property
    def stride(self) -> tuple[int | None, int | None]:
        """By how many pixels a unit's view moves from the one before it, (rows, columns).

        None along an axis of which every unit sees everything, or where there are phases.
        """
        rows, columns = map(_claim, self.views)
        return rows and rows[0], columns and columns[0]

    @property
    def centre(self) -> tuple[Fraction | None, Fraction | None]:
        """On which pixel unit (0, 0) is centred. Raises GraphError: it depends on the size."""
        found = []
        for claim in map(_claim, self.views):
            if claim is not None and isinstance(claim[1], Dim):
                raise GraphError(f"the centre depends on the size: {claim[1]} half pixels")
            found.append(Fraction(claim[1], 2) if claim and isinstance(claim[1], int) else None)
        return found[0], found[1]


@dataclass(frozen=True)
class Certificate:
    """Why a node is aligned: a stride and a centre for each node on the way to it, such that every
    edge carries its source's onto its user's. Where no rule tells how a node's view moves (maps
    beside each other), all its units are the proof. ``holds()`` checks it, edge by edge, each on
    its own, then unit by unit where that is needed."""

    node: Node
    wrt: Node
    steps: tuple[Step, ...]
    _claim: Views
    _way: Way

    def holds(self) -> bool:
        """Whether each edge agrees with the two steps that it connects, and each unit."""
        known = {step.node: step for step in self.steps}
        for edge in self._way.edges:
            if edge.source not in known or edge.user not in known:
                return False
            seen = hulls.follow(known[edge.source].views, edge, self._way.sizes)
            for found, claimed in zip(seen, known[edge.user].views, strict=True):
                regular = not any(isinstance(v, hulls.Irregular) for v in (found, claimed))
                if regular and not _centred_alike(found, claimed):
                    return False
        irregular = any(
            isinstance(v, hulls.Irregular) or (isinstance(v, tuple) and any(t.mixed for t in v))
            for v in known[self.node].views
        )
        return not irregular or all(map(self._unit_holds, self._units()))

    def _units(self) -> list[tuple[int, int]]:
        height, width = (1, 1, *self._way.shape(self.node))[-2:]
        return [*((y, 0) for y in range(height)), *((0, x) for x in range(width))]

    def _unit_holds(self, unit: tuple[int, int]) -> bool:
        seen = self._way.back({-2: unit[0], -1: unit[1]}, clip=False)
        for axis, view in zip((-2, -1), self._claim, strict=True):
            positions = regions.along(seen, axis)
            if isinstance(view, tuple) and hulls.around(view, unit) != (
                positions.first,
                positions.last,
            ):
                return False
        return True

    def __repr__(self) -> str:
        return f"Certificate({len(self.steps)} nodes, {len(self._way.edges)} edges)"


def _claim(view: View) -> tuple[int, Size] | None:
    """Stride and twice the centre of the first unit."""
    if isinstance(view, tuple) and len(view) == 1 and view[0].period == 1:
        span = view[0].table[0]
        return None if span is None else (view[0].advance, span[0] + span[1])
    return None


def _centred_alike(one: View, other: View) -> bool:
    if not isinstance(one, tuple) or not isinstance(other, tuple):
        return one == other and not isinstance(one, hulls.Irregular)
    if len(one) != 1 or len(other) != 1:
        return False
    a, b = one[0], other[0]
    if (a.axis != b.axis and a.advance) or a.advance * b.period != b.advance * a.period:
        return False
    for unit in range(math.lcm(a.period, b.period)):
        p, q = a.at(unit), b.at(unit)
        if p is not None and q is not None and not _zero(p[0] + p[1] - q[0] - q[1]):
            return False
    return True


def _zero(size: Size) -> bool:
    return size == 0 if isinstance(size, int) else zero(size).always


@dataclass(frozen=True)
class Counterexample:
    """Why a node is not aligned: two ways to ``meeting`` that are centred differently.

    ``paths``: the nodes of the two, from where they part to where they meet. ``kind``: "centre"
    (all units are off by ``offset``), "stride" (they drift apart), "phase" (it depends on the
    unit's phase, as after a transposed convolution; ``offset`` is from where a view that moves
    evenly would be), "whole" (one way sees everything), "axes" (one is transposed), "units" (units
    differ in another way). ``offset``: by how many pixels (rows,
    columns) the second way's centre lies after the first's at ``unit``, None where it has none.
    ``size``: the smallest (height, width) of ``wrt`` at which it shows, ``unit``: the first unit
    (y, x) of ``meeting`` there, ``boxes``: (top, left, bottom, right) that it sees by either way,
    as if maps went on for ever. ``when``: at which sizes the ways agree, where that depends on the
    size. ``repair``: the padding that makes them agree, in words; None where no padding does, and
    ``reason`` says why.
    """

    node: Node
    wrt: Node
    meeting: Node
    paths: tuple[tuple[Node, ...], tuple[Node, ...]]
    kind: str
    offset: tuple[Fraction, Fraction] | None
    size: tuple[int, int] | None
    unit: tuple[int, int]
    boxes: tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None
    when: str | None
    repair: str | None
    reason: str | None

    def __str__(self) -> str:
        ways = [" -> ".join(map(short, path)) for path in self.paths]
        text = ways[0] + (f"\nand {ways[1]}" if ways[1] != ways[0] else "") + f"\n{self.what}"
        if self.size is not None:
            text += f"; smallest size {self.size[0]}x{self.size[1]}, unit {self.unit}"
        if self.boxes is not None:
            text += f", boxes {self.boxes[0]} and {self.boxes[1]}"
        if self.when is not None:
            text += f"\nthey agree where {self.when}"
        return text + (f"\nto repair: {self.repair}" if self.repair else f"\n{self.reason}")

    @property
    def what(self) -> str:
        """The disagreement in words."""
        if self.kind == "centre" and self.offset is not None:
            y, x = (float(part) for part in self.offset)
            return f"are centred {y:g} rows and {x:g} columns apart"
        return {
            "stride": "have different strides, so they drift apart",
            "phase": "the units are centred differently from phase to phase",
            "whole": "disagree: one of them sees everything",
            "axes": "disagree: one of them turns rows into columns",
        }.get(self.kind, "what is seen does not move evenly from unit to unit")


# -- looking for it -------------------------------------------------------------------------------


def certificate(survey: Survey, way: Way, claim: Views) -> Certificate:
    """The proof for a node that is aligned."""
    between = {way.wrt, *(edge.user for edge in way.edges)}
    steps = [Step(node, seen.views) for node, seen in survey.seen.items() if node in between]
    return Certificate(way.node, way.wrt, tuple(steps), claim, way)


def parted(survey: Survey, apart: Apart) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The two paths, each from where they part to where they meet."""
    one, other = survey.path(apart.one), survey.path(apart.other)
    shared = 0
    while shared + 1 < min(len(one), len(other)) - 1 and one[shared + 1] is other[shared + 1]:
        shared += 1
    return one[shared:], other[shared:]


def by_path(survey: Survey, edge: Edge) -> tuple[View, View]:
    """What the user of ``edge`` sees by the one path through it."""
    trail: list[Edge] = [edge]
    while (before := survey.seen[trail[-1].source].edge) is not None:
        trail.append(before)
    views = hulls.begin(survey.wrt.ndim)
    for step in reversed(trail):
        views = hulls.follow(views, step, survey.sizes)
    return views


@dataclass(frozen=True, slots=True)
class Shown:
    """A disagreement at one unit."""

    size: tuple[int, int]
    unit: tuple[int, int]
    offset: tuple[Fraction, Fraction] | None
    boxes: tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None


def show(survey: Survey, apart: Apart) -> Shown | None:
    """The first unit of the meeting node at which the two ways disagree, at these sizes."""
    try:
        shape = (1, 1, *apart.meeting.type.concrete(survey.sizes))[-2:]
        size = (1, 1, *survey.wrt.type.concrete(survey.sizes))[-2:]
    except KeyError:
        return None
    one, other = by_path(survey, apart.one), by_path(survey, apart.other)
    ranges = [range(min(n, 4096)) for n in shape]
    units = [(y, 0) for y in ranges[0]] + [(0, x) for x in ranges[1]]
    whole = any(d.kind == "whole" for d in apart.differences)
    for unit in sorted(units, key=sum):
        a, b = (_box(views, unit, size) for views in (one, other))
        if a is None or b is None:
            continue
        offset = (
            Fraction(b[0] + b[2] - a[0] - a[2], 2),
            Fraction(b[1] + b[3] - a[1] - a[3], 2),
        )
        if whole or any(offset):
            return Shown((size[0], size[1]), unit, None if whole else offset, (a, b))
    return None


def _box(
    views: tuple[View, View], unit: tuple[int, int], size: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    ends: list[tuple[int, int]] = []
    for view, extent_ in zip(views, size, strict=True):
        if isinstance(view, hulls.Whole):
            ends.append((0, extent_ - 1))
            continue
        span = hulls.around(view, unit) if isinstance(view, tuple) else None
        if span is None or isinstance(span[0], Dim) or isinstance(span[1], Dim):
            return None
        ends.append((span[0], span[1]))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def smallest(survey: Survey, apart: Apart) -> Shown | None:
    """The first unit of the smallest square image, of all sizes, on which two ways disagree."""
    copy = any_size(survey, apart.meeting)
    if copy is None:
        return None
    image, meeting, own = copy
    tried = range(1, max(LARGEST_TRIED, *own) + 1)
    for _, sizes in fitting(image, meeting, survey.sizes, tried):
        found = Survey.of([meeting], image, sizes, "receptive_field")
        there = found.seen[meeting].apart
        if there is not None and there.meeting is meeting:
            shown = show(found, there)
            if shown is not None:
                return shown
    return None


def fitting(
    image: Node, node: Node, known: Mapping[str, int], sizes: Iterable[int]
) -> Iterator[tuple[int, dict[str, int]]]:
    """Those heights and widths of an image on which every window up to ``node`` fits, with all
    named sizes."""
    names = [size.name for size in image.shape[-2:] if isinstance(size, Dim)]
    below = post_order([node])
    guards = {guard for each in below for guard in each.guards}
    shapes = {size for each in below for size in each.shape if isinstance(size, Dim)}
    for size in sizes:
        given = {**known, **{name: size for name in names if name is not None}}
        try:
            fits = all(guard.holds(given) for guard in guards)
            if fits and all(shape.evaluate(given) >= 1 for shape in shapes):
                yield size, given
        except KeyError:
            return  # another size is not known


def any_size(survey: Survey, node: Node) -> tuple[Node, Node, list[int]] | None:
    """The way to ``node`` on an image of any height and width, if its ops allow that."""
    wrt = survey.wrt
    if wrt.ndim < 3:
        return None
    taken = dims.names(wrt.shape) | survey.sizes.keys()
    plane: list[Size] = []
    own: list[int] = [1]
    for size, name in zip(wrt.shape[-2:], ("height", "width"), strict=True):
        fixed = hulls.known(size, survey.sizes)
        own += [fixed] if isinstance(fixed, int) else []
        if isinstance(size, Dim) and size.name is not None:
            plane.append(size)
            continue
        while name in taken:
            name += "_"
        plane.append(Dim.named(name))
    lead = tuple(hulls.known(size, survey.sizes) for size in wrt.shape[:-2])
    image = declare("image", TensorType((*lead, *plane), wrt.dtype).shape, wrt.dtype)
    new = {wrt: image}
    for each in post_order([node]):
        if each in new or not any(source in new for source in each.inputs):
            continue
        try:
            with facts.derive(each):
                new[each] = make(each.op, *(new.get(source, source) for source in each.inputs))
        except GraphError:
            return None  # an op that fixes the size: a reshape, a fully connected layer
    return image, new[node], own
