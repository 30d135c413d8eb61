"""The NumPy backend: readable source, NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np

from graphc.compiler.lower import Ordered
from graphc.compiler.plan import Plan, Schedule
from graphc.ir.graph import Graph
from graphc.ir.node import Node

from .printer import NumpySource, print_plan
from .schedule import Scheduler

Array = np.ndarray[Any, Any]


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class NumpyBackend:
    """Schedules for array calls, prints them, runs the text that it printed."""

    name = "numpy"
    alignment = 64  # bytes
    lanes = 1  # a step is done when its call returns
    conversion = "gx.to_numpy(array)"  # what makes its arrays of others

    def __init__(self, threads: int | None = None, *, exact: bool = False) -> None:
        del exact  # one algorithm per op, so far
        self.threads = threads or 1

    # -- arrays -------------------------------------------------------------------------------

    def holds(self, value: Any) -> bool:
        """Whether a value is an array of this backend."""
        return isinstance(value, np.ndarray)

    def from_host(self, array: Array) -> Array:
        """A NumPy array as one of this backend."""
        return array

    def to_host(self, array: Array) -> Array:
        """An array of this backend as a NumPy array."""
        return array

    def copy(self, array: Array) -> Array:
        """Another array with the same elements."""
        return array.copy()

    def address(self, array: Array) -> int:
        """Where an array begins."""
        return int(array.__array_interface__["data"][0])

    def inputs(self, shapes: Sequence[tuple[tuple[int, ...], Any]]) -> tuple[Array, ...]:
        """Memory for the inputs of a step."""
        return tuple(np.empty(shape, dtype) for shape, dtype in shapes)

    def feed(
        self, printed: NumpySource, targets: Sequence[Array], arrays: Sequence[Array],
        sizes: Mapping[str, int],
    ) -> None:  # fmt: skip
        """Copy what the caller gave into the inputs of a step."""
        for target, array in zip(targets, arrays, strict=True):
            np.copyto(target, array)

    def translate(self, error: BaseException, node: Node | None, torn: bool) -> None:
        """Raise what a failure means to the user; return where it says so itself."""

    # -- programs -----------------------------------------------------------------------------

    def schedule(self, graph: Graph, ordered: Ordered) -> Schedule:
        """Loops, copies and temporaries."""
        return Scheduler(graph, ordered).run()

    def print(
        self, plan: Plan, *, poison: bool = False, reuse_outputs: bool = False
    ) -> NumpySource:
        """The step as source text."""
        return print_plan(plan, threads=self.threads, poison=poison, reuse_outputs=reuse_outputs)

    def load(self, printed: NumpySource) -> Any:
        """The text as a function: it is ours alone, no name of a user is in it."""
        code = compile(printed.source, "<graphc step>", "exec")

        def bind(*args: Any) -> Any:
            # Each binding is a namespace of its own: the step reads its table from there. (Cells of
            # a closure would do, but CPython takes quadratic time to compile thousands of them.)
            namespace: dict[str, Any] = {"__name__": "graphc_step"}
            exec(code, namespace)
            namespace["bind"](*args)
            return namespace["step"]

        return bind

    def limits(self) -> AbstractContextManager[Any]:
        """BLAS runs on as many threads as the plan says while a step runs."""
        limited: AbstractContextManager[Any]
        limited = _controller().limit(limits=self.threads, user_api="blas")
        return limited

    def arena(self, plan: Plan, *, poison: bool = False) -> Array:
        """The memory of a plan: it begins at a multiple of 64, as the printed source asks."""
        raw = np.empty(plan.peak_bytes + 64, np.uint8)
        if poison:
            raw.fill(255)
        start = -raw.ctypes.data % 64
        return raw[start : start + plan.peak_bytes]


__all__ = ["NumpyBackend"]
