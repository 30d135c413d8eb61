"""The looks: told apart without colour, readable on both papers."""

from __future__ import annotations

from itertools import combinations, pairwise

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


# -- any colour vision ----------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), severity 1.0: linear RGB as a dichromat sees it.
DICHROMACIES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip
APART = 15.0  # CIE76 ΔE: six times what is just noticeable


def lab(colour: str, seen: str | None = None) -> tuple[float, float, float]:
    """CIE L*a*b* (D65), as those see it whose vision ``seen`` names."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (part / 255 for part in rgb(colour))
    ]
    if seen is not None:
        rows = DICHROMACIES[seen]
        linear = [
            min(max(sum(w * v for w, v in zip(row, linear, strict=True)), 0.0), 1.0) for row in rows
        ]
    r, g, b = linear
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    x, y, z = (v ** (1 / 3) if v > 216 / 24389 else (841 / 108) * v + 4 / 29 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(first: str, second: str, seen: str | None) -> float:
    pairs = zip(lab(first, seen), lab(second, seen), strict=True)
    return sum((a - b) ** 2 for a, b in pairs) ** 0.5


ROLES = ("parameter", "forward", "backward", "update", "grad_sum", "input")


def test_distance_is_cie76() -> None:
    # White and black are 100 apart, and a published pair: sRGB red is L*a*b* (53.24, 80.09, 67.20).
    assert distance("#ffffff", "#000000", None) == pytest.approx(100, abs=0.01)
    assert lab("#ff0000") == pytest.approx((53.24, 80.09, 67.20), abs=0.05)
    # Red and green: told apart by trichromats, hardly by deuteranopes; grey stays as it is.
    assert distance("#808080", "#808080", "tritanopia") == 0
    assert lab("#808080", "deuteranopia") == pytest.approx(lab("#808080"), abs=0.01)


@pytest.mark.parametrize("seen", [None, *DICHROMACIES])
def test_lines_of_roles_stay_apart(seen: str | None) -> None:
    for a, b in combinations(ROLES, 2):
        assert distance(LOOKS[a].line, LOOKS[b].line, seen) >= APART, (a, b)


@pytest.mark.parametrize("seen", [None, *DICHROMACIES])
def test_uses_of_weights_stay_apart(seen: str | None) -> None:
    for place in (0, 2):
        colours = [weight[place] for weight in style.WEIGHTS]
        for a, b in combinations(colours, 2):
            assert distance(a, b, seen) >= APART, (a, b)
    dashes = [dash for _, dash, _ in style.WEIGHTS]
    assert len(set(dashes)) == len(dashes)  # and in grey


@pytest.mark.parametrize("seen", [None, *DICHROMACIES])
def test_levels_stay_apart(seen: str | None) -> None:
    for ramp in (style.RAMP, style.DARK_RAMP):
        for a, b in pairwise(ramp):
            assert distance(a, b, seen) >= 6, (a, b)
        assert distance(ramp[-1], {style.RAMP: style.WORST}.get(ramp, style.DARK_WORST), seen) > 20
