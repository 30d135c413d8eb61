"""Gradients that are too long are made shorter, all by one factor."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph, GraphError, Node, facts
from graphc.ops.compare import cast
from graphc.ops.elementwise import minimum, sqrt, square
from graphc.ops.reduce import sum as sum_
from graphc.passes.define import define
from graphc.passes.optimizer import number, parameter_gradients

TINY = 1e-6  # PyTorch's, against a norm of 0


@define(changes="grad/*")
def clip_gradients(norm: float) -> Callable[[Graph], Graph]:
    """grad/w -> grad/w · min(1, norm/(‖all gradients‖ + 1e-6)).

    The norm is that of all outputs ``grad/<parameter>`` together, as one vector; those of inputs
    are neither counted nor changed. It stands between ``backward`` and the optimizer.

    This is PyTorch's rule (torch.nn.utils.clip_grad_norm_; Pascanu, Mikolov, Bengio 2013). Raises
    GraphError without gradients, or where ``norm`` is not a positive number.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import passes
    >>> w = gx.parameter("w", (2,))
    >>> graph = gx.Graph({"loss": gx.sum(w * np.float32([3, 4]))})
    >>> step = graph.apply(passes.backward(), passes.clip_gradients(1.0))
    >>> gx.interpret(step, {"w": np.zeros(2, np.float32)})["grad/w"].round(4).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    longest = number(norm, "clip_gradients(norm)")
    if longest == 0:
        raise GraphError("clip_gradients(0) would stop all training: give a positive norm")

    def run(graph: Graph) -> Graph:
        gradients = parameter_gradients(graph, "clip_gradients")
        exact = any(gradient.dtype.name == "float64" for gradient in gradients.values())
        dtype = "float64" if exact else "float32"
        total: Node | None = None
        for name, gradient in gradients.items():
            with facts.derive(graph.parameters[name]):
                term = sum_(square(cast(gradient, dtype)))
                total = term if total is None else total + term
        assert total is not None  # parameter_gradients raises where there are none
        outputs = dict(graph.outputs)
        for name, gradient in gradients.items():
            with facts.derive(graph.parameters[name]):
                factor = minimum(longest / (sqrt(total) + TINY), 1.0)
                outputs[f"grad/{name}"] = gradient * cast(factor, gradient.dtype)
        return graph.rebuild(outputs)

    return run
