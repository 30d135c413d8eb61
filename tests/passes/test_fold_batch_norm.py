"""``fold_batch_norm``: printed before and after, what it leaves, and the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes

Array = np.ndarray[Any, np.dtype[Any]]


def used(graph: gx.Graph, seed: int = 0) -> dict[str, Array]:
    """Variables as after training: no statistic, scale or shift is what it was at first."""
    variables = gx.compile(graph).init(seed)
    random = np.random.default_rng(seed)
    for name, array in variables.items():
        if array.ndim == 1:
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.5
            array[...] = random.uniform(low, low + 1, array.shape)
    return variables


def after_convolutions(graph: gx.Graph) -> list[gx.Node]:
    return [
        node for node in graph.nodes
        if node.op.name == "batch_norm" and node.inputs[0].op.name in ("conv2d", "linear")
    ]  # fmt: skip


def check(graph: gx.Graph, inputs: dict[str, Array], limit: float = 1e-5) -> gx.Graph:
    """The graph after folding: same values, a second run changes nothing."""
    folded = graph.apply(passes.fold_batch_norm())
    gx.verify(folded)
    assert gx.parse(str(folded)) == folded
    assert folded.apply(passes.fold_batch_norm()) == folded
    variables = used(graph)
    before = gx.interpret(graph, variables, inputs=inputs)
    after = gx.interpret(folded, variables, inputs=inputs)
    for name, value in before.items():
        assert np.abs(value - after[name]).max() < limit * np.abs(value).max(), name
    return folded


def image(*shape: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}


def test_printed_before_and_after() -> None:
    x, w, b = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3)), gx.parameter("b", (2,))
    scale, mean, variance = (gx.state(name, (2,)) for name in ("scale", "mean", "variance"))
    graph = gx.Graph({"y": gx.batch_norm(gx.linear(x, w, b), scale, 0, mean, variance, eps=0.5)})
    operands = "%linear, %scale, %constant, %mean, %variance"
    assert graph.text().splitlines()[-3:] == [
        f"  %batch_norm: f32[N,2] = batch_norm({operands}) eps=0.5",
        "  return y=%batch_norm",
        "}",
    ]
    assert graph.apply(passes.fold_batch_norm()).text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        '  %w = parameter f32[2,3] role="weight" init="zeros"\n'
        '  %scale = state f32[2] init="zeros"\n'
        '  %variance = state f32[2] init="zeros"\n'
        "  %constant: f32[] = constant() value=0.5\n"
        "  %add: f32[2] = add(%variance, %constant)\n"
        "  %sqrt: f32[2] = sqrt(%add)\n"
        "  %div: f32[2] = div(%scale, %sqrt)\n"
        "  %reshape: f32[2,1] = reshape(%div) shape=[2,1]\n"
        "  %mul: f32[2,3] = mul(%w, %reshape)\n"
        "  %constant_1: f32[] = constant() value=0.0\n"
        '  %b = parameter f32[2] role="weight" init="zeros"\n'
        '  %mean = state f32[2] init="zeros"\n'
        "  %sub: f32[2] = sub(%b, %mean)\n"
        "  %mul_1: f32[2] = mul(%sub, %div)\n"
        "  %add_1: f32[2] = add(%constant_1, %mul_1)\n"
        "  %linear: f32[N,2] = linear(%x, %mul, %add_1)\n"
        "  return y=%linear\n"
        "}"
    )


@pytest.mark.parametrize("name", ["residual-20", "small-inception", "resnet-18"])
def test_no_normalization_is_left_behind_a_convolution(name: str) -> None:
    size = 32 if name == "resnet-18" else 16
    graph = models.build(name, classes=4, image=(3, size, size)).select("logits")
    predict = graph.apply(passes.inference())
    assert after_convolutions(predict)
    pixels = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    folded = check(predict, {"image": pixels})
    assert not after_convolutions(folded)
    # The modules that made the convolutions still find theirs.
    convolutions = [[n for n in g.nodes if n.op.name == "conv2d"] for g in (predict, folded)]
    for old, new in zip(*convolutions, strict=True):
        assert predict.paths(old)[0] in folded.paths(new)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [{"groups": 2, "stride": 2}, {"padding": "same"}])
def test_settings_of_the_convolution_stay(bias: bool, options: dict[str, Any]) -> None:
    layers = [nn.Conv2d(4, 6, 3, bias=bias, **options), nn.BatchNorm2d(6, eps=1e-3)]
    graph = gx.Graph({"y": nn.Sequential(*layers)(gx.input("x", ("N", 4, 7, 5)))})
    predict = graph.apply(passes.inference())
    assert not after_convolutions(check(predict, image(2, 4, 7, 5)))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}])
@pytest.mark.parametrize("groups", [1, 2])
def test_behind_a_transposed_convolution(groups: int, options: dict[str, Any], bias: bool) -> None:
    layers = [
        nn.ConvTranspose2d(4, 6, 3, bias=bias, groups=groups, **options),
        nn.BatchNorm2d(6), nn.BatchNorm2d(6, scale=False), nn.ReLU(),
    ]  # fmt: skip
    graph = gx.Graph({"y": nn.Sequential(*layers)(gx.input("x", ("N", 4, 4, 3)))})
    folded = check(graph.apply(passes.inference()), image(2, 4, 4, 3))
    assert not any(node.op.name == "batch_norm" for node in folded.nodes)


def test_a_bias_that_is_added_behind_and_numbers() -> None:
    w, u = (
        gx.parameter("w", (3, 2, 2, 2), init="normal"),
        gx.parameter("u", (3, 1, 1), init="normal"),
    )
    x = gx.input("x", ("N", 2, 5, 5))
    v, b = gx.parameter("v", (2, 3, 2, 2), init="normal"), gx.parameter("b", (3,), init="normal")
    for layer in (
        gx.conv2d(x, w) + u, u + gx.conv2d(x, w, b), u + gx.conv_transpose2d(x, v),
        gx.conv_transpose2d(x, v),
    ):  # fmt: skip
        graph = gx.Graph({"y": gx.batch_norm(layer, 2, 3, 0.5, 4)})
        folded = check(graph, image(2, 2, 5, 5))
        assert not any(node.op.name == "batch_norm" for node in folded.nodes)
    # A bias that reads the batch stays where it is: the normalization is a scale and a shift.
    moving = gx.conv2d(x, w) + gx.mean(x, (0, 1, 2, 3)) * u
    folded = check(gx.Graph({"y": gx.batch_norm(moving, 2, 3, 0.5, 4)}), image(2, 2, 5, 5))
    assert not any(node.op.name == "batch_norm" for node in folded.nodes)
    # One that is no channel's makes it another layer.
    rows = gx.conv2d(x, w) + gx.parameter("rows", (4, 1), init="normal")
    graph = gx.Graph({"y": gx.batch_norm(rows, 2, 3, 0.5, 4)})
    assert graph.apply(passes.fold_batch_norm()) == graph


def test_two_normalizations_fold_into_one_layer() -> None:
    layers = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.BatchNorm2d(2, scale=False, shift=False)]
    graph = gx.Graph({"y": nn.Sequential(*layers)(gx.input("x", ("N", 1, 5, 5)))})
    folded = check(graph.apply(passes.inference()), image(2, 1, 5, 5))
    assert not any(node.op.name == "batch_norm" for node in folded.nodes)


def test_numbers_in_place_of_vectors() -> None:
    w = gx.parameter("w", (2, 1, 2, 2), init="normal")
    y = gx.batch_norm(gx.conv2d(gx.input("x", ("N", 1, 4, 4)), w), 2, 3, 0.5, 4)
    assert not after_convolutions(check(gx.Graph({"y": y}), image(1, 1, 4, 4)))


def test_a_true_convolution_folds_and_a_shared_one_folds_at_every_call() -> None:
    w, m, v = gx.parameter("w", (2, 2, 3, 3), init="normal"), gx.state("m", (2,)), gx.state("v", 2)
    y = gx.input("x", ("N", 2, 4, 4))
    for _ in range(2):
        y = gx.relu(gx.batch_norm(gx.convolve2d(y, w, padding=1), 1, 0, m, gx.exp(v)))
    folded = check(gx.Graph({"y": y}), image(2, 2, 4, 4))
    assert not after_convolutions(folded)
    weights = {node.inputs[1] for node in folded.nodes if node.op.name == "conv2d"}
    assert len(weights) == 1


def test_what_is_not_folded() -> None:
    x, w, s = gx.input("x", ("N", 2, 4, 4)), gx.parameter("w", (2, 2, 1, 1)), gx.state("s", (2,))
    y = gx.conv2d(x, w)
    features = gx.linear(gx.input("z", ("N", 3, 3)), gx.parameter("u", (3, 3)))
    kept = {
        "statistics of the batch": gx.Graph(
            {"y": gx.batch_norm(y, 1, 0, gx.mean(x, (0, 2, 3)), s)}
        ),
        "features that are no channels": gx.Graph({"y": gx.batch_norm(features, 1, 0, 0, 1)}),
        "another layer": gx.Graph({"y": gx.batch_norm(gx.relu(x), 1, 0, s, s)}),
    }
    for what, graph in kept.items():
        assert graph.apply(passes.fold_batch_norm()) == graph, what


def test_what_else_is_read_stays_and_the_normalization_is_a_scale_and_a_shift() -> None:
    x, w = gx.input("x", ("N", 2, 4, 4)), gx.parameter("w", (2, 2, 1, 1), init="normal")
    m = gx.parameter("m", (2,))
    v = gx.exp(gx.parameter("v", (2,)))
    y = gx.conv2d(x, w)
    normal = gx.batch_norm(y, 1, 0, m, v)
    drawn = gx.conv2d(x, gx.dropout(w, retain=0.5))
    graphs = (
        gx.Graph({"y": normal + y}),
        gx.Graph({"y": normal, "map": y}),
        gx.Graph({"y": normal}, {gx.state("s", (2,)): gx.mean(y, (0, 2, 3))}),
        gx.Graph({"y": gx.batch_norm(drawn, 1, 0, m, v)}),
        gx.Graph({"y": gx.batch_norm(y, 1, 0, 0.5, 2.0) - y}),
    )
    for graph in graphs:
        folded = check(graph, image(2, 2, 4, 4))
        assert not after_convolutions(folded)
        assert sum(node.op.name == "conv2d" for node in folded.nodes) == 1
        assert folded.apply(passes.fold_batch_norm()) == folded


def test_it_stands_before_backward_and_gradients_reach_what_was_folded() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), name="net")
    x = gx.input("x", ("N", 1, 4, 4))
    frozen = gx.Graph({"loss": gx.mean(gx.tanh(layers(x)))}).apply(passes.inference())
    with pytest.raises(gx.GraphError, match=r"fold_batch_norm\(…\) in front of passes\.backward"):
        frozen.apply(passes.backward(), passes.fold_batch_norm())
    before = frozen.apply(passes.backward())
    after = frozen.apply(passes.fold_batch_norm(), passes.backward())
    variables, inputs = used(before), image(2, 1, 4, 4)
    wanted = gx.interpret(before, variables, inputs=inputs)
    found = gx.interpret(after, variables, inputs=inputs)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
