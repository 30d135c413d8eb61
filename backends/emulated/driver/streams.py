"""Streams whose work runs as late as CUDA allows: what forgets to wait gives a wrong answer.

CUDA promises an order within a stream, behind an event that a stream waits for, and between the
default stream and the streams that are not ``non_blocking``. Nothing else: here nothing runs before
the host waits for something, so that a program that leans on luck reads what is not there yet. Then
either only what is waited for runs, or all other streams go ahead of it as far as they may.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DEFAULT = 0
Point = tuple[int, int]  # a stream, and how many of its works must be done


@dataclass(frozen=True)
class Item:
    """Work, and what must be done before it."""

    work: Callable[[], None]
    after: tuple[Point, ...]


class Queues:
    """The works of all streams that have not run."""

    def __init__(self, *, others_first: bool = False) -> None:
        self.others_first = others_first
        self._running = False
        self._later: list[Callable[[], None]] = []
        self._items: dict[int, list[Item]] = {}
        self._done: dict[int, int] = {}

    def end(self, stream: int) -> Point:
        """The point behind everything that was submitted to a stream."""
        return stream, len(self._items.get(stream, ()))

    def add(
        self, stream: int, work: Callable[[], None], *, blocking: tuple[int, ...], waits: bool,
        after: tuple[Point, ...] = (),
    ) -> None:  # fmt: skip
        """Submit work. ``blocking``: the streams that the default one waits for; ``waits``: whether
        this one waits for the default one."""
        if stream == DEFAULT:
            after += tuple(self.end(other) for other in blocking)
        elif waits:
            after += (self.end(DEFAULT),)
        self._items.setdefault(stream, []).append(Item(work, after))

    def when_idle(self, action: Callable[[], None]) -> None:
        """Do ``action`` behind all work: now, or, where Python's garbage collector asks for it in
        the middle of a work, when that is done."""
        if self._running:
            self._later.append(action)
            return
        self.run_all()
        action()

    def run(self, point: Point) -> None:
        """Do what must be done to reach a point, and nothing else."""
        self._running = True
        try:
            self._run(point)
        finally:
            self._running = False
        while self._later:
            self.when_idle(self._later.pop(0))

    def _run(self, point: Point) -> None:
        stack = [point]
        while stack:
            stream, count = stack[-1]
            done = self._done.get(stream, 0)
            if done >= count:
                stack.pop()
                continue
            item = self._items[stream][done]
            missing = self._missing(item)
            if missing is not None:
                stack.append(missing)
                continue
            if self.others_first:
                self._advance({waiting for waiting, _ in stack})
            self._done[stream] = done + 1
            item.work()

    def _missing(self, item: Item) -> Point | None:
        return next((p for p in item.after if self._done.get(p[0], 0) < p[1]), None)

    def _advance(self, streams: set[int]) -> None:
        """Let all other streams run as far as they may without these, those made last first."""
        moved = True
        while moved:
            moved = False
            for other in sorted(set(self._items) - streams, reverse=True):
                items, done = self._items[other], self._done.get(other, 0)
                while done < len(items) and self._missing(items[done]) is None:
                    work = items[done].work
                    done += 1
                    self._done[other] = done
                    work()
                    moved = True

    def reached(self, point: Point) -> bool:
        """Whether everything before a point is done."""
        return self._done.get(point[0], 0) >= point[1]

    def run_all(self) -> None:
        """Do everything: the streams made last first, for no order between them is promised."""
        for stream in sorted(self._items, reverse=True):
            self.run(self.end(stream))
