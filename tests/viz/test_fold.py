"""Folding: boxes that keep count, keep sharing visible, and keep large graphs small."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import nn, viz

from .conftest import TRAINING


def boxes(drawing: viz.Drawing) -> dict[str, dict[str, object]]:
    return {n["name"]: n for n in drawing.model["nodes"] if n["kind"] == "box"}


def test_a_module_is_one_box_a_part(residual: gx.Graph) -> None:
    step = residual.apply(*TRAINING)
    drawing = viz.draw(step, fold="1*")
    found = boxes(drawing)
    assert set(found) == {"1", "backward of 1", "update of 1"}
    assert found["backward of 1"]["belongs_to"] == found["1"]["id"]
    assert "144 parameters" in found["1"]["label"]  # type: ignore[operator]
    assert "reads lr" in found["update of 1"]["label"]  # type: ignore[operator]
    names = {n["name"] for n in drawing.model["nodes"]}
    assert "1.branch.0.weight" not in names
    assert "2.branch.0.weight" in names
    assert "folded into 3 boxes" in drawing.model["folded"]
    assert "folded into 3 boxes" in drawing.dot
    assert "folded into 3 boxes" in drawing.svg


def test_edges_of_a_box_are_joined_and_counted(residual: gx.Graph) -> None:
    drawing = viz.draw(residual, fold="1*")
    box = boxes(drawing)["1"]["id"]
    into = [e for e in drawing.model["edges"] if e["target"] == box]
    # The block's input goes into its branch and around it.
    assert [(e["count"], e["label"]) for e in into] == [(2, "N×8")]
    assert '"  N×8 (2×)"' in drawing.dot
    whole = viz.draw(residual).model
    inside = {
        n["id"]
        for n in whole["nodes"]
        if n["name"].startswith(("1.", "linear_1", "linear_2")) or n["name"] in ("relu", "add")
    }
    kept = sum(not {e["source"], e["target"]} <= inside for e in whole["edges"])
    assert sum(e["count"] for e in drawing.model["edges"]) == kept


def test_a_shared_parameter_is_never_swallowed() -> None:
    weight = gx.parameter("shared.weight", (4, 4))
    x = gx.input("x", ("N", 4))
    first = nn.Linear(4, 4, name="first")
    y = gx.relu(gx.linear(gx.tanh(gx.linear(first(x), weight)), weight))
    drawing = viz.draw(gx.Graph({"y": y}), fold=["first"])
    assert "shared.weight" in {n["name"] for n in drawing.model["nodes"]}
    # A parameter that two boxes read stays between them.
    tied = gx.parameter("a.table", (4, 4))
    g = gx.Graph({"y": gx.linear(gx.linear(first(x), tied), first.weight)})
    drawing = viz.draw(g, fold="*")
    names = {n["name"]: n for n in drawing.model["nodes"]}
    assert "first.weight" in names
    edges = [e for e in drawing.model["edges"] if e["source"] == names["first.weight"]["id"]]
    assert len(edges) == 2


def test_fold_true_gives_an_overview(residual: gx.Graph, training: gx.Graph) -> None:
    assert set(boxes(viz.draw(residual, fold=True))) == {"0", "1 … 2"}
    overview = viz.draw(training, fold=True)
    assert {"conv1", "backward of conv1", "update of conv1", "penalty"} <= set(boxes(overview))
    named = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), name="net")
    graph = gx.Graph({"y": named(gx.input("x", ("N", 8)))})
    # One module around all is no overview: its parts are.
    assert set(boxes(viz.draw(graph, fold=True))) == {"net.0 … net.1"}


def test_updates_fold_beside_their_parameter(training: gx.Graph) -> None:
    drawing = viz.draw(training, fold="update/*")
    found = boxes(drawing)
    assert len(found) == 10
    nodes = {n["id"]: n["name"] for n in drawing.model["nodes"]}
    assert nodes[str(found["update of fc3.bias"]["belongs_to"])] == "fc3.bias"


def test_the_digest_tells_what_is_inside(residual: gx.Graph) -> None:
    first, second = (boxes(viz.draw(residual, fold=True)) for _ in range(2))
    digests = [box["digest"] for box in first.values()]
    assert digests == [box["digest"] for box in second.values()]
    assert len(set(digests)) == len(digests)


def test_a_glob_that_fits_nothing_is_an_error(residual: gx.Graph) -> None:
    with pytest.raises(gx.GraphError, match=r"fold='layer9\*'.*no module or update"):
        viz.draw(residual, fold="layer9*")


def test_what_exceeds_the_limit_folds_from_the_inside(residual: gx.Graph) -> None:
    step = residual.apply(*TRAINING)
    whole = len(viz.draw(step).model["nodes"])
    assert whole == len(viz.draw(step, limit=whole).model["nodes"])
    seen = set()
    for limit in (whole - 1, 60, 40, 25):
        drawing = viz.draw(step, limit=limit)
        assert len(drawing.model["nodes"]) <= limit
        assert f"more than {limit} nodes" in drawing.model["folded"]
        assert gx.parse(drawing.dot) == step
        seen.add(len(drawing.model["nodes"]))
    assert len(seen) > 1
    assert len(viz.draw(step, fold=False, limit=10).model["nodes"]) == whole


def test_a_long_chain_without_modules_folds_into_runs() -> None:
    y = gx.input("x", ("N",))
    for _ in range(3000):
        y = gx.tanh(y)
    graph = gx.Graph({"loss": gx.sum(y)})
    drawing = viz.draw(graph)
    assert len(drawing.model["nodes"]) < 70
    assert sum(e["count"] for e in drawing.model["edges"]) == len(drawing.model["edges"])
    assert gx.parse(drawing.svg) == graph
