"""How the command line trains: one recipe for ``train``, ``demo`` and the step that is shown.

Its numbers are the defaults of ``graphc train``, so this file is read at every start and imports
what trains only to train.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph, Pass

if TYPE_CHECKING:
    from graphc.compiler.program import Program
    from graphc.train import History


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum and weight decay; the rate falls in a straight line to 0."""

    epochs: int = 20
    batch_size: int = 32
    lr: float = 0.05
    decay: float = 2e-3
    momentum: float = 0.9
    shift: int = 0  # pixels

    def passes(self) -> list[Pass]:
        """The whole list that makes the training step."""
        from graphc import passes

        return [
            passes.weight_decay(self.decay),
            passes.backward(),
            passes.sgd(lr="lr", momentum=self.momentum),
        ]

    def training(self, graph: Graph) -> Graph:
        """The training step of ``graph``; what is one already stays as it is."""
        if any(name in graph.parameters for name in graph.updates):
            return graph
        return graph.apply(*self.passes())

    def rate(self, epoch: float) -> float:
        """The learning rate after so many epochs."""
        return self.lr * (1 - epoch / self.epochs)

    def augment(self) -> Callable[..., Any] | None:
        """What moves the digits, None where nothing does."""
        from graphc import data

        return functools.partial(data.augment.shift, pixels=self.shift) if self.shift else None

    def fit(
        self,
        graph: Graph,
        name: str,
        *,
        seed: int,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> History:
        """Train on the split ``train`` of the data set ``name``."""
        from graphc import data
        from graphc.train import fit

        return fit(
            graph,
            data.load(name, "train"),
            epochs=self.epochs,
            batch_size=self.batch_size,
            passes=self.passes(),
            lr=self.rate,
            seed=seed,
            augment=self.augment(),
            metrics=("accuracy",) if "logits" in graph.outputs else (),
            checkpoint=checkpoint,
            resume=resume,
        )

    def test(self, graph: Graph, variables: dict[str, Any], name: str) -> dict[str, float]:
        """Loss and accuracy on the split ``test``: for the end of a run, and only there."""
        from graphc import data
        from graphc.train import evaluate

        return evaluate(graph, variables, data.load(name, "test"))


def program(graph: Graph, batch_size: int) -> Program:
    """``graph`` compiled for batches of up to ``batch_size`` examples."""
    from graphc.compiler.program import compile
    from graphc.train.feed import batch_sizes

    return compile(graph, sizes=batch_sizes(graph, batch_size))


def predicting(graph: Graph) -> Graph:
    """The inference graph of the logits, or of all outputs where none is called so."""
    from graphc import passes

    chosen = graph.select("logits") if "logits" in graph.outputs else graph
    return chosen.apply(passes.inference())


def weights(graph: Graph, variables: dict[str, Any]) -> dict[str, Any]:
    """The variables that ``graph`` itself has, without the optimizer's memory."""
    return {name: variables[name] for name in (*graph.parameters, *graph.states)}


def check_writable(path: Path) -> None:
    """Raise now, and not after minutes of training, where ``path`` cannot be written."""
    if path.is_dir():
        raise GraphError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise GraphError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise GraphError(f"{path} cannot be written: no permission in {path.parent}")
