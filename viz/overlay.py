"""Measured facts on a drawing: a number on each node, a level of one colour, a scale in the legend.

An overlay is a name, a unit and a value for each node that has one. What ``gx.cost``, a program, a
profile, receptive fields and a gradient check know becomes one; a mapping of the user's does too.
The first that has numbers colours the nodes; every one writes its row on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from graphc.analysis.cost import GraphCost, cost
from graphc.analysis.gradient_check import GradientCheck
from graphc.analysis.receptive_field import receptive_fields
from graphc.compiler.memory import lifetimes
from graphc.compiler.plan import Plan
from graphc.compiler.profile import Profile
from graphc.compiler.program import Program
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Parameter
from graphc.ir.naming import suggest
from graphc.ir.node import Node

from .fold import added
from .model import Model, Scale, identify
from .style import RAMP
from .text import clean

Value = float | str
Together = Literal["sum", "max", "last", ""]
_SPREAD = 50  # times the smallest from which the levels are steps of a factor
_MOST = 6  # overlays on one drawing
_HUGE = 10**300  # whole numbers beyond are no float


@dataclass(frozen=True)
class Overlay:
    """Values for the nodes of a drawing.

    values: a node, or its name, to a number or a text. unit: of the numbers. show: how a number is
    written (default: three digits with k, M, G). together: what a folded box says of the nodes
    inside: their ``"sum"``, ``"max"``, the ``"last"`` one, or ``""`` nothing. rows: node to the
    text of its row, where that is not the number. worst: the node that is marked in red. note: how
    it was measured; sizes: at which sizes. The caption says both.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 2))
    >>> graph = gx.Graph({"y": gx.relu(x)})
    >>> drawing = viz.draw(graph, heat=viz.Overlay({"relu": 0.5}, unit="K"))
    >>> [node["values"] for node in drawing.model["nodes"]]
    [{}, {'heat': 0.5}]
    """

    values: Mapping[Node | str, Any]
    unit: str = ""
    show: Callable[[float], str] | None = None
    together: Together = "sum"
    rows: Mapping[Node | str, str] = field(default_factory=dict)
    worst: Node | str | None = None
    note: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    total: bool = False
    """Whether the sum over the nodes means something, and is told in the caption."""


def resolve(
    graph: Graph, given: Mapping[str, Any], sizes: Mapping[str, int] | None, known: Iterable[str]
) -> dict[str, Overlay]:
    """What ``viz.draw`` was given beside its own options, as overlays in that order.

    Raises GraphError: a name that is no overlay and has no values, values that are none, too many.
    """
    found: dict[str, Overlay] = {}
    for name, value in given.items():
        if value is None or value is False:
            continue
        maker = _MAKERS.get(name)
        if isinstance(value, Overlay):
            found[name] = value
        elif maker is not None and not _plain(value):
            found[name] = maker(graph, value, sizes)
        elif isinstance(value, Mapping):
            found[name] = _field(value) if name == "receptive_field" else Overlay(value)
        elif maker is None:
            hint = suggest(name, [*_MAKERS, *known])
            raise GraphError(
                f"viz.draw({clean(name)}={_short(value)}): no option and no overlay has this name"
                f"{hint}; an overlay of your own is a mapping of node to number"
            )
    if len(found) > _MOST:
        raise GraphError(
            f"viz.draw: {len(found)} overlays on one drawing ({', '.join(found)}): {_MOST} at most"
        )
    return found


def _plain(value: Any) -> bool:
    """A user's own mapping, and nothing that the analysis returned."""
    return isinstance(value, Mapping) and type(value).__module__.partition(".")[0] != "graphc"


# -- the overlays that are known by name ----------------------------------------------------------


def _costs(what: str, unit: str) -> Callable[[Graph, Any, Mapping[str, int] | None], Overlay]:
    def make(graph: Graph, value: Any, sizes: Mapping[str, int] | None) -> Overlay:
        found = value if isinstance(value, GraphCost) else cost(graph, **_sizes(value, sizes, what))
        numbers: dict[Node | str, Any] = {n: getattr(each, what) for n, each in found.nodes.items()}
        show = binary if what == "bytes" else None
        return Overlay(numbers, unit, show, sizes=found.sizes, total=True)

    return make


