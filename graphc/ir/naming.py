"""The one authority over names: leaves by ownership, results by their op.

Names are PyTorch's ``state_dict`` keys. A leaf's name is settled by the first Graph that holds it
and never changes after; results are numbered per graph.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from graphc.ir.errors import GraphError
from graphc.ir.facts import Scope
from graphc.ir.leaves import Leaf, Naming, Stream, check_name
from graphc.ir.node import Node, describe

# A layer in two places of a layer in two places … has twice as many paths each time.
MOST_PATHS = 4096


def name_leaves(nodes: Sequence[Node], streams: Mapping[Node, str]) -> dict[Node, str]:
    """The name of every leaf. ``streams`` are paths that a pass carries over."""
    leaves = [node for node in nodes if isinstance(node.op, Leaf)]
    taken = {node.op.naming.fixed for node in leaves if node.op.naming.fixed}  # type: ignore[attr-defined]
    names: dict[Node, str] = {}
    owner: dict[str, Node] = {}
    for node in leaves:
        if isinstance(node.op, Stream):
            continue
        name = _settle(node.op.naming, taken)  # type: ignore[attr-defined]
        if name in owner:
            _clash(name, owner[name], node)
        owner[name] = node
        names[node] = name
    used = set(owner) | set(streams.values())
    for node in leaves:
        if not isinstance(node.op, Stream):
            continue
        if node in streams:
            names[node] = streams[node]
            continue
        # Two calls of one layer are two streams; a graph that meets a path again numbers on.
        naming = node.op.naming
        if naming.fixed is None:
            base = path(naming.scope) if naming.scope is not None else naming.hint
            naming.fixed = check_name((base or naming.hint) + naming.suffix, "a stream")
        names[node] = _free(naming.fixed, used)
        used.add(names[node])
    return names


def name_results(nodes: Iterable[Node], names: dict[Node, str]) -> None:
    """Number the results of each op in ``.nodes`` order: ``conv2d``, ``conv2d_1``, …"""
    taken = set(names.values())
    next_number: dict[str, int] = {}
    for node in nodes:
        if node in names:
            continue
        base = node.op.name
        number = next_number.get(base, 0)
        name = base if number == 0 else f"{base}_{number}"
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        next_number[base] = number + 1
        taken.add(name)
        names[node] = name


def path(scope: Scope) -> str:
    """A module's path: its root's name= or bare name, then the attributes down to it."""
    root = scope.root
    return ".".join((*([prefix] if (prefix := root.name or root.kind) else []), *scope.keys()))


def other_paths(naming: Naming) -> Iterator[str]:
    """The further paths of a leaf from its root: those of a tied weight, or of a layer that stands
    in several places."""
    if naming.scope is None:
        return
    root = naming.scope.root
    prefix = root.name or root.kind
    # Upwards from the leaf, each owner in turn; a path that is not the root's names nothing here.
    pending: list[tuple[tuple[str, ...], Scope]] = [((naming.key,), naming.scope)]
    pending += [((key,), scope) for scope, key in naming.others]
    for _ in range(MOST_PATHS):
        if not pending:
            return
        keys, scope = pending.pop()
        if scope is root:
            yield ".".join((*([prefix] if prefix else []), *keys))
        owners = [(scope.parent, scope.key)] if scope.parent is not None else []
        pending += [((key, *keys), owner) for owner, key in [*owners, *scope.others]]


def _settle(naming: Naming, taken: set[str]) -> str:
    if naming.fixed is not None:
        return naming.fixed
    if naming.scope is None:
        name = naming.hint
    else:
        root = naming.scope.root
        if root.name is None and root.kind and not naming.scope.keys():
            # A bare layer: linear, linear_1, … Its leaves share the prefix from now on.
            root.name = _free_prefix(root.kind, taken)
        name = ".".join((path(naming.scope), naming.key)).lstrip(".")
    naming.fixed = check_name(name, "a parameter")
    taken.add(naming.fixed)
    return naming.fixed


def _free_prefix(kind: str, taken: set[str]) -> str:
    used = {name.split(".", 1)[0] for name in taken}
    return _free(kind, used)


def _free(base: str, used: Iterable[str]) -> str:
    used = set(used)
    name, number = base, 0
    while name in used:
        number += 1
        name = f"{base}_{number}"
    return name


def _clash(name: str, first: Node, second: Node) -> None:
    raise GraphError(
        f"two leaves of this graph are called {name!r}:\n"
        f"  {describe(first)}\n  {describe(second)}\n"
        "  to fix: give one of the modules (or parameters) another name, e.g. "
        "nn.Sequential(…, name='encoder')",
        nodes=[first, second],
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'loss'? There are: …``, the tail of an unknown-name error."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    hint = f": did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"{hint} (there are: {listed})"
