"""What makes two graphs different: in text, and as a picture of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Input, Stream

from . import marks, style
from .edits import Snapshot, row_text, snapshot, track
from .figure import Caption
from .fold import Fold
from .model import Model
from .report.shell import block, page, text
from .svg import listed, outline, stylesheet
from .text import clean
from .union import picture, store, union

_CONTEXT = 3  # unchanged lines around a change
_PREFIX = "diff-"
_SVG = "http://www.w3.org/2000/svg"
LIMIT = 400


@dataclass(frozen=True)
class Diff:
    """What ``viz.diff`` returns.

    Attributes: ``a`` and ``b`` (the graphs), ``edits`` (from a to b, as plain data), ``same``
    (whether the graphs are equal), ``text`` (a unified diff by nodes), ``caption`` (the counts),
    ``svg``, ``html``.
    """

    a: Graph
    b: Graph
    names: tuple[str, str]
    fold: Fold
    limit: int

    @cached_property
    def _tracked(self) -> Any:
        return track((self.a, self.b))

    @property
    def edits(self) -> tuple[dict[str, Any], ...]:
        """The edits that make ``b`` of ``a``."""
        return tuple(self._tracked[1][0].edits)

    @property
    def same(self) -> bool:
        """Whether the two graphs are equal."""
        return self.a == self.b

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes are added, removed, rewired and changed."""
        return dict(self._tracked[1][0].counts())

    @cached_property
    def text(self) -> str:
        """A unified diff: ``-`` a node of a, ``+`` a node of b, by matched nodes.

        A node that has another name alone is no difference; one that reads or is something else
        stands there twice. Equal graphs give an empty text.
        """
        touched = {edit["id"] for edit in self.edits if "id" in edit}
        rows = list(_rows(*self._snapshots(), touched))
        lines = list(_hunks(rows))
        if not lines:
            return ""
        return "\n".join((f"--- {self.names[0]}", f"+++ {self.names[1]}", *lines)) + "\n"

    def _snapshots(self) -> tuple[Snapshot, Snapshot]:
        first, _, ids = self._tracked
        return first, snapshot(self.b, ids[1])

    def _drawn(self, prefix: str) -> tuple[str, str, tuple[float, float], Model]:
        """(shapes, picture, size, what is drawn)."""
        _, steps, ids = self._tracked
        found = union((self.a, self.b), ids, steps, how=self.fold, limit=self.limit)
        return store(found, prefix), picture(found, 1, prefix), found.size, found.model

    @property
    def caption(self) -> Caption:
        """The counts in a sentence that reads back."""
        first, second = (clean(name, 60) for name in self.names)
        if self.same:
            return Caption("{a} and {b} are equal", {"a": first, "b": second})
        words = {"add": "added", "remove": "removed", "rewire": "rewired", "change": "changed"}
        counts = {words[kind]: count for kind, count in self.counts.items()}
        said = ", ".join(f"{{{word}}} {word}" for word in counts)
        return Caption(f"from {{a}} to {{b}}: {said}", {"a": first, "b": second, **counts})

    @cached_property
    def svg(self) -> str:
        """Both graphs in one layout: what is gone is faint, with a cross. Raises BackendError."""
        shapes, drawn, (width, height), model = self._drawn(_PREFIX)
        caption, folded = str(self.caption), model.folded
        said = [clean(caption, 200), *([clean(folded, 160)] if folded else [])]
        lines = [
            f'<text x="14" y="{height + 16 * number + 12:.0f}">{escape(line)}</text>'
            for number, line in enumerate(said)
        ]
        top = height + 16 * len(said) + 12
        for number, (status, meaning) in enumerate(marks.MEANS.items()):
            y = top + 18 * number
            lines.append(f'<use href="#{_PREFIX}{status}" x="20" y="{y - 4:.0f}"/>')
            lines.append(f'<text x="34" y="{y:.0f}">{meaning}</text>')
        width = max(width, 28 + 6.4 * max(map(len, said)))
        height = top + 18 * len(marks.MEANS)
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="{_SVG}" class="graphc-drawing" width="{width:.0f}" height="{height:.0f}" \
viewBox="0 0 {width:.0f} {height:.0f}" role="graphics-document document" \
font-family="{style.FONT}" font-size="11">
<title>{text(caption, 200)}</title>
<desc>{text(" ".join(said), 400)}</desc>
<style>{marks.stylesheet()}
{stylesheet()}</style>
{listed(outline(model))}
{shapes}
<rect class="paper" width="100%" height="100%" fill="{style.PAPER}"/>
{drawn}
{chr(10).join(lines)}
</svg>
"""

    @cached_property
    def html(self) -> str:
        """A page with the picture and the text; it asks no network."""
        shapes, drawn, (width, height), model = self._drawn(_PREFIX)
        caption = str(self.caption)
        body = f"""<div class="store" aria-hidden="true"><svg width="0" height="0">
