"""Checks a plan without trusting the planner: it shares no code with it, only the plan's data.

Every write gets a number. The instructions are played twice, once with each buffer in memory of
its own, once where the plan puts it; every element read must carry the same write number both
times. Then whatever the planner overlapped, reused or reordered, no value was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphc.compiler.plan import Instruction, Plan, Region, View, region
from graphc.ir.errors import GraphError
from graphc.ir.node import describe

_Ids = np.ndarray[Any, np.dtype[Any]]  # the number of the write that each byte carries


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


def _reach(found: Region) -> tuple[int, int]:
    """The lowest and highest element a region touches; (0, -1) where it touches none."""
    if not found.size:
        return 0, -1
    spans = [(n - 1) * s for n, s in zip(found.shape, found.strides, strict=True)]
    low = sum(span for span in spans if span < 0)
    return found.offset + low, found.offset + sum(spans) - low


def _window(memory: _Ids, found: Region, item: int, offset: int) -> _Ids:
    """The bytes of a region inside ``memory``, where its buffer begins at ``offset``. The caller
    has checked that they lie inside."""
    if not found.size:
        return memory[:0]
    start = memory[offset + found.offset * item :]
    step = memory.itemsize
    strides = (*(s * item * step for s in found.strides), step)
    return as_strided(start, (*found.shape, item), strides)


class _Check:
    def __init__(self, plan: Plan, sizes: dict[str, int]) -> None:
        self.plan = plan
        self.sizes = sizes
        self.number = 0
        self.bytes = {b.number: b.bytes(sizes) for b in plan.buffers}
        self.apart: dict[int, _Ids] = {}
        self.placed: dict[int | str, _Ids] = {"arena": np.zeros(plan.peak_bytes, np.int32)}
        for buffer in plan.buffers:
            if buffer.root != buffer.number:
                continue
            self.apart[buffer.number] = np.zeros(self.bytes[buffer.number], np.int32)
            if buffer.kind != "arena":
                self.number += 1  # given from outside: written before the step
                self.apart[buffer.number][:] = self.number
                self.placed[buffer.number] = np.full(
                    self.bytes[buffer.number], self.number, np.int32
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
            read = [
                self._region(at, v, instruction, loops) for v in call.args if isinstance(v, View)
            ]
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
        low, high = _reach(found)
        if low < 0 or high >= self.bytes[view.buffer] // buffer.dtype.itemsize:
            raise PlanError(f"{at} leaves the buffer b{view.buffer}")
        return found

    def _apart(self, found: Region) -> _Ids:
        """The write numbers of the bytes of a region, in the memory of its own buffer."""
        buffer = self.plan.buffers[found.buffer]
        return _window(self.apart[buffer.root], found, buffer.dtype.itemsize, 0)

    def _placed(self, at: str, found: Region) -> _Ids:
        """The same where the plan puts the buffer."""
        buffer = self.plan.buffers[found.buffer]
        space, offset = self._place(at, buffer.root)
        item = buffer.dtype.itemsize
        low, high = _reach(found)
        if offset + low * item < 0 or offset + (high + 1) * item > len(self.placed[space]):
            raise PlanError(f"{at}: b{buffer.root} does not fit its place")
        return _window(self.placed[space], found, item, offset)

    def _place(self, at: str, root: int) -> tuple[int | str, int]:
        place = self.plan.places.get(root)
        if place is None or place.space not in self.placed:
            raise PlanError(f"{at}: b{root} has no place")
        return place.space, place.offset

    def _read(self, at: str, found: Region) -> None:
        apart, root = self._apart(found), self.plan.buffers[found.buffer].root
        if (apart == 0).any():
            raise PlanError(f"{at} reads b{root} before it is written")
        if not np.array_equal(apart, self._placed(at, found)):
            raise PlanError(f"{at} reads b{root} after something else took its memory")

    def _write(self, at: str, found: Region) -> None:
        root = self.plan.buffers[found.buffer].root
        if self.plan.buffers[root].kind != "arena":
            raise PlanError(f"{at} overwrites b{root}, which is given from outside")
        self.number += 1
        self._apart(found)[...] = self.number
        self._placed(at, found)[...] = self.number

    def _overlap(self, at: str, source: Region, out: Region, pointwise: bool) -> None:
        """What is written may be what is read only element by element."""
        if not source.size or not out.size:
            return
        first, second = self.plan.buffers[source.buffer], self.plan.buffers[out.buffer]
        space, offset = self._place(at, first.root)
        other, start = self._place(at, second.root)
        if space != other:
            return
        read = [offset + n * first.dtype.itemsize for n in _reach(source)]
        written = [start + n * second.dtype.itemsize for n in _reach(out)]
        if read[0] >= written[1] + second.dtype.itemsize:
            return
        if written[0] >= read[1] + first.dtype.itemsize:
            return
        same = (offset, first.dtype.itemsize) == (start, second.dtype.itemsize) and (
            (source.offset, source.shape, source.strides) == (out.offset, out.shape, out.strides)
        )
        if pointwise and same:
            return
        # Interleaved accesses may still miss each other: mark what is read, look where it writes.
        marks = np.zeros(len(self.placed[space]), np.bool_)
        _window(marks, source, first.dtype.itemsize, offset)[...] = True
        if _window(marks, out, second.dtype.itemsize, start).any():
            raise PlanError(f"{at} overwrites b{first.root} while it still reads it")

    # -- the end ------------------------------------------------------------------------------

    def _outputs(self) -> None:
        for name, number in self.plan.schedule.outputs:
            self._whole(f"the output {name!r}", number)

    def _whole(self, at: str, number: int) -> _Ids:
        """Every byte of a buffer, which must be written and still there at the end."""
        root = self.plan.buffers[number].root
        ids = self.apart[root]
        if (ids == 0).any():
            raise PlanError(f"{at} (b{number}) is never written")
        space, offset = self._place(at, root)
        if not np.array_equal(ids, self.placed[space][offset : offset + len(ids)]):
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
