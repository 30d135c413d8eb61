"""Convolution, pooling and losses against PyTorch, where it is installed: values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes

torch = pytest.importorskip("torch", reason="PyTorch is not installed: JAX is the oracle without")

CONVS: list[dict[str, Any]] = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    {"padding": 2, "groups": 2},
    {"stride": 3, "padding": 2, "dilation": 2, "groups": 2},
    {"padding": "valid"},
]
POOLS: list[tuple[Any, ...]] = [(2,), (3, 2), (3, 2, 1), ((2, 3), (2, 1), (1, 0)), (2, 3)]


def compare(name: str, ours: Any, theirs: Any, *arrays: np.ndarray[Any, Any]) -> None:
    """Value, and gradient of a random projection, in float32 and float64."""
    for dtype, limit in (("float32", 1e-5), ("float64", 1e-10)):
        given = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
        tensors = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in given]
        expected = theirs(*tensors)
        projection = np.random.default_rng(5).uniform(0.5, 1.5, tuple(expected.shape))
        weights = torch.tensor(projection, dtype=expected.dtype)
        (expected * weights).sum().backward()

        nodes = [gx.input(f"x{i}", a.shape, dtype=a.dtype.name) for i, a in enumerate(given)]
        y = ours(*nodes)
        graph = gx.Graph({"y": y, "loss": gx.sum(y * gx.constant(projection.astype(dtype)))})
        floats = [f"x{i}" for i, a in enumerate(given) if a.dtype.kind == "f"]
        graph = graph.apply(passes.backward(wrt=floats))
        found = gx.interpret(graph, {}, inputs={f"x{i}": a for i, a in enumerate(given)})
        check(f"{name}: value", found["y"], expected.detach(), limit)
        for i, tensor in enumerate(tensors):
            if tensor.requires_grad:
                check(f"{name}: gradient {i}", found[f"grad/x{i}"], tensor.grad, limit)


def check(what: str, found: np.ndarray[Any, Any], tensor: Any, limit: float) -> None:
    expected = tensor.numpy()
    assert found.shape == expected.shape, what
    assert np.max(np.abs(found - expected)) <= limit * np.max(np.abs(expected)), what


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("settings", CONVS, ids=str)
def test_conv2d(settings: dict[str, Any], batch: int) -> None:
    weight = normal(6, 4 // settings.get("groups", 1), 3, 2)
    compare(
        "conv2d",
        lambda x, w, b: gx.conv2d(x, w, b, **settings),
        lambda x, w, b: torch.nn.functional.conv2d(x, w, b, **settings),
        normal(batch, 4, 9, 7), weight, normal(6),
    )  # fmt: skip


def test_same_padding_is_torchs_at_stride_1() -> None:
    compare(
        "same",
        lambda x, w: gx.conv2d(x, w, padding="same", dilation=2),
        lambda x, w: torch.nn.functional.conv2d(x, w, padding="same", dilation=2),
        normal(2, 3, 6, 5), normal(4, 3, 3, 5),
    )  # fmt: skip


@pytest.mark.parametrize("settings", POOLS, ids=str)
def test_pooling(settings: tuple[Any, ...]) -> None:
    x = normal(3, 2, 7, 8)
    functional = torch.nn.functional
    compare("max", lambda x: gx.max_pool2d(x, *settings),
            lambda x: functional.max_pool2d(x, *settings), x)  # fmt: skip
    compare("max with ties", lambda x: gx.max_pool2d(x, *settings),
            lambda x: functional.max_pool2d(x, *settings), np.round(x))  # fmt: skip
    compare("average", lambda x: gx.avg_pool2d(x, *settings),
            lambda x: functional.avg_pool2d(x, *settings), x)  # fmt: skip


def test_softmax_and_losses() -> None:
    logits, label = normal(7, 5) * 3, np.array([0, 4, 2, 2, 1, 3, 0])
    compare("softmax", gx.softmax, lambda x: torch.softmax(x, -1), logits)
    compare("log_softmax", lambda x: gx.log_softmax(x, dim=0),
            lambda x: torch.log_softmax(x, 0), logits)  # fmt: skip
    compare("cross_entropy", gx.cross_entropy, torch.nn.functional.cross_entropy, logits, label)
