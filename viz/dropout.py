"""Dropout seen: the full network beside the one that an example really trained, and test time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.compiler.program import compile as compile_graph
from graphc.ir.graph import Graph
from graphc.ir.leaves import input as make_input
from graphc.ir.node import Node, make
from graphc.passes.inference import inference

from .canvas import Canvas, text_width
from .figure import Caption, Figure
from .masks import Layer, Net, short, thin


def thinned(
    graph: Graph,
    variables: Mapping[str, Any],
    *,
    example: int = 0,
    step: int | None = None,
    units: int = 8,
    backend: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """The full network, and beside it the one that a training step used for one example.

    graph: with dropout, before or after ``backward``. variables: with ``random/seed`` and ``step``:
    the mask is that of the step to come, or of step=. example: which one of the batch. units: how
    many of a fully-connected layer's units are drawn (all of them are in the model; of a deep net
    the last eight layers are drawn). inputs (or
    keywords): the batch; what only the loss needs may be left out.

    The mask is computed from (seed, step, stream): element i is retained where number i of the
    stream is below ``retain``. The graph is compiled too, run on the same variables (copies of
    them), and the figure is refused if its dropouts keep anything else.

    ``.model``: ``layers`` (name, shape, ``retain``, ``stream``, ``dropped``: the numbers of the
    crossed units, in the row-major order of the layer, of layers of up to 65,536 units; ``kept``:
    how many are not), ``edges`` and ``thinned_edges``
    ([layer, unit, layer, unit] of those drawn), ``example``, ``seed``, ``step``.
    Raises GraphError: no dropout in the graph, no such example.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import nn, viz
    >>> x = gx.input("x", ("N", 3))
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(retain=0.5), nn.Linear(4, 2))
    >>> graph = gx.Graph({"y": net(x)})
    >>> held = gx.compile(graph).init(seed=1)
    >>> figure = viz.thinned(graph, held, x=np.ones((2, 3), "float32"))
    >>> [(layer["name"], layer["dropped"]) for layer in figure.model["layers"]]
    [('x', []), ('0', [0, 1, 2]), ('3', [])]
    """
    net, facts = thin(graph, variables, example, step, units, 8, backend, inputs, named)
    model = {"kind": "thinned network", **facts, **_model(net, units)}
    canvas = _sheet(net, units, facts, None)
    caption = Caption(_TEMPLATE, _said(model))
    words = (
        "Left: the full network, layer by layer. Right: the network that trained example "
        f"{example}: crossed units are dropped, and every edge with a crossed end is gone."
    )
    return Figure(canvas, model, caption, "Dropout: full and thinned network", words)


def dropout(
    graph: Graph,
    variables: Mapping[str, Any],
    *,
    example: int = 0,
    step: int | None = None,
    units: int = 6,
    backend: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """Dropout in three: the full network, thinned in training, and all of it at test time.

    As ``viz.thinned``, with test time beside it: every unit is present, and what leaves it is
    multiplied by a factor that is measured on the graph after ``passes.inference()``: p where
    dropout has ``scaling="test"`` ("present with probability p" becomes "always present", w becomes
    p·w), 1 where training divided by p already. ``.model`` has it as ``test``, by layer.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import nn, viz
    >>> x = gx.input("x", ("N", 3))
    >>> y = gx.linear(gx.dropout(x, retain=0.75, scaling="test"), gx.parameter("w", (2, 3)))
    >>> graph = gx.Graph({"y": y})
    >>> figure = viz.dropout(graph, gx.compile(graph).init(), x=np.ones((1, 3), "float32"))
    >>> figure.model["test"]
    [{'layer': 0, 'retain': 0.75, 'train': 1.0, 'test': 0.75}]
    """
    net, facts = thin(graph, variables, example, step, units, 6, backend, inputs, named)
    test = [
        {
            "layer": number,
            "retain": layer.retain,
            "train": short(math.prod(site.op.factor for site in layer.sites)),  # type: ignore[attr-defined]
            "test": short(math.prod(map(_at_test, layer.sites))),
        }
        for number, layer in enumerate(net.layers)
        if layer.sites
    ]
    model = {"kind": "dropout", **facts, **_model(net, units), "test": test}
    canvas = _sheet(net, units, facts, test)
    said = {
        **_said(model),
        "train": [entry["train"] for entry in test],
        "test": [entry["test"] for entry in test],
    }
    caption = Caption(
        _TEMPLATE + "; what leaves a unit is multiplied by {train} in training and by {test} at "
        "test time", said,
    )  # fmt: skip
    words = (
        f"Left: the full network. Middle: the one that trained example {example}, dropped units "
        "crossed. Right: test time, every unit present. Below: a unit that is present with "
        "probability p in training, and the same unit, always present, at test time."
    )
    return Figure(canvas, model, caption, "Dropout: training and test time", words)


# -- captions and models -----------------------------------------------------------------

_TEMPLATE = (
    "the mask of example {example} at seed {seed}, step {step}, streams {streams}: "
    "retain {retain}, {kept} of {units} units kept, as the program compiled for {backend} keeps "
    "them; scaling {scaling}; drawn are {drawn} units"
)


def _said(model: dict[str, Any]) -> dict[str, Any]:
    masked = [layer for layer in model["layers"] if layer["retain"] is not None]
    return {
        "example": model["example"], "seed": model["seed"], "step": model["step"],
        "streams": [layer["stream"] for layer in masked],
        "retain": [layer["retain"] for layer in masked],
        "kept": [layer["kept"] for layer in masked],
        "units": [layer["units"] for layer in masked], "backend": model["backend"],
        "scaling": sorted({layer["scaling"] for layer in masked}),
        "drawn": [layer["drawn"] for layer in model["layers"]],
    }  # fmt: skip


def _at_test(site: Node) -> float:
    """What a unit is multiplied by after ``inference()``, measured."""
    x = make_input("x", (1,), dtype=site.dtype)
    graph = Graph({"y": make(site.op, x, *site.inputs[1:])}).apply(inference())
    program = compile_graph(graph, "numpy")
    return float(program({}, x=np.ones(1, site.dtype))["y"][0])


def _model(net: Net, units: int) -> dict[str, Any]:
    return {
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "units": len(layer.kept),
                "drawn": len(layer.shown(units)) if number >= net.first else 0,
                "retain": layer.retain if layer.sites else None,
                "scaling": layer.sites[0].op.scaling if layer.sites else None,  # type: ignore[attr-defined]
                "stream": "+".join(layer.streams) or None,
                "kept": int(layer.kept.sum()),
                "dropped": layer.dropped(units),
            }
            for number, layer in enumerate(net.layers)
        ],
        "links": [list(link) for link in net.links],
        "edges": net.edges(units, False),
        "thinned_edges": net.edges(units, True),
    }


# -- the sheet ----------------------------------------------------------------------------

_STEP, _UNIT = 30.0, 9.0
_ACROSS = 84.0
_TOP = 66.0
_MAP = 40.0  # points that a map of a mask takes
_KEPT, _DROPPED = (198, 222, 240), (27, 27, 27)


def _sheet(
    net: Net, units: int, facts: Mapping[str, Any], test: list[dict[str, Any]] | None
) -> Canvas:
    canvas = Canvas(10, 10)
    rows = max(
        layer.stack(units) * (_MAP + 4) / _STEP
        if layer.maps
        else len(layer.shown(units)) + (len(layer.kept) > units)
        for layer in net.layers[net.first :]
    )
    height = max(rows, 3) * _STEP
    panel = (len(net.layers) - net.first - 1) * _ACROSS + 78
    panels = ["full network", f"thinned: example {facts['example']}, step {facts['step']}"]
    panels += ["test time"] if test is not None else []
    for number, title in enumerate(panels):
        left = 16 + number * (panel + 34)
        if number:
            canvas.line(left - 17, 14, left - 17, _TOP + height + 36, stroke="grid")
        under: dict[int, tuple[str, ...]] = {}
        if number == 1:
            under = {
                i: (f"{int(layer.kept.sum())} of {len(layer.kept)}", "kept")
                for i, layer in enumerate(net.layers)
                if layer.sites and i >= net.first
            }
        elif number == 2:
            under = {entry["layer"]: (f"× {entry['test']}",) for entry in test or ()}
        with canvas.group(("full", "thinned", "test")[number]):
            _panel(canvas, net, units, left, height, title, under, thinned=number == 1)
    canvas.width = 16 + len(panels) * (panel + 34) - 18
    bottom = _TOP + height + 60
    canvas.circle(26, bottom, 6, fill="paper")
    canvas.text(38, bottom + 4, "unit", size=10)
    _crossed(canvas, 82, bottom, 6)
    said = "dropped: its edges are gone"
    if any(layer.maps for layer in net.layers[net.first :]):
        said += "; in a map, dark elements are dropped"
    canvas.text(94, bottom + 4, said, size=10)
    canvas.width = max(canvas.width, 94 + text_width(said, 10) + 12)
    canvas.height = bottom + 20
    if test is not None:
        _unit_rows(canvas, net, test, bottom + 26)
    return canvas


def _panel(
    canvas: Canvas, net: Net, units: int, left: float, height: float, title: str,
    under: Mapping[int, tuple[str, ...]], *, thinned: bool,
) -> None:  # fmt: skip
    canvas.text(left, 22, title, bold=True)
    xs = [left + 36 + (number - net.first) * _ACROSS for number in range(len(net.layers))]
    ys = []
    for layer in net.layers:
        count = 0 if layer.maps else len(layer.shown(units)) + (len(layer.kept) > units)
        first = _TOP + (height - (count - 1) * _STEP) / 2
        ys.append([first + i * _STEP for i in range(count)])
    for a, i, b, j in net.edges(units, thinned):
        canvas.line(
            xs[a], ys[a][i], xs[b], ys[b][j], stroke="blue" if thinned else "faint", line=0.8,
            data={"from": f"{a},{i}", "to": f"{b},{j}"},
        )  # fmt: skip
    middle = _TOP + height / 2
    for number in range(
        net.first + 1, len(xs)
    ):  # what is not fully connected: an arrow says only the order
        if (number - 1, number) not in net.links or net.layers[number - 1].maps:
            canvas.line(xs[number - 1] + 27, middle, xs[number] - 27, middle, stroke="faint",
                        arrow=7)  # fmt: skip
    for number, layer in list(enumerate(net.layers))[net.first :]:
        x = xs[number]
        canvas.text(x, 42, layer.name, size=10, anchor="middle", room=_ACROSS - 8)
        size = " × ".join(map(str, layer.shape))
        canvas.text(x, 56, size, size=_small(size), anchor="middle", fill="faint")
        below = _TOP + height + 22
        for line, said in enumerate(under.get(number, ())):
            canvas.text(x, below + 12 * line, said, size=9, anchor="middle", fill="faint")
        if layer.maps:
            _maps(canvas, layer, units, x, height, thinned=thinned)
            continue
        for i in layer.shown(units):
            data = {"layer": number, "unit": i}
            if thinned and not layer.kept[i]:
                _crossed(canvas, x, ys[number][i], _UNIT, {**data, "dropped": 1})
            else:
                canvas.circle(x, ys[number][i], _UNIT, fill="paper", line=1.3, data=data)
        if len(layer.kept) > units:
            for dot in (-5, 0, 5):
                canvas.circle(x, ys[number][-1] + dot - 4, 1.2, fill="ink", stroke="none")


def _small(said: str) -> float:
    return 10.0 if text_width(said, 10) <= _ACROSS - 6 else 9.0


def _crossed(
    canvas: Canvas, x: float, y: float, radius: float, data: Mapping[str, Any] | None = None
) -> None:
    canvas.circle(x, y, radius, fill="paper", stroke="faint", dash="2.5 2", data=data)
    reach = radius * 0.72
    for sign in (1, -1):
        canvas.line(x - reach, y - sign * reach, x + reach, y + sign * reach, stroke="vermillion",
                    line=2)  # fmt: skip


def _maps(
    canvas: Canvas, layer: Layer, units: int, x: float, height: float, *, thinned: bool
) -> None:
    """The mask of the first maps, an element a pixel."""
    shown = layer.stack(units)
    top = _TOP + (height - shown * (_MAP + 4)) / 2 - 10
    kept = layer.kept.reshape(layer.shape)
    high, wide = layer.shape[1:]
    scale = _MAP / max(high, wide)
    for channel in range(shown):
        here = kept[channel] if thinned else np.ones((high, wide), bool)
        pixels = np.where(here[..., None], _KEPT, _DROPPED).astype(np.uint8)
        left, y = x - wide * scale / 2, top + channel * (_MAP + 4)
        canvas.image(left, y, wide * scale, high * scale, pixels, data={"channel": channel})
        canvas.rect(left, y, wide * scale, high * scale, line=0.8)
    if shown < layer.shape[0]:
        for dot in (0, 5, 10):
            canvas.circle(x, top + shown * (_MAP + 4) + dot + 2, 1.2, fill="ink", stroke="none")


def _unit_rows(canvas: Canvas, net: Net, test: list[dict[str, Any]], top: float) -> None:
    """A unit in training and at test time, once for each probability and factor."""
    kinds: dict[tuple[float, float, float], list[str]] = {}
    for entry in test:
        key = (entry["retain"], entry["train"], entry["test"])
        kinds.setdefault(key, []).append(net.layers[entry["layer"]].name)
    x, y, right = 20.0, top + 14, 0.0
    for (p, train, at_test), names in kinds.items():
        present = f"present with probability p = {p}"
        wide = text_width(present, 11) + 40
        if x + wide + 150 > max(canvas.width, 400):
            x, y = 20.0, y + 84
        canvas.text(x, y, ", ".join(names), size=10, bold=True, room=260)
        for at, said, factor, absent in (
            (x, present, train, True),
            (x + wide, "always present", at_test, False),
        ):
            dash = "2.5 2" if absent else ""
            canvas.circle(at + 10, y + 26, 10, fill="paper", dash=dash, line=1.5)
            canvas.line(at + 21, y + 26, at + 102, y + 26, arrow=8, line=1.5)
            canvas.text(at + 60, y + 19, _factor(factor, p), size=11, anchor="middle")
            canvas.text(at, y + 54, said, size=11)
        x += wide + 160
        right = max(right, x)
    canvas.width = max(canvas.width, right)
    canvas.height = y + 72


def _factor(factor: float, p: float) -> str:
    """The weight with what multiplies it: w, p·w, w/p."""
    if factor == 1:
        return "w"
    return "p·w" if math.isclose(factor, p, rel_tol=1e-6) else "w/p"
