"""A graph: named outputs, the updates of its states, and everything they depend on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from graphc.ir import facts, naming, verifier
from graphc.ir.dims import Guard
from graphc.ir.errors import GraphError
from graphc.ir.leaves import STEP, Input, Leaf, Parameter, State, check_name, naming_of
from graphc.ir.node import OPERATORS, Node, describe, make

if TYPE_CHECKING:
    from graphc.ir.facts import Scope

Pass = Callable[["Graph"], "Graph"]
BIRTHS = itertools.count()  # tells the graph that a pass made from one that was there before


def post_order(roots: Iterable[Node]) -> tuple[Node, ...]:
    """Every node below ``roots``, each after its inputs: depth first, inputs left to right.

    Iterative: a chain of 100,000 nodes is no deeper for Python than one of ten.
    """
    order: dict[Node, None] = {}
    # One stack entry a node being visited: the node and what is left of its inputs.
    for root in roots:
        if root in order:
            continue
        stack = [(root, iter(root.inputs))]
        while stack:
            node, rest = stack[-1]
            for source in rest:
                if source not in order:
                    stack.append((source, iter(source.inputs)))
                    break
            else:
                stack.pop()
                order[node] = None
    return tuple(order)


class Graph:
    """A network, or a whole training step: ``Graph({"logits": …, "loss": …})``.

    Immutable and hashable; equal to another graph exactly when their printed IR without comments
    is. Outputs are ordered. ``updates`` say what each state (or parameter) becomes; all of them
    read the old values and take effect together, after the outputs. Left out, they are collected
    from the ``track`` nodes below the outputs; a graph that reads ``step`` always counts it up.

    Attributes: ``inputs``, ``parameters``, ``states``, ``outputs``, ``updates`` (dicts by name),
    ``nodes`` (depth-first post-order), ``guards``, ``gradients`` (node to gradient node),
    ``history`` (the earlier graphs, oldest first), ``made_by`` and ``seconds`` (the pass that made
    it and the time that took).
    Raises GraphError: no outputs, something that is not a node, a name used twice, a symbolic size
    that no input tells.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 2))
    >>> print(gx.Graph({"y": gx.relu(x)}))  # doctest: +ELLIPSIS
    graphc 1
    graph (x: f32[N,2]) {
      %relu: f32[N,2] = relu(%x)  # ...
      return y=%relu
    }
    """

    __slots__ = (
        "__weakref__", "_gradients", "_names", "_nodes", "_owned", "_previous", "_text",
        "_updates", "_users", "born", "guards", "inputs", "made_by", "outputs", "parameters",
        "seconds", "states",
    )  # fmt: skip
    _gradients: dict[Node, Node]
    _names: dict[Node, str]
    _nodes: tuple[Node, ...]
    _owned: tuple[Node, ...]  # the leaves that belong to modules
    _previous: Graph | None
    _text: str | None
    _updates: dict[Node, Node]
    _users: dict[Node, tuple[Node, ...]] | None
    inputs: dict[str, Node]
    parameters: dict[str, Node]
    states: dict[str, Node]
    outputs: dict[str, Node]
    guards: tuple[Guard, ...]
    born: int
    made_by: str
    seconds: float

    def __init__(
        self,
        outputs: Mapping[str, Node],
        updates: Mapping[Node, Node] | None = None,
        *,
        streams: Mapping[Node, str] | None = None,
        gradients: Mapping[Node, Node] | None = None,
    ) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("outputs", _checked_outputs(outputs))
        found = dict(_tracked(self.outputs.values()) if updates is None else updates)
        verifier.check_updates(found)
        _count_steps(self.outputs.values(), found)
        # A leaf's name orders the updates, so names come before the rest of the nodes.
        everything = post_order([*self.outputs.values(), *found.values(), *found])
        names = naming.name_leaves(everything, streams or {})
        put("_updates", dict(sorted(found.items(), key=lambda item: names[item[0]])))
        nodes = post_order([*self.outputs.values(), *self._updates.values(), *self._updates])
        naming.name_results(nodes, names)
        put("_nodes", nodes)
        put("_names", names)
        for slot, kind in (("inputs", Input), ("parameters", Parameter), ("states", State)):
            put(slot, {names[n]: n for n in nodes if isinstance(n.op, kind)})
        owned = (n for n in nodes if isinstance(n.op, Leaf) and naming_of(n).scope is not None)
        put("_owned", tuple(owned))
        put("guards", tuple(dict.fromkeys(g for n in nodes if n.guards for g in n.guards)))
        put("_gradients", dict(gradients or {}))
        put("_users", None)
        put("_text", None)
        put("_previous", None)
        put("born", next(BIRTHS))
        put("made_by", "declare")
        put("seconds", 0.0)
        verifier.check_structure(self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise GraphError(f"a graph is immutable: its {name} cannot be set; passes make new graphs")

    # -- reading ------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node: depth-first post-order from the outputs, then the updates by leaf name."""
        return self._nodes

    @property
    def updates(self) -> dict[str, Node]:
        """What each state or parameter becomes, by its name."""
        return {self._names[leaf]: node for leaf, node in self._updates.items()}

    @property
    def leaf_updates(self) -> dict[Node, Node]:
        """The updates by leaf: what a pass hands on."""
        return dict(self._updates)

    @property
    def stream_names(self) -> dict[Node, str]:
        """The random streams and their paths: what a pass hands on."""
        return {n: self._names[n] for n in self.nodes if n.op.name == "stream"}

    @property
    def gradients(self) -> dict[Node, Node]:
        """Node to its gradient node, as ``backward`` found them; outside equality."""
        return dict(self._gradients)

    @property
    def history(self) -> tuple[Graph, ...]:
        """The graphs this one was made from, the declared one first; never itself."""
        found: list[Graph] = []
        graph = self._previous
        while graph is not None:
            found.append(graph)
            graph = graph._previous
        return tuple(reversed(found))

    def name(self, node: Node) -> str:
        """What the printed IR calls ``node``. Raises GraphError if it is not in this graph."""
        name = self._names.get(node)
        if name is None:
            raise GraphError(f"{describe(node)} is not a node of this graph", nodes=[node])
        return name

    def node(self, name: str) -> Node:
        """The node that the printed IR (or an output) calls ``name``."""
        if name in self.outputs:
            return self.outputs[name]
        for node, known in self._names.items():
            if known == name:
                return node
        raise GraphError(f"no node is called {name!r}{naming.suggest(name, self._names.values())}")

    def users(self, node: Node) -> tuple[Node, ...]:
        """The nodes that read ``node``, one entry per edge, in ``.nodes`` order."""
        users = self._users
        if users is None:
            found: dict[Node, list[Node]] = {n: [] for n in self.nodes}
            for user in self.nodes:
                for source in user.inputs:
                    found[source].append(user)
            users = {n: tuple(u) for n, u in found.items()}
            object.__setattr__(self, "_users", users)
        self.name(node)
        return users[node]

    def paths(self, node: Node) -> tuple[str, ...]:
        """The module paths that made ``node``, of modules whose root owns a leaf of this graph."""
        return tuple(dict.fromkeys(naming.path(s) for s in self.scopes(node)))

    @property
    def aliases(self) -> dict[str, str]:
        """Other path to name, of every parameter and state that modules share: a tied weight has
        the name of its first path, and PyTorch's state_dict has it under all of them.

        >>> import graphc as gx
        >>> from graphc import nn
        >>> net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        >>> net[1].weight = net[0].weight
        >>> gx.Graph({"y": net(gx.input("x", ("N", 3)))}).aliases
        {'1.weight': '0.weight'}
        """
        names = {self._names[leaf] for leaf in self._owned}
        return {
            other: self._names[leaf]
            for leaf in self._owned
            for other in naming.other_paths(naming_of(leaf))
            if other not in names
        }

    def scopes(self, node: Node) -> tuple[Scope, ...]:
        """The modules that made ``node``, of those whose root owns a leaf of this graph."""
        roots = {scope.root for leaf in self._owned if (scope := naming_of(leaf).scope)}
        found = (origin.scope for origin in facts.origins(node))
        return tuple(dict.fromkeys(s for s in found if s is not None and s.root in roots))

    def parameter_count(self) -> int:
        """How many numbers the parameters hold, each shared one counted once."""
        return sum(math.prod(p.type.concrete({})) for p in self.parameters.values())

    def summary(self) -> str:
        """A table: layer, output, parameters, uses."""
        from graphc.ir.summary import summary

        return summary(self)

    # -- making others ------------------------------------------------------------------------

    def apply(self, *passes: Pass, check: Mapping[str, Any] | None = None) -> Graph:
        """The graph after these passes, each verified, timed and kept in ``history``.

        check: input name to array. With it, the graph is run on the interpreter before and after
        each pass, on these inputs and variables near their initial values (seed 0), and GraphError
        names the pass that changed an output or an update that both graphs have, beyond rounding
        (1e-4 of the largest element in float32, 1e-9 in float64). Outputs that a pass is meant to
        change are left out: ``passes.define(changes=…)`` says which.
        """
        from graphc.ir.driver import run

        return run(self, passes, check)

    def select(self, *names: str) -> Graph:
        """The graph that fetches only these outputs; all updates stay."""
        for name in names:
            if name not in self.outputs:
                raise GraphError(
                    f"no output is called {name!r}{naming.suggest(name, self.outputs)}"
                )
        return self.rebuild({name: self.outputs[name] for name in names}, made_by="select")

    def rebuild(
        self,
        outputs: Mapping[str, Node] | None = None,
        updates: Mapping[Node, Node] | None = None,
        *,
        gradients: Mapping[Node, Node] | None = None,
        made_by: str | None = None,
    ) -> Graph:
        """A graph with these outputs and updates instead; streams keep their paths.

        This is how a pass that adds something ends; ``rewrite`` is for one that replaces nodes.
        """
        graph = Graph(
            self.outputs if outputs is None else outputs,
            self._updates if updates is None else updates,
            streams=self.stream_names,
            gradients=self._gradients if gradients is None else gradients,
        )
        if made_by is not None:
            graph.follow(self, made_by, 0.0)
        return graph

    def rewrite(self, replace: Callable[[Node, tuple[Node, ...]], Node | None]) -> Graph:
        """Rebuild every node bottom-up; ``replace(old, new_inputs)`` gives another, or None.

        Origins, gradients, updates and streams are carried over.
        """
        new: dict[Node, Node] = {}
        for old in self.nodes:
            inputs = tuple(new[source] for source in old.inputs)
            with facts.derive(old):
                node = replace(old, inputs)
                if node is None:
                    node = old if inputs == old.inputs else make(old.op, *inputs)
            new[old] = node
            owner = facts.forward_of(old)
            if node is not old and owner is not None and not isinstance(node.op, Leaf):
                facts.set_forward(node, new.get(owner, owner))
        return self.rebuild(
            {name: new[node] for name, node in self.outputs.items()},
            {leaf: new[node] for leaf, node in self._updates.items()},
            gradients={
                new.get(node, node): new[gradient]
                for node, gradient in self._gradients.items()
                if gradient in new
            },
        )

    def follow(self, previous: Graph, made_by: str, seconds: float) -> None:
        """Say which graph and pass this new one came from. For the pass driver."""
        if previous is self:
            return
        object.__setattr__(self, "_previous", previous)
        object.__setattr__(self, "made_by", made_by)
        object.__setattr__(self, "seconds", seconds)

    # -- identity -----------------------------------------------------------------------------

    def text(self, *, comments: bool = False) -> str:
        """The printed IR; ``comments`` adds the user's lines, which are outside equality."""
        from graphc.ir.printer import render

        if comments:
            return render(self, comments=True)
        if self._text is None:
            object.__setattr__(self, "_text", render(self, comments=False))
        return str(self._text)

    def __str__(self) -> str:
        return self.text(comments=True)

    def __repr__(self) -> str:
        return (
            f"<graphc.Graph {', '.join(self.inputs)} -> {', '.join(self.outputs)}: "
            f"{len(self.nodes)} nodes, {self.parameter_count():,} parameters>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: the drawing where viz can make it, the printed IR beside it."""
        from graphc.ir.display import mimebundle

        return mimebundle(self)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Graph) and self.text() == other.text())

    def __hash__(self) -> int:
        return hash(self.text())

    def __copy__(self) -> Graph:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        from graphc.ir.parser import parse

        return (parse, (self.text(comments=True),))


