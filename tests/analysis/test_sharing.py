"""Row 14 of the lecture: ∂g/∂x = ∂f/∂x + ∂f/∂z at (x, y, x), for g(x, y) = f(x, y, x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx

Function = Callable[[Any, Any, Any], Any]

CASES: list[tuple[Function, Function, tuple[int, ...], tuple[int, ...]]] = [
    (lambda x, y, z: x * y * z, lambda x, y, z: x * y * z, (), ()),
    (
        lambda x, y, z: gx.sum(gx.tanh(x @ y) @ gx.transpose(z, (1, 0))),
        lambda x, y, z: jnp.sum(jnp.tanh(x @ y) @ z.T),
        (3, 4),
        (4, 4),
    ),
    (
        lambda x, y, z: gx.mean(gx.square(gx.conv2d(gx.conv2d(y, x), z))),
        lambda x, y, z: jnp.mean(_conv(_conv(y, x), z) ** 2),
        (1, 1, 2, 2),
        (2, 1, 5, 5),
    ),
    (lambda x, y, z: gx.sum(gx.exp(z) * y), lambda x, y, z: jnp.sum(jnp.exp(z) * y), (3,), (3,)),
    (lambda x, y, z: gx.sum(x * x), lambda x, y, z: jnp.sum(x * x), (3,), ()),
]


def _conv(x: Any, w: Any) -> Any:
    return jax.lax.conv(x, w, (1, 1), "VALID")


@pytest.mark.parametrize("case", range(len(CASES)))
def test_both_sides_and_both_terms_are_jaxs(case: int) -> None:
    ours, theirs, shape, beside = CASES[case]
    random = np.random.default_rng(case)
    x, y = random.normal(size=shape), random.normal(size=beside)
    found = gx.check_sharing(ours, x, y)
    first, third = jax.grad(theirs, (0, 2))(x, y, x)
    for value, oracle in ((found.first, first), (found.third, third), (found.left, first + third)):
        assert value.shape == shape
        np.testing.assert_allclose(value, oracle, rtol=1e-12, atol=1e-12)
    assert found.difference <= 1e-12
    np.testing.assert_allclose(found.right, found.first + found.third, rtol=0, atol=0)
    assert found.numeric.shape == shape
    np.testing.assert_allclose(found.numeric, first + third, rtol=1e-7, atol=1e-8)


def test_the_graphs_show_it() -> None:
    found = gx.check_sharing(lambda x, y, z: x * y * z, 2.0, 5)
    assert found.shared.outputs["grad/x"].op.name == "grad_sum"
    assert list(found.apart.outputs) == ["value", "grad/x", "grad/z"]
    assert (float(found.left), float(found.first), float(found.third)) == (20.0, 10.0, 10.0)


def test_float32_arrays_stay_float32() -> None:
    found = gx.check_sharing(
        lambda x, y, z: gx.sum(x * y * z), np.ones(2, np.float32), np.float32(3)
    )
    assert found.left.dtype == np.float32
    np.testing.assert_allclose(found.numeric, 6.0, rtol=1e-9)


def test_the_numeric_side_asks_no_gradient_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    op = type(gx.tanh(gx.input("a", ())).op)
    monkeypatch.setattr(op, "grad", lambda self, node, gradient: [gradient])
    found = gx.check_sharing(lambda x, y, z: gx.sum(gx.tanh(x) * z * y), [0.3, 2.0], 1.5)
    x = np.array([0.3, 2.0])
    right = 1.5 * (np.tanh(x) + x * (1 - np.tanh(x) ** 2))
    np.testing.assert_allclose(found.numeric, right, rtol=1e-9)
    assert found.difference == 0  # both sides are wrong alike
    assert np.abs(found.left - found.numeric).max() > 0.1


def test_what_y_alone_adds_moves_nothing() -> None:
    found = gx.check_sharing(lambda x, y, z: gx.sum(y) * 2 + gx.sum(x * z), np.ones(3), 2.0)
    np.testing.assert_allclose(found.numeric, 2.0)


def test_mistakes_are_refused() -> None:
    with pytest.raises(gx.GraphError, match="gave a float, not a node"):
        gx.check_sharing(lambda x, y, z: 1.0, 1.0, 2.0)  # type: ignore[arg-type,return-value]
    with pytest.raises(gx.ShapeError, match="scalar"):
        gx.check_sharing(lambda x, y, z: x * z, np.ones(3), 2.0)
    with pytest.raises(gx.GraphError, match="neither of x and z"):
        gx.check_sharing(lambda x, y, z: y * 2, 1.0, 2.0)
    with pytest.raises(gx.GraphError):
        gx.check_sharing(lambda x, y, z: x * z, "one", 2.0)
