"""The report page, read without a browser: structure, references, escaping, numbers, sizes."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphc as gx
from graphc import data, models, nn, passes, viz
from graphc.viz.report import fields
from graphc.viz.report.shell import asset, embedded

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """The elements of a page; what is not nested well is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.inside.setdefault(self.stack[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs in self.elements if "id" in attrs]

    def data(self) -> dict[str, Any]:
        scripts = [said for said in self.inside["script"] if said.startswith("{")]
        return dict(json.loads(scripts[0]))


def written(graph: gx.Graph, folder: Path, **given: Any) -> tuple[str, Page]:
    text = viz.report(graph, folder / "page.html", **given).read_text("utf-8")
    return text, Page(text)


def test_the_page_is_whole_and_asks_nothing(training: gx.Graph, tmp_path: Path) -> None:
    text, page = written(training, tmp_path)
    assert "http" not in text
    assert len(page.ids) == len(set(page.ids))
    for tag, attrs in page.elements:
        for name in ("href", "src", "srcset", "action", "data", "poster"):
            said = attrs.get(name) or ""
            if said.startswith("#"):
                assert said[1:] in page.ids
            else:
                assert not said or said.startswith("data:image/png;base64,"), (tag, said)
        assert not any(name.startswith("on") for name in attrs)
    assert "@import" not in text
    assert "url(" not in text
    labelled = [attrs["aria-labelledby"] for attrs in page.all("section")]
    assert [str(id).removesuffix("-title") for id in labelled] == [
        "graph", "fields", "film", "source", "parameters", "operations", "memory", "text",
    ]  # fmt: skip
    assert {id for id in labelled if id} <= set(page.ids)


def test_the_same_graph_gives_the_same_page(lenet: gx.Graph, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first, _ = written(lenet, tmp_path / "a")
    assert first == written(lenet, tmp_path)[0]


def test_every_node_and_use_is_there(training: gx.Graph, tmp_path: Path) -> None:
    _, page = written(training, tmp_path)
    drawn = page.data()["graph"]
    model = viz.draw(training, fold=False).model
    assert [node["name"] for node in drawn["nodes"]] == [node["name"] for node in model["nodes"]]
    uses = [(edge["source"], edge["target"], edge["input"]) for edge in model["edges"]]
    assert [(e["source"], e["target"], e["input"]) for e in drawn["edges"]] == uses
    known = {cluster["id"] for cluster in drawn["clusters"]}
    assert all(node["cluster"] is None or node["cluster"] in known for node in drawn["nodes"])


@pytest.mark.parametrize("name", ["resnet-18", "unet-small"])
def test_boxes_are_those_of_the_receptive_field(name: str) -> None:
    graph = models.build(name)
    found = fields.collect(graph, None, "", {"N": 1}, most=6)
    pick = random.Random(5)
    for each in found.maps:
        field = gx.receptive_field(each.node, found.wrt)
        height, width = each.shape
        units = [(0, 0), (height - 1, width - 1)]
        units += [(pick.randrange(height), pick.randrange(width)) for _ in range(12)]
        assert [each.box(y, x) for y, x in units] == [field.box(y, x) for y, x in units]


def test_boxes_of_branches_that_end_are_asked_for_one_by_one() -> None:
    """Where one branch sees nothing, the other's columns must not widen the box."""
    x, w = gx.input("image", ("N", 1, 8, 8)), gx.parameter("w", (1, 1, 5, 5))
    half = gx.pad(x[:, :, 4:, 4:], ((0, 0), (0, 0), (4, 0), (4, 0)))
    y = gx.conv2d(half, w, padding=2) + x
    found = fields.collect(gx.Graph({"y": y}), None, "", {"N": 1})
    last = found.maps[-1]
    field = gx.receptive_field(y)
    assert "boxes" in last.table
    for i in range(8):
        assert [last.box(i, j) for j in range(8)] == [field.box(i, j) for j in range(8)]


def test_holes_are_told() -> None:
    x = gx.input("image", ("N", 1, 16, 16))
    w = gx.parameter("w", (1, 1, 3, 3))
    y = gx.conv2d(x, w, dilation=3, padding=3)
    (found,) = fields.collect(gx.Graph({"y": y}), None, "", {"N": 1}).maps
    assert found.table["rows"][0] == [0, 3, 3]
    assert found.table["rows"][8] == [5, 11, 3]


def test_the_image_is_the_one_that_was_given(lenet: gx.Graph, tmp_path: Path) -> None:
    digit = data.load("mnist-mini", "test").images[5]
    text, page = written(lenet, tmp_path, image=digit)
    uri = str(page.all("image")[0]["href"])
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    np.testing.assert_array_equal(pixels, digit[0])
    assert "the image that was given" in text
    with pytest.raises(gx.GraphError, match=r"has 28×27 pixels.*28×28"):
        viz.report(lenet, tmp_path / "x.html", image=digit[0, :, :27])
    with pytest.raises(gx.GraphError, match="shape"):
        viz.report(lenet, tmp_path / "x.html", image=np.zeros((2, 2, 2, 2)))


def test_the_tables_hold_the_measured_numbers(training: gx.Graph, tmp_path: Path) -> None:
    text, _ = written(training, tmp_path, batch=8)
    cost, plan = gx.cost(training, N=8), gx.compile(training, sizes={"N": 8}).plan
    assert f"{cost.flops:,} flops and {cost.bytes:,} bytes a run at N=8" in text
    assert f"one arena of {plan.peak_bytes:,} bytes at N=8" in text
    assert "61,706 parameters in 10 arrays, 0 of them shared" in text


def test_lines_stand_beside_their_nodes(training: gx.Graph, tmp_path: Path) -> None:
    text, _ = written(training, tmp_path)
    program = gx.compile(training, backend="numpy", sizes={"N": 32})
    lines = program.source.splitlines()
    shown = re.findall(
        r'<span class="at">(\d+)</span><span class="of">(?:<a[^>]*data-of="([^"]*)")?', text
    )
    assert len(shown) == len(lines)
    beside = {int(number): name for number, name in shown if name}
    assert beside == {n: training.name(node) for n, node in program.source_nodes.items()}
    # Each instruction's comment names its node, in its line or in the one above.
    for number, name in beside.items():
        above = lines[number - 2] if number > 1 else ""
        assert f"# {name} " in f"{lines[number - 1]}  " or f"# {name}" in above


def test_what_cannot_be_told_says_why(tmp_path: Path) -> None:
    x = gx.input("x", ("N", "H", 3))
    text, page = written(gx.Graph({"y": gx.relu(x)}), tmp_path)
    assert text.count("Not here:") >= 2
    assert "no image among its inputs" in text
    assert "film" not in page.ids
    with pytest.raises(gx.GraphError, match="no dimension 'W'"):
        viz.report(gx.Graph({"y": x}), tmp_path / "x.html", size={"W": 3})
    with pytest.raises(gx.GraphError, match="takes a Graph"):
        viz.report(x, tmp_path / "x.html")  # type: ignore[arg-type]
    for batch in (0, True, 1.5):
        with pytest.raises(gx.GraphError, match="batch="):
            viz.report(gx.Graph({"y": x}), tmp_path / "x.html", batch=batch)  # type: ignore[arg-type]


def test_a_single_leaf_is_a_page(tmp_path: Path) -> None:
    written(gx.Graph({"x": gx.input("x", (1,))}), tmp_path)
    written(gx.Graph({"w": gx.parameter("w", ())}), tmp_path)


def test_symbolic_sizes_can_be_given(tmp_path: Path) -> None:
    x = gx.input("image", ("N", 1, "H", "W"))
    graph = gx.Graph({"y": gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3)), padding="same", stride=2)})
    assert "the size H is not known" in written(graph, tmp_path)[0]
    _, page = written(graph, tmp_path, size={"H": 9, "W": 12})
    (node,) = page.data()["fields"]["nodes"]
    assert (node["height"], node["width"]) == (5, 6)