def _parameters(graph: Graph, value: Any, sizes: Mapping[str, int] | None) -> Overlay:
    _sizes(value, sizes, "parameters")
    numbers: dict[Node | str, Any] = {
        node: math.prod(node.type.concrete({}))
        for node in graph.nodes
        if isinstance(node.op, Parameter)
    }
    return Overlay(numbers, total=True)


def _memory(graph: Graph, value: Any, sizes: Mapping[str, int] | None) -> Overlay:
    """Bytes of the arena that a node's results take, and the lines of the schedule they live."""
    plan = value.plan if isinstance(value, Program) else value
    if not isinstance(plan, Plan):
        raise GraphError(
            "viz.draw(memory=…) takes a program or its plan: gx.compile(graph) or "
            f"gx.compile(graph).plan, not {_short(value)}"
        )
    taken: dict[Node | str, Any] = {}
    said: dict[Node | str, str] = {}
    first, last = lifetimes(plan.schedule)
    lives: dict[Node, list[tuple[int, int, int]]] = {}
    for number, when in first.items():
        if plan.buffers[number].kind == "arena" and when < len(plan.instructions):
            node = plan.instructions[when].node
            size = plan.buffers[number].bytes(plan.capacity)
            lives.setdefault(node, []).append((size, when, last[number]))
    for node, found in lives.items():
        taken[node] = sum(size for size, _, _ in found)
        born, gone = min(b for _, b, _ in found), max(g for _, _, g in found)
        said[node] = f"{binary(taken[node])}B, lines {born}–{gone}"
    return Overlay(taken, "B", binary, rows=said, note="arena", sizes=plan.capacity, together="sum")


def _time(graph: Graph, value: Any, sizes: Mapping[str, int] | None) -> Overlay:
    if not isinstance(value, Profile):
        raise GraphError(
            "viz.draw(time=…) takes a profile: gx.compile(graph).profile(variables, image=x), "
            f"not {_short(value)}"
        )
    seconds: dict[Node | str, Any] = {each.node: round(each.seconds, 9) for each in value}
    rows: dict[Node | str, str] = {
        each.node: f"{short(each.seconds)}s, {each.share:.1%}" for each in value
    }
    note = f"fastest of {value.steps} steps on {value.backend}"
    return Overlay(seconds, "s", rows=rows, note=note, total=True)


def _receptive(graph: Graph, value: Any, sizes: Mapping[str, int] | None) -> Overlay:
    if value is not True and not isinstance(value, Mapping):
        raise GraphError(
            "viz.draw(receptive_field=…) takes True, or a mapping of node to "
            f"gx.receptive_field(node), not {_short(value)}"
        )
    fields = receptive_fields(graph, size=sizes) if value is True else value
    return _field(fields, dict(sizes or {}))


def _field(fields: Mapping[Any, Any], sizes: Mapping[str, int] | None = None) -> Overlay:
    """The larger side of each node's field, in pixels; the row has both sides and the stride."""
    numbers: dict[Node | str, Any] = {}
    rows: dict[Node | str, str] = {}
    for node, seen in fields.items():
        if isinstance(node, Node) and node.ndim < 4:
            continue  # it has no map: it sees all, which says nothing
        height, width = seen.size
        said = f"sees {height}×{width}"
        if seen.stride is not None:
            down, across = seen.stride
            said += f" every {down}" if down == across else f" every {down}×{across}"
        rows[node] = said
        if all(isinstance(side, int) for side in (height, width)):
            numbers[node] = max(height, width)
        else:
            numbers[node] = said
    return Overlay(numbers, "pixels", rows=rows, together="last", sizes=sizes or {})


