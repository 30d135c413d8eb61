"""Step 1 and step 2: uses apart, then summed; the laws as graphs, the numbers against JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from graphc.ir import facts


def twice() -> gx.Graph:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    return gx.Graph({"loss": gx.sum(gx.tanh(x * w) * w)})


def close(found: Any, oracle: Any, tolerance: float) -> None:
    assert found.shape == oracle.shape
    assert np.max(np.abs(found - oracle)) <= tolerance * max(np.max(np.abs(oracle)), 1e-30)


# -- printed -------------------------------------------------------------------------------------


def test_printed_before_step_one_and_step_two() -> None:
    graph = twice()
    assert graph.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        '  %w = parameter f32[3] role="weight" init="zeros"\n'
        "  %mul: f32[N,3] = mul(%x, %w)\n"
        "  %tanh: f32[N,3] = tanh(%mul)\n"
        "  %mul_1: f32[N,3] = mul(%tanh, %w)\n"
        "  %sum: f32[] = sum(%mul_1) axes=[0,1]\n"
        "  return loss=%sum\n"
        "}"
    )
    apart = graph.apply(passes.unshare())
    assert apart.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        '  %w = parameter f32[3] role="weight" init="zeros"\n'
        "  %edge: f32[3] = edge(%w) i=0\n"
        "  %mul: f32[N,3] = mul(%x, %edge)\n"
        "  %tanh: f32[N,3] = tanh(%mul)\n"
        "  %edge_1: f32[3] = edge(%w) i=1\n"
        "  %mul_1: f32[N,3] = mul(%tanh, %edge_1)\n"
        "  %sum: f32[] = sum(%mul_1) axes=[0,1]\n"
        "  return loss=%sum\n"
        "}"
    )
    first = apart.apply(passes.backward())
    assert "return loss=%sum, grad/w@0=%sum_1, grad/w@1=%sum_2\n" in first.text()
    second = first.apply(passes.share())
    assert "  %grad_sum: f32[3] = grad_sum(%sum_1, %sum_2)\n" in second.text()
    assert "return loss=%sum, grad/w=%grad_sum\n" in second.text()
    assert second.text() == graph.apply(passes.backward()).text()
    for step in (apart, first, second):
        assert gx.parse(str(step)) == step
    # An edge says the line of its use, not that of the parameter.
    uses = apart.users(apart.parameters["w"])
    assert [use.lines for use in uses] == [apart.users(use)[0].lines for use in uses]


def test_edges_are_numbered_by_the_order_of_their_users() -> None:
    x, w = gx.input("x", (2, 2)), gx.parameter("w", (2, 2))
    # The sum comes last in `.nodes`, though it reads w before the product does.
    graph = gx.Graph({"loss": gx.sum(w + x @ w)}).apply(passes.unshare())
    named = {use.op.text(): graph.users(use)[0].op.name for use in graph.users(w)}
    assert named == {" i=0": "matmul", " i=1": "add"}


def test_only_uses_on_the_way_to_the_loss_of_parameters_with_two_of_them() -> None:
    x = gx.input("x", (2,))
    v, w = gx.parameter("v", (2,)), gx.parameter("w", (2,))
    graph = gx.Graph({"loss": gx.sum(x * w * (w * v)), "other": gx.relu(w), "seen": v + x})
    apart = graph.apply(passes.unshare())
    assert [use.op.name for use in apart.users(w)] == ["edge", "edge", "relu"]
    assert [use.op.name for use in apart.users(v)] == ["mul", "add"]


def test_a_layer_called_three_times_has_three_gradients_that_jax_finds_too() -> None:
    layer = nn.Linear(4, 4)
    x = gx.input("x", ("N", 4))
    h = x
    for _ in range(3):
        h = gx.tanh(layer(h))
    graph = gx.Graph({"loss": gx.mean(gx.square(h))})
    steps = graph.apply(passes.unshare(), passes.backward())
    random = np.random.default_rng(0)
    variables = {
        "linear.weight": random.normal(size=(4, 4)).astype(np.float32),
        "linear.bias": random.normal(size=4).astype(np.float32),
    }
    data = random.normal(size=(5, 4)).astype(np.float32)

    def loss(weights: Any, biases: Any) -> Any:
        y: Any = data.astype(np.float64)
        for w, b in zip(weights, biases, strict=True):
            y = jnp.tanh(y @ w.T + b)
        return jnp.mean(y**2)

    apart = [[variables[f"linear.{k}"].astype(np.float64)] * 3 for k in ("weight", "bias")]
    oracle = jax.grad(loss, (0, 1))(*apart)
    found = gx.interpret(steps, variables, x=data)
    program = gx.compile(steps)({k: v.copy() for k, v in variables.items()}, x=data)
    joined = gx.interpret(steps.apply(passes.share()), variables, x=data)
    for name, gradients in zip(("weight", "bias"), oracle, strict=True):
        for i, gradient in enumerate(gradients):
            close(found[f"grad/linear.{name}@{i}"], gradient, 1e-5)
            close(program[f"grad/linear.{name}@{i}"], gradient, 1e-5)
        close(joined[f"grad/linear.{name}"], sum(gradients), 1e-5)


# -- the laws ------------------------------------------------------------------------------------


def test_decay_keeps_its_mark_and_its_place() -> None:
    x, w = gx.input("x", (3,)), gx.parameter("w", (3,))
    graph = gx.Graph({"loss": gx.sum(gx.tanh(x * w) * w)}).apply(passes.weight_decay(0.1))
    first = graph.apply(passes.unshare(), passes.backward())
    # What the penalty gives comes past the edges: it is no use on the way to `loss`.
    assert [name for name in first.outputs if "grad" in name] == ["grad/w@0", "grad/w@1", "grad/w"]
    gradient = first.apply(passes.share()).outputs["grad/w"]
    assert gradient.op.attributes() == {"decay": 2}
    # With the penalty first, its place is the first one.
    front = graph.select("penalty", "loss", "objective")
    steps = front.apply(passes.unshare(), passes.backward(), passes.share())
    assert steps == front.apply(passes.backward())
    assert steps.outputs["grad/w"].op.attributes() == {"decay": 0}


def test_the_gradient_that_share_makes_belongs_to_the_parameter() -> None:
    graph = twice().apply(passes.unshare(), passes.backward(), passes.share())
    w = graph.parameters["w"]
    assert graph.gradients[w] is graph.outputs["grad/w"]
    assert facts.forward_of(graph.outputs["grad/w"]) is w


def test_training_goes_on_after_share_and_not_before() -> None:
    graph = twice().apply(passes.unshare(), passes.backward())
    with pytest.raises(gx.GraphError, match=r"passes\.share\(\)"):
        graph.apply(passes.sgd(lr=0.1))
    assert "w" in graph.apply(passes.share(), passes.sgd(lr=0.1)).updates


# -- small convolutions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "filters", "options"),
    [
        ((2, 3, 4), (2, 2, 2, 3), {}),
        ((2, 4, 3), (3, 2, 3, 2), {"stride": 2, "padding": "same"}),
        ((4, 3, 3), (2, 2, 2, 2), {"groups": 2, "padding": 1, "dilation": 2}),
        ((1, 1, 1), (1, 1, 2, 2), {"padding": (1, 1), "stride": (2, 1)}),
    ],
)
def test_the_edges_of_a_convolution_are_its_sparse_matrix(
    image: Any, filters: Any, options: Any
) -> None:
    x = gx.input("x", ("N", *image), dtype="float64")
    w = gx.parameter("w", filters, dtype="float64")
    y = gx.conv2d(x, w, **options)
    random = np.random.default_rng(1)
    data, weight = random.normal(size=(1, *image)), random.normal(size=filters)
    expected = gx.interpret(gx.Graph({"y": y}), {"w": weight}, x=data)["y"][0]
    found = np.zeros_like(expected)
    edges = gx.convolution_edges(y)
    assert len(set(edges)) == len(edges)
    assert edges == sorted(edges, key=lambda edge: edge.output)
    for edge in edges:
        found[edge.output] += data[0][edge.input] * weight[edge.weight]
    close(found, expected, 1e-12)


@pytest.mark.parametrize("padding", [0, 1])
def test_an_unrolled_convolution_backpropagates_each_edge_alone(padding: int) -> None:
    x = gx.input("x", ("N", 1, 3, 3), dtype="float64")
    w = gx.parameter("w", (2, 1, 2, 2), dtype="float64")
    b = gx.parameter("b", (2,), dtype="float64", role="bias")
    y = gx.conv2d(x, w, b, padding=padding)
    graph = gx.Graph({"loss": gx.sum(gx.square(gx.tanh(y)))})
    edges = gx.convolution_edges(y)
    apart = graph.apply(passes.unshare(unroll=len(edges)))
    assert [use.op.name for use in apart.users(w)] == ["edge"] * len(edges)
    assert apart.apply(passes.unshare(unroll=len(edges))) == apart
    assert gx.parse(str(apart)) == apart
    random = np.random.default_rng(2)
    variables = {"w": random.normal(size=(2, 1, 2, 2)), "b": random.normal(size=2)}
    data = random.normal(size=(4, 1, 3, 3))
    direct = gx.interpret(graph.apply(passes.backward()), variables, x=data)
    first = gx.interpret(apart.apply(passes.backward()), variables, x=data)
    for i, edge in enumerate(edges):
        where = np.argwhere(first[f"grad/w@{i}"])
        assert [tuple(place) for place in where] == [edge.weight]
    second = gx.interpret(apart.apply(passes.backward(), passes.share()), variables, x=data)
    assert second.keys() == direct.keys()
    for name, value in direct.items():
        close(second[name], value, 1e-12)
    # One edge fewer is not few enough: the convolution stays one use.
    assert graph.apply(passes.unshare(unroll=len(edges) - 1)) == graph


def test_an_unrolled_convolution_beside_other_uses() -> None:
    x = gx.input("x", ("N", 1, 1, 3), dtype="float64")
    w = gx.parameter("w", (1, 1, 1, 2), dtype="float64")
    graph = gx.Graph({"loss": gx.sum(gx.conv2d(gx.conv2d(x, w), w)) + gx.sum(w * w)})
    apart = graph.apply(passes.unshare(unroll=4))
    numbers = [use.op.attributes()["i"] for use in apart.users(w)]
    assert sorted(numbers) == list(range(4 + 2 + 2))
    values = {"w": np.array([[[[2.0, -3.0]]]])}
    data = np.array([[[[1.0, 4.0, 9.0]]]])
    found = gx.interpret(apart.apply(passes.backward(), passes.share()), values, x=data)
    expected = gx.interpret(graph.apply(passes.backward()), values, x=data)
    assert found["grad/w"].tolist() == expected["grad/w"].tolist()


# -- what is refused -----------------------------------------------------------------------------


def test_mistakes_are_refused() -> None:
    graph = twice()
    with pytest.raises(gx.GraphError, match="comes before backward"):
        graph.apply(passes.backward(), passes.unshare())
    with pytest.raises(gx.GraphError, match="output 'loss', and there is none"):
        gx.Graph({"y": gx.relu(gx.input("x", ()))}).apply(passes.unshare())
    for wrong in (-1, True, 2.5):
        with pytest.raises(gx.GraphError, match="unroll"):
            passes.unshare(unroll=wrong)  # type: ignore[arg-type]
    half = graph.apply(passes.unshare(), passes.backward()).select("loss", "grad/w@1")
    with pytest.raises(gx.GraphError, match=r"grad/w@0 is not among the outputs grad/w@1"):
        half.apply(passes.share())
    with pytest.raises(gx.GraphError, match="conv2d"):
        gx.convolution_edges(graph.outputs["loss"])
    big = gx.conv2d(gx.input("x", (1, 64, 64, 64)), gx.parameter("w", (64, 64, 3, 3)))
    with pytest.raises(gx.GraphError, match="too many"):
        gx.convolution_edges(big)
    symbolic = gx.conv2d(gx.input("x", (1, 1, "H", 4)), gx.parameter("w", (1, 1, 3, 3)))
    with pytest.raises(gx.GraphError, match="height and width are ints"):
        gx.convolution_edges(symbolic)


def test_a_parameter_called_like_an_edge() -> None:
    x, w = gx.input("x", ()), gx.parameter("w", ())
    other = gx.parameter("w@0", ())
    single = gx.Graph({"loss": x * w * other}).apply(passes.unshare(), passes.backward())
    assert single.apply(passes.share()) == single
    both = gx.Graph({"loss": x * w * other * w}).apply(passes.unshare())
    with pytest.raises(gx.GraphError, match="call the parameter otherwise"):
        both.apply(passes.backward())


def test_edges_of_what_is_no_parameter_pass_the_gradient_on() -> None:
    x = gx.input("x", ())
    square = x * x
    graph = gx.Graph({"loss": gx.edge(square, 0) * gx.edge(square, 1)})
    after = graph.apply(passes.backward(wrt="x"))
    assert float(gx.interpret(after, {}, x=2.0)["grad/x"]) == 32.0
