"""What a backend is to the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from graphc.compiler.lower import Ordered
from graphc.compiler.plan import Plan, Schedule
from graphc.ir.graph import Graph
from graphc.ir.node import Node


class Bound(Protocol):
    """A program on views of given arrays: calling it runs one step and returns the outputs."""

    def __call__(self) -> Sequence[Any]:
        """The outputs, in the graph's order."""


class Printed(Protocol):
    """Source text, and which instruction each of its lines came from."""

    source: str
    lines: Mapping[int, int]  # line number -> instruction number
    first_update: int  # the first line that changes a variable


class Backend(Protocol):
    """A target: it schedules descriptions, prints plans, and runs what it printed on arrays of its
    own."""

    name: str
    alignment: int  # of every buffer in the arena, in bytes
    lanes: int  # how many sets of inputs a bound program has: 2 where a copy runs beside a step
    conversion: str  # what a user writes to make its array of another

    def schedule(self, graph: Graph, ordered: Ordered) -> Schedule:
        """Decide loops, copies and temporaries."""

    def print(self, plan: Plan, *, poison: bool = False, reuse_outputs: bool = False) -> Printed:
        """The source of the whole step."""

    def load(self, printed: Any) -> Any:
        """The printed source as a callable ``bind(arena, inputs, variables, *sizes) -> step``."""

    def arena(self, plan: Plan, *, poison: bool = False) -> Any:
        """Fresh memory for a plan, filled with NaN for ``poison``."""

    def limits(self) -> AbstractContextManager[Any]:
        """What must hold while a step runs."""

    def holds(self, value: Any) -> bool:
        """Whether a value is an array of this backend."""

    def from_host(self, array: np.ndarray[Any, Any]) -> Any:
        """A NumPy array as one of this backend."""

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """An array of this backend as a NumPy array."""

    def copy(self, array: Any) -> Any:
        """Another array with the same elements."""

    def address(self, array: Any) -> int:
        """Where an array begins in memory."""

    def inputs(self, shapes: Sequence[tuple[tuple[int, ...], Any]]) -> Sequence[Any]:
        """Memory for the inputs of a step."""

    def feed(
        self, printed: Any, targets: Any, arrays: Sequence[Any], sizes: Mapping[str, int]
    ) -> None:
        """Check and copy what the caller gave into the inputs of a step."""

    def translate(self, error: BaseException, node: Node | None, torn: bool) -> None:
        """Raise what a failure means to the user; return where the error says so itself."""
