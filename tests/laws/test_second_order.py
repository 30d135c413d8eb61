"""Hessian-vector products: ``backward`` of a projection of the gradient, against JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import passes
from tests.laws import nets
from tests.models.test_against_jax import widened

LIMITS = {"float32": 1e-4, "float64": 1e-9}


@pytest.mark.parametrize("name", [name for name in nets.OWN if name != "inserted dropout"])
def test_hessian_vector_products_agree_with_jax(name: str) -> None:
    """Convolutions with skips, branches, pools, shared weights, batch norm and dropout."""
    graph, variables, inputs = nets.sample(name)
    random = np.random.default_rng(3)
    direction = {key: random.normal(size=variables[key].shape) for key in graph.parameters}

    gradient = jax.grad(nets.objective(nets.CASES[name].net, inputs))
    p: Any = {key: jnp.asarray(variables[key]) for key in graph.parameters}
    product = jax.jit(lambda p, v: jax.jvp(gradient, (p,), (v,))[1]).lower(p, direction)
    options: Any = {"xla_backend_optimization_level": 0}
    oracle = {key: np.asarray(v) for key, v in product.compile(options)(p, direction).items()}

    for dtype, limit in LIMITS.items():
        first = (graph if dtype == "float32" else widened(graph)).apply(passes.backward())
        along = {
            f"along_{i}": gx.sum(first.outputs[f"grad/{key}"] * gx.input(f"v{i}", v.shape, dtype))
            for i, (key, v) in enumerate(direction.items())
        }
        total = None
        for term in along.values():
            total = term if total is None else total + term
        assert total is not None
        second = gx.compile(gx.Graph({"loss": total}).apply(passes.backward()))
        given = {
            key: value.astype(dtype) if value.dtype == np.float64 else value.copy()
            for key, value in variables.items()
        }
        named = {f"v{i}": v.astype(dtype) for i, v in enumerate(direction.values())}
        image = inputs["image"].astype(dtype)
        out = second(given, named | {"image": image, "label": inputs["label"]})
        errors = nets.worst(out, oracle)
        assert max(errors.values()) <= limit, errors
