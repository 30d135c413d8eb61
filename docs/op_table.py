"""Writes the op table of docs/ir.md from the registry: ``python docs/op_table.py``.

A test compares what stands in the file with what this makes, so the table cannot grow old.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

import graphc  # noqa: F401  (fills the registry)
from graphc.ir import attrs
from graphc.ir.leaves import Leaf
from graphc.ir.op import OPS, Op

PAGE = Path(__file__).with_name("ir.md")
BEGIN, END = "<!-- ops: begin -->", "<!-- ops: end -->"


def table() -> str:
    """One row an op: name, operands, attributes with their types and defaults, law."""
    rows = ["| op | operands | attributes | law |", "| --- | --- | --- | --- |"]
    for name, op in sorted(OPS.items()):
        if not issubclass(op, Leaf):
            cells = (f"`{name}`", _operands(op), _attributes(op), _plain(op.law))
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _operands(op: type[Op]) -> str:
    shown = op.operands if op.shown is None else op.operands[: op.shown]
    return ", ".join(shown) or "none"


def _attributes(op: type[Op]) -> str:
    found = []
    for field in fields(op):
        default = "" if field.default is MISSING else f" = {attrs.render(field.default)}"
        found.append(f"`{field.name}: {str(field.type).replace('|', 'or')}{default}`")
    return ", ".join(found) or "none"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def page(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
