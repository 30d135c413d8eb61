"""A graph as a person reads it: forward, backward and update parts, layers, and their table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphc.ir import facts, naming
from graphc.ir.graph import Graph, post_order
from graphc.ir.leaves import SEED, STEP, Input, Leaf, Parameter, State
from graphc.ir.node import Node

Part = Literal["forward", "backward", "update"]

_GRADIENT = "grad/"
# Outputs that passes add; what only they need is no layer of the model.
_ADDED = frozenset({"penalty", "objective"})
# Identity ops that stand for the leaf behind them.
_ALIASES = frozenset({"edge", "again"})
_WIDTH = 80


def parts(graph: Graph) -> dict[Node, Part]:
    """Which part of a training step each node is in; in a declared graph all are ``forward``.

    Forward is what the outputs need, backward what the gradients need beside it, and the rest
    serves the updates.
    """
    members = frozenset(graph.nodes)
    asked = [n for name, n in graph.outputs.items() if name.startswith(_GRADIENT)]
    known = {n: g for n, g in graph.gradients.items() if n in members and g in members}
    gradients = frozenset((*asked, *known.values()))
    # A step that fetches gradients alone still has the forward nodes that they belong to.
    roots = [n for n in (*graph.outputs.values(), *known) if n not in gradients]
    forward = frozenset(post_order(roots))
    gradients |= frozenset() if known else _guessed_gradients(graph, forward)
    backward = frozenset(post_order(gradients))
    return {
        node: "forward" if node in forward else "backward" if node in backward else "update"
        for node in graph.nodes
    }


def _guessed_gradients(graph: Graph, forward: frozenset[Node]) -> frozenset[Node]:
    """The gradients that the updates of a parsed graph read: it has no map of them.

    An optimizer's own nodes are those that read its states or its rate (leaves that forward does
    not have), the new value of a parameter, and a gradient times a number. What they read and
    forward does not have is a gradient.
    """
    parameters = [n for leaf, n in graph.leaf_updates.items() if isinstance(leaf.op, Parameter)]
    own = set(parameters)
    for node in graph.nodes:
        if node not in forward and (
            isinstance(node.op, Leaf) or any(n in own and n not in forward for n in node.inputs)
        ):
            own.add(node)
    for node in reversed(graph.nodes):
        users = graph.users(node)
        number = any(not n.inputs and not n.ndim for n in node.inputs)
        if node not in forward and number and users and all(user in own for user in users):
            own.add(node)
    served = frozenset(post_order(parameters))
    return frozenset(
        source
        for node in own & served
        for source in node.inputs
        if source not in own and source not in forward and source.inputs
    )


def modules(graph: Graph) -> dict[Node, str]:
    """The path of the module that each node belongs to, ``""`` where it belongs to none.

    A leaf belongs where its name says (``features.0.weight`` to ``features.0``), a result to the
    module that was being called; one whose origin is not known, as in a parsed graph, to the
    module whose parameters it reads, if that is one alone, or whose statistics it makes. What is
    made of numbers alone has no origin in this graph: it goes with the first node that reads it.
    """
    known: dict[facts.Scope, str] = {}
    roots = {
        n.op.naming.scope.root
        for n in graph.nodes
        if isinstance(n.op, Leaf) and n.op.naming.scope is not None
    }
    found: dict[Node, str] = {}
    for node in graph.nodes:
        if isinstance(node.op, Leaf):
            head, _, _ = graph.name(node).rpartition("/")
            found[node] = "" if head else graph.name(node).rpartition(".")[0]
            continue
        path = ""
        for origin in facts.origins(node):
            if origin.scope is not None and origin.scope.root in roots:
                if origin.scope not in known:
                    known[origin.scope] = naming.path(origin.scope)
                path = known[origin.scope]
                break
        if not path and not roots:
            read = {found[n] for n in node.inputs if isinstance(n.op, Parameter)}
            path = read.pop() if len(read) == 1 else ""
        found[node] = path
    if not roots:
        _with_statistics(graph, found)
    for node in reversed(numbers(graph)):
        users = graph.users(node)
        found[node] = found[users[0]] if users else ""
    return found


def _with_statistics(graph: Graph, found: dict[Node, str]) -> None:
    """In a parsed graph, the module of what computes and updates the states of a normalization:
    what reads or becomes one, the statistic that ``track`` takes, and all between such nodes."""
    homes = {found[leaf] for leaf in graph.states.values()} - {""}
    if not homes:
        return
    part = parts(graph)
    plain = [n for n in graph.nodes if part[n] != "backward" and not isinstance(n.op, Leaf)]
    for leaf, node in graph.leaf_updates.items():
        if found[leaf] in homes and isinstance(leaf.op, State) and not found[node]:
            found[node] = found[leaf]
    for node in plain:
        read = {found[n] for n in node.inputs if isinstance(n.op, State)} - {""}
        if len(read) == 1 and not found[node]:
            found[node] = read.pop()
        if node.op.name == "track" and not found[node.inputs[0]]:
            found[node.inputs[0]] = found[node]
    members, after = set(plain), dict[Node, set[str]]()
    for node in reversed(plain):
        users = [user for user in graph.users(node) if user in members]
        after[node] = {m for u in users for m in ({found[u]} if found[u] else after[u])}
        if not users:
            after[node] = {""}  # an output of the graph
    before: dict[Node, set[str]] = {}
    for node in plain:
        reads = [n for n in node.inputs if n in members]
        before[node] = {m for n in reads for m in ({found[n]} if found[n] else before[n])}
        if not found[node] and len(after[node]) == 1 and after[node] <= before[node] & homes:
            (found[node],) = after[node]


def numbers(graph: Graph) -> tuple[Node, ...]:
    """The nodes with no leaf below them, in order: one such node serves every graph of the
    process, so the facts kept about it may be another graph's."""
    found: dict[Node, None] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Leaf) and all(n in found for n in node.inputs):
            found[node] = None
    return tuple(found)


