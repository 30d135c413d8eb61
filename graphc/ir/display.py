"""Notebook display: the core knows that a drawing may exist, not how or by whom one is made."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def mimebundle(graph: Graph) -> dict[str, Any]:
    """SVG where a drawing package is installed and importable, the printed IR always."""
    bundle: dict[str, Any] = {"text/plain": str(graph)}
    for point in entry_points(group="graphc.display", name="draw"):
        try:
            draw = point.load()
        except ImportError:  # an install without the drawing libraries still shows text
            continue
        bundle["image/svg+xml"] = draw(graph).svg
    return bundle
