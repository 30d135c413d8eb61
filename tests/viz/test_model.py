"""The drawn model: what is drawn, once each, with every use; what belongs to what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes, viz
from tests.random_graphs import sample

from .conftest import TRAINING

Model = dict[str, Any]


def by_name(model: Model) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in model["nodes"]}


def hidden(graph: gx.Graph, node: gx.Node) -> bool:
    """Written again from the rule, not from the code: what a drawing leaves out."""
    kept = {*graph.outputs.values(), *graph.updates.values()}
    if node.op.name == "stream" or graph.name(node) in ("random/seed", "step"):
        return True
    return node.op.name in ("constant", "size") and node.shape == () and node not in kept


def operands(node: gx.Node) -> tuple[gx.Node, ...]:
    return node.inputs[:1] if node.op.name == "dropout" else node.inputs


def check(graph: gx.Graph) -> None:
    model = viz.draw(graph, fold=False).model
    # step ← step + 1 is left out with the step.
    counting = {graph.updates["step"]} if "step" in graph.updates else set()
    nodes = [n for n in graph.nodes if not hidden(graph, n) and n not in counting]
    assert [node["name"] for node in model["nodes"]] == [graph.name(n) for n in nodes]
    names = {node["id"]: node["name"] for node in model["nodes"]}
    assert len(names) == len(model["nodes"])
    uses = Counter(
        (names[e["source"]], names[e["target"]], e["input"])
        for e in model["edges"]
        if e["kind"] == "data"
    )
    assert uses == Counter(
        (graph.name(source), graph.name(node), position)
        for node in nodes
        for position, source in enumerate(operands(node))
        if not hidden(graph, source)
    )
    updates = {
        (names[e["source"]], names[e["target"]]) for e in model["edges"] if e["kind"] == "update"
    }
    assert updates == {
        (graph.name(node), name) for name, node in graph.updates.items() if name != "step"
    }
    said = {name: node["name"] for node in model["nodes"] for name in node["outputs"]}
    assert said == {name: graph.name(node) for name, node in graph.outputs.items()}


def test_each_node_once_and_each_use_an_edge(
    lenet: gx.Graph, training: gx.Graph, shared: gx.Graph
) -> None:
    for graph in (lenet, training, shared, shared.apply(*TRAINING)):
        check(graph)


@pytest.mark.parametrize("seed", range(12))
def test_each_node_once_in_random_graphs(seed: int) -> None:
    graph = sample(seed).graph
    check(graph)
    if graph.parameters:
        check(graph.apply(*TRAINING))


def test_the_model_is_json(training: gx.Graph) -> None:
    model = viz.draw(training).model
    assert json.loads(json.dumps(model)) == model


def test_x_times_x_keeps_two_edges_forward_and_in_the_gradient() -> None:
    x = gx.input("x", ("N",))
    graph = gx.Graph({"loss": gx.sum(x * x)}).apply(passes.backward(wrt="x"))
    model = viz.draw(graph).model
    nodes = by_name(model)
    for source, target in (("x", "mul"), ("mul_1", "grad_sum")):
        edges = [
            e["input"]
            for e in model["edges"]
            if (e["source"], e["target"]) == (nodes[source]["id"], nodes[target]["id"])
        ]
        assert edges == [0, 1]
    assert nodes["grad_sum"]["label"] == ["Σ grad of x"]
    assert nodes["grad_sum"]["kind"] == "grad_sum"
    dot = viz.draw(graph).dot
    assert dot.count('"x" -> "mul" [id=') == 2


@pytest.mark.parametrize("uses", range(1, 8))
def test_a_layer_called_k_times_is_one_node_with_k_uses(uses: int) -> None:
    x = gx.input("x", ("N", 4))
    layer = nn.Linear(4, 4, name="layer")
    y = x
    for _ in range(uses):
        y = gx.tanh(layer(y))
    model = viz.draw(gx.Graph({"loss": gx.sum(y)}).apply(*TRAINING)).model
    nodes = by_name(model)
    weight = nodes["layer.weight"]
    assert weight["uses"] == uses
    shared = [row for row in weight["label"] if row.startswith("shared")]
    assert shared == ([f"shared: {uses} uses"] if uses > 1 else [])
    gradient = next(n for n in model["nodes"] if n["gradient_of"] == weight["id"])
    assert gradient["label"][-1] == ("Σ " if uses > 1 else "") + "grad of layer.weight"
    into = [e for e in model["edges"] if e["target"] == gradient["id"]]
    assert uses == 1 or [e["input"] for e in into] == list(range(uses))


def test_every_gradient_stands_beside_its_node(training: gx.Graph) -> None:
    model = viz.draw(training).model
    names = {node["id"]: node["name"] for node in model["nodes"]}
    beside = {node["name"]: names.get(node["gradient_of"]) for node in model["nodes"]}
    for name, parameter in training.parameters.items():
        gradient = training.gradients[parameter]
        assert beside[training.name(gradient)] == name
    # Each other gradient belongs to one of the nodes that it is the gradient of.
    primals: dict[str, set[str]] = {}
    for node, gradient in training.gradients.items():
        primals.setdefault(training.name(gradient), set()).add(training.name(node))
    for name, primal in beside.items():
        assert primal is None or primal in primals[name]
    # … and what is nobody's gradient still belongs to the node whose rule made it.
    loose = [n for n in model["nodes"] if n["part"] == "backward"]
    assert all(n["belongs_to"] for n in loose)


def test_gradients_and_updates_share_a_row_with_their_node(training: gx.Graph) -> None:
    drawing = viz.draw(training)
    rows = [
        line.split("rank=same; ")[1].rstrip("}").replace('"', "").split("; ")
        for line in drawing.dot.splitlines()
        if "rank=same; " in line
    ]
    row_of = {node: row for row in rows for node in row}
    for node in drawing.model["nodes"]:
        if node["gradient_of"]:
            assert row_of[node["id"]] is row_of[node["gradient_of"]]
        if node["part"] == "update" and node["belongs_to"]:
            assert row_of[node["id"]] is row_of[node["belongs_to"]]


def test_the_three_parts(training: gx.Graph, lenet: gx.Graph) -> None:
    assert {n["part"] for n in viz.draw(lenet).model["nodes"]} == {"forward"}
    nodes = by_name(viz.draw(training).model)
    forward = {n for n in nodes if nodes[n]["part"] == "forward"}
    # The declared graph's nodes are forward in the training graph too, under the same names.
    assert set(by_name(viz.draw(lenet).model)) <= forward
    assert nodes["sgd/conv1.weight/momentum"]["part"] == "update"
    assert nodes["lr"]["part"] == "update"
    sums = [n for n in nodes.values() if n["op"] == "grad_sum"]
    assert len(sums) == 5  # a weight's: of the loss and of its decay
    assert {n["part"] for n in sums} == {"backward"}


def test_a_parsed_step_is_told_apart_without_the_map_of_gradients(training: gx.Graph) -> None:
    read = gx.parse(str(training))
    assert not read.gradients
    old, new = by_name(viz.draw(training).model), by_name(viz.draw(read).model)
    assert {k: n["part"] for k, n in new.items()} == {k: n["part"] for k, n in old.items()}
    weight = next(n for n in new.values() if n["label"] == ["Σ grad of conv1.weight"])
    assert weight["gradient_of"] == new["conv1.weight"]["id"]


def test_random_bits_are_hidden_and_the_decay_is_marked(training: gx.Graph) -> None:
    drawing = viz.draw(training)
    nodes = by_name(drawing.model)
    assert not {"random/seed", "step"} & set(nodes)
    assert not any(n["op"] == "stream" for n in nodes.values())
    assert nodes["dropout"]["label"] == ["dropout", "retain=0.5"]
    decay = [e for e in drawing.model["edges"] if e["operand"] == "decay"]
    assert len(decay) == 5
    assert drawing.svg.count(">decay</text>") == 5


def test_scalars_are_written_into_the_label_of_their_user() -> None:
    x = gx.input("x", ("N", 2))
    y = 1 - gx.maximum(x * 0.5, x) / gx.size("N")
    nodes = by_name(viz.draw(gx.Graph({"y": y})).model)
    assert [nodes[n]["label"] for n in ("mul", "maximum", "div", "sub")] == [
        ["mul", "· × 0.5"],
        ["maximum"],
        ["div", "· ÷ N"],
        ["sub", "1.0 − ·"],
    ]
    assert len(nodes) == 5
    array = gx.constant(np.ones(3, np.float32))
    assert by_name(viz.draw(gx.Graph({"y": array * 2})).model)["constant"]["kind"] == "constant"
    # A number that is an output itself has a node to mark.
    (only,) = viz.draw(gx.Graph({"y": gx.constant(1.0)})).model["nodes"]
    assert only["outputs"] == ["y"]


def test_a_rate_that_many_updates_read_is_told_in_their_labels(training: gx.Graph) -> None:
    drawing = viz.draw(training)
    nodes = by_name(drawing.model)
    told = [e for e in drawing.model["edges"] if e["told"]]
    assert {e["source"] for e in told} == {nodes["lr"]["id"]}
    assert len(told) == len(training.users(training.inputs["lr"])) == 10
    labels = {n["id"]: n["label"] for n in drawing.model["nodes"]}
    assert all("lr × ·" in labels[e["target"]] for e in told)
    assert '"lr" -> ' not in drawing.dot


def test_clusters_follow_the_modules(residual: gx.Graph) -> None:
    model = viz.draw(residual).model
    path = {cluster["id"]: cluster["path"] for cluster in model["clusters"]}
    parent = {c["path"]: path.get(c["parent"]) for c in model["clusters"]}
    assert parent["1.branch.0"] == "1.branch"
    assert parent["1.branch"] == "1"
    assert parent["1"] is None
    nodes = by_name(model)
    assert path[nodes["1.branch.0.weight"]["cluster"]] == "1.branch.0"
    assert path[nodes["linear_1"]["cluster"]] == "1.branch.0"
    assert path[nodes["add"]["cluster"]] == "1"
    assert nodes["x"]["cluster"] is None
    # A name may have any number of dots; a drawing does not nest without bound.
    deep = gx.parameter(".".join(["a"] * 5000), (2,))
    assert len(viz.draw(gx.Graph({"y": deep * 2})).model["clusters"]) == 16


def test_the_penalty_is_a_cluster_and_updates_are_in_their_modules(training: gx.Graph) -> None:
    model = viz.draw(training).model
    clusters = {c["id"]: c for c in model["clusters"]}
    nodes = by_name(model)
    assert clusters[nodes["square"]["cluster"]]["kind"] == "penalty"
    momentum = clusters[nodes["sgd/fc1.weight/momentum"]["cluster"]]
    assert momentum["path"] == "update/fc1.weight"
    assert clusters[momentum["parent"]]["path"] == "fc1"


def test_user_lines_and_types_are_kept(lenet: gx.Graph) -> None:
    x = gx.input("x", ("N", 3))
    node = by_name(viz.draw(gx.Graph({"y": gx.tanh(x)})).model)["tanh"]
    assert node["line"].startswith("test_model.py:")
    assert (node["type"], node["shape"], node["dtype"]) == ("f32[N,3]", ["N", 3], "float32")
    conv = by_name(viz.draw(lenet).model)["conv2d"]
    assert conv["attributes"] == "padding=2"
    weight = by_name(viz.draw(lenet).model)["conv1.weight"]
    assert (weight["role"], weight["shape"]) == ("weight", [6, 1, 5, 5])
    edge = next(
        e
        for e in viz.draw(lenet).model["edges"]
        if e["source"] == conv["id"] and e["kind"] == "data"
    )
    assert edge["label"] == "N×6×28×28"


def test_building_twice_draws_the_same() -> None:
    first, second = (models.build("lenet-5").apply(*TRAINING) for _ in range(2))
    assert viz.draw(first).model == viz.draw(second).model


CHILD = """
import hashlib, json
from graphc import models, passes, viz
step = models.build("lenet-5").apply(
    passes.insert_dropout(retain=0.5), passes.weight_decay(5e-4), passes.backward(),
    passes.sgd(lr="lr", momentum=0.9),
)
drawing = viz.draw(step)
model = json.dumps(drawing.model)
for form in (model.encode(), drawing.dot.encode(), drawing.svg.encode(), drawing.png):
    print(hashlib.sha256(form).hexdigest())
