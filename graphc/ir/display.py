"""Notebook display: the core knows that a drawing may exist, not how or by whom one is made."""

from __future__ import annotations

from html import escape
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import BackendError, GraphError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.ir.node import Node

MOST_NODES = 400  # drawn in a notebook; a larger graph folds
_MOST_LINES = 200  # of a program's source


def field_bundle(field: Any, text: str) -> dict[str, Any]:
    """The table of a receptive field, and its picture where a drawing package is installed."""
    bundle: dict[str, Any] = {"text/plain": text, "text/html": f"<pre>{escape(text)}</pre>"}
    for point in entry_points(group="graphc.display", name="receptive_field"):
        try:
            svg = point.load()(field).svg
        except (ImportError, BackendError, GraphError):  # a size that is not given: text alone
            continue
        bundle["image/svg+xml"] = svg
        bundle["text/html"] += svg[svg.index("<svg") :]
    return bundle


def mimebundle(graph: Graph) -> dict[str, Any]:
    """SVG where a drawing package is installed and works, the printed IR always."""
    return {"text/plain": str(graph), **_drawn(graph)}


def node_bundle(node: Node) -> dict[str, Any]:
    """A node: what it is in one line, and the drawing of all that it is computed from."""
    from graphc.ir.graph import Graph

    bundle: dict[str, Any] = {"text/plain": repr(node)}
    try:
        # The title says what is shown: the graph is made for this picture alone.
        bundle |= _drawn(Graph({"result": node}), title=repr(node))
    except GraphError:  # a node that no graph can hold by itself: a size that no input tells
        return bundle
    return bundle


def program_bundle(said: str, plan: str, source: str) -> dict[str, Any]:
    """A program: what it is, its plan, and its source as far as a page can hold it."""
    lines = source.splitlines()
    shown = "\n".join(lines[:_MOST_LINES])
    rest = len(lines) - _MOST_LINES
    more = f"\n… and {rest:,} lines more: print(program.source)" if rest > 0 else ""
    page = (
        f"<div><p>{escape(said)}<br>{escape(plan)}</p>"
        f"<details><summary>source, {len(lines):,} lines</summary>"
        f"<pre>{escape(shown + more)}</pre></details></div>"
    )
    return {"text/plain": said, "text/html": page}


def _drawn(graph: Graph, **options: Any) -> dict[str, Any]:
    for point in entry_points(group="graphc.display", name="draw"):
        try:
            return {"image/svg+xml": point.load()(graph, limit=MOST_NODES, **options).svg}
        except (ImportError, BackendError):  # no drawing libraries, no layout: text alone
            continue
    return {}
