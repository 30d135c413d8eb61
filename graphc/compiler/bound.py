"""A program together with its variables: what depends on them alone is computed once and kept."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphc.compiler.binding import Array
from graphc.compiler.plan import Plan
from graphc.ir import facts
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Leaf, Parameter, State, state
from graphc.ir.node import Node
from graphc.ir.variables import of_variables_alone

if TYPE_CHECKING:
    from graphc.compiler.program import Program


class BoundProgram:
    """A program that holds its variables: ``bound(image=x)``. Made by ``Program.bind``.

    It is called as every program is, too: ``bound(variables, image=x)``, with the arrays that it
    was bound to.

    Attributes: ``graph``, what is left to compute at each call: values that were computed once are
    states ``bound/…`` of it; ``source`` and ``plan`` of that graph, as of a ``Program``.
    """

    def __init__(
        self, program: Program, variables: Mapping[str, Array], given: Mapping[str, Array]
    ) -> None:
        self._program = program
        self._variables = dict(variables)
        # Which arrays these values were made of; held only to know them again.
        self._given = {name: weakref.ref(array) for name, array in given.items()}
        self.graph = program.graph

    @property
    def source(self) -> str:
        """The printed step."""
        return self._program.source

    @property
    def plan(self) -> Plan:
        """The plan for the largest sizes seen so far."""
        return self._program.plan

    def __call__(
        self,
        variables: Mapping[str, Any] | None = None,
        /,
        inputs: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> dict[str, Array]:
        """Run on these inputs, by name: a dict, keywords, or both. Returns the outputs, as
        ``Program`` does; raises GraphError, ShapeError or DTypeError where an input does not fit.

        variables: may be given again, as to any program. What they were when they were bound
        counts. Raises GraphError where other arrays stand there: bind those.
        """
        if variables is not None and inputs is None and self._of_inputs(variables):
            variables, inputs = None, variables
        for name, array in (variables or {}).items():
            known = self._given.get(name)
            if known is not None and known() is not array:
                raise GraphError(
                    f"this program is bound to other variables: {name} is not the array that it "
                    "was given\n  to fix: bound = program.bind(variables) for these, or call "
                    "bound(…) with inputs alone"
                )
        return self._program(self._variables, inputs, **named)

    def _of_inputs(self, given: Mapping[str, Any]) -> bool:
        """Whether a lone dict holds inputs: all that name no variable, and there are some."""
        return not any(name in self._given for name in given)

    def __repr__(self) -> str:
        return f"<graphc.BoundProgram of {self.graph!r} for {self._program.backend.name}>"


def bind(program: Program, held: Mapping[str, Array]) -> BoundProgram:
    """``program`` with the checked variables ``held``: see ``Program.bind``."""
    first, rest = split(program.graph)
    values = {} if first is None else program.like(first)(dict(held))
    # Copies: training may go on with the caller's arrays, and half of an old network with half of
    # a new one would be neither.
    values |= {
        name: program.backend.copy(array)
        for name, array in held.items()
        if name in rest.parameters or name in rest.states
    }
    return BoundProgram(program.like(rest, sizes=program.plan.capacity), values, held)


def split(graph: Graph) -> tuple[Graph | None, Graph]:
    """What depends on variables alone, and the rest that reads it as states ``bound/…``.

    None where nothing is to be computed once: no op stands between the variables and their uses.
    Raises GraphError for a graph with updates.
    """
    if graph.updates:
        changed = ", ".join(list(graph.updates)[:4]) + (", …" if len(graph.updates) > 4 else "")
        raise GraphError(
            f"bind: a call of this graph changes {changed}, so nothing that depends on variables "
            "can be kept\n  to fix: apply passes.inference() before compiling; a graph that draws "
            "random bits counts its steps, so it cannot be bound"
        )
    known = of_variables_alone(graph)
    outputs = set(graph.outputs.values())
    moving: set[Node] = set()  # constants alone are no values of variables: kernels contain them
    found: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, (Parameter, State)) or not moving.isdisjoint(node.inputs):
            moving.add(node)
        read = node in outputs or not known.issuperset(graph.users(node))
        if read and node in known and node in moving and not isinstance(node.op, Leaf):
            found.append(node)
    if not found:
        return None, graph
    prefix = "bound"
    while any(name.startswith(f"{prefix}/") for name in graph.states):  # a bound graph, once more
        prefix += "_"
    leaves: dict[Node, Node] = {}
    for node in found:
        with facts.derive(node):
            leaves[node] = state(f"{prefix}/{graph.name(node)}", node.shape, dtype=node.dtype)
    rest = graph.rewrite(lambda old, inputs: leaves.get(old))
    return Graph({rest.name(leaf): node for node, leaf in leaves.items()}), rest
