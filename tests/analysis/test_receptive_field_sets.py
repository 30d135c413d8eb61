"""Unions of progressions against Python's sets, and zeros of size expressions against trying."""

from __future__ import annotations

import random

import numpy as np
import pytest

from graphc.analysis import regions
from graphc.analysis.progressions import Progressions
from graphc.analysis.quasi import values, zero
from graphc.ir import Dim
from graphc.ir.window import AxisWindow


def drawn(rng: random.Random) -> set[int]:
    found: set[int] = set()
    for _ in range(rng.randint(0, 3)):
        first = rng.randint(-12, 20)
        found |= set(range(first, first + rng.randint(1, 25), rng.randint(1, 6)))
    return found


@pytest.mark.parametrize("seed", range(300))
def test_progressions_are_sets(seed: int) -> None:
    rng = random.Random(seed)
    a, b = drawn(rng), drawn(rng)
    one, other = Progressions.of(a), Progressions.of(b)
    assert list(one) == sorted(a)
    assert len(one) == len(a)
    assert set(one | other) == a | b
    assert one.covers(other) == (b <= a)
    assert all((n in one) == (n in a) for n in range(-15, 50))
    low, high = rng.choice([None, rng.randint(-10, 30)]), rng.choice([None, rng.randint(-10, 30)])
    kept = {n for n in a if (low is None or n >= low) and (high is None or n <= high)}
    assert set(one.clip(low, high)) == kept
    # One set has one form, however it came about.
    shuffled = sorted(a, key=lambda n: hash((n, seed)))
    pieces = [Progressions.of([n]) for n in shuffled]
    joined = Progressions.union(run for piece in pieces for run in piece.runs)
    assert joined == one
    assert hash(joined) == hash(one)
    window = AxisWindow(
        stride=rng.choice([-2, -1, 1, 2, 3]), dilation=rng.randint(1, 4),
        up=rng.randint(1, 4), per=rng.choice([1, 1, 2]),
    )  # fmt: skip
    taps, pad = rng.randint(1, 4), rng.randint(-3, 3)
    reads = {
        n // window.up
        for o in a
        for tap in range(taps)
        if (n := o // window.per * window.stride + tap * window.dilation - pad) % window.up == 0
    }
    assert set(one.window(window, taps, pad)) == reads


@pytest.mark.parametrize("seed", range(100))
def test_regions_are_sets_of_elements(seed: int) -> None:
    rng = random.Random(seed)
    shape = tuple(rng.randint(1, 4) for _ in range(3))
    mask, found = np.zeros(shape, bool), regions.NOTHING
    for _ in range(rng.randint(1, 40)):
        parts = [sorted(rng.sample(range(n), rng.randint(1, n))) for n in shape]
        mask[np.ix_(*parts)] = True
        found = regions.join(found, (tuple(map(Progressions.of, parts)),))
    painted = np.zeros(shape, bool)
    for product in found:
        painted[np.ix_(*(p.array() for p in product))] = True
    np.testing.assert_array_equal(painted, mask)
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        assert list(regions.along(found, axis)) == np.flatnonzero(mask.any(others)).tolist()
    # The same elements as a tensor of another shape, and back.
    flat = (shape[0] * shape[1], shape[2])
    moved = regions.reshaped(found, shape, flat)
    painted = np.zeros(flat, bool)
    for product in moved:
        painted[np.ix_(*(p.array() for p in product))] = True
    np.testing.assert_array_equal(painted, mask.reshape(flat))


def test_zeros_of_size_expressions() -> None:
    n = Dim.named("N")
    rest = n - n // 6 * 6  # N mod 6
    found = zero(rest)
    assert (found.name, found.period, found.residues) == ("N", 6, (0,))
    assert str(found) == "N mod 6 = 0"
    assert zero(rest - 7).never
    even = n - n // 2 * 2
    assert zero(even * (even - 1)).always
    # At one size only, or of two sizes: no residues say so.
    for other in (n - 5, n * n - 4, n - Dim.named("M")):
        assert not zero(other).decided
        assert not zero(other).always
        assert not zero(other).never
    assert values(rest) == frozenset(range(6))
    assert values(n) is None
    for expression in (rest - 3, even + rest - 2, rest * rest - 4):
        found = zero(expression)
        for size in range(1, 40):
            told = size % found.period in found.residues
            assert told == (expression.evaluate({"N": size}) == 0)
