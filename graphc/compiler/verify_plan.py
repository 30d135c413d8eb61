"""Checks a plan without trusting the planner: it shares no code with it, only the plan's data.

Every write gets a number. The instructions are played twice, once with each buffer in memory of
its own, once where the plan puts it; every element read must carry the same write number both
times. Then whatever the planner overlapped, reused or reordered, no value was lost. And nothing is
computed in vain: a value that nobody reads tells of a line that is missing or came too late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphc.compiler.plan import Call, Instruction, Plan, Region, View, region
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.kernel import POINTWISE
from graphc.ir.node import Node, describe

_Ids = np.ndarray[Any, np.dtype[Any]]  # the number of the write that each byte carries

# What is known here of the functions, whatever a plan says of its calls.
_ELEMENTWISE = frozenset(POINTWISE) | {"copy", "cast", "copy_where", "fill"}
_PARTIAL = frozenset({"copy_where"})


class PlanError(GraphError):
    """A plan that would compute a wrong value."""


def verify_plan(
    plan: Plan, sizes: Mapping[str, int] | None = None, graph: Graph | None = None
) -> None:
    """Raise PlanError unless the plan is sound at ``sizes`` (default: its capacity).

    It checks: every element read was written, by the same write in the plan's memory as with all
    buffers apart; a buffer is read, by all that its readers' descriptions name, after the last
    write to it; no access leaves its buffer or the arena; a call
    overwrites what it reads only element by element; every output is written; every update ends in
    its variable; each variable that an update does not name is as it was. With ``graph``: the plan
    takes, returns and updates what the graph does.
    """
    if graph is not None:
        _interface(plan, graph)
    _Check(plan, dict(plan.capacity if sizes is None else sizes)).run()


def _interface(plan: Plan, graph: Graph) -> None:
    """The plan's inputs, variables and outputs are the graph's, and nothing updated is left out."""
    schedule = plan.schedule
    for kind, given, nodes in (
        ("inputs", schedule.inputs, graph.inputs),
        ("variables", schedule.variables, {**graph.parameters, **graph.states}),
        ("outputs", schedule.outputs, graph.outputs),
    ):
        found = {name: (plan.buffers[n].shape, plan.buffers[n].dtype) for name, n in given}
        if list(found.items()) != [(n, (node.shape, node.dtype)) for n, node in nodes.items()]:
            raise PlanError(f"the {kind} of the plan are {found}, not those of the graph")
    number = dict(schedule.variables)
    changed = {v for _, v in schedule.direct} | {v for v, _ in schedule.copies}
    for name, node in graph.updates.items():
        kept = node is {**graph.parameters, **graph.states}[name]
        if not kept and number[name] not in changed:
            raise PlanError(f"nothing updates the variable {name!r} (b{number[name]})")


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
        self.unread: dict[int, str] = {}  # root -> the call whose result nobody has read yet
        self.done: dict[int, str] = {}  # root -> the instruction that reads it as a finished value
        self.bytes = {b.number: b.bytes(sizes) for b in plan.buffers}
        self.apart: dict[int, _Ids] = {}  # from the first touch to the last: nets are large
        self.placed: dict[int | str, _Ids] = {"arena": np.zeros(plan.peak_bytes, np.int32)}
        self.given: dict[int, int] = {}  # what comes from outside is written before the step
        for buffer in plan.buffers:
            if buffer.root == buffer.number and buffer.kind != "arena":
                self.number += 1
                self.given[buffer.number] = self.number
                self.placed[buffer.number] = np.full(
                    self.bytes[buffer.number], self.number, np.int32
                )

    def run(self) -> None:
        self._places()
        leaving = self._leaving()
        for position, instruction in enumerate(self.plan.instructions):
            for loops in instruction.environments():
                self._turn(position, instruction, loops)
            for root in leaving.get(position, ()):
                self.apart.pop(root, None)
            for number, written in instruction.buffers().items():
                if not written:
                    root = self.plan.buffers[number].root
                    self.done.setdefault(root, f"instruction {position}")
        self._needs()
        self._outputs()
        self._updates()
        for root, at in self.unread.items():
            raise PlanError(f"{at} writes b{root}, but nothing reads it")

    def _leaving(self) -> dict[int, list[int]]:
        """After which instruction each buffer is touched no more, those wanted at the end left
        out."""
        schedule = self.plan.schedule
        wanted = [*(n for _, n in schedule.outputs), *(n for n, _ in schedule.direct)]
        wanted += [number for _, number in schedule.copies]
        kept = {self.plan.buffers[number].root for number in wanted}
        last: dict[int, int] = {}
        for position, instruction in enumerate(self.plan.instructions):
            for number in instruction.buffers():
                if 0 <= number < len(self.plan.buffers):
                    last[self.plan.buffers[number].root] = position
        leaving: dict[int, list[int]] = {}
        for root, position in last.items():
            if root not in kept:
                leaving.setdefault(position, []).append(root)
        return leaving

    def _memory(self, root: int) -> _Ids:
        """The memory of its own that a buffer has."""
        if root not in self.apart:
            self.apart[root] = np.full(self.bytes[root], self.given.get(root, 0), np.int32)
        return self.apart[root]

    def _needs(self) -> None:
        """Every node's instructions read all that its description does."""
        found: dict[Node, set[int]] = {}
        for instruction in self.plan.instructions:
            read = found.setdefault(instruction.node, set())
            read.update(view.buffer for view, written in instruction.views() if not written)
        for node, needed in self.plan.schedule.needs:
            for number in set(needed) - found.get(node, set()):
                raise PlanError(f"no instruction of {describe(node)} reads b{number}")

    def _places(self) -> None:
        """Only an update is computed in a variable's memory, and addresses are aligned."""
        direct = dict(self.plan.schedule.direct)
        for buffer in self.plan.buffers:
            if buffer.root != buffer.number:
                continue
            space, offset = self._place(f"the buffer table ({buffer.label})", buffer.number)
            home = direct.get(buffer.number, "arena" if buffer.kind == "arena" else buffer.number)
            if space != home:
                raise PlanError(f"b{buffer.number} lies in {space}, but its place is {home}")
            if offset % buffer.dtype.itemsize or (space != "arena" and offset):
                raise PlanError(f"b{buffer.number} begins at byte {offset}: not an element of it")

    def _turn(self, position: int, instruction: Instruction, loops: dict[str, int]) -> None:
        for call in instruction.calls:
            at = f"instruction {position} ({call.function} of {describe(instruction.node)})"
            if call.pointwise and call.function not in _ELEMENTWISE:
                raise PlanError(f"{at} is not pointwise, but says so")
            if call.partial != (call.function in _PARTIAL):
                raise PlanError(f"{at} does not say whether it keeps a part of what it writes")
            read = [
                self._region(at, v, instruction, loops) for v in call.args if isinstance(v, View)
            ]
            outs = [self._region(at, view, instruction, loops) for view in call.outs]
            if call.partial:
                read += outs
            for source in read:
                self._read(at, source)
            for out in outs:
                for source in read[: len(read) - call.partial]:
                    elementwise = call.pointwise or self._over(at, call, source, out)
                    self._overlap(at, source, out, elementwise)
                    if call.pointwise:
                        self._broadcast(at, source, out)
            self._apart_from_each_other(at, outs)
            # What a fill leaves may be overwritten wholly at some sizes, and the last turn of a
            # loop may write for a next one.
            for out in outs:
                carried = any(
                    view.buffer == out.buffer
                    for other in instruction.calls
                    for view in other.args
                    if isinstance(view, View) and other is not call
                )
                self._write(at, out, wanted=call.function != "fill" and not carried)

    def _over(self, at: str, call: Call, source: Region, out: Region) -> bool:
        """Whether a launch loads of ``source`` only the elements that it stores to ``out``."""
        for over in call.over:
            if (over.read, over.written) == (source.buffer, out.buffer):
                if any(load != over.store for load in over.loads):
                    raise PlanError(f"{at}: b{out.buffer} may not take the place of b{over.read}")
                return True
        return False

    def _apart_from_each_other(self, at: str, outs: list[Region]) -> None:
        """Results of one launch have memory of their own."""
        for i, first in enumerate(outs):
            for second in outs[:i]:
                if self.plan.buffers[first.buffer].root == self.plan.buffers[second.buffer].root:
                    continue  # parts of one buffer
                self._overlap(at, first, second, False)

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
        return _window(self._memory(buffer.root), found, buffer.dtype.itemsize, 0)

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
        self.unread.pop(root, None)  # also where a window stands on padding alone

    def _broadcast(self, at: str, source: Region, out: Region) -> None:
        aligned = out.shape[len(out.shape) - len(source.shape) :]
        if len(source.shape) > len(out.shape) or any(
            n not in (1, m) for n, m in zip(source.shape, aligned, strict=True)
        ):
            raise PlanError(f"{at}: b{source.buffer}{source.shape} into b{out.buffer}{out.shape}")

    def _write(self, at: str, found: Region, *, wanted: bool) -> None:
        root = self.plan.buffers[found.buffer].root
        if self.plan.buffers[root].kind != "arena":
            raise PlanError(f"{at} overwrites b{root}, which is given from outside")
        if root in self.done:
            raise PlanError(f"{at} writes b{root} after {self.done[root]} has read it")
        whole = found.size * self.plan.buffers[found.buffer].dtype.itemsize == self.bytes[root]
        if whole and root in self.unread:
            raise PlanError(f"{at} overwrites b{root}, which {self.unread[root]} wrote for nobody")
        if found.size and wanted:
            self.unread[root] = at
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
        ids = self._memory(root)
        if (ids == 0).any():
            raise PlanError(f"{at} (b{number}) is never written")
        space, offset = self._place(at, root)
        self.unread.pop(root, None)
        if not np.array_equal(ids, self.placed[space][offset : offset + len(ids)]):
            raise PlanError(f"{at} (b{number}) is overwritten before the end")
        return ids

    def _updates(self) -> None:
        schedule = self.plan.schedule
        wanted: dict[int, _Ids] = {}
        for result, variable in schedule.direct:
            wanted[variable] = self._whole(f"the update of b{variable}", result)
        for variable, result in schedule.copies:
            if variable in wanted:
                raise PlanError(f"b{variable} is updated twice")
            # Played in order: a copy that reads what an earlier one has overwritten is found here.
            wanted[variable] = self._whole(f"the update of b{variable}", result)
            first, second = self.plan.buffers[result], self.plan.buffers[variable]
            if (first.shape, first.dtype) != (second.shape, second.dtype):
                raise PlanError(f"the update of b{variable} copies b{result}, of another type")
            self.placed[variable][:] = wanted[variable]
        for number, before in self.given.items():
            at_the_end = self.placed[number]
            if number in wanted:
                if not np.array_equal(wanted[number], at_the_end):
                    raise PlanError(f"the update of b{number} does not end in its variable")
            elif (at_the_end != before).any():
                raise PlanError(f"b{number} is given from outside, but the step changes it")
