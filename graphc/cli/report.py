"""``graphc report``: everything about a network on one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from graphc import viz
from graphc.cli.recipe import check_writable
from graphc.ir.dims import evaluate, names
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph


def run(
    graph: Graph, path: Path, *, title: str, image: Path | None, batch: int, size: list[str]
) -> None:
    """Write the page and say where it is."""
    check_writable(path)
    sizes = dict(map(_size, size))
    viz.report(
        graph,
        path,
        title=title,
        image=None if image is None else _read(image, graph, sizes),
        batch=batch,
        size=sizes,
    )
    typer.echo(f"{path}: {path.stat().st_size:,} bytes, about {graph!r}")


def _size(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not (name and equals and number.isascii() and number.isdigit() and int(number) > 0):
        raise GraphError(f"--size {text!r}: write a dimension and a number, --size H=224")
    return name, int(number)


def _read(path: Path, graph: Graph, sizes: Mapping[str, int]) -> Any:
    """The pixels of a picture file, (H, W) or (H, W, 3), at the size of the graph's image."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            plain = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise GraphError(f"{path} is not a picture that can be read: PNG, JPEG, …") from None
    images = [node for node in graph.inputs.values() if node.ndim == 4]
    if images and not names(images[0].shape[-2:]) - sizes.keys():
        height, width = (evaluate(extent, sizes) for extent in images[0].shape[-2:])
        plain = plain.resize((int(width), int(height)))
    return np.asarray(plain)
