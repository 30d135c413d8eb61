"""How a pass says which nodes it means: an op's name, a module-path glob, or a predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from graphc.ir import Graph, GraphError, Node
from graphc.ir.leaves import Leaf, Parameter
from graphc.ir.naming import path

Where = str | Callable[[Node], bool] | None


def paths(graph: Graph, node: Node) -> tuple[str, ...]:
    """What a glob may call ``node``: its name, and the paths of the modules that made or own it."""
    own: tuple[str, ...] = ()
    if isinstance(node.op, Leaf):
        scope = node.op.naming.scope
        own = () if scope is None else (path(scope),)
    else:
        own = graph.paths(node)
    return (graph.name(node), *own)


def select(graph: Graph, nodes: Iterable[Node], where: Where) -> list[Node]:
    """Those of ``nodes`` that ``where`` names. Raises GraphError for a glob that names none."""
    found = list(nodes)
    if where is None or not found:
        return found
    if callable(where):
        return [node for node in found if where(node)]
    if not isinstance(where, str):
        raise GraphError(
            f"where= is a module path, a glob such as 'block*', or a function of a node, not a "
            f"{type(where).__name__}"
        )
    named = [n for n in found if any(fnmatchcase(p, where) for p in paths(graph, n))]
    if not named:
        raise GraphError(f"where={where!r} names none of {_listed(graph, found)}")
    return named


def factors(
    graph: Graph, nodes: Iterable[Node], table: Mapping[str, float], what: str
) -> dict[Node, float]:
    """The number that ``table`` (glob: number) gives each node; the first glob that fits counts.

    Raises GraphError for a glob that fits no node: it is a slip of the pen.
    """
    found: dict[Node, float] = {}
    known = list(nodes)
    unused = dict.fromkeys(table)
    for node in known:
        called = paths(graph, node)
        for glob, value in table.items():
            if any(fnmatchcase(name, glob) for name in called):
                unused.pop(glob, None)
                found.setdefault(node, value)
    if unused:
        raise GraphError(f"{what}: {next(iter(unused))!r} names none of {_listed(graph, known)}")
    return found


def only_before_backward(graph: Graph, name: str) -> None:
    """Raise GraphError where ``graph`` has gradients: a change would not reach them."""
    trained = any(isinstance(leaf.op, Parameter) for leaf in graph.leaf_updates)
    if graph.gradients or trained or any(output.startswith("grad/") for output in graph.outputs):
        raise GraphError(
            f"{name} comes before backward: the gradients of this graph are those of the network "
            f"as it was. Put passes.{name}(…) in front of passes.backward()"
        )


def _listed(graph: Graph, nodes: list[Node]) -> str:
    names = [" = ".join(dict.fromkeys(reversed(paths(graph, node)))) for node in nodes]
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "no nodes"
