"""What the composed functions and the reads by index refuse, and how they say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx

X = gx.input("x", ("N", 3))
IMAGE = gx.input("image", ("N", 2, 4, 4))
WORD = gx.input("word", ("N",), dtype="int64")
SHORT = gx.input("short", ("N",), dtype="int32")
TABLE = gx.input("table", (5, 4))
COLUMN = gx.input("column", ("N", 1))
VECTOR = gx.input("vector", ("N",))
FILTERS = gx.input("filters", (3, 2, 2, 2))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: gx.einsum("ij,jk->ik", X, TABLE), gx.ShapeError, "'j' is 3 and 5"),
        (lambda: gx.einsum("ij->ik", X), gx.GraphError, "'k', which no operand has"),
        (lambda: gx.einsum("ii->i", TABLE), gx.GraphError, "twice in 'ii'"),
        (lambda: gx.einsum("...i->i", X), gx.GraphError, "not made of letters"),
        (lambda: gx.einsum("i,j->ij", X), gx.GraphError, "2 operands, and there are 1"),
        (lambda: gx.einsum("i->i", X), gx.ShapeError, "names 1 axes of an operand of 2"),
        (lambda: gx.einsum(X, "ij->ji"), gx.GraphError, "the equation comes first"),
        (lambda: gx.mse_loss(VECTOR, COLUMN), gx.ShapeError, "does not broadcast"),
        (lambda: gx.l1_loss(X, X, reduction="most"), gx.GraphError, "'mean', 'sum' or 'none'"),
        (lambda: gx.nll_loss(X, X), gx.ShapeError, "the labels 2"),
        (lambda: gx.cross_entropy(X, WORD, label_smoothing=2), gx.GraphError, "in \\[0, 1\\]"),
        (lambda: gx.embedding(TABLE, WORD), gx.ShapeError, "the weight has 1 axes"),
        (lambda: gx.embedding(SHORT, TABLE), gx.DTypeError, "index are i32, not i64"),
        (lambda: gx.gather(X, 1, WORD), gx.ShapeError, "x has 2 axes, the index 1"),
        (lambda: gx.gather_grad(X, WORD, 0), gx.GraphError, "size"),
        (lambda: gx.cumsum(X), gx.GraphError, "axis"),
        (lambda: gx.argmax(X > 0, 1), gx.DTypeError, "not bool"),
        (lambda: gx.conv_transpose2d(IMAGE, FILTERS), gx.ShapeError, "weight takes 3"),
        (
            lambda: gx.conv_transpose2d(IMAGE, FILTERS, output_padding=1),
            gx.GraphError,
            "below the stride 1",
        ),
        (
            lambda: gx.conv_transpose2d(IMAGE, FILTERS[:2], padding="same"),
            gx.GraphError,
            "pixels to cut off",
        ),
        (
            lambda: gx.scaled_dot_product_attention(X, TABLE, TABLE),
            gx.ShapeError,
            "query has 3 features, key 4",
        ),
        (
            lambda: gx.scaled_dot_product_attention(X, X, X, X, is_causal=True),
            gx.GraphError,
            "beside a mask",
        ),
        (lambda: gx.gelu(X, "fast"), gx.GraphError, "neither 'none' nor 'tanh'"),
        (lambda: gx.softplus(X, 0), gx.GraphError, "not a positive number"),
        (lambda: gx.clip(X), gx.GraphError, "min=, max= or both"),
        (lambda: gx.erf(WORD), gx.DTypeError, "floating"),
    ],
)
def test_is_refused(call: Callable[[], Any], error: type[gx.GraphError], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        call()
    assert "test_mistakes_composed.py" in str(raised.value)


@pytest.mark.parametrize("word", [[0, 5], [-1, 2]])
def test_an_index_outside_is_found_when_it_runs(word: list[int]) -> None:
    graph = gx.Graph({"y": gx.embedding(WORD, TABLE)})
    given = {"word": word, "table": np.zeros((5, 4), "f4")}
    with pytest.raises(gx.GraphError, match=r"outside \[0, 5\)"):
        gx.interpret(graph, {}, inputs=given)
    with pytest.raises(gx.GraphError, match=r"an index is outside \[0, 5\)"):
        gx.compile(graph)({}, inputs=given)


def test_a_plain_cross_entropy_is_the_node_that_it_was() -> None:
    assert gx.cross_entropy(X, WORD, label_smoothing=0.0) is gx.cross_entropy(X, WORD)


def test_erf_of_a_program_is_exact_everywhere() -> None:
    scipy = pytest.importorskip("scipy.special")
    for dtype, limit in (("float16", 1e-3), ("float32", 1.3e-7), ("float64", 1e-12)):
        x = gx.input("x", ("N",), dtype=dtype)
        points = np.linspace(-9, 9, 20001).astype(dtype)
        points[:3] = [np.inf, -np.inf, np.nan]
        found = gx.compile(gx.Graph({"y": gx.erf(x)}))({}, x=points)["y"]
        assert found.dtype == dtype
        wanted = scipy.erf(points.astype("f8"))
        np.testing.assert_allclose(found.astype("f8"), wanted, rtol=0, atol=limit)
        assert np.signbit(found[points < 0]).all()
