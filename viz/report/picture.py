"""The graph as the page draws it: data for the script, and a still drawing for who has none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphc.analysis import cost
from graphc.ir.errors import BackendError, GraphError
from graphc.ir.graph import Graph

from ..drawing import draw
from ..model import Cluster, DrawnNode, Model
from ..text import clean, rows
from .shell import text

_SPACE = re.compile(r' xmlns(?::\w+)?="[^"]*"')
_LONGEST = 400
_MANY = 60  # nodes outside all modules from which runs of them become modules of the page
_RUN = 40
SECONDS = 15.0  # that a layout of the page may take; the page says where one took longer


def inline(svg: str) -> str:
    """An SVG of ours as a part of an HTML page: no declaration, comment or namespace.

    A page knows what SVG is, and so needs no address that says it.
    """
    body = svg[svg.index("<svg") :]
    metadata = re.compile(r"<metadata\b.*?</metadata>", re.DOTALL)
    return _SPACE.sub("", metadata.sub("", body)).strip()


def drawing_data(model: Model, sizes: Mapping[str, int], graph: Graph) -> dict[str, Any]:
    """What the script draws from: every node and use, and the modules around them."""
    model = _with_runs(model)
    known = _facts(graph, sizes)
    penalty = {cluster.id for cluster in model.clusters if cluster.kind == "penalty"}
    added = {n.id for n in model.nodes if n.part == "forward" and n.cluster in penalty}
    return {
        "nodes": [
            {
                "id": node.id, "name": clean(node.name, 120), "op": node.op, "kind": node.kind,
                "part": "penalty" if node.id in added else node.part,
                "cluster": node.cluster, "type": clean(node.type, 80),
                "label": [clean(row, 34) for row in rows(node.label)],
                "text": clean(node.text or f"{node.name}: {node.type}", _LONGEST),
                "line": clean(node.line, 80), "role": node.role or "", "uses": node.uses,
                "outputs": [clean(name, 60) for name in node.outputs],
                "belongs_to": node.gradient_of or node.belongs_to,
                "numbers": math.prod(map(int, node.shape)) if node.kind == "parameter" else 0,
                "facts": known.get(node.name, {}),
            }
            for node in model.nodes
        ],
        "edges": [
            {
                "source": edge.source, "target": edge.target, "input": edge.input,
                "kind": edge.kind, "shape": clean(edge.label, 40), "told": edge.told,
            }
            for edge in model.edges
        ],
        "clusters": [
            {"id": c.id, "path": clean(c.path, 120), "parent": c.parent,
             "label": clean(c.label, 60)}
            for c in model.clusters
        ],
    }  # fmt: skip


def _facts(graph: Graph, sizes: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """What a node costs, by its name; nothing where a size is not known."""
    try:
        found = cost(graph, **sizes)
    except GraphError:
        return {}
    return {
        each.name: {"flops": f"{each.flops:,}", "bytes moved": f"{each.bytes:,}"} for each in found
    }


def _with_runs(model: Model) -> Model:
    """Runs of consecutive nodes as modules, where many nodes are in none: all can then fold."""
    loose = [node for node in model.nodes if node.cluster is None and node.kind != "input"]
    forward = [node.id for node in loose if node.part == "forward"]
    if len(loose) <= _MANY or not forward:
        return model
    # Two levels, so that a run unfolds into few enough of the next.
    length = max(_RUN, math.ceil(len(forward) / (_RUN * _RUN)))
    run_of = {id: index // length for index, id in enumerate(forward)}
    count = max(run_of.values()) + 1
    groups = math.ceil(count / _RUN) if count > _RUN else 0
    clusters: list[Cluster] = []
    for group in range(groups):
        label = _group(group, count)
        clusters.append(Cluster(f"runs:{group}", label, None, "module", label))
    for run in range(count):
        parent = f"runs:{run // _RUN}" if groups else None
        label = f"run {run + 1} of {count}"
        clusters.append(Cluster(f"run:{run}", label, parent, "module", label))
    placed: dict[str, int] = dict(run_of)
    nodes: list[DrawnNode] = []
    last = 0
    for node in model.nodes:
        if node.cluster is None and node.kind != "input":
            last = placed.setdefault(node.id, placed.get(node.belongs_to or "", last))
            node = replace(node, cluster=f"run:{last}")
        nodes.append(node)
    return replace(model, nodes=tuple(nodes), clusters=(*model.clusters, *clusters))


def _group(number: int, count: int) -> str:
    first, last = number * _RUN + 1, min((number + 1) * _RUN, count)
    return f"runs {first} to {last}"


_PARTS = {
    "forward": "forward", "penalty": "penalty", "backward": "gradients", "update": "updates",
}  # fmt: skip


_TOOLS = (
    ("fold", "fold all", ""),
    ("unfold", "unfold all", ""),
    ("out", "−", ' aria-label="smaller"'),
    ("in", "+", ' aria-label="larger"'),
    ("fit", "fit", ""),
)


def graph_part(graph: Graph, known: set[str]) -> str:
    """The part of the page; the still drawing folds by itself where it is large. ``known``: the
    parts that the graph has."""
    try:
        still = inline(draw(graph, seconds=SECONDS).svg)
    except (GraphError, BackendError) as error:
        still = f'<p class="note">Not here: {text(error, 600)}</p>'
    parts = "".join(
        f'<label><input type="checkbox" data-part="{part}"> {_PARTS[part]}</label>'
        for part in _PARTS
        if part in known
    )
    group = f'<span role="group" aria-label="parts of the step" class="tools">{parts}</span>'
    buttons = "".join(
        f'<button type="button" id="graph-{id}"{said}>{word}</button>\n'
        for id, word, said in _TOOLS
    )
    return f"""<div class="dynamic">
<div class="tools">
<label for="graph-search">find</label>
<input type="search" id="graph-search" placeholder="name, op or line" autocomplete="off"
spellcheck="false">
<span id="graph-count" aria-live="polite" class="small"></span>
<span class="space"></span>
{group if len(known) > 1 else ""}
{buttons}</div>
<ul class="found" id="graph-found"></ul>
<p class="small" id="graph-note" aria-live="polite"></p>
<div class="board">
<div class="canvas"><svg id="graph-picture" role="group" aria-label="the graph; arrow keys move
from node to node, Enter unfolds or chooses, plus and minus zoom"></svg></div>
<aside class="side" id="graph-side" aria-live="polite" aria-label="the chosen node">
<p class="small">Choose a node to see what it is, a box to unfold it, the title of a frame to fold
it. Drag moves, Ctrl and the wheel zoom. With the keyboard: arrows, Enter, + and −, 0 fits, Shift
and arrows move the picture.</p></aside>
</div>
</div>
<div class="static picture" tabindex="0" role="region"
aria-label="drawing of the graph">{still}</div>"""
