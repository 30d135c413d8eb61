"""The pass driver: one after the other, each verified, timed, and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from graphc.ir.errors import GraphError
from graphc.ir.graph import BIRTHS, Graph
from graphc.ir.verifier import verify


def pass_name(function: Callable[[Graph], Graph]) -> str:
    """What a pass is called in the history."""
    return str(getattr(function, "name", None) or getattr(function, "__name__", "pass"))


def run(
    graph: Graph,
    passes: Sequence[Callable[[Graph], Graph]],
    check: Mapping[str, Any] | None = None,
) -> Graph:
    """``graph`` after ``passes``. An error names the pass and those that ran before it."""
    done: list[str] = []
    # By name and only when asked for: who can run graphs stands layers above.
    judge = None
    if check is not None:
        judge = import_module("graphc.compiler.validate").Judge(graph, check)
    for function in passes:
        name = pass_name(function)
        if not callable(function):
            raise GraphError(
                f"apply takes passes (functions Graph -> Graph), not a {type(function).__name__}: "
                "write passes.backward(), with its parentheses"
            )
        before, start = next(BIRTHS), time.perf_counter()
        result = function(graph)
        seconds = time.perf_counter() - start
        if not isinstance(result, Graph):
            raise GraphError(
                f"the pass {name!r} returned a {type(result).__name__}, not a Graph "
                f"(before it ran: {', '.join(done) or 'nothing'})"
            )
        verify(result)
        # A graph that was there before the pass (it changed nothing, or went back to an earlier
        # one) keeps its own history: the result is a copy with this one.
        if result.born < before:
            result = result.rebuild()
        result.follow(graph, name, seconds)
        if judge is not None:
            judge.follow(result, name, getattr(function, "changes", ()), done)
        done.append(name)
        graph = result
    if judge is not None:
        judge.finish()
    return graph
