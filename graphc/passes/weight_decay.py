"""Weight decay as a penalty in the graph: it is drawn, differentiated and scored like any node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ir import Graph, GraphError, Node, facts
from graphc.ir.graph import post_order
from graphc.ir.leaves import ROLES, Parameter
from graphc.ir.naming import suggest
from graphc.ops.compare import cast
from graphc.ops.core import constant
from graphc.ops.elementwise import square
from graphc.ops.reduce import sum as sum_
from graphc.passes.define import define
from graphc.passes.optimizer import number
from graphc.passes.select import Where, only_before_backward, select


@define(changes=("penalty", "objective"))
def weight_decay(
    rate: float, *, roles: Sequence[str] = ("weight",), where: Where = None
) -> Callable[[Graph], Graph]:
    """loss -> loss, penalty = rate/2·Σ‖w‖², objective = loss + penalty.

    Over the parameters on the way to ``loss`` that have one of ``roles`` and that ``where`` names
    (a glob of parameter names or module paths, or a function of a node); each is read through one
    ``square``. ``loss`` stays the data loss. Several of them add up. With rate 0, or without such
    parameters, the penalty is there and is 0.

    Raises GraphError: no output ``loss``, a negative rate, an unknown role, a glob that names no
    parameter, outputs called penalty or objective that are not its own, or after ``backward``.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import passes
    >>> w = gx.parameter("w", (2,))
    >>> graph = gx.Graph({"loss": gx.sum(w)}).apply(passes.weight_decay(0.5))
    >>> out = gx.interpret(graph, {"w": np.array([1, 3], np.float32)})
    >>> {name: float(value) for name, value in out.items()}
    {'loss': 4.0, 'penalty': 2.5, 'objective': 6.5}
    """
    half = number(rate, "weight_decay(rate)") / 2
    wanted = (roles,) if isinstance(roles, str) else tuple(roles)
    for role in wanted:
        if role not in ROLES:
            raise GraphError(f"weight_decay(roles=…): no role {role!r}{suggest(str(role), ROLES)}")

    def run(graph: Graph) -> Graph:
        only_before_backward(graph, "weight_decay")
        loss = graph.outputs.get("loss")
        if loss is None:
            raise GraphError(
                "weight_decay adds a penalty to the output 'loss', and there is none"
                f"{suggest('loss', graph.outputs)}"
            )
        earlier = _earlier(graph, loss)
        below = set(post_order([loss]))
        weights = select(
            graph,
            [p for p in graph.parameters.values() if p in below and _role(p) in wanted],
            where,
        )
        total: Node | None = None
        for weight in weights:
            with facts.derive(weight):
                term = cast(sum_(square(weight)), loss.dtype)
                total = term if total is None else total + term
        with facts.derive(loss):
            penalty = constant(0.0, loss.dtype) if total is None else total * half
            penalty = penalty if earlier is None else earlier + penalty
            objective = loss + penalty
        return graph.rebuild({**graph.outputs, "penalty": penalty, "objective": objective})

    return run


def _role(parameter: Node) -> str:
    return parameter.op.role if isinstance(parameter.op, Parameter) else ""


def _earlier(graph: Graph, loss: Node) -> Node | None:
    """The penalty of weight decays that ran before. Outputs of the user's own are not touched."""
    penalty, objective = graph.outputs.get("penalty"), graph.outputs.get("objective")
    if penalty is None and objective is None:
        return None
    # Interned: the sum of the same two nodes is the same node, so an objective of ours is known.
    if penalty is not None and objective is not None and objective is loss + penalty:
        return penalty
    raise GraphError(
        "weight_decay adds the outputs 'penalty' and 'objective', and this graph has outputs of "
        "that name which it did not make: call them otherwise",
        nodes=[node for node in (penalty, objective) if node is not None],
    )
