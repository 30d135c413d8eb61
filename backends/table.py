"""What schedulers share: buffers, lines, and what becomes of the updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.compiler.lower import Ordered
from graphc.compiler.plan import Buffer, Call, Fit, Instruction, Kind, Loop, Schedule, View, Whole
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.kernel import Alias, Ref, Routine, Step, value
from graphc.ir.node import Node


class Table:
    """The buffers and lines of a plan in the making; a target's scheduler says what a step is."""

    def __init__(self, graph: Graph, ordered: Ordered) -> None:
        self.graph = graph
        self.ordered = ordered
        self.buffers: list[Buffer] = []
        self.lines: list[Instruction] = []
        self.of: dict[Ref, int] = {}
        self.needs: list[tuple[Node, tuple[int, ...]]] = []
        self.direct: dict[int, int] = {}  # result -> the variable whose memory it takes

    def run(self) -> Schedule:
        """Schedule every step."""
        graph = self.graph
        inputs, variables = [], []
        for name, node in graph.inputs.items():
            inputs.append((name, self._declare(value(node), "input", name)))
        for name, node in {**graph.parameters, **graph.states}.items():
            variables.append((name, self._declare(value(node), "variable", name)))
        self.everything()
        copies = self._copies()
        return Schedule(
            tuple(self.buffers),
            tuple(self.lines),
            tuple(inputs),
            tuple(variables),
            tuple((name, self.buffer(value(node))) for name, node in graph.outputs.items()),
            tuple(self.direct.items()),
            tuple(copies),
            tuple(self.needs),
        )

    def everything(self) -> None:
        """Schedule the steps, in order."""
        for step in self.ordered.steps:
            self.step(step)

    def _copies(self) -> list[tuple[int, int]]:
        """The updates that are not computed in place: a plain copy each, after everything else.

        All of them read the old values: one that copies another updated variable reads it from a
        copy made first.
        """
        copies: list[tuple[int, int]] = []
        for leaf, node in self.graph.leaf_updates.items():
            target, source = self.of[value(leaf)], self.buffer(value(node))
            if self.direct.get(source, source) == target:
                continue
            if self.buffers[self.buffers[source].root].kind in ("variable", "input"):
                kept = self.new(node.shape, node.dtype, "arena", f"old {node.op.name}")
                # It must be read before any variable changes, so it goes in front.
                self.emit(node, Call("copy", (self.all(source),), self.all(kept)))
                self.lines.insert(0, self.lines.pop())
                source = kept
            copies.append((target, source))
        return copies

    # -- buffers ------------------------------------------------------------------------------

    def new(
        self, shape: Sequence[Size], dtype: np.dtype[Any], kind: Kind, label: str,
        root: int | None = None, data: Any = None,
    ) -> int:  # fmt: skip
        """A new buffer's number."""
        number = len(self.buffers)
        self.buffers.append(
            Buffer(number, tuple(shape), dtype, kind, number if root is None else root, label, data)
        )
        return number

    def _declare(self, ref: Ref, kind: Kind, label: str) -> int:
        self.of[ref] = self.new(ref.shape, ref.dtype, kind, label)
        return self.of[ref]

    def buffer(self, ref: Ref) -> int:
        """The buffer that holds ``ref``."""
        if ref not in self.of:
            name = self.graph.name(ref.node)
            label = name if ref.what == "value" else f"{name}: {ref.what}"
            number = self._declare(ref, "arena", label)
            if ref in self.ordered.direct:
                self.direct[number] = self.of[value(self.ordered.direct[ref])]
        return self.of[ref]

    def one_memory(self, first: int, second: int) -> bool:
        """Whether two buffers are one: views of one, or a result computed in its variable."""
        a, b = self.buffers[first].root, self.buffers[second].root
        return self.direct.get(a, a) == self.direct.get(b, b)

    def temporary(self, shape: Sequence[Size], dtype: np.dtype[Any], node: Node) -> int:
        """A buffer for a value inside a kernel."""
        return self.new(shape, dtype, "arena", f"inside {self.graph.name(node)}")

    def all(self, number: int) -> View:
        """The buffer as it stands."""
        return View(number, (Whole(),) * len(self.buffers[number].shape))

    # -- lines --------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """Schedule one description."""
        raise NotImplementedError

    def alias(self, step: Alias) -> None:
        """Another shape of the same memory."""
        source = self.buffer(step.source)
        root = self.buffers[source].root
        label = self.graph.name(step.node)
        self.of[step.out] = self.new(step.out.shape, step.out.dtype, "arena", label, root)

    def constant(self, step: Routine) -> None:
        """A buffer that holds the elements of a literal."""
        assert step.out is not None
        number, data = self.buffer(step.out), dict(step.attributes)["value"]
        self.buffers[number] = replace(self.buffers[number], kind="constant", data=data)

    def emit(
        self, node: Node, *calls: Call, loops: tuple[Loop, ...] = (), fits: tuple[Fit, ...] = ()
    ) -> None:
        """Add a line."""
        self.lines.append(Instruction(calls, node, self.graph.name(node), loops, fits))
