"""The memory plan as a picture: what lives when, where it lies, and what makes the peak.

One line of the program after the other to the right, the bytes of the arena upwards: a rectangle is
a buffer, as wide as it lives and as high as it is large. The line that needs most is marked, and
what is alive there is listed with the user's lines: this is what a smaller step must shorten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from graphc.compiler.memory import lifetimes
from graphc.compiler.plan import Plan
from graphc.compiler.program import Program
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest
from graphc.ir.summary import Part, parts

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .overlay import binary
from .text import clean

_WIDTH, _HEIGHT = 760.0, 400.0  # of the chart
_LEFT, _TOP = 70.0, 52.0
_CURVE = 70.0
_TABLE = 560.0
_ROWS = 14
_PAINT: dict[Part, tuple[str, str, str]] = {  # fill, line, dash
    "forward": ("tint-blue", "blue", ""),
    "backward": ("tint-orange", "orange", "4 2"),
    "update": ("tint-purple", "purple", "1.5 2"),
}
_FEW = 400  # rectangles that are worth a title each


@dataclass(frozen=True)
class Life:
    """A buffer of the arena: whose, when it is first written and last read, where it lies."""

    buffer: int
    node: str
    part: Part
    line: str
    born: int
    gone: int
    offset: int
    bytes: int


def memory(program: Program | Plan, graph: Graph | None = None, **sizes: int) -> Figure:
    """Draw the memory plan of a program: lifetimes over the schedule, and what makes the peak.

    program: what ``gx.compile`` returned (or a plan, with its graph). sizes: for which the memory
    is planned, ``N=64``; left out, the largest that the program has seen. ``.model`` has every
    buffer with its node, its user's line, birth, end, offset and bytes; the bytes alive at each
    line; and the peak. Raises GraphError: no program, an unknown size.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 256))
    >>> program = gx.compile(gx.Graph({"y": gx.sum(gx.exp(x) * gx.tanh(x))}))
    >>> viz.memory(program, N=16).model["peak_bytes"]
    32768
    """
    if isinstance(program, Program):
        graph = program.graph
        plan = program.plan
        if sizes:
            unknown = sorted(set(sizes) - set(plan.capacity))
            if unknown:
                raise GraphError(
                    f"viz.memory: the program has no dimension {unknown[0]!r}"
                    f"{suggest(unknown[0], plan.capacity)}"
                )
            plan = program.like(graph, sizes={**plan.capacity, **sizes}).plan
    elif isinstance(program, Plan) and isinstance(graph, Graph) and not sizes:
        plan = program
    else:
        raise GraphError(
            "viz.memory takes a program, gx.compile(graph), or a plan and its graph, not "
            f"{type(program).__name__}"
        )
    lives = lives_of(plan, graph)
    live = alive(lives, len(plan.instructions))
    peak = max(range(len(live)), key=live.__getitem__, default=0)
    top = sorted(
        (life for life in lives if life.born <= peak <= life.gone),
        key=lambda life: (-life.bytes, life.buffer),
    )
    at = plan.instructions[peak] if plan.instructions else None
    model: dict[str, Any] = {
        "sizes": dict(plan.capacity),
        "arena_bytes": plan.peak_bytes,
        "peak_bytes": live[peak] if live else 0,
        "peak_at": peak,
        "peak_node": at.label if at else "",
        "peak_line": _line(at.node.lines) if at else "",
        "lines": len(plan.instructions),
        "live": live,
        "buffers": [asdict(life) for life in lives],
        "at_peak": [life.buffer for life in top],
    }
    canvas = Canvas(_LEFT + _WIDTH + 30 + _TABLE, 0)
    canvas.height = _draw(canvas, plan, graph, lives, live, peak, top)
    words = (
        f"Memory over the {len(live)} lines of a program: {len(lives)} buffers. The peak is at "
        f"line {peak}, {model['peak_node']}. Alive there, largest first: "
        + ", ".join(f"{life.node} {binary(life.bytes)}B ({life.line})" for life in top[:_ROWS])
        + "."
    )
    return Figure(canvas, model, _caption(model, top), "the memory of a program", words)


def lives_of(plan: Plan, graph: Graph) -> list[Life]:
    """The buffers that lie in the arena, in the order of their birth."""
    first, last = lifetimes(plan.schedule)
    part = parts(graph)
    found = []
    for number, born in sorted(first.items(), key=lambda item: (item[1], item[0])):
        place = plan.places[number]
        if place.space != "arena" or born >= len(plan.instructions):
            continue
        # The line that writes it first says whose it is.
        writer = next(
            (
                i
                for i in plan.instructions[born : last[number] + 1]
                if any(w and plan.buffers[b].root == number for b, w in i.buffers().items())
            ),
            plan.instructions[born],
        )
        found.append(
            Life(
                number, writer.label, part.get(writer.node, "forward"), _line(writer.node.lines),
                born, min(last[number], len(plan.instructions) - 1), place.offset,
                plan.buffers[number].bytes(plan.capacity),
            )
        )  # fmt: skip
    return found


def alive(lives: list[Life], lines: int) -> list[int]:
    """Bytes alive at each line; one that takes over the place of another counts once with it."""
    events: dict[int, list[tuple[bool, Life]]] = {}
    for life in lives:
        events.setdefault(life.born, []).append((True, life))
        events.setdefault(life.gone + 1, []).append((False, life))
    held: dict[int, list[int]] = {}
    total, found = 0, []
    for line in range(lines):
        for begins, life in events.get(line, ()):
            sizes = held.setdefault(life.offset, [])
            before = max(sizes, default=0)
            if begins:
                sizes.append(life.bytes)
            else:
                sizes.remove(life.bytes)
            total += max(sizes, default=0) - before
        found.append(total)
    return found


def _line(lines: tuple[str, ...]) -> str:
    return lines[0] if lines else ""


def _caption(model: Mapping[str, Any], top: list[Life]) -> Caption:
    values: dict[str, Any] = {
        "arena": model["arena_bytes"],
        "peak": model["peak_bytes"],
        "at": model["peak_at"],
        "lines": model["lines"],
        "buffers": len(model["buffers"]),
    }
    template = (
        "an arena of {arena} bytes holds {buffers} buffers; most are alive at line {at} of "
        "{lines}, {peak} bytes"
    )
    if top:
        template += " in {alive} buffers, the largest {largest} bytes of {node}"
        values |= {"alive": len(top), "largest": top[0].bytes, "node": top[0].node}
    for name, size in model["sizes"].items():
        template += f"; {name} = {{size_{name}}}"
        values[f"size_{name}"] = size
    return Caption(template, values)


# -- drawing --------------------------------------------------------------------------------------


def _draw(
    canvas: Canvas, plan: Plan, graph: Graph, lives: list[Life], live: list[int], peak: int,
    top: list[Life],
) -> float:  # fmt: skip
    """Everything; returns the height."""
    step = _WIDTH / max(len(live), 1)
    highest = max(plan.peak_bytes, 1)
    foot = _TOP + _HEIGHT

    def x(line: float) -> float:
        return _LEFT + line * step

    def y(offset: float) -> float:
        return foot - offset / highest * _HEIGHT

    canvas.text(_LEFT, 22, "What lives when, and where in the arena", size=14, bold=True)
    _key(canvas, _LEFT, 40, {life.part for life in lives})
    canvas.rect(_LEFT, _TOP, _WIDTH, _HEIGHT, stroke="grid")
    for life in lives:
        fill, stroke, dash = _PAINT[life.part]
        width, height = (life.gone + 1 - life.born) * step, life.bytes / highest * _HEIGHT
        said = (
            f"{life.node}: {life.bytes:,} bytes at {life.offset:,}, lines {life.born} to "
            f"{life.gone}, {life.line}"
        )
        above = y(life.offset + life.bytes)
        canvas.rect(
            x(life.born), above, width, height, fill=fill, stroke=stroke, line=0.7, dash=dash,
            title=said if len(lives) <= _FEW else "", data={"buffer": life.buffer},
        )  # fmt: skip
    _names(canvas, lives, x, y, step)
    for share in (0.0, 0.5, 1.0):
        said = f"{binary(highest * share)}B"
        canvas.text(_LEFT - 6, y(highest * share) + 4, said, size=10, anchor="end", fill="faint")
    canvas.polyline(
        [(x(peak + 0.5), _TOP - 6), (x(peak + 0.5), foot + _CURVE + 26)], stroke="vermillion",
        line=1.6, dash="6 3",
    )  # fmt: skip
    below = _curve(canvas, plan, graph, live, peak, foot + 20, x)
    end = _table(canvas, _LEFT + _WIDTH + 30, live, peak, plan, top)
    return max(below, end) + 8


def _key(canvas: Canvas, left: float, base: float, found: set[Part]) -> None:
    for part, (fill, stroke, dash) in _PAINT.items():
        if part in found:
            canvas.rect(left, base - 9, 16, 11, fill=fill, stroke=stroke, dash=dash)
            label = canvas.text(left + 22, base, part, size=11)
            left = label.right + 18


def _names(canvas: Canvas, lives: list[Life], x: Any, y: Any, step: float) -> None:
    """The names of buffers with room for them, unless another name or an heir is there."""
    taken: list[tuple[float, float, float, float]] = []
    for life in sorted(lives, key=lambda life: -life.bytes):
        width = (life.gone + 1 - life.born) * step
        above, under = y(life.offset + life.bytes), y(life.offset)
        said = clean(life.node, 24)
        wide = text_width(said, 10)
        if wide + 6 > width or under - above < 13:
            continue
        left, base = x(life.born) + 3, (above + under) / 2 + 4
        box = left, base - 9, left + wide, base + 3
        if all(
            box[2] < other[0] or other[2] < box[0] or box[3] < other[1] or other[3] < box[1]
            for other in taken
        ):
            taken.append(box)
            canvas.text(left, base, said, size=10)


def _curve(
    canvas: Canvas, plan: Plan, graph: Graph, live: list[int], peak: int, top: float, x: Any
) -> float:
    """The sum of what is alive, line by line, and which part of the step each line serves."""
    highest = max([*live, 1])
    foot = top + _CURVE
    points = [(x(0), foot)]
    for line, total in enumerate(live):
        height = foot - total / highest * (_CURVE - 12)
        points += [(x(line), height), (x(line + 1), height)]
    canvas.polyline([*points, (x(len(live)), foot)], stroke="ink", line=1.2)
    canvas.text(_LEFT - 6, top + 16, f"{binary(highest)}B", size=10, anchor="end", fill="faint")
    canvas.text(_LEFT - 6, foot + 3, "alive", size=10, anchor="end", fill="faint")
    part = parts(graph)
    line = 0
    kinds: list[Part] = [part.get(i.node, "forward") for i in plan.instructions]
    for name, run in groupby(kinds):
        count = len(list(run))
        fill, stroke, dash = _PAINT[name]
        wide = x(count) - x(0)
        canvas.rect(x(line), foot + 4, wide, 12, fill=fill, stroke=stroke, line=0.5, dash=dash)
        if text_width(name, 10) + 6 < x(count) - x(0):
            canvas.text(x(line) + 3, foot + 13, name, size=10)
        line += count
    base = foot + 32
    canvas.text(_LEFT, base, "line 0", size=10, fill="faint")
    last = f"line {max(len(live) - 1, 0)}"
    room = text_width(last, 10)
    canvas.text(_LEFT + _WIDTH, base, last, size=10, anchor="end", fill="faint")
    said = f"peak: line {peak}"
    wide = text_width(said, 10)
    middle = min(max(x(peak + 0.5), _LEFT + 50 + wide / 2), _LEFT + _WIDTH - room - 14 - wide / 2)
    canvas.text(middle, base, said, size=10, anchor="middle", fill="vermillion", bold=True)
    return base


def _table(
    canvas: Canvas, left: float, live: list[int], peak: int, plan: Plan, top: list[Life]
) -> float:
    """What is alive at the peak, largest first."""
    total = live[peak] if live else 0
    node = plan.instructions[peak].label if plan.instructions else "nothing"
    canvas.text(left, 22, f"Alive at the peak: {binary(total)}B", size=14, bold=True)
    canvas.text(left, 40, f"while {node} is computed", size=11, room=_TABLE - 10)
    stops = (left + 70, left + 125, left + 135, left + 350)
    y = 62.0
    for at, said, anchor in zip(
        stops, ("bytes", "share", "of", "line"), ("end", "end", "start", "start"), strict=True
    ):
        canvas.text(at, y, said, size=11, anchor=anchor, fill="faint")  # type: ignore[arg-type]
    for life in top[:_ROWS]:
        y += 17
        share = life.bytes / total if total else 0.0
        canvas.rect(left + 135, y - 11, max(share * 205, 1), 14, fill="shade", stroke="none")
        canvas.text(stops[0], y, f"{binary(life.bytes)}B", size=11, anchor="end")
        canvas.text(stops[1], y, f"{share:.1%}", size=11, anchor="end")
        canvas.text(stops[2] + 3, y, life.node, size=11, room=200)
        canvas.text(stops[3], y, life.line or "(made by a pass)", size=11, room=_TABLE - 355)
    rest = top[_ROWS:]
    if rest:
        y += 17
        said = f"and {len(rest)} more, {binary(sum(life.bytes for life in rest))}B"
        canvas.text(stops[2] + 3, y, said, size=11, fill="faint")
    return y


__all__ = ["memory"]