def _check(graph: Graph, value: Any, sizes: Mapping[str, int] | None) -> Overlay:
    if not isinstance(value, GradientCheck):
        raise GraphError(
            "viz.draw(gradient_check=…) takes gx.gradient_check(graph, variables, …), "
            f"not {_short(value)}"
        )
    errors = value.errors
    wrong = {each.node for each in value.wrong}
    rows: dict[Node | str, str] = {
        node: f"gradient {'WRONG' if node in wrong else 'right'}, error {error:.2g}"
        for node, error in errors.items()
    }
    worst = value.worst.node if value.wrong else None
    red: Iterable[tuple[Node | str, Any]] = value.overlay().items()
    note = f"tolerance {value.tolerance}; {len(wrong)} of {len(errors)} wrong"
    return Overlay(dict(red), rows=rows, worst=worst, together="max", note=note)


_MAKERS: dict[str, Callable[[Graph, Any, Mapping[str, int] | None], Overlay]] = {
    "parameters": _parameters,
    "flops": _costs("flops", ""),
    "bytes": _costs("bytes", "B"),
    "memory": _memory,
    "time": _time,
    "receptive_field": _receptive,
    "gradient_check": _check,
}


def _sizes(value: Any, sizes: Mapping[str, int] | None, what: str) -> dict[str, int]:
    if value is not True:
        raise GraphError(
            f"viz.draw({what}=…) takes True, gx.cost(graph, N=…) or a mapping of node to number, "
            f"not {_short(value)}"
        )
    return dict(sizes or {})


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= _HUGE:
        return f"int of {value.bit_length()} bits"
    return clean(f"{type(value).__name__} {value!r}" if value is not True else "True", 60)


# -- onto the model -------------------------------------------------------------------------------


def mark(model: Model, graph: Graph, overlays: Mapping[str, Overlay]) -> Model:
    """``model`` with the values of each overlay on its nodes.

    Raises GraphError: a name that no node has, a key or a value of another kind, no value at all
    for this graph.
    """
    ids = {node.id for node in model.nodes}
    names = {node: graph.name(node) for node in graph.nodes}
    values: dict[str, dict[str, Value]] = {}
    worst: set[str] = set()
    for name, overlay in overlays.items():
        hit = False
        for key, value in overlay.values.items():
            id = _id(name, key, names, ids)
            if id is not None:
                hit = True
                values.setdefault(id, {})[name] = _value(name, key, value)
        if not hit:
            raise GraphError(
                f"viz.draw({clean(name)}=…): it has no value for any node of this drawing; "
                "take the nodes, or their names, from the graph that is drawn"
            )
        marked = None if overlay.worst is None else _id(name, overlay.worst, names, ids)
        worst |= {marked} if marked else set()
    scales = tuple(
        Scale(name, o.unit, o.together, dict(o.sizes), o.note) for name, o in overlays.items()
    )
    nodes = tuple(
        replace(node, values=values.get(node.id, {}), worst=node.id in worst)
        for node in model.nodes
    )
    return replace(model, nodes=nodes, scales=scales)


def _id(name: str, key: Any, names: Mapping[Node, str], ids: set[str]) -> str | None:
    """The drawn node that a key means; None for a node that this drawing does not show."""
    if isinstance(key, Node):
        found = identify(names[key]) if key in names else None
        return found if found in ids else None
    if isinstance(key, str):
        known = set(names.values())
        if key not in known:
            raise GraphError(
                f"viz.draw({clean(name)}=…): no node of this graph is called {clean(key)!r}"
                f"{suggest(key, known)}"
            )
        return identify(key) if identify(key) in ids else None
    raise GraphError(f"viz.draw({clean(name)}=…): a key is a node or its name, not {_short(key)}")


def _value(name: str, key: Any, value: Any) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (int, float, np.number, np.bool_)) and not isinstance(value, complex):
        number = int(value) if isinstance(value, (int, np.integer)) else float(value)
        if not isinstance(number, int) or abs(number) < _HUGE:
            return number
    raise GraphError(
        f"viz.draw({clean(name)}=…): the value of {clean(str(key))} is a text or a number below "
        f"1e300, not "
        f"{_short(value)}"
    )


