"""Weights of PyTorch's residual nets, under torchvision's names, carried over to the zoo's.

The nets are written out here in PyTorch's own layers: torchvision itself is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from tests.ops.harness import error

torch = pytest.importorskip("torch", reason="PyTorch is not installed: JAX builds the same nets")

BLOCKS = {"resnet-18": (2, 2, 2, 2), "resnet-34": (3, 4, 6, 3), "resnet-50": (3, 4, 6, 3)}


def block(inside: int, width: int, stride: int, deep: bool) -> Any:
    """A basic block or a bottleneck, its modules called as torchvision calls them."""
    layer = torch.nn

    def conv(a: int, b: int, k: int, s: int = 1) -> Any:
        return layer.Conv2d(a, b, k, s, k // 2, bias=False)

    outside = 4 * width if deep else width
    sizes = (
        [(inside, width, 1, 1), (width, width, 3, stride), (width, outside, 1, 1)]
        if deep
        else [(inside, width, 3, stride), (width, width, 3, 1)]
    )

    class Block(layer.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            for number, size in enumerate(sizes, 1):
                setattr(self, f"conv{number}", conv(*size))
                setattr(self, f"bn{number}", layer.BatchNorm2d(size[1]))
            if stride != 1 or inside != outside:
                self.downsample = layer.Sequential(
                    conv(inside, outside, 1, stride), layer.BatchNorm2d(outside)
                )

        def forward(self, x: Any) -> Any:
            y = x
            for number in range(1, len(sizes) + 1):
                y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
                y = torch.relu(y) if number < len(sizes) else y
            skip = self.downsample(x) if hasattr(self, "downsample") else x
            return torch.relu(y + skip)

    return Block(), outside


def network(name: str, classes: int) -> Any:
    deep, inside = name == "resnet-50", 64
    net = torch.nn.Sequential()
    net.add_module("conv1", torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False))
    net.add_module("bn1", torch.nn.BatchNorm2d(64))
    net.add_module("relu", torch.nn.ReLU())
    net.add_module("maxpool", torch.nn.MaxPool2d(3, 2, 1))
    for stage, count in enumerate(BLOCKS[name]):
        blocks = []
        for number in range(count):
            stride = 2 if stage and not number else 1
            made, inside = block(inside, 64 << stage, stride, deep)
            blocks.append(made)
        net.add_module(f"layer{stage + 1}", torch.nn.Sequential(*blocks))
    net.add_module("avgpool", torch.nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", torch.nn.Flatten())
    net.add_module("fc", torch.nn.Linear(inside, classes))
    return net


def randomized(net: Any) -> Any:
    """Nothing at its initial value, running statistics and scales of batch norm included."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.3, 1.0)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


@pytest.mark.parametrize("name", BLOCKS)
def test_logits_of_a_residual_net(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = randomized(network(name, 10))
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    with pytest.warns(UserWarning, match="sha256"):
        variables, graph = gx.load(tmp_path / "net.safetensors")
    assert graph is None
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.tensor(x)).numpy()
    built = models.build(name, classes=10, image=(3, 64, 64)).select("logits")
    for graph in (built.apply(passes.inference()),
                  built.apply(passes.inference(), passes.fold_batch_norm())):  # fmt: skip
        predict = gx.compile(graph)
        assert error(predict(variables, image=x)["logits"], expected) <= 1e-4
        assert error(predict.bind(variables)(image=x)["logits"], expected) <= 1e-4
