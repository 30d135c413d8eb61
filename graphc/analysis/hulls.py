"""First and last position that the units of every node see, in one sweep forwards.

Maps go on for ever here, as in Araujo, Norris and Sim (Distill 2019): borders play no part, so what
the units see along an axis repeats, moved. A ``Track`` is one period of it. Positions may be
symbolic: the padding of "same" is an expression of the size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from graphc.analysis.quasi import Zero, zero
from graphc.analysis.reads import BROADCAST, POINT, Edge, Links, links
from graphc.ir import dims
from graphc.ir.dims import Dim, Size
from graphc.ir.window import AxisWindow, Windowed

Span: TypeAlias = tuple[Size, Size]
# A table of more phases times taps than this is not made: units are looked at one by one.
MOST_ENTRIES = 1 << 16
MOST_TRACKS = 16


@dataclass(frozen=True, slots=True)
class Track:
    """What units see along one axis of ``wrt``, by their position along ``axis`` of the node.

    ``axis`` is counted from the right. Unit ``m·period + phase`` sees from ``table[phase][0] +
    m·advance`` to ``table[phase][1] + m·advance``, or nothing where the entry is None. ``mixed``:
    axes of the node along which maps that see differently stand beside each other: the spans are
    around what all of them see.
    """

    axis: int
    advance: int
    table: tuple[Span | None, ...]
    mixed: tuple[int, ...] = ()

    @property
    def period(self) -> int:
        """After how many units it repeats."""
        return len(self.table)

    def at(self, unit: int) -> Span | None:
        """First and last position that a unit sees."""
        turns, phase = divmod(unit, len(self.table))
        entry = self.table[phase]
        if entry is None:
            return None
        return entry[0] + turns * self.advance, entry[1] + turns * self.advance

    @property
    def size(self) -> int:
        """The largest hull of a unit."""
        return max((length(e) for e in self.table if e is not None), default=0)


@dataclass(frozen=True, slots=True)
class Whole:
    """All of an axis of ``wrt``, whichever unit it is."""


@dataclass(frozen=True, slots=True)
class Irregular:
    """No rule holds for all units: they are looked at one by one.

    ``axes``: the axes of the node (from the right) by which units differ. ``size``: one that has to
    be given. ``largest``: the largest hull of a unit, where that is known all the same.
    """

    axes: tuple[int, ...]
    size: str | None = None
    largest: int | None = None


# Several tracks: ways whose strides differ, or that turn; a unit's hull is around all of them.
View: TypeAlias = "tuple[Track, ...] | Whole | Irregular"
# Rows and columns of wrt.
Views: TypeAlias = tuple[View, View]
WHOLE = Whole()


def length(span: Span) -> int:
    """How many positions from the first to the last. Paddings cancel, so it is a number."""
    count = span[1] - span[0] + 1
    return count if isinstance(count, int) else 0


def begin(ndim: int) -> Views:
    """What ``wrt`` sees of itself."""
    rows, columns = (Track(axis, 1, ((0, 0),)) for axis in (-2, -1))
    still = Track(-1, 0, ((0, 0),))  # a vector is one row
    return (rows if ndim > 1 else still,), (columns if ndim else still,)


def follow(views: Views, edge: Edge, sizes: Mapping[str, int]) -> Views:
    """What the user of an edge sees by what its source sees."""
    found = links(edge)
    return _over(views[0], edge, found, sizes), _over(views[1], edge, found, sizes)


def _over(view: View, edge: Edge, found: Links | None, sizes: Mapping[str, int]) -> View:
    if isinstance(view, Whole):
        return view
    if isinstance(view, Irregular):
        axes = _carried(view.axes, edge, found)
        pointwise = found is not None and all(window is POINT for _, window in found)
        return Irregular(axes, view.size, view.largest if pointwise else None) if axes else WHOLE
    steps: dict[Track, None] = {}
    for track in view:
        step = _reshaped(track, edge, sizes) if found is None else _step(track, edge, found, sizes)
        if not isinstance(step, Track):
            return step
        steps[step] = None
    return tuple(steps)


def _step(
    view: Track, edge: Edge, found: Links, sizes: Mapping[str, int]
) -> Track | Whole | Irregular:
    moved = _moved(view, edge, found, sizes)
    if not isinstance(moved, Track) or not view.mixed:
        return moved
    mixed = []
    for axis in view.mixed:
        user_axis, window = found[axis]
        if user_axis is None:
            continue  # all of them are read
        mixed.append(user_axis - edge.user.ndim)
        if window is POINT or _keeps_all(window, edge, axis, mixed[-1]):
            continue
        return Irregular((moved.axis, mixed[-1]))  # which of them are read, no track tells
    return replace(moved, mixed=tuple(mixed))


def _keeps_all(window: AxisWindow, edge: Edge, axis: int, user_axis: int) -> bool:
    """Whether every position of the source is one of the user's: a concatenation, a padding."""
    more = edge.user.shape[user_axis] - edge.source.shape[axis]
    plain = window.size == window.stride == window.up == window.per == 1 and not window.special
    return (
        plain and isinstance(more, int) and isinstance(window.pad, int) and 0 <= window.pad <= more
    )


