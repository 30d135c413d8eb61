"""Receptive fields: which input pixels a unit of a map depends on, exactly, on any graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphc.analysis import alignment, hulls, regions
from graphc.analysis.alignment import Certificate, Counterexample, Shown
from graphc.analysis.hulls import Track, View
from graphc.analysis.progressions import Progressions
from graphc.analysis.regions import Region
from graphc.analysis.repair import advice
from graphc.analysis.table import table
from graphc.analysis.way import (
    Apart,
    Survey,
    Way,
    checked_node,
    extent,
    independent,
    short,
    unknown,
)
from graphc.ir import Dim, Graph, GraphError, Node, dims
from graphc.ir.dims import Size

Box: TypeAlias = tuple[int, int, int, int]
Pair: TypeAlias = tuple[Size, Size]
Mask: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.bool_]]"
# Units looked at, at most, where no rule tells how the field moves.
MOST_UNITS = 4096


class ReceptiveField:
    """What the units of ``node`` see of ``wrt``; made by ``gx.receptive_field``.

    Attributes: ``size``, ``stride``, ``padding``: (h, w), such that unit (y, x) sees the rows from
    y·stride - padding on, size of them, and columns alike (Araujo, Norris and Sim, Distill 2019;
    where a map was transposed on the way, rows go with x);
    stride and padding are 0 along an axis of which every unit sees all. A padding that depends on a
    symbolic size is an expression of it. ``aligned``: whether all ways from ``wrt`` to ``node`` are
    centred alike, so that these numbers hold; where they are not, ``size`` is the largest hull of a
    unit, ``stride`` and ``padding`` are None, and ``paths`` tells the two ways that disagree. None:
    that depends on the size (``alignment`` says how), ``padding`` is None then.
    """

    node: Node
    wrt: Node

    def __init__(self, node: Node, survey: Survey) -> None:
        self.node = node
        self.wrt = survey.wrt
        self._survey = survey
        self._seen = survey.seen[node]

    # -- numbers ------------------------------------------------------------------------------

    @cached_property
    def way(self) -> Way:
        """All that lies between ``wrt`` and ``node``."""
        return self._survey.way(self.node)

    @cached_property
    def views(self) -> tuple[View, View]:
        """Rows and columns, as far as they follow the unit's row or column."""
        found: list[View] = []
        for axis, view in zip((-2, -1), self._seen.views, strict=True):
            if isinstance(view, tuple) and any(a >= -2 for t in view for a in t.mixed):
                found.append(self._unit_by_unit(axis))
            elif isinstance(view, hulls.Irregular):
                if view.size is not None:
                    raise unknown(self.wrt, view.size)
                found.append(self._unit_by_unit(axis))
            elif isinstance(view, tuple) and any(t.axis < -2 for t in view):
                found.append(self._all_along(view))
            else:
                found.append(view)
        return found[0], found[1]

    def _all_along(self, view: tuple[Track, ...]) -> View:
        """Tracks that move along another axis than rows and columns, all of which is asked for."""
        still: list[Track] = []
        for track in view:
            if track.axis >= -2:
                still.append(track)
                continue
            count = extent(self.node, track.axis, self._survey.sizes)
            if isinstance(count, Dim):
                return hulls.WHOLE
            span = hulls.hull([s for s in map(track.at, range(count)) if s is not None])
            still.append(Track(-1, 0, (span,)))
        return tuple(dict.fromkeys(still))

    def _unit_by_unit(self, axis: int) -> View:
        """What units of the map see along an axis, one by one, until one breaks the rule."""
        seen = self._seen.views[axis + 2]
        largest = seen.largest if isinstance(seen, hulls.Irregular) else None
        broken = hulls.Irregular((-2, -1), largest=largest)
        shape = (1, 1, *self.way.shape(self.node))[-2:]
        first = self._ends(axis, (0, 0))
        after = (
            self._ends(axis, (min(1, shape[0] - 1), 0)),
            self._ends(axis, (0, min(1, shape[1] - 1))),
        )
        if first is None or None in after:
            return broken
        steps = [then[0] - first[0] for then in after if then is not None]
        if all(steps):
            return broken  # it moves with both
        for y, x in _looked_at(shape):
            moved = y * steps[0] + x * steps[1]
            if self._ends(axis, (y, x)) != (first[0] + moved, first[1] + moved):
                return broken
        return (Track(-2 if steps[0] else -1, sum(steps), (first,)),)

    def _ends(self, axis: int, unit: tuple[int, int]) -> tuple[int, int] | None:
        """First and last position along an axis of ``wrt`` that a unit sees, on endless maps."""
        at = {-2: unit[0], -1: unit[1]}
        seen = project(self.way.back(at, clip=False), axis)
        return (seen.first, seen.last) if seen else None

    @cached_property
    def size(self) -> Pair:
        """Height and width of what a unit sees; the largest, where units differ.

        Where no rule tells how the view moves (maps beside each other, rows made columns by a
        reshape) and there are more than 4,096 units, of those on the border and on a diagonal.
        """
        found = [self._size(axis, view) for axis, view in zip((-2, -1), self.views, strict=True)]
        return found[0], found[1]

    def _size(self, axis: int, view: View) -> Size:
        if isinstance(view, hulls.Whole):
            return extent(self.wrt, axis, self._survey.sizes)
        if isinstance(view, tuple) and len(view) == 1:
            return view[0].size
        shape = (1, 1, *self.way.shape(self.node))[-2:]
        if isinstance(view, tuple):
            # Between tracks that drift apart the hull is widest at one end of the map.
            period = max(track.period for track in view)
            units = [{*range(min(n, period)), *range(max(n - period, 0), n)} for n in shape]
            spans = [hulls.around(view, (y, x)) for y in units[0] for x in units[1]]
            return max((hulls.length(span) for span in spans if span is not None), default=0)
        if view.largest is not None:
            return view.largest
        ends = (self._ends(axis, unit) for unit in _looked_at(shape))
        return max((last - first + 1 for first, last in filter(None, ends)), default=0)

    @cached_property
    def aligned(self) -> bool | None:
        """Whether one (size, stride, padding) describes every unit; None: by the image's size."""
        if self._seen.apart is not None or not all(map(_moves_evenly, self.views)):
            return False
        return None if self._seen.unsure else True

    @property
    def stride(self) -> Pair | None:
        """By how many pixels the view moves from unit to unit, (h, w); None where unaligned."""
        if self.aligned is False:
            return None
        rows, columns = (v[0].advance if isinstance(v, tuple) else 0 for v in self.views)
        return rows, columns

    @property
    def padding(self) -> Pair | None:
        """How many pixels above and left of the image unit (0, 0) begins; None where unaligned."""
        if not self.aligned:
            return None
        rows, columns = map(_before, self.views)
        return rows, columns

    @property
    def centre_offset(self) -> tuple[int | Fraction, int | Fraction] | None:
        """(size - 1) / 2 - padding: on which pixel unit (0, 0) is centred, (rows, columns).

        0 where the first unit looks at the first pixel. Raises GraphError where that depends on a
        symbolic size that is not given; None where unaligned.
        """
        if self.padding is None:
            return None
        found: list[int | Fraction] = []
        for size, padding in zip(self.size, self.padding, strict=True):
            if isinstance(size, Dim) or isinstance(padding, Dim):
                names = dims.names((size, padding))
                raise unknown(self.wrt, min(names))
            twice = size - 1 - 2 * padding
            found.append(Fraction(twice, 2) if twice % 2 else twice // 2)
        return found[0], found[1]

    @property
    def exceeds(self) -> bool:
        """Whether a unit's field is larger than the image. Raises GraphError: a size is needed."""
        for axis, size in zip((-2, -1), self.size, strict=True):
            whole = extent(self.wrt, axis, self._survey.sizes)
            if size == whole:
                continue
            if isinstance(size, Dim) or isinstance(whole, Dim):
                raise unknown(self.wrt, min(dims.names((size, whole))))
            if size > whole:
                return True
        return False

    @property
    def whole_batch(self) -> tuple[Node, ...]:
        """The normalizations by batch statistics on the way: through them a unit depends on the
        whole batch, which is left out, as in the published tables."""
        return self.way.whole_batch

    # -- alignment ----------------------------------------------------------------------------

    @property
    def paths(self) -> tuple[str, str] | None:
        """The two ways that disagree, from where they part to where they meet; None if aligned."""
        if self.aligned:
            return None
        apart = self._apart
        if apart is None:
            axis = next(i for i, view in enumerate(self.views) if not _moves_evenly(view))
            what = ("row", "column")[axis]
            text = " -> ".join(map(short, self._path))
            return f"{text} at {what} 0", f"{text} at {what} 1"
        one, other = alignment.parted(self._survey, apart)
        return " -> ".join(map(short, one)), " -> ".join(map(short, other))

    @property
    def _apart(self) -> Apart | None:
        return self._seen.apart or next(iter(self._seen.unsure), None)

    @property
    def _path(self) -> tuple[Node, ...]:
        """One way from ``wrt`` to the node."""
        edge = self._seen.edge
        return (self.node,) if edge is None else self._survey.path(edge)

    @cached_property
    def alignment(self) -> Certificate | Counterexample:
        """The proof that the node is aligned, or the unit that refutes it.

        For a size that is not given it is about all sizes: a counterexample tells the smallest.
        """
        if self.aligned:
            return alignment.certificate(self._survey, self.way, self.views)
        apart = self._apart
        if apart is None:
            return self._by_phase()
        survey = self._survey
        shown = alignment.smallest(survey, apart) or alignment.show(survey, apart)
        paths = alignment.parted(survey, apart)
        when = [d.when for d in apart.differences if d.when is not None]
        repair, reason = advice(survey, apart)
        return Counterexample(
            self.node, self.wrt, apart.meeting, paths, _kind(apart),
            shown.offset if shown else None, shown.size if shown else None,
            shown.unit if shown else (0, 0), shown.boxes if shown else None,
            " and ".join(map(str, dict.fromkeys(when))) or None, repair, reason,
        )  # fmt: skip

    def _by_phase(self) -> Counterexample:
        """Unaligned by itself: one way, whose field does not move evenly."""
        path = self._path
        phase = all(isinstance(v, (tuple, hulls.Whole)) for v in self.views)
        shown = self._uneven()
        why = "depends on its phase" if phase else "depends on where it stands"
        return Counterexample(
            self.node, self.wrt, self.node, (path, path), "phase" if phase else "units",
            shown.offset if shown else None, shown.size if shown else None,
            shown.unit if shown else (0, 0), shown.boxes if shown else None,
            None, None, f"no padding repairs it: what a unit sees {why}",
        )  # fmt: skip

    def _uneven(self) -> Shown | None:
        """The first unit that is not where an even movement from unit (0, 0) puts it."""
        try:
            shape = (1, 1, *self.way.shape(self.node))[-2:]
            size = (1, 1, *self.way.shape(self.wrt))[-2:]
        except GraphError:
            return None
        first = self.box(0, 0, clip=False)
        if first is None:
            return None
        units = [(y, 0) for y in range(shape[0])] + [(0, x) for x in range(shape[1])]
        for unit in sorted(units, key=sum):
            box = self.box(*unit, clip=False)
            if box is None:
                continue
            offset = [Fraction(box[i] + box[i + 2] - first[i] - first[i + 2], 2) for i in (0, 1)]
            for axis in (0, 1):
                offset[axis] -= self._even(axis, unit, first)
            if any(offset):
                return Shown((size[0], size[1]), unit, (offset[0], offset[1]), (first, box))
        return None

    def _even(self, axis: int, unit: tuple[int, int], first: Box) -> Fraction:
        """How far an even movement along an axis of ``wrt`` has come at a unit: by the mean of a
        period, or, where there is none, as far as the second unit is from the first."""
        view = self.views[axis]
        if isinstance(view, tuple):
            track = view[0]
            return unit[2 + track.axis] * Fraction(track.advance, track.period)
        if isinstance(view, hulls.Whole) or not any(unit):
            return Fraction(0)
        second = self.box(min(unit[0], 1), min(unit[1], 1), clip=False) or first
        move = Fraction(second[axis] + second[axis + 2] - first[axis] - first[axis + 2], 2)
        return max(unit) * move

    # -- sets ---------------------------------------------------------------------------------

    def region(self, y: int | None, x: int | None, channel: int | None = None) -> Region:
        """What unit (y, x) sees of ``wrt``: products of ``Progressions``, one for each axis.

        None stands for every row, column or channel. The union of the products is the set.
        """
        return self.way.back(self._unit(y, x, channel))

    def _unit(self, y: int | None, x: int | None, channel: int | None = None) -> dict[int, int]:
        asked = ((-2, y, "row"), (-1, x, "column"), (-3, channel, "channel"))
        return {
            axis: self.way.position(self.node, axis, unit, what)
            for axis, unit, what in asked
            if unit is not None
        }

    def hull(self, y: int, x: int) -> tuple[Size, Size, Size, Size] | None:
        """``box(y, x, clip=False)``, where a padding is symbolic an expression of the size."""
        views = self.views
        if any(isinstance(view, hulls.Irregular) for view in views):
            seen = self.way.back(self._unit(y, x), clip=False)
            return box_of(seen) if seen else None
        ends: list[tuple[Size, Size]] = []
        at = (self._place(-2, y, "row"), self._place(-1, x, "column"))
        for axis, view in zip((-2, -1), views, strict=True):
            if isinstance(view, tuple):
                span = hulls.around(view, at)
                if span is None:
                    return None
                ends.append(span)
            else:
                ends.append((0, extent(self.wrt, axis, self._survey.sizes) - 1))
        return ends[0][0], ends[1][0], ends[0][1], ends[1][1]

    def _place(self, axis: int, unit: int, what: str) -> int:
        """A unit's position, which on a map of a size that is not given must not be negative."""
        size = extent(self.node, axis, self._survey.sizes)
        if isinstance(size, Dim) and isinstance(unit, int) and unit >= 0:
            return unit
        return self.way.position(self.node, axis, unit, what)

    def box(self, y: int, x: int, clip: bool = True) -> Box | None:
        """(top, left, bottom, right), inclusive: the smallest box around what unit (y, x) sees.

        None where it sees nothing: a padding position depends on nothing. With ``clip=False`` as if
        every map went on for ever: negative positions are padding. Negative y and x count from the
        end. Raises GraphError for a unit that is not on the map.
        """
        if clip:
            seen = self.region(y, x)
            return box_of(seen) if seen else None
        hull = self.hull(y, x)
        if hull is None:
            return None
        for value in hull:
            if isinstance(value, Dim):
                raise unknown(self.wrt, min(value.names()))
        return hull  # type: ignore[return-value]

    def row_set(self, y: int) -> Progressions:
        """The rows of ``wrt`` that units of row ``y`` see, as arithmetic progressions."""
        return project(self.region(y, None), -2)

    def column_set(self, x: int) -> Progressions:
        """The columns of ``wrt`` that units of column ``x`` see, as arithmetic progressions."""
        return project(self.region(None, x), -1)

    def rows(self, y: int) -> tuple[int, ...]:
        """The rows of ``wrt`` that units of row ``y`` see, sorted, holes left out."""
        return tuple(self.row_set(y))

    def columns(self, x: int) -> tuple[int, ...]:
        """The columns of ``wrt`` that units of column ``x`` see, sorted, holes left out."""
        return tuple(self.column_set(x))

    def mask(self, y: int, x: int, channel: int | None = None) -> Mask:
        """The pixels that unit (y, x) sees, (height, width): the set itself, not its box.

        channel: of one channel of the map alone; left out, of all of them together.
        """
        return painted(self.region(y, x, channel), self.way.shape(self.wrt))

    # -- showing ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        try:
            text = f"size={_shown(self.size)}, stride={self.stride}, padding={_shown(self.padding)}"
            if not self.aligned:
                text += f", aligned={self.aligned}, paths={self.paths}"
        except GraphError as error:  # a size that decides it is missing
            text = error.message.partition("\n")[0]
        if self.whole_batch:
            text += f", whole_batch={len(self.whole_batch)} normalizations"
        return f"ReceptiveField({text})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: a table, and the picture of the middle unit where viz can."""
        from graphc.ir.display import field_bundle

        return field_bundle(self, str(self.table()))

    def table(self) -> str:
        """The numbers as text, one a line."""
        head = ("", "rows", "columns")
        rows: list[tuple[object, ...]] = [("size", *_cells(self.size))]
        rows += [("stride", *_cells(self.stride)), ("padding", *_cells(self.padding))]
        rows.append(("aligned", {True: "yes", False: "no", None: "by size"}[self.aligned], ""))
        return f"{short(self.node)} of {short(self.wrt)}\n{table(head, rows)}"


def _looked_at(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """All units of a map, or of a large one those on its border and on a diagonal."""
    height, width = shape
    if height * width <= MOST_UNITS:
        return [(y, x) for y in range(height) for x in range(width)]
    rows = np.unique(np.linspace(0, height - 1, MOST_UNITS // 8).round().astype(int)).tolist()
    columns = np.unique(np.linspace(0, width - 1, MOST_UNITS // 8).round().astype(int)).tolist()
    border = [(y, x) for y in rows for x in (0, width - 1)]
    border += [(y, x) for x in columns for y in (0, height - 1)]
    short, long = sorted((rows, columns), key=len)
    diagonal = zip(short, long, strict=False)
    return border + [(a, b) if short is rows else (b, a) for a, b in diagonal]


def _shown(pair: Pair | None) -> str:
    return "None" if pair is None else f"({', '.join(map(str, pair))})"


def _cells(pair: Pair | None) -> tuple[str, str]:
    return ("-", "-") if pair is None else (str(pair[0]), str(pair[1]))


def _kind(apart: Apart) -> str:
    kinds = [difference.kind for difference in apart.differences]
    return next((kind for kind in kinds if kind != "centre"), "centre")


def _moves_evenly(view: View) -> bool:
    if isinstance(view, tuple):
        return len(view) == 1 and view[0].period == 1 and view[0].table[0] is not None
    return isinstance(view, hulls.Whole)


def _before(view: View) -> Size:
    if isinstance(view, tuple) and (span := view[0].table[0]) is not None:
        return -span[0]
    return 0


def project(seen: Region, axis: int) -> Progressions:
    """The rows or columns of a region."""
    if seen and len(seen[0]) < -axis:
        return Progressions.span(0, 0)  # a vector is one row
    return regions.along(seen, axis)


def box_of(seen: Region) -> Box:
    """The smallest box around a region that is not empty."""
    rows, columns = project(seen, -2), project(seen, -1)
    return rows.first, columns.first, rows.last, columns.last


def painted(seen: Region, shape: tuple[int, ...]) -> Mask:
    """A region of a tensor of this shape as a mask of its last two axes."""
    height, width = (1, 1, *shape)[-2:]
    mask = np.zeros((height, width), bool)
    for product in seen:
        rows, columns = (Progressions.span(0, 0), Progressions.span(0, 0), *product)[-2:]
        mask[np.ix_(rows.array(), columns.array())] = True
    return mask


def receptive_field(
    node: Node, wrt: Node | None = None, size: Mapping[str, int] | None = None
) -> ReceptiveField:
    """Which pixels of ``wrt`` the units of ``node`` depend on.

    node: a map (…, H, W), or anything else (a fully connected layer sees everything). wrt: an input
    or any node below; left out, the one image that ``node`` depends on. size: numbers for symbolic
    sizes, ``{"H": 224, "W": 224}``; needed for boxes, rows, columns and masks, which end at the
    border; without it the numbers hold for every size, and a padding that depends on the size is an
    expression of it. Every channel of a unit counts; ops say by their ``receptive`` rules what they
    read. Branches are joined as sets, so boxes, rows, columns and masks are exact, dilation's holes
    included.

    Raises GraphError: ``node`` does not depend on ``wrt``, several inputs and no ``wrt``, a size
    that is needed and not given.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3, 224, 224))
    >>> h = gx.conv2d(x, gx.parameter("w", (8, 3, 7, 7)), stride=2, padding=3)
    >>> field = gx.receptive_field(gx.max_pool2d(h, 3, 2, 1))
    >>> field
    ReceptiveField(size=(11, 11), stride=(4, 4), padding=(5, 5))
    >>> field.box(0, 0), field.box(0, 0, clip=False), field.rows(55)
    ((0, 0, 5, 5), (-5, -5, 5, 5), (215, 216, 217, 218, 219, 220, 221, 222, 223))
    """
    node = checked_node(node, "receptive_field")
    survey = Survey.of([node], wrt, size, "receptive_field")
    if node not in survey.seen:
        raise independent(node, survey.wrt)
    return ReceptiveField(node, survey)


class ReceptiveFields(Mapping[Node, ReceptiveField]):
    """The field of every node that depends on ``wrt``, in the order of the nodes; made by
    ``gx.receptive_fields``. All of them share one sweep over the graph."""

    wrt: Node

    def __init__(self, survey: Survey) -> None:
        self.wrt = survey.wrt
        self._fields = {node: ReceptiveField(node, survey) for node in survey.seen}

    def __getitem__(self, node: Node) -> ReceptiveField:
        return self._fields[node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<ReceptiveFields of {len(self)} nodes, wrt {self.wrt!r}>"


def receptive_fields(
    graph: Graph | Node, wrt: Node | str | None = None, size: Mapping[str, int] | None = None
) -> ReceptiveFields:
    """The receptive field of every node of a graph, by one sweep: its cost grows with the edges.

    graph: a Graph, or a node and all that is below it. wrt: an input (its name will do) or any node
    of it; left out, the one image. size: as in ``gx.receptive_field``. Returns a mapping from node
    to ``ReceptiveField``, of the nodes that depend on ``wrt``. Raises GraphError as that does.

    >>> import graphc as gx
    >>> from graphc import models
    >>> graph = models.build("lenet-5")
    >>> fields = gx.receptive_fields(graph)
    >>> [fields[node].size for node in graph.nodes if node.op.name == "max_pool2d"]
    [(6, 6), (16, 16)]
    """
    given: object = graph
    if isinstance(given, Graph):
        roots: list[Node] = [*given.outputs.values()]
        if isinstance(wrt, str):
            wrt = given.node(wrt)
    else:
        roots = [checked_node(graph, "receptive_fields")]
    if isinstance(wrt, str):
        raise GraphError(f"receptive_fields: wrt={wrt!r} names a node of a Graph; give the node")
    return ReceptiveFields(Survey.of(roots, wrt, size, "receptive_fields"))
