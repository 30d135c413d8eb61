"""Text that comes from users, made fit to be drawn: one line, printable, of bounded length."""

from __future__ import annotations

from graphc.ir.summary import shorten

LONGEST_ROW = 44
MOST_ROWS = 6


def clean(text: str, width: int = LONGEST_ROW) -> str:
    """``text`` without what XML cannot hold or a reader cannot see (controls, bidi marks, lone
    surrogates), and no longer than ``width``.

    >>> clean("net.py\\n:3")
    'net.py�:3'
    """
    return shorten("".join(c if c.isprintable() else "\ufffd" for c in text), width)


def rows(label: tuple[str, ...]) -> list[str]:
    """The rows of a label, each clean; never so many that a shape could grow without bound."""
    return [clean(row) for row in label[:MOST_ROWS]]
