"""How a picture says what changed: a badge of its own shape, an outline of its own line, a colour.

A plus in a circle is new, a cross in a square is gone, a triangle reads or is something else. The
colours are Okabe and Ito's, darkened or lightened until they can be read on their paper.
"""

from __future__ import annotations

from typing import Literal

from . import style

Status = Literal["", "added", "removed", "changed"]

BADGES: dict[Status, str] = {
    "added": '<circle r="6"/><path d="M-3.4 0H3.4M0 -3.4V3.4"/>',
    "removed": '<rect x="-5.6" y="-5.6" width="11.2" height="11.2"/>'
    '<path d="M-3 -3L3 3M-3 3L3 -3"/>',
    "changed": '<path d="M0 -6.6L6.2 4.6H-6.2Z"/>',
}
MEANS: dict[Status, str] = {
    "added": "new",
    "removed": "gone after this step",
    "changed": "reads or is something else",
}
LIGHT = {"added": "#00664b", "removed": "#a84300", "changed": "#7a3d63", "paper": style.PAPER}
DARK = {"added": "#35c49c", "removed": "#f0874a", "changed": "#dd9cc1", "paper": style.DARK_PAPER}
_DASHES: dict[Status, str] = {"added": "", "removed": "2 3", "changed": "7 3"}


def defined(prefix: str) -> str:
    """The badges as shapes to be used; their ids are ``prefix`` and the status."""
    return "".join(
        f'<g id="{prefix}{status}"><g class="badge badge-{status}">{drawn}</g></g>'
        for status, drawn in BADGES.items()
    )


def legend(prefix: str) -> str:
    """The badges and what they mean, as a list of HTML."""
    rows = (
        f'<li><svg viewBox="-8 -8 16 16" aria-hidden="true"><use href="#{prefix}{status}"/></svg> '
        f"{meaning}</li>"
        for status, meaning in MEANS.items()
    )
    return f'<ul class="marks" aria-label="what the marks say">{"".join(rows)}</ul>'


def stylesheet() -> str:
    """What the badges and outlines look like on light and on dark paper; no variable in it, for
    not every program that reads SVG knows them."""
    rules = [".gone { opacity: .38 }"]
    for status, dash in _DASHES.items():
        rule = f".outline-{status} {{ fill: none; stroke-width: 2.2"
        rules.append(rule + (f"; stroke-dasharray: {dash} }}" if dash else " }"))
    rules.append(".badge { stroke-width: 2 }")
    dark = "\n".join(_coloured(DARK))
    return "\n".join((*rules, *_coloured(LIGHT))) + (
        f"\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
    )


def _coloured(colours: dict[str, str]) -> list[str]:
    return [
        f".badge {{ fill: {colours['paper']} }}",
        *(f".badge-{s}, .outline-{s} {{ stroke: {colours[s]} }}" for s in BADGES),
    ]
