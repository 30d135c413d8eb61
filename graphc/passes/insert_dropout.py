"""Dropout put into a network that was declared without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from graphc.ir import Graph, GraphError, Node
from graphc.ir.graph import post_order
from graphc.ir.leaves import stream
from graphc.ir.naming import suggest
from graphc.ir.node import make
from graphc.ir.op import OPS
from graphc.ir.types import is_float
from graphc.ops.random import checked_retain, dropout
from graphc.passes.define import define
from graphc.passes.optimizer import number
from graphc.passes.select import Where, factors, only_before_backward, select

Retain = float | Mapping[str, float]


@define(changes="*")
def insert_dropout(
    *rates: object,
    retain: Retain | None = None,
    after: str | Sequence[str] = "relu",
    scaling: Literal["train", "test"] = "train",
    where: Where = None,
    **named: object,
) -> Callable[[Graph], Graph]:
    """y = relu(x) -> y = dropout(relu(x)), at every use of y, outputs included.

    retain: the probability p in (0, 1] that an element stays (the lecture's p, rounded to float32),
    or {glob: p} over module paths and node names, the first one that fits; an input gets dropout
    where its own name stands there. after: the printed name of an op, or several; what is no float,
    and what updates alone read, has no dropout. where: a module-path glob or a function of a node,
    to narrow ``after`` down. scaling: ``"train"`` divides by p in training, ``"test"`` leaves it to
    ``inference`` to multiply by p (Srivastava et al. 2014 have the second).

    The random stream of a site is called by its module's path (else by the node's name) and
    ``/dropout``. Raises GraphError: retain outside (0, 1], no such op, a glob or ``after`` that
    names nothing in this graph, or after ``backward``.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x = gx.input("x", ("N", 2))
    >>> graph = gx.Graph({"y": gx.relu(x)}).apply(passes.insert_dropout(retain=0.5))
    >>> graph.outputs["y"].op.name, graph.outputs["y"].inputs[0].op.name
    ('dropout', 'relu')
    """
    for graph in rates:
        if isinstance(graph, Graph):
            number(graph, "insert_dropout(retain=…)")
    if rates or named or retain is None:
        retain = checked_retain("passes.insert_dropout(…)", rates, None, named)
    table = {
        glob: _checked(p)
        for glob, p in (retain if isinstance(retain, Mapping) else {"*": retain}).items()
    }
    if scaling not in ("train", "test"):
        raise GraphError(f"insert_dropout(scaling={scaling!r}) is neither 'train' nor 'test'")
    names = (after,) if isinstance(after, str) else tuple(after)
    for name in names:
        if name not in OPS:
            hint = suggest(str(name), OPS)
            raise GraphError(f"insert_dropout(after=…): no op is called {name!r}{hint}")

    def run(graph: Graph) -> Graph:
        only_before_backward(graph, "insert_dropout")
        rates = {node: table[name] for name, node in graph.inputs.items() if name in table}
        globs = {glob: p for glob, p in table.items() if glob not in graph.inputs}
        # What only updates read (the average of a running statistic, step + 1) is no activation.
        found = (n for n in post_order(graph.outputs.values()) if n.op.name in names)
        sites = select(graph, [n for n in found if is_float(n.dtype)], where)
        if globs and not sites:
            raise GraphError(f"insert_dropout found no {' or '.join(names)} here: say after=…")
        rates |= factors(graph, sites, globs, "insert_dropout(retain=…)")

        def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
            if old not in rates:
                return None
            # The path of a nameless root is empty: what its own forward computes is told by name.
            path = next(filter(None, graph.paths(old)), graph.name(old))
            source = stream(path, suffix="/dropout")
            value = make(old.op, *inputs) if inputs else old
            return dropout(value, retain=rates[old], scaling=scaling, stream=source)

        return graph.rewrite(replace)

    return run


def _checked(p: object) -> float:
    value = number(p, "insert_dropout(retain=…), the probability to KEEP an element,", high=1.0)
    if value == 0:
        raise GraphError("insert_dropout(retain=0) would drop everything: retain lies in (0, 1]")
    return value
