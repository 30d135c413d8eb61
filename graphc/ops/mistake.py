"""Errors of the functions that are compositions: they name the function, not an op inside it."""

from __future__ import annotations

from typing import NoReturn

from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.facts import user_line
from graphc.ir.node import Node, describe


def mistake(
    function: str, what: str, *, fix: str = "", error: type[GraphError] = ShapeError, **nodes: Node
) -> NoReturn:
    """Raise ``error``: what is wrong, the operands by name with their types and lines, the fix."""
    width = max(map(len, nodes), default=0)
    rows = [f"{function}: {what}"]
    rows += [f"  {name:<{width}}  {describe(node)}" for name, node in nodes.items()]
    rows.append(f"  called at {user_line()}")
    if fix:
        rows.append(f"  to fix: {fix}")
    given = list(nodes.values())
    lines = [*(line for node in given for line in node.lines), user_line()]
    raise error("\n".join(rows), nodes=given, lines=lines)
