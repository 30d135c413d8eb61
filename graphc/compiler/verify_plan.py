"""Checks a plan without trusting the planner: it shares no code with it, only the plan's data.

Every write gets a number. The instructions are played twice, once with each buffer in memory of
its own, once where the plan puts it; every element read must carry the same write number both
times. Then whatever the planner overlapped, reused or reordered, no value was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.compiler.plan import Instruction, Plan, Region, View, region
from graphc.ir.errors import GraphError
from graphc.ir.node import describe

_Ids = np.ndarray[Any, np.dtype[np.int64]]


class PlanError(GraphError):
    """A plan that would compute a wrong value."""


def verify_plan(plan: Plan, sizes: Mapping[str, int] | None = None) -> None:
    """Raise PlanError unless the plan is sound at ``sizes`` (default: its capacity).

    It checks: every element read was written, by the same write in the plan's memory as with all
    buffers apart; no access leaves its buffer or the arena; a call overwrites what it reads only
    element by element; every output is written; every update ends in its variable; each variable
    that an update does not name is as it was.
    """
    _Check(plan, dict(plan.capacity if sizes is None else sizes)).run()


class _Check:
    def __init__(self, plan: Plan, sizes: dict[str, int]) -> None:
        self.plan = plan
        self.sizes = sizes
        self.number = 0
        self.bytes = {b.number: b.bytes(sizes) for b in plan.buffers}
        self.apart: dict[int, _Ids] = {}
        self.placed: dict[int | str, _Ids] = {"arena": np.zeros(plan.peak_bytes, np.int64)}
        for buffer in plan.buffers:
            if buffer.root != buffer.number:
                continue
            self.apart[buffer.number] = np.zeros(self.bytes[buffer.number], np.int64)
            if buffer.kind != "arena":
                self.number += 1  # given from outside: written before the step
                self.apart[buffer.number][:] = self.number
                self.placed[buffer.number] = np.full(
                    self.bytes[buffer.number], self.number, np.int64
                )

    def run(self) -> None:
        before = {n: ids.copy() for n, ids in self.placed.items() if n != "arena"}
        for position, instruction in enumerate(self.plan.instructions):
            for loops in instruction.environments():
                self._turn(position, instruction, loops)
        self._outputs()
        self._updates(before)

    def _turn(self, position: int, instruction: Instruction, loops: dict[str, int]) -> None:
        for call in instruction.calls:
            at = f"instruction {position} ({call.function} of {describe(instruction.node)})"
            read = [self._region(at, v, instruction, loops) for v in call.args if isinstance(v, View)]
            out = None
            if call.out is not None:
                out = self._region(at, call.out, instruction, loops)
                if call.partial:
                    read.append(out)
            for source in read:
                self._read(at, source)
            if out is None:
                continue
            for source in read[: len(read) - call.partial]:
                self._overlap(at, source, out, call.pointwise)
            self._write(at, out)

    # -- accesses -----------------------------------------------------------------------------

    def _region(
        self, at: str, view: View, instruction: Instruction, loops: dict[str, int]
    ) -> Region:
        if not 0 <= view.buffer < len(self.plan.buffers):
            raise PlanError(f"{at} uses the buffer {view.buffer}, which does not exist")
        buffer = self.plan.buffers[view.buffer]
        try:
            found = region(view, buffer, instruction.fits, self.sizes, loops)
        except ValueError as error:
            raise PlanError(f"{at}: a view of b{view.buffer}: {error}") from None
        elements = found.elements()
        limit = self.bytes[view.buffer] // buffer.dtype.itemsize
        if elements.size and (elements.min() < 0 or elements.max() >= limit):
            raise PlanError(f"{at} leaves the buffer b{view.buffer}")
        return found

    def _where(self, found: Region) -> tuple[int, _Ids]:
        """The root buffer, and the bytes of it that a region touches."""
        buffer = self.plan.buffers[found.buffer]
        item = buffer.dtype.itemsize
        first = found.elements().reshape(-1) * item
        return buffer.root, (first[:, None] + np.arange(item)).reshape(-1)

    def _address(self, at: str, root: int, touched: _Ids) -> tuple[int | str, _Ids]:
        place = self.plan.places.get(root)
        if place is None or place.space not in self.placed:
            raise PlanError(f"{at}: b{root} has no place")
        memory = self.placed[place.space]
        moved = touched + place.offset
        if moved.size and (moved.min() < 0 or moved.max() >= len(memory)):
            raise PlanError(f"{at}: b{root} does not fit its place")
        return place.space, moved

    def _read(self, at: str, found: Region) -> None:
        root, touched = self._where(found)
        apart = self.apart[root][touched]
        space, moved = self._address(at, root, touched)
        if (apart == 0).any():
            raise PlanError(f"{at} reads b{root} before it is written")
        if not np.array_equal(apart, self.placed[space][moved]):
            raise PlanError(f"{at} reads b{root} after something else took its memory")

    def _write(self, at: str, found: Region) -> None:
        root, touched = self._where(found)
        if self.plan.buffers[root].kind in ("input", "constant", "range", "variable"):
            raise PlanError(f"{at} overwrites b{root}, which is given from outside")
        self.number += 1
        space, moved = self._address(at, root, touched)
        self.apart[root][touched] = self.number
        self.placed[space][moved] = self.number

    def _overlap(self, at: str, source: Region, out: Region, pointwise: bool) -> None:
        source_root, read = self._where(source)
        out_root, written = self._where(out)
        space, read = self._address(at, source_root, read)
        other, written = self._address(at, out_root, written)
        if space != other or not np.intersect1d(read, written).size:
            return
        same = source.shape == out.shape and np.array_equal(read, written)
        if not (pointwise and same):
            raise PlanError(f"{at} overwrites b{source_root} while it still reads it")

    # -- the end ------------------------------------------------------------------------------

    def _outputs(self) -> None:
        for name, number in self.plan.schedule.outputs:
            self._whole(f"the output {name!r}", number)

    def _whole(self, at: str, number: int) -> _Ids:
        root = self.plan.buffers[number].root
        touched = np.arange(self.bytes[number])
        ids = self.apart[root][touched]
        if (ids == 0).any():
            raise PlanError(f"{at} (b{number}) is never written")
        space, moved = self._address(at, root, touched)
        if not np.array_equal(ids, self.placed[space][moved]):
            raise PlanError(f"{at} (b{number}) is overwritten before the end")
        return ids

    def _updates(self, before: dict[int | str, _Ids]) -> None:
        schedule = self.plan.schedule
        updated = {variable for _, variable in schedule.direct}
        for result, variable in schedule.direct:
            ids = self._whole(f"the update in b{variable}", result)
            if not np.array_equal(ids, self.placed[variable]):
                raise PlanError(f"the update b{result} does not end in its variable b{variable}")
        for variable, result in schedule.copies:
            self._whole(f"the update of b{variable}", result)
            root = self.plan.buffers[result].root
            if root in updated:
                raise PlanError(f"the update of b{variable} reads b{result} after it changed")
        for number, ids in before.items():
            if number not in updated and not np.array_equal(ids, self.placed[number]):
                raise PlanError(f"b{number} is given from outside, but the step changes it")