def _checked_outputs(outputs: Mapping[str, Node]) -> dict[str, Node]:
    if isinstance(outputs, Node) or not isinstance(outputs, Mapping):
        raise GraphError(
            f"Graph takes a dict of named outputs, e.g. gx.Graph({{'logits': logits}}), "
            f"not a {type(outputs).__name__}"
        )
    if not outputs:
        raise GraphError("a graph needs at least one output: gx.Graph({'logits': logits})")
    for name, node in outputs.items():
        check_name(name, "an output")
        if not isinstance(node, Node):
            raise GraphError(
                f"output {name!r} is a {type(node).__name__}, not a node: nothing connects it to "
                "the graph. Call the layer on an input, or wrap an array with gx.constant"
            )
    return dict(outputs)


def _tracked(roots: Iterable[Node]) -> dict[Node, Node]:
    """The updates that the ``track`` nodes below ``roots`` ask for, composed in post-order."""
    updates: dict[Node, Node] = {}
    for node in post_order(roots):
        if node.op.tracks:
            leaf = node.inputs[1]
            with facts.derive(node):
                updates[leaf] = node.op.update(node, updates.get(leaf, leaf))
    return updates


def _count_steps(roots: Iterable[Node], updates: dict[Node, Node]) -> None:
    """Whatever reads ``step`` runs in steps: ``step`` ← ``step`` + 1."""
    if STEP not in updates and STEP in post_order([*roots, *updates.values()]):
        with facts.derive(STEP):
            updates[STEP] = OPERATORS["add"](STEP, 1)
