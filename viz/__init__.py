"""Pictures: graphs (``draw``), filters (``filters``) and curves (``curves``).

Reads graphs and arrays and never changes them; Graphviz, networkx and Pillow are loaded when a
picture is made, not before.
"""

from .activations import activations, convolved, rectified
from .curves import Chart, curves
from .drawing import Drawing, draw
from .dropout import dropout, thinned
from .figure import Caption, Figure
from .filters import Plate, filters
from .flatten import flattened
from .plates import plate
from .sharing import sharing, weight_gradient

__all__ = [
    "Caption",
    "Chart",
    "Drawing",
    "Figure",
    "Plate",
    "activations",
    "convolved",
    "curves",
    "draw",
    "dropout",
    "filters",
    "flattened",
    "plate",
    "rectified",
    "sharing",
    "thinned",
    "weight_gradient",
]
