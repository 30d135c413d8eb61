"""Values and gradients of the zoo's networks, small, against their independent builds in JAX."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes
from graphc.models.inception_v3 import InceptionAux, InceptionV3
from graphc.models.preactivation import ResNetV2
from graphc.models.registry import mean_cross_entropy
from graphc.models.resnet import BasicBlock, Bottleneck, ResNet
from tests.models import jax_nets
from tests.ops.harness import Array, error

CLASSES = 4


def declared(net: nn.Module, size: int) -> gx.Graph:
    """As ``models.build`` does it, for a network that is no entry of the zoo."""
    x = gx.input("image", ("N", 3, size, size))
    label = gx.input("label", ("N",), dtype="int64")
    logits = net(x)
    return gx.Graph({"logits": logits, "loss": mean_cross_entropy(logits, label)})


def entry(name: str, size: int) -> gx.Graph:
    return models.build(name, classes=CLASSES, image=(3, size, size))


@dataclass(frozen=True)
class Case:
    """A network, its build in JAX, and the examples in a batch."""

    build: Callable[[], gx.Graph]
    net: jax_nets.Net
    batch: int = 3
    gradients: bool = True  # whether JAX's are compiled, which takes seconds


NETS = {
    "small-alexnet": Case(lambda: entry("small-alexnet", 11), jax_nets.small_alexnet),
    "small-inception": Case(lambda: entry("small-inception", 9), jax_nets.small_inception),
    "small-inception-nobn": Case(
        lambda: entry("small-inception-nobn", 9), jax_nets.small_inception, gradients=False
    ),
    "residual-8": Case(lambda: entry("residual-8", 9), jax_nets.cifar(8, True)),
    "residual-20": Case(lambda: entry("residual-20", 9), jax_nets.cifar(20, True), gradients=False),
    "plain-8": Case(lambda: entry("plain-8", 9), jax_nets.cifar(8, False), gradients=False),
    "resnet, basic": Case(
        lambda: declared(ResNet(BasicBlock, (1, 2, 1, 1), 3, CLASSES), 33),
        jax_nets.resnet((1, 2, 1, 1), 2),
    ),
    "resnet, bottleneck": Case(
        lambda: declared(ResNet(Bottleneck, (1, 2, 1, 1), 3, CLASSES), 33),
        jax_nets.resnet((1, 2, 1, 1), 3),
        gradients=False,
    ),
    "resnet-v2": Case(
        lambda: declared(ResNetV2((2, 1, 1, 1), 3, CLASSES), 33),
        jax_nets.resnet_v2((2, 1, 1, 1)),
    ),
    "unet-small": Case(lambda: entry("unet-small", 8), jax_nets.unet, 2),
    "transformer-block": Case(lambda: entry("transformer-block", 12), jax_nets.transformer, 2),
}


def widened(graph: gx.Graph) -> gx.Graph:
    """The same graph in float64, by way of its text."""
    text = graph.text().replace("f32", "f64").replace("float32", "float64")
    return gx.parse(re.sub(r"(= size\(\) of=\S+)", r'\1 dtype="float64"', text))


def random_variables(graph: gx.Graph, random: np.random.Generator) -> dict[str, Any]:
    """None of them an initial value; activations stay about as large as they are."""
    found: dict[str, Any] = {}
    for key, leaf in {**graph.parameters, **graph.states}.items():
        fan = np.prod(leaf.shape[1:]) if leaf.ndim > 1 else 20.0
        found[key] = random.normal(size=leaf.shape) * np.sqrt(2 / fan)
        if key.endswith("running_var"):
            found[key] = random.uniform(0.5, 1.5, leaf.shape)
        elif key in graph.parameters and leaf.role == "scale":
            found[key] += 1
    return found


@cache
def sample(name: str) -> tuple[gx.Graph, dict[str, Array], Array, Array]:
    """The graph, its variables (none of them an initial value), image and label."""
    graph = NETS[name].build()
    random = np.random.default_rng(0)
    variables = random_variables(graph, random)
    shape = graph.inputs["image"].shape[1:]
    image = random.normal(size=(NETS[name].batch, *shape))
    label = random.integers(0, CLASSES, (NETS[name].batch, *graph.inputs["label"].shape[1:]))
    return graph, variables, image, label


@cache
def answers(name: str) -> tuple[Any, Any, Any]:
    """JAX's logits, loss and gradients, in float64."""
    graph, variables, image, label = sample(name)
    case = NETS[name]

    def loss(p: Any) -> Any:
        logits = case.net(p, image)
        rows = jnp.moveaxis(jax.nn.log_softmax(logits, 1), 1, -1)
        return -jnp.mean(jnp.take_along_axis(rows, label[..., None], -1)), logits

    p = {key: jnp.asarray(variables[key]) for key in graph.parameters}
    wanted: Any = jax.value_and_grad(loss, has_aux=True) if case.gradients else loss
    options: Any = {"xla_backend_optimization_level": 0}
    result = jax.jit(wanted).lower(p).compile(options)(p)
    ((value, logits), gradients) = result if case.gradients else (result, {})
    return np.asarray(logits), np.asarray(value), gradients


