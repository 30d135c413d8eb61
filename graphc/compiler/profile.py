"""Where the time of a step goes: by node and by the user's lines, measured on the printed source.

The step is printed as always, with a look at the clock after each of its lines; which line serves
which node, the printer knows. So the times are of the very calls that the program makes, and they
add up to the step.
"""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import BackendError, GraphError
from graphc.ir.naming import suggest
from graphc.ir.node import Node

if TYPE_CHECKING:
    from graphc.compiler.program import Program

_STEPS = 5  # steps that are timed, at least
_SECONDS = 0.25  # … and for at least so long, up to
_MOST = 200  # steps
_CLOCK = "from time import perf_counter_ns as now; stamps = []"
_STAMP = "    stamps.append(now())"


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node's share of a step: ``seconds``, ``share`` of the whole step (0 to 1), ``calls``
    (array calls a step), ``line`` (the user's, ``""`` where there is none)."""

    node: Node
    name: str
    line: str
    seconds: float
    share: float
    calls: int


@dataclass(frozen=True)
class Profile:
    """The time of one step, node by node, longest first; printed, a table.

    Attributes: ``nodes`` (a ``NodeTime`` each), ``seconds`` (the whole step, the fastest of
    ``steps``), ``rest`` (what no node accounts for: copies of outputs and into variables, and the
    clock itself), ``lines`` (the user's line to its seconds, longest first), ``steps``,
    ``backend``. ``profile[node]`` is a node's, by itself or by its name. Nodes that cost nothing
    (a reshape that is a view) are not there. ``viz.draw(graph, time=profile)`` colours a drawing.
    """

    nodes: tuple[NodeTime, ...]
    seconds: float
    steps: int
    backend: str

    @property
    def rest(self) -> float:
        """Seconds of the step that belong to no node."""
        return self.seconds - math.fsum(each.seconds for each in self.nodes)

    @property
    def lines(self) -> dict[str, float]:
        """The user's line to the seconds of its nodes, longest first."""
        found: dict[str, float] = {}
        for each in self.nodes:
            found[each.line] = found.get(each.line, 0.0) + each.seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __getitem__(self, node: Node | str) -> NodeTime:
        for each in self.nodes:
            if node is each.node or node == each.name:
                return each
        if isinstance(node, str):
            hint = suggest(node, [each.name for each in self.nodes])
            raise GraphError(f"no node of this profile is called {node!r}{hint}")
        raise GraphError(
            "this node has no time of its own: it is a leaf, a view, or part of another kernel",
            nodes=[node],
        )

    def __iter__(self) -> Iterator[NodeTime]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            (e.name, _milli(e.seconds), f"{e.share:.1%}", f"{e.calls:,}", e.line)
            for e in self.nodes
        ]
        share = self.rest / self.seconds if self.seconds else 0.0
        rows.append(("copies, clock", _milli(self.rest), f"{share:.1%}", "", ""))
        calls = sum(each.calls for each in self.nodes)
        whole = f"whole step, fastest of {self.steps}"
        rows.append((whole, _milli(self.seconds), "100.0%", f"{calls:,}", f"on {self.backend}"))
        return _table(("node", "ms", "share", "calls", "line"), rows)

    __repr__ = __str__


