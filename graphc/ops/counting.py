"""Counting elements and bytes, for the cost rules of ops."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphc.ir.node import Node
from graphc.ir.op import Cost


def elements(node: Node, sizes: Mapping[str, int]) -> int:
    """How many elements the value of ``node`` has at these sizes."""
    return math.prod(node.type.concrete(sizes))


def traffic(node: Node, sizes: Mapping[str, int]) -> int:
    """Bytes that one execution moves: every input is read once, the result written once."""
    return sum(elements(n, sizes) * n.dtype.itemsize for n in (*node.inputs, node))


def per_element(node: Node, sizes: Mapping[str, int], flops: int) -> Cost:
    """The cost of ``flops`` operations for each element of the result."""
    return Cost(flops * elements(node, sizes), traffic(node, sizes))
