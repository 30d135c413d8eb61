"""From a data set to what a graph takes: checks, the order of the examples, batches.

What happens to an example depends on (seed, epoch, example) alone, by counters, so a run that is
resumed goes on with the very numbers that the whole run would have used.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.data.dataset import Dataset
from graphc.ir.dims import Dim
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.leaves import stream_number
from graphc.ir.node import describe

Array = np.ndarray[Any, np.dtype[Any]]
Augment = Callable[..., Array]
Feed = dict[str, Array]

IMAGE, LABEL, RATE = "image", "label", "lr"


def check_dataset(dataset: object, what: str) -> Dataset:
    """``dataset`` if it is one and not empty. Raises GraphError."""
    if not isinstance(dataset, Dataset):
        raise GraphError(
            f"{what} is a {type(dataset).__name__}, not a data set: use data.load('mnist-mini', "
            "'train') or data.Dataset(images, labels)"
        )
    if not len(dataset):
        raise GraphError(f"{what} {dataset!r} is empty")
    return dataset


def check_inputs(graph: Graph, *more: str) -> None:
    """``graph`` takes an image and nothing that a data set (and ``more``) does not give."""
    unknown = [name for name in graph.inputs if name not in (IMAGE, LABEL, *more)]
    if unknown:
        raise GraphError(
            f"a data set gives the inputs {IMAGE!r} and {LABEL!r}; this graph also takes "
            f"{', '.join(map(repr, unknown))}: {describe(graph.inputs[unknown[0]])}",
            nodes=[graph.inputs[name] for name in unknown],
        )
    if IMAGE not in graph.inputs:
        raise GraphError(
            f"the graph has no input {IMAGE!r} to give the images to: declare "
            f"gx.input({IMAGE!r}, ('N', c, h, w)) (its inputs: {', '.join(graph.inputs) or 'none'})"
        )
    for name, axes in ((IMAGE, 4), (LABEL, 1)):
        node = graph.inputs.get(name)
        if node is not None and node.ndim != axes:
            wanted = "(N, c, h, w)" if axes == 4 else "(N,)"
            raise ShapeError(
                f"the input {name!r} has {node.ndim} axes, a data set gives {wanted}: "
                f"{describe(node)}",
                nodes=[node],
            )


def check_fits(graph: Graph, dataset: Dataset, images: Array, what: str) -> None:
    """The images and labels of ``dataset`` are such as ``graph`` takes. Raises ShapeError.

    ``images`` is a batch as the graph would get it, so after augmentation.
    """
    node = graph.inputs[IMAGE]
    for declared, actual in zip(node.shape[1:], images.shape[1:], strict=True):
        if not isinstance(declared, Dim) and declared != actual:
            raise ShapeError(
                f"{what} {dataset!r} gives images {_times(images.shape[1:])}, but the graph takes "
                f"{_times(node.shape[1:])}: {describe(node)}\n"
                "  to fix: build the graph for these images, e.g. models.build(name, image="
                f"{images.shape[1:]}), or bring them to its size",
                nodes=[node],
            )
    logits = graph.outputs.get("logits")
    if logits is None or logits.ndim != 2 or isinstance(logits.shape[1], Dim):
        return
    top = int(dataset.labels.max())
    if top >= logits.shape[1]:
        raise GraphError(
            f"{what} {dataset!r} has the label {top}, out of range for logits of "
            f"{logits.shape[1]} classes (labels 0 to {logits.shape[1] - 1}): {describe(logits)}",
            nodes=[logits],
        )


def _times(shape: tuple[Any, ...]) -> str:
    return "x".join(map(str, shape))


def check_batches(graph: Graph, count: int, batch_size: int, what: str) -> None:
    """Every batch of ``count`` examples fits the batch dimension. Raises ShapeError."""
    node = graph.inputs[IMAGE]
    size = node.shape[0]
    last = count % batch_size or batch_size
    wrong = {min(batch_size, count), last} - {size}
    if not isinstance(size, Dim) and wrong:
        raise ShapeError(
            f"the graph takes batches of {size} images, {what} gives {min(wrong)} at a time (the "
            f"last incomplete batch is used too): {describe(node)}\n"
            f"  to fix: declare gx.input({IMAGE!r}, ('N', …)): 'N' stands for any number",
            nodes=[node],
        )


def batch_sizes(graph: Graph, batch_size: int) -> dict[str, int]:
    """What ``compile`` plans for: ``batch_size`` for each dimension that an input begins with."""
    first = (node.shape[0] for node in graph.inputs.values() if node.ndim)
    names = (size.name for size in first if isinstance(size, Dim))
    return {name: batch_size for name in names if name is not None}


def order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The examples 0 … count-1 in the order of ``epoch``, a permutation int64 (count,).

    Sorted by the words of Philox(key=[seed, stream "fit/order"], counter=[0, 0, epoch, 0]), as all
    random bits of graphc: the same on every machine and in every NumPy.
    """
    key = np.array([seed, stream_number("fit/order")], np.uint64)
    words = np.random.Philox(key=key, counter=[0, 0, epoch, 0]).random_raw(count)
    return np.argsort(words, kind="stable")


