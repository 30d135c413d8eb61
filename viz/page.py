"""One picture as a page: HTML text that opens from the disk."""

from __future__ import annotations

from html import escape

from .style import DARK_FAINT, DARK_INK, DARK_PAPER, FAINT, INK, PAPER
from .text import clean

_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; padding: 1rem; color: {INK}; background: {PAPER};
  font: 1rem/1.5 system-ui, Helvetica, Arial, sans-serif; }}
h1 {{ font-size: 1.3rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }}
figure {{ margin: 0; }}
.picture {{ overflow: auto; max-height: 85vh; }}
.picture svg {{ display: block; margin: 0 auto; }}
figcaption {{ max-width: 60rem; margin: .6rem auto 0; color: {FAINT}; font-size: .9rem;
  overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: {DARK_INK}; background: {DARK_PAPER}; }}
  figcaption {{ color: {DARK_FAINT}; }} }}
"""


def page(title: str, svg: str, caption: str) -> str:
    """``svg`` (our own text) under its title, its caption below it; the picture can be scrolled."""
    body = svg[svg.index("<svg") :] if svg.startswith("<?xml") else svg
    comment = svg[: svg.index("<svg")].partition("?>")[2].strip()
    name = escape(clean(title, 200)) or "graph"
    return f"""<!DOCTYPE html>
{comment}
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{name}</h1>
<figure>
<div class="picture" tabindex="0" role="region" aria-label="the drawing">
{body.strip()}
</div>
<figcaption>{escape(caption)}</figcaption>
</figure>
</main>
</body>
</html>
"""
