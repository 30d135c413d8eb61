"""Element types, Python numbers, and the values at the edges where rows cannot look."""

from __future__ import annotations

import operator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import graphc as gx
from graphc import passes

INF = float("inf")
NAN = float("nan")


def run(y: gx.Node, **inputs: Any) -> Any:
    return gx.interpret(gx.Graph({"y": y}), {}, **inputs)["y"]


def slope(function: Any, *at: float) -> list[float]:
    """The derivatives at a point, in float64."""
    nodes = [gx.input(f"x{i}", (), dtype="float64") for i in range(len(at))]
    graph = gx.Graph({"loss": function(*nodes)})
    graph = graph.apply(passes.backward(wrt=nodes))
    out = gx.interpret(graph, {}, inputs={f"x{i}": value for i, value in enumerate(at)})
    return [float(out[f"grad/x{i}"]) for i in range(len(at))]


# -- Python numbers and arrays --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "uint64"])
def test_a_python_number_takes_the_nodes_dtype(dtype: str) -> None:
    x = gx.input("x", (2,), dtype=dtype)
    for y in (x + 1, 1 + x, x - 1, 1 - x, x * 2, 2 * x):
        assert y.dtype == x.dtype
    assert (x > 1).dtype == bool


def test_float64_scalars_of_numpy_are_python_numbers_and_float32_ones_are_not() -> None:
    x, z = gx.input("x", (2,)), gx.input("z", (2,), dtype="float64")
    assert (x * np.sqrt(2)).dtype == np.float32
    assert (x * np.float32(2)).dtype == np.float32
    with pytest.raises(gx.DTypeError, match="never promote"):
        z * np.float32(2)


def test_arrays_on_either_side_are_constants() -> None:
    x = gx.input("x", (2,))
    table = np.float32([10, 20])
    np.testing.assert_array_equal(run(table - x, x=np.float32([1, 2])), [9, 18])
    np.testing.assert_array_equal(run(table @ x, x=np.float32([1, 2])), 50)
    np.testing.assert_array_equal(run(2.0**x, x=np.float32([1, 2])), [2, 4])
    with pytest.raises(gx.DTypeError, match="f32 and f64"):
        x + np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("int64", 0.5, "0.5 is a Python float, which i64 does not hold"),
        ("int8", 300, "300 is a Python int, which i8 does not hold"),
        ("uint8", -1, "-1 is a Python int, which u8 does not hold"),
        ("bool", 1, "1 is a Python int, which bool does not hold"),
        ("float32", True, "True is a Python bool, which f32 does not hold"),
        ("float32", 1e39, "1e+39 is a Python float, which f32 does not hold"),
        ("float16", 1e5, "100000.0 is a Python float, which f16 does not hold"),
        ("float32", 1j, "a complex is not an operand"),
        ("float32", "2", "a str is not an operand"),
        ("float32", None, "a NoneType is not an operand"),
        ("float32", [1.0, 2.0], "a list is not an operand"),
    ],
)
def test_a_number_that_does_not_fit_is_refused(dtype: str, value: Any, message: str) -> None:
    x = gx.input("x", (2,), dtype=dtype)
    with pytest.raises(gx.GraphError) as caught:
        gx.maximum(x, value)
    assert message in str(caught.value)
    assert "test_arithmetic.py" in str(caught.value)
    assert "to fix" in str(caught.value)


def test_infinities_and_nan_fit_every_float() -> None:
    x = gx.input("x", (1,), dtype="float16")
    assert run(x + INF, x=np.float16([1])) == INF
    assert np.isnan(run(x * NAN, x=np.float16([1])))


def test_dtypes_never_promote() -> None:
    x, z = gx.input("x", (2,)), gx.input("z", (2,), dtype="float64")
    for function in (operator.add, operator.mul, operator.lt, gx.equal, gx.maximum):
        with pytest.raises(gx.DTypeError, match="f32 and f64, and dtypes never promote") as caught:
            function(x, z)
        assert "x: f32[2]" in str(caught.value)
        assert "z: f64[2]" in str(caught.value)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid"])
def test_functions_of_integers_say_what_to_do(name: str) -> None:
    with pytest.raises(gx.DTypeError, match="floating-point operands, not i64.*\n.*\n.*\n.*cast"):
        getattr(gx, name)(gx.input("label", ("N",), dtype="int64"))


def test_truth_values_are_no_numbers() -> None:
    mask = gx.input("mask", (2,), dtype="bool")
    for function in (gx.neg, gx.sum, gx.relu, lambda m: m + m, lambda m: m @ m):
        with pytest.raises(gx.DTypeError, match="needs numbers, not bool"):
            function(mask)
    with pytest.raises(gx.DTypeError, match="the condition is f32, not bool"):
        gx.where(gx.input("x", (2,)), 1.0, 0.0)
    with pytest.raises(gx.DTypeError, match="needs bool operands, not f32"):
        gx.logical_not(gx.input("x", (2,)))


# -- values at the edges --------------------------------------------------------------------------


