"""Tied weights in files: under their first path, under another, or under several if they agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy

import graphc as gx
from graphc import nn


class Tied(nn.Module):
    """A language model's first and last layer, and one layer that stands in two places."""

    def __init__(self) -> None:
        self.embed = nn.Embedding(7, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.again = self.block
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: gx.Node) -> gx.Node:
        return cast(gx.Node, self.head(self.again(self.block(self.embed(tokens)))))


def tied() -> gx.Graph:
    return gx.Graph({"y": Tied()(gx.input("tokens", ("N",), dtype="int64"))})


def plain(path: Path, **arrays: Any) -> Path:
    """A file as others write it."""
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in arrays.items()}, path)
    return path


@pytest.mark.filterwarnings("ignore:.*has no graphc.sha256")
def test_a_tied_weight_is_read_under_any_of_its_names(tmp_path: Path) -> None:
    graph = tied()
    assert graph.aliases == {
        "head.weight": "embed.weight",
        "again.0.weight": "block.0.weight",
        "again.0.bias": "block.0.bias",
    }
    rng = np.random.default_rng(0)
    values = {n: rng.normal(size=p.shape).astype(np.float32) for n, p in graph.parameters.items()}
    expected = gx.interpret(graph, values, tokens=[1, 2])["y"]
    both = values | {other: values[name] for other, name in graph.aliases.items()}
    others = {
        next((o for o, n in graph.aliases.items() if n == name), name): value
        for name, value in values.items()
    }
    for arrays in (values, both, others):
        loaded, found = gx.load(plain(tmp_path / "net.safetensors", **arrays), graph=graph)
        assert found is None
        np.testing.assert_array_equal(gx.interpret(graph, loaded, tokens=[1, 2])["y"], expected)
        for other, name in graph.aliases.items():
            assert loaded.get(other, loaded[name]) is loaded[name]
        gx.compile(graph)(loaded, tokens=[1, 2])


@pytest.mark.filterwarnings("ignore:.*has no graphc.sha256")
def test_two_values_of_a_tied_weight_are_refused(tmp_path: Path) -> None:
    graph = tied()
    arrays = {name: np.zeros(p.shape, np.float32) for name, p in graph.parameters.items()}
    for wrong in (
        np.full((7, 4), 1e-30, np.float32),
        np.zeros((4, 7), np.float32),
        np.zeros((7, 4)),
    ):
        path = plain(tmp_path / "net.safetensors", **arrays, **{"head.weight": wrong})
        with pytest.raises(gx.FormatError, match=r"'embed\.weight' and 'head\.weight'"):
            gx.load(path, graph=graph)
    # Neither is under the graph's own name.
    del arrays["block.0.weight"]
    half = {"again.0.weight": np.ones((4, 4), np.float32)}
    loaded, _ = gx.load(plain(tmp_path / "net.safetensors", **arrays, **half), graph=graph)
    np.testing.assert_array_equal(loaded["block.0.weight"], np.ones((4, 4)))


def test_a_saved_file_of_a_graph_with_tied_weights(tmp_path: Path) -> None:
    graph = tied()
    variables = gx.compile(graph).init(seed=1)
    gx.save(tmp_path / "net.safetensors", variables, graph)
    loaded, found = gx.load(tmp_path / "net.safetensors", graph=graph)
    assert found == graph
    assert loaded.keys() == variables.keys()


def test_what_is_tied_no_more_and_what_another_root_calls_otherwise() -> None:
    first = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    alone = nn.Sequential(first[1])  # not the owner: its path is another model's
    x = gx.input("x", ("N", 3))
    assert gx.Graph({"y": first(x)}).aliases == {}
    assert gx.Graph({"y": alone(x)}).aliases == {}
    first[1].weight = first[0].weight
    assert gx.Graph({"y": first(x)}).aliases == {"1.weight": "0.weight"}
    first[1].weight = gx.parameter("w", (3, 3))
    assert gx.Graph({"y": first(x)}).aliases == {}


class Twice(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        self.first = self.second = inner

    def forward(self, x: gx.Node) -> gx.Node:
        return cast(gx.Node, self.first(x))


def test_a_layer_in_two_places_of_a_layer_in_two_places() -> None:
    net: nn.Module = nn.Linear(2, 2)
    for _ in range(40):  # 2^40 paths
        net = Twice(net)
    graph = gx.Graph({"y": net(gx.input("x", ("N", 2)))})
    assert len(graph.parameters) == 2
    assert 0 < len(graph.aliases) <= 2 * 4096
    assert len(gx.Graph({"y": Twice(Twice(nn.ReLU()))(graph.inputs["x"])}).aliases) == 0
