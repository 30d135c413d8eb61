"""Shapes that are told from others, guards that they leave, and what is said where they misfit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gx
from graphc.ir import dims
from graphc.ir.dims import Dim

N, H = Dim.named("N"), Dim.named("H")

SIZES = st.recursive(
    st.sampled_from([1, 2, 3, N, H, (N + 1) // 2]),
    lambda inner: (
        st.tuples(inner, inner).map(lambda p: p[0] + p[1])
        | st.tuples(inner, inner).map(lambda p: p[0] * p[1])
    ),
    max_leaves=5,
)


@given(SIZES, SIZES)
def test_a_product_divides_exactly(a: dims.Size, b: dims.Size) -> None:
    assert dims.quotient(a * b, b) == a


@given(SIZES, SIZES, st.integers(1, 9), st.integers(1, 9))
def test_a_quotient_is_one(a: dims.Size, b: dims.Size, n: int, h: int) -> None:
    found = dims.quotient(a, b)
    if found is not None:
        sizes = {"N": n, "H": h}
        product = dims.evaluate(found, sizes) * dims.evaluate(b, sizes)
        assert product == dims.evaluate(a, sizes)


@pytest.mark.parametrize(
    ("shape", "to", "result", "guards"),
    [
        ((2, 3, 4), (-1,), "[24]", []),
        ((2, 3, 4), (4, -1), "[4,6]", []),
        (("N", 3, 4), (-1, 4), "[3*N,4]", []),
        (("N", 3, 4), ("N", -1), "[N,12]", []),
        (("N", "H", "W"), (-1, "W"), "[H*N,W]", []),
        (("N", "H", 4), (-1, 2), "[2*H*N,2]", []),
        (("N", 3), (-1, 2), "[(3*N)//2,2]", ["2*((3*N)//2) == 3*N"]),
        (("N", 6), ("M", 6), "[M,6]", ["6*M == 6*N"]),
        ((1,), (), "[]", []),
        ((), (1, 1), "[1,1]", []),
    ],
)
def test_reshape_tells_the_missing_size(
    shape: tuple[Any, ...], to: tuple[Any, ...], result: str, guards: list[str]
) -> None:
    y = gx.reshape(gx.input("x", shape), to)
    assert str(y.type) == f"f32{result}"
    assert [str(guard) for guard in y.guards] == guards


def test_reshape_to_the_same_is_the_node_itself() -> None:
    x = gx.input("x", ("N", 3))
    assert gx.reshape(x, ("N", 3)) is x
    assert gx.reshape(x, (-1, 3)) is x
    assert gx.flatten(x) is x
    assert gx.transpose(x, (0, 1)) is x
    assert gx.broadcast_to(x, x.shape) is x
    assert gx.pad(x, (0, 0)) is x
    assert gx.concat([x]) is x
    assert gx.sum(x, ()) is x


def test_a_guard_that_fails_names_the_sizes() -> None:
    graph = gx.Graph({"y": gx.reshape(gx.input("x", ("N", 3)), (-1, 2))})
    given_x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(gx.interpret(graph, {}, x=given_x)["y"], given_x.reshape(-1, 2))
    with pytest.raises(gx.ShapeError, match="does not hold with N=3"):
        gx.interpret(graph, {}, x=given_x[:3])


def test_closed_families_go_on_for_ever() -> None:
    """The gradient of a slice is a pad with steps, the gradient of that is the slice again."""
    x = gx.input("x", ("N", 7))
    y = x[:, 1:6:2]
    (up,) = y.op.grad(y, y)
    assert up is not None
    (down,) = up.op.grad(up, x)
    assert (up.op.name, up.shape) == ("pad", x.shape)
    assert down is y


def test_names_of_axes() -> None:
    x = gx.input("x", ("N", 3, 4))
    assert gx.sum(x, -1) is gx.sum(x, 2) is gx.sum(x, dim=2) is gx.sum(x, (2,)) is gx.sum(x, [-1])
    assert gx.sum(x, (2, 1)) is gx.sum(x, (1, -1))
    assert gx.sum(x) is gx.sum(x, (0, 1, 2))


X = gx.input("x", ("N", 3, 4))
W = gx.input("w", (5, 7))

MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: gx.sum(X, 3), "there is no axis 3"),
    (lambda: gx.sum(X, (0, 0)), "names an axis twice"),
    (lambda: gx.sum(X, "N"), "axis='N' is not an int"),
    (lambda: gx.sum(X, 0, dim=1), "are one argument"),
    (lambda: gx.reshape(X, (-1, -1)), "has 2 sizes of -1"),
    (lambda: gx.reshape(X, ("N", 5)), "[N,5] has another number of elements than x: 5*N != 12*N"),
    (lambda: gx.reshape(X, ("M", -1)), "12*N is not a multiple of M"),
    (lambda: gx.reshape(W, (4, -1)), "35 is not a multiple of 4"),
    (lambda: gx.flatten(X, start_dim=3), "there is no axis 3"),
    (lambda: gx.squeeze(X, 1), "axis 1 has size 3, not 1"),
    (lambda: gx.unsqueeze(X, 5), "there is no axis 5"),
    (lambda: gx.transpose(X, (0, 1)), "axes=[0, 1] is not a permutation of the 3 axes"),
    (lambda: gx.concat([X, W]), "input 2 does not continue input 1: 2 axes, not 3"),
    (lambda: gx.concat([X, X[:, :2]], 2), "axis 1: 3 != 2"),
    (lambda: gx.concat([]), "a list of one node or more"),
    (lambda: gx.concat(X), "gx.concat([a, b], axis=1)"),
    (lambda: gx.pad(X, (1, 2, 3)), "padding=(1, 2, 3) does not fit 3 axes"),
    (lambda: gx.pad(X, ((1, 2),)), "write 3 pairs"),
    (lambda: gx.pad(W, (-1, 0)), "the padding before: -1 is less than 0"),
    (lambda: gx.broadcast_to(X, ("N", 5, 4)), "axis -2 of x does not stretch"),
    (lambda: gx.broadcast_to(X, (3, 4)), "x has 3 axes, more than the 2"),
    (lambda: X @ W, "left has 4 columns, right has 5 rows: 4 != 5"),
    (lambda: gx.matmul(X, gx.input("s", ())), "a scalar is not a matrix"),
    (lambda: gx.matmul(gx.input("a", (2, 3, 4)), gx.input("b", (3, 4, 4))), "do not broadcast"),
    (lambda: gx.linear(X, W), "x has 4 features, the weight takes 7 (weight.shape[1])"),
    (lambda: gx.linear(gx.input("y", ("N", 7)), W, X), "bias has 3 axes, not 1"),
    (lambda: gx.linear(gx.input("y", ("N", 7)), W, gx.input("b", (7,))), "7 numbers"),
    (lambda: X + W, "the shapes do not broadcast (axis -2): 3 != 5"),
    (lambda: gx.grad_sum(X, X[0]), "term 2 is not of the shape of term 1"),
    (lambda: gx.edge(W, -1), "i=-1 does not number a use"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_says_what_is_wrong(mistake: Callable[[], Any], message: str) -> None:
    with pytest.raises(gx.GraphError) as caught:
        mistake()
    assert message in str(caught.value)
    if caught.value.nodes:
        assert "test_shapes.py:" in str(caught.value)
        assert any(line.startswith("test_shapes.py:") for line in caught.value.lines)
