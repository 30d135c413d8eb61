"""What can be drawn from a function, on functions of a dozen lines."""

from __future__ import annotations

import sys

import pytest

from tests.mutation.draw import Mutant, mutants

HERE = sys.modules[__name__]


def scaled(x: float, y: float) -> float:
    """Text, annotations and defaults are no code to change."""
    return x * 2.5 - y


def chosen(values: list[int], flag: bool = True) -> list[int]:
    if flag and len(values) > 1:
        return values[1:]
    values.append(0)
    return [values[0], -values[-1]]


def abstract() -> None:
    raise NotImplementedError


class Holder:
    def named(self, a: int, b: int) -> int:
        total = max(a, b, key=lambda value: value % 7)
        total += a
        return total


def of(name: str) -> dict[str, Mutant]:
    return {m.key.removeprefix(f"{name}: "): m for m in mutants(HERE, lambda where: where == name)}


def test_the_changes_of_a_formula() -> None:
    found = of("scaled")
    assert set(found) == {
        "x * 2.5 - y -> x * 2.5 + y", "x * 2.5 - y -> x * 2.5", "x * 2.5 - y -> y",
        "x * 2.5 - y -> y - x * 2.5", "x * 2.5 - y -> -(x * 2.5 - y)", "x * 2.5 -> x / 2.5",
        "x * 2.5 -> x", "x * 2.5 -> 2.5", "x -> y", "2.5 -> 5.0", "2.5 -> 0.0", "y -> x",
    }  # fmt: skip
    assert found["x -> y"].function()(3.0, 2.0) == 3.0
    assert found["y -> x"].kind == "other name"
    assert scaled(3.0, 2.0) == 5.5


def test_statements_conditions_slices_and_arguments() -> None:
    found = of("chosen")
    assert found["values.append(0) -> pass"].function()([4], False) == [4, -4]
    assert found["values[1:] -> values"].function()([1, 2]) == [1, 2]
    assert found["len(values) > 1 -> len(values) >= 1"].function()([1]) == []
    assert found["flag and len(values) > 1 -> flag"].function()([1]) == []
    assert found["[values[0], -values[-1]] -> [-values[-1], values[0]]"].function()([3]) == [0, 3]
    assert found["[values[0], -values[-1]] -> [None, -values[-1]]"].function()([3]) == [None, 0]
    kept = of("Holder.named")
    assert kept["max(a, b, key=lambda value: value % 7) -> max(a, b)"].function()(None, 8, 6) == 16
    assert kept["total += a -> total -= a"].function()(None, 8, 6) == -2


def test_every_mutant_is_another_function_that_compiles() -> None:
    for name in ("scaled", "chosen", "Holder.named"):
        found = mutants(HERE, lambda where, name=name: where == name)
        assert len({mutant.source for mutant in found}) == len(found) > 5
        assert all(callable(mutant.function()) for mutant in found)


def test_what_only_raises_has_none() -> None:
    assert mutants(HERE, lambda where: where == "abstract") == []
    with pytest.raises(NotImplementedError):
        abstract()
