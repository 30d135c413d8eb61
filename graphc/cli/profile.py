"""``graphc profile``: where the time of a step goes, on made-up inputs of the right shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import graphc as gx
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph


def run(graph: Graph, *, batch_size: int, seed: int, backend: str | None, out: Path | None) -> str:
    """The table of a step of ``graph``; with ``out``, its drawing with the times is written too.

    Floating inputs are random in [0, 1), integers 0. The batch dimension ``N`` has ``batch_size``;
    another named dimension has no size that could be guessed: GraphError.
    """
    rng = np.random.default_rng(seed)
    inputs = {}
    for name, node in graph.inputs.items():
        others = sorted({str(size) for size in node.shape if not isinstance(size, int)} - {"N"})
        if others:
            raise GraphError(
                f"profile: the input {name} has the dimension {others[0]}, and only N has a size "
                "here (--batch-size): gx.compile(graph).profile(variables, …) takes any inputs"
            )
        shape = tuple(size if isinstance(size, int) else batch_size for size in node.shape)
        if node.dtype.kind in "iub":
            inputs[name] = np.zeros(shape, node.dtype)
        else:
            inputs[name] = rng.random(shape, dtype=np.float32).astype(node.dtype)
    program = gx.compile(graph, backend, sizes={"N": batch_size} if _batched(graph) else None)
    profile = program.profile(program.init(seed), inputs)
    said = str(profile)
    if out is not None:
        from graphc import viz

        viz.draw(graph, time=profile).save(out)
        said += f"\n{out}: the graph of the step, coloured by time"
    return said


def _batched(graph: Graph) -> bool:
    return any(str(size) == "N" for node in graph.inputs.values() for size in node.shape)
