"""The shell of every page: one HTML file that asks nothing of any network.

What a user wrote reaches a page in two ways alone: escaped, as text, or as JSON in a script element
that cannot be closed from inside. No address stands in a page, so none of it can call home.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from .. import marks, style
from ..text import clean

# In JSON these stand inside strings alone, so an escape says the same; in HTML they would be markup
# (or, the last two, line ends of a script).
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_LONGEST = 200


@cache
def asset(name: str) -> str:
    """The text of a file that comes with the package."""
    return (files("graphc.viz.report") / "assets" / name).read_text(encoding="utf-8")


def text(said: object, width: int = _LONGEST) -> str:
    """Text that may come from a user, as HTML: one line, of bounded length, without markup."""
    return escape(clean(str(said), width))


def block(said: str) -> str:
    """Several lines that may come from a user, as HTML."""
    kept = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in said)
    return escape(kept)


def embedded(data: Any) -> str:
    """``data`` as JSON that can stand in a script element of HTML.

    >>> from graphc.viz.report.shell import embedded
    >>> embedded({"name": "</script>"})
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    said = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in said).translate(_UNSAFE)


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str, words: int = 1
) -> str:
    """A table; the first ``words`` columns are words, the rest numbers."""
    kinds = ["" if number < words else ' class="number"' for number in range(len(head))]

    def cell(number: int, value: object) -> str:
        said = f"{value:,}" if isinstance(value, int) else str(value)
        if number == 0:
            return f'<th scope="row">{text(said)}</th>'
        return f"<td{kinds[number]}>{text(said)}</td>"

    titles = "".join(
        f'<th scope="col"{kind}>{text(title)}</th>' for kind, title in zip(kinds, head, strict=True)
    )
    body = "\n".join(
        f"<tr>{''.join(cell(i, value) for i, value in enumerate(row))}</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption>\n<thead><tr>{titles}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def section(id: str, title: str, body: str) -> str:
    """A part of the page with a heading of its own; ``body`` is HTML."""
    heading = f'<h2 id="{id}-title">{text(title)}</h2>'
    return f'<section id="{id}" aria-labelledby="{id}-title">\n{heading}\n{body}\n</section>'


def page(
    title: str,
    lead: str,
    sections: Mapping[str, tuple[str, str]],
    *,
    data: Mapping[str, Any],
    scripts: Sequence[str],
) -> str:
    """The HTML text of a whole page.

    title: a user's words. lead: one sentence, HTML. sections: id to (heading, HTML). data: what the
    scripts read. scripts: names of files beside this one.
    """
    links = "".join(f'<a href="#{id}">{text(name)}</a>' for id, (name, _) in sections.items())
    navigation = f'<nav aria-label="parts of this page">{links}</nav>' if len(sections) > 1 else ""
    body = "\n\n".join(section(id, name, inside) for id, (name, inside) in sections.items())
    code = "\n".join(_script(name) for name in scripts)
    return f"""<!DOCTYPE html>
<html lang="en" class="still">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>
{stylesheet()}
</style>
<script>document.documentElement.className = "live"</script>
</head>
<body>
<header>
<h1>{text(title)}</h1>
<p>{lead}</p>
{navigation}
</header>
<main>
{body}
</main>
<script type="application/json" id="data">{embedded(data)}</script>
{code}
</body>
</html>
"""


def _script(name: str) -> str:
    code = asset(name)
    if name == "dagre.min.js":
        # Its map is not here; its licence asks to stand wherever the code does.
        code = code[: code.rindex("/*! For license")]
        code = f"/*\n{asset('dagre.LICENSE')}*/\n{code}"
    return f"<script>\n{code}</script>"


@cache
def stylesheet() -> str:
    """The page's rules: those of the file, and what each kind of node looks like."""
    light, dark = [], []
    for kind, look in style.LOOKS.items():
        name = kind.replace("_", "-")
        light.append(f"--fill-{name}: {look.fill or 'none'}; --line-{name}: {look.line};")
        line = style.DARK_INK if look.line == style.BLACK else look.line
        dark.append(f"--fill-{name}: {look.dark or 'none'}; --line-{name}: {line};")
    return (
        f":root {{ {' '.join(light)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {' '.join(dark)} }} }}\n"
        f"{asset('page.css')}\n{marks.stylesheet()}"
    )
