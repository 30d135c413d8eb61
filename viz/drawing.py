"""A drawing: a graph's picture as data, DOT, SVG and PNG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphc.ir.errors import BackendError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.printer import embed

from .caption import caption
from .dot import HINTS, Hints, write
from .export import check_size, resized, to_pdf
from .figure import Caption
from .fold import Fold, fold
from .model import Model, build
from .overlay import mark, resolve, scale
from .page import page
from .render import PROGRAM, SECONDS, LayoutFailed, render
from .svg import finish, outline

if TYPE_CHECKING:
    import networkx

LIMIT = 2000
Pixels = tuple[int, int]


class Drawing:
    """What ``viz.draw`` returns. Each form is made when it is asked for, and then kept.

    Attributes: ``graph`` (what is drawn), ``model`` (dict), ``dot`` and ``svg`` (str), ``png``
    (bytes). ``gx.parse(drawing.svg)`` and ``gx.parse(drawing.dot)`` give the graph back.
    """

    def __init__(self, graph: Graph, model: Model, program: str, seconds: float) -> None:
        self.graph = graph
        self._model = model
        self._program = program
        self._seconds = seconds

    @property
    def model(self) -> dict[str, Any]:
        """The picture as data: ``nodes``, ``edges``, ``clusters``, ``title``, ``folded``."""
        return self._model.as_dict()

    @cached_property
    def caption(self) -> Caption:
        """What was counted and measured, in a sentence that reads back."""
        return caption(self._model)

    @cached_property
    def dot(self) -> str:
        """DOT text; comments carry the IR and the outline. The same graph gives the same bytes."""
        said = "".join(f"// {row}\n" for row in outline(self._model))
        text = write(self._model, caption=str(self.caption))
        return f"// {embed(self.graph, comments=False)}\n{said}{text}"

    @cached_property
    def svg(self) -> str:
        """SVG text, for light and dark pages; a comment carries the IR. Raises BackendError."""
        picture = self._render("svg")
        return finish(picture, self._model, embed(self.graph), str(self.caption))

    @cached_property
    def png(self) -> bytes:
        """PNG bytes, two pixels a point. Raises BackendError."""
        return self._render("png")

    @cached_property
    def pdf(self) -> bytes:
        """One page of PDF. Raises BackendError: no layout, or the extra graphc[viz] is missing."""
        return to_pdf(self.svg)

    @cached_property
    def html(self) -> str:
        """A page with the picture and its caption; it has no script and asks no network."""
        return page(self._model.title, self.svg, str(self.caption))

    def _render(self, format: Literal["svg", "png"], size: Pixels | None = None) -> bytes:
        """Laid out with the most hints that the layout program can follow."""
        for hints in HINTS[:-1]:
            with suppress(LayoutFailed):
                return self._layout(hints, format, size)
        return self._layout(HINTS[-1], format, size)

    def _layout(self, hints: Hints, format: Literal["svg", "png"], size: Pixels | None) -> bytes:
        text = write(self._model, hints, str(self.caption))
        given = {} if size is None else {"size": size}
        return render(text, format, program=self._program, seconds=self._seconds, **given)

    def multidigraph(self) -> networkx.MultiDiGraph:
        """The model as a networkx graph: one edge for each use, keyed by its input position."""
        import networkx

        model = self.model
        graph = networkx.MultiDiGraph(title=model["title"])
        for node in model["nodes"]:
            graph.add_node(node["id"], **{k: v for k, v in node.items() if k != "id"})
        for edge in model["edges"]:
            attributes = {k: v for k, v in edge.items() if k not in ("source", "target")}
            graph.add_edge(edge["source"], edge["target"], **attributes)
        return graph

    def save(self, path: str | Path, size: Pixels | None = None) -> Path:
        """Write the form that the name's ending says: .svg, .png, .pdf, .html, .dot (.gv), .json.

        size: (width, height) in pixels that an SVG or PNG is scaled to fit, e.g. (1600, 900).
        Raises GraphError for another ending or size, BackendError where the layout fails.
        """
        path = Path(path)
        if size is not None:
            check_size(size, path)
        match path.suffix.lower():
            case ".svg":
                data = (self.svg if size is None else resized(self.svg, size)).encode()
            case ".png":
                data = self.png if size is None else self._render("png", size)
            case ".pdf":
                data = self.pdf
            case ".html":
                data = self.html.encode()
            case ".dot" | ".gv":
                data = self.dot.encode()
            case ".json":
                data = (json.dumps(self.model, indent=1, ensure_ascii=False) + "\n").encode()
            case other:
                raise GraphError(
                    f"{path.name!r}: a drawing is saved as .svg, .png, .pdf, .html, .dot or .json, "
                    f"not as {other or 'a name without an ending'}"
                )
        path.write_bytes(data)
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        try:
            return {"image/svg+xml": self.svg, "text/plain": repr(self)}
        except BackendError:  # no layout: the notebook still says what this is
            return {"text/plain": repr(self)}

    def __repr__(self) -> str:
        model = self._model
        note = f"; {model.folded}" if model.folded else ""
        return f"<graphc.viz.Drawing of {model.title}: {len(model.nodes)} nodes{note}>"


def draw(
    graph: Graph,
    *,
    fold: Fold = None,
    title: str | None = None,
    limit: int = LIMIT,
    program: str = PROGRAM,
    seconds: float = SECONDS,
    sizes: Mapping[str, int] | None = None,
    **overlays: Any,
) -> Drawing:
    """Draw ``graph``: forward, or a whole training step.

    Every node once, a shared parameter too, with an edge for each use; scalars stand in the label
    of what reads them; random streams, the seed and the step count are left out. Beside a forward
    node stands its gradient; where the gradients of several uses meet there is a double ellipse,
    "Σ grad of 0.weight". An output has a bold outline and its name after an arrow, each state and
    parameter that is updated a dashed edge from its new value. After ``passes.unshare()`` the uses
    of each shared parameter have a colour, a dash and a name of their own.

    fold: True draws each module as one box, and modules that repeat each other as one box ×N (and
    what is then still larger than ``limit`` in runs of consecutive nodes); a path glob (or several)
    those that fit (``"layer3*"``, ``"update/*"``); a predicate those whose path it is true of;
    False none. None leaves a drawing of 25 nodes alone, folds the statistics of
    normalization in a larger one, and modules and their repetitions in one of more than ``limit``
    nodes; the picture says so. program: the layout program, e.g. ``"dot"`` for a Graphviz of the
    system. seconds: how long it may take.

    overlays: what was measured, as a row on each node; the first with numbers colours the nodes, by
    a scale in the legend. ``parameters=True``; ``flops=True`` and ``bytes=True``, at ``sizes`` (the
    batch is 1 if it says nothing), or ``gx.cost(graph, N=64)``; ``memory=program``, bytes of the
    arena and how long they live; ``time=program.profile(variables, …)``; ``receptive_field=True``
    or node → field; ``gradient_check=gx.gradient_check(…)``, the worst node in red. Any other name
    with a mapping of node (or its name) to number or text, or a ``viz.Overlay``, is one of yours.

    Raises GraphError for what is not a Graph, a glob that fits nothing, an overlay that is none.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 2))
    >>> drawing = viz.draw(gx.Graph({"y": gx.add(x, x)}))
    >>> [(edge["source"], edge["target"], edge["input"]) for edge in drawing.model["edges"]]
    [('x', 'add', 0), ('x', 'add', 1)]
    >>> gx.parse(drawing.svg) == drawing.graph
    True
    """
    if not isinstance(graph, Graph):
        raise GraphError(
            f"viz.draw takes a Graph, not a {type(graph).__name__}: wrap nodes first, "
            "gx.Graph({'y': y})"
        )
    options = ("fold", "title", "limit", "program", "seconds", "sizes")
    found = resolve(graph, overlays, sizes, options)
    model = mark(build(graph, title), graph, found) if found else build(graph, title)
    model = scale(_folded(model, fold, limit), graph, found)
    return Drawing(graph, model, program, seconds)


_folded = fold
