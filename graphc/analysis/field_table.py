"""The receptive fields of a whole graph as a table: where they change, and where they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphc.analysis.reads import edges
from graphc.analysis.receptive_field import Pair, ReceptiveField, ReceptiveFields, receptive_fields
from graphc.analysis.table import named, table
from graphc.ir import Graph, GraphError, Node
from graphc.ir.graph import post_order

HEAD = ("layer", "op", "size", "stride", "padding", "aligned", "centre", "image")
ALIGNED = {True: "yes", False: "no", None: "by size"}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A node and its field. ``centre``: on which pixel unit (0, 0) is centred; None where no number
    says so. ``exceeds``: whether the field is larger than the image; None where the image's size is
    not known."""

    name: str
    node: Node
    field: ReceptiveField
    size: Pair
    stride: Pair | None
    padding: Pair | None
    aligned: bool | None
    centre: Any
    exceeds: bool | None

    def cells(self) -> tuple[str, ...]:
        """What the table prints."""
        beyond = {True: "exceeded", False: "", None: "?"}[self.exceeds]
        return (
            self.name, self.node.op.name, _pair(self.size), _pair(self.stride),
            _pair(self.padding), ALIGNED[self.aligned], _pair(self.centre), beyond,
        )  # fmt: skip


@dataclass(frozen=True)
class FieldTable:
    """Rows by the nodes' names; made by ``field_table``."""

    rows: tuple[FieldRow, ...]
    wrt: str

    def __getitem__(self, name: str) -> FieldRow:
        return named(self.rows, name)

    def __str__(self) -> str:
        return f"receptive fields of {self.wrt}\n" + table(HEAD, [r.cells() for r in self.rows])

    @property
    def exceeding(self) -> tuple[FieldRow, ...]:
        """The layers whose field is larger than the image."""
        return tuple(row for row in self.rows if row.exceeds)


def field_table(
    graph: Graph,
    wrt: Node | str | None = None,
    size: Mapping[str, int] | None = None,
    *,
    everything: bool = False,
) -> FieldTable:
    """The fields of a graph's nodes, those that differ from their inputs' or, ``everything``, all.

    Raises what ``gx.receptive_field`` raises.

    >>> from graphc import analysis, models
    >>> print(analysis.field_table(models.build("lenet-5")))  # doctest: +ELLIPSIS
    receptive fields of image
    layer   ...
    conv2d  ...
    """
    fields = receptive_fields(graph, wrt, size)
    followed = _followed(graph)
    rows = []
    for node, field in fields.items():
        if node is fields.wrt or (not everything and _plain(node, fields, followed)):
            continue
        try:
            rows.append(_row(graph.name(node), node, field))
        except GraphError:
            if everything:
                raise
            continue  # a size decides it that is not given
    return FieldTable(tuple(rows), graph.name(fields.wrt))


def _row(name: str, node: Node, field: ReceptiveField) -> FieldRow:
    try:
        centre = field.centre_offset
    except GraphError:
        centre = None
    try:
        exceeds: bool | None = field.exceeds
    except GraphError:
        exceeds = None
    return FieldRow(
        name, node, field, field.size, field.stride, field.padding, field.aligned, centre, exceeds
    )


def _followed(graph: Graph) -> set[Node]:
    """The nodes that are read for their values, which batch statistics are not."""
    followed = set(graph.outputs.values())
    for node in reversed(post_order(graph.outputs.values())):
        if node in followed:
            followed.update(edge.source for edge in edges(node))
    return followed


def _plain(node: Node, fields: ReceptiveFields, followed: set[Node]) -> bool:
    """Whether there is nothing to tell: statistics, a map laid out as a vector, the same view."""
    if node not in followed:
        return True
    mine = fields[node]
    if node.op.name == "reshape" and node.ndim < fields.wrt.ndim:
        return True
    return any(
        theirs.views == mine.views and theirs.aligned == mine.aligned
        for theirs in (fields[source] for source in node.inputs if source in fields)
    )


def _pair(pair: Any) -> str:
    if pair is None:
        return "-"
    rows, columns = pair
    return str(rows) if str(rows) == str(columns) else f"{rows}x{columns}"
