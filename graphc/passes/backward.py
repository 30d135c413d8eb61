"""Reverse differentiation: a graph with a scalar output -> the same graph with its gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphc.ir import DTypeError, Graph, GraphError, Node, ShapeError, dims, facts
from graphc.ir.graph import post_order
from graphc.ir.leaves import Parameter
from graphc.ir.naming import suggest
from graphc.ir.node import describe
from graphc.ir.types import is_float
from graphc.ops.core import constant
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import reshape
from graphc.ops.sharing import grad_sum
from graphc.passes.define import define
from graphc.passes.edges import edges, is_edge

Wrt = str | Node | Sequence[str | Node] | None


@define
def backward(output: str | Node | None = None, wrt: Wrt = None) -> Callable[[Graph], Graph]:
    """loss -> loss, ∂loss/∂w: outputs ``grad/<name>``, gradients summed where edges share.

    output: the scalar to differentiate (an output's name, or a node); left out, it is ``objective``
    where there is one, else ``loss``. wrt: names and nodes (parameters, inputs, anything between);
    left out, every parameter that the output depends on.

    Each node's gradient is the sum over its uses; where there are two or more, ``grad/<name>`` *is*
    the ``grad_sum`` node, with one input a use in ``.users`` order. The gradient that comes from
    ``weight_decay``'s penalty is marked ``decay`` there. Gradients are ordinary nodes: declare a
    further graph on them and differentiate again. ``.gradients`` of the result maps every node on
    the way to its gradient. After ``unshare`` each edge keeps its own, ``grad/<name>@i``, and
    ``grad/<name>`` is what comes to the parameter past its edges, if anything does.

    Raises GraphError: no such output, one that is not a float scalar, a wrt that it does not depend
    on, an existing output ``grad/…``. Warns where ``loss`` is named beside an objective.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x = gx.input("x", ())
    >>> graph = gx.Graph({"loss": x * x}).apply(passes.backward(wrt="x"))
    >>> graph.outputs["grad/x"].op.name
    'grad_sum'
    >>> float(gx.interpret(graph, {}, x=3.0)["grad/x"])
    6.0
    """

    def run(graph: Graph) -> Graph:
        done = [name for name in graph.outputs if name.startswith("grad/")]
        if done:
            raise GraphError(
                f"this graph has gradients already ({', '.join(done[:3])}): backward runs once. "
                "For second derivatives declare a new gx.Graph on the gradient nodes"
            )
        target = _target(graph, output)
        below = post_order([target])
        wanted = _wanted(graph, target, below, wrt)
        gradients = differentiate(graph, target, below, wanted.values())
        found = _outputs(wanted, below, gradients)
        missing = [name for name, own in found.items() if not own]
        if missing and (wrt is not None or len(missing) == len(wanted)):
            node = wanted[missing[0]]
            raise GraphError(
                f"no gradient flows from {describe(target)} to {describe(node)}: every way between "
                "them passes a comparison, an integer or a rounding",
                nodes=[target, node],
            )
        outputs = dict(graph.outputs)
        for own in found.values():
            outputs |= own
        return graph.rebuild(outputs, gradients=gradients)

    return run


def differentiate(
    graph: Graph, target: Node, below: Sequence[Node], leaves: Iterable[Node]
) -> dict[Node, Node]:
    """The gradient of ``target`` with respect to every node between it and ``leaves``.

    ``below`` are the nodes under ``target``. Linear in the edges, and no recursion: each node is
    visited once, after all its users.
    """
    on_way = set(leaves)
    for node in below:
        if is_float(node.dtype) and any(source in on_way for source in node.inputs):
            on_way.add(node)
    on_way.intersection_update(below)
    decay = only_in_penalty(graph, target)

    gradients: dict[Node, Node] = {}
    # What has arrived at a node: (gradient, its user), the last user first, since the walk is
    # backwards; reversed it is `.users` order, with two entries for x * x.
    arrived: dict[Node, list[tuple[Node, Node]]] = {}
    if target in on_way:
        with facts.derive(target, gradient=True):
            arrived[target] = [(constant(1.0, target.dtype), target)]
    for node in reversed(graph.nodes):
        if node not in arrived:
            continue
        terms = arrived.pop(node)[::-1]
        with facts.derive(node, gradient=True):
            marked = (i for i, (_, user) in enumerate(terms) if user in decay)
            mark = next(marked, None) if isinstance(node.op, Parameter) else None
            gradient = grad_sum(*(term for term, _ in terms), decay=mark)
            gradients[node] = gradient
            if is_edge(node):
                continue  # backpropagation as if the weight were not shared: share() sums
            answers = _answers(node, gradient)
            for position in reversed(range(len(answers))):
                source, answer = node.inputs[position], answers[position]
                if answer is not None and source in on_way:
                    answer = _fit(node, position, answer)
                    arrived.setdefault(source, []).append((answer, node))
    return gradients


def _fit(user: Node, position: int, answer: Node) -> Node:
    """``answer`` summed over the axes along which ``user`` broadcast its input."""
    source = user.inputs[position]
    if answer.type == source.type:
        return answer
    if answer.dtype != source.dtype:
        raise DTypeError(_wrong(user, position, answer), nodes=[user, source])
    extra = answer.ndim - source.ndim
    stretched = tuple(
        axis + extra
        for axis, size in enumerate(source.shape)
        if size == 1 and extra >= 0 and answer.shape[axis + extra] != 1
    )
    for axis, size in enumerate(source.shape):
        if extra < 0 or (
            axis + extra not in stretched
            and dims.always_equal(size, answer.shape[axis + extra]) is False
        ):
            raise ShapeError(_wrong(user, position, answer), nodes=[user, source])
    axes = (*range(extra), *stretched)
    if axes:
        answer = sum_(answer, axes, keepdims=bool(stretched))
    # What is left differs by the summed axes' ones, or in how a guarded size is written.
    return answer if answer.shape == source.shape else reshape(answer, source.shape)


def _answers(node: Node, gradient: Node) -> Sequence[Node | None]:
    """What the node's rule says; whatever goes wrong there is said of the node."""
    if not node.inputs:
        return []
    try:
        answers = list(node.op.grad(node, gradient))
    except Exception as error:
        what = (
            error.message if isinstance(error, GraphError) else f"{type(error).__name__}: {error}"
        )
        kind = type(error) if isinstance(error, GraphError) else GraphError
        raise kind(
            f"{node.op.name}: its gradient rule failed: {what}\n  for {describe(node)}",
            nodes=[node],
        ) from error
    _check_arity(node, answers)
    return answers


def _check_arity(node: Node, answers: Sequence[Node | None]) -> None:
    if len(answers) != len(node.inputs):
        raise GraphError(
            f"{node.op.name}: its gradient rule answered {len(answers)} gradients for "
            f"{len(node.inputs)} inputs\n  for {describe(node)}",
            nodes=[node],
        )
    for position, answer in enumerate(answers):
        if answer is not None and not isinstance(answer, Node):
            raise GraphError(
                f"{node.op.name}: its gradient rule answered a {type(answer).__name__} for "
                f"{node.op.operand(position)}, not a node\n  for {describe(node)}",
                nodes=[node],
            )


def _wrong(user: Node, position: int, answer: Node) -> str:
    return (
        f"{user.op.name}: its gradient rule answered {answer.type} for "
        f"{user.op.operand(position)}, which is\n  {describe(user.inputs[position])}\n"
        f"  for {describe(user)}"
    )


def _target(graph: Graph, output: str | Node | None) -> Node:
    """The scalar to differentiate."""
    if output is None:
        name = next((n for n in ("objective", "loss") if n in graph.outputs), None)
        if name is None:
            raise GraphError(
                "backward needs an output called 'objective' or 'loss', or the name of another: "
                f"passes.backward({next(iter(graph.outputs))!r})"
            )
        node = graph.outputs[name]
    elif isinstance(output, Node):
        graph.name(output)
        node = output
    else:
        if output not in graph.outputs:
            names = list(graph.outputs)
            raise GraphError(f"no output is called {output!r}{suggest(str(output), names)}")
        node = graph.outputs[output]
    if output == "loss" and "objective" in graph.outputs:
        warnings.warn(
            "backward('loss') beside the output 'objective': the penalty gets no gradient. "
            "Leave the name out, or say 'objective'",
            stacklevel=2,
        )
    if node.shape != () or not is_float(node.dtype):
        raise ShapeError(
            f"backward needs a floating-point scalar, not {describe(node)}\n"
            "  to fix: reduce it first, e.g. gx.mean(…) or gx.cross_entropy(logits, label)",
            nodes=[node],
        )
    return node


def _wanted(graph: Graph, target: Node, below: Sequence[Node], wrt: Wrt) -> dict[str, Node]:
    """What to differentiate with respect to, by name."""
    reached = set(below)
    if wrt is None:
        found = {name: node for name, node in graph.parameters.items() if node in reached}
        if not found:
            raise GraphError(
                f"{describe(target)} depends on no parameter: say what to differentiate with "
                "respect to, e.g. passes.backward(wrt='x')",
                nodes=[target],
            )
        return found
    asked: list[Any] = list(wrt) if isinstance(wrt, (list, tuple)) else [wrt]
    if not all(isinstance(item, (str, Node)) for item in asked):
        raise GraphError(f"backward(wrt=…) takes names and nodes, or a list of them, not {wrt!r}")
    found = {}
    for item in asked:
        if isinstance(item, Node):
            name, node = graph.name(item), item
        else:
            name, node = item, _named(graph, item)
        if node not in reached:
            raise GraphError(
                f"{describe(target)} does not depend on {name}:\n  {describe(node)}",
                nodes=[target, node],
            )
        if not is_float(node.dtype):
            raise DTypeError(
                f"only floating-point values have gradients: {describe(node)}", nodes=[node]
            )
        found[name] = node
    if not found:
        raise GraphError("backward(wrt=[]) asks for no gradient; leave wrt out for all parameters")
    return found


def _outputs(
    wanted: Mapping[str, Node], below: Iterable[Node], gradients: Mapping[Node, Node]
) -> dict[str, dict[str, Node]]:
    """The outputs of each name: its gradient, or where it has edges one for each of them."""
    apart = edges(below)
    found: dict[str, dict[str, Node]] = {}
    for name, node in wanted.items():
        places = {f"{name}@{i}": edge for i, edge in apart.get(node, {}).items()}
        if clash := places.keys() & wanted.keys():
            raise GraphError(
                f"the edges of {name} and the parameter {min(clash)} would give two outputs of one "
                f"name: call the parameter otherwise\n  {describe(wanted[min(clash)])}",
                nodes=[node, wanted[min(clash)]],
            )
        places[name] = node
        found[name] = {
            f"grad/{key}": gradients[place] for key, place in places.items() if place in gradients
        }
    return found


def _named(graph: Graph, name: str) -> Node:
    """A leaf's name counts before an output's: ``grad/w`` is the gradient of the parameter w."""
    for table in (graph.parameters, graph.inputs, graph.states):
        if name in table:
            return table[name]
    return graph.node(name)


def only_in_penalty(graph: Graph, target: Node) -> set[Node]:
    """The nodes that weight decay alone put on the way to ``target``."""
    penalty, loss = graph.outputs.get("penalty"), graph.outputs.get("loss")
    if penalty is None or loss is None or target is not graph.outputs.get("objective"):
        return set()
    return set(post_order([penalty])).difference(post_order([loss]))
