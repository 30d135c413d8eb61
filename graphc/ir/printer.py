"""The printed IR: one line a node, exact, and readable by ``parse``."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from graphc.ir import attrs, facts
from graphc.ir.leaves import SEED, STEP, Input, Leaf, Parameter, State, Stream
from graphc.ir.node import Node

if TYPE_CHECKING:
    from graphc.ir.graph import Graph

VERSION = 1
EMBEDDED = "graphc-ir:"


def render(graph: Graph, *, comments: bool) -> str:
    """The text of ``graph``; ``comments`` adds where each node comes from."""
    header = ", ".join(f"{name}: {node.type}" for name, node in graph.inputs.items())
    rows = [f"graphc {VERSION}", f"graph ({header}) {{"]
    everybodys: set[Node] = {SEED, STEP}
    owners = forward_owners(graph) if comments else {}
    for node in graph.nodes:
        if isinstance(node.op, (Input, Stream)):
            continue  # in the header, and beside the ops that draw from it
        # What depends on no leaf of this graph (a number, a size, their product) is one node for
        # the whole process: which lines made it would tell of another graph.
        if not isinstance(node.op, Leaf) and all(i in everybodys for i in node.inputs):
            everybodys.add(node)
        row = f"  {line(graph, node)}"
        lines = () if node in everybodys else node.lines
        note = comment(graph, node, owners.get(node), lines) if comments else ""
        rows.append(f"{row}  # {note}" if note else row)
    rows.append(f"  return {', '.join(f'{k}=%{graph.name(n)}' for k, n in graph.outputs.items())}")
    rows += [f"  update %{name} = %{graph.name(node)}" for name, node in graph.updates.items()]
    return "\n".join((*rows, "}"))


def line(graph: Graph, node: Node) -> str:
    """One node as printed, without its comment."""
    name = graph.name(node)
    op = node.op
    if isinstance(op, Leaf):
        extra = ""
        if isinstance(op, Parameter):
            extra = f' role="{op.role}"'
        if isinstance(op, (Parameter, State)):
            extra += f" init={attrs.render(op.init)}"
        return f"%{name} = {op.name} {node.type}{extra}"
    shown = node.inputs if op.shown is None else node.inputs[: op.shown]
    inputs = ", ".join(f"%{graph.name(source)}" for source in shown)
    stream = "" if op.shown is None else f' stream="{graph.name(stream_of(node))}"'
    return f"%{name}: {node.type} = {op.name}({inputs}){op.text()}{stream}"


def stream_of(node: Node) -> Node:
    """The random stream that ``node`` draws from."""
    shown = node.op.shown
    return node.inputs[0 if shown is None else shown]


def forward_owners(graph: Graph) -> dict[Node, Node]:
    """Each node of the backward half with the forward node whose gradient it is part of.

    A node that another graph made too, or that every graph has (a number, 1/N), was noted as a part
    of that one's gradient, or of none: it belongs where what reads it does.
    """
    found: dict[Node, Node] = {}
    gradient_of = {gradient: node for node, gradient in graph.gradients.items()}
    grounded: set[Node] = set()  # what depends on some leaf
    for node in graph.nodes:
        if isinstance(node.op, Leaf) or not grounded.isdisjoint(node.inputs):
            grounded.add(node)
    for node in reversed(graph.nodes):
        if isinstance(node.op, Leaf):
            continue
        noted = facts.forward_of(node) if node in grounded else None
        if noted is not None and noted in graph._names:
            found[node] = noted
        elif node not in grounded or facts.in_backward(node):
            users = graph.users(node)
            if users and all(user in found for user in users):
                found[node] = found[users[0]]
            elif not users and node in gradient_of:
                found[node] = gradient_of[node]
            elif noted is not None:
                found[node] = noted
    return found


def comment(graph: Graph, node: Node, owner: Node | None, lines: tuple[str, ...]) -> str:
    """Where a node comes from: the forward node whose gradient it is part of, the user's lines."""
    parts: list[str] = []
    if owner is not None:
        known = graph._names.get(owner)
        parts.append(f"gradient of {'%' + known if known else owner.op.name}")
    if lines:
        parts.append(lines[0] + (f" (+{len(lines) - 1})" if len(lines) > 1 else ""))
    return ", ".join(parts)


def embed(graph: Graph, *, comments: bool = True) -> str:
    """The IR as one word of safe characters, for the comments of DOT and SVG files."""
    return EMBEDDED + base64.b64encode(graph.text(comments=comments).encode()).decode()
