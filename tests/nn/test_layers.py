"""What the layers declare, against PyTorch's shapes and JAX's values; what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.ir import Node


def image(channels: int = 3, size: int = 8) -> Node:
    return gx.input("image", ("N", channels, size, size))


def run(layer: nn.Module, x: np.ndarray[Any, Any], seed: int = 0) -> dict[str, Any]:
    """The layer's value on x, with random weights; they are in the result too."""
    random = np.random.default_rng(seed)
    node = gx.input("x", ("N", *x.shape[1:]))
    graph = gx.Graph({"y": layer(node)})
    weights = {
        name: random.normal(size=tuple(map(int, p.shape))).astype(np.float32)
        for name, p in graph.parameters.items()
    }
    return {**weights, **gx.interpret(graph, weights, x=x)}


def sample(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def close(found: Any, oracle: Any) -> None:
    assert np.max(np.abs(found - oracle)) / np.max(np.abs(oracle)) <= 1e-5


def test_weights_have_pytorchs_shapes_roles_and_initial_values() -> None:
    linear, conv = nn.Linear(7, 5), nn.Conv2d(6, 8, (3, 2), groups=2)
    assert (linear.weight.shape, linear.bias.shape) == ((5, 7), (5,))
    assert (conv.weight.shape, conv.bias.shape) == ((8, 3, 3, 2), (8,))
    assert (linear.weight.role, linear.bias.role) == ("weight", "bias")
    assert str(linear.weight.op.init) == "KaimingUniform(a=0.0)"
    assert str(linear.bias.op.init) == "Zeros()"
    assert nn.Linear(7, 5, init=0.5).weight.op.init == nn.init.Constant(0.5)
    assert nn.Conv2d(1, 1, 1, init=nn.init.XavierNormal()).weight.op.init == nn.init.XavierNormal()
    assert nn.Linear(7, 5, bias=False).bias is None
    assert nn.Conv2d(1, 2, 3, bias=False).bias is None


def test_arguments_come_in_pytorchs_order() -> None:
    conv = nn.Conv2d(4, 8, 3, 2, 1, 1, 2, False)
    assert conv(image(4)).op.text() == " stride=2 padding=1 groups=2"
    assert conv.bias is None
    assert nn.MaxPool2d(3, 2, 1)(image()).shape == (gx.Dim.named("N"), 3, 4, 4)
    assert nn.AvgPool2d(2)(image()).shape == (gx.Dim.named("N"), 3, 4, 4)


def test_linear_and_conv_agree_with_jax() -> None:
    x = sample(5, 7)
    out = run(nn.Linear(7, 3), x)
    close(out["y"], x @ out["linear.weight"].T + out["linear.bias"])
    x = sample(2, 4, 9, 7)
    out = run(nn.Conv2d(4, 6, 3, 2, 1, 1, 2), x)
    oracle = jax.lax.conv_general_dilated(
        x, out["conv2d.weight"], (2, 2), [(1, 1), (1, 1)], feature_group_count=2
    )
    close(out["y"], oracle + out["conv2d.bias"][:, None, None])


@pytest.mark.parametrize(
    ("layer", "oracle"),
    [
        (nn.ReLU(), jax.nn.relu),
        (nn.Tanh(), jnp.tanh),
        (nn.Sigmoid(), jax.nn.sigmoid),
        (nn.Softmax(), jax.nn.softmax),
        (nn.Softmax(1), lambda x: jax.nn.softmax(x, 1)),
        (nn.Flatten(), lambda x: x.reshape(2, -1)),
        (nn.Flatten(2), lambda x: x.reshape(2, 3, -1)),
        (nn.GlobalAvgPool2d(), lambda x: x.mean((2, 3))),
        (nn.GlobalAvgPool2d(keepdims=True), lambda x: x.mean((2, 3), keepdims=True)),
        (nn.MaxPool2d(2), lambda x: x.reshape(2, 3, 2, 2, 2, 2).max((3, 5))),
        (nn.AvgPool2d(2), lambda x: x.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))),
        (nn.Identity(), lambda x: x),
        (nn.Residual(nn.ReLU()), lambda x: jax.nn.relu(x) + x),
        (nn.Residual(nn.ReLU(), nn.Tanh()), lambda x: jax.nn.relu(x) + jnp.tanh(x)),
        (nn.Sequential(), lambda x: x),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_layers_without_weights(layer: nn.Module, oracle: Callable[[Any], Any]) -> None:
    x = sample(2, 3, 4, 4)
    close(run(layer, x)["y"], oracle(x))


def test_sizes_given_as_none_are_inferred_at_the_first_call() -> None:
    net = nn.Sequential(nn.Conv2d(None, 4, 3), nn.Flatten(), nn.Linear(None, 2))
    with pytest.raises(AttributeError, match="inferred by the first call"):
        _ = net[0].weight
    assert list(net.parameters()) == []
    graph = gx.Graph({"y": net(image(3, 8))})
    assert list(graph.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert net[0].weight.shape == (4, 3, 3, 3)
    assert net[2].weight.shape == (2, 4 * 6 * 6)
    assert net[2].in_features == 144
    with pytest.raises(gx.ShapeError):
        net(image(3, 9))


def test_a_symbolic_size_cannot_be_inferred() -> None:
    x = gx.input("x", ("N", "D"))
    with pytest.raises(gx.ShapeError, match=r"in_features=None.*not a number") as caught:
        nn.Linear(None, 2)(x)
    assert "f32[N,D]" in str(caught.value)


def test_containers_index_slice_and_iterate() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert len(net) == 3
    assert net[-1] is list(net)[2]
    assert net[:2] == [net[0], net[1]]
    with pytest.raises(IndexError):
        _ = net[3]
    stack = nn.ModuleList()
    assert stack.append(nn.ReLU()) is stack
    assert len(stack) == 1


def test_an_empty_container_as_skip_is_the_identity() -> None:
    x = gx.input("x", ("N", 4))
    assert nn.Residual(nn.ReLU(), nn.Sequential())(x) is nn.Residual(nn.ReLU())(x)


def test_forward_takes_what_the_module_is_called_with() -> None:
    class Two(nn.Module):
        def forward(self, a: Node, *, b: Node) -> tuple[Node, Node]:
            return b, a

    a, b = gx.input("a", (1,)), gx.input("b", (1,))
    assert Two()(a, b=b) == (b, a)


def test_repr_shows_the_structure() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Residual(nn.ReLU()))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=4, out_features=3)\n"
        "  (1): Residual(\n"
        "    (branch): ReLU()\n"
        "  )\n"
        ")"
    )


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.Dropout(0.5), TypeError, "retain="),
        (lambda: nn.Dropout(p=0.5), TypeError, "retain="),
        (lambda: nn.Dropout(rate=0.5), TypeError, "retain="),
        (lambda: nn.Dropout(), TypeError, "retain="),
        (lambda: nn.Dropout(retain=0.0), gx.GraphError, r"\(0, 1\]"),
        (lambda: nn.Dropout(retain=1.5), gx.GraphError, r"\(0, 1\]"),
        (lambda: nn.Linear(0, 2), gx.GraphError, "in_features"),
        (lambda: nn.Linear(2, 2.0), gx.GraphError, "out_features"),
        (lambda: nn.Linear(2, True), gx.GraphError, "out_features"),
        (lambda: nn.Linear(2, 2, init="kaiming"), gx.GraphError, "kaiming_uniform"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), gx.GraphError, "groups=2 does not divide"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), gx.GraphError, "out_channels=3"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), gx.GraphError, "kernel_size"),
        (lambda: nn.MaxPool2d(0), gx.GraphError, "kernel_size"),
        (lambda: nn.Sequential(gx.relu), gx.GraphError, r"nn.ReLU\(\)"),
        (lambda: nn.Residual(None), gx.GraphError, "NoneType"),
        (lambda: nn.ReLU()(nn.ReLU()), gx.GraphError, "layers take nodes"),
        (lambda: nn.ReLU()(np.zeros(3)), gx.GraphError, r"gx\.input"),
        (lambda: nn.Module()(gx.input("x", ())), gx.GraphError, "forward"),
        (lambda: nn.Linear(4, 3)(gx.input("x", ("N", 5))), gx.ShapeError, "5"),
        (lambda: nn.GlobalAvgPool2d()(gx.input("x", ("N", 5))), gx.ShapeError, "N, C, H, W"),
        (lambda: nn.Linear(4, 3).weigth, AttributeError, "'weight'"),
    ],
)
def test_mistakes_say_what_to_write(
    build: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build()
