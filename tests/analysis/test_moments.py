"""Rows 26 and 30 of the lecture: variances with dropout, angles of updates."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes


def test_moments_are_numpys() -> None:
    x = gx.input("x", ("N", 3, 4, 5))
    h = gx.relu(gx.conv2d(x, gx.parameter("w", (2, 3, 3, 3), init="kaiming_uniform")))
    graph = gx.Graph({"y": h})
    variables = gx.compile(graph).init(seed=0)
    image = np.random.default_rng(0).normal(size=(6, 3, 4, 5)).astype(np.float32)
    found = gx.moments(graph, variables, x=image)
    maps = gx.interpret(graph, variables, x=image)["y"].astype(np.float64)
    assert found[h].mean == pytest.approx(maps.mean(), rel=1e-5)
    assert found[h].variance == pytest.approx(maps.var(), rel=1e-5)
    np.testing.assert_allclose(found[h].channel_mean, maps.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found[h].channel_variance, maps.var((0, 2, 3)), rtol=1e-5)
    assert found[x].mean == pytest.approx(image.astype(np.float64).mean())
    assert found["relu"] is found[h]
    assert [each.name for each in found] == ["x", "w", "conv2d", "relu"]
    assert str(found).splitlines()[0].split() == ["node", "type", "mean", "variance"]


def test_dropout_adds_the_variance_that_the_formula_says() -> None:
    """Var_train(z) = Var_test(z) + (1-p)/p Σ w² E[x²], on a linear layer."""
    p = 0.8
    x = gx.input("x", ("N", 20))
    layer = nn.Linear(20, 7)
    graph = gx.Graph({"z": layer(gx.dropout(x, retain=p))})
    variables = gx.compile(graph).init(seed=1)
    batch = np.random.default_rng(2).normal(1, 2, size=(64, 20)).astype(np.float32)
    train = gx.moments(graph, variables, x=batch, draws=400)["linear"]
    test = gx.moments(graph.apply(passes.inference()), variables, x=batch)["linear"]
    w = variables["linear.weight"].astype(np.float64)
    added = (1 - p) / p * (w**2 @ np.mean(batch.astype(np.float64) ** 2, 0))
    # 25,600 draws of each unit: 4 standard errors of a variance are 4·√(2/25600).
    expected = test.channel_variance + added
    np.testing.assert_allclose(train.channel_variance, expected, rtol=4 * np.sqrt(2 / 25600))
    assert np.all(added > 0.1 * test.channel_variance)
    assert variables["step"] == 0


def test_draws_are_the_steps_that_follow() -> None:
    x = gx.input("x", (30, 2))
    y = gx.dropout(x, retain=0.5)
    graph = gx.Graph({"y": y})
    variables = gx.compile(graph).init(seed=5)
    variables["step"][...] = 7
    ones = np.ones((30, 2), np.float32)
    runs = [
        gx.interpret(graph, {**variables, "step": np.array(7 + i)}, x=ones)["y"] for i in range(3)
    ]
    found = gx.moments(graph, variables, x=ones, draws=3)[y]
    together = np.concatenate(runs).astype(np.float64)
    np.testing.assert_allclose(found.channel_mean, together.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.channel_variance, together.var(0), rtol=1e-12)
    assert found.variance == pytest.approx(together.var(), rel=1e-12)


def test_angles() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 3, 3))
    cosine = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    assert gx.angular_update(a, b) == pytest.approx(np.arccos(cosine), rel=1e-12)
    # arccos would say 0 here.
    u, v = np.array([1.0, 0.0]), np.array([1.0, 1e-9])
    assert gx.angular_update(u, v) == pytest.approx(1e-9, rel=1e-9)
    assert gx.angular_update(u, -u) == pytest.approx(np.pi)
    assert gx.angular_update(a, 1000 * a) < 1e-15


def test_angles_of_all_weights() -> None:
    before = {"w": np.ones((2, 2)), "zero": np.zeros(3), "step": np.array(3), "gone": np.ones(1)}
    after = {"w": np.array([[1.0, 1], [1, -1]]), "zero": np.ones(3), "step": np.array(4)}
    assert gx.angular_update(before, after) == {"w": pytest.approx(np.pi / 3)}


def test_spherical_motion_settles_where_the_theory_says() -> None:
    """Wan et al. 2021: a scale-invariant weight, gradients of random direction, decay λ: the angle
    of a step settles at √(2ηλ)."""
    rng = np.random.default_rng(0)
    rate, decay, size = 0.1, 0.05, 500
    w, angles = rng.normal(size=size), []
    for _ in range(2000):
        noise = rng.normal(size=size)
        along = noise - w * (noise @ w) / (w @ w)
        new = (1 - rate * decay) * w - rate * along / np.linalg.norm(w)
        angles.append(gx.angular_update(w, new))
        w = new
    rms = np.sqrt(np.mean(np.square(angles[-400:])))
    assert rms == pytest.approx(np.sqrt(2 * rate * decay), rel=0.02)


def test_mistakes_are_named() -> None:
    with pytest.raises(gx.ShapeError, match=r"\(2,\) before, \(3,\) after"):
        gx.angular_update(np.ones(2), np.ones(3))
    with pytest.raises(gx.GraphError, match="zeros has no direction"):
        gx.angular_update(np.zeros(2), np.ones(2))
    with pytest.raises(gx.GraphError, match="two arrays, or two dicts"):
        gx.angular_update({"w": np.ones(2)}, np.ones(2))
    x = gx.input("x", (2,))
    with pytest.raises(gx.GraphError, match="draws=0"):
        gx.moments(gx.Graph({"y": x * 2}), {}, x=[1, 2], draws=0)
    found = gx.moments(gx.Graph({"y": x * 2}), {}, x=[1, 2])
    with pytest.raises(gx.GraphError, match="no node here is called 'mull': did you mean 'mul'"):
        _ = found["mull"]


def test_the_angle_of_huge_and_tiny_weights_is_no_overflow() -> None:
    for scale in (1e200, 1e-200):
        before, after = np.array([scale, 0.0]), np.array([0.0, scale])
        assert gx.angular_update(before, after) == pytest.approx(np.pi / 2, rel=1e-15)
    for bad in (np.nan, np.inf):
        with pytest.raises(gx.GraphError, match="NaN or inf"):
            gx.angular_update(np.array([bad, 1.0]), np.ones(2))
