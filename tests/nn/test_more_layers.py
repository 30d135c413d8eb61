"""Activations, embeddings and upsampling as layers: what they declare, compute and refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes


@pytest.mark.parametrize(
    ("layer", "oracle"),
    [
        (nn.LeakyReLU(0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
        (nn.LeakyReLU(), jax.nn.leaky_relu),
        (nn.ELU(0.5), lambda x: jax.nn.elu(x, 0.5)),
        (nn.GELU(), lambda x: jax.nn.gelu(x, approximate=False)),
        (nn.GELU("tanh"), jax.nn.gelu),
        (nn.SiLU(), jax.nn.silu),
        (nn.Softplus(2), lambda x: jax.nn.softplus(2 * x) / 2),
        (nn.Upsample(scale_factor=2), lambda x: x.repeat(2, 2).repeat(2, 3)),
        (nn.Upsample((2, 9)), lambda x: x.repeat(3, 3)),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "jax",
)
def test_values(layer: nn.Module, oracle: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, 2, 3)).astype("f4")
    graph = gx.Graph({"y": layer(gx.input("x", ("N", 1, 2, 3)))})
    found = gx.interpret(graph, {}, x=x)["y"]
    np.testing.assert_allclose(found, oracle(jnp.asarray(x)), rtol=1e-5, atol=1e-6)


def test_pytorchs_names_shapes_and_order() -> None:
    up = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, True, 1)
    net = nn.Sequential(up, nn.GELU(), nn.ConvTranspose2d(None, 2, (1, 2), bias=False))
    graph = gx.Graph({"y": net(gx.input("x", ("N", 4, 5, 5)))})
    assert {name: p.shape for name, p in graph.parameters.items()} == {
        "0.weight": (4, 3, 3, 3), "0.bias": (6,), "2.weight": (6, 2, 1, 2),
    }  # fmt: skip
    assert [p.role for p in graph.parameters.values()] == ["weight", "bias", "weight"]
    assert graph.outputs["y"].shape[1:] == (2, 10, 11)


def test_a_word_read_twice_gets_the_sum_of_its_gradients_and_ties_with_the_output() -> None:
    """logits = weight · mean of the vectors of the words; both uses of the weight meet."""
    word = gx.input("word", ("N", 3), dtype="int64")
    label = gx.input("label", ("N",), dtype="int64")
    layer = nn.Embedding(5, 4)
    logits = gx.linear(gx.mean(layer(word), 1), layer.weight)
    graph = gx.Graph({"loss": gx.cross_entropy(logits, label)}).apply(passes.backward())
    assert list(graph.parameters) == ["embedding.weight"]
    program = gx.compile(graph)
    variables = program.init(seed=1)
    weight = variables["embedding.weight"]
    assert 0.5 < weight.std() < 1.5
    words, labels = np.array([[0, 0, 4], [1, 0, 1]]), np.array([2, 0])

    def loss(w: Any) -> Any:
        scores = jax.nn.log_softmax(w[words].mean(1) @ w.T)
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    found = program(variables, word=words, label=labels)["grad/embedding.weight"]
    np.testing.assert_allclose(found, jax.grad(loss)(jnp.asarray(weight)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Embedding(0, 4), "num_embeddings is a positive int"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=4), "groups=4 does not divide out_channels=6"),
        (lambda: nn.Upsample(), "one of them"),
        (lambda: nn.Upsample(2, mode="bilinear"), "'bilinear' is not 'nearest'"),
        (lambda: nn.Upsample(5)(gx.input("x", (1, 1, 2, 2))), "not a multiple"),
        (lambda: nn.Upsample(4)(gx.input("x", (4,))), "x has 1 axes"),
    ],
)
def test_mistakes(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(gx.GraphError, match=said):
        make()
