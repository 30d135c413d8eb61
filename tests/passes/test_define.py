"""What a pass is, and what the driver makes of one."""

from __future__ import annotations

from typing import Any

import pytest

import graphc as gx
from graphc import passes


def graph() -> gx.Graph:
    x = gx.input("x", (2,))
    return gx.Graph({"y": gx.relu(x), "z": gx.tanh(x)})


@passes.define
def first(graph: gx.Graph) -> gx.Graph:
    """outputs -> the first one."""
    return graph.select(next(iter(graph.outputs)))


@passes.define
def only(name: str) -> Any:
    """outputs -> this one.

    More words, which are not the law.
    """
    return lambda graph: graph.select(name)


def test_a_function_and_one_with_options_are_passes() -> None:
    after = graph().apply(only("z"), first)
    assert list(after.outputs) == ["z"]
    assert [g.made_by for g in (*after.history, after)] == ["declare", "only", "first"]
    assert (first.name, first.law) == ("first", "outputs -> the first one.")
    assert (only("z").name, only("z").law) == ("only", "outputs -> this one.")
    assert repr(only("z")) == "passes.only('z')"
    assert repr(passes.sgd(0.1, momentum=0.9)) == "passes.sgd(0.1, momentum=0.9)"
    assert "this one" in (only.__doc__ or "")


def test_any_function_of_a_graph_can_be_applied() -> None:
    def halve(graph: gx.Graph) -> gx.Graph:
        return graph.select("y")

    assert graph().apply(halve).made_by == "halve"


def test_every_pass_has_a_law() -> None:
    for name in passes.__all__:
        found = getattr(passes, name)
        if isinstance(found, passes.Pass):
            assert found.name == name
            assert "->" in found.law


@pytest.mark.parametrize("forgotten", [passes.inference, passes.backward, passes.sgd, only])
def test_forgotten_parentheses_are_named(forgotten: Any) -> None:
    with pytest.raises(gx.GraphError, match=rf"{forgotten.name}\("):
        graph().apply(forgotten)


def test_a_pass_that_returns_no_graph_is_named() -> None:
    def broken(graph: gx.Graph) -> Any:
        return None

    with pytest.raises(gx.GraphError, match=r"broken.*NoneType.*first"):
        graph().apply(first, broken)


def test_a_pass_that_goes_back_leaves_the_histories_of_others_alone() -> None:
    x = gx.input("x", (2,))
    first = gx.Graph({"y": gx.relu(x)})
    other = gx.Graph({"y": gx.tanh(x)})
    second = first.apply(passes.inference())
    back = second.apply(lambda graph: graph.history[0])
    assert back == first
    assert back is not first
    assert [id(graph) for graph in back.history] == [id(first), id(second)]
    assert second.apply(lambda graph: other).history == (first, second)
    assert second.apply(lambda graph: graph).history == (first, second)
    assert first.history == other.history == ()
    assert other.made_by == "declare"