<style>{stylesheet()}</style>{shapes}</svg></div>
{marks.legend(_PREFIX)}
<p class="small">{text(model.folded)}</p>
<div class="frame-picture" tabindex="0" role="region" aria-label="both graphs">
<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" \
aria-label="{text(caption, 200)}">
{drawn}
</svg></div>"""
        words = block(self.text) or "no difference"
        lines = f'<pre tabindex="0" role="region" aria-label="difference as text">{words}</pre>'
        return page(
            caption,
            "Nodes are matched, so a name that moved is no difference.",
            {"picture": ("Both graphs", body), "text": ("As text", lines)},
            data={},
            scripts=(),
        )

    def save(self, path: str | Path) -> Path:
        """Write the form that the name's ending says: .svg, .html, .diff or .txt.

        Raises GraphError for another ending, BackendError where the layout fails.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".svg":
                data = self.svg.encode()
            case ".html" | ".htm":
                data = self.html.encode()
            case ".diff" | ".txt":
                data = self.text.encode()
            case other:
                raise GraphError(
                    f"{path.name!r}: a diff is saved as .svg, .html, .diff or .txt, "
                    f"not as {other or 'a name without an ending'}"
                )
        path.write_bytes(data)
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<graphc.viz.Diff {self.caption}>"


# -- text -------------------------------------------------------------------------------------


def _rows(a: Snapshot, b: Snapshot, touched: set[str]) -> Iterator[tuple[str, str]]:
    """(sign, line) of every node, output and update, in the order of b; what is gone stands
    behind what it stood behind in a."""
    gone: dict[str | None, list[str]] = {}
    before: str | None = None
    for id in a.rows:
        if id in b.rows:
            before = id
        else:
            gone.setdefault(before, []).append(id)

    def old(ids: list[str]) -> Iterator[tuple[str, str]]:
        for id in ids:
            if line := _line(id, a):
                yield "-", line

    yield from old(gone.get(None, []))
    for id, row in b.rows.items():
        line = _line(id, b)
        if line and id not in a.rows:
            yield "+", line
        elif line and id in touched and _differs(a.rows[id], row):
            yield "-", _line(id, a)
            yield "+", line
        elif line:
            yield " ", line
        yield from old(gone.get(id, []))
    yield from _named("return", a.outputs, b.outputs, a, b)
    yield from _named("update", a.updates, b.updates, a, b)


def _differs(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether a node is more than renamed."""
    return any(a[name] != b[name] for name in ("op", "type", "inputs", "hidden", "text"))


def _line(id: str, state: Snapshot) -> str:
    """A row as printed; an input's as the header has it, nothing for a random stream."""
    row = state.rows[id]
    if row["leaf"] and row["op"] == Input.name:
        return f"input {row['name']}: {row['type']}"
    if row["leaf"] and row["op"] == Stream.name:
        return ""
    return row_text(id, state.rows)


def _named(
    word: str, old: list[list[str]], new: list[list[str]], a: Snapshot, b: Snapshot
) -> Iterator[tuple[str, str]]:
    """Outputs and updates, by the name of the output or leaf."""

    def line(name: str, id: str, state: Snapshot) -> str:
        left = f"%{state.rows[name]['name']} = " if word == "update" else f"{name}="
        return f"{word} {left}%{state.rows[id]['name']}"

    known = {pair[0]: pair[1] for pair in old}
    now = {pair[0]: pair[1] for pair in new}
    for name, id in known.items():
        if now.get(name) != id:
            yield "-", line(name, id, a)
    for name, id in now.items():
        yield (" " if known.get(name) == id else "+"), line(name, id, b)


def _hunks(rows: list[tuple[str, str]]) -> Iterator[str]:
    """The changed lines with a few around them."""
    shown: set[int] = set()
    for number, (sign, _) in enumerate(rows):
        if sign != " ":
            shown |= set(range(number - _CONTEXT, number + _CONTEXT + 1))
    last = -2
    left = right = 0
    for number, (sign, line) in enumerate(rows):
        left += sign != "+"
        right += sign != "-"
        if number in shown:
            if number != last + 1:
                yield f"@@ -{left} +{right} @@"
            yield f"{sign} {line}"
            last = number


def diff(
    a: Graph,
    b: Graph,
    *,
    names: tuple[str, str] = ("a", "b"),
    fold: Fold = None,
    limit: int = LIMIT,
) -> Diff:
    """What makes ``b`` of ``a``: ``print(viz.diff(a, b).text)``, or its picture.

    Nodes are matched by identity where the graphs share them, and by structure where they do not
    (two parsed graphs), so that a new name is no difference. names: what the texts call the two.
    fold: as in ``viz.draw``; left out, modules fold beyond ``limit`` nodes.

    Raises GraphError for what is not a Graph.

    >>> import graphc as gx
    >>> from graphc import viz
    >>> x = gx.input("x", ("N", 2))
    >>> a, b = gx.Graph({"y": gx.tanh(x)}), gx.Graph({"y": gx.tanh(gx.relu(x))})
    >>> print(viz.diff(a, b).text)
    --- a
    +++ b
    @@ -1 +1 @@
      input x: f32[N,2]
    + %relu: f32[N,2] = relu(%x)
    - %tanh: f32[N,2] = tanh(%x)
    + %tanh: f32[N,2] = tanh(%relu)
      return y=%tanh
    <BLANKLINE>
    """
    for graph in (a, b):
        if not isinstance(graph, Graph):
            raise GraphError(
                f"viz.diff takes two graphs, not a {type(graph).__name__}: wrap nodes first, "
                "gx.Graph({'y': y})"
            )
    return Diff(a, b, names, fold, limit)
