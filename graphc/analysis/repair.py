"""The padding that aligns what is not: one way is moved until its centre is the other's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from graphc.analysis import hulls, reads
from graphc.analysis.quasi import values
from graphc.analysis.reads import Edge
from graphc.analysis.way import Apart, Survey, checked_node, short
from graphc.ir import Dim, Graph, GraphError, Node, dims, facts
from graphc.ir.dims import Size
from graphc.ir.graph import post_order
from graphc.ir.node import make
from graphc.ir.window import AxisWindow
from graphc.ops.padding import Sweep, sides
from graphc.ops.shape import Pad, Slice

SIDES = {-2: ("top", "bottom"), -1: ("left", "right")}
REASONS = {
    "stride": "the strides of the two ways differ",
    "axes": "one way turns rows into columns",
    "phase": "the offset depends on the unit's phase",
    "whole": "one of the two ways sees everything",
    "half": "the centres are half a pixel apart, as those of an even and an odd kernel are",
}
# Of a node an axis (from the right), and how much is padded before it (and cut after it) or after.
Move: TypeAlias = tuple[int, Size, Size]
Target = TypeVar("Target", Graph, Node)


@dataclass(frozen=True, slots=True)
class Fix:
    """One way to move a branch: by the padding of ``node`` (``padding`` is its new one), or by
    padding the value of ``node`` on one side and cutting as much off the other."""

    edge: Edge  # into the meeting node: the branch that is moved
    node: Node
    by: tuple[Move, ...]
    padding: Any = None

    def __str__(self) -> str:
        if self.padding is not None:
            old = getattr(self.node.op, "padding", None)
            return f"padding={self.padding} instead of {old!r} in {short(self.node)}"
        parts = []
        for axis, before, after in self.by:
            first, last = SIDES.get(axis, ("beginning", "end"))
            if before == 0:
                first, last = last, first
            count = before if after == 0 else after
            parts.append(f"pad {count} at the {first} and cut {count} at the {last}")
        return f"behind {short(self.node)}, before {short(self.edge.source)}: {', '.join(parts)}"


def repair(
    target: Target, wrt: Node | str | None = None, size: Mapping[str, int] | None = None
) -> Target:
    """The same graph (or node) with paddings such that all ways from ``wrt`` are centred alike.

    target: a Graph, or a node: the rebuilt one is returned, with the same parameters; shapes stay
    as they are. wrt, size: as in ``gx.receptive_field``. Where the padding of one operation can
    take the shift, it is changed; else a value before it is padded on one side and cut on the
    other. What is aligned already comes back as it is. A padding may be an expression of the
    image's size, and then holds for every size; with ``size`` it is for that size alone.

    Raises GraphError where no padding aligns it: strides differ, centres are half a pixel apart, or
    depend on the unit's phase; or where a size that is not given decides it.

    >>> import graphc as gx
    >>> x = gx.input("x", (1, 1, 8, 8))
    >>> one, two = (gx.parameter(n, (1, 1, k, k)) for n, k in (("one", 1), ("two", 3)))
    >>> y = gx.conv2d(x, one, stride=2) + gx.conv2d(x, two, stride=2, padding="same")
    >>> gx.receptive_field(y).aligned, gx.receptive_field(gx.repair(y)).aligned
    (False, True)
    """
    given: object = target
    if isinstance(given, Graph):
        if isinstance(wrt, str):
            wrt = given.node(wrt)
    else:
        checked_node(given, "repair")
    if isinstance(wrt, str):
        raise GraphError(f"repair: wrt={wrt!r} names a node of a Graph; give the node")
    survey = Survey.of(_roots(target), wrt, size, "repair")
    # Each turn aligns one axis of one meeting for good, those below it being aligned.
    for _ in range(2 * sum(len(node.inputs) for node in survey.seen)):
        apart = _lowest(survey)
        if apart is None:
            break
        fix = _fix(survey, apart, post_order(_roots(target)))
        if isinstance(fix, str):
            raise GraphError(
                f"repair: the ways to {apart.meeting!r} cannot be aligned: {fix}",
                nodes=[apart.meeting],
            )
        target = _applied(target, apart.meeting, fix)
        survey = Survey.of(_roots(target), survey.wrt, survey.sizes, "repair")
    return target


def _roots(target: Graph | Node) -> list[Node]:
    return [*target.outputs.values()] if isinstance(target, Graph) else [target]


def advice(survey: Survey, apart: Apart) -> tuple[str | None, str | None]:
    """(the padding that repairs, None), or (None, why none does)."""
    fix = _fix(survey, apart, tuple(survey.seen))
    if isinstance(fix, str):
        return None, fix
    return str(fix), None


def _lowest(survey: Survey) -> Apart | None:
    """The first meeting that is not aligned: below it everything is."""
    for seen in survey.seen.values():
        if seen.apart is not None:
            return seen.apart
        if seen.unsure:
            return seen.unsure[0]
    return None


def _fix(survey: Survey, apart: Apart, nodes: Sequence[Node]) -> Fix | str:
    """The least change that aligns two ways to one node of ``nodes``, or why there is none."""
    offsets: dict[int, Size] = {}
    for difference in apart.differences:
        if difference.kind in REASONS:
            return f"no padding repairs it: {REASONS[difference.kind]}"
        twice = difference.twice
        if isinstance(twice, Dim):
            found = values(twice)
            if found is None or min(found) < 0 < max(found):
                name = min(twice.names())
                return f"the padding that repairs it depends on {name}: say size={{{name!r}: …}}"
        else:
            found = frozenset([twice])
        if any(value % 2 for value in found):
            return f"no padding repairs it: {REASONS['half']}"
        offsets[difference.axis] = twice // 2
    users = _users(nodes)
    # Both axes at once where one node can do it, else one after the other.
    for wanted in (offsets, dict([next(iter(offsets.items()))])):
        fixes = _candidates(survey, apart.one, wanted, users)
        fixes += _candidates(survey, apart.other, {a: -o for a, o in wanted.items()}, users)
        if fixes:
            return min(fixes, key=lambda each: each[0])[1]
    return "no padding repairs it: the offset is no multiple of the stride"


def _users(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    found: dict[Node, list[Node]] = {}
    for user in nodes:
        for source in user.inputs:
            found.setdefault(source, []).append(user)
    return found


def _candidates(
    survey: Survey,
    edge: Edge,
    offsets: Mapping[int, Size],
    users: Mapping[Node, Sequence[Node]],
) -> list[tuple[tuple[int, ...], Fix]]:
    """Where the branch that ends in ``edge`` can be moved by so many pixels, with the costs: uses
    outside the branch of what is made anew, then whether a padding can take it, then how much."""
    branch = post_order([edge.source])
    found: list[tuple[tuple[int, ...], Fix]] = []
    for number, (node, arrives) in enumerate(reversed(_on_every_way(survey, edge.source))):
        later = _after(node, branch)
        outside = {
            each: sum(u is not edge.user and u not in later for u in users.get(each, ()))
            for each in (node, *later)
        }
        if arrives is not None:
            by = _positions(survey, arrives, offsets)
            padding = by and _absorbed(node, arrives, by, survey.sizes)
            if by and padding:
                found.append(
                    ((sum(outside.values()), 0, _far(by), number), Fix(edge, node, by, padding))
                )
        by = _positions(survey, node, offsets)
        if by:
            cost = (sum(outside.values()) - outside[node], 1, _far(by), number)
            found.append((cost, Fix(edge, node, by)))
    return found


def _far(by: Sequence[Move]) -> int:
    return sum(n for _, *both in by for n in both if isinstance(n, int))


def _positions(survey: Survey, node: Node, offsets: Mapping[int, Size]) -> tuple[Move, ...] | None:
    """The offsets in positions of ``node``, by its axes; None where they are not whole."""
    found = []
    for axis, offset in offsets.items():
        view = survey.seen[node].views[axis]
        if not isinstance(view, tuple) or len(view) != 1 or view[0].period != 1:
            return None
        axis, step = view[0].axis, view[0].advance
        by: Size  # what reads o - by lies so much earlier
        if isinstance(offset, Dim):
            if abs(step) != 1:
                return None
            by = offset * -step
            ahead = isinstance(by, Dim) and max(values(by) or [0]) > 0
        elif step == 0 or offset % step:
            return None
        else:
            by = -offset // step
            ahead = by > 0
        found.append((axis, by, 0) if ahead else (axis, 0, -by))
    return tuple(found)


def _on_every_way(survey: Survey, top: Node) -> list[tuple[Node, Node | None]]:
    """The nodes that every way from ``wrt`` to ``top`` passes, in order, each with its one source
    on the ways where there is only one."""
    order = [node for node in post_order([top]) if node in survey.seen]
    into = {
        node: [e for e in reads.edges(node) if e.source in survey.seen]
        for node in order
        if node is not survey.wrt
    }
    down: dict[Node, int] = dict.fromkeys(order, 0)
    up = dict(down)
    down[survey.wrt] = up[top] = 1
    for node in order:
        for edge in into.get(node, ()):
            down[node] += down[edge.source]
    for node in reversed(order):
        for edge in into.get(node, ()):
            up[edge.source] += up[node]
    total = down[top]
    chain = []
    for node in order:
        if down[node] * up[node] != total:
            continue
        edges = into.get(node, [])
        chain.append((node, edges[0].source if len(edges) == 1 else None))
    return chain


def _after(node: Node, branch: Sequence[Node]) -> dict[Node, None]:
    """What of a branch is computed from ``node``."""
    found: dict[Node, None] = {}
    for each in branch:
        if any(source is node or source in found for source in each.inputs):
            found[each] = None
    return found


def _absorbed(
    node: Node, source: Node, moves: Sequence[Move], sizes: Mapping[str, int]
) -> Any | None:
    """The padding of ``node`` that reads its image so many pixels earlier and gives as much."""
    op: Any = node.op
    by: dict[int, int] = {}
    for axis, before_, after_ in moves:
        if not isinstance(before_, int) or not isinstance(after_, int):
            return None
        by[axis] = before_ - after_
    if not by.keys() <= {-2, -1} or op.name not in ("conv2d", "max_pool2d", "avg_pool2d"):
        return None
    if source is not node.inputs[0]:
        return None
    windows = dict(op.receptive(node)[0].axes)
    both: list[tuple[int, int]] = []
    for at, given in zip((-2, -1), sides(op.padding), strict=True):
        known = (hulls.known(n, sizes) for n in (windows[at].pad, source.shape[at], node.shape[at]))
        before, size, out = (n if isinstance(n, int) else None for n in known)
        if before is None or size is None or out is None:
            return None
        moved = _moved(windows[at], size, out, before, given, by.get(at, 0))
        # Pooling never lies on padding alone.
        if moved is None or (op.name != "conv2d" and max(moved) >= windows[at].size):
            return None
        both.append(moved)
    padding = (both[0], both[1])
    try:
        same = make(replace(op, padding=padding), *node.inputs).shape == node.shape
    except GraphError:
        return None
    return padding if same else None


def _moved(
    window: AxisWindow,
    size: int,
    out: int,
    before: int,
    given: str | tuple[int, int],
    by: int,
) -> tuple[int, int] | None:
    """The padding (before, after) of a window that reads ``by`` earlier, as often as before."""
    taps, stride = dims.evaluate(window.size, {}), window.stride
    span = window.dilation * (taps - 1) + 1
    least = (out - 1) * stride + span - size - before  # just makes room for all windows
    after = least if isinstance(given, str) else given[1]
    before += by
    if before < 0:
        return None
    for rest in (max(after - by, 0), max(least - by, 0)):
        if Sweep.of(size, taps, stride, window.dilation, (before, rest)).out == out:
            return before, rest
    return None


def _applied(target: Target, meeting: Node, fix: Fix) -> Target:
    """The target with one branch into ``meeting`` moved; other users keep what they read."""
    with facts.derive(fix.node):
        if fix.padding is not None:
            op: Any = fix.node.op
            moved = make(replace(op, padding=fix.padding), *fix.node.inputs)
        else:
            moved = _shifted(fix.node, fix.by)
    new = {fix.node: moved}
    for each in post_order([fix.edge.source]):
        if each is not fix.node and any(source in new for source in each.inputs):
            with facts.derive(each):
                new[each] = make(each.op, *(new.get(source, source) for source in each.inputs))
    branch = new[fix.edge.source]

    def replaced(old: Node, inputs: tuple[Node, ...]) -> Node | None:
        if old is not meeting:
            return None
        changed = list(inputs)
        changed[fix.edge.position] = branch
        return make(old.op, *changed)

    if isinstance(target, Graph):
        return target.rewrite(replaced)
    made: dict[Node, Node] = {}
    for old in post_order([target]):
        inputs = tuple(made[source] for source in old.inputs)
        with facts.derive(old):
            node = replaced(old, inputs)
            if node is None:
                node = old if inputs == old.inputs else make(old.op, *inputs)
        made[old] = node
    return made[target]


def _shifted(x: Node, by: Sequence[Move]) -> Node:
    """y[o] = x[o - before + after] along these axes, zeros beyond the ends, of the same size."""
    moves: dict[int, tuple[Size, Size]] = {axis: (before, after) for axis, before, after in by}
    before = tuple(moves.get(axis, (0, 0))[0] for axis in range(-x.ndim, 0))
    after = tuple(moves.get(axis, (0, 0))[1] for axis in range(-x.ndim, 0))
    return make(Slice(after, x.shape), make(Pad(before, after), x))
