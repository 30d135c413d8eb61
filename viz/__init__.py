"""Pictures: graphs (``draw``), filters (``filters``) and curves (``curves``).

Reads graphs and arrays and never changes them; Graphviz, networkx and Pillow are loaded when a
picture is made, not before.
"""

from .activations import activations, convolved, rectified
from .columns import columns
from .compare import compare
from .curves import Chart, curves
from .diff import Diff, diff
from .drawing import Drawing, draw
from .dropout import dropout, thinned
from .figure import Caption, Figure
from .film import Film, film
from .filters import Plate, filters
from .flatten import flattened
from .frames import frames
from .maps import borders, partial_sums
from .memory import memory
from .overlay import Overlay
from .plates import plate
from .pooling import pooling
from .receptive import fields_by_depth, misaligned, receptive_field
from .receptive_maps import centre_offsets, effective_field, field_sizes
from .report.build import report
from .sharing import sharing, weight_gradient
from .volumes import volumes

__all__ = [
    "Caption",
    "Chart",
    "Diff",
    "Drawing",
    "Figure",
    "Film",
    "Overlay",
    "Plate",
    "activations",
    "borders",
    "centre_offsets",
    "columns",
    "compare",
    "convolved",
    "curves",
    "diff",
    "draw",
    "dropout",
    "effective_field",
    "field_sizes",
    "fields_by_depth",
    "film",
    "filters",
    "flattened",
    "memory",
    "frames",
    "misaligned",
    "partial_sums",
    "plate",
    "pooling",
    "receptive_field",
    "rectified",
    "report",
    "sharing",
    "thinned",
    "volumes",
    "weight_gradient",
]
