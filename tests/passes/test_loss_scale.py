"""The dynamic loss scale: no overflow, no difference; an overflow, no step and half the scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes

SCALE, STEPS = "mixed_precision/loss_scale", "mixed_precision/finite_steps"
OPTIMIZERS = {
    "sgd": lambda: passes.sgd(lr=0.1),
    "momentum": lambda: passes.sgd(lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda: passes.adam(lr=0.01),
    "adamw": lambda: passes.adamw(lr=0.01, weight_decay=0.1),
    "rmsprop": lambda: passes.rmsprop(lr=0.01),
}


def graph() -> gx.Graph:
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    x, label = gx.input("x", ("N", 6)), gx.input("label", ("N",), dtype="int64")
    return gx.Graph({"loss": gx.cross_entropy(net(x), label)}).apply(passes.backward())


def batch(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(5, 6)).astype(np.float32), "label": rng.integers(0, 4, 5)}


def mixed(dtype: str = "float16", **options: Any) -> Callable[[gx.Graph], gx.Graph]:
    return passes.mixed_precision(dtype, loss_scale="dynamic", **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_overflow_it_follows_float32(name: str) -> None:
    exact = graph().apply(OPTIMIZERS[name]())
    step = gx.compile(graph().apply(mixed(), OPTIMIZERS[name]()))
    held, ours = gx.compile(exact).init(seed=0), step.init(seed=0)
    assert float(ours[SCALE]) == 65536.0
    for i in range(10):
        out, held = gx.interpret(exact, held, inputs=batch(i), updates=True)
        found = step(ours, inputs=batch(i))
        assert found["finite"]
        # The first step is off by half precision; in the others what was rounded comes back.
        assert abs(found["loss"] - out["loss"]) < 2e-3 * (i + 1)
    assert int(ours[STEPS]) == 10
    for key, value in held.items():
        if key.endswith("weight") and "/" not in key:
            moved = np.max(np.abs(value - step.init(seed=0)[key]))
            assert np.max(np.abs(ours[key] - value)) < 0.05 * moved
            assert ours[key].dtype == np.float32


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e30], ids=str)
def test_an_overflow_changes_no_parameter_and_halves_the_scale(name: str, bad: float) -> None:
    step = gx.compile(graph().apply(mixed(), OPTIMIZERS[name]()))
    variables = step.init(seed=0)
    step(variables, inputs=batch(0))
    before = {key: value.copy() for key, value in variables.items()}
    given = batch(1)
    given["x"][2, 3] = bad
    with np.errstate(all="ignore"):
        out = step(variables, inputs=given)
    assert not out["finite"]
    for key, value in variables.items():
        if key == SCALE:
            assert value == before[key] / 2
        elif key == STEPS:
            assert value == 0
        elif key != "step":
            np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert step(variables, inputs=batch(2))["finite"]
    assert np.any(variables["0.weight"] != before["0.weight"])


def test_a_scale_that_is_too_large_comes_down_by_itself() -> None:
    """No bad data: the scale alone overflows float16, and then training goes on."""
    step = gx.compile(graph().apply(mixed(), passes.sgd(lr=0.5)))
    variables = step.init(seed=0)
    variables[SCALE][...] = 2.0**24
    first = variables["0.weight"].copy()
    finite = []
    with np.errstate(all="ignore"):
        for _ in range(12):
            was = variables["0.weight"].copy()
            finite.append(bool(step(variables, inputs=batch(3))["finite"]))
            assert np.array_equal(was, variables["0.weight"]) is not finite[-1]
    assert not finite[0]
    assert finite[-1]
    assert sorted(finite) == finite
    assert float(variables[SCALE]) == 2.0 ** (24 - finite.index(True))
    assert np.any(first != variables["0.weight"])


def test_it_grows_after_so_many_finite_steps_and_within_its_limits() -> None:
    step = gx.compile(graph().apply(mixed(growth_interval=3), passes.sgd(lr=0.01)))
    variables = step.init(seed=0)
    variables[SCALE][...] = 64.0
    seen = []
    for i in range(7):
        step(variables, inputs=batch(i))
        seen.append((float(variables[SCALE]), int(variables[STEPS])))
    assert seen == [(64, 1), (64, 2), (128, 0), (128, 1), (128, 2), (256, 0), (256, 1)]
    given = batch(0)
    given["x"][0, 0] = np.nan
    variables[SCALE][...] = 2.0**-24
    with np.errstate(all="ignore"):
        step(variables, inputs=given)
    assert float(variables[SCALE]) == 2.0**-24


def test_the_gradients_do_not_depend_on_the_scale() -> None:
    """Powers of two are exact: the dynamic scale gives the bits of the static one."""
    static = graph().apply(passes.mixed_precision("float16", loss_scale=512.0))
    moving = graph().apply(mixed())
    variables = gx.compile(moving).init(seed=0) | {SCALE: np.array(512.0, np.float32)}
    expected = gx.interpret(static, variables, inputs=batch(0))
    found = gx.interpret(moving, variables, inputs=batch(0))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_with_what_stands_around_it() -> None:
    """Decay, pieces of the batch, dropout, clipping; twice; text."""
    x, label = gx.input("x", ("N", 6)), gx.input("label", ("N",), dtype="int64")
    net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(retain=0.5), nn.Linear(8, 4))
    loss = gx.cross_entropy(net(x), label)
    before = gx.Graph({"loss": loss}).apply(
        passes.weight_decay(0.1), passes.shard(2), passes.backward(), passes.accumulate()
    )
    once = before.apply(mixed())
    assert once.apply(mixed()) == once
    assert gx.parse(str(once)) == once
    step = once.apply(passes.clip_gradients(1.0), passes.adam(lr=0.01))
    program = gx.compile(step)
    variables = program.init(seed=0) | {SCALE: np.array(1024.0, np.float32)}
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(4, 6)).astype(np.float32), "label": rng.integers(0, 4, 4)}
    start = variables["0.weight"].copy()
    out = program(variables, inputs=given)
    assert out["finite"]
    assert np.any(start != variables["0.weight"])


def test_a_graph_that_only_predicts_has_no_scale() -> None:
    x = gx.input("x", ("N", 6))
    low = gx.Graph({"y": nn.Linear(6, 8)(x)}).apply(mixed())
    assert not low.states
    assert list(low.outputs) == ["y"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: passes.mixed_precision("float16", "static"), "a number, or 'dynamic'"),
        (lambda: mixed(growth_interval=0), "at least 1 step"),
        (lambda: mixed(growth_interval=2.5), "no whole number"),
        (
            lambda: gx.Graph({**graph().outputs, "finite": gx.input("f", ())}).apply(mixed()),
            "an output is called 'finite' already",
        ),
        (
            lambda: graph().apply(mixed()).select("loss", "grad/0.weight").apply(
                passes.sgd(lr=0.1)
            ),
            "its output 'finite' is gone",
        ),
    ],
)  # fmt: skip
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        make()
