"""A drawing carries its graph: what is rendered reads back equal, and equal graphs draw equal."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter

import pytest

import graphc as gx
from graphc import nn, passes, viz
from tests.random_graphs import sample

from .test_model import check


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_500_random_graphs_read_back(first: int) -> None:
    for seed in range(first, first + 100):
        graph = sample(seed).graph
        drawing = viz.draw(graph)
        assert gx.parse(drawing.dot) == graph, seed
        if seed % 50 == 0:
            assert gx.parse(drawing.svg) == graph, seed
            assert gx.parse(drawing.html) == graph, seed
            check(graph)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 500, 50))
def test_500_random_graphs_read_back_from_svg(first: int) -> None:
    for seed in range(first, first + 50):
        graph = sample(seed).graph
        drawing = viz.draw(graph)
        assert gx.parse(drawing.svg) == graph, seed
        assert gx.parse(drawing.html) == graph, seed
        check(graph)


def test_each_parameter_once_and_each_use_an_edge() -> None:
    """At the default fold, which hides no parameter of a small graph."""
    for seed in range(60):
        graph = sample(seed).graph
        model = viz.draw(graph).model
        found = Counter(n["name"] for n in model["nodes"] if n["kind"] == "parameter")
        assert found == dict.fromkeys(graph.parameters, 1)
        for name, weight in graph.parameters.items():
            uses = sum(e["count"] for e in model["edges"] if e["source"] == name)
            assert uses == len(graph.users(weight)), (seed, name)


def shuffled(text: str, rng: random.Random) -> str:
    """The printed IR with its statements in another order: each name is known before its use."""
    lines = text.splitlines()
    head = lines[:2]
    body = [line for line in lines if line.startswith("  %")]
    foot = lines[2 + len(body) :]
    names = {line.split(":")[0].split(" =")[0].strip(): line for line in body}
    needs = {
        name: set(re.findall(r"%[\w./@-]+", line.split(" = ", 1)[1])) & set(names)
        for name, line in names.items()
    }
    found: list[str] = []
    while names:
        free = sorted(name for name in names if not needs[name] & set(names))
        name = rng.choice(free)
        found.append(names.pop(name))
    return "\n".join([*head, *found, *foot])


def test_the_order_of_construction_does_not_show() -> None:
    rng = random.Random(0)
    moved = 0
    for seed in range(20):
        text = sample(seed).graph.text(comments=False)
        first = gx.parse(text)
        for _ in range(2):
            other = shuffled(text, rng)
            moved += other != text
            again = gx.parse(other)
            assert again == first
            assert viz.draw(again).dot == viz.draw(first).dot
    assert moved > 20


def built(order: str) -> gx.Graph:
    """One net; ``order`` says in which order its pieces come to be."""
    x = gx.input("x", ("N", 4))
    root = nn.Module(name="net")
    for name in order:
        setattr(root, name, nn.Linear(4, 4))
    parts = {}
    for name in order:
        parts[name] = gx.tanh(getattr(root, name)(x))
    return gx.Graph({"loss": gx.sum(parts["a"] * parts["b"] + parts["c"])})


def test_modules_may_be_made_in_any_order() -> None:
    train = (passes.unshare(), passes.backward(), passes.sgd(lr=0.1, momentum=0.9))
    graphs = [built(order) for order in ("abc", "cab", "bca")]
    assert graphs[0] == graphs[1] == graphs[2]
    assert len({viz.draw(graph).dot for graph in graphs}) == 1
    assert len({viz.draw(graph.apply(*train[1:])).dot for graph in graphs}) == 1
    assert len({viz.draw(graph, fold=True).dot for graph in graphs}) == 1


CHILD = """
import hashlib
from graphc import viz
from tests.random_graphs import sample
for seed in range(12):
    print(hashlib.sha256(viz.draw(sample(seed).graph, fold=True).dot.encode()).hexdigest())
"""


def test_the_same_dot_in_any_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "77")
    }
    assert len(said) == 1
    here = [viz.draw(sample(seed).graph, fold=True).dot for seed in range(12)]
    assert len(said.pop().split()) == len(here)


def test_edges_of_a_shared_weight_are_told_apart() -> None:
    x = gx.input("x", ("N", 4))
    layer = nn.Linear(4, 4, name="layer")
    graph = gx.Graph({"loss": gx.sum(gx.tanh(layer(gx.tanh(layer(x)))))})
    for apart in (
        graph.apply(passes.unshare()),
        graph.apply(passes.unshare(), passes.backward()),
    ):
        drawing = viz.draw(apart)
        assert drawing.model["weights"] == ["layer.weight", "layer.bias"]
        uses = [n for n in drawing.model["nodes"] if n["kind"] == "edge"]
        assert Counter(n["weight"] for n in uses) == {"layer.weight": 2, "layer.bias": 2}
        for node in uses:
            into = [e for e in drawing.model["edges"] if e["target"] == node["id"]]
            assert [e["source"] for e in into] == [node["weight"]]
            assert node["label"][0] in drawing.svg
        looks = set(
            re.findall(r'class="weight(\d)", color="(#\w+)", style="([\w,]+)"', drawing.dot)
        )
        assert len(looks) == len({place for place, _, _ in looks}) == 2
        assert len({style for _, _, style in looks}) == 2
        assert gx.parse(drawing.svg) == apart
    gradients = {n["label"][-1] for n in drawing.model["nodes"] if n["gradient_of"]}
    assert {"grad of layer.weight@0", "grad of layer.bias@1"} <= gradients
