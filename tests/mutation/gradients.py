"""Wrong gradient rules, drawn from the source of the ops: does gx.gradient_check find them?

Each mutant of a rule is injected at one node of a graph that uses the rule (the graphs are the rows
of ``tests/ops``, and their own gradients), and ``gx.gradient_check`` has to name that node and no
other. ``python -m tests.mutation`` tries them all and writes docs/mutants.md.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np

import graphc as gx
import graphc.ops
from graphc import passes
from graphc.analysis.double import values
from graphc.ir import Node
from graphc.ir.graph import post_order
from graphc.ir.op import OPS, Op
from tests.mutation.draw import Mutant, mutants
from tests.ops.harness import Row, all_rows, case, variables

RULES = ("grad", "slope", "slopes")
TRIES = 24  # graphs, for each op that has the rule, that a mutant is tried on before it lives
SAME = 1e-9  # gradients that differ by less, relative to the largest, are equal

# What became of a mutant. "found": at its node and only there; "refused": the rule builds no graph,
# and the error names its op; "same": it builds the same nodes on every graph; "equal": other nodes
# with the same values; "survived": other values, not found; "misplaced": found elsewhere.
Fate = Literal["found", "refused", "same", "equal", "survived", "misplaced"]


def rules() -> list[Mutant]:
    """All mutants of all gradient rules."""
    names = [module.name for module in pkgutil.iter_modules(graphc.ops.__path__)]
    modules = [importlib.import_module(f"graphc.ops.{name}") for name in sorted(names)]
    return [
        mutant
        for module in modules
        for mutant in mutants(module, lambda where: where.partition(".")[2] in RULES)
    ]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; ``where``: the graph that decided it."""

    mutant: Mutant
    fate: Fate
    where: str = ""
    said: str = ""


class Scene:
    """A graph with a loss, inputs for it, and its right gradients.

    Every floating-point input has a second use besides the op's, so that a rule that gives nothing
    leaves a gradient that is wrong, not one that is missing.
    """

    def __init__(self, name: str, loss: Node, given: dict[str, Any], tried: Sequence[Node]) -> None:
        self.name, self.tried = name, tried
        leaves = list(gx.Graph({"loss": loss}).inputs.values())
        squares = [gx.sum(gx.square(x)) for x in leaves if x.dtype.kind == "f"]
        for square in squares:
            loss = loss + gx.cast(square, loss.dtype.name)
        self.graph = gx.Graph({"loss": loss})
        self.inputs = {
            name: np.asarray(given[name]).astype(node.dtype)
            for name, node in self.graph.inputs.items()
        }
        self.wrt = [name for name, node in self.graph.inputs.items() if node.dtype.kind == "f"]

    def differentiated(self) -> gx.Graph:
        return self.graph.apply(passes.backward("loss", wrt=self.wrt))

    @cached_property
    def right(self) -> gx.Graph:
        return self.differentiated()

    @cached_property
    def answers(self) -> dict[str, Any]:
        return self.gradients(self.right)

    def gradients(self, graph: gx.Graph) -> dict[str, Any]:
        """The values of the gradients, in float64."""
        sizes = self.sizes
        found = values(graph, graph.outputs.values(), variables(graph), self.inputs, sizes)
        return {name: found[node] for name, node in graph.outputs.items()}

    @cached_property
    def sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name, node in self.graph.inputs.items():
            for said, actual in zip(node.shape, self.inputs[name].shape, strict=True):
                if not isinstance(said, int):
                    sizes[str(said)] = actual
        return sizes

    @cached_property
    def victims(self) -> list[Node]:
        """The nodes whose rule was asked, without those that make the loss of what is tried."""
        below = post_order(self.tried)
        return [node for node in below if node.inputs and node in self.right.gradients]


def scenes() -> Iterator[Scene]:
    """A scene for each row; then, for the rules of the gradients' own ops, one of its gradients."""
    for row in all_rows():
        if row.grad:
            with suppress(gx.GraphError):  # a row that does not build fails in its own test
                yield forward(row)
    for row in all_rows():
        if row.grad and row.second:
            with suppress(gx.GraphError):
                yield backward(row)


@cache
def forward(row: Row) -> Scene:
    """Σ y · projection."""
    one = case(row, row.dtypes[0])
    sample = row.samples[-1]
    projection = gx.input("projection", one.y.shape, dtype=one.y.dtype.name)
    given = {f"x{i}": operand for i, operand in enumerate(sample.operands)}
    given["projection"] = _random(row, one.y.type.concrete(sample.sizes))
    return Scene(row.name, gx.sum(one.y * projection), given, [one.y])


