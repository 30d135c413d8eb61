"""``graph.summary()``: layers, their outputs, parameters and uses, and what a step adds."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import models, nn, passes
from graphc.ir.summary import modules, parts, shorten, uses
from tests.random_graphs import sample

STEP = (passes.backward(), passes.sgd(lr="lr", momentum=0.9))

LENET = """\
layer                     output           parameters  uses
-----------------------------------------------------------
image: input              f32[N,1,28,28]
conv1: conv2d             f32[N,6,28,28]          156     1
relu                      f32[N,6,28,28]
max_pool2d                f32[N,6,14,14]
conv2: conv2d             f32[N,16,10,10]       2,416     1
relu_1: relu              f32[N,16,10,10]
max_pool2d_1: max_pool2d  f32[N,16,5,5]
reshape                   f32[N,400]
fc1: linear               f32[N,120]           48,120     1
relu_2: relu              f32[N,120]
fc2: linear               f32[N,84]            10,164     1
relu_3: relu              f32[N,84]
fc3: linear               f32[N,10]               850     1
label: input              i64[N]
cross_entropy             f32[]
-----------------------------------------------------------
total: 61,706 parameters in 10 arrays, 241.0 KiB"""


def test_lenet() -> None:
    graph = models.build("lenet-5")
    assert graph.summary() == LENET
    # A parsed graph has lost its modules, but not the names that tell them.
    assert gx.parse(str(graph)).summary() == LENET


def test_a_training_step_adds_two_lines() -> None:
    step = models.build("lenet-5").apply(passes.weight_decay(5e-4), *STEP)
    lines = step.summary().splitlines()
    assert "\n".join(lines[:-2]) == LENET
    backward = sum(part == "backward" for part in parts(step).values())
    assert lines[-2] == f"backward: {backward} nodes, 5 gradient sums"
    assert lines[-1] == "updates: 10 parameters, 10 states (61,706 numbers)"
    assert gx.parse(str(step)).summary() == step.summary()


def test_a_shared_layer_counts_once() -> None:
    x = gx.input("x", ("N", 3))
    layer = nn.Linear(3, 3, name="layer")
    graph = gx.Graph({"loss": gx.sum(layer(gx.relu(layer(x))))})
    rows = [row.split() for row in graph.summary().splitlines()]
    assert ["layer:", "linear", "f32[N,3]", "12", "2"] in rows
    assert ["layer:", "linear", "f32[N,3]", "shared", "2"] in rows
    assert "total: 12 parameters in 2 arrays, 48 bytes" in graph.summary()
    # Gradients, decay and updates read the weight as well: those are no uses of the layer.
    step = graph.apply(passes.weight_decay(0.1), *STEP)
    assert set(uses(step).values()) == {2}


def test_uses_count_edges_not_nodes() -> None:
    w = gx.parameter("w", (2,))
    assert list(uses(gx.Graph({"y": w * w + w})).values()) == [3]


def test_a_module_of_several_nodes_is_one_row() -> None:
    x = gx.input("x", ("N", 4, 8, 8))
    graph = gx.Graph({"y": nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))(x)})
    rows = [row.split()[:2] for row in graph.summary().splitlines()]
    assert ["1:", "batch_norm"] in rows
    assert sum(row[0] == "1:" for row in rows) == 1
    assert "updates: 0 parameters, 2 states (8 numbers)" in graph.summary()


def test_modules_of_nodes() -> None:
    x = gx.input("x", ("N", 4))
    net = nn.Sequential(nn.Residual(nn.Linear(4, 4)), nn.Linear(4, 4), name="net")
    graph = gx.Graph({"y": net(x)})
    found = {graph.name(node): path for node, path in modules(graph).items()}
    assert found["net.0.branch.weight"] == "net.0.branch"
    assert found["linear"] == "net.0.branch"
    assert found["add"] == "net.0"
    assert found["x"] == ""


@pytest.mark.parametrize("seed", range(8))
def test_the_parts_of_random_steps(seed: int) -> None:
    graph = sample(seed).graph
    # What only updates need (running statistics) is no part of forward; all else is.
    assert set(parts(graph).values()) <= {"forward", "update"}
    if not graph.parameters:
        return
    step = graph.apply(*STEP)
    found = parts(step)
    assert {found[n] for n in graph.nodes if parts(graph)[n] == "forward"} == {"forward"}
    for name, leaf in step.parameters.items():
        if name in step.updates:
            assert found[step.updates[name]] == "update"
            assert found[step.gradients[leaf]] in ("backward", "forward")


@pytest.mark.parametrize("seed", range(8))
def test_it_fits_a_terminal(seed: int) -> None:
    graph = sample(seed).graph
    assert max(map(len, graph.summary().splitlines())) <= 80
    long = gx.Graph({"y": gx.parameter("a." * 200 + "w", (3,)) * 2})
    assert max(map(len, long.summary().splitlines())) <= 80


def test_shorten_keeps_both_ends() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcd…ghijk"
