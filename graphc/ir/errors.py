"""The errors of graphc. Each carries the nodes it talks about and the user's own lines.

An error is part of the product: its message names what the user wrote, what was expected and what
to do. ``.nodes`` and ``.lines`` let a tool (or a test) point at the same places without parsing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.ir.node import Node


class _Located(Exception):
    """What both families share: the nodes and the user's lines an error is about."""

    nodes: tuple[Node, ...]
    lines: tuple[str, ...]

    def __init__(
        self, message: str, *, nodes: Iterable[Node] = (), lines: Iterable[str] | None = None
    ) -> None:
        super().__init__(message)
        self.nodes = tuple(nodes)
        if lines is None:
            lines = (line for node in self.nodes for line in node.lines)
        self.lines = tuple(dict.fromkeys(lines))


class GraphError(_Located, ValueError):
    """Something about a graph, or about what was given to it, is wrong.

    Attributes: ``nodes`` (the nodes concerned), ``lines`` (``"file.py:12"``, the user's lines that
    made them).

    >>> import graphc as gx
    >>> try:
    ...     gx.Graph({})
    ... except gx.GraphError as error:
    ...     print(type(error).__name__)
    GraphError
    """


class ShapeError(GraphError):
    """Shapes that do not fit together; the message shows both operands and their lines."""


class DTypeError(GraphError):
    """Element types that do not fit together. graphc never promotes: cast with ``gx.cast``."""


class ParseError(GraphError):
    """Text that is not a printed graph; the message has the line number and the line."""


class FormatError(GraphError):
    """A file that is not what it says it is: damaged, cut short, or of another format."""


class BackendError(_Located, RuntimeError):
    """A device that is missing, or that failed while it ran."""