def test_slopes_at_kinks() -> None:
    assert slope(gx.relu, 0.0) == [0.0]
    assert slope(gx.abs, 0.0) == [0.0]
    assert slope(gx.abs, -0.0) == [0.0]
    assert slope(gx.maximum, 1.0, 1.0) == [0.5, 0.5]
    assert slope(gx.minimum, 1.0, 1.0) == [0.5, 0.5]
    assert slope(gx.minimum, 1.0, 2.0) == [1.0, 0.0]
    assert slope(lambda x: gx.max(gx.concat([gx.unsqueeze(x, 0)] * 4)), 3.0) == [1.0]


def test_powers_of_zero_have_pytorchs_slopes() -> None:
    assert slope(lambda x: x**0, 0.0) == [0.0]
    assert slope(lambda x: x**1, 0.0) == [1.0]
    assert slope(lambda x: x**2, 0.0) == [0.0]
    assert slope(lambda x: x**3, 0.0) == [0.0]
    assert slope(lambda x: x**0.5, 0.0) == [INF]
    assert slope(gx.pow, 0.0, 0.0) == [0.0, 0.0]
    assert slope(gx.pow, 0.0, 2.0) == [0.0, 0.0]
    assert slope(gx.pow, 0.0, 1.0) == [1.0, 0.0]
    assert slope(lambda x: x**3, -2.0) == [12.0]
    assert np.isnan(slope(gx.pow, -2.0, 3.0)[1])


def test_small_powers_are_simpler_ops() -> None:
    x = gx.input("x", (2,))
    assert (x**2).op.name == "square"
    assert x**1 is x
    assert (x**2.0) is gx.square(x)


def test_nan_goes_through() -> None:
    x = gx.input("x", (3,))
    values = np.float32([1, NAN, -1])
    for function in (gx.relu, gx.abs, gx.sign, gx.tanh, gx.sigmoid, lambda x: gx.maximum(x, 0)):
        np.testing.assert_array_equal(np.isnan(run(function(x), x=values)), [False, True, False])
    for function in (gx.max, gx.min, gx.sum, gx.mean):
        assert np.isnan(run(function(x), x=values))


def test_the_branch_not_taken_leaves_no_trace_in_the_gradient() -> None:
    x = gx.input("x", (3,), dtype="float64")
    loss = gx.sum(gx.where(x > 0, gx.sqrt(x), 0.0))
    graph = gx.Graph({"loss": gx.where(gx.equal(loss, loss), loss, 0.0)})
    graph = graph.apply(passes.backward(wrt="x"))
    gradient = gx.interpret(graph, {}, x=[4.0, 1.0, 0.25])["grad/x"]
    np.testing.assert_array_equal(gradient, [0.25, 0.5, 1.0])


def test_extremes_of_the_functions() -> None:
    x = gx.input("x", (2,))
    far = np.float32([-200, 200])
    np.testing.assert_array_equal(run(gx.sigmoid(x), x=far), [0, 1])
    np.testing.assert_array_equal(run(gx.tanh(x), x=far), [-1, 1])
    np.testing.assert_array_equal(run(gx.exp(x), x=far), [0, INF])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_half(dtype: str) -> None:
    """Every op gives its operands' type, and sums accumulate in float32."""
    kind = np.dtype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)
    x = gx.input("x", ("N", 4), dtype=dtype)
    given = np.linspace(0.5, 2, 12).reshape(3, 4).astype(kind)
    exact = given.astype(np.float64)
    limit = 4 * float(ml_dtypes.finfo(kind).eps)
    for y, expected in [
        (x + 1, exact + 1),
        (gx.exp(x) / x, np.exp(exact) / exact),
        (gx.sigmoid(gx.log(x)), exact / (1 + exact)),
        (gx.relu(-x), exact * 0),
        (x**2.5, exact**2.5),
        (gx.maximum(x, 1), np.maximum(exact, 1)),
        (gx.where(x > 1, x, 0), np.where(exact > 1, exact, 0)),
        (gx.sum(x, 0), exact.sum(0)),
        (gx.mean(x, 1), exact.mean(1)),
        (gx.max(x, 1), exact.max(1)),
        (gx.transpose(x, (1, 0)) @ x, exact.T @ exact),
        (gx.linear(x, x[:2]), exact @ exact[:2].T),
        (gx.pad(x, (1, 1))[:, 1:-1], exact),
    ]:
        found = run(y, x=given)
        assert found.dtype == kind
        np.testing.assert_allclose(found.astype(np.float64), expected, rtol=limit)
    ones = gx.input("ones", ("N",), dtype=dtype)
    assert run(gx.sum(ones), ones=np.ones(3000, kind)) == kind.type(3000)  # 2048 in half


def test_cast_is_astype() -> None:
    x = gx.input("x", (4,))
    values = np.float32([-1.7, 0, 0.5, 255])
    for dtype in ("int64", "float64", "float16", "bool"):
        np.testing.assert_array_equal(run(gx.cast(x, dtype), x=values), values.astype(dtype))
    assert gx.cast(x, "float32") is x