def slices(count: int, size: int) -> Iterator[slice]:
    """``count`` things, ``size`` at a time, the incomplete rest last."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def as_input(images: Array) -> Array:
    """Images as a graph takes them: uint8 becomes float32 in [0, 1], floats stay as they are."""
    if images.dtype == np.uint8:
        return np.divide(images, np.float32(255), dtype=np.float32)
    return images


class Feeder:
    """Batches of a training run, each a function of (seed, epoch, batch) alone."""

    def __init__(
        self, graph: Graph, dataset: Dataset, batch_size: int, augment: Augment | None, seed: int
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.takes = _takes(augment)
        self.labelled = LABEL in graph.inputs
        check_batches(graph, len(dataset), batch_size, f"batch_size={batch_size}")
        # The labels are looked at once, all of them; of the images one is enough.
        check_fits(graph, dataset, self._images(0, np.arange(1), 0), "the data set")

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Feed, npt.NDArray[np.int64]]]:
        """The batches of ``epoch`` in their order: what the graph takes, and the labels."""
        numbers = order(self.seed, epoch, len(self.dataset))
        for batch, part in enumerate(slices(len(self.dataset), self.batch_size)):
            chosen = numbers[part]
            labels = self.dataset.labels[chosen]
            feed = {IMAGE: self._images(epoch, chosen, batch)}
            yield ({**feed, LABEL: labels} if self.labelled else feed), labels

    def _images(self, epoch: int, chosen: npt.NDArray[np.int64], batch: int) -> Array:
        images = self.dataset.images[chosen]
        if self.augment is None:
            return as_input(images)
        seed = self.seed
        if "index" not in self.takes:  # it counts from 0 in each call, so each call needs a seed
            text = f"fit/augment/{seed}/{epoch}/{batch}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        known = {"seed": seed, "index": epoch * len(self.dataset) + chosen}
        result = self.augment(images, **{k: v for k, v in known.items() if k in self.takes})
        return as_input(self._augmented(result, images))

    def _augmented(self, result: object, images: Array) -> Array:
        if isinstance(result, np.ndarray):
            right = result.dtype.kind == "f" or result.dtype == np.uint8
            if right and result.ndim == 4 and len(result) == len(images):
                return result
            got = f"{result.dtype}{list(result.shape)}"
        else:
            got = f"a {type(result).__name__}"
        name = getattr(self.augment, "__name__", None) or repr(self.augment)
        raise GraphError(
            f"augment ({name}) gave {got} for uint8{list(images.shape)}: it must give as many "
            "images (n, c, h, w), uint8 or floating"
        )


def _takes(augment: Augment | None) -> frozenset[str]:
    """Which of ``seed`` and ``index`` to pass: those it takes by name and has not been given."""
    both = frozenset({"seed", "index"})
    if augment is None:
        return frozenset()
    if not callable(augment):
        raise GraphError(
            f"augment={augment!r} is not a function of images: use data.augment.shift, or "
            "lambda images, seed, index: …"
        )
    parameters = inspect.signature(augment).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        both &= {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}
    return both - (set(augment.keywords) if isinstance(augment, functools.partial) else set())