def test_curves_are_in_the_page(lenet: gx.Graph, tmp_path: Path) -> None:
    metrics = {"loss": np.array([2.0, 1.0]), "accuracy": np.array([0.1, 0.9])}
    history = gx.History({}, {}, None, metrics, "loss", lenet)
    _, page = written(lenet, tmp_path, history=history)
    assert "training" in page.ids
    text, _ = written(lenet, tmp_path, history=history)
    part = text[text.index('<section id="training"') : text.index('<section id="source"')]
    assert part.count("<figure><svg") == 2
    assert "xmlns" not in part


HOSTILE = (
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "&lt;&amp;", "\"' onload=x",
    "\u202eright to left", "\u2028\u2029", "a\x00b", "\ud800", "😀 ünïcode", "${x}`", "\\u003c",
)  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE)
def test_any_text_is_text(title: str, tmp_path: Path) -> None:
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N", 2)))})
    text, page = written(graph, tmp_path, title=title)
    plain = Page(viz.report(graph, tmp_path / "plain.html", title="plain").read_text("utf-8"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    (heading,) = page.inside["h1"]
    known = "".join(c if c.isprintable() else "\ufffd" for c in title)
    assert heading == known
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in heading)
    assert "http" not in text


@pytest.mark.parametrize("value", [*HOSTILE, {"<a>": ["</SCRIPT", 1.5, None]}])
def test_data_cannot_close_its_element(value: Any) -> None:
    said = embedded({"x": value})
    assert not set(said) & set("<>&\u2028\u2029")
    if "\ud800" not in str(value):
        assert json.loads(said) == {"x": value}


def test_parts_by_others_have_their_licences() -> None:
    """Each front-end part that others wrote stands beside its licence, which pages carry too."""
    licence = asset("dagre.LICENSE")
    assert "Permission is hereby granted, free of charge" in licence
    assert "@dagrejs/dagre 3.1.3" in licence
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N", 2)))})
    assert "http" not in licence
    assert graph.nodes


def test_the_script_knows_the_printed_format() -> None:
    """film.js prints graphs as well: the version and the leaves that it names are the printer's."""
    from graphc.ir.leaves import Input, Stream
    from graphc.ir.printer import VERSION

    code = asset("film.js")
    assert f'"graphc {VERSION}"' in code
    assert f'const INPUT = "{Input.name}", STREAM = "{Stream.name}";' in code


def test_large_pages_stay_bounded(tmp_path: Path) -> None:
    x = gx.input("x", (4,))
    y = x
    for i in range(450):
        layer = nn.Linear(4, 4, name=f"layer{i}") if i % 9 == 0 else None
        y = gx.relu(layer(y)) if layer else gx.tanh(y) * 0.5
    graph = gx.Graph({"loss": gx.sum(y)}).apply(passes.backward(), passes.sgd(lr=0.1))
    assert len(graph.nodes) > 2500
    text, page = written(graph, tmp_path)
    assert len(text) < 9_000_000
    clusters = page.data()["graph"]["clusters"]
    assert len(clusters) > 10  # what stands in no module folds by runs
