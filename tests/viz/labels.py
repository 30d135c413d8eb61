"""What a reader of an SVG sees, read back from the file: labels, their boxes and sizes, shapes.

Written for the SVG of a layout program and for that of our own canvas alike; shared by the tests of
all figures.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

SVG = "{http://www.w3.org/2000/svg}"
# Of DejaVu Sans, which is wider than what a page really uses; a label that is apart here is apart.
_NARROW, _WIDE = "ijl|!.,:;'`I ", "mwMW@%×→"


@dataclass(frozen=True)
class Label:
    """One text: its box and size in the units of the viewport."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float

    def meets(self, other: Label, slack: float = 0.5) -> bool:
        return (
            self.left + slack < other.right
            and other.left + slack < self.right
            and self.top + slack < other.bottom
            and other.top + slack < self.bottom
        )


def width(text: str, size: float) -> float:
    units = sum(0.3 if c in _NARROW else 0.9 if c in _WIDE else 0.56 for c in text)
    return units * size


def viewport(svg: str) -> tuple[float, float]:
    root = ET.fromstring(svg.encode())
    _, _, w, h = map(float, re.split(r"[ ,]+", root.get("viewBox", "0 0 1 1")))
    return w, h


def labels(svg: str) -> list[Label]:
    """Every text that is drawn."""
    found = []
    for element in ET.fromstring(svg.encode()).iter(f"{SVG}text"):
        text = "".join(element.itertext())
        size = float((element.get("font-size") or "14").removesuffix("px").removesuffix("pt"))
        x, y = float(element.get("x", "0")), float(element.get("y", "0"))
        if element.get("transform") is not None or not text.strip():
            continue
        wide = width(text, size)
        before = {"middle": wide / 2, "end": wide}.get(element.get("text-anchor", "start"), 0.0)
        found.append(
            Label(text, x - before, y - 0.76 * size, x - before + wide, y + 0.2 * size, size)
        )
    return found


def overlaps(svg: str) -> list[tuple[str, str]]:
    return [(a.text, b.text) for a, b in combinations(labels(svg), 2) if a.meets(b)]


def smallest(svg: str, page: tuple[float, float] = (1600, 900)) -> float:
    """The size of the smallest label when the picture is exported to fit ``page``."""
    w, h = viewport(svg)
    scale = min(page[0] / w, page[1] / h)
    return min(label.size for label in labels(svg)) * scale


def boxes(svg: str) -> Iterator[ET.Element]:
    """The shapes of a graph drawing: one group a node; the legend's are none."""
    for group in ET.fromstring(svg.encode()).iter(f"{SVG}g"):
        kinds = group.get("class", "").split()
        if "node" in kinds and not str(group.get("id")).startswith("key:"):
            yield group
