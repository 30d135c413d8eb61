"""Overlays: the numbers of the analysis on the nodes, one scale of colour, anybody's mapping."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, viz
from graphc.viz.overlay import levels, short
from graphc.viz.style import DARK_INK, DARK_RAMP, DARK_WORST, INK, RAMP, WORST

from .conftest import TRAINING
from .test_hostile import FILES, check, shape
from .test_style import contrast, luminance

SVG = "{http://www.w3.org/2000/svg}"


def values(drawing: viz.Drawing, name: str) -> dict[str, Any]:
    return {n["name"]: n["values"][name] for n in drawing.model["nodes"] if name in n["values"]}


def reads_back(drawing: viz.Drawing) -> None:
    caption = drawing.caption
    assert viz.Caption.parse(caption.template, str(caption)) == caption.values
    # The picture says it, in lines.
    drawn = " ".join(e.text or "" for e in ET.fromstring(drawing.svg.encode()).iter(f"{SVG}text"))
    assert str(caption) in drawn


def test_costs_are_those_of_the_analysis(lenet: gx.Graph) -> None:
    drawing = viz.draw(lenet, flops=True, bytes=True, parameters=True, sizes={"N": 8})
    cost = gx.cost(lenet, N=8)
    assert values(drawing, "flops") == {each.name: each.flops for each in cost}
    assert values(drawing, "bytes") == {each.name: each.bytes for each in cost}
    sizes = {name: int(np.prod(p.shape)) for name, p in lenet.parameters.items()}
    assert values(drawing, "parameters") == sizes
    told = drawing.caption.values
    assert told["total0"] == cost.flops
    assert told["size0_N"] == 8
    assert told["total1"] == cost.bytes
    assert told["total2"] == lenet.parameter_count()
    reads_back(drawing)
    assert gx.parse(drawing.svg) == gx.parse(drawing.dot) == lenet
    given = viz.draw(lenet, flops=gx.cost(lenet, N=8))
    assert values(given, "flops") == values(drawing, "flops")


def test_the_first_overlay_with_numbers_colours_and_every_one_has_a_row(lenet: gx.Graph) -> None:
    drawing = viz.draw(lenet, words={"relu": "here"}, flops=True, bytes=True)
    conv = next(n for n in drawing.model["nodes"] if n["name"] == "conv2d_1")
    assert conv["level"] == len(RAMP) - 1
    assert [mark.split(" ")[0] for mark in conv["marks"]] == ["flops", "bytes"]
    relu = next(n for n in drawing.model["nodes"] if n["name"] == "relu")
    assert relu["marks"][0] == "words here"
    low, high = drawing.model["scales"][1]["low"], drawing.model["scales"][1]["high"]
    assert (low, high) == (0, gx.cost(lenet)["conv2d_1"].flops)
    assert [bool(scale["keys"]) for scale in drawing.model["scales"]] == [False, True, False]
    for mark in conv["marks"]:
        assert mark in drawing.svg
    for key in drawing.model["scales"][1]["keys"]:
        assert f">{key.replace('<', '&lt;')}</text>" in drawing.svg
    assert json.loads(json.dumps(drawing.model)) == drawing.model


def test_boxes_add_up(training: gx.Graph) -> None:
    whole = viz.draw(training, fold=False, flops=True)
    folded = viz.draw(training, fold=True, flops=True)
    assert sum(values(whole, "flops").values()) == sum(values(folded, "flops").values())
    inside = next(n for n in folded.model["nodes"] if n["name"] == "conv1")["inside"]
    assert values(folded, "flops")["conv1"] == sum(
        value for name, value in values(whole, "flops").items() if name in inside
    )


def test_time_and_memory_of_a_program() -> None:
    x = gx.input("x", ("N", 64))
    graph = gx.Graph({"y": gx.sum(gx.exp(x) * gx.tanh(x), 1)})
    program = gx.compile(graph)
    profile = program.profile({}, x=np.ones((16, 64), np.float32))
    drawing = viz.draw(graph, time=profile, memory=gx.compile(graph, sizes={"N": 16}))
    assert values(drawing, "time") == {e.name: round(e.seconds, 9) for e in profile}
    assert values(drawing, "memory")["exp"] == 16 * 64 * 4
    row = next(n for n in drawing.model["nodes"] if n["name"] == "exp")["marks"][1]
    assert re.fullmatch(r"4 KiB, lines \d+–\d+", row)
    reads_back(drawing)


def test_receptive_fields() -> None:
    lenet = models.build("lenet-5")
    drawing = viz.draw(lenet, receptive_field=True)
    marks = {n["name"]: n["marks"] for n in drawing.model["nodes"]}
    assert marks["conv2d"] == ["sees 5×5 every 1"]
    assert marks["linear"] == []  # it has no map
    for node in (n for n in lenet.nodes if n.op.name == "conv2d"):
        assert values(drawing, "receptive_field")[lenet.name(node)] == max(
            gx.receptive_field(node).size  # type: ignore[type-var]
        )
    some = {n: gx.receptive_field(n) for n in lenet.nodes if n.op.name == "conv2d"}
    assert set(values(viz.draw(lenet, receptive_field=some), "receptive_field")) == {
        "conv2d", "conv2d_1"
    }  # fmt: skip
    reads_back(drawing)


def test_a_wrong_gradient_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = gx.input("x", (3,), dtype="float64"), gx.parameter("w", (3,), dtype="float64", init=0.5)
    graph = gx.Graph({"loss": gx.sum(gx.tanh(gx.square(x * w)))})
    tanh = next(n for n in graph.nodes if n.op.name == "tanh").op
    right = type(tanh).grad
    monkeypatch.setattr(
        type(tanh), "grad", lambda self, n, g: [2 * each for each in right(self, n, g)]
    )
    found = gx.gradient_check(graph, gx.compile(graph).init(), x=np.array([1.0, 2.0, 3.0]))
    assert found.wrong
    drawing = viz.draw(graph, gradient_check=found)
    (worst,) = [n for n in drawing.model["nodes"] if n["worst"]]
    assert worst["name"] == found.worst.name == "tanh"
    assert worst["marks"][0].startswith("gradient WRONG")
    groups = [
        g for g in ET.fromstring(drawing.svg.encode()).iter(f"{SVG}g")
        if "worst" in g.get("class", "").split() and not str(g.get("id")).startswith("key:")
    ]  # fmt: skip
    assert [g.get("id") for g in groups] == ["tanh"]
    # In grey too: a second outline and the word.
    assert len(groups[0].findall(f"{SVG}path")) == 2
    assert drawing.caption.values["worst0"] == "tanh"
    reads_back(drawing)


def test_your_own() -> None:
    x = gx.input("x", ("N", 2))
    y = gx.relu(x)
    graph = gx.Graph({"y": y + 1})
    drawing = viz.draw(graph, heat={y: np.float32(0.5), "add": 2, "x": "cold"})
    assert values(drawing, "heat") == {"x": "cold", "relu": 0.5, "add": 2}
    shown = viz.draw(
        graph, heat=viz.Overlay({y: 300.0}, unit="K", show=lambda v: f"{v:.1f} ", note="by hand")
    )
    assert "heat 300.0 K" in shown.svg
    assert shown.caption.values["note0"] == "by hand"
    assert viz.draw(graph, heat=False, cold=None).model == viz.draw(graph).model


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"flod": True}, r"viz\.draw\(flod=True\).*did you mean 'fold'"),
        ({"flop": True}, "did you mean 'flops'"),
        ({"heat": 3}, "a mapping of node to number"),
        ({"heat": {"rleu": 1}}, "no node of this graph is called 'rleu'.*did you mean 'relu'"),
        ({"heat": {"relu": [1]}}, "the value of relu is a text or a number.*not list"),
        ({"heat": {"relu": 10**400}}, "a number below 1e300, not int"),
        ({"heat": {3: 1}}, "a key is a node or its name, not int"),
        ({"heat": {}}, "no value for any node"),
        ({"time": True}, r"takes a profile: gx\.compile"),
        ({"memory": True}, "takes a program or its plan"),
        ({"gradient_check": True}, r"takes gx\.gradient_check"),
        ({"flops": 3}, r"gx\.cost\(graph, N=…\)"),
        ({f"a{i}": {"relu": 1} for i in range(7)}, "7 overlays on one drawing"),
    ],
)
def test_mistakes(given: dict[str, Any], says: str) -> None:
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N",)))})
    with pytest.raises(gx.GraphError, match=says):
        viz.draw(graph, **given)


def test_nodes_of_another_graph_have_no_value() -> None:
    x = gx.input("x", ("N",))
    graph = gx.Graph({"y": gx.relu(x)})
    with pytest.raises(gx.GraphError, match="no value for any node of this drawing"):
        viz.draw(graph, heat={gx.tanh(x): 1.0})


@pytest.mark.parametrize("text", [*FILES, "\x00", "𝕬‮x", "#{}%"], ids=range(len(FILES) + 3))
def test_any_text_of_an_overlay_is_text(text: str) -> None:
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N",)))})
    named = viz.draw(graph, **{text: viz.Overlay({"relu": 1.5}, unit=text, note=text)})
    check(named.svg)
    assert gx.parse(named.svg) == gx.parse(named.dot) == graph
    reads_back(named)
    plain = viz.draw(graph, name=viz.Overlay({"relu": 1.5}, unit="unit", note="note"))
    kinds = [tag for tag, _ in shape(named.svg) if tag != f"{SVG}text"]
    assert sorted(kinds) == sorted(tag for tag, _ in shape(plain.svg) if tag != f"{SVG}text")
    words = viz.draw(graph, heat={"relu": text}, title=text)
    check(words.svg)
    assert gx.parse(words.svg) == graph


def test_levels_are_ordered_for_every_eye() -> None:
    for ramp, ink in ((RAMP, INK), (DARK_RAMP, DARK_INK)):
        light = [luminance(colour) for colour in ramp]
        assert light == sorted(light, reverse=ramp is RAMP)
        assert all(contrast(colour, ink) >= 4.5 for colour in ramp)
    assert contrast(WORST, INK) >= 4.5
    assert contrast(DARK_WORST, DARK_INK) >= 4.5


@pytest.mark.parametrize(
    "numbers", [[0], [5, 5], [0, 1], [-3.0, 3.0], [1, 10**9], [0, 1e-12, 1e12], [2.0] * 4 + [3.0]]
)
def test_levels_end_with_the_largest(numbers: list[float]) -> None:
    steps = levels(numbers)
    assert steps[-1] == max(numbers)
    assert list(steps) == sorted(steps)
    assert len(steps) <= len(RAMP)


@pytest.mark.parametrize("value", [0, 1, 999, 1000, 1e6, 1.5e-7, 3e30, -2500, float("inf")])
def test_short_numbers_are_near(value: float) -> None:
    number, _, prefix = short(value).partition(" ")
    factor = dict(zip("nµmkMGTP", (1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9, 1e12, 1e15), strict=True))
    assert float(number) * factor.get(prefix, 1) == pytest.approx(value, rel=5e-3)


def test_overlays_on_a_step_with_shared_layers() -> None:
    x = gx.input("x", ("N", 4))
    layer = nn.Linear(4, 4, name="layer")
    graph = gx.Graph({"loss": gx.sum(gx.tanh(layer(gx.tanh(layer(x)))))}).apply(*TRAINING)
    drawing = viz.draw(graph, flops=True)
    assert values(drawing, "flops") == {e.name: e.flops for e in gx.cost(graph) if e.name in (
        n["name"] for n in drawing.model["nodes"]
    )}  # fmt: skip
