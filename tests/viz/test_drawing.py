"""A drawing's forms: DOT, SVG, PNG, JSON, networkx; the graph travels inside them."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path
from typing import Any

import networkx
import pytest
from PIL import Image

import graphc as gx
from graphc import viz
from graphc.viz import drawing as drawing_module
from graphc.viz import render as render_module
from graphc.viz.dot import HINTS, write
from graphc.viz.render import LayoutFailed, find, render
from tests.random_graphs import sample

from .conftest import TRAINING

SVG = "{http://www.w3.org/2000/svg}"


def by_class(text: str, what: str) -> list[ET.Element]:
    """The groups of an SVG that have this class."""
    groups = ET.fromstring(text.encode()).iter(f"{SVG}g")
    return [g for g in groups if what in g.get("class", "").split()]


def test_the_graph_is_read_back_from_a_drawing(training: gx.Graph, residual: gx.Graph) -> None:
    for graph in (training, residual):
        for fold in (None, True):
            drawing = viz.draw(graph, fold=fold)
            assert gx.parse(drawing.dot) == graph
            assert gx.parse(drawing.svg) == graph


@pytest.mark.parametrize("seed", range(6))
def test_the_graph_is_read_back_from_random_drawings(seed: int) -> None:
    graph = sample(seed).graph
    drawing = viz.draw(graph)
    assert gx.parse(drawing.svg) == gx.parse(drawing.dot) == graph


def test_the_svg_has_what_the_model_has(training: gx.Graph) -> None:
    drawing = viz.draw(training, title="LeNet-5")
    model, text = drawing.model, drawing.svg
    shapes = {g.get("id"): g for g in by_class(text, "node")}
    keys = {id for id in shapes if id and id.startswith("key:")}
    assert set(shapes) - keys == {node["id"] for node in model["nodes"]}
    assert len(by_class(text, "edge")) == sum(not edge["told"] for edge in model["edges"])
    root = ET.fromstring(text.encode())
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "LeNet-5"
    assert "61,706" in str(root[1].text)
    # What is pointed at says what it is, and where the user wrote it.
    conv = next(n for n in model["nodes"] if n["name"] == "conv2d")
    said = shapes[conv["id"]].find(f"{SVG}title")
    assert said is not None
    assert str(said.text).startswith("%conv2d: f32[N,6,28,28] = conv2d(%image, %conv1.weight")
    assert str(said.text).endswith(conv["line"])


def test_sums_of_gradients_are_marked(training: gx.Graph) -> None:
    sums = by_class(viz.draw(training).svg, "grad_sum")
    drawn = [g for g in sums if not str(g.get("id")).startswith("key:")]
    assert len(drawn) == 5
    for group in drawn:
        assert len(group.findall(f"{SVG}ellipse")) == 2
        assert group.findtext(f"{SVG}text", "").startswith("Σ grad of ")


def test_dark_pages_have_colours_of_their_own(lenet: gx.Graph) -> None:
    text = viz.draw(lenet).svg
    assert "prefers-color-scheme: dark" in text
    background = ET.fromstring(text.encode()).find(f"{SVG}g/{SVG}polygon")
    assert background is not None
    assert (background.get("class"), background.get("fill")) == ("paper", "white")


def test_only_a_training_drawing_has_a_legend(lenet: gx.Graph, training: gx.Graph) -> None:
    assert "cluster_legend" not in viz.draw(lenet).dot
    assert "cluster_legend" in viz.draw(training).dot


def test_save_by_ending(lenet: gx.Graph, tmp_path: Path) -> None:
    drawing = viz.draw(lenet)
    assert drawing.save(tmp_path / "a.svg").read_text(encoding="utf-8") == drawing.svg
    assert drawing.save(tmp_path / "a.dot").read_text(encoding="utf-8") == drawing.dot
    assert drawing.save(str(tmp_path / "a.gv")).read_text(encoding="utf-8") == drawing.dot
    assert json.loads(drawing.save(tmp_path / "a.json").read_bytes()) == drawing.model
    with Image.open(drawing.save(tmp_path / "a.PNG")) as image:
        assert image.format == "PNG"
        assert min(image.size) > 100
    with pytest.raises(
        gx.GraphError, match=r"'a.jpg'.*\.svg, \.png, \.pdf, \.html, \.dot or \.json, not as \.jpg"
    ):
        drawing.save(tmp_path / "a.jpg")
    with pytest.raises(gx.GraphError, match="without an ending"):
        drawing.save(tmp_path / "a")


def test_a_multidigraph_keeps_every_use(shared: gx.Graph) -> None:
    drawing = viz.draw(shared)
    graph = drawing.multidigraph()
    assert isinstance(graph, networkx.MultiDiGraph)
    weight = next(n for n, data in graph.nodes(data=True) if data["name"] == "layer.weight")
    assert graph.out_degree(weight) == 3
    assert graph.number_of_edges() == len(drawing.model["edges"])
    assert networkx.is_directed_acyclic_graph(graph)


def test_what_a_notebook_shows(lenet: gx.Graph) -> None:
    drawing = viz.draw(lenet)
    assert drawing._repr_svg_() == drawing.svg
    assert drawing._repr_mimebundle_()["image/svg+xml"] == drawing.svg
    assert repr(drawing) == "<graphc.viz.Drawing of image, label → logits, loss: 25 nodes>"


def test_a_notebook_folds_early() -> None:
    y = gx.input("x", ("N",))
    for _ in range(250):
        y = gx.relu(y) + 1
    graph = gx.Graph({"y": y})
    shown = graph._repr_mimebundle_()
    assert shown["text/plain"] == str(graph)
    assert "more than 400 nodes" in shown["image/svg+xml"]
    assert not viz.draw(graph).model["folded"]


def test_drawing_takes_a_graph(lenet: gx.Graph) -> None:
    with pytest.raises(gx.GraphError, match=r"takes a Graph, not a Node.*gx\.Graph\(\{'y': y\}\)"):
        viz.draw(lenet.outputs["logits"])  # type: ignore[arg-type]


def test_nothing_heavy_is_loaded_before_a_picture_is_made() -> None:
    code = (
        "import sys, graphc.viz\n"
        "print(*sorted({'graphviz', 'networkx', 'PIL', 'matplotlib'} & set(sys.modules)))"
    )
    child = [sys.executable, "-c", code]
    said = subprocess.run(child, capture_output=True, text=True, check=True).stdout
    assert said.split() == []


# -- the layout program ---------------------------------------------------------------------------


def test_a_missing_program_is_said() -> None:
    with pytest.raises(gx.BackendError, match=r"'no-such-dot' is not installed.*graphviz-pure"):
        render("digraph {}", "svg", program="no-such-dot")


def test_the_program_may_be_a_path() -> None:
    assert render("digraph { a }", "svg", program=find()).startswith(b"<?xml")


def test_a_layout_that_takes_too_long_is_stopped(training: gx.Graph) -> None:
    with pytest.raises(gx.BackendError, match=r"longer than 0\.001 s and was stopped: fold"):
        _ = viz.draw(training, seconds=0.001).svg


def test_what_the_program_says_is_passed_on() -> None:
    with pytest.raises(gx.BackendError, match="could not lay the drawing out as svg.*syntax error"):
        render("digraph { a -> }", "svg")


def test_fewer_hints_where_the_layout_fails(
    shared: gx.Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = shared.apply(*TRAINING)
    tried: list[str] = []

    def failing(text: str, format: Any, **settings: Any) -> bytes:
        tried.append(text)
        if len(tried) < len(HINTS):
            raise LayoutFailed("lost an edge")
        return render_module.render("digraph { a }", format)

    monkeypatch.setattr(drawing_module, "render", failing)
    drawing = viz.draw(training)
    assert "<svg" in drawing.svg
    assert tried == [write(drawing._model, hints, str(drawing.caption)) for hints in HINTS]
    assert "cluster_module:" in tried[0]
    assert "rank=same" in tried[1]
    assert "cluster_module:" not in tried[1]
    assert "rank=same; " not in tried[2]


@pytest.mark.parametrize("hints", HINTS)
def test_all_hints_can_be_laid_out(shared: gx.Graph, hints: Any) -> None:
    drawing = viz.draw(shared.apply(*TRAINING))
    picture = render(write(drawing._model, hints), "png")
    with Image.open(BytesIO(picture)) as image:
        assert image.size[0] > 200


# -- for those who do not see it, and for other programs ------------------------------------------


def outline_of(text: str) -> list[str]:
    (found,) = [
        group
        for group in ET.fromstring(text.encode()).iter(f"{SVG}g")
        if group.get("class") == "outline"
    ]
    assert found.get("role") == "list"
    assert all(item.get("role") == "listitem" for item in found)
    assert [item.get("aria-label") for item in found] == [i.findtext(f"{SVG}title") for i in found]
    return [str(item.get("aria-label")) for item in found]


@pytest.mark.parametrize("fold", [None, False, True, "conv*"])
def test_the_outline_is_in_topological_order(training: gx.Graph, fold: Any) -> None:
    drawing = viz.draw(training, fold=fold)
    rows = outline_of(drawing.svg)
    model = drawing.model
    assert len(rows) == len(model["nodes"])
    names = [row.partition(". ")[2].partition(": ")[0] for row in rows]
    assert sorted(names) == sorted(node["name"] for node in model["nodes"])
    assert [row.partition(".")[0] for row in rows] == [str(i + 1) for i in range(len(rows))]
    place = {name: i for i, name in enumerate(names)}
    called = {node["id"]: node["name"] for node in model["nodes"]}
    boxes = {node["id"] for node in model["nodes"] if node["inside"]}
    for edge in model["edges"]:
        if edge["kind"] == "data" and not {edge["source"], edge["target"]} & boxes:
            assert place[called[edge["source"]]] < place[called[edge["target"]]]
    # DOT says the same in its comments.
    comments = [line[3:] for line in drawing.dot.splitlines() if line.startswith("// ")]
    assert comments[1:] == rows
    assert "outputs" not in rows[-1]


def test_every_use_is_in_the_outline() -> None:
    x, w = gx.input("x", ("N",)), gx.parameter("w", ())
    drawing = viz.draw(gx.Graph({"y": gx.add(x * w, x * w)}))
    rows = outline_of(drawing.svg)
    assert rows[0].startswith("1. x: input f32[N], forward")
    assert rows[-1].endswith("reads mul, mul, output y")


def test_shapes_are_hidden_from_those_who_hear_the_list(lenet: gx.Graph) -> None:
    root = ET.fromstring(viz.draw(lenet).svg.encode())
    assert root.get("role") != "img"
    shapes = [g for g in root.findall(f"{SVG}g") if g.get("class") != "outline"]
    assert shapes
    assert all(g.get("aria-hidden") == "true" for g in shapes)


def test_a_page_has_the_picture_and_its_caption(lenet: gx.Graph, tmp_path: Path) -> None:
    drawing = viz.draw(lenet, flops=True, title="<b>LeNet</b>")
    text = drawing.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == drawing.html
    assert gx.parse(text) == lenet
    assert "<script" not in text
    assert "<h1>&lt;b&gt;LeNet&lt;/b&gt;</h1>" in text
    assert text.count("http") == text.count("http://www.w3.org/")
    assert f"<figcaption>{drawing.caption}</figcaption>" in text


def test_pdf_is_one_page(shared: gx.Graph, tmp_path: Path) -> None:
    pytest.importorskip("svglib")
    first = viz.draw(shared).save(tmp_path / "a.pdf").read_bytes()
    assert first.startswith(b"%PDF-")
    assert first.count(b"/Type /Page\n") == 1
    assert first == viz.draw(shared).save(tmp_path / "b.pdf").read_bytes()


def test_a_size_is_filled(lenet: gx.Graph, tmp_path: Path) -> None:
    drawing = viz.draw(lenet)
    root = ET.parse(drawing.save(tmp_path / "a.svg", size=(1600, 900))).getroot()
    assert (root.get("width"), root.get("height")) == ("1600px", "900px")
    assert root.get("viewBox") == ET.fromstring(drawing.svg.encode()).get("viewBox")
    assert gx.parse((tmp_path / "a.svg").read_text(encoding="utf-8")) == lenet
    with Image.open(drawing.save(tmp_path / "a.png", size=(1600, 900))) as image:
        assert image.size[1] == pytest.approx(900, abs=3)
        assert image.size[0] <= 1600
    for wrong in ((0, 9), (1600,), (1.5, 2), "big", (10**9, 10**9)):
        with pytest.raises(gx.GraphError, match=r"\(width, height\) in pixels"):
            drawing.save(tmp_path / "a.svg", size=wrong)  # type: ignore[arg-type]
    with pytest.raises(gx.GraphError, match=r"only \.svg and \.png have a size"):
        drawing.save(tmp_path / "a.dot", size=(1600, 900))


def test_captions_read_back(lenet: gx.Graph, training: gx.Graph, shared: gx.Graph) -> None:
    for graph, fold in ((lenet, None), (training, True), (shared.apply(*TRAINING), None)):
        drawing = viz.draw(graph, fold=fold)
        caption = drawing.caption
        assert viz.Caption.parse(caption.template, str(caption)) == caption.values
        assert caption.values["parameters"] == graph.parameter_count()
        assert str(caption) in " ".join(
            "".join(e.itertext()) for e in ET.fromstring(drawing.svg.encode()).iter(f"{SVG}text")
        )
