"""The laws' own small networks, each beside its build in JAX, and the zoo's, each small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import graphc as gx
from graphc import models, nn, passes
from graphc.models.resnet import BasicBlock, Bottleneck, ResNet
from graphc.models.vgg import VGG
from tests.models import jax_nets
from tests.models.jax_nets import batch_norm, conv, linear, max_pool
from tests.models.test_against_jax import declared, random_variables, widened
from tests.ops.harness import Array
from tests.ops.test_random import literal

SEED, STEP = 2**63 + 12345, 7
CLASSES = 4
relu = jax.nn.relu


def drop(x: Any, stream: str, p: float, seed: int = SEED, step: int = STEP) -> Any:
    """x where the design's Philox numbers of ``stream`` are below p, divided by p; else 0."""
    kept = literal(stream, seed, step, x.size).reshape(x.shape) < np.float32(p)
    return jnp.where(kept, x / float(np.float32(p)), 0)


def random_source(seed: int = SEED, step: int = STEP) -> dict[str, Array]:
    return {"random/seed": np.array(seed, np.uint64), "step": np.array(step, np.int64)}


# -- networks of our own ---------------------------------------------------------------------------


class Projected(nn.Module):
    """A residual block whose skip is a strided 1×1 convolution with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, 1, 1),
        )
        self.skip = nn.Sequential(nn.Conv2d(3, 6, 1, 2, bias=False), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: gx.Node) -> gx.Node:
        y = gx.relu(self.branch(x) + self.skip(x))
        return self.head(gx.mean(y, (2, 3)))  # type: ignore[no-any-return]


def projected(p: Mapping[str, Any], x: Any) -> Any:
    y = relu(batch_norm(p, "branch.1", conv(p, "branch.0", x, 2, 1)))
    y = conv(p, "branch.3", y, 1, 1)
    skip = batch_norm(p, "skip.1", conv(p, "skip.0", x, 2, 0))
    return linear(p, "head", relu(y + skip).mean((2, 3)))


class Branches(nn.Module):
    """A 1×1 and a dilated 3×3 convolution and two pools, concatenated; then a grouped one."""

    def __init__(self) -> None:
        super().__init__()
        self.ones = nn.Conv2d(3, 4, 1)
        self.threes = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.join = nn.Conv2d(14, 6, 3, 2, 1, groups=2)
        self.head = nn.Linear(None, CLASSES)

    def forward(self, x: gx.Node) -> gx.Node:
        pools = [gx.max_pool2d(x, 3, 1, 1), gx.avg_pool2d(x, 3, 1, 1)]
        y = gx.concat([self.ones(x), gx.tanh(self.threes(x)), *pools], axis=1)
        return self.head(gx.flatten(gx.relu(self.join(y))))  # type: ignore[no-any-return]


def branches(p: Mapping[str, Any], x: Any) -> Any:
    pads = [(2, 2), (2, 2)]
    threes = jax.lax.conv_general_dilated(x, p["threes.weight"], (1, 1), pads, rhs_dilation=(2, 2))
    threes = jnp.tanh(threes + p["threes.bias"][:, None, None])
    ones = [(0, 0), (0, 0), (1, 1), (1, 1)]
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 3, 3), (1, 1, 1, 1), ones)
    y = jnp.concatenate([conv(p, "ones", x), threes, max_pool(x, 3, 1, 1), sums / 9], 1)
    y = jax.lax.conv_general_dilated(
        y, p["join.weight"], (2, 2), [(1, 1), (1, 1)], feature_group_count=2
    )
    y = relu(y + p["join.bias"][:, None, None])
    return linear(p, "head", y.reshape(len(x), -1))


class Tied(nn.Module):
    """A convolution and a batch norm used twice, and a decoder with its encoder's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.encode = nn.Linear(3, 5)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x: gx.Node) -> gx.Node:
        y = gx.relu(self.norm(self.conv(x)))
        y = gx.mean(self.norm(self.conv(y)) + y, (2, 3))
        code = gx.tanh(self.encode(y))
        return self.head(y + gx.matmul(code, self.encode.weight))  # type: ignore[no-any-return]


def tied(p: Mapping[str, Any], x: Any) -> Any:
    y = relu(batch_norm(p, "norm", conv(p, "conv", x)))
    y = (batch_norm(p, "norm", conv(p, "conv", y)) + y).mean((2, 3))
    return linear(p, "head", y + jnp.tanh(linear(p, "encode", y)) @ p["encode.weight"])


