"""The zoo's networks have the published parameter counts and the structure that gives them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import models

COUNTS = {"lenet-5": 61_706, "mlp-1x512": 1_209_866, "mlp-3x512": 1_735_178}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts(name: str, count: int) -> None:
    graph = models.build(name)
    assert graph.parameter_count() == count
    assert list(graph.inputs) == ["image", "label"]
    assert list(graph.outputs) == ["logits", "loss"]
    assert graph.outputs["logits"].shape == (gx.Dim.named("N"), 10)
    assert models.build(name) == graph
    assert gx.parse(str(graph)) == graph


def test_names_lists_what_build_takes() -> None:
    assert set(COUNTS) <= set(models.names())


def test_lenet_5_is_the_published_network() -> None:
    graph = models.build("lenet-5")
    shapes = {name: p.shape for name, p in graph.parameters.items()}
    assert shapes == {
        "conv1.weight": (6, 1, 5, 5), "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5), "conv2.bias": (16,),
        "fc1.weight": (120, 400), "fc1.bias": (120,),
        "fc2.weight": (84, 120), "fc2.bias": (84,),
        "fc3.weight": (10, 84), "fc3.bias": (10,),
    }  # fmt: skip


def test_lenet_5_has_the_value_of_an_independent_build() -> None:
    graph = models.build("lenet-5")
    random = np.random.default_rng(0)
    p = {
        name: (random.normal(size=leaf.shape) * 0.1).astype(np.float32)
        for name, leaf in graph.parameters.items()
    }
    image = random.random((3, 1, 28, 28), np.float32)
    label = np.array([1, 0, 9])

    def pool(x: jax.Array) -> jax.Array:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))

    def conv(x: jax.Array, layer: str, padding: int) -> jax.Array:
        pads = [(padding, padding)] * 2
        y = jax.lax.conv_general_dilated(x, p[f"{layer}.weight"], (1, 1), pads)
        return jax.nn.relu(y + p[f"{layer}.bias"][:, None, None])

    h = pool(conv(pool(conv(jnp.asarray(image), "conv1", 2)), "conv2", 0)).reshape(3, 400)
    for layer in ("fc1", "fc2"):
        h = jax.nn.relu(h @ p[f"{layer}.weight"].T + p[f"{layer}.bias"])
    logits = h @ p["fc3.weight"].T + p["fc3.bias"]
    loss = -jax.nn.log_softmax(logits)[jnp.arange(3), label].mean()
    out = gx.interpret(graph, p, image=image, label=label)
    assert np.max(np.abs(out["logits"] - logits)) / np.max(np.abs(logits)) <= 1e-5
    assert abs(out["loss"] - loss) / loss <= 1e-5


def test_classes_and_image_are_free() -> None:
    graph = models.build("lenet-5", classes=7, image=(3, 32, 32))
    assert graph.inputs["image"].shape[1:] == (3, 32, 32)
    assert graph.parameters["fc1.weight"].shape == (120, 16 * 6 * 6)
    assert graph.outputs["logits"].shape[1] == 7
    assert models.build("mlp-1x512", image=(1, 28, 28)).parameters["1.weight"].shape == (512, 784)


def test_mistakes() -> None:
    with pytest.raises(gx.GraphError, match="did you mean 'lenet-5'"):
        models.build("lenet5")
    with pytest.raises(gx.GraphError, match="channels, height, width"):
        models.build("lenet-5", image=(28, 28))
    with pytest.raises(gx.GraphError, match="classes"):
        models.build("lenet-5", classes=0)
    with pytest.raises(gx.ShapeError, match="conv2d"):
        models.build("lenet-5", image=(1, 6, 6))


@pytest.mark.parametrize("image", [5, "abc", (1, 28), None])
def test_an_image_that_is_no_size_is_told(image: Any) -> None:
    if image is None:  # the default
        assert models.build("lenet-5", image=image).inputs["image"].shape[1:] == (1, 28, 28)
    else:
        with pytest.raises(gx.GraphError, match="channels, height, width"):
            models.build("lenet-5", image=image)
