"""Facts read off a graph: what it costs, what its units see, how gradients of shared values add."""

from graphc.analysis.cost import GraphCost, NodeCost, cost
from graphc.analysis.receptive_field import ReceptiveField, receptive_field
from graphc.analysis.sharing import Sharing, check_sharing

__all__ = [
    "GraphCost",
    "NodeCost",
    "ReceptiveField",
    "Sharing",
    "check_sharing",
    "cost",
    "receptive_field",
]
