"""``viz.report``: everything about a graph on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphc import data
from graphc.compiler.program import Program, compile
from graphc.ir.errors import BackendError, GraphError
from graphc.ir.graph import Graph
from graphc.train import History

from ..curves import curves
from ..film import Film
from ..memory import memory
from ..model import build
from . import fields, tables
from .picture import SECONDS, drawing_data, graph_part, inline
from .shell import block, page, text

_BATCH = 32
_MOST_COMPILED = 12_000  # nodes; beyond, compiling takes longer than a page is worth
_MOST_TEXT = 600_000  # characters of the printed graph
_MOST_REPLAYED = 4_000  # nodes; beyond, the edits would be most of the page (viz.film has them)
_FILM = 250  # shapes of the film in a page that has more to show


def report(
    graph: Graph,
    path: str | Path,
    *,
    title: str | None = None,
    image: Any = None,
    history: History | None = None,
    batch: int = _BATCH,
    size: Mapping[str, int] | None = None,
) -> Path:
    """Write one HTML page with everything about ``graph``; returns its path.

    The page asks no network, opens from the disk, and works with scripts off as static figures. It
    has the graph, to move, zoom, search and fold; what each unit sees of the image; the film of
    ``graph.history``; the generated program beside the nodes; tables of parameters, operations and
    memory; and the training curves of ``history``.

    image: (H, W), (H, W, 3) or (C, H, W), uint8 or numbers in [0, 1], to point at; left out, a
    digit where it fits the input, else a test pattern. batch: the size of the dimension N. size:
    those of other named dimensions.

    Raises GraphError: not a Graph, an image of another size, a dimension that there is not.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from graphc import models, viz
    >>> folder = Path(tempfile.mkdtemp())
    >>> page = viz.report(models.build("lenet-5"), folder / "lenet.html").read_text("utf-8")
    >>> "http" in page, "gx.receptive_field" in page
    (False, True)
    """
    if not isinstance(graph, Graph):
        raise GraphError(
            f"viz.report takes a Graph, not a {type(graph).__name__}: wrap nodes first, "
            "gx.Graph({'y': y})"
        )
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise GraphError(f"batch={batch!r} is not a number of examples: an int of 1 or more")
    path = Path(path)
    path.write_text(_page(graph, title, image, history, batch, dict(size or {})), encoding="utf-8")
    return path


def _page(
    graph: Graph,
    title: str | None,
    image: Any,
    history: History | None,
    batch: int,
    size: dict[str, int],
) -> str:
    sizes = tables.sizes_of(graph, batch, size)
    parts: dict[str, tuple[str, str]] = {}
    found: dict[str, Any] = {"graph": drawing_data(build(graph), sizes, graph)}
    known = {node["part"] for node in found["graph"]["nodes"]}
    parts["graph"] = ("The graph", graph_part(graph, known))
    seen = _fields(graph, image, sizes)
    parts["fields"] = ("Receptive fields", seen if isinstance(seen, str) else fields.part(seen))
    if not isinstance(seen, str):
        found["fields"] = seen.as_dict()
    if graph.history:
        film = Film((*graph.history, graph), "", None, _FILM, SECONDS)
        few = len(graph.nodes) <= _MOST_REPLAYED
        parts["film"] = ("The passes", film.body(text_too=few))
        if few:
            found["film"] = film.model
    if history is not None:
        parts["training"] = ("Training", _curves(history))
    program = _program(graph, sizes)
    parts["source"] = (
        "The program",
        program if isinstance(program, str) else _program_part(program, graph),
    )
    parts["parameters"] = ("Parameters", tables.parameters(graph))
    parts["operations"] = ("Operations", _tried(lambda: tables.operations(graph, sizes)))
    if not isinstance(program, str):
        parts["memory"] = ("Memory", _memory(program))
    printed, cut = str(graph), ""
    if len(printed) > _MOST_TEXT:
        printed, cut = printed[:_MOST_TEXT], f"; the first {_MOST_TEXT:,} characters"
    parts["text"] = (
        "As text",
        "<details><summary>The printed graph: this text is the graph, gx.parse reads it back"
        f'{cut}</summary>\n<pre tabindex="0" role="region" aria-label="printed graph">'
        f"{block(printed)}</pre></details>",
    )
    name = title if title is not None else _title(graph)
    lead = (
        f"{len(graph.nodes):,} nodes, {graph.parameter_count():,} parameters; from "
        f"{text(', '.join(graph.inputs) or 'no input')} to {text(', '.join(graph.outputs))}."
    )
    return page(
        name, lead, parts, data=found,
        scripts=("dagre.min.js", "page.js", "graph.js", "fields.js", "film.js", "source.js"),
    )  # fmt: skip


def _title(graph: Graph) -> str:
    step = " (a training step)" if any(n in graph.parameters for n in graph.updates) else ""
    return f"{', '.join(graph.inputs) or 'no input'} → {', '.join(graph.outputs)}{step}"


def _tried(make: Callable[[], str]) -> str:
    """What ``make`` gives, or why there is nothing."""
    try:
        return make()
    except (GraphError, BackendError) as error:
        return _missing(error)


def _missing(error: Exception) -> str:
    return f'<p class="note">Not here: {text(error, 600)}</p>'


def _fields(graph: Graph, image: Any, sizes: Mapping[str, int]) -> fields.FieldPart | str:
    said = "the image that was given"
    if image is None:
        image, said = _digit(graph)
    elif not any(node.ndim == 4 for node in graph.inputs.values()):
        raise GraphError("image= was given, and no input of this graph is an image (N, C, H, W)")
    else:  # a mistake in what was asked for is an error, not a gap in the page
        return fields.collect(graph, image, said, sizes)
    try:
        return fields.collect(graph, image, said, sizes)
    except GraphError as error:
        return _missing(error)


def _digit(graph: Graph) -> tuple[Any, str]:
    """A handwritten digit for a net that takes such."""
    if any(node.shape[1:] == (1, 28, 28) for node in graph.inputs.values()):
        return data.load("mnist-mini", "test").images[0, 0], "test digit 0 of mnist-mini"
    return None, ""


def _program(graph: Graph, sizes: Mapping[str, int]) -> Program | str:
    if len(graph.nodes) > _MOST_COMPILED:
        said = f"a program of {len(graph.nodes):,} nodes is too long for a page"
        return _missing(GraphError(said))
    try:
        return compile(graph, backend="numpy", sizes=sizes)
    except (GraphError, BackendError) as error:
        return _missing(error)


def _program_part(program: Program, graph: Graph) -> str:
    plan = program.plan
    return (
        f"<p>What gx.compile makes of this graph for NumPy: {len(plan.instructions):,} lines that "
        f"compute, {plan.launches:,} array calls a step. Each names its node: choose one, and the "
        "graph shows it; choose a node there, and its lines are marked here.</p>\n"
        f"{tables.source(program, graph)}"
    )


def _memory(program: Program) -> str:
    drawn = _tried(lambda: f"<figure>{inline(memory(program).svg)}</figure>")
    return (
        '<div class="picture" tabindex="0" role="region" aria-label="lifetimes of the buffers">'
        f"{drawn}</div>\n{tables.memory(program.plan)}"
    )


def _curves(history: History) -> str:
    """One chart for the losses and one for each other metric, over the epochs."""
    groups: dict[str, dict[str, Any]] = {}
    for name, values in history.metrics.items():
        groups.setdefault(name.rpartition("/")[2], {})[name] = values
    charts = [
        f"<figure>{inline(curves(group, y=what).svg)}</figure>" for what, group in groups.items()
    ]
    return "\n".join(charts) or '<p class="note">Nothing was measured.</p>'
