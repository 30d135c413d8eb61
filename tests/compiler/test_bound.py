"""``Program.bind``: what depends on variables alone is computed once, and the answers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes
from graphc.compiler.bound import split
from tests.random_graphs import sample

Array = np.ndarray[Any, np.dtype[Any]]


def predictor(name: str = "residual-8") -> gx.Graph:
    graph = models.build(name, classes=4, image=(3, 16, 16)).select("logits")
    return graph.apply(passes.inference(), passes.fold_batch_norm())


def used(program: gx.Program) -> dict[str, Array]:
    """Variables as after training."""
    random = np.random.default_rng(0)
    return {
        name: np.asarray(array + random.uniform(0, 1, array.shape), array.dtype)
        for name, array in program.init().items()
    }


def pixels(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("name", ["residual-8", "small-inception"])
def test_folded_normalization_is_computed_once(name: str) -> None:
    program = gx.compile(predictor(name), backend="numpy")
    variables = used(program)
    bound = program.bind(variables)
    ops = {node.op.name for node in bound.graph.nodes}
    assert ops.isdisjoint({"sqrt", "div", "mul", "batch_norm"})
    assert len(bound.plan.instructions) < len(program.plan.instructions)
    assert "running_var" not in str(bound.graph)
    for count in (2, 5, 1):  # the batch stays symbolic
        wanted = program(variables, image=pixels(count))["logits"]
        np.testing.assert_array_equal(bound(image=pixels(count))["logits"], wanted)
        np.testing.assert_array_equal(bound({"image": pixels(count)})["logits"], wanted)
    unfolded = models.build(name, classes=4, image=(3, 16, 16)).select("logits")
    reference = gx.interpret(unfolded.apply(passes.inference()), variables, image=pixels(2))
    error = np.abs(bound(image=pixels(2))["logits"] - reference["logits"]).max()
    assert error < 1e-5 * np.abs(reference["logits"]).max()


def test_the_variables_are_those_of_the_call_of_bind() -> None:
    program = gx.compile(predictor(), backend="numpy")
    variables = used(program)
    bound = program.bind(variables)
    before = bound(image=pixels(1))["logits"]
    for array in variables.values():
        array[...] = 1
    np.testing.assert_array_equal(bound(image=pixels(1))["logits"], before)
    assert not np.array_equal(program(variables, image=pixels(1))["logits"], before)


@pytest.mark.parametrize("seed", range(400, 425))
def test_random_graphs_bound_are_the_same_graphs(seed: int) -> None:
    drawn = sample(seed)
    graph = drawn.graph.apply(passes.inference())
    program = gx.compile(graph, backend="numpy", verify=True, poison=True)
    variables = drawn.variables(graph)
    if graph.updates:  # random_uniform stays
        with pytest.raises(gx.GraphError, match=r"changes step(.|\n)*counts its steps"):
            program.bind(variables)
        return
    bound = program.bind(variables)
    gx.verify(bound.graph)
    for run in (0, 1):
        inputs = drawn.inputs(run, graph)
        wanted = gx.interpret(graph, variables, inputs=inputs)
        for name, value in bound(inputs).items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-11, atol=1e-12, err_msg=name)


def test_what_depends_on_a_size_or_an_input_is_not_kept() -> None:
    x, w = gx.input("x", ("N", 2)), gx.parameter("w", (2,), init="normal")
    n = gx.size(x.shape[0])
    graph = gx.Graph({"y": x * gx.exp(w) + w * n, "z": gx.broadcast_to(gx.tanh(w), x.shape)})
    first, rest = split(graph)
    assert first is not None
    assert list(first.outputs) == ["bound/exp", "bound/tanh"]
    assert {node.op.name for node in rest.nodes} >= {"size", "broadcast_to", "mul"}
    program = gx.compile(graph, backend="numpy")
    variables = program.init()
    given = np.ones((3, 2), np.float32)
    wanted, found = program(variables, x=given), program.bind(variables)(x=given)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_an_output_of_variables_alone_is_kept_and_handed_out_as_a_copy() -> None:
    w = gx.parameter("w", (2,), init=3.0)
    program = gx.compile(gx.Graph({"a": gx.square(w), "w": w, "c": gx.constant(3.0)}))
    bound = program.bind(program.init())
    bound()["a"][...] = 0
    bound()["w"][...] = 0
    out = bound()
    assert (out["a"].tolist(), out["w"].tolist()) == ([9.0, 9.0], [3.0, 3.0])
    assert float(out["c"]) == 3.0


def test_a_bound_graph_binds_again() -> None:
    x, w = gx.input("x", ("N", 2)), gx.parameter("w", (2,), init=1.0)
    first, rest = split(gx.Graph({"y": x * gx.exp(w)}))
    assert first is not None
    state = rest.states["bound/exp"]
    second, again = split(gx.Graph({"y": x * gx.exp(state) + state}))
    assert second is not None
    assert set(again.states) == {"bound/exp", "bound_/exp"}


def test_a_graph_with_updates_is_refused_with_what_to_do() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), name="net")
    program = gx.compile(gx.Graph({"y": net(gx.input("x", ("N", 3, 4, 4)))}), backend="numpy")
    with pytest.raises(gx.GraphError, match=r"running_mean(.|\n)*passes\.inference\(\)"):
        program.bind(program.init())


def test_variables_that_do_not_fit_are_refused() -> None:
    program = gx.compile(predictor(), backend="numpy")
    with pytest.raises(gx.GraphError, match="variables lack"):
        program.bind({})
    bound = program.bind(program.init())
    with pytest.raises(gx.GraphError, match="'image' is missing"):
        bound()
    assert "BoundProgram" in repr(bound)
    assert "import numpy" in bound.source


def test_it_is_called_as_every_program_is() -> None:
    program = gx.compile(predictor(), backend="numpy")
    variables = used(program)
    bound = program.bind(variables)
    wanted = bound(image=pixels(2))["logits"]
    more = {**variables, "of another program": np.zeros(1)}
    for found in (
        bound(variables, image=pixels(2)),
        bound(variables, {"image": pixels(2)}),
        bound(more, inputs={"image": pixels(2)}),
        bound({}, image=pixels(2)),
        bound(inputs={"image": pixels(2)}),
    ):
        np.testing.assert_array_equal(found["logits"], wanted)
    others = {name: array.copy() for name, array in variables.items()}
    with pytest.raises(gx.GraphError, match="bound to other variables"):
        bound(others, image=pixels(2))
    with pytest.raises(gx.GraphError, match="image"):
        bound(variables)
