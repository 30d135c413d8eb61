"""Parameter counts, layer lists and names of the zoo, against what was published."""

from __future__ import annotations

from typing import Any

import pytest

import graphc as gx
from graphc import models, passes

# systems.md's own, and torchvision's for the nets that it has.
COUNTS = {
    "lenet-5": 61_706,
    "mlp-1x512": 1_209_866,
    "mlp-3x512": 1_735_178,
    "small-alexnet": 1_387_786,
    "small-inception": 1_649_402,
    "small-inception-nobn": 1_649_402,
    "residual-20": 269_722,
    "plain-20": 269_722,
    "residual-44": 658_586,
    "plain-44": 658_586,
    "vgg-11": 132_863_336,
    "vgg-13": 133_047_848,
    "vgg-16": 138_357_544,
    "vgg-19": 143_667_240,
    "resnet-18": 11_689_512,
    "resnet-34": 21_797_672,
    "resnet-50": 25_557_032,
    "resnet-101": 44_549_160,
    "plain-34": 21_623_848,
    "resnet-200-v2": 64_666_152,
    "inception-v3": 27_161_264,
}
WINDOWS = ("conv2d", "max_pool2d", "avg_pool2d")


def predicting(name: str, **sizes: Any) -> gx.Graph:
    """The graph that computes the logits, running statistics in place: one op a layer."""
    return models.build(name, **sizes).select("logits").apply(passes.inference())


def layers(graph: gx.Graph) -> list[tuple[Any, ...]]:
    """(op, kernel, stride, padding, channels, height) of windows; (op, from, to) of linears."""
    found: list[tuple[Any, ...]] = []
    for node in graph.nodes:
        if node.op.name in WINDOWS:
            given = node.op.attributes()
            kernel = given["kernel"] if "kernel" in given else node.inputs[1].shape[2:]
            kernel = kernel[0] if isinstance(kernel, tuple) and len(set(kernel)) == 1 else kernel
            stride = kernel if given["stride"] is None else given["stride"]
            found.append((node.op.name, kernel, stride, given["padding"], *node.shape[1:3]))
        elif node.op.name == "linear":
            found.append(("linear", node.inputs[0].shape[1], node.shape[1]))
    return found


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts(name: str, count: int) -> None:
    graph = models.build(name)
    assert graph.parameter_count() == count
    assert list(graph.inputs) == ["image", "label"]
    assert list(graph.outputs) == ["logits", "loss"]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mlp-1x512", 1.2), ("mlp-3x512", 1.7), ("small-alexnet", 25.1), ("small-inception", 204.2),
        ("vgg-19", 19_600), ("resnet-34", 3_600), ("inception-v3", 5_700),
    ],
)  # fmt: skip
def test_multiply_adds(name: str, millions: float) -> None:
    graph = predicting(name)
    products = [n for n in graph.nodes if n.op.name in ("conv2d", "linear")]
    flops = sum(n.op.cost(n, {"N": 1}).flops for n in products)
    assert flops / 2e6 == pytest.approx(millions, rel=0.03)


def test_the_contracts_names_are_there() -> None:
    promised = {*COUNTS, "unet-small", "transformer-block", "residual-110", "plain-110"}
    assert promised <= set(models.names())


@pytest.mark.parametrize("name", ["unet-small", "transformer-block", "inception-v3", "residual-8"])
def test_builds_alike_twice_and_parses(name: str) -> None:
    graph = models.build(name)
    assert models.build(name) == graph
    assert gx.parse(str(graph)) == graph


def test_small_alexnet() -> None:
    graph = predicting("small-alexnet")
    assert layers(graph) == [
        ("conv2d", 5, 1, "same", 64, 28),
        ("max_pool2d", 3, 2, "same", 64, 14),
        ("conv2d", 5, 1, "same", 64, 14),
        ("max_pool2d", 3, 2, "same", 64, 7),
        ("linear", 3136, 384),
        ("linear", 384, 192),
        ("linear", 192, 10),
    ]
    norms = [n.op.attributes() for n in graph.nodes if n.op.name == "local_response_norm"]
    assert norms == [{"size": 9, "alpha": 0.001, "beta": 0.75, "k": 1.0}] * 2


def inception(ones: int, threes: int, size: int) -> list[tuple[Any, ...]]:
    return [("conv2d", 1, 1, "same", ones, size), ("conv2d", 3, 1, "same", threes, size)]


def downsample(more: int, before: int, size: int) -> list[tuple[Any, ...]]:
    return [("conv2d", 3, 2, "same", more, size), ("max_pool2d", 3, 2, "same", before, size)]


