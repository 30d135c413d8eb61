"""The rule under every shared weight: the gradient of a value read twice is a sum of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from graphc.analysis.double import values
from graphc.compiler.interpret import interpret
from graphc.ir import Graph, GraphError, Node, input
from graphc.ir.graph import post_order
from graphc.ir.leaves import naming_of
from graphc.ir.types import dtype_of, is_float
from graphc.passes.backward import backward

# The cube root of float64's precision: truncation and rounding of a central difference are alike.
STEP = 6e-6

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Sharing:
    """Both sides of ∂g/∂x = ∂f/∂x + ∂f/∂z at (x, y, x), for g(x, y) = f(x, y, x).

    Attributes: ``left`` (∂g/∂x), ``first`` and ``third`` (∂f/∂x and ∂f/∂z), ``right`` (their sum),
    ``difference`` (the largest |left - right|), ``numeric`` (∂g/∂x by finite differences),
    ``shared`` and ``apart``: the graphs of g and of f with their gradients, to print or draw.
    """

    left: Array
    first: Array
    third: Array
    shared: Graph
    apart: Graph
    _values: dict[str, Array] = field(repr=False, compare=False)

    @property
    def right(self) -> Array:
        """The gradients of the two uses, summed."""
        return self.first + self.third

    @property
    def difference(self) -> float:
        """The largest |left - right|."""
        return float(np.max(np.abs(self.left - self.right)))

    @cached_property
    def numeric(self) -> Array:
        """∂g/∂x by central differences in float64, with no gradient rule involved.

        Two runs of g for each element of x, made when first asked for. Right to about 1e-9 of the
        size of g where g is smooth.
        """
        target = self.shared.outputs["value"]
        at = self._values["x"].astype(np.float64)
        slopes = np.empty(at.shape)
        for place in np.ndindex(at.shape):
            step = STEP * max(1.0, abs(float(at[place])))
            ends = []
            for moved in (at[place] - step, at[place] + step):
                there = at.copy()
                there[place] = moved
                given = self._values | {"x": there}
                ends.append((moved, float(values(self.shared, [target], {}, given, {})[target])))
            (left, below), (right, above) = ends
            slopes[place] = (above - below) / (right - left)
        return slopes

    def __repr__(self) -> str:
        return (
            f"Sharing(left={self.left}, right={self.right}, first={self.first}, "
            f"third={self.third}, difference={self.difference:.3g})"
        )


def check_sharing(f: Callable[[Node, Node, Node], Node], x: Any, y: Any) -> Sharing:
    """Compare ∂g/∂x with ∂f/∂x + ∂f/∂z at (x, y, x), where g(x, y) = f(x, y, x).

    f: a function of three nodes that gives a scalar one; it is called with three inputs, and again
    with one input at both places. x, y: numbers or arrays of any shapes; float64 unless they are
    arrays of another floating-point type.

    This is the chain rule that backpropagation with weight sharing rests on: (1) differentiate as
    if the two uses were two values, (2) sum. Raises GraphError where ``f`` gives no node or depends
    on neither x nor z; ShapeError where the node is no scalar.

    >>> import graphc as gx
    >>> gx.check_sharing(lambda x, y, z: x * y * gx.square(z), 2.0, 5.0)
    Sharing(left=60.0, right=60.0, first=20.0, third=40.0, difference=0)
    >>> round(float(gx.check_sharing(lambda x, y, z: x * y * gx.square(z), 2.0, 5.0).numeric), 6)
    60.0
    """
    at, beside = _array(x, "x"), _array(y, "y")
    given = {"x": at, "y": beside, "z": at}
    a, b, c = (input(name, array.shape, array.dtype) for name, array in given.items())
    shared, left = _gradients(f(a, b, a), [a], given)
    apart, right = _gradients(f(a, b, c), [a, c], given)
    return Sharing(left[0], right[0], right[1], shared, apart, given)


def _gradients(
    value: Any, wanted: list[Node], given: dict[str, Array]
) -> tuple[Graph, list[Array]]:
    """The graph of ``value`` with its gradients to ``wanted``: zeros where it reads one not."""
    if not isinstance(value, Node):
        raise GraphError(
            f"check_sharing: f gave a {type(value).__name__}, not a node: build it from its "
            "arguments, e.g. lambda x, y, z: gx.sum(x * y * z)"
        )
    below = set(post_order([value]))
    reached = [node for node in wanted if node in below]
    if not reached:
        raise GraphError("check_sharing: f depends on neither of x and z", nodes=[value])
    graph = Graph({"value": value}).apply(backward("value", wrt=reached))
    outputs = interpret(graph, {}, inputs={name: given[name] for name in graph.inputs})
    names = [naming_of(node).hint for node in wanted]
    return graph, [outputs.get(f"grad/{name}", np.zeros_like(given[name])) for name in names]


def _array(value: Any, name: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if not is_float(dtype_of(array.dtype)):
        raise GraphError(f"check_sharing: {name} is of type {array.dtype.name}, not of numbers")
    return array
