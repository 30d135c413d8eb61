"""The lecture's two steps: backpropagate as if nothing were shared, then sum what is shared.

``unshare`` tells the uses of each shared parameter apart, ``backward`` finds one gradient a use,
``share`` sums them and takes the uses for one parameter again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from graphc.ir import Graph, GraphError, Node, facts
from graphc.ir.graph import post_order
from graphc.ir.leaves import Parameter, naming_of
from graphc.ir.naming import suggest
from graphc.ir.node import make
from graphc.ops.sharing import GradSum, edge, grad_sum
from graphc.passes.backward import only_in_penalty
from graphc.passes.define import define
from graphc.passes.edges import edge_gradients, edges, is_edge, number_of
from graphc.passes.select import only_before_backward
from graphc.passes.unroll import ConvolutionEdge, convolution_edges, unrolled


@define
def unshare(*, unroll: int = 0) -> Callable[[Graph], Graph]:
    """f(w, w) -> f(edge(w, 0), edge(w, 1)): one edge for each use of a shared parameter.

    Every use, on the way to the output ``loss``, of a parameter that has two or more gets an edge,
    numbered from 0 in ``.nodes`` order (of the users). No value is copied: an edge *is* the
    parameter, and both graphs take the same ``variables``. ``backward`` then gives
    ``grad/<name>@i``, the gradient as if that use had a weight of its own, and ``share`` sums.

    unroll: a convolution of a parameter with at most this many sparse edges (triples of output,
    input and weight index, ``gx.convolution_edges`` lists them) is written as the sum over them,
    each with an edge of its own: the weights of a small convolution as if no position shared them.

    ``share(unshare(g)) == g`` and ``share(backward(unshare(g))) == backward(g)``, as graphs (with
    ``unroll`` in value). Running it twice changes nothing. Raises GraphError: no output ``loss``,
    or after ``backward``.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x, w = gx.input("x", (2,)), gx.parameter("w", (2,))
    >>> graph = gx.Graph({"loss": gx.sum(gx.tanh(x * w) * w)}).apply(passes.unshare())
    >>> [(user.op.name, user.op.i) for user in graph.users(w)]
    [('edge', 0), ('edge', 1)]
    >>> list(graph.apply(passes.backward()).outputs)
    ['loss', 'grad/w@0', 'grad/w@1']
    """
    if isinstance(unroll, bool) or not isinstance(unroll, int) or unroll < 0:
        raise GraphError(f"unshare(unroll={unroll!r}): say how many edges are few, e.g. unroll=200")

    def run(graph: Graph) -> Graph:
        only_before_backward(graph, "unshare")
        if "loss" not in graph.outputs:
            raise GraphError(
                "unshare tells apart the uses of parameters on the way to the output 'loss', and "
                f"there is none{suggest('loss', graph.outputs)}"
            )
        # Edges that are there stay as they are: taken off, uses that they keep apart would be one.
        # Which numbers the uses have: by user and position, for each parameter from 0.
        first: dict[tuple[Node, int], int] = {}
        counts = {weight: max(uses) + 1 for weight, uses in edges(graph.nodes).items()}
        taken_apart: dict[Node, list[ConvolutionEdge]] = {}
        below = set(post_order([graph.outputs["loss"]]))
        for node in graph.nodes:
            if node not in below or is_edge(node):
                continue
            if unroll and (found := convolution_edges(node, limit=unroll)):
                taken_apart[node] = found
            for position, source in enumerate(node.inputs):
                if isinstance(source.op, Parameter):
                    first[node, position] = counts.get(source, 0)
                    many = len(taken_apart[node]) if node in taken_apart and position == 1 else 1
                    counts[source] = first[node, position] + many

        def use(weight: Node, i: int) -> Node:
            return edge(weight, i) if counts[weight] >= 2 else weight

        def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
            numbers = {p: first[old, p] for p in range(len(inputs)) if (old, p) in first}
            if not numbers:
                return None
            told = [use(x, numbers[p]) if p in numbers else x for p, x in enumerate(inputs)]
            if old not in taken_apart:
                return make(old.op, *told)
            weights = (use(inputs[1], numbers[1] + i) for i in range(len(taken_apart[old])))
            return unrolled(told, old.shape, zip(taken_apart[old], weights, strict=True))

        return graph.rewrite(replace)

    return run


@define(changes="grad/*")
def share() -> Callable[[Graph], Graph]:
    """f(edge(w, 0), edge(w, 1)) -> f(w, w), grad/w = Σ grad/w@i.

    Edges go; the gradients that ``backward`` gave them are joined in one ``grad_sum`` a parameter,
    in the order of the uses, with what came to the parameter past its edges (weight decay's part).
    Without edges it changes nothing.

    Raises GraphError where some of the gradients of a parameter's edges were left out of the
    outputs: their sum would not be its gradient.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x, w = gx.input("x", (2,)), gx.parameter("w", (2,))
    >>> graph = gx.Graph({"loss": gx.sum(gx.tanh(x * w) * w)})
    >>> steps = graph.apply(passes.unshare(), passes.backward(), passes.share())
    >>> steps == graph.apply(passes.backward())
    True
    """

    def run(graph: Graph) -> Graph:
        apart = edge_gradients(graph)
        _check_complete(graph, apart)
        shared = _joined(graph)
        if not apart:
            return shared
        uses = _Uses.of(graph)
        owner = {term: name for name, terms in apart.items() for term in terms.values()}
        owner |= {f"grad/{name}": name for name in apart}
        outputs: dict[str, Node] = {}
        gradients = shared.gradients
        for output, node in shared.outputs.items():
            name = owner.get(output)
            if name is None:
                outputs[output] = node
            elif f"grad/{name}" not in outputs:
                weight = graph.parameters.get(name)
                terms = [
                    (uses.edges.get((weight, i), _LAST), shared.outputs[term])
                    for i, term in apart[name].items()
                ]
                terms += _past(shared.outputs.get(f"grad/{name}"), uses.direct.get(weight, []))
                terms.sort(key=lambda entry: entry[0].place)  # stable: numbers keep their order
                mark = next((i for i, (use, _) in enumerate(terms) if use.decay), None)
                with facts.derive(node if weight is None else weight, gradient=True):
                    total = grad_sum(*(term for _, term in terms), decay=mark)
                outputs[f"grad/{name}"] = total
                if weight is not None:
                    gradients[weight] = total
        return shared.rebuild(outputs, gradients=gradients)

    return run


class _Use(NamedTuple):
    """Where a parameter is read on the way to the loss: before or after which other use."""

    place: float
    decay: bool = False


_LAST = _Use(float("inf"))


class _Uses(NamedTuple):
    """The uses of the parameters on the way to the loss: through edges, and past them."""

    edges: dict[tuple[Node | None, int], _Use]
    direct: dict[Node | None, list[_Use]]

    @staticmethod
    def of(graph: Graph) -> _Uses:
        target = graph.outputs.get("objective", graph.outputs.get("loss"))
        found = _Uses({}, {})
        if target is None:
            return found
        decay = only_in_penalty(graph, target)
        below = set(post_order([target]))
        read = ((user, x) for user in graph.nodes if user in below for x in user.inputs)
        for place, (user, source) in enumerate(read):
            use = _Use(place, user in decay)
            if is_edge(source):
                found.edges.setdefault((source.inputs[0], number_of(source)), use)
            elif isinstance(source.op, Parameter) and not is_edge(user):
                found.direct.setdefault(source, []).append(use)
        return found


def _past(gradient: Node | None, uses: list[_Use]) -> list[tuple[_Use, Node]]:
    """The terms of a gradient that came to a parameter past its edges, each with its use."""
    if gradient is None:
        return []
    if isinstance(gradient.op, GradSum) and len(gradient.inputs) == len(uses) > 1:
        return list(zip(uses, gradient.inputs, strict=True))
    return [(uses[0] if uses else _LAST, gradient)]


def _joined(graph: Graph) -> Graph:
    """The graph without edges."""
    return graph.rewrite(lambda old, inputs: inputs[0] if is_edge(old) else None)


def _check_complete(graph: Graph, apart: dict[str, dict[int, str]]) -> None:
    """``.gradients`` outlives a selection of outputs: it tells which edges had a gradient."""
    for weight, uses in edges(graph.gradients).items():
        terms = apart.get(naming_of(weight).fixed or "", {})
        missing = next((i for i in uses if i not in terms), None)
        if terms and missing is not None:
            name = naming_of(weight).fixed
            raise GraphError(
                f"share sums the gradients of the edges of {name}, and grad/{name}@{missing} is "
                f"not among the outputs {', '.join(terms.values())}: select outputs after it",
                nodes=[weight],
            )
