"""Sets of positions along one axis, as unions of arithmetic progressions.

What a unit reads through convolutions, pooling, slices and their transposes is such a union: a
window adds positions, a stride scales them, a transposed stride keeps those that it divides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from graphc.ir.window import AxisWindow

# (first, last, step): both ends belong to it; a single position has step 1.
Run: TypeAlias = tuple[int, int, int]
Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
# Progressions that take turns (0, 1, 4, 5, 8, 9, …) are looked for up to so many at once.
MOST_TURNS = 16


class Progressions:
    """A finite set of ints: ``runs`` (first, last, step), sorted and disjoint.

    Immutable; two are equal exactly when they hold the same positions.

    >>> Progressions.of([0, 2, 4, 9])
    {0..4 step 2, 9}
    >>> (Progressions.span(0, 2) | Progressions.span(3, 5)).runs
    ((0, 5, 1),)
    """

    __slots__ = ("runs",)
    runs: tuple[Run, ...]

    def __init__(self, runs: tuple[Run, ...]) -> None:
        self.runs = runs

    @staticmethod
    def span(first: int, last: int) -> Progressions:
        """All positions from ``first`` to ``last``, both included; none if they are crossed."""
        return Progressions(((first, last, 1),)) if first <= last else NONE

    @staticmethod
    def of(positions: Iterable[int] | Numbers) -> Progressions:
        """The set of these positions, in any order."""
        found = positions if isinstance(positions, np.ndarray) else np.array(list(positions), int)
        return Progressions(_canonical(np.unique(found)))

    @staticmethod
    def union(runs: Iterable[Run]) -> Progressions:
        """All positions of these runs, which may overlap."""
        return Progressions(_merged([run for run in runs if run[0] <= run[1]]))

    # -- reading ------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The smallest position."""
        return self.runs[0][0]

    @property
    def last(self) -> int:
        """The largest position."""
        return max(run[1] for run in self.runs)

    def array(self) -> Numbers:
        """The positions, sorted."""
        if not self.runs:
            return np.zeros(0, np.int64)
        parts = [np.arange(a, b + 1, step, dtype=np.int64) for a, b, step in self.runs]
        return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))

    def __len__(self) -> int:
        return sum((b - a) // step + 1 for a, b, step in self.runs)

    def __bool__(self) -> bool:
        return bool(self.runs)

    def __iter__(self) -> Iterator[int]:
        return iter(self.array().tolist())

    def __contains__(self, position: object) -> bool:
        return isinstance(position, (int, np.integer)) and any(
            a <= position <= b and (position - a) % step == 0 for a, b, step in self.runs
        )

    def covers(self, other: Progressions) -> bool:
        """Whether every position of ``other`` is one of these."""
        if self.runs == other.runs or not other.runs:
            return True
        if len(self.runs) == 1:
            a, b, step = self.runs[0]
            return all(
                a <= first and last <= b and (first - a) % step == 0
                and (gap % step == 0 or first == last)
                for first, last, gap in other.runs
            )  # fmt: skip
        return not np.setdiff1d(other.array(), self.array(), assume_unique=True).size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Progressions) and self.runs == other.runs

    def __hash__(self) -> int:
        return hash(self.runs)

    def __repr__(self) -> str:
        parts = []
        for a, b, step in self.runs:
            inside = f"{a}..{b}" if b > a else f"{a}"
            parts.append(f"{inside} step {step}" if step > 1 else inside)
        return "{" + ", ".join(parts) + "}"

    # -- making others ------------------------------------------------------------------------

    def __or__(self, other: Progressions) -> Progressions:
        if self.covers(other):
            return self
        if other.covers(self):
            return other
        return Progressions.union((*self.runs, *other.runs))

    def clip(self, first: int | None, last: int | None) -> Progressions:
        """Those from ``first`` to ``last``; None: no end on that side."""
        if not self.runs:
            return self
        if (first is None or self.runs[0][0] >= first) and (last is None or self.last <= last):
            return self
        found = []
        for a, b, step in self.runs:
            if first is not None and a < first:
                a += -((a - first) // step) * step
            if last is not None and b > last:
                b -= -((last - b) // step) * step
            if a <= b:
                found.append((a, b, step if a < b else 1))
        return Progressions.union(found)

    def map(self, function: Callable[[Numbers], Numbers]) -> Progressions:
        """The images of the positions."""
        return Progressions.of(function(self.array()))

    def window(self, window: AxisWindow, taps: int, pad: int) -> Progressions:
        """What the positions read: ``taps`` and ``pad`` are the window's, as numbers."""
        if not self.runs:
            return self
        stride, gap, up = window.stride, window.dilation, window.up
        runs = self.runs if window.per == 1 else self.map(lambda o: o // window.per).runs
        found: list[Run] = []
        reach = (taps - 1) * gap
        for a, b, step in runs:
            step *= abs(stride)
            a, b = a * stride - pad, b * stride - pad
            if a > b:
                a, b = b, a
            if taps == 1:
                found.append((a, b, step or 1))
            elif a == b:
                found.append((a, a + reach, gap))
            elif step % gap == 0 and step // gap <= taps:
                found.append((a, b + reach, gap))  # one window begins where another is not done
            else:
                found += [(a + tap * gap, b + tap * gap, step) for tap in range(taps)]
        if up > 1:
            found = [part for run in found if (part := _divided(run, up)) is not None]
        return Progressions(_merged(found))


NONE = Progressions(())


def _divided(run: Run, up: int) -> Run | None:
    """The positions of a progression that ``up`` divides, divided by it."""
    a, b, step = run
    common = np.gcd(step, up).item()
    if a % common:
        return None
    turn = up // common  # every turn-th one is divisible
    skip = -(a // common) * pow(step // common, -1, turn) % turn if turn > 1 else 0
    count = (b - a) // step
    if skip > count:
        return None
    first = (a + skip * step) // up
    more = (count - skip) // turn
    return first, first + more * (step // common), step // common if more else 1


def _merged(runs: list[Run]) -> tuple[Run, ...]:
    """Runs that may overlap in their one canonical form."""
    if not runs:
        return ()
    if len(runs) == 1:
        a, b, step = runs[0]
        return ((a, b, step if a < b else 1),)
    if all(step == 1 for _, _, step in runs):
        runs = sorted(runs)
        first, last, _ = runs[0]
        for a, b, _ in runs[1:]:
            if a > last + 1:
                break
            last = max(last, b)
        else:
            return ((first, last, 1),)
    parts = [np.arange(a, b + 1, step, dtype=np.int64) for a, b, step in runs]
    return _canonical(np.unique(np.concatenate(parts)))


def _canonical(positions: Numbers) -> tuple[Run, ...]:
    """The runs of a sorted array without repeats: a function of the set alone."""
    if positions.size <= 1:
        return tuple((p, p, 1) for p in positions.tolist())
    gaps = np.diff(positions)
    for turns in range(1, min(MOST_TURNS, gaps.size // 2) + 1):
        if (gaps[turns:] == gaps[:-turns]).all():
            if turns == 1 or turns < _pieces(gaps):
                return tuple(
                    (int(part[0]), int(part[-1]), int(part[1] - part[0]) if part.size > 1 else 1)
                    for part in (positions[i::turns] for i in range(turns))
                )
            break
    if gaps.size == 1:
        return ((int(positions[0]), int(positions[1]), int(gaps[0])),)
    found: list[Run] = []
    values, steps = positions.tolist(), gaps.tolist()
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and steps[end - 1] == steps[at]:
            end += 1
        if end - at == 2 and steps[at] > 1 and end < len(values):
            end = at + 1  # two alone are no progression yet: the second may begin one
        found.append((values[at], values[end - 1], steps[at] if end - at > 1 else 1))
        at = end
    return tuple(found)


def _pieces(gaps: Numbers) -> int:
    """How many stretches of equal gaps there are."""
    return 1 + int(np.count_nonzero(gaps[1:] != gaps[:-1]))
