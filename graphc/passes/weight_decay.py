"""Weight decay as a penalty in the graph: it is drawn, differentiated and scored like any node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

    ``weight_decay(…).report(graph)`` tells which parameters it chooses, which it leaves, and why.

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
    >>> x, b = gx.input("x", (2,)), gx.parameter("b", (2,), role="bias")
    >>> passes.weight_decay(0.5).report(gx.Graph({"loss": gx.sum(w * x + b)}))
    w  decays  0.5       role weight
    b  left    0         role bias, not weight
    """
    half = number(rate, "weight_decay(rate)") / 2
    wanted = (roles,) if isinstance(roles, str) else tuple(roles)
    for role in wanted:
        if role not in ROLES:
            raise GraphError(f"weight_decay(roles=…): no role {role!r}{suggest(str(role), ROLES)}")

    def run(graph: Graph) -> Graph:
        only_before_backward(graph, "weight_decay")
        loss = _loss(graph)
        earlier = _earlier(graph, loss)
        weights = [entry.parameter for entry in report(graph).chosen]
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

    def report(graph: Graph) -> DecayReport:
        below = set(post_order([_loss(graph)]))
        left: dict[Node, str] = {}
        for parameter in graph.parameters.values():
            if parameter not in below:
                left[parameter] = "not on the way to loss"
            elif (role := _role(parameter)) not in wanted:
                left[parameter] = f"role {role}, not {' or '.join(wanted)}"
        able = [p for p in graph.parameters.values() if p not in left]
        chosen = dict.fromkeys(select(graph, able, where))
        told = "where" if callable(where) else f"where={where!r}"
        why = "" if where is None else f", {told}"
        return DecayReport(
            tuple(
                Decayed(p, name, True, 2 * half, f"role {_role(p)}{why}")
                if p in chosen
                else Decayed(p, name, False, 0.0, left.get(p, f"{told} does not name it"))
                for name, p in graph.parameters.items()
            )
        )

    run.report = report  # type: ignore[attr-defined]
    return run


@dataclass(frozen=True)
class Decayed:
    """One parameter: its rate (0 where it is left alone), and why."""

    parameter: Node
    name: str
    chosen: bool
    rate: float
    why: str


@dataclass(frozen=True)
class DecayReport:
    """Which parameters a weight decay chooses and which it leaves; printed, a table.

    ``entries`` has one ``Decayed`` a parameter, in the graph's order.
    """

    entries: tuple[Decayed, ...]

    @property
    def chosen(self) -> tuple[Decayed, ...]:
        """The parameters that decay."""
        return tuple(entry for entry in self.entries if entry.chosen)

    @property
    def left(self) -> tuple[Decayed, ...]:
        """Those that do not."""
        return tuple(entry for entry in self.entries if not entry.chosen)

    def __str__(self) -> str:
        width = max((len(entry.name) for entry in self.entries), default=0)
        return "\n".join(
            f"{entry.name:<{width}}  {'decays' if entry.chosen else 'left  '}  "
            f"{entry.rate:<8g}  {entry.why}"
            for entry in self.entries
        )

    __repr__ = __str__


def _loss(graph: Graph) -> Node:
    loss = graph.outputs.get("loss")
    if loss is None:
        raise GraphError(
            "weight_decay adds a penalty to the output 'loss', and there is none"
            f"{suggest('loss', graph.outputs)}"
        )
    return loss


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