@cache
def backward(row: Row) -> Scene:
    """Σ (gradient of x) · direction."""
    before = forward(row)
    terms, tried, given = [], [], dict(before.inputs)
    for name, gradient in before.right.outputs.items():
        if name.startswith("grad/x"):
            direction = f"direction/{name.removeprefix('grad/')}"
            of = gx.input(direction, gradient.shape, dtype=gradient.dtype.name)
            terms.append(gx.sum(gradient * of))
            tried.append(gradient)
            given[direction] = _random(row, gradient.type.concrete(before.sizes))
    return Scene(f"{row.name}, its gradient", gx.grad_sum(*terms), given, tried)


def _random(row: Row, shape: Sequence[int]) -> Any:
    """Numbers of either sign, none of them small."""
    rng = np.random.default_rng(len(row.name))
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


@cache
def stages() -> dict[Callable[..., Any], list[tuple[Scene, Node]]]:
    """Rule to the nodes that it answers for: of each op one in a scene, until it has enough."""
    wanted = {(rule, name): TRIES for name, op in OPS.items() for rule in _asked(op)}
    found: dict[Callable[..., Any], list[tuple[Scene, Node]]] = {}
    for scene in scenes():
        last = {node.op.name: node for node in scene.victims}
        for name, node in last.items():
            for rule in _asked(type(node.op)):
                if wanted[rule, name]:
                    wanted[rule, name] -= 1
                    found.setdefault(rule, []).append((scene, node))
    return found


def _asked(op: type[Op]) -> Iterator[Callable[..., Any]]:
    """The functions that make up an op's gradient rule."""
    for name in RULES:
        if hasattr(op, name):
            yield getattr(op, name)


def judge(mutant: Mutant) -> Verdict:
    """Inject it at one node of graph after graph, until it is found (or refused)."""
    owner, _, name = mutant.where.partition(".")
    rule = vars(getattr(mutant.module, owner))[name]
    fates: dict[Fate, Verdict] = {}
    for scene, victim in stages().get(rule, []):
        verdict = _try(mutant, rule, scene, victim)
        fates.setdefault(verdict.fate, verdict)
        if verdict.fate in ("found", "misplaced"):
            break
    order: tuple[Fate, ...] = ("misplaced", "found", "survived", "refused", "equal")
    return next((fates[fate] for fate in order if fate in fates), Verdict(mutant, "same"))


def _try(mutant: Mutant, rule: Callable[..., Any], scene: Scene, victim: Node) -> Verdict:
    right, answers = scene.right, scene.answers  # before the rule is changed
    try:
        with injected(mutant, rule, victim):
            wrong = scene.differentiated()
    except gx.GraphError as error:
        named = victim in error.nodes
        return Verdict(mutant, "refused" if named else "misplaced", scene.name, str(error))
    if all(wrong.outputs[name] is node for name, node in right.outputs.items()):
        return Verdict(mutant, "same", scene.name)
    try:
        check = gx.gradient_check(wrong, variables(wrong), inputs=scene.inputs)
    except gx.GraphError as error:  # a value that does not exist, such as an index out of range
        named = any(node in _made_by(wrong, victim) for node in error.nodes)
        return Verdict(mutant, "refused" if named else "misplaced", scene.name, str(error))
    blamed = [each.node for each in check.wrong]
    if blamed == [victim]:
        return Verdict(mutant, "found", scene.name)
    if blamed:
        return Verdict(mutant, "misplaced", scene.name, str(check))
    found = scene.gradients(wrong)
    same = all(_equal(found[name], value) for name, value in answers.items())
    return Verdict(mutant, "equal" if same else "survived", scene.name)


def _made_by(graph: gx.Graph, node: Node) -> set[Node]:
    """What the node's rule added to the graph, as far as nothing else is made of it."""
    forward = set(post_order([graph.outputs["loss"]]))
    parts = [graph.gradients[source] for source in node.inputs if source in graph.gradients]
    return set(post_order(parts)) - forward


def _equal(found: Any, right: Any) -> bool:
    if found.shape != right.shape:
        return False
    limit = SAME * max(1e-300, float(np.max(np.abs(right), initial=0.0)))
    return bool(np.allclose(found, right, rtol=0, atol=limit, equal_nan=True))


@contextmanager
def injected(mutant: Mutant, rule: Callable[..., Any], victim: Node) -> Iterator[None]:
    """Within this the rule is wrong, at one node."""
    owner, _, name = mutant.where.partition(".")
    base, op = getattr(mutant.module, owner), type(victim.op)
    changed, whole = mutant.function(), op.grad

    def grad(self: Op, node: Node, gradient: Node) -> Sequence[Node | None]:
        if node is not victim:
            return whole(self, node, gradient)
        if rule is whole:
            answers: Sequence[Node | None] = changed(self, node, gradient)
            return answers
        setattr(base, name, changed)
        try:
            return whole(self, node, gradient)
        finally:
            setattr(base, name, rule)

    own = "grad" in vars(op)
    op.grad = grad  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own:
            op.grad = whole  # type: ignore[method-assign]
        else:
            del op.grad
