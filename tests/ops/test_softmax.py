"""Labels, sizes of gradients, NaN, half precision: what the rows leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes

LOGITS = gx.input("logits", ("N", 10))
LABEL = gx.input("label", ("N",), dtype="int64")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gx.cross_entropy(LOGITS, gx.input("label", ("N",), dtype="int32")),
         gx.DTypeError, "the labels are i32, not i64"),
        (lambda: gx.cross_entropy(LABEL, LOGITS), gx.ShapeError, "logits has 1 axes, not 2"),
        (lambda: gx.cross_entropy(gx.input("seq", ("N", 10, 3)), LABEL),
         gx.ShapeError, "logits has 3 axes, not 2"),
        (lambda: gx.cross_entropy(gx.input("five", (5, 10)), gx.input("six", (6,), dtype="int64")),
         gx.ShapeError, "there are 5 rows of logits and 6 labels"),
        (lambda: gx.cross_entropy(gx.input("whole", ("N", 10), dtype="int64"), LABEL),
         gx.DTypeError, "floating-point"),
        (lambda: gx.softmax(LOGITS, 2), gx.ShapeError, "no axis 2"),
        (lambda: gx.softmax(LOGITS, 0, dim=1), gx.GraphError, "are one argument"),
        (lambda: gx.one_hot(LABEL, 0), gx.GraphError, "at least 1"),
        (lambda: gx.one_hot(LOGITS, 3), gx.DTypeError, "the labels are f32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_mistake_is_told(call: Any, error: type[gx.GraphError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)


@pytest.mark.parametrize("wrong", [-1, 10, 2**40])
def test_a_label_out_of_range_is_an_error_when_it_runs(wrong: int) -> None:
    graph = gx.Graph({"loss": gx.cross_entropy(LOGITS, LABEL)})
    inputs = {"logits": np.zeros((3, 10), np.float32), "label": np.array([0, wrong, 1])}
    with pytest.raises(gx.GraphError, match=f"label {wrong} "):
        gx.interpret(graph, {}, inputs=inputs)
    with pytest.raises(gx.GraphError, match=str(wrong)):
        gx.compile(graph, backend="numpy")({}, inputs=inputs)


def test_one_axis_is_one_node() -> None:
    assert gx.softmax(LOGITS) is gx.softmax(LOGITS, 1) is gx.softmax(LOGITS, dim=-1)


@pytest.mark.parametrize(
    ("function", "limit"),
    [(gx.softmax, 4), (gx.log_softmax, 4), (lambda x: gx.cross_entropy(x, LABEL), 6)],
)
def test_gradients_take_few_nodes(function: Any, limit: int) -> None:
    y = function(LOGITS)
    before = gx.Graph({"y": y})
    gradient = y.op.grad(y, y)[0]
    after = gx.Graph({"y": y, "gradient": gradient})
    assert len(after.nodes) - len(before.nodes) <= limit


def test_logits_of_minus_infinity_have_probability_zero() -> None:
    graph = gx.Graph({"loss": gx.cross_entropy(LOGITS, LABEL)}).apply(passes.backward(wrt="logits"))
    logits = np.zeros((1, 10), np.float32)
    logits[0, 3:] = -np.inf
    found = gx.interpret(graph, {}, logits=logits, label=[1])
    assert found["loss"] == pytest.approx(np.log(3))
    np.testing.assert_allclose(found["grad/logits"][0, :4], [1 / 3, -2 / 3, 1 / 3, 0], atol=1e-7)


def test_the_maximum_of_a_window_with_nan_is_nan() -> None:
    x = gx.input("x", (1, 1, 2, 4))
    graph = gx.Graph({"y": gx.max_pool2d(x, 2)})
    image = np.array([[[[1, np.nan, 3, 4], [5, 6, 7, 8]]]], np.float32)
    for found in (
        gx.interpret(graph, {}, x=image)["y"],
        gx.compile(graph, backend="numpy")({}, x=image)["y"],
    ):
        np.testing.assert_array_equal(found.ravel(), [np.nan, 8])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_adds_up_in_float32(dtype: str) -> None:
    # 4096 ones: in float16 a running sum of ones stops at 2048, in bfloat16 at 256.
    x, w = gx.input("x", (1, 1, 64, 64), dtype=dtype), gx.constant(np.ones((1, 1, 64, 64)), dtype)
    graph = gx.Graph({"conv": gx.conv2d(x, w), "mean": gx.avg_pool2d(x, 64)})
    found = gx.interpret(graph, {}, x=np.ones((1, 1, 64, 64), x.dtype))
    assert float(found["conv"].item()) == 4096
    assert float(found["mean"].item()) == 1
