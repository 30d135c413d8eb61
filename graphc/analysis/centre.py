"""Where the first unit of a map looks, by the size of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from graphc.analysis.alignment import any_size, fitting
from graphc.analysis.receptive_field import ReceptiveField
from graphc.analysis.way import Survey, checked_node, independent
from graphc.ir import GraphError, Node

Offset = tuple[int | Fraction, int | Fraction]


def centre_offsets(
    node: Node, sizes: Iterable[int], wrt: Node | None = None
) -> Mapping[int, Offset | None]:
    """On which pixel unit (0, 0) of ``node`` is centred, (rows, columns), for square images.

    sizes: heights (and widths) of the image. The map is taken to images of these sizes whatever its
    own is. None where ways to it are not centred alike; a size on which a window does not fit is
    left out. With padding "same" it repeats with the stride: 0 where a size is 1 more than a
    multiple of it, up to half the stride elsewhere, by which a map lies off its image.

    Raises GraphError where an op fixes the image's size (a fully connected layer).

    >>> import graphc as gx
    >>> x = gx.input("x", (1, 1, 8, 8))
    >>> h = gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3)), stride=2, padding="same")
    >>> dict(gx.centre_offsets(h, range(5, 9)))
    {5: (0, 0), 6: (1, 1), 7: (0, 0), 8: (1, 1)}
    """
    node = checked_node(node, "centre_offsets")
    survey = Survey.of([node], wrt, None, "centre_offsets")
    if node not in survey.seen:
        raise independent(node, survey.wrt)
    copy = any_size(survey, node)
    if copy is None:
        raise GraphError(
            f"centre_offsets: the way to {node!r} is for one size of {survey.wrt!r} only: a "
            "reshape or a fully connected layer on it fixes that",
            nodes=[node, survey.wrt],
        )
    image, target, _ = copy
    found: dict[int, Offset | None] = {}
    for size, given in fitting(image, target, survey.sizes, sizes):
        there = Survey.of([target], image, given, "centre_offsets")
        found[size] = ReceptiveField(target, there).centre_offset
    return found
