"""What every optimizer shares: the gradients it consumes, its rate, its states, its updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graphc.ir import Graph, GraphError, Node, facts, input, state
from graphc.ir.leaves import naming_of
from graphc.ir.node import describe
from graphc.ir.types import is_float
from graphc.ops.compare import cast
from graphc.passes.edges import edge_gradients
from graphc.passes.loss_scale import guarded
from graphc.passes.select import factors

Rate = float | str | Node


@dataclass(frozen=True)
class Memory:
    """What an optimizer remembers of one parameter from step to step."""

    kind: str
    name: str
    weight: Node
    updates: dict[Node, Node]

    def __call__(self, what: str, rule: Callable[[Node], Node]) -> Node:
        """The new value ``rule(old)`` of the state called ``what``, which is zero at first."""
        path = f"{self.kind}/{self.name}/{what}"
        old = state(path, self.weight.shape, dtype=self.weight.dtype)
        self.updates[old] = rule(old)
        return self.updates[old]

    def count(self) -> Node:
        """Which step of this optimizer this is, from 1: a state that its parameters share.

        Not ``step``, which may have run before the optimizer did: its memories start at 0.
        """
        path = f"{self.kind}/step"
        for leaf, new in self.updates.items():
            if naming_of(leaf).fixed == path or naming_of(leaf).hint == path:
                return new
        old = state(path, (), dtype="int64")
        self.updates[old] = old + 1
        return self.updates[old]


# The direction to go, of a parameter and its gradient; the rate is applied to it.
Direction = Callable[[Node, Node, Memory], Node]


def number(value: object, what: str, *, low: float = 0.0, high: float = math.inf) -> float:
    """``value`` if it is a finite number in [low, high]. Raises GraphError."""
    if isinstance(value, Graph):
        raise GraphError(
            f"{what} was given a graph: a pass that takes options is written with its "
            "parentheses, e.g. passes.sgd(lr=0.1)"
        )
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not (low <= float(value) <= high) or math.isinf(float(value)):  # type: ignore[arg-type]
        limits = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise GraphError(f"{what} must be a number {limits}, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def checked_rate(lr: object, what: str) -> Rate:
    """A learning rate as the user may write it. Raises GraphError."""
    if isinstance(lr, Node):
        if lr.shape != () or not is_float(lr.dtype):
            raise GraphError(
                f"{what} must be a floating-point scalar, not {describe(lr)}", nodes=[lr]
            )
        return lr
    if isinstance(lr, str):
        if not (lr.isidentifier() and lr.isascii()):
            raise GraphError(
                f"{what}={lr!r} cannot be an input given by keyword: use an identifier such as 'lr'"
            )
        return lr
    return number(lr, what)


def checked_scale(table: Mapping[str, float] | None, what: str) -> dict[str, float]:
    """{glob: factor on the rate} as the user may write it. Raises GraphError."""
    return {
        glob: number(factor, f"{what}(lr_scale={{{glob!r}: …}})")
        for glob, factor in dict(table or {}).items()
    }


def optimize(
    graph: Graph,
    kind: str,
    direction: Direction,
    *,
    lr: Rate,
    lr_scale: Mapping[str, float],
    keep_gradients: bool,
) -> Graph:
    """``graph`` with the updates w ← w - lr·direction(w, ∂w) of every parameter with a gradient."""
    gradients = parameter_gradients(graph, kind)
    rate = _node_of(graph, lr)
    weights = {name: graph.parameters[name] for name in gradients}
    scale = factors(graph, weights.values(), lr_scale, f"{kind}(lr_scale=…)")
    updates = graph.leaf_updates
    for name, weight in weights.items():
        if weight in updates:
            raise GraphError(
                f"{kind} cannot update {describe(weight)}: another optimizer does already. "
                "Differentiate with respect to different parameters: passes.backward(wrt=[…])",
                nodes=[weight],
            )
        with facts.derive(weight):
            memory = Memory(kind, name, weight, updates)
            step = direction(weight, gradients[name], memory)
            own = cast(rate, weight.dtype) if isinstance(rate, Node) else rate
            factor = scale.get(weight, 1.0)
            updates[weight] = weight - (own if factor == 1.0 else own * factor) * step
    outputs = dict(graph.outputs)
    if not keep_gradients:
        for name in gradients:
            del outputs[f"grad/{name}"]
    return graph.rebuild(outputs, guarded(graph, updates))


def parameter_gradients(graph: Graph, kind: str) -> dict[str, Node]:
    """The outputs ``grad/<parameter>`` by parameter name. Raises GraphError where none is ready."""
    apart = edge_gradients(graph)
    if apart:
        name, terms = next(iter(apart.items()))
        raise GraphError(
            f"{kind} needs grad/{name}, and this graph has {', '.join(terms.values())}, one for "
            "each use of it: put passes.share() in between, which sums them"
        )
    gradients = {
        name: graph.outputs[f"grad/{name}"]
        for name in graph.parameters
        if f"grad/{name}" in graph.outputs
    }
    if not gradients:
        raise GraphError(
            f"{kind} found no outputs grad/<parameter>: run passes.backward() before it (an "
            "optimizer consumes the gradients unless keep_gradients=True)"
        )
    return gradients


def _node_of(graph: Graph, lr: Rate) -> Node | float:
    """The rate in this graph: a name is the input so called, a new one where there is none."""
    if not isinstance(lr, str):
        return lr
    known = graph.inputs.get(lr)
    if known is None:
        return input(lr, ())
    checked_rate(known, f"the input {lr!r} as learning rate")
    return known