class Dropped(nn.Module):
    """Dropout of its own behind a convolution and behind a linear layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.early = nn.Conv2d(3, 4, 3), nn.Dropout(retain=0.8)
        self.fc, self.late = nn.Linear(4, 4), nn.Dropout(retain=0.5)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: gx.Node) -> gx.Node:
        y = gx.mean(gx.square(self.early(gx.relu(self.conv(x)))), (2, 3))
        for _ in range(2):
            y = self.late(gx.tanh(self.fc(y)))
        return self.head(y)  # type: ignore[no-any-return]


def dropped(p: Mapping[str, Any], x: Any) -> Any:
    y = drop(relu(conv(p, "conv", x, 1, 0)), "early", 0.8)
    y = (y**2).mean((2, 3))
    for stream in ("late", "late_1"):
        y = drop(jnp.tanh(linear(p, "fc", y)), stream, 0.5)
    return linear(p, "head", y)


def inserted() -> gx.Graph:
    """LeNet-5 with dropout that a pass put behind each relu and behind the image."""
    graph = models.build("lenet-5", classes=CLASSES, image=(1, 12, 12))
    return graph.apply(passes.insert_dropout(retain={"image": 0.9, "relu": 0.7, "*": 0.5}))


def lenet(p: Mapping[str, Any], x: Any, *, dropout: bool = False) -> Any:
    def after(x: Any, stream: str, retain: float) -> Any:
        return drop(x, stream, retain) if dropout else x

    x = after(x, "image/dropout", 0.9)
    x = max_pool(after(relu(conv(p, "conv1", x, 1, 2)), "relu/dropout", 0.7), 2, 2, 0)
    x = max_pool(after(relu(conv(p, "conv2", x, 1, 0)), "relu_1/dropout", 0.5), 2, 2, 0)
    x = after(relu(linear(p, "fc1", x.reshape(len(x), -1))), "relu_2/dropout", 0.5)
    x = after(relu(linear(p, "fc2", x)), "relu_3/dropout", 0.5)
    return linear(p, "fc3", x)


# -- the zoo ---------------------------------------------------------------------------------------


def perceptron(p: Mapping[str, Any], x: Any) -> Any:
    x = x.reshape(len(x), -1)
    layers = sorted({int(name.split(".")[0]) for name in p})
    for layer in layers[:-1]:
        x = relu(linear(p, str(layer), x))
    return linear(p, str(layers[-1]), x)


def small_vgg() -> gx.Graph:
    """VGG-11 with narrow hidden layers in its classifier, whose own have 120 million weights."""
    net = VGG(11, 3, CLASSES)
    net.classifier = nn.Sequential(
        nn.Linear(512 * 7 * 7, 8), nn.ReLU(), nn.Dropout(retain=0.5),
        nn.Linear(8, 8), nn.ReLU(), nn.Dropout(retain=0.5),
        nn.Linear(8, CLASSES),
    )  # fmt: skip
    return declared(net, 32)


def vgg(p: Mapping[str, Any], x: Any) -> Any:
    places = [0, 3, 6, 8, 11, 13, 16, 18]
    for layer, following in zip(places, [*places[1:], 21], strict=True):
        x = relu(conv(p, f"features.{layer}", x, 1, 1))
        x = max_pool(x, 2, 2, 0) if following - layer == 3 else x
    x = jnp.broadcast_to(x, (len(x), 512, 7, 7)).reshape(len(x), -1)  # the mean of one pixel
    for layer in (0, 3):
        hidden = relu(linear(p, f"classifier.{layer}", x))
        x = drop(hidden, f"classifier.{layer + 2}", 0.5)
    return linear(p, "classifier.6", x)


@dataclass(frozen=True)
class Case:
    """A network, its build in JAX, and the examples in a batch."""

    build: Callable[[], gx.Graph]
    net: Callable[[Any, Any], Any]
    batch: int = 3
    seed: int = 0  # another where a relu's or a pool's choice lies within float32's rounding


def zoo(name: str, size: int, channels: int = 3) -> Callable[[], gx.Graph]:
    return lambda: models.build(name, classes=CLASSES, image=(channels, size, size))


OWN = {
    "residual with projection": Case(lambda: declared(Projected(), 7), projected),
    "concat of branches": Case(lambda: declared(Branches(), 7), branches),
    "tied weights": Case(lambda: declared(Tied(), 6), tied),
    "dropout layers": Case(lambda: declared(Dropped(), 7), dropped),
    "inserted dropout": Case(inserted, lambda p, x: lenet(p, x, dropout=True)),
}
ZOO = {
    "lenet-5": Case(zoo("lenet-5", 12, 1), lenet),
    "mlp-1x512": Case(zoo("mlp-1x512", 3), perceptron),
    "mlp-3x512": Case(zoo("mlp-3x512", 3), perceptron),
    "small-inception-nobn": Case(zoo("small-inception-nobn", 5), jax_nets.small_inception, 2),
    "plain-8": Case(zoo("plain-8", 9), jax_nets.cifar(8, False)),
    "residual-20": Case(zoo("residual-20", 9), jax_nets.cifar(20, True)),
    "vgg-11": Case(small_vgg, vgg, 2, seed=1),
    "plain, imagenet": Case(
        lambda: declared(ResNet(BasicBlock, (1, 1, 1, 1), 3, CLASSES, skip=False), 33),
        jax_nets.resnet((1, 1, 1, 1), 2, skip=False),
    ),
    "resnet, bottleneck": Case(
        lambda: declared(ResNet(Bottleneck, (1, 1, 1, 1), 3, CLASSES), 33),
        jax_nets.resnet((1, 1, 1, 1), 3),
    ),
}
# At their published depth; the families above at less.
DEEP = {
    "resnet-18": Case(zoo("resnet-18", 33), jax_nets.resnet((2, 2, 2, 2), 2)),
    "resnet-34": Case(zoo("resnet-34", 33), jax_nets.resnet((3, 4, 6, 3), 2)),
    "resnet-50": Case(zoo("resnet-50", 33), jax_nets.resnet((3, 4, 6, 3), 3)),
    "plain-34": Case(zoo("plain-34", 33), jax_nets.resnet((3, 4, 6, 3), 2, skip=False)),
    "residual-44": Case(zoo("residual-44", 9), jax_nets.cifar(44, True)),
    "residual-110": Case(zoo("residual-110", 9), jax_nets.cifar(110, True)),
}
CASES = OWN | ZOO | DEEP


@cache
def sample(name: str) -> tuple[gx.Graph, dict[str, Any], dict[str, Array]]:
    """The graph, its variables (none of them an initial value) and its inputs, as float64."""
    graph, batch = CASES[name].build(), CASES[name].batch
    random = np.random.default_rng(CASES[name].seed)
    variables = random_variables(graph, random) | random_source()
    image = random.normal(size=(batch, *graph.inputs["image"].type.concrete({"N": batch})[1:]))
    return graph, variables, {"image": image, "label": np.arange(batch) % CLASSES}


def objective(net: Callable[[Any, Any], Any], inputs: Mapping[str, Array]) -> Any:
    """The loss in JAX, of the parameters by name."""

    def loss(p: Any) -> Any:
        rows = jax.nn.log_softmax(net(p, jnp.asarray(inputs["image"])), 1)
        return -jnp.mean(jnp.take_along_axis(rows, inputs["label"][:, None], 1))

    return loss


@cache
def answers(name: str) -> tuple[Array, dict[str, Array]]:
    """JAX's loss and gradients, in float64."""
    graph, variables, inputs = sample(name)
    p = {key: jnp.asarray(variables[key]) for key in graph.parameters}
    # Compiled, but quickly: five times faster than op by op.
    options: Any = {"xla_backend_optimization_level": 0}
    both = jax.jit(jax.value_and_grad(objective(CASES[name].net, inputs)))
    value, gradients = both.lower(p).compile(options)(p)
    return np.asarray(value), {key: np.asarray(g) for key, g in gradients.items()}


def worst(out: Mapping[str, Any], gradients: Mapping[str, Array]) -> dict[str, float]:
    """Error by gradient. One that is 0 but for rounding is taken by the largest of all."""
    sizes = {key: float(np.max(np.abs(gradient))) for key, gradient in gradients.items()}
    floor = 1e-3 * max(sizes.values())
    return {
        key: float(np.max(np.abs(out[f"grad/{key}"] - gradient))) / max(sizes[key], floor)
        for key, gradient in gradients.items()
    }


def derived(name: str, dtype: str) -> dict[str, Any]:
    """The loss and gradients of the compiled graph."""
    graph, variables, inputs = sample(name)
    graph = graph if dtype == "float32" else widened(graph)
    step = gx.compile(graph.apply(passes.backward()), backend="numpy")
    given = {
        key: np.array(value, dtype if value.dtype == np.float64 else value.dtype)
        for key, value in variables.items()
    }
    return step(given, image=inputs["image"].astype(dtype), label=inputs["label"])
