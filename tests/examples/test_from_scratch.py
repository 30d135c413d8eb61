"""``examples/00_from_scratch.py`` against JAX, against the product, and against its own claims."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import passes

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "00_from_scratch.py"
Arrays = dict[str, Any]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_scratch", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


scratch = load()

SHAPES = {
    "stem.weight": (4, 1, 3, 3),
    "twice.weight": (4, 4, 3, 3),
    "other.weight": (4, 4, 3, 3),
    "head.weight": (4, 64),
}
# Which weights the four layers use: the second layer of its own, or the first one once more.
SHARED = ("stem.weight", "twice.weight", "twice.weight", "head.weight")
APART = ("stem.weight", "twice.weight", "other.weight", "head.weight")


def draw(layers: tuple[str, ...], seed: int) -> tuple[Arrays, Arrays]:
    """Weights for ``layers`` and a batch."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(0, 0.3, SHAPES[name]) for name in dict.fromkeys(layers)}
    return weights, scratch.batch(rng)


def declare(layers: tuple[str, ...]) -> Any:
    """The script's network."""
    leaves = {name: scratch.parameter(name, SHAPES[name]) for name in dict.fromkeys(layers)}
    return scratch.network(*(leaves[name] for name in layers))


def jax_loss(layers: tuple[str, ...]) -> Callable[[Arrays, Arrays], Any]:
    """The same network in JAX: (weights, batch) -> loss."""

    def conv(x: Any, w: Any) -> Any:
        numbers = ("NCHW", "OIHW", "NCHW")
        y = jax.lax.conv_general_dilated(x, w, (1, 1), [(1, 1)] * 2, dimension_numbers=numbers)
        return jax.nn.relu(y)

    def loss(weights: Arrays, data: Arrays) -> Any:
        stem, first, second, head = (weights[name] for name in layers)
        x = conv(conv(conv(data["image"], stem), first), second)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        logits = jax.nn.log_softmax(x.reshape(len(x), -1) @ head.T)
        return -jnp.take_along_axis(logits, data["label"][:, None], 1).mean()

    return loss


def product(layers: tuple[str, ...]) -> Any:
    """The same network declared with graphc."""
    leaves = {
        name: gx.parameter(name, SHAPES[name], dtype="float64") for name in dict.fromkeys(layers)
    }
    stem, first, second, head = (leaves[name] for name in layers)
    image = gx.input("image", (32, 1, 8, 8), dtype="float64")
    label = gx.input("label", (32,), dtype="int64")
    x = gx.relu(gx.conv2d(image, stem, padding=1))
    x = gx.relu(gx.conv2d(x, first, padding=1))
    x = gx.max_pool2d(gx.relu(gx.conv2d(x, second, padding=1)), 2)
    return gx.Graph({"loss": gx.cross_entropy(gx.linear(gx.reshape(x, (32, 64)), head), label)})


def error(value: Any, oracle: Any) -> float:
    """max|a - b| / max|oracle|."""
    a, b = np.asarray(value), np.asarray(oracle)
    assert a.shape == b.shape
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


# -- the script ------------------------------------------------------------------------------------


def test_size_and_imports() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    imported = {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_runs() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    out = run.stdout
    assert out.count("= grad_sum(") == 1
    assert "grad/twice.weight=%grad_sum" in out
    slopes = re.findall(r"^  (\S+weight) +(\S+) +(\S+)$", out, re.MULTILINE)
    assert [name for name, *_ in slopes] == ["stem.weight", "twice.weight", "head.weight"]
    for _, slope, difference in slopes:
        assert float(slope) == pytest.approx(float(difference), rel=1e-4)
    gap = re.search(r"sum over two weights: (\S+) apart", out)
    assert gap is not None
    assert float(gap[1]) < 1e-12
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)$", out, re.MULTILINE)]
    assert len(losses) == 7
    assert losses[-1] < losses[0] / 2


# -- against JAX -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [SHARED, APART], ids=["shared", "apart"])
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients_are_those_of_jax(layers: tuple[str, ...], seed: int) -> None:
    weights, data = draw(layers, seed)
    train = scratch.backward(declare(layers))
    loss, gradients = jax.value_and_grad(jax_loss(layers))(weights, data)
    for run in (scratch.compile(train), lambda w, **x: scratch.interpret(train, w, **x)):
        out = run(weights, **data)
        assert error(out["loss"], loss) <= 1e-12
        for name, gradient in gradients.items():
            assert error(out[f"grad/{name}"], gradient) <= 1e-10


def test_a_gradient_has_gradients() -> None:
    """Hessian times direction, by backward of backward."""
    weights, data = draw(SHARED, 5)
    rng = np.random.default_rng(6)
    directions = {name: rng.normal(size=w.shape) for name, w in weights.items()}
    train = scratch.backward(declare(SHARED))
    terms = []
    for name in weights:
        along = scratch.input(f"along.{name}", SHAPES[name])
        letters = "abcd"[: len(SHAPES[name])]
        gradient = train.outputs[f"grad/{name}"]
        terms.append(scratch.einsum(gradient, along, formula=f"{letters},{letters}->"))
    second = scratch.backward(scratch.Graph({"loss": scratch.grad_sum(*terms)}))
    out = scratch.compile(second)(
        weights | {f"along.{name}": d for name, d in directions.items()}, **data
    )
    gradient = jax.grad(lambda w: jax_loss(SHARED)(w, data))
    _, oracle = jax.jvp(gradient, (weights,), (directions,))
    for name in weights:
        assert error(out[f"grad/{name}"], oracle[name]) <= 1e-10


