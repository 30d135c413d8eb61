"""Which nodes of two graphs are the same one: by identity, by what a pass says, by structure.

Nodes are interned, so a pass that leaves a part of a graph alone leaves the very objects. A node
that was built anew because an input changed is still the same node to a reader; passes note what
they made it from (``facts.source_of``). Two parsed graphs share nothing but their leaves' names:
there the structure decides, from the leaves upwards and from the outputs downwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir import facts
from graphc.ir.graph import Graph
from graphc.ir.leaves import SEED, Leaf, Parameter, State, Stream
from graphc.ir.node import Node
from graphc.ir.summary import numbers

_SWEEPS = 8  # each settles what the one before brought into reach; two are usual


def sources(node: Node) -> Iterator[Node]:
    """What passes made ``node`` from, the nearest first."""
    seen = {node}
    here = facts.source_of(node)
    while here is not None and here is not SEED and here not in seen:
        yield here
        seen.add(here)
        here = facts.source_of(here)


def match(a: Graph, b: Graph) -> dict[Node, Node]:
    """Node of ``b`` to the node of ``a`` that it is; what is missing is new in ``b``.

    Each node of ``a`` is taken once at most. A matched node may have other inputs, attributes or
    another type: that is what the edits say.

    >>> import graphc as gx
    >>> from graphc.viz.matching import match
    >>> x = gx.input("x", (2,))
    >>> a, b = gx.Graph({"y": gx.tanh(x)}), gx.Graph({"y": gx.tanh(gx.relu(x))})
    >>> [(n.op.name, match(a, b).get(n) is not None) for n in b.nodes]
    [('input', True), ('relu', False), ('tanh', True)]
    """
    return _Matcher(a, b).run()


class _Matcher:
    def __init__(self, a: Graph, b: Graph) -> None:
        self.a, self.b = a, b
        self.old = set(a.nodes)
        self.found: dict[Node, Node] = {}
        self.taken: set[Node] = set()
        self.numbers = frozenset(numbers(b))

    def pair(self, new: Node, old: Node) -> None:
        self.found[new] = old
        self.taken.add(old)

    def left(self) -> list[Node]:
        return [node for node in self.b.nodes if node not in self.found]

    def run(self) -> dict[Node, Node]:
        for node in self.b.nodes:
            if node in self.old:
                self.pair(node, node)
        made = self._made()
        self._leaves()
        self._equal()
        self._upwards(made, 0)
        for _ in range(_SWEEPS):
            before = len(self.found)
            self._upwards(made)
            self._downwards(made)
            self._equal()
            if len(self.found) == before:
                break
        return self.found

    def _made(self) -> set[Node]:
        """Pair what a pass rebuilt; returns the nodes known to be new: made from an old one,
        and not in its place."""
        known: set[Node] = set()
        for exact in (True, False):  # relu -> dropout(relu): the relu itself is preferred
            for node in self.left():
                if isinstance(node.op, Leaf):
                    continue
                for old in sources(node):
                    if old not in self.old:
                        continue
                    known.add(node)
                    same = old.op is node.op if exact else old.op.name == node.op.name
                    gradient = (facts.forward_of(node) is None) == (facts.forward_of(old) is None)
                    if same and gradient and old not in self.taken:
                        self.pair(node, old)
                    break
        return known - set(self.found)

    def _leaves(self) -> None:
        """Leaves are nominal: the same kind under the same name."""
        named = {
            (node.op.name, self.a.name(node)): node
            for node in self.a.nodes
            if isinstance(node.op, Leaf) and node not in self.taken
        }
        for node in self.left():
            if isinstance(node.op, Leaf):
                old = named.pop((node.op.name, self.b.name(node)), None)
                if old is not None:
                    self.pair(node, old)

    def _equal(self) -> None:
        """The same op on the same inputs, from the leaves upwards."""
        known: dict[tuple[object, tuple[Node, ...]], list[Node]] = {}
        for old in reversed(self.a.nodes):
            if old not in self.taken and not isinstance(old.op, Leaf):
                known.setdefault((old.op, old.inputs), []).append(old)
        for node in self.left():
            if isinstance(node.op, Leaf) or any(i not in self.found for i in node.inputs):
                continue
            equal = known.get((node.op, tuple(self.found[i] for i in node.inputs)))
            if equal:
                self.pair(node, equal.pop())

    def _upwards(self, made: set[Node], most: int = 2) -> None:
        """The same kind of op that reads the same value as the same operand; ``most``: how little
        that operand may tell."""
        for node in self.left():
            if node not in made and not isinstance(node.op, Leaf):
                old = next(self._readers(node, most), None)
                if old is not None:
                    self.pair(node, old)

    def _fits(self, new: Node, old: Node) -> bool:
        """Whether the two may be one: free, of one kind, and not on weights of different names."""
        return (
            old not in self.taken
            and new.op.name == old.op.name
            and all(
                self.found.get(x, y) is y and (x in self.found or y not in self.taken)
                for x, y in zip(new.inputs, old.inputs, strict=False)
                if _tells(x) == _tells(y) == 0
            )
        )

    def _readers(self, node: Node, most: int) -> Iterator[Node]:
        """Nodes of ``a`` that might be ``node``, the likeliest first."""
        operands = [
            (_tells(source), position, self.found[source])
            for position, source in enumerate(node.inputs)
            if source in self.found and source not in self.numbers and _tells(source) <= most
        ]
        for _, position, source in sorted(operands, key=lambda each: each[:2]):
            for user in self.a.users(source):
                if (
                    self._fits(node, user)
                    and len(user.inputs) > position
                    and user.inputs[position] is source
                ):
                    yield user

    def _downwards(self, made: set[Node]) -> None:
        """Operands of the same node, and outputs of the same name, if they are of one kind."""

        def offer(new: Node | None, old: Node | None) -> None:
            if (
                new is not None
                and old is not None
                and new not in self.found
                and new not in made
                and not isinstance(new.op, Leaf)
                and self._fits(new, old)
            ):
                self.pair(new, old)

        for name, new in self.b.outputs.items():
            offer(new, self.a.outputs.get(name))
        updates = self.a.updates
        for name, new in self.b.updates.items():
            offer(new, updates.get(name))
        for new in reversed(self.b.nodes):
            if new in self.found:
                for source, old in zip(new.inputs, self.found[new].inputs, strict=False):
                    offer(source, old)


def _tells(source: Node) -> int:
    """How much an operand says about who reads it: a weight most, a rate least."""
    if isinstance(source.op, (Parameter, State, Stream)):
        return 0
    return 2 if isinstance(source.op, Leaf) else 1
