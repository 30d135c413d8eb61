"""Modules that are built alike, one after the other: a drawing folds them into one box ×N.

Two modules are alike when their nodes are: the same ops with the same attributes and types, wired
in the same way. Names, and so the values of parameters, do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from .model import DrawnEdge, DrawnNode, Model


def signature(inside: Sequence[DrawnNode], into: Mapping[str, Sequence[DrawnEdge]]) -> str:
    """A hash of what these nodes are and how they are wired; ``into``: the edges by target.

    What comes from outside is told apart by the order in which it is first read.
    """
    number = {node.id: index for index, node in enumerate(inside)}
    outside: dict[str, int] = {}
    rows = []
    for node in inside:
        reads = []
        for edge in into.get(node.id, ()):
            if edge.kind != "data":
                continue
            if edge.source in number:
                reads.append(f"{edge.input}={number[edge.source]}")
            else:
                reads.append(f"{edge.input}<{outside.setdefault(edge.source, len(outside))}")
        scalars = [row for row in node.label if "·" in row]  # operands that are written in
        said = (node.op, node.kind, node.part, node.type, node.role, node.attributes)
        rows.append(" ".join(map(str, (*said, *scalars, *reads))))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def runs(model: Model, plan: Mapping[str, str], parent: Mapping[str, str | None]) -> dict[str, str]:
    """Each box of ``plan`` (node id to box) that repeats the one before it, to the first of them.

    Boxes stand in a run when their clusters (``parent``: cluster to the one around it) are
    neighbours under one parent, their forward parts are alike, and no path leaves the run and comes
    back: the one box must not read what reads it.
    """
    into: dict[str, list[DrawnEdge]] = {}
    for edge in model.edges:
        into.setdefault(edge.target, []).append(edge)
    members: dict[str, list[DrawnNode]] = {}
    for node in model.nodes:
        if node.id in plan and node.part == "forward":
            members.setdefault(plan[node.id], []).append(node)
    siblings: dict[str | None, list[str]] = {}
    for name in members:
        if name in parent:
            siblings.setdefault(parent[name], []).append(name)
    same = {
        name: signature(nodes, into)
        for name, nodes in members.items()
        if name in parent and len(siblings[parent[name]]) > 1
    }
    after = _users(model)
    found: dict[str, str] = {}
    for names in siblings.values():
        run: list[str] = []
        for name in [*names, ""]:
            if run and name and same[name] == same[run[0]]:
                run.append(name)
                continue
            if len(run) > 1 and not _comes_back([n.id for m in run for n in members[m]], after):
                found |= dict.fromkeys(run[1:], run[0])
            run = [name]
    return found


def _users(model: Model) -> dict[str, list[str]]:
    after: dict[str, list[str]] = {}
    forward = {node.id for node in model.nodes if node.part == "forward"}
    for edge in model.edges:
        if edge.kind == "data" and edge.target in forward:
            after.setdefault(edge.source, []).append(edge.target)
    return after


def _comes_back(inside: Iterable[str], after: Mapping[str, Sequence[str]]) -> bool:
    """Whether a path leaves ``inside`` and enters it again."""
    members = set(inside)
    stack = [user for id in members for user in after.get(id, ()) if user not in members]
    seen = set(stack)
    while stack:
        for user in after.get(stack.pop(), ()):
            if user in members:
                return True
            if user not in seen:
                seen.add(user)
                stack.append(user)
    return False
