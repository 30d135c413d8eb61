"""Memory: lifetimes, one arena, and which results may take over the memory of what they read."""

from __future__ import annotations

import bisect
from collections.abc import Mapping

from graphc.compiler.plan import Instruction, Place, Plan, Schedule, View

ALIGNMENT = 64


def plan_memory(
    schedule: Schedule, capacity: Mapping[str, int], alignment: int = ALIGNMENT
) -> Plan:
    """Give every buffer a place, for sizes up to ``capacity``, at multiples of ``alignment`` bytes.

    One sweep over the instructions: what is born takes the best-fitting hole, what dies leaves one.
    """
    first, last = lifetimes(schedule)
    direct = dict(schedule.direct)
    places: dict[int, Place] = {}
    for buffer in schedule.buffers:
        if buffer.root != buffer.number:
            continue
        if buffer.number in direct:
            places[buffer.number] = Place(direct[buffer.number])
        elif buffer.kind != "arena":
            places[buffer.number] = Place(buffer.number)

    births: dict[int, list[int]] = {}
    dying: dict[int, list[int]] = {}
    for number, when in first.items():
        if number not in places:
            births.setdefault(when, []).append(number)
            dying.setdefault(last[number], []).append(number)
    size = {n: -(-schedule.buffers[n].bytes(capacity) // alignment) * alignment for n in first}
    arena = _Arena()
    held: set[int] = set()
    for position, instruction in enumerate(schedule.instructions):
        for number in births.get(position, ()):
            heir = _takes_over(schedule, instruction, number, dying.get(position, ()), held)
            if heir is not None:
                places[number] = places[heir]
                held.discard(heir)
            else:
                places[number] = Place("arena", arena.take(size[number]))
            held.add(number)
        for number in dying.get(position, ()):
            if number in held:
                place = places[number]
                arena.give(place.offset, size[number])
                held.discard(number)
    for buffer in schedule.buffers:  # declared, but nothing reads or writes it
        if buffer.root == buffer.number and buffer.number not in places:
            places[buffer.number] = Place("arena", 0)
    deaths = tuple(tuple(dying.get(position, ())) for position in range(len(schedule.instructions)))
    return Plan(schedule, places, arena.top, dict(capacity), deaths)


def lifetimes(schedule: Schedule) -> tuple[dict[int, int], dict[int, int]]:
    """The first and last instruction that touches each root buffer; what is wanted at the end
    (outputs, copies into variables) lives until then."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, instruction in enumerate(schedule.instructions):
        for number in instruction.buffers():
            root = schedule.buffers[number].root
            first.setdefault(root, position)
            last[root] = position
    end = len(schedule.instructions)
    for number in (*(n for _, n in schedule.outputs), *(n for _, n in schedule.copies)):
        root = schedule.buffers[number].root
        first.setdefault(root, 0)
        last[root] = end
    return first, last


def _takes_over(
    schedule: Schedule, instruction: Instruction, number: int, dying: tuple[int, ...] | list[int],
    held: set[int],
) -> int | None:  # fmt: skip
    """A buffer that dies here and may become ``number``: one pointwise call, both of them whole
    and of the same type, so element i is read before element i is written."""
    if len(instruction.calls) != 1 or instruction.loops or instruction.fits:
        return None
    (call,) = instruction.calls
    target = schedule.buffers[number]
    for over in call.over:
        if schedule.buffers[over.written].root != number:
            continue
        source = schedule.buffers[over.read]
        root = schedule.buffers[source.root]
        same = source.shape == target.shape and source.dtype == target.dtype == root.dtype
        clash = any(
            isinstance(a, View) and a.buffer != over.read
            and schedule.buffers[a.buffer].root == source.root
            for a in call.args
        )  # fmt: skip
        if same and not clash and source.root in dying and source.root in held:
            return source.root
    if not call.pointwise or call.partial or call.out is None or not call.out.whole:
        return None
    if schedule.buffers[call.out.buffer].root != number:
        return None
    for arg in call.args:
        if not isinstance(arg, View) or not arg.whole:
            continue
        source = schedule.buffers[arg.buffer]
        root = schedule.buffers[source.root]
        same = source.shape == target.shape and source.dtype == target.dtype == root.dtype
        others = [a for a in call.args if isinstance(a, View) and a != arg]
        clash = any(schedule.buffers[a.buffer].root == source.root for a in others)
        if same and not clash and source.root in dying and source.root in held:
            return source.root
    return None


class _Arena:
    """Holes by offset; neighbours merge."""

    def __init__(self) -> None:
        self.top = 0
        self.starts: list[int] = []
        self.sizes: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The offset of the smallest hole that fits, or the end of the arena."""
        best: int | None = None
        for start in self.starts:
            hole = self.sizes[start]
            if hole >= size and (best is None or hole < self.sizes[best]):
                best = start
                if hole == size:
                    break
        if best is None:
            # A hole that reaches the end grows; else the arena does.
            if self.starts and self.starts[-1] + self.sizes[self.starts[-1]] == self.top:
                start = self.starts.pop()
                del self.sizes[start]
            else:
                start = self.top
            self.top = start + size
            return start
        left = self.sizes.pop(best) - size
        self.starts.remove(best)
        if left:
            bisect.insort(self.starts, best + size)
            self.sizes[best + size] = left
        return best

    def give(self, start: int, size: int) -> None:
        """Make a hole."""
        if not size:
            return
        at = bisect.bisect_left(self.starts, start)
        if at < len(self.starts) and self.starts[at] == start + size:
            size += self.sizes.pop(self.starts.pop(at))
        if at and self.starts[at - 1] + self.sizes[self.starts[at - 1]] == start:
            self.sizes[self.starts[at - 1]] += size
            return
        self.starts.insert(at, start)
        self.sizes[start] = size
