"""Row 10 of the lecture: without non-linearities the net is one affine map."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes


def linear_net(x: gx.Node) -> gx.Node:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(4, 3, 3, stride=2),
        nn.Flatten(), nn.Linear(None, 5),
    )  # fmt: skip
    return net(x)


def theirs(v: dict[str, Any], x: Any) -> Any:
    """The same in JAX."""
    dims = ("NCHW", "OIHW", "NCHW")
    x = jax.lax.conv_general_dilated(x, v["0.weight"], (1, 1), "SAME", dimension_numbers=dims)
    x = x + v["0.bias"][:, None, None]
    x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean((3, 5))
    x = jax.lax.conv_general_dilated(x, v["2.weight"], (2, 2), "VALID", dimension_numbers=dims)
    x = x + v["2.bias"][:, None, None]
    return x.reshape(len(x), -1) @ v["4.weight"].T + v["4.bias"]


def test_a_net_without_relu_is_jaxs_jacobian() -> None:
    x = gx.input("x", ("N", 2, 10, 12))
    graph = gx.Graph({"logits": linear_net(x)})
    variables = gx.compile(graph).init(seed=3)
    matrix, b = gx.compose_affine(graph, variables)
    wide = {name: jnp.asarray(value, "float64") for name, value in variables.items()}
    zero = jnp.zeros((1, 2, 10, 12))
    jacobian = jax.jacobian(lambda x: theirs(wide, x)[0])(zero)
    np.testing.assert_allclose(matrix, np.asarray(jacobian).reshape(5, -1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(b, theirs(wide, zero)[0], rtol=0, atol=1e-12)
    assert matrix.shape == (5, 240)
    assert matrix.dtype == np.float64
    image = np.random.default_rng(0).normal(size=(1, 2, 10, 12)).astype(np.float32)
    out = gx.interpret(graph, variables, x=image)["logits"][0]
    np.testing.assert_allclose(matrix @ image.ravel() + b, out, rtol=1e-4, atol=1e-5)


def test_without_variables_the_initial_ones_are_taken() -> None:
    x = gx.input("x", ("N", 2, 10, 12))
    graph = gx.Graph({"logits": linear_net(x)})
    ours, theirs = gx.compose_affine(graph), gx.compose_affine(graph, gx.compile(graph).init(0))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("bend", "name"),
    [
        (gx.relu, "relu"),
        (lambda x: gx.max_pool2d(x, 2), "max_pool2d"),
        (lambda x: x * x, "mul"),
        (lambda x: 1 / x, "div"),
        (gx.tanh, "tanh"),
        (lambda x: gx.maximum(x, 0.0), "maximum"),
        (lambda x: gx.cast(x > 0, "float32"), "gt"),
        (gx.sign, "sign"),
        (gx.softmax, "softmax"),
        (nn.BatchNorm2d(2), "square"),
        (lambda x: gx.sum(x, 1, keepdims=True) / gx.sum(x * x, 1, keepdims=True), "mul"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_bends_is_named(bend: Any, name: str) -> None:
    x = gx.input("x", ("N", 2, 4, 4))
    y = bend(gx.conv2d(x, gx.parameter("w", (2, 2, 1, 1), init=1.0)))
    with pytest.raises(gx.GraphError, match=f"^{name} is not affine in its input") as caught:
        gx.compose_affine(gx.Graph({"y": y + 1}))
    (node,) = caught.value.nodes
    assert node.op.name == name
    assert __file__.rsplit("/", 1)[1] in caught.value.lines[0] or name == "square"


@pytest.mark.parametrize(
    "keep",
    [
        lambda x: 3 - x / 2,
        lambda x: gx.concat([x, x[:, :, ::-1]], 1),
        lambda x: gx.flip(gx.pad(x, ((0, 0), (0, 0), (1, 0), (0, 1)), value=2.0), 2),
        lambda x: gx.transpose(gx.upsample(x), (0, 1, 3, 2)),
        lambda x: x - gx.mean(x, (2, 3), keepdims=True),
        lambda x: gx.where(gx.constant([True, False, True, False]), x, 5.0),
        lambda x: gx.conv2d_input_grad(x, gx.constant(np.ones((2, 3, 2, 2), np.float32)), (5, 5)),
    ],
)
def test_what_does_not_bend(keep: Any) -> None:
    x = gx.input("x", ("N", 2, 4, 4))
    graph = gx.Graph({"y": keep(x)})
    matrix, b = gx.compose_affine(graph)
    image = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    out = gx.interpret(graph, {}, x=image)["y"].ravel()
    np.testing.assert_allclose(matrix @ image.ravel() + b, out, rtol=1e-5, atol=1e-5)


def test_inference_makes_normalization_affine_and_a_mask_is_one() -> None:
    x = gx.input("x", ("N", 2, 6, 6))
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(None, 3))
    graph = gx.Graph({"y": net(x)})
    variables = gx.compile(graph).init(seed=0)
    variables["1.running_var"][:] = [1, 2, 3, 4]
    matrix, b = gx.compose_affine(graph.apply(passes.inference()), variables)
    image = np.random.default_rng(0).normal(size=(1, 2, 6, 6)).astype(np.float32)
    out = gx.interpret(graph.apply(passes.inference()), variables, x=image)["y"].ravel()
    np.testing.assert_allclose(matrix @ image.ravel() + b, out, rtol=1e-4, atol=1e-5)
    # Of one step a mask is a diagonal matrix; examples of a batch would have one each.
    dropped = gx.Graph({"y": gx.dropout(gx.input("x", ("N", 50)), retain=0.5)})
    matrix, b = gx.compose_affine(dropped)
    ones = gx.interpret(dropped, gx.compile(dropped).init(0), x=np.ones((1, 50), np.float32))["y"]
    np.testing.assert_array_equal(np.diag(matrix), ones[0])
    assert set(np.diag(matrix)) == {0.0, 2.0}
    assert np.count_nonzero(matrix - np.diag(np.diag(matrix))) == np.count_nonzero(b) == 0


def test_mistakes_are_named() -> None:
    x, z = gx.input("x", ("N", 3)), gx.input("z", ("N", 3))
    with pytest.raises(gx.GraphError, match="depend on one floating-point input"):
        gx.compose_affine(gx.Graph({"y": x + z}))
    with pytest.raises(gx.GraphError, match="say which, "):
        gx.compose_affine(gx.Graph({"a": x, "b": x + 1}))
    with pytest.raises(gx.GraphError, match="no output is called 'c'"):
        gx.compose_affine(gx.Graph({"a": x}), output="c")
    wide = gx.Graph({"y": gx.input("image", ("N", 1, "H", 4)) * 2})
    with pytest.raises(gx.GraphError, match="size H is symbolic"):
        gx.compose_affine(wide)
    assert gx.compose_affine(wide, size={"H": 3})[0].shape == (12, 12)
