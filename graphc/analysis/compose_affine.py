"""Without non-linearities a network is one affine map: which one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.analysis.double import values
from graphc.compiler.binding import Array
from graphc.compiler.program import compile
from graphc.ir import Dim, Graph, GraphError, Node, dims, facts, input
from graphc.ir.graph import post_order
from graphc.ir.leaves import Input, Leaf
from graphc.ir.naming import suggest
from graphc.ir.node import describe
from graphc.ir.types import is_float
from graphc.ir.window import Nothing

# Unit vectors run together: enough to be quick, few enough for the memory of wide maps.
CHUNK = 256


def compose_affine(
    graph: Graph,
    variables: Mapping[str, Any] | None = None,
    *,
    output: str | None = None,
    size: Mapping[str, int] | None = None,
) -> tuple[Array, Array]:
    """(A, b) with output = A · input + b, both flattened row-major, of one example.

    graph: its output ``output`` (left out: ``logits``, or the only one) depends on one
    floating-point input. variables: name to array; left out, the initial ones of seed 0. size:
    numbers for symbolic sizes other than the batch. A: (elements of the output, elements of the
    input), b: (elements of the output,), float64.

    An op is affine in what comes from the input exactly where its gradient does not depend on it;
    that is asked of every op on the way. Raises GraphError at the first that is not (a ReLU, a
    max-pool, a product of two maps, normalization by the batch's statistics), and names it with
    the user's line.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 2))
    >>> w = gx.parameter("w", (1, 2), init=3.0)
    >>> A, b = gx.compose_affine(gx.Graph({"y": gx.linear(x * 2 + 1, w)}))
    >>> A.tolist(), b.tolist()
    ([[6.0, 6.0]], [6.0])
    >>> gx.compose_affine(gx.Graph({"y": gx.relu(x)}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graphc.ir.errors.GraphError: relu is not affine in its input: relu: f32[N,2] ...
    """
    node = _output(graph, output)
    below = post_order([node])
    x = _only_input(node, below)
    _refuse_what_bends(x, below)
    if variables is None:
        variables = compile(graph.select(*graph.outputs), backend="numpy").init(seed=0)
    known = {**dict.fromkeys(dims.names(x.shape[:1]), 1), **(size or {})}
    try:
        shape = x.type.concrete(known)
        node.type.concrete(known)
    except KeyError as error:
        raise GraphError(
            f"compose_affine: the size {error.args[0]} is symbolic: {describe(x)}\n"
            f"  to fix: gx.compose_affine(graph, size={{{error.args[0]!r}: 28}})",
            nodes=[x],
        ) from None

    def run(array: Array) -> Array:
        sizes = {**known, **_batch(x, len(array))} if array.ndim else known
        given = {graph.name(x): array}
        return np.asarray(values(graph, [node], variables, given, sizes)[node])

    together = bool(_batch(x, 1)) and node.ndim > 0 and node.shape[0] == x.shape[0]
    columns = int(np.prod(shape))
    b = run(np.zeros(shape)).ravel()
    matrix = np.empty((b.size, columns))
    # A batch of unit vectors at a time, unless examples are mixed or each has a mask of its own.
    for chunk in (CHUNK, 1) if together else (1,):
        for start in range(0, columns, chunk):
            units = np.eye(min(chunk, columns - start), columns, start)
            maps = run(units.reshape(len(units), *shape[1:]) if chunk > 1 else units.reshape(shape))
            matrix[:, start : start + len(units)] = maps.reshape(len(units), b.size).T - b[:, None]
        probe = np.random.default_rng(0).normal(size=shape)
        if np.allclose(matrix @ probe.ravel() + b, run(probe).ravel(), rtol=1e-6, atol=1e-9):
            break
    return matrix, b


def _batch(x: Node, size: int) -> dict[str, int]:
    """The batch's size, where the first axis is a named dimension."""
    first = x.shape[0] if x.ndim else 1
    name = first.name if isinstance(first, Dim) else None
    return {} if name is None else {name: size}


def _output(graph: Graph, output: str | None) -> Node:
    if not isinstance(graph, Graph):
        raise GraphError(f"compose_affine takes a gx.Graph, not a {type(graph).__name__}")
    names = list(graph.outputs)
    if output is None:
        output = "logits" if "logits" in names else names[0] if len(names) == 1 else None
    if output is None:
        raise GraphError(
            f"compose_affine: the graph has the outputs {', '.join(names)}\n"
            f"  to fix: say which, gx.compose_affine(graph, output={names[0]!r})"
        )
    if output not in names:
        raise GraphError(f"no output is called {output!r}{suggest(output, names)}")
    return graph.outputs[output]


def _only_input(node: Node, below: tuple[Node, ...]) -> Node:
    found = [n for n in below if isinstance(n.op, Input)]
    if len(found) != 1 or not is_float(found[0].dtype):
        listed = "".join(f"\n  {describe(n)}" for n in found) or " none"
        raise GraphError(
            f"compose_affine: {describe(node)} must depend on one floating-point input, and "
            f"depends on{listed}",
            nodes=[node, *found],
        )
    return found[0]


def _refuse_what_bends(x: Node, below: tuple[Node, ...]) -> None:
    """Raise at the first node that is not affine in x."""
    depends = {x}
    for node in below:
        if isinstance(node.op, Leaf) or not any(i in depends for i in node.inputs):
            continue
        depends.add(node)
        if not _is_affine(node, depends):
            raise GraphError(
                f"{node.op.name} is not affine in its input: {describe(node)}\n"
                "  the network is one affine map only up to here",
                nodes=[node],
            )


def _is_affine(node: Node, depends: set[Node]) -> bool:
    """Whether the gradient of ``node`` is the same for every value of what depends on x."""
    if not is_float(node.dtype):
        return False
    with facts.derive(node, gradient=True):
        answers = node.op.grad(node, input("gradient", node.shape, node.dtype))
    rules = node.op.receptive(node)
    for source, answer, rule in zip(node.inputs, answers, rules, strict=True):
        if source not in depends:
            continue
        if answer is None:
            if not isinstance(rule, Nothing):
                return False  # it moves in steps
        elif any(n in depends for n in post_order([answer])):
            return False
    return True
