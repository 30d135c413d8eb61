"""What a notebook shows of a graph, a node, a drawing, a history and a program."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import viz
from graphc.ir import display

SVG = "{http://www.w3.org/2000/svg}"


def test_a_node_shows_what_it_is_computed_from() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    y = gx.tanh(x * w)
    shown = y._repr_mimebundle_()
    assert shown["text/plain"] == repr(y)
    root = ET.fromstring(shown["image/svg+xml"].encode())
    ids = {g.get("id") for g in root.iter(f"{SVG}g")}
    assert {"x", "w", "mul", "tanh"} <= ids
    assert gx.parse(shown["image/svg+xml"]) == gx.Graph({"result": y})
    assert "image/svg+xml" in x._repr_mimebundle_()
    # A value of a size that no input tells is no graph: text alone.
    alone = gx.broadcast_to(gx.constant(1.0), ("M",))
    assert set(alone._repr_mimebundle_()) == {"text/plain"}


def test_no_drawing_package_leaves_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "entry_points", lambda **_: ())
    x = gx.input("x", ("N",))
    graph = gx.Graph({"y": gx.relu(x)})
    assert graph._repr_mimebundle_() == {"text/plain": str(graph)}
    assert graph.outputs["y"]._repr_mimebundle_() == {"text/plain": repr(graph.outputs["y"])}
    drawing = viz.draw(graph, program="no-such-program")
    assert set(drawing._repr_mimebundle_()) == {"text/plain"}


def test_a_history_shows_its_losses() -> None:
    graph = gx.Graph({"loss": gx.parameter("w", ())})
    metrics = {"loss": np.array([2.0, 0.5])}
    history = gx.History({}, {}, None, metrics, "validation/loss", graph)
    shown = history._repr_mimebundle_()
    assert shown["text/plain"] == repr(history)
    assert shown["image/svg+xml"] == history.plot().svg


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.said += data


def test_a_program_shows_its_source() -> None:
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N",))) < 3})
    program = gx.compile(graph)
    shown = program._repr_mimebundle_()
    page = Text()
    page.feed(shown["text/html"])
    assert set(page.tags) <= {"div", "p", "br", "details", "summary", "pre"}
    assert program.source.strip() in page.said
    assert repr(program) in page.said
    assert shown["text/plain"] == repr(program)