def uses(graph: Graph) -> dict[Node, int]:
    """How many edges of the model itself (no gradient, decay or update) read each parameter."""
    counts = dict.fromkeys(graph.parameters.values(), 0)
    for node in model_nodes(graph):
        for source in map(_leaf, node.inputs):
            if source in counts and node.op.name not in _ALIASES:
                counts[source] += 1
    return counts


def model_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes of the model itself: what the outputs that no pass added need."""
    part = parts(graph)
    plain = [n for name, n in graph.outputs.items() if name not in _ADDED]
    roots = plain or graph.outputs.values()
    return tuple(n for n in post_order(roots) if part[n] == "forward")


def _leaf(node: Node) -> Node:
    while node.op.name in _ALIASES:
        node = node.inputs[0]
    return node


@dataclass
class _Layer:
    """One row: consecutive nodes of one module, or one node outside all."""

    path: str
    nodes: list[Node] = field(default_factory=list)
    parameters: dict[Node, None] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The op that reads the parameters, else the last one."""
        readers = [n for n in self.nodes if any(_leaf(s) in self.parameters for s in n.inputs)]
        return (readers or self.nodes)[-1].op.name


def _layers(graph: Graph) -> list[_Layer]:
    module = modules(graph)
    layers: list[_Layer] = []
    for node in model_nodes(graph):
        leaf = isinstance(node.op, Leaf)
        if (leaf and not isinstance(node.op, Input)) or node.op.name in _ALIASES:
            continue
        if not leaf and not node.inputs:
            continue  # a constant is a part of what reads it
        path = module[node]
        if not path or not layers or layers[-1].path != path:
            layers.append(_Layer(path))
        layers[-1].nodes.append(node)
        for source in map(_leaf, node.inputs):
            if isinstance(source.op, Parameter):
                layers[-1].parameters[source] = None
    return layers


def summary(graph: Graph) -> str:
    """A table of the layers: output, parameters, uses; at most 80 columns of plain text.

    ``uses`` counts the edges of the model that read the layer's most read parameter; a layer met
    again says ``shared`` and adds nothing to the total.

    >>> import graphc as gx
    >>> x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3, 3))
    >>> print(gx.Graph({"y": gx.matmul(gx.matmul(x, w), w)}).summary())
    layer             output    parameters  uses
    --------------------------------------------
    x: input          f32[N,3]
    matmul            f32[N,3]           9     2
    matmul_1: matmul  f32[N,3]      shared     2
    --------------------------------------------
    total: 9 parameters in 1 array, 36 bytes
    """
    counts = uses(graph)
    rows: list[tuple[str, str, str, str]] = []
    seen: set[Node] = set()
    for layer in _layers(graph):
        last = layer.nodes[-1]
        name = layer.path or graph.name(last)
        new = [p for p in layer.parameters if p not in seen]
        seen.update(new)
        size = f"{sum(map(_size, new)):,}" if new else "shared" if layer.parameters else ""
        most = str(max(counts[p] for p in layer.parameters)) if layer.parameters else ""
        rows.append(
            (name if name == layer.kind else f"{name}: {layer.kind}", str(last.type), size, most)
        )
    return "\n".join((*_table(rows), *_totals(graph)))


def _table(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    head = ("layer", "output", "parameters", "uses")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(4)]
    widths[1] = min(widths[1], 36)
    widths[0] = max(min(widths[0], _WIDTH - 6 - sum(widths[1:])), 12)
    rule = "-" * (sum(widths) + 6)

    def line(row: tuple[str, str, str, str]) -> str:
        first, second = (shorten(row[i], widths[i]) for i in (0, 1))
        return (
            f"{first:<{widths[0]}}  {second:<{widths[1]}}  "
            f"{row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
        ).rstrip()

    return [line(head), rule, *map(line, rows), rule]


def _totals(graph: Graph) -> list[str]:
    parameters = list(graph.parameters.values())
    size = sum(_size(p) * p.dtype.itemsize for p in parameters)
    lines = [
        f"total: {_count(graph.parameter_count(), 'parameter')} in "
        f"{_count(len(parameters), 'array')}, {_bytes(size)}"
    ]
    part = parts(graph)
    backward = [n for n in graph.nodes if part[n] == "backward"]
    if backward:
        sums = sum(n.op.name == "grad_sum" for n in backward)
        lines.append(f"backward: {_count(len(backward), 'node')}, {_count(sums, 'gradient sum')}")
    updates = [leaf for leaf in graph.leaf_updates if leaf not in (SEED, STEP)]
    if updates:
        states = [leaf for leaf in updates if not isinstance(leaf.op, Parameter)]
        lines.append(
            f"updates: {_count(len(updates) - len(states), 'parameter')}, "
            f"{_count(len(states), 'state')} ({_count(sum(map(_size, states)), 'number')})"
        )
    return lines


def _size(leaf: Node) -> int:
    return math.prod(leaf.type.concrete({}))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _bytes(count: int) -> str:
    if count < 1024:
        return _count(count, "byte")
    size, units = float(count), iter(("KiB", "MiB", "GiB", "TiB"))
    for unit in units:
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:,.1f} {unit}"


def shorten(text: str, width: int) -> str:
    """``text`` in ``width`` columns, cut in the middle: both ends of a path say something."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[-(width - 1 - left) :]}"
