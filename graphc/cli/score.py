"""``graphc score`` and ``graphc data``: how good saved weights are, and which data there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graphc.ir.errors import GraphError


def score(model: str, weights: Path | None, name: str, split: str) -> str:
    """One line: loss and accuracy of MODEL with ``weights`` on a split of the data set ``name``.

    MODEL may be the weights' own file, where that holds its graph. Raises GraphError where there
    are no weights, or where weights, graph and data set do not fit each other.
    """
    from graphc import data
    from graphc.cli.model import resolve
    from graphc.train import evaluate, load

    path = weights or Path(model)
    if path.suffix != ".safetensors":
        raise GraphError(
            f"score needs trained weights: graphc score net.safetensors, as `graphc train` saves "
            f"them, or graphc score {model} --weights net.safetensors"
        )
    variables, _ = load(path)
    found = evaluate(resolve(model), variables, data.load(name, split))
    said = (f"{k} {v:.2%}" if k == "accuracy" else f"{k} {v:.4f}" for k, v in found.items())
    return f"{name}/{split} {', '.join(said)}"


def sets(name: str | None) -> Iterator[str]:
    """What data sets there are, and where; with a name, its splits, fetched where missing."""
    from graphc import data
    from graphc.data.sources import SOURCES

    if name is not None:
        # An unknown name is told by load, which knows the others.
        for split in SOURCES[name].splits if name in SOURCES else ("train",):
            yield repr(data.load(name, split))
        return
    yield f"folder: {data.folder()} (set GRAPHC_DATA for another)"
    for each in SOURCES.values():
        files = [file for split in each.splits.values() for file in split]
        there = all((data.folder() / each.name / file.name).exists() for file in files)
        state = (
            "ships with graphc" if each.name == "mnist-mini" else "here" if there else "to fetch"
        )
        yield f"{each.name}: {', '.join(each.splits)} ({state})"
