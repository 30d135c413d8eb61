"""Notebook display: the core knows that a drawing may exist, not how or by whom one is made."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import BackendError, GraphError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph

MOST_NODES = 400  # drawn in a notebook; a larger graph folds


def field_bundle(field: Any, text: str) -> dict[str, Any]:
    """The table of a receptive field, and its picture where a drawing package is installed."""
    bundle: dict[str, Any] = {"text/plain": text}
    for point in entry_points(group="graphc.display", name="receptive_field"):
        try:
            bundle["image/svg+xml"] = point.load()(field).svg
        except (ImportError, BackendError, GraphError):  # a size that is not given: text alone
            continue
    return bundle


def mimebundle(graph: Graph) -> dict[str, Any]:
    """SVG where a drawing package is installed and works, the printed IR always."""
    bundle: dict[str, Any] = {"text/plain": str(graph)}
    for point in entry_points(group="graphc.display", name="draw"):
        try:
            bundle["image/svg+xml"] = point.load()(graph, limit=MOST_NODES).svg
        except (ImportError, BackendError):  # no drawing libraries, no layout: text alone
            continue
    return bundle
