"""Where the time goes: every line of the step once, the sum is the step, nothing is changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes, viz
from graphc.compiler.profile import clocked


def case(batch: int = 4) -> tuple[gx.Program, dict[str, Any], dict[str, Any]]:
    graph = models.build("lenet-5").apply(
        passes.insert_dropout(retain=0.5), passes.backward(), passes.sgd(lr="lr", momentum=0.9)
    )
    program = gx.compile(graph)
    rng = np.random.default_rng(0)
    image = rng.random((batch, 1, 28, 28), dtype=np.float32)
    label = rng.integers(0, 10, batch)
    return program, program.init(seed=0), {"image": image, "label": label, "lr": 0.1}


def test_the_nodes_and_the_rest_are_the_whole_step() -> None:
    program, variables, inputs = case()
    before = {name: array.copy() for name, array in variables.items()}
    profile = program.profile(variables, **inputs)
    for name, array in variables.items():
        np.testing.assert_array_equal(array, before[name])
    assert math.isclose(profile.rest + sum(e.seconds for e in profile), profile.seconds)
    assert profile.seconds > 0
    assert all(each.seconds >= 0 for each in profile)
    assert profile.rest >= 0
    assert profile.steps >= 5
    assert [e.seconds for e in profile] == sorted((e.seconds for e in profile), reverse=True)
    assert math.isclose(sum(profile.lines.values()), sum(e.seconds for e in profile))
    # Each node of the plan once, with all of its array calls.
    program(variables, **inputs)
    plan = program.plan
    assert {e.node for e in profile} == {i.node for i in plan.instructions}
    assert sum(e.calls for e in profile) == plan.launches
    assert {e.line.partition(":")[0] for e in profile} >= {"lenet.py"}
    assert profile["conv2d"] is profile[program.graph.node("conv2d")]
    table = str(profile).splitlines()
    assert table[0].split() == ["node", "ms", "share", "calls", "line"]
    assert len(table) == len(profile) + 3


def test_the_clocked_step_computes_the_same() -> None:
    program, variables, inputs = case()
    program(variables, **inputs)
    printed = program.backend.print(program.plan)
    text, lines, order = clocked(printed.source, printed.lines, "numpy")
    rows, old = text.splitlines(), printed.source.splitlines()
    # Each mapped line is the old one; the value of the last is kept until the clock is read.
    for new, (was, number) in lines.items():
        same = rows[new - 1].replace("result = ", "return ")
        assert same == old[was - 1]
        assert printed.lines[was] == number
        assert rows[new].strip() == "stamps.append(now())"
    assert len(order) == len(lines)
    twin = [dict(program.init(seed=1)) for _ in range(2)]
    outputs = program(twin[0], **inputs)
    program.profile(twin[1], **inputs)  # on copies
    again = program(twin[1], **inputs)
    for name, value in outputs.items():
        np.testing.assert_array_equal(value, again[name])


def test_inputs_may_be_a_dict_and_grow() -> None:
    x = gx.input("x", ("N", 3))
    program = gx.compile(gx.Graph({"y": gx.exp(x)}))
    for batch in (1, 50, 2):
        profile = program.profile({}, {"x": np.ones((batch, 3), np.float32)})
        assert [e.name for e in profile] == ["exp"]
        assert profile["exp"].calls == 1


def test_a_step_with_nothing_to_do() -> None:
    x = gx.input("x", ("N",))
    profile = gx.compile(gx.Graph({"y": x})).profile({}, x=[1.0])
    assert len(profile) == 0
    assert profile.rest == profile.seconds


def test_mistakes_are_those_of_a_call() -> None:
    program, variables, inputs = case()
    with pytest.raises(gx.GraphError, match="image"):
        program.profile(variables, label=inputs["label"], lr=0.1)
    with pytest.raises(gx.GraphError, match="given twice"):
        program.profile(variables, inputs, lr=0.1)
    with pytest.raises(gx.GraphError, match=r"conv1\.weight"):
        program.profile({}, inputs)
    profile = program.profile(variables, inputs)
    with pytest.raises(gx.GraphError, match="no node of this profile is called 'conv3d'"):
        profile["conv3d"]
    with pytest.raises(gx.GraphError, match="no time of its own"):
        profile[program.graph.inputs["image"]]


def test_only_python_is_timed() -> None:
    with pytest.raises(gx.BackendError, match="backend 'cuda' is not printed in Python"):
        clocked('extern "C" __global__ void k() {}', {1: 0}, "cuda")


def test_it_colours_a_drawing() -> None:
    program, variables, inputs = case()
    profile = program.profile(variables, inputs)
    drawing = viz.draw(program.graph, time=profile)
    shown = {n["name"]: n["values"]["time"] for n in drawing.model["nodes"] if n["values"]}
    assert shown["conv2d_1"] == round(profile["conv2d_1"].seconds, 9)
