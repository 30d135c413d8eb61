"""Random graphs: printed and parsed back, compiled against the interpreter, differentiated."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes
from graphc.ir.op import OPS
from tests.random_graphs import Sample, sample

Array = np.ndarray[Any, np.dtype[Any]]

PRINTED = range(200)
COMPILED = range(200, 240)
COMPILED_IN_FLOAT32 = range(240, 255)
DIFFERENTIATED = range(300, 330)
SOAK = range(1000, 2000)
# Error as the design has it: max|a - b| / max|oracle|; gradients that are 0 but for rounding count
# against a hundredth.
LIMITS = {"float64": 1e-12, "float32": 1e-5}
SMALL = 1e-2
# Ops that only gradients and passes make: they come in with `backward`.
MADE_BY_PASSES = {
    "avg_pool2d_input_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "edge",
    "eq",
    "gather_grad",
    "max_pool2d_scatter",
    "max_pool2d_take",
}


@cache
def training(seed: int, dtype: str = "float64") -> tuple[Sample, gx.Graph]:
    """A random graph, and the same with gradients and updates (where it has parameters)."""
    drawn = sample(seed, dtype)
    if not drawn.graph.parameters:
        return drawn, drawn.graph
    step = passes.sgd(lr="lr", momentum=0.9, keep_gradients=True)
    return drawn, drawn.graph.apply(passes.backward(), step)


def error(found: Array, wanted: Array) -> float:
    """max|found - wanted| / max|wanted|; infinite where the types differ."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if found.dtype.kind != "f":
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    largest = max(float(np.abs(wanted).max()), SMALL)
    return float(np.abs(found.astype(np.float64) - wanted).max()) / largest


# -- the generator itself -------------------------------------------------------------------------


def test_the_graphs_cover_all_ops_share_parameters_and_update_states() -> None:
    graphs = [training(seed)[0].graph for seed in PRINTED]
    seen = {node.op.name for graph in graphs for node in graph.nodes}
    missing = set(OPS) - seen - MADE_BY_PASSES
    assert not missing, f"no maker of random_graphs.py draws {sorted(missing)}: add one"
    trained = {node.op.name for seed in range(60) for node in training(seed)[1].nodes}
    assert "eq" in trained
    assert {name for name in MADE_BY_PASSES if name.endswith("_grad")} <= trained

    shared = [g for g in graphs if any(len(g.users(p)) > 1 for p in g.parameters.values())]
    assert len(shared) >= len(graphs) / 2
    assert sum(len(g.updates) > 0 for g in graphs) >= len(graphs) / 2
    symbolic = [g for g in graphs if any(n.shape[2:] == (gx.Dim.named("H"), gx.Dim.named("W"))
                                         for n in g.inputs.values())]  # fmt: skip
    assert len(symbolic) >= len(graphs) / 5


# -- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", PRINTED)
def test_print_parse_pickle_equal(seed: int) -> None:
    drawn, trained = training(seed)
    for graph in {id(g): g for g in (drawn.graph, trained)}.values():
        gx.verify(graph)
        back = gx.parse(str(graph))
        assert back == graph
        assert hash(back) == hash(graph)
        assert back.text() == graph.text()
        assert list(back.updates) == list(graph.updates)
        assert back.guards == graph.guards
        gx.verify(back)
    again = pickle.loads(pickle.dumps(drawn.graph))
    assert again == drawn.graph == copy.deepcopy(drawn.graph) == sample(seed).graph
    assert (trained == drawn.graph) is (not drawn.graph.parameters)


# -- numbers --------------------------------------------------------------------------------------


def check_program(seed: int, dtype: str) -> None:
    """One program gives what the interpreter gives, outputs and updates, at several sizes."""
    drawn, trained = training(seed, dtype)
    for graph in {id(g): g for g in (drawn.graph, trained)}.values():
        program = gx.compile(graph, backend="numpy", verify=True, poison=True)
        for run in (0, 1, 0):
            before, inputs = drawn.variables(graph), drawn.inputs(run, graph)
            wanted, after = gx.interpret(graph, before, True, inputs)
            variables = {name: array.copy() for name, array in before.items()}
            found = program(variables, inputs)
            assert all(np.isfinite(array).all() for array in wanted.values() if array.size)
            wrong = {
                name: worst
                for got, oracle in ((found, wanted), (variables, after))
                for name in oracle
                if (worst := error(got[name], oracle[name])) > LIMITS[dtype]
            }
            assert not wrong, f"seed {seed}, run {run}: {wrong}"


@pytest.mark.parametrize("seed", COMPILED)
def test_compiled_program_is_the_interpreter(seed: int) -> None:
    check_program(seed, "float64")


@pytest.mark.parametrize("seed", COMPILED_IN_FLOAT32)
def test_compiled_program_is_the_interpreter_in_float32(seed: int) -> None:
    check_program(seed, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SOAK)
def test_compiled_program_is_the_interpreter_for_many_more(seed: int) -> None:
    check_program(seed, "float64" if seed % 4 else "float32")
    training.cache_clear()


@pytest.mark.parametrize("seed", DIFFERENTIATED)
def test_gradient_against_finite_differences(seed: int) -> None:
    drawn, trained = training(seed)
    if not drawn.graph.parameters:
        pytest.skip("this graph has no parameters")
    variables, inputs = drawn.variables(), drawn.inputs(1)
    direction = {
        name: np.random.default_rng([seed, 3, i]).standard_normal(leaf.type.concrete({}))
        for i, (name, leaf) in enumerate(drawn.graph.parameters.items())
    }

    def loss(shift: float) -> float:
        moved = {n: np.asarray(variables[n] + shift * d) for n, d in direction.items()}
        return float(gx.interpret(drawn.graph, variables | moved, inputs=inputs)["loss"])

    out = gx.interpret(trained, drawn.variables(trained), inputs=drawn.inputs(1, trained))
    slope = sum(float(np.vdot(out[f"grad/{n}"], d)) for n, d in direction.items()
                if f"grad/{n}" in out)  # fmt: skip
    step = 1e-6
    measured = (loss(step) - loss(-step)) / (2 * step)
    assert measured == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_several_steps_with_momentum_follow_the_interpreter() -> None:
    drawn, trained = training(2)
    program = gx.compile(trained, backend="numpy", verify=True, poison=True)
    variables = drawn.variables(trained)
    expected = {name: array.copy() for name, array in variables.items()}
    for number in range(4):
        inputs = drawn.inputs(number % 2, trained)
        program(variables, inputs)
        _, expected = gx.interpret(trained, expected, True, inputs)
    assert all(error(variables[n], expected[n]) <= LIMITS["float64"] for n in expected)
