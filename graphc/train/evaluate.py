"""Loss and accuracy of a network on data that it is not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.compiler.program import compile
from graphc.data.dataset import Dataset
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.passes.inference import inference
from graphc.train.feed import (
    IMAGE,
    LABEL,
    as_input,
    batch_sizes,
    check_batches,
    check_dataset,
    check_fits,
    check_inputs,
    slices,
)

_BATCH = 250  # of images at a time: large enough to be quick, small enough for a large network


def correct(logits: Any, labels: Any) -> int:
    """How many of the labels (N,) have the largest of the logits (N, classes)."""
    return int(np.count_nonzero(np.asarray(logits).argmax(axis=1) == labels))


class Evaluator:
    """The inference graph of a network, compiled once and run on whole data sets."""

    def __init__(self, graph: Graph, backend: str | None, *, wanted: tuple[str, ...]) -> None:
        self.wanted = [name for name in wanted if name in graph.outputs]
        if not self.wanted:
            raise GraphError(
                f"a network is evaluated by its outputs {' and '.join(map(repr, wanted))}; this "
                f"graph has {', '.join(map(repr, graph.outputs))}"
            )
        self.graph = graph.select(*self.wanted).apply(inference())
        check_inputs(self.graph)
        size = self.graph.inputs[IMAGE].shape[0]
        self.batch_size = size if isinstance(size, int) else _BATCH
        self.program = compile(self.graph, backend, sizes=batch_sizes(self.graph, self.batch_size))

    def check(self, dataset: Dataset, what: str) -> None:
        """Raise where ``dataset`` does not fit the graph."""
        check_batches(self.graph, len(dataset), self.batch_size, what)
        check_fits(self.graph, dataset, dataset.images[:1], what)

    def run(self, variables: dict[str, Any], dataset: Dataset) -> dict[str, float]:
        """``loss`` and ``accuracy``, as far as the graph has the outputs."""
        loss, right = 0.0, 0
        for part in slices(len(dataset), self.batch_size):
            feed = {IMAGE: as_input(dataset.images[part]), LABEL: dataset.labels[part]}
            feed = {name: array for name, array in feed.items() if name in self.graph.inputs}
            given = self.program(variables, feed)
            out = {name: self.program.backend.to_host(array) for name, array in given.items()}
            if "loss" in out:
                loss += float(out["loss"]) * (part.stop - part.start)
            if "logits" in out:
                right += correct(out["logits"], dataset.labels[part])
        found = {"loss": loss / len(dataset), "accuracy": right / len(dataset)}
        return {k: v for k, v in found.items() if {"accuracy": "logits"}.get(k, k) in self.wanted}


def evaluate(
    graph: Graph,
    variables: Mapping[str, Any],
    dataset: Dataset,
    *,
    backend: str | None = None,
) -> dict[str, float]:
    """``loss`` and ``accuracy`` of a network on ``dataset``, by its inference graph.

    graph: declared or trained, with inputs ``image`` (N, c, h, w) and ``label`` (N,), outputs
    ``logits`` (N, classes) and ``loss``, of which one is enough; the pass ``inference`` is applied
    here. The loss is averaged over the examples, as a batch mean is. Nothing is changed.
    Raises GraphError where graph, variables and data set do not fit each other.

    >>> import graphc as gx
    >>> from graphc import data, models, train
    >>> graph = models.build("lenet-5")
    >>> untrained = gx.compile(graph).init(seed=0)
    >>> found = train.evaluate(graph, untrained, data.load("mnist-mini", "test")[:100])
    >>> sorted(found), found["accuracy"] < 0.4
    (['accuracy', 'loss'], True)
    """
    if not isinstance(graph, Graph):
        raise GraphError(f"evaluate takes a gx.Graph, not a {type(graph).__name__}")
    check_dataset(dataset, "the data set")
    evaluator = Evaluator(graph, backend, wanted=("loss", "logits"))
    evaluator.check(dataset, "the data set")
    return evaluator.run(dict(variables), dataset)
