"""What a graph is: sizes, types, nodes, graphs; naming, printing, parsing, verifying."""

from graphc.ir.dims import Dim, Guard
from graphc.ir.errors import (
    BackendError,
    DTypeError,
    FormatError,
    GraphError,
    ParseError,
    ShapeError,
)
from graphc.ir.graph import Graph
from graphc.ir.leaves import input, parameter, state
from graphc.ir.node import Node
from graphc.ir.parser import parse
from graphc.ir.verifier import verify

__all__ = [
    "BackendError",
    "DTypeError",
    "Dim",
    "FormatError",
    "Graph",
    "GraphError",
    "Guard",
    "Node",
    "ParseError",
    "ShapeError",
    "input",
    "parameter",
    "parse",
    "state",
    "verify",
]
