"""What a backend is to the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from graphc.compiler.lower import Ordered
from graphc.compiler.plan import Plan, Schedule
from graphc.ir.graph import Graph


class Bound(Protocol):
    """A program on views of given arrays: calling it runs one step and returns the outputs."""

    def __call__(self) -> Sequence[Any]:
        """The outputs, in the graph's order."""


class Backend(Protocol):
    """A target: it schedules descriptions, prints plans, and runs what it printed."""

    name: str

    def schedule(self, graph: Graph, ordered: Ordered) -> Schedule:
        """Decide loops, copies and temporaries."""

    def print(self, plan: Plan, *, poison: bool = False, reuse_outputs: bool = False) -> Printed:
        """The source of the whole step."""

    def load(self, printed: Printed) -> Any:
        """The printed source as a callable ``bind(arena, inputs, variables, *sizes) -> step``."""

    def arena(self, size: int) -> Any:
        """Fresh memory."""


class Printed(Protocol):
    """Source text, and which instruction each of its lines came from."""

    source: str
    lines: Mapping[int, int]  # line number -> instruction number
    first_update: int  # the first line that changes a variable