@pytest.mark.parametrize("k", range(1, 8))
def test_a_layer_called_k_times(k: int) -> None:
    w, x = scratch.parameter("w", (3, 3)), scratch.input("x", (5, 3))
    label = scratch.input("label", (5,), "int64")
    y = x
    for _ in range(k):
        y = scratch.linear(y, w)
    train = scratch.backward(scratch.Graph({"loss": scratch.cross_entropy(y, label)}))
    gradient = train.outputs["grad/w"]
    assert len([n for n in train.nodes if n.op.name == "grad_sum"]) == (k > 1)
    if k > 1:
        assert gradient.op.name == "grad_sum"
        assert len(gradient.inputs) == k

    def loss(value: Any, given: Any) -> Any:
        for _ in range(k):
            given = given @ value.T
        return -jnp.take_along_axis(jax.nn.log_softmax(given), labels[:, None], 1).mean()

    rng = np.random.default_rng(k)
    value, given, labels = rng.normal(size=(3, 3)), rng.normal(size=(5, 3)), rng.integers(3, size=5)
    out = scratch.interpret(train, {"w": value}, x=given, label=labels)
    assert error(out["grad/w"], jax.grad(loss)(value, given)) <= 1e-10


# -- its own claims --------------------------------------------------------------------------------


def test_nodes_are_interned_and_leaves_are_not() -> None:
    x, w = scratch.input("x", (2, 3)), scratch.parameter("w", (4, 3))
    assert scratch.linear(x, w) is scratch.linear(x, w)
    assert scratch.scale(x, by=0.0) is not scratch.scale(x, by=-0.0)
    assert scratch.parameter("w", (4, 3)) is not w


def test_a_product_of_a_node_with_itself_is_two_edges() -> None:
    x = scratch.parameter("x", (3,))
    graph = scratch.Graph({"loss": scratch.einsum(x, x, formula="i,i->")})
    assert [position for _, position in graph.users[x]] == [0, 1]
    out = scratch.interpret(scratch.backward(graph), {"x": np.array([1.0, -2.0, 3.0])})
    np.testing.assert_array_equal(out["grad/x"], [2.0, -4.0, 6.0])


def test_the_program_is_numpy_alone_and_gives_the_interpreters_bits() -> None:
    weights, data = draw(SHARED, 1)
    train = scratch.backward(declare(SHARED))
    program = scratch.compile(train)
    scope: Arrays = {}
    exec(program.source, scope)
    oracle = scratch.interpret(train, weights, **data)
    for out in (program(weights, **data), scope["program"](weights | data)):
        assert out.keys() == oracle.keys()
        for name in oracle:
            np.testing.assert_array_equal(out[name], oracle[name])


def test_sgd_is_a_pass() -> None:
    weights, data = draw(SHARED, 2)
    train = scratch.backward(declare(SHARED))
    out = scratch.compile(scratch.sgd(train, lr=0.25))(weights, **data)
    for name, w in weights.items():
        np.testing.assert_array_equal(out[name], w - 0.25 * out[f"grad/{name}"])


def test_a_chain_of_ten_thousand_nodes() -> None:
    w = scratch.parameter("w", (3,))
    y = w
    for _ in range(10_000):
        y = scratch.relu(y)
    graph = scratch.Graph({"loss": scratch.einsum(y, y, formula="i,i->")})
    out = scratch.interpret(scratch.backward(graph), {"w": np.array([1.0, -1.0, 2.0])})
    np.testing.assert_array_equal(out["grad/w"], [2.0, 0.0, 4.0])


def test_misfits_are_errors() -> None:
    x, w = scratch.input("x", (2, 3)), scratch.parameter("w", (4, 5))
    with pytest.raises(ValueError, match=r"linear\(f64\[2,3\], f64\[4,5\]\)"):
        scratch.linear(x, w)
    small, large = scratch.parameter("small", (3,)), scratch.parameter("large", (2, 3))
    square = scratch.einsum(scratch.mul(small, large), large, formula="ij,ij->")
    with pytest.raises(ValueError, match=r"small: f64\[3\] has a gradient f64\[2,3\]"):
        scratch.backward(scratch.Graph({"loss": square}))


# -- against the product ---------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [SHARED, APART], ids=["shared", "apart"])
def test_loss_and_gradients_are_the_products(layers: tuple[str, ...]) -> None:
    weights, data = draw(layers, 3)
    mine = scratch.compile(scratch.backward(declare(layers)))(weights, **data)
    train = product(layers).apply(passes.backward())
    interpreted = gx.interpret(train, weights, **data)
    variables = {name: w.copy() for name, w in weights.items()}
    compiled = gx.compile(train, backend="numpy")(variables, **data)
    for out in (interpreted, compiled):
        assert out.keys() == mine.keys()
        for name in mine:
            assert error(mine[name], out[name]) <= 1e-10


def test_the_shared_gradient_is_the_same_kind_of_node() -> None:
    mine = scratch.backward(declare(SHARED)).outputs["grad/twice.weight"]
    theirs = product(SHARED).apply(passes.backward()).outputs["grad/twice.weight"]
    for node in (mine, theirs):
        assert node.op.name == "grad_sum"
        assert [x.op.name for x in node.inputs] == ["conv2d_weight_grad"] * 2


def test_the_printed_network_is_a_program_of_graphc() -> None:
    """Only a parameter's role and initializer, which the script has no use for, are added."""
    text = re.sub(r"( = parameter .*)", r'\1 role="weight" init="zeros"', str(declare(SHARED)))
    assert gx.parse(text) == product(SHARED)