def _moved(
    view: Track, edge: Edge, found: Links, sizes: Mapping[str, int]
) -> Track | Whole | Irregular:
    if -view.axis > len(found):
        return view  # it moves along no axis
    user_axis, window = found[view.axis]
    if user_axis is None:
        if window is BROADCAST:
            return Track(view.axis, 0, (view.table[0],))
        return WHOLE if view.advance or view.period > 1 else view
    axis = user_axis - edge.user.ndim
    if window is POINT:
        return view if axis == view.axis else Track(axis, view.advance, view.table)
    if window.per > 1 or any(window.ends) or window.special:
        return Irregular((axis,))
    taps, pad = known(window.size, sizes), known(window.pad, sizes)
    if not isinstance(taps, int):
        return Irregular((axis,), min(taps.names()))
    return _windowed(view, axis, window, taps, pad)


def beside(edge: Edge) -> int | None:
    """The axis of the user along which other inputs stand beside this one."""
    if isinstance(edge.rule, Windowed):
        for axis, window in edge.rule.axes:
            if any(window.ends):
                return axis
    return None


def _carried(axes: tuple[int, ...], edge: Edge, found: Links | None) -> tuple[int, ...]:
    """By which axes units of the user differ, where those of its source do by ``axes``."""
    ndim = edge.user.ndim
    if found is None:
        return tuple(range(-ndim, 0))
    users = [found[axis][0] for axis in axes if -axis <= len(found)]
    return tuple(axis - ndim for axis in users if axis is not None)


def known(size: Size, sizes: Mapping[str, int]) -> Size:
    """A number where all its names have one, else the expression."""
    if isinstance(size, Dim) and size.names() <= sizes.keys():
        return size.evaluate(sizes)
    return size


