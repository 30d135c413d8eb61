"""How each kind of node looks: a shape and a line style first, a colour second.

The colours are Okabe and Ito's, told apart with any colour vision; since no two kinds share both
shape and line style, the picture also reads in grey.
"""

from __future__ import annotations

from dataclasses import dataclass

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"

FONT = "Helvetica,Arial,sans-serif"
INK, PAPER, FAINT, GREY = "#1b1b1b", "#ffffff", "#6b6b6b", "#a3a3a3"
DARK_INK, DARK_PAPER, DARK_FAINT = "#f0f0f0", "#16181c", "#a8a8a8"


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
    "forward": Look("box", "filled,rounded", BLUE, "#DDEFFB", "#12384f", "forward"),
    "backward": Look("box", "filled", ORANGE, "#FDF0D2", "#4d3a08", "backward"),
    "update": Look("box", "filled,dashed,rounded", PURPLE, "#F8E9F1", "#4a2a3b", "update"),
    "grad_sum": Look("ellipse", "filled", VERMILLION, "#FBDCC8", "#6b3208", "Σ gradients", 2.0, 2),
    "output": Look("box", "filled,rounded", BLACK, "#2b2b2b", "#e6e6e6", "output"),
}  # fmt: skip
