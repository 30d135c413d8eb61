"""The errors of graphc. Each carries the nodes it talks about and the user's own lines.

An error is part of the product: its message names what the user wrote, what was expected and what
to do. ``.nodes`` and ``.lines`` let a tool (or a test) point at the same places without parsing.
Every message says the user's line that called, whoever raises it: a traceback's last line is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from graphc.ir.facts import COMMAND, user_line

if TYPE_CHECKING:
    from graphc.ir.node import Node

CALLED = "called at"


class _Located(Exception):
    """What both families share: the nodes and the user's lines an error is about."""

    nodes: tuple[Node, ...]
    lines: tuple[str, ...]
    message: str  # as it was raised, without the line that called: for an error made of another

    def __init__(
        self, message: str, *, nodes: Iterable[Node] = (), lines: Iterable[str] | None = None
    ) -> None:
        called = user_line()
        self.message = message
        super().__init__(_with_line(message, called))
        self.nodes = tuple(nodes)
        if lines is None:
            lines = (*(line for node in self.nodes for line in node.lines), called)
        self.lines = tuple(line for line in dict.fromkeys(lines) if line != COMMAND)


def _with_line(message: str, line: str) -> str:
    """``message`` with the line that called, in front of what to do."""
    if CALLED in message or line == COMMAND:
        return message
    what, fix, rest = message.partition("\n  to fix: ")
    return f"{what}\n  {CALLED} {line}{fix}{rest}"


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
