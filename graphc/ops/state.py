"""``track``: how a declared value feeds a running statistic (design rule 3.6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.check import Check
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import DTypeError, GraphError
from graphc.ir.leaves import STEP, State
from graphc.ir.node import Node, make
from graphc.ir.types import TensorType, is_float, shape_of, short
from graphc.ops.compare import cast
from graphc.ops.core import size
from graphc.ops.sharing import Identity


@dataclass(frozen=True, eq=False)
class Track(Identity):
    """The identity on ``value`` that tells ``gx.Graph`` to update ``state``."""

    name: ClassVar[str] = "track"
    law: ClassVar[str] = "y = value; state ← (1-m)·state + m·value·count/(count-1)"
    operands: ClassVar[tuple[str, ...]] = ("value", "state")
    tracks: ClassVar[bool] = True
    momentum: float
    count: int | Dim | None = None

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        value, state = inputs
        check.require(
            isinstance(state.op, State),
            "what follows the value is not a state",
            fix="declare it: gx.state('running_mean', shape)",
            error=GraphError,
        )
        check.require(
            is_float(state.dtype) and value.dtype == state.dtype,
            f"the value is {short(value.dtype)}, the state {short(state.dtype)}: both must be of "
            "one floating-point type",
            fix=f"gx.cast(value, '{state.dtype.name}'), or declare the state with dtype=",
            error=DTypeError,
        )
        check.require(
            math.isfinite(self.momentum) and 0 <= self.momentum <= 1,
            f"momentum={self.momentum} is not a weight between 0 and 1",
            fix="PyTorch's momentum, the weight of the new value: 0.1 by default",
            error=GraphError,
        )
        if self.count is not None:
            check.at_least(
                self.count, 2, "the unbiased variance divides by count - 1",
                fix="train on a batch with two values or more per channel",
            )  # fmt: skip
        return TensorType(check.same_shape(value, state, "value and state"), value.dtype)

    def update(self, node: Node, previous: Node) -> Node:
        value = node.inputs[0]
        match self.count:
            case int(n):
                value = value * (n / (n - 1))
            case Dim() as n:
                value = value * (size(n, value.dtype) / size(n - 1, value.dtype))
        return previous * (1 - self.momentum) + value * self.momentum


def track(value: Node, state: Node, momentum: float = 0.1, count: Size | str | None = None) -> Node:
    """``value`` itself; a Graph that holds the result updates ``state`` ← (1-m)·state + m·value.

    momentum: m, the weight of the new value, between 0 and 1 (PyTorch's). count: how many values
    ``value`` is the variance of, e.g. the size N·H·W: then value·count/(count-1), the unbiased
    variance, is what the state takes in, as in PyTorch's batch norm, and count ≥ 2 is a guard.
    Several tracks of one state compose in ``graph.nodes`` order.

    Raises ShapeError or DTypeError where value and state differ, GraphError for a ``state`` that is
    not one.

    >>> import numpy as np
    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 2))
    >>> running = gx.state("running", (2,))
    >>> graph = gx.Graph({"mean": gx.track(gx.mean(x, 0), running, momentum=0.5)})
    >>> before = {"running": np.float32([0, 8])}
    >>> outputs, after = gx.interpret(graph, before, updates=True, x=[[1, 2], [3, 4]])
    >>> outputs["mean"].tolist(), after["running"].tolist()
    ([2.0, 3.0], [1.0, 5.5])
    """
    if isinstance(count, str):
        (count,) = shape_of(count, what="track, count")
    return make(Track(float(momentum), count), value, state)


def step() -> Node:
    """The number of the step that runs, from 0, as a float32 scalar: for schedules.

    Every graph that reads it counts it up after each run (the update step ← step + 1). It is the
    state ``step`` of the variables, an int64; float32 is exact up to step 2²⁴.

    >>> import numpy as np
    >>> import graphc as gx
    >>> graph = gx.Graph({"rate": 1 / (1 + gx.step())})
    >>> outputs, after = gx.interpret(graph, {"step": np.array(3)}, updates=True)
    >>> float(outputs["rate"]), int(after["step"])
    (0.25, 4)
    """
    return cast(STEP, "float32")


__all__ = ["step", "track"]
