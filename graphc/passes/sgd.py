"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.ir import Graph, GraphError, Node
from graphc.passes.define import define
from graphc.passes.optimizer import Memory, Rate, checked_rate, checked_scale, number, optimize


@define
def sgd(
    lr: Rate,
    momentum: float = 0.0,
    nesterov: bool = False,
    lr_scale: Mapping[str, float] | None = None,
    keep_gradients: bool = False,
) -> Callable[[Graph], Graph]:
    """grad/w -> the update w ← w - lr·v, with v ← momentum·v + grad/w.

    lr: a number, the name of an input (made where there is none, a float32 scalar), or a scalar
    node such as an expression of the step. momentum: 0 keeps no state; else the states are
    ``sgd/<w>/momentum``, zero at first. nesterov: the step is lr·(grad/w + momentum·v). lr_scale:
    {glob of parameter names or module paths: factor on lr}, the first glob that fits counts.
    keep_gradients: leave the outputs ``grad/<w>`` in place.

    This is PyTorch's rule (torch.optim.SGD, dampening 0; Sutskever et al. 2013). Raises GraphError
    without gradients, for numbers out of range, an unknown glob, or a parameter that another
    optimizer updates.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import passes
    >>> w = gx.parameter("w", (2,))
    >>> step = gx.Graph({"loss": gx.sum(w * w)}).apply(passes.backward(), passes.sgd(lr=0.25))
    >>> out, new = gx.interpret(step, {"w": np.array([1, 2], np.float32)}, updates=True)
    >>> new["w"].tolist()
    [0.5, 1.0]
    """
    checked_rate(lr, "sgd(lr=…)")
    mu = number(momentum, "sgd(momentum=…)", high=1.0)
    if nesterov and mu == 0:
        raise GraphError("sgd(nesterov=True) needs a momentum, e.g. momentum=0.9")
    scale = checked_scale(lr_scale, "sgd")

    def direction(weight: Node, gradient: Node, memory: Memory) -> Node:
        if mu == 0:
            return gradient
        velocity = memory("momentum", lambda old: old * mu + gradient)
        return gradient + velocity * mu if nesterov else velocity

    def run(graph: Graph) -> Graph:
        return optimize(
            graph, "sgd", direction, lr=lr, lr_scale=scale, keep_gradients=keep_gradients
        )

    return run