"""


def test_the_same_bytes_in_any_process() -> None:
    forms = {
        subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(forms) == 1
    assert len(forms.pop().split()) == 4


def test_a_long_update_takes_several_lines_and_shared_scalars_are_told(lenet: gx.Graph) -> None:
    step = lenet.apply(passes.backward(), passes.clip_gradients(1.0), passes.adam(1e-3))
    drawing = viz.draw(step)
    check(step)
    nodes = by_name(drawing.model)
    names = {n["id"]: n["name"] for n in drawing.model["nodes"]}
    # The norm of all gradients: each gradient's square stands with its parameter …
    squares = [n for n in nodes.values() if n["op"] == "square" and n["part"] == "update"]
    beside = {names[n["belongs_to"]] for n in squares}
    assert beside == set(step.parameters)
    # … and the factor that all updates read is named in their labels.
    told = {names[e["source"]] for e in drawing.model["edges"] if e["told"]}
    factor = next(n for n in nodes.values() if n["op"] == "minimum")
    assert factor["name"] in told
    assert sum(f"· × {factor['name']}" in n["label"] for n in nodes.values()) == 10
    lines = [line for line in drawing.dot.splitlines() if "rank=same; " in line]
    assert max(line.count(";") for line in lines) <= 10
    assert "<svg" in drawing.svg
