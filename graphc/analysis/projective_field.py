"""Projective fields: which units an input pixel reaches. Receptive fields, read the other way."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.analysis.progressions import Progressions
from graphc.analysis.receptive_field import Box, Mask, box_of, painted, project
from graphc.analysis.regions import Region
from graphc.analysis.way import Survey, Way, checked_node, independent, short
from graphc.ir import Node


class ProjectiveField:
    """Which units of ``node`` the pixels of ``wrt`` reach; made by ``gx.projective_field``.

    A pixel is in the receptive field of exactly the units that are in its projective field.
    """

    node: Node
    wrt: Node

    def __init__(self, way: Way) -> None:
        self.node, self.wrt, self._way = way.node, way.wrt, way

    def region(self, y: int | None, x: int | None, channel: int | None = None) -> Region:
        """What pixel (y, x) reaches: products of ``Progressions``, one for each axis of ``node``.

        None stands for every row, column or channel. The union of the products is the set.
        """
        asked = ((-2, y, "row"), (-1, x, "column"), (-3, channel, "channel"))
        return self._way.forth(
            {
                axis: self._way.position(self.wrt, axis, at, what)
                for axis, at, what in asked
                if at is not None
            }
        )

    def box(self, y: int, x: int) -> Box | None:
        """(top, left, bottom, right), inclusive, around the units that pixel (y, x) reaches.

        None where it reaches none: a stride may step over it. Negative y and x count from the end.
        Raises GraphError for a pixel that is not in the image.
        """
        reached = self.region(y, x)
        return box_of(reached) if reached else None

    def row_set(self, y: int) -> Progressions:
        """The rows of ``node`` that pixels of row ``y`` reach, as arithmetic progressions."""
        return project(self.region(y, None), -2)

    def column_set(self, x: int) -> Progressions:
        """The columns of ``node`` that pixels of column ``x`` reach, as progressions."""
        return project(self.region(None, x), -1)

    def rows(self, y: int) -> tuple[int, ...]:
        """The rows of ``node`` that pixels of row ``y`` reach, sorted, holes left out."""
        return tuple(self.row_set(y))

    def columns(self, x: int) -> tuple[int, ...]:
        """The columns of ``node`` that pixels of column ``x`` reach, sorted, holes left out."""
        return tuple(self.column_set(x))

    def mask(self, y: int, x: int, channel: int | None = None) -> Mask:
        """The units that pixel (y, x) reaches, (height, width) of the map, holes left out.

        channel: the pixel's channel; left out, all of them together.
        """
        return painted(self.region(y, x, channel), self._way.shape(self.node))

    def __repr__(self) -> str:
        return f"ProjectiveField({short(self.wrt)} on {short(self.node)})"


def projective_field(
    node: Node, wrt: Node | None = None, size: Mapping[str, int] | None = None
) -> ProjectiveField:
    """Which units of ``node`` the pixels of ``wrt`` reach: receptive fields the other way round.

    node, wrt, size and errors: as in ``gx.receptive_field``; a symbolic size is needed. Exact, with
    the holes that strides and dilation leave.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 1, 8, 8))
    >>> h = gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3)), dilation=2, padding=2)
    >>> field = gx.projective_field(h)
    >>> field.rows(4), field.box(0, 7)
    ((2, 4, 6), (0, 5, 2, 7))
    """
    node = checked_node(node, "projective_field")
    survey = Survey.of([node], wrt, size, "projective_field")
    if node not in survey.seen:
        raise independent(node, survey.wrt)
    return ProjectiveField(survey.way(node))
