"""Every gradient rule that a graph used, against finite differences: which one is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphc.analysis.double import evaluate, values
from graphc.analysis.table import table
from graphc.compiler.binding import Array, Sizes, bind_inputs, bind_variables, gather
from graphc.ir import Graph, GraphError, Node, facts
from graphc.ir.graph import post_order
from graphc.ir.leaves import Input, Leaf, Parameter
from graphc.ir.node import describe
from graphc.ir.types import is_float
from graphc.passes.backward import differentiate
from graphc.passes.edges import is_edge

# A step relative to each element: the truncation of a central difference is its square, the
# rounding of float64 is 1e-16 over it.
STEP = 1e-5
# One-sided differences that differ by more than this have a kink (of a ReLU, a maximum) between.
KINK = 1e-3
# How far elements near 0 move, relative to the typical one: first visibly, then hardly, so that
# ties at 0 (max-pooling after a ReLU), where any slope is right, leave the others to be judged.
LEAST = (1e-2, 1e-6)


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """One node's gradient rule: ``error`` is the worst of its inputs'.

    ``operand``: which input that is; ``numeric`` and ``symbolic``: the two derivatives of the
    target along a random direction of that input, through this node alone; ``line``: the user's.
    """

    node: Node
    name: str
    error: float
    operand: str
    numeric: float
    symbolic: float

    @property
    def line(self) -> str:
        """Where the user wrote it; empty where that is not known."""
        return self.node.lines[0] if self.node.lines else ""


@dataclass(frozen=True)
class GradientCheck:
    """What ``gx.gradient_check`` found; printed, a table, the worst first.

    Attributes: ``nodes`` (a ``NodeCheck`` a node, the worst first), ``tolerance``, ``graph`` (the
    one with the gradients), ``leaves`` (errors of the whole gradients of parameters and inputs).
    ``worst`` is the first node, ``wrong`` are those beyond the tolerance, ``errors`` is node to
    error and ``overlay()`` what to colour a drawing by; true where nothing is wrong.
    """

    nodes: tuple[NodeCheck, ...]
    tolerance: float
    graph: Graph
    _check: _Check = field(compare=False)

    @cached_property
    def leaves(self) -> dict[str, float]:
        """Name of a parameter or input to the error of its whole gradient.

        Run from end to end when first asked for, three times for each leaf. In a large net many
        kinks lie within a step, and errors of a hundredth say nothing. Left out are those that
        have edges (``passes.unshare``).
        """
        return self._check.leaves()

    @property
    def worst(self) -> NodeCheck:
        """The node whose rule is furthest off."""
        return self.nodes[0]

    @property
    def wrong(self) -> tuple[NodeCheck, ...]:
        """The nodes whose rule is off by more than the tolerance."""
        return tuple(each for each in self.nodes if not each.error <= self.tolerance)

    @property
    def errors(self) -> dict[Node, float]:
        """Node to error."""
        return {each.node: each.error for each in self.nodes}

    def overlay(self) -> dict[Node, float]:
        """Each node that was checked, in ``.nodes`` order, to how red to draw it, in [0, 1].

        0 for a rule that is right. One that is wrong has 1/4 at least, to be seen at all, and 1
        from where nothing of the gradient is right (a relative error of 1, or NaN); by the
        logarithm of the error between them.
        """
        redness = {each.node: self._redness(each.error) for each in self.nodes}
        return {node: redness[node] for node in self.graph.nodes if node in redness}

    def _redness(self, error: float) -> float:
        if error <= self.tolerance:
            return 0.0
        if not error < 1 or self.tolerance <= 0:
            return 1.0
        return 0.25 + 0.75 * (1 - math.log(error) / math.log(self.tolerance))

    def __bool__(self) -> bool:
        return not self.wrong

    def __iter__(self) -> Iterator[NodeCheck]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        wrong = set(self.wrong)
        rows = [
            (
                "WRONG" if e in wrong else "",
                e.name,
                e.operand,
                e.error,
                e.numeric,
                e.symbolic,
                e.line,
            )
            for e in self.nodes
        ]
        head = ("", "node", "input", "error", "numeric", "symbolic", "line")
        return table(head, rows)

    __repr__ = __str__


def gradient_check(
    graph: Graph,
    variables: Mapping[str, Any],
    /,
    *,
    tolerance: float = 1e-6,
    seed: int = 0,
    inputs: Mapping[str, Any] | None = None,
    **named: Any,
) -> GradientCheck:
    """Compare each node's gradient with finite differences, in float64; the worst first.

    graph: with gradients (``passes.backward``), or with an output ``objective`` or ``loss``, which
    is then differentiated by all parameters and floating-point inputs. variables, inputs (or
    keywords): as ``gx.interpret`` takes them. tolerance: the relative error from which on a rule
    counts as wrong. seed: of the random directions.

    Each node is checked by itself: from the gradient that the graph gives its result, the gradient
    that it hands to each input, numerically (the input moved along a random direction) and as the
    graph has it. So a wrong rule shows at its own node and nowhere else, although everything below
    it gets wrong gradients. ``leaves`` compares from end to end too. At a kink (a ReLU at 0) any
    slope between the two sides is right.

    Raises GraphError where nothing is differentiated, and what ``gx.interpret`` raises.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> graph = gx.Graph({"loss": gx.sum(gx.tanh(x) * x)})
    >>> found = gx.gradient_check(graph, {}, x=[0.5, -1.0, 2.0])
    >>> bool(found), sorted(each.name for each in found), max(found.leaves.values()) < 1e-6
    (True, ['mul', 'sum', 'tanh'], True)
    """
    with_gradients, asked = (graph, []) if graph.gradients else _differentiated(graph)
    arrays, sizes = bind_inputs(graph, gather(inputs, named))
    held = bind_variables(with_gradients, variables, writable=False)
    check = _Check(with_gradients, asked, held, arrays, sizes, np.random.default_rng(seed))
    with np.errstate(all="ignore"):
        return check.run(tolerance)


def _differentiated(graph: Graph) -> tuple[Graph, Sequence[Node]]:
    """The graph with gradients, and the leaves that should have one."""
    outputs = (graph.outputs.get(name) for name in ("objective", "loss"))
    target = next((node for node in outputs if node is not None), None)
    if target is None:
        raise GraphError(
            "gradient_check needs a graph with gradients, or an output called 'objective' or "
            "'loss'\n  to fix: gx.gradient_check(graph.apply(passes.backward('…')), …)"
        )
    below = post_order([target])
    leaves = [
        node for node in below if isinstance(node.op, (Parameter, Input)) and is_float(node.dtype)
    ]
    if not leaves:
        raise GraphError(
            f"gradient_check: {describe(target)} depends on no parameter and no floating-point "
            "input",
            nodes=[target],
        )
    # Not by the pass: it refuses a leaf without a gradient, and whether that is a fault (or only a
    # comparison reads it) is for the check to say.
    gradients = differentiate(graph, target, below, leaves)
    found = {f"grad/{graph.name(leaf)}": gradients[leaf] for leaf in leaves if leaf in gradients}
    return graph.rebuild({**graph.outputs, **found}, gradients=gradients), leaves


# (error, numeric, symbolic)
_Found: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class _Edge:
    """``user`` reads ``source`` as its input number ``position``."""

    user: Node
    position: int
    source: Node


class _Check:
    def __init__(
        self,
        graph: Graph,
        asked: Sequence[Node],
        variables: Mapping[str, Array],
        inputs: Mapping[str, Array],
        sizes: Sizes,
        random: np.random.Generator,
    ) -> None:
        self.graph, self.sizes, self.random = graph, sizes, random
        self.variables, self.inputs = variables, inputs
        self.gradients = graph.gradients
        roots = [*self.gradients, *self.gradients.values()]
        self.values = values(graph, roots, variables, inputs, sizes)
        self.edges: dict[Node, list[_Edge]] = {source: [] for source in self.gradients}
        # What depends on a leaf that has a gradient has one too, or its users say it has none.
        on_way = {n for n in self.gradients if isinstance(n.op, Leaf)}.union(asked)
        variable = {n for n in graph.nodes if isinstance(n.op, (Input, Parameter))}
        for node in graph.nodes:
            if any(source in variable for source in node.inputs):
                variable.add(node)
            if is_float(node.dtype) and any(source in on_way for source in node.inputs):
                on_way.add(node)
        on_way.intersection_update(self.values)
        self.edges.update((node, []) for node in graph.nodes if node in on_way)
        for user in graph.nodes:
            # The gradient of an edge stays there: share() sums it into its parameter's.
            if user in self.gradients and not is_edge(user):
                for position, source in enumerate(user.inputs):
                    edge = _Edge(user, position, source)
                    # Of what was not asked for nothing is known, but that a rule gives it nothing.
                    if source in self.edges or (
                        source in variable and is_float(source.dtype) and self._silent(edge)
                    ):
                        self.edges.setdefault(source, []).append(edge)

    def _silent(self, edge: _Edge) -> bool:
        """Whether the rule gives this input no gradient."""
        with facts.derive(edge.user, gradient=True):
            answers = edge.user.op.grad(edge.user, self.gradients[edge.user])
        return answers[edge.position] is None

    def run(self, tolerance: float) -> GradientCheck:
        worst: dict[Node, NodeCheck] = {}
        for source, edges in self.edges.items():
            for group, (error, numeric, symbolic) in self._compared(source, edges, tolerance):
                for edge in group:
                    node = edge.user
                    if node not in worst or _rank(error) > _rank(worst[node].error):
                        name, operand = self.graph.name(node), node.op.operand(edge.position)
                        worst[node] = NodeCheck(node, name, error, operand, numeric, symbolic)
        if not worst:
            raise GraphError("gradient_check: no gradient flows through any op of this graph")
        order = {node: i for i, node in enumerate(self.graph.nodes)}
        ranked = sorted(worst.values(), key=lambda e: (-_rank(e.error), order[e.node]))
        return GradientCheck(tuple(ranked), tolerance, self.graph, self)

    # -- one node -----------------------------------------------------------------------------

    def _compared(
        self, source: Node, edges: Sequence[_Edge], tolerance: float
    ) -> Iterator[tuple[Sequence[_Edge], _Found]]:
        """What goes by each edge of ``source`` against the part of its gradient that came by it."""
        gradient = self.gradients.get(source)
        if gradient is None:
            parts: tuple[Node, ...] = ()
        else:
            parts = gradient.inputs if gradient.op.name == "grad_sum" else (gradient,)
        if len(parts) == len(edges):
            for edge, part in zip(edges, parts, strict=True):
                yield [edge], self._compare([edge], part)
        elif edges and len(parts) < len(edges):
            alone = self._aligned(edges, parts, tolerance)
            if all(found[0] <= tolerance for found in alone):
                yield from (([edge], found) for edge, found in zip(edges, alone, strict=True))
                return
            # Did a pass melt the parts together? Then the whole is right.
            whole = self._compare(edges, gradient)
            if whole[0] <= tolerance:
                yield edges, whole
            else:
                yield from (([edge], found) for edge, found in zip(edges, alone, strict=True))
        elif edges:  # else the target itself, or a leaf that only edges read
            yield edges, self._compare(edges, gradient)

    def _aligned(
        self, edges: Sequence[_Edge], parts: Sequence[Node], tolerance: float
    ) -> list[_Found]:
        """Some of the rules gave this source nothing. Which ones? The parts stand in the order of
        their edges: leave out those edges for which the fewest rules are wrong."""
        skipped = len(edges) - len(parts)
        # Of the first edges with so many left out: how wrong, and what was found at each of them.
        best: dict[int, tuple[tuple[int, float], list[_Found]]] = {0: ((0, 0.0), [])}
        for number, edge in enumerate(edges):
            ways: dict[int, list[tuple[tuple[int, float], list[_Found]]]] = {}
            silent = self._compare([edge], None)
            for left_out, way in best.items():
                if left_out < skipped:
                    ways.setdefault(left_out + 1, []).append(_longer(way, silent, tolerance))
                if number - left_out < len(parts):
                    spoken = self._compare([edge], parts[number - left_out])
                    ways.setdefault(left_out, []).append(_longer(way, spoken, tolerance))
            best = {left_out: min(some, key=lambda w: w[0]) for left_out, some in ways.items()}
        return best[skipped][1]

    def _compare(self, group: Sequence[_Edge], term: Node | None) -> _Found:
        """What goes by these edges against ``term`` (None: nothing), the worst way."""
        here = self.values[group[0].source]
        flowing = (np.abs(w * self.values[e.user]) for e, w in self._weighed(group))
        size = sum(float(part[np.isfinite(part)].sum()) for part in flowing)
        worst = (-1.0, 0.0, 0.0)
        for least in LEAST:
            direction = self._direction(here, least)
            found = self._along(group, term, direction, size)
            if not found[0] <= KINK and self._jumps(group, direction):
                # At a jump (a sign at 0) no slope is right: only what stands beside it is judged.
                found = self._along(group, term, np.where(here == 0, 0.0, direction), size)
            worst = max(worst, found, key=lambda each: _rank(each[0]))
        return worst

    def _along(
        self, group: Sequence[_Edge], term: Node | None, direction: Array, size: float
    ) -> _Found:
        """The error along one direction. Where nothing moves nothing is asked of ``term``."""
        below = self._through(group, direction * -STEP)
        above = self._through(group, direction * STEP)
        slope = 0.0 if term is None else np.where(direction, self.values[term] * direction, 0.0)
        return _error(below, above, slope, size)

    def _jumps(self, group: Sequence[_Edge], direction: Array) -> bool:
        """Whether a value changes as much by half a step as by a whole one."""
        for step in (STEP, -STEP):
            whole, half = (self._through(group, direction * s) for s in (step, step / 2))
            if np.any((whole != 0) & (np.abs(whole - half) < 0.1 * np.abs(whole))):
                return True
        return False

    def _through(self, group: Sequence[_Edge], moved: Array) -> Array:
        """Gradient · change of each element of the users, when their input is moved."""
        changes = []
        for edge, weight in self._weighed(group):
            arrays = [self.values[i] for i in edge.user.inputs]
            arrays[edge.position] = arrays[edge.position] + moved
            before, after = self.values[edge.user], evaluate(edge.user, self.sizes, arrays)
            # An infinity that stays changes nothing.
            changes.append((weight * np.where(after == before, 0.0, after - before)).ravel())
        return np.concatenate(changes)

    def _weighed(self, group: Sequence[_Edge]) -> Iterator[tuple[_Edge, Array]]:
        for edge in group:
            yield edge, self.values[self.gradients[edge.user]]

    def _direction(self, value: Array, least: float) -> Array:
        """A random direction, each element as large as the value it moves, or ``least`` times the
        typical one; 0 for infinities, which nothing moves (a mask's)."""
        finite = np.isfinite(value)
        typical = float(np.sqrt(np.mean(np.square(value[finite])))) if finite.any() else 0.0
        scale = np.maximum(np.abs(value), least * typical) if typical > 0 else 1.0
        return np.asarray(np.where(finite, self.random.normal(size=value.shape) * scale, 0.0))

    # -- from end to end ----------------------------------------------------------------------

    def leaves(self) -> dict[str, float]:
        """The errors of the leaves' gradients, by name."""
        return {
            self.graph.name(node): self._end_to_end(node)
            for node in self.gradients
            if isinstance(node.op, Leaf)
            and not any(is_edge(user) for user in self.graph.users(node))
        }

    def _end_to_end(self, leaf: Node) -> float:
        """The error of the whole gradient of a leaf, along one direction."""
        target = next(n for n in self.gradients if self._is_target(n))
        name, here = self.graph.name(leaf), self.values[leaf]
        direction = self._direction(here, LEAST[0])

        def run(step: float) -> Array:
            moved = {name: here + direction * step}
            variables, inputs = {**self.variables, **moved}, {**self.inputs, **moved}
            found = values(self.graph, [target], variables, inputs, self.sizes)[target]
            return np.asarray(found - self.values[target]).reshape(1)

        slope = self.values[self.gradients[leaf]] * direction
        return _error(run(-STEP), run(STEP), slope, abs(float(self.values[target])))[0]

    def _is_target(self, node: Node) -> bool:
        return node.shape == () and not any(u in self.gradients for u in self.graph.users(node))


def _longer(
    way: tuple[tuple[int, float], list[_Found]], found: _Found, tolerance: float
) -> tuple[tuple[int, float], list[_Found]]:
    """``way`` and one edge more: how many rules are wrong on it, and by how much."""
    (wrong, error), before = way
    here = min(_rank(found[0]), 1.0)
    return (wrong + (not found[0] <= tolerance), error + here), [*before, found]


def _error(below: Array, above: Array, slope: Array | float, size: float) -> _Found:
    """The error from what changes at -STEP and at STEP, element by element.

    slope: the symbolic derivative, element by element of the input; size: of what was changed.
    """
    left, right = -below / STEP, above / STEP
    middle = (left + right) / 2
    # Of an element with a kink between, every slope from the one side's to the other's is right.
    kinked = np.abs(right - left) > KINK * np.maximum(np.abs(left), np.abs(right))
    low = float(np.where(kinked, np.minimum(left, right), middle).sum())
    high = float(np.where(kinked, np.maximum(left, right), middle).sum())
    symbolic, norm = float(np.sum(slope)), float(np.linalg.norm(slope))
    numeric = min(max(symbolic, low), high)
    # What rounding alone makes of a difference must not count.
    scale = max(abs(numeric), abs(symbolic), norm, 1e-4 * size, 1e-300)
    return abs(symbolic - numeric) / scale, numeric, symbolic


def _rank(error: float) -> float:
    """To compare errors by: NaN is the worst."""
    return float("inf") if error != error else error
