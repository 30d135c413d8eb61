"""Random bits are a function of (seed, stream, step, element); dropout is linear in x."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes

PATHS = ["noise", "features.3/dropout", "0"]


def literal(path: str, seed: int, t: int, count: int) -> np.ndarray[Any, Any]:
    """The expression of the design, verbatim."""
    s = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, s], np.uint64), counter=[0, 0, t, 0])
    ).random(count, dtype=np.float32)


def variables(seed: int = 0, step: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    return {"random/seed": np.array(seed, np.uint64), "step": np.array(step, np.int64)}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("seed", "step"), [(0, 0), (2**64 - 1, 3), (2**53 + 1, 10**6)])
def test_bits_are_the_literal_numpy_expression(path: str, seed: int, step: int) -> None:
    # 5·7 = 35 is no multiple of the eight numbers of a block.
    graph = gx.Graph({"u": gx.random_uniform(("N", 7), name=path) + gx.input("x", ("N", 1))})
    x = np.zeros((5, 1), np.float32)
    expected = literal(path, seed, step, 35).reshape(5, 7)
    found = gx.interpret(graph, variables(seed, step), x=x)["u"]
    np.testing.assert_array_equal(found, expected)
    compiled = gx.compile(graph, backend="numpy")
    np.testing.assert_array_equal(compiled(variables(seed, step), x=x)["u"], expected)


def test_half_of_all_streams_would_be_lost_through_float64() -> None:
    """A key given as a list goes through float64 and loses bits: ours must not."""
    odd = 2**64 - 1
    graph = gx.Graph({"u": gx.random_uniform((8,), name="noise")})
    first = gx.interpret(graph, variables(odd))["u"]
    second = gx.interpret(graph, variables(odd - 1))["u"]
    assert not np.array_equal(first, second)


def test_every_step_draws_anew_and_counts() -> None:
    graph = gx.Graph({"u": gx.random_uniform((4,))})
    held = variables(seed=3)
    first, held = gx.interpret(graph, held, updates=True)
    assert held["step"] == 1
    second, held = gx.interpret(graph, held, updates=True)
    np.testing.assert_array_equal(first["u"], literal("random_uniform", 3, 0, 4))
    np.testing.assert_array_equal(second["u"], literal("random_uniform", 3, 1, 4))


def test_float64_uniforms_are_the_same_numbers() -> None:
    graph = gx.Graph({"u": gx.random_uniform((9,), name="noise", dtype="float64")})
    found = gx.interpret(graph, variables(1))["u"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, literal("noise", 1, 0, 9))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("retain", [0.5, 0.8, 0.1])
def test_dropout_retains_where_the_number_is_below_p(dtype: str, retain: float) -> None:
    x = gx.input("x", ("N", 5), dtype=dtype)
    train, test = gx.dropout(x, retain=retain), gx.dropout(x, retain=retain, scaling="test")
    graph = gx.Graph({"train": train, "test": test})
    image = np.random.default_rng(0).normal(size=(6, 5)).astype(dtype)
    found = gx.interpret(graph, variables(7, 2), x=image)
    p = np.float32(retain)
    kept = {n: literal(n, 7, 2, 30).reshape(6, 5) < p for n in ("dropout", "dropout_1")}
    scaled = image * np.asarray(1 / float(p), dtype)
    np.testing.assert_array_equal(found["train"], np.where(kept["dropout"], scaled, 0))
    np.testing.assert_array_equal(found["test"], np.where(kept["dropout_1"], image, 0))


def test_the_share_retained_is_p() -> None:
    x = gx.input("x", (100_000,))
    graph = gx.Graph({"y": gx.dropout(x, retain=0.8)})
    y = gx.interpret(graph, variables(11), x=np.ones(100_000, np.float32))["y"]
    # Four standard deviations of a binomial share.
    assert abs(np.count_nonzero(y) / y.size - 0.8) < 4 * np.sqrt(0.8 * 0.2 / y.size)
    assert y.mean() == pytest.approx(1.0, abs=0.01)


def test_what_is_dropped_is_zero_whatever_it_was() -> None:
    x = gx.input("x", (64,))
    graph = gx.Graph({"y": gx.dropout(x, retain=0.5)})
    y = gx.interpret(graph, variables(), x=np.full(64, np.nan, np.float32))["y"]
    assert 0 < np.count_nonzero(y == 0) < 64


def test_the_gradient_draws_the_same_mask_from_the_same_stream() -> None:
    x = gx.input("x", (3, 4))
    y = gx.dropout(x, retain=0.5)
    graph = gx.Graph({"y": y, "loss": gx.sum(y * y)}).apply(passes.backward(wrt="x"))
    gradient = [n for n in graph.nodes if n.op.name == "dropout"]
    assert len(gradient) == 2
    assert {n.inputs[1] for n in gradient} == {y.inputs[1]}
    image = np.ones((3, 4), np.float32)
    found = gx.interpret(graph, variables(5), x=image)
    np.testing.assert_array_equal(found["grad/x"] != 0, found["y"] != 0)


def test_two_calls_are_two_streams_and_one_stream_is_one_mask() -> None:
    x = gx.input("x", (3, 4))
    first = gx.dropout(x, retain=0.5)
    assert gx.dropout(x, retain=0.5) is not first
    assert gx.dropout(x, retain=0.5, stream=first.inputs[1]) is first


def test_print_hides_the_source_and_parse_restores_it() -> None:
    x = gx.input("x", (3, 4))
    graph = gx.Graph({"y": gx.dropout(x, retain=0.8, scaling="test"), "u": gx.random_uniform((2,))})
    text = str(graph)
    assert 'dropout(%x) retain=0.800000011920929 scaling="test" stream="dropout"' in text
    assert 'random_uniform() shape=[2] stream="random_uniform"' in text
    assert gx.parse(text) == graph
    # A file that a person wrote may say 0.8.
    assert gx.parse(text.replace("0.800000011920929", "0.8")) == graph


X = gx.input("activations", ("N", 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gx.dropout(X, 0.5), "a positional rate"),
        (lambda: gx.dropout(X, p=0.5), "p="),
        (lambda: gx.dropout(X, rate=0.5), "rate="),
        (lambda: gx.dropout(X), "by name: gx.dropout(x, retain=0.8)"),
        (lambda: gx.dropout(X, retain="0.5"), "not retain='0.5'"),  # type: ignore[arg-type]
        (lambda: gx.dropout(X, retian=0.5), "'retian'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_probability_is_the_one_to_keep_and_is_said_by_name(call: Any, message: str) -> None:
    with pytest.raises(TypeError) as raised:
        call()
    assert message in str(raised.value)
    assert "retain" in str(raised.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gx.dropout(X, retain=0.0), gx.GraphError, "retain=0.0 is not in (0, 1]"),
        (lambda: gx.dropout(X, retain=1.5), gx.GraphError, "retain=1.5"),
        (lambda: gx.dropout(X, retain=1e300), gx.GraphError, "retain=inf"),
        (lambda: gx.dropout(X, retain=float("nan")), gx.GraphError, "retain=nan"),
        (lambda: gx.dropout(X, retain=0.5, scaling="none"), gx.GraphError, "scaling='none'"),
        (lambda: gx.dropout(X, retain=0.5, stream=X), gx.GraphError, "not a random stream"),
        (lambda: gx.dropout(gx.cast(X, "int32"), retain=0.5), gx.DTypeError, "floating-point"),
        (lambda: gx.random_uniform((0,)), gx.GraphError, "at least 1"),
        (lambda: gx.random_uniform((2,), dtype="float16"), gx.DTypeError, "float32 or float64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_mistake_is_told(call: Any, error: type[gx.GraphError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
