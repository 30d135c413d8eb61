"""Nothing that a user wrote becomes syntax: names, files, titles, in DOT and in SVG."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import graphc as gx
from graphc import viz
from graphc.viz.dot import quote
from graphc.viz.render import find
from graphc.viz.text import LONGEST_ROW, MOST_ROWS, clean, rows

SVG = "{http://www.w3.org/2000/svg}"

# All that the alphabet of names allows, in unpleasant order.
NAMES = ["a--b", "n0", "0", "digraph", "node", "edge.label", "N", "x/y@z", "c0", "_" * 900]
FILES = [
    '"];evil[label="x.py',
    "<script>alert(1)<b>.py",
    "&amp;&lt;&#60;&quot;.py",
    "]]>--><!--.py",
    "</title><a href='javascript:0'>.py",
    "\\N\\G\\L\\n\\l{|}<port>.py",
    "line\nbreak\r\x1b[31m.py",
    "\u202egpj.exe\u2066.py",
    "\udcff.py",
    "Ω×'`$(x)%s.py",
]
TITLES = [*FILES, "<b>bold</b>", "a" * 5000, "x\n" * 300, ""]


def built_in(file: str) -> gx.Graph:
    """A graph whose nodes were declared in a file of this name."""
    source = """
import graphc as gx
x, w = gx.input("x", ("N",)), gx.parameter("w", ())
graph = gx.Graph({"y": gx.relu(x * w)})
"""
    space: dict[str, Any] = {}
    exec(compile(source, file, "exec"), space)
    graph: gx.Graph = space["graph"]
    return graph


def shape(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The elements of an SVG and their attributes' names: all but text and numbers."""
    elements = ET.fromstring(text.encode()).iter()
    return [(element.tag, tuple(sorted(element.attrib))) for element in elements]


def check(text: str) -> None:
    for tag, attributes in shape(text):
        assert tag in {
            SVG + name
            for name in (
                "svg", "title", "desc", "style", "g", "path", "polygon", "ellipse", "text",
                "polyline",
            )
        }  # fmt: skip
        for name in attributes:
            assert not name.lower().startswith("on")
            assert "href" not in name
    assert "<!ENTITY" not in text


def laid_out(dot: str) -> dict[str, Any]:
    """What the layout program understood: an independent reader of the DOT text."""
    command = [find(), "-Tdot_json"]
    said = subprocess.run(command, input=dot.encode(), capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_a_file_name_changes_text_alone(file: str) -> None:
    graph = built_in(file)
    drawing = viz.draw(graph)
    plain = viz.draw(built_in("net.py"))
    assert gx.parse(drawing.svg) == graph
    assert gx.parse(drawing.dot) == graph
    assert shape(drawing.svg) == shape(plain.svg)
    check(drawing.svg)
    said = [e.text for e in ET.fromstring(drawing.svg.encode()).iter(f"{SVG}title")]
    line = drawing.model["nodes"][1]["line"]
    assert any(text is not None and text.endswith(clean(line)) for text in said)


@pytest.mark.parametrize("title", TITLES, ids=range(len(TITLES)))
def test_a_title_changes_text_alone(title: str) -> None:
    graph = built_in("net.py")
    drawing = viz.draw(graph, title=title)
    assert gx.parse(drawing.svg) == graph
    assert gx.parse(drawing.dot) == graph
    check(drawing.svg)
    assert [tag for tag, _ in shape(drawing.svg)].count(f"{SVG}g") == [
        tag for tag, _ in shape(viz.draw(graph).svg)
    ].count(f"{SVG}g")
    read = laid_out(drawing.dot)
    drawn = [entry for entry in read["objects"] if not {"nodes", "subgraphs"} & set(entry)]
    assert len(drawn) == len(drawing.model["nodes"])
    assert len(read["edges"]) == len(drawing.model["edges"])


def test_names_are_labels_and_never_ids() -> None:
    total = gx.input("input", ("N",))
    for name in NAMES:
        total = gx.mul(total, gx.parameter(name, ()))
    graph = gx.Graph({"strict": total, "subgraph": total * 2})
    drawing = viz.draw(graph)
    assert gx.parse(drawing.dot) == graph
    read = laid_out(drawing.dot)
    nodes = {n["id"]: n for n in drawing.model["nodes"]}
    drawn = [entry for entry in read["objects"] if "nodes" not in entry]
    assert {entry["name"] for entry in drawn} == set(nodes)
    for entry in drawn:
        label = nodes[entry["name"]]["label"]
        found = [row.strip("\u00a0") for row in entry["label"].split("\\n")]
        found = [row for row in found if not row.startswith("→ ")]
        assert " ".join(found) == " ".join(clean(row) for row in label)
    check(drawing.svg)


@pytest.mark.parametrize(
    "text",
    ["a\\nb", 'say "x"', "\\", '\\"', "&lt;&amp;lt;", "\\N", "<b>x</b>", "{a|b}", "a%b", "é→"],
)
def test_a_label_is_drawn_as_it_is(text: str) -> None:
    dot = f"digraph {{ graph [label={quote(text)}] }}"
    svg = subprocess.run([find(), "-Tsvg"], input=dot.encode(), capture_output=True, check=True)
    drawn = [e.text for e in ET.fromstring(svg.stdout).iter(f"{SVG}text")]
    assert drawn == [text]


def test_labels_are_bounded() -> None:
    assert len(clean("x" * 10_000)) == LONGEST_ROW
    assert clean("abc" * 100).startswith("abc")
    assert clean("abc" * 100).endswith("abc")
    assert len(rows(("row",) * 1000)) == MOST_ROWS
    assert clean("a\tb\u200bc\x00") == "a\ufffdb\ufffdc\ufffd"
    big = gx.constant([[1.5] * 60] * 60)
    weird = gx.Graph({"y": gx.parameter("w" * 20_000, (60, 60)) * big})
    dot = viz.draw(weird).dot
    assert max(map(len, dot.splitlines()[1:])) < 1000
