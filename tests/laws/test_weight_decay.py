"""Row 25: one step with decay is w ← (1-ηλ)w - η∇L, and a bias's, scale's or shift's has no λ."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from graphc.ir.leaves import Parameter
from tests.models.test_against_jax import random_variables, widened
from tests.ops.harness import error

RATE, DECAY = 0.1, 0.02


def role(leaf: gx.Node) -> str:
    assert isinstance(leaf.op, Parameter)
    return leaf.op.role


@pytest.mark.parametrize("name", ["residual-8", "small-inception", "transformer-block", "lenet-5"])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-12)])
def test_one_sgd_step_of_every_parameter(name: str, dtype: str, limit: float) -> None:
    """∇L is the gradient of the data loss, by a graph that knows of no decay."""
    size = {"transformer-block": 8, "lenet-5": 12}.get(name, 5)
    graph = models.build(name, classes=4, image=(3, size, size))
    roles = {key: role(leaf) for key, leaf in graph.parameters.items()}
    graph = graph if dtype == "float32" else widened(graph)
    random = np.random.default_rng(0)
    variables = {k: v.astype(dtype) for k, v in random_variables(graph, random).items()}
    inputs = {"image": random.normal(size=(3, 3, size, size)).astype(dtype), "label": [0, 1, 3]}

    plain = gx.compile(graph.apply(passes.backward()))
    step = gx.compile(
        graph.apply(passes.weight_decay(DECAY), passes.backward(), passes.sgd(lr=RATE))
    )
    before = {key: value.copy() for key, value in variables.items()}
    gradients = plain(dict(before), inputs)
    assert step(variables, inputs)["loss"] == gradients["loss"]
    for key, kind in roles.items():
        w, gradient = before[key].astype(np.float64), gradients[f"grad/{key}"].astype(np.float64)
        shrunk = (1 - RATE * DECAY) * w if kind == "weight" else w
        assert error(variables[key], shrunk - RATE * gradient) <= limit, key
        # Decay moves what it should by more than this comparison lets pass, and no bit of others.
        if kind == "weight":
            assert error(variables[key], w - RATE * gradient) > 10 * limit
    kinds = set(roles.values())
    assert {"weight"} < kinds <= {"weight", "bias", "scale", "shift"}


def test_parameters_without_decay_take_the_same_bits() -> None:
    graph = models.build("residual-8", classes=4, image=(3, 5, 5))
    variables = {
        k: v.astype("float32") for k, v in random_variables(graph, np.random.default_rng(0)).items()
    }
    image = np.random.default_rng(1).normal(size=(3, 3, 5, 5)).astype(np.float32)
    after = []
    for decay in (0.0, DECAY):
        own = {key: value.copy() for key, value in variables.items()}
        step = graph.apply(passes.weight_decay(decay), passes.backward(), passes.sgd(lr=RATE))
        gx.compile(step)(own, image=image, label=[0, 1, 3])
        after.append(own)
    for key, leaf in graph.parameters.items():
        assert np.array_equal(after[0][key], after[1][key]) == (role(leaf) != "weight"), key
