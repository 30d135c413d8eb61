"""Gradients of whole networks, compiled, against JAX: 1e-5 in float32, 1e-9 in float64.

Where there is dropout, JAX multiplies by the mask that the design's own expression draws. The
networks of the zoo that have no line here have theirs in ``tests/models/test_against_jax.py``.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import graphc as gx
from graphc import passes
from graphc.models.inception_v3 import InceptionV3
from tests.laws import nets
from tests.models import jax_nets
from tests.models.test_against_jax import declared, random_variables, widened
from tests.ops.harness import error

LIMITS = {"float32": 1e-5, "float64": 1e-9}
SECONDS_LONG = {"vgg-11", "plain, imagenet", "resnet, bottleneck", *nets.DEEP}
# In float32 some relu or pool of theirs chooses otherwise than in float64, and the gradient jumps:
# JAX's float32 is as far from JAX's float64, 1e-2 to 2e-1.
FLOAT64_ALONE = {"resnet-34", "resnet-50", "plain-34"}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, marks=[pytest.mark.slow] if name in SECONDS_LONG else [])
        for name in nets.CASES
        for dtype in LIMITS
        if dtype == "float64" or name not in FLOAT64_ALONE
    ],
)
def test_gradients_agree_with_jax(name: str, dtype: str) -> None:
    loss, gradients = nets.answers(name)
    out = nets.derived(name, dtype)
    assert error(out["loss"], loss) <= LIMITS[dtype]
    assert {f"grad/{key}" for key in gradients} == {key for key in out if "grad/" in key}
    errors = nets.worst(out, gradients)
    assert max(errors.values()) <= LIMITS[dtype], errors


def test_every_mask_drops_something() -> None:
    """Else the comparison above would say nothing of dropout."""
    for name in ("dropout layers", "inserted dropout"):
        graph, variables, inputs = nets.sample(name)
        graph = widened(graph)
        drops = [node for node in graph.nodes if node.op.name == "dropout"]
        assert len(drops) in (3, 5)
        masked = gx.Graph({f"y{i}": node for i, node in enumerate(drops)})
        image = {"image": inputs["image"]}
        for value in gx.interpret(masked, variables, inputs=image).values():
            assert 0 < np.count_nonzero(value) < value.size


@pytest.mark.slow
def test_inception_v3() -> None:
    """At 75×75, its smallest size, by running statistics: a batch's would be over two numbers."""
    graph = declared(InceptionV3(3, nets.CLASSES, auxiliary=False), 75).apply(passes.inference())
    random = np.random.default_rng(0)
    variables = random_variables(graph, random)
    inputs = {"image": random.normal(size=(2, 3, 75, 75)), "label": np.array([1, 3])}
    statistics = {key: variables[key] for key in graph.states}

    def net(p: Any, x: Any) -> Any:
        return jax_nets.InceptionV3({**p, **statistics}).logits(x)

    p = {key: variables[key] for key in graph.parameters}
    options: Any = {"xla_backend_optimization_level": 0}
    oracle = jax.jit(jax.grad(nets.objective(net, inputs))).lower(p).compile(options)(p)
    gradients = {key: np.asarray(value) for key, value in oracle.items()}
    for dtype, limit in LIMITS.items():
        wide = graph if dtype == "float32" else widened(graph)
        given = {key: value.astype(dtype) for key, value in variables.items()}
        image = inputs["image"].astype(dtype)
        out = gx.compile(wide.apply(passes.backward()))(given, image=image, label=inputs["label"])
        assert max(nets.worst(out, gradients).values()) <= limit
