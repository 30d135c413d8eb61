"""The NumPy schedule: descriptions become array calls, one a line, with their temporaries declared.

What is decided here and in the files beside it: which axes become Python loops (``sweep``), what is
copied so that a matrix product can read it (``product``), which temporary a value goes through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.compiler.lower import Ordered, reads
from graphc.compiler.plan import (
    Call,
    Linear,
    Scalar,
)  # fmt: skip
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.errors import BackendError
from graphc.ir.graph import Graph
from graphc.ir.kernel import Alias, Gemm, Kernel, Routine, Step
from graphc.ir.leaves import stream_number

from ..table import Table
from .product import ProductSchedule
from .sweep import KernelSchedule


class Scheduler(Table):
    """Turns the ordered steps of one graph into a ``Schedule``."""

    def __init__(self, graph: Graph, ordered: Ordered) -> None:
        super().__init__(graph, ordered)
        self.ranges: dict[tuple[Size, np.dtype[Any]], int] = {}

    def range(self, extent: Size, dtype: np.dtype[Any]) -> int:
        """A buffer that holds 0, 1, 2, …"""
        key = (extent, dtype)
        if key not in self.ranges:
            self.ranges[key] = self.new((extent,), dtype, "range", f"range({extent})")
        return self.ranges[key]

    # -- steps --------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """Schedule one description."""
        match step:
            case Alias():
                self.alias(step)
                return
            case Routine():
                self._routine(step)
            case Gemm():
                ProductSchedule(self, step).run()
            case Kernel():
                KernelSchedule(self, step).run()
        self.needs.append((step.node, tuple(self.buffer(ref) for ref in reads(step))))

    def _routine(self, step: Routine) -> None:
        options = dict(step.attributes)
        args = tuple(self.all(self.buffer(ref)) for ref in step.inputs)
        out = None if step.out is None else self.all(self.buffer(step.out))
        match step.name:
            case "constant":
                self.constant(step)
            case "philox":
                numbered = (("stream", stream_number(options["path"])),)
                self.emit(step.node, Call("uniform", args, out, numbered, pointwise=False))
            case "check_range":
                bounds = tuple(
                    Scalar(Linear(b) if isinstance(b, dims.Dim) else b)
                    for b in (options["low"], options["high"])
                )
                what = (("what", options["what"]),)
                self.emit(step.node, Call("inside", (*args, *bounds), None, what, pointwise=False))
            case "cumsum":
                name = "cumsum_back" if options["reverse"] else "cumsum"
                axis = (("axis", options["axis"]),)
                self.emit(step.node, Call(name, args, out, axis, pointwise=False))
            case "gather" | "gather_grad":
                batch = (("batch", options["batch"]),)
                self.emit(step.node, Call(step.name, args, out, batch, pointwise=False))
            case _:
                raise BackendError(f"the numpy backend has no routine {step.name!r}")
