"""The NumPy backend: readable source, NumPy alone."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np

from graphc.compiler.lower import Ordered
from graphc.compiler.plan import Plan, Schedule
from graphc.ir.graph import Graph

from .printer import NumpySource, print_plan
from .schedule import Scheduler


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class NumpyBackend:
    """Schedules for array calls, prints them, runs the text that it printed."""

    name = "numpy"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or 1

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

    def arena(self, size: int) -> np.ndarray[Any, Any]:
        """``size`` bytes that begin at a multiple of 64, as the printed source asks for them."""
        raw = np.empty(size + 64, np.uint8)
        start = -raw.ctypes.data % 64
        return raw[start : start + size]


__all__ = ["NumpyBackend"]
