"""What a reader does with a figure's SVG: cells by role, labels, captions."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from graphc.viz import Caption, Figure
from graphc.viz.canvas import SVG, labels_of, overlapping

Cell = dict[str, str]


def cells(element: ET.Element, role: str) -> list[Cell]:
    """The cells of a role, each with its data and the text that stands in it."""
    texts = [
        (float(e.get("x", "")), float(e.get("y", "")), e.text or "")
        for e in element.iter(f"{{{SVG}}}text")
    ]
    found = []
    for rect in element.iter(f"{{{SVG}}}rect"):
        if rect.get("data-role") != role:
            continue
        x, y, w, h = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        inside = [t for tx, ty, t in texts if x < tx < x + w and y < ty < y + h]
        assert len(inside) <= 1
        cell = {k.removeprefix("data-"): v for k, v in rect.attrib.items() if k.startswith("data-")}
        found.append({**cell, "text": inside[0] if inside else "", "fill": rect.get("fill", "")})
    return found


def frames_of(figure: Figure) -> list[ET.Element]:
    root = ET.fromstring(figure.svg.encode())
    return [g for g in root.iter(f"{{{SVG}}}g") if g.get("id", "").startswith("frame-")]


def check_figure(figure: Figure) -> None:
    """What holds for every figure: labels, caption, title, metadata, size, nothing outside."""
    labels = labels_of(figure.svg)
    assert overlapping(labels) == []
    root = ET.fromstring(figure.svg.encode())
    width, height = map(float, root.get("viewBox", "").split()[2:])
    assert all(label.size >= 9 for label in labels if not label.cell)
    for label in labels:
        assert label.left >= 0, label
        assert label.top >= 0, label
        assert label.right <= width + 0.01, label
        assert label.bottom <= height + 0.01, label
    rows = [e.text or "" for e in root.iter(f"{{{SVG}}}text") if "data-caption" in e.attrib]
    assert " ".join(rows) == str(figure.caption)
    read = Caption.parse(figure.caption.template, " ".join(rows))
    assert repr(sorted(read.items())) == repr(sorted(figure.caption.values.items()))
    kept = json.loads(root.findtext(f"{{{SVG}}}metadata", ""))
    assert set(kept["model"]) == set(figure.model)
    assert root.findtext(f"{{{SVG}}}title")
    assert root.findtext(f"{{{SVG}}}desc")
    assert figure.svg.count("http") == figure.svg.count("http://www.w3.org/")


def smallest_at_1600(figure: Figure) -> float:
    """The smallest label in points, where the figure is exported at 1600 by 900."""
    labels = labels_of(figure.svg)
    root = ET.fromstring(figure.svg.encode())
    width, height = map(float, root.get("viewBox", "").split()[2:])
    return min(label.size for label in labels) * min(1600 / width, 900 / height)
