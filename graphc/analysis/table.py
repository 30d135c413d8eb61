"""Tables of nodes: how the facts of this folder are looked up and print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from graphc.ir import GraphError
from graphc.ir.naming import suggest


class Named(Protocol):
    """A row about one node."""

    @property
    def name(self) -> str:
        """What the printed IR calls it."""


Row = TypeVar("Row", bound=Named)


def named(rows: Iterable[Row], name: str) -> Row:
    """The row of the node that the printed IR calls ``name``. Raises GraphError for none."""
    found = {row.name: row for row in rows}
    if name not in found:
        raise GraphError(f"no node here is called {name!r}{suggest(name, found)}")
    return found[name]


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], foot: Sequence[object] | None = None
) -> str:
    """Columns under their heads: numbers to the right with thousands apart, words to the left."""
    body = [list(row) for row in rows]
    everything: list[list[object]] = [list(head), *body]
    if foot is not None:
        everything.append(list(foot))
    texts = [[_text(cell) for cell in row] for row in everything]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    right = [
        any(isinstance(row[column], (int, float)) for row in body) for column in range(len(head))
    ]
    lines = (
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in texts
    )
    return "\n".join(lines)


def _text(cell: object) -> str:
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"
