"""Columns: stages stand at one height, and the counts are those of the paper and of gx.cost."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

import graphc as gx
from graphc import models, nn, viz
from graphc.viz.canvas import SVG
from tests.viz.reading_figures import check_figure, smallest_at_1600


@pytest.fixture(scope="module")
def figure() -> viz.Figure:
    names = {"VGG-19": "vgg-19", "plain": "plain-34", "residual": "resnet-34"}
    return viz.columns({name: models.build(network) for name, network in names.items()})


def test_stages_share_one_height(figure: viz.Figure) -> None:
    check_figure(figure)
    assert smallest_at_1600(figure) >= 9
    assert figure.model["stages"] == [[s, s] for s in (224, 112, 56, 28, 14, 7, 1)]
    first: dict[tuple[int, int], set[float]] = {}
    for column in figure.model["columns"]:
        seen: set[tuple[int, int]] = set()
        for layer in column["layers"]:
            size = (layer["size"][0], layer["size"][1])
            if size not in seen:
                seen.add(size)
                first.setdefault(size, set()).add(layer["y"])
    assert all(len(heights) == 1 for heights in first.values())
    assert len(first) == 7
    # In the picture too: every box stands where the model says, no box outside its stage.
    root = ET.fromstring(figure.svg.encode())
    drawn = [float(e.get("y", "")) for e in root.iter(f"{{{SVG}}}rect") if "data-layer" in e.attrib]
    said = [layer["y"] for c in figure.model["columns"] for layer in c["layers"]]
    assert drawn == pytest.approx(said, abs=0.01)
    stages = [float(e.get("data-y", "")) for e in root.iter() if "data-stage" in e.attrib]
    assert stages == [min(first[s, s]) for s in (224, 112, 56, 28, 14, 7, 1)]


def test_multiply_adds_are_the_papers(figure: viz.Figure) -> None:
    """He, Zhang, Ren, Sun 2016, figure 3: 19.6, 3.6 and 3.6 billion FLOPs (multiply-adds)."""
    counts = [column["multiply_adds"] for column in figure.model["columns"]]
    assert [math.floor(count / 1e8) / 10 for count in counts] == [19.6, 3.6, 3.6]
    assert [column["parameters"] for column in figure.model["columns"]] == [
        143_667_240, 21_623_848, 21_797_672,
    ]  # fmt: skip


def test_multiply_adds_by_the_closed_form(figure: viz.Figure) -> None:
    counted = dict.fromkeys(("vgg-19", "plain-34", "resnet-34"), 0)
    for name in counted:
        graph = models.build(name)
        for node in graph.nodes:
            if node.op.name in ("conv2d", "linear"):
                weight = node.inputs[1].type.concrete({})
                positions = math.prod(node.type.concrete({"N": 1})) // weight[0]
                counted[name] += positions * math.prod(weight)
    columns = figure.model["columns"]
    assert [column["multiply_adds"] for column in columns] == list(counted.values())


def test_layers_and_skips(figure: viz.Figure) -> None:
    vgg, plain, residual = figure.model["columns"]
    weighted = [
        sum(w["words"].startswith(("conv", "fully")) for w in column["layers"])
        for column in (vgg, plain, residual)
    ]
    assert weighted == [19, 34, 34]
    assert [layer["words"] for layer in plain["layers"]] == [
        layer["words"] for layer in residual["layers"]
    ]
    assert (vgg["skips"], plain["skips"]) == ([], [])
    assert len(residual["skips"]) == 16
    assert sum(not straight for _, _, straight in residual["skips"]) == 3
    root = ET.fromstring(figure.svg.encode())
    arcs = [e for e in root.iter(f"{{{SVG}}}path") if "data-skip" in e.attrib]
    assert len(arcs) == 16
    assert sum("stroke-dasharray" in arc.attrib for arc in arcs) == 3


def test_networks_of_other_sizes() -> None:
    both = viz.columns({"a": models.build("lenet-5"), "b": models.build("small-inception")})
    check_figure(both)
    assert [0, 0] not in both.model["stages"]
    assert both.model["stages"] == [[s, s] for s in (28, 14, 10, 7, 5, 1)]
    u_net = viz.columns({"U-Net": models.build("unet-small")})
    check_figure(u_net)
    assert [s[0] for s in u_net.model["stages"]] == [64, 32, 16, 32, 64]


def test_networks_that_cannot_be_aligned() -> None:
    def net(*layers: nn.Module) -> gx.Graph:
        return gx.Graph({"y": nn.Sequential(*layers)(gx.input("x", ("N", 1, 8, 8)))})

    down = net(nn.MaxPool2d(2), nn.MaxPool2d(2))
    up = net(nn.MaxPool2d(4), nn.Upsample(scale_factor=2))
    with pytest.raises(gx.GraphError, match="in different orders, so they cannot be aligned"):
        viz.columns({"down": down, "up": up})
    with pytest.raises(gx.GraphError, match="with one graph or more"):
        viz.columns({})
    named = viz.columns({"<b>&\u202e": down})
    check_figure(named)
