"""Translation validation: the interpreter runs a graph before and after each pass, and compares.

Necula, Translation validation for an optimizing compiler, 2000: not that a pass is right on every
graph, but that it was right on this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from graphc.compiler.binding import Array
from graphc.compiler.initial import initial_variables, numbers_of
from graphc.compiler.interpret import interpret
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Parameter
from graphc.ir.naming import suggest
from graphc.ir.node import Node, describe
from graphc.ir.types import is_float

SEED = 0
# How far off rounding may bring a value, by its dtype: max|a - b| / max|a|. What is 0 but for
# rounding (a gradient behind a normalization) counts against FLOOR.
LIMITS = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
FLOOR = 1e-2
MOVED = 0.1  # how far the variables are from their initial values


class Judge:
    """The values of one graph after the other, on the same inputs and variables."""

    def __init__(self, graph: Graph, inputs: Mapping[str, Any]) -> None:
        if not isinstance(inputs, Mapping):
            raise GraphError(
                f"apply(check=…) takes a dict of input name to array, not a {type(inputs).__name__}"
            )
        self._inputs = dict(inputs)
        self._read: dict[str, None] = {}
        self._values = self._run(graph, "")

    def follow(self, after: Graph, name: str, changes: Sequence[str], done: Sequence[str]) -> None:
        """Compare ``after`` with the graph before it. Raises GraphError naming the pass ``name``.

        changes: globs of the outputs whose value the pass is meant to change.
        """
        before, self._values = self._values, self._run(after, name)
        if "*" in changes:
            return
        nodes = {_output(n): node for n, node in after.outputs.items()}
        nodes |= {_update(n): node for n, node in after.updates.items()}
        meant = {_output(n) for n in after.outputs if any(fnmatchcase(n, g) for g in changes)}
        for what, value in self._values.items():
            if what in before and what not in meant:
                found = difference(before[what], value)
                if found is not None:
                    raise _changed(name, what, found, nodes[what], done)

    def finish(self) -> None:
        """Raise GraphError for an input that none of the graphs had: a slip of the pen."""
        for name in self._inputs:
            if name not in self._read:
                raise GraphError(
                    f"apply(check=…): no graph on the way has an input {name!r}"
                    f"{suggest(name, self._read)}"
                )

    def _run(self, graph: Graph, name: str) -> dict[str, Array]:
        """The outputs and updates of ``graph``, made by the pass ``name`` (or declared)."""
        self._read |= dict.fromkeys(graph.inputs)
        given = {n: value for n, value in self._inputs.items() if n in graph.inputs}
        try:
            outputs, after = interpret(graph, variables_for(graph), True, given)
        except GraphError as error:
            where = f"after the pass {name!r}" if name else "before the first pass"
            message = f"apply(check=…), {where}: {error.message}"
            raise type(error)(message, nodes=error.nodes) from None
        values = {_output(n): value for n, value in outputs.items()}
        return values | {_update(n): after[n] for n in graph.updates}


def variables_for(graph: Graph) -> dict[str, Array]:
    """Initial values, a little moved: a bias of 0 and a scale of 1 would hide what happens to them.

    Each depends on its own name alone. A state is moved upwards: it may be a variance.
    """
    variables = initial_variables(graph, SEED)
    for name, leaf in {**graph.parameters, **graph.states}.items():
        if is_float(leaf.dtype):
            step = numbers_of(f"check/{name}", SEED).uniform(0, MOVED, leaf.type.concrete({}))
            if isinstance(leaf.op, Parameter):
                step = 2 * step - MOVED
            moved = variables[name].astype(np.float64) + step
            variables[name] = np.asarray(moved, leaf.dtype)
    return variables


def difference(before: Array, after: Array) -> str | None:
    """In words, how ``after`` is another value than ``before``; None where only rounding is."""
    if before.shape != after.shape:
        return f"its shape was {before.shape}, now it is {after.shape}"
    limit = max((LIMITS.get(a.dtype.name, 0.0) for a in (before, after)), default=0.0)
    was, now = (np.atleast_1d(a).astype(np.float64) for a in (before, after))
    if was.size == 0:
        return None
    with np.errstate(invalid="ignore"):
        gaps = np.where((was == now) | (np.isnan(was) & np.isnan(now)), 0.0, np.abs(was - now))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)  # a NaN or an infinity on one side alone
    finite = np.abs(was[np.isfinite(was)])
    largest = max(float(finite.max(initial=0.0)), FLOOR)
    if float(gaps.max()) <= limit * largest:
        return None
    at = np.unravel_index(int(gaps.argmax()), was.shape)
    place = f" at {list(map(int, at))}" if before.ndim else ""
    return (
        f"{was[at]:.9g} became {now[at]:.9g}{place} (allowed: {limit:g} of the largest, "
        f"{largest:.3g})"
    )


def _output(name: str) -> str:
    return f"the output {name!r}"


def _update(name: str) -> str:
    return f"the update of {name!r}"


def _changed(name: str, what: str, found: str, node: Node, done: Sequence[str]) -> GraphError:
    return GraphError(
        f"apply(check=…): the pass {name!r} changed {what}: {found}\n"
        f"  {describe(node)}\n  before it ran: {', '.join(done) or 'nothing'}\n"
        "  to fix: correct the pass; one that is meant to change values says so, "
        "passes.define(changes='*')",
        nodes=[node],
    )
