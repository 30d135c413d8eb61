"""Pictures: graphs (``draw``), filters (``filters``) and curves (``curves``).

Reads graphs and arrays and never changes them; Graphviz, networkx and Pillow are loaded when a
picture is made, not before.
"""

from .curves import Chart, curves
from .drawing import Drawing, draw
from .figure import Caption, Figure
from .filters import Plate, filters

__all__ = ["Caption", "Chart", "Drawing", "Figure", "Plate", "curves", "draw", "filters"]