@pytest.mark.parametrize(
    ("dtype", "limits"), [("float32", (1e-5, 1e-5)), ("float64", (1e-10, 1e-9))]
)
@pytest.mark.parametrize("name", NETS)
def test_value_and_gradients(name: str, dtype: str, limits: tuple[float, float]) -> None:
    """Those that are not differentiated here are in ``tests/laws/test_gradients.py``."""
    graph, variables, image, label = sample(name)
    logits, loss, gradients = answers(name)
    graph = graph if dtype == "float32" else widened(graph)
    graph = graph.apply(passes.backward()) if gradients else graph
    given = {key: array.astype(dtype) for key, array in variables.items()}
    out = gx.interpret(graph, given, image=image.astype(dtype), label=label)
    assert error(out["logits"], logits) <= limits[0]
    assert error(out["loss"], loss) <= limits[0]
    assert {f"grad/{key}" for key in gradients} == out.keys() - {"logits", "loss"}
    sizes = {key: float(np.max(np.abs(gradient))) for key, gradient in gradients.items()}
    for key, gradient in gradients.items():
        # Some are 0 but for rounding (the keys' bias of an attention): then by the largest of all.
        scale = max(sizes[key], 1e-3 * max(sizes.values()))
        assert np.max(np.abs(out[f"grad/{key}"] - gradient)) <= limits[1] * scale, key


def predicted(net: nn.Module, shape: tuple[int, ...]) -> tuple[Array, dict[str, Any], Array]:
    """What the inference graph of ``net`` gives in float64, with the variables and the input."""
    graph = widened(gx.Graph({"y": net(gx.input("x", ("N", *shape)))}))
    graph = graph.apply(passes.inference())
    random = np.random.default_rng(0)
    variables = random_variables(graph, random)
    x = random.normal(size=(1, *shape))
    return gx.interpret(graph, variables, x=x)["y"], variables, x


def test_the_auxiliary_head_of_inception_v3() -> None:
    found, variables, x = predicted(InceptionAux(6, 5), (6, 17, 17))
    assert error(found, np.asarray(jax_nets.InceptionV3(variables).auxiliary(x))) <= 1e-10


@pytest.mark.slow
def test_inception_v3() -> None:
    """At 75×75, its smallest size, by running statistics."""
    net = InceptionV3(3, 5, auxiliary=False)
    found, variables, x = predicted(net, (3, 75, 75))
    options: Any = {"xla_backend_optimization_level": 0}
    oracle = jax.jit(lambda p: jax_nets.InceptionV3(p).logits(x))
    expected = oracle.lower(variables).compile(options)(variables)
    assert error(found, np.asarray(expected)) <= 1e-10
