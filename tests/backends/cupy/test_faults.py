"""A device that fails: what the caller is told, and what has become of the variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.backends import emulated
from tests.backends.cupy.nets import batch, differences, host, mlp


def compiled(**options: Any) -> gx.Program:
    return gx.compile(mlp(), backend="emulated", **options)


def attempts(kind: str, **options: Any) -> Iterator[tuple[Any, dict[str, Any], Any, Any]]:
    """A step with the fault at 0, 1, 2, … until it is not reached: (program, variables before,
    variables after, error)."""
    for k in range(200):
        program = compiled(**options)
        variables = program.init(seed=1)
        before = host(variables)
        given = batch(program.graph, 3)
        error = None
        with emulated.faults(**{kind: k}) as fault:
            try:
                program(variables, given)
            except gx.BackendError as found:
                error = found
        if not fault.fired:
            assert k > 0
            return
        yield program, before, variables, error
    raise AssertionError("a step has no end")


def expected() -> dict[str, Any]:
    program = gx.compile(mlp(), backend="numpy")
    variables = program.init(seed=1)
    program(variables, batch(program.graph, 3))
    return variables


def check(program: Any, before: dict[str, Any], variables: Any, error: Any) -> bool:
    """Whether it failed before the first update; then all is as it was and the next step works.
    After it the variables are torn, and refused."""
    if error is None:  # CuPy's pool freed what it kept, and tried again
        assert max(differences(expected(), variables).values()) < 1e-5
        return True
    assert isinstance(error, gx.BackendError)
    assert "device" in str(error)
    if "as they were" in str(error) or "arena" in str(error):
        for name, array in host(variables).items():
            np.testing.assert_array_equal(array, before[name])
        program(variables, batch(program.graph, 3))
        assert max(differences(expected(), variables).values()) < 1e-5
        return True
    assert "checkpoint" in str(error)
    with pytest.raises(gx.GraphError, match="half updated"):
        program(variables, batch(program.graph, 3))
    return False


def test_out_of_memory_at_each_allocation() -> None:
    early = [check(*attempt) for attempt in attempts("allocation")]
    assert early
    assert all(early)


@pytest.mark.parametrize("capture", [True, False])
def test_each_launch_fails(capture: bool) -> None:
    found = list(attempts("launch", capture=capture))
    early = []
    for attempt in found:
        assert attempt[3].nodes, "the error names no node"
        early.append(check(*attempt))
    assert early.count(True) > 3
    assert early == sorted(early, reverse=True)  # once an update has begun, all is torn


def test_the_arena_names_what_fills_it() -> None:
    program = compiled()
    variables, given = program.init(seed=0), batch(program.graph, 200_000)
    with emulated.memory_limit(8 << 20), pytest.raises(gx.BackendError) as error:
        program(variables, given)
    assert "for the arena of this step at {'N': 200000}; at its peak it holds" in str(error.value)
    assert "a smaller batch" in str(error.value)
    assert error.value.nodes


def test_a_lost_device() -> None:
    program = compiled(capture=False)
    variables = program.init(seed=1)
    given = batch(program.graph, 3)
    program(variables, given)
    for k in (0, 3, 8):
        with emulated.faults(lost=k), pytest.raises(gx.BackendError, match="device failed"):
            program(variables, given)


def test_a_graph_that_fails_names_its_nodes() -> None:
    program = compiled()
    variables = program.init(seed=1)
    given = batch(program.graph, 3)
    for _ in range(4):  # both lanes are captured now
        program(variables, given)
    before = host(variables)
    with (
        emulated.faults(launch=1) as fault,
        pytest.raises(gx.BackendError, match="in one CUDA graph") as error,
    ):
        program(variables, given)
    assert fault.fired
    assert len(error.value.nodes) > 2
    for name, array in host(variables).items():
        np.testing.assert_array_equal(array, before[name])
    program(variables, given)
