"""Every row of the op table on the emulated device: value and first gradients."""

from __future__ import annotations

from typing import Any

import pytest

import graphc as gx
from tests.ops.harness import Row, all_rows, case, variables


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_row(row: Row) -> None:
    one = case(row, row.dtypes[0])
    graph = one.whole
    program = gx.compile(graph, backend="emulated", verify=True)
    sample = row.samples[-1]
    arrays = one.arrays(sample, graph)
    held = {name: program.backend.from_host(a) for name, a in variables(graph).items()}
    found = program(held, inputs=arrays)
    expected = gx.interpret(graph, variables(graph), inputs=arrays)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        array: Any = gx.to_numpy(found[name])
        assert array.dtype == value.dtype, name
        one.compare(array, value, f"emulated {name}")
