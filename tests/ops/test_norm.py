"""Normalization: laws that hold exactly, PyTorch where it is installed, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes
from tests.ops.harness import error


def normalized(eps: float) -> gx.Graph:
    """Linear without bias, then batch norm by the batch's statistics, in float64."""
    x, w = gx.input("x", (16, 5), dtype="float64"), gx.input("w", (3, 5), dtype="float64")
    z = gx.linear(x, w)
    mean = gx.mean(z, 0)
    variance = gx.mean(gx.square(z - mean), 0)
    scale, shift = (gx.input(name, (3,), dtype="float64") for name in ("scale", "shift"))
    y = gx.batch_norm(z, scale, shift, mean, variance, eps=eps)
    direction = gx.input("direction", (16, 3), dtype="float64")
    return gx.Graph({"y": y, "variance": variance, "loss": gx.sum(y * direction)})


SHAPES = {"x": (16, 5), "w": (3, 5), "scale": (3,), "shift": (3,), "direction": (16, 3)}


def arrays() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 3.0, 1e3])
def test_the_scale_of_the_weights_before_it_does_not_matter(alpha: float) -> None:
    """BN(WX) = BN(αWX), and the gradient is orthogonal to W and goes as 1/α."""
    graph = normalized(eps=0.0).apply(passes.backward(wrt="w"))
    given = arrays()
    plain = gx.interpret(graph, {}, inputs=given)
    scaled = gx.interpret(graph, {}, inputs=given | {"w": alpha * given["w"]})
    assert error(scaled["y"], plain["y"]) <= 1e-12
    assert error(alpha * scaled["grad/w"], plain["grad/w"]) <= 1e-10
    inner = np.sum(plain["grad/w"] * given["w"], 1)
    lengths = np.linalg.norm(plain["grad/w"], axis=1) * np.linalg.norm(given["w"], axis=1)
    assert np.all(np.abs(inner) <= 1e-12 * lengths)


def test_with_eps_the_deviation_has_its_closed_form() -> None:
    eps, alpha, given = 0.1, 0.5, arrays()
    graph = normalized(eps)
    plain = gx.interpret(graph, {}, inputs=given)
    scaled = gx.interpret(graph, {}, inputs=given | {"w": alpha * given["w"]})
    variance = plain["variance"]
    ratio = np.sqrt((variance + eps) / (variance + eps / alpha**2))
    centred = [out["y"] - given["shift"] for out in (plain, scaled)]
    assert error(centred[1], centred[0] * ratio) <= 1e-12


def test_the_five_gradients_read_the_image_three_times() -> None:
    """The gradients share their sums: what is as large as x is made once."""
    x = gx.input("x", (8, 3, 4, 4))
    vectors = [gx.input(name, (3,)) for name in ("scale", "shift", "mean", "variance")]
    y = gx.batch_norm(x, *vectors)
    graph = gx.Graph({"loss": gx.sum(y * y)})
    graph = graph.apply(passes.backward(wrt=["x", "scale", "shift", "mean", "variance"]))
    owned = graph.nodes[graph.nodes.index(graph.gradients[y]) + 1 :]
    assert sum(node.shape == x.shape for node in owned) == 3


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda x, v: gx.batch_norm(x, v, 0, 0, 1), gx.ShapeError,
         "x has 3 channels, scale is for 4"),
        (lambda x, v: gx.batch_norm(x, 1, 0, x, 1), gx.ShapeError, "mean has 4 axes"),
        (lambda x, v: gx.batch_norm(v, 1, 0, 0, 1), gx.ShapeError, "x has 1 axes"),
        (lambda x, v: gx.batch_norm(x, 1, 0, 0, 1, eps=-1.0), gx.GraphError, "eps=-1.0"),
        (lambda x, v: gx.batch_norm(x, 1, 0, 0, gx.cast(v, "float64")), gx.DTypeError, "promote"),
        (lambda x, v: gx.layer_norm(x, (4, 4)), gx.ShapeError, r"end in the axes \(4, 4\)"),
        (lambda x, v: gx.layer_norm(x, 5, v), gx.ShapeError, r"weight is \(4\), not \(5\)"),
        (lambda x, v: gx.group_norm(x, 2), gx.ShapeError, "does not divide 3 channels"),
        (lambda x, v: gx.group_norm(x, 3, None, v), gx.ShapeError, r"bias is \(4\)"),
        (lambda x, v: gx.group_norm(v, 2), gx.ShapeError, "1 axes"),
        (lambda x, v: gx.local_response_norm(v, 3), gx.ShapeError, "x has 1 axes"),
        (lambda x, v: gx.local_response_norm(x, 0), gx.ShapeError, "0 is less than 1"),
        (lambda x, v: gx.local_response_norm(x, 2.5), gx.GraphError, "size=2.5"),
        (lambda x, v: gx.local_response_norm(x, 3, float("nan")), gx.GraphError, "alpha=nan"),
        (lambda x, v: gx.adaptive_avg_pool2d(v, 1), gx.ShapeError, "x has 1 axes"),
        (lambda x, v: gx.adaptive_avg_pool2d(x, 0), gx.GraphError, "positive int"),
        (lambda x, v: gx.adaptive_avg_pool2d(x, (1, 2, 3)), gx.GraphError, "positive int"),
        (lambda x, v: gx.adaptive_avg_pool2d(x, 2), gx.ShapeError, "only 1×1 allows"),
        (lambda x, v: gx.upsample(v), gx.ShapeError, "x has 1 axes"),
        (lambda x, v: gx.upsample(x, 0), gx.GraphError, "1 or more"),
        (lambda x, v: gx.upsample(x, 1.5), gx.GraphError, "an int or a pair"),
    ],
)  # fmt: skip
def test_mistakes(
    build: Callable[[gx.Node, gx.Node], gx.Node], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        build(gx.input("x", ("N", 3, "H", 5)), gx.input("v", (4,)))
    assert "test_norm.py" in str(caught.value)


def test_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: JAX is the oracle")
    functional = torch.nn.functional
    random = np.random.default_rng(3)
    x = random.normal(size=(3, 6, 5, 7))
    vectors = [random.uniform(0.5, 2.0, 6) for _ in range(4)]
    image = gx.input("x", x.shape, dtype="float64")
    scale, shift, mean, variance = (gx.constant(v) for v in vectors)
    ours = {
        "batch": gx.batch_norm(image, scale, shift, mean, variance),
        "layer": gx.layer_norm(image, (5, 7)),
        "group": gx.group_norm(image, 3, scale, shift),
        "odd": gx.local_response_norm(image, 5, 0.3, 0.6, 2.0),
        "even": gx.local_response_norm(image, 4),
        "pool": gx.adaptive_avg_pool2d(image, (2, 7)),
    }
    t = torch.tensor(x)
    a, b, c, d = map(torch.tensor, vectors)
    theirs = {
        "batch": functional.batch_norm(t, c, d, a, b),
        "layer": functional.layer_norm(t, (5, 7)),
        "group": functional.group_norm(t, 3, a, b),
        "odd": functional.local_response_norm(t, 5, 0.3, 0.6, 2.0),
        "even": functional.local_response_norm(t, 4),
        "pool": functional.adaptive_avg_pool2d(t, (2, 7)),
    }
    found = gx.interpret(gx.Graph(ours), {}, x=x)
    for name, tensor in theirs.items():
        assert error(found[name], tensor.numpy()) <= 1e-10, name
