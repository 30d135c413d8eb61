"""How each kind of node looks: a shape and a line style first, a colour second.

The colours are Okabe and Ito's, told apart with any colour vision; since no two kinds share both
shape and line style, the picture also reads in grey. Overlays use one hue that darkens evenly, so
that its levels keep their order for any eye, and write their numbers beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"

FONT = "Helvetica,Arial,sans-serif"
INK, PAPER, FAINT, GREY = "#1b1b1b", "#ffffff", "#5f5f5f", "#a3a3a3"
DARK_INK, DARK_PAPER, DARK_FAINT = "#f0f0f0", "#16181c", "#b4b4b4"

# The levels of an overlay on light and on dark paper: ink stands on all of them.
RAMP = ("#f4f8fc", "#dce9f5", "#c0d8ed", "#a1c5e4", "#7fb0da", "#5c9ad0")
DARK_RAMP = ("#1c2229", "#1d2f41", "#1e3d5a", "#1f4c75", "#215c91", "#256dae")
WORST, DARK_WORST = "#f3b58d", "#7d3a05"  # the node where a check failed most

# Uses of one shared weight: a colour and a dash each, and the name beside the line.
WEIGHTS = (
    (BLUE, "solid", "#4da6e0"),
    (VERMILLION, "dashed", "#f0874a"),
    (GREEN, "dotted", "#11886a"),
    (PURPLE, "bold", "#dd9cc1"),
    (ORANGE, "bold,dashed", "#e6a520"),
    (BLACK, "bold,dotted", "#f0f0f0"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """``fill`` is for light paper, ``dark`` for dark; ``means`` is what the legend says."""

    shape: str
    style: str
    line: str
    fill: str
    dark: str
    means: str
    width: float = 1.0
    outlines: int = 1


LOOKS = {
    "input": Look("invhouse", "filled", BLACK, "#ECECEC", "#3a3d42", "input"),
    "parameter": Look("cylinder", "filled", GREEN, "#D3F0E6", "#0d4a39", "parameter"),
    "state": Look("cylinder", "filled,dashed", GREEN, "#F4FBF8", "#0b2b23", "state"),
    "constant": Look("plain", "", FAINT, "", "", "constant"),
    "edge": Look("ellipse", "filled", BLUE, "#ffffff", "#16181c", "one use of a weight"),
    "forward": Look("box", "filled,rounded", BLUE, "#DDEFFB", "#12384f", "forward"),
    "backward": Look("box", "filled", ORANGE, "#FDF0D2", "#4d3a08", "backward"),
    "update": Look("box", "filled,dashed,rounded", PURPLE, "#F8E9F1", "#4a2a3b", "update"),
    "grad_sum": Look("ellipse", "filled", VERMILLION, "#FBDCC8", "#6b3208", "Σ gradients", 2.0, 2),
    "box": Look("box3d", "filled", BLUE, "#DDEFFB", "#12384f", "folded"),
    # An output is whatever it is, drawn with a bold outline and a row that begins with an arrow.
    "output": Look("box", "filled,rounded", BLACK, "#ffffff", "#16181c", "→ output", 2.5),
}  # fmt: skip