def scale(model: Model, graph: Graph, overlays: Mapping[str, Overlay]) -> Model:
    """``model``, folded or not, with rows on its nodes, levels of colour, and the legend's keys."""
    if not overlays:
        return model
    names = {node: identify(graph.name(node)) for node in graph.nodes}
    scales: list[Scale] = []
    marks: dict[str, list[str]] = {}
    level: dict[str, int] = {}
    worst = ""
    coloured = False
    for entry in model.scales:
        overlay = overlays[entry.name]
        show = overlay.show or short
        rows = {
            (names.get(key, "") if isinstance(key, Node) else identify(key)): row
            for key, row in overlay.rows.items()
        }
        numbers: dict[str, float] = {}
        for node in model.nodes:
            value = node.values.get(entry.name)
            if value is None:
                continue
            if not isinstance(value, str):
                numbers[node.id] = value
            text = value if isinstance(value, str) else f"{show(value)}{entry.unit}"
            row = rows.get(node.id, "")
            if entry.fold == "last":
                row = next((rows[id] for id in reversed(node.inside) if id in rows), row)
            said = row or f"{entry.name.replace('_', ' ')} {text}"
            marks.setdefault(node.id, []).append(said.strip())
            if node.worst and overlay.worst is not None:
                worst = node.name
        finite = [value for value in numbers.values() if math.isfinite(value)]
        steps: tuple[float, ...] = ()
        if finite and not coloured:
            coloured = True
            steps = levels(finite)
            level = {id: _level(value, steps) for id, value in numbers.items()}
        scales.append(
            replace(
                entry,
                low=min(finite, default=None),
                high=max(finite, default=None),
                total=added(finite) if overlay.total and finite else None,
                steps=steps,
                keys=tuple(f"≤ {show(step)}{entry.unit}".strip() for step in steps),
                worst=worst if overlay.worst is not None else "",
            )
        )
    nodes = tuple(
        replace(node, marks=tuple(marks.get(node.id, ())), level=level.get(node.id))
        for node in model.nodes
    )
    return replace(model, nodes=nodes, scales=tuple(scales))


def levels(values: list[float]) -> tuple[float, ...]:
    """The upper ends of the levels: equal steps, or equal factors where the values spread widely.

    >>> levels([0, 3, 6])
    (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    """
    low, high = min(values), max(values)
    count = len(RAMP)
    if low == high:
        return (float(high),)
    small = min((value for value in values if value > 0), default=0.0)
    if low >= 0 and small and high / small > _SPREAD:
        step = (high / small) ** (1 / count)
        ends = [small * step**k for k in range(1, count)]
    else:
        ends = [low + (high - low) * k / count for k in range(1, count)]
    return (*(float(f"{end:.3g}") for end in ends), float(high))


def _level(value: float, steps: tuple[float, ...]) -> int:
    if math.isnan(value):
        return len(steps) - 1
    return next((i for i, end in enumerate(steps) if value <= end), len(steps) - 1)


def short(value: float) -> str:
    """Three digits and a prefix: ``1.23 M``, ``45``, ``6.7 m``.

    >>> short(1234567), short(45), short(0.0067)
    ('1.23 M', '45 ', '6.7 m')
    """
    return _prefixed(value, 1000, ("n", "µ", "m", "", "k", "M", "G", "T", "P"), 3)


def binary(value: float) -> str:
    """Three digits and a binary prefix: ``1.5 Ki``."""
    return _prefixed(value, 1024, ("", "Ki", "Mi", "Gi", "Ti"), 0)


def _prefixed(value: float, base: int, prefixes: tuple[str, ...], zero: int) -> str:
    if not math.isfinite(value) or not value:
        return f"{value:g} "
    power = zero
    size = abs(value)
    while size >= base and power + 1 < len(prefixes):
        size, power = size / base, power + 1
    while size < 1 and power > 0:
        size, power = size * base, power - 1
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g} "
    return f"{math.copysign(1, value) * float(f'{size:.3g}'):g} {prefixes[power]}"
