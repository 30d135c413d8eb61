"""The caption of a graph drawing: what was counted and measured, in a sentence that reads back."""

from __future__ import annotations

from typing import Any

from .canvas import wrap
from .figure import Caption
from .model import Model

_WIDTH = 620.0  # points
_SIZE = 13.0
_MOST = 8  # overlays that a caption tells about


def caption(model: Model) -> Caption:
    """Nodes by part, parameters, what is shared, summed and folded, and the range of each overlay.

    Its numbers read back: ``Caption.parse(caption.template, str(caption)) == caption.values``.
    """
    values: dict[str, Any] = {}

    def put(name: str, value: Any) -> str:
        values[name] = value
        return f"{{{name}}}"

    counts = {k: v for k, v in model.counts.items() if k != "parameters"}
    said = " + ".join(f"{put(part, count)} {part}" for part, count in counts.items())
    parts = [f"{said} nodes, {put('parameters', model.counts.get('parameters', 0))} parameters"]
    shared = sum(node.kind == "parameter" and node.uses > 1 for node in model.nodes)
    if shared:
        parts.append(f"shared parameters: {put('shared', shared)}")
    sums = sum(node.kind == "grad_sum" for node in model.nodes)
    if sums:
        parts.append(f"gradients summed at {put('sums', sums)} nodes")
    if model.folded:
        boxes = sum(node.kind == "box" for node in model.nodes)
        drawn = put("drawn", len(model.nodes))
        parts.append(f"drawn as {drawn} nodes, {put('boxes', boxes)} of them folded boxes")
    for number, scale in enumerate(model.scales[:_MOST]):
        name = f"{put(f'overlay{number}', scale.name)}"
        if scale.unit:
            name += f" in {put(f'unit{number}', scale.unit)}"
        if scale.low is not None and scale.high is not None:
            name += f" from {put(f'low{number}', scale.low)} to {put(f'high{number}', scale.high)}"
        if scale.total is not None:
            name += f", {put(f'total{number}', scale.total)} in all"
        if scale.worst:
            name += f", worst at {put(f'worst{number}', scale.worst)}"
        for size, value in scale.sizes.items():
            name += f", at {size} = {put(f'size{number}_{size}', value)}"
        if scale.note:
            name += f" ({put(f'note{number}', scale.note)})"
        parts.append(name)
    coloured = next((s for s in model.scales if s.keys), None)
    if coloured is not None:
        parts.append(
            f"the colour tells {put('colour', coloured.name)}, "
            f"levels: {put('levels', len(coloured.keys))}"
        )
    return Caption("; ".join(parts), values)


def rows_of(text: str) -> list[str]:
    """The caption in lines as wide as a small drawing."""
    return wrap(text, _SIZE, _WIDTH) if text else []
