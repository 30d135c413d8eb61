"""Random graphs through random lists of passes keep their values; a failure is shrunk first."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes
from graphc.ir import Node
from graphc.ir.node import make
from tests.random_graphs import sample
from tests.shrinking import Array, Case, Failure, Step, shrink

GRAPHS = 60
SOAK, SOAK_BLOCK = range(20), 50
FIRST, FIRST_OF_SOAK = 5000, 10_000
LIMIT, FLOOR = 1e-9, 1e-2
# What a pass may refuse: another took the op that dropout was to follow; nothing works example by
# example, or the gradients need the whole batch at once.
REFUSALS = (
    "accumulate: passes.checkpoint() has gone through this graph",
    "insert_dropout found no", "shard found nothing", "shard(2) found nothing",
    "shard(3) found nothing", "shard cuts a symbolic", "accumulate: the gradients need",
    "accumulate orders the",
)  # fmt: skip
# Their laws say that a second run changes nothing.
IDEMPOTENT = {
    "inference", "simplify", "fold_batch_norm", "unshare", "share", "checkpoint", "shard",
    "accumulate",
}  # fmt: skip


def draw(seed: int) -> Case:
    """A random graph and passes in an order that a person could have written."""
    drawn, pick = sample(seed), random.Random(seed)
    graph = normalized(drawn.graph) if seed % 2 else drawn.graph
    ops = sorted({n.op.name for n in graph.nodes if n.inputs and n.dtype.kind == "f"})

    def some(chance: float, *steps: Step) -> list[Step]:
        return [step for step in steps if pick.random() < chance]

    roles = pick.sample(["weight", "bias", "scale", "shift"], pick.randint(1, 4))
    before = some(
        0.4,
        passes.simplify(),
        passes.insert_dropout(
            retain=pick.choice([0.5, 0.8, 1.0]),
            after=pick.choice(ops),
            scaling=pick.choice(["train", "test"]),
        ),
        passes.weight_decay(pick.choice([0.0, 0.1]), roles=roles),
        passes.weight_decay(0.2),
        passes.unshare(unroll=pick.choice([0, 0, 60])),
        passes.fold_batch_norm(),
    )
    before += some(0.1, passes.inference())
    pick.shuffle(before)
    # The batch is then a multiple of the pieces; every other size decides whether a window fits.
    pieces, sizes = pick.choice([2, 3]), drawn.runs[seed % 2]
    cut = pick.random() < 0.3
    if cut and "N" in sizes:
        before.append(passes.shard(pieces))
        sizes = sizes | {"N": sizes["N"] * pieces}
    if not graph.parameters:
        return Case(graph, tuple(before), sizes, seed)
    between = some(0.4, passes.checkpoint(pick.choice([None, 2, 3])), passes.simplify())
    between += [passes.accumulate()] if cut and pick.random() < 0.7 else []
    pick.shuffle(between)
    if any(step.name == "unshare" for step in before if isinstance(step, passes.Pass)):
        between.insert(pick.randint(0, len(between)), passes.share())
    between += some(0.3, passes.clip_gradients(pick.choice([0.01, 1.0])))
    optimizer: list[passes.Pass] = [
        passes.sgd(lr="lr", momentum=pick.choice([0.0, 0.9]), keep_gradients=True),
        passes.adam(lr=0.01),
        passes.adamw(lr="lr", weight_decay=0.1),
        passes.rmsprop(lr=0.1, momentum=0.5),
    ]
    after = some(0.4, passes.simplify(), passes.inference(), passes.simplify())
    steps: list[Step] = [
        *before,
        passes.backward(),
        *between,
        *some(0.7, pick.choice(optimizer)),
        *after,
    ]
    return Case(graph, tuple(steps), sizes, seed)


def normalized(graph: gx.Graph) -> gx.Graph:
    """A normalization by parameters, for each number of channels the same, behind convolutions."""
    known: dict[int, list[Node]] = {}

    def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
        if old.op.name != "conv2d":
            return None
        count = old.type.shape[1]
        assert isinstance(count, int)
        if count not in known:
            names = [f"norm_{count}.{what}" for what in ("scale", "shift", "mean", "spread")]
            known[count] = [gx.parameter(name, (count,), dtype=old.dtype) for name in names]
        scale, shift, mean, spread = known[count]
        y = make(old.op, *inputs)
        return gx.batch_norm(y, scale, shift, mean, gx.square(spread) + 0.5)

    return graph.rewrite(replace)


# -- judging --------------------------------------------------------------------------------------


def values(case: Case, graph: gx.Graph) -> dict[str, Array]:
    """Outputs and updates, by the interpreter."""
    variables = case.variables(graph)
    outputs, after = gx.interpret(graph, variables, True, case.inputs(graph))
    return outputs | {f"update of {name}": after[name] for name in graph.updates}


def error(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if found.size == 0:
        return 0.0
    was, now = wanted.astype(np.float64), found.astype(np.float64)
    same = (was == now) | (np.isnan(was) & np.isnan(now))
    gap = float(np.where(same, 0.0, np.abs(np.where(same, 0.0, was) - now)).max())
    largest = float(np.abs(was[np.isfinite(was)]).max(initial=FLOOR))
    return float("inf") if np.isnan(gap) else gap / largest


def fails(case: Case, count: Counter[str] | None = None) -> Failure | None:
    """What is wrong with the passes on the graph, if anything is; counts those that did a thing."""
    graph = case.graph
    try:
        before = values(case, graph)
    except gx.GraphError:
        return None  # no graph to judge by: only a shrunk one can be like this
    for step in case.steps:
        name = getattr(step, "name", "pass")
        try:
            after = graph.apply(step)
            found = values(case, after)
            if name in IDEMPOTENT and after.apply(step) != after:
                return Failure(name, "again", f"{step!r} changes its own result:\n{after}")
            if gx.parse(str(after)) != after:
                return Failure(name, "text", f"not the graph that its text is:\n{after}")
        except Exception as problem:  # whatever else it is, it is a finding
            if str(problem).startswith(REFUSALS):
                continue
            kind = f"{type(problem).__name__} {str(problem).split(':')[0][:40]}"
            return Failure(name, kind, "".join(traceback.format_exception(problem)[-3:]))
        changes = getattr(step, "changes", ())
        for what in before.keys() & found.keys():
            if any(fnmatchcase(what, glob) for glob in changes):
                continue
            off = error(found[what], before[what])
            if off > LIMIT:
                return Failure(name, "value", f"{step!r} changed {what} by {off:.2g}:\n{after}")
        if count is not None:
            count[name] += after != graph
        graph, before = after, found
    return None


def report(case: Case, count: Counter[str] | None = None) -> str | None:
    """The failure of ``case``, shrunk, in words; None where there is none."""
    if fails(case, count) is None:
        return None
    small = shrink(case, fails)
    failure = fails(small)
    assert failure is not None
    return (
        f"seed {case.seed}, pass {failure.name}, {failure.kind}\n{small.text()}\n{failure.detail}"
    )


def test_random_lists_of_passes_keep_the_values() -> None:
    changed: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + GRAPHS):
        found = report(draw(seed), changed)
        assert found is None, found
    every = {"backward", "adam", "adamw", "sgd", "rmsprop", "clip_gradients", "weight_decay"}
    every |= {"simplify", "unshare", "share", "checkpoint", "insert_dropout", "inference"}
    every |= {"fold_batch_norm", "shard", "accumulate"}
    assert not {name for name in every if changed[name] < 2}, changed


@pytest.mark.slow
@pytest.mark.parametrize("block", SOAK)
def test_a_thousand_random_lists_of_passes_keep_the_values(block: int) -> None:
    start = FIRST_OF_SOAK + SOAK_BLOCK * block
    for seed in range(start, start + SOAK_BLOCK):
        found = report(draw(seed))
        assert found is None, found


# -- the shrinking itself -------------------------------------------------------------------------


@passes.define
def faulty(graph: gx.Graph) -> gx.Graph:
    """abs(x) -> x, which is wrong for negative x."""

    def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
        return inputs[0] if old.op.name == "abs" else None

    return graph.rewrite(replace)


@passes.define
def broken(graph: gx.Graph) -> gx.Graph:
    """tanh -> an exception, where there are two."""
    if sum(node.op.name == "tanh" for node in graph.nodes) > 1:
        raise RuntimeError("two of them: more than I can count")
    return graph


@pytest.mark.parametrize(("wrong", "most"), [(faulty, 2), (broken, 8)])
def test_a_failure_is_shrunk_to_a_few_nodes_and_one_pass(wrong: Any, most: int) -> None:
    shrunk = 0
    for seed in range(FIRST, FIRST + 40):
        case = draw(seed)
        steps = (passes.simplify(), passes.weight_decay(0.1), wrong, passes.backward())
        case = Case(case.graph, steps, case.sizes, seed)
        if len(case.graph.nodes) < 20 or (first := fails(case)) is None or first.name != wrong.name:
            continue
        small = shrink(case, fails)
        assert small.steps == (wrong,)
        assert len(small.graph.nodes) <= most, small.text()
        text = report(small)  # nothing more to shrink
        assert text is not None
        assert f"pass {wrong.name}" in text
        assert str(small.graph).split("{")[0] in text
        shrunk += 1
        if shrunk == 2:
            break
    assert shrunk == 2
