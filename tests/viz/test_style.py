"""The looks: told apart without colour, readable on both papers."""

from __future__ import annotations

from itertools import combinations

import pytest

from graphc.viz import style
from graphc.viz.style import LOOKS

# The palette of Okabe and Ito (2008), from their table of RGB values.
OKABE_ITO = {
    (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
    (213, 94, 0), (204, 121, 167),
}  # fmt: skip


def rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def luminance(colour: str) -> float:
    """WCAG 2: relative luminance."""
    parts = [value / 255 for value in rgb(colour)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_no_two_kinds_share_shape_and_line() -> None:
    for (a, first), (b, second) in combinations(LOOKS.items(), 2):
        one, two = ((look.shape, look.style, look.width) for look in (first, second))
        assert one != two, (a, b)


def test_lines_have_okabe_itos_colours() -> None:
    assert {rgb(look.line) for look in LOOKS.values()} - OKABE_ITO <= {rgb(style.FAINT)}


@pytest.mark.parametrize("kind", [kind for kind, look in LOOKS.items() if look.fill])
def test_labels_are_readable_on_both_papers(kind: str) -> None:
    look = LOOKS[kind]
    assert contrast(look.fill, style.INK) >= 7
    assert contrast(look.dark, style.DARK_INK) >= 7
    assert contrast(style.PAPER, style.FAINT) >= 4.5
    assert contrast(style.DARK_PAPER, style.DARK_FAINT) >= 4.5
