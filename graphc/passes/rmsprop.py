"""RMSprop: the gradient over the root of the running mean of its square."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.ir import Graph, Node
from graphc.ops.elementwise import sqrt, square
from graphc.passes.define import define
from graphc.passes.optimizer import Memory, Rate, checked_rate, checked_scale, number, optimize


@define
def rmsprop(
    lr: Rate = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    lr_scale: Mapping[str, float] | None = None,
    keep_gradients: bool = False,
) -> Callable[[Graph], Graph]:
    """grad/w -> w ← w - lr·g/(√v + eps), with v ← alpha·v + (1-alpha)·g².

    lr, lr_scale, keep_gradients: as for ``sgd``. alpha: the weight of the old mean, from 0 to 1.
    momentum: of the divided gradients. centered: v less the square of the running mean of g. The
    states are ``rmsprop/<w>/square`` and, where they are used, ``…/mean`` and ``…/momentum``, zero
    at first.

    This is PyTorch's rule (torch.optim.RMSprop; Hinton's lecture 6e, 2012; centered: Graves 2013).
    Raises GraphError as ``sgd``.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import passes
    >>> w = gx.parameter("w", (2,))
    >>> graph = gx.Graph({"loss": gx.sum(w * w)}).apply(passes.backward())
    >>> step = graph.apply(passes.rmsprop(lr=0.25, alpha=0.75))
    >>> start = gx.compile(step).init() | {"w": np.array([1, -2], np.float32)}
    >>> gx.interpret(step, start, updates=True)[1]["w"].tolist()
    [0.5, -1.5]
    """
    checked_rate(lr, "rmsprop(lr=…)")
    scale = checked_scale(lr_scale, "rmsprop")
    old_part = number(alpha, "rmsprop(alpha=…)", high=1.0)
    mu = number(momentum, "rmsprop(momentum=…)", high=1.0)
    number(eps, "rmsprop(eps=…)")

    def direction(weight: Node, gradient: Node, memory: Memory) -> Node:
        new_part = 1 - old_part
        spread = memory("square", lambda old: old * old_part + square(gradient) * new_part)
        if centered:
            mean = memory("mean", lambda old: old * old_part + gradient * new_part)
            spread = spread - square(mean)
        step = gradient / (sqrt(spread) + eps)
        return memory("momentum", lambda old: old * mu + step) if mu else step

    def run(graph: Graph) -> Graph:
        return optimize(
            graph, "rmsprop", direction, lr=lr, lr_scale=scale, keep_gradients=keep_gradients
        )

    return run
