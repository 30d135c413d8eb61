"""The pass film: every graph of a history in one layout, with a slider over the passes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from graphc import passes
from graphc.ir.errors import BackendError, GraphError
from graphc.ir.graph import Graph

from . import marks
from .edits import Snapshot, Step, printed, replay, track
from .fold import Fold
from .render import SECONDS
from .report.shell import page, table, text
from .svg import stylesheet
from .union import Union, picture, store, union

LIMIT = 400  # shapes in the common layout; beyond, modules fold
_MOST_ROWS = 200  # new nodes that a frame lists
_PREFIX = "film-"
_TEXT = """<details class="dynamic">
<summary>The printed graph of this frame, replayed from the edits</summary>
<pre id="film-ir" tabindex="0" role="region" aria-label="printed graph of this frame"></pre>
</details>"""


class Film:
    """What ``viz.film`` returns.

    Attributes: ``graphs`` (the history and the graph itself), ``first`` (the first graph as plain
    data), ``steps`` (a pass each: ``made_by``, ``seconds``, ``edits``), ``html`` (str).
    ``film.replay(k)`` is the printed IR of frame k, made from the first frame and the edits alone.
    """

    def __init__(
        self, graphs: Sequence[Graph], title: str, fold: Fold, limit: int, seconds: float
    ) -> None:
        self.graphs = tuple(graphs)
        self.title = title
        self.first, self.steps, self._ids = track(graphs)
        self._fold = fold
        self._limit = limit
        self._seconds = seconds

    def replay(self, number: int) -> str:
        """The printed IR of frame ``number``, from the first frame and the edits.

        Raises GraphError for a frame that there is not.
        """
        if not 0 <= number <= len(self.steps):
            raise GraphError(f"frame {number}: the film has frames 0 to {len(self.steps)}")
        state: Snapshot = self.first
        for step in self.steps[:number]:
            state = replay(state, step.edits)
        return printed(state)

    @property
    def model(self) -> dict[str, Any]:
        """The film as data: ``first`` and ``steps``, each with its pass and edits."""
        return {
            "first": self.first.as_dict(),
            "steps": [step.as_dict() for step in self.steps],
        }

    @cached_property
    def _union(self) -> Union:
        return union(
            self.graphs, self._ids, self.steps, how=self._fold, limit=self._limit,
            seconds=self._seconds,
        )  # fmt: skip

    @cached_property
    def html(self) -> str:
        """One page, which opens from the disk: a slider, or a strip of frames without scripts."""
        lead = f"{len(self.graphs)} graphs, each made from the one before it by one pass."
        return page(
            self.title,
            lead,
            {"film": ("The film", self.body())},
            data={"film": self.model},
            scripts=("page.js", "film.js"),
        )

    def body(self, *, text_too: bool = True) -> str:
        """The film as a part of a page: controls, the strip, and ``text_too`` the printed graph,
        for which the page's data must have the ``model`` as ``film``."""
        found: Union | None = None
        try:
            found = self._union
        except BackendError as error:
            shapes, note = "", f"No pictures here: {text(error, 400)}"
        else:
            shapes = f"<style>{stylesheet()}</style>{store(found, _PREFIX)}"
            width, height = found.size
            note = (
                f"{self._folded(found)}Nodes that stay keep their places: {width:.0f} by "
                f"{height:.0f} points hold all frames."
            )
        frames = "\n".join(self._frame(number, found) for number in range(len(self.graphs)))
        return f"""<div class="film">
<div class="store" aria-hidden="true"><svg width="0" height="0">
{shapes}</svg></div>
{marks.legend(_PREFIX) if found else ""}
<p class="small">{note}</p>
<div class="tools dynamic">
<button type="button" id="film-back">back</button>
<label for="film-slider">frame</label>
<input type="range" id="film-slider" min="0" max="{len(self.graphs) - 1}" step="1" value="0">
<button type="button" id="film-next">next</button>
<span id="film-said" aria-live="polite"></span>
<label><input type="checkbox" id="film-whole"> fit to the width</label>
</div>
<ol class="strip" id="film-strip">
{frames}
</ol>
{_TEXT if text_too else ""}
</div>"""

    def _folded(self, found: Union) -> str:
        return f"{text(found.model.folded)}. " if found.model.folded else ""

    def _frame(self, number: int, found: Union | None) -> str:
        graph = self.graphs[number]
        step = self.steps[number - 1] if number else None
        said = _sentence(graph, step)
        return f"""<li data-pass="{text(graph.made_by, 60)}">
<figure>
<figcaption>{text(f"{number + 1}. {graph.made_by}", 80)}: {text(said, 400)}</figcaption>
{self._picture(number, found, said) if found else ""}
{self._new(number)}
</figure>
</li>"""

    def _picture(self, number: int, found: Union, said: str) -> str:
        width, height = found.size
        label = text(f"frame {number + 1}: {said}")
        return f"""<div class="frame-picture" tabindex="0" role="region" aria-label="{label}">
<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img"
aria-label="{label}">
{picture(found, number, _PREFIX)}
</svg></div>"""

    def _new(self, number: int) -> str:
        """Where each new node of a frame comes from."""
        if not number:
            return ""
        step, graph = self.steps[number - 1], self.graphs[number]
        names = {id: graph.name(node) for node, id in self._ids[number].items()}
        names |= {
            id: self.graphs[number - 1].name(node)
            for node, id in self._ids[number - 1].items()
            if id not in names
        }
        added = [edit for edit in step.edits if edit["edit"] == "add"]
        if not added:
            return ""
        rows = [
            (edit["row"]["name"], edit["row"]["op"], edit["how"], names.get(edit["from"], ""))
            for edit in added[:_MOST_ROWS]
        ]
        more = f", the first {_MOST_ROWS} of them here" if len(added) > _MOST_ROWS else ""
        caption = f"new nodes of frame {number + 1}, made by {step.made_by}{more}"
        count = f"{len(added):,} new node{'s' if len(added) > 1 else ''}"
        return (
            f"<details><summary>{count}, and where each comes from</summary>\n"
            f"{table(('node', 'op', 'it is', 'node'), rows, caption=caption, words=4)}</details>"
        )

    def save(self, path: str | Path) -> Path:
        """Write the film: .html, or .json for its data. Raises GraphError for another ending."""
        path = Path(path)
        match path.suffix.lower():
            case ".html" | ".htm":
                said = self.html
            case ".json":
                said = json.dumps(self.model, indent=1, ensure_ascii=False) + "\n"
            case other:
                raise GraphError(
                    f"{path.name!r}: a film is saved as .html or .json, "
                    f"not as {other or 'a name without an ending'}"
                )
        path.write_text(said, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{text(self.title)}" '
            'style="width: 100%; height: 46rem; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        names = ", ".join(graph.made_by for graph in self.graphs)
        return f"<graphc.viz.Film of {len(self.graphs)} graphs: {names}>"


def _sentence(graph: Graph, step: Step | None) -> str:
    """What happened, in numbers."""
    if step is None:
        return f"{len(graph.nodes):,} nodes, {graph.parameter_count():,} parameters"
    if not step.edits:
        return "changes nothing"
    words = {"add": "added", "remove": "removed", "rewire": "rewired", "change": "changed"}
    said = [f"{count:,} {words[kind]}" for kind, count in step.counts().items() if count]
    law = getattr(getattr(passes, graph.made_by, None), "law", "").replace("``", "")
    counted = ", ".join(said) or "names and outputs alone"
    return f"{counted}; {len(graph.nodes):,} nodes" + (f". {law}" if law else "")


def film(
    graph: Graph,
    *,
    title: str | None = None,
    fold: Fold = None,
    limit: int = LIMIT,
    seconds: float = SECONDS,
) -> Film:
    """The passes that made ``graph``, as one page with a slider over ``graph.history``.

    All graphs share one layout, so a node that survives keeps its place. What a pass added, removed
    or rewired has a badge of its own shape; each new node names the pass and the node that it came
    from. The page needs no network and opens from the disk; without scripts it is a strip of
    frames. fold: as in ``viz.draw``; left out, modules fold where the frames together have more
    than ``limit`` nodes. seconds: how long the layout may take.

    Where it takes longer, the frames have words and no pictures, and say so.

    Raises GraphError for what is not a Graph.

    >>> import graphc as gx
    >>> from graphc import passes, viz
    >>> x, w = gx.input("x", ("N", 2)), gx.parameter("w", (2, 2))
    >>> graph = gx.Graph({"loss": gx.mean(gx.relu(gx.matmul(x, w)))}).apply(passes.backward())
    >>> film = viz.film(graph)
    >>> film
    <graphc.viz.Film of 2 graphs: declare, backward>
    >>> film.replay(1) == str(graph), "http" in film.html
    (True, False)
    """
    if not isinstance(graph, Graph):
        raise GraphError(
            f"viz.film takes a Graph, not a {type(graph).__name__}: wrap nodes first, "
            "gx.Graph({'y': y})"
        )
    graphs = (*graph.history, graph)
    if title is None:
        ends = ", ".join(graph.inputs) or "no input", ", ".join(graph.outputs)
        title = f"From {ends[0]} to {ends[1]}, pass by pass"
    return Film(graphs, title, fold, limit, seconds)
