"""``x[…]`` against NumPy's own, on random shapes and indices, fixed and symbolic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gx

BOUNDS = st.none() | st.integers(-7, 7)
ENTRIES = (
    st.integers(-4, 4)
    | st.builds(slice, BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, 3, -1, -2]))
    | st.none()
    | st.just(Ellipsis)
)
SHAPES = st.lists(st.integers(1, 5), max_size=4).map(tuple)


def expected(array: np.ndarray[Any, Any], index: tuple[Any, ...]) -> np.ndarray[Any, Any] | None:
    """NumPy's answer; None where it has none, or an empty one."""
    try:
        result = np.asarray(array[index])
    except IndexError:
        return None
    return result if result.size else None


@given(SHAPES, st.lists(ENTRIES, max_size=5).map(tuple))
def test_as_numpy_on_fixed_sizes(shape: tuple[int, ...], index: tuple[Any, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    x = gx.input("x", shape)
    wanted = expected(array, index)
    if wanted is None:
        with pytest.raises(gx.GraphError):
            x[index]
        return
    if wanted.ndim > 8:
        return
    found = gx.interpret(gx.Graph({"y": x[index]}), {}, x=array)["y"]
    np.testing.assert_array_equal(found, wanted)


@given(SHAPES, st.lists(ENTRIES, max_size=5).map(tuple))
def test_as_numpy_or_refused_on_symbolic_sizes(
    shape: tuple[int, ...], index: tuple[Any, ...]
) -> None:
    """A symbolic axis is not clamped: where NumPy would clamp, the guard says no."""
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    x = gx.input("x", tuple(f"D{i}" for i in range(len(shape))))
    wanted = expected(array, index)
    try:
        found = gx.interpret(gx.Graph({"y": x[index], "x": x}), {}, x=array)["y"]
    except gx.GraphError:
        return
    assert wanted is not None
    np.testing.assert_array_equal(found, wanted)


def test_sizes_index_too() -> None:
    x, y = gx.input("x", ("N", 3)), gx.input("y", ("M", 3))
    both = gx.concat([x, y])
    first, second = both[: x.shape[0]], both[x.shape[0] :]
    assert [str(first.type), str(second.type)] == ["f32[N,3]", "f32[M,3]"]
    given_x, given_y = np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)
    graph = gx.Graph({"first": first, "second": second})
    out = gx.interpret(graph, {}, x=given_x, y=given_y)
    np.testing.assert_array_equal(out["first"], given_x)
    np.testing.assert_array_equal(out["second"], given_y)


def test_the_whole_is_the_node_itself() -> None:
    x = gx.input("x", ("N", 3))
    assert x[:] is x
    assert x[..., 0:3] is x
    assert x[:, ::1] is x


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ((0, 0, 0), "3 indices, and x has 2 axes"),
        ((0, 3), "no element 3 on axis 1"),
        ((slice(None), slice(2, 2)), "taken: 0 is less than 1"),
        ((slice(None), "a"), "a str is not an index"),
        ((slice(None), [0, 1]), "a list is not an index"),
        ((slice(None), True), "a bool is not an index"),
        ((slice(None), slice(0.5, None)), "a slice takes ints, not 0.5"),
        ((slice(None), slice(None, None, 0)), "an int that is not 0"),
        ((..., ...), "two '...'"),
    ],
)
def test_says_what_is_wrong(index: Any, message: str) -> None:
    x = gx.input("image", ("N", 3))
    with pytest.raises(gx.GraphError) as caught:
        x[index]
    assert message in str(caught.value)
    assert "image: f32[N,3]" in str(caught.value)
    assert "test_indexing.py" in str(caught.value)


def test_iterating_is_refused() -> None:
    with pytest.raises(TypeError, match="slice it"):
        list(gx.input("x", (3,)))