SMALL_INCEPTION = [
    ("conv2d", 3, 1, "same", 96, 28),
    *inception(32, 32, 28), *inception(32, 48, 28), *downsample(80, 80, 14),
    *inception(112, 48, 14), *inception(96, 64, 14), *inception(80, 80, 14),
    *inception(48, 96, 14), *downsample(96, 144, 7),
    *inception(176, 160, 7), *inception(176, 160, 7),
    ("linear", 336, 10),
]  # fmt: skip


@pytest.mark.parametrize("name", ["small-inception", "small-inception-nobn"])
def test_small_inception(name: str) -> None:
    graph = predicting(name)
    assert layers(graph) == SMALL_INCEPTION
    normalized = name == "small-inception"
    assert ("batch_norm" in {n.op.name for n in graph.nodes}) == normalized
    roles = {p.role for p in graph.parameters.values()}
    assert roles == ({"weight", "shift", "bias"} if normalized else {"weight", "bias"})
    biases = [key for key, p in graph.parameters.items() if p.role == "bias"]
    assert (biases == ["12.bias"]) == normalized


@pytest.mark.parametrize(("depth", "blocks"), [(20, 3), (44, 7)])
def test_residual_and_plain_differ_in_the_skips_alone(depth: int, blocks: int) -> None:
    residual, plain = predicting(f"residual-{depth}"), predicting(f"plain-{depth}")
    listed = [("conv2d", 3, 1, 1, 16, 32)]
    for width, size in ((16, 32), (32, 16), (64, 8)):
        listed.append(("conv2d", 3, 1 if width == 16 else 2, 1, width, size))
        listed += [("conv2d", 3, 1, 1, width, size)] * (2 * blocks - 1)
    listed.append(("linear", 64, 10))
    assert layers(residual) == layers(plain) == listed
    assert len(listed) == depth
    assert list(residual.parameters) == list(plain.parameters)
    ops = [[n.op.name for n in graph.nodes] for graph in (residual, plain)]
    assert [names.count("add") for names in ops] == [3 * blocks, 0]
    assert [names.count("pad") for names in ops] == [2, 0]


def test_vgg_19() -> None:
    expected: list[tuple[Any, ...]] = []
    size = 224
    for count, width in ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)):
        expected += [("conv2d", 3, 1, 1, width, size)] * count
        size //= 2
        expected.append(("max_pool2d", 2, 2, 0, width, size))
    expected += [("linear", 25088, 4096), ("linear", 4096, 4096), ("linear", 4096, 1000)]
    assert layers(predicting("vgg-19")) == expected
    # At 32×32 one pixel is left, which fills the classifier's 7×7 as in torchvision.
    small = models.build("vgg-11", image=(3, 32, 32), classes=10)
    assert small.parameters["classifier.0.weight"].shape == (4096, 25088)
    drops = [n for n in models.build("vgg-19").nodes if n.op.name == "dropout"]
    assert len(drops) == 2


@pytest.mark.parametrize(("name", "skips"), [("resnet-34", True), ("plain-34", False)])
def test_34_layers(name: str, skips: bool) -> None:
    expected: list[tuple[Any, ...]] = [
        ("conv2d", 7, 2, 3, 64, 112),
        ("max_pool2d", 3, 2, 1, 64, 56),
    ]
    for count, width, size in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        for i in range(count):
            halves = i == 0 and width > 64
            expected.append(("conv2d", 3, 2 if halves else 1, 1, width, size))
            expected.append(("conv2d", 3, 1, 1, width, size))
            if halves and skips:
                expected.append(("conv2d", 1, 2, 0, width, size))
    expected.append(("linear", 512, 1000))
    assert layers(predicting(name)) == expected


def test_the_stride_of_a_bottleneck_is_in_its_3x3() -> None:
    """torchvision's variant; the original had it in the first 1×1."""
    strided = [layer for layer in layers(predicting("resnet-50")) if layer[2] == 2]
    kernels = [(op, kernel) for op, kernel, *_ in strided]
    pair = [("conv2d", 3), ("conv2d", 1)]
    assert kernels == [("conv2d", 7), ("max_pool2d", 3), *pair, *pair, *pair]


def test_resnet_200_v2() -> None:
    graph = predicting("resnet-200-v2")
    convs = [layer for layer in layers(graph) if layer[0] == "conv2d"]
    assert len(convs) == 1 + 3 * (3 + 24 + 36 + 3) + 4
    assert convs[0] == ("conv2d", 7, 2, 3, 64, 112)
    assert [layer[4:] for layer in convs if layer[1:3] == (3, 2)] == [
        (128, 28),
        (256, 14),
        (512, 7),
    ]
    # Nothing but additions lies on the way of the skips within a stage.
    adds = [n for n in graph.nodes if n.op.name == "add"]
    assert len(adds) == 66
    assert sum(any(i.op.name == "add" for i in n.inputs) for n in adds) == 66 - 4
    norms = [key for key in graph.parameters if key.endswith(".bias") and "bn" in key]
    assert "layer1.0.bn1.bias" not in norms
    assert not any("downsample" in key for key in norms)
    assert len(norms) == 1 + 3 * 66 - 1 + 1


