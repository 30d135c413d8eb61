"""Fresh variables: what a graph's parameters and states are before the first step."""

from __future__ import annotations

import numpy as np

from graphc.compiler.binding import Array
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import SEED, STEP, Parameter, State, stream_number
from graphc.ir.node import Node


def initial_variables(graph: Graph, seed: int) -> dict[str, Array]:
    """Every parameter and state by name, ``random/seed`` and ``step``: see ``Program.init``."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise GraphError(f"seed={seed!r} is not an int")
    if not 0 <= seed < 2**64:
        raise GraphError(f"seed={seed} must be at least 0 and less than 2**64")
    variables: dict[str, Array] = {}
    for name, leaf in {**graph.parameters, **graph.states}.items():
        if leaf not in (SEED, STEP):
            variables[name] = _initial(leaf, name, int(seed))
    variables["random/seed"] = np.array(seed, np.uint64)
    variables["step"] = np.array(0, np.int64)
    return variables


def numbers_of(name: str, seed: int) -> np.random.Generator:
    """Random numbers that depend on the seed and a path alone, whatever else a graph holds."""
    key = np.array([seed, stream_number(name)], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _initial(leaf: Node, name: str, seed: int) -> Array:
    assert isinstance(leaf.op, (Parameter, State))
    random = numbers_of(f"init/{name}", seed)
    shape = leaf.type.concrete({})
    return np.array(leaf.op.init.sample(random, shape), leaf.dtype, order="C").reshape(shape)