def _windowed(
    view: Track, axis: int, window: AxisWindow, taps: int, pad: Size
) -> Track | Irregular:
    stride, gap, up = window.stride, window.dilation, window.up
    advance, period = view.advance, view.period
    if period == 1 and up == 1:
        entry = view.table[0]
        if entry is None:
            return Track(axis, stride * advance, (None,))
        ends = sorted((0, (taps - 1) * gap * advance))
        offset = pad * advance
        span = (entry[0] + ends[0] - offset, entry[1] + ends[1] - offset)
        return Track(axis, stride * advance, (span,))
    if not isinstance(pad, int):
        return Irregular((axis,), min(pad.names()))
    count = up * period // math.gcd(stride, up * period)
    if count * taps > MOST_ENTRIES:
        return Irregular((axis,))
    table = []
    for phase in range(count):
        spans = []
        for tap in range(taps):
            position, rest = divmod(phase * stride + tap * gap - pad, up)
            if rest == 0 and (seen := view.at(position)) is not None:
                spans.append(seen)
        table.append(hull(spans))
    return reduced(Track(axis, count * stride // (up * period) * advance, tuple(table)))


def hull(spans: list[Span]) -> Span | None:
    """First and last of spans whose symbolic parts are the same."""
    if not spans:
        return None
    base = spans[0][0]
    lows = [s[0] - base for s in spans]
    highs = [s[1] - base for s in spans]
    return base + _least(lows), base - _least([-h for h in highs])


def _least(sizes: list[Size]) -> int:
    return min(size for size in sizes if isinstance(size, int))


def reduced(track: Track) -> Track:
    """The same with the shortest period."""
    period = track.period
    for count in range(1, period):
        if period % count or (track.advance * count) % period:
            continue
        step = track.advance * count // period
        part = replace(track, advance=step, table=track.table[:count])
        if all(part.at(u) == track.table[u] for u in range(period)):
            return part
    return track


def _reshaped(view: Track, edge: Edge, sizes: Mapping[str, int]) -> Track | Irregular:
    """Axes that are split or merged (upsampling does both)."""
    if view.advance == 0 and view.period == 1 and not view.mixed:
        return view
    if view.mixed:
        return Irregular(tuple(range(-edge.user.ndim, 0)))
    out = [known(size, sizes) for size in edge.user.shape]
    inside = [known(size, sizes) for size in edge.source.shape]
    outs, ins = _group(out, inside, len(inside) + view.axis)
    target = len(inside) + view.axis
    if outs is None or ins is None:
        return Irregular(tuple(range(-len(out), 0)))
    wide_out = [a for a in outs if out[a] != 1]
    wide_in = [a for a in ins if inside[a] != 1]
    if wide_in and target not in wide_in:
        # An axis of one position, which is always there.
        return Track(-1, 0, (view.table[0],))
    if not wide_out:
        return Track(-1, 0, (view.table[0],))
    if wide_in == [target] and len(wide_out) == 1:
        return Track(wide_out[0] - len(out), view.advance, view.table)
    if len(wide_out) == 1 and wide_in[0] == target:
        # Rows of r positions each: position o belongs to row o // r.
        inner: Size = 1
        for a in wide_in[1:]:
            inner = inner * inside[a]
        if not isinstance(inner, int) or inner * view.period > MOST_ENTRIES:
            return Irregular((wide_out[0] - len(out),))
        table = tuple(view.at(o // inner) for o in range(inner * view.period))
        return reduced(Track(wide_out[0] - len(out), view.advance, table))
    # The same elements in other places: none sees more than one of them did.
    return Irregular(tuple(a - len(out) for a in wide_out), largest=view.size)


def _group(
    out: Sequence[Size], inside: Sequence[Size], target: int
) -> tuple[list[int] | None, list[int] | None]:
    """The axes of both shapes that hold the same elements as axis ``target`` of ``inside``."""
    # From the right, where the image is; sizes may be symbolic, so products are compared as such.
    i, j = len(inside), len(out)
    while i > 0:
        last_in, last_out = i, j
        i, j = i - 1, max(j - 1, 0)
        a: Size = inside[i]
        b: Size = out[j] if j < last_out else 1
        while a != b:
            if j > 0 and (i == 0 or _smaller(b, a)):
                j -= 1
                b = b * out[j]
            elif i > 0:
                i -= 1
                a = a * inside[i]
            else:
                return None, None
        if i <= target:
            return list(range(j, last_out)), list(range(i, last_in))
    return None, None


def _smaller(one: Size, other: Size) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one < other
    return isinstance(one, int) or dims.quotient(other, one) is not None


def around(view: tuple[Track, ...], unit: tuple[int, int]) -> Span | None:
    """First and last position that a unit (y, x) sees by all tracks together."""
    spans = [track.at(unit[2 + track.axis]) for track in view if track.axis in (-2, -1)]
    found: Span | None = None
    for span in spans:
        if span is not None:
            found = span if found is None else _union(found, span)
    return found


# -- joining -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """How two ways to one node disagree along an axis of ``wrt`` (0 rows, 1 columns).

    ``kind``: "centre" (``twice``: the second centre minus the first, in half pixels), "stride",
    "phase" (centres differ from phase to phase), "whole" (one sees everything), "axes" (one turns).
    """

    axis: int
    kind: str
    twice: Size = 0
    when: Zero | None = None  # of ``twice`` where it is symbolic: at which sizes they agree


def join(
    one: View, other: View, axis: int, apart_by: int | None = None
) -> tuple[View, Difference | None]:
    """What is seen by either of two ways, and how their centres differ if they do.

    apart_by: the axis of the node along which the two stand beside each other.
    """
    if isinstance(one, Irregular) or isinstance(other, Irregular):
        axes = {a for v in (one, other) for a in _axes(v)}
        sizes = [v.size for v in (one, other) if isinstance(v, Irregular) and v.size is not None]
        return Irregular(tuple(sorted(axes)), sizes[0] if sizes else None), None
    if one == other:
        return one, None
    if isinstance(one, Whole) or isinstance(other, Whole):
        return WHOLE, Difference(axis, "whole")
    tracks, apart = list(one), None
    for track in other:
        for at, known_ in enumerate(tracks):
            merged, differs = _joined(known_, track, axis)
            apart = apart or differs
            if merged is not None:
                tracks[at] = merged
                break
        else:
            tracks.append(track)
    if len(tracks) > MOST_TRACKS:
        return Irregular(tuple({track.axis: None for track in tracks})), apart
    if apart_by is not None:
        tracks = [replace(t, mixed=tuple(sorted({*t.mixed, apart_by}))) for t in tracks]
    return tuple(tracks), apart


def _axes(view: View) -> tuple[int, ...]:
    if isinstance(view, Irregular):
        return view.axes
    return tuple(track.axis for track in view) if isinstance(view, tuple) else ()


def _joined(one: Track, other: Track, axis: int) -> tuple[Track | None, Difference | None]:
    """Two tracks as one, None where they do not move alike, and how their centres differ."""
    if one == other:
        return one, None
    if one.axis != other.axis and one.advance and other.advance:
        return None, Difference(axis, "axes")
    period = math.lcm(one.period, other.period)
    if one.advance * other.period != other.advance * one.period or period > MOST_ENTRIES:
        return None, Difference(axis, "stride")
    table: list[Span | None] = []
    apart: list[Size] = []
    for unit in range(period):
        a, b = one.at(unit), other.at(unit)
        if a is None or b is None:
            table.append(a or b)
            continue
        apart.append((b[0] + b[1]) - (a[0] + a[1]))
        table.append(_union(a, b))
    advance = one.advance * (period // one.period)
    mixed = tuple(sorted({*one.mixed, *other.mixed}))
    track = reduced(Track(one.axis if one.advance else other.axis, advance, tuple(table), mixed))
    differs = [twice for twice in apart if twice != 0]
    if not differs:
        return track, None
    if len(set(apart)) > 1:
        return track, Difference(axis, "phase")
    when = zero(differs[0]) if isinstance(differs[0], Dim) else None
    if when is not None and when.always:
        return track, None
    return track, Difference(axis, "centre", differs[0], when)


def _union(a: Span, b: Span) -> Span:
    low, high = b[0] - a[0], b[1] - a[1]
    if isinstance(low, int) and isinstance(high, int):
        return a[0] + min(low, 0), a[1] + max(high, 0)
    # Where the size decides it: with equal centres the wider one holds both.
    return a if length(a) >= length(b) else b
