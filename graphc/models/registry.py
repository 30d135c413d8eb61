"""Names of the zoo's networks and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from graphc.ir import Graph, GraphError, Node, input
from graphc.ir.naming import suggest
from graphc.nn import Module
from graphc.ops import cross_entropy, reshape, transpose

Builder = Callable[[tuple[int, int, int], int], Module]
FamilyBuilder = Callable[[int, tuple[int, int, int], int], Module]

# The weight of an auxiliary head's loss (Szegedy et al. 2016; torchvision's training).
AUXILIARY = 0.4


@dataclass(frozen=True)
class Entry:
    """One network: what builds it for an image (c, h, w) and classes, and the published sizes."""

    build: Builder
    image: tuple[int, int, int]
    classes: int


_ZOO: dict[str, Entry] = {}


def register(
    name: str, *, image: tuple[int, int, int], classes: int
) -> Callable[[Builder], Builder]:
    """Put a network into the zoo under ``name``, with the sizes of its publication as defaults."""

    def keep(builder: Builder) -> Builder:
        _ZOO[name] = Entry(builder, image, classes)
        return builder

    return keep


def register_each(
    pattern: str, numbers: Iterable[int], *, image: tuple[int, int, int], classes: int
) -> Callable[[FamilyBuilder], FamilyBuilder]:
    """As ``register``, for a family: ``"vgg-{}"`` with these depths, which the builder is given."""

    def keep(builder: FamilyBuilder) -> FamilyBuilder:
        for number in numbers:
            register(pattern.format(number), image=image, classes=classes)(partial(builder, number))
        return builder

    return keep


def names() -> list[str]:
    """What ``build`` knows.

    >>> from graphc import models
    >>> "lenet-5" in models.names()
    True
    """
    return list(_ZOO)


def build(
    name: str, *, classes: int | None = None, image: tuple[int, int, int] | None = None
) -> Graph:
    """A network of the zoo, as a graph.

    Its inputs are ``image`` (N, c, h, w), float32, and ``label`` (N,), int64; its outputs
    ``logits`` (N, classes) and ``loss``, the batch mean of the cross entropy. A net that labels
    every pixel has ``label`` (N, h, w), ``logits`` (N, classes, h, w) and the mean over pixels
    too. An auxiliary head's loss is in ``loss``, times 0.4; ``.select("logits")`` leaves it out.
    classes, image=(c, h, w): where left out, those of the publication. Raises GraphError for an
    unknown name or a bad size, ShapeError for an image that is too small for the network.

    >>> from graphc import models
    >>> models.build("lenet-5").parameter_count()
    61706
    """
    entry = _ZOO.get(name)
    if entry is None:
        raise GraphError(f"no network is called {name!r}{suggest(str(name), _ZOO)}")
    outputs = _positive("classes", entry.classes if classes is None else classes)
    sizes = entry.image if image is None else image
    if not isinstance(sizes, (tuple, list)) or len(sizes) != 3:
        raise GraphError(f"image={image!r} is not (channels, height, width)")
    channels, height, width = (_positive("image", size) for size in sizes)
    x = input("image", ("N", channels, height, width))
    results = entry.build((channels, height, width), outputs)(x)
    logits, *auxiliary = results if isinstance(results, tuple) else (results,)
    label = input("label", ("N", *logits.shape[2:]), dtype="int64")
    loss = mean_cross_entropy(logits, label)
    for side in auxiliary:
        loss = loss + AUXILIARY * mean_cross_entropy(side, label)
    return Graph({"logits": logits, "loss": loss})


def mean_cross_entropy(logits: Node, label: Node) -> Node:
    """The mean over the batch, and over the pixels where each has a label."""
    if logits.ndim == 4:
        logits = reshape(transpose(logits, (0, 2, 3, 1)), (-1, logits.shape[1]))
        label = reshape(label, (-1,))
    return cross_entropy(logits, label)


def _positive(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise GraphError(f"{what} has the size {value!r}, which is not a positive int")
    return value
