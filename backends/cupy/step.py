"""One bound step: its parts run one by one the first time, then as CUDA graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir.node import Node

if TYPE_CHECKING:
    from .feed import Lane
    from .printer import CudaSource

FEWEST = 2  # launches: one alone gains nothing from a graph


class PartFailed(Exception):
    """A captured part failed: the device does not say which of its launches. ``step_lines``: the
    lines of the step that it ran."""

    def __init__(self, cause: BaseException, nodes: Sequence[Node], lines: tuple[int, int]) -> None:
        super().__init__(str(cause))
        self.cause, self.nodes, self.step_lines = cause, nodes, lines


class Step:
    """A step on certain arrays: calling it runs it and returns its outputs."""

    def __init__(
        self, cupy: Any, stream: Any, namespace: dict[str, Any], printed: CudaSource, lane: Lane,
        *, capture: bool,
    ) -> None:  # fmt: skip
        self.cupy, self.stream, self.lane = cupy, stream, lane
        self.outputs = namespace["outputs"]()
        self.lent = printed.reuse_outputs
        self.parts = [(namespace[name], reason) for name, reason in printed.parts]
        self.lines = printed.part_lines
        self.nodes = printed.nodes
        self.graphs: list[Any] = [None] * len(self.parts)
        self.capture, self.printed = capture, printed

    def __call__(self) -> tuple[Any, ...]:
        """Run one step."""
        given = self.cupy.cuda.get_current_stream()
        self.stream.wait_event(given.record())
        with self.stream:
            fresh = self.outputs if self.lent else self._fresh()
            for number, (part, reason) in enumerate(self.parts):
                self._part(number, part, reason)
            if not self.lent:
                for target, source in zip(fresh, self.outputs, strict=True):
                    if source.nbytes:
                        target.data.copy_from_device_async(source.data, source.nbytes)
            done = self.stream.record()
        self.lane.used = done
        given.wait_event(done)
        self.printed.warm = True
        return tuple(fresh)

    def _fresh(self) -> list[Any]:
        """Arrays that the caller owns."""
        return [self.cupy.empty(o.shape, o.dtype) for o in self.outputs]

    def _part(self, number: int, part: Any, reason: str) -> None:
        first, last = self.lines[number]
        if reason or not self.capture or not self.printed.warm or last - first + 1 < FEWEST:
            part()
            return
        if self.graphs[number] is None:
            self.graphs[number] = self._captured(part)
        try:
            self.graphs[number].launch(self.stream)
        except Exception as error:
            raise PartFailed(error, self.nodes[number], (first, last)) from error

    def _captured(self, part: Any) -> Any:
        """The part as a graph."""
        self.stream.begin_capture()
        try:
            part()
        except BaseException:
            self.stream.end_capture()  # else the stream stays in capture for ever
            raise
        return self.stream.end_capture()
