"""Adam and AdamW: steps of one size whatever the gradient's, by running means of g and g²."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.ir import Graph, GraphError, Node
from graphc.ir.leaves import ROLES
from graphc.ir.naming import suggest
from graphc.ops.compare import cast
from graphc.ops.core import constant
from graphc.ops.elementwise import pow, sqrt, square
from graphc.passes.define import define
from graphc.passes.optimizer import Memory, Rate, checked_rate, checked_scale, number, optimize
from graphc.passes.select import Where, select


@define
def adam(
    lr: Rate = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    lr_scale: Mapping[str, float] | None = None,
    keep_gradients: bool = False,
) -> Callable[[Graph], Graph]:
    """grad/w -> w ← w - lr·m̂/(√v̂ + eps): m and v are running means of g and g², m̂ = m/(1-βᵗ).

    lr, lr_scale, keep_gradients: as for ``sgd``. betas: the weights of the old means, in [0, 1).
    The states are ``adam/<w>/mean``, ``adam/<w>/square``, zero at first, and ``adam/step``, which
    counts the steps of this optimizer.

    This is PyTorch's rule (torch.optim.Adam; Kingma, Ba 2015, algorithm 1). Decay belongs to
    ``weight_decay`` (in the gradient) or to ``adamw`` (beside it). Raises GraphError as ``sgd``.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import passes
    >>> w = gx.parameter("w", (2,))
    >>> step = gx.Graph({"loss": gx.sum(w * w)}).apply(passes.backward(), passes.adam(lr=0.25))
    >>> start = gx.compile(step).init() | {"w": np.array([1, -2], np.float32)}
    >>> gx.interpret(step, start, updates=True)[1]["w"].tolist()
    [0.75, -1.75]
    """
    return _adam("adam", lr, betas, eps, lr_scale, keep_gradients, lambda graph: ({}, 0.0))


@define
def adamw(
    lr: Rate = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    roles: Sequence[str] = ("weight",),
    where: Where = None,
    lr_scale: Mapping[str, float] | None = None,
    keep_gradients: bool = False,
) -> Callable[[Graph], Graph]:
    """grad/w -> w ← w - lr·(m̂/(√v̂ + eps) + weight_decay·w): Adam with its decay beside it.

    The decay takes no part in the means, so weights of large and small gradients shrink alike.
    weight_decay: the rate, of the parameters that have one of ``roles`` and that ``where`` names
    (as for ``passes.weight_decay``): weights only, unless asked. The rest as for ``adam``; the
    states are ``adamw/…``.

    This is PyTorch's rule (torch.optim.AdamW; Loshchilov, Hutter 2019). Raises GraphError as
    ``sgd``, and for a negative or infinite decay or an unknown role.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import passes
    >>> w, b = gx.parameter("w", ()), gx.parameter("b", (), role="bias")
    >>> graph = gx.Graph({"loss": w + b}).apply(passes.backward())
    >>> step = graph.apply(passes.adamw(lr=0.25, weight_decay=0.5))
    >>> two = np.full((), 2, np.float32)
    >>> start = gx.compile(step).init() | {"w": two, "b": two}
    >>> new = gx.interpret(step, start, updates=True)[1]
    >>> float(new["w"]), float(new["b"])
    (1.5, 1.75)
    """
    rate = number(weight_decay, "adamw(weight_decay=…)")
    wanted = (roles,) if isinstance(roles, str) else tuple(roles)
    for role in wanted:
        if role not in ROLES:
            raise GraphError(f"adamw(roles=…): no role {role!r}{suggest(str(role), ROLES)}")

    def decayed(graph: Graph) -> tuple[Mapping[Node, object], float]:
        found = [p for p in graph.parameters.values() if p.role in wanted]
        return dict.fromkeys(select(graph, found, where)), rate

    return _adam("adamw", lr, betas, eps, lr_scale, keep_gradients, decayed)


def _adam(
    kind: str,
    lr: Rate,
    betas: tuple[float, float],
    eps: float,
    lr_scale: Mapping[str, float] | None,
    keep_gradients: bool,
    decayed: Callable[[Graph], tuple[Mapping[Node, object], float]],
) -> Callable[[Graph], Graph]:
    """Both of them; ``decayed`` gives the parameters that decay and their rate."""
    checked_rate(lr, f"{kind}(lr=…)")
    scale = checked_scale(lr_scale, kind)
    number(eps, f"{kind}(eps=…)")
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise GraphError(f"{kind}(betas=…) are two numbers, e.g. (0.9, 0.999), not {betas!r}")
    for beta in betas:
        if number(beta, f"{kind}(betas=…)", high=1.0) == 1.0:
            raise GraphError(f"{kind}(betas={betas!r}): a weight of 1 never takes anything in")
    slow, slower = map(float, betas)

    def run(graph: Graph) -> Graph:
        shrinking, rate = decayed(graph)

        def direction(weight: Node, gradient: Node, memory: Memory) -> Node:
            mean = memory("mean", lambda old: old * slow + gradient * (1 - slow))
            squares = memory("square", lambda old: old * slower + square(gradient) * (1 - slower))
            count = memory.count()
            spread = sqrt(squares) / cast(sqrt(_full(slower, count)), weight.dtype)
            step = mean / cast(_full(slow, count), weight.dtype) / (spread + eps)
            return step + weight * rate if weight in shrinking and rate else step

        return optimize(
            graph, kind, direction, lr=lr, lr_scale=scale, keep_gradients=keep_gradients
        )

    return run


def _full(beta: float, count: Node) -> Node:
    """1 - βᵗ, how much of a mean that started at 0 is there. In float64: float32's 0.999 is off by
    10⁻⁸, which at t = 1 is 10⁻⁵ of 1 - β."""
    return 1 - pow(constant(beta, "float64"), cast(count, "float64"))