def profile(program: Program, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> Profile:
    """Time ``program`` on these inputs; ``variables`` are copied and stay as they are."""
    clocked = _Clocked(program.backend)
    twin = program.like(program.graph, sizes=program.plan.capacity)
    twin.backend = clocked
    copies = {
        name: value.copy() if hasattr(value, "copy") else value for name, value in variables.items()
    }
    twin(copies, inputs)  # checks everything, plans for these sizes, warms the caches
    clocked.runs.clear()
    begun = time.perf_counter()
    while len(clocked.runs) < _STEPS or (
        time.perf_counter() - begun < _SECONDS and len(clocked.runs) < _MOST
    ):
        twin(copies, inputs)
    steps = len(clocked.runs)
    whole, stamps = min(clocked.runs, key=lambda run: run[0])
    spent: dict[Node, list[float]] = {}
    instructions = twin.plan.instructions
    for before, after, number in zip(stamps, stamps[1:], clocked.order, strict=False):
        if number < len(instructions):
            instruction = instructions[number]
            found = spent.setdefault(instruction.node, [0.0, 0.0])
            found[0] += (after - before) * 1e-9
    for instruction in instructions:
        turns = math.prod(loop.extent for loop in instruction.loops)
        if instruction.node in spent:
            spent[instruction.node][1] += len(instruction.calls) * turns
    labels = {instruction.node: instruction.label for instruction in instructions}
    seconds = whole * 1e-9
    nodes = [
        NodeTime(
            node,
            labels[node],
            node.lines[0] if node.lines else "",
            took,
            took / seconds if seconds else 0.0,
            int(calls),
        )
        for node, (took, calls) in spent.items()
    ]
    nodes.sort(key=lambda each: -each.seconds)
    return Profile(tuple(nodes), seconds, steps, program.backend.name)


class _Clocked:
    """A backend whose printed steps look at the clock after each of their lines.

    ``order``: the instruction behind each look; ``runs``: (nanoseconds of a step, its looks).
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.order: list[int] = []
        self.runs: list[tuple[int, list[int]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def print(self, plan: Any, **settings: Any) -> Any:
        """The printed step, with the looks at the clock in it."""
        printed = self._backend.print(plan, **settings)
        text, lines, self.order = clocked(printed.source, printed.lines, self._backend.name)
        moved = {old: new for new, (old, _) in lines.items()}
        first = min((n for o, n in moved.items() if o >= printed.first_update), default=1 << 60)
        return replace(
            printed,
            source=text,
            lines={new: number for new, (_, number) in lines.items()},
            first_update=first,
        )

    def load(self, printed: Any) -> Any:
        """The step as a callable that keeps what it measured."""
        bind = self._backend.load(printed)

        def timed(*args: Any) -> Callable[[], Any]:
            step = bind(*args)

            def run() -> Any:
                begun = time.perf_counter_ns()
                outputs = step()
                self.runs.append((time.perf_counter_ns() - begun, list(step.stamps)))
                return outputs

            return run

        return timed


def clocked(
    source: str, lines: Mapping[int, int], backend: str
) -> tuple[str, dict[int, tuple[int, int]], list[int]]:
    """``source`` with a look at the clock after each of its ``lines`` (line number to instruction).

    Returns the text, its own lines (number to the old number and the instruction), and the
    instruction behind each look but the first. Raises BackendError where it is no Python.
    """
    try:
        ast.parse(source)
    except SyntaxError:
        raise BackendError(
            f"profile: the step of backend {backend!r} is not printed in Python, and only such "
            "steps are timed line by line: compile with backend='numpy'"
        ) from None
    rows = [_CLOCK]
    found: dict[int, tuple[int, int]] = {}
    order: list[int] = []
    begun = False
    for old, row in enumerate(source.splitlines(), 1):
        number = lines.get(old)
        if number is None or row.lstrip().startswith("#"):
            rows.append(row)
            continue
        if not begun:
            rows.append(f"    stamps.clear(); {_STAMP.strip()}")
            begun = True
        returned = row.startswith("    return ")
        rows.append(row.replace("return ", "result = ", 1) if returned else row)
        found[len(rows)] = (old, number)
        rows.append(_STAMP)
        order.append(number)
        if returned:
            rows.append("    return result")
    return "\n".join([*rows, "step.stamps = stamps", ""]), found, order


def _milli(seconds: float) -> str:
    return f"{seconds * 1e3:,.3f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """The name and the line to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    last = len(head) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )


__all__ = ["NodeTime", "Profile", "profile"]