def test_inception_v3() -> None:
    graph = models.build("inception-v3")
    predict = predicting("inception-v3")
    assert predict.parameter_count() == 23_834_568
    found = layers(predict)
    stem = [
        ("conv2d", 3, 2, 0, 32, 149), ("conv2d", 3, 1, 0, 32, 147), ("conv2d", 3, 1, 1, 64, 147),
        ("max_pool2d", 3, 2, 0, 64, 73), ("conv2d", 1, 1, 0, 80, 73), ("conv2d", 3, 1, 0, 192, 71),
        ("max_pool2d", 3, 2, 0, 192, 35),
    ]  # fmt: skip
    assert found[: len(stem)] == stem
    blocks = [n.shape[1:3] for n in predict.nodes if n.op.name == "concat"]
    assert blocks == [
        (256, 35), (288, 35), (288, 35), (768, 17), (768, 17), (768, 17), (768, 17), (768, 17),
        (1280, 8), (2048, 8), (2048, 8),
    ]  # fmt: skip
    assert ("conv2d", (1, 7), 1, (0, 3), 192, 17) in found
    assert ("conv2d", (3, 1), 1, (1, 0), 384, 8) in found
    assert sum(op == "conv2d" for op, *_ in found) == 94
    assert found[-1] == ("linear", 2048, 1000)
    # The auxiliary head adds 0.4 of its loss.
    loss = graph.outputs["loss"]
    assert [loss.op.name, *(n.op.name for n in loss.inputs)] == ["add", "cross_entropy", "mul"]
    assert all(n.op.eps == 0.001 for n in graph.nodes if n.op.name == "batch_norm")


def test_unet_labels_every_pixel() -> None:
    graph = models.build("unet-small", image=(1, 32, 48), classes=3)
    n = gx.Dim.named("N")
    assert graph.outputs["logits"].shape == (n, 3, 32, 48)
    assert graph.inputs["label"].shape == (n, 32, 48)
    with pytest.raises(gx.ShapeError, match="15 != 14"):
        models.build("unet-small", image=(1, 30, 32))


# -- names: torchvision's state_dict keys ----------------------------------------------------------


def norm(path: str) -> list[str]:
    return [f"{path}.{key}" for key in ("weight", "bias", "running_mean", "running_var")]


def held(graph: gx.Graph) -> set[str]:
    return {*graph.parameters, *graph.states} - {"random/seed", "step"}


def test_resnet_18_has_torchvisions_keys() -> None:
    keys = ["conv1.weight", *norm("bn1"), "fc.weight", "fc.bias"]
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            path = f"layer{stage}.{block}"
            for i in (1, 2):
                keys += [f"{path}.conv{i}.weight", *norm(f"{path}.bn{i}")]
        if stage > 1:
            path = f"layer{stage}.0.downsample"
            keys += [f"{path}.0.weight", *norm(f"{path}.1")]
    assert held(models.build("resnet-18")) == set(keys)


def test_vgg_16_has_torchvisions_keys() -> None:
    convs = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    paths = [*(f"features.{i}" for i in convs), *(f"classifier.{i}" for i in (0, 3, 6))]
    keys = {f"{path}.{key}" for path in paths for key in ("weight", "bias")}
    assert held(models.build("vgg-16")) == keys


def test_inception_v3_has_torchvisions_keys() -> None:
    keys = held(models.build("inception-v3"))
    for path in (
        "Conv2d_1a_3x3", "Conv2d_4a_3x3", "Mixed_5b.branch5x5_2", "Mixed_5d.branch_pool",
        "Mixed_6a.branch3x3dbl_3", "Mixed_6e.branch7x7dbl_5", "Mixed_7a.branch7x7x3_4",
        "Mixed_7c.branch3x3dbl_3b", "AuxLogits.conv0", "AuxLogits.conv1",
    ):  # fmt: skip
        assert {f"{path}.conv.weight", *norm(f"{path}.bn")} <= keys
    assert {"fc.weight", "fc.bias", "AuxLogits.fc.weight", "AuxLogits.fc.bias"} <= keys
    # 96 convolutions (94 and the head's two), each with one weight and four of its norm's.
    assert len(keys) == 96 * 5 + 4


def test_a_depth_that_is_none_is_refused() -> None:
    with pytest.raises(gx.GraphError, match="6n \\+ 2"):
        models.cifar.CifarNet(21, 3, 10, skip=True)
