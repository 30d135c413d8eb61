"""Where the first unit of a map looks, by the size of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from graphc.analysis.alignment import any_size
from graphc.analysis.receptive_field import ReceptiveField
from graphc.analysis.way import Survey, checked_node, independent
from graphc.ir import Dim, GraphError, Node
from graphc.ir.graph import post_order

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
    names = [size.name for size in image.shape[-2:] if isinstance(size, Dim)]
    below = post_order([target])
    guards = {guard for each in below for guard in each.guards}
    shapes = {size for each in below for size in each.shape if isinstance(size, Dim)}
    found: dict[int, Offset | None] = {}
    for size in sizes:
        given = {**survey.sizes, **{name: size for name in names if name is not None}}
        if not all(g.holds(given) for g in guards) or any(s.evaluate(given) < 1 for s in shapes):
            continue
        there = Survey.of([target], image, given, "centre_offsets")
        found[size] = ReceptiveField(target, there).centre_offset
    return found
