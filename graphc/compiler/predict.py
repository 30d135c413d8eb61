"""What one step of a plan takes on a named device: counted, and, apart from that, predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphc.compiler.devices import Device, device_of
from graphc.ir.errors import GraphError

if TYPE_CHECKING:
    from graphc.compiler.plan import Instruction, Plan
    from graphc.ir.node import Node


@dataclass(frozen=True, slots=True)
class Prediction:
    """One step of a plan on a device; printed, a few lines.

    Attributes: ``launches``, ``bytes`` (read and written) and ``flops`` (a multiply-add is two) are
    counted from the plan. ``seconds``, ``device_seconds`` and ``host_seconds`` are *predicted* from
    the constants of ``device`` and were never measured: the step takes as long as the slower of the
    device, launch by launch the larger of bytes/bandwidth, flops/rate and the shortest kernel, and
    the host, which issues the launches one after the other (``captured``: once, as a graph).
    ``sizes``: what the named dimensions were taken as.
    """

    device: Device
    sizes: dict[str, int]
    launches: int
    bytes: int
    flops: int
    device_seconds: float
    host_seconds: float
    captured: bool

    @property
    def seconds(self) -> float:
        """Predicted, not measured."""
        return max(self.device_seconds, self.host_seconds)

    def __str__(self) -> str:
        at = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        bound = "device" if self.device_seconds >= self.host_seconds else "host"
        return (
            f"counted{f' at {at}' if at else ''}: {self.launches} launches, {self.bytes:,} bytes, "
            f"{self.flops:,} flops\n"
            f"predicted for {self.device.name}, not measured: {self.seconds * 1e6:.4g} µs a step, "
            f"bound by the {bound} (device {self.device_seconds * 1e6:.4g}, host "
            f"{self.host_seconds * 1e6:.4g})\n"
            f"assumed: {', '.join(self.device.assumed()) or 'nothing'}"
        )

    __repr__ = __str__


def predict(plan: Plan, device: str, captured: bool, sizes: Mapping[str, int]) -> Prediction:
    """``Plan.predict``."""
    known = device_of(device)
    at = dict(plan.capacity) | dict(sizes)
    for name, size in sizes.items():
        if name not in plan.capacity:
            raise GraphError(
                f"predict: the plan has no dimension {name!r}; it has "
                f"{', '.join(plan.capacity) or 'none'}"
            )
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise GraphError(f"predict: {name}={size!r} is not a size: an int of 1 or more")
    owed = _flops(plan, at)
    total, moved, launches, seconds = sum(owed.values()), 0, 0, 0.0
    for instruction in plan.instructions:
        operations = owed.pop(instruction.node, 0)
        rate = getattr(known, instruction.node.dtype.name, known.float32).value
        each = list(_bytes(plan, instruction, at))
        for count in each:
            moved += count
            launches += 1
            busy = max(count / known.bandwidth.value, operations / len(each) / rate)
            seconds += max(busy, known.kernel.value)
    gaps = launches * known.graph_node.value if captured else 0.0
    host = known.launch.value * (1 if captured else launches)
    return Prediction(known, at, launches, moved, total, seconds + gaps, host, captured)


def _flops(plan: Plan, sizes: Mapping[str, int]) -> dict[Node, int]:
    """What each node takes, by its op's own rule: those with instructions, and those fused away."""
    nodes = dict.fromkeys(node for node, _ in plan.schedule.needs)
    nodes |= dict.fromkeys(instruction.node for instruction in plan.instructions)
    return {node: node.op.cost(node, sizes).flops for node in nodes if node.inputs}


def _bytes(plan: Plan, instruction: Instruction, sizes: Mapping[str, int]) -> Iterator[int]:
    """The bytes that each launch of the instruction reads and writes, an operand counted once."""
    from graphc.compiler.plan import View, region

    for loops in instruction.environments():
        for call in instruction.calls:
            views = [arg for arg in call.args if isinstance(arg, View)]
            total = 0
            for view in (*dict.fromkeys(views), *call.outs):
                buffer = plan.buffers[view.buffer]
                try:
                    found = region(view, buffer, instruction.fits, sizes, loops)
                except ValueError:  # sizes at which this cut would copy: as if it were the whole
                    total += buffer.bytes(sizes)
                    continue
                touched = math.prod(n for n, s in zip(found.shape, found.strides, strict=True) if s)
                total += touched * np.dtype(buffer.dtype).itemsize
            yield total
