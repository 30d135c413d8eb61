"""The reference: every op by its plain NumPy definition, node after node. Correctness has no other
judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

import numpy as np

from graphc.compiler.binding import Array, bind_inputs, bind_variables, failed, gather
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Input, Parameter, State, Stream, stream_number
from graphc.ir.node import Node, describe


@overload
def interpret(
    graph: Graph,
    variables: Mapping[str, Any],
    updates: Literal[False] = False,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> dict[str, Array]: ...


@overload
def interpret(
    graph: Graph,
    variables: Mapping[str, Any],
    updates: Literal[True],
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> tuple[dict[str, Array], dict[str, Array]]: ...


def interpret(
    graph: Graph,
    variables: Mapping[str, Any],
    updates: bool = False,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> dict[str, Array] | tuple[dict[str, Array], dict[str, Array]]:
    """Run ``graph`` by the plain definition of every op; changes nothing.

    variables: parameter and state name to array. inputs (or keywords): input name to array.
    Returns the outputs by name; with ``updates=True`` also a dict of all variables after the step.
    Raises GraphError, ShapeError or DTypeError where what is given does not fit the graph.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N",))
    >>> gx.interpret(gx.Graph({"y": x * 2}), {}, x=[1.0, 2.0])["y"]
    array([2., 4.], dtype=float32)
    """
    arrays, sizes = bind_inputs(graph, gather(inputs, named))
    held = bind_variables(graph, variables, writable=False)
    values = values_of(graph, arrays, held, sizes)
    outputs = {name: values[node].copy() for name, node in graph.outputs.items()}
    if not updates:
        return outputs
    new = {name: np.array(array) for name, array in variables.items()}
    new.update({name: values[node].copy() for name, node in graph.updates.items()})
    return outputs, new


def values_of(
    graph: Graph,
    inputs: Mapping[str, Array],
    variables: Mapping[str, Array],
    sizes: Mapping[str, int],
) -> dict[Node, Array]:
    """The value of every node."""
    values: dict[Node, Array] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            match node.op:
                case Input():
                    values[node] = inputs[graph.name(node)]
                case Parameter() | State():
                    values[node] = variables[graph.name(node)]
                case Stream():
                    values[node] = np.array(stream_number(graph.name(node)), np.uint64)
                case op:
                    try:
                        value = np.asarray(op.evaluate(sizes, *(values[i] for i in node.inputs)))
                    except GraphError as error:
                        raise failed(node, error) from None
                    expected = node.type.concrete(sizes)
                    if value.shape != expected or value.dtype != node.dtype:
                        raise GraphError(
                            f"{describe(node)}: its definition gave {value.dtype.name}"
                            f"{list(value.shape)} instead of {list(expected)}; this is a fault of "
                            f"the op {op.name!r}, please report it",
                            nodes=[node],
                        )
                    values[node] = value
    return values
